#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int log_fd = 2;
static int log_level = 1; /* 0 quiet, 1 say, 2 debug */

void ck_log_init(void)
{
	const char *v = getenv("CKSHIM_LOG");
	if (v && strcmp(v, "quiet") == 0)
		log_level = 0;
	else if (v && strcmp(v, "debug") == 0)
		log_level = 2;
}

void ck_log_fd(int fd)
{
	log_fd = fd;
}

static void emit(const char *fmt, va_list ap)
{
	int keep = errno;
	char line[2048] = "ckshim: ";
	int n = vsnprintf(line + 8, sizeof line - 9, fmt, ap);
	if (n < 0)
		n = 0;
	size_t len = 8 + (size_t)n;
	if (len > sizeof line - 1)
		len = sizeof line - 1;
	line[len++] = '\n';
	ssize_t w = write(log_fd, line, len);
	(void)w; /* nowhere left to complain to */
	errno = keep;
}

void ck_say(const char *fmt, ...)
{
	if (log_level < 1)
		return;
	va_list ap;
	va_start(ap, fmt);
	emit(fmt, ap);
	va_end(ap);
}

void ck_debug(const char *fmt, ...)
{
	if (log_level < 2)
		return;
	va_list ap;
	va_start(ap, fmt);
	emit(fmt, ap);
	va_end(ap);
}
