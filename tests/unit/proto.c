/* Messages: one packet each, at most one descriptor, and no trust in the other side. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../shim/base/proto.h"
#include "tap.h"

static struct ck_err err;
static int s[2];

static int lowest_fd(void)
{
	int fd = dup(0);
	close(fd);
	return fd;
}

static enum ck_errc raw(const void *buf, size_t len)
{
	struct ck_msg m;
	if (send(s[0], buf, len, 0) < 0)
		return CK_ESYS;
	return ck_msg_recv(s[1], &m, NULL, 1000, &err) ? err.code : CK_EOK;
}

static void test_malformed(void)
{
	struct ck_msg m;
	char big[2 * sizeof m] = "";
	ck_msg_init(&m, CK_MSG_OK);
	is_int(raw(&m, sizeof m), CK_EOK, "a good one");
	is_int(raw(&m, sizeof m - 1), CK_EINVAL, "too short");
	memcpy(big, &m, sizeof m);
	is_int(raw(big, sizeof m + 1), CK_EINVAL, "too long");
	m.magic++;
	is_int(raw(&m, sizeof m), CK_EINVAL, "not ours");
	ck_msg_init(&m, CK_MSG_TYPES);
	is_int(raw(&m, sizeof m), CK_EINVAL, "an unknown type");
	ck_msg_init(&m, (enum ck_msg_type)0);
	is_int(raw(&m, sizeof m), CK_EINVAL, "type 0");
	ck_msg_init(&m, CK_MSG_OK);
	m.version++;
	is_int(raw(&m, sizeof m), CK_EVERSION, "another version");
	ok(strstr(err.msg, "different releases"), "says what is wrong: %s", err.msg);
}

static void test_fds(void)
{
	struct ck_msg m;
	struct stat a, b;
	int fd = -1, file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_msg_init(&m, CK_MSG_SAVE);
	m.a = 42;
	memset(m.text, 'x', sizeof m.text); /* no NUL */
	int before = lowest_fd();
	ok(ck_msg_send(s[0], &m, file, &err) == 0 && ck_msg_recv(s[1], &m, &fd, 1000, &err) == 0, "with a descriptor");
	fstat(file, &a);
	ok(fd >= 0 && fstat(fd, &b) == 0 && a.st_rdev == b.st_rdev && a.st_ino == b.st_ino, "it is that file");
	ok(fcntl(fd, F_GETFD) & FD_CLOEXEC, "close-on-exec");
	ok(m.type == CK_MSG_SAVE && m.a == 42 && strlen(m.text) == sizeof m.text - 1, "text is ended");
	close(fd);
	ok(ck_msg_send(s[0], &m, file, &err) == 0 && ck_msg_recv(s[1], &m, NULL, 1000, &err) == 0 &&
		   lowest_fd() == before,
	   "one that nobody wants is closed");
	m.magic = 0;
	fd = 99;
	ok(ck_msg_send(s[0], &m, file, &err) == 0 && ck_msg_recv(s[1], &m, &fd, 1000, &err) && fd == -1 &&
		   lowest_fd() == before,
	   "so is one that came with nonsense");
	ck_msg_init(&m, CK_MSG_OK);
	ok(ck_msg_send(s[0], &m, -1, &err) == 0 && ck_msg_recv(s[1], &m, &fd, 1000, &err) == 0 && fd == -1,
	   "none is none");
	close(file);
}

static void test_ends(void)
{
	struct ck_msg m;
	char dir[] = "/tmp/ckproto.XXXXXX", path[64], longdir[300];
	ok(ck_msg_recv(s[1], &m, NULL, 0, &err) && err.code == CK_ETIMEOUT, "no message, no wait");
	ok(ck_msg_recv(s[1], &m, NULL, 20, &err) && err.code == CK_ETIMEOUT, "a deadline");
	close(s[0]);
	ok(ck_msg_recv(s[1], &m, NULL, 1000, &err) && err.code == CK_ESYS && err.sys == ECONNRESET, "the peer is gone");
	ck_msg_init(&m, CK_MSG_OK);
	ok(ck_msg_send(s[1], &m, -1, &err) && err.code == CK_ESYS && err.sys == EPIPE, "sending to it raises no signal");
	close(s[1]);
	if (!mkdtemp(dir))
		return;
	ok(ck_sock_connect(dir, &err) == -1 && err.sys == ENOENT, "nobody listens");
	int l = ck_sock_listen(dir, &err);
	int c = ck_sock_connect(dir, &err);
	ok(l >= 0 && c >= 0, "listen and connect");
	int a = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	ok(ck_msg_send(c, &m, -1, &err) == 0 && ck_msg_recv(a, &m, NULL, 1000, &err) == 0, "a message goes through");
	ok(ck_sock_listen(dir, &err) == -1 && err.sys == EADDRINUSE, "one listener");
	close(a);
	close(c);
	close(l);
	memset(longdir, 'a', sizeof longdir - 1);
	longdir[sizeof longdir - 1] = 0;
	ok(ck_sock_listen(longdir, &err) == -1 && err.code == CK_EINVAL, "a path too long for a socket");
	snprintf(path, sizeof path, "%s/" CK_SOCK_NAME, dir);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s))
		return 1;
	test_malformed();
	test_fds();
	test_ends();
	return tap_done();
}
