/* store_gen.c - generations of one key: list, begin, commit, abandon, prune. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/base/log.h"
#include "manifest.h"
#include "store_int.h"

#define GEN_LAST 999999999u

static int newest_first(const void *a, const void *b)
{
	const struct ck_gen *x = a, *y = b;
	return x->number < y->number ? 1 : x->number > y->number ? -1 : 0;
}

static void fill_gen(int fd, uint32_t number, int tmp, struct ck_gen *g)
{
	char manifest[CK_GEN_MAX + sizeof "/" CK_MANIFEST_NAME];
	struct stat st;
	memset(g, 0, sizeof *g);
	g->number = number;
	ck_gen_name(number, tmp, g->name);
	snprintf(manifest, sizeof manifest, "%s/%s", g->name, CK_MANIFEST_NAME);
	if (fstatat(fd, manifest, &st, AT_SYMLINK_NOFOLLOW) == 0)
		g->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
}

/* Generations with @tmp or without it, unsorted. */
static int scan(int fd, int want_tmp, struct ck_gen **list, size_t *n)
{
	DIR *d = ck_store_readdir(fd);
	if (!d)
		return -1;
	size_t room = 0;
	struct dirent *e;
	*list = NULL;
	*n = 0;
	while ((errno = 0, e = readdir(d))) {
		int tmp;
		struct stat st;
		uint32_t number = ck_gen_parse(e->d_name, &tmp);
		if (!number || tmp != want_tmp || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    !S_ISDIR(st.st_mode))
			continue;
		if (*n == room) {
			room = room ? 2 * room : 8;
			void *p = reallocarray(*list, room, sizeof **list);
			if (!p)
				break;
			*list = p;
		}
		fill_gen(fd, number, tmp, &(*list)[(*n)++]);
	}
	int keep = errno;
	closedir(d);
	if (!keep)
		return 0;
	free(*list);
	*list = NULL;
	*n = 0;
	errno = keep;
	return -1;
}

int ck_store_list(const struct ck_store *s, struct ck_gen **list, size_t *n, struct ck_err *err)
{
	if (scan(s->fd, 0, list, n))
		return ck_err_errno(err, "cannot list %s", s->path);
	if (*n)
		qsort(*list, *n, sizeof **list, newest_first);
	return 0;
}

int ck_store_gen_open(const struct ck_store *s, uint32_t number, struct ck_err *err)
{
	char name[CK_GEN_MAX], path[PATH_MAX + CK_GEN_MAX];
	ck_gen_name(number, 0, name);
	snprintf(path, sizeof path, "%s/%s", s->path, name);
	return ck_store_open_dir(s->fd, name, path, err);
}

static int owned(const struct ck_store *s, struct ck_err *err)
{
	return s->owner ? 0 : ck_err_set(err, CK_EINVAL, 0, "%s was not opened to be changed", s->path);
}

/* The hint counts too: a number must not come back after its generation was removed. */
static uint32_t hinted(const struct ck_store *s)
{
	char text[64];
	int tmp, fd = openat(s->fd, "LATEST", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n < 0 ? 0 : n] = 0;
	text[strcspn(text, "\n")] = 0;
	uint32_t number = ck_gen_parse(text, &tmp);
	return tmp ? 0 : number;
}

