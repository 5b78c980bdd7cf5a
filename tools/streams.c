#define _GNU_SOURCE
#include "streams.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int has_path(mode_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISCHR(mode) || S_ISBLK(mode);
}

/* Note what @fd is. Only what has a name that still leads to the same file can be opened again. */
static int look(int fd, struct ck_inherited *in, struct ck_err *err)
{
	char link[64], path[PATH_MAX];
	struct stat st, at;
	memset(in, 0, sizeof *in);
	in->fd = fd;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	if (n < 0 || fstat(fd, &st) < 0)
		return ck_err_errno(err, "cannot look at descriptor %d", fd);
	path[n] = 0;
	in->path = strdup(path);
	if (!in->path)
		return ck_err_set(err, CK_ESYS, ENOMEM, "streams");
	in->flags = fcntl(fd, F_GETFL);
	in->dev = st.st_dev;
	in->ino = st.st_ino;
	in->offset = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? lseek(fd, 0, SEEK_CUR) : 0;
	in->reopen = has_path(st.st_mode) && !isatty(fd) && path[0] == '/' && stat(path, &at) == 0 &&
		     at.st_dev == st.st_dev && at.st_ino == st.st_ino && !(in->flags & O_PATH);
	return 0;
}

/* Open it again inside, at the same number. The new mount namespace has copies of all mounts, and CRIU
 * only knows files that were opened through those. */
static int reopen(struct ck_inherited *in, int cloexec, struct ck_err *err)
{
	struct stat st;
	int flags = in->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY);
	int fd = open(in->path, flags | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return ck_err_errno(err, "cannot open %s again inside the namespaces", in->path);
	if (fstat(fd, &st) < 0 || st.st_ino != in->ino || st.st_dev != in->dev) {
		close(fd);
		return ck_err_set(err, CK_ESYS, 0, "%s was replaced while it was opened again", in->path);
	}
	if (in->offset > 0 && lseek(fd, in->offset, SEEK_SET) < 0) {
		ck_err_errno(err, "cannot seek in %s", in->path);
		close(fd);
		return -1;
	}
	if (in->fd < 0) {
		in->fd = fd;
		return 0;
	}
	int rc = dup3(fd, in->fd, cloexec ? O_CLOEXEC : 0);
	close(fd);
	return rc < 0 ? ck_err_errno(err, "dup3") : 0;
}

static int others(struct ck_streams *st, struct ck_err *err)
{
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		return ck_err_errno(err, "cannot read /proc/self/fd");
	struct dirent *e;
	size_t cap = 0;
	int rc = 0;
	while (rc == 0 && (e = readdir(d))) {
		int fd = atoi(e->d_name);
		if (fd < 3 || fd == dirfd(d) || fcntl(fd, F_GETFD) & FD_CLOEXEC)
			continue;
		if (st->nother == cap) {
			cap = cap ? 2 * cap : 8;
			struct ck_inherited *more = realloc(st->other, cap * sizeof *more);
			if (!more) {
				rc = ck_err_set(err, CK_ESYS, ENOMEM, "streams");
				break;
			}
			st->other = more;
		}
		rc = look(fd, &st->other[st->nother], err);
		if (rc == 0)
			st->nother++;
	}
	closedir(d);
	return rc;
}

