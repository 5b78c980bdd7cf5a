/* manifest_verify.c - are the files what the manifest says they are? */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shim/base/image.h"
#include "manifest_int.h"

#define SMALL (1u << 20)

/* Open @name part by part, so that no folder in it can be a link either. -1 with errno. */
static int open_inside(int dirfd, const char *name)
{
	char part[256];
	int at = dirfd;
	for (;;) {
		size_t len = strcspn(name, "/");
		memcpy(part, name, len); /* ck_mf_name_ok: at most 255 */
		part[len] = 0;
		int last = !name[len];
		int fd = openat(at, part, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | (last ? O_NONBLOCK : O_DIRECTORY));
		int keep = errno;
		if (at != dirfd)
			close(at);
		errno = keep;
		if (fd < 0 || last)
			return fd;
		at = fd;
		name += len + 1;
	}
}

static int wrong(struct ck_err *err, const char *name, const char *what)
{
	return ck_err_set(err, CK_EDAMAGED, 0, "%s: %s", name, what);
}

static int verify_device(const struct ck_mf_image *im, int fd, enum ck_verify level, struct ck_err *err)
{
	struct ck_image_reader *r;
	char hex[2 * CK_HASH_LEN + 1];
	if (ck_mf_hash_footer(fd, hex, err))
		return ck_err_wrap(err, "%s", im->name);
	if (strcmp(hex, im->xxh3))
		return wrong(err, im->name, "not the file that was committed");
	if (ck_image_open(fd, &r, err))
		return ck_err_wrap(err, "%s", im->name);
	int rc = level == CK_VERIFY_FULL ? ck_image_verify(r, err) : 0;
	ck_image_close(r);
	return rc ? ck_err_wrap(err, "%s", im->name) : 0;
}

static int verify_plain(const struct ck_mf_image *im, int fd, enum ck_verify level, struct ck_err *err)
{
	char hex[2 * CK_HASH_LEN + 1];
	if (level != CK_VERIFY_FULL && im->size > SMALL)
		return 0;
	if (ck_mf_hash_file(fd, hex))
		return errno == EIO ? ck_err_set(err, CK_EDAMAGED, EIO, "%s", im->name)
				    : ck_err_errno(err, "cannot read %s", im->name);
	return strcmp(hex, im->xxh3) ? wrong(err, im->name, "its checksum does not match") : 0;
}

static int verify_image(const struct ck_mf_image *im, int dirfd, enum ck_verify level, struct ck_err *err)
{
	struct stat st;
	int fd = open_inside(dirfd, im->name);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return wrong(err, im->name, "missing");
	if (fd < 0)
		return ck_err_errno(err, "cannot open %s", im->name);
	int rc;
	if (fstat(fd, &st))
		rc = ck_err_errno(err, "cannot look at %s", im->name);
	else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != im->size)
		rc = wrong(err, im->name, "its size does not match");
	else if (im->footer_only)
		rc = verify_device(im, fd, level, err);
	else
		rc = verify_plain(im, fd, level, err);
	close(fd);
	return rc;
}

int ck_manifest_verify(const struct ck_manifest *m, int gen_dirfd, enum ck_verify level,
		       struct ck_err *err)
{
	for (size_t i = 0; i < m->nimages; i++)
		if (verify_image(&m->images[i], gen_dirfd, level, err))
			return -1;
	return 0;
}

int ck_manifest_gen_ok(int gen_dirfd, void *arg)
{
	struct ck_manifest m;
	struct ck_err err;
	(void)arg;
	if (ck_manifest_read(&m, gen_dirfd, &err))
		return 0;
	int ok = ck_manifest_verify(&m, gen_dirfd, CK_VERIFY_QUICK, &err) == 0;
	ck_manifest_free(&m);
	return ok;
}
