/* vm.h - what vm.c and vm_ckpt.c share. */
#ifndef CKSIM_VM_H
#define CKSIM_VM_H

#include "cksim.h"

struct cksim_vm {
	pthread_mutex_t lock;
	struct cksim_va **va; /* sorted by address, without overlap */
	size_t n, cap;
	struct cksim_phys *phys;
	uint64_t generation, grants;
};
extern struct cksim_vm cksim_vm;

/* cksim_shadow_reserve - @size bytes that nobody can touch, at @at (replacing what is there) or anywhere.
 * A forked child does not get them: device memory is not its own. NULL on failure. */
unsigned char *cksim_shadow_reserve(void *at, uint64_t size);

/* cksim_shadow_map - put the pages of @map where they belong in @v's shadow. 0 or -1. */
int cksim_shadow_map(const struct cksim_va *v, const struct cksim_map *map);

#endif
