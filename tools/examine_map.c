#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "examine_int.h"

/* How the kernel names what is mapped, and what that means for a restore. The first row that fits
 * decides. @gpu: may belong to a GPU process's driver, which takes it away at the freeze. */
static const struct {
	const char *prefix;
	int deleted;	/* only with " (deleted)" at its end */
	int ok, gpu;
	const char *object, *why, *remedy;
} rows[] = {
	{ "/dev/zero", 1, 1, 0, NULL, NULL, NULL },	     /* shared anonymous memory */
	{ "/anon_hugepage", 1, 1, 0, NULL, NULL, NULL },     /* the same, of huge pages */
	{ "/SYSV", 1, 0, 0, "has System V shared memory attached", "CRIU cannot save it without privilege",
	  "use mmap or POSIX shared memory" },
	{ "/memfd:", 1, 0, 1, "has a memfd mapped", "mapping and descriptor would come back as two separate files",
	  "use a file in /dev/shm" },
	{ "/[aio]", 1, 0, 0, "uses Linux AIO (io_setup)", "CRIU cannot save it without privilege",
	  "use threads or io_destroy it" },
	{ "anon_inode:[io_uring]", 0, 0, 1, "uses io_uring", "CRIU cannot save it",
	  "tell the program or library to do without (UV_USE_IO_URING=0 for libuv)" },
	{ "anon_inode:[perf_event]", 0, 0, 1, "uses performance counters (perf_event_open)", "CRIU cannot save them",
	  "run it without the profiler" },
	{ "anon_inode:", 0, 0, 1, "has a kernel object mapped", "CRIU cannot save it", "close it" },
};

static int refuse(struct ck_err *err, const struct ck_proc *p, const char *object, const char *name,
		  const char *why, const char *remedy)
{
	char text[256];
	snprintf(text, sizeof text, "%s (%.160s)", object, name);
	return ck_refuse(err, p, text, why, remedy);
}

static int one(struct ck_scene *s, const struct ck_proc *p, char *name, struct ck_err *err)
{
	static const char mark[] = " (deleted)";
	size_t len = strlen(name);
	int deleted = len > sizeof mark && strcmp(name + len - (sizeof mark - 1), mark) == 0;
	struct stat st;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (strncmp(name, rows[i].prefix, strlen(rows[i].prefix)) != 0 || (rows[i].deleted && !deleted))
			continue;
		if (rows[i].ok || (rows[i].gpu && ck_scene_gpu_owned(s, p->pid)))
			return 0;
		return refuse(err, p, rows[i].object, name, rows[i].why, rows[i].remedy);
	}
	if (name[0] != '/')
		return 0; /* [heap] and its like */
	if (deleted && stat(name, &st) < 0) {
		if (ck_scene_gpu_owned(s, p->pid) && strncmp(name, "/dev/", 5) == 0)
			return 0;
		return refuse(err, p, "has a file mapped that was deleted", name,
			      "CRIU cannot save that without privilege", "keep the file until the program has ended");
	}
	if (strncmp(name, "/dev/", 5) == 0 && stat(name, &st) == 0 && S_ISCHR(st.st_mode)) {
		if (ck_scene_gpu_owned(s, p->pid) || strcmp(name, "/dev/zero") == 0 || strcmp(name, "/dev/null") == 0)
			return 0;
		if (s->pass == CK_EXAMINE_EARLY && strncmp(name, "/dev/nvidia", 11) == 0)
			return 0;
		return refuse(err, p, "has a device mapped", name, "CRIU cannot save a device",
			      strncmp(name, "/dev/nvidia", 11) == 0 ?
			      "run it with LD_PRELOAD=libckshim.so from its start" : "close it");
	}
	return 0;
}

int ck_examine_maps(struct ck_scene *s, const struct ck_proc *p, struct ck_err *err)
{
	char path[64], *line = NULL, last[512] = "";
	size_t cap = 0;
	int rc = 0;
	snprintf(path, sizeof path, "/proc/%d/maps", p->pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0; /* gone meanwhile; look_at_process has seen that it may be read */
	while (rc == 0 && getline(&line, &cap, f) > 0) {
		/* "from-to perms offset dev inode   name" */
		char *name = line;
		for (int i = 0; i < 5; i++) {
			name += strcspn(name, " \n");
			name += strspn(name, " ");
		}
		name[strcspn(name, "\n")] = 0;
		if (!*name || strncmp(name, last, sizeof last - 1) == 0)
			continue;
		snprintf(last, sizeof last, "%s", name);
		rc = one(s, p, name, err);
	}
	free(line);
	fclose(f);
	return rc;
}
