#define _GNU_SOURCE
#include "init1.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "caps.h"
#include "find.h"

/* Add our library to LD_PRELOAD unless it is there. Runs in pid 1, whose environment nobody else uses. */
static void preload(void)
{
	char lib[PATH_MAX];
	const char *have = getenv("LD_PRELOAD");
	if ((have && strstr(have, "libckshim.so")) || ck_find_beside("libckshim.so", lib, sizeof lib) < 0)
		return;
	char *value = NULL;
	/* First, so that its entries are found before another library's of the same name. */
	if (asprintf(&value, "%s%s%s", lib, have && *have ? ":" : "", have ? have : "") > 0)
		setenv("LD_PRELOAD", value, 1);
	free(value);
}

static void become(struct ck_init *in)
{
	/* A session of its own: criu cannot restore one whose leader stays outside. */
	setsid();
	if (ck_streams_install(in->st) < 0)
		return;
	if (in->st->slave >= 0 && ioctl(in->st->slave, TIOCSCTTY, 0) < 0)
		return;
	setrlimit(RLIMIT_NOFILE, &in->program_nofile);
	sigaction(SIGPIPE, &in->program_pipe, NULL);
	sigprocmask(SIG_SETMASK, &in->program_mask, NULL);
	if (in->unprivileged && ck_caps_none() < 0)
		return;
	execv(in->exe, in->s->argv);
	if (errno == ENOEXEC) {
		/* As the shell and execvp do for a script without #! */
		size_t n = 0;
		while (in->s->argv[n])
			n++;
		char **av = calloc(n + 2, sizeof *av);
		if (!av)
			return;
		av[0] = (char *)"/bin/sh";
		av[1] = (char *)in->exe;
		for (size_t i = 1; i <= n && n; i++)
			av[i + 1] = in->s->argv[i];
		execv(av[0], av);
	}
}

pid_t ck_init_program(struct ck_init *in, struct ck_err *err)
{
	int p[2], e = 0;
	preload();
	setenv("CKSHIM_RUNDIR", in->rundir, 1);
	if (pipe2(p, O_CLOEXEC) < 0)
		return ck_err_errno(err, "pipe");
	pid_t pid = fork();
	if (pid < 0)
		return ck_err_errno(err, "fork");
	if (pid == 0) {
		become(in);
		e = errno;
		ck_write_full(p[1], &e, sizeof e);
		_exit(127);
	}
	close(p[1]);
	/* exec closes the pipe; an errno in it means that it failed */
	int failed = ck_read_full(p[0], &e, sizeof e) == 0;
	close(p[0]);
	if (!failed)
		return pid;
	return ck_err_set(err, CK_ESYS, e, "cannot run %s", in->s->argv[0]);
}
