#define _GNU_SOURCE
#include "hook.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "state.h"

/* One string for all names, and where each begins in it. */
static const struct {
#define E(name, since, policy, nargs, classes) char name[sizeof #name];
#include "api.def"
#undef E
} names = {
#define E(name, since, policy, nargs, classes) #name,
#include "api.def"
#undef E
};

static const struct {
	uint16_t name;
	uint16_t since;
} rows[CK_ENTRY_COUNT] = {
#define E(name, since, policy, nargs, classes) { offsetof(__typeof__(names), name), since },
#include "api.def"
#undef E
};

/* Distances of the wrappers from the table itself; the linker knows them. */
CK_HIDDEN extern const int32_t ck_wrapper_at[CK_ENTRY_COUNT];
__asm__(".pushsection .rodata\n.balign 4\n.globl ck_wrapper_at\n.hidden ck_wrapper_at\nck_wrapper_at:\n"
#define E(name, since, policy, nargs, classes) ".long " #name " - ck_wrapper_at\n"
#include "api.def"
#undef E
	".popsection");

_Static_assert(sizeof names < 65536, "offsets of names take 16 bits");

const char *ck_api_name(int e)
{
	return (const char *)&names + rows[e].name;
}

int ck_api_since(int e)
{
	return rows[e].since;
}

void *ck_api_wrapper(int e)
{
	return (char *)(uintptr_t)ck_wrapper_at + ck_wrapper_at[e];
}

_Atomic(void *) ck_real[CK_ENTRY_COUNT];

/* Used by dlsym_x86_64.S */
CK_HIDDEN void *(*ck_real_dlsym)(void *, const char *);
CK_HIDDEN void *(*ck_real_dlopen)(const char *, int);
void *ck_hook_dlsym(void *handle, const char *name);
void ck_hook_resolve(void);
int ck_hook_deepbind(const char *file, int flags);

static pthread_mutex_t bind_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(bool) bound;
static char driver_path[4096];

/* Used by the doors in dlsym_x86_64.S, 32 bytes of code each. */
#define CK_DOORS 256
CK_HIDDEN extern const char ck_hook_door[];
CK_HIDDEN void *ck_door_target[CK_DOORS];
CK_HIDDEN _Atomic(uint8_t) ck_door_used[CK_DOORS];
static char door_name[CK_DOORS][64];
static unsigned ndoors;

/* Name -> entry, open addressing; filled under bind_lock, before `bound`. */
#define HASH_SIZE 2048
static uint16_t by_name[HASH_SIZE];
static _Atomic(bool) names_ready;

static unsigned hash_name(const char *s)
{
	unsigned h = 2166136261u;
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h % HASH_SIZE;
}

static void fill_names(void)
{
	if (atomic_load(&names_ready))
		return;
	for (unsigned i = 0; i < CK_ENTRY_COUNT; i++) {
		unsigned h = hash_name(ck_api_name(i));
		while (by_name[h])
			h = (h + 1) % HASH_SIZE;
		by_name[h] = (uint16_t)(i + 1);
	}
	atomic_store(&names_ready, true);
}

static int find_name(const char *name)
{
	if (!atomic_load(&names_ready)) {
		pthread_mutex_lock(&bind_lock);
		fill_names();
		pthread_mutex_unlock(&bind_lock);
	}
	for (unsigned h = hash_name(name); by_name[h]; h = (h + 1) % HASH_SIZE)
		if (strcmp(ck_api_name(by_name[h] - 1), name) == 0)
			return by_name[h] - 1;
	return -1;
}

/* dlvsym, because a plain dlsym here would be our own. The versioned lookup is a hit, which allocates
 * nothing; both callers bound to 2.2.5 and to 2.34 are served by it. */
void ck_hook_resolve(void)
{
	if (!ck_real_dlsym)
		ck_real_dlsym = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
	if (!ck_real_dlopen)
		ck_real_dlopen = (void *(*)(const char *, int))dlvsym(RTLD_NEXT, "dlopen", "GLIBC_2.2.5");
}

