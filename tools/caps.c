#define _GNU_SOURCE
#include "caps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../shim/base/io.h"

#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40
#endif

static int set(uint64_t eff_perm, uint64_t inh)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];
	for (int i = 0; i < 2; i++) {
		d[i].effective = d[i].permitted = (uint32_t)(eff_perm >> (32 * i));
		d[i].inheritable = (uint32_t)(inh >> (32 * i));
	}
	return (int)syscall(SYS_capset, &h, d);
}

int ck_caps_none(void)
{
	/* Ambient first: the kernel keeps it within permitted and inheritable by itself, but only an
	 * explicit clear is defined for kernels where that invariant is checked late. */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -1;
	return set(0, 0);
}

/* Yama at 1 and above allows ptrace of descendants only, and criu is a sibling of the program. */
static int yama_restricts(void)
{
	char buf[16];
	return ck_read_text(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", buf, sizeof buf) > 0 &&
	       atoi(buf) >= 1;
}

int ck_caps_criu(void)
{
	uint64_t want = 1ull << CAP_CHECKPOINT_RESTORE;
	if (yama_restricts())
		want |= 1ull << CAP_SYS_PTRACE;
	/* The bounding set stays whole: what criu restores inherits it, and once it is smaller than the
	 * next images say, criu would need CAP_SETPCAP to put that right. */
	if (set(want, want) < 0)
		return -1;
	for (int c = 0; c < 64; c++) {
		if (want >> c & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
			return -1;
	}
	return 0;
}

int ck_caps_supervisor(void)
{
	/* SYS_TIME is for the offsets of a time namespace. */
	return set(1ull << CAP_SYS_ADMIN | 1ull << CAP_SYS_TIME | 1ull << CAP_SYS_PTRACE |
			   1ull << CAP_CHECKPOINT_RESTORE,
		   0);
}

int ck_caps_admin(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];
	memset(d, 0, sizeof d);
	if (syscall(SYS_capget, &h, d) < 0)
		return 0;
	return d[0].effective >> CAP_SYS_ADMIN & 1;
}
