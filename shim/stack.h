/* stack.h - call stacks of allocations. libunwind is opened at the first cuInit and asked for bare
 * instruction pointers only; names are looked up when a checkpoint is written. */
#ifndef CK_STACK_H
#define CK_STACK_H

#include <stddef.h>
#include <stdint.h>

#define CK_STACK_DEPTH 32
#define CK_STACK_NONE UINT32_MAX

/* ck_stack_init - open libunwind. Without it every stack is CK_STACK_NONE. */
void ck_stack_init(void);

/* ck_stack_here - the number of the calling thread's stack, our own frames left out. Equal stacks have
 * equal numbers. Microseconds; call it for allocations, not for launches. */
uint32_t ck_stack_here(void);

/* ck_stack_count - stacks known; numbers run from 0. */
uint32_t ck_stack_count(void);

/* ck_stack_text - stack @n, one frame a line ("function+0xoff (object)"), into @buf, cut to fit.
 * Reads symbol tables from disk: slow. Returns the length. */
size_t ck_stack_text(uint32_t n, char *buf, size_t cap);

#endif
