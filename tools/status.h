/* status.h - exit statuses of ckshim's tools. One table: the enum, the text that --help and the man
 * pages carry, and the mapping from error codes come from it.
 *
 * A supervised program's own status always passes through unchanged, so these stand where programs
 * seldom do, away from sysexits (64-78) and the shell's (126 and up).
 */
#ifndef CK_STATUS_H
#define CK_STATUS_H

#include "../shim/base/err.h"

/* X(name, number, meaning) */
#define CK_STATUS_TABLE(X)                                                                            \
	X(USAGE, 2, "wrong options or arguments")                                                     \
	X(CHECKPOINTED, 85, "checkpoint written, program stopped; ckshim-restore continues it")       \
	X(NOCKPT, 86, "no checkpoint to restore")                                                     \
	X(DAMAGED, 87, "every checkpoint there is damaged or unreadable; nothing was changed")        \
	X(REFUSED, 88, "it cannot come back right, or not here; the message names why")               \
	X(ENVIRONMENT, 89, "this machine lacks something: CRIU, namespaces, the driver's checkpoint API") \
	X(RESTORE, 90, "the restore failed; the checkpoint is unharmed")                              \
	X(STORE, 91, "the store is unsafe, full or not writable")                                     \
	X(CHECKPOINT, 92, "the checkpoint failed; the program runs on")                               \
	X(INTERNAL, 125, "ckshim itself failed")                                                      \
	X(NOEXEC, 126, "the program could not be executed")                                           \
	X(NOTFOUND, 127, "the program was not found")

enum ck_status {
#define X(name, number, text) CK_STATUS_##name = number,
	CK_STATUS_TABLE(X)
#undef X
};

#endif
