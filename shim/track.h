/* track.h - every device allocation of this process: where, how large, whose, made by which call stack.
 *
 * One mutex guards the table. Its memory comes from mmap. The lock is a leaf: no driver call, no
 * callback runs under it, but for ck_track_lock()'s holders in the control thread (gate shut).
 */
#ifndef CK_TRACK_H
#define CK_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda_abi.h"

enum ck_alloc_kind {
	CK_ALLOC_DRIVER,  /* the driver's own: residue, put away by its checkpoint */
	CK_ALLOC_OFFLOAD, /* ours: reserved range, physical memory that can be given up */
};

struct ck_alloc {
	CUdeviceptr addr;
	uint64_t size;	 /* bytes the program asked for */
	uint64_t mapped; /* bytes reserved and mapped (OFFLOAD), a multiple of the granularity */
	CUmemGenericAllocationHandle handle; /* OFFLOAD; 0 while the physical memory is given up */
	CUcontext ctx;
	CUdevice dev;
	uint32_t stack; /* shim/stack.h; UINT32_MAX: none */
	enum ck_alloc_kind kind;
};

/* ck_track_add - 0, or -1 when out of memory (nothing added). */
int ck_track_add(const struct ck_alloc *a);

/* ck_track_find - the allocation that contains @addr, copied to *@out. */
bool ck_track_find(CUdeviceptr addr, struct ck_alloc *out);

/* ck_track_take - remove the allocation that begins at @addr and copy it to *@out. False: there is none. */
bool ck_track_take(CUdeviceptr addr, struct ck_alloc *out);

/* ck_track_take_ctx - remove any one allocation of @ctx and copy it out. False: none is left. */
bool ck_track_take_ctx(CUcontext ctx, struct ck_alloc *out);

/* ck_track_lock ... ck_track_unlock - the whole table, sorted by address, *@n long. The holder may change
 * `handle` only. */
struct ck_alloc *ck_track_lock(size_t *n);
void ck_track_unlock(void);

/* ck_track_totals - bytes asked for, by kind. */
void ck_track_totals(uint64_t *offloaded, uint64_t *driver);

/* ck_track_after_fork - the child owns none of it. */
void ck_track_after_fork(void);

#endif
