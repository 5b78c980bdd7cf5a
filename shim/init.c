/* init.c - what happens when the library enters a process: almost nothing, or the re-execution of the
 * job's first process under ckshim-run. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/proto.h"
#include "ctl.h"
#include "ctx.h"
#include "gate.h"
#include "hook.h"
#include "signals.h"
#include "stack.h"
#include "state.h"
#include "threads.h"
#include "track.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

struct ck_state ck_state = { .offload = true, .offload_min = 1 << 20 };

/* Programs that only start or steer jobs: they stay outside, what they start is supervised. */
static const char *const launchers[] = { "srun", "sbatch", "salloc", "scontrol", "squeue", "scancel", "sacct", "sinfo",
	"mpirun", "mpiexec", "mpiexec.hydra", "hydra_pmi_proxy", "orted", "prted", "ssh", "criu", NULL };

static bool left_alone(const char *exe)
{
	const char *b = strrchr(exe, '/');
	b = b ? b + 1 : exe;
	if (strncmp(b, "ckshim-", 7) == 0)
		return true;
	for (int i = 0; launchers[i]; i++)
		if (strcmp(b, launchers[i]) == 0)
			return true;
	return false;
}

/* The program's own view of nonsense here is none of our business: the default stands, and one line says so. */
static void read_settings(void)
{
	const char *v = getenv("CKSHIM_OFFLOAD");
	if (v && strcmp(v, "off") == 0)
		ck_state.offload = false;
	else if (v && *v && strcmp(v, "on") != 0)
		ck_say("CKSHIM_OFFLOAD=%s is neither on nor off: taken as on", v);
	v = getenv("CKSHIM_OFFLOAD_MIN");
	if (v && *v) {
		char *end;
		errno = 0;
		unsigned long long n = strtoull(v, &end, 10);
		if (*v == '-' || *end || errno || n == 0)
			ck_say("CKSHIM_OFFLOAD_MIN=%s is not a number of bytes: taken as 1048576", v);
		else
			ck_state.offload_min = n;
	}
}

static bool supervisor_here(const char *rundir)
{
	char path[sizeof ck_state.rundir + sizeof "/" CK_SOCK_NAME];
	if (strlen(rundir) >= sizeof ck_state.rundir)
		return false;
	snprintf(path, sizeof path, "%s/" CK_SOCK_NAME, rundir);
	return access(path, R_OK | W_OK) == 0;
}

static void after_fork(void)
{
	ck_gate_after_fork();
	ck_track_after_fork();
	ck_ctx_after_fork();
	ck_threads_after_fork();
	ck_ctl_after_fork();
}

/* ckshim-run lies beside the library in a build folder, in ../../bin seen from lib/ckshim when installed. */
static bool find_run(char out[PATH_MAX])
{
	static const char *const places[] = { "ckshim-run", "../bin/ckshim-run", "../../bin/ckshim-run", NULL };
	const char *v = getenv("CKSHIM_RUN");
	Dl_info d;
	if (v && *v) {
		snprintf(out, PATH_MAX, "%s", v);
		return access(out, X_OK) == 0;
	}
	char lib[PATH_MAX];
	if (!dladdr((void *)find_run, &d) || !d.dli_fname || !realpath(d.dli_fname, lib))
		return false;
	char *slash = strrchr(lib, '/');
	if (!slash)
		return false;
	*slash = 0;
	for (int i = 0; places[i]; i++)
		if ((size_t)snprintf(out, PATH_MAX, "%s/%s", lib, places[i]) < PATH_MAX && access(out, X_OK) == 0)
			return true;
	return false;
}

/* The whole vector as exec got it: glibc's argv lacks the loader's own words when the program was started
 * through ld.so. Returns a malloc'ed vector with @extra free places in front, or NULL. */
static char **original_argv(int extra)
{
	size_t cap = 1 << 16, len = 0;
	char *buf = NULL;
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	for (;;) {
		char *more = realloc(buf, cap + 1);
		if (!more)
			break;
		buf = more;
		ssize_t n = read(fd, buf + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len == cap)
			cap *= 2;
	}
	close(fd);
	if (!len) {
		free(buf);
		return NULL;
	}
	buf[len] = 0;
	size_t words = 0;
	for (size_t i = 0; i < len; i++)
		words += buf[i] == 0;
	if (buf[len - 1] != 0)
		words++;
	char **argv = calloc((size_t)extra + words + 1, sizeof *argv);
	char *p = buf;
	for (size_t i = 0; argv && i < words; i++) {
		argv[(size_t)extra + i] = p;
		p += strlen(p) + 1;
	}
	return argv;
}

static void supervise(void)
{
	char run[PATH_MAX], exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	if (n <= 0)
		return;
	exe[n] = 0;
	if (left_alone(exe))
		return;
	if (!find_run(run)) {
		ck_say("ckshim-run is not beside libckshim.so: %s runs without checkpoints; set CKSHIM_RUN", exe);
		return;
	}
	char **argv = original_argv(4);
	if (!argv)
		return;
	argv[0] = run;
	argv[1] = "--exe";
	argv[2] = exe;
	argv[3] = "--";
	execv(run, argv);
	ck_say("cannot start %s (%s): %s runs without checkpoints", run, strerror(errno), exe);
}

__attribute__((constructor)) static void enter(void)
{
	const char *rundir = getenv("CKSHIM_RUNDIR"), *v = getenv("CKSHIM_SUPERVISE");
	if (getauxval(AT_SECURE))
		return;
	ck_log_init();
	if (rundir && *rundir && supervisor_here(rundir)) {
		strcpy(ck_state.rundir, rundir);
		ck_state.supervised = true;
		read_settings();
		const char *sigs = getenv("CKSHIM_SIGNALS");
		ck_signals_init(sigs && *sigs ? sigs : "TERM,USR1");
		pthread_atfork(NULL, NULL, after_fork);
	} else if (!v || strcmp(v, "0") != 0) {
		int keep = errno;
		supervise();
		errno = keep;
	}
}

CK_EXPORT CUresult cuInit(unsigned flags)
{
	ck_real_get(CK_ENTRY_cuInit); /* binds: the registration names the driver's path */
	ck_ctl_init();
	ck_gate_enter(CK_ENTRY_cuInit);
	CUresult r = CK_DRV(cuInit, unsigned)(flags);
	if (r == CUDA_SUCCESS && ck_state.supervised)
		ck_stack_init();
	ck_ctl_inited(r);
	ck_gate_exit();
	return r;
}
