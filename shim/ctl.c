#define _GNU_SOURCE
#include "ctl.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/proto.h"
#include "ctx.h"
#include "futex.h"
#include "gate.h"
#include "holes.h"
#include "hook.h"
#include "save.h"
#include "state.h"
#include "threads.h"
#include "track.h"

#define MAX_DEVICES 64
#define HANDSHAKE_MS 5000

static _Atomic(uint32_t) ctl_tid; /* futex: 0 until the thread runs */
static _Atomic(bool) driver_ready; /* cuInit has succeeded in this process */
static CUdevice devices[MAX_DEVICES];
static int ndevices;
static bool released; /* past CK_MSG_RELEASE: only CK_MSG_OPEN opens the gate */

static void answer(int sock, struct ck_msg *m, int rc, const struct ck_err *e)
{
	struct ck_err ignored;
	m->pid = getpid();
	m->status = rc ? (int32_t)e->code : 0;
	if (rc)
		snprintf(m->text, sizeof m->text, "%.511s", e->msg);
	(void)ck_msg_send(sock, m, -1, &ignored); /* a lost peer shows at the next receive */
}

static const char *offload_reason(char *buf, size_t cap)
{
	const char *unknown = ck_hook_unknown();
	buf[0] = 0;
	if (!ck_state.offload)
		snprintf(buf, cap, "CKSHIM_OFFLOAD=off");
	else if (unknown)
		snprintf(buf, cap, "the program uses the driver entry %s, which ckshim does not know", unknown);
	return buf;
}

static const char *entry_name(int e)
{
	return e >= 0 && e < CK_ENTRY_COUNT ? ck_api_name(e) : "?";
}

static int quiesce(struct ck_msg *m, struct ck_err *e)
{
	uint64_t until = ck_now_ns() + m->a * 1000000u;
	pid_t tid = 0;
	int entry = 0;
	for (;;) {
		if (ck_ctx_wait_captures(until))
			return ck_err_set(e, CK_ETIMEOUT, 0,
					  "a CUDA stream capture did not end by the deadline; raise --deadline");
		if (ck_gate_close(until, &tid, &entry))
			return ck_err_set(e, CK_ETIMEOUT, 0,
					  "thread %d did not leave %s by the deadline; raise --deadline", tid,
					  entry_name(entry));
		if (ck_ctx_wait_captures(0) == 0)
			break;
		ck_gate_open(); /* one began meanwhile */
	}
	if (atomic_load(&driver_ready) && ck_save_sync(until, e)) {
		ck_gate_open();
		return -1;
	}
	uint64_t offloaded, residue;
	ck_track_totals(&offloaded, &residue);
	ck_msg_init(m, CK_MSG_QUIESCE);
	offload_reason(m->text, sizeof m->text);
	ndevices = m->text[0] ? 0 : ck_save_devices(devices, MAX_DEVICES);
	m->a = (uint64_t)ndevices;
	m->b = ndevices ? offloaded : 0;
	m->c = residue + (ndevices ? 0 : offloaded);
	m->d = atomic_load(&driver_ready);
	return 0;
}

static int save(struct ck_msg *m, int fd, struct ck_err *e)
{
	struct ck_image_info info;
	uint64_t until = ck_now_ns() + m->b * 1000000u;
	if (m->a >= (uint64_t)ndevices || fd < 0)
		return ck_err_set(e, CK_EINVAL, 0, "no such device to save");
	CUdevice dev = devices[m->a];
	if (ck_save_device(dev, fd, until, &info, e))
		return -1;
	uint64_t index = m->a;
	ck_msg_init(m, CK_MSG_SAVE);
	m->a = (uint64_t)dev;
	m->b = info.range_bytes;
	m->c = info.stored_bytes;
	m->d = index;
	for (int i = 0; i < CK_UUID_LEN; i++)
		snprintf(m->text + 2 * i, 3, "%02x", info.uuid[i]);
	return 0;
}

static int refill(struct ck_msg *m, int fd, struct ck_err *e)
{
	uint64_t until = ck_now_ns() + m->b * 1000000u;
	if (m->a >= (uint64_t)ndevices || fd < 0)
		return ck_err_set(e, CK_EINVAL, 0, "no such device to fill");
	return ck_load_device(devices[m->a], fd, until, e);
}

static int give_up_memory(struct ck_err *e)
{
	released = true;
	if (ndevices && ck_save_release(e))
		return -1;
	return ck_holes_before(e);
}

static bool all_backed(void)
{
	size_t n;
	bool ok = true;
	const struct ck_alloc *t = ck_track_lock(&n);
	for (size_t i = 0; i < n; i++)
		ok = ok && (t[i].kind != CK_ALLOC_OFFLOAD || t[i].handle);
	ck_track_unlock();
	return ok;
}

static int reopen(struct ck_err *e)
{
	if (released && !all_backed())
		return ck_err_set(e, CK_EINVAL, 0, "device memory is not back yet");
	released = false;
	ck_gate_open();
	return 0;
}

