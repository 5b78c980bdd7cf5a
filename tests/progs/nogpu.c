/* nogpu.c - no CUDA at all: threads that pass numbers through pipes, a file that grows and is read back. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "prog.h"

#define STAGES 3
#define WORDS  4096u

static int pipes[STAGES + 1][2];

/* Stage k reads a number, works it into a table of its own, passes it on. */
static void *stage_main(void *arg)
{
	unsigned k = (unsigned)(size_t)arg;
	uint32_t *v = calloc(WORDS, sizeof *v), x;
	if (!v)
		prog_fail("no memory");
	while (read(pipes[k][0], &x, sizeof x) == (ssize_t)sizeof x) {
		for (unsigned i = 0; i < WORDS; i++)
			v[i] = v[i] * 1664525u + x + prog_random(k, i);
		x ^= (uint32_t)prog_hash(k, v, WORDS * sizeof *v);
		if (write(pipes[k + 1][1], &x, sizeof x) != (ssize_t)sizeof x)
			prog_fail("stage %u cannot write: %s", k, strerror(errno));
	}
	close(pipes[k + 1][1]);
	free(v);
	return NULL;
}

/* Read the file back from its start: it must hold every number so far. */
static uint64_t reread(FILE *f, unsigned long steps)
{
	uint32_t x;
	uint64_t h = 0;
	unsigned long n = 0;
	rewind(f);
	for (; fread(&x, sizeof x, 1, f) == 1; n++)
		h = prog_hash(h, &x, sizeof x);
	if (n != steps || fseek(f, 0, SEEK_END) != 0)
		prog_fail("the file holds %lu numbers, not %lu", n, steps);
	return h;
}

int main(int argc, char **argv)
{
	struct prog_opts o = { .steps = 20, .seed = 5 };
	pthread_t threads[STAGES];
	prog_options(&o, argc, argv);
	char path[] = "nogpu-XXXXXX";
	int fd = mkstemp(path);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w+");
	if (!f)
		prog_fail("a file here: %s", strerror(errno));
	for (int k = 0; k <= STAGES; k++)
		if (pipe(pipes[k]) != 0)
			prog_fail("pipe: %s", strerror(errno));
	for (size_t k = 0; k < STAGES; k++)
		if (pthread_create(&threads[k], NULL, stage_main, (void *)k) != 0)
			prog_fail("no thread");
	uint64_t hash = 0;
	uint32_t x = (uint32_t)o.seed;
	for (unsigned long step = 1; step <= o.steps; step++) {
		prog_pause(&o, step);
		if (write(pipes[0][1], &x, sizeof x) != (ssize_t)sizeof x ||
		    read(pipes[STAGES][0], &x, sizeof x) != (ssize_t)sizeof x)
			prog_fail("the pipes: %s", strerror(errno));
		if (fwrite(&x, sizeof x, 1, f) != 1 || fflush(f) != 0)
			prog_fail("the file: %s", strerror(errno));
		hash = prog_hash(hash, &(uint64_t){ reread(f, step) }, 8);
		printf("step %lu value %08x\n", step, x);
	}
	close(pipes[0][1]);
	for (int k = 0; k < STAGES; k++)
		pthread_join(threads[k], NULL);
	fclose(f);
	if (unlink(path) != 0)
		prog_fail("%s: %s", path, strerror(errno));
	prog_end(&o, hash);
}
