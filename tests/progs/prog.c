/* prog.c - see prog.h. */
#include "prog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void usage(const char *what)
{
	fprintf(stderr, "wrong argument: %s\nusage: [--steps N] [--size BYTES] [--seed N] [--pause-at K --pause-file F "
			"[--stop-every N]] [--exit N] [--signal N]\n", what);
	exit(2);
}

static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	errno = 0;
	unsigned long v = strtoul(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || v > max)
		usage(text);
	return v;
}

void prog_options(struct prog_opts *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i += 2) {
		const char *name = argv[i], *v = argv[i + 1];
		if (!v)
			usage(name);
		if (!strcmp(name, "--steps"))
			o->steps = number(v, 1000000000);
		else if (!strcmp(name, "--size"))
			o->size = number(v, 1ul << 40);
		else if (!strcmp(name, "--seed"))
			o->seed = number(v, ~0ul);
		else if (!strcmp(name, "--pause-at"))
			o->pause_at = number(v, ~0ul);
		else if (!strcmp(name, "--stop-every"))
			o->stop_every = number(v, ~0ul);
		else if (!strcmp(name, "--pause-file"))
			o->pause_file = v;
		else if (!strcmp(name, "--exit"))
			o->exit_status = (int)number(v, 255);
		else if (!strcmp(name, "--signal"))
			o->signal = (int)number(v, 64);
		else
			usage(name);
	}
	if (!o->pause_at != !o->pause_file)
		usage("--pause-at and --pause-file belong together");
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static char *beside(const struct prog_opts *o, const char *what, char path[4096])
{
	snprintf(path, 4096, "%s.%s", o->pause_file, what);
	return path;
}

static int due(const struct prog_opts *o, unsigned long step)
{
	char path[4096];
	if (!o->pause_at || step < o->pause_at || access(beside(o, "free", path), F_OK) == 0)
		return 0;
	return step == o->pause_at || (o->stop_every && (step - o->pause_at) % o->stop_every == 0);
}

void prog_pause(const struct prog_opts *o, unsigned long step)
{
	char path[4096];
	if (!due(o, step))
		return;
	int fd = open(beside(o, "reached", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		prog_fail("%s: %s", path, strerror(errno));
	close(fd);
	while (access(beside(o, "go", path), F_OK) != 0 && access(beside(o, "free", path), F_OK) != 0)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	unlink(beside(o, "reached", path));
	unlink(beside(o, "go", path));
}

uint32_t prog_random(uint64_t seed, uint64_t i)
{
	uint64_t x = seed + i * 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (uint32_t)((x ^ (x >> 31)) >> 32);
}

uint64_t prog_hash(uint64_t h, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	h ^= 0xcbf29ce484222325ull + len;
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v;
		memcpy(&v, p, 8);
		h = (h ^ v) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	for (; len; p++, len--)
		h = (h ^ *p) * 0x100000001b3ull;
	return h ^ h >> 32;
}

void prog_end(const struct prog_opts *o, uint64_t checksum)
{
	printf("checksum %016llx\n", (unsigned long long)checksum);
	fflush(stdout);
	if (o->signal) {
		signal(o->signal, SIG_DFL);
		raise(o->signal);
	}
	exit(o->exit_status);
}

void prog_fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fputs("wrong: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(4);
}
