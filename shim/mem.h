/* mem.h - device memory whose physical half can be given up while the address stays.
 *
 * An allocation of at least ck_state.offload_min bytes is made of the driver's virtual memory API:
 * address range reserved, physical memory created, mapped, access granted. A checkpoint unmaps and
 * releases the physical memory; a restore creates, maps and fills it again at the same address.
 * DESIGN "Device memory"; the virtual memory API is described in the CUDA Driver API manual.
 */
#ifndef CK_MEM_H
#define CK_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "cuda_abi.h"
#include "track.h"

/* ck_mem_alloc - @size bytes on the current context's device. On success the allocation is tracked and
 * *@p holds its address. False: not possible this way (too small, no such API, no room): ask the driver. */
bool ck_mem_alloc(CUdeviceptr *p, size_t size);

/* ck_mem_note - track an allocation that the driver made itself. */
void ck_mem_note(CUdeviceptr p, size_t size);

/* ck_mem_free - give back an OFFLOAD allocation already taken out of the table: waits for the work of its
 * context, unmaps, releases, frees the range. */
CUresult ck_mem_free(const struct ck_alloc *a, bool ctx_alive);

/* ck_mem_free_ctx - give back all that @ctx owned; it is gone already. */
void ck_mem_free_ctx(CUcontext ctx);

/* ck_mem_unback - release the physical memory of @a; @a->handle becomes 0. ck_mem_back - create and map
 * it anew, contents undefined. Gate shut. */
CUresult ck_mem_unback(struct ck_alloc *a);
CUresult ck_mem_back(struct ck_alloc *a);

/* ck_mem_peer - context of device @from may (or may no longer) access memory of device @to. */
void ck_mem_peer(CUdevice from, CUdevice to, bool on);

/* ck_mem_off - stop backing new allocations that way; @why is said once. */
void ck_mem_off(const char *why);

#endif
