/* manifest_read.c - reads manifest.json and trusts nothing in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "manifest_int.h"

#define PID_LIMIT 4194304 /* the kernel's */

static int damaged(struct ck_err *err, const char *what)
{
	return ck_err_set(err, CK_EDAMAGED, 0, "damaged " CK_MANIFEST_NAME ": %s", what);
}

/* Before the parser allocates or recurses: how deep, how many. */
static int check_shape(const char *text, size_t len, struct ck_err *err)
{
	size_t depth = 0, tokens = 0;
	int in_string = 0;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = 0;
			continue;
		}
		if (c == '"')
			in_string = 1;
		if (c == '[' || c == '{')
			depth++;
		if ((c == ']' || c == '}') && depth)
			depth--;
		tokens += c == '[' || c == '{' || c == ',';
		if (depth > CK_MANIFEST_DEPTH || tokens > CK_MANIFEST_TOKENS)
			return damaged(err, "too large or too deep");
	}
	return 0;
}

/* A member that is an integer within [min, max]. */
static int get_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out,
		   struct ck_err *err)
{
	const json_t *v = json_object_get(o, key);
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return damaged(err, key);
	*out = json_integer_value(v);
	return 0;
}

static int get_pid(const json_t *o, const char *key, int min, pid_t *out, struct ck_err *err)
{
	int64_t n;
	if (get_int(o, key, min, PID_LIMIT, &n, err))
		return -1;
	*out = (pid_t)n;
	return 0;
}

/* A string into *@field; NULL if it is absent and may be. */
static int get_text(const json_t *o, const char *key, int required, char **field, struct ck_err *err)
{
	const json_t *v = json_object_get(o, key);
	if (!v && !required)
		return 0;
	if (!json_is_string(v))
		return damaged(err, key);
	*field = ck_text_decode(v);
	return *field ? 0 : damaged(err, key);
}

/* A member that is an array (length in *@n) or object of the right kind. */
static const json_t *get_array(const json_t *o, const char *key, size_t *n, struct ck_err *err)
{
	const json_t *v = json_object_get(o, key);
	if (!json_is_array(v)) {
		damaged(err, key);
		return NULL;
	}
	*n = json_array_size(v);
	return v;
}

static int read_program(struct ck_manifest *m, const json_t *root, struct ck_err *err)
{
	const json_t *p = json_object_get(root, "program");
	size_t n;
	if (get_text(p, "exe", 1, &m->exe, err) || get_text(p, "cwd", 1, &m->cwd, err))
		return -1;
	const json_t *argv = get_array(p, "argv", &n, err);
	if (!argv)
		return -1;
	m->argv = calloc(n + 1, sizeof *m->argv);
	if (!m->argv)
		return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	for (size_t i = 0; i < n; i++) {
		m->argv[i] = ck_text_decode(json_array_get(argv, i));
		if (!m->argv[i])
			return damaged(err, "argv");
	}
	return n && m->exe[0] == '/' && m->cwd[0] == '/' ? 0 : damaged(err, "program");
}

static int read_streams(struct ck_manifest *m, const json_t *root, struct ck_err *err)
{
	static const char *const name[] = { "stdin", "stdout", "stderr" };
	const json_t *s = json_object_get(root, "streams");
	for (int i = 0; i < 3; i++) {
		const json_t *o = json_object_get(s, name[i]);
		if (!json_is_object(o))
			return damaged(err, "streams");
		if (get_text(o, "kind", 0, &m->stream[i].kind, err) || get_text(o, "key", 0, &m->stream[i].key, err))
			return -1;
	}
	return 0;
}

static int read_processes(struct ck_manifest *m, const json_t *root, struct ck_err *err)
{
	size_t n;
	const json_t *list = get_array(root, "processes", &n, err);
	if (!list)
		return -1;
	m->processes = calloc(n + 1, sizeof *m->processes);
	if (!m->processes)
		return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(list, i);
		struct ck_mf_process *p = &m->processes[m->nprocesses++];
		if (get_pid(o, "pid", 1, &p->pid, err) || get_pid(o, "ppid", 0, &p->ppid, err) ||
		    get_text(o, "comm", 1, &p->comm, err) || get_text(o, "exe", 1, &p->exe, err))
			return -1;
	}
	return 0;
}

static int read_files(struct ck_manifest *m, const json_t *root, struct ck_err *err)
{
	size_t n;
	const json_t *list = get_array(root, "files", &n, err);
	if (!list)
		return -1;
	m->files = calloc(n + 1, sizeof *m->files);
	if (!m->files)
		return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(list, i);
		struct ck_mf_file *f = &m->files[m->nfiles++];
		int64_t fd, dev, ino, size, flags;
		if (get_pid(o, "pid", 1, &f->pid, err) || get_int(o, "fd", 0, INT_MAX, &fd, err) ||
		    get_text(o, "path", 1, &f->path, err) || get_int(o, "dev", INT64_MIN, INT64_MAX, &dev, err) ||
		    get_int(o, "ino", INT64_MIN, INT64_MAX, &ino, err) ||
		    get_int(o, "size", 0, INT64_MAX, &size, err) ||
		    get_int(o, "mtime_ns", INT64_MIN, INT64_MAX, &f->mtime_ns, err) ||
		    get_int(o, "flags", 0, UINT32_MAX, &flags, err))
			return -1;
		f->fd = (int)fd;
		f->dev = (uint64_t)dev;
		f->ino = (uint64_t)ino;
		f->size = (uint64_t)size;
		f->flags = (uint32_t)flags;
	}
	return 0;
}

