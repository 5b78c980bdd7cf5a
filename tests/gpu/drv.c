/* drv.c - see drv.h. */
#define _GNU_SOURCE
#include "drv.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct drv drv;
static char error[256];

extern const char gpu_kernels_ptx[];

static CUresult lacking(void)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

static void resolve(const char *name, void *slot)
{
	void *p = dlsym(drv.lib, name);
	CUresult (*none)(void) = lacking;
	if (p)
		memcpy(slot, &p, sizeof p);
	else
		memcpy(slot, &none, sizeof none);
}

int drv_open(void)
{
	if (drv.lib)
		return 0;
	drv.lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!drv.lib) {
		snprintf(error, sizeof error, "%s", dlerror());
		return -1;
	}
#define X(name, params) resolve(#name, &drv.name);
	DRV_TABLE(X)
#undef X
	return 0;
}

const char *drv_error(void)
{
	return error;
}

int drv_has(const char *name)
{
	return drv.lib && dlsym(drv.lib, name) != NULL;
}

const char *drv_name(CUresult r)
{
	static _Thread_local char number[32];
	const char *name = NULL;
	if (drv.lib && drv.cuGetErrorName(r, &name) == CUDA_SUCCESS && name)
		return name;
	snprintf(number, sizeof number, "CUDA error %d", (int)r);
	return number;
}

CUresult drv_start(CUmodule *mod)
{
	CUdevice dev;
	CUcontext ctx;
	CUresult r;
	if (drv_open())
		return CUDA_ERROR_SHARED_OBJECT_INIT_FAILED;
#define TRY(call)                                                                                          \
	if ((r = (call)) != CUDA_SUCCESS) {                                                                \
		snprintf(error, sizeof error, "%s: %s", drv_name(r), #call);                               \
		return r;                                                                                  \
	}
	TRY(drv.cuInit(0));
	TRY(drv.cuDeviceGet(&dev, 0));
	TRY(drv.cuDevicePrimaryCtxRetain(&ctx, dev));
	TRY(drv.cuCtxSetCurrent(ctx));
	TRY(drv.cuModuleLoadData(mod, gpu_kernels_ptx));
#undef TRY
	return CUDA_SUCCESS;
}

CUresult drv_launch(CUmodule mod, const char *name, unsigned blocks, unsigned threads, CUstream s, void **params)
{
	CUfunction fn;
	CUresult r = drv.cuModuleGetFunction(&fn, mod, name);
	if (r == CUDA_SUCCESS)
		r = drv.cuLaunchKernel(fn, blocks, 1, 1, threads, 1, 1, 0, s, params, NULL);
	return r;
}

double drv_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
