/* The regular files that the tree has open: recorded at the dump, compared before a restore. CRIU itself
 * restores onto whatever has the right size. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "examine.h"
#include "procs.h"

static uint32_t flags_of(pid_t pid, int fd)
{
	char path[64], buf[512];
	snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", pid, fd);
	if (ck_read_text(AT_FDCWD, path, buf, sizeof buf) < 0)
		return 0;
	const char *f = strstr(buf, "flags:");
	return f ? (uint32_t)strtoul(f + 6, NULL, 8) : 0;
}

static int add_file(struct ck_manifest *m, pid_t pid, int fd, struct ck_err *err)
{
	char name[64], path[PATH_MAX];
	struct stat st, at;
	snprintf(name, sizeof name, "/proc/%d/fd/%d", pid, fd);
	if (stat(name, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	snprintf(name, sizeof name, "fd/%d", fd);
	ck_procs_link(pid, name, path, sizeof path);
	/* Unlinked files travel in criu's images; /proc and the like have no size to compare. */
	if (path[0] != '/' || stat(path, &at) < 0 || at.st_ino != st.st_ino || at.st_dev != st.st_dev ||
	    strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/sys/", 5) == 0)
		return 0;
	struct ck_mf_file f = { .pid = pid, .fd = fd, .path = path, .dev = st.st_dev, .ino = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
		.flags = flags_of(pid, fd) };
	return ck_manifest_add_file(m, &f, err);
}

int ck_examine_files(pid_t pid, struct ck_manifest *m, struct ck_err *err)
{
	char path[64];
	struct dirent *e;
	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	DIR *d = opendir(path);
	if (!d)
		return 0; /* a zombie has none */
	int rc = 0;
	while (rc == 0 && (e = readdir(d))) {
		if (e->d_name[0] != '.')
			rc = add_file(m, pid, atoi(e->d_name), err);
	}
	closedir(d);
	return rc;
}

static int changed(const struct ck_mf_file *f, struct ck_err *err)
{
	struct stat st;
	if (stat(f->path, &st) < 0)
		return ck_err_set(err, CK_EREFUSED, errno, "%s, which process %d had open, is not there", f->path,
				  f->pid);
	if (!S_ISREG(st.st_mode))
		return ck_err_set(err, CK_EREFUSED, 0, "%s, which process %d had open, is no longer a regular file",
				  f->path, f->pid);
	int64_t mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	int append = (f->flags & O_ACCMODE) == O_WRONLY && f->flags & O_APPEND;
	if ((uint64_t)st.st_size != f->size && !append)
		return ck_err_set(err, CK_EREFUSED, 0, "%s had %llu bytes at the checkpoint and has %llu now; put "
				  "it back as it was (truncate -s %llu, if it only grew)", f->path,
				  (unsigned long long)f->size, (unsigned long long)st.st_size,
				  (unsigned long long)f->size);
	if ((uint64_t)st.st_size == f->size && st.st_ino != f->ino)
		return ck_err_set(err, CK_EREFUSED, 0, "%s was replaced since the checkpoint; put the old one back, "
				  "or start afresh", f->path);
	if ((uint64_t)st.st_size == f->size && mtime != f->mtime_ns)
		return ck_err_set(err, CK_EREFUSED, 0, "%s was changed since the checkpoint (same size, other time)",
				  f->path);
	return 0;
}

int ck_examine_changed(const struct ck_manifest *m, struct ck_err *err)
{
	for (size_t i = 0; i < m->nfiles; i++) {
		if (changed(&m->files[i], err))
			return -1;
	}
	return 0;
}
