#define _GNU_SOURCE
#include "init1.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/base/log.h"
#include "../shim/base/proto.h"
#include "commit.h"
#include "find.h"
#include "ns.h"
#include "restore.h"
#include "tty.h"

#define REPORTERS_MAX 65536
#define LOW_PIDS 1000 /* left to criu and other helpers */
/* One preemption is a signal to every process of the job, and they do not all hear of it at once. What comes
 * this soon after a checkpoint has failed asks for no other: it is the same preemption. */
#define SAME_PREEMPTION_NS 1000000000ull

void ck_init_note(struct ck_init *in, enum ck_note_type type, int value, const char *fmt, ...)
{
	struct ck_note n = { .type = type, .value = value };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(n.text, sizeof n.text, fmt, ap);
	va_end(ap);
	ssize_t w;
	do
		w = send(in->ctl, &n, sizeof n, MSG_NOSIGNAL);
	while (w < 0 && errno == EINTR);
	/* If the monitor is gone, so are we: PR_SET_PDEATHSIG. */
}

static void reap(struct ck_init *in)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (WIFSTOPPED(status)) {
			if (pid == in->root && !in->saving)
				ck_init_note(in, CK_NOTE_STOPPED, WSTOPSIG(status), "%s", "");
			continue;
		}
		if (pid == in->root) {
			in->root_done = 1;
			in->root_status = status;
		} else if (pid == in->helper) {
			in->helper_done = 1;
			in->helper_status = status;
		}
		ck_gpus_forget(in->gpus, pid);
	}
}

static void new_preemption(struct ck_init *in)
{
	if (in->same_until && ck_now_ns() > in->same_until)
		in->nreporters = in->same_until = 0;
}

static void add_reporter(struct ck_init *in, pid_t pid, int sig)
{
	for (size_t i = 0; i < in->nreporters; i++) {
		if (in->reporters[i].pid == pid && in->reporters[i].sig == sig)
			return;
	}
	if (in->nreporters == REPORTERS_MAX)
		return;
	struct ck_reporter *more = realloc(in->reporters, (in->nreporters + 1) * sizeof *more);
	if (!more)
		return;
	in->reporters = more;
	in->reporters[in->nreporters++] = (struct ck_reporter){ .pid = pid, .sig = sig };
}

/* A process of the tree met a preemption signal from outside and swallowed it. */
static void reported(struct ck_init *in, pid_t pid, int sig)
{
	new_preemption(in);
	if (sig < 1 || sig >= NSIG || sigismember(&in->preempt, sig) != 1)
		return;
	for (size_t i = 0; i < in->nexpected; i++) {
		if (in->expected[i].pid == pid && in->expected[i].sig == sig) {
			in->expected[i] = in->expected[--in->nexpected];
			if (ck_now_ns() < in->expected_until)
				return;
			break;
		}
	}
	add_reporter(in, pid, sig);
	if (!in->want)
		in->want = sig;
}

static void preempted(struct ck_init *in, int sig)
{
	new_preemption(in);
	if (!in->want)
		in->want = sig;
	in->direct = sig;
}

static void on_signals(struct ck_init *in)
{
	struct signalfd_siginfo si;
	while (read(in->sigfd, &si, sizeof si) == (ssize_t)sizeof si) {
		int sig = (int)si.ssi_signo;
		if (sig == SIGCHLD)
			reap(in);
		else if (sig == CK_NOTIFY_SIGNAL)
			reported(in, (pid_t)si.ssi_pid, si.ssi_int);
		else if (sigismember(&in->preempt, sig) == 1 && si.ssi_pid == 0)
			preempted(in, sig); /* from outside: nobody in here has pid 0 */
	}
}

/* Does the process act on @sig in some way of its own? 'C' caught, 'I' ignored, 'D' default, 0 gone. */
static char disposition(pid_t pid, int sig)
{
	char path[64], buf[4096];
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	if (ck_read_text(AT_FDCWD, path, buf, sizeof buf) < 0)
		return 0;
	const char *cgt = strstr(buf, "\nSigCgt:"), *ign = strstr(buf, "\nSigIgn:");
	unsigned long long bit = 1ull << (sig - 1);
	if (cgt && strtoull(cgt + 8, NULL, 16) & bit)
		return 'C';
	return ign && strtoull(ign + 8, NULL, 16) & bit ? 'I' : 'D';
}

