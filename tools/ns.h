/* ns.h - the namespaces that a session lives in.
 *
 * User (the caller's own uid and gid mapped, nothing else), pid, mount, and for a restore time. As root
 * with CAP_SYS_ADMIN no user namespace: mapped to root in one, the program would regain capabilities on
 * exec and criu could not restore it.
 */
#ifndef CK_NS_H
#define CK_NS_H

#include <stdint.h>
#include <sys/types.h>

#include "../shim/base/err.h"

/* ck_ns_fork - like fork(), but the child is pid 1 of new namespaces; its uid map is not yet written
 * (ck_ns_enter does). Call single-threaded. Returns the child's pid, 0 in the child, or -1 with err
 * CK_EENV: namespaces are not to be had here; the message says which setting is in the way. */
pid_t ck_ns_fork(struct ck_err *err);

/* ck_ns_enter - in the child: maps, propagation, /proc. Dies with its parent from here on.
 * Returns 0 or -1 with err CK_EENV. */
int ck_ns_enter(struct ck_err *err);

/* ck_ns_clocks - in the child, before it has children: a time namespace for itself and what it starts,
 * in which the clocks stand where @monotonic_ns and @boottime_ns say, and go on from there.
 * Returns 0 or -1 with err CK_EENV. */
int ck_ns_clocks(int64_t monotonic_ns, int64_t boottime_ns, struct ck_err *err);

/* ck_ns_rundir - a private tmpfs for the socket. @want: the name that a restored program knows, or NULL
 * to choose one; @out gets it. Returns 0; or -1: CK_EREFUSED (@want is not to be had), CK_EENV. */
int ck_ns_rundir(const char *want, char *out, size_t cap, struct ck_err *err);

/* ck_ns_last_pid - the next pid in this namespace will be above @pid. Low pids are left to criu, which
 * must not meet those of the program when it restores. Returns 0 or -1 with err CK_EENV. */
int ck_ns_last_pid(pid_t pid, struct ck_err *err);

/* ck_ns_devpts - a devpts of our own, so that criu can restore ptys made in it. 0, or -1 with err. */
int ck_ns_devpts(struct ck_err *err);

#endif
