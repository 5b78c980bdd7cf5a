/* err.h - an error that gathers context on its way up. Only main() prints it.
 *
 * A function that can fail takes a struct ck_err *, returns 0 or -1, and on -1 has filled it with
 * ck_err_set() (cause, remedy where there is one) or added to it with ck_err_wrap().
 * Allocates nothing; safe in the shim. Not async-signal-safe (vsnprintf).
 */
#ifndef CK_ERR_H
#define CK_ERR_H

/* Distinct causes a caller may act on. Exit statuses are derived from them in tools/status.h. */
enum ck_errc {
	CK_EOK = 0,
	CK_EINVAL,	/* the caller's fault, or nonsense from the user */
	CK_ESYS,	/* a system call failed; sys holds errno */
	CK_ENOSPC,	/* no room (ENOSPC, EDQUOT, EFBIG) */
	CK_EDAMAGED,	/* an image or manifest fails its checks */
	CK_EVERSION,	/* made by a newer or unknown version */
	CK_ETIMEOUT,	/* a deadline passed */
	CK_EUNSAFE,	/* a store or file that others could have written */
	CK_EREFUSED,	/* the program holds what would not come back right */
	CK_ENOCKPT,	/* no checkpoint there */
	CK_EENV,	/* this machine lacks something (CRIU, namespaces, driver API) */
	CK_ECRIU,	/* criu failed */
	CK_EDRIVER,	/* the CUDA driver returned an error */
	CK_EBUSY,	/* someone else holds it */
};

struct ck_err {
	enum ck_errc code;
	int sys;	/* errno, or 0 */
	char msg[1024]; /* one line: "what failed: why; what to do" */
};

/* ck_err_set - fill @e. @sys is an errno whose text is appended after ": ", or 0. Returns -1. */
int ck_err_set(struct ck_err *e, enum ck_errc code, int sys, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ck_err_errno - ck_err_set with the code that errno means (ENOSPC, EDQUOT -> CK_ENOSPC, else
 * CK_ESYS). Reads errno. Returns -1. */
int ck_err_errno(struct ck_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ck_err_wrap - put "context: " before the message. Returns -1. */
int ck_err_wrap(struct ck_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
