#define _GNU_SOURCE
#include "ns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "caps.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static uid_t outer_uid;
static gid_t outer_gid;
static int with_userns;

static long read_long(const char *path, long otherwise)
{
	char buf[32];
	return ck_read_text(AT_FDCWD, path, buf, sizeof buf) > 0 ? atol(buf) : otherwise;
}

/* Why could there be no namespace? Several settings answer with the same EPERM. */
static int explain(int e, struct ck_err *err)
{
	if (read_long("/proc/sys/user/max_user_namespaces", 1) == 0)
		return ck_err_set(err, CK_EENV, 0, "user namespaces are switched off here "
				  "(sysctl user.max_user_namespaces is 0; the administrator can raise it)");
	if (read_long("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0)
		return ck_err_set(err, CK_EENV, 0, "user namespaces are for root only here "
				  "(sysctl kernel.unprivileged_userns_clone is 0; the administrator can set it)");
	if (read_long("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1)
		return ck_err_set(err, CK_EENV, 0, "AppArmor restricts user namespaces here (sysctl "
				  "kernel.apparmor_restrict_unprivileged_userns is 1; the administrator can allow ckshim-run)");
	return ck_err_set(err, CK_EENV, e, "namespaces cannot be made here (a container, or seccomp?)");
}

/* All ids map to themselves only in the machine's own user namespace. */
static int initial_userns(void)
{
	char buf[64];
	unsigned long in, out, count;
	return ck_read_text(AT_FDCWD, "/proc/self/uid_map", buf, sizeof buf) > 0 &&
	       sscanf(buf, "%lu %lu %lu", &in, &out, &count) == 3 && in == 0 && out == 0 && count == 4294967295ul;
}

pid_t ck_ns_fork(struct ck_err *err)
{
	outer_uid = geteuid();
	outer_gid = getegid();
	with_userns = !ck_caps_admin();
	/* Mapped to root in any namespace but the first, the program would have capabilities at every exec
	 * that criu, which may hold but one, cannot give back. */
	if (outer_uid == 0 && (with_userns || !initial_userns())) {
		ck_err_set(err, CK_EENV, 0, "this is root of a container, not of the machine: CRIU could not restore "
			   "its processes; run as an ordinary user");
		return -1;
	}
	unsigned long flags = CLONE_NEWPID | CLONE_NEWNS | SIGCHLD;
	if (with_userns)
		flags |= CLONE_NEWUSER;
	/* The raw call without a stack is a fork. glibc's atfork handlers do not run; we are single-threaded. */
	pid_t pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
	if (pid < 0)
		explain(errno, err);
	return pid;
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int rc = ck_write_full(fd, text, strlen(text));
	int e = errno;
	close(fd);
	errno = e;
	return rc;
}

static int map_ids(struct ck_err *err)
{
	char line[64];
	/* Without this an ordinary user may not write gid_map. Older kernels lack the file. */
	if (write_text("/proc/self/setgroups", "deny") < 0 && errno != ENOENT)
		return ck_err_set(err, CK_EENV, errno, "cannot write /proc/self/setgroups");
	snprintf(line, sizeof line, "%u %u 1\n", outer_uid, outer_uid);
	if (write_text("/proc/self/uid_map", line) < 0)
		return ck_err_set(err, CK_EENV, errno, "cannot write /proc/self/uid_map (is /proc read-only?)");
	snprintf(line, sizeof line, "%u %u 1\n", outer_gid, outer_gid);
	if (write_text("/proc/self/gid_map", line) < 0)
		return ck_err_set(err, CK_EENV, errno, "cannot write /proc/self/gid_map");
	return 0;
}

int ck_ns_enter(struct ck_err *err)
{
	if (with_userns && map_ids(err))
		return -1;
	/* Whatever ends the monitor ends us, and with us, as pid 1, everything inside. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return ck_err_set(err, CK_EENV, errno, "PR_SET_PDEATHSIG");
	/* slave, not private: automounted home directories must still appear inside */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return ck_err_set(err, CK_EENV, errno, "cannot change the propagation of mounts");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return ck_err_set(err, CK_EENV, errno, "cannot mount /proc in a namespace (parts of /proc are "
				  "masked, as in most containers?)");
	if (with_userns && ck_caps_supervisor() < 0)
		return ck_err_set(err, CK_EENV, errno, "cannot drop capabilities");
	return 0;
}

static void offset_of(int64_t want_ns, clockid_t clock, char *line, size_t cap, const char *name)
{
	struct timespec t;
	clock_gettime(clock, &t);
	int64_t off = want_ns - ((int64_t)t.tv_sec * 1000000000 + t.tv_nsec);
	int64_t sec = off / 1000000000, ns = off % 1000000000;
	if (ns < 0) {
		ns += 1000000000;
		sec--;
	}
	snprintf(line, cap, "%s %lld %lld\n", name, (long long)sec, (long long)ns);
}

int ck_ns_clocks(int64_t monotonic_ns, int64_t boottime_ns, struct ck_err *err)
{
	char mono[80], boot[80];
	if (unshare(CLONE_NEWTIME) < 0)
		return ck_err_set(err, CK_EENV, errno, "no time namespace (Linux 5.6 has them)");
	offset_of(monotonic_ns, CLOCK_MONOTONIC, mono, sizeof mono, "monotonic");
	offset_of(boottime_ns, CLOCK_BOOTTIME, boot, sizeof boot, "boottime");
	if (write_text("/proc/self/timens_offsets", mono) < 0 || write_text("/proc/self/timens_offsets", boot) < 0)
		return ck_err_set(err, CK_EENV, errno, "cannot set the clocks of a time namespace");
	/* unshare moves only future children; pid 1's own deadlines should read the same clock as theirs. */
	int fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWTIME) < 0) {
		ck_err_set(err, CK_EENV, errno, "cannot enter a time namespace");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	close(fd);
	return 0;
}

/* Make or accept @path as the mount point; it must be ours and a real folder. Only the mount in our own
 * namespace counts, so sharing it with other sessions of the same user is no harm. */
static int own_folder(const char *path)
{
	struct stat st;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -1;
	if (lstat(path, &st) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()) {
		errno = EEXIST;
		return -1;
	}
	return 0;
}

static int try_rundir(const char *path)
{
	if (own_folder(path) < 0)
		return -1;
	return mount("ckshim", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=64m");
}

int ck_ns_rundir(const char *want, char *out, size_t cap, struct ck_err *err)
{
	if (want) {
		const char *base = strrchr(want, '/');
		if (want[0] != '/' || strstr(want, "..") || !base || strncmp(base, "/.ckshim-", 9) != 0 ||
		    strlen(want) >= cap)
			return ck_err_set(err, CK_EDAMAGED, 0, "the manifest names an impossible run folder");
		if (try_rundir(want) < 0)
			return ck_err_set(err, CK_EREFUSED, errno, "the program's run folder %s cannot be had here "
					  "(does it belong to someone else? remove it)", want);
		snprintf(out, cap, "%s", want);
		return 0;
	}
	static const char *const places[] = { "/tmp", "/dev/shm", "/var/tmp" };
	int first = 0;
	for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
		for (int n = 0; n < 4; n++) {
			if (n == 0)
				snprintf(out, cap, "%s/.ckshim-%u", places[p], geteuid());
			else
				snprintf(out, cap, "%s/.ckshim-%u-%d", places[p], geteuid(), n);
			if (try_rundir(out) == 0)
				return 0;
			if (!first)
				first = errno;
		}
	}
	return ck_err_set(err, CK_EENV, first, "no place for a run folder in /tmp, /dev/shm or /var/tmp");
}

int ck_ns_last_pid(pid_t pid, struct ck_err *err)
{
	char text[16];
	snprintf(text, sizeof text, "%d", pid);
	if (write_text("/proc/sys/kernel/ns_last_pid", text) < 0)
		return ck_err_set(err, CK_EENV, errno, "cannot set /proc/sys/kernel/ns_last_pid (a kernel without "
				  "CONFIG_CHECKPOINT_RESTORE?)");
	return 0;
}

int ck_ns_devpts(struct ck_err *err)
{
	if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0600") < 0)
		return ck_err_set(err, CK_EENV, errno, "no devpts of our own");
	if (mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL) < 0)
		return ck_err_set(err, CK_EENV, errno, "cannot bind /dev/ptmx");
	return 0;
}
