#include "mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "ctx.h"
#include "hook.h"
#include "stack.h"
#include "state.h"

#define MAX_DEVICES 64

static _Atomic(uint64_t) granularity[MAX_DEVICES]; /* 0 unknown, UINT64_MAX: device cannot do it */
static _Atomic(int) peers[MAX_DEVICES][MAX_DEVICES]; /* [from][to]: contexts with access */
static _Atomic(bool) off;

void ck_mem_off(const char *why)
{
	if (!atomic_exchange(&off, true))
		ck_say("%s: from here on device memory is left to the driver's own checkpoint (slower, and it "
		       "needs host memory as large)",
		       why);
}

static CUmemAllocationProp prop_of(CUdevice dev)
{
	CUmemAllocationProp p;
	memset(&p, 0, sizeof p);
	p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
	p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
	p.location.id = dev;
	return p;
}

static uint64_t granularity_of(CUdevice dev)
{
	uint64_t g = atomic_load(&granularity[dev]);
	if (g)
		return g;
	int can = 0;
	size_t min = 0;
	CUmemAllocationProp prop = prop_of(dev);
	g = UINT64_MAX;
	if (ck_hook_has(CK_ENTRY_cuMemCreate) && ck_hook_has(CK_ENTRY_cuMemSetAccess) &&
	    CK_DRV(cuDeviceGetAttribute, int *, int, CUdevice)(
		    &can, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, dev) == CUDA_SUCCESS &&
	    can &&
	    CK_DRV(cuMemGetAllocationGranularity, size_t *, const CUmemAllocationProp *,
		   int)(&min, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) == CUDA_SUCCESS &&
	    min && (min & (min - 1)) == 0)
		g = min;
	else
		ck_say("GPU %d has no virtual memory API: its memory is left to the driver's own checkpoint", dev);
	atomic_store(&granularity[dev], g);
	return g;
}

static CUresult grant(CUdeviceptr addr, uint64_t len, CUdevice dev)
{
	CUmemAccessDesc d[MAX_DEVICES];
	size_t n = 0;
	memset(d, 0, sizeof d);
	for (int from = 0; from < MAX_DEVICES; from++)
		if (from == dev || atomic_load(&peers[from][dev]) > 0) {
			d[n].location.type = CU_MEM_LOCATION_TYPE_DEVICE;
			d[n].location.id = from;
			d[n++].flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
		}
	return CK_DRV(cuMemSetAccess, CUdeviceptr, size_t, const CUmemAccessDesc *, size_t)(addr, len, d, n);
}

CUresult ck_mem_back(struct ck_alloc *a)
{
	CUmemAllocationProp prop = prop_of(a->dev);
	CUmemGenericAllocationHandle h;
	CUresult r = CK_DRV(cuMemCreate, CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *,
			    unsigned long long)(&h, a->mapped, &prop, 0);
	if (r != CUDA_SUCCESS)
		return r;
	r = CK_DRV(cuMemMap, CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle,
		   unsigned long long)(a->addr, a->mapped, 0, h, 0);
	if (r == CUDA_SUCCESS) {
		r = grant(a->addr, a->mapped, a->dev);
		if (r != CUDA_SUCCESS)
			CK_DRV(cuMemUnmap, CUdeviceptr, size_t)(a->addr, a->mapped);
	}
	if (r != CUDA_SUCCESS)
		CK_DRV(cuMemRelease, CUmemGenericAllocationHandle)(h);
	else
		a->handle = h;
	return r;
}

CUresult ck_mem_unback(struct ck_alloc *a)
{
	if (!a->handle)
		return CUDA_SUCCESS;
	CUresult r = CK_DRV(cuMemUnmap, CUdeviceptr, size_t)(a->addr, a->mapped);
	if (r != CUDA_SUCCESS)
		return r;
	CUmemGenericAllocationHandle h = a->handle;
	a->handle = 0;
	return CK_DRV(cuMemRelease, CUmemGenericAllocationHandle)(h);
}

