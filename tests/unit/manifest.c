/* The manifest: what is written comes back; anything else is refused; it pins every file. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../shim/base/image.h"
#include "../../shim/base/io.h"
#include "../../tools/manifest.h"
#include "../../tools/manifest_int.h"
#include "../../tools/store.h"
#include "tap.h"

static struct ck_err err;
static char base[200];

static int put_file(int dirfd, const char *name, const void *data, size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int rc = fd < 0 || ck_write_full(fd, data, len);
	close(fd);
	return rc;
}

/* A device image: 6000 bytes that are not zero, 8 MiB + 1 that are, and 3 bytes more. */
static int put_image(int dirfd, const char *name)
{
	static char buf[CK_CHUNK_SIZE];
	static const uint8_t uuid[CK_UUID_LEN] = { 0xde, 0xad };
	static const struct ck_range r[] = { { 0x7f0000000000, 6000, 0, 0 },
		{ 0x7f1000000000, 2 * CK_CHUNK_SIZE + 1, 1, 0 }, { 0x7f2000000000, 3, 0, 0 } };
	struct ck_image_writer *w;
	uint32_t s;
	int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ck_image_create(fd, 5, 0, uuid, &w, &err))
		return -1;
	int rc = ck_image_stack(w, "alloc_weights+0x10 (train)\nmain+0x20 (train)", &s, &err) |
		 ck_image_stack(w, "alloc_scratch+0x30 (train)\nmain+0x28 (train)", &s, &err);
	for (int i = 0; rc == 0 && i < 3; i++) {
		rc = ck_image_range(w, &r[i], &err);
		memset(buf, i == 1 ? 0 : 'a' + i, sizeof buf);
		for (uint64_t at = 0; rc == 0 && at < r[i].size; at += CK_CHUNK_SIZE)
			rc = ck_image_chunk(w, buf, r[i].size - at < CK_CHUNK_SIZE ? r[i].size - at : CK_CHUNK_SIZE,
					    &err);
	}
	rc |= ck_image_finish(w, NULL, &err);
	close(fd);
	return rc;
}

/* Names with what JSON does not allow, a newline, and one of the private characters used to escape. */
static const char *const odd_args[] = { "./train", "--name", "caf\xc3\xa9", "\xff\xfe latin \xe9", "a\nb\"\\",
	"\xef\x9e\x80 private", "", NULL };

static int sample(struct ck_manifest *m)
{
	struct ck_mf_file f = { .pid = 5, .fd = 3, .path = (char *)"/data/\xe9t\xe9.log", .dev = 2049, .ino = 1ull << 63,
		.size = 12345, .mtime_ns = 1700000000123456789, .flags = 02101 };
	ck_manifest_init(m);
	m->root_pid = 5;
	m->created_ns = 1700000000000000000;
	m->monotonic_ns = 123;
	m->boottime_ns = 456;
	int rc = ck_manifest_str(&m->version, "0.1.0", &err) | ck_manifest_str(&m->host, "node1", &err) |
		 ck_manifest_str(&m->kernel, "6.1.0", &err) | ck_manifest_str(&m->exe, "/opt/train", &err) |
		 ck_manifest_str(&m->cwd, "/home/u", &err) | ck_manifest_str(&m->job, "4711", &err) |
		 ck_manifest_str(&m->reason, "SIGTERM", &err) | ck_manifest_str(&m->rundir, "/run/x", &err) |
		 ck_manifest_argv(m, (char *const *)odd_args, &err) |
		 ck_manifest_str(&m->stream[1].kind, "pipe", &err) |
		 ck_manifest_str(&m->stream[1].key, "pipe:[77]", &err) |
		 ck_manifest_add_process(m, 5, 1, "train", "/opt/train", &err) |
		 ck_manifest_add_process(m, 6, 5, "\xff", "/opt/w", &err) | ck_manifest_add_file(m, &f, &err);
	m->gpu = json_pack("[{s:i, s:i, s:s, s:f, s:[{s:i, s:i, s:s, s:s, s:i, s:i}]}]", "pid", 5, "ctl_tid", 9, "libcuda",
			   "libcuda.so.1", "ratio", 0.1, "devices", "index", 0, "ordinal", 0, "uuid",
			   "dead0000000000000000000000000000", "file", "device-5-0.ck", "bytes", 8394612, "written",
			   6003);
	return rc | !m->gpu;
}

