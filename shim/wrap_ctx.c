/* wrap_ctx.c - contexts and stream captures, wrapped by hand: what lives, what owned memory when it ends. */
#include "ctx.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/io.h"
#include "futex.h"
#include "gate.h"
#include "hook.h"
#include "mem.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define MAX_CTX 256
static struct ck_ctx known[MAX_CTX];
static size_t nknown;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(uint32_t) captures; /* futex */

void ck_ctx_note(CUcontext ctx, CUdevice dev)
{
	if (!ctx)
		return;
	pthread_mutex_lock(&lock);
	size_t i = 0;
	while (i < nknown && known[i].ctx != ctx)
		i++;
	if (i == nknown && nknown < MAX_CTX)
		known[nknown++] = (struct ck_ctx){ ctx, dev };
	pthread_mutex_unlock(&lock);
}

void ck_ctx_gone(CUcontext ctx)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < nknown; i++)
		if (known[i].ctx == ctx) {
			known[i] = known[--nknown];
			break;
		}
	pthread_mutex_unlock(&lock);
}

size_t ck_ctx_list(struct ck_ctx *out, size_t cap)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < nknown && i < cap; i++)
		out[i] = known[i];
	size_t n = nknown;
	pthread_mutex_unlock(&lock);
	return n;
}

int ck_ctx_wait_captures(uint64_t until_ns)
{
	for (;;) {
		uint32_t n = atomic_load(&captures);
		if (n == 0)
			return 0;
		uint64_t now = ck_now_ns();
		if (now >= until_ns)
			return -1;
		ck_futex_wait(&captures, n, until_ns - now);
	}
}

void ck_ctx_after_fork(void)
{
	pthread_mutex_init(&lock, NULL);
	nknown = 0;
	atomic_store(&captures, 0);
}

/* A context was made or retained and is in *@p. */
static void made(CUresult r, CUcontext *p, CUdevice dev)
{
	if (r == CUDA_SUCCESS && p)
		ck_ctx_note(*p, dev);
}

/* The driver has destroyed @ctx, and with it all that it allocated itself; ours goes now. */
static void destroyed(CUresult r, CUcontext ctx)
{
	if (r != CUDA_SUCCESS)
		return;
	ck_ctx_gone(ctx);
	ck_mem_free_ctx(ctx);
}

