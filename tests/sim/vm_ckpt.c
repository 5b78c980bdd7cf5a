/* vm_ckpt.c - device memory on its way out of the device and back, and where it is seen meanwhile.
 *
 * Everything here may run while other threads of the program are stopped at any instruction, inside
 * malloc too: so no heap, only system calls.
 */
#define _GNU_SOURCE
#include "vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../../shim/base/io.h"

#define vm cksim_vm

/* A GPU driver maps tens of megabytes of registers and queues. This stands for them: something large
 * enough that memory mapped meanwhile by a careless thread is likely to land in its place. */
#define APERTURE (64ull << 20)
static void *aperture;

unsigned char *cksim_shadow_reserve(void *at, uint64_t size)
{
	void *p = mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0), -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	madvise(p, size, MADV_DONTFORK);
	return p;
}

int cksim_shadow_map(const struct cksim_va *v, const struct cksim_map *map)
{
	const struct cksim_phys *p = map->phys;
	unsigned char *at = v->shadow + (map->addr - v->addr);
	uint32_t i = (uint32_t)(map->offset / CKSIM_PAGE), end = i + (uint32_t)(map->size / CKSIM_PAGE);
	int fd = cksim_machine_fd(cksim.devmap[p->dev]);
	while (i < end) {
		uint32_t run = 1;
		while (i + run < end && p->pages[i + run] == p->pages[i] + run)
			run++;
		if (mmap(at, run * CKSIM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 (off_t)(p->pages[i] * CKSIM_PAGE)) == MAP_FAILED)
			return -1;
		madvise(at, run * CKSIM_PAGE, MADV_DONTFORK);
		at += run * CKSIM_PAGE;
		i += run;
	}
	return 0;
}

int cksim_vm_aperture(void)
{
	int fixed = aperture ? MAP_FIXED : 0;
	void *p = mmap(aperture, APERTURE, PROT_NONE, MAP_SHARED | fixed, cksim_machine_fd(0), 0);
	if (p == MAP_FAILED)
		return -1;
	madvise(p, APERTURE, MADV_DONTFORK);
	aperture = p;
	return 0;
}

static void saved_free(struct cksim_phys *p)
{
	if (p->saved)
		munmap(p->saved, p->npages * CKSIM_PAGE);
	p->saved = NULL;
}

/* The injected fault slow-link: as if @bytes had gone over a link of so many MiB/s. */
static void link_delay(uint64_t bytes)
{
	char arg[64];
	uint64_t speed;
	if (!cksim_fault("slow-link", arg) || !(speed = strtoull(arg, NULL, 10)))
		return;
	uint64_t ns = bytes * 1000 / speed * 1000 / 1048576 * 1000;
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
	nanosleep(&t, NULL);
}

CUresult cksim_vm_save(void)
{
	for (struct cksim_phys *p = vm.phys; p; p = p->next) {
		int fd = cksim_machine_fd(cksim.devmap[p->dev]);
		p->saved = mmap(NULL, p->npages * CKSIM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p->saved == MAP_FAILED)
			p->saved = NULL;
		int bad = !p->saved;
		for (uint32_t i = 0; !bad && i < p->npages; i++)
			bad = ck_pread_full(fd, (char *)p->saved + i * CKSIM_PAGE, CKSIM_PAGE,
					    (off_t)(p->pages[i] * CKSIM_PAGE)) != 0;
		link_delay(p->npages * CKSIM_PAGE);
		if (!bad)
			continue;
		for (struct cksim_phys *q = vm.phys; q; q = q->next)
			saved_free(q);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return CUDA_SUCCESS;
}

static int has_shadow(const struct cksim_va *v)
{
	return v->kind == CKSIM_VA_BLOCK || v->kind == CKSIM_VA_RESERVED;
}

void cksim_vm_drop(void)
{
	for (struct cksim_phys *p = vm.phys; p; p = p->next) {
		cksim_pages_drop(cksim.devmap[p->dev], p->npages, p->pages);
		p->granted = 0;
	}
	for (size_t i = 0; i < vm.n; i++)
		if (has_shadow(vm.va[i]))
			munmap(vm.va[i]->shadow, vm.va[i]->size);
	munmap(aperture, APERTURE);
}

CUresult cksim_vm_regain(void)
{
	CUresult r = CUDA_SUCCESS;
	for (struct cksim_phys *p = vm.phys; p && !r; p = p->next) {
		int mdev = cksim.devmap[p->dev];
		r = cksim_pages_grant(mdev, p->npages, p->pages);
		p->granted = !r;
		for (uint32_t i = 0; !r && i < p->npages; i++)
			if (ck_pwrite_full(cksim_machine_fd(mdev), (char *)p->saved + i * CKSIM_PAGE, CKSIM_PAGE,
					   (off_t)(p->pages[i] * CKSIM_PAGE)))
				r = CUDA_ERROR_OPERATING_SYSTEM;
		link_delay(p->npages * CKSIM_PAGE);
	}
	if (!r)
		return r;
	for (struct cksim_phys *p = vm.phys; p; p = p->next)
		if (p->granted) {
			cksim_pages_drop(cksim.devmap[p->dev], p->npages, p->pages);
			p->granted = 0;
		}
	return r;
}

/* MAP_FIXED, like the driver: who let something else be mapped here since loses it. */
CUresult cksim_vm_remap(void)
{
	if (cksim_vm_aperture())
		return CUDA_ERROR_OPERATING_SYSTEM;
	for (size_t i = 0; i < vm.n; i++) {
		struct cksim_va *v = vm.va[i];
		if (!has_shadow(v))
			continue;
		if (!cksim_shadow_reserve(v->shadow, v->size))
			return CUDA_ERROR_OPERATING_SYSTEM;
		for (struct cksim_map *m = v->maps; m; m = m->next)
			if (cksim_shadow_map(v, m))
				return CUDA_ERROR_OPERATING_SYSTEM;
	}
	for (struct cksim_phys *p = vm.phys; p; p = p->next)
		saved_free(p);
	return CUDA_SUCCESS;
}

/* The lists are left to leak: their memory may be half-written copies of the parent's. */
void cksim_vm_forget(void)
{
	memset(&vm, 0, sizeof vm);
	pthread_mutex_init(&vm.lock, NULL);
	aperture = NULL;
}