int ck_hook_deepbind(const char *file, int flags)
{
	static _Atomic(bool) said;
	if (!(flags & RTLD_DEEPBIND) || !ck_state.supervised)
		return flags;
	if (!atomic_exchange(&said, true))
		ck_say("%s: loaded without RTLD_DEEPBIND, which would hide its CUDA calls from ckshim",
		       file ? file : "a library");
	return flags & ~RTLD_DEEPBIND;
}

static const char *base_name(const char *path)
{
	const char *s = strrchr(path, '/');
	return s ? s + 1 : path;
}

bool ck_hook_is_driver_code(const void *addr)
{
	Dl_info d;
	if (!dladdr(addr, &d) || !d.dli_fname)
		return false;
	const char *b = base_name(d.dli_fname);
	return strncmp(b, "libcuda.so", 10) == 0 || strncmp(b, "libnvidia-", 10) == 0;
}

/* Take every entry of the table from the driver at @path. Misses set dlerror's text, which belongs to
 * the program: clear it. */
static void bind_driver(const char *path)
{
	pthread_mutex_lock(&bind_lock);
	if (!atomic_load(&bound)) {
		ck_hook_resolve();
		void *h = ck_real_dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
		if (h) {
			fill_names();
			for (unsigned i = 0; i < CK_ENTRY_COUNT; i++) {
				void *f = ck_real_dlsym(h, ck_api_name(i));
				if (f != ck_api_wrapper(i))
					atomic_store_explicit(&ck_real[i], f, memory_order_relaxed);
			}
			Dl_info d;
			void *init = atomic_load(&ck_real[CK_ENTRY_cuInit]);
			if (init && dladdr(init, &d) && d.dli_fname) {
				char *abs = realpath(d.dli_fname, NULL);
				strncpy(driver_path, abs ? abs : d.dli_fname, sizeof driver_path - 1);
				free(abs);
			}
			atomic_store(&bound, init != NULL);
		}
		dlerror();
	}
	pthread_mutex_unlock(&bind_lock);
}

static CUresult missing_entry(void)
{
	return CUDA_ERROR_NOT_FOUND;
}

void *ck_real_slow(enum ck_entry e)
{
	if (!atomic_load(&bound))
		bind_driver("libcuda.so.1");
	void *f = atomic_load(&ck_real[e]);
	return f ? f : (void *)missing_entry;
}

bool ck_hook_has(enum ck_entry e)
{
	return ck_real_get(e) != (void *)missing_entry;
}

const char *ck_hook_driver_path(void)
{
	return atomic_load(&bound) && driver_path[0] ? driver_path : NULL;
}

/* An entry that the table does not know gets a door: the driver's own code, but its use is noticed. When
 * the doors run out the entry counts as used. */
static void *door_for(const char *name, void *real)
{
	void *door = real;
	pthread_mutex_lock(&bind_lock);
	unsigned i = 0;
	while (i < ndoors && ck_door_target[i] != real)
		i++;
	if (i == ndoors && ndoors < CK_DOORS) {
		ck_door_target[i] = real;
		strncpy(door_name[i], name, sizeof door_name[i] - 1);
		ndoors++;
		ck_debug("driver entry %s is not in ckshim's table", name);
	}
	if (i < ndoors)
		door = (char *)ck_hook_door + 32 * i;
	else
		atomic_store(&ck_door_used[CK_DOORS - 1], 1);
	pthread_mutex_unlock(&bind_lock);
	return door;
}

const char *ck_hook_unknown(void)
{
	for (unsigned i = 0; i < CK_DOORS; i++)
		if (atomic_load(&ck_door_used[i]))
			return door_name[i];
	return NULL;
}

/* The entry that cuGetProcAddress means by a base name: the newest export of that name which is no newer
 * than asked, of the per-thread family if asked for and there is one. The table's `since` column tells;
 * suffixes are never guessed. */