/* A generation's files in the folder @dir. */
static int fill_dir(int dir)
{
	static char big[3 << 20];
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (char)(i * 7 + (i >> 12));
	if (mkdirat(dir, "criu", 0700) || put_image(dir, "device-5-0.ck"))
		return -1;
	int sub = openat(dir, "criu", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = put_file(sub, "pages-1.img", big, sizeof big) | put_file(sub, "core-5.img", "core", 4) |
		 put_file(sub, "empty.img", "", 0);
	close(sub);
	return rc;
}

static int make_dir(const char *name)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s", base, name);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void test_round_trip(int dir)
{
	struct ck_manifest a, b;
	int same = 1, n = 0;
	ok(fill_dir(dir) == 0 && sample(&a) == 0, "a generation is made");
	ok(ck_manifest_write(&a, dir, &err) == 0, "its manifest is written");
	if (!ok(ck_manifest_read(&b, dir, &err) == 0, "and read")) {
		printf("# %s\n", err.msg);
		return;
	}
	for (; odd_args[n] && b.argv[n]; n++)
		same &= strcmp(odd_args[n], b.argv[n]) == 0;
	ok(same && !odd_args[n] && !b.argv[n], "arguments come back, bytes that are not UTF-8 too");
	is_str(b.exe, "/opt/train", "program");
	is_str(b.host, "node1", "host");
	is_str(b.reason, "SIGTERM", "reason");
	ok(b.created_ns == a.created_ns && b.monotonic_ns == 123 && b.boottime_ns == 456, "clocks");
	ok(!b.stream[0].kind && b.stream[1].kind && strcmp(b.stream[1].key, "pipe:[77]") == 0, "streams");
	ok(b.nprocesses == 2 && b.processes[1].ppid == 5 && strcmp(b.processes[1].comm, "\xff") == 0, "processes");
	ok(b.nfiles == 1 && b.files[0].ino == 1ull << 63 && b.files[0].flags == 02101 &&
		   strcmp(b.files[0].path, "/data/\xe9t\xe9.log") == 0 && b.files[0].mtime_ns == 1700000000123456789,
	   "files");
	ok(json_equal(a.gpu, b.gpu), "what the GPU side recorded");
	ok(b.nimages == 4 && strcmp(b.images[0].name, "criu/core-5.img") == 0 && b.images[3].footer_only &&
		   !b.images[0].footer_only,
	   "every file, device images by their footer");
	/* known answers: of "core" and of nothing, as xxhsum -H2 prints them */
	is_str(b.images[1].xxh3, "99aa06d3014798d86001c324468d497f", "XXH3-128 of nothing");
	ok(ck_manifest_bytes(&b) > 3 << 20, "sizes add up");
	ok(ck_manifest_verify(&b, dir, CK_VERIFY_QUICK, &err) == 0, "verifies quickly");
	ok(ck_manifest_verify(&b, dir, CK_VERIFY_FULL, &err) == 0, "and in full");
	ok(ck_manifest_gen_ok(dir, NULL), "it can be restored");
	ok(ck_manifest_write(&a, dir, &err) == -1, "a manifest is not written twice");
	ck_manifest_free(&a);
	ck_manifest_free(&b);
}

/* Change byte @at of a file (from its end if negative), see the verdict, put it back. */
static enum ck_errc flipped(int dir, const char *name, off_t at, enum ck_verify level)
{
	struct ck_manifest m;
	struct stat st;
	char c, bad;
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	fstat(fd, &st);
	if (at < 0)
		at += st.st_size;
	ck_pread_full(fd, &c, 1, at);
	bad = c ^ 4;
	ck_pwrite_full(fd, &bad, 1, at);
	enum ck_errc code = CK_EOK;
	if (ck_manifest_read(&m, dir, &err) || ck_manifest_verify(&m, dir, level, &err))
		code = err.code;
	ck_manifest_free(&m);
	ck_pwrite_full(fd, &c, 1, at);
	close(fd);
	return code;
}

static void test_damage(int dir)
{
	struct ck_manifest m;
	is_int(flipped(dir, "criu/core-5.img", 0, CK_VERIFY_QUICK), CK_EDAMAGED, "a small file: found quickly");
	ok(strstr(err.msg, "criu/core-5.img"), "and named");
	is_int(flipped(dir, "criu/pages-1.img", 1 << 20, CK_VERIFY_QUICK), CK_EOK, "a large one: not quickly");
	is_int(flipped(dir, "criu/pages-1.img", 1 << 20, CK_VERIFY_FULL), CK_EDAMAGED, "but in full");
	is_int(flipped(dir, "device-5-0.ck", 8, CK_VERIFY_QUICK), CK_EDAMAGED, "device image: header");
	is_int(flipped(dir, "device-5-0.ck", -1, CK_VERIFY_QUICK), CK_EDAMAGED, "footer");
	is_int(flipped(dir, "device-5-0.ck", -200, CK_VERIFY_QUICK), CK_EDAMAGED, "index");
	is_int(flipped(dir, "device-5-0.ck", 4096, CK_VERIFY_QUICK), CK_EOK, "memory: not quickly");
	is_int(flipped(dir, "device-5-0.ck", 4096, CK_VERIFY_FULL), CK_EDAMAGED, "but in full");
	int fd = openat(dir, CK_MANIFEST_NAME, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t missed = 0;
	fstat(fd, &st);
	close(fd);
	for (off_t i = 0; i < st.st_size; i++)
		missed += flipped(dir, CK_MANIFEST_NAME, i, CK_VERIFY_QUICK) == CK_EOK;
	/* white space is not content: JSON may be laid out differently */
	ok(missed < (size_t)st.st_size / 4, "the manifest: bits flipped in %d bytes, %zu of them in white space",
	   (int)st.st_size, missed);
	ck_manifest_read(&m, dir, &err);
	renameat(dir, "criu/core-5.img", dir, "criu/gone");
	ok(ck_manifest_verify(&m, dir, CK_VERIFY_QUICK, &err) && err.code == CK_EDAMAGED && strstr(err.msg, "missing"),
	   "a missing file");
	ok(symlinkat("gone", dir, "criu/core-5.img") == 0 && ck_manifest_verify(&m, dir, CK_VERIFY_QUICK, &err) &&
		   err.code == CK_EDAMAGED,
	   "a link in its place");
	unlinkat(dir, "criu/core-5.img", 0);
	renameat(dir, "criu/gone", dir, "criu/core-5.img");
	renameat(dir, "criu", dir, "criu2");
	ok(symlinkat("criu2", dir, "criu") == 0 && ck_manifest_verify(&m, dir, CK_VERIFY_QUICK, &err) &&
		   err.code == CK_EDAMAGED,
	   "a link in its folder's place");
	unlinkat(dir, "criu", 0);
	renameat(dir, "criu2", dir, "criu");
	fd = openat(dir, "criu/pages-1.img", O_RDWR | O_CLOEXEC);
	ok(ftruncate(fd, (3 << 20) - 1) == 0 && ck_manifest_verify(&m, dir, CK_VERIFY_QUICK, &err) &&
		   err.code == CK_EDAMAGED,
	   "a shorter file");
	close(fd);
	ok(!ck_manifest_gen_ok(dir, NULL), "such a generation cannot be restored");
	/* another image, whole in itself, is not the one that was committed */
	unlinkat(dir, "device-5-0.ck", 0);
	put_image(dir, "device-5-0.ck");
	fd = openat(dir, "device-5-0.ck", O_RDWR | O_CLOEXEC);
	close(fd);
	ck_manifest_free(&m);
	unlinkat(dir, CK_MANIFEST_NAME, 0);
	ok(ck_manifest_read(&m, dir, &err) && err.code == CK_EDAMAGED, "no manifest");
	ok(!ck_manifest_gen_ok(dir, NULL), "is no checkpoint");
}

/* Parse @root, with its checksum made right when @seal. */
static enum ck_errc parse(json_t *root, int seal)
{
	struct ck_manifest m;
	char hex[2 * CK_HASH_LEN + 1];
	if (seal && ck_manifest_checksum(root, hex) == 0)
		json_object_set_new(root, "xxh3", json_string(hex));
	char *text = json_dumps(root, 0);
	int rc = ck_manifest_parse(&m, text, strlen(text), &err);
	free(text);
	ck_manifest_free(&m);
	return rc ? err.code : CK_EOK;
}

static enum ck_errc parse_text(const char *text)
{
	struct ck_manifest m;
	int rc = ck_manifest_parse(&m, text, strlen(text), &err);
	ck_manifest_free(&m);
	return rc ? err.code : CK_EOK;
}

static void test_forged(void)
{
	struct ck_manifest m;
	sample(&m);
	static const char *const bad_names[] = { "", "/etc/passwd", "../x", "criu/../../x", "criu//x", "criu/", ".",
		"a/./b", "manifest.json", "a/b/c/d/e" };
	for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
		json_t *r = ck_manifest_json(&m);
		json_array_append_new(json_object_get(r, "images"),
				      json_pack("{s:s, s:i, s:s}", "name", bad_names[i], "size", 0, "xxh3",
						"99aa06d3014798d86001c324468d497f"));
		is_int(parse(r, 1), CK_EDAMAGED, "a file named \"%s\"", bad_names[i]);
		json_decref(r);
	}
#define FORGE(want, what, ...)                                                                        \
	do {                                                                                          \
		json_t *r = ck_manifest_json(&m);                                                     \
		__VA_ARGS__;                                                                          \
		is_int(parse(r, 1), want, "forged: %s", what);                                        \
		json_decref(r);                                                                       \
	} while (0)
#define SET(o, key, v) json_object_set_new(o, key, v)
#define AT(key, i) json_array_get(json_object_get(r, key), i)
#define IMAGE(n, s)                                                                                   \
	json_array_append_new(json_object_get(r, "images"),                                           \
			      json_pack("{s:s, s:I, s:s}", "name", n, "size", (json_int_t)(s), "xxh3",      \
					"99aa06d3014798d86001c324468d497f"))
	FORGE(CK_EOK, "nothing", (void)0);
	FORGE(CK_EOK, "a member of a later release", SET(r, "later", json_true()));
	FORGE(CK_EVERSION, "a newer format", SET(r, "format", json_integer(2)));
	FORGE(CK_EDAMAGED, "a format that is no number", SET(r, "format", json_string("1")));
	FORGE(CK_EDAMAGED, "root pid 0", SET(r, "root_pid", json_integer(0)));
	FORGE(CK_EDAMAGED, "root pid -1", SET(r, "root_pid", json_integer(-1)));
	FORGE(CK_EDAMAGED, "root pid 2^40", SET(r, "root_pid", json_integer(1ll << 40)));
	FORGE(CK_EDAMAGED, "no program", json_object_del(r, "program"));
	FORGE(CK_EDAMAGED, "no arguments", SET(json_object_get(r, "program"), "argv", json_array()));
	FORGE(CK_EDAMAGED, "an argument that is no text", SET(json_object_get(r, "program"), "argv", json_pack("[i]", 1)));
	FORGE(CK_EDAMAGED, "a relative program", SET(json_object_get(r, "program"), "exe", json_string("x")));
	FORGE(CK_EDAMAGED, "streams that are a list", SET(r, "streams", json_array()));
	FORGE(CK_EDAMAGED, "a process that is a number", json_array_append_new(json_object_get(r, "processes"), json_integer(1)));
	FORGE(CK_EDAMAGED, "a negative size", SET(AT("files", 0), "size", json_integer(-1)));
	FORGE(CK_EDAMAGED, "flags too large", SET(AT("files", 0), "flags", json_integer(1ll << 32)));
	FORGE(CK_EDAMAGED, "gpu that is no list", SET(r, "gpu", json_object()));
	FORGE(CK_EDAMAGED, "a gpu that is no object", SET(r, "gpu", json_pack("[i]", 3)));
	FORGE(CK_EDAMAGED, "clocks that run backwards", SET(json_object_get(r, "clocks"), "monotonic_ns", json_integer(-5)));
	FORGE(CK_EOK, "a file", IMAGE("a", 0));
	FORGE(CK_EDAMAGED, "a file twice", IMAGE("a", 0); IMAGE("a", 0));
	FORGE(CK_EDAMAGED, "files out of order", IMAGE("b", 0); IMAGE("a", 0));
	FORGE(CK_EDAMAGED, "sizes that overflow", IMAGE("a", INT64_MAX); IMAGE("b", INT64_MAX); IMAGE("c", INT64_MAX));
	FORGE(CK_EDAMAGED, "a checksum that is none", IMAGE("a", 0); SET(AT("images", 0), "xxh3", json_string("zz")));
	json_t *r = ck_manifest_json(&m);
	json_object_set_new(r, "host", json_string("elsewhere"));
	is_int(parse(r, 0), CK_EDAMAGED, "changed without its checksum");
	json_decref(r);
	ck_manifest_free(&m);

	static const char *const junk[] = { "", "{", "[]", "null", "1", "\"x\"", "{}", "{\"xxh3\":1}", "{\"a\":1,\"a\":2}",
		"\xff", "{\"xxh3\":\"\xff\"}" };
	for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++)
		is_int(parse_text(junk[i]), CK_EDAMAGED, "junk %zu", i);
	char *deep = malloc(200001);
	memset(deep, '[', 200000);
	deep[200000] = 0;
	is_int(parse_text(deep), CK_EDAMAGED, "200,000 brackets");
	free(deep);
	char *wide = malloc(4000002);
	wide[0] = '[';
	for (int i = 0; i < 2000000; i++)
		memcpy(wide + 1 + 2 * i, "1,", 2);
	wide[4000001] = 0;
	is_int(parse_text(wide), CK_EDAMAGED, "2,000,000 numbers");
	free(wide);
}