static void forward(struct ck_init *in, int sig, int from_terminal)
{
	if (in->root <= 0 || in->root_done)
		return;
	/* The program leads a session of its own, so its group is an orphan and the kernel would discard
	 * a terminal's stop. */
	if (sig == SIGTSTP && disposition(in->root, sig) == 'D')
		sig = SIGSTOP;
	if (from_terminal || sig == SIGCONT || sig == SIGSTOP) {
		if (kill(-in->root, sig) == 0)
			return;
	}
	kill(in->root, sig);
}

static void on_monitor(struct ck_init *in)
{
	struct ck_note n;
	ssize_t len = recv(in->ctl, &n, sizeof n, MSG_DONTWAIT);
	if (len == 0)
		_exit(1); /* the monitor is gone; the kernel is ending us anyway */
	if (len != (ssize_t)sizeof n)
		return;
	if (n.type == CK_NOTE_PREEMPT)
		preempted(in, n.value);
	else if (n.type == CK_NOTE_SIGNAL)
		forward(in, n.value, n.more);
}

int ck_init_turn(struct ck_init *in, int fd, int timeout_ms)
{
	struct pollfd p[4] = {
		{ .fd = in->sigfd, .events = POLLIN },
		{ .fd = in->ctl, .events = POLLIN },
		{ .fd = in->saving ? -1 : in->listen, .events = POLLIN },
		{ .fd = fd, .events = POLLIN },
	};
	if (poll(p, 4, timeout_ms) <= 0)
		return 0;
	if (p[0].revents)
		on_signals(in);
	/* While saving, forwarded signals wait in the socket: they must not reach a half-dumped tree. */
	if (p[1].revents && !in->saving)
		on_monitor(in);
	else if (p[1].revents & POLLHUP)
		_exit(1);
	if (p[2].revents)
		ck_gpus_accept(in->gpus);
	return fd >= 0 && p[3].revents != 0;
}

/* The checkpoint failed: what was swallowed is delivered after all, once to each. */
static void deliver(struct ck_init *in)
{
	union sigval v = { .sival_int = CK_DELIVER_VALUE };
	/* Met by us or the monitor alone, it was meant for the program. */
	if (in->direct)
		add_reporter(in, in->root, in->direct);
	for (size_t i = 0; i < in->nreporters; i++) {
		struct ck_reporter *r = &in->reporters[i];
		/* Without the shim the default action would end the program, so it hears nothing. */
		if (!r->told && disposition(r->pid, r->sig) == 'C')
			sigqueue(r->pid, r->sig, v);
		r->told = 1;
	}
	in->want = in->direct = 0;
}

void ck_init_kill_all(struct ck_init *in)
{
	uint64_t until = ck_now_ns() + 30ull * 1000000000u;
	for (;;) {
		kill(-1, SIGKILL);
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid < 0)
			return; /* ECHILD */
		if (pid > 0)
			continue;
		if (ck_now_ns() > until)
			return; /* stuck in the kernel; pid 1's end takes them along */
		struct pollfd p = { .fd = in->sigfd, .events = POLLIN };
		poll(&p, 1, 20);
		on_signals(in);
	}
}

static int signals_setup(struct ck_init *in, struct ck_err *err)
{
	sigset_t all;
	sigfillset(&all);
	/* Faults of our own must kill us, not wait in a descriptor. */
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		sigdelset(&all, faults[i]);
	sigprocmask(SIG_SETMASK, &all, NULL);
	in->sigfd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (in->sigfd < 0)
		return ck_err_errno(err, "signalfd");
	return 0;
}

/* A devpts of our own, for the program's own ptys too; and if it is on a terminal, its pty, always the
 * first one there. */
static int terminal(struct ck_init *in, struct ck_err *err)
{
	struct ck_note n = { .type = CK_NOTE_TTY };
	struct ck_err none;
	char key[CK_STREAM_KEY];
	int master;
	in->st->own_devpts = ck_ns_devpts(&none) == 0;
	if (!in->st->own_devpts)
		ck_debug("%s", none.msg); /* then a checkpoint refuses ptys by name */
	if (!in->st->tty)
		return 0;
	if (ck_tty_open(&master, &in->st->slave, key, sizeof key, err))
		return -1;
	for (int i = 0; i < 3; i++) {
		if (in->st->s[i].kind == CK_STREAM_TTY)
			snprintf(in->st->s[i].key, sizeof in->st->s[i].key, "%s", key);
	}
	int rc = ck_tty_send(in->ctl, &n, sizeof n, master, err);
	close(master);
	return rc;
}

