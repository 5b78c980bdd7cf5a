/* cu.h - the CUDA driver API as the test programs call it: a table of pointers, filled in one of the ways
 * in which real programs reach the driver (cu_open.c). */
#ifndef PROGS_CU_H
#define PROGS_CU_H

#include "../../shim/cuda_abi.h"

/* X(name as exported, parameters) */
#define CU_TABLE(X)                                                                                           \
	X(cuInit, (unsigned flags))                                                                           \
	X(cuDriverGetVersion, (int *version))                                                                 \
	X(cuGetErrorName, (CUresult error, const char **name))                                                \
	X(cuDeviceGet, (CUdevice * dev, int ordinal))                                                         \
	X(cuDeviceGetName, (char *name, int len, CUdevice dev))                                               \
	X(cuDevicePrimaryCtxRetain, (CUcontext * ctx, CUdevice dev))                                          \
	X(cuDevicePrimaryCtxRelease_v2, (CUdevice dev))                                                       \
	X(cuCtxSetCurrent, (CUcontext ctx))                                                                   \
	X(cuCtxSynchronize, (void))                                                                           \
	X(cuModuleLoadData, (CUmodule * mod, const void *image))                                              \
	X(cuModuleUnload, (CUmodule mod))                                                                     \
	X(cuModuleGetFunction, (CUfunction * fn, CUmodule mod, const char *name))                             \
	X(cuModuleGetGlobal_v2, (CUdeviceptr * ptr, size_t *size, CUmodule mod, const char *name))            \
	X(cuMemAlloc_v2, (CUdeviceptr * ptr, size_t size))                                                    \
	X(cuMemFree_v2, (CUdeviceptr ptr))                                                                    \
	X(cuMemGetInfo_v2, (size_t *free, size_t *total))                                                     \
	X(cuMemcpyHtoD_v2, (CUdeviceptr dst, const void *src, size_t size))                                   \
	X(cuMemcpyDtoH_v2, (void *dst, CUdeviceptr src, size_t size))                                         \
	X(cuMemcpyDtoD_v2, (CUdeviceptr dst, CUdeviceptr src, size_t size))                                   \
	X(cuMemcpyHtoDAsync_v2, (CUdeviceptr dst, const void *src, size_t size, CUstream stream))             \
	X(cuMemcpyDtoHAsync_v2, (void *dst, CUdeviceptr src, size_t size, CUstream stream))                   \
	X(cuMemsetD32_v2, (CUdeviceptr dst, unsigned value, size_t count))                                    \
	X(cuMemHostAlloc, (void **ptr, size_t size, unsigned flags))                                          \
	X(cuMemFreeHost, (void *ptr))                                                                         \
	X(cuMemHostRegister_v2, (void *ptr, size_t size, unsigned flags))                                     \
	X(cuMemHostUnregister, (void *ptr))                                                                   \
	X(cuStreamCreate, (CUstream * stream, unsigned flags))                                                \
	X(cuStreamSynchronize, (CUstream stream))                                                             \
	X(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))                                \
	X(cuStreamDestroy_v2, (CUstream stream))                                                              \
	X(cuEventCreate, (CUevent * event, unsigned flags))                                                   \
	X(cuEventRecord, (CUevent event, CUstream stream))                                                    \
	X(cuEventSynchronize, (CUevent event))                                                                \
	X(cuEventDestroy_v2, (CUevent event))                                                                 \
	X(cuLaunchKernel,                                                                                     \
	  (CUfunction fn, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,       \
	   unsigned shared, CUstream stream, void **params, void **extra))

struct cu {
#define X(name, params) CUresult(*name) params;
	CU_TABLE(X)
#undef X
};

/* The only instance. cu_open() fills it; on failure it prints why and exits with 3. */
extern struct cu cu;
void cu_open(void);

/* CU(cuInit(0)): the call through the table; an error prints its name and the call, and exits with 3. */
#define CU(call) cu_check(cu.call, #call)
void cu_check(CUresult r, const char *call);

/* The kernels' PTX, embedded; ends with a NUL. */
extern const char kernels_ptx[];

/* cu_setup - init, context of device 0, module. cu_launch1 - one-dimensional launch of n threads. */
CUmodule cu_setup(CUcontext *ctx);
CUfunction cu_function(CUmodule mod, const char *name);
void cu_launch1(CUfunction fn, unsigned n, unsigned block, CUstream stream, void **params);

#endif
