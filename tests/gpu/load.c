/* load.c - what the measurements run.
 *
 *   load bulk [options of tests/progs/prog.h]     fill --size bytes of device memory with random words, print
 *                                                 their sum before and after step 1, where --pause-at 1 waits
 *   load launch [--steps N]                       nanoseconds that the launch of an empty kernel costs
 *
 * Prints "step N ...", and bulk ends with its checksum. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../progs/prog.h"
#include "drv.h"

#define PART ((size_t)512 << 20)
#define PARTS 512

static CUmodule mod;
static CUdeviceptr part[PARTS], sum;
static size_t len[PARTS];
static int parts;

static void check(CUresult r, const char *what)
{
	if (r) {
		fprintf(stderr, "%s: %s\n", what, drv_name(r));
		exit(3);
	}
}

static unsigned long long total(void)
{
	unsigned long long v = 0;
	check(drv.cuMemcpyHtoD_v2(sum, &v, sizeof v), "copy");
	for (int i = 0; i < parts; i++) {
		uint64_t n = len[i] / 4;
		check(drv_launch(mod, "sum_words", 1024, 256, NULL, (void *[]){ &part[i], &n, &sum }), "sum_words");
	}
	check(drv.cuMemcpyDtoH_v2(&v, sum, sizeof v), "copy");
	return v;
}

static void bulk(const struct prog_opts *o)
{
	check(drv.cuMemAlloc_v2(&sum, 4096), "memory");
	for (size_t left = o->size / 4 * 4; left; left -= len[parts++]) {
		if (parts == PARTS)
			prog_fail("--size is too large");
		len[parts] = left < PART ? left : PART;
		check(drv.cuMemAlloc_v2(&part[parts], len[parts]), "memory");
		uint64_t n = len[parts] / 4;
		unsigned seed = (unsigned)o->seed * 7919 + (unsigned)parts;
		check(drv_launch(mod, "fill_words", 1024, 256, NULL, (void *[]){ &part[parts], &n, &seed }), "fill_words");
	}
	unsigned long long before = total();
	printf("step 1 sum %016llx\n", before);
	prog_pause(o, 1);
	unsigned long long after = total();
	printf("step 2 sum %016llx\n", after);
	if (after != before)
		prog_fail("the sum was %016llx", before);
	prog_end(o, after);
}

static void launch(const struct prog_opts *o)
{
	CUfunction fn;
	double best = 1e9;
	check(drv.cuModuleGetFunction(&fn, mod, "nothing"), "kernel");
	for (int round = 0; round < 7; round++) {
		check(drv.cuCtxSynchronize(), "synchronize");
		double t0 = drv_seconds();
		/* in bursts that the queue can hold, so that the call is timed and not the GPU */
		for (unsigned long k = 0; k < o->steps; k++)
			check(drv.cuLaunchKernel(fn, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL), "launch");
		double t = (drv_seconds() - t0) / (double)o->steps;
		if (round && t < best)
			best = t;
	}
	check(drv.cuCtxSynchronize(), "synchronize");
	printf("launch %.1f ns\n", best * 1e9);
}

int main(int argc, char **argv)
{
	struct prog_opts o = { .steps = 500, .size = 64 << 20, .seed = 1 };
	if (argc < 2 || (strcmp(argv[1], "bulk") && strcmp(argv[1], "launch"))) {
		fprintf(stderr, "usage: load bulk|launch [OPTION...]\n");
		return 2;
	}
	prog_options(&o, argc - 1, argv + 1);
	if (drv_start(&mod)) {
		fprintf(stderr, "%s\n", drv_error());
		return 3;
	}
	if (!strcmp(argv[1], "bulk"))
		bulk(&o);
	else
		launch(&o);
	return 0;
}