#define GATED(name, params, call)                                                                          \
	CK_EXPORT CUresult name params                                                                     \
	{                                                                                                  \
		ck_gate_enter(CK_ENTRY_##name);                                                            \
		CUresult r = call;                                                                         \
		ck_gate_exit();                                                                            \
		return r;                                                                                  \
	}

static CUresult create(enum ck_entry e, CUcontext *p, unsigned flags, CUdevice dev)
{
	CUresult r = ((CUresult(*)(CUcontext *, unsigned, CUdevice))ck_real_get(e))(p, flags, dev);
	made(r, p, dev);
	return r;
}

static CUresult create3(CUcontext *p, void *affinity, int n, unsigned flags, CUdevice dev)
{
	CUresult r = CK_DRV(cuCtxCreate_v3, CUcontext *, void *, int, unsigned, CUdevice)(p, affinity, n, flags, dev);
	made(r, p, dev);
	return r;
}

static CUresult create4(CUcontext *p, void *params, unsigned flags, CUdevice dev)
{
	CUresult r = CK_DRV(cuCtxCreate_v4, CUcontext *, void *, unsigned, CUdevice)(p, params, flags, dev);
	made(r, p, dev);
	return r;
}

static CUresult retain(CUcontext *p, CUdevice dev)
{
	CUresult r = CK_DRV(cuDevicePrimaryCtxRetain, CUcontext *, CUdevice)(p, dev);
	made(r, p, dev);
	return r;
}

static CUresult destroy(enum ck_entry e, CUcontext ctx)
{
	CUresult r = ((CUresult(*)(CUcontext))ck_real_get(e))(ctx);
	destroyed(r, ctx);
	return r;
}

/* Releasing or resetting the primary context destroys it when nobody holds it any more. Its handle is
 * learnt before, by retaining it once more. */
static CUresult primary_end(enum ck_entry e, CUdevice dev)
{
	CUcontext ctx = NULL;
	unsigned flags;
	int active = 0;
	bool had = CK_DRV(cuDevicePrimaryCtxGetState, CUdevice, unsigned *, int *)(dev, &flags, &active) ==
			   CUDA_SUCCESS &&
		   active && CK_DRV(cuDevicePrimaryCtxRetain, CUcontext *, CUdevice)(&ctx, dev) == CUDA_SUCCESS;
	if (had)
		CK_DRV(cuDevicePrimaryCtxRelease_v2, CUdevice)(dev);
	CUresult r = ((CUresult(*)(CUdevice))ck_real_get(e))(dev);
	if (r == CUDA_SUCCESS && had &&
	    CK_DRV(cuDevicePrimaryCtxGetState, CUdevice, unsigned *, int *)(dev, &flags, &active) == CUDA_SUCCESS &&
	    !active)
		destroyed(r, ctx);
	return r;
}

GATED(cuCtxCreate, (CUcontext *p, unsigned flags, CUdevice dev), create(CK_ENTRY_cuCtxCreate, p, flags, dev))
GATED(cuCtxCreate_v2, (CUcontext *p, unsigned flags, CUdevice dev), create(CK_ENTRY_cuCtxCreate_v2, p, flags, dev))
GATED(cuCtxCreate_v3, (CUcontext *p, void *affinity, int n, unsigned flags, CUdevice dev),
      create3(p, affinity, n, flags, dev))
GATED(cuCtxCreate_v4, (CUcontext *p, void *params, unsigned flags, CUdevice dev), create4(p, params, flags, dev))
GATED(cuDevicePrimaryCtxRetain, (CUcontext *p, CUdevice dev), retain(p, dev))
GATED(cuCtxDestroy, (CUcontext ctx), destroy(CK_ENTRY_cuCtxDestroy, ctx))
GATED(cuCtxDestroy_v2, (CUcontext ctx), destroy(CK_ENTRY_cuCtxDestroy_v2, ctx))
GATED(cuCtxDetach, (CUcontext ctx), destroy(CK_ENTRY_cuCtxDetach, ctx))
GATED(cuDevicePrimaryCtxRelease, (CUdevice dev), primary_end(CK_ENTRY_cuDevicePrimaryCtxRelease, dev))
GATED(cuDevicePrimaryCtxRelease_v2, (CUdevice dev), primary_end(CK_ENTRY_cuDevicePrimaryCtxRelease_v2, dev))
GATED(cuDevicePrimaryCtxReset, (CUdevice dev), primary_end(CK_ENTRY_cuDevicePrimaryCtxReset, dev))
GATED(cuDevicePrimaryCtxReset_v2, (CUdevice dev), primary_end(CK_ENTRY_cuDevicePrimaryCtxReset_v2, dev))

/* Peer access: the current context may use memory of @peer's device. */
static CUresult peer_access(CUcontext peer, unsigned flags, bool on)
{
	CUdevice mine = -1, theirs = -1;
	CUcontext old;
	if (CK_DRV(cuCtxGetDevice, CUdevice *)(&mine) == CUDA_SUCCESS && peer &&
	    CK_DRV(cuCtxPushCurrent_v2, CUcontext)(peer) == CUDA_SUCCESS) {
		CK_DRV(cuCtxGetDevice, CUdevice *)(&theirs);
		CK_DRV(cuCtxPopCurrent_v2, CUcontext *)(&old);
	}
	CUresult r = on ? CK_DRV(cuCtxEnablePeerAccess, CUcontext, unsigned)(peer, flags)
			: CK_DRV(cuCtxDisablePeerAccess, CUcontext)(peer);
	if (r == CUDA_SUCCESS)
		ck_mem_peer(mine, theirs, on);
	return r;
}

GATED(cuCtxEnablePeerAccess, (CUcontext peer, unsigned flags), peer_access(peer, flags, true))
GATED(cuCtxDisablePeerAccess, (CUcontext peer), peer_access(peer, 0, false))

static CUresult capture_began(CUresult r)
{
	if (r == CUDA_SUCCESS)
		atomic_fetch_add(&captures, 1);
	return r;
}

/* Any end of a capture ends it, an invalidated one with an error. A stream that was not capturing says
 * so and changes nothing. */
static CUresult capture_ended(CUresult r)
{
	if (r != CUDA_ERROR_ILLEGAL_STATE && r != CUDA_ERROR_INVALID_VALUE && r != CUDA_ERROR_INVALID_HANDLE &&
	    r != CUDA_ERROR_NOT_SUPPORTED && r != CUDA_ERROR_NOT_FOUND && atomic_load(&captures) > 0) {
		atomic_fetch_sub(&captures, 1);
		ck_futex_wake(&captures);
	}
	return r;
}

GATED(cuStreamBeginCapture, (CUstream s), capture_began(CK_DRV(cuStreamBeginCapture, CUstream)(s)))
GATED(cuStreamBeginCapture_ptsz, (CUstream s), capture_began(CK_DRV(cuStreamBeginCapture_ptsz, CUstream)(s)))
GATED(cuStreamBeginCapture_v2, (CUstream s, int mode),
      capture_began(CK_DRV(cuStreamBeginCapture_v2, CUstream, int)(s, mode)))
GATED(cuStreamBeginCapture_v2_ptsz, (CUstream s, int mode),
      capture_began(CK_DRV(cuStreamBeginCapture_v2_ptsz, CUstream, int)(s, mode)))
GATED(cuStreamBeginCaptureToGraph, (CUstream s, void *g, void *deps, void *data, size_t n, int mode),
      capture_began(CK_DRV(cuStreamBeginCaptureToGraph, CUstream, void *, void *, void *, size_t, int)(
	      s, g, deps, data, n, mode)))
GATED(cuStreamBeginCaptureToGraph_ptsz, (CUstream s, void *g, void *deps, void *data, size_t n, int mode),
      capture_began(CK_DRV(cuStreamBeginCaptureToGraph_ptsz, CUstream, void *, void *, void *, size_t, int)(
	      s, g, deps, data, n, mode)))
GATED(cuStreamEndCapture, (CUstream s, void *g), capture_ended(CK_DRV(cuStreamEndCapture, CUstream, void *)(s, g)))
GATED(cuStreamEndCapture_ptsz, (CUstream s, void *g),
      capture_ended(CK_DRV(cuStreamEndCapture_ptsz, CUstream, void *)(s, g)))
