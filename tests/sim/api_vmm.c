/* api_vmm.c - exports: the virtual memory API. A handle is the address of its cksim_phys. */
#include "cksim.h"

static int prop_ok(const CUmemAllocationProp *p)
{
	return p && p->type == CU_MEM_ALLOCATION_TYPE_PINNED && p->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
}

static struct cksim_phys *handle(CUmemGenericAllocationHandle h)
{
	struct cksim_phys *p = (struct cksim_phys *)(uintptr_t)h;
	return cksim_vm_phys_is(p) ? p : NULL;
}

API(cuMemGetAllocationGranularity, size_t *size, const CUmemAllocationProp *prop, int option)
{
	ENTER(CKSIM_TOUCH);
	if (!size || !prop_ok(prop) || option < 0 || option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->location.id < 0 || prop->location.id >= cksim.ndev)
		return CUDA_ERROR_INVALID_DEVICE;
	*size = CKSIM_PAGE;
	return CUDA_SUCCESS;
}

API(cuMemAddressReserve, CUdeviceptr *out, size_t size, size_t align, CUdeviceptr hint, unsigned long long flags)
{
	ENTER(CKSIM_TOUCH);
	uint64_t addr;
	if (!out || flags)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult r = cksim_vm_reserve(size, align, hint, &addr);
	if (!r)
		*out = addr;
	return r;
}

API(cuMemAddressFree, CUdeviceptr addr, size_t size)
{
	ENTER(CKSIM_TOUCH);
	return cksim_vm_unreserve(addr, size);
}

API(cuMemCreate, CUmemGenericAllocationHandle *out, size_t size, const CUmemAllocationProp *prop,
    unsigned long long flags)
{
	ENTER(CKSIM_TOUCH);
	struct cksim_phys *p;
	if (!out || !size || size % CKSIM_PAGE || !prop_ok(prop) || flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->requestedHandleTypes)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (prop->location.id < 0 || prop->location.id >= cksim.ndev)
		return CUDA_ERROR_INVALID_DEVICE;
	CUresult r = cksim_vm_create(prop->location.id, size, &p);
	if (!r)
		*out = (uint64_t)(uintptr_t)p;
	return r;
}

API(cuMemRelease, CUmemGenericAllocationHandle h)
{
	ENTER(CKSIM_TOUCH);
	return cksim_vm_release((struct cksim_phys *)(uintptr_t)h);
}

API(cuMemRetainAllocationHandle, CUmemGenericAllocationHandle *out, void *addr)
{
	ENTER(CKSIM_TOUCH);
	struct cksim_phys *p;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult r = cksim_vm_retain((uint64_t)(uintptr_t)addr, &p);
	if (!r)
		*out = (uint64_t)(uintptr_t)p;
	return r;
}

API(cuMemGetAllocationPropertiesFromHandle, CUmemAllocationProp *prop, CUmemGenericAllocationHandle h)
{
	ENTER(CKSIM_TOUCH);
	struct cksim_phys *p = handle(h);
	if (!prop || !p)
		return CUDA_ERROR_INVALID_VALUE;
	*prop = (CUmemAllocationProp){ .type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = { CU_MEM_LOCATION_TYPE_DEVICE, p->dev } };
	return CUDA_SUCCESS;
}

API(cuMemMap, CUdeviceptr addr, size_t size, size_t offset, CUmemGenericAllocationHandle h, unsigned long long flags)
{
	ENTER(CKSIM_TOUCH);
	return flags ? CUDA_ERROR_INVALID_VALUE : cksim_vm_map(addr, size, offset, (struct cksim_phys *)(uintptr_t)h);
}

/* On a GPU the caller must see to it that nothing uses the range. Here a kernel that still did would fault
 * on the host's side and kill the process, so it is waited for. */
API(cuMemUnmap, CUdeviceptr addr, size_t size)
{
	ENTER(CKSIM_TOUCH);
	cksim_all_wait();
	return cksim_vm_unmap(addr, size);
}

API(cuMemSetAccess, CUdeviceptr addr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	ENTER(CKSIM_TOUCH);
	if (!desc || !count)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count; i++) {
		if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE)
			return CUDA_ERROR_INVALID_VALUE;
		if (desc[i].location.id < 0 || desc[i].location.id >= cksim.ndev)
			return CUDA_ERROR_INVALID_DEVICE;
	}
	for (size_t i = 0; i < count; i++) {
		CUresult r = cksim_vm_access(addr, size, desc[i].location.id, desc[i].flags);
		if (r)
			return r;
	}
	return CUDA_SUCCESS;
}

API(cuMemGetAccess, unsigned long long *flags, const CUmemLocation *loc, CUdeviceptr addr)
{
	ENTER(CKSIM_TOUCH);
	struct cksim_where w;
	if (!flags || !loc || loc->type != CU_MEM_LOCATION_TYPE_DEVICE || loc->id < 0 || loc->id >= cksim.ndev ||
	    !cksim_vm_find(addr, &w) || w.kind != CKSIM_VA_RESERVED || !w.phys)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = w.rw >> loc->id & 1 ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : w.ro >> loc->id & 1;
	return CUDA_SUCCESS;
}
