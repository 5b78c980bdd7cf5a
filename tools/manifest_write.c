/* manifest_write.c - takes stock of a generation's files and writes manifest.json. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "../shim/base/image.h"
#include "../shim/base/io.h"
#include "manifest_int.h"

#define BUFFER (1u << 20)
#define FOOTER 128 /* of a device image: IMAGE.md */

int ck_mf_hash_file(int fd, char hex[2 * CK_HASH_LEN + 1])
{
	struct ck_hash h;
	uint8_t hash[CK_HASH_LEN];
	off_t at = 0;
	ssize_t n;
	char *buf = malloc(BUFFER);
	if (!buf)
		return -1;
	ck_hash_init(&h);
	while ((n = pread(fd, buf, BUFFER, at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		ck_hash_update(&h, buf, (size_t)n);
		at += n;
	}
	int keep = errno;
	free(buf);
	errno = keep;
	if (n < 0)
		return -1;
	ck_hash_final(&h, hash);
	ck_hash_hex(hash, hex);
	return 0;
}

int ck_mf_hash_footer(int fd, char hex[2 * CK_HASH_LEN + 1], struct ck_err *err)
{
	struct stat st;
	uint8_t footer[FOOTER], hash[CK_HASH_LEN];
	if (fstat(fd, &st))
		return ck_err_errno(err, "cannot look at it");
	if (st.st_size < FOOTER)
		return ck_err_set(err, CK_EDAMAGED, 0, "too short");
	if (ck_pread_full(fd, footer, sizeof footer, st.st_size - FOOTER))
		return ck_err_errno(err, "cannot read it");
	ck_hash128(footer, sizeof footer, hash);
	ck_hash_hex(hash, hex);
	return 0;
}

/* Checksum of the file @fd into @im: of all of it, or of what pins it. */
static int take_stock(int fd, struct ck_mf_image *im, struct ck_err *err)
{
	if (!ck_mf_is_device(im->name))
		return ck_mf_hash_file(fd, im->xxh3) ? ck_err_errno(err, "cannot read %s", im->name) : 0;
	struct ck_image_reader *r;
	if (ck_image_open(fd, &r, err))
		return ck_err_wrap(err, "%s", im->name);
	ck_image_close(r);
	im->footer_only = 1;
	return ck_mf_hash_footer(fd, im->xxh3, err) ? ck_err_wrap(err, "%s", im->name) : 0;
}

static int add_image(struct ck_manifest *m, int fd, const char *name, uint64_t size, struct ck_err *err)
{
	void *more = reallocarray(m->images, m->nimages + 1, sizeof *m->images);
	if (!more)
		return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	m->images = more;
	struct ck_mf_image *im = &m->images[m->nimages];
	memset(im, 0, sizeof *im);
	im->name = strdup(name);
	im->size = size;
	if (!im->name)
		return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	m->nimages++;
	return take_stock(fd, im, err);
}

static int walk(struct ck_manifest *m, int dirfd, const char *prefix, int depth, struct ck_err *err);

/* One entry of the folder @dirfd, whose own name is @prefix ("" or "criu/"). */
static int take_entry(struct ck_manifest *m, int dirfd, const char *prefix, const char *entry, int depth,
		      struct ck_err *err)
{
	char name[CK_MF_NAME_MAX + 1];
	struct stat st;
	int n = snprintf(name, sizeof name, "%s%s", prefix, entry);
	if (n < 0 || (size_t)n >= sizeof name || !ck_mf_name_ok(name))
		return ck_err_set(err, CK_EINVAL, 0, "a checkpoint cannot hold a file named %.200s%.200s", prefix,
				  entry);
	int fd = openat(dirfd, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return ck_err_errno(err, "cannot open %s", name);
	int rc;
	if (fstat(fd, &st)) {
		rc = ck_err_errno(err, "cannot look at %s", name);
	} else if (S_ISREG(st.st_mode)) {
		rc = add_image(m, fd, name, (uint64_t)st.st_size, err);
	} else if (S_ISDIR(st.st_mode) && depth < CK_MF_DEPTH_MAX && (size_t)n + 1 < sizeof name) {
		strcat(name, "/");
		rc = walk(m, fd, name, depth + 1, err);
	} else {
		rc = ck_err_set(err, CK_EINVAL, 0, "a checkpoint holds files only, not %s", name);
	}
	close(fd);
	return rc;
}

static int walk(struct ck_manifest *m, int dirfd, const char *prefix, int depth, struct ck_err *err)
{
	int again = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	if (!d) {
		ck_err_errno(err, "cannot list the checkpoint");
		if (again >= 0)
			close(again);
		return -1;
	}
	int rc = 0;
	struct dirent *e;
	while (rc == 0 && (errno = 0, e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    (!prefix[0] && strcmp(e->d_name, CK_MANIFEST_NAME) == 0))
			continue;
		rc = take_entry(m, dirfd, prefix, e->d_name, depth, err);
	}
	if (rc == 0 && errno)
		rc = ck_err_errno(err, "cannot list the checkpoint");
	closedir(d);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct ck_mf_image *)a)->name, ((const struct ck_mf_image *)b)->name);
}

