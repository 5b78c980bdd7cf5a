/* ckpt_call.c - exports: cuCheckpointProcess*, as the caller sees them. The caller may be another process
 * that never called cuInit, or the process itself.
 *
 * An unknown pid gives INVALID_VALUE, a process that has not initialised CUDA gives NOT_INITIALIZED, one
 * whose driver's thread does not answer gives OPERATING_SYSTEM.
 */
#define _GNU_SOURCE
#include "cksim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../shim/base/io.h"

#define ANSWER_MS 10000	 /* until the thread connects */
#define WORK_MS	  600000 /* a checkpoint or restore */

/* Is thread @tid one that blocks signals? Ours would kill the process if sent to another. Ours itself does
 * not count: the kernel shows a signal that is being waited for as not blocked. */
static int blocks_signals(int pid, int tid)
{
	char path[64], text[4096];
	snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
	if (ck_read_text(AT_FDCWD, path, text, sizeof text) <= 0)
		return 0;
	const char *p = strstr(text, "\nSigBlk:");
	uint64_t want = 1ull << (SIGTERM - 1) | 1ull << (SIGUSR1 - 1) | 1ull << (CKSIM_SIGNAL - 2);
	return p && (strtoull(p + 8, NULL, 16) & want) == want;
}

/* The driver's thread of @pid. */
static CUresult find_thread(int pid, int *tid)
{
	char path[64], comm[32];
	CUresult r = CUDA_ERROR_NOT_INITIALIZED;
	if (pid <= 0 || (kill(pid, 0) && errno == ESRCH))
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	DIR *d = opendir(path);
	for (struct dirent *e = d ? readdir(d) : NULL; e && r; e = readdir(d)) {
		int t = atoi(e->d_name);
		snprintf(path, sizeof path, "/proc/%d/task/%d/comm", pid, t);
		if (t <= 0 || ck_read_text(AT_FDCWD, path, comm, sizeof comm) <= 0 ||
		    strcmp(comm, CKSIM_THREAD_NAME "\n") || !blocks_signals(pid, t))
			continue;
		*tid = t;
		r = CUDA_SUCCESS;
	}
	if (d)
		closedir(d);
	else
		r = CUDA_ERROR_INVALID_VALUE;
	return r;
}

static int wake(int pid, int tid, uint64_t token)
{
	siginfo_t si;
	memset(&si, 0, sizeof si);
	si.si_signo = CKSIM_SIGNAL;
	si.si_code = SI_QUEUE;
	si.si_pid = getpid();
	si.si_uid = getuid();
	si.si_value.sival_ptr = (void *)(uintptr_t)token;
	return (int)syscall(SYS_rt_tgsigqueueinfo, pid, tid, CKSIM_SIGNAL, &si);
}

/* The connection of exactly that process: the name is random, but any process of the user may try it. */
static int accept_from(int listener, int pid)
{
	uint64_t until = ck_now_ns() + ANSWER_MS * 1000000ull;
	for (;;) {
		struct pollfd p = { .fd = listener, .events = POLLIN };
		int64_t left = (int64_t)(until - ck_now_ns()) / 1000000;
		if (left <= 0 || kill(pid, 0))
			return -1;
		if (poll(&p, 1, left > 100 ? 100 : (int)left) <= 0)
			continue;
		int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		struct ucred c;
		socklen_t len = sizeof c;
		if (s >= 0 && !getsockopt(s, SOL_SOCKET, SO_PEERCRED, &c, &len) && c.pid == pid)
			return s;
		if (s >= 0)
			close(s);
	}
}

static int send_request(int s, const struct cksim_request *q, int dirfd)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c = { 0 };
	struct iovec io = { (void *)(uintptr_t)q, sizeof *q };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };
	if (dirfd >= 0) {
		m.msg_control = &c;
		m.msg_controllen = sizeof c;
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.h), &dirfd, sizeof dirfd);
	}
	return sendmsg(s, &m, MSG_NOSIGNAL) == (ssize_t)sizeof *q ? 0 : -1;
}

