/* caps.h - capabilities of the processes that the supervisor starts, set by the system calls themselves.
 *
 * In the user namespace pid 1 holds everything. The user's program gets nothing; criu gets
 * CAP_CHECKPOINT_RESTORE alone (with SETUID or SETGID as well its restore fails, since only one uid and
 * gid are mapped), plus CAP_SYS_PTRACE where Yama restricts ptrace.
 */
#ifndef CK_CAPS_H
#define CK_CAPS_H

#include "../shim/base/err.h"

/* ck_caps_none - in a child, before exec: no effective, permitted, inheritable or ambient capability.
 * Async-signal-safe. Returns 0 or -1 with errno. */
int ck_caps_none(void);

/* ck_caps_criu - in a child, before exec: exactly what criu needs, across the exec.
 * Returns 0 or -1 with errno. */
int ck_caps_criu(void);

/* ck_caps_supervisor - in pid 1 of a user namespace: keep only what it needs. Above all not
 * CAP_DAC_OVERRIDE, with which it would write where its user may not (his own read-only folders).
 * Returns 0 or -1 with errno. */
int ck_caps_supervisor(void);

/* ck_caps_admin - 1 if this process has CAP_SYS_ADMIN effective. */
int ck_caps_admin(void);

#endif
