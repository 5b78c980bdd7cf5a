#define _GNU_SOURCE
#include "cu.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct cu cu;

void cu_check(CUresult r, const char *call)
{
	const char *name = NULL;
	if (r == CUDA_SUCCESS)
		return;
	if (cu.cuGetErrorName)
		cu.cuGetErrorName(r, &name);
	prog_die(3, "%s: %s (%d)", call, name ? name : "CUDA error", r);
}

#if CU_FORM == CU_LINKED

#define X(name, base, params) extern CUresult name params;
CU_FUNCS(X)
#undef X

void cu_open(void)
{
#define X(name, base, params) cu.name = name;
	CU_FUNCS(X)
#undef X
}

#else

static void *library(void)
{
	const char *path = "libcuda.so.1";
#if CU_FORM == CU_ABSPATH
	static char abs[PATH_MAX];
	const char *given = getenv("CUDA_LIB_PATH");
	if (given) {
		path = given;
	} else {
		/* where the soname leads, found without opening it here: in a process of its own */
		FILE *f = popen("ldconfig -p 2>/dev/null | awk '/libcuda.so.1 / { print $NF; exit }'", "r");
		const char *dirs = getenv("LD_LIBRARY_PATH");
		char *list = strdup(dirs ? dirs : ""), *save = NULL;
		for (char *d = strtok_r(list, ":", &save); d && path[0] != '/'; d = strtok_r(NULL, ":", &save)) {
			char try[PATH_MAX];
			snprintf(try, sizeof try, "%s/libcuda.so.1", d);
			if (realpath(try, abs))
				path = abs;
		}
		if (path[0] != '/' && f && fgets(abs, sizeof abs, f)) {
			abs[strcspn(abs, "\n")] = 0;
			path = abs;
		}
		if (f)
			pclose(f);
		free(list);
	}
#endif
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!h)
		prog_die(3, "no CUDA driver: %s", dlerror());
	return h;
}

#if CU_FORM == CU_PROCADDR || CU_FORM == CU_PROCADDR_PTDS

void cu_open(void)
{
	CUresult (*get)(const char *, void **, int, uint64_t, int *);
	uint64_t flags = CU_FORM == CU_PROCADDR ? CU_GET_PROC_ADDRESS_DEFAULT
						: CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
	int status;
	*(void **)&get = dlsym(library(), "cuGetProcAddress_v2");
	if (!get)
		prog_die(3, "this driver has no cuGetProcAddress_v2");
#define X(name, base, params)                                                                              \
	if (get(#base, (void **)&cu.name, 12000, flags, &status) != CUDA_SUCCESS || !cu.name)              \
		prog_die(3, "cuGetProcAddress(" #base ") gives nothing");
	CU_FUNCS(X)
#undef X
}

#else

void cu_open(void)
{
	void *h = library();
#define X(name, base, params)                                                                              \
	*(void **)&cu.name = dlsym(h, #name);                                                              \
	if (!cu.name)                                                                                      \
		prog_die(3, "the driver has no " #name);
	CU_FUNCS(X)
#undef X
}

#endif
#endif

CUcontext cu_start(void)
{
	CUdevice dev;
	CUcontext ctx;
	cu_open();
	CU(cuInit, 0);
	CU(cuDeviceGet, &dev, 0);
	CU(cuDevicePrimaryCtxRetain, &ctx, dev);
	CU(cuCtxSetCurrent, ctx);
	return ctx;
}

CUfunction cu_function(CUmodule m, const char *name)
{
	CUfunction f;
	CU(cuModuleGetFunction, &f, m, name);
	return f;
}

void cu_launch(CUfunction f, unsigned blocks, unsigned threads, CUstream s, void **args)
{
	CU(cuLaunchKernel, f, blocks, 1, 1, threads, 1, 1, 0, s, args, NULL);
}