static CUresult converse(int s, const struct cksim_request *q, int dirfd, struct cksim_reply *reply)
{
	int ms = q->cmd == CKSIM_CMD_LOCK ? (q->timeout_ms ? (int)(q->timeout_ms + ANSWER_MS) : -1) :
		 q->cmd == CKSIM_CMD_STATE ? ANSWER_MS : WORK_MS;
	struct pollfd p = { .fd = s, .events = POLLIN };
	char more;
	if (send_request(s, q, dirfd) || poll(&p, 1, ms) != 1 ||
	    recv(s, reply, sizeof *reply, 0) != (ssize_t)sizeof *reply)
		return CUDA_ERROR_OPERATING_SYSTEM;
	/* The end of the stream tells that the other side has closed: who dumps it next finds nothing open. */
	if (poll(&p, 1, ANSWER_MS) != 1 || recv(s, &more, 1, 0) != 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	return (CUresult)reply->result;
}

static CUresult request(int pid, struct cksim_request *q, int dirfd, struct cksim_reply *reply)
{
	struct sockaddr_un a;
	uint64_t token;
	int tid, l = -1, s = -1;
	CUresult r = find_thread(pid, &tid);
	if (r)
		return r;
	r = CUDA_ERROR_OPERATING_SYSTEM;
	q->size = sizeof *q;
	if (getrandom(&token, sizeof token, 0) == (ssize_t)sizeof token &&
	    (l = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) >= 0 &&
	    !bind(l, (struct sockaddr *)&a, cksim_ckpt_name(&a, token)) && !listen(l, 4) && !wake(pid, tid, token) &&
	    (s = accept_from(l, pid)) >= 0)
		r = converse(s, q, dirfd, reply);
	if (s >= 0)
		close(s);
	if (l >= 0)
		close(l);
	return r;
}

static CUresult command(int pid, enum cksim_cmd cmd, unsigned timeout_ms)
{
	struct cksim_request q = { .cmd = cmd, .timeout_ms = timeout_ms };
	struct cksim_reply reply;
	return cksim_driver_release() < 570 ? CUDA_ERROR_NOT_SUPPORTED : request(pid, &q, -1, &reply);
}

API(cuCheckpointProcessGetState, int pid, CUprocessState *state)
{
	struct cksim_request q = { .cmd = CKSIM_CMD_STATE };
	struct cksim_reply reply;
	if (cksim_driver_release() < 570)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!state)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult r = request(pid, &q, -1, &reply);
	if (!r)
		*state = (CUprocessState)reply.state;
	return r;
}

API(cuCheckpointProcessGetRestoreThreadId, int pid, int *tid)
{
	if (cksim_driver_release() < 570)
		return CUDA_ERROR_NOT_SUPPORTED;
	return tid ? find_thread(pid, tid) : CUDA_ERROR_INVALID_VALUE;
}

API(cuCheckpointProcessLock, int pid, CUcheckpointLockArgs *args)
{
	return command(pid, CKSIM_CMD_LOCK, args ? args->timeoutMs : 0);
}

API(cuCheckpointProcessCheckpoint, int pid, CUcheckpointCheckpointArgs *args)
{
	return command(pid, CKSIM_CMD_CHECKPOINT, 0);
}

API(cuCheckpointProcessUnlock, int pid, CUcheckpointUnlockArgs *args)
{
	return command(pid, CKSIM_CMD_UNLOCK, 0);
}

/* The machine to restore on is the caller's: its folder travels as a descriptor. */
API(cuCheckpointProcessRestore, int pid, CUcheckpointRestoreArgs *args)
{
	struct cksim_request q = { .cmd = CKSIM_CMD_RESTORE };
	struct cksim_reply reply;
	if (cksim_driver_release() < 570)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (args && args->gpuPairsCount) {
		if (args->gpuPairsCount > CKSIM_MAX_DEVICES || !args->gpuPairs)
			return CUDA_ERROR_INVALID_VALUE;
		q.npairs = args->gpuPairsCount;
		memcpy(q.pairs, args->gpuPairs, q.npairs * sizeof *q.pairs);
	}
	cksim_choose_dir(q.dir);
	mkdir(q.dir, 0700);
	int dirfd = open(q.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dirfd < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	CUresult r = request(pid, &q, dirfd, &reply);
	close(dirfd);
	return r;
}
