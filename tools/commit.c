#define _GNU_SOURCE
#include "commit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/base/log.h"
#include "examine.h"
#include "find.h"
#include "init1.h"
#include "manifest.h"
#include "procs.h"
#include "restore.h"
#include "store.h"

#define PAUSE_MS 5000

struct attempt {
	struct ck_init *in;
	int sig;
	int dirfd;
	uint32_t number;
	uint64_t began, until;
	struct ck_criu criu;
	char images[PATH_MAX + 64];
	char hook[PATH_MAX + 32], hook_out[PATH_MAX + 32], hook_in[PATH_MAX + 32];
	int out, in_;		/* our ends of the hook's fifos */
	int frozen;		/* GPU state is put away */
	int committed;
	uint64_t bytes;
};

/* criu runs this while it holds the tree, everything dumped. Only when it is told to go on does criu end
 * the tree; any other end of it lets the tree run on. So the generation is committed while nothing can
 * run, and SIGCONT from outside cannot set anything going either, as it could with stopped processes. */
static int make_hook(struct attempt *a, struct ck_err *err)
{
	snprintf(a->hook, sizeof a->hook, "%s/hook", a->in->work);
	snprintf(a->hook_out, sizeof a->hook_out, "%s/hook.out", a->in->work);
	snprintf(a->hook_in, sizeof a->hook_in, "%s/hook.in", a->in->work);
	unlink(a->hook_out);
	unlink(a->hook_in);
	if (mkfifo(a->hook_out, 0600) < 0 || mkfifo(a->hook_in, 0600) < 0)
		return ck_err_errno(err, "cannot make a fifo in %s", a->in->work);
	a->out = open(a->hook_out, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	a->in_ = open(a->hook_in, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int fd = open(a->hook, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	if (a->out < 0 || a->in_ < 0 || fd < 0)
		return ck_err_errno(err, "cannot make the hook in %s", a->in->work);
	int rc = dprintf(fd,
			 "#!/bin/sh\n"
			 "[ \"$CRTOOLS_SCRIPT_ACTION\" = post-dump ] || exit 0\n"
			 "echo dumped >'%s'\n"
			 "read -r answer <'%s'\n"
			 "[ \"$answer\" = commit ]\n", a->hook_out, a->hook_in);
	close(fd);
	return rc < 0 ? ck_err_errno(err, "cannot write the hook") : 0;
}

/* While this is in force the monitor holds no byte of stdin that the program has not got. */
static int pause_stdin(struct ck_init *in, int on, struct ck_err *err)
{
	struct ck_note n;
	if (in->s->from || in->st->s[0].kind != CK_STREAM_PIPE)
		return 0;
	ck_init_note(in, CK_NOTE_PAUSE, on, "%s", "");
	uint64_t until = ck_now_ns() + PAUSE_MS * 1000000ull;
	while (on) {
		/* Forwarded signals may stand before the answer; they are obsolete or come again. */
		struct pollfd p = { .fd = in->ctl, .events = POLLIN };
		if (ck_now_ns() > until || poll(&p, 1, PAUSE_MS) <= 0)
			return ck_err_set(err, CK_ETIMEOUT, 0, "the monitor did not answer");
		if (recv(in->ctl, &n, sizeof n, MSG_DONTWAIT) == (ssize_t)sizeof n && n.type == CK_NOTE_PAUSE)
			return 0;
	}
	return 0;
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int record_streams(struct ck_init *in, struct ck_manifest *m, struct ck_err *err)
{
	static const char *const words[] = { "path", "pipe", "tty" };
	for (int i = 0; i < 3; i++) {
		const struct ck_stream *s = &in->st->s[i];
		const char *kind = i == 0 && in->s->from ? in->s->from->stream[0].kind : words[s->kind];
		if (ck_manifest_str(&m->stream[i].kind, kind, err) ||
		    ck_manifest_str(&m->stream[i].key, s->key, err))
			return -1;
	}
	return 0;
}

static int record_processes(struct ck_init *in, struct ck_manifest *m, struct ck_err *err)
{
	struct ck_procs ps;
	char exe[PATH_MAX];
	if (ck_procs_read(&ps, in->root, in->helper, err))
		return -1;
	int rc = 0;
	for (size_t i = 0; i < ps.n && rc == 0; i++) {
		struct ck_proc *p = &ps.p[i];
		if (!p->in_tree)
			continue;
		rc = ck_manifest_add_process(m, p->pid, p->ppid, p->comm,
					     ck_procs_link(p->pid, "exe", exe, sizeof exe), err);
		if (rc == 0)
			rc = ck_examine_files(p->pid, m, err);
	}
	ck_procs_free(&ps);
	return rc;
}

static int write_manifest(struct attempt *a, struct ck_err *err)
{
	struct ck_init *in = a->in;
	const struct ck_session *s = in->s;
	struct ck_manifest m;
	char cwd[PATH_MAX], reason[32];
	ck_manifest_init(&m);
	m.root_pid = in->root;
	m.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
	m.boottime_ns = clock_ns(CLOCK_BOOTTIME);
	snprintf(reason, sizeof reason, "SIG%s", sigabbrev_np(a->sig) ? sigabbrev_np(a->sig) : "?");
	int rc = ck_manifest_str(&m.exe, in->exe_path, err) || ck_manifest_argv(&m, s->argv, err) ||
		 ck_manifest_str(&m.cwd, ck_procs_link(in->root, "cwd", cwd, sizeof cwd), err) ||
		 ck_manifest_str(&m.job, s->job, err) || ck_manifest_str(&m.reason, reason, err) ||
		 ck_manifest_str(&m.rundir, in->rundir, err) || record_streams(in, &m, err) ||
		 record_processes(in, &m, err) ? -1 : 0;
	if (rc == 0 && ck_gpus_count(in->gpus)) {
		m.gpu = ck_gpus_to_json(in->gpus);
		if (!m.gpu)
			rc = ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	}
	if (rc == 0)
		rc = ck_manifest_write(&m, a->dirfd, err);
	a->bytes = ck_manifest_bytes(&m);
	ck_manifest_free(&m);
	return rc;
}

/* What only the supervisor needs to know at a restore, a line each:
 *
 *   lastpid N		the namespace's last pid: above it criu meets none of the program's
 *   pending PID SIG	a preemption signal that came while the tree was held. It is in the images, and the
 *			restored program's shim will report it as if it were new
 */
static int record_notes(struct attempt *a, struct ck_err *err)
{
	struct ck_procs ps;
	char buf[4096], path[64];
	int fd = openat(a->dirfd, CK_RESTORE_NOTES, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return ck_err_errno(err, "cannot write " CK_RESTORE_NOTES);
	int rc = ck_procs_read(&ps, a->in->root, a->in->helper, err);
	if (rc == 0 && (ck_read_text(AT_FDCWD, "/proc/sys/kernel/ns_last_pid", buf, sizeof buf) <= 0 ||
			dprintf(fd, "lastpid %d\n", atoi(buf)) < 0))
		rc = ck_err_errno(err, "cannot write " CK_RESTORE_NOTES);
	for (size_t i = 0; rc == 0 && i < ps.n; i++) {
		snprintf(path, sizeof path, "/proc/%d/status", ps.p[i].pid);
		if (ck_read_text(AT_FDCWD, path, buf, sizeof buf) < 0)
			continue;
		const char *sh = strstr(buf, "\nShdPnd:"), *th = strstr(buf, "\nSigPnd:");
		unsigned long long set = (sh ? strtoull(sh + 8, NULL, 16) : 0) | (th ? strtoull(th + 8, NULL, 16) : 0);
		for (int sig = 1; sig < 64; sig++) {
			if (set >> (sig - 1) & 1 && sigismember(&a->in->preempt, sig) == 1 &&
			    dprintf(fd, "pending %d %d\n", ps.p[i].pid, sig) < 0)
				rc = ck_err_errno(err, "cannot write " CK_RESTORE_NOTES);
		}
	}
	ck_procs_free(&ps);
	close(fd);
	return rc;
}

static int commit(struct attempt *a, struct ck_err *err)
{
	if (record_notes(a, err) || write_manifest(a, err))
		return -1;
	if (ck_now_ns() > a->until)
		return ck_err_set(err, CK_ETIMEOUT, 0, "the deadline passed (CKSHIM_DEADLINE)");
	return ck_store_commit(a->in->store, err);
}

static void answer(struct attempt *a, const char *word)
{
	dprintf(a->in_, "%s\n", word);
}

/* The program's pty by CRIU's name, or NULL. */
static const char *terminal(const struct ck_init *in)
{
	for (int i = 0; in->st->tty && i < 3; i++) {
		if (in->st->s[i].kind == CK_STREAM_TTY)
			return in->st->s[i].key;
	}
	return NULL;
}

/* Start criu, and serve the loop until it has ended. */
static int dump(struct attempt *a, struct ck_err *err)
{
	struct ck_init *in = a->in;
	int late = 0, failed = 0;
	if (mkdirat(a->dirfd, "criu", 0700) < 0)
		return ck_err_errno(err, "cannot make the folder of criu's images");
	snprintf(a->images, sizeof a->images, "%s/criu", ck_store_begun_path(in->store));
	a->criu.images = a->images;
	a->criu.hook = a->hook;
	if (make_hook(a, err))
		return -1;
	in->helper_done = 0;
	in->helper = ck_criu_dump(&a->criu, in->root, terminal(in), err);
	if (in->helper < 0) {
		in->helper = 0;
		return -1;
	}
	while (!in->helper_done) {
		uint64_t now = ck_now_ns();
		int wait_ms = now < a->until ? (int)((a->until - now) / 1000000u) + 1 : 0;
		if (now >= a->until && !a->committed) {
			late = 1;
			answer(a, "abort");
			ck_criu_overdue(&a->criu, in->helper, a->until, &wait_ms);
		}
		if (wait_ms <= 0 || wait_ms > 1000)
			wait_ms = 1000;
		if (!ck_init_turn(in, a->out, wait_ms))
			continue;
		char word[16];
		if (read(a->out, word, sizeof word) <= 0 || a->committed || failed)
			continue;
		if (commit(a, err)) {
			failed = 1;
			answer(a, "abort");
		} else {
			a->committed = 1;
			answer(a, "commit");
		}
	}
	in->helper = 0;
	if (a->committed)
		return 0; /* whatever criu says of its own end: the rename has been made */
	if (failed)
		return -1;
	if (late)
		return ck_err_set(err, CK_ETIMEOUT, 0, "the deadline passed while criu was dumping "
				  "(CKSHIM_DEADLINE raises it)");
	return ck_criu_reason(&a->criu, "dump", in->helper_status, err);
}

static int attempt(struct attempt *a, struct ck_err *err)
{
	struct ck_init *in = a->in;
	char criu[PATH_MAX];
	if (ck_find_criu(in->s->criu, criu, sizeof criu, err))
		return -1;
	a->criu = (struct ck_criu){ .path = criu, .work = in->work, .unprivileged = in->unprivileged };
	if (!in->store &&
	    ck_store_open(in->s->store, in->s->key, CK_STORE_CREATE | CK_STORE_OWN, &in->store, err))
		return -1;
	if (ck_store_begin(in->store, &a->dirfd, &a->number, err))
		return -1;
	if (pause_stdin(in, 1, err))
		return -1;
	if (ck_examine(in->root, 0, in->st, in->gpus, CK_EXAMINE_EARLY, err))
		return -1;
	if (ck_gpus_count(in->gpus)) {
		a->frozen = 1; /* it undoes itself when it fails, but that may fail, too */
		if (ck_gpus_freeze(in->gpus, a->dirfd, a->until, err))
			return -1;
	}
	if (ck_examine(in->root, 0, in->st, in->gpus, CK_EXAMINE_FULL, err))
		return -1;
	return dump(a, err);
}

/* Bring the GPU state back from the generation in @dirfd. While that fails the folder must stay: it is the only
 * copy of the device memory. */
static int thaw(struct ck_init *in, int dirfd, struct ck_err *err)
{
	uint64_t until = ck_now_ns() + (uint64_t)in->s->deadline_ms * 1000000u;
	in->stuck = ck_gpus_thaw(in->gpus, dirfd, until, err) != 0;
	in->stuck_dirfd = dirfd;
	return in->stuck ? -1 : 0;
}

static void drop_generation(struct ck_init *in)
{
	if (!in->store)
		return;
	ck_store_abandon(in->store);
	if (!in->s->owned) {
		ck_store_close(in->store);
		in->store = NULL;
	}
}

static void undo(struct attempt *a, struct ck_err *err)
{
	struct ck_err e;
	if (a->frozen && thaw(a->in, a->dirfd, &e)) {
		struct ck_err first = *err;
		ck_err_set(err, e.code, 0, "%.400s; and its GPU state could not be brought back: %.400s", first.msg, e.msg);
	} else {
		drop_generation(a->in);
	}
	pause_stdin(a->in, 0, &e);
}

static void size_text(uint64_t bytes, char *out, size_t cap)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes;
	int u = 0;
	while (v >= 1024 && u < 4) {
		v /= 1024;
		u++;
	}
	snprintf(out, cap, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

int ck_commit_checkpoint(struct ck_init *in, int sig, char *text, size_t cap, struct ck_err *err)
{
	struct attempt a = { .in = in, .sig = sig, .dirfd = -1, .out = -1, .in_ = -1, .began = ck_now_ns() };
	char size[32];
	a.until = a.began + (uint64_t)in->s->deadline_ms * 1000000u;
	memset(err, 0, sizeof *err);
	if (in->stuck) {
		if (thaw(in, in->stuck_dirfd, err))
			return ck_err_wrap(err, "its GPU state still could not be brought back");
		drop_generation(in);
	}
	int rc = attempt(&a, err);
	if (a.out >= 0)
		close(a.out);
	if (a.in_ >= 0)
		close(a.in_);
	if (rc) {
		undo(&a, err);
		return -1;
	}
	size_text(a.bytes, size, sizeof size);
	snprintf(text, cap, "checkpoint %u of %s, %s in %.1f s, in %s", a.number, in->program, size,
		 (double)(ck_now_ns() - a.began) / 1e9, ck_store_path(in->store));
	return 0;
}

void ck_commit_prune(struct ck_init *in)
{
	struct ck_err err;
	if (ck_store_prune(in->store, in->s->keep, ck_manifest_gen_ok, NULL, &err))
		ck_say("old checkpoints stay: %s", err.msg);
}
