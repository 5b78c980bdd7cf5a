/* store.c - keys: open them, own them, list them. Generations are in store_gen.c. */
#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/base/log.h"
#include "store_int.h"

/* mkdir -p, all of it private. Whether what was there is safe is the caller's check. */
static int make_path(const char *path, struct ck_err *err)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	if (len >= sizeof part)
		return ck_err_set(err, CK_EINVAL, 0, "path of the store is too long: %.200s...", path);
	for (size_t i = 1; i <= len; i++) {
		if (i < len && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdir(part, 0700) == 0 || errno == EEXIST)
			continue;
		int sys = errno;
		struct stat st; /* an automounter may say EROFS or EACCES for what is there */
		if (stat(part, &st) == 0 && S_ISDIR(st.st_mode))
			continue;
		errno = sys;
		return ck_err_errno(err, "cannot make the store %s (set CKSHIM_DIR to a folder you can write)", path);
	}
	return 0;
}

static void read_owner(int fd, char *text, size_t cap)
{
	ssize_t n = pread(fd, text, cap - 1, 0);
	text[n < 0 ? 0 : n] = 0;
	text[strcspn(text, "\n")] = 0;
}

static int take_lock(struct ck_store *s, struct ck_err *err)
{
	struct stat st;
	s->lock_fd = openat(s->fd, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (s->lock_fd < 0 || fstat(s->lock_fd, &st))
		return ck_err_errno(err, "cannot open %s/.lock", s->path);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return ck_err_set(err, CK_EUNSAFE, 0, "%s/.lock is not a file of yours; remove it", s->path);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB)) {
		char who[128];
		if (errno == EWOULDBLOCK) {
			read_owner(s->lock_fd, who, sizeof who);
			return ck_err_set(err, CK_EBUSY, 0,
					  "%s is in use by another run (%s); end that one, or give this one another "
					  "CKSHIM_JOB",
					  s->path, who);
		}
		/* Lustre mounted without flock, NFS without its lock daemon: Slurm's job ids keep runs apart
		 * well enough, so no reason to do without checkpoints. */
		if (errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOLCK && errno != EINVAL)
			return ck_err_errno(err, "cannot lock %s", s->path);
		ck_debug("no locks on this file system: %s", s->path);
	}
	char who[128], host[64] = "?";
	gethostname(host, sizeof host - 1);
	int n = snprintf(who, sizeof who, "pid %d on %s\n", (int)getpid(), host);
	/* only for the message above */
	if (ftruncate(s->lock_fd, 0) == 0 && n > 0 && ck_pwrite_full(s->lock_fd, who, (size_t)n, 0))
		ck_debug("cannot write %s/.lock", s->path);
	s->owner = 1;
	return 0;
}

static int open_key(struct ck_store *s, const char *store, const char *key, int flags, struct ck_err *err)
{
	if ((flags & CK_STORE_CREATE) && make_path(store, err))
		return -1;
	int root = ck_store_open_root(store, err);
	if (root < 0)
		return -1;
	if ((flags & CK_STORE_CREATE) && mkdirat(root, key, 0700) && errno != EEXIST) {
		ck_err_errno(err, "cannot make %s", s->path);
		close(root);
		return -1;
	}
	s->fd = ck_store_open_dir(root, key, s->path, err);
	close(root);
	if (s->fd < 0)
		return -1;
	return (flags & CK_STORE_OWN) ? take_lock(s, err) : 0;
}

int ck_store_open(const char *store, const char *key, int flags, struct ck_store **out,
		  struct ck_err *err)
{
	*out = NULL;
	size_t job_len;
	if (store[0] != '/' || !ck_key_parse(key, &job_len))
		return ck_err_set(err, CK_EINVAL, 0, "not a checkpoint's folder: %.200s/%.200s", store, key);
	struct ck_store *s = calloc(1, sizeof *s);
	if (!s)
		return ck_err_errno(err, "cannot open the store");
	s->fd = s->lock_fd = s->gen_fd = -1;
	int n = snprintf(s->path, sizeof s->path, "%s/%s", store, key);
	if (n < 0 || (size_t)n >= sizeof s->path - CK_GEN_MAX) {
		free(s);
		return ck_err_set(err, CK_EINVAL, 0, "path of the store is too long: %.200s...", store);
	}
	if (open_key(s, store, key, flags, err)) {
		ck_store_close(s);
		return -1;
	}
	*out = s;
	return 0;
}

