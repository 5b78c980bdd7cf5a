#define _GNU_SOURCE
#include "proto.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io.h"

void ck_msg_init(struct ck_msg *m, enum ck_msg_type type)
{
	memset(m, 0, sizeof *m);
	m->magic = CK_PROTO_MAGIC;
	m->version = CK_PROTO_VERSION;
	m->type = (uint16_t)type;
}

int ck_msg_send(int sock, const struct ck_msg *m, int fd, struct ck_err *err)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { .iov_base = (void *)m, .iov_len = sizeof *m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		memset(&ctl, 0, sizeof ctl);
		h.msg_control = ctl.buf;
		h.msg_controllen = sizeof ctl.buf;
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	ssize_t n;
	do
		n = sendmsg(sock, &h, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof *m)
		return ck_err_set(err, CK_ESYS, errno, "cannot send message %d", m->type);
	return 0;
}

/* Collect the descriptors that came with a packet: keep the first in *fd, close all others. */
static void take_fds(struct msghdr *h, int *fd)
{
	int first = -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int got;
			memcpy(&got, CMSG_DATA(c) + i * sizeof got, sizeof got);
			if (first < 0 && fd)
				first = got;
			else
				close(got);
		}
	}
	if (fd)
		*fd = first;
}

int ck_msg_recv(int sock, struct ck_msg *m, int *fd, int timeout_ms, struct ck_err *err)
{
	if (fd)
		*fd = -1;
	uint64_t until = ck_now_ns() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000u;
	for (;;) {
		int left = -1;
		if (timeout_ms >= 0) {
			uint64_t now = ck_now_ns();
			left = now >= until ? 0 : (int)((until - now + 999999u) / 1000000u);
		}
		struct pollfd p = { .fd = sock, .events = POLLIN };
		int n = poll(&p, 1, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ck_err_errno(err, "poll");
		if (n == 0)
			return ck_err_set(err, CK_ETIMEOUT, 0, "no message within %d ms", timeout_ms);
		break;
	}
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { .iov_base = m, .iov_len = sizeof *m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.buf,
		.msg_controllen = sizeof ctl.buf };
	ssize_t n;
	do
		n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return ck_err_errno(err, "cannot receive a message");
	if (n == 0)
		return ck_err_set(err, CK_ESYS, ECONNRESET, "the other side is gone");
	take_fds(&h, fd);
	if (n != (ssize_t)sizeof *m || (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || m->magic != CK_PROTO_MAGIC ||
	    m->type < 1 || m->type >= CK_MSG_TYPES) {
		if (fd && *fd >= 0) {
			close(*fd);
			*fd = -1;
		}
		return ck_err_set(err, CK_EINVAL, 0, "malformed message (%zd bytes)", n);
	}
	if (m->version != CK_PROTO_VERSION) {
		if (fd && *fd >= 0) {
			close(*fd);
			*fd = -1;
		}
		return ck_err_set(err, CK_EVERSION, 0,
				  "protocol %d where %d was expected: libckshim.so and ckshim-run are of different releases",
				  m->version, CK_PROTO_VERSION);
	}
	m->text[sizeof m->text - 1] = 0;
	return 0;
}

static int address(const char *rundir, struct sockaddr_un *sa, struct ck_err *err)
{
	memset(sa, 0, sizeof *sa);
	sa->sun_family = AF_UNIX;
	int n = snprintf(sa->sun_path, sizeof sa->sun_path, "%s/" CK_SOCK_NAME, rundir);
	if (n < 0 || (size_t)n >= sizeof sa->sun_path)
		return ck_err_set(err, CK_EINVAL, 0, "CKSHIM_RUNDIR is too long for a socket: %s", rundir);
	return 0;
}

int ck_sock_connect(const char *rundir, struct ck_err *err)
{
	struct sockaddr_un sa;
	if (address(rundir, &sa, err))
		return -1;
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s < 0)
		return ck_err_errno(err, "socket");
	if (connect(s, (struct sockaddr *)&sa, sizeof sa) < 0) {
		ck_err_errno(err, "cannot reach the supervisor at %s", sa.sun_path);
		close(s);
		return -1;
	}
	return s;
}

int ck_sock_listen(const char *rundir, struct ck_err *err)
{
	struct sockaddr_un sa;
	if (address(rundir, &sa, err))
		return -1;
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s < 0)
		return ck_err_errno(err, "socket");
	if (bind(s, (struct sockaddr *)&sa, sizeof sa) < 0 || listen(s, 128) < 0) {
		ck_err_errno(err, "cannot listen at %s", sa.sun_path);
		close(s);
		return -1;
	}
	return s;
}
