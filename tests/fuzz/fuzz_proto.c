/* libFuzzer: any packet, with any number of descriptors, as a message. Byte 0: how many descriptors ride
 * along; byte 1: whether the caller wants one, and whether magic and version are made right. No descriptor
 * may leak. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../shim/base/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void send_raw(int sock, const void *buf, size_t len, int nfds)
{
	union {
		char buf[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[8];
	for (int i = 0; i < nfds; i++)
		fds[i] = sock;
	if (nfds) {
		memset(&ctl, 0, sizeof ctl);
		h.msg_control = ctl.buf;
		h.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
	}
	if (sendmsg(sock, &h, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ck_msg m, raw;
	struct ck_err err;
	int s[2], fd = -1;
	if (len < 2 || len > 8192)
		return 0;
	/* the lowest free number before and after tells whether anything stayed open */
	int before = dup(0);
	close(before);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s))
		abort();
	if (data[1] & 2) {
		size_t n = len - 2 < sizeof raw ? len - 2 : sizeof raw;
		ck_msg_init(&raw, CK_MSG_OK);
		memcpy((char *)&raw + 6, data + 2, n > 6 ? n - 6 : 0);
		send_raw(s[0], &raw, sizeof raw, data[0] % 9);
	} else {
		send_raw(s[0], data + 2, len - 2, data[0] % 9);
	}
	if (ck_msg_recv(s[1], &m, data[1] & 1 ? &fd : NULL, 0, &err) == 0) {
		if (m.type < 1 || m.type >= CK_MSG_TYPES || strnlen(m.text, sizeof m.text) == sizeof m.text)
			abort();
	} else if (fd >= 0) {
		abort(); /* with an error no descriptor is handed over */
	}
	if (fd >= 0)
		close(fd);
	close(s[0]);
	close(s[1]);
	int after = dup(0);
	close(after);
	if (before != after)
		abort();
	return 0;
}
