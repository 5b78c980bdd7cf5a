/* The store: names, who may write, one owner, what is listed, what is removed and when. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../shim/base/io.h"
#include "../../tools/store.h"
#include "tap.h"

static struct ck_err err;
static char base[200], store[256], key[CK_KEY_MAX];
static char *args[] = { "./train", "--epochs", "3", NULL };

static void put_file(int dirfd, const char *name, const char *text)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ck_write_full(fd, text, strlen(text)))
		printf("# cannot write %s\n", name);
	close(fd);
}

static int exists(const char *fmt, ...)
{
	char path[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(path, sizeof path, fmt, ap);
	va_end(ap);
	struct stat st;
	return lstat(path, &st) == 0;
}

static struct ck_store *open_own(void)
{
	struct ck_store *s = NULL;
	if (ck_store_open(store, key, CK_STORE_CREATE | CK_STORE_OWN, &s, &err))
		printf("# %s\n", err.msg);
	return s;
}

/* Begin, put a manifest with @text, commit. Returns the number. */
static uint32_t make_gen(struct ck_store *s, const char *text)
{
	int fd;
	uint32_t n;
	if (ck_store_begin(s, &fd, &n, &err))
		return 0;
	put_file(fd, "manifest.json", text);
	mkdirat(fd, "criu", 0700);
	int sub = openat(fd, "criu", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put_file(sub, "pages-1.img", "pages");
	close(sub);
	return ck_store_commit(s, &err) ? 0 : n;
}

/* Numbers of the generations listed, as "3 2 1". */
static const char *listed(struct ck_store *s)
{
	static char text[256];
	struct ck_gen *g;
	size_t n, at = 0;
	text[0] = 0;
	if (ck_store_list(s, &g, &n, &err))
		return "error";
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%u", i ? " " : "", g[i].number);
	free(g);
	return text;
}

static void clear_slurm(void)
{
	static const char *const v[] = { "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID",
		"SLURM_NTASKS", "SLURM_PROCID", "SLURM_SUBMIT_DIR" };
	for (size_t i = 0; i < sizeof v / sizeof v[0]; i++)
		unsetenv(v[i]);
}

static void test_names(void)
{
	char out[PATH_MAX], want[PATH_MAX], cwd[PATH_MAX], small[8];
	if (!getcwd(cwd, sizeof cwd))
		cwd[0] = 0;
	clear_slurm();
	ok(ck_store_job(NULL, out, sizeof out, &err) == 0, "a job without Slurm");
	is_str(out, "local", "is local");
	setenv("SLURM_JOB_ID", "77", 1);
	ck_store_job(NULL, out, sizeof out, &err);
	is_str(out, "77", "Slurm's id");
	setenv("SLURM_NTASKS", "1", 1);
	setenv("SLURM_PROCID", "0", 1);
	ck_store_job(NULL, out, sizeof out, &err);
	is_str(out, "77", "one task adds nothing");
	setenv("SLURM_NTASKS", "4", 1);
	setenv("SLURM_PROCID", "3", 1);
	ck_store_job(NULL, out, sizeof out, &err);
	is_str(out, "77.p3", "several tasks: each its own");
	setenv("SLURM_ARRAY_JOB_ID", "70", 1);
	setenv("SLURM_ARRAY_TASK_ID", "5", 1);
	ck_store_job(NULL, out, sizeof out, &err);
	is_str(out, "70_5.p3", "array task");
	ck_store_job("mine", out, sizeof out, &err);
	is_str(out, "mine", "a name given wins");
	static const char *const bad[] = { "", ".", "..", ".x", "a/b", "a b", "-x", "a\nb", "\xc3\xa4" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ok(ck_store_job(bad[i], out, sizeof out, &err) && err.code == CK_EINVAL, "bad job name %zu", i);
	setenv("SLURM_JOB_ID", "../../etc", 1);
	unsetenv("SLURM_ARRAY_JOB_ID");
	ok(ck_store_job(NULL, out, sizeof out, &err) && err.code == CK_EINVAL, "nonsense from Slurm is refused");
	clear_slurm();

	ck_store_locate(NULL, out, sizeof out, &err);
	snprintf(want, sizeof want, "%.3000s/ckshim-checkpoints", cwd);
	is_str(out, want, "the store is here");
	setenv("SLURM_SUBMIT_DIR", "/sub", 1);
	ck_store_locate(NULL, out, sizeof out, &err);
	is_str(out, "/sub/ckshim-checkpoints", "or where the job was submitted");
	ck_store_locate("/x/y//", out, sizeof out, &err);
	is_str(out, "/x/y", "or where told");
	ck_store_locate("rel", out, sizeof out, &err);
	snprintf(want, sizeof want, "%.3000s/rel", cwd);
	is_str(out, want, "a relative one is from here, not from the submit directory");
	ok(ck_store_locate("/12345678", small, sizeof small, &err) && err.code == CK_EINVAL, "too long");
	clear_slurm();

	char other[CK_KEY_MAX];
	char *more[] = { "./train", "--epochs", "30", NULL }, *joined[] = { "./train", "--epochs3", NULL };
	char *odd[] = { "/opt/my prog.v2", NULL }, *none[] = { NULL };
	ok(ck_store_key("j", args, key, sizeof key, &err) == 0 && strncmp(key, "j.train.", 8) == 0 &&
		   strlen(key) == 16, "a key is JOB.PROGRAM.HASH: %s", key);
	ck_store_key("j", more, other, sizeof other, &err);
	ok(strcmp(key, other), "other arguments, another key");
	ck_store_key("j", joined, other, sizeof other, &err);
	ok(strcmp(key, other), "arguments are not run together");
	ck_store_key("j", odd, other, sizeof other, &err);
	ok(strncmp(other, "j.my_prog_v2.", 13) == 0, "the program's name is made safe: %s", other);
	ok(ck_store_key("j", none, other, sizeof other, &err) && err.code == CK_EINVAL, "no program");
}

static void test_generations(void)
{
	int fd;
	uint32_t n;
	struct stat st;
	struct ck_store *s = NULL, *two;
	ok(ck_store_open(store, key, 0, &s, &err) && err.code == CK_ENOCKPT && !s, "nothing there yet");
	s = open_own();
	if (!ok(s != NULL, "a key is made"))
		return;
	ok(stat(store, &st) == 0 && (st.st_mode & 0777) == 0700, "the store is private");
	ok(fstat(ck_store_fd(s), &st) == 0 && (st.st_mode & 0777) == 0700, "so is the key");
	ok(ck_store_open(store, key, CK_STORE_OWN, &two, &err) && err.code == CK_EBUSY, "one owner only");
	ok(ck_store_open(store, key, 0, &two, &err) == 0, "others may look");
	ok(ck_store_begin(two, &fd, &n, &err) && err.code == CK_EINVAL, "but not write");
	ok(ck_store_prune(two, 1, NULL, NULL, &err) && err.code == CK_EINVAL, "nor remove");
	ck_store_close(two);
	is_str(listed(s), "", "no generation");
	ok(ck_store_begin(s, &fd, &n, &err) == 0 && n == 1, "the first is begun");
	ok(ck_store_begin(s, &fd, &n, &err) && err.code == CK_EINVAL, "only one at a time");
	ok(exists("%s", ck_store_begun_path(s)), "where it says");
	is_str(listed(s), "", "what is being written is not listed");
	ok(ck_store_commit(s, &err) && err.code == CK_EINVAL, "without a manifest it cannot be committed");
	ck_store_abandon(s);
	ok(!exists("%s/%s/gen-000001.tmp", store, key) && !ck_store_begun_path(s), "abandoned, it is gone");
	is_int(make_gen(s, "one"), 1, "a number that was never committed may come again");
	is_int(make_gen(s, "two"), 2, "numbers rise");
	is_int(make_gen(s, "three"), 3, "and rise");
	is_str(listed(s), "3 2 1", "newest first");
	ok(exists("%s/%s/gen-000003/criu/pages-1.img", store, key), "with what was in it");
	char latest[32] = "";
	ck_read_text(ck_store_fd(s), "LATEST", latest, sizeof latest);
	is_str(latest, "gen-000003\n", "LATEST hints at it");
	fd = ck_store_gen_open(s, 2, &err);
	ok(fd >= 0, "a generation opens");
	close(fd);
	ok(ck_store_gen_open(s, 9, &err) < 0 && err.code == CK_ENOCKPT, "one that is not there does not");
	ok(ck_store_remove(s, 3, &err) == 0, "the newest is removed");
	is_str(listed(s), "2 1", "and no longer listed");
	is_int(make_gen(s, "four"), 4, "its number does not come back");
	ok(ck_store_begin(s, &fd, &n, &err) == 0 && n == 5, "a fifth is begun");
	ck_store_close(s); /* as if killed */
	ok(exists("%s/%s/gen-000005.tmp", store, key), "and left lying");
	s = open_own();
	is_str(listed(s), "4 2 1", "it is never listed");
	ok(ck_store_begin(s, &fd, &n, &err) == 0 && n == 6, "the next begin takes a new number");
	ok(!exists("%s/%s/gen-000005.tmp", store, key), "and clears it away");
	ck_store_abandon(s);
	uint64_t bytes = 0;
	ok(ck_store_free_bytes(s, &bytes, &err) == 0 && bytes > 0, "free space is told");
	/* names that look alike are not generations */
	mkdirat(ck_store_fd(s), "gen-0000009", 0700);
	mkdirat(ck_store_fd(s), "gen-9", 0700);
	mkdirat(ck_store_fd(s), "gen-000000", 0700);
	mkdirat(ck_store_fd(s), "gen-000009x", 0700);
	put_file(ck_store_fd(s), "gen-000011", "a file");
	is_str(listed(s), "4 2 1", "only our own spelling counts");
	unlinkat(ck_store_fd(s), "gen-000011", 0);
	ck_store_close(s);
}

static int odd_ones(int dirfd, void *arg)
{
	char text[32] = "";
	++*(int *)arg;
	ck_read_text(dirfd, "manifest.json", text, sizeof text);
	return strcmp(text, "bad") != 0;
}

static void test_prune(void)
{
	int asked = 0;
	struct ck_store *s = open_own();
	make_gen(s, "good"); /* 5, after 4 2 1 */
	make_gen(s, "bad");
	make_gen(s, "bad");
	is_str(listed(s), "7 6 5 4 2 1", "before pruning");
	ok(ck_store_prune(s, 0, NULL, NULL, &err) && err.code == CK_EINVAL, "to keep none is refused");
	ok(ck_store_prune(s, 9, odd_ones, &asked, &err) == 0, "fewer than to be kept");
	is_str(listed(s), "7 6 5 4 2 1", "nothing is removed");
	ok(ck_store_prune(s, 2, odd_ones, &asked, &err) == 0, "keep two");
	is_str(listed(s), "7 6 5 4", "damaged ones do not count as kept");
	ok(ck_store_prune(s, 1, NULL, NULL, &err) == 0, "keep one, whatever it is");
	is_str(listed(s), "7", "the newest stays");
	ck_store_close(s);
}

static void test_keys(void)
{
	struct ck_store_key_info *k;
	char second[CK_KEY_MAX], third[CK_KEY_MAX], *prog[] = { "b", NULL };
	struct ck_store *s;
	size_t n;
	ck_store_key("j", prog, second, sizeof second, &err);
	ck_store_key("j2", prog, third, sizeof third, &err);
	ok(ck_store_open(store, second, CK_STORE_CREATE | CK_STORE_OWN, &s, &err) == 0, "a second key");
	make_gen(s, "x");
	/* newer than the other by the clock that decides */
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 4000000000 } };
	utimensat(ck_store_fd(s), "gen-000001/manifest.json", t, 0);
	ck_store_close(s);
	ok(ck_store_open(store, third, CK_STORE_CREATE | CK_STORE_OWN, &s, &err) == 0, "a third, of another job");
	ck_store_close(s);
	ok(ck_store_keys(store, "j", &k, &n, &err) == 0 && n == 2, "keys of a job");
	ok(n == 2 && strcmp(k[0].key, second) == 0 && strcmp(k[1].key, key) == 0 && k[1].newest == 7,
	   "the one with the newest checkpoint first");
	free(k);
	ok(ck_store_keys(store, NULL, &k, &n, &err) == 0 && n == 2, "a key without a checkpoint is not one");
	free(k);
	ok(ck_store_keys(store, "nobody", &k, &n, &err) == 0 && n == 0, "a job without any");
	char none[300];
	snprintf(none, sizeof none, "%s/none", base);
	ok(ck_store_keys(none, NULL, &k, &n, &err) == 0 && n == 0, "a store that is not there");
}

