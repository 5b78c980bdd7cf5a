/* streams.h - the program's standard streams and other inherited descriptors.
 *
 * The program writes to pipes that the supervisor owns, and the monitor pumps them into whatever the job
 * has for stdout and stderr. So a restored program writes to the new job's log, CRIU never meets a file
 * from outside the namespaces, and what was still in a pipe at the dump is read by the old monitor to
 * the end: nothing is lost or doubled. stdin is opened anew inside where it has a path, else pumped.
 */
#ifndef CK_STREAMS_H
#define CK_STREAMS_H

#include <poll.h>
#include <stddef.h>
#include <sys/types.h>

#include "../shim/base/err.h"
#include "manifest.h"

#define CK_STREAM_KEY 64

enum ck_stream_kind {
	CK_STREAM_PATH,	 /* opened again by path inside: /dev/null, a regular file */
	CK_STREAM_PIPE,	 /* pumped */
	CK_STREAM_TTY,	 /* a pty of ours */
};

struct ck_stream {
	enum ck_stream_kind kind;
	int prog;	/* the program's end, close-on-exec; -1 until opened inside */
	int pump;	/* the monitor's end, or -1 */
	int same;	/* stderr only: shares stdout's pipe, because both are the same file */
	char key[CK_STREAM_KEY]; /* how CRIU names the program's end: "pipe:[123]"; "" if it needs no name */
};

/* A descriptor that the program inherits beside its streams. */
struct ck_inherited {
	int fd;
	int reopen;	/* opened again by path inside; else left alone, and a checkpoint refuses it */
	int flags;
	off_t offset;
	dev_t dev;
	ino_t ino;
	char *path;	/* as /proc/self/fd names it */
};

struct ck_streams {
	struct ck_stream s[3];
	int tty;	   /* some stream is a terminal: see tty.h. Its end is opened inside */
	int own_devpts;	   /* ptys made inside can be restored */
	int slave;	   /* kept by pid 1, so that the pty outlives a moment without users; or -1 */
	int devnull_stdin; /* a restored program has no use for the new stdin */
	struct ck_inherited in0;
	struct ck_inherited *other;
	size_t nother;
};

/* ck_streams_prepare - in the monitor, first of all: look at what was inherited, make the pipes.
 * @from: a restore, whose program knows these streams: those that were terminals are again, stdin is not
 * made anew otherwise; NULL: a start. Returns 0 or -1 with err. */
int ck_streams_prepare(struct ck_streams *st, const struct ck_manifest *from, struct ck_err *err);

/* ck_streams_inside - in pid 1, once the mount namespace is its own: open again what has a path, close
 * the monitor's ends. Returns 0 or -1 with err. */
int ck_streams_inside(struct ck_streams *st, struct ck_err *err);

/* ck_streams_outside - in the monitor, after the fork: close the program's ends and the inherited
 * descriptors, so that ends of files are seen. */
void ck_streams_outside(struct ck_streams *st);

/* ck_streams_install - in the child that becomes the program: 0, 1, 2. Async-signal-safe. 0 or -1/errno. */
int ck_streams_install(const struct ck_streams *st);

/* ck_streams_release - in pid 1, when the program has its ends. */
void ck_streams_release(struct ck_streams *st);

/* ---- pumping, in the monitor ---- */

struct ck_pump {
	int from, to;	/* -1: finished */
	int small;	/* to may block: write no more at once than poll promised room for */
	int lossy;	/* a failing write drops the data instead of waiting */
	int wait;	/* the last write found no room on disk: try again later, not at once */
	size_t have, off;
	char buf[65536];
};

/* ck_pump_init - @from and @to are borrowed, but @from is made non-blocking and closed at its end. */
void ck_pump_init(struct ck_pump *p, int from, int to);

/* ck_pump_want - fill one pollfd for what the pump waits for (fd -1: nothing). */
void ck_pump_want(const struct ck_pump *p, struct pollfd *pfd);

/* ck_pump_run - move what can be moved without blocking. */
void ck_pump_run(struct ck_pump *p);

/* ck_pump_drain - all writers are gone: move what is left, waiting for the reader as long as it takes. */
void ck_pump_drain(struct ck_pump *p);

/* ck_feed_want/run - the other direction, job's stdin (@from) to the program's pipe (@to). Nothing is
 * ever held in between: it reads only what the pipe has room for. At its end both are closed. */
struct ck_feed {
	int from, to;
	int paused;
	int tty;	/* @to is a pty's master: not closed at the end, and may take less than it was given */
	size_t have, off;
	char keys[256];
};
void ck_feed_want(const struct ck_feed *f, struct pollfd *pfd);
void ck_feed_run(struct ck_feed *f);

#endif