static int same_file(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int make_pipe(struct ck_stream *s, int out, struct ck_err *err)
{
	int p[2];
	struct stat st;
	if (pipe2(p, O_CLOEXEC) < 0 || fstat(p[0], &st) < 0)
		return ck_err_errno(err, "pipe");
	s->kind = CK_STREAM_PIPE;
	s->prog = out ? p[1] : p[0];
	s->pump = out ? p[0] : p[1];
	snprintf(s->key, sizeof s->key, "pipe:[%lu]", (unsigned long)st.st_ino);
	return 0;
}

/* Does stream @i stand on a terminal? stdin alone does not count: it could not be raw while the output
 * goes to a reader that has the same terminal. */
static int on_terminal(int i, const struct ck_manifest *from)
{
	if (from)
		return from->stream[i].kind && strcmp(from->stream[i].kind, "tty") == 0;
	return isatty(i) && (i > 0 || isatty(1) || isatty(2));
}

int ck_streams_prepare(struct ck_streams *st, const struct ck_manifest *from, struct ck_err *err)
{
	memset(st, 0, sizeof *st);
	st->slave = -1;
	for (int i = 0; i < 3; i++) {
		st->s[i].prog = st->s[i].pump = -1;
		/* A closed standard descriptor would be taken by the first file that anyone opens. */
		if (fcntl(i, F_GETFD) < 0 && open("/dev/null", O_RDWR) != i)
			return ck_err_errno(err, "/dev/null");
	}
	for (int i = 0; i < 3; i++) {
		if (on_terminal(i, from)) {
			st->s[i].kind = CK_STREAM_TTY;
			st->tty = 1;
		}
	}
	if (from) {
		st->devnull_stdin = 1;
	} else {
		if (others(st, err) || look(0, &st->in0, err))
			return -1;
		if (st->s[0].kind == CK_STREAM_TTY)
			;
		else if (st->in0.reopen)
			st->s[0].kind = CK_STREAM_PATH;
		else if (make_pipe(&st->s[0], 0, err))
			return -1;
	}
	if (st->s[1].kind != CK_STREAM_TTY && make_pipe(&st->s[1], 1, err))
		return -1;
	if (st->s[2].kind == CK_STREAM_TTY)
		return 0;
	if (st->s[1].kind == CK_STREAM_TTY || !same_file(1, 2))
		return make_pipe(&st->s[2], 1, err);
	/* One pipe, or the order of lines would be lost between two. */
	st->s[2] = st->s[1];
	st->s[2].same = 1;
	st->s[2].pump = -1;
	st->s[2].prog = fcntl(st->s[1].prog, F_DUPFD_CLOEXEC, 3);
	return st->s[2].prog < 0 ? ck_err_errno(err, "dup") : 0;
}

int ck_streams_inside(struct ck_streams *st, struct ck_err *err)
{
	for (int i = 0; i < 3; i++) {
		if (st->s[i].pump >= 0)
			close(st->s[i].pump);
		st->s[i].pump = -1;
	}
	if (!st->devnull_stdin && st->s[0].kind == CK_STREAM_PATH) {
		st->in0.fd = -1;
		if (reopen(&st->in0, 1, err))
			return -1;
		st->s[0].prog = st->in0.fd;
	}
	for (int i = 0; i < 3; i++) {
		if (st->s[i].kind != CK_STREAM_TTY)
			continue;
		st->s[i].prog = fcntl(st->slave, F_DUPFD_CLOEXEC, 3);
		if (st->s[i].prog < 0)
			return ck_err_errno(err, "dup");
	}
	for (size_t i = 0; i < st->nother; i++) {
		if (st->other[i].reopen && reopen(&st->other[i], 0, err)) {
			/* It works for the program as it is; only a checkpoint will have to refuse it. */
			st->other[i].reopen = 0;
		}
	}
	return 0;
}

void ck_streams_outside(struct ck_streams *st)
{
	ck_streams_release(st);
}

int ck_streams_install(const struct ck_streams *st)
{
	for (int i = 0; i < 3; i++) {
		if (st->s[i].prog >= 0 && dup2(st->s[i].prog, i) < 0)
			return -1;
	}
	return 0;
}

void ck_streams_release(struct ck_streams *st)
{
	for (int i = 0; i < 3; i++) {
		if (st->s[i].prog >= 0)
			close(st->s[i].prog);
		st->s[i].prog = -1;
	}
	for (size_t i = 0; i < st->nother; i++) {
		close(st->other[i].fd);
		st->other[i].fd = -1;
	}
}

void ck_pump_init(struct ck_pump *p, int from, int to)
{
	struct stat st;
	memset(p, 0, offsetof(struct ck_pump, buf));
	p->from = from;
	p->to = to;
	if (from >= 0)
		fcntl(from, F_SETFL, fcntl(from, F_GETFL) | O_NONBLOCK);
	/* The other end's file description is not ours alone: never make it non-blocking. */
	p->small = fstat(to, &st) == 0 && !S_ISREG(st.st_mode) && !(fcntl(to, F_GETFL) & O_NONBLOCK);
}

void ck_pump_want(const struct ck_pump *p, struct pollfd *pfd)
{
	pfd->revents = 0;
	pfd->fd = p->have ? p->to : p->from;
	pfd->events = p->have ? POLLOUT : POLLIN;
	if (p->have && p->wait)
		pfd->fd = -1;
}

static void pump_end(struct ck_pump *p)
{
	if (p->from >= 0)
		close(p->from);
	p->from = -1;
	p->have = 0;
}

/* Returns 1 when something moved, 0 when it would block or is finished. */
static int pump_step(struct ck_pump *p)
{
	if (!p->have) {
		if (p->from < 0)
			return 0;
		ssize_t n = read(p->from, p->buf, sizeof p->buf);
		if (n > 0) {
			p->have = (size_t)n;
			p->off = 0;
			return 1;
		}
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			pump_end(p);
		return 0;
	}
	struct pollfd room = { .fd = p->to, .events = POLLOUT };
	if (p->small && poll(&room, 1, 0) <= 0)
		return 0;
	size_t len = p->small && p->have > PIPE_BUF ? PIPE_BUF : p->have;
	ssize_t n = write(p->to, p->buf + p->off, len);
	p->wait = 0;
	if (n > 0) {
		p->off += (size_t)n;
		p->have -= (size_t)n;
		return 1;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0 && (errno == ENOSPC || errno == EDQUOT) && !p->lossy) {
		p->wait = 1;
		return 0;
	}
	/* The reader is gone: let the program see that at its own next write. */
	pump_end(p);
	return 0;
}

void ck_pump_run(struct ck_pump *p)
{
	/* Bounded, so that a program that writes without end cannot keep signals waiting. */
	for (int i = 0; i < 32 && pump_step(p); i++)
		;
}

void ck_pump_drain(struct ck_pump *p)
{
	p->lossy = 1;
	p->wait = 0;
	for (;;) {
		while (pump_step(p))
			;
		if (!p->have)
			break; /* nothing left, and nobody who could write more */
		struct pollfd room = { .fd = p->to, .events = POLLOUT };
		poll(&room, 1, -1);
	}
	pump_end(p);
}

void ck_feed_want(const struct ck_feed *f, struct pollfd *pfd)
{
	/* First room, then data: waiting for data while the pipe is full would spin. */
	struct pollfd room = { .fd = f->to, .events = POLLOUT };
	pfd->fd = -1;
	pfd->revents = 0;
	if (f->to < 0 || f->paused)
		return;
	int full = f->have || poll(&room, 1, 0) == 0;
	pfd->fd = full ? f->to : f->from;
	pfd->events = full ? POLLOUT : POLLIN;
}

static void feed_keys(struct ck_feed *f)
{
	struct pollfd data = { .fd = f->from, .events = POLLIN };
	if (!f->have) {
		if (f->from < 0 || poll(&data, 1, 0) <= 0)
			return;
		ssize_t n = read(f->from, f->keys, sizeof f->keys);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			f->to = -1; /* the terminal is gone; a hangup signal says so */
			return;
		}
		f->have = (size_t)n;
		f->off = 0;
	}
	ssize_t w = write(f->to, f->keys + f->off, f->have);
	if (w > 0) {
		f->off += (size_t)w;
		f->have -= (size_t)w;
	}
}

void ck_feed_run(struct ck_feed *f)
{
	char buf[PIPE_BUF];
	struct pollfd room = { .fd = f->to, .events = POLLOUT };
	struct pollfd data = { .fd = f->from, .events = POLLIN };
	if (f->to < 0 || f->paused)
		return;
	if (f->tty) {
		feed_keys(f);
		return;
	}
	int r = poll(&room, 1, 0);
	if (r <= 0 || (room.revents & POLLOUT) == 0) {
		if (r > 0 && room.revents & (POLLERR | POLLHUP))
			goto end; /* nobody reads any more; leave the job's stdin unread */
		return;
	}
	if (poll(&data, 1, 0) <= 0)
		return;
	/* POLLOUT on a pipe means that one whole PIPE_BUF fits. */
	ssize_t n = read(f->from, buf, sizeof buf);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && write(f->to, buf, (size_t)n) == n)
		return;
end:
	close(f->to);
	f->to = -1;
}
