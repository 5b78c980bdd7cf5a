/* api_table.c - from shim/api.def: a default for every export, and cuGetProcAddress.
 *
 * A default refuses with CUDA_ERROR_NOT_SUPPORTED; the definitions in the other api_*.c files replace it
 * at link time, since it is weak.
 */
#define _GNU_SOURCE
#include "cksim.h"

#include <string.h>

#include "../../shim/api.h"

/* The prototypes are api.def's own, not those of the definitions: here only names and sizes count. */
#define E(name, since, policy, nargs, classes)                                                        \
	__attribute__((weak, visibility("default"))) ck_i32 name(CK_PARAMS(nargs, classes));          \
	__attribute__((weak, visibility("default"))) ck_i32 name(CK_PARAMS(nargs, classes))           \
	{                                                                                             \
		return CUDA_ERROR_NOT_SUPPORTED;                                                      \
	}
#include "../../shim/api.def"
#undef E

static const struct row {
	const char *name;
	int since;
	void *entry;
} rows[] = {
#define E(name, since, policy, nargs, classes) { #name, since, (void *)name },
#include "../../shim/api.def"
#undef E
};

enum variant { PLAIN, PTDS, PTSZ };

/* A row's name without its suffixes: its length, version (1 without _vN) and variant. */
static size_t base_of(const char *name, int *version, enum variant *variant)
{
	size_t n = strlen(name);
	*variant = PLAIN;
	*version = 1;
	if (n > 5 && !strcmp(name + n - 5, "_ptds"))
		*variant = PTDS, n -= 5;
	else if (n > 5 && !strcmp(name + n - 5, "_ptsz"))
		*variant = PTSZ, n -= 5;
	if (n > 3 && name[n - 3] == '_' && name[n - 2] == 'v' && name[n - 1] >= '2' && name[n - 1] <= '9')
		*version = name[n - 1] - '0', n -= 3;
	return n;
}

/* The newest version not above @version; of its variants the one asked for where there is one. */
static void *find_entry(const char *symbol, int version, int per_thread, int *known)
{
	const struct row *best = NULL;
	int best_v = 0;
	enum variant best_t = PLAIN;
	size_t len = strlen(symbol);
	*known = 0;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int v;
		enum variant t;
		if (base_of(rows[i].name, &v, &t) != len || memcmp(rows[i].name, symbol, len))
			continue;
		*known = 1;
		if (rows[i].since > version || (t != PLAIN && !per_thread))
			continue;
		if (!best || v > best_v || (v == best_v && t > best_t))
			best = &rows[i], best_v = v, best_t = t;
	}
	return best ? best->entry : NULL;
}

CUresult cksim_proc_address(const char *symbol, void **fn, int version, uint64_t flags, int *status)
{
	int known;
	if (!symbol || !fn || version < 2000 || (flags & ~3ull) || flags == 3)
		return CUDA_ERROR_INVALID_VALUE;
	if (version > cksim_driver_version())
		version = cksim_driver_version();
	*fn = find_entry(symbol, version, (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0, &known);
	int s = *fn ? CU_GET_PROC_ADDRESS_SUCCESS :
		known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	if (status) {
		*status = s;
		return CUDA_SUCCESS;
	}
	return *fn ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
