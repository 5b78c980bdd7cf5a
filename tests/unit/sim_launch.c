/* The simulated driver: kernels, sticky errors, module variables, default streams, injected faults, and a
 * restore onto other devices. Each test runs in a child of its own, since a broken context stays broken. */
#define _GNU_SOURCE
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_cuda.h"

#define MB (1u << 20)
static char dir[] = "/tmp/cksim-l-XXXXXX";

/* add: *p += v, and *counter += 1 */
static const char ptx[] =
	".version 6.5\n.target sm_52\n.address_size 64\n"
	".visible .global .align 4 .u32 counter = 5;\n"
	".visible .entry add(.param .u64 p, .param .u32 v)\n"
	"{\n"
	"	.reg .b32 %r<8>;\n	.reg .b64 %rd<4>;\n"
	"	ld.param.u64 %rd1, [p];\n	ld.param.u32 %r1, [v];\n"
	"	ld.global.u32 %r2, [%rd1];\n	add.u32 %r2, %r2, %r1;\n	st.global.u32 [%rd1], %r2;\n"
	"	ld.global.u32 %r3, [counter];\n	add.u32 %r3, %r3, 1;\n	st.global.u32 [counter], %r3;\n"
	"	ret;\n"
	"}\n";

CUresult cuModuleLoadData(CUmodule *, const void *);
CUresult cuModuleLoadDataEx(CUmodule *, const void *, unsigned, int *, void **);
CUresult cuModuleUnload(CUmodule);
CUresult cuModuleGetFunction(CUfunction *, CUmodule, const char *);
CUresult cuModuleGetGlobal_v2(CUdeviceptr *, size_t *, CUmodule, const char *);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
			void **, void **);
CUresult cuGraphCreate(void **, unsigned);

static CUcontext ctx;
static CUmodule mod;
static CUfunction add;

static void start(void)
{
	is_int(cuInit(0) || cuCtxCreate_v2(&ctx, 0, 0) || cuModuleLoadData(&mod, ptx) ||
	       cuModuleGetFunction(&add, mod, "add"), 0, "a context with a module");
}

static CUresult run_add(CUdeviceptr p, unsigned v)
{
	void *args[] = { &p, &v };
	return cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL);
}

static void test_launch(void)
{
	CUdeviceptr p, g;
	size_t size;
	unsigned v = 0;
	char log[256] = "";
	int opts[] = { 5, 6 };
	void *vals[] = { log, (void *)sizeof log };
	CUmodule bad;
	start();
	is_int(cuModuleGetFunction(&add, mod, "sub"), CUDA_ERROR_NOT_FOUND, "no such kernel");
	is_int(cuModuleGetFunction(&add, mod, "add"), 0, "this one");
	cuMemAlloc_v2(&p, 4);
	cuMemsetD32_v2(p, 100, 1);
	is_int(run_add(p, 7), 0, "launch");
	struct { CUdeviceptr p; unsigned v; } packed = { p, 3 };
	size_t n = 12;
	void *extra[] = { (void *)1, &packed, (void *)2, &n, NULL };
	is_int(cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra), 0, "with a packed buffer");
	cuMemcpyDtoH_v2(&v, p, 4);
	is_int(v, 110, "both ran, in order");
	is_int(cuModuleGetGlobal_v2(&g, &size, mod, "counter"), 0, "variable");
	cuMemcpyDtoH_v2(&v, g, 4);
	is_int(v, 7, "initialised and counted");
	is_int(cuLaunchKernel(add, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, extra), CUDA_ERROR_INVALID_VALUE, "empty grid");
	is_int(cuLaunchKernel(add, 1, 1, 1, 2048, 1, 1, 0, NULL, NULL, extra), CUDA_ERROR_INVALID_VALUE, "huge block");
	is_int(cuLaunchKernel((CUfunction)&v, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra), CUDA_ERROR_INVALID_HANDLE,
	       "no function");
	is_int(cuModuleLoadDataEx(&bad, ".version 6.5\n.target sm_52\n.address_size 64\n.visible .entry k()\n{\n nonsense;\n}\n",
				  2, opts, vals), CUDA_ERROR_INVALID_PTX, "PTX that is none");
	ok(strstr(log, "line 6"), "the log names the line: %s", log);
	is_int(cuModuleLoadData(&bad, "\x7f" "ELF..."), CUDA_ERROR_NO_BINARY_FOR_GPU, "machine code");
	void *graph;
	is_int(cuGraphCreate(&graph, 0), CUDA_ERROR_NOT_SUPPORTED, "what is not there says so");
	is_int(cuModuleUnload(mod), 0, "unload");
	is_int(run_add(p, 1), CUDA_ERROR_INVALID_HANDLE, "its functions are gone");
	/* module variables are the driver's to keep in a checkpoint */
	cuModuleLoadData(&mod, ptx);
	cuModuleGetFunction(&add, mod, "add");
	run_add(p, 1);
	is_int(cuCheckpointProcessLock(getpid(), NULL) || cuCheckpointProcessCheckpoint(getpid(), NULL) ||
	       cuCheckpointProcessRestore(getpid(), NULL) || cuCheckpointProcessUnlock(getpid(), NULL), 0, "checkpoint");
	run_add(p, 1);
	cuModuleGetGlobal_v2(&g, &size, mod, "counter");
	cuMemcpyDtoH_v2(&v, g, 4);
	is_int(v, 7, "the variable went on counting");
}

