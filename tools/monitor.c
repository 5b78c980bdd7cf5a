#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../shim/base/log.h"
#include "caps.h"
#include "find.h"
#include "init1.h"
#include "ns.h"
#include "opts.h"
#include "status.h"
#include "streams.h"
#include "tty.h"

struct monitor {
	const struct ck_session *s;
	struct ck_streams st;
	const char *exe;
	int ctl, sigfd;
	pid_t init;
	int init_gone;
	sigset_t preempt, old_mask;
	struct sigaction old_pipe;
	struct ck_pump out, err;
	struct ck_feed in;
	struct ck_tty tty;
	int started;
	struct ck_note last; /* how it ended; type 0 while it has not */
};

static void tell(struct monitor *m, int type, int value, int more)
{
	struct ck_note n = { .type = type, .value = value, .more = more };
	ssize_t w;
	do
		w = send(m->ctl, &n, sizeof n, MSG_NOSIGNAL);
	while (w < 0 && errno == EINTR);
}

static int signals_setup(struct monitor *m, struct ck_err *err)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t all;
	if (ck_opts_signals(m->s->signals, &m->preempt, err))
		return -1;
	sigfillset(&all);
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU };
	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
		sigdelset(&all, own[i]);
	sigprocmask(SIG_SETMASK, &all, &m->old_mask);
	sigaction(SIGPIPE, &ignore, &m->old_pipe);
	m->sigfd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	return m->sigfd < 0 ? ck_err_errno(err, "signalfd") : 0;
}

static void on_signals(struct monitor *m)
{
	struct signalfd_siginfo si;
	while (read(m->sigfd, &si, sizeof si) == (ssize_t)sizeof si) {
		int sig = (int)si.ssi_signo;
		if (sig == SIGCHLD) {
			if (waitpid(m->init, NULL, WNOHANG) == m->init)
				m->init_gone = 1;
		} else if (sigismember(&m->preempt, sig) == 1) {
			tell(m, CK_NOTE_PREEMPT, sig, 0);
		} else if (sig == SIGWINCH && m->tty.master >= 0) {
			ck_tty_resize(&m->tty);
		} else if (sig != SIGPIPE) {
			int terminal = si.ssi_code == SI_KERNEL;
			tell(m, CK_NOTE_SIGNAL, sig, terminal);
			/* As if the program itself had been stopped: our shell must notice. */
			if (sig == SIGTSTP) {
				ck_tty_restore(&m->tty);
				raise(SIGSTOP);
			}
			if (sig == SIGCONT && m->tty.master >= 0)
				ck_tty_raw(&m->tty);
		}
	}
}

/* The pty's output goes where the terminal was, or in a batch job where stdout goes. */
static void take_terminal(struct monitor *m, int master)
{
	int out = isatty(1) || !isatty(2) ? 1 : 2;
	if (m->st.s[1].kind != CK_STREAM_TTY)
		out = 2;
	m->tty.outer = isatty(out) ? out : -1;
	ck_tty_attach(&m->tty, master);
	ck_pump_init(out == 1 ? &m->out : &m->err, fcntl(master, F_DUPFD_CLOEXEC, 3), out);
	if (m->tty.raw)
		m->in = (struct ck_feed){ .from = 0, .to = master, .tty = 1 };
}

static void on_note(struct monitor *m)
{
	struct ck_note n;
	int fd;
	ssize_t len = ck_tty_receive(m->ctl, &n, sizeof n, &fd);
	if (len != (ssize_t)sizeof n)
		return;
	n.text[sizeof n.text - 1] = 0;
	switch (n.type) {
	case CK_NOTE_STARTED:
		ck_streams_outside(&m->st);
		m->started = 1;
		break;
	case CK_NOTE_PAUSE:
		m->in.paused = n.value;
		if (n.value)
			tell(m, CK_NOTE_PAUSE, 1, 0);
		break;
	case CK_NOTE_TTY:
		if (fd >= 0)
			take_terminal(m, fd);
		break;
	case CK_NOTE_STOPPED:
		break;
	default:
		m->last = n;
	}
}

static void loop(struct monitor *m)
{
	while (!m->init_gone) {
		struct pollfd p[5] = {
			{ .fd = m->sigfd, .events = POLLIN },
			{ .fd = m->ctl, .events = POLLIN },
		};
		ck_pump_want(&m->out, &p[2]);
		ck_pump_want(&m->err, &p[3]);
		ck_feed_want(&m->in, &p[4]);
		int waiting = m->out.wait || m->err.wait;
		if (poll(p, 5, waiting ? 1000 : -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents & POLLIN)
			on_note(m);
		else if (p[1].revents)
			p[1].fd = -1;
		on_signals(m);
		ck_pump_run(&m->out);
		ck_pump_run(&m->err);
		ck_feed_run(&m->in);
		if (p[1].revents & POLLHUP && !(p[1].revents & POLLIN) && !m->init_gone &&
		    waitpid(m->init, NULL, 0) == m->init)
			m->init_gone = 1; /* its socket closed: it is ending */
	}
	/* What it still said while it ended. */
	for (int i = 0; i < 64; i++) {
		struct pollfd p = { .fd = m->ctl, .events = POLLIN };
		if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLIN))
			break;
		on_note(m);
	}
}

