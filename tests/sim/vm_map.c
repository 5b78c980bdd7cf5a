/* vm_map.c - the virtual memory API on the tables of vm.c: reserve, create, map, access, and back. */
#include "vm.h"

#include <stdlib.h>

#define vm cksim_vm

int cksim_vm_phys_is(struct cksim_phys *p)
{
	pthread_mutex_lock(&vm.lock);
	int r = cksim_phys_known(p) && p->refs > 0;
	pthread_mutex_unlock(&vm.lock);
	return r;
}

CUresult cksim_vm_reserve(uint64_t size, uint64_t align, uint64_t hint, uint64_t *addr)
{
	if (!size || size % CKSIM_PAGE || size > CKSIM_VA_HI || (align && (align & (align - 1))))
		return CUDA_ERROR_INVALID_VALUE;
	if (align < CKSIM_PAGE)
		align = CKSIM_PAGE;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_new(CKSIM_VA_RESERVED, size, align, hint);
	if (v)
		*addr = v->addr;
	pthread_mutex_unlock(&vm.lock);
	return v ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cksim_vm_unreserve(uint64_t addr, uint64_t size)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at(addr);
	if (v && v->kind == CKSIM_VA_RESERVED && v->addr == addr && v->size == size && !v->maps) {
		cksim_va_free(v);
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&vm.lock);
	return r;
}

CUresult cksim_vm_create(int dev, uint64_t size, struct cksim_phys **out)
{
	pthread_mutex_lock(&vm.lock);
	CUresult r = cksim_phys_new(dev, size, out);
	if (!r)
		(*out)->refs = 1;
	pthread_mutex_unlock(&vm.lock);
	return r;
}

CUresult cksim_vm_release(struct cksim_phys *p)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&vm.lock);
	if (cksim_phys_known(p) && p->refs > 0) {
		p->refs--;
		cksim_phys_put(p);
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&vm.lock);
	return r;
}

CUresult cksim_vm_retain(uint64_t addr, struct cksim_phys **out)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at(addr);
	struct cksim_map *m = v && v->kind == CKSIM_VA_RESERVED ? cksim_map_of(v, addr) : NULL;
	if (m) {
		m->phys->refs++;
		*out = m->phys;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&vm.lock);
	return r;
}

CUresult cksim_vm_map(uint64_t addr, uint64_t size, uint64_t offset, struct cksim_phys *p)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at(addr);
	int ok = v && v->kind == CKSIM_VA_RESERVED && size && size <= v->size && addr - v->addr <= v->size - size &&
		 addr % CKSIM_PAGE == 0 && size % CKSIM_PAGE == 0 && offset % CKSIM_PAGE == 0 && cksim_phys_known(p) &&
		 p->refs > 0 && offset + size <= p->npages * CKSIM_PAGE;
	for (struct cksim_map *m = ok ? v->maps : NULL; m; m = m->next)
		ok = ok && (m->addr >= addr + size || m->addr + m->size <= addr);
	if (ok) {
		struct cksim_map *m = calloc(1, sizeof *m);
		r = CUDA_ERROR_OUT_OF_MEMORY;
		if (m) {
			*m = (struct cksim_map){ .addr = addr, .size = size, .offset = offset, .phys = p };
			r = cksim_map_add(v, m) ? CUDA_ERROR_MAP_FAILED : CUDA_SUCCESS;
			if (r)
				free(m);
		}
	}
	vm.generation++;
	pthread_mutex_unlock(&vm.lock);
	return r;
}

/* Make @addr a border between mappings: ranges given to unmap and set access may cut through them. */
static int split_at(struct cksim_va *v, uint64_t addr)
{
	struct cksim_map *m = cksim_map_of(v, addr);
	if (!m || m->addr == addr)
		return 0;
	struct cksim_map *tail = malloc(sizeof *tail);
	if (!tail)
		return -1;
	*tail = *m;
	tail->addr = addr;
	tail->size = m->addr + m->size - addr;
	tail->offset += addr - m->addr;
	m->size = addr - m->addr;
	m->next = tail;
	m->phys->maps++;
	return 0;
}

/* Is [addr, addr + size) of the reservation @v mapped without a gap? Then cut at both ends. */
static int span_ok(struct cksim_va *v, uint64_t addr, uint64_t size)
{
	uint64_t at = addr, end = addr + size;
	if (!v || v->kind != CKSIM_VA_RESERVED || !size || end < addr || end > v->addr + v->size ||
	    addr % CKSIM_PAGE || size % CKSIM_PAGE)
		return 0;
	for (struct cksim_map *m = cksim_map_of(v, addr); m && at < end && m->addr <= at; m = m->next)
		at = m->addr + m->size;
	return at >= end && !split_at(v, addr) && !split_at(v, end);
}

CUresult cksim_vm_unmap(uint64_t addr, uint64_t size)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at(addr);
	if (span_ok(v, addr, size)) {
		for (struct cksim_map **at = &v->maps; *at;) {
			struct cksim_map *m = *at;
			if (m->addr < addr || m->addr >= addr + size) {
				at = &m->next;
				continue;
			}
			*at = m->next;
			cksim_shadow_reserve(v->shadow + (m->addr - v->addr), m->size);
			m->phys->maps--;
			cksim_phys_put(m->phys);
			free(m);
		}
		vm.generation++;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&vm.lock);
	return r;
}

CUresult cksim_vm_access(uint64_t addr, uint64_t size, int dev, int flags)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at(addr);
	if (span_ok(v, addr, size)) {
		for (struct cksim_map *m = v->maps; m; m = m->next) {
			if (m->addr < addr || m->addr >= addr + size)
				continue;
			m->rw &= ~(1u << dev);
			m->ro &= ~(1u << dev);
			if (flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
				m->rw |= 1u << dev;
			else if (flags)
				m->ro |= 1u << dev;
		}
		vm.generation++;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&vm.lock);
	return r;
}
