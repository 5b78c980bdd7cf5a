/* calls.c - what a driver call costs, in nanoseconds: the median of many batches. scripts/bench runs it with
 * and without the shim, in turn, on a driver that does nothing (nulldrv.c). One line for each call: name,
 * nanoseconds. */
#define _GNU_SOURCE
#include <time.h>

#include "cu_min.h"

#define BATCHES 41

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

#define MEASURE(name, count, call)                                         \
	do {                                                               \
		double t[BATCHES];                                         \
		for (int b = 0; b < BATCHES; b++) {                        \
			double from = now();                               \
			for (int i = 0; i < (count); i++) {                \
				call;                                      \
			}                                                  \
			t[b] = (now() - from) / (count);                   \
		}                                                          \
		qsort(t, BATCHES, sizeof *t, by_size);                     \
		printf("%s %.1f\n", name, t[BATCHES / 2]);                 \
	} while (0)

int main(void)
{
	CUdevice dev;
	CUdeviceptr p;
	cu_min_open();
	/* forwarded; in the gate; tracked with its call stack */
	MEASURE("cuCtxGetDevice", 20000, CU(cuCtxGetDevice(&dev)));
	MEASURE("cuStreamQuery", 20000, CU(cuStreamQuery(NULL)));
	MEASURE("cuMemAlloc+cuMemFree", 2000, CU(cuMemAlloc_v2(&p, 64 << 10)); CU(cuMemFree_v2(p)));
	return 0;
}
