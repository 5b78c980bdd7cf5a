#define _GNU_SOURCE
#include "prog.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void prog_die(int status, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(status);
}

static uint64_t number(const char *name, const char *s, uint64_t max)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 10);
	if (*s == '-' || end == s || *end || errno || v > max)
		prog_die(2, "--%s: %s is not a number from 0 to %llu", name, s, (unsigned long long)max);
	return v;
}

void prog_args(struct prog *p, int argc, char **argv)
{
	static const struct option options[] = {
		{ "steps", 1, 0, 's' },	     { "size", 1, 0, 'b' },	  { "seed", 1, 0, 'r' },
		{ "pause-at", 1, 0, 'k' },   { "pause-file", 1, 0, 'f' }, { "stop-every", 1, 0, 'e' },
		{ "exit", 1, 0, 'x' },	     { "signal", 1, 0, 'g' },	  { 0, 0, 0, 0 },
	};
	int c, i;
	while ((c = getopt_long(argc, argv, "", options, &i)) != -1) {
		if (c == '?')
			exit(2);
		const char *name = options[i].name;
		switch (c) {
		case 's': p->steps = (int)number(name, optarg, 1000000); break;
		case 'b': p->size = number(name, optarg, (uint64_t)1 << 40); break;
		case 'r': p->seed = (uint32_t)number(name, optarg, UINT32_MAX); break;
		case 'k': p->pause_at = (int)number(name, optarg, 1000000); break;
		case 'e': p->stop_every = (int)number(name, optarg, 1000000); break;
		case 'f': p->pause_file = optarg; break;
		case 'x': p->exit_status = (int)number(name, optarg, 255); break;
		case 'g': p->die_by = (int)number(name, optarg, 64); break;
		}
	}
	if (optind < argc)
		prog_die(2, "unexpected argument: %s", argv[optind]);
	if (p->pause_at && !p->pause_file)
		prog_die(2, "--pause-at needs --pause-file");
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static int there(const struct prog *p, const char *what, int unlink_it)
{
	char path[4096];
	snprintf(path, sizeof path, "%s.%s", p->pause_file, what);
	return unlink_it ? unlink(path) == 0 : access(path, F_OK) == 0;
}

int prog_due(const struct prog *p, int step)
{
	if (!p->pause_at || step < p->pause_at || there(p, "free", 0))
		return 0;
	return step == p->pause_at || (p->stop_every && (step - p->pause_at) % p->stop_every == 0);
}

void prog_reached(const struct prog *p)
{
	char path[4096];
	snprintf(path, sizeof path, "%s.reached", p->pause_file);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		prog_die(2, "%s: %s", path, strerror(errno));
	close(fd);
}

int prog_waiting(const struct prog *p)
{
	if (there(p, "free", 0))
		return 0;
	if (!there(p, "go", 0))
		return 1;
	there(p, "reached", 1);
	there(p, "go", 1);
	return 0;
}

void prog_pause(const struct prog *p, int step)
{
	if (!prog_due(p, step))
		return;
	prog_reached(p);
	while (prog_waiting(p)) {
		struct timespec nap = { .tv_nsec = 10000000 };
		nanosleep(&nap, NULL);
	}
}

uint64_t prog_sum(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t w;
		memcpy(&w, p, 8);
		h = (h ^ w) * 0x100000001b3u;
	}
	while (len--)
		h = (h ^ *p++) * 0x100000001b3u;
	return h;
}

void prog_end(const struct prog *p)
{
	fflush(stdout);
	if (p->die_by) {
		signal(p->die_by, SIG_DFL);
		raise(p->die_by);
	}
	exit(p->exit_status);
}