void ck_store_close(struct ck_store *s)
{
	if (!s)
		return;
	if (s->gen_fd >= 0)
		close(s->gen_fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

const char *ck_store_path(const struct ck_store *s)
{
	return s->path;
}

int ck_store_fd(const struct ck_store *s)
{
	return s->fd;
}

int ck_store_free_bytes(const struct ck_store *s, uint64_t *bytes, struct ck_err *err)
{
	struct statvfs v;
	if (fstatvfs(s->fd, &v))
		return ck_err_errno(err, "cannot ask for free space at %s", s->path);
	if (__builtin_mul_overflow((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, bytes))
		*bytes = UINT64_MAX;
	return 0;
}

/* ---- all keys ---- */

static int newer_first(const void *a, const void *b)
{
	const struct ck_store_key_info *x = a, *y = b;
	if (x->mtime_ns != y->mtime_ns)
		return x->mtime_ns < y->mtime_ns ? 1 : -1;
	return strcmp(x->key, y->key);
}

/* Fill @k from the key folder @name. 1: it has a checkpoint; 0: none, or gone; -1 with err. */
static int look_at_key(const char *store, const char *name, struct ck_store_key_info *k, struct ck_err *err)
{
	struct ck_store *s;
	struct ck_gen *gens;
	size_t n;
	if (ck_store_open(store, name, 0, &s, err))
		return err->code == CK_ENOCKPT ? 0 : -1;
	int rc = ck_store_list(s, &gens, &n, err);
	ck_store_close(s);
	if (rc)
		return -1;
	if (n) {
		memset(k, 0, sizeof *k);
		strcpy(k->key, name); /* ck_key_parse saw to its length */
		k->newest = gens[0].number;
		k->mtime_ns = gens[0].mtime_ns;
	}
	free(gens);
	return n > 0;
}

static int scan_keys(DIR *d, const char *store, const char *job, struct ck_store_key_info **list, size_t *n,
		     struct ck_err *err)
{
	size_t room = 0;
	struct dirent *e;
	while ((errno = 0, e = readdir(d))) {
		size_t job_len;
		if (!ck_key_parse(e->d_name, &job_len))
			continue;
		if (job && (strlen(job) != job_len || memcmp(job, e->d_name, job_len)))
			continue;
		if (*n == room) {
			room = room ? 2 * room : 16;
			void *p = reallocarray(*list, room, sizeof **list);
			if (!p)
				return ck_err_errno(err, "cannot list %s", store);
			*list = p;
		}
		int got = look_at_key(store, e->d_name, &(*list)[*n], err);
		if (got < 0)
			return -1;
		*n += (size_t)got;
	}
	return errno ? ck_err_errno(err, "cannot list %s", store) : 0;
}

int ck_store_keys(const char *store, const char *job, struct ck_store_key_info **list, size_t *n,
		  struct ck_err *err)
{
	*list = NULL;
	*n = 0;
	int root = ck_store_open_root(store, err);
	if (root < 0)
		return err->code == CK_ENOCKPT ? 0 : -1;
	DIR *d = ck_store_readdir(root);
	int rc = d ? scan_keys(d, store, job, list, n, err) : ck_err_errno(err, "cannot list %s", store);
	if (d)
		closedir(d);
	close(root);
	if (rc) {
		free(*list);
		*list = NULL;
		*n = 0;
		return -1;
	}
	if (*n)
		qsort(*list, *n, sizeof **list, newer_first);
	return 0;
}