static int get_hash(const json_t *o, const char *key, char hex[2 * CK_HASH_LEN + 1], struct ck_err *err)
{
	const char *text = json_string_value(json_object_get(o, key));
	if (!text || strlen(text) != 2 * CK_HASH_LEN || strspn(text, "0123456789abcdef") != 2 * CK_HASH_LEN)
		return damaged(err, "a checksum");
	memcpy(hex, text, 2 * CK_HASH_LEN + 1);
	return 0;
}

static int read_images(struct ck_manifest *m, const json_t *root, struct ck_err *err)
{
	size_t n;
	const json_t *list = get_array(root, "images", &n, err);
	if (!list)
		return -1;
	m->images = calloc(n + 1, sizeof *m->images);
	if (!m->images)
		return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(list, i);
		struct ck_mf_image *im = &m->images[m->nimages++];
		int64_t size;
		if (get_text(o, "name", 1, &im->name, err) || get_int(o, "size", 0, INT64_MAX, &size, err))
			return -1;
		/* in order, so that none can be there twice */
		if (!ck_mf_name_ok(im->name) || (i && strcmp(im[-1].name, im->name) >= 0))
			return damaged(err, "a file's name");
		im->size = (uint64_t)size;
		if (__builtin_add_overflow(sum, im->size, &sum))
			return damaged(err, "a file's size");
		im->footer_only = ck_mf_is_device(im->name);
		if (get_hash(o, im->footer_only ? "footer_xxh3" : "xxh3", im->xxh3, err))
			return -1;
	}
	return 0;
}

static int read_gpu(struct ck_manifest *m, const json_t *root, struct ck_err *err)
{
	size_t n;
	const json_t *list = get_array(root, "gpu", &n, err);
	if (!list)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!json_is_object(json_array_get(list, i)))
			return damaged(err, "gpu");
	m->gpu = json_incref((json_t *)list);
	return 0;
}

static int read_root(struct ck_manifest *m, const json_t *root, struct ck_err *err)
{
	char hex[2 * CK_HASH_LEN + 1];
	int64_t format;
	const char *sum = json_string_value(json_object_get(root, "xxh3"));
	if (!json_is_object(root) || !sum)
		return damaged(err, "not a manifest");
	if (ck_manifest_checksum(root, hex))
		return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
	if (strcmp(hex, sum))
		return damaged(err, "its checksum does not match");
	if (get_int(root, "format", 0, INT64_MAX, &format, err))
		return -1;
	if (format != CK_MANIFEST_VERSION)
		return ck_err_set(err, CK_EVERSION, 0,
				  CK_MANIFEST_NAME " has format %lld, this release knows %d: use the ckshim that wrote it",
				  (long long)format, CK_MANIFEST_VERSION);
	const json_t *clocks = json_object_get(root, "clocks");
	if (get_int(root, "created_ns", 0, INT64_MAX, &m->created_ns, err) ||
	    get_text(root, "ckshim", 1, &m->version, err) || get_text(root, "host", 1, &m->host, err) ||
	    get_text(root, "kernel", 1, &m->kernel, err) || read_program(m, root, err) ||
	    get_text(root, "job", 1, &m->job, err) || get_text(root, "reason", 0, &m->reason, err) ||
	    get_pid(root, "root_pid", 1, &m->root_pid, err) || get_text(root, "rundir", 0, &m->rundir, err) ||
	    get_int(clocks, "monotonic_ns", 0, INT64_MAX, &m->monotonic_ns, err) ||
	    get_int(clocks, "boottime_ns", 0, INT64_MAX, &m->boottime_ns, err))
		return -1;
	if (read_streams(m, root, err) || read_processes(m, root, err) || read_gpu(m, root, err) ||
	    read_files(m, root, err) || read_images(m, root, err))
		return -1;
	return 0;
}

int ck_manifest_parse(struct ck_manifest *m, const char *text, size_t len, struct ck_err *err)
{
	json_error_t why;
	ck_manifest_init(m);
	if (len > CK_MANIFEST_MAX)
		return damaged(err, "too large");
	if (check_shape(text, len, err))
		return -1;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return ck_err_set(err, CK_EDAMAGED, 0, "damaged " CK_MANIFEST_NAME ": line %d: %.100s", why.line,
				  why.text);
	int rc = read_root(m, root, err);
	json_decref(root);
	if (rc)
		ck_manifest_free(m);
	return rc;
}

int ck_manifest_read(struct ck_manifest *m, int gen_dirfd, struct ck_err *err)
{
	struct stat st;
	ck_manifest_init(m);
	int fd = openat(gen_dirfd, CK_MANIFEST_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ELOOP))
		return ck_err_set(err, CK_EDAMAGED, errno, "no " CK_MANIFEST_NAME);
	if (fd < 0)
		return ck_err_errno(err, "cannot open " CK_MANIFEST_NAME);
	int rc = fstat(fd, &st) ? ck_err_errno(err, "cannot look at " CK_MANIFEST_NAME)
		 : !S_ISREG(st.st_mode) || st.st_size > CK_MANIFEST_MAX ? damaged(err, "too large or not a file")
									: 0;
	char *text = NULL;
	if (rc == 0 && !(text = malloc((size_t)st.st_size + 1)))
		rc = ck_err_errno(err, "manifest");
	if (rc == 0 && ck_pread_full(fd, text, (size_t)st.st_size, 0))
		rc = ck_err_set(err, errno == EIO || errno == ENODATA ? CK_EDAMAGED : CK_ESYS, errno,
				"cannot read " CK_MANIFEST_NAME);
	close(fd);
	if (rc == 0)
		rc = ck_manifest_parse(m, text, (size_t)st.st_size, err);
	free(text);
	return rc;
}
