/* drv.h - the driver API for the probe and the measurements: opened by name at run time, a call at a time,
 * so that an old driver, the simulated one, or none at all gives an answer and not a failed start. */
#ifndef GPU_DRV_H
#define GPU_DRV_H

#include "../../shim/cuda_abi.h"

/* X(name as exported, parameters). Opaque handles that cuda_abi.h does not name travel as void *. */
#define DRV_TABLE(X)                                                                                          \
	X(cuInit, (unsigned flags))                                                                           \
	X(cuDriverGetVersion, (int *version))                                                                 \
	X(cuGetErrorName, (CUresult error, const char **name))                                                \
	X(cuDeviceGetCount, (int *n))                                                                         \
	X(cuDeviceGet, (CUdevice * dev, int ordinal))                                                         \
	X(cuDeviceGetName, (char *name, int len, CUdevice dev))                                               \
	X(cuDeviceGetAttribute, (int *value, int attribute, CUdevice dev))                                    \
	X(cuDeviceTotalMem_v2, (size_t *bytes, CUdevice dev))                                                 \
	X(cuDevicePrimaryCtxRetain, (CUcontext * ctx, CUdevice dev))                                          \
	X(cuCtxSetCurrent, (CUcontext ctx))                                                                   \
	X(cuCtxSynchronize, (void))                                                                           \
	X(cuModuleLoadData, (CUmodule * mod, const void *image))                                              \
	X(cuModuleGetFunction, (CUfunction * fn, CUmodule mod, const char *name))                             \
	X(cuModuleGetGlobal_v2, (CUdeviceptr * ptr, size_t *size, CUmodule mod, const char *name))            \
	X(cuMemAlloc_v2, (CUdeviceptr * ptr, size_t size))                                                    \
	X(cuMemFree_v2, (CUdeviceptr ptr))                                                                    \
	X(cuMemAllocManaged, (CUdeviceptr * ptr, size_t size, unsigned flags))                                \
	X(cuMemAllocAsync, (CUdeviceptr * ptr, size_t size, CUstream stream))                                 \
	X(cuMemcpyHtoD_v2, (CUdeviceptr dst, const void *src, size_t size))                                   \
	X(cuMemcpyDtoH_v2, (void *dst, CUdeviceptr src, size_t size))                                         \
	X(cuMemcpyHtoDAsync_v2, (CUdeviceptr dst, const void *src, size_t size, CUstream stream))             \
	X(cuMemcpyDtoHAsync_v2, (void *dst, CUdeviceptr src, size_t size, CUstream stream))                   \
	X(cuMemsetD32_v2, (CUdeviceptr dst, unsigned value, size_t count))                                    \
	X(cuMemsetD32Async, (CUdeviceptr dst, unsigned value, size_t count, CUstream stream))                 \
	X(cuMemHostAlloc, (void **ptr, size_t size, unsigned flags))                                          \
	X(cuMemHostGetDevicePointer_v2, (CUdeviceptr * ptr, void *host, unsigned flags))                      \
	X(cuMemHostRegister_v2, (void *ptr, size_t size, unsigned flags))                                     \
	X(cuMemHostUnregister, (void *ptr))                                                                   \
	X(cuMemGetAllocationGranularity, (size_t *size, const CUmemAllocationProp *prop, int option))         \
	X(cuMemAddressReserve, (CUdeviceptr * ptr, size_t size, size_t align, CUdeviceptr at, uint64_t flags)) \
	X(cuMemCreate,                                                                                        \
	  (CUmemGenericAllocationHandle * handle, size_t size, const CUmemAllocationProp *prop, uint64_t flags)) \
	X(cuMemRelease, (CUmemGenericAllocationHandle handle))                                                \
	X(cuMemMap, (CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle, uint64_t flags)) \
	X(cuMemUnmap, (CUdeviceptr ptr, size_t size))                                                         \
	X(cuMemSetAccess, (CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count))          \
	X(cuMemExportToShareableHandle, (void *out, CUmemGenericAllocationHandle handle, int type, uint64_t flags)) \
	X(cuMemImportFromShareableHandle, (CUmemGenericAllocationHandle * handle, void *from, int type))      \
	X(cuIpcGetMemHandle, (void *handle, CUdeviceptr ptr))                                                 \
	X(cuStreamCreate, (CUstream * stream, unsigned flags))                                                \
	X(cuStreamSynchronize, (CUstream stream))                                                             \
	X(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))                                \
	X(cuStreamBeginCapture_v2, (CUstream stream, int mode))                                               \
	X(cuStreamEndCapture, (CUstream stream, void **graph))                                                \
	X(cuGraphInstantiateWithFlags, (void **exec, void *graph, uint64_t flags))                            \
	X(cuGraphLaunch, (void *exec, CUstream stream))                                                       \
	X(cuEventCreate, (CUevent * event, unsigned flags))                                                   \
	X(cuEventRecord, (CUevent event, CUstream stream))                                                    \
	X(cuEventQuery, (CUevent event))                                                                      \
	X(cuEventElapsedTime, (float *ms, CUevent from, CUevent to))                                          \
	X(cuLaunchKernel,                                                                                     \
	  (CUfunction fn, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,       \
	   unsigned shared, CUstream stream, void **params, void **extra))                                    \
	X(cuGetProcAddress_v2, (const char *symbol, void **fn, int version, uint64_t flags, int *status))     \
	X(cuCheckpointProcessGetState, (int pid, CUprocessState *state))                                      \
	X(cuCheckpointProcessLock, (int pid, CUcheckpointLockArgs *args))                                     \
	X(cuCheckpointProcessCheckpoint, (int pid, CUcheckpointCheckpointArgs *args))                         \
	X(cuCheckpointProcessRestore, (int pid, CUcheckpointRestoreArgs *args))                               \
	X(cuCheckpointProcessUnlock, (int pid, CUcheckpointUnlockArgs *args))

/* An entry that the driver lacks stands here as a function that gives CUDA_ERROR_NOT_SUPPORTED. */
struct drv {
#define X(name, params) CUresult(*name) params;
	DRV_TABLE(X)
#undef X
	void *lib;
};
extern struct drv drv;

/* drv_open - load libcuda.so.1. 0, or -1: drv_error() says why. drv_has - does the driver export it? */
int drv_open(void);
const char *drv_error(void);
int drv_has(const char *name);

/* drv_name - "CUDA_ERROR_..." of a result; never NULL. */
const char *drv_name(CUresult r);

/* drv_start - drv_open, cuInit, primary context of device 0 made current, kernels loaded. Returns the first
 * failure, its call named by drv_error(). */
CUresult drv_start(CUmodule *mod);

/* drv_launch - one-dimensional. */
CUresult drv_launch(CUmodule mod, const char *name, unsigned blocks, unsigned threads, CUstream s, void **params);

/* drv_seconds - of a clock that never goes back. */
double drv_seconds(void);

#endif
