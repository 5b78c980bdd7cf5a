/* restore.h - which checkpoint to continue, and continuing it. */
#ifndef CK_RESTORE_H
#define CK_RESTORE_H

#include "../shim/base/err.h"
#include "manifest.h"
#include "store.h"

struct ck_init;

#define CK_RESTORE_NOTES "supervisor" /* a file of the generation, see commit.c */

struct ck_restore {
	struct ck_store *store; /* open, its lock taken */
	struct ck_manifest m;
	int fd;			/* the generation's folder */
	uint32_t number;
	char path[4096];
	int refused;		/* generations that were there but damaged */
};

/* ck_restore_choose - open KEY of @store_path and find its newest generation that verifies in full. Each
 * one that does not is named in a line, and the one before it tried.
 * Returns 0; or -1: CK_ENOCKPT (none there), CK_EDAMAGED (all damaged), CK_EREFUSED (the newest good one
 * cannot come back right: a file it had open has changed), CK_EUNSAFE, CK_EBUSY, CK_ESYS.
 * ck_restore_close frees what it holds, after failure too. */
int ck_restore_choose(const char *store_path, const char *key, struct ck_restore *r, struct ck_err *err);
void ck_restore_close(struct ck_restore *r);

/* ck_restore_inside - in pid 1, everything set up: let criu restore the tree, bring the GPU state back.
 * Returns 0; or -1 with err: CK_ECRIU, CK_EENV, CK_EDRIVER, CK_ETIMEOUT; a half-made tree may be there
 * for the caller to kill. The checkpoint is untouched. */
int ck_restore_inside(struct ck_init *in, struct ck_err *err);

#endif