static void test_write_refusals(void)
{
	struct ck_manifest m;
	int dir = make_dir("refuse");
	ck_manifest_init(&m);
	ok(ck_manifest_write(&m, dir, &err) && err.code == CK_EINVAL, "a manifest of nothing is not written");
	sample(&m);
	put_file(dir, "device-5-0.ck", "torn", 4);
	ok(ck_manifest_write(&m, dir, &err) && err.code == CK_EDAMAGED && strstr(err.msg, "device-5-0.ck"),
	   "nor one of a torn device image");
	unlinkat(dir, "device-5-0.ck", 0);
	mkfifoat(dir, "fifo", 0600);
	ok(ck_manifest_write(&m, dir, &err) && err.code == CK_EINVAL, "nor of a FIFO (and it does not hang)");
	unlinkat(dir, "fifo", 0);
	ok(symlinkat("/etc/passwd", dir, "link") == 0 && ck_manifest_write(&m, dir, &err), "nor of a link");
	unlinkat(dir, "link", 0);
	ok(faccessat(dir, CK_MANIFEST_NAME, F_OK, 0) != 0, "after all that there is no manifest");
	ok(ck_manifest_write(&m, dir, &err) == 0, "of an empty folder it may be");
	ck_manifest_free(&m);
	close(dir);
}

