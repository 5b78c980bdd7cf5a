#define _GNU_SOURCE
#include "procs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shim/base/io.h"

static int read_one(pid_t pid, struct ck_proc *p)
{
	char path[64], buf[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (ck_read_text(AT_FDCWD, path, buf, sizeof buf) < 0)
		return -1;
	/* the name stands in parentheses and may hold any character, parentheses too */
	char *open = strchr(buf, '('), *close = strrchr(buf, ')');
	if (!open || !close || close < open)
		return -1;
	memset(p, 0, sizeof *p);
	p->pid = pid;
	snprintf(p->comm, sizeof p->comm, "%.*s", (int)(close - open - 1), open + 1);
	int ppid;
	if (sscanf(close + 1, " %c %d", &p->state, &ppid) != 2)
		return -1;
	p->ppid = ppid;
	return 0;
}

static struct ck_proc *find(struct ck_procs *ps, pid_t pid)
{
	for (size_t i = 0; i < ps->n; i++) {
		if (ps->p[i].pid == pid)
			return &ps->p[i];
	}
	return NULL;
}

static int descends(struct ck_procs *ps, struct ck_proc *p, pid_t from)
{
	for (size_t depth = 0; p && depth <= ps->n; depth++) {
		if (p->pid == from)
			return 1;
		p = find(ps, p->ppid);
	}
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	const struct ck_proc *x = a, *y = b;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

int ck_procs_read(struct ck_procs *ps, pid_t root, pid_t except, struct ck_err *err)
{
	size_t cap = 0;
	struct dirent *e;
	memset(ps, 0, sizeof *ps);
	DIR *d = opendir("/proc");
	if (!d)
		return ck_err_errno(err, "cannot read /proc");
	while ((e = readdir(d))) {
		struct ck_proc one;
		pid_t pid = (pid_t)atoi(e->d_name);
		if (pid <= 1 || read_one(pid, &one) < 0)
			continue;
		if (ps->n == cap) {
			cap = cap ? 2 * cap : 32;
			struct ck_proc *more = realloc(ps->p, cap * sizeof *more);
			if (!more) {
				closedir(d);
				ck_procs_free(ps);
				return ck_err_set(err, CK_ESYS, ENOMEM, "processes");
			}
			ps->p = more;
		}
		ps->p[ps->n++] = one;
	}
	closedir(d);
	for (size_t i = 0; i < ps->n; i++)
		ps->p[i].in_tree = descends(ps, &ps->p[i], root) ? 1 : except && descends(ps, &ps->p[i], except) ? -1 : 0;
	size_t keep = 0;
	for (size_t i = 0; i < ps->n; i++) {
		if (ps->p[i].in_tree >= 0)
			ps->p[keep++] = ps->p[i];
	}
	ps->n = keep;
	qsort(ps->p, ps->n, sizeof *ps->p, by_pid);
	return 0;
}

void ck_procs_free(struct ck_procs *ps)
{
	free(ps->p);
	memset(ps, 0, sizeof *ps);
}

char *ck_procs_link(pid_t pid, const char *name, char *out, size_t cap)
{
	char path[96];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	ssize_t n = readlink(path, out, cap - 1);
	out[n > 0 ? n : 0] = 0;
	return out;
}
