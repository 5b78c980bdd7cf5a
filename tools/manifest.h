/* manifest.h - manifest.json, the record that is written last into a generation: what it is of, and the
 * size and checksum of every file in it. shim/base/IMAGE.md describes the file.
 *
 * Strings are bytes, as the kernel has them; what is not UTF-8 is escaped in the file and comes back
 * exactly. All pointers in struct ck_manifest are owned by it: set strings with ck_manifest_str, add
 * rows with ck_manifest_add_*, free all with ck_manifest_free.
 */
#ifndef CK_MANIFEST_H
#define CK_MANIFEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "../shim/base/err.h"

#define CK_MANIFEST_NAME "manifest.json"
#define CK_MANIFEST_VERSION 1

struct ck_mf_stream {		/* what stdin, stdout, stderr were */
	char *kind;		/* "pipe", "tty", "file", "null", "none" ...; supervisor's own words */
	char *key;		/* what restore needs to give the new one in its place: "pipe:[123]" */
};

struct ck_mf_process {
	pid_t pid, ppid;	/* inside the namespace */
	char *comm, *exe;
};

struct ck_mf_file {		/* a regular file that was open */
	pid_t pid;
	int fd;
	char *path;
	uint64_t dev, ino, size;
	int64_t mtime_ns;
	uint32_t flags;		/* of open(2) */
};

struct ck_mf_image {		/* a file of the generation; only read from outside */
	char *name;		/* "criu/pages-1.img" */
	uint64_t size;
	char xxh3[33];		/* XXH3-128, 32 hex digits: of all bytes; or, footer_only, of the footer */
	int footer_only;	/* device-*.ck: its footer pins index, header and all chunks */
};

struct ck_manifest {
	int64_t created_ns;	/* CLOCK_REALTIME; 0: ck_manifest_write takes the time */
	char *version;		/* of ckshim; host; kernel: filled by ck_manifest_write when NULL */
	char *host, *kernel;
	char *exe, *cwd;	/* the program */
	char **argv;		/* NULL-terminated; ck_manifest_argv */
	char *job;
	char *reason;		/* "SIGTERM", "interval" ... */
	pid_t root_pid;		/* the program's first process, inside the namespace */
	char *rundir;
	int64_t monotonic_ns, boottime_ns; /* as the program saw them at the freeze */
	struct ck_mf_stream stream[3];
	struct ck_mf_process *processes;
	size_t nprocesses;
	json_t *gpu;		/* array of ck_gpus_to_json(); owned; NULL: none */
	struct ck_mf_file *files;
	size_t nfiles;
	struct ck_mf_image *images;
	size_t nimages;
};

void ck_manifest_init(struct ck_manifest *m);
void ck_manifest_free(struct ck_manifest *m); /* leaves it as after init */

/* Each copies what it is given. Returns 0 or -1 (out of memory: CK_ESYS). NULL @text clears. */
int ck_manifest_str(char **field, const char *text, struct ck_err *err);
int ck_manifest_argv(struct ck_manifest *m, char *const *argv, struct ck_err *err);
int ck_manifest_add_process(struct ck_manifest *m, pid_t pid, pid_t ppid, const char *comm,
			    const char *exe, struct ck_err *err);
int ck_manifest_add_file(struct ck_manifest *m, const struct ck_mf_file *f, struct ck_err *err);

/* ck_manifest_write - walk the folder @gen_dirfd, take size and checksum of every file in it, and write
 * manifest.json there (fsync is ck_store_commit's). Everything else must be complete: call it last.
 * Required: exe, argv, cwd, job, root_pid. Anything but regular files and folders is an error.
 * Returns 0 or -1: CK_EINVAL, CK_ENOSPC, CK_ESYS, CK_EDAMAGED (a device image without a footer). */
int ck_manifest_write(struct ck_manifest *m, int gen_dirfd, struct ck_err *err);

/* ck_manifest_read - read and check manifest.json of @gen_dirfd into @m (initialised here). Strict: types,
 * ranges, limits, file names, its own checksum. Says nothing about the other files: ck_manifest_verify.
 * Returns 0; or -1: CK_EDAMAGED (also when it is missing), CK_EVERSION, CK_ESYS; @m is then empty. */
int ck_manifest_read(struct ck_manifest *m, int gen_dirfd, struct ck_err *err);

/* ck_manifest_parse - the same for bytes in memory. */
int ck_manifest_parse(struct ck_manifest *m, const char *text, size_t len, struct ck_err *err);

/* ck_manifest_json - the manifest as JSON (new reference), as it stands in the file; NULL: no memory. */
json_t *ck_manifest_json(const struct ck_manifest *m);

enum ck_verify {
	CK_VERIFY_QUICK, /* every file there, of the right size; device images' header, footer and index;
			    checksum of every file up to 1 MiB. Milliseconds: before each restore */
	CK_VERIFY_FULL,	 /* every byte */
};

/* ck_manifest_verify - check the files of @gen_dirfd against @m. Returns 0 or -1: CK_EDAMAGED (the
 * message names the file), CK_EVERSION, CK_ESYS. */
int ck_manifest_verify(const struct ck_manifest *m, int gen_dirfd, enum ck_verify level,
		       struct ck_err *err);

/* ck_manifest_gen_ok - 1 if the generation reads and verifies (quick), else 0: for ck_store_prune.
 * @arg is not used. */
int ck_manifest_gen_ok(int gen_dirfd, void *arg);

/* ck_manifest_bytes - sum of the sizes of all images. */
uint64_t ck_manifest_bytes(const struct ck_manifest *m);

#endif
