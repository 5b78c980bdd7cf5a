/* wrap_mem.c - device memory, wrapped by hand: allocation, free, and the questions whose answers would
 * otherwise betray how it is backed. */
#include <stdatomic.h>
#include <stdbool.h>

#include "base/log.h"
#include "gate.h"
#include "hook.h"
#include "mem.h"
#include "state.h"
#include "track.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static CUresult alloc(CUdeviceptr *p, size_t size)
{
	if (ck_mem_alloc(p, size))
		return CUDA_SUCCESS;
	CUresult r = CK_DRV(cuMemAlloc_v2, CUdeviceptr *, size_t)(p, size);
	if (r == CUDA_SUCCESS)
		ck_mem_note(*p, size);
	return r;
}

CK_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t size)
{
	ck_gate_enter(CK_ENTRY_cuMemAlloc_v2);
	CUresult r = alloc(p, size);
	ck_gate_exit();
	return r;
}

/* The pitch is the driver's business: it depends on the device. It is learnt from the driver by a small
 * allocation of the same width, once for each width asked. */
static CUresult alloc_pitch(CUdeviceptr *p, size_t *pitch, size_t width, size_t height, unsigned element)
{
	CUdeviceptr probe;
	size_t row = 0;
	if (p && pitch && ck_state.supervised && height > 1 && width && width <= SIZE_MAX / height &&
	    width * height >= ck_state.offload_min &&
	    CK_DRV(cuMemAllocPitch_v2, CUdeviceptr *, size_t *, size_t, size_t,
		   unsigned)(&probe, &row, width, 1, element) == CUDA_SUCCESS) {
		CK_DRV(cuMemFree_v2, CUdeviceptr)(probe);
		if (row >= width && row <= SIZE_MAX / height && ck_mem_alloc(p, row * height)) {
			*pitch = row;
			return CUDA_SUCCESS;
		}
	}
	CUresult r = CK_DRV(cuMemAllocPitch_v2, CUdeviceptr *, size_t *, size_t, size_t, unsigned)(p, pitch, width,
												 height, element);
	if (r == CUDA_SUCCESS)
		ck_mem_note(*p, *pitch * height);
	return r;
}

CK_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr *p, size_t *pitch, size_t width, size_t height, unsigned element)
{
	ck_gate_enter(CK_ENTRY_cuMemAllocPitch_v2);
	CUresult r = alloc_pitch(p, pitch, width, height, element);
	ck_gate_exit();
	return r;
}

static CUresult release(CUdeviceptr p)
{
	struct ck_alloc a;
	bool ours = ck_track_find(p, &a) && a.addr == p;
	if (!ours || a.kind == CK_ALLOC_DRIVER) {
		CUresult r = CK_DRV(cuMemFree_v2, CUdeviceptr)(p);
		if (r == CUDA_SUCCESS && ours)
			ck_track_take(p, &a);
		return r;
	}
	/* Whoever takes it out of the table frees it: of two threads that free the same, one is told no. */
	return ck_track_take(p, &a) ? ck_mem_free(&a, true) : CUDA_ERROR_INVALID_VALUE;
}

CK_EXPORT CUresult cuMemFree_v2(CUdeviceptr p)
{
	ck_gate_enter(CK_ENTRY_cuMemFree_v2);
	CUresult r = release(p);
	ck_gate_exit();
	return r;
}

CK_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr p)
{
	struct ck_alloc a;
	ck_gate_enter(CK_ENTRY_cuMemGetAddressRange_v2);
	CUresult r = CUDA_SUCCESS;
	if (ck_track_find(p, &a) && a.kind == CK_ALLOC_OFFLOAD) {
		if (base)
			*base = a.addr;
		if (size)
			*size = a.size;
	} else
		r = CK_DRV(cuMemGetAddressRange_v2, CUdeviceptr *, size_t *, CUdeviceptr)(base, size, p);
	ck_gate_exit();
	return r;
}

/* What a pointer into our memory would have answered had cuMemAlloc made it. */
static void mend_attribute(void *data, int attribute, const struct ck_alloc *a)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = a->ctx;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)data = a->addr;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)data = a->size;
		break;
	default:
		break;
	}
}

CK_EXPORT CUresult cuPointerGetAttribute(void *data, int attribute, CUdeviceptr p)
{
	struct ck_alloc a;
	ck_gate_enter(CK_ENTRY_cuPointerGetAttribute);
	CUresult r = CK_DRV(cuPointerGetAttribute, void *, int, CUdeviceptr)(data, attribute, p);
	if (r == CUDA_SUCCESS && data && ck_track_find(p, &a) && a.kind == CK_ALLOC_OFFLOAD)
		mend_attribute(data, attribute, &a);
	ck_gate_exit();
	return r;
}

CK_EXPORT CUresult cuPointerGetAttributes(unsigned n, int *attributes, void **data, CUdeviceptr p)
{
	struct ck_alloc a;
	ck_gate_enter(CK_ENTRY_cuPointerGetAttributes);
	CUresult r = CK_DRV(cuPointerGetAttributes, unsigned, int *, void **, CUdeviceptr)(n, attributes, data, p);
	if (r == CUDA_SUCCESS && attributes && data && ck_track_find(p, &a) && a.kind == CK_ALLOC_OFFLOAD)
		for (unsigned i = 0; i < n; i++)
			if (data[i])
				mend_attribute(data[i], attributes[i], &a);
	ck_gate_exit();
	return r;
}

CK_EXPORT CUresult cuMemAllocManaged(CUdeviceptr *p, size_t size, unsigned flags)
{
	static _Atomic(bool) said;
	ck_gate_enter(CK_ENTRY_cuMemAllocManaged);
	CUresult r = CK_DRV(cuMemAllocManaged, CUdeviceptr *, size_t, unsigned)(p, size, flags);
	ck_gate_exit();
	if (r == CUDA_SUCCESS && ck_state.supervised && !atomic_exchange(&said, true))
		ck_say("this program uses managed memory, which no driver can checkpoint yet: it runs, but a "
		       "preemption will lose it");
	return r;
}

CK_EXPORT CUresult cuIpcGetMemHandle(void *handle, CUdeviceptr p)
{
	struct ck_alloc a;
	ck_gate_enter(CK_ENTRY_cuIpcGetMemHandle);
	if (ck_track_find(p, &a) && a.kind == CK_ALLOC_OFFLOAD)
		ck_mem_off("this program shares device memory between processes (cuIpcGetMemHandle), which needs "
			   "memory that the driver made; start it with CKSHIM_OFFLOAD=off if it stops now");
	CUresult r = CK_DRV(cuIpcGetMemHandle, void *, CUdeviceptr)(handle, p);
	ck_gate_exit();
	return r;
}
