/* cu.h - the CUDA driver API as the test programs call it, and the ways they come to it. One source is built
 * in each way; CU_FORM says which:
 *
 *   CU_LINKED         linked against libcuda.so.1
 *   CU_DLOPEN         dlopen by soname, dlsym of each entry (runtimes before 11.3)
 *   CU_ABSPATH        dlopen by absolute path (CUDA_LIB_PATH, or where the soname leads), dlsym of each
 *   CU_PROCADDR       cuGetProcAddress_v2 for everything (runtimes since 12)
 *   CU_PROCADDR_PTDS  the same with per-thread default streams
 */
#ifndef CU_H
#define CU_H

#include <stdlib.h>

#include "../../shim/cuda_abi.h"
#include "prog.h"

#define CU_LINKED 1
#define CU_DLOPEN 2
#define CU_ABSPATH 3
#define CU_PROCADDR 4
#define CU_PROCADDR_PTDS 5

/* X(exported name, name for cuGetProcAddress, parameters) */
#define CU_FUNCS(X)                                                                                        \
	X(cuInit, cuInit, (unsigned))                                                                      \
	X(cuGetErrorName, cuGetErrorName, (CUresult, const char **))                                       \
	X(cuDeviceGet, cuDeviceGet, (CUdevice *, int))                                                     \
	X(cuDeviceGetName, cuDeviceGetName, (char *, int, CUdevice))                                       \
	X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                     \
	X(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease, (CUdevice))                             \
	X(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext))                                                   \
	X(cuCtxSynchronize, cuCtxSynchronize, (void))                                                      \
	X(cuModuleLoadData, cuModuleLoadData, (CUmodule *, const void *))                                  \
	X(cuModuleGetFunction, cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                \
	X(cuModuleGetGlobal_v2, cuModuleGetGlobal, (CUdeviceptr *, size_t *, CUmodule, const char *))      \
	X(cuMemAlloc_v2, cuMemAlloc, (CUdeviceptr *, size_t))                                              \
	X(cuMemAllocPitch_v2, cuMemAllocPitch, (CUdeviceptr *, size_t *, size_t, size_t, unsigned))        \
	X(cuMemFree_v2, cuMemFree, (CUdeviceptr))                                                          \
	X(cuMemGetInfo_v2, cuMemGetInfo, (size_t *, size_t *))                                             \
	X(cuMemGetAddressRange_v2, cuMemGetAddressRange, (CUdeviceptr *, size_t *, CUdeviceptr))           \
	X(cuPointerGetAttribute, cuPointerGetAttribute, (void *, int, CUdeviceptr))                        \
	X(cuMemcpyHtoD_v2, cuMemcpyHtoD, (CUdeviceptr, const void *, size_t))                              \
	X(cuMemcpyDtoH_v2, cuMemcpyDtoH, (void *, CUdeviceptr, size_t))                                    \
	X(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync, (CUdeviceptr, const void *, size_t, CUstream))          \
	X(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync, (void *, CUdeviceptr, size_t, CUstream))                \
	X(cuMemsetD8_v2, cuMemsetD8, (CUdeviceptr, unsigned char, size_t))                                 \
	X(cuMemHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned))                                     \
	X(cuMemFreeHost, cuMemFreeHost, (void *))                                                          \
	X(cuMemHostRegister_v2, cuMemHostRegister, (void *, size_t, unsigned))                             \
	X(cuMemHostUnregister, cuMemHostUnregister, (void *))                                              \
	X(cuStreamCreate, cuStreamCreate, (CUstream *, unsigned))                                          \
	X(cuStreamDestroy_v2, cuStreamDestroy, (CUstream))                                                 \
	X(cuStreamSynchronize, cuStreamSynchronize, (CUstream))                                            \
	X(cuStreamWaitEvent, cuStreamWaitEvent, (CUstream, CUevent, unsigned))                             \
	X(cuEventCreate, cuEventCreate, (CUevent *, unsigned))                                             \
	X(cuEventRecord, cuEventRecord, (CUevent, CUstream))                                               \
	X(cuEventSynchronize, cuEventSynchronize, (CUevent))                                               \
	X(cuLaunchKernel, cuLaunchKernel,                                                                  \
	  (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **, void **))

struct cu {
#define X(name, base, params) CUresult(*name) params;
	CU_FUNCS(X)
#undef X
};
extern struct cu cu;

/* cu_open - find the driver in the way this program was built; exits with 3 when there is none. */
void cu_open(void);

/* CU(cuMemAlloc_v2, &p, n): call, and exit with 3, naming call and error, when it fails. */
void cu_check(CUresult r, const char *call);
#define CU(fn, ...) cu_check(cu.fn(__VA_ARGS__), #fn)

/* cu_start - cu_open, cuInit, the first device's primary context made current. */
CUcontext cu_start(void);

/* cu_launch - @f over @blocks x @threads (one-dimensional) in @s, with up to 8 pointers to arguments. */
void cu_launch(CUfunction f, unsigned blocks, unsigned threads, CUstream s, void **args);
CUfunction cu_function(CUmodule m, const char *name);

#define PTX_TEXT(symbol) extern const char symbol[]

#endif
