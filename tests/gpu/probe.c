/* probe.c - what this machine's driver does, by trying it. Driver API alone.
 *
 *   probe [--sizes A,B,C] [--rate BYTES] [--spin N] [--facts FILE] [--label L] [--deadline S] [--only NAME,...]
 *   probe --list                             the questions
 *   probe --subject KIND SIZE DIR SECONDS    a process to ask about (subject.h)
 *   probe --act PID away|back|cold|warm      put PID away; bring it back (warm: after a cuInit of its own)
 *
 * One line of JSON for each question: probe, outcome, seconds, detail. Exit status 0 if every question was
 * answered, 1 if one was not (error, hung, died), 2 for wrong usage. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ask.h"
#include "subject.h"

static const char *label, *only;
static unsigned cap; /* upper bound of every deadline; 0: none */

static void json_text(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		if ((unsigned char)*s >= 0x20)
			putchar(*s);
	}
	putchar('"');
}

static void print_line(const char *name, const char *outcome, double seconds, const char *detail)
{
	char full[128];
	snprintf(full, sizeof full, "%s%s%s", name, label ? "@" : "", label ? label : "");
	printf("{\"probe\": ");
	json_text(full);
	printf(", \"outcome\": ");
	json_text(outcome);
	printf(", \"seconds\": %.3f, \"detail\": ", seconds);
	json_text(detail);
	printf("}\n");
	fflush(stdout);
}

/* The child's words up to the end of its output or the deadline. Returns 0, or -1: it was ended. */
static int listen_until(int fd, double deadline, char *buf, size_t size)
{
	size_t n = 0;
	for (;;) {
		double left = deadline - drv_seconds();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int r = left > 0 ? poll(&p, 1, (int)(left * 1000) + 1) : 0;
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -1;
		ssize_t k = read(fd, buf + n, size - 1 - n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return 0;
		n += (size_t)k;
		buf[n] = 0;
		if (n == size - 1 || buf[n - 1] == '\n')
			return 0;
	}
}

/* Returns 0 if it was answered. */
static int ask(const struct question *q)
{
	char buf[2048] = "";
	int pipes[2], status = 0;
	unsigned limit = cap && cap < q->deadline ? cap : q->deadline;
	double t0 = drv_seconds();
	if (pipe(pipes)) {
		print_line(q->name, "error", 0, strerror(errno));
		return -1;
	}
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipes[1], 1);
		close(pipes[0]);
		close(pipes[1]);
		q->ask(q->arg);
		_exit(1);
	}
	setpgid(child, child);
	close(pipes[1]);
	int hung = listen_until(pipes[0], t0 + limit, buf, sizeof buf);
	close(pipes[0]);
	/* an answer without a newline is a death in the middle of it; subjects go with the group either way */
	char *nl = strchr(buf, '\n');
	if (hung || !nl)
		kill(-child, SIGKILL);
	waitpid(child, &status, 0);
	kill(-child, SIGKILL);
	double seconds = drv_seconds() - t0;
	if (hung) {
		snprintf(buf, sizeof buf, "no answer within %u s; ended", limit);
		print_line(q->name, "hung", seconds, buf);
		return -1;
	}
	char *tab = strchr(buf, '\t');
	if (!nl || !tab) {
		snprintf(buf, sizeof buf, "the question's own process ended with wait status %#x", (unsigned)status);
		print_line(q->name, "died", seconds, buf);
		return -1;
	}
	*nl = *tab = 0;
	print_line(q->name, buf, seconds, tab + 1);
	return strcmp(buf, "error") ? 0 : -1;
}

static int wanted(const char *name)
{
	size_t n = strlen(name);
	for (const char *p = only; p && (p = strstr(p, name)); p++)
		if ((p == only || p[-1] == ',') && (p[n] == 0 || p[n] == ','))
			return 1;
	return !only;
}

/* Prints one line; status 0 if all went well. */
static int act(pid_t pid, const char *how)
{
	static const char *const plans[][5] = {
		{ "away", "init", "lock", "checkpoint" },
		{ "back", "init", "restore", "unlock" },
		{ "warm", "init", "restore", "unlock" },
		{ "cold", "restore", "unlock" },
	};
	if (drv_open()) {
		printf("%s\n", drv_error());
		return 1;
	}
	for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
		if (strcmp(plans[i][0], how) != 0)
			continue;
		for (int k = 1; k < 5 && plans[i][k]; k++) {
			double seconds;
			CUresult r = ask_call(pid, plans[i][k], 20000, &seconds);
			printf("%s%s %.3f s", k > 1 ? ", " : "", plans[i][k], seconds);
			if (r) {
				printf(": %s\n", drv_name(r));
				return 1;
			}
		}
		printf("\n");
		return 0;
	}
	return 2;
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: probe [--sizes A,B,C] [--rate BYTES] [--spin N] [--facts FILE] [--label L] [--deadline S] "
			"[--only NAME,...]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	int failed = 0, asked = 0;
	if (argc == 6 && !strcmp(argv[1], "--subject"))
		return subject_main(argv[2], strtoul(argv[3], NULL, 0), argv[4], (unsigned)atoi(argv[5]));
	if (argc == 4 && !strcmp(argv[1], "--act"))
		return act(atoi(argv[2]), argv[3]);
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (const struct question *q = questions; q->name; q++)
			printf("%s\n", q->name);
		return 0;
	}
	ask_options = (struct ask_options){ { 0, (size_t)1 << 30, (size_t)8 << 30 }, (size_t)256 << 20, 8000000, NULL };
	for (int i = 1; i < argc; i += 2) {
		const char *o = argv[i], *v = argv[i + 1];
		size_t *s = ask_options.sizes;
		if (!v)
			usage();
		if (!strcmp(o, "--sizes")) {
			if (sscanf(v, "%zu,%zu,%zu", s, s + 1, s + 2) != 3)
				usage();
		} else if (!strcmp(o, "--rate")) {
			ask_options.rate = strtoul(v, NULL, 0);
		} else if (!strcmp(o, "--spin")) {
			ask_options.spin = (unsigned)strtoul(v, NULL, 0);
		} else if (!strcmp(o, "--facts")) {
			ask_options.facts = v;
		} else if (!strcmp(o, "--label")) {
			label = v;
		} else if (!strcmp(o, "--deadline")) {
			cap = (unsigned)atoi(v);
		} else if (!strcmp(o, "--only")) {
			only = v;
		} else {
			usage();
		}
	}
	for (const struct question *q = questions; q->name; q++)
		if (wanted(q->name)) {
			asked++;
			failed |= ask(q) != 0;
		}
	if (!asked)
		usage();
	return failed;
}