/* No namespaces here: the program runs as if we were not there. */
static int run_plainly(struct monitor *m, const char *why)
{
	ck_say("%s runs without checkpoints: %s", m->s->argv[0], why);
	setenv("CKSHIM_SUPERVISE", "0", 1);
	sigaction(SIGPIPE, &m->old_pipe, NULL);
	sigprocmask(SIG_SETMASK, &m->old_mask, NULL);
	execv(m->exe, m->s->argv);
	int e = errno;
	ck_say("cannot run %s: %s", m->s->argv[0], strerror(e));
	return e == ENOENT ? CK_STATUS_NOTFOUND : CK_STATUS_NOEXEC;
}

static void die_like_it(int sig)
{
	/* One core is enough, and the program has written its own. */
	struct rlimit none = { 0, 0 };
	sigset_t set;
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	kill(getpid(), sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int finish(struct monitor *m)
{
	const struct ck_note *n = &m->last;
	switch (n->type) {
	case CK_NOTE_EXIT:
		if (WIFSIGNALED(n->value)) {
			die_like_it(WTERMSIG(n->value));
			return 128 + WTERMSIG(n->value);
		}
		return WEXITSTATUS(n->value);
	case CK_NOTE_DONE:
		ck_say("%s", n->text);
		return CK_STATUS_CHECKPOINTED;
	case CK_NOTE_NOEXEC:
		ck_say("%s", n->text);
		return n->value == ENOENT ? CK_STATUS_NOTFOUND : CK_STATUS_NOEXEC;
	case CK_NOTE_NOENV:
		if (!m->s->from)
			return run_plainly(m, n->text);
		ck_say("%s cannot be restored here: %s", m->s->argv[0], n->text);
		return n->value == CK_EREFUSED ? CK_STATUS_REFUSED : CK_STATUS_ENVIRONMENT;
	case CK_NOTE_NORESTORE:
		ck_say("%s was not restored: %s; the checkpoint is unharmed", m->s->argv[0], n->text);
		return n->value == CK_EENV ? CK_STATUS_ENVIRONMENT : CK_STATUS_RESTORE;
	default:
		ck_say("the supervisor inside ended unexpectedly, and %s with it", m->s->argv[0]);
		return CK_STATUS_INTERNAL;
	}
}

static void become_init(struct monitor *m, int ctl)
{
	static struct ck_init in;
	char cwd[PATH_MAX];
	const char *base = strrchr(m->s->argv[0], '/');
	in.s = m->s;
	in.st = &m->st;
	in.ctl = ctl;
	in.listen = -1;
	in.exe = m->exe;
	/* Executed by the name it was called by (a script sees it as $0), recorded in full. */
	if (m->exe[0] == '/' || !getcwd(cwd, sizeof cwd))
		snprintf(in.exe_path, sizeof in.exe_path, "%s", m->exe);
	else
		snprintf(in.exe_path, sizeof in.exe_path, "%s/%s", cwd, m->exe);
	in.store = m->s->owned;
	in.preempt = m->preempt;
	in.program_mask = m->old_mask;
	in.program_pipe = m->old_pipe;
	in.unprivileged = !ck_caps_admin() || geteuid() != 0;
	getrlimit(RLIMIT_NOFILE, &in.program_nofile);
	snprintf(in.program, sizeof in.program, "%s", base ? base + 1 : m->s->argv[0]);
	close(m->ctl);
	close(m->sigfd);
	ck_init_main(&in);
}

static int prepare(struct monitor *m, int *ctl, struct ck_err *err)
{
	int pair[2];
	if (ck_streams_prepare(&m->st, m->s->from, err) || signals_setup(m, err))
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return ck_err_errno(err, "socketpair");
	m->ctl = pair[0];
	*ctl = pair[1];
	return 0;
}

static void warn_uncovered(const struct ck_session *s, const char *exe)
{
	switch (ck_find_kind(exe)) {
	case CK_PROGRAM_STATIC:
		ck_say("%s is statically linked: libckshim.so cannot be in it, its GPU state cannot be saved",
		       s->argv[0]);
		break;
	case CK_PROGRAM_SETID:
		ck_say("%s is set-uid or set-gid: it runs without that privilege and cannot be covered", s->argv[0]);
		break;
	case CK_PROGRAM_DYNAMIC:
		break;
	}
}

int ck_session_run(const struct ck_session *s)
{
	static struct monitor m; /* large: two pump buffers */
	static char exe[PATH_MAX];
	struct ck_err err;
	int ctl = -1;
	memset(&m, 0, sizeof m);
	m.s = s;
	m.tty.outer = m.tty.master = -1;
	m.exe = s->exe;
	if (!m.exe) {
		if (ck_find_program(s->argv[0], exe, sizeof exe, &err)) {
			ck_say("%s", err.msg);
			return err.sys == ENOENT ? CK_STATUS_NOTFOUND : CK_STATUS_NOEXEC;
		}
		m.exe = exe;
	}
	if (!s->from)
		warn_uncovered(s, m.exe);
	if (prepare(&m, &ctl, &err)) {
		ck_say("%s", err.msg);
		return CK_STATUS_INTERNAL;
	}
	m.init = ck_ns_fork(&err);
	if (m.init == 0)
		become_init(&m, ctl);
	close(ctl);
	if (m.init < 0) {
		m.last.type = CK_NOTE_NOENV;
		snprintf(m.last.text, sizeof m.last.text, "%s", err.msg);
		return finish(&m);
	}
	ck_pump_init(&m.out, m.st.s[1].pump, 1);
	ck_pump_init(&m.err, m.st.s[2].pump, 2);
	m.in = (struct ck_feed){ .from = 0, .to = s->from ? -1 : m.st.s[0].pump };
	loop(&m);
	ck_pump_drain(&m.out);
	ck_pump_drain(&m.err);
	ck_tty_restore(&m.tty);
	return finish(&m);
}
