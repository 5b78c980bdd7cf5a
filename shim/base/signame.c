#define _GNU_SOURCE
#include "signame.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static int lookup(const char *s, size_t len)
{
	if (len > 3 && strncasecmp(s, "SIG", 3) == 0) {
		s += 3;
		len -= 3;
	}
	int number = 0;
	size_t i = 0;
	while (i < len && i < 3 && isdigit((unsigned char)s[i]))
		number = number * 10 + (s[i++] - '0');
	if (len && i == len)
		return number >= 1 && number <= 64 ? number : -1;
	for (int sig = 1; sig < 32; sig++) {
		const char *name = sigabbrev_np(sig);
		if (name && strlen(name) == len && strncasecmp(name, s, len) == 0)
			return sig;
	}
	return -1;
}

int ck_signame_parse_list(const char *list, uint64_t *set)
{
	*set = 0;
	while (*list) {
		size_t len = strcspn(list, ",");
		int sig = lookup(list, len);
		switch (sig) {
		case -1:
		case SIGKILL:
		case SIGSTOP:
		case SIGSEGV:
		case SIGBUS:
		case SIGFPE:
		case SIGILL:
		case SIGTRAP:
		case SIGCHLD:
			return -1;
		default:
			*set |= (uint64_t)1 << (sig - 1);
		}
		list += len;
		if (*list == ',' && !*++list)
			return -1;
	}
	return *set ? 0 : -1;
}

const char *ck_signame(int sig)
{
	static char buf[32];
	const char *name = sigabbrev_np(sig);
	if (name)
		snprintf(buf, sizeof buf, "SIG%s", name);
	else
		snprintf(buf, sizeof buf, "signal %d", sig);
	return buf;
}
