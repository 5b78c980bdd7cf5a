/* ask.h - what the probe's questions are made of: a subject of its own for each, the checkpoint API called on
 * it from outside, and one answer. A question runs in a process and process group of its own, which the probe
 * ends at the question's deadline with all that it started. */
#ifndef GPU_ASK_H
#define GPU_ASK_H

#include <stddef.h>
#include <sys/types.h>

#include "drv.h"

struct ask_options {
	size_t sizes[3];	/* of device memory, for the times */
	size_t rate;		/* bytes of one copy when the rate is measured */
	unsigned spin;		/* steps of a kernel that is to run for about a second */
	const char *facts;	/* what a static runtime asks cuGetProcAddress for; NULL: not asked */
};
extern struct ask_options ask_options;

struct question {
	const char *name;
	unsigned deadline; /* seconds */
	void (*ask)(const char *arg);
	const char *arg;
};
extern const struct question questions[];

/* answer - end the question. Outcomes: yes, no, refused (the driver will not, by an error of its own),
 * unsupported (this driver has no such thing), measured, error (nothing can be said). */
_Noreturn void answer(const char *outcome, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ask_start - the subject, set up. It answers the question itself if that fails. */
void ask_start(const char *kind, size_t size);

/* ask_step - let the subject do step @n. Returns its detail; anything but ok answers the question: bad as no. */
const char *ask_step(int n);

pid_t ask_pid(void);

/* Times of the four calls, in seconds; what failed first. */
struct ask_times {
	double lock, checkpoint, restore, unlock;
};
extern struct ask_times ask_times;

/* ask_away - lock and checkpoint the subject. ask_back - restore and unlock it. A failure answers: refused,
 * with the state that the process is left in. ask_call - one call by name; its result and seconds. */
void ask_away(void);
void ask_back(void);
CUresult ask_call(pid_t pid, const char *verb, unsigned timeout_ms, double *seconds);

#endif
