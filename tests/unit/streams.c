/* The pumps between the program's pipes and the job's streams: nothing lost, nothing doubled, ends seen. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../tools/streams.h"
#include "tap.h"

#define TOTAL (1u << 20)

static uint8_t at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 13);
}

/* A child that writes TOTAL bytes of the pattern in uneven pieces. */
static pid_t writer(int fd)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	for (size_t i = 0; i < TOTAL;) {
		uint8_t buf[777];
		size_t n = i % 700 + 1;
		if (n > TOTAL - i)
			n = TOTAL - i;
		for (size_t k = 0; k < n; k++)
			buf[k] = at(i + k);
		ssize_t w = write(fd, buf, n);
		if (w < 0)
			_exit(errno == EPIPE ? 32 : 1);
		i += (size_t)w;
	}
	_exit(0);
}

/* A child that reads to the end and checks; exit 0 when it was the whole pattern. */
static pid_t reader(int fd)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	size_t have = 0;
	uint8_t buf[1000];
	ssize_t n;
	while ((n = read(fd, buf, sizeof buf)) > 0) {
		for (ssize_t k = 0; k < n; k++) {
			if (buf[k] != at(have + (size_t)k))
				_exit(2);
		}
		have += (size_t)n;
	}
	_exit(have == TOTAL ? 0 : 3);
}

static int status_of(pid_t pid)
{
	int st = -1;
	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

static void pumped(void)
{
	static struct ck_pump p;
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		exit(1);
	pid_t w = writer(in[1]);
	pid_t r = fork();
	if (r == 0) {
		close(out[1]);
		close(in[0]);
		close(in[1]);
		_exit(status_of(reader(out[0])));
	}
	close(in[1]);
	close(out[0]);
	ck_pump_init(&p, in[0], out[1]);
	while (p.from >= 0) {
		struct pollfd pfd;
		ck_pump_want(&p, &pfd);
		if (poll(&pfd, 1, 20000) <= 0) {
			ok(0, "something to do within the deadline");
			break;
		}
		ck_pump_run(&p);
	}
	close(out[1]);
	is_int(status_of(w), 0, "the writer got rid of everything");
	is_int(status_of(r), 0, "the reader got exactly that");
	ok(fcntl(out[1], F_GETFL) < 0, "the end of the input ended the pump");
}

static void drained(void)
{
	static struct ck_pump p;
	int in[2], out[2];
	char buf[16];
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		exit(1);
	ok(write(in[1], "last words", 10) == 10, "left in the pipe");
	ck_pump_init(&p, in[0], out[1]);
	ck_pump_drain(&p); /* a writer still holds its end: drain must not wait for it */
	is_int(read(out[0], buf, sizeof buf), 10, "drained though a writer is left");
	is_int(p.from, -1, "and finished");
	close(in[1]);
	close(out[0]);
	close(out[1]);
}

static void reader_gone(void)
{
	static struct ck_pump p;
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		exit(1);
	close(out[0]);
	ok(write(in[1], "x", 1) == 1, "one byte for nobody");
	ck_pump_init(&p, in[0], out[1]);
	for (int i = 0; i < 4; i++)
		ck_pump_run(&p);
	is_int(p.from, -1, "the pump ends when its reader is gone");
	ok(write(in[1], "x", 1) < 0 && errno == EPIPE, "and the program's own write fails");
	close(in[1]);
	close(out[1]);
}

static void fed(void)
{
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		exit(1);
	struct ck_feed f = { .from = in[0], .to = out[1], .paused = 1 };
	ok(write(in[1], "abc", 3) == 3, "input");
	ck_feed_run(&f);
	char buf[8];
	struct pollfd p = { .fd = out[0], .events = POLLIN };
	is_int(poll(&p, 1, 0), 0, "paused: nothing moves");
	f.paused = 0;
	ck_feed_run(&f);
	is_int(read(out[0], buf, sizeof buf), 3, "then all of it");
	close(in[1]);
	ck_feed_run(&f);
	is_int(f.to, -1, "the end is passed on");
	is_int(read(out[0], buf, sizeof buf), 0, "and seen");
	close(in[0]);
	close(out[0]);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	pumped();
	drained();
	reader_gone();
	fed();
	return tap_done();
}