/* Serve one exchange. Returns when it has ended, well or not. */
static void serve(int sock)
{
	struct ck_msg m;
	struct ck_err e;
	for (;;) {
		int fd = -1, rc = 0;
		if (ck_msg_recv(sock, &m, &fd, -1, &e)) {
			/* The supervisor has hung up. Before any memory was given up that is how it calls a
			 * checkpoint off; later it will call again. */
			if (!released)
				ck_gate_open();
			return;
		}
		enum ck_msg_type type = (enum ck_msg_type)m.type;
		switch (type) {
		case CK_MSG_QUIESCE:
			rc = quiesce(&m, &e);
			break;
		case CK_MSG_THREADS:
			ck_threads_report(&m);
			break;
		case CK_MSG_SAVE:
			rc = save(&m, fd, &e);
			break;
		case CK_MSG_RELEASE:
			rc = give_up_memory(&e);
			break;
		case CK_MSG_RESERVE:
			rc = ck_holes_reserve(&e);
			break;
		case CK_MSG_REFILL:
			rc = refill(&m, fd, &e);
			break;
		case CK_MSG_OPEN:
			rc = reopen(&e);
			break;
		case CK_MSG_SEALED:
			break;
		default:
			rc = ck_err_set(&e, CK_EINVAL, 0, "unexpected message %d", m.type);
		}
		if (fd >= 0)
			close(fd);
		answer(sock, &m, rc, &e);
		if (rc == 0 && (type == CK_MSG_SEALED || type == CK_MSG_OPEN))
			return;
	}
}

static void *ctl_main(void *arg)
{
	sigset_t wake;
	siginfo_t info;
	struct ck_err e;
	struct ck_msg m;
	prctl(PR_SET_NAME, "ckshim");
	ck_gate_exempt();
	sigemptyset(&wake);
	sigaddset(&wake, CK_WAKE_SIGNAL);
	atomic_store(&ctl_tid, (uint32_t)syscall(SYS_gettid));
	ck_futex_wake(&ctl_tid);
	for (;;) {
		if (syscall(SYS_rt_sigtimedwait, &wake, &info, NULL, 8) < 0)
			continue;
		if (info.si_pid != 1) {
			/* Somebody else's signal of that number: the program's. */
			syscall(SYS_tgkill, getpid(), getpid(), CK_WAKE_SIGNAL);
			continue;
		}
		int sock = ck_sock_connect(ck_state.rundir, &e);
		if (sock < 0) {
			ck_debug("control thread: %s", e.msg);
			continue;
		}
		ck_msg_init(&m, CK_MSG_HELLO);
		m.pid = getpid();
		m.a = atomic_load(&ctl_tid);
		if (ck_msg_send(sock, &m, -1, &e) == 0)
			serve(sock);
		close(sock);
	}
	return arg;
}

static int start_thread(struct ck_err *e)
{
	pthread_t t;
	pthread_attr_t a;
	sigset_t all, old;
	sigfillset(&all);
	pthread_attr_init(&a);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&a, 256 << 10);
	atomic_store(&ctl_tid, 0);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&t, &a, ctl_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&a);
	if (rc)
		return ck_err_set(e, CK_ESYS, rc, "cannot start the control thread");
	while (atomic_load(&ctl_tid) == 0)
		ck_futex_wait(&ctl_tid, 0, 100000000u);
	return 0;
}

static int talk(bool take_back, struct ck_msg *m, struct ck_err *e)
{
	int sock = ck_sock_connect(ck_state.rundir, e);
	if (sock < 0)
		return -1;
	const char *path = ck_hook_driver_path();
	ck_msg_init(m, CK_MSG_REGISTER);
	m->pid = getpid();
	m->a = atomic_load(&ctl_tid);
	m->b = take_back;
	snprintf(m->text, sizeof m->text, "%s", path ? path : "libcuda.so.1");
	int rc = ck_msg_send(sock, m, -1, e);
	if (rc == 0)
		rc = ck_msg_recv(sock, m, NULL, HANDSHAKE_MS, e);
	close(sock);
	return rc;
}

static int register_process(struct ck_err *e)
{
	struct ck_msg m;
	for (;;) {
		if (talk(false, &m, e))
			return -1;
		if (m.type == CK_MSG_OK)
			return 0;
		if (m.type != CK_MSG_BUSY)
			return ck_err_set(e, CK_EINVAL, 0, "unexpected answer %d to a registration", m.type);
		/* A checkpoint is under way. No connection may stay open across it, so ask again: this very
		 * loop may go on in the restored process, under another supervisor. */
		struct timespec t = { .tv_nsec = 50000000 };
		nanosleep(&t, NULL);
	}
}

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

void ck_ctl_init(void)
{
	struct ck_err e;
	if (!ck_state.supervised || atomic_load(&ck_state.cuda_pid) == getpid())
		return;
	pthread_mutex_lock(&init_lock);
	if (atomic_load(&ck_state.cuda_pid) != getpid()) {
		atomic_store(&driver_ready, false);
		released = false;
		if (start_thread(&e) || register_process(&e))
			ck_say("process %d runs without checkpoints: %s", getpid(), e.msg);
		atomic_store(&ck_state.cuda_pid, getpid());
	}
	pthread_mutex_unlock(&init_lock);
}

void ck_ctl_inited(CUresult r)
{
	struct ck_msg m;
	struct ck_err e;
	if (!ck_state.supervised || atomic_load(&driver_ready))
		return;
	if (r == CUDA_SUCCESS) {
		atomic_store(&driver_ready, true);
		return;
	}
	/* The thread stays: it costs nothing, and the program may try again. */
	(void)talk(true, &m, &e);
	atomic_store(&ck_state.cuda_pid, 0);
}

void ck_ctl_after_fork(void)
{
	pthread_mutex_init(&init_lock, NULL);
	atomic_store(&driver_ready, false);
	released = false;
	ndevices = 0;
}
