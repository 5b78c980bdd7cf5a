#define _GNU_SOURCE
#include "criu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/base/log.h"
#include "caps.h"

#define MAX_ARGS 48
#define PATIENCE_NS (60ull * 1000000000u)

extern char **environ;

/* criu must see neither the preloaded library nor our variables. */
static void clean_environment(void)
{
	char **to = environ;
	for (char **e = environ; *e; e++) {
		if (strncmp(*e, "LD_", 3) != 0 && strncmp(*e, "CKSHIM_", 7) != 0 && strncmp(*e, "CRIU_", 5) != 0)
			*to++ = *e;
	}
	*to = NULL;
}

/* What Slurm sends to every process at once must not end criu half-way. SIGALRM and SIGCHLD are its own. */
static void block_signals(void)
{
	sigset_t set;
	sigfillset(&set);
	static const int open_for[] = { SIGALRM, SIGCHLD, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPIPE,
		SIGSYS };
	for (size_t i = 0; i < sizeof open_for / sizeof open_for[0]; i++) {
		sigdelset(&set, open_for[i]);
		signal(open_for[i], SIG_DFL);
	}
	sigprocmask(SIG_SETMASK, &set, NULL);
}

static pid_t spawn(const struct ck_criu *c, char **args, const struct ck_criu_key *keys, size_t nkeys,
		   struct ck_err *err)
{
	char out[PATH_MAX];
	snprintf(out, sizeof out, "%s/output", c->work);
	int log = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (log < 0)
		return ck_err_errno(err, "cannot write %s", out);
	pid_t pid = fork();
	if (pid < 0)
		ck_err_errno(err, "cannot start criu");
	if (pid == 0) {
		setpgid(0, 0);
		block_signals();
		int null = open("/dev/null", O_RDONLY);
		dup2(null, 0);
		dup2(log, 1);
		dup2(log, 2);
		if (null > 2)
			close(null);
		for (size_t i = 0; i < nkeys; i++)
			fcntl(keys[i].fd, F_SETFD, 0);
		clean_environment();
		if (c->unprivileged && ck_caps_criu() < 0) {
			dprintf(2, "Error: capabilities: %s\n", strerror(errno));
			_exit(126);
		}
		execv(c->path, args);
		dprintf(2, "Error: cannot execute %s: %s\n", c->path, strerror(errno));
		_exit(127);
	}
	close(log);
	return pid;
}

static size_t common(const struct ck_criu *c, const char *verb, char **a, char *plugins, size_t cap)
{
	size_t n = 0;
	/* No plugin: CUDA's asks ptrace for what a user namespace may not have, and takes a failing tool
	 * for a missing GPU. */
	snprintf(plugins, cap, "%s/no-plugins", c->work);
	a[n++] = (char *)c->path;
	a[n++] = (char *)verb;
	a[n++] = "--no-default-config";
	if (c->unprivileged)
		a[n++] = "--unprivileged";
	a[n++] = "-L";
	a[n++] = plugins;
	a[n++] = "-D";
	a[n++] = (char *)c->images;
	a[n++] = "-W";
	a[n++] = (char *)c->work;
	a[n++] = "-o";
	a[n++] = "criu.log";
	a[n++] = "-v2";
	a[n++] = "--file-locks";
	a[n++] = "--force-irmap";
	return n;
}

pid_t ck_criu_dump(const struct ck_criu *c, pid_t root, const char *tty, struct ck_err *err)
{
	char *a[MAX_ARGS], plugins[PATH_MAX], tree[16], ext[96];
	size_t n = common(c, "dump", a, plugins, sizeof plugins);
	snprintf(tree, sizeof tree, "%d", root);
	a[n++] = "-t";
	a[n++] = tree;
	a[n++] = "--cpu-cap=cpu";
	a[n++] = "--ghost-limit";
	a[n++] = "4G";
	if (tty) {
		snprintf(ext, sizeof ext, "%s", tty);
		a[n++] = "--external";
		a[n++] = ext;
	}
	if (c->hook) {
		a[n++] = "--action-script";
		a[n++] = (char *)c->hook;
	}
	a[n] = NULL;
	return spawn(c, a, NULL, 0, err);
}

