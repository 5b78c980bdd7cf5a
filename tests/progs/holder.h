/* holder.h - between the parts of holder. */
#ifndef PROGS_HOLDER_H
#define PROGS_HOLDER_H

struct kind {
	const char *name;
	void (*set_up)(void);
	void (*verify)(void);
};

/* Tables end with a row without a name. */
extern const struct kind holder_ipc_kinds[];  /* memory, semaphores, queues */
extern const struct kind holder_fd_kinds[];   /* descriptors */
extern const struct kind holder_task_kinds[]; /* what hangs on a process */

/* This kernel does not allow it: says why and exits with 77. */
_Noreturn void holder_unsupported(const char *what);

#endif
