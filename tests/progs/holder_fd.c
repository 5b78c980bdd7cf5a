#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "holder.h"
#include "prog.h"

#define MANY 2000

static int fd = -1, fd2 = -1, pair[2];
static int many[MANY];

static int must(int rc, const char *what)
{
	if (rc < 0)
		prog_fail("%s: %s", what, strerror(errno));
	return rc;
}

static void expect(int from, const char *text)
{
	char buf[64] = "";
	struct pollfd p = { .fd = from, .events = POLLIN };
	if (poll(&p, 1, 5000) != 1 || read(from, buf, sizeof buf) != (ssize_t)strlen(text) || strcmp(buf, text) != 0)
		prog_fail("read '%s' in place of '%s'", buf, text);
}

static void send_text(int to, const char *text)
{
	if (write(to, text, strlen(text)) != (ssize_t)strlen(text))
		prog_fail("write: %s", strerror(errno));
}

static int readable(int one)
{
	struct pollfd p = { .fd = one, .events = POLLIN };
	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

static void eventfd_set_up(void)
{
	fd = must(eventfd(41, 0), "eventfd");
}

static void eventfd_verify(void)
{
	uint64_t v = 1;
	if (write(fd, &v, sizeof v) != sizeof v || read(fd, &v, sizeof v) != sizeof v || v != 42)
		prog_fail("the eventfd holds %llu", (unsigned long long)v);
}

static void epoll_set_up(void)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 77 };
	must(pipe(pair), "pipe");
	fd = must(epoll_create1(0), "epoll");
	must(epoll_ctl(fd, EPOLL_CTL_ADD, pair[0], &e), "epoll");
}

static void epoll_verify(void)
{
	struct epoll_event e = { 0 };
	if (epoll_wait(fd, &e, 1, 0) != 0)
		prog_fail("epoll sees what is not there");
	send_text(pair[1], "x");
	if (epoll_wait(fd, &e, 1, 5000) != 1 || e.data.u64 != 77)
		prog_fail("epoll does not see the pipe");
}

static void timerfd_set_up(void)
{
	struct itimerspec in = { .it_value.tv_sec = 1000, .it_interval.tv_sec = 3 };
	fd = must(timerfd_create(CLOCK_MONOTONIC, 0), "timerfd");
	must(timerfd_settime(fd, 0, &in, NULL), "timerfd");
}

static void timerfd_verify(void)
{
	struct itimerspec left, soon = { .it_value.tv_nsec = 1000000 };
	must(timerfd_gettime(fd, &left), "timerfd");
	if (left.it_interval.tv_sec != 3 || left.it_value.tv_sec > 1000 || left.it_value.tv_sec < 500)
		prog_fail("the timer has %ld s left", (long)left.it_value.tv_sec);
	uint64_t n = 0;
	must(timerfd_settime(fd, 0, &soon, NULL), "timerfd");
	if (read(fd, &n, sizeof n) != sizeof n || n < 1)
		prog_fail("the timer does not fire");
}

static void signalfd_set_up(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = must(signalfd(-1, &set, 0), "signalfd");
	raise(SIGWINCH);
}

static void signalfd_verify(void)
{
	struct signalfd_siginfo si;
	if (!readable(fd) || read(fd, &si, sizeof si) != sizeof si || si.ssi_signo != SIGWINCH)
		prog_fail("the pending signal is lost");
}

static void pipe_set_up(void)
{
	must(pipe(pair), "pipe");
	send_text(pair[1], "in the pipe");
}

static void pair_verify(void)
{
	expect(pair[0], "in the pipe");
	send_text(pair[1], "more");
	expect(pair[0], "more");
}

static void socketpair_set_up(void)
{
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	send_text(pair[1], "in the pipe");
}

static void lock_set_up(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_len = 10 };
	char path[] = "holder-XXXXXX";
	fd = must(mkstemp(path), "mkstemp");
	fd2 = must(open(path, O_RDWR | O_CLOEXEC), path);
	must(fcntl(fd, F_OFD_SETLK, &l), "lock");
	must(flock(fd, LOCK_EX), "flock");
}

static void lock_verify(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_len = 10 };
	if (fcntl(fd2, F_OFD_SETLK, &l) == 0 || flock(fd2, LOCK_EX | LOCK_NB) == 0)
		prog_fail("the lock is gone");
}

static void unlinked_set_up(void)
{
	char path[] = "holder-XXXXXX";
	fd = must(mkstemp(path), "mkstemp");
	must(unlink(path), "unlink");
	send_text(fd, "nobody else sees this");
}

static void unlinked_verify(void)
{
	must((int)lseek(fd, 0, SEEK_SET), "lseek");
	expect(fd, "nobody else sees this");
}

/* A listening socket on a port that the kernel chose, in @fd. */
static struct sockaddr_in listener(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	fd = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
	must(bind(fd, (void *)&a, sizeof a), "bind");
	must(listen(fd, 4), "listen");
	must(getsockname(fd, (void *)&a, &len), "getsockname");
	return a;
}