static void test_unsafe(void)
{
	char path[600], link[300], open_dir[300];
	struct ck_store *s;
	snprintf(path, sizeof path, "%s/%s", store, key);
#define UNSAFE(what)                                                                                  \
	ok(ck_store_open(store, key, CK_STORE_CREATE, &s, &err) && err.code == CK_EUNSAFE, "%s", what)
	chmod(store, 0770);
	UNSAFE("a store that the group can write");
	ok(strstr(err.msg, store) && strstr(err.msg, "chmod go-w") && strstr(err.msg, "0770"),
	   "path, mode and remedy are named");
	chmod(store, 01702);
	UNSAFE("a store that others can write, sticky or not");
	chmod(store, 0700);
	chmod(path, 0720);
	UNSAFE("a key that the group can write");
	chmod(path, 0700);
	ok(ck_store_open(store, key, 0, &s, &err) == 0, "mended, it opens");
	char gen[CK_GEN_MAX + 600];
	snprintf(gen, sizeof gen, "%s/gen-000007", path);
	chmod(gen, 0702);
	ok(ck_store_gen_open(s, 7, &err) < 0 && err.code == CK_EUNSAFE, "a generation that others can write");
	chmod(gen, 0700);
	ck_store_close(s);

	snprintf(link, sizeof link, "%s/link", base);
	ok(symlink(store, link) == 0 && ck_store_open(link, key, 0, &s, &err) && err.code == CK_EUNSAFE,
	   "a store behind a symbolic link");
	snprintf(open_dir, sizeof open_dir, "%s/open", base);
	mkdir(open_dir, 0700);
	chmod(open_dir, 0777);
	char inside[320];
	snprintf(inside, sizeof inside, "%s/store", open_dir);
	ok(ck_store_open(inside, key, CK_STORE_CREATE, &s, &err) && err.code == CK_EUNSAFE &&
		   strstr(err.msg, "chmod o-w"), "a store below a folder that all can write");
	chmod(open_dir, 01777);
	ok(ck_store_open(inside, key, CK_STORE_CREATE, &s, &err) == 0, "not if that is sticky, as /tmp is");
	ck_store_close(s);
	if (geteuid() == 0) {
		if (chown(store, 1, (gid_t)-1) == 0)
			UNSAFE("a store of another user");
		char deep[300];
		snprintf(deep, sizeof deep, "%s/deep", base);
		chmod(base, 0711);
		chmod(deep, 0711);
		chmod(store, 0755);
		if (chown(store, 0, (gid_t)-1) == 0 && seteuid(1) == 0)
			UNSAFE("a store of root's, for somebody else");
		if (seteuid(0))
			printf("# cannot be root again\n");
		chmod(store, 0700);
	} else {
		/* nobody but root can give a folder away: take some that are root's */
		ok(ck_store_open("/usr", key, 0, &s, &err) && err.code == CK_EUNSAFE, "a store of another user");
		ok(ck_store_open("/", key, 0, &s, &err) && err.code == CK_EUNSAFE, "the root folder");
	}
}

