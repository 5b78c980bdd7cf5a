/* find.h - where things are: the program, criu, our own library and helpers. */
#ifndef CK_FIND_H
#define CK_FIND_H

#include <stddef.h>

#include "../shim/base/err.h"

/* ck_find_beside - the file @name that belongs to this tool: beside it (a build folder), or in
 * ../lib/ckshim or ../libexec/ckshim (an installation). Returns 0, or -1 if it is nowhere. */
int ck_find_beside(const char *name, char *path, size_t cap);

/* ck_find_program - what execvp(3) would run for @name. Returns 0; or -1 with err, sys ENOENT or EACCES. */
int ck_find_program(const char *name, char *path, size_t cap, struct ck_err *err);

/* ck_find_criu - @wanted (--criu, CKSHIM_CRIU), the bundle beside the tool, or the one in PATH if it is
 * new enough. The first two are not run here, so that a start costs nothing.
 * Returns 0 or -1 with err CK_EENV and the remedy. */
int ck_find_criu(const char *wanted, char *path, size_t cap, struct ck_err *err);

enum ck_program_kind {
	CK_PROGRAM_DYNAMIC,
	CK_PROGRAM_STATIC,	/* the preloaded library will not be in it */
	CK_PROGRAM_SETID,	/* nor here; and in our namespaces it stays without its privilege */
};

/* ck_find_kind - look at the executable @path (through a #! line). What cannot be read counts as dynamic:
 * exec will tell. */
enum ck_program_kind ck_find_kind(const char *path);

#endif
