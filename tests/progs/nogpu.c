/* nogpu - no CUDA at all: threads, a file written as it goes, a pipe to a child. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prog.h"

static struct prog p = { .steps = 10, .seed = 1 };
static pthread_barrier_t turn;
static uint64_t part[2];

static void *work(void *arg)
{
	int id = (int)(intptr_t)arg;
	uint64_t h = p.seed + (uint64_t)id;
	for (int k = 1; k <= p.steps; k++) {
		pthread_barrier_wait(&turn);
		for (int i = 0; i < 200000; i++)
			h = (h ^ (uint64_t)i) * 0x100000001b3u;
		part[id] = h;
		pthread_barrier_wait(&turn);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[2];
	int to[2], from[2];
	uint64_t all = PROG_SUM;
	prog_args(&p, argc, argv);
	if (pipe(to) || pipe(from))
		prog_die(3, "pipe");
	pid_t child = fork();
	if (child < 0)
		prog_die(3, "fork");
	if (child == 0) { /* answers each number with its complement */
		uint64_t v;
		close(to[1]);
		close(from[0]);
		while (read(to[0], &v, sizeof v) == (ssize_t)sizeof v) {
			v = ~v;
			if (write(from[1], &v, sizeof v) != (ssize_t)sizeof v)
				_exit(1);
		}
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	pthread_barrier_init(&turn, NULL, 3);
	for (int i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, work, (void *)(intptr_t)i))
			prog_die(3, "no thread");
	for (int k = 1; k <= p.steps; k++) {
		uint64_t v;
		prog_pause(&p, k);
		pthread_barrier_wait(&turn);
		pthread_barrier_wait(&turn);
		v = prog_sum(all, part, sizeof part);
		if (write(to[1], &v, sizeof v) != (ssize_t)sizeof v ||
		    read(from[0], &all, sizeof all) != (ssize_t)sizeof all)
			prog_die(4, "the child is gone");
		printf("step %d %016llx\n", k, (unsigned long long)all);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	close(to[1]);
	int status;
	if (waitpid(child, &status, 0) != child || status != 0)
		prog_die(4, "the child ended with %#x", status);
	printf("checksum %016llx\n", (unsigned long long)all);
	prog_end(&p);
}
