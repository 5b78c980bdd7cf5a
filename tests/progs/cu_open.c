/* cu_open.c - the ways to reach the driver, one for each value of CU_WAY:
 *
 *   1 linked        against libcuda.so.1
 *   2 dlopen        by soname, then dlsym of each function, as static runtimes before 11.3 do
 *   3 abspath       dlopen by absolute path: CUDA_LIB_PATH, or where the soname is found
 *   4 procaddr      dlsym of cuGetProcAddress_v2 alone, then everything through it, as new runtimes do
 *   5 procaddr-ptds the same, asking for the per-thread default stream
 */
#define _GNU_SOURCE
#include "cu.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cu cu;

void cu_check(CUresult r, const char *call)
{
	const char *name = NULL;
	if (r == CUDA_SUCCESS)
		return;
	if (!cu.cuGetErrorName || cu.cuGetErrorName(r, &name) != CUDA_SUCCESS || !name)
		name = "unknown error";
	fprintf(stderr, "%s (%d): %.*s\n", name, (int)r, (int)strcspn(call, "("), call);
	exit(3);
}

#if CU_WAY == 1

#define X(name, params) extern CUresult name params;
CU_TABLE(X)
#undef X

void cu_open(void)
{
#define X(name, params) cu.name = name;
	CU_TABLE(X)
#undef X
}

#else

static void die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why ? why : "not found");
	exit(3);
}

static void *open_driver(void)
{
	void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
#if CU_WAY == 3
	char path[4096];
	const char *given = getenv("CUDA_LIB_PATH");
	struct link_map *map;
	if (given) {
		snprintf(path, sizeof path, "%s", given);
	} else {
		/* the loader's own record: dlsym and dladdr may be somebody's wrapper */
		if (!lib || dlinfo(lib, RTLD_DI_LINKMAP, &map) != 0)
			die("libcuda.so.1", dlerror());
		char *real = realpath(map->l_name, NULL);
		snprintf(path, sizeof path, "%s", real ? real : map->l_name);
		free(real);
	}
	if (lib)
		dlclose(lib);
	lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
#endif
	if (!lib)
		die("libcuda.so.1", dlerror());
	return lib;
}

#if CU_WAY < 4

static void find(void *lib, const char *name, void *out)
{
	void *p = dlsym(lib, name);
	if (!p)
		die(name, dlerror());
	memcpy(out, &p, sizeof p);
}

#else

typedef CUresult get_proc_fn(const char *symbol, void **fn, int version, uint64_t flags, int *status);
static get_proc_fn *get_proc;

/* cuMemAlloc_v2 is known to it as cuMemAlloc: the version chooses. */
static void find(void *lib, const char *name, void *out)
{
	char base[128];
	void *p = NULL;
	int status = -1;
	uint64_t flags = CU_WAY == 5 ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM : CU_GET_PROC_ADDRESS_DEFAULT;
	if (!get_proc) {
		p = dlsym(lib, "cuGetProcAddress_v2");
		if (!p)
			die("cuGetProcAddress_v2", dlerror());
		memcpy(&get_proc, &p, sizeof p);
	}
	snprintf(base, sizeof base, "%s", name);
	size_t n = strlen(base);
	if (n > 3 && !strcmp(base + n - 3, "_v2"))
		base[n - 3] = 0;
	p = NULL;
	CUresult r = get_proc(base, &p, 12000, flags, &status);
	if (r != CUDA_SUCCESS || status != CU_GET_PROC_ADDRESS_SUCCESS || !p)
		die(base, "cuGetProcAddress_v2 does not have it");
	memcpy(out, &p, sizeof p);
}

#endif

void cu_open(void)
{
	void *lib = open_driver();
#define X(name, params) find(lib, #name, &cu.name);
	CU_TABLE(X)
#undef X
}

#endif

CUmodule cu_setup(CUcontext *ctx)
{
	CUdevice dev;
	CUmodule mod;
	cu_open();
	CU(cuInit(0));
	CU(cuDeviceGet(&dev, 0));
	CU(cuDevicePrimaryCtxRetain(ctx, dev));
	CU(cuCtxSetCurrent(*ctx));
	CU(cuModuleLoadData(&mod, kernels_ptx));
	return mod;
}

CUfunction cu_function(CUmodule mod, const char *name)
{
	CUfunction fn;
	CU(cuModuleGetFunction(&fn, mod, name));
	return fn;
}

void cu_launch1(CUfunction fn, unsigned n, unsigned block, CUstream stream, void **params)
{
	CU(cuLaunchKernel(fn, (n + block - 1) / block, 1, 1, block, 1, 1, 0, stream, params, NULL));
}
