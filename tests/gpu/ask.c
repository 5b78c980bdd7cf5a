/* ask.c - see ask.h. */
#define _GNU_SOURCE
#include "ask.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct ask_options ask_options;
struct ask_times ask_times;
static char dir[4096];
static pid_t subject;

static void path(char *out, size_t cap, const char *what, int n)
{
	snprintf(out, cap, "%.4000s/%s%d", dir, what, n);
}

static void clean(void)
{
	char p[4096];
	if (subject > 0) {
		kill(subject, SIGKILL);
		waitpid(subject, NULL, 0);
	}
	for (int n = 0; dir[0] && n < 4; n++) {
		path(p, sizeof p, "go", n);
		unlink(p);
		path(p, sizeof p, "done", n);
		unlink(p);
	}
	if (dir[0])
		rmdir(dir);
}

void answer(const char *outcome, const char *fmt, ...)
{
	va_list ap;
	clean();
	printf("%s\t", outcome);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(0);
}

/* Wait for step @n of the subject, and take its word for it. The probe's deadline ends a wait in vain. */
static const char *result(int n)
{
	static char text[640];
	char done[4096];
	int status;
	path(done, sizeof done, "done", n);
	while (access(done, F_OK) != 0) {
		if (waitpid(subject, &status, WNOHANG) == subject && access(done, F_OK) != 0) {
			subject = 0;
			if (WIFSIGNALED(status))
				answer("no", "the process died by signal %d in step %d", WTERMSIG(status), n);
			answer("error", "the process ended with status %d in step %d", WEXITSTATUS(status), n);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	FILE *f = fopen(done, "re");
	if (!f || !fgets(text, sizeof text, f))
		answer("error", "%s: %s", done, strerror(errno));
	fclose(f);
	text[strcspn(text, "\n")] = 0;
	char *detail = strchr(text, ' ');
	detail = detail ? detail + 1 : text + strlen(text);
	if (!strncmp(text, "bad ", 4))
		answer("no", "%s", detail);
	if (!strncmp(text, "unsupported ", 12))
		answer("unsupported", "not supported here: %s", detail);
	if (strncmp(text, "ok", 2) != 0)
		answer("error", "%s", detail);
	return detail;
}

void ask_start(const char *kind, size_t size)
{
	const char *tmp = getenv("TMPDIR");
	char bytes[32];
	snprintf(dir, sizeof dir, "%.4000s/ck-probe.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		dir[0] = 0;
		answer("error", "no folder in %s: %s", tmp ? tmp : "/tmp", strerror(errno));
	}
	snprintf(bytes, sizeof bytes, "%zu", size);
	fflush(stdout);
	subject = fork();
	if (subject < 0)
		answer("error", "fork: %s", strerror(errno));
	if (subject == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		if (null > 2)
			close(null);
		execl("/proc/self/exe", "probe", "--subject", kind, bytes, dir, "240", (char *)NULL);
		_exit(127);
	}
	result(0);
}

const char *ask_step(int n)
{
	char go[4096];
	path(go, sizeof go, "go", n);
	int fd = open(go, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		answer("error", "%s: %s", go, strerror(errno));
	close(fd);
	return result(n);
}

pid_t ask_pid(void)
{
	return subject;
}

CUresult ask_call(pid_t pid, const char *verb, unsigned timeout_ms, double *seconds)
{
	CUcheckpointLockArgs lock = { .timeoutMs = timeout_ms };
	double t0 = drv_seconds();
	CUresult r;
	if (!strcmp(verb, "init"))
		r = drv.cuInit(0);
	else if (!strcmp(verb, "lock"))
		r = drv.cuCheckpointProcessLock(pid, &lock);
	else if (!strcmp(verb, "checkpoint"))
		r = drv.cuCheckpointProcessCheckpoint(pid, NULL);
	else if (!strcmp(verb, "restore"))
		r = drv.cuCheckpointProcessRestore(pid, NULL);
	else if (!strcmp(verb, "unlock"))
		r = drv.cuCheckpointProcessUnlock(pid, NULL);
	else
		r = CUDA_ERROR_INVALID_VALUE;
	*seconds = drv_seconds() - t0;
	return r;
}

static void call(const char *verb, double *seconds)
{
	static const char *const states[] = { "RUNNING", "LOCKED", "CHECKPOINTED", "FAILED" };
	CUprocessState state = CU_PROCESS_STATE_FAILED;
	CUresult r = ask_call(subject, verb, 20000, seconds);
	if (r == CUDA_SUCCESS)
		return;
	CUresult s = drv.cuCheckpointProcessGetState(subject, &state);
	answer(r == CUDA_ERROR_NOT_SUPPORTED && !drv_has("cuCheckpointProcessLock") ? "unsupported" : "refused",
	       "%s: %s after %.3f s; state then: %s", verb, drv_name(r), *seconds,
	       s ? drv_name(s) : (unsigned)state < 4 ? states[state] : "?");
}

void ask_away(void)
{
	CUresult r;
	if (drv_open())
		answer("unsupported", "%s", drv_error());
	if ((r = drv.cuInit(0)))
		answer("error", "cuInit in the caller: %s", drv_name(r));
	call("lock", &ask_times.lock);
	call("checkpoint", &ask_times.checkpoint);
}

void ask_back(void)
{
	call("restore", &ask_times.restore);
	call("unlock", &ask_times.unlock);
}
