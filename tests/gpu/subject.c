/* subject.c - see subject.h. */
#define _GNU_SOURCE
#include "subject.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drv.h"

size_t subject_size;
static char line[512], note[512];

const char *subject_say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	return line;
}

void subject_note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(note, sizeof note, fmt, ap);
	va_end(ap);
}

const char *subject_failed(int result, const char *call)
{
	int absent = result == CUDA_ERROR_NOT_SUPPORTED || result == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	return subject_say("%s %s: %.*s", absent ? "unsupported" : "error", drv_name((CUresult)result),
			   (int)strcspn(call, "("), call);
}

/* Written under another name first: the reader never sees half a line. */
static int report(const char *dir, int step, const char *result)
{
	char part[4096], whole[4096];
	snprintf(part, sizeof part, "%s/done%d.part", dir, step);
	snprintf(whole, sizeof whole, "%s/done%d", dir, step);
	FILE *f = fopen(part, "we");
	if (!f)
		return -1;
	if (result)
		fprintf(f, "%s\n", result);
	else
		fprintf(f, "ok %s\n", note);
	if (fclose(f) || rename(part, whole))
		return -1;
	return 0;
}

static const struct subject *find(const char *name)
{
	for (const struct subject *s = subjects_memory; s->name; s++)
		if (!strcmp(s->name, name))
			return s;
	for (const struct subject *s = subjects_object; s->name; s++)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

int subject_main(const char *kind, size_t size, const char *dir, unsigned deadline)
{
	const struct subject *s = find(kind);
	if (!s) {
		fprintf(stderr, "no subject %s\n", kind);
		return 2;
	}
	subject_size = size;
	alarm(deadline);
	for (int n = 0; n < 4 && s->step[n]; n++) {
		char go[4096];
		snprintf(go, sizeof go, "%s/go%d", dir, n);
		while (n > 0 && access(go, F_OK) != 0)
			nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		note[0] = 0;
		if (report(dir, n, s->step[n]()))
			return 4;
	}
	return 0;
}