static void test_sticky(void)
{
	CUdeviceptr p;
	start();
	cuMemAlloc_v2(&p, 4);
	is_int(run_add(0x1234567000, 1), 0, "a launch with a wild pointer");
	is_int(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS, "is found at the next synchronisation");
	is_int(run_add(p, 1), CUDA_ERROR_ILLEGAL_ADDRESS, "and sticks");
	is_int(cuMemFree_v2(p), CUDA_ERROR_ILLEGAL_ADDRESS, "to everything");
	is_int(cuCtxDestroy_v2(ctx), 0, "until the context is gone");
	start();
	is_int(cuMemAlloc_v2(&p, 4), 0, "a new one works");
}

static void test_no_access(void)
{
	CUdeviceptr va;
	CUmemGenericAllocationHandle h;
	CUmemAllocationProp prop = { .type = 1, .location = { 1, 0 } };
	start();
	cuMemAddressReserve(&va, 2 * MB, 0, 0, 0);
	cuMemCreate(&h, 2 * MB, &prop, 0);
	cuMemMap(va, 2 * MB, 0, h, 0);
	run_add(va, 1);
	is_int(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS, "mapped without access: a kernel faults");
}

static void put_fault(const char *text)
{
	char path[64];
	snprintf(path, sizeof path, "%s/fault", dir);
	FILE *f = fopen(path, "we");
	fputs(text, f);
	fclose(f);
}

static void *synchronise(void *unused)
{
	cuCtxSynchronize();
	return NULL;
}

static void test_faults(void)
{
	CUdeviceptr p;
	pthread_t t;
	start();
	put_fault("alloc-oom-after=0");
	is_int(cuMemAlloc_v2(&p, 3 * MB), CUDA_ERROR_OUT_OF_MEMORY, "injected: alloc-oom-after");
	put_fault("hang-in=cuCtxSynchronize");
	CUcheckpointLockArgs l = { .timeoutMs = 20 };
	CUresult r = CUDA_SUCCESS;
	pthread_create(&t, NULL, synchronise, NULL);
	for (int i = 0; i < 500 && r == CUDA_SUCCESS; i++) { /* until the thread is inside */
		r = cuCheckpointProcessLock(getpid(), &l);
		if (!r)
			cuCheckpointProcessUnlock(getpid(), NULL);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	is_int(r, CUDA_ERROR_NOT_READY, "injected: hang-in keeps a thread in the driver, so no lock");
	char path[64];
	snprintf(path, sizeof path, "%s/release", dir);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	pthread_join(t, NULL);
	put_fault("");
	unlink(path);
	is_int(cuCheckpointProcessLock(getpid(), &l), 0, "released: it locks");
	is_int(cuCheckpointProcessUnlock(getpid(), NULL), 0, "unlock");
}

/* Two devices change places. */
static void test_remap(void)
{
	CUdeviceptr p;
	CUuuid u0, u1, now;
	unsigned v = 0;
	start();
	cuMemAlloc_v2(&p, 4);
	cuMemsetD32_v2(p, 41, 1);
	cuDeviceGetUuid(&u0, 0);
	cuDeviceGetUuid(&u1, 1);
	CUcheckpointGpuPair pairs[2] = { { u0, u1 }, { u1, u0 } };
	CUcheckpointRestoreArgs args = { .gpuPairs = pairs, .gpuPairsCount = 1 };
	is_int(cuCheckpointProcessLock(getpid(), NULL) || cuCheckpointProcessCheckpoint(getpid(), NULL), 0, "checkpoint");
	is_int(cuCheckpointProcessRestore(getpid(), &args), CUDA_ERROR_INVALID_VALUE, "a pair for every device, or none");
	args.gpuPairsCount = 2;
	pairs[1].newUuid = u1;
	is_int(cuCheckpointProcessRestore(getpid(), &args), CUDA_ERROR_INVALID_VALUE, "not two onto one");
	pairs[1].newUuid = u0;
	is_int(cuCheckpointProcessRestore(getpid(), &args), 0, "restore, crossed");
	is_int(cuCheckpointProcessUnlock(getpid(), NULL), 0, "unlock");
	cuDeviceGetUuid(&now, 0);
	ok(!memcmp(&now, &u1, sizeof now), "device 0 is the other one now");
	is_int(run_add(p, 1), 0, "a kernel there");
	cuMemcpyDtoH_v2(&v, p, 4);
	is_int(v, 42, "finds the memory");
}

/* Run @test in a child that goes on with the numbering, and take over its counts. */
static void apart(void (*test)(void))
{
	int p[2], counts[2] = { 0, 1 }, st;
	if (pipe(p))
		exit(1);
	pid_t pid = fork();
	if (!pid) {
		test();
		counts[0] = tap_run;
		counts[1] = tap_failed;
		_exit(write(p[1], counts, sizeof counts) != sizeof counts);
	}
	close(p[1]);
	int whole = read(p[0], counts, sizeof counts) == sizeof counts;
	close(p[0]);
	waitpid(pid, &st, 0);
	if (whole)
		tap_run = counts[0], tap_failed = counts[1];
	if (!whole || st)
		ok(0, "the child ended with status %x", st);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	setenv("CKSIM_DIR", dir, 1);
	setenv("CKSIM_MEM", "16M", 1);
	setenv("CKSIM_DEVICES", "2", 1);
	apart(test_launch);
	apart(test_sticky);
	apart(test_no_access);
	apart(test_faults);
	apart(test_remap);
	char cmd[96];
	snprintf(cmd, sizeof cmd, "rm -r %s", dir);
	return system(cmd) | tap_done();
}