static void test_golden(const char *path)
{
	struct ck_manifest m;
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!ok(dir >= 0, "%s is there", path))
		return;
	if (ok(ck_manifest_read(&m, dir, &err) == 0, "a manifest of format 1 is read")) {
		ok(m.argv && strcmp(m.argv[3], odd_args[3]) == 0 && m.nimages == 2 && m.nprocesses == 2, "its contents");
		ok(ck_manifest_verify(&m, dir, CK_VERIFY_FULL, &err) == 0, "and its files verify");
	} else {
		printf("# %s\n", err.msg);
	}
	ck_manifest_free(&m);
	close(dir);
}

/* --golden DIR makes the golden generation; --store STORE a store with two checkpoints of one key (the
 * key is printed), for tests of ckshim-inspect. */
static int make(const char *what, const char *where)
{
	struct ck_manifest m;
	struct ck_store *s = NULL;
	char key[CK_KEY_MAX];
	int dir, rc = sample(&m);
	if (strcmp(what, "--golden") == 0) {
		dir = mkdir(where, 0755) ? -1 : open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = rc || put_image(dir, "device-5-0.ck") || put_file(dir, "core-5.img", "core", 4) ||
		     ck_manifest_write(&m, dir, &err);
		close(dir);
	} else {
		rc = rc || ck_store_key("4711", m.argv, key, sizeof key, &err) ||
		     ck_store_open(where, key, CK_STORE_CREATE | CK_STORE_OWN, &s, &err);
		for (int i = 0; rc == 0 && i < 2; i++)
			rc = ck_store_begin(s, &dir, NULL, &err) || fill_dir(dir) || ck_manifest_write(&m, dir, &err) ||
			     ck_store_commit(s, &err);
		ck_store_close(s);
		if (rc == 0)
			puts(key);
	}
	ck_manifest_free(&m);
	return rc;
}

int main(int argc, char **argv)
{
	if (argc == 3) {
		int rc = make(argv[1], argv[2]);
		if (rc)
			fprintf(stderr, "%s\n", err.msg);
		return rc;
	}
	const char *tmp = getenv("TMPDIR");
	snprintf(base, sizeof base, "%.150s/ckmanifest.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(base))
		return 1;
	int dir = make_dir("gen");
	test_round_trip(dir);
	test_damage(dir);
	test_forged();
	test_write_refusals();
	test_golden(argc > 1 ? argv[1] : "tests/golden/gen-v1");
	close(dir);
	char cmd[300];
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", base);
	if (system(cmd))
		printf("# cannot remove %s\n", base);
	return tap_done();
}
