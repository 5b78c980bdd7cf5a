/* subject.h - the process that a question is asked about: it puts something on the GPU, waits to be
 * checkpointed and restored, and looks whether it is all still there.
 *
 * It is the probe itself, executed anew as `probe --subject KIND SIZE DIR`. It talks through files in DIR, so
 * that nothing but what the question is about is open in it, and CRIU may dump it: a step N runs when DIR/goN
 * appears, and its result stands in DIR/doneN, one line "WORD detail". Step 0 is the set-up and runs at once.
 *
 *   ok           as it should be
 *   bad          something came back wrong: detail says what
 *   unsupported  this driver has no such thing (CUDA_ERROR_NOT_SUPPORTED)
 *   error        a call failed that should not have: nothing can be said
 */
#ifndef GPU_SUBJECT_H
#define GPU_SUBJECT_H

#include <stddef.h>

/* subject_main - run as the subject; returns the exit status. An alarm ends it after @deadline seconds. */
int subject_main(const char *kind, size_t size, const char *dir, unsigned deadline);

/* What a kind of subject is. A step returns NULL for "ok" or a line "WORD detail", as above; ok's detail may
 * be left with subject_note. */
struct subject {
	const char *name;
	const char *(*step[4])(void);
};
extern const struct subject subjects_memory[], subjects_object[];

extern size_t subject_size;
const char *subject_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void subject_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* S(call): a step ends here when the call fails, as unsupported or in error. */
#define S(call)                                                                                            \
	do {                                                                                               \
		CUresult s_r = drv.call;                                                                   \
		if (s_r != CUDA_SUCCESS)                                                                   \
			return subject_failed(s_r, #call);                                                 \
	} while (0)
/* V(call): the same where a failure means that something did not survive. */
#define V(call)                                                                                            \
	do {                                                                                               \
		CUresult s_r = drv.call;                                                                   \
		if (s_r != CUDA_SUCCESS)                                                                   \
			return subject_say("bad afterwards %s: %s", drv_name(s_r), #call);                 \
	} while (0)
const char *subject_failed(int result, const char *call);

#endif
