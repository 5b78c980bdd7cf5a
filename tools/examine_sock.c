#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/rtnetlink.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "examine_int.h"

/* A connected socket of the network namespace. Those that are not connected have no row: CRIU saves them. */
struct ck_sock {
	ino_t ino;
	ino_t peer;	/* unix */
	int tcp;
	char what[128]; /* tcp: "127.0.0.1:80 to 10.0.0.1:1234" */
};

enum { TCP_CLOSED = 7, TCP_LISTENING = 10 };

static int add(struct ck_scene *s, const struct ck_sock *sock, struct ck_err *err)
{
	if ((s->nsocks & (s->nsocks - 1)) == 0) { /* at powers of two the array is full */
		struct ck_sock *more = realloc(s->socks, (s->nsocks ? 2 * s->nsocks : 1) * sizeof *more);
		if (!more)
			return ck_err_set(err, CK_ESYS, ENOMEM, "sockets");
		s->socks = more;
	}
	s->socks[s->nsocks++] = *sock;
	return 0;
}

/* "0100007F:0050" as /proc/net/tcp writes it, or 32 digits in tcp6: words in host order. */
static void address(const char *hex, char *out, size_t cap)
{
	unsigned char raw[16];
	char text[INET6_ADDRSTRLEN] = "?";
	size_t words = strcspn(hex, ":") / 8;
	if (words != 1 && words != 4) {
		snprintf(out, cap, "?");
		return;
	}
	for (size_t i = 0; i < words; i++) {
		unsigned w;
		sscanf(hex + 8 * i, "%8x", &w);
		memcpy(raw + 4 * i, &w, 4);
	}
	inet_ntop(words == 1 ? AF_INET : AF_INET6, raw, text, sizeof text);
	snprintf(out, cap, "%s:%ld", text, strtol(hex + 8 * words + 1, NULL, 16));
}

static int read_tcp(struct ck_scene *s, const char *path, struct ck_err *err)
{
	char line[512];
	int rc = 0;
	FILE *f = fopen(path, "re");
	while (f && rc == 0 && fgets(line, sizeof line, f)) {
		char from[64], to[64], a[56], b[56];
		unsigned state;
		unsigned long ino;
		if (sscanf(line, "%*d: %63s %63s %x %*s %*s %*s %*s %*s %lu", from, to, &state, &ino) != 4 ||
		    state == TCP_CLOSED || state == TCP_LISTENING || ino == 0)
			continue;
		struct ck_sock one = { .ino = ino, .tcp = 1 };
		address(from, a, sizeof a);
		address(to, b, sizeof b);
		snprintf(one.what, sizeof one.what, "%s to %s", a, b);
		rc = add(s, &one, err);
	}
	if (f)
		fclose(f);
	return rc;
}

static int take_unix(struct ck_scene *s, const struct nlmsghdr *h, struct ck_err *err)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	const struct rtattr *a = (const struct rtattr *)(m + 1);
	int left = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof *m));
	struct ck_sock one = { .ino = m->udiag_ino };
	while (left >= (int)sizeof *a && a->rta_len >= sizeof *a && a->rta_len <= left) {
		if (a->rta_type == UNIX_DIAG_PEER && a->rta_len >= sizeof *a + 4) {
			uint32_t peer;
			memcpy(&peer, a + 1, 4);
			one.peer = peer;
		}
		int step = (a->rta_len + 3) & ~3;
		left -= step;
		a = (const struct rtattr *)((const char *)a + step);
	}
	return one.peer && m->udiag_type != SOCK_DGRAM ? add(s, &one, err) : 0;
}

static int read_unix(struct ck_scene *s, struct ck_err *err)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} ask = { .h = { .nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		  .r = { .sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_PEER } };
	struct timeval limit = { .tv_sec = 5 };
	static char buf[65536] __attribute__((aligned(8)));
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
	    send(fd, &ask, sizeof ask, 0) < 0) {
		ck_err_errno(err, "cannot ask for the unix sockets");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	int rc = 0;
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = ck_err_errno(err, "cannot read the list of unix sockets");
			break;
		}
		int left = (int)n, done = 0;
		for (struct nlmsghdr *h = (void *)buf; rc == 0 && NLMSG_OK(h, (unsigned)left); h = NLMSG_NEXT(h, left)) {
			/* An error here means a kernel without unix_diag: criu will not get further either. */
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				done = 1;
			else
				rc = take_unix(s, h, err);
			if (done)
				break;
		}
		if (done || rc)
			break;
	}
	close(fd);
	return rc;
}

/* Which sockets does the tree hold? A peer among them is saved together with its other end. */
static int read_held(struct ck_scene *s, struct ck_err *err)
{
	size_t cap = 0;
	for (size_t i = 0; i < s->procs.n; i++) {
		char path[64], name[64];
		struct dirent *e;
		snprintf(path, sizeof path, "/proc/%d/fd", s->procs.p[i].pid);
		DIR *d = opendir(path);
		while (d && (e = readdir(d))) {
			unsigned long ino;
			ssize_t n = readlinkat(dirfd(d), e->d_name, name, sizeof name - 1);
			if (n <= 0)
				continue;
			name[n] = 0;
			if (sscanf(name, "socket:[%lu]", &ino) != 1)
				continue;
			if (s->nheld == cap) {
				cap = cap ? 2 * cap : 64;
				ino_t *more = realloc(s->held, cap * sizeof *more);
				if (!more) {
					closedir(d);
					return ck_err_set(err, CK_ESYS, ENOMEM, "sockets");
				}
				s->held = more;
			}
			s->held[s->nheld++] = ino;
		}
		if (d)
			closedir(d);
	}
	return 0;
}

static int holds(const struct ck_scene *s, ino_t ino)
{
	for (size_t i = 0; i < s->nheld; i++) {
		if (s->held[i] == ino)
			return 1;
	}
	return 0;
}

int ck_examine_socket(struct ck_scene *s, const struct ck_proc *p, int fd, ino_t ino, struct ck_err *err)
{
	char text[256];
	if (!s->socks_read) {
		if (read_tcp(s, "/proc/net/tcp", err) || read_tcp(s, "/proc/net/tcp6", err) || read_unix(s, err) ||
		    read_held(s, err))
			return -1;
		s->socks_read = 1;
	}
	for (size_t i = 0; i < s->nsocks; i++) {
		const struct ck_sock *k = &s->socks[i];
		if (k->ino != ino)
			continue;
		if (k->tcp) {
			snprintf(text, sizeof text, "has a TCP connection (descriptor %d, %s)", fd, k->what);
			return ck_refuse(err, p, text, "it would be broken after a restore",
					 "let the program close it, or do without");
		}
		if (k->peer && !holds(s, k->peer)) {
			snprintf(text, sizeof text, "is connected to a process outside (descriptor %d, unix socket %lu)",
				 fd, (unsigned long)ino);
			return ck_refuse(err, p, text, "that end would not be there after a restore",
					 "let the program close it, or do without");
		}
	}
	return 0;
}
