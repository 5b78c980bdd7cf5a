#define _GNU_SOURCE
#include "drv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/cuda_abi.h"

struct ck_drv {
	pid_t pid;
	int in, out; /* its stdin and stdout */
	char line[8192];
	size_t have;
};

static void child(const char *helper, const char *libcuda, int in, int out)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGTERM, SIG_IGN); /* the job's signals are not for it */
	signal(SIGUSR1, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, 0);
	dup2(out, 1);
	unsetenv("LD_PRELOAD");
	execl(helper, "ckshim-drv", libcuda, (char *)NULL);
	_exit(127);
}

int ck_drv_start(const char *helper, const char *libcuda, struct ck_drv **out, struct ck_err *err)
{
	int to[2] = { -1, -1 }, from[2] = { -1, -1 };
	struct ck_drv *d = calloc(1, sizeof *d);
	if (!d || pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		goto fail;
	d->pid = fork();
	if (d->pid < 0)
		goto fail;
	if (d->pid == 0)
		child(helper, libcuda, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	d->in = to[1];
	d->out = from[0];
	*out = d;
	return ck_drv_send(d, err, "init");
fail:
	ck_err_errno(err, "cannot start %s", helper);
	for (int i = 0; i < 2; i++) {
		if (to[i] >= 0)
			close(to[i]);
		if (from[i] >= 0)
			close(from[i]);
	}
	free(d);
	return -1;
}

void ck_drv_stop(struct ck_drv *d)
{
	if (!d)
		return;
	close(d->in);
	close(d->out);
	kill(d->pid, SIGKILL);
	while (waitpid(d->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(d);
}

pid_t ck_drv_pid(const struct ck_drv *d)
{
	return d ? d->pid : 0;
}

static int vsend(struct ck_drv *d, struct ck_err *err, const char *fmt, va_list ap)
{
	char line[8192];
	int n = vsnprintf(line, sizeof line - 1, fmt, ap);
	if (n < 0 || (size_t)n >= sizeof line - 1)
		return ck_err_set(err, CK_EINVAL, 0, "command too long");
	line[n] = '\n';
	/* pid 1 ignores SIGPIPE like every signal it has no use for */
	if (ck_write_full(d->in, line, (size_t)n + 1))
		return ck_err_set(err, CK_EENV, 0, "ckshim-drv cannot use the CUDA driver here");
	return 0;
}

int ck_drv_send(struct ck_drv *d, struct ck_err *err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int rc = vsend(d, err, fmt, ap);
	va_end(ap);
	return rc;
}

static int parse(struct ck_drv *d, char *nl, int *result, char *name, size_t name_cap, char *value, size_t value_cap)
{
	*nl = 0;
	char *save = NULL, *r = strtok_r(d->line, " ", &save), *n = strtok_r(NULL, " ", &save),
	     *v = strtok_r(NULL, " ", &save);
	*result = r ? atoi(r) : CUDA_ERROR_UNKNOWN;
	snprintf(name, name_cap, "%s", n ? n : "?");
	if (value_cap)
		snprintf(value, value_cap, "%s", v ? v : "");
	size_t used = (size_t)(nl + 1 - d->line);
	memmove(d->line, nl + 1, d->have - used);
	d->have -= used;
	return 1;
}

int ck_drv_poll(struct ck_drv *d, int timeout_ms, int *result, char *name, size_t name_cap, char *value,
		size_t value_cap, struct ck_err *err)
{
	uint64_t until = ck_now_ns() + (uint64_t)timeout_ms * 1000000u;
	for (;;) {
		char *nl = memchr(d->line, '\n', d->have);
		if (nl)
			return parse(d, nl, result, name, name_cap, value, value_cap);
		uint64_t now = ck_now_ns();
		struct pollfd p = { .fd = d->out, .events = POLLIN };
		int n = poll(&p, 1, now < until ? (int)((until - now + 999999u) / 1000000u) : 0);
		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		ssize_t k = read(d->out, d->line + d->have, sizeof d->line - d->have);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return ck_err_set(err, CK_EENV, 0, "ckshim-drv cannot use the CUDA driver here");
		d->have += (size_t)k;
	}
}

int ck_drv_explain(int result, const char *name, const char *what, struct ck_err *err)
{
	if (result == CUDA_SUCCESS)
		return 0;
	if (result < 0)
		return ck_err_set(err, CK_EENV, 0, "%s: this CUDA driver cannot checkpoint; it takes 570 or newer", what);
	if (result == CUDA_ERROR_NOT_SUPPORTED)
		return ck_err_set(err, CK_EENV, 0,
				  "%s: %s: this driver (it takes 570 or newer), or what the program uses of it, cannot be "
				  "checkpointed", what, name);
	if (result == CUDA_ERROR_OPERATING_SYSTEM)
		return ck_err_set(err, CK_EENV, 0,
				  "%s: %s: the driver's checkpoint is not available here (some GPU proxies and "
				  "containers withhold it)",
				  what, name);
	return ck_err_set(err, CK_EDRIVER, 0, "%s: %s", what, name);
}

int ck_drv_call(struct ck_drv *d, const char *what, uint64_t until_ns, char *value, size_t value_cap,
		struct ck_err *err, const char *fmt, ...)
{
	char name[64];
	int result;
	va_list ap;
	va_start(ap, fmt);
	int rc = vsend(d, err, fmt, ap);
	va_end(ap);
	if (rc)
		return -1;
	uint64_t now = ck_now_ns();
	rc = ck_drv_poll(d, now < until_ns ? (int)((until_ns - now) / 1000000u) : 0, &result, name, sizeof name, value,
			 value_cap, err);
	if (rc < 0)
		return ck_err_wrap(err, "%s", what);
	if (rc == 0)
		return ck_err_set(err, CK_ETIMEOUT, 0, "%s: the CUDA driver did not answer by the deadline", what);
	return ck_drv_explain(result, name, what, err);
}
