/* hook.h - the ways into the driver, and the real entries behind our wrappers.
 *
 * A program reaches the driver by being linked against it (our exports come first in symbol order), by
 * dlopen and dlsym (our dlsym), or through cuGetProcAddress (our wrapper). In each case we learn the
 * address of the real entry from the driver itself and hand out the wrapper of that very entry.
 */
#ifndef CK_HOOK_H
#define CK_HOOK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "api.h"
#include "cuda_abi.h"

#define CK_EXPORT __attribute__((visibility("default")))
#define CK_HIDDEN __attribute__((visibility("hidden")))

/* Rows of the table, by entry. Offsets and no pointers: a table of pointers is relocated at every start of
 * every process, also of those that never use a GPU. */
const char *ck_api_name(int e);
int ck_api_since(int e);
void *ck_api_wrapper(int e);

/* The driver's own entries; NULL until bound, and for entries that the driver lacks. */
extern _Atomic(void *) ck_real[CK_ENTRY_COUNT];

/* ck_real_slow - bind to a driver that the program is linked with, if any. Returns the entry, or a
 * function that takes anything and returns CUDA_ERROR_NOT_FOUND. Thread-safe. */
void *ck_real_slow(enum ck_entry e);

static inline void *ck_real_get(enum ck_entry e)
{
	void *f = atomic_load_explicit(&ck_real[e], memory_order_relaxed);
	return __builtin_expect(f != NULL, 1) ? f : ck_real_slow(e);
}

/* CK_DRV(cuMemAlloc_v2, CUdeviceptr *, size_t)(&p, n): call the driver's own entry. */
#define CK_DRV(name, ...) ((CUresult(*)(__VA_ARGS__))ck_real_get(CK_ENTRY_##name))

/* ck_hook_has - the driver has this entry. */
bool ck_hook_has(enum ck_entry e);

/* ck_hook_wrap - what to hand out for @real, the driver's answer to @name (@version, @flags as given to
 * cuGetProcAddress; version 0: asked by exact symbol name). Entries that the table does not know go to the
 * driver as they are, and their first use is remembered. */
void *ck_hook_wrap(const char *name, void *real, int version, uint64_t flags);

/* ck_hook_unknown - a driver entry that the table does not know and that the program has called, or NULL. */
const char *ck_hook_unknown(void);

/* ck_hook_driver_path - path of the driver library in use, or NULL while there is none. */
const char *ck_hook_driver_path(void);

/* ck_hook_is_driver_code - @addr lies in the driver's or one of its companions' code (libcuda,
 * libnvidia-*). Takes the loader's lock. */
bool ck_hook_is_driver_code(const void *addr);

#endif
