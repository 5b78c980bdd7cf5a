/* threads.h - which threads of this process are the driver's own. Between the driver's checkpoint and the
 * reservation of its addresses every thread but these and the control thread is held by the supervisor. */
#ifndef CK_THREADS_H
#define CK_THREADS_H

#include "base/proto.h"

/* ck_threads_report - answer a CK_MSG_THREADS in place. */
void ck_threads_report(struct ck_msg *m);

/* ck_threads_after_fork - the child has none of them. */
void ck_threads_after_fork(void);

#endif