/* ---- to JSON ---- */

/* Each puts one member, and steals what it is given; a failure leaves the object short of it, which
 * *bad remembers. */
static void put(json_t *o, const char *key, json_t *v, int *bad)
{
	*bad |= json_object_set_new(o, key, v) != 0;
}

static void put_text(json_t *o, const char *key, const char *text, int *bad)
{
	if (text)
		put(o, key, ck_text_encode(text), bad);
}

static void put_int(json_t *o, const char *key, int64_t n, int *bad)
{
	put(o, key, json_integer(n), bad);
}

static json_t *program_json(const struct ck_manifest *m, int *bad)
{
	json_t *o = json_object(), *argv = json_array();
	put_text(o, "exe", m->exe, bad);
	for (char **a = m->argv; a && *a; a++)
		*bad |= json_array_append_new(argv, ck_text_encode(*a)) != 0;
	put(o, "argv", argv, bad);
	put_text(o, "cwd", m->cwd, bad);
	return o;
}

static json_t *streams_json(const struct ck_manifest *m, int *bad)
{
	static const char *const name[] = { "stdin", "stdout", "stderr" };
	json_t *o = json_object();
	for (int i = 0; i < 3; i++) {
		json_t *s = json_object();
		put_text(s, "kind", m->stream[i].kind, bad);
		put_text(s, "key", m->stream[i].key, bad);
		put(o, name[i], s, bad);
	}
	return o;
}

static json_t *processes_json(const struct ck_manifest *m, int *bad)
{
	json_t *list = json_array();
	for (size_t i = 0; i < m->nprocesses; i++) {
		const struct ck_mf_process *p = &m->processes[i];
		json_t *o = json_object();
		put_int(o, "pid", p->pid, bad);
		put_int(o, "ppid", p->ppid, bad);
		put_text(o, "comm", p->comm, bad);
		put_text(o, "exe", p->exe, bad);
		*bad |= json_array_append_new(list, o) != 0;
	}
	return list;
}

static json_t *files_json(const struct ck_manifest *m, int *bad)
{
	json_t *list = json_array();
	for (size_t i = 0; i < m->nfiles; i++) {
		const struct ck_mf_file *f = &m->files[i];
		json_t *o = json_object();
		put_int(o, "pid", f->pid, bad);
		put_int(o, "fd", f->fd, bad);
		put_text(o, "path", f->path, bad);
		put_int(o, "dev", (int64_t)f->dev, bad);
		put_int(o, "ino", (int64_t)f->ino, bad);
		put_int(o, "size", (int64_t)f->size, bad);
		put_int(o, "mtime_ns", f->mtime_ns, bad);
		put_int(o, "flags", f->flags, bad);
		*bad |= json_array_append_new(list, o) != 0;
	}
	return list;
}

static json_t *images_json(const struct ck_manifest *m, int *bad)
{
	json_t *list = json_array();
	for (size_t i = 0; i < m->nimages; i++) {
		const struct ck_mf_image *im = &m->images[i];
		json_t *o = json_object();
		put_text(o, "name", im->name, bad);
		put_int(o, "size", (int64_t)im->size, bad);
		put_text(o, im->footer_only ? "footer_xxh3" : "xxh3", im->xxh3, bad);
		*bad |= json_array_append_new(list, o) != 0;
	}
	return list;
}