static void connect_pair(struct sockaddr_in a)
{
	pair[1] = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
	must(connect(pair[1], (void *)&a, sizeof a), "connect");
	pair[0] = must(accept(fd, NULL, NULL), "accept");
}

static void tcp_listen_set_up(void)
{
	listener();
}

static void tcp_listen_verify(void)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	must(getsockname(fd, (void *)&a, &len), "getsockname");
	connect_pair(a);
	send_text(pair[1], "in the pipe");
	pair_verify();
}

static void tcp_set_up(void)
{
	connect_pair(listener());
	send_text(pair[1], "in the pipe");
}

/* The other end is a process outside: $HOLDER_SOCKET. */
static void unix_outside_set_up(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s", getenv("HOLDER_SOCKET") ? getenv("HOLDER_SOCKET") : "");
	fd = must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	must(connect(fd, (void *)&a, sizeof a), a.sun_path);
}

static void unix_outside_verify(void)
{
	send_text(fd, "echo");
	expect(fd, "echo");
}

static void pty_set_up(void)
{
	fd = must(posix_openpt(O_RDWR | O_NOCTTY), "posix_openpt");
	if (grantpt(fd) != 0 || unlockpt(fd) != 0)
		prog_fail("pty: %s", strerror(errno));
	fd2 = must(open(ptsname(fd), O_RDWR | O_NOCTTY), ptsname(fd));
}

static void pty_verify(void)
{
	send_text(fd, "line\n");
	expect(fd2, "line\n");
	if (!isatty(fd2))
		prog_fail("no terminal any more");
}

static void io_uring_set_up(void)
{
	struct io_uring_params p = { 0 };
	fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (fd < 0)
		holder_unsupported("io_uring_setup");
}

static void io_uring_verify(void)
{
	if (syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0) != 0)
		prog_fail("io_uring_enter: %s", strerror(errno));
}

static void userfaultfd_set_up(void)
{
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
	if (fd < 0)
		holder_unsupported("userfaultfd");
}

static void held_verify(void)
{
	if (fcntl(fd, F_GETFD) < 0)
		prog_fail("the descriptor is gone");
}

static void perf_set_up(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_PAGE_FAULTS,
		.exclude_kernel = 1, .exclude_hv = 1 };
	fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
	if (fd < 0)
		holder_unsupported("perf_event_open");
}

static void perf_verify(void)
{
	uint64_t n;
	if (read(fd, &n, sizeof n) != sizeof n)
		prog_fail("the counter cannot be read: %s", strerror(errno));
}

static void inotify_set_up(void)
{
	fd = must(inotify_init1(IN_CLOEXEC), "inotify");
	must(inotify_add_watch(fd, ".", IN_CREATE), "inotify");
}

static void inotify_verify(void)
{
	char path[] = "holder-XXXXXX";
	close(must(mkstemp(path), "mkstemp"));
	unlink(path);
	if (!readable(fd))
		prog_fail("the watch is gone");
}

static void many_set_up(void)
{
	struct rlimit l;
	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	if (l.rlim_max < MANY + 100) {
		errno = EMFILE;
		holder_unsupported("2000 descriptors");
	}
	setrlimit(RLIMIT_NOFILE, &l);
	for (int i = 0; i < MANY; i++)
		many[i] = must(eventfd((unsigned)i, 0), "eventfd");
}

static void many_verify(void)
{
	uint64_t v;
	for (int i = 1; i < MANY; i++)
		if (read(many[i], &v, sizeof v) != sizeof v || v != (uint64_t)i)
			prog_fail("descriptor %d of %d is wrong", i, MANY);
}

static void written_set_up(void)
{
	fd = must(open("holder-file", O_RDWR | O_CREAT | O_EXCL, 0600), "holder-file");
	send_text(fd, "the first line\n");
}

static void written_verify(void)
{
	send_text(fd, "the second line\n");
	must((int)lseek(fd, 0, SEEK_SET), "lseek");
	expect(fd, "the first line\nthe second line\n");
}

const struct kind holder_fd_kinds[] = {
	{ "eventfd", eventfd_set_up, eventfd_verify },
	{ "epoll", epoll_set_up, epoll_verify },
	{ "timerfd", timerfd_set_up, timerfd_verify },
	{ "signalfd", signalfd_set_up, signalfd_verify },
	{ "pipe", pipe_set_up, pair_verify },
	{ "socketpair", socketpair_set_up, pair_verify },
	{ "file-locks", lock_set_up, lock_verify },
	{ "unlinked-file", unlinked_set_up, unlinked_verify },
	{ "tcp-listening", tcp_listen_set_up, tcp_listen_verify },
	{ "tcp-established", tcp_set_up, pair_verify },
	{ "unix-outside", unix_outside_set_up, unix_outside_verify },
	{ "pty", pty_set_up, pty_verify },
	{ "io-uring", io_uring_set_up, io_uring_verify },
	{ "userfaultfd", userfaultfd_set_up, held_verify },
	{ "perf", perf_set_up, perf_verify },
	{ "inotify", inotify_set_up, inotify_verify },
	{ "descriptors-2000", many_set_up, many_verify },
	{ "written-file", written_set_up, written_verify },
	{ 0 },
};
