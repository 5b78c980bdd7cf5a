/* examine.h - what a tree of processes holds that would not come back, or come back wrong. */
#ifndef CK_EXAMINE_H
#define CK_EXAMINE_H

#include <sys/types.h>

#include "../shim/base/err.h"
#include "freeze.h"
#include "manifest.h"
#include "streams.h"

enum ck_examine_pass {
	CK_EXAMINE_EARLY, /* before the GPUs are frozen: what is the GPU's own is overlooked */
	CK_EXAMINE_FULL,
};

/* ck_examine - look at every process of the namespace but pid 1 and the tree of @helper.
 * @st  the streams, to know which descriptors were inherited and left alone
 * Returns 0; or -1 with err CK_EREFUSED: process, object, why, remedy; or CK_ESYS. */
int ck_examine(pid_t root, pid_t helper, const struct ck_streams *st, struct ck_gpus *gpus,
	       enum ck_examine_pass pass, struct ck_err *err);

/* ck_examine_files - add the regular files that @pid has open to the manifest. 0 or -1 with err. */
int ck_examine_files(pid_t pid, struct ck_manifest *m, struct ck_err *err);

/* ck_examine_changed - are the files that the manifest records still what they were? Looks at existence,
 * kind, size, inode and time of modification. Returns 0; or -1 with err CK_EREFUSED naming the first. */
int ck_examine_changed(const struct ck_manifest *m, struct ck_err *err);

#endif
