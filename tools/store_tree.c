/* store_tree.c - whole folders of the store: who can write them, sync them, remove them.
 * All by descriptor; no name is ever resolved through a symbolic link. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store_int.h"

#define DEPTH_MAX 4	/* a generation holds files and criu/; anything deeper is not ours */
#define ABOVE_MAX 256	/* folders above a store */

int ck_store_check_dir(int fd, const char *path, struct ck_err *err)
{
	struct stat st;
	if (fstat(fd, &st))
		return ck_err_errno(err, "cannot look at %s", path);
	if (st.st_uid != geteuid())
		return ck_err_set(err, CK_EUNSAFE, 0,
				  "%s belongs to user %u, not to you (%u): a checkpoint in it could be forged; set "
				  "CKSHIM_DIR to a folder of your own",
				  path, (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return ck_err_set(err, CK_EUNSAFE, 0,
				  "%s (owner %u, mode %04o) can be written by others: a checkpoint in it could be "
				  "forged; chmod go-w '%s'",
				  path, (unsigned)st.st_uid, (unsigned)st.st_mode & 07777, path);
	return 0;
}

int ck_store_check_above(int fd, struct ck_err *err)
{
	int cur = fd, rc = 0;
	struct stat at;
	if (fstat(fd, &at))
		return ck_err_errno(err, "cannot look at the store");
	for (int i = 0; rc == 0 && i < ABOVE_MAX; i++) {
		struct stat up;
		int next = openat(cur, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (cur != fd)
			close(cur);
		cur = next;
		/* what we may not look through is for others to change only if they own it */
		if (next < 0 || fstat(next, &up))
			break;
		if (up.st_dev == at.st_dev && up.st_ino == at.st_ino)
			break; /* the root's parent is itself */
		if ((up.st_mode & S_IWOTH) && !(up.st_mode & S_ISVTX)) {
			char link[64], path[PATH_MAX];
			snprintf(link, sizeof link, "/proc/self/fd/%d", next);
			ssize_t n = readlink(link, path, sizeof path - 1);
			path[n < 0 ? 0 : n] = 0;
			rc = ck_err_set(err, CK_EUNSAFE, 0,
					"%s, above the store (owner %u, mode %04o), can be written by everyone: the store "
					"could be replaced; chmod o-w '%s', or set CKSHIM_DIR to another place",
					path, (unsigned)up.st_uid, (unsigned)up.st_mode & 07777, path);
		}
		at = up;
	}
	if (cur >= 0 && cur != fd)
		close(cur);
	return rc;
}

int ck_store_open_dir(int at, const char *name, const char *path, struct ck_err *err)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		struct stat st;
		int sys = errno;
		if (sys == ENOENT)
			return ck_err_set(err, CK_ENOCKPT, 0, "%s does not exist", path);
		if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
			return ck_err_set(err, CK_EUNSAFE, 0,
					  "%s is a symbolic link; set CKSHIM_DIR to the folder itself", path);
		return ck_err_set(err, CK_ESYS, sys, "cannot open %s", path);
	}
	if (ck_store_check_dir(fd, path, err)) {
		close(fd);
		return -1;
	}
	return fd;
}

int ck_store_open_root(const char *store, struct ck_err *err)
{
	int fd = ck_store_open_dir(AT_FDCWD, store, store, err);
	if (fd >= 0 && ck_store_check_above(fd, err)) {
		close(fd);
		return -1;
	}
	return fd;
}

DIR *ck_store_readdir(int fd)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* its own position */
	DIR *d = again < 0 ? NULL : fdopendir(again);
	if (!d && again >= 0)
		close(again);
	return d;
}

static int dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Empty the folder @fd, which is on device @dev. Never leaves that device, never follows a link. */
static int empty_dir(int fd, dev_t dev, int depth)
{
	DIR *d = ck_store_readdir(fd);
	if (!d)
		return -1;
	int rc = 0;
	struct dirent *e;
	while (rc == 0 && (errno = 0, e = readdir(d))) {
		struct stat st;
		if (dots(e->d_name))
			continue;
		if (unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		rc = -1;
		if (errno != EISDIR && errno != EPERM)
			break;
		int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0)
			break;
		if (fstat(sub, &st) == 0 && st.st_dev == dev && depth < DEPTH_MAX &&
		    empty_dir(sub, dev, depth + 1) == 0 && unlinkat(fd, e->d_name, AT_REMOVEDIR) == 0)
			rc = 0;
		int keep = errno;
		close(sub);
		errno = keep;
	}
	if (rc == 0 && errno)
		rc = -1;
	int keep = errno;
	closedir(d);
	errno = keep;
	return rc;
}

int ck_store_remove_tree(int at, const char *name)
{
	struct stat st;
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int rc = fstat(fd, &st);
	/* some file systems skip names while others are removed: look again if some were left */
	for (int i = 0; rc == 0 && i < 3; i++) {
		rc = empty_dir(fd, st.st_dev, 0);
		if (rc == 0 && unlinkat(at, name, AT_REMOVEDIR) == 0)
			break;
		if (rc == 0 && (i == 2 || (errno != ENOTEMPTY && errno != EEXIST)))
			rc = -1;
	}
	int keep = errno;
	close(fd);
	errno = keep;
	return rc;
}

static int sync_tree(int fd, int depth)
{
	DIR *d = ck_store_readdir(fd);
	if (!d)
		return -1;
	int rc = 0;
	struct dirent *e;
	while (rc == 0 && (errno = 0, e = readdir(d))) {
		struct stat st;
		if (dots(e->d_name))
			continue;
		/* O_NONBLOCK: a FIFO must not hold us up; it is refused below */
		int sub = openat(fd, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (sub < 0 || fstat(sub, &st)) {
			rc = -1;
		} else if (S_ISREG(st.st_mode)) {
			rc = fsync(sub);
		} else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
			rc = sync_tree(sub, depth + 1);
		} else {
			errno = EINVAL;
			rc = -1;
		}
		int keep = errno;
		if (sub >= 0)
			close(sub);
		errno = keep;
	}
	if (rc == 0 && errno)
		rc = -1;
	int keep = errno;
	closedir(d);
	errno = keep;
	return rc ? rc : fsync(fd);
}

int ck_store_sync_tree(int fd)
{
	return sync_tree(fd, 0);
}
