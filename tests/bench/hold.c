/* hold.c - a program with much device memory, to be checkpointed and restored by scripts/bench.
 *
 *   hold BYTES FILE - fills device memory, writes FILE.ready, waits until FILE.go exists, writes the time at
 *   which it saw it (CLOCK_REALTIME, microseconds) to FILE.ran, and checks every byte.
 *
 * The contents are pseudo-random: neither zero pages nor compression flatter the figure. */
#define _GNU_SOURCE
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cu_min.h"

#define PART (64u << 20)

static void write_file(const char *base, const char *suffix)
{
	char path[4096], tmp[4100];
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	snprintf(path, sizeof path, "%s.%s", base, suffix);
	snprintf(tmp, sizeof tmp, "%s.t", path);
	FILE *f = fopen(tmp, "w");
	if (!f || fprintf(f, "%lld\n", (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000) < 0 || fclose(f) ||
	    rename(tmp, path)) {
		perror(path);
		exit(1);
	}
}

static void fill(uint64_t *buf, size_t words, uint64_t seed)
{
	for (size_t i = 0; i < words; i++) {
		uint64_t x = (seed + i) * 0x9e3779b97f4a7c15ull;
		x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
		buf[i] = x ^ (x >> 27);
	}
}

int main(int argc, char **argv)
{
	unsigned long size = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	size_t parts = size / PART;
	if (!parts || size % PART) {
		fprintf(stderr, "usage: hold BYTES FILE; BYTES a multiple of %u\n", PART);
		return 2;
	}
	CUdeviceptr *p = calloc(parts, sizeof *p);
	uint64_t *want = malloc(PART), *got = malloc(PART);
	if (!p || !want || !got)
		return 1;
	cu_min_open();
	for (size_t k = 0; k < parts; k++) {
		fill(want, PART / 8, k << 40);
		CU(cuMemAlloc_v2(&p[k], PART));
		CU(cuMemcpyHtoD_v2(p[k], want, PART));
	}
	/* the host's memory is not what is measured */
	free(want);
	free(got);
	write_file(argv[2], "ready");
	char go[4096];
	snprintf(go, sizeof go, "%s.go", argv[2]);
	while (access(go, F_OK) != 0)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	write_file(argv[2], "ran");
	want = malloc(PART);
	got = malloc(PART);
	if (!want || !got)
		return 1;
	for (size_t k = 0; k < parts; k++) {
		fill(want, PART / 8, k << 40);
		CU(cuMemcpyDtoH_v2(got, p[k], PART));
		if (memcmp(want, got, PART) != 0) {
			fprintf(stderr, "hold: part %zu came back wrong\n", k);
			return 4;
		}
	}
	return 0;
}