static void write_hint(const struct ck_store *s, uint32_t number)
{
	char name[CK_GEN_MAX], line[CK_GEN_MAX + 1];
	ck_gen_name(number, 0, name);
	int n = snprintf(line, sizeof line, "%s\n", name);
	unlinkat(s->fd, "LATEST.tmp", 0);
	int fd = openat(s->fd, "LATEST.tmp", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	int bad = n < 0 || ck_write_full(fd, line, (size_t)n);
	close(fd);
	if (bad || renameat(s->fd, "LATEST.tmp", s->fd, "LATEST"))
		unlinkat(s->fd, "LATEST.tmp", 0);
}

int ck_store_begin(struct ck_store *s, int *dirfd, uint32_t *number, struct ck_err *err)
{
	if (owned(s, err))
		return -1;
	if (s->gen)
		return ck_err_set(err, CK_EINVAL, 0, "a generation is begun already: %s", s->begun_path);
	uint32_t highest = hinted(s);
	struct ck_gen *list;
	size_t n;
	for (int tmp = 0; tmp < 2; tmp++) {
		if (scan(s->fd, tmp, &list, &n))
			return ck_err_errno(err, "cannot list %s", s->path);
		for (size_t i = 0; i < n; i++) {
			if (list[i].number > highest)
				highest = list[i].number;
			/* we hold the lock: whoever wrote it is gone. What resists stays, unlisted. */
			if (tmp && ck_store_remove_tree(s->fd, list[i].name))
				ck_debug("cannot remove %s/%s: %s", s->path, list[i].name, strerror(errno));
		}
		free(list);
	}
	if (highest >= GEN_LAST)
		return ck_err_set(err, CK_EINVAL, 0, "no generation number left in %s; remove old ones", s->path);
	char name[CK_GEN_MAX];
	ck_gen_name(highest + 1, 1, name);
	if (mkdirat(s->fd, name, 0700))
		return ck_err_errno(err, "cannot make %s/%s", s->path, name);
	snprintf(s->begun_path, sizeof s->begun_path, "%.*s/%s", (int)(PATH_MAX - CK_GEN_MAX - 2), s->path, name);
	s->gen_fd = ck_store_open_dir(s->fd, name, s->begun_path, err);
	if (s->gen_fd < 0) {
		unlinkat(s->fd, name, AT_REMOVEDIR);
		return -1;
	}
	s->gen = highest + 1;
	*dirfd = s->gen_fd;
	if (number)
		*number = s->gen;
	return 0;
}

const char *ck_store_begun_path(const struct ck_store *s)
{
	return s->gen ? s->begun_path : NULL;
}

static void forget_begun(struct ck_store *s)
{
	if (s->gen_fd >= 0)
		close(s->gen_fd);
	s->gen_fd = -1;
	s->gen = 0;
}

int ck_store_commit(struct ck_store *s, struct ck_err *err)
{
	struct stat st;
	char from[CK_GEN_MAX], to[CK_GEN_MAX];
	if (!s->gen)
		return ck_err_set(err, CK_EINVAL, 0, "no generation is begun in %s", s->path);
	if (fstatat(s->gen_fd, CK_MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return ck_err_set(err, CK_EINVAL, 0, "%s has no manifest", s->begun_path);
	if (ck_store_sync_tree(s->gen_fd))
		return ck_err_errno(err, "cannot sync %s", s->begun_path);
	ck_gen_name(s->gen, 1, from);
	ck_gen_name(s->gen, 0, to);
	if (renameat(s->fd, from, s->fd, to))
		return ck_err_errno(err, "cannot rename %s", s->begun_path);
	if (fsync(s->fd)) {
		/* not known to be on the disk: take it back, so that what is listed is what is committed */
		int sys = errno;
		renameat(s->fd, to, s->fd, from);
		errno = sys;
		return ck_err_errno(err, "cannot sync %s", s->path);
	}
	write_hint(s, s->gen);
	forget_begun(s);
	return 0;
}

void ck_store_abandon(struct ck_store *s)
{
	char name[CK_GEN_MAX];
	if (!s->gen)
		return;
	ck_gen_name(s->gen, 1, name);
	if (ck_store_remove_tree(s->fd, name))
		ck_debug("cannot remove %s: %s", s->begun_path, strerror(errno));
	forget_begun(s);
}

int ck_store_remove(struct ck_store *s, uint32_t number, struct ck_err *err)
{
	char from[CK_GEN_MAX], to[CK_GEN_MAX];
	if (owned(s, err))
		return -1;
	ck_gen_name(number, 0, from);
	ck_gen_name(number, 1, to);
	/* first out of the list in one step, then file by file */
	if (renameat(s->fd, from, s->fd, to)) {
		if (errno == ENOENT)
			return ck_err_set(err, CK_ENOCKPT, 0, "%s/%s does not exist", s->path, from);
		return ck_err_errno(err, "cannot rename %s/%s", s->path, from);
	}
	if (ck_store_remove_tree(s->fd, to))
		return ck_err_errno(err, "cannot remove %s/%s", s->path, to);
	return 0;
}

/* 1 if the generation opens safely and @valid says so. */
static int gen_valid(const struct ck_store *s, uint32_t number, int (*valid)(int, void *), void *arg)
{
	struct ck_err err;
	int fd = ck_store_gen_open(s, number, &err);
	if (fd < 0)
		return 0;
	int ok = valid ? valid(fd, arg) : 1;
	close(fd);
	return ok;
}

int ck_store_prune(struct ck_store *s, unsigned keep, int (*valid)(int dirfd, void *arg), void *arg,
		   struct ck_err *err)
{
	struct ck_gen *list;
	size_t n, i;
	if (owned(s, err))
		return -1;
	if (!keep)
		return ck_err_set(err, CK_EINVAL, 0, "at least one checkpoint must be kept");
	if (ck_store_list(s, &list, &n, err))
		return -1;
	unsigned good = 0;
	for (i = 0; i < n && good < keep; i++)
		good += gen_valid(s, list[i].number, valid, arg) != 0;
	int rc = 0;
	for (; rc == 0 && good == keep && i < n; i++)
		rc = ck_store_remove(s, list[i].number, err);
	free(list);
	return rc;
}
