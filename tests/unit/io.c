/* Whole reads and writes, whatever the kernel hands out in one call. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../shim/base/io.h"
#include "tap.h"

#define LEN (3u << 20) /* more than a pipe holds: short transfers are certain */
static unsigned char out[LEN], in[LEN];
static int p[2];

static void *writer(void *arg)
{
	return ck_write_full(p[1], out, LEN) ? arg : NULL;
}

static volatile pid_t reader_tid;

static void *reader(void *arg)
{
	char c = 0;
	reader_tid = gettid();
	return ck_read_full(p[0], &c, 1) || c != 'x' ? arg : NULL;
}

/* Whether the thread sleeps; gives up after 10 s. */
static int asleep(pid_t tid)
{
	char path[64], text[128];
	uint64_t until = ck_now_ns() + 10000000000u;
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
	while (ck_now_ns() < until) {
		const char *state;
		if (ck_read_text(AT_FDCWD, path, text, sizeof text) > 0 && (state = strstr(text, ") ")) && state[2] == 'S')
			return 1;
		sched_yield();
	}
	return 0;
}

/* A signal while nothing has been read yet: the one case in which read says EINTR. */
static void test_interrupted(void)
{
	int bad = 0;
	for (int i = 0; i < 20; i++) {
		pthread_t t;
		void *failed = NULL;
		reader_tid = 0;
		if (pthread_create(&t, NULL, reader, &p))
			return;
		while (!reader_tid)
			sched_yield();
		bad += !asleep(reader_tid);
		pthread_kill(t, SIGUSR1);
		bad += ck_write_full(p[1], "x", 1) != 0;
		pthread_join(t, &failed);
		if (failed) { /* the byte is still there */
			char c;
			bad++;
			bad += read(p[0], &c, 1) != 1;
		}
	}
	is_int(bad, 0, "a read that is interrupted goes on");
}

static void nothing(int sig)
{
}

int main(void)
{
	pthread_t t;
	void *failed = NULL;
	char text[6];
	struct sigaction sa = { .sa_handler = nothing }; /* no SA_RESTART: calls are interrupted */
	sigaction(SIGUSR1, &sa, NULL);
	for (size_t i = 0; i < LEN; i++)
		out[i] = (unsigned char)(i * 31 + (i >> 9));
	if (pipe(p) || pthread_create(&t, NULL, writer, &p))
		return 1;
	for (size_t at = 0, step = 1; at < LEN; at += step, step = step * 2 < LEN - at ? step * 2 : LEN - at) {
		pthread_kill(t, SIGUSR1);
		if (ck_read_full(p[0], in + at, step < LEN - at ? step : LEN - at))
			break;
	}
	pthread_join(t, &failed);
	test_interrupted();
	ok(!failed && memcmp(in, out, LEN) == 0, "%u bytes through a pipe, interrupted", LEN);
	ok(ck_write_full(p[1], "abc", 3) == 0 && close(p[1]) == 0, "three more");
	ok(ck_read_full(p[0], in, 4) == -1 && errno == ENODATA, "an early end is told");
	int fd = memfd_create("io", MFD_CLOEXEC);
	ok(ck_pwrite_full(fd, out, 1000, 5) == 0 && ck_pread_full(fd, in, 1000, 5) == 0 && memcmp(in, out, 1000) == 0,
	   "at an offset");
	ok(ck_pread_full(fd, in, 1001, 5) == -1 && errno == ENODATA, "past the end");
	ok(ck_pread_full(fd, in, 0, 9999) == 0, "nothing is always there");
	ok(ck_pwrite_full(-1, out, 1, 0) == -1 && errno == EBADF, "an error is an error");
	ok(ck_read_text(AT_FDCWD, "/proc/self/status", text, sizeof text) == 5 && strcmp(text, "Name:") == 0,
	   "text is cut to fit: %s", text);
	ok(ck_read_text(AT_FDCWD, "/nowhere", text, sizeof text) == -1 && errno == ENOENT, "no file");
	uint64_t a = ck_now_ns();
	ok(ck_now_ns() >= a && a, "time does not run back");
	return tap_done();
}
