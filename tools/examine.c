/* What CRIU, rootless, refuses or restores wrong without a word. Found before the dump, so that a
 * refusal names the thing in the user's words and nothing has been touched yet. Where the facts come
 * from: DESIGN.md section 7; every row was tried. */
#define _GNU_SOURCE
#include "examine.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "examine_int.h"

int ck_refuse(struct ck_err *err, const struct ck_proc *p, const char *object, const char *why,
	      const char *remedy)
{
	return ck_err_set(err, CK_EREFUSED, 0, "process %d (%s) %s: %s; %s", p->pid, p->comm, object, why, remedy);
}

int ck_scene_gpu_owned(const struct ck_scene *s, pid_t pid)
{
	if (s->pass != CK_EXAMINE_EARLY)
		return 0;
	for (size_t i = 0; i < s->ngpu; i++) {
		if (s->gpu[i] == pid)
			return 1;
	}
	return 0;
}

static int gpu_pids(struct ck_scene *s, struct ck_gpus *gpus, struct ck_err *err)
{
	if (!gpus || !ck_gpus_count(gpus))
		return 0;
	json_t *list = ck_gpus_to_json(gpus), *one;
	size_t i;
	if (!list)
		return ck_err_set(err, CK_ESYS, ENOMEM, "list of GPU processes");
	s->gpu = calloc(json_array_size(list) + 1, sizeof *s->gpu);
	json_array_foreach(list, i, one) {
		if (s->gpu)
			s->gpu[s->ngpu++] = (pid_t)json_integer_value(json_object_get(one, "pid"));
	}
	json_decref(list);
	return s->gpu ? 0 : ck_err_set(err, CK_ESYS, ENOMEM, "list of GPU processes");
}

static int read_mounts(struct ck_scene *s, struct ck_err *err)
{
	char line[8192];
	size_t cap = 0;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return ck_err_errno(err, "cannot read /proc/self/mountinfo");
	while (fgets(line, sizeof line, f)) {
		if (s->nmounts == cap) {
			cap = cap ? 2 * cap : 64;
			int *more = realloc(s->mounts, cap * sizeof *more);
			if (!more) {
				fclose(f);
				return ck_err_set(err, CK_ESYS, ENOMEM, "mounts");
			}
			s->mounts = more;
		}
		/* a line longer than the buffer continues without a number that matters */
		if (isdigit((unsigned char)line[0]))
			s->mounts[s->nmounts++] = atoi(line);
	}
	fclose(f);
	return 0;
}

/* ---- a process as such ---- */

static const char *field(const char *status, const char *name)
{
	const char *p = strstr(status, name);
	return p ? p + strlen(name) + strspn(p + strlen(name), " \t") : "";
}

static const struct {
	const char *name, *object, *remedy;
} namespaces[] = {
	{ "mnt", "is in a mount namespace of its own", "run ckshim inside the container, not around it" },
	{ "pid", "is in a pid namespace of its own", "run ckshim inside the container, not around it" },
	{ "user", "is in a user namespace of its own", "run ckshim inside the container, not around it" },
	{ "net", "is in a network namespace of its own", "run ckshim inside the container, not around it" },
	{ "ipc", "is in an IPC namespace of its own", "run ckshim inside the container, not around it" },
	{ "uts", "is in a UTS namespace of its own", "run ckshim inside the container, not around it" },
};

static int look_at_namespaces(const struct ck_proc *p, struct ck_err *err)
{
	for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++) {
		char name[32], mine[64], its[64];
		snprintf(name, sizeof name, "ns/%s", namespaces[i].name);
		ck_procs_link(p->pid, name, its, sizeof its);
		ck_procs_link(1, name, mine, sizeof mine);
		if (*its && *mine && strcmp(its, mine) != 0)
			return ck_refuse(err, p, namespaces[i].object, "nested namespaces cannot be restored",
					 namespaces[i].remedy);
	}
	return 0;
}

