/* commit.h - one checkpoint, from the signal to the committed generation. Called by pid 1. */
#ifndef CK_COMMIT_H
#define CK_COMMIT_H

#include <stddef.h>

struct ck_init;
struct ck_err;

/* ck_commit_checkpoint - save the tree because of signal @sig. On success a new generation is committed
 * and the tree is ended or about to be (kill what is left); @text gets the line for the log.
 * On failure everything is undone, the tree runs on. Returns 0 or -1 with err. */
int ck_commit_checkpoint(struct ck_init *in, int sig, char *text, size_t cap, struct ck_err *err);

/* ck_commit_prune - after a committed checkpoint, when the monitor already knows: remove old ones. */
void ck_commit_prune(struct ck_init *in);

#endif
