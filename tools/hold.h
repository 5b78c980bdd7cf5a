/* hold.h - keep the threads of a process from running for a moment, by ptrace.
 *
 * Single-threaded callers only: a tracee belongs to the thread that seized it. Exit statuses of the
 * process stay for whoever waits for it: only stops are waited for here.
 */
#ifndef CK_HOLD_H
#define CK_HOLD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../shim/base/err.h"

struct ck_hold;

/* ck_hold_begin - stop every thread of @pid but those in @skip, also those that come into being while it
 * looks. Each is stopped when it returns. 0 and *@out; or -1 (CK_ETIMEOUT, CK_ESYS) with all let go. */
int ck_hold_begin(pid_t pid, const pid_t *skip, size_t nskip, uint64_t until_ns, struct ck_hold **out,
		  struct ck_err *err);

/* ck_hold_end - let them go on, signals that came meanwhile delivered. NULL is allowed. */
void ck_hold_end(struct ck_hold *h);

#endif
