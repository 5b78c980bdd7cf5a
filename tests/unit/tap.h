/* tap.h - tests that print TAP. One file, no dependency; a check never ends the program, so that one
 * failure does not hide the next. Finish main with: return tap_done(); */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int tap_run, tap_failed;

__attribute__((format(printf, 4, 5), unused)) static int tap_check(int good, const char *file, int line,
								   const char *fmt, ...)
{
	va_list ap;
	printf("%sok %d - ", good ? "" : "not ", ++tap_run);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!good) {
		printf("# failed at %s:%d\n", file, line);
		tap_failed++;
	}
	fflush(stdout);
	return good;
}

/* ok(condition, "what %d", n): prints one TAP line, returns the condition. */
#define ok(cond, ...) tap_check(!!(cond), __FILE__, __LINE__, __VA_ARGS__)

/* Equal strings (NULL allowed), with both in the output when they are not. */
#define is_str(got, want, ...)                                                                        \
	do {                                                                                          \
		const char *g_ = (got), *w_ = (want);                                                 \
		if (!ok(g_ && w_ ? strcmp(g_, w_) == 0 : g_ == w_, __VA_ARGS__))                      \
			printf("# got: %s\n# want: %s\n", g_ ? g_ : "(null)", w_ ? w_ : "(null)");    \
	} while (0)

#define is_int(got, want, ...)                                                                        \
	do {                                                                                          \
		long long g_ = (long long)(got), w_ = (long long)(want);                              \
		if (!ok(g_ == w_, __VA_ARGS__))                                                       \
			printf("# got: %lld\n# want: %lld\n", g_, w_);                                \
	} while (0)

/* skip(2, "no such device"): counts and names what was not tried. */
#define skip(n, why)                                                                                  \
	do {                                                                                          \
		for (int s_ = 0; s_ < (n); s_++)                                                      \
			printf("ok %d # SKIP %s\n", ++tap_run, (why));                                \
	} while (0)

__attribute__((unused)) static int tap_done(void)
{
	printf("1..%d\n", tap_run);
	if (tap_failed)
		printf("# %d of %d failed\n", tap_failed, tap_run);
	return tap_failed != 0 || !tap_run;
}

#endif
