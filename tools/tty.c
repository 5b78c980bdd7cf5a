#define _GNU_SOURCE
#include "tty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int ck_tty_open(int *master, int *slave, char *key, size_t cap, struct ck_err *err)
{
	char name[64];
	struct stat st;
	*slave = -1;
	*master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*master < 0 || unlockpt(*master) < 0 || ptsname_r(*master, name, sizeof name) != 0)
		goto fail;
	*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0 || fstat(*slave, &st) < 0)
		goto fail;
	snprintf(key, cap, "tty[%lx:%lx]", (unsigned long)st.st_rdev, (unsigned long)st.st_dev);
	return 0;
fail:
	ck_err_set(err, CK_EENV, errno, "cannot make a pty");
	if (*master >= 0)
		close(*master);
	*master = -1;
	return -1;
}

int ck_tty_send(int sock, const void *data, size_t len, int fd, struct ck_err *err)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.buf,
		.msg_controllen = sizeof ctl.buf };
	memset(&ctl, 0, sizeof ctl);
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	if (sendmsg(sock, &h, MSG_NOSIGNAL) != (ssize_t)len)
		return ck_err_errno(err, "cannot hand the pty over");
	return 0;
}

ssize_t ck_tty_receive(int sock, void *data, size_t len, int *fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.buf,
		.msg_controllen = sizeof ctl.buf };
	*fd = -1;
	ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&h) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof *fd);
	return n;
}

void ck_tty_resize(const struct ck_tty *t)
{
	struct winsize w;
	if (t->master >= 0 && t->outer >= 0 && ioctl(t->outer, TIOCGWINSZ, &w) == 0)
		ioctl(t->master, TIOCSWINSZ, &w); /* the kernel sends SIGWINCH to who has the pty */
}

void ck_tty_raw(struct ck_tty *t)
{
	struct termios raw = t->saved;
	/* In the background the attempt would stop us. */
	if (t->outer < 0 || t->raw || !isatty(0) || tcgetpgrp(t->outer) != getpgrp())
		return;
	cfmakeraw(&raw);
	t->raw = tcsetattr(t->outer, TCSADRAIN, &raw) == 0;
}

void ck_tty_attach(struct ck_tty *t, int master)
{
	t->master = master;
	if (t->outer < 0 || tcgetattr(t->outer, &t->saved) < 0) {
		t->outer = -1;
		return;
	}
	ck_tty_resize(t);
	ck_tty_raw(t);
	struct termios inner = t->saved;
	/* Of two line disciplines in a row one is to translate: in raw mode the inner one. */
	if (!t->raw)
		inner.c_oflag &= ~(tcflag_t)OPOST;
	tcsetattr(master, TCSANOW, &inner);
}

void ck_tty_restore(struct ck_tty *t)
{
	if (t->raw)
		tcsetattr(t->outer, TCSADRAIN, &t->saved);
	t->raw = 0;
}
