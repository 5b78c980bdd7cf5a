/* init1.h - pid 1 of a session: its state, and what it tells the monitor.
 *
 * One thread, one event loop. While a checkpoint is made the loop is run from inside (ck_init_turn), so
 * that children are still reaped and signals still noted.
 */
#ifndef CK_INIT1_H
#define CK_INIT1_H

#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "criu.h"
#include "freeze.h"
#include "session.h"
#include "streams.h"

/* ---- the socket between monitor and pid 1: SOCK_SEQPACKET, one struct a packet ---- */

enum ck_note_type {
	/* to the monitor */
	CK_NOTE_NOENV = 1, /* nothing was started, and cannot be here: value ck_errc, text why */
	CK_NOTE_STARTED,   /* the program runs */
	CK_NOTE_NOEXEC,	   /* exec failed: value errno */
	CK_NOTE_EXIT,	   /* the root process ended: value as from waitpid */
	CK_NOTE_DONE,	   /* a checkpoint was committed and the tree ended: text for the log */
	CK_NOTE_NORESTORE, /* the restore failed: value ck_errc, text why */
	CK_NOTE_PAUSE,	   /* value 1: feed no more stdin, answer CK_NOTE_PAUSE; 0: go on */
	CK_NOTE_TTY,	   /* the master of the program's pty rides along */
	CK_NOTE_STOPPED,   /* the root process stopped by a signal: value which */
	/* to pid 1 */
	CK_NOTE_SIGNAL,	   /* value: forward this signal; more: 1 when it came from the terminal */
	CK_NOTE_PREEMPT,   /* value: a preemption signal */
};

struct ck_note {
	int type, value, more;
	char text[1200];
};

struct ck_reporter {	/* a process whose shim swallowed a preemption signal */
	pid_t pid;
	int sig;
	int told;	/* it has been given back to it */
};

struct ck_init {
	const struct ck_session *s;
	struct ck_streams *st;
	int ctl, sigfd, listen;
	char rundir[PATH_MAX];
	char work[PATH_MAX + 8]; /* RUNDIR/work: criu's log and the like */
	char program[64];	/* its name, for messages */
	const char *exe;
	char exe_path[2 * PATH_MAX];
	pid_t root;
	int root_done, root_status;
	pid_t helper;		/* criu */
	int helper_done, helper_status;
	struct ck_gpus *gpus;
	struct ck_store *store;
	int stuck, stuck_dirfd; /* GPU state is put away and would not come back: its only copy is there */
	sigset_t preempt;
	sigset_t program_mask;	/* what the program starts with */
	struct rlimit program_nofile;
	struct sigaction program_pipe;
	int unprivileged;
	int saving;
	int want;		/* a preemption signal waits to be acted on, or 0 */
	int direct;		/* it was met outside or by pid 1, not only by processes of the tree */
	struct ck_reporter *reporters;
	size_t nreporters;
	uint64_t same_until;	/* a checkpoint has failed; until then a signal is of the same preemption */
	struct ck_reporter *expected; /* signals that the images hold as pending: not news */
	size_t nexpected;
	uint64_t expected_until;
};

/* ck_init_main - the life of pid 1. Never returns. */
void ck_init_main(struct ck_init *in) __attribute__((noreturn));

/* ck_init_turn - wait up to @timeout_ms for something (besides @fd, if not -1) and serve it: signals,
 * children, registrations, the monitor. Returns 1 when @fd is readable. */
int ck_init_turn(struct ck_init *in, int fd, int timeout_ms);

/* ck_init_note - tell the monitor. */
void ck_init_note(struct ck_init *in, enum ck_note_type type, int value, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ck_init_program - fork and exec the program (start.c). Returns its pid; or -1 with err, sys the errno
 * of exec. */
pid_t ck_init_program(struct ck_init *in, struct ck_err *err);

/* ck_init_kill_all - end everything inside, and reap it. */
void ck_init_kill_all(struct ck_init *in);

#endif
