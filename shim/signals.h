/* signals.h - the preemption signals do not reach the program unless a checkpoint failed.
 *
 * A handler of ours stands where the program's would. It tells who sent the signal: a sender outside our
 * pid namespace has si_pid 0 (man 7 pid_namespaces), that is Slurm or the user: pid 1 is told, nothing
 * else happens. A sender inside is the program itself: the signal takes the effect it would have had.
 */
#ifndef CK_SIGNALS_H
#define CK_SIGNALS_H

/* ck_signals_init - take over the signals named in @list ("TERM,USR1"). Constructor, single-threaded. */
void ck_signals_init(const char *list);

#endif
