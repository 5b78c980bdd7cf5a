/* cu_min.h - the few driver entries that the benchmarks call, got as any program gets them. */
#ifndef BENCH_CU_MIN_H
#define BENCH_CU_MIN_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../shim/cuda_abi.h"

#define CU_MIN(X)                                                                     \
	X(cuInit, (unsigned flags))                                                   \
	X(cuDeviceGet, (CUdevice *dev, int ordinal))                                  \
	X(cuDevicePrimaryCtxRetain, (CUcontext *ctx, CUdevice dev))                   \
	X(cuCtxSetCurrent, (CUcontext ctx))                                           \
	X(cuCtxGetDevice, (CUdevice *dev))                                            \
	X(cuStreamQuery, (CUstream stream))                                           \
	X(cuMemAlloc_v2, (CUdeviceptr *ptr, size_t size))                             \
	X(cuMemFree_v2, (CUdeviceptr ptr))                                            \
	X(cuMemcpyHtoD_v2, (CUdeviceptr dst, const void *src, size_t size))           \
	X(cuMemcpyDtoH_v2, (void *dst, CUdeviceptr src, size_t size))

#define X(name, params) static CUresult(*name) params;
CU_MIN(X)
#undef X

static void cu_must(CUresult r, const char *call)
{
	if (r == CUDA_SUCCESS)
		return;
	fprintf(stderr, "bench: %s gives %d\n", call, (int)r);
	exit(3);
}

#define CU(call) cu_must(call, #call)

/* The driver, and a context of device 0. */
static void cu_min_open(void)
{
	void *lib = dlopen("libcuda.so.1", RTLD_NOW);
	if (!lib) {
		fprintf(stderr, "bench: %s\n", dlerror());
		exit(3);
	}
#define X(name, params)                                             \
	*(void **)&name = dlsym(lib, #name);                        \
	if (!name) {                                                \
		fputs("bench: no " #name " in the driver\n", stderr); \
		exit(3);                                            \
	}
	CU_MIN(X)
#undef X
	CUcontext ctx;
	CUdevice dev;
	CU(cuInit(0));
	CU(cuDeviceGet(&dev, 0));
	CU(cuDevicePrimaryCtxRetain(&ctx, dev));
	CU(cuCtxSetCurrent(ctx));
}

#endif
