/* ckpt.c - the driver's own thread in each process: it carries out the checkpoint API's commands.
 *
 * It sleeps in sigwaitinfo, holding no descriptor, so that CRIU has nothing to trip over. The signal's
 * value is a token; the thread connects to the abstract socket of that name, takes one request, answers,
 * and closes. A restore names the machine's folder, since the process image's environment is the old one.
 *
 * Other threads of the program may be stopped anywhere meanwhile, inside malloc too: no heap, no stdio.
 */
#define _GNU_SOURCE
#include "cksim.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../shim/base/io.h"

unsigned cksim_ckpt_name(void *un, uint64_t token)
{
	struct sockaddr_un *a = un;
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	int n = snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "cksim-%016llx", (unsigned long long)token);
	return (unsigned)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static void set_state(enum cksim_state s)
{
	atomic_store(&cksim.state, s);
	if (s == CKSIM_RUNNING)
		syscall(SYS_futex, &cksim.state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void serve(uint64_t token);

/* While it drains, the thread still answers who asks for the state. */
static void drain_pause(void)
{
	sigset_t set;
	siginfo_t si;
	sigemptyset(&set);
	sigaddset(&set, CKSIM_SIGNAL);
	if (sigtimedwait(&set, &si, &(struct timespec){ .tv_nsec = 500000 }) == CKSIM_SIGNAL)
		serve((uint64_t)(uintptr_t)si.si_value.sival_ptr);
}

static int caller_gone(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLRDHUP };
	return poll(&p, 1, 0) == 1;
}

static CUresult do_lock(unsigned timeout_ms, int sock)
{
	if (atomic_load(&cksim.state) != CKSIM_RUNNING)
		return CUDA_ERROR_ILLEGAL_STATE;
	uint64_t until = ck_now_ns() + timeout_ms * 1000000ull;
	set_state(CKSIM_LOCKING);
	int never = cksim_fault("lock-timeout", NULL);
	while (never || atomic_load(&cksim.inside) || atomic_load(&cksim.pending)) {
		if (timeout_ms ? ck_now_ns() >= until : never || caller_gone(sock)) {
			set_state(CKSIM_RUNNING);
			return CUDA_ERROR_NOT_READY;
		}
		drain_pause();
	}
	set_state(CKSIM_LOCKED);
	return CUDA_SUCCESS;
}

static CUresult do_checkpoint(void)
{
	if (atomic_load(&cksim.state) != CKSIM_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (cksim.managed)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (cksim_fault("checkpoint-fails", NULL))
		return CUDA_ERROR_OPERATING_SYSTEM;
	if (cksim_fault("checkpoint-breaks", NULL)) {
		set_state(CKSIM_FAILED);
		return CUDA_ERROR_UNKNOWN;
	}
	CUresult r = cksim_vm_save();
	if (r)
		return r;
	cksim_vm_drop();
	cksim_machine_close();
	set_state(CKSIM_CHECKPOINTED);
	return CUDA_SUCCESS;
}

/* Which device of the machine each of ours becomes. */
static CUresult choose_devices(const struct cksim_request *q, int devmap[CKSIM_MAX_DEVICES])
{
	if (q->npairs && cksim.driver < 580)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (q->npairs && q->npairs != (uint32_t)cksim.ndev)
		return CUDA_ERROR_INVALID_VALUE; /* a pair for every device, or none */
	unsigned taken = 0;
	for (int i = 0; i < cksim.ndev; i++) {
		int d = -1;
		if (!q->npairs) {
			d = cksim_machine_find_uuid(cksim.uuid[i]);
			if (d < 0 && i < cksim_machine_devices())
				d = i;
		}
		for (uint32_t k = 0; k < q->npairs; k++)
			if (!memcmp(q->pairs[k].oldUuid.bytes, cksim.uuid[i], 16))
				d = cksim_machine_find_uuid((const unsigned char *)q->pairs[k].newUuid.bytes);
		if (d < 0 || taken >> d & 1)
			return CUDA_ERROR_INVALID_VALUE;
		taken |= 1u << d;
		devmap[i] = d;
	}
	return CUDA_SUCCESS;
}

static CUresult do_restore(const struct cksim_request *q, int dirfd)
{
	int old[CKSIM_MAX_DEVICES], new[CKSIM_MAX_DEVICES] = { 0 };
	if (atomic_load(&cksim.state) != CKSIM_CHECKPOINTED)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (cksim_fault("restore-fails", NULL))
		return CUDA_ERROR_OPERATING_SYSTEM;
	if (cksim_fault("restore-breaks", NULL)) {
		set_state(CKSIM_FAILED);
		return CUDA_ERROR_UNKNOWN;
	}
	CUresult r = cksim_machine_open(q->dir, dirfd);
	if (r)
		return r;
	memcpy(old, cksim.devmap, sizeof old);
	r = choose_devices(q, new);
	if (!r) {
		memcpy(cksim.devmap, new, sizeof new);
		r = cksim_vm_regain();
	}
	if (r) {
		memcpy(cksim.devmap, old, sizeof old);
		cksim_machine_close();
		return r;
	}
	r = cksim_vm_remap();
	if (r) {
		set_state(CKSIM_FAILED);
		return r;
	}
	memcpy(cksim.dir, q->dir, sizeof cksim.dir);
	cksim.dir_given = 1;
	cksim_machine_identity();
	set_state(CKSIM_LOCKED);
	return CUDA_SUCCESS;
}

static CUresult do_unlock(void)
{
	if (atomic_load(&cksim.state) != CKSIM_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	set_state(CKSIM_RUNNING);
	return CUDA_SUCCESS;
}

static CUresult carry_out(const struct cksim_request *q, int dirfd, int sock)
{
	switch (q->cmd) {
	case CKSIM_CMD_STATE:
		return CUDA_SUCCESS;
	case CKSIM_CMD_LOCK:
		return do_lock(q->timeout_ms, sock);
	case CKSIM_CMD_CHECKPOINT:
		return do_checkpoint();
	case CKSIM_CMD_RESTORE:
		return do_restore(q, dirfd);
	case CKSIM_CMD_UNLOCK:
		return do_unlock();
	}
	return CUDA_ERROR_INVALID_VALUE;
}

static int take_request(int sock, struct cksim_request *q, int *dirfd)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;
	struct iovec io = { q, sizeof *q };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	*dirfd = -1;
	struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&m);
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(dirfd, CMSG_DATA(h), sizeof *dirfd);
	q->dir[sizeof q->dir - 1] = 0;
	return n == (ssize_t)sizeof *q && q->size == sizeof *q && q->npairs <= CKSIM_MAX_DEVICES ? 0 : -1;
}

static void serve(uint64_t token)
{
	struct sockaddr_un a;
	unsigned len = cksim_ckpt_name(&a, token);
	struct timeval t = { .tv_sec = 5 };
	int dirfd = -1, sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct cksim_request q;
	if (sock < 0)
		return;
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
	if (!connect(sock, (struct sockaddr *)&a, len) && !take_request(sock, &q, &dirfd)) {
		struct cksim_reply r = { .size = sizeof r };
		r.result = (uint32_t)carry_out(&q, dirfd, sock);
		r.state = atomic_load(&cksim.state);
		if (r.state == CKSIM_LOCKING)
			r.state = CKSIM_RUNNING;
		if (dirfd >= 0)
			close(dirfd);
		dirfd = -1;
		send(sock, &r, sizeof r, MSG_NOSIGNAL);
	}
	if (dirfd >= 0)
		close(dirfd);
	close(sock); /* the caller waits for this: after a checkpoint nothing may be open */
}

static void *ckpt_main(void *unused)
{
	sigset_t set;
	siginfo_t si;
	sigemptyset(&set);
	sigaddset(&set, CKSIM_SIGNAL);
	for (;;)
		if (sigwaitinfo(&set, &si) == CKSIM_SIGNAL)
			serve((uint64_t)(uintptr_t)si.si_value.sival_ptr);
	return NULL;
}

int cksim_ckpt_start(void)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t t;
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&t, &attr, ckpt_main, NULL);
	if (!r)
		r = pthread_setname_np(t, CKSIM_THREAD_NAME); /* how a caller finds it */
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r ? -1 : 0;
}