static int find_version(const char *name, int version, bool per_thread)
{
	size_t len = strlen(name);
	int best = -1, best_since = -1;
	for (int pass = per_thread ? 0 : 1; pass < 2 && best < 0; pass++) {
		for (int i = 0; i < CK_ENTRY_COUNT; i++) {
			const char *n = ck_api_name(i);
			if (strncmp(n, name, len) != 0)
				continue;
			const char *t = n + len;
			if (t[0] == '_' && t[1] == 'v' && t[2] >= '2' && t[2] <= '9')
				t += 3;
			bool pt = strcmp(t, "_ptds") == 0 || strcmp(t, "_ptsz") == 0;
			if ((*t && !pt) || pt != (pass == 0))
				continue;
			if (ck_api_since(i) <= version && ck_api_since(i) > best_since) {
				best = i;
				best_since = ck_api_since(i);
			}
		}
	}
	return best;
}

void *ck_hook_wrap(const char *name, void *real, int version, uint64_t flags)
{
	if (!real)
		return real;
	int e = version ? find_version(name, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
			: find_name(name);
	if (e >= 0 && atomic_load(&ck_real[e]) == real)
		return ck_api_wrapper(e);
	if (version)
		for (int i = 0; i < CK_ENTRY_COUNT; i++)
			if (atomic_load(&ck_real[i]) == real)
				return ck_api_wrapper(i);
	/* Not an address that the driver exports under a name we know. If the name and version are in the
	 * table it is the same function by another door: our wrapper calls the exported one. */
	if (version && e >= 0 && atomic_load(&ck_real[e])) {
		ck_debug("%s version %d: the driver gave an address of its own", name, version);
		return ck_api_wrapper(e);
	}
	return version || ck_hook_is_driver_code(real) ? door_for(name, real) : real;
}

/* dlsym of a name that reads cu[A-Z]...: reached by tail jump, so the return address is the program's. */
void *ck_hook_dlsym(void *handle, const char *name)
{
	ck_hook_resolve();
	void *real = ck_real_dlsym(handle, name);
	if (!real)
		return NULL;
	int e = find_name(name);
	if (e >= 0 && real == ck_api_wrapper(e)) {
		/* The global scope found us first. That is the right answer only if a driver is there. */
		real = ck_real_get((enum ck_entry)e);
		return real == (void *)missing_entry ? NULL : ck_api_wrapper(e);
	}
	if (!atomic_load(&bound)) {
		Dl_info d;
		if (!dladdr(real, &d) || !d.dli_fname || strncmp(base_name(d.dli_fname), "libcuda.so", 10) != 0)
			return real;
		bind_driver(d.dli_fname);
	}
	return ck_hook_wrap(name, real, 0, 0);
}

static CUresult after_get_proc(const char *name, void **pfn, int version, uint64_t flags, CUresult r)
{
	if (r == CUDA_SUCCESS && pfn && *pfn && name)
		*pfn = ck_hook_wrap(name, *pfn, version, flags);
	return r;
}

CK_EXPORT CUresult cuGetProcAddress(const char *name, void **pfn, int version, uint64_t flags);
CK_EXPORT CUresult cuGetProcAddress(const char *name, void **pfn, int version, uint64_t flags)
{
	CUresult r = CK_DRV(cuGetProcAddress, const char *, void **, int, uint64_t)(name, pfn, version, flags);
	return after_get_proc(name, pfn, version, flags, r);
}

CK_EXPORT CUresult cuGetProcAddress_v2(const char *name, void **pfn, int version, uint64_t flags, int *status);
CK_EXPORT CUresult cuGetProcAddress_v2(const char *name, void **pfn, int version, uint64_t flags, int *status)
{
	CUresult r = CK_DRV(cuGetProcAddress_v2, const char *, void **, int, uint64_t, int *)(name, pfn, version,
											     flags, status);
	return after_get_proc(name, pfn, version, flags, r);
}
