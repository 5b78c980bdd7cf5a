/* The simulated driver across processes: checkpoint API, poison, death, misuse. The caller is this process,
 * which never calls cuInit itself before the last test; the one that holds device memory is a child.
 * A child does what the letters written to it say and answers each with one byte. */
#define _GNU_SOURCE
#include "tap.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_cuda.h"

#define MB (1u << 20)
static char dir_a[] = "/tmp/cksim-a-XXXXXX", dir_b[] = "/tmp/cksim-b-XXXXXX";

struct child {
	pid_t pid;
	int to, from;
};

/* Words of the child's memory that it must find again. */
static unsigned word(unsigned i)
{
	return i * 2654435761u + 12345;
}

static int check_words(CUdeviceptr p, unsigned n)
{
	unsigned *buf = malloc(n * 4), bad = 0;
	if (cuMemcpyDtoH_v2(buf, p, n * 4))
		return 1;
	for (unsigned i = 0; i < n; i++)
		bad += buf[i] != word(i);
	free(buf);
	return bad != 0;
}

static void write_words(CUdeviceptr p, unsigned n)
{
	unsigned *buf = malloc(n * 4);
	for (unsigned i = 0; i < n; i++)
		buf[i] = word(i);
	cuMemcpyHtoD_v2(p, buf, n * 4);
	free(buf);
}

static int descriptors(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ., .. and the folder itself */
}

static int device_mappings(void)
{
	char line[512];
	int n = 0;
	FILE *f = fopen("/proc/self/maps", "re");
	while (fgets(line, sizeof line, f))
		n += strstr(line, "vram") != NULL || strstr(line, "userfaultfd") != NULL;
	fclose(f);
	return n;
}

static _Atomic int hold_on;

