/* criu.h - running criu: options, privileges, deadlines, and what it says when it fails.
 *
 * criu is never killed while its code may be in the program (it borrows registers and code for some
 * milliseconds; a SIGKILL there loses the program). See ck_criu_end.
 */
#ifndef CK_CRIU_H
#define CK_CRIU_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../shim/base/err.h"

struct ck_criu {
	const char *path;	/* of criu */
	const char *work;	/* folder for its log, pid file and statistics */
	const char *images;	/* folder of images */
	const char *hook;	/* action script, or NULL */
	int unprivileged;	/* in a user namespace */
};

#define CK_CRIU_KEYS 3

/* A descriptor that takes the place of one in the images. */
struct ck_criu_key {
	int fd;
	const char *key; /* "pipe:[123]" */
};

/* ck_criu_dump, ck_criu_restore - start criu. Returns its pid, or -1 with err.
 * dump: the tree of @root; external terminals named by @tty ("tty[8800:19]") or NULL.
 * restore: @keys name the descriptors to hand over. */
pid_t ck_criu_dump(const struct ck_criu *c, pid_t root, const char *tty, struct ck_err *err);
pid_t ck_criu_restore(const struct ck_criu *c, const struct ck_criu_key *keys, size_t nkeys,
		      struct ck_err *err);

/* ck_criu_overdue - the deadline of a dump has passed: may it be killed now? Call again after @*wait_ms
 * while it says no. Returns 1 when it was killed (then reap it), 0 when it must go on. */
int ck_criu_overdue(const struct ck_criu *c, pid_t criu, uint64_t since_ns, int *wait_ms);

/* ck_criu_reason - fill @err (CK_ECRIU, or CK_ENOSPC) from what criu logged; @what: "dump", "restore".
 * @status as from waitpid. Returns -1. */
int ck_criu_reason(const struct ck_criu *c, const char *what, int status, struct ck_err *err);

#endif
