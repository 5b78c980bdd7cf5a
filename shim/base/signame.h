/* signame.h - names of signals, as users write them. */
#ifndef CK_SIGNAME_H
#define CK_SIGNAME_H

#include <stdint.h>

/* ck_signame_parse_list - "TERM,USR1" (SIG prefix and numbers allowed, any case) -> bit s-1 for signal s.
 * KILL, STOP and the fault signals (SEGV BUS FPE ILL TRAP CHLD) are refused. At least one.
 * Returns 0, or -1 (unknown or refused name, empty list). Async-signal-safe. */
int ck_signame_parse_list(const char *list, uint64_t *set);

/* ck_signame - "SIGTERM"; numbers without a name give "signal N" (static buffer). */
const char *ck_signame(int sig);

#endif
