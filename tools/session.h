/* session.h - one supervised run: monitor outside, pid 1 inside, program, checkpoint, restore.
 *
 *   ckshim-run / ckshim-restore
 *      monitor   (monitor.c)   the pid that Slurm knows: signals, streams, exit status
 *        pid 1   (init1.c)     reaper and conductor, in new user+pid+mount(+time) namespaces
 *          program             the user's; no capability
 *          criu, ckshim-drv    short-lived helpers of pid 1
 */
#ifndef CK_SESSION_H
#define CK_SESSION_H

#include <stdint.h>

#include "../shim/base/err.h"
#include "manifest.h"
#include "store.h"

struct ck_session {
	/* start: exec @exe with @argv. restore: @argv and @exe are the manifest's, for messages */
	const char *exe;	/* path; NULL: search argv[0] in PATH */
	char *const *argv;
	/* restore: a verified generation; NULL / -1 when starting */
	const struct ck_manifest *from;
	const char *from_path;
	int from_fd;
	struct ck_store *owned; /* the open key, its lock taken; NULL: opened at the first checkpoint */
	/* where checkpoints go: STORE/KEY, see store.h */
	const char *store;
	const char *key;
	const char *job;
	const char *signals;	/* "TERM,USR1" */
	const char *criu;	/* path of the criu to use, or NULL: find one */
	unsigned deadline_ms;	/* whole time a checkpoint may take */
	unsigned keep;		/* generations kept */
};

/* ck_session_run - run to the end. Returns the status main() is to exit with; a program that died by a
 * signal makes this process die by the same one, so then it does not return. Where namespaces are not to
 * be had a program is executed plainly, in this very process (CKSHIM_SUPERVISE=0), after one line.
 * Speaks for main(): it prints. Call single-threaded. */
int ck_session_run(const struct ck_session *s);

#endif
