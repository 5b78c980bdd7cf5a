/* The simulated driver in one process: memory, streams, errors. Links against its libcuda.so.1; the
 * machine is a folder of this test's own, named by the environment. */
#define _GNU_SOURCE
#include "tap.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_cuda.h"

static char sim_dir[] = "/tmp/cksim-basic-XXXXXX";
#define MB (1u << 20)

static void test_before_init(void)
{
	int n;
	is_int(cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED, "before cuInit");
	is_int(cuInit(1), CUDA_ERROR_INVALID_VALUE, "flags of cuInit");
	is_int(cuInit(0), CUDA_SUCCESS, "cuInit");
	is_int(cuDeviceGetCount(&n), 0, "count");
	is_int(n, 2, "two devices");
	CUdeviceptr p;
	is_int(cuMemAlloc_v2(&p, 100), CUDA_ERROR_INVALID_CONTEXT, "no context");
}

static void test_memory(void)
{
	CUdeviceptr a, b, big;
	size_t left, total, left2, size;
	unsigned char buf[4096];
	is_int(cuMemGetInfo_v2(&left, &total), 0, "info");
	is_int(total, 64 * MB, "capacity as asked");
	is_int(cuMemAlloc_v2(&a, sizeof buf), 0, "small one");
	is_int(cuMemAlloc_v2(&b, 3 * MB), 0, "larger one");
	cuMemGetInfo_v2(&left2, &total);
	is_int(left - left2, 6 * MB, "accounted in pages of 2 MiB");
	is_int(cuMemcpyDtoH_v2(buf, a, sizeof buf), 0, "read what was never written");
	int poison = 1;
	for (size_t i = 0; i < sizeof buf; i++)
		poison &= buf[i] == 0xa5;
	ok(poison, "fresh memory is poison, not zero");
	memset(buf, 7, sizeof buf);
	is_int(cuMemcpyHtoD_v2(a, buf, sizeof buf), 0, "write");
	is_int(cuMemcpyDtoD_v2(b + 5, a, sizeof buf), 0, "device to device");
	memset(buf, 0, sizeof buf);
	is_int(cuMemcpyDtoH_v2(buf, b + 5, sizeof buf), 0, "read back");
	ok(buf[0] == 7 && buf[4095] == 7, "the bytes arrived");
	is_int(cuMemcpyDtoH_v2(buf, a, sizeof buf + 1), CUDA_ERROR_INVALID_VALUE, "past the allocation");
	is_int(cuMemGetAddressRange_v2(&big, &size, b + 12345), 0, "address range");
	ok(big == b && size == 3 * MB, "names the allocation");
	is_int(cuMemAlloc_v2(&big, 65 * (size_t)MB), CUDA_ERROR_OUT_OF_MEMORY, "more than there is");
	is_int(cuMemFree_v2(a + 1), CUDA_ERROR_INVALID_VALUE, "free of a middle");
	is_int(cuMemFree_v2(a), 0, "free");
	is_int(cuMemFree_v2(a), CUDA_ERROR_INVALID_VALUE, "double free");
	is_int(cuMemFree_v2(b), 0, "free");
	cuMemGetInfo_v2(&left2, &total);
	is_int(left, left2, "all is back");
	is_int(cuMemAlloc_v2(&b, 3 * MB), 0, "same address again");
	cuMemcpyDtoH_v2(buf, b + 5, sizeof buf);
	ok(buf[0] == 0xa5 && buf[4095] == 0xa5, "what was freed does not come back");
	cuMemFree_v2(b);
}

static void touch(uint64_t addr)
{
	*(volatile int *)(uintptr_t)addr = 1;
}

static void test_not_host(void)
{
	CUdeviceptr p;
	int st;
	cuMemAlloc_v2(&p, MB);
	pid_t child = fork();
	if (!child) {
		touch(p);
		_exit(0);
	}
	waitpid(child, &st, 0);
	ok(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV, "a device address is none of the host's");
	child = fork();
	if (!child) {
		int n;
		int good = cuDeviceGetCount(&n) == CUDA_ERROR_NOT_INITIALIZED && cuInit(0) == 0 && cuDeviceGetCount(&n) == 0 &&
			   n == 2;
		_exit(good ? 0 : 1);
	}
	waitpid(child, &st, 0);
	is_int(st, 0, "a forked child has no CUDA until it inits anew");
	cuMemFree_v2(p);
}

