/* forker.c - a parent and two workers, forked before anyone touches CUDA: one works on the GPU, one on the
 * CPU. The parent gives each the step's number and gets a value back, over pipes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cu.h"
#include "prog.h"

#define WORDS (300u * 1024u)

struct worker {
	pid_t pid;
	int to, from;
};

static int read_all(int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)buf + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static int write_all(int fd, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static void gpu_worker(int in, int out, uint64_t seed)
{
	CUcontext ctx;
	CUmodule mod = cu_setup(&ctx);
	CUfunction fill = cu_function(mod, "fill_u32"), vstep = cu_function(mod, "vstep");
	CUfunction digest = cu_function(mod, "digest");
	CUdeviceptr v, sum;
	unsigned n = WORDS, step;
	unsigned long long s = seed, value;
	CU(cuMemAlloc_v2(&v, n * 4ul));
	CU(cuMemAlloc_v2(&sum, 8));
	CU(cuMemsetD32_v2(sum, 0, 2));
	CU(cuLaunchKernel(fill, 16, 1, 1, 128, 1, 1, 0, NULL, ((void *[]){ &v, &n, &s }), NULL));
	while (read_all(in, &step, sizeof step) == 0) {
		unsigned part = 4096;
		CUdeviceptr from = v + (step % 64) * 4096ul * 4;
		cu_launch1(vstep, n / 8, 128, NULL, (void *[]){ &v, &(unsigned){ n / 8 }, &step });
		CU(cuLaunchKernel(digest, 4, 1, 1, 128, 1, 1, 0, NULL, ((void *[]){ &from, &part, &sum }), NULL));
		CU(cuMemcpyDtoH_v2(&value, sum, sizeof value));
		if (write_all(out, &value, sizeof value) < 0)
			exit(4);
	}
	exit(0);
}

static void cpu_worker(int in, int out, uint64_t seed)
{
	static uint32_t v[16384];
	unsigned step;
	for (unsigned i = 0; i < 16384; i++)
		v[i] = prog_random(seed, i);
	while (read_all(in, &step, sizeof step) == 0) {
		for (unsigned i = 0; i < 16384; i++)
			v[i] = v[i] * 1664525u + v[(i * 7 + step) % 16384];
		uint64_t value = prog_hash(step, v, sizeof v);
		if (write_all(out, &value, sizeof value) < 0)
			exit(4);
	}
	exit(0);
}

/* @others: descriptors of workers started before, which this one must not hold open. */
static struct worker start(void (*work)(int, int, uint64_t), uint64_t seed, const struct worker *other)
{
	int to[2], from[2];
	if (pipe(to) != 0 || pipe(from) != 0)
		prog_fail("pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		prog_fail("fork: %s", strerror(errno));
	if (pid == 0) {
		close(to[1]);
		close(from[0]);
		if (other) {
			close(other->to);
			close(other->from);
		}
		work(to[0], from[1], seed);
	}
	close(to[0]);
	close(from[1]);
	return (struct worker){ pid, to[1], from[0] };
}

int main(int argc, char **argv)
{
	struct prog_opts o = { .steps = 20, .seed = 3 };
	uint64_t hash = 0;
	prog_options(&o, argc, argv);
	struct worker w[2];
	w[0] = start(gpu_worker, o.seed, NULL);
	w[1] = start(cpu_worker, o.seed + 1, &w[0]);
	for (unsigned step = 1; step <= o.steps; step++) {
		uint64_t value[2];
		prog_pause(&o, step);
		for (int k = 0; k < 2; k++)
			if (write_all(w[k].to, &step, sizeof step) < 0)
				prog_fail("worker %d does not listen", k);
		for (int k = 0; k < 2; k++)
			if (read_all(w[k].from, &value[k], sizeof value[k]) < 0)
				prog_fail("worker %d does not answer", k);
		hash = prog_hash(hash, value, sizeof value);
		printf("step %u gpu %016llx cpu %016llx\n", step, (unsigned long long)value[0],
		       (unsigned long long)value[1]);
	}
	for (int k = 0; k < 2; k++) {
		int status;
		close(w[k].to);
		while (waitpid(w[k].pid, &status, 0) < 0)
			if (errno != EINTR)
				prog_fail("worker %d is lost: %s", k, strerror(errno));
		if (status)
			prog_fail("worker %d ended with %x", k, (unsigned)status);
	}
	prog_end(&o, hash);
}
