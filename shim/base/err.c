#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int set(struct ck_err *e, enum ck_errc code, int sys, const char *fmt, va_list ap)
{
	e->code = code;
	e->sys = sys;
	int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	if (sys && n >= 0 && (size_t)n < sizeof e->msg)
		snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", strerror(sys));
	return -1;
}

int ck_err_set(struct ck_err *e, enum ck_errc code, int sys, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	set(e, code, sys, fmt, ap);
	va_end(ap);
	return -1;
}

int ck_err_errno(struct ck_err *e, const char *fmt, ...)
{
	int sys = errno;
	va_list ap;
	va_start(ap, fmt);
	set(e, sys == ENOSPC || sys == EDQUOT || sys == EFBIG ? CK_ENOSPC : CK_ESYS, sys, fmt, ap);
	va_end(ap);
	return -1;
}

int ck_err_wrap(struct ck_err *e, const char *fmt, ...)
{
	char old[sizeof e->msg];
	memcpy(old, e->msg, sizeof old);
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof e->msg)
		snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", old);
	return -1;
}
