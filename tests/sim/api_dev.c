/* api_dev.c - exports: devices, versions, errors. None of them waits at the checkpoint gate: they touch no
 * GPU state. */
#define _GNU_SOURCE
#include "cksim.h"

#include <stdio.h>
#include <string.h>

#define NEED_DEVICE(d)                                                                                \
	do {                                                                                          \
		if ((d) < 0 || (d) >= cksim.ndev)                                                     \
			return CUDA_ERROR_INVALID_DEVICE;                                             \
	} while (0)

API(cuDriverGetVersion, int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = cksim_driver_version();
	return CUDA_SUCCESS;
}

API(cuDeviceGetCount, int *count)
{
	ENTER(CKSIM_INIT);
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = cksim.ndev;
	return CUDA_SUCCESS;
}

API(cuDeviceGet, CUdevice *dev, int ordinal)
{
	ENTER(CKSIM_INIT);
	if (!dev)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(ordinal);
	*dev = ordinal;
	return CUDA_SUCCESS;
}

API(cuDeviceGetName, char *name, int len, CUdevice dev)
{
	ENTER(CKSIM_INIT);
	if (!name || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(dev);
	snprintf(name, (size_t)len, "ckshim simulated GPU");
	return CUDA_SUCCESS;
}

static CUresult get_uuid(CUuuid *uuid, CUdevice dev)
{
	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(dev);
	memcpy(uuid->bytes, cksim.uuid[dev], sizeof uuid->bytes);
	return CUDA_SUCCESS;
}

API(cuDeviceGetUuid, CUuuid *uuid, CUdevice dev)
{
	ENTER(CKSIM_INIT);
	return get_uuid(uuid, dev);
}

API(cuDeviceGetUuid_v2, CUuuid *uuid, CUdevice dev)
{
	ENTER(CKSIM_INIT);
	return get_uuid(uuid, dev);
}

API(cuDeviceTotalMem_v2, size_t *bytes, CUdevice dev)
{
	ENTER(CKSIM_INIT);
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(dev);
	*bytes = cksim.total_mem;
	return CUDA_SUCCESS;
}

API(cuDeviceComputeCapability, int *major, int *minor, CUdevice dev)
{
	ENTER(CKSIM_INIT);
	if (!major || !minor)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(dev);
	*major = 8;
	*minor = 6;
	return CUDA_SUCCESS;
}

API(cuDeviceGetPCIBusId, char *id, int len, CUdevice dev)
{
	ENTER(CKSIM_INIT);
	if (!id || len < 13)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(dev);
	snprintf(id, (size_t)len, "0000:%02x:00.0", (unsigned)(dev + 1) & 0xff);
	return CUDA_SUCCESS;
}

API(cuDeviceGetByPCIBusId, CUdevice *dev, const char *id)
{
	ENTER(CKSIM_INIT);
	unsigned dom, bus, slot, fn;
	if (!dev || !id || sscanf(id, "%x:%x:%x.%x", &dom, &bus, &slot, &fn) != 4)
		return CUDA_ERROR_INVALID_VALUE;
	if (dom || slot || fn || bus < 1 || (int)bus > cksim.ndev)
		return CUDA_ERROR_INVALID_DEVICE;
	*dev = (int)bus - 1;
	return CUDA_SUCCESS;
}

API(cuDeviceCanAccessPeer, int *can, CUdevice a, CUdevice b)
{
	ENTER(CKSIM_TOUCH);
	if (!can)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(a);
	NEED_DEVICE(b);
	*can = a != b;
	return CUDA_SUCCESS;
}

/* {attribute, value}: an sm_86 device of modest size. What is not listed is 0. */
static const struct { int attr, value; } attributes[] = {
	{ CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024 },
	{ 2, 1024 }, { 3, 1024 }, { 4, 64 },			    /* block x, y, z */
	{ 5, 2147483647 }, { 6, 65535 }, { 7, 65535 },		    /* grid x, y, z */
	{ 8, 49152 },						    /* shared memory a block */
	{ 9, 65536 },						    /* constant memory */
	{ CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32 },
	{ 11, 2147483647 }, { 12, 65536 },			    /* pitch; registers a block */
	{ 13, 1500000 }, { 14, 512 },				    /* clock, texture alignment */
	{ 15, 1 },						    /* copies overlap */
	{ CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16 },
	{ 19, 1 },						    /* can map host memory */
	{ 31, 1 },						    /* concurrent kernels */
	{ 36, 7000000 }, { 37, 256 }, { 38, 4194304 }, { 39, 1536 }, /* memory clock, bus, L2, threads an SM */
	{ 40, 2 },						    /* copy engines */
	{ CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1 },
	{ CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 8 },
	{ CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 6 },
	{ 78, 1 },						    /* stream priorities */
	{ 81, 102400 }, { 82, 65536 },				    /* shared memory, registers an SM */
	{ 83, 1 },						    /* managed memory */
	{ 91, 1 },						    /* host pointers usable for registered memory */
	{ 97, 49152 },						    /* shared memory a block, opted in */
	{ CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1 },
	{ 106, 16 },						    /* blocks an SM */
	{ 115, 1 },						    /* memory pools */
};

API(cuDeviceGetAttribute, int *value, int attr, CUdevice dev)
{
	ENTER(CKSIM_INIT);
	if (!value || attr < 1)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(dev);
	*value = 0;
	if (attr == 33) /* PCI bus */
		*value = dev + 1;
	for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
		if (attributes[i].attr == attr)
			*value = attributes[i].value;
	return CUDA_SUCCESS;
}

static const struct { int code; const char *name, *text; } errors[] = {
#define R(name, text) { name, #name, text },
	R(CUDA_SUCCESS, "no error")
	R(CUDA_ERROR_INVALID_VALUE, "invalid argument")
	R(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")
	R(CUDA_ERROR_NOT_INITIALIZED, "initialization error")
	R(CUDA_ERROR_DEINITIALIZED, "driver shutting down")
	R(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected")
	R(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal")
	R(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid")
	R(CUDA_ERROR_INVALID_CONTEXT, "invalid device context")
	R(CUDA_ERROR_MAP_FAILED, "mapping of buffer object failed")
	R(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device")
	R(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed")
	R(CUDA_ERROR_INVALID_SOURCE, "device kernel image is invalid")
	R(CUDA_ERROR_FILE_NOT_FOUND, "file not found")
	R(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, "shared object initialization failed")
	R(CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported on this OS")
	R(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle")
	R(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state")
	R(CUDA_ERROR_NOT_FOUND, "named symbol not found")
	R(CUDA_ERROR_NOT_READY, "device not ready")
	R(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered")
	R(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch")
	R(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, "cannot set while device is active in this process")
	R(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed")
	R(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "part or all of the requested memory range is already mapped")
	R(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "pointer does not correspond to a registered memory region")
	R(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure")
	R(CUDA_ERROR_NOT_PERMITTED, "operation not permitted")
	R(CUDA_ERROR_NOT_SUPPORTED, "operation not supported")
	R(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing")
	R(CUDA_ERROR_UNKNOWN, "unknown error")
#undef R
	{ CKSIM_ERROR_UNSUPPORTED_LIMIT, "CUDA_ERROR_UNSUPPORTED_LIMIT", "limit is not supported on this architecture" },
	{ CKSIM_ERROR_PEER_ACCESS_ALREADY_ENABLED, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED",
	  "peer access is already enabled" },
	{ CKSIM_ERROR_PEER_ACCESS_NOT_ENABLED, "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", "peer access has not been enabled" },
	{ CKSIM_ERROR_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address" },
};

static CUresult error_text(int code, const char **text, int name)
{
	if (!text)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].code == code) {
			*text = name ? errors[i].name : errors[i].text;
			return CUDA_SUCCESS;
		}
	*text = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

API(cuGetErrorName, CUresult code, const char **text)
{
	return error_text((int)code, text, 1);
}

API(cuGetErrorString, CUresult code, const char **text)
{
	return error_text((int)code, text, 0);
}

API(cuGetProcAddress, const char *symbol, void **fn, int version, uint64_t flags)
{
	return cksim_proc_address(symbol, fn, version, flags, NULL);
}

API(cuGetProcAddress_v2, const char *symbol, void **fn, int version, uint64_t flags, int *status)
{
	return cksim_proc_address(symbol, fn, version, flags, status);
}

/* Undocumented tables are the vendor's own; programs that insist on them do not run here. */
API(cuGetExportTable, const void **table, const CUuuid *id)
{
	if (table)
		*table = NULL;
	return CUDA_ERROR_NOT_FOUND;
}