static int look_at_process(struct ck_scene *s, const struct ck_proc *p, struct ck_err *err)
{
	char path[64], status[8192];
	if (!p->in_tree) {
		/* Our own helpers are children of pid 1, too. */
		if (p->state == 'Z' || strncmp(p->comm, "ckshim-", 7) == 0)
			return 0;
		return ck_refuse(err, p, "was left behind by its parent",
				 "only the program's own tree is saved", "do not let it become a daemon");
	}
	if (p->state == 'Z' || p->state == 'X')
		return 0;
	snprintf(path, sizeof path, "/proc/%d/status", p->pid);
	if (ck_read_text(AT_FDCWD, path, status, sizeof status) < 0)
		return 0; /* it has just ended */
	int tracer = atoi(field(status, "\nTracerPid:"));
	if (tracer > 1)
		return ck_refuse(err, p, "is being traced", "CRIU has to trace it itself",
				 "end the debugger (gdb, strace) first");
	if (atoi(field(status, "\nSeccomp:")) == 2)
		return ck_refuse(err, p, "runs under a seccomp filter",
				 "a user namespace may not suspend it", "run the program outside that sandbox");
	snprintf(path, sizeof path, "/proc/%d/maps", p->pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == EACCES)
		return ck_refuse(err, p, "cannot be looked into",
				 "its executable is not readable, or it made itself undumpable",
				 "make the executable readable");
	if (fd >= 0)
		close(fd);
	if (look_at_namespaces(p, err) || ck_examine_maps(s, p, err))
		return -1;
	return ck_examine_fds(s, p, err);
}

/* ---- System V objects: CRIU passes them over and they are gone after a restore ---- */

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

/* The kernel says who used an object last as seen from our pid namespace: 0 means someone outside. */
static int semaphore_ours(int id)
{
	struct semid_ds ds;
	union semun arg = { .buf = &ds };
	if (semctl(id, 0, IPC_STAT, arg) < 0)
		return 0;
	for (unsigned long i = 0; i < ds.sem_nsems && i < 4096; i++) {
		if (semctl(id, (int)i, GETPID) > 0)
			return 1;
	}
	return 0;
}

static int queue_ours(int id)
{
	struct msqid_ds ds;
	return msgctl(id, IPC_STAT, &ds) == 0 && (ds.msg_lspid > 0 || ds.msg_lrpid > 0);
}

int ck_examine_sysv(struct ck_err *err)
{
	static const struct {
		const char *path, *what, *remedy;
		int (*ours)(int id);
	} kinds[] = {
		{ "/proc/sysvipc/sem", "System V semaphores", "use POSIX ones, or remove them (ipcrm -s)",
		  semaphore_ours },
		{ "/proc/sysvipc/msg", "a System V message queue", "use pipes or sockets, or remove it (ipcrm -q)",
		  queue_ours },
	};
	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
		char line[512];
		FILE *f = fopen(kinds[k].path, "re");
		while (f && fgets(line, sizeof line, f)) {
			int key, id;
			if (sscanf(line, "%d %d", &key, &id) == 2 && kinds[k].ours(id)) {
				fclose(f);
				return ck_err_set(err, CK_EREFUSED, 0, "the program uses %s (id %d): they would be "
						  "gone after a restore; %s", kinds[k].what, id, kinds[k].remedy);
			}
		}
		if (f)
			fclose(f);
	}
	return 0;
}

int ck_examine(pid_t root, pid_t helper, const struct ck_streams *st, struct ck_gpus *gpus,
	       enum ck_examine_pass pass, struct ck_err *err)
{
	struct ck_scene s;
	memset(&s, 0, sizeof s);
	s.pass = pass;
	s.st = st;
	s.own_devpts = st && st->own_devpts;
	int rc = gpu_pids(&s, gpus, err) || read_mounts(&s, err) || ck_procs_read(&s.procs, root, helper, err) ? -1 : 0;
	for (size_t i = 0; rc == 0 && i < s.procs.n; i++)
		rc = look_at_process(&s, &s.procs.p[i], err);
	if (rc == 0)
		rc = ck_examine_sysv(err);
	ck_procs_free(&s.procs);
	free(s.gpu);
	free(s.mounts);
	free(s.socks);
	free(s.held);
	return rc;
}