bool ck_mem_alloc(CUdeviceptr *p, size_t size)
{
	CUcontext ctx = NULL;
	CUdevice dev = -1;
	if (!p || !ck_state.supervised || !ck_state.offload || atomic_load(&off) || size < ck_state.offload_min)
		return false;
	if (CK_DRV(cuCtxGetCurrent, CUcontext *)(&ctx) != CUDA_SUCCESS || !ctx ||
	    CK_DRV(cuCtxGetDevice, CUdevice *)(&dev) != CUDA_SUCCESS || dev < 0 || dev >= MAX_DEVICES)
		return false;
	uint64_t g = granularity_of(dev);
	if (g == UINT64_MAX || size > UINT64_MAX - g)
		return false;
	struct ck_alloc a = { .size = size, .mapped = (size + g - 1) / g * g, .ctx = ctx, .dev = dev,
		.kind = CK_ALLOC_OFFLOAD, .stack = ck_stack_here() };
	if (CK_DRV(cuMemAddressReserve, CUdeviceptr *, size_t, size_t, CUdeviceptr,
		   unsigned long long)(&a.addr, a.mapped, 0, 0, 0) != CUDA_SUCCESS)
		return false;
	if (ck_mem_back(&a) == CUDA_SUCCESS) {
		ck_ctx_note(ctx, dev);
		if (ck_track_add(&a) == 0) {
			*p = a.addr;
			return true;
		}
		ck_mem_unback(&a);
	}
	CK_DRV(cuMemAddressFree, CUdeviceptr, size_t)(a.addr, a.mapped);
	return false;
}

void ck_mem_note(CUdeviceptr p, size_t size)
{
	CUcontext ctx = NULL;
	CUdevice dev = -1;
	if (!ck_state.supervised || CK_DRV(cuCtxGetCurrent, CUcontext *)(&ctx) != CUDA_SUCCESS ||
	    CK_DRV(cuCtxGetDevice, CUdevice *)(&dev) != CUDA_SUCCESS)
		return;
	struct ck_alloc a = { .addr = p, .size = size, .ctx = ctx, .dev = dev, .kind = CK_ALLOC_DRIVER,
		.stack = ck_stack_here() };
	ck_ctx_note(ctx, dev);
	(void)ck_track_add(&a); /* out of memory: only the report is poorer */
}

CUresult ck_mem_free(const struct ck_alloc *a, bool ctx_alive)
{
	struct ck_alloc b = *a;
	CUcontext old;
	/* cuMemFree waits for work that may still use the memory; cuMemUnmap would pull it away. */
	if (ctx_alive && CK_DRV(cuCtxPushCurrent_v2, CUcontext)(b.ctx) == CUDA_SUCCESS) {
		CUresult r = CK_DRV(cuCtxSynchronize, void)();
		CK_DRV(cuCtxPopCurrent_v2, CUcontext *)(&old);
		if (r != CUDA_SUCCESS && r != CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
			ck_debug("synchronising before a free: error %d", r);
	}
	CUresult r = ck_mem_unback(&b);
	CUresult f = CK_DRV(cuMemAddressFree, CUdeviceptr, size_t)(b.addr, b.mapped);
	return r != CUDA_SUCCESS ? r : f;
}

void ck_mem_free_ctx(CUcontext ctx)
{
	struct ck_alloc a;
	while (ck_track_take_ctx(ctx, &a))
		if (a.kind == CK_ALLOC_OFFLOAD)
			ck_mem_free(&a, false);
}

void ck_mem_peer(CUdevice from, CUdevice to, bool on)
{
	if (from < 0 || to < 0 || from >= MAX_DEVICES || to >= MAX_DEVICES || from == to)
		return;
	if (!on) {
		/* Access that stays granted harms nobody; it goes with the next mapping. */
		atomic_fetch_sub(&peers[from][to], 1);
		return;
	}
	if (atomic_fetch_add(&peers[from][to], 1) > 0)
		return;
	size_t n;
	struct ck_alloc *t = ck_track_lock(&n);
	for (size_t i = 0; i < n; i++)
		if (t[i].kind == CK_ALLOC_OFFLOAD && t[i].dev == to && t[i].handle)
			grant(t[i].addr, t[i].mapped, to);
	ck_track_unlock();
}
