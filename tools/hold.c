#define _GNU_SOURCE
#include "hold.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../shim/base/io.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

struct held {
	pid_t tid;
	int signal; /* to be delivered when it goes on */
};

struct ck_hold {
	pid_t pid;
	size_t n, room;
	struct held *t;
};

static bool listed(pid_t tid, const pid_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == tid)
			return true;
	return false;
}

static bool held(const struct ck_hold *h, pid_t tid)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->t[i].tid == tid)
			return true;
	return false;
}

static bool alive(pid_t pid, pid_t tid)
{
	char path[64], buf[512];
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
	if (ck_read_text(-1, path, buf, sizeof buf) <= 0)
		return false;
	const char *p = strrchr(buf, ')');
	return p && p[1] && p[2] != 'Z' && p[2] != 'X';
}

/* Wait for the stop of a thread just interrupted. waitid without WEXITED leaves exits to the reaper.
 * 1 stopped, 0 gone, -1 err. */
static int await_stop(pid_t pid, struct held *t, uint64_t until_ns, struct ck_err *err)
{
	for (;;) {
		siginfo_t si;
		memset(&si, 0, sizeof si);
		if (waitid(P_PID, (id_t)t->tid, &si, WSTOPPED | WNOHANG | __WALL) == 0 && si.si_pid == t->tid) {
			int sig = si.si_status & 0xff;
			t->signal = si.si_status >> 8 == PTRACE_EVENT_STOP ? 0 : sig;
			return 1;
		}
		if (!alive(pid, t->tid))
			return 0;
		if (ck_now_ns() >= until_ns)
			return ck_err_set(err, CK_ETIMEOUT, 0, "thread %d of process %d did not stop by the deadline",
					  t->tid, pid);
		/* There is no way to wait for one thread's stop with a deadline but to look again. */
		struct timespec nap = { .tv_nsec = 200000 };
		nanosleep(&nap, NULL);
	}
}

static int seize(struct ck_hold *h, pid_t tid, uint64_t until_ns, struct ck_err *err)
{
	if (h->n == h->room) {
		size_t room = h->room ? h->room * 2 : 64;
		struct held *t = realloc(h->t, room * sizeof *t);
		if (!t)
			return ck_err_set(err, CK_ESYS, ENOMEM, "holding process %d", h->pid);
		h->t = t;
		h->room = room;
	}
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0) {
		if (errno == ESRCH || !alive(h->pid, tid))
			return 0;
		return ck_err_errno(err, "cannot hold thread %d of process %d (is it being debugged?)", tid, h->pid);
	}
	struct held *t = &h->t[h->n];
	*t = (struct held){ .tid = tid };
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 && errno == ESRCH)
		return 0;
	int r = await_stop(h->pid, t, until_ns, err);
	if (r < 0) {
		h->n++; /* ck_hold_end lets go of it */
		return -1;
	}
	h->n += (size_t)r;
	return 0;
}

int ck_hold_begin(pid_t pid, const pid_t *skip, size_t nskip, uint64_t until_ns, struct ck_hold **out,
		  struct ck_err *err)
{
	char path[64];
	struct ck_hold *h = calloc(1, sizeof *h);
	if (!h)
		return ck_err_set(err, CK_ESYS, ENOMEM, "holding process %d", pid);
	h->pid = pid;
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	/* A thread not yet stopped may start another: look until a whole pass finds nothing new. */
	for (bool fresh = true; fresh;) {
		fresh = false;
		DIR *d = opendir(path);
		if (!d) {
			if (errno == ENOENT)
				break;
			ck_err_errno(err, "cannot list the threads of process %d", pid);
			ck_hold_end(h);
			return -1;
		}
		struct dirent *de;
		while ((de = readdir(d))) {
			pid_t tid = atoi(de->d_name);
			if (tid <= 0 || listed(tid, skip, nskip) || held(h, tid))
				continue;
			size_t before = h->n;
			if (seize(h, tid, until_ns, err)) {
				closedir(d);
				ck_hold_end(h);
				return -1;
			}
			fresh = fresh || h->n > before;
		}
		closedir(d);
	}
	*out = h;
	return 0;
}

void ck_hold_end(struct ck_hold *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n; i++) {
		/* Detaching needs a stopped tracee; one that missed its deadline gets a last short chance. */
		struct ck_err ignored;
		if (ptrace(PTRACE_DETACH, h->t[i].tid, NULL, (void *)(long)h->t[i].signal) < 0 && errno == ESRCH &&
		    await_stop(h->pid, &h->t[i], ck_now_ns() + 100000000u, &ignored) == 1)
			ptrace(PTRACE_DETACH, h->t[i].tid, NULL, (void *)(long)h->t[i].signal);
	}
	free(h->t);
	free(h);
}