pid_t ck_criu_restore(const struct ck_criu *c, const struct ck_criu_key *keys, size_t nkeys,
		      struct ck_err *err)
{
	char *a[MAX_ARGS], plugins[PATH_MAX], inherit[CK_CRIU_KEYS][128];
	size_t n = common(c, "restore", a, plugins, sizeof plugins);
	a[n++] = "-d";
	a[n++] = "--pidfile";
	a[n++] = "root.pid";
	a[n++] = "--cpu-cap=ins";
	a[n++] = "--skip-file-rwx-check";
	if (nkeys > CK_CRIU_KEYS)
		return ck_err_set(err, CK_EINVAL, 0, "too many descriptors to hand over");
	for (size_t i = 0; i < nkeys; i++) {
		snprintf(inherit[i], sizeof inherit[i], "fd[%d]:%s", keys[i].fd, keys[i].key);
		a[n++] = "--inherit-fd";
		a[n++] = inherit[i];
	}
	a[n] = NULL;
	return spawn(c, a, keys, nkeys, err);
}

/* Bytes of memory pages written so far. */
static uint64_t pages_written(const char *images)
{
	DIR *d = opendir(images);
	struct dirent *e;
	uint64_t sum = 0;
	while (d && (e = readdir(d))) {
		struct stat st;
		if (strncmp(e->d_name, "pages-", 6) == 0 && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
			sum += (uint64_t)st.st_size;
	}
	if (d)
		closedir(d);
	return sum;
}

int ck_criu_overdue(const struct ck_criu *c, pid_t criu, uint64_t since_ns, int *wait_ms)
{
	static uint64_t last;
	/* While memory is being written criu may be killed: then its parasite sees the end of its socket
	 * and leaves by itself (8 of 8 programs went on). Everything before and after takes milliseconds. */
	uint64_t now = pages_written(c->images);
	int writing = last && now > last;
	last = now;
	*wait_ms = 20;
	if (!writing && ck_now_ns() - since_ns < PATIENCE_NS)
		return 0;
	kill(criu, SIGKILL);
	last = 0;
	return 1;
}

/* The first line that names a cause; criu begins with harmless ones. */
static int first_error(const char *path, char *out, size_t cap)
{
	static const char *const harmless[] = { "rlimit:", "RLIMIT_NOFILE", "Will restore", NULL };
	FILE *f = fopen(path, "re");
	char line[1024];
	int found = 0;
	while (f && !found && fgets(line, sizeof line, f)) {
		char *e = strstr(line, "Error");
		if (!e)
			continue;
		int skip = 0;
		for (int i = 0; harmless[i]; i++)
			skip |= strstr(line, harmless[i]) != NULL;
		if (skip)
			continue;
		char *text = strstr(e, "): ");
		text = text ? text + 3 : e;
		text[strcspn(text, "\n")] = 0;
		snprintf(out, cap, "%.500s", text);
		found = 1;
	}
	if (f)
		fclose(f);
	return found;
}

/* What criu says is not always what to do. */
static const struct {
	const char *says, *means;
} known[] = {
	/* Linux 6.16 took SO_PASSCRED from all sockets but unix ones; criu 4.2 knows (criu issue 2705). */
	{ "Can't get 1:16", "the program has a network socket open, which a criu older than 4.2 cannot save on this kernel; "
	  "name a newer one with CKSHIM_CRIU, or do without the socket" },
	{ "Can't lookup mount=", "the program has a file or its working directory in another mount namespace; start it where "
	  "that is" },
};

int ck_criu_reason(const struct ck_criu *c, const char *what, int status, struct ck_err *err)
{
	char path[PATH_MAX], line[512];
	snprintf(path, sizeof path, "%s/criu.log", c->work);
	int found = first_error(path, line, sizeof line);
	if (!found) {
		snprintf(path, sizeof path, "%s/output", c->work);
		found = first_error(path, line, sizeof line);
	}
	for (size_t i = 0; found && i < sizeof known / sizeof known[0]; i++) {
		if (strstr(line, known[i].says))
			return ck_err_set(err, CK_EREFUSED, 0, "criu %s: %s (%s)", what, known[i].means, line);
	}
	if (found && (strstr(line, "No space left") || strstr(line, "Disk quota")))
		return ck_err_set(err, CK_ENOSPC, 0, "criu %s: %s", what, line);
	if (found)
		return ck_err_set(err, CK_ECRIU, 0, "criu %s: %s", what, line);
	if (WIFSIGNALED(status))
		return ck_err_set(err, CK_ECRIU, 0, "criu %s was ended by signal %d", what, WTERMSIG(status));
	return ck_err_set(err, CK_ECRIU, 0, "criu %s (%s) ended with status %d and said nothing", what, c->path,
			  WEXITSTATUS(status));
}
