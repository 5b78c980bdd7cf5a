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

/* The rest is called with the lock held. */

/* cksim_va_at - the range that holds @addr, or NULL. */
struct cksim_va *cksim_va_at(uint64_t addr);
/* cksim_va_new - a range with an empty shadow, at @hint if it is free there. NULL: no room.
 * cksim_va_free - forget it and unmap its shadow; its mappings are the caller's affair. */
struct cksim_va *cksim_va_new(enum cksim_va_kind kind, uint64_t size, uint64_t align, uint64_t hint);
void cksim_va_free(struct cksim_va *v);
/* cksim_phys_new - memory of the device @dev, without a reference yet. cksim_phys_put - give it back if nobody
 * has it any more. cksim_phys_known - is @q one of ours? It is not touched. */
CUresult cksim_phys_new(int dev, uint64_t size, struct cksim_phys **out);
void cksim_phys_put(struct cksim_phys *p);
int cksim_phys_known(struct cksim_phys *q);
/* cksim_map_of - the mapping in @v that holds @addr, or NULL. cksim_map_add - put @map into @v, sorted, and into
 * the shadow: 0 or -1. */
struct cksim_map *cksim_map_of(const struct cksim_va *v, uint64_t addr);
int cksim_map_add(struct cksim_va *v, struct cksim_map *map);

#endif
