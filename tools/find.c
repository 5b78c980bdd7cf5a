#define _GNU_SOURCE
#include "find.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../shim/base/io.h"

#define CRIU_AT_LEAST 40100 /* 4.1: what came before fails on Linux 6.13 and newer (vDSO bounds) */

int ck_find_beside(const char *name, char *path, size_t cap)
{
	static const char *const places[] = { "", "../lib/ckshim/", "../libexec/ckshim/", "../lib/" };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		return -1;
	self[n] = 0;
	char *slash = strrchr(self, '/');
	if (!slash)
		return -1;
	slash[1] = 0;
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		char try[2 * PATH_MAX];
		snprintf(try, sizeof try, "%s%s%s", self, places[i], name);
		/* canonical, since the path travels into other processes and messages */
		char *real = access(try, F_OK) == 0 ? realpath(try, NULL) : NULL;
		if (!real)
			continue;
		int fits = snprintf(path, cap, "%s", real) < (int)cap;
		free(real);
		if (fits)
			return 0;
	}
	return -1;
}

static int executable(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode)) {
		errno = EACCES;
		return -1;
	}
	return access(path, X_OK);
}

int ck_find_program(const char *name, char *path, size_t cap, struct ck_err *err)
{
	if (strchr(name, '/')) {
		if ((size_t)snprintf(path, cap, "%s", name) >= cap)
			return ck_err_set(err, CK_EINVAL, ENAMETOOLONG, "cannot run %.64s...", name);
		return executable(path) < 0 ? ck_err_set(err, CK_EINVAL, errno, "cannot run %s", name) : 0;
	}
	const char *dirs = getenv("PATH");
	int why = ENOENT;
	if (!dirs)
		dirs = "/usr/local/bin:/usr/bin:/bin";
	for (const char *d = dirs; *name; d = strchr(d, ':') + 1) {
		int len = (int)strcspn(d, ":");
		if (len)
			snprintf(path, cap, "%.*s/%s", len, d, name);
		else
			snprintf(path, cap, "./%s", name);
		if (executable(path) == 0)
			return 0;
		if (errno == EACCES)
			why = EACCES;
		if (!d[len])
			break;
	}
	return ck_err_set(err, CK_EINVAL, why, "cannot run %s", name);
}

/* The number that `criu --version` prints, as 40101 for 4.1.1; 0 when it does not run. */
static int criu_version(const char *path)
{
	int p[2], a = 0, b = 0, c = 0;
	char buf[512];
	if (pipe2(p, O_CLOEXEC) < 0)
		return 0;
	pid_t pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		execl(path, path, "--version", (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	size_t have = 0;
	ssize_t n;
	while (pid > 0 && have < sizeof buf - 1 && (n = read(p[0], buf + have, sizeof buf - 1 - have)) > 0)
		have += (size_t)n;
	buf[have] = 0;
	close(p[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	const char *v = strstr(buf, "Version: ");
	if (!v || sscanf(v, "Version: %d.%d.%d", &a, &b, &c) < 2)
		return 0;
	return a * 10000 + b * 100 + c;
}

int ck_find_criu(const char *wanted, char *path, size_t cap, struct ck_err *err)
{
	struct ck_err ignored;
	if (wanted) {
		if (ck_find_program(wanted, path, cap, err))
			return ck_err_set(err, CK_EENV, err->sys, "the criu that CKSHIM_CRIU or --criu names "
					  "(%s) cannot be run", wanted);
		return 0;
	}
	if (ck_find_beside("criu/criu", path, cap) == 0 && executable(path) == 0)
		return 0;
	if (ck_find_program("criu", path, cap, &ignored) == 0) {
		int v = criu_version(path);
		if (v >= CRIU_AT_LEAST)
			return 0;
		return ck_err_set(err, CK_EENV, 0, "%s is version %d.%d, at least 4.1 is needed; make the bundle "
				  "with scripts/criu-bundle, or name another with CKSHIM_CRIU", path, v / 10000,
				  v / 100 % 100);
	}
	return ck_err_set(err, CK_EENV, 0, "no criu found; make the bundle with scripts/criu-bundle, or name one "
			  "with CKSHIM_CRIU");
}

static int has_interp(int fd, const Elf64_Ehdr *h)
{
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum > 512)
		return 1;
	for (unsigned i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr ph;
		if (ck_pread_full(fd, &ph, sizeof ph, (off_t)(h->e_phoff + i * sizeof ph)) < 0)
			return 1;
		if (ph.p_type == PT_INTERP)
			return 1;
	}
	return 0;
}

enum ck_program_kind ck_find_kind(const char *path)
{
	char script[256];
	union {
		Elf64_Ehdr h;
		char text[256];
	} u;
	for (int depth = 0; depth < 4; depth++) {
		struct stat st;
		memset(&u, 0, sizeof u);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return CK_PROGRAM_DYNAMIC;
		enum ck_program_kind kind = CK_PROGRAM_DYNAMIC;
		ssize_t n = pread(fd, &u, sizeof u - 1, 0);
		int elf = n >= (ssize_t)sizeof u.h && memcmp(u.h.e_ident, ELFMAG, SELFMAG) == 0 &&
			  u.h.e_ident[EI_CLASS] == ELFCLASS64;
		if (fstat(fd, &st) == 0 && elf &&
		    ((st.st_mode & S_ISUID && st.st_uid != geteuid()) || (st.st_mode & S_ISGID && st.st_gid != getegid())))
			kind = CK_PROGRAM_SETID;
		else if (elf && !has_interp(fd, &u.h))
			kind = CK_PROGRAM_STATIC;
		close(fd);
		if (n < 3 || u.text[0] != '#' || u.text[1] != '!')
			return kind;
		char *p = u.text + 2 + strspn(u.text + 2, " \t");
		p[strcspn(p, " \t\n")] = 0;
		snprintf(script, sizeof script, "%s", p);
		path = script;
	}
	return CK_PROGRAM_DYNAMIC;
}
