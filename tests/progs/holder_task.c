#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "holder.h"
#include "prog.h"

static pid_t child;
static timer_t timer;

/* getppid gives EPERM from now on, all else is as ever. */
static void seccomp_set_up(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { .len = sizeof f / sizeof f[0], .filter = f };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) != 0)
		holder_unsupported("seccomp");
}

static void seccomp_verify(void)
{
	if (syscall(SYS_getppid) != -1 || errno != EPERM)
		prog_fail("the filter is gone");
}

static void traced_set_up(void)
{
	int status;
	child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(23);
	}
	if (child < 0 || waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
		prog_fail("no child to trace");
}

static void traced_verify(void)
{
	int status = 0;
	if (ptrace(PTRACE_CONT, child, NULL, NULL) != 0 || waitpid(child, &status, 0) != child ||
	    !WIFEXITED(status) || WEXITSTATUS(status) != 23)
		prog_fail("the traced child is lost (%x)", (unsigned)status);
}

static void timer_set_up(void)
{
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGWINCH };
	struct itimerspec in = { .it_value.tv_sec = 1000, .it_interval.tv_sec = 3 };
	if (timer_create(CLOCK_MONOTONIC, &e, &timer) != 0 || timer_settime(timer, 0, &in, NULL) != 0)
		prog_fail("timer: %s", strerror(errno));
}

static void timer_verify(void)
{
	struct itimerspec left;
	if (timer_gettime(timer, &left) != 0 || left.it_interval.tv_sec != 3 || left.it_value.tv_sec > 1000 ||
	    left.it_value.tv_sec < 500)
		prog_fail("the timer has %ld s left", (long)left.it_value.tv_sec);
}

static void cwd_set_up(void)
{
	char dir[] = "holder-XXXXXX";
	if (!mkdtemp(dir) || chdir(dir) != 0)
		prog_fail("a folder: %s", strerror(errno));
	char up[64];
	snprintf(up, sizeof up, "../%s", dir);
	if (rmdir(up) != 0)
		prog_fail("rmdir: %s", strerror(errno));
}

static void cwd_verify(void)
{
	char buf[4096];
	struct stat st;
	if (getcwd(buf, sizeof buf) || errno != ENOENT || stat(".", &st) != 0 || !S_ISDIR(st.st_mode))
		prog_fail("the working directory is another");
}

static void zombie_set_up(void)
{
	siginfo_t si;
	child = fork();
	if (child == 0)
		_exit(31);
	if (child < 0 || waitid(P_PID, (id_t)child, &si, WEXITED | WNOWAIT) != 0)
		prog_fail("no child");
}

static void zombie_verify(void)
{
	int status = 0;
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 31)
		prog_fail("the child's status is lost (%x)", (unsigned)status);
}

const struct kind holder_task_kinds[] = {
	{ "seccomp", seccomp_set_up, seccomp_verify },
	{ "traced-child", traced_set_up, traced_verify },
	{ "posix-timer", timer_set_up, timer_verify },
	{ "deleted-cwd", cwd_set_up, cwd_verify },
	{ "zombie", zombie_set_up, zombie_verify },
	{ 0 },
};
