/* op.c - what a stream's worker does for each kind of operation. */
#define _GNU_SOURCE
#include "cksim.h"

#include <stdlib.h>
#include <string.h>

#include "../../shim/base/io.h"

static int run_copy(struct cksim_op *op)
{
	struct cksim_ctx *ctx = op->stream->ctx;
	for (uint64_t z = 0; z < op->copy.depth; z++)
		for (uint64_t y = 0; y < op->copy.height; y++) {
			const struct cksim_side *d = &op->copy.dst, *s = &op->copy.src;
			uint64_t to = d->addr + z * d->slice + y * d->pitch, from = s->addr + z * s->slice + y * s->pitch;
			void *dst = cksim_vm_host(to, op->copy.width, ctx->dev, 1, d->host);
			const void *src = op->copy.staged ? (char *)op->copy.staged + (z * op->copy.height + y) * op->copy.width :
							    cksim_vm_host(from, op->copy.width, ctx->dev, 0, s->host);
			if (!dst || !src)
				return CUDA_ERROR_ILLEGAL_ADDRESS;
			memmove(dst, src, op->copy.width);
		}
	return 0;
}

static int run_set(struct cksim_op *op)
{
	uint64_t bytes = op->set.width * op->set.unit;
	for (uint64_t y = 0; y < op->set.height; y++) {
		unsigned char *p = cksim_vm_host(op->set.addr + y * op->set.pitch, bytes, op->stream->ctx->dev, 1, 0);
		if (!p)
			return CUDA_ERROR_ILLEGAL_ADDRESS;
		if (op->set.unit == 1) {
			memset(p, (int)op->set.value, bytes);
			continue;
		}
		uint16_t half = (uint16_t)op->set.value;
		for (uint64_t i = 0; i < op->set.width; i++)
			memcpy(p + i * op->set.unit, op->set.unit == 2 ? (void *)&half : (void *)&op->set.value, op->set.unit);
	}
	return 0;
}

static int run_kernel(struct cksim_op *op)
{
	struct ptx_region *held = NULL;
	size_t cap = 0;
	struct ptx_fault fault = { 0 };
	struct cksim_ctx *ctx = op->stream->ctx;
	if (cksim_vm_space(ctx->dev, ctx->peers, &op->kernel.launch.space, &held, &cap))
		return CUDA_ERROR_LAUNCH_FAILED;
	int r = ptx_launch(op->kernel.func, &op->kernel.launch, &fault);
	free(held);
	if (!r)
		return 0;
	if (cksim_fault("tell-faults", NULL) || getenv("CKSIM_VERBOSE")) {
		char text[256];
		ptx_fault_text(&fault, text, sizeof text);
		size_t n = strlen(text);
		if (n < sizeof text - 1)
			text[n++] = '\n';
		ck_write_full(2, text, n);
	}
	switch (fault.kind) {
	case PTX_FAULT_ADDRESS:
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	case PTX_FAULT_MISALIGNED:
		return CKSIM_ERROR_MISALIGNED_ADDRESS;
	case PTX_FAULT_NOMEM:
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	default:
		return CUDA_ERROR_LAUNCH_FAILED;
	}
}

int cksim_op_run(struct cksim_op *op)
{
	int sticky = atomic_load(&op->stream->ctx->sticky);
	switch (op->kind) {
	case CKSIM_OP_COPY:
		return sticky ? 0 : run_copy(op);
	case CKSIM_OP_SET:
		return sticky ? 0 : run_set(op);
	case CKSIM_OP_KERNEL:
		return sticky ? 0 : run_kernel(op);
	case CKSIM_OP_HOST:
		if (!sticky) /* documented: not called after an error */
			op->host.fn(op->host.user);
		return 0;
	case CKSIM_OP_CALLBACK: /* documented: called, with the error */
		op->host.cb(op->host.handle, (CUresult)sticky, op->host.user);
		return 0;
	case CKSIM_OP_EVENT:
		atomic_store(&op->event->time_ns, ck_now_ns());
		return 0;
	case CKSIM_OP_FREE:
		cksim_vm_free(op->addr);
		return 0;
	case CKSIM_OP_NOP:
		break;
	}
	return 0;
}