static void test_vmm(void)
{
	CUmemAllocationProp prop = { .type = 1, .location = { 1, 0 } };
	CUmemAccessDesc acc = { { 1, 0 }, 3 };
	CUmemGenericAllocationHandle h1, h2;
	CUdeviceptr va;
	size_t gran;
	unsigned v[2] = { 0x11111111, 0x22222222 }, got[2] = { 0 };
	is_int(cuMemGetAllocationGranularity(&gran, &prop, 0), 0, "granularity");
	is_int(gran, 2 * MB, "of 2 MiB");
	is_int(cuMemCreate(&h1, MB, &prop, 0), CUDA_ERROR_INVALID_VALUE, "create: not a multiple");
	is_int(cuMemAddressReserve(&va, 8 * MB, 0, 0, 0), 0, "reserve");
	is_int(cuMemCreate(&h1, 4 * MB, &prop, 0), 0, "create");
	is_int(cuMemCreate(&h2, 2 * MB, &prop, 0), 0, "create");
	is_int(cuMemMap(va, 4 * MB, 0, h1, 0), 0, "map");
	is_int(cuMemMap(va + 2 * MB, 2 * MB, 0, h2, 0), CUDA_ERROR_INVALID_VALUE, "not over another");
	is_int(cuMemMap(va + 4 * MB, 2 * MB, 0, h2, 0), 0, "map behind");
	is_int(cuMemcpyHtoD_v2(va, v, 4), CUDA_ERROR_INVALID_VALUE, "no access yet");
	is_int(cuMemSetAccess(va, 6 * MB, &acc, 1), 0, "access across two mappings");
	is_int(cuMemcpyHtoD_v2(va + 4 * MB - 4, v, 8), 0, "a copy across the border");
	is_int(cuMemRelease(h1), 0, "release while mapped");
	is_int(cuMemcpyDtoH_v2(got, va + 4 * MB - 4, 8), 0, "still there");
	ok(got[0] == v[0] && got[1] == v[1], "with its contents");
	is_int(cuMemAddressFree(va, 8 * MB), CUDA_ERROR_INVALID_VALUE, "free of a mapped range");
	is_int(cuMemUnmap(va + 2 * MB, 4 * MB), 0, "unmap half of one and all of the other");
	is_int(cuMemcpyDtoH_v2(got, va + 4 * MB - 4, 4), CUDA_ERROR_INVALID_VALUE, "that half is gone");
	is_int(cuMemUnmap(va, 2 * MB), 0, "unmap the rest");
	is_int(cuMemMap(va, 2 * MB, 0, h2, 0), 0, "map the second elsewhere");
	cuMemSetAccess(va, 2 * MB, &acc, 1);
	cuMemcpyDtoH_v2(got, va, 4);
	is_int(got[0], v[1], "its contents went with it");
	is_int(cuMemUnmap(va, 8 * MB), CUDA_ERROR_INVALID_VALUE, "not what is not mapped");
	cuMemUnmap(va, 2 * MB);
	is_int(cuMemRelease(h2), 0, "release");
	is_int(cuMemRelease(h2), CUDA_ERROR_INVALID_VALUE, "release twice");
	is_int(cuMemAddressFree(va, 8 * MB), 0, "free the range");
}

static _Atomic int stage, nested = -1;

