/* spawn.c - what a process pays for being started with a library preloaded.
 *
 *   spawn ROUNDS PROGRAM NAME=LIBRARY... - a round starts PROGRAM once without LD_PRELOAD and once with each
 *   LIBRARY, in turn, and waits for each. One line for each: name, median and quartiles in microseconds, and
 *   median and quartiles of its ratio to the start without LD_PRELOAD in the same round.
 *
 * In turn, because the machine's speed drifts over seconds by more than what is measured. */
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX 8

extern char **environ;

struct variant {
	const char *name;
	char **env;
	double *us, *ratio;
};

static void die(const char *what)
{
	fprintf(stderr, "spawn: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *need(void *p)
{
	if (!p)
		die("memory");
	return p;
}

/* Our environment with LD_PRELOAD=@lib, or without LD_PRELOAD. */
static char **environment(const char *lib)
{
	size_t n = 0, k = 0;
	while (environ[n])
		n++;
	char **env = need(calloc(n + 2, sizeof *env));
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "LD_PRELOAD=", 11) != 0)
			env[k++] = environ[i];
	if (lib && asprintf(&env[k], "LD_PRELOAD=%s", lib) < 0)
		die("memory");
	return env;
}

static double start_once(char **argv, char **env)
{
	struct timespec a, b;
	pid_t pid;
	int st;
	clock_gettime(CLOCK_MONOTONIC, &a);
	errno = posix_spawn(&pid, argv[0], NULL, NULL, argv, env);
	if (errno)
		die(argv[0]);
	if (waitpid(pid, &st, 0) < 0)
		die("waitpid");
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (st != 0) {
		fprintf(stderr, "spawn: %s ended with wait status %d\n", argv[0], st);
		exit(1);
	}
	return (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	struct variant v[MAX] = { { .name = "none" } };
	int n = 1, rounds = argc > 2 ? atoi(argv[1]) : 0;
	if (rounds < 4 || argc - 3 > MAX - 1) {
		fputs("usage: spawn ROUNDS PROGRAM NAME=LIBRARY...\n", stderr);
		return 2;
	}
	v[0].env = environment(NULL);
	for (int i = 3; i < argc; i++) {
		char *eq = strchr(argv[i], '=');
		if (!eq)
			return 2;
		*eq = 0;
		v[n++] = (struct variant){ .name = argv[i], .env = environment(eq + 1) };
	}
	char *child[] = { argv[2], NULL };
	for (int k = 0; k < n; k++) {
		v[k].us = need(calloc((size_t)rounds, sizeof(double)));
		v[k].ratio = need(calloc((size_t)rounds, sizeof(double)));
		for (int i = 0; i < 10; i++)
			start_once(child, v[k].env);
	}
	for (int r = 0; r < rounds; r++)
		for (int k = 0; k < n; k++) {
			/* another one first each time: the first of a round is not always the same */
			int w = (k + r) % n;
			v[w].us[r] = start_once(child, v[w].env);
		}
	for (int k = 0; k < n; k++)
		for (int r = 0; r < rounds; r++)
			v[k].ratio[r] = v[k].us[r] / v[0].us[r];
	for (int k = n - 1; k >= 0; k--) {
		qsort(v[k].us, (size_t)rounds, sizeof(double), by_size);
		qsort(v[k].ratio, (size_t)rounds, sizeof(double), by_size);
	}
	for (int k = 0; k < n; k++) {
		int q1 = rounds / 4, q2 = rounds / 2, q3 = rounds * 3 / 4;
		printf("%s %.1f %.1f %.1f %.3f %.3f %.3f\n", v[k].name, v[k].us[q2], v[k].us[q1], v[k].us[q3],
		       v[k].ratio[q2], v[k].ratio[q1], v[k].ratio[q3]);
	}
	return 0;
}