static void holder(void *unused)
{
	while (hold_on)
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

static void child_main(int in, int out)
{
	CUcontext ctx;
	CUdeviceptr p = 0, q = 0, va = 0, managed = 0;
	CUmemGenericAllocationHandle h;
	CUmemAllocationProp prop = { .type = 1, .location = { 1, 0 } };
	CUmemAccessDesc acc = { { 1, 0 }, 3 };
	unsigned *pinned = NULL;
	int fds = descriptors();
	char c, r;
	while (read(in, &c, 1) == 1) {
		r = 0;
		switch (c) {
		case 'i': /* init, with memory of three kinds */
			r = cuInit(0) || cuCtxCreate_v2(&ctx, 0, 0) || cuMemAlloc_v2(&p, 8 * MB) || cuMemAlloc_v2(&q, 4096) ||
			    cuMemAddressReserve(&va, 64 * MB, 0, 0, 0) || cuMemCreate(&h, 4 * MB, &prop, 0) ||
			    cuMemMap(va + 2 * MB, 4 * MB, 0, h, 0) || cuMemSetAccess(va + 2 * MB, 4 * MB, &acc, 1) ||
			    cuMemHostAlloc((void **)&pinned, 4096, 0);
			if (!r) {
				write_words(p, 2 * MB);
				write_words(q, 1024);
				write_words(va + 2 * MB, MB);
				pinned[0] = 77;
			}
			break;
		case 'c': /* all of it as it was? */
			r = (char)(check_words(p, 2 * MB) | check_words(q, 1024) << 1 | check_words(va + 2 * MB, MB) << 2 |
				   (pinned[0] != 77) << 3);
			break;
		case 'f': /* anything open that was not at first? (a byte count) */
			r = (char)(descriptors() - fds);
			break;
		case 'm':
			r = (char)device_mappings();
			break;
		case 'h': /* a host function that does not end */
			hold_on = 1;
			r = (char)cuLaunchHostFunc(NULL, holder, NULL);
			break;
		case 'u':
			hold_on = 0;
			break;
		case 'M':
			r = (char)cuMemAllocManaged(&managed, 4096, 1);
			break;
		case 'W':
			r = (char)cuMemFree_v2(managed);
			break;
		}
		if (write(out, &r, 1) != 1)
			break;
	}
	_exit(0);
}

static struct child spawn(void)
{
	int a[2], b[2];
	struct child k = { 0 };
	if (pipe(a) || pipe(b))
		exit(1);
	k.pid = fork();
	if (!k.pid) {
		close(a[1]);
		close(b[0]);
		child_main(a[0], b[1]);
	}
	close(a[0]);
	close(b[1]);
	k.to = a[1];
	k.from = b[0];
	return k;
}

static int tell(const struct child *k, char c)
{
	char r = -1;
	if (write(k->to, &c, 1) != 1 || read(k->from, &r, 1) != 1)
		return -1000;
	return r;
}

static void end(struct child *k, int sig)
{
	int st;
	if (sig)
		kill(k->pid, sig);
	close(k->to);
	close(k->from);
	waitpid(k->pid, &st, 0);
}

static int state_of(pid_t pid)
{
	CUprocessState s = 99;
	CUresult r = cuCheckpointProcessGetState(pid, &s);
	return r ? -(int)r : (int)s;
}

static CUresult lock(pid_t pid, unsigned ms)
{
	CUcheckpointLockArgs l = { .timeoutMs = ms };
	return cuCheckpointProcessLock(pid, &l);
}

static long rss_kib(pid_t pid)
{
	char path[64], line[256];
	long n = 0;
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %ld", &n) == 1)
			break;
	fclose(f);
	return n;
}

static void test_states(struct child *k)
{
	pid_t pid = k->pid;
	int tid = 0;
	is_int(cuCheckpointProcessGetRestoreThreadId(pid, &tid), 0, "the driver's thread");
	ok(tid > 0 && tid != pid, "is one of its own");
	is_int(state_of(pid), CU_PROCESS_STATE_RUNNING, "running");
	is_int(cuCheckpointProcessCheckpoint(pid, NULL), CUDA_ERROR_ILLEGAL_STATE, "no checkpoint unlocked");
	is_int(cuCheckpointProcessRestore(pid, NULL), CUDA_ERROR_ILLEGAL_STATE, "no restore");
	is_int(cuCheckpointProcessUnlock(pid, NULL), CUDA_ERROR_ILLEGAL_STATE, "no unlock");
	ok(tell(k, 'f') > 0, "it holds descriptors");
	ok(tell(k, 'm') > 0, "and mappings of the device");

	is_int(tell(k, 'h'), 0, "work that does not end");
	is_int(lock(pid, 50), CUDA_ERROR_NOT_READY, "the lock gives up");
	is_int(state_of(pid), CU_PROCESS_STATE_RUNNING, "and leaves it running");
	tell(k, 'u');

	is_int(lock(pid, 5000), 0, "lock");
	is_int(state_of(pid), CU_PROCESS_STATE_LOCKED, "locked");
	is_int(lock(pid, 5000), CUDA_ERROR_ILLEGAL_STATE, "not twice");
	is_int(cuCheckpointProcessUnlock(pid, NULL), 0, "unlock");
	is_int(tell(k, 'c'), 0, "nothing happened to the memory");
}

static void test_checkpoint(struct child *k)
{
	pid_t pid = k->pid;
	long rss = rss_kib(pid);
	is_int(lock(pid, 5000), 0, "lock");
	is_int(cuCheckpointProcessCheckpoint(pid, NULL), 0, "checkpoint");
	is_int(state_of(pid), CU_PROCESS_STATE_CHECKPOINTED, "checkpointed");
	is_int(tell(k, 'f'), 0, "no descriptor is left");
	is_int(tell(k, 'm'), 0, "no mapping is left");
	ok(rss_kib(pid) - rss >= 14 * 1024, "the process has grown by its device memory");
	is_int(cuCheckpointProcessUnlock(pid, NULL), CUDA_ERROR_ILLEGAL_STATE, "no unlock from here");

	/* The child's call waits at the gate: until unlocked there is no answer. */
	char c = 'c', r;
	if (write(k->to, &c, 1) != 1)
		ok(0, "write");
	is_int(cuCheckpointProcessRestore(pid, NULL), 0, "restore");
	is_int(state_of(pid), CU_PROCESS_STATE_LOCKED, "locked again");
	is_int(cuCheckpointProcessUnlock(pid, NULL), 0, "unlock");
	is_int(read(k->from, &r, 1), 1, "the waiting call returns");
	is_int(r, 0, "and finds every byte");
}

/* Another machine, and a device that is full. */
static void test_elsewhere(struct child *k)
{
	pid_t pid = k->pid;
	is_int(lock(pid, 5000), 0, "lock");
	is_int(cuCheckpointProcessCheckpoint(pid, NULL), 0, "checkpoint");
	setenv("CKSIM_DIR", dir_b, 1);
	struct child hog = spawn();
	setenv("CKSIM_DIR", dir_a, 1);
	is_int(tell(&hog, 'i'), 0, "another process on the other machine");
	struct child hog2 = { 0 };
	setenv("CKSIM_DIR", dir_b, 1);
	hog2 = spawn();
	is_int(tell(&hog2, 'i'), 0, "and one more fills it");
	is_int(cuCheckpointProcessRestore(pid, NULL), CUDA_ERROR_OUT_OF_MEMORY, "no room there");
	is_int(state_of(pid), CU_PROCESS_STATE_CHECKPOINTED, "it stays checkpointed");
	end(&hog2, SIGKILL);
	is_int(cuCheckpointProcessRestore(pid, NULL), 0, "the dead one's memory is there");
	is_int(cuCheckpointProcessUnlock(pid, NULL), 0, "unlock");
	is_int(tell(k, 'c'), 0, "every byte on the other machine");
	is_int(tell(&hog, 'c'), 0, "and its neighbour's");
	end(&hog, 0);
	setenv("CKSIM_DIR", dir_a, 1);
}

static void test_refusals(void)
{
	struct child k = spawn();
	is_int(state_of(k.pid), -CUDA_ERROR_NOT_INITIALIZED, "a process without CUDA");
	is_int(state_of(0x3fffff), -CUDA_ERROR_INVALID_VALUE, "no such process");
	is_int(tell(&k, 'i'), 0, "now it has");
	is_int(tell(&k, 'M'), 0, "managed memory");
	is_int(lock(k.pid, 5000), 0, "lock");
	is_int(cuCheckpointProcessCheckpoint(k.pid, NULL), CUDA_ERROR_NOT_SUPPORTED, "cannot be checkpointed");
	is_int(cuCheckpointProcessUnlock(k.pid, NULL), 0, "unlock");
	is_int(tell(&k, 'c'), 0, "nothing was harmed");
	is_int(tell(&k, 'W'), 0, "freed");
	setenv("CKSIM_DRIVER", "550", 1);
	is_int(state_of(k.pid), -CUDA_ERROR_NOT_SUPPORTED, "driver 550 has no such API");
	unsetenv("CKSIM_DRIVER");

	char path[64];
	static const char *const faults[][2] = { { "checkpoint-fails", "" }, { "lock-timeout", "" } };
	snprintf(path, sizeof path, "%s/fault", dir_a);
	FILE *f = fopen(path, "we");
	fputs(faults[1][0], f);
	fclose(f);
	is_int(lock(k.pid, 20), CUDA_ERROR_NOT_READY, "injected: lock-timeout");
	f = fopen(path, "we");
	fputs(faults[0][0], f);
	fclose(f);
	is_int(lock(k.pid, 5000), 0, "lock");
	is_int(cuCheckpointProcessCheckpoint(k.pid, NULL), CUDA_ERROR_OPERATING_SYSTEM, "injected: checkpoint-fails");
	is_int(state_of(k.pid), CU_PROCESS_STATE_LOCKED, "still locked");
	unlink(path);
	is_int(cuCheckpointProcessCheckpoint(k.pid, NULL), 0, "without the fault it works");
	f = fopen(path, "we");
	fputs("restore-breaks", f);
	fclose(f);
	is_int(cuCheckpointProcessRestore(k.pid, NULL), CUDA_ERROR_UNKNOWN, "injected: restore-breaks");
	is_int(state_of(k.pid), CU_PROCESS_STATE_FAILED, "failed");
	unlink(path);
	is_int(cuCheckpointProcessRestore(k.pid, NULL), CUDA_ERROR_ILLEGAL_STATE, "for ever");
	end(&k, SIGKILL);
}

/* Checkpoint of oneself; a mapping made meanwhile in the driver's place is overwritten, as by the real one. */
static void test_self(void)
{
	CUcontext ctx;
	CUdeviceptr p;
	is_int(cuInit(0), 0, "cuInit");
	cuCtxCreate_v2(&ctx, 0, 0);
	cuMemAlloc_v2(&p, 4 * MB);
	write_words(p, MB);
	is_int(lock(getpid(), 5000), 0, "lock oneself");
	is_int(cuCheckpointProcessCheckpoint(getpid(), NULL), 0, "checkpoint");
	unsigned char *mine[64];
	for (int i = 0; i < 64; i++) {
		mine[i] = mmap(NULL, 2 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mine[i][5] = 1;
	}
	is_int(cuCheckpointProcessRestore(getpid(), NULL), 0, "restore");
	is_int(cuCheckpointProcessUnlock(getpid(), NULL), 0, "unlock");
	is_int(check_words(p, MB), 0, "every byte");
	int hit = 0, pipefd[2];
	if (pipe(pipefd))
		return;
	for (int i = 0; i < 64; i++) /* write(2) tells a readable page from one that is not */
		hit += write(pipefd[1], mine[i] + 5, 1) != 1 || mine[i][5] != 1;
	ok(hit > 0, "memory mapped into the driver's place meanwhile was lost (%d of 64)", hit);
}

/* What a dead process had comes back as poison. */
static void test_death(void)
{
	size_t left, total;
	CUdeviceptr p;
	unsigned char buf[4096];
	struct child k = spawn();
	is_int(tell(&k, 'i'), 0, "a process with 14 MiB");
	end(&k, SIGKILL);
	struct child watch = spawn();
	is_int(tell(&watch, 'i'), 0, "another one");
	is_int(tell(&watch, 'c'), 0, "has its own bytes");
	end(&watch, 0);
	CUcontext ctx;
	is_int(cuInit(0) || cuCtxCreate_v2(&ctx, 0, 0), 0, "look for ourselves");
	cuMemGetInfo_v2(&left, &total);
	is_int(left, total, "all memory is free again");
	cuMemAlloc_v2(&p, 24 * MB);
	int poison = 1;
	for (unsigned at = 0; at < 24 * MB; at += sizeof buf) {
		cuMemcpyDtoH_v2(buf, p + at, sizeof buf);
		for (unsigned i = 0; i < sizeof buf; i++)
			poison &= buf[i] == 0xa5;
	}
	ok(poison, "and all poison");
	cuMemFree_v2(p);
}

int main(void)
{
	if (!mkdtemp(dir_a) || !mkdtemp(dir_b))
		return 1;
	setenv("CKSIM_DIR", dir_a, 1);
	setenv("CKSIM_MEM", "32M", 1);
	struct child k = spawn();
	is_int(tell(&k, 'i'), 0, "a process with device memory");
	test_states(&k);
	test_checkpoint(&k);
	test_elsewhere(&k);
	end(&k, 0);
	test_refusals();
	test_death();
	test_self();
	char cmd[160];
	snprintf(cmd, sizeof cmd, "rm -r %s %s", dir_a, dir_b);
	return system(cmd) | tap_done();
}