static void test_strange_contents(void)
{
	int fd;
	uint32_t n;
	char target[300], victim[600];
	struct ck_store *s = open_own();
	snprintf(target, sizeof target, "%s/precious", base);
	mkdir(target, 0700);
	snprintf(victim, sizeof victim, "%s/file", target);
	put_file(AT_FDCWD, victim, "keep me");
	ok(ck_store_begin(s, &fd, &n, &err) == 0, "begin");
	ok(symlinkat(target, fd, "away") == 0, "a link out of the generation");
	put_file(fd, "manifest.json", "x");
	ok(ck_store_commit(s, &err) != 0, "a generation with a link in it is not committed");
	ck_store_abandon(s);
	ok(exists("%s", victim), "removing it does not follow the link");
	is_str(listed(s), "7", "the checkpoint before is untouched");
	ck_store_close(s);
	ok(ck_store_open(store, "../evil", CK_STORE_CREATE, &s, &err) && err.code == CK_EINVAL, "no way out by name");
	ok(ck_store_open(store, "a.b.xyz", CK_STORE_CREATE, &s, &err) && err.code == CK_EINVAL, "not a key");
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(base, sizeof base, "%.150s/ckstore.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(base))
		return 1;
	snprintf(store, sizeof store, "%s/deep/store", base);
	umask(0); /* the modes must be the store's own doing */
	test_names();
	test_generations();
	test_prune();
	test_keys();
	test_unsafe();
	test_strange_contents();
	char cmd[300];
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", base);
	if (system(cmd))
		printf("# cannot remove %s\n", base);
	return tap_done();
}
