/* ctl.h - the control thread: the only place where a checkpoint acts inside the program.
 *
 * Started by the first successful registration; all signals blocked; sleeps in sigwaitinfo, holding no
 * descriptor. The supervisor wakes it (shim/base/proto.h), it connects, obeys, closes, sleeps again.
 * Which step may follow which is the supervisor's business; the thread only refuses nonsense.
 */
#ifndef CK_CTL_H
#define CK_CTL_H

#include "cuda_abi.h"

/* ck_ctl_init - cuInit's wrapper calls this before the driver's: make sure that this process has a control
 * thread and that the supervisor knows it; waits while a checkpoint is under way elsewhere in the tree.
 * Failing is not the program's problem: one line, and it runs unsupervised. */
void ck_ctl_init(void);

/* ck_ctl_inited - cuInit has returned @r; forget the registration if it failed. */
void ck_ctl_inited(CUresult r);

/* ck_ctl_after_fork - the child has no control thread and, until it calls cuInit itself, no CUDA. */
void ck_ctl_after_fork(void);

#endif
