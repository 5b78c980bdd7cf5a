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

struct ck_session {
	/* what to run: exec @exe with @argv (start), or restore the generation in @gen_dir (restore) */
	const char *exe;	/* absolute path; NULL: search argv[0] in PATH */
	char *const *argv;	/* NULL when restoring */
	const char *gen_dir;	/* NULL when starting */
	/* where checkpoints go: STORE/JOB, see store.h */
	const char *store;
	const char *job;
	const char *signals;	/* "TERM,USR1" */
	const char *criu;	/* path of the criu to use, or NULL: find one */
	unsigned deadline_ms;	/* whole time a checkpoint may take */
	unsigned keep;		/* generations kept */
};

/* ck_session_run - run to the end. Returns the status main() is to exit with; a program that died by a
 * signal makes this process die by the same one, so then it does not return. */
int ck_session_run(const struct ck_session *s);

#endif