static int setup(struct ck_init *in, struct ck_err *err)
{
	const struct ck_manifest *from = in->s->from;
	static char drv[PATH_MAX];
	char plugins[PATH_MAX + 32];
	struct rlimit more = in->program_nofile;
	if (ck_ns_enter(err))
		return -1;
	if (from && ck_ns_clocks(from->monotonic_ns, from->boottime_ns, err))
		return -1;
	if (ck_ns_rundir(from ? from->rundir : NULL, in->rundir, sizeof in->rundir, err))
		return -1;
	snprintf(in->work, sizeof in->work, "%s/work", in->rundir);
	snprintf(plugins, sizeof plugins, "%s/no-plugins", in->work);
	if (mkdir(in->work, 0700) < 0 || mkdir(plugins, 0700) < 0)
		return ck_err_errno(err, "cannot make %s", in->work);
	in->listen = ck_sock_listen(in->rundir, err);
	if (in->listen < 0)
		return -1;
	if (ck_find_beside("ckshim-drv", drv, sizeof drv) < 0)
		drv[0] = 0;
	in->gpus = ck_gpus_new(in->listen, drv);
	if (!in->gpus)
		return ck_err_set(err, CK_ESYS, ENOMEM, "registry of GPU processes");
	/* criu puts its own descriptors just below the soft limit, above all of the program's. */
	more.rlim_cur = more.rlim_max;
	setrlimit(RLIMIT_NOFILE, &more);
	if (signals_setup(in, err) || terminal(in, err))
		return -1;
	if (!from && ck_ns_last_pid(LOW_PIDS, err))
		return -1;
	return ck_streams_inside(in->st, err);
}

static void begin(struct ck_init *in)
{
	struct ck_err err;
	if (in->s->from) {
		if (ck_restore_inside(in, &err)) {
			ck_init_kill_all(in);
			ck_init_note(in, CK_NOTE_NORESTORE, err.code, "%s", err.msg);
			_exit(1);
		}
	} else {
		in->root = ck_init_program(in, &err);
		if (in->root < 0) {
			ck_init_note(in, CK_NOTE_NOEXEC, err.sys, "%s", err.msg);
			_exit(1);
		}
	}
	ck_streams_release(in->st);
	ck_init_note(in, CK_NOTE_STARTED, in->root, "%s", "");
}

static void checkpoint(struct ck_init *in)
{
	struct ck_err err;
	char text[1100];
	in->saving = 1;
	int sig = in->want;
	if (ck_commit_checkpoint(in, sig, text, sizeof text, &err) == 0) {
		ck_init_kill_all(in);
		ck_init_note(in, CK_NOTE_DONE, 0, "%s", text);
		ck_commit_prune(in);
		_exit(0);
	}
	in->saving = 0;
	in->same_until = ck_now_ns() + SAME_PREEMPTION_NS;
	if (!in->root_done) {
		ck_say("no checkpoint of %s: %s; %s", in->program, err.msg, in->stuck ?
		       "it waits at its next CUDA call; send the signal again to retry" : "the program runs on");
		deliver(in);
	}
}

void ck_init_main(struct ck_init *in)
{
	struct ck_err err;
	if (setup(in, &err)) {
		ck_init_note(in, CK_NOTE_NOENV, err.code, "%s", err.msg);
		_exit(1);
	}
	begin(in);
	while (!in->root_done) {
		ck_init_turn(in, -1, -1);
		reap(in); /* SIGCHLD does not queue: a child may have ended in a helper's wait */
		if (!in->want || in->root_done)
			continue;
		if (in->same_until)
			deliver(in);
		else
			checkpoint(in);
	}
	/* What it left behind ends with it. */
	ck_init_kill_all(in);
	ck_init_note(in, CK_NOTE_EXIT, in->root_status, "%s", "");
	_exit(0);
}
