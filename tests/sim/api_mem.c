/* api_mem.c - exports: device and host memory, and what is known about a pointer. */
#define _GNU_SOURCE
#include "cksim.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static uint64_t page_up(uint64_t n)
{
	return (n + 4095) & ~4095ull;
}

static CUresult mem_alloc(CUdeviceptr *out, size_t size)
{
	struct cksim_ctx *c = cksim_ctx_current();
	uint64_t addr;
	if (!out || !size)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult r = cksim_vm_alloc(c, c->dev, size, &addr);
	if (!r)
		*out = addr;
	return r;
}

API(cuMemAlloc_v2, CUdeviceptr *out, size_t size)
{
	ENTER(CKSIM_WORK);
	return mem_alloc(out, size);
}

API(cuMemAllocPitch_v2, CUdeviceptr *out, size_t *pitch, size_t width, size_t height, unsigned element)
{
	ENTER(CKSIM_WORK);
	if (!out || !pitch || !width || !height || (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	size_t p = (width + 511) / 512 * 512;
	CUresult r = mem_alloc(out, p * height);
	if (!r)
		*pitch = p;
	return r;
}

/* Freeing waits for what may still use the memory, as the driver does. */
API(cuMemFree_v2, CUdeviceptr addr)
{
	ENTER(CKSIM_WORK);
	struct cksim_where w;
	if (!addr)
		return CUDA_SUCCESS;
	if (!cksim_vm_find(addr, &w) || w.base != addr)
		return CUDA_ERROR_INVALID_VALUE;
	cksim_all_wait();
	if (w.kind == CKSIM_VA_MANAGED) {
		if (!cksim_vm_host_del((void *)(uintptr_t)addr, 0, CKSIM_VA_MANAGED))
			return CUDA_ERROR_INVALID_VALUE;
		munmap((void *)(uintptr_t)addr, page_up(w.size));
		cksim.managed--;
		return CUDA_SUCCESS;
	}
	return cksim_vm_free(addr);
}

API(cuMemGetInfo_v2, size_t *left, size_t *total)
{
	ENTER(CKSIM_WORK);
	uint64_t l, t;
	if (!left || !total)
		return CUDA_ERROR_INVALID_VALUE;
	cksim_machine_info(cksim.devmap[cksim_ctx_current()->dev], &l, &t);
	*left = l;
	*total = t;
	return CUDA_SUCCESS;
}

API(cuMemGetAddressRange_v2, CUdeviceptr *base, size_t *size, CUdeviceptr addr)
{
	ENTER(CKSIM_WORK);
	struct cksim_where w;
	if (!cksim_vm_find(addr, &w) || (w.kind == CKSIM_VA_RESERVED && !w.phys))
		return CUDA_ERROR_NOT_FOUND;
	if (base)
		*base = w.base;
	if (size)
		*size = w.size;
	return CUDA_SUCCESS;
}

/* --- host memory ------------------------------------------------------------------------------------------ */

static CUresult host_alloc(void **out, size_t size, unsigned flags, enum cksim_va_kind kind)
{
	if (!out || !size)
		return CUDA_ERROR_INVALID_VALUE;
	void *p = mmap(NULL, page_up(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult r = cksim_vm_host_add(cksim_ctx_current(), p, size, flags, kind, 0);
	if (r)
		munmap(p, page_up(size));
	else
		*out = p;
	return r;
}

API(cuMemHostAlloc, void **out, size_t size, unsigned flags)
{
	ENTER(CKSIM_WORK);
	return flags & ~7u ? CUDA_ERROR_INVALID_VALUE : host_alloc(out, size, flags, CKSIM_VA_HOST);
}

API(cuMemAllocHost_v2, void **out, size_t size)
{
	ENTER(CKSIM_WORK);
	return host_alloc(out, size, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP, CKSIM_VA_HOST);
}

API(cuMemFreeHost, void *p)
{
	ENTER(CKSIM_WORK);
	struct cksim_where w;
	uint64_t addr = (uint64_t)(uintptr_t)p;
	if (!cksim_vm_find(addr, &w) || w.kind != CKSIM_VA_HOST || w.registered || w.base != addr)
		return CUDA_ERROR_INVALID_VALUE;
	cksim_all_wait();
	uint64_t size = cksim_vm_host_del(p, 0, CKSIM_VA_HOST);
	if (!size)
		return CUDA_ERROR_INVALID_VALUE;
	munmap(p, page_up(size));
	return CUDA_SUCCESS;
}

API(cuMemHostRegister_v2, void *p, size_t size, unsigned flags)
{
	ENTER(CKSIM_WORK);
	if (!p || !size || flags & ~15u)
		return CUDA_ERROR_INVALID_VALUE;
	return cksim_vm_host_add(cksim_ctx_current(), p, size, flags, CKSIM_VA_HOST, 1);
}

API(cuMemHostUnregister, void *p)
{
	ENTER(CKSIM_WORK);
	cksim_all_wait();
	return cksim_vm_host_del(p, 1, CKSIM_VA_HOST) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

API(cuMemHostGetDevicePointer_v2, CUdeviceptr *out, void *p, unsigned flags)
{
	ENTER(CKSIM_WORK);
	struct cksim_where w;
	if (!out || flags || !cksim_vm_find((uint64_t)(uintptr_t)p, &w) || w.kind != CKSIM_VA_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	*out = (uint64_t)(uintptr_t)p;
	return CUDA_SUCCESS;
}

API(cuMemHostGetFlags, unsigned *flags, void *p)
{
	ENTER(CKSIM_WORK);
	struct cksim_where w;
	if (!flags || !cksim_vm_find((uint64_t)(uintptr_t)p, &w) || w.kind != CKSIM_VA_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = w.flags;
	return CUDA_SUCCESS;
}

/* Managed memory is plain memory that kernels may touch: right, and never checkpointed (see ckpt.c). */
API(cuMemAllocManaged, CUdeviceptr *out, size_t size, unsigned flags)
{
	ENTER(CKSIM_WORK);
	void *p;
	if (!out || (flags != 1 && flags != 2))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult r = host_alloc(&p, size, flags, CKSIM_VA_MANAGED);
	if (!r) {
		cksim.managed++;
		*out = (uint64_t)(uintptr_t)p;
	}
	return r;
}

/* --- stream-ordered allocation: made at once, freed in the stream's order --------------------------------- */

static CUresult alloc_async(CUdeviceptr *out, size_t size, CUstream h, int ptsz)
{
	struct cksim_stream *s;
	uint64_t addr;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (r)
		return r;
	if (!out || !size)
		return CUDA_ERROR_INVALID_VALUE;
	r = cksim_vm_alloc(s->ctx, s->ctx->dev, size, &addr);
	if (!r)
		*out = addr;
	return r;
}

API(cuMemAllocAsync, CUdeviceptr *out, size_t size, CUstream h)
{
	ENTER(CKSIM_WORK);
	return alloc_async(out, size, h, 0);
}

API(cuMemAllocAsync_ptsz, CUdeviceptr *out, size_t size, CUstream h)
{
	ENTER(CKSIM_WORK);
	return alloc_async(out, size, h, 1);
}

static CUresult free_async(CUdeviceptr addr, CUstream h, int ptsz)
{
	struct cksim_stream *s;
	struct cksim_where w;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (r)
		return r;
	if (!cksim_vm_find(addr, &w) || w.base != addr || w.kind != CKSIM_VA_BLOCK)
		return CUDA_ERROR_INVALID_VALUE;
	struct cksim_op *op = cksim_op_new(CKSIM_OP_FREE);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->addr = addr;
	return cksim_submit(s, op, NULL, 0);
}

API(cuMemFreeAsync, CUdeviceptr addr, CUstream h)
{
	ENTER(CKSIM_WORK);
	return free_async(addr, h, 0);
}

API(cuMemFreeAsync_ptsz, CUdeviceptr addr, CUstream h)
{
	ENTER(CKSIM_WORK);
	return free_async(addr, h, 1);
}

/* --- pointer attributes ------------------------------------------------------------------------------------ */

static void put(void *data, const void *value, size_t size)
{
	memcpy(data, value, size);
}

/* One attribute of @addr into @data, with the width the driver gives it. */
static CUresult pointer_attribute(void *data, int attr, CUdeviceptr addr)
{
	struct cksim_where w;
	if (!data)
		return CUDA_ERROR_INVALID_VALUE;
	if (!cksim_vm_find(addr, &w))
		return CUDA_ERROR_INVALID_VALUE;
	int host = w.kind == CKSIM_VA_HOST, managed = w.kind == CKSIM_VA_MANAGED;
	uint64_t delta = addr - w.base;
	union { uint64_t u64; void *p; int i; unsigned u; unsigned char b; } v = { 0 };
	size_t size = sizeof v.i;
	switch (attr) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		v.p = w.ctx, size = sizeof v.p;
		break;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		v.u = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		v.u64 = addr, size = sizeof v.u64;
		break;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		if (!host && !managed)
			return CUDA_ERROR_INVALID_VALUE;
		v.p = (void *)(uintptr_t)(w.base + delta), size = sizeof v.p;
		break;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		v.b = (unsigned char)managed, size = 1;
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		v.i = w.dev;
		break;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		v.b = w.kind == CKSIM_VA_BLOCK, size = 1;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		v.u64 = w.base, size = sizeof v.u64;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		v.u64 = w.size, size = sizeof v.u64;
		break;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		v.b = w.kind != CKSIM_VA_RESERVED || w.phys, size = 1;
		break;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		v.u = w.kind != CKSIM_VA_RESERVED || (w.rw >> w.dev & 1) ? 3 : (w.ro >> w.dev & 1);
		break;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		size = sizeof v.p;
		break;
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		v.u64 = w.size, size = sizeof v.u64;
		break;
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		v.u64 = w.base, size = sizeof v.u64;
		break;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
	put(data, &v, size);
	return CUDA_SUCCESS;
}

API(cuPointerGetAttribute, void *data, int attr, CUdeviceptr addr)
{
	ENTER(CKSIM_WORK);
	return pointer_attribute(data, attr, addr);
}

/* An unknown pointer is no error here: each attribute gets its null. */
API(cuPointerGetAttributes, unsigned n, int *attrs, void **data, CUdeviceptr addr)
{
	ENTER(CKSIM_WORK);
	struct cksim_where w;
	if (!n || !attrs || !data)
		return CUDA_ERROR_INVALID_VALUE;
	int known = cksim_vm_find(addr, &w);
	for (unsigned i = 0; i < n; i++) {
		if (known && !pointer_attribute(data[i], attrs[i], addr))
			continue;
		int wide = attrs[i] == CU_POINTER_ATTRIBUTE_CONTEXT || attrs[i] == CU_POINTER_ATTRIBUTE_DEVICE_POINTER ||
			   attrs[i] == CU_POINTER_ATTRIBUTE_HOST_POINTER || attrs[i] == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR ||
			   attrs[i] == CU_POINTER_ATTRIBUTE_RANGE_SIZE || attrs[i] == CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE ||
			   attrs[i] >= CU_POINTER_ATTRIBUTE_MAPPING_SIZE;
		int byte = attrs[i] == CU_POINTER_ATTRIBUTE_IS_MANAGED || attrs[i] == CU_POINTER_ATTRIBUTE_MAPPED ||
			   attrs[i] == CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE;
		memset(data[i], attrs[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL ? 0xff : 0, wide ? 8 : byte ? 1 : 4);
	}
	return CUDA_SUCCESS;
}

/* Only CU_POINTER_ATTRIBUTE_SYNC_MEMOPS (6) can be set; copies here are ordered anyway. */
API(cuPointerSetAttribute, const void *value, int attr, CUdeviceptr addr)
{
	ENTER(CKSIM_WORK);
	struct cksim_where w;
	return value && attr == 6 && cksim_vm_find(addr, &w) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