static void put_created(json_t *o, int64_t ns, int *bad)
{
	char text[64];
	time_t t = (time_t)(ns / 1000000000);
	struct tm tm;
	if (gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
		put_text(o, "created", text, bad);
	put_int(o, "created_ns", ns, bad);
}

json_t *ck_manifest_json(const struct ck_manifest *m)
{
	int bad = 0;
	char hex[2 * CK_HASH_LEN + 1];
	json_t *o = json_object(), *clocks = json_object();
	put_int(o, "format", CK_MANIFEST_VERSION, &bad);
	put_text(o, "ckshim", m->version, &bad);
	put_created(o, m->created_ns, &bad);
	put_text(o, "host", m->host, &bad);
	put_text(o, "kernel", m->kernel, &bad);
	put(o, "program", program_json(m, &bad), &bad);
	put_text(o, "job", m->job, &bad);
	put_text(o, "reason", m->reason, &bad);
	put_int(o, "root_pid", m->root_pid, &bad);
	put_text(o, "rundir", m->rundir, &bad);
	put_int(clocks, "monotonic_ns", m->monotonic_ns, &bad);
	put_int(clocks, "boottime_ns", m->boottime_ns, &bad);
	put(o, "clocks", clocks, &bad);
	put(o, "streams", streams_json(m, &bad), &bad);
	put(o, "processes", processes_json(m, &bad), &bad);
	put(o, "gpu", m->gpu ? json_incref(m->gpu) : json_array(), &bad);
	put(o, "files", files_json(m, &bad), &bad);
	put(o, "images", images_json(m, &bad), &bad);
	if (bad || ck_manifest_checksum(o, hex)) {
		json_decref(o);
		return NULL;
	}
	put(o, "xxh3", json_string(hex), &bad);
	if (bad) {
		json_decref(o);
		return NULL;
	}
	return o;
}

/* ---- to the file ---- */

static int fill_in(struct ck_manifest *m, struct ck_err *err)
{
	struct utsname u;
	if (!m->exe || !m->argv || !m->argv[0] || !m->cwd || !m->job || m->root_pid <= 0)
		return ck_err_set(err, CK_EINVAL, 0, "manifest without program, job or pid");
	if (uname(&u))
		return ck_err_errno(err, "uname");
	if (!m->version && ck_manifest_str(&m->version, CK_VERSION, err))
		return -1;
	if (!m->host && ck_manifest_str(&m->host, u.nodename, err))
		return -1;
	if (!m->kernel && ck_manifest_str(&m->kernel, u.release, err))
		return -1;
	if (!m->created_ns) {
		struct timespec t;
		clock_gettime(CLOCK_REALTIME, &t);
		m->created_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
	}
	return 0;
}

static void drop_images(struct ck_manifest *m)
{
	for (size_t i = 0; i < m->nimages; i++)
		free(m->images[i].name);
	free(m->images);
	m->images = NULL;
	m->nimages = 0;
}

static int write_text(int gen_dirfd, const char *text, struct ck_err *err)
{
	size_t len = strlen(text);
	if (len > CK_MANIFEST_MAX)
		return ck_err_set(err, CK_EINVAL, 0, "the manifest would exceed %u MiB", CK_MANIFEST_MAX >> 20);
	int fd = openat(gen_dirfd, CK_MANIFEST_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return ck_err_errno(err, "cannot make " CK_MANIFEST_NAME);
	int rc = 0;
	if (ck_write_full(fd, text, len))
		rc = ck_err_errno(err, "cannot write " CK_MANIFEST_NAME);
	if (close(fd) && rc == 0)
		rc = ck_err_errno(err, "cannot write " CK_MANIFEST_NAME);
	if (rc)
		unlinkat(gen_dirfd, CK_MANIFEST_NAME, 0);
	return rc;
}

int ck_manifest_write(struct ck_manifest *m, int gen_dirfd, struct ck_err *err)
{
	drop_images(m);
	if (fill_in(m, err) || walk(m, gen_dirfd, "", 1, err))
		return -1;
	if (m->nimages)
		qsort(m->images, m->nimages, sizeof *m->images, by_name);
	json_t *o = ck_manifest_json(m);
	char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
	json_decref(o);
	if (!text)
		return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	/* what we could not read back must not be committed */
	struct ck_manifest again;
	int rc = ck_manifest_parse(&again, text, strlen(text), err);
	if (rc) {
		err->code = CK_EINVAL;
		ck_err_wrap(err, "manifest");
	} else {
		ck_manifest_free(&again);
		rc = write_text(gen_dirfd, text, err);
	}
	free(text);
	return rc;
}