static void hold(void *unused)
{
	CUdeviceptr p;
	nested = (int)cuMemAlloc_v2(&p, 64);
	while (stage == 0)
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

static void test_streams(void)
{
	CUstream a, b, free_runner;
	CUevent e;
	CUdeviceptr p;
	unsigned v = 0;
	is_int(cuStreamCreate(&a, 0), 0, "stream");
	is_int(cuStreamCreate(&b, 0), 0, "stream");
	is_int(cuStreamCreate(&free_runner, CU_STREAM_NON_BLOCKING), 0, "non-blocking stream");
	cuEventCreate(&e, 0);
	cuMemAlloc_v2(&p, 8);
	cuMemsetD32_v2(p, 1, 2);
	cuCtxSynchronize(); /* the non-blocking stream below would not wait for it */
	is_int(cuLaunchHostFunc(a, hold, NULL), 0, "host function");
	is_int(cuMemsetD32Async(p, 42, 1, a), 0, "behind it");
	is_int(cuStreamQuery(a), CUDA_ERROR_NOT_READY, "asynchronous for real");
	is_int(cuEventRecord(e, a), 0, "event");
	is_int(cuEventQuery(e), CUDA_ERROR_NOT_READY, "not reached");
	is_int(cuStreamQuery(b), 0, "another stream is idle");
	is_int(cuStreamWaitEvent(b, e, 0), 0, "until it waits for the event");
	is_int(cuStreamQuery(b), CUDA_ERROR_NOT_READY, "now it waits too");
	is_int(cuStreamQuery(NULL), CUDA_ERROR_NOT_READY, "the legacy stream stands behind blocking ones");
	is_int(cuMemcpyDtoHAsync_v2(&v, p, 4, free_runner), 0, "a non-blocking one does not wait");
	is_int(v, 1, "and saw the old value");
	is_int(cuMemcpyDtoDAsync_v2(p + 4, p, 4, NULL), 0, "the legacy stream copies the value, when its turn comes");
	is_int(cuMemsetD32Async(p, 43, 1, b), 0, "and a blocking stream changes it after that");
	stage = 1;
	is_int(cuStreamSynchronize(b), 0, "synchronise");
	is_int(cuMemcpyDtoH_v2(&v, p + 4, 4), 0, "what the legacy stream saw");
	is_int(v, 42, "is the value between the two");
	is_int(cuMemcpyDtoH_v2(&v, p, 4), 0, "copy by the legacy stream");
	is_int(v, 43, "saw the last value");
	is_int(nested, CUDA_ERROR_NOT_PERMITTED, "no CUDA in a host function");
	is_int(cuStreamDestroy_v2(b), 0, "destroy");
	is_int(cuStreamQuery(b), CUDA_ERROR_INVALID_HANDLE, "gone");
	is_int(cuEventDestroy_v2(e), 0, "destroy event");
	is_int(cuEventQuery(e), CUDA_ERROR_INVALID_HANDLE, "gone");
	cuStreamDestroy_v2(a);
	cuStreamDestroy_v2(free_runner);
	cuMemFree_v2(p);
}

static void test_pointers(void)
{
	void *host;
	CUdeviceptr d;
	unsigned type = 0;
	char mine[64];
	is_int(cuMemHostAlloc(&host, 10000, 0), 0, "pinned");
	is_int(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)host), 0, "attribute");
	is_int(type, CU_MEMORYTYPE_HOST, "of the host");
	is_int(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)mine),
	       CUDA_ERROR_INVALID_VALUE, "unknown memory");
	is_int(cuMemHostRegister_v2(mine, sizeof mine, 0), 0, "register");
	is_int(cuMemHostRegister_v2(mine, sizeof mine, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "twice");
	is_int(cuMemHostUnregister(mine), 0, "unregister");
	is_int(cuMemHostUnregister(mine), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "twice");
	cuMemAlloc_v2(&d, 100);
	is_int(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, d), 0, "attribute");
	is_int(type, CU_MEMORYTYPE_DEVICE, "of the device");
	cuMemFree_v2(d);
	is_int(cuMemFreeHost(host), 0, "free pinned");
	is_int(cuMemFreeHost(host), CUDA_ERROR_INVALID_VALUE, "twice");
}

static void test_proc_address(void)
{
	void *fn;
	int st = -1;
	is_int(cuGetProcAddress_v2("cuMemAlloc", &fn, 12000, 0, &st), 0, "by base name");
	ok(fn == (void *)cuMemAlloc_v2 && st == 0, "gives the newest version");
	cuGetProcAddress_v2("cuMemcpyHtoDAsync", &fn, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &st);
	ok(fn == (void *)cuMemcpyHtoDAsync_v2_ptsz, "per-thread variant");
	cuGetProcAddress_v2("cuMemCreate", &fn, 9000, 0, &st);
	ok(!fn && st == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT, "known, but too new");
	cuGetProcAddress_v2("cuNoSuch", &fn, 12000, 0, &st);
	ok(!fn && st == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND, "unknown");
	is_int(cuGetProcAddress("cuNoSuch", &fn, 12000, 0), CUDA_ERROR_NOT_FOUND, "the old form's error");
}

int main(void)
{
	CUcontext ctx, cur;
	if (!mkdtemp(sim_dir))
		return 1;
	setenv("CKSIM_DIR", sim_dir, 1);
	setenv("CKSIM_MEM", "64M", 1);
	setenv("CKSIM_DEVICES", "2", 1);
	test_before_init();
	is_int(cuCtxCreate_v2(&ctx, 0, 0), 0, "context");
	is_int(cuCtxGetCurrent(&cur), 0, "current");
	ok(cur == ctx, "is the new one");
	test_memory();
	test_not_host();
	test_vmm();
	test_streams();
	test_pointers();
	test_proc_address();
	is_int(cuCtxDestroy_v2(ctx), 0, "destroy");
	is_int(cuCtxDestroy_v2(ctx), CUDA_ERROR_INVALID_CONTEXT, "twice");
	char cmd[96];
	snprintf(cmd, sizeof cmd, "rm -r %s", sim_dir);
	return system(cmd) | tap_done();
}
