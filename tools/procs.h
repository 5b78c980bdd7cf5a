/* procs.h - the processes of the namespace, read from its own /proc. */
#ifndef CK_PROCS_H
#define CK_PROCS_H

#include <stddef.h>
#include <sys/types.h>

#include "../shim/base/err.h"

struct ck_proc {
	pid_t pid, ppid;
	char comm[32];
	char state;	/* R S D T t Z X ... */
	int in_tree;	/* the root or a descendant of it */
};

struct ck_procs {
	struct ck_proc *p;
	size_t n;
};

/* ck_procs_read - all but pid 1 and @except's tree (a helper; 0: none), in order of pid; in_tree says
 * which belong to @root. Ones that end meanwhile are left out. Free with ck_procs_free.
 * Returns 0 or -1 with err. */
int ck_procs_read(struct ck_procs *ps, pid_t root, pid_t except, struct ck_err *err);
void ck_procs_free(struct ck_procs *ps);

/* ck_procs_link - readlink of /proc/@pid/@name into @out, "" when there is none. Returns @out. */
char *ck_procs_link(pid_t pid, const char *name, char *out, size_t cap);

#endif
