/* forker - a parent that never touches the GPU and two workers, forked before anyone called the driver: one
 * computes on the GPU, one on the CPU. They talk over pipes. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cu.h"

PTX_TEXT(stir_ptx);

enum { WORDS = 400000 };

struct worker {
	pid_t pid;
	int to, from;
};

static void whole(ssize_t n, size_t want, const char *what)
{
	if (n != (ssize_t)want)
		prog_die(4, "%s: a pipe broke", what);
}

static void gpu(int in, int out, uint32_t seed)
{
	CUmodule m;
	CUdeviceptr dev;
	uint32_t n = WORDS, round;
	static uint32_t host[WORDS];
	cu_start();
	CU(cuModuleLoadData, &m, stir_ptx);
	CUfunction stir = cu_function(m, "stir");
	CU(cuMemAlloc_v2, &dev, sizeof host);
	for (uint32_t i = 0; i < WORDS; i++)
		host[i] = i ^ seed;
	CU(cuMemcpyHtoD_v2, dev, host, sizeof host);
	while (read(in, &round, sizeof round) == (ssize_t)sizeof round) {
		void *args[] = { &dev, &n, &round };
		cu_launch(stir, (WORDS + 255) / 256, 256, NULL, args);
		CU(cuMemcpyDtoH_v2, host, dev, sizeof host);
		uint64_t h = prog_sum(PROG_SUM, host, sizeof host);
		whole(write(out, &h, sizeof h), sizeof h, "GPU worker");
	}
}

static void cpu(int in, int out, uint32_t seed)
{
	uint64_t h = seed;
	uint32_t round;
	while (read(in, &round, sizeof round) == (ssize_t)sizeof round) {
		for (int i = 0; i < 100000; i++)
			h = (h ^ (uint64_t)i ^ round) * 0x100000001b3u;
		whole(write(out, &h, sizeof h), sizeof h, "CPU worker");
	}
}

static struct worker start(void (*body)(int, int, uint32_t), uint32_t seed, int close_too)
{
	int down[2], up[2];
	if (pipe(down) || pipe(up))
		prog_die(3, "pipe");
	struct worker w = { .pid = fork(), .to = down[1], .from = up[0] };
	if (w.pid < 0)
		prog_die(3, "fork");
	if (w.pid == 0) {
		close(down[1]);
		close(up[0]);
		if (close_too >= 0)
			close(close_too); /* or the first worker's pipe would never end */
		body(down[0], up[1], seed);
		exit(0);
	}
	close(down[0]);
	close(up[1]);
	return w;
}

int main(int argc, char **argv)
{
	struct prog p = { .steps = 10, .seed = 1 };
	uint64_t all = PROG_SUM;
	prog_args(&p, argc, argv);
	struct worker w[2];
	w[0] = start(gpu, p.seed, -1);
	w[1] = start(cpu, p.seed, w[0].to);
	for (int k = 1; k <= p.steps; k++) {
		uint32_t round = (uint32_t)k;
		uint64_t h[2];
		prog_pause(&p, k);
		for (int i = 0; i < 2; i++)
			whole(write(w[i].to, &round, sizeof round), sizeof round, "parent");
		for (int i = 0; i < 2; i++)
			whole(read(w[i].from, &h[i], sizeof h[i]), sizeof h[i], "parent");
		all = prog_sum(all, h, sizeof h);
		printf("step %d %016llx\n", k, (unsigned long long)all);
	}
	for (int i = 0; i < 2; i++) {
		int status;
		close(w[i].to);
		if (waitpid(w[i].pid, &status, 0) != w[i].pid || status != 0)
			prog_die(4, "worker %d ended with %#x", i, status);
	}
	printf("checksum %016llx\n", (unsigned long long)all);
	prog_end(&p);
}
