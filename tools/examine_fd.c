#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "examine_int.h"

#define MQUEUE_MAGIC 0x19800202

/* Objects without a path, as /proc/PID/fd names them. What stands in no row is refused, too: a kind that
 * nobody has tried is no reason to risk the program. */
static const struct {
	const char *name;
	int ok;
	const char *object, *why, *remedy;
} anonymous[] = {
	{ "anon_inode:[eventfd]", 1, NULL, NULL, NULL },
	{ "anon_inode:[eventpoll]", 1, NULL, NULL, NULL },
	{ "anon_inode:[signalfd]", 1, NULL, NULL, NULL },
	{ "anon_inode:[timerfd]", 1, NULL, NULL, NULL },
	{ "anon_inode:[pidfd]", 1, NULL, NULL, NULL },
	{ "pidfd:", 1, NULL, NULL, NULL },
	{ "anon_inode:[io_uring]", 0, "uses io_uring", "CRIU cannot save it",
	  "tell the program or library to do without (UV_USE_IO_URING=0 for libuv)" },
	{ "anon_inode:[userfaultfd]", 0, "uses userfaultfd", "CRIU cannot save it", "switch that feature off" },
	{ "anon_inode:[perf_event]", 0, "uses performance counters (perf_event_open)", "CRIU cannot save them",
	  "run it without the profiler" },
	{ "anon_inode:inotify", 0, "watches files (inotify)", "CRIU cannot find the watched files without privilege",
	  "switch that feature off" },
	{ "anon_inode:[fanotify]", 0, "watches files (fanotify)", "CRIU cannot save that", "switch that feature off" },
	{ "anon_inode:bpf", 0, "uses BPF", "CRIU cannot save it", "switch that feature off" },
	{ "anon_inode:[bpf", 0, "uses BPF", "CRIU cannot save it", "switch that feature off" },
	{ "anon_inode:", 0, "holds a kernel object", "CRIU is not known to save it", "close it" },
};

static int refuse(struct ck_err *err, const struct ck_proc *p, int fd, const char *object, const char *name,
		  const char *why, const char *remedy)
{
	char text[400];
	snprintf(text, sizeof text, "%s (descriptor %d, %.200s)", object, fd, name);
	return ck_refuse(err, p, text, why, remedy);
}

/* Left over from whoever started us: its other end is outside and stays there. */
static int left_alone(const struct ck_scene *s, dev_t dev, ino_t ino)
{
	for (size_t i = 0; s->st && i < s->st->nother; i++) {
		const struct ck_inherited *in = &s->st->other[i];
		if (!in->reopen && in->dev == dev && in->ino == ino)
			return 1;
	}
	return 0;
}

static int mount_id(pid_t pid, int fd)
{
	char path[64], buf[1024];
	snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", pid, fd);
	if (ck_read_text(AT_FDCWD, path, buf, sizeof buf) < 0)
		return -1;
	const char *m = strstr(buf, "mnt_id:");
	return m ? atoi(m + 7) : -1;
}

static int known_mount(const struct ck_scene *s, int id)
{
	for (size_t i = 0; i < s->nmounts; i++) {
		if (s->mounts[i] == id)
			return 1;
	}
	return id < 0;
}

static int one_anonymous(struct ck_scene *s, const struct ck_proc *p, int fd, const char *name,
			 struct ck_err *err)
{
	for (size_t i = 0; i < sizeof anonymous / sizeof anonymous[0]; i++) {
		if (strncmp(name, anonymous[i].name, strlen(anonymous[i].name)) != 0)
			continue;
		if (anonymous[i].ok || ck_scene_gpu_owned(s, p->pid))
			return 0;
		return refuse(err, p, fd, anonymous[i].object, name, anonymous[i].why, anonymous[i].remedy);
	}
	return 0;
}

static int one_device(struct ck_scene *s, const struct ck_proc *p, int fd, const char *name,
		      struct ck_err *err)
{
	static const char *const plain[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom" };
	for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
		if (strcmp(name, plain[i]) == 0)
			return 0;
	}
	int nvidia = strncmp(name, "/dev/nvidia", 11) == 0;
	if (ck_scene_gpu_owned(s, p->pid) || (nvidia && s->pass == CK_EXAMINE_EARLY))
		return 0;
	if (nvidia)
		return refuse(err, p, fd, "holds a GPU", name, "its state is not under ckshim's control",
			      "run it with LD_PRELOAD=libckshim.so from its start");
	if (strncmp(name, "/dev/pts/", 9) == 0 || strcmp(name, "/dev/tty") == 0 || strcmp(name, "/dev/ptmx") == 0) {
		if (s->own_devpts)
			return 0;
		return refuse(err, p, fd, "uses a terminal", name, "it is not of the session's own devpts, and CRIU cannot find it",
			      "redirect stdin, stdout and stderr");
	}
	return refuse(err, p, fd, "has a device open", name, "CRIU cannot save a device", "close it");
}

static int one(struct ck_scene *s, const struct ck_proc *p, int fd, struct ck_err *err)
{
	char path[64], name[PATH_MAX];
	struct stat st;
	struct statfs fs;
	snprintf(path, sizeof path, "fd/%d", fd);
	if (!*ck_procs_link(p->pid, path, name, sizeof name))
		return 0;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", p->pid, fd);
	if (strncmp(name, "anon_inode:", 11) == 0 || strncmp(name, "pidfd:", 6) == 0)
		return one_anonymous(s, p, fd, name, err);
	if (stat(path, &st) < 0)
		return 0;
	if (left_alone(s, st.st_dev, st.st_ino))
		return refuse(err, p, fd, "inherited something from outside", name,
			      "its other end would not be there after a restore",
			      "close it when starting the program (N>&- in a shell)");
	if (S_ISSOCK(st.st_mode))
		return ck_examine_socket(s, p, fd, st.st_ino, err);
	if (name[0] != '/' || strncmp(name, "/memfd:", 7) == 0)
		return 0; /* pipes, nsfs */
	if (statfs(path, &fs) == 0 && fs.f_type == MQUEUE_MAGIC)
		return refuse(err, p, fd, "uses a POSIX message queue", name, "CRIU cannot save it",
			      "use pipes or sockets");
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
		if (one_device(s, p, fd, name, err))
			return -1;
	}
	if (!known_mount(s, mount_id(p->pid, fd)) && !ck_scene_gpu_owned(s, p->pid))
		return refuse(err, p, fd, "has a file of another mount namespace open", name,
			      "CRIU cannot find it", "open it inside, or close it when starting the program");
	return 0;
}

int ck_examine_fds(struct ck_scene *s, const struct ck_proc *p, struct ck_err *err)
{
	char path[64];
	struct dirent *e;
	int rc = 0;
	snprintf(path, sizeof path, "/proc/%d/fd", p->pid);
	DIR *d = opendir(path);
	if (!d)
		return 0;
	while (rc == 0 && (e = readdir(d))) {
		if (e->d_name[0] != '.')
			rc = one(s, p, atoi(e->d_name), err);
	}
	closedir(d);
	return rc;
}
