/* ctx.h - the contexts of this process, so that a checkpoint can wait for their work, and what a stream
 * capture under way forbids. */
#ifndef CK_CTX_H
#define CK_CTX_H

#include <stddef.h>
#include <stdint.h>

#include "cuda_abi.h"

struct ck_ctx {
	CUcontext ctx;
	CUdevice dev;
};

/* ck_ctx_note - remember @ctx (idempotent, lock-free when known). ck_ctx_gone - forget it. */
void ck_ctx_note(CUcontext ctx, CUdevice dev);
void ck_ctx_gone(CUcontext ctx);

/* ck_ctx_list - copy up to @cap of them to @out; returns how many there are. */
size_t ck_ctx_list(struct ck_ctx *out, size_t cap);

/* ck_ctx_wait_captures - wait until no stream capture is under way, until @until_ns (CLOCK_MONOTONIC; 0:
 * only look). Returns 0, or -1 when some still is. */
int ck_ctx_wait_captures(uint64_t until_ns);

/* ck_ctx_after_fork - the child has none. */
void ck_ctx_after_fork(void);

#endif
