/* gate.h - every driver call passes here; a checkpoint shuts it and waits until nobody is inside.
 *
 * Each thread has a slot of its own: entering marks it busy, then looks whether the gate is shut (one
 * locked exchange, a few nanoseconds); shutting sets the flag, then looks at the slots. Sequential
 * consistency on both sides means that at least one sees the other.
 * Calls nest (a driver entry that calls another through us, the shim's own): only the outermost counts.
 * The gate is never held across a user's callback that can wait for another thread's call.
 */
#ifndef CK_GATE_H
#define CK_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ck_slot {
	_Atomic(uint32_t) busy;
	uint32_t depth;		 /* owner only */
	_Atomic(int32_t) entry;	 /* enum ck_entry while busy, for the report of who would not leave */
	_Atomic(pid_t) tid;	 /* 0: free */
	char pad[48];		 /* one cache line each */
};

extern __thread struct ck_slot *ck_gate_slot __attribute__((tls_model("initial-exec")));
extern _Atomic(uint32_t) ck_gate_shut;

struct ck_slot *ck_gate_take_slot(void);
void ck_gate_wait(struct ck_slot *s);
void ck_gate_left(void);

static inline void ck_gate_enter(int entry)
{
	struct ck_slot *s = ck_gate_slot;
	if (__builtin_expect(s == NULL, 0))
		s = ck_gate_take_slot();
	if (s->depth++)
		return;
	atomic_store_explicit(&s->entry, entry, memory_order_relaxed);
	atomic_exchange(&s->busy, 1);
	if (__builtin_expect(atomic_load(&ck_gate_shut) != 0, 0))
		ck_gate_wait(s);
}

static inline void ck_gate_exit(void)
{
	struct ck_slot *s = ck_gate_slot;
	if (--s->depth)
		return;
	atomic_store(&s->busy, 0);
	if (__builtin_expect(atomic_load(&ck_gate_shut) != 0, 0))
		ck_gate_left();
}

/* ck_gate_exempt - the calling thread (the control thread) passes a shut gate from now on. */
void ck_gate_exempt(void);

/* ck_gate_close - shut the gate and wait until nobody is inside, until @until_ns (CLOCK_MONOTONIC).
 * Returns 0; or -1 with the gate open again and *@tid, *@entry telling who would not leave. */
int ck_gate_close(uint64_t until_ns, pid_t *tid, int *entry);

/* ck_gate_open - let everyone go on. Allowed when open. */
void ck_gate_open(void);

/* ck_gate_after_fork - in a forked child: only the calling thread exists, the gate is open. */
void ck_gate_after_fork(void);

#endif
