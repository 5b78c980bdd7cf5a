/* opts.c - reads options: the table's defaults, then the environment, then the command line. */
#define _GNU_SOURCE
#include "opts.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../shim/base/log.h"
#include "opts_int.h"
#include "store.h"

struct unit {
	const char *suffix;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{ "", 1 },	    { "K", 1ull << 10 },   { "M", 1ull << 20 },	  { "G", 1ull << 30 },
	{ "T", 1ull << 40 }, { "KiB", 1ull << 10 }, { "MiB", 1ull << 20 }, { "GiB", 1ull << 30 },
	{ "TiB", 1ull << 40 }, { NULL, 0 },
};
static const struct unit time_units[] = {
	{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { NULL, 0 },
};
static const struct unit no_units[] = { { "", 1 }, { NULL, 0 } };

/* Decimal digits and one of the suffixes, nothing else: strtoull alone takes "-1" and " 7". */
static int parse_number(const char *s, const struct unit *units, uint64_t *out)
{
	char *end;
	if (!isdigit((unsigned char)*s))
		return -1;
	errno = 0;
	unsigned long long n = strtoull(s, &end, 10);
	if (errno)
		return -1;
	for (const struct unit *u = units; u->suffix; u++)
		if (strcasecmp(end, u->suffix) == 0)
			return __builtin_mul_overflow(n, u->factor, out) ? -1 : 0;
	return -1;
}

static int parse_flag(const char *s, int *out)
{
	static const char *const yes[] = { "1", "yes", "on", "true" };
	static const char *const no[] = { "0", "no", "off", "false" };
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
		if (strcasecmp(s, yes[i]) == 0)
			return *out = 1, 0;
		if (strcasecmp(s, no[i]) == 0)
			return *out = 0, 0;
	}
	return -1;
}

/* What a value of the option may look like, for an error. */
static const char *expected(enum ck_opt_type type)
{
	switch (type) {
	case CK_OPT_FLAG:
		return "1 or 0";
	case CK_OPT_SIZE:
		return "a size such as 4096, 64K, 1M or 2G";
	case CK_OPT_DURATION:
		return "a time such as 30 (seconds), 500ms, 5m or 2h";
	default:
		return "a number";
	}
}

static int bad_value(const struct ck_opt *o, const char *where, const char *value, struct ck_err *err)
{
	return ck_err_set(err, CK_EINVAL, 0, "%s: \"%.64s\" is not %s", where, value, expected(o->type));
}

/* @where: "--keep" or "CKSHIM_KEEP", for the message. */
static int set_number(const struct ck_opt *o, const char *where, const char *value, struct ck_err *err)
{
	const struct unit *units = o->type == CK_OPT_SIZE     ? size_units
				   : o->type == CK_OPT_DURATION ? time_units
								: no_units;
	uint64_t n, max = o->type == CK_OPT_SIZE ? UINT64_MAX : UINT_MAX;
	if (o->max && o->max < max)
		max = o->max;
	if (parse_number(value, units, &n))
		return bad_value(o, where, value, err);
	if (n < o->min || n > max) {
		/* durations are told in seconds, as they are given */
		uint64_t div = o->type == CK_OPT_DURATION ? 1000 : 1;
		return ck_err_set(err, CK_EINVAL, 0, "%s: %.64s is out of range (%llu to %llu%s)", where, value,
				  (unsigned long long)(o->min / div), (unsigned long long)(max / div),
				  o->type == CK_OPT_DURATION ? " seconds" : "");
	}
	if (o->type == CK_OPT_SIZE)
		*(uint64_t *)o->var = n;
	else
		*(unsigned *)o->var = (unsigned)n;
	return 0;
}

static int set_value(const struct ck_opt *o, const char *where, const char *value, struct ck_err *err)
{
	if (o->type == CK_OPT_FLAG)
		return parse_flag(value, o->var) ? bad_value(o, where, value, err) : 0;
	if (o->type != CK_OPT_STRING)
		return set_number(o, where, value, err);
	if (!*value)
		return ck_err_set(err, CK_EINVAL, 0, "%s: its value is empty", where);
	if (o->check && o->check(value, err))
		return ck_err_wrap(err, "%s", where);
	*(const char **)o->var = value;
	return 0;
}

/* Table and environment. An error in the environment is kept for later: --help must work whatever
 * the environment says. */
static int set_defaults(const struct ck_tool *t, struct ck_err *err)
{
	int bad = 0;
	for (size_t i = 0; i < t->nopts; i++) {
		const struct ck_opt *o = &t->opts[i];
		if (o->dflt && set_value(o, o->name, o->dflt, err))
			return ck_err_wrap(err, "default");
		const char *v = o->env ? getenv(o->env) : NULL;
		if (v && *v && !bad)
			bad = set_value(o, o->env, v, err);
	}
	return bad;
}

static const struct ck_opt *find_long(const struct ck_tool *t, const char *name, size_t len)
{
	for (size_t i = 0; i < t->nopts; i++)
		if (strlen(t->opts[i].name) == len && memcmp(t->opts[i].name, name, len) == 0)
			return &t->opts[i];
	return NULL;
}

static const struct ck_opt *find_short(const struct ck_tool *t, char letter)
{
	for (size_t i = 0; i < t->nopts; i++)
		if (t->opts[i].letter && t->opts[i].letter == letter)
			return &t->opts[i];
	return NULL;
}

struct cursor {
	const struct ck_tool *tool;
	int argc;
	char **argv;
	int at; /* next argument to look at */
};

/* The three that every tool has. 1 when @name was one of them. */
static int builtin(const struct ck_tool *t, const char *name, char **text)
{
	if (strcmp(name, "help") == 0)
		*text = ck_opts_help(t);
	else if (strcmp(name, "version") == 0)
		*text = ck_opts_version(t);
	else if (strcmp(name, "dump-options") == 0)
		*text = ck_opts_dump(t);
	else
		return 0;
	return 1;
}

static int take_long(struct cursor *c, const char *arg, char **text, struct ck_err *err)
{
	const char *name = arg + 2, *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	char where[80];
	const struct ck_opt *o = find_long(c->tool, name, len);
	if (!o) {
		if (!eq && builtin(c->tool, name, text))
			return *text ? 0 : ck_err_set(err, CK_ESYS, ENOMEM, "%s", arg);
		return ck_err_set(err, CK_EINVAL, 0, "unknown option %.100s", arg);
	}
	strcpy(where, "--");
	strncat(where, o->name, sizeof where - 3);
	if (o->type == CK_OPT_FLAG) {
		if (eq)
			return ck_err_set(err, CK_EINVAL, 0, "%s takes no value", where);
		*(int *)o->var = 1;
		return 0;
	}
	if (!eq && c->at >= c->argc)
		return ck_err_set(err, CK_EINVAL, 0, "%s needs a value: %s", where, o->arg);
	return set_value(o, where, eq ? eq + 1 : c->argv[c->at++], err);
}

/* "-k2", "-k 2", "-ab" for two flags. */
static int take_short(struct cursor *c, const char *arg, char **text, struct ck_err *err)
{
	for (const char *p = arg + 1; *p; p++) {
		char where[] = { '-', *p, 0 };
		const struct ck_opt *o = find_short(c->tool, *p);
		if (!o) {
			const char *name = *p == 'h' ? "help" : *p == 'V' ? "version" : "";
			if (!builtin(c->tool, name, text))
				return ck_err_set(err, CK_EINVAL, 0, "unknown option %s", where);
			return *text ? 0 : ck_err_set(err, CK_ESYS, ENOMEM, "%s", where);
		}
		if (o->type == CK_OPT_FLAG) {
			*(int *)o->var = 1;
			continue;
		}
		if (!p[1] && c->at >= c->argc)
			return ck_err_set(err, CK_EINVAL, 0, "%s needs a value: %s", where, o->arg);
		return set_value(o, where, p[1] ? p + 1 : c->argv[c->at++], err);
	}
	return 0;
}

/* Move argv[from..to-1] one place up and put @arg at @from. */
static void move_up(char **argv, int from, int to, char *arg)
{
	memmove(argv + from + 1, argv + from, (size_t)(to - from) * sizeof *argv);
	argv[from] = arg;
}

int ck_opts_parse(const struct ck_tool *t, int argc, char **argv, int *first, char **text,
		  struct ck_err *err)
{
	struct cursor c = { .tool = t, .argc = argc, .argv = argv, .at = 1 };
	int options = 1; /* argv[1..options-1] are done; operands met so far follow, up to c.at */
	struct ck_err env_err;
	int env = set_defaults(t, &env_err);
	*text = NULL;
	while (c.at < argc) {
		char *arg = argv[c.at];
		int start = c.at, dashes = strcmp(arg, "--") == 0;
		if (!dashes && (arg[0] != '-' || !arg[1])) {
			if (t->stop_at_operand)
				break;
			c.at++;
			continue;
		}
		c.at++;
		if (!dashes && (arg[1] == '-' ? take_long(&c, arg, text, err) : take_short(&c, arg, text, err)))
			return -1;
		if (*text)
			return 0;
		for (int i = start; i < c.at; i++)
			move_up(argv, options++, i, argv[i]);
		if (dashes)
			break;
	}
	*first = options;
	if (t->max_operands >= 0 && argc - options > t->max_operands)
		return ck_err_set(err, CK_EINVAL, 0, "one argument too many: %.100s",
				  argv[options + t->max_operands]);
	/* also when the command line overrides it: it will be met again where it does not */
	if (env)
		*err = env_err;
	return env;
}

/* ---- checks for strings ---- */

static int signal_number(const char *name, size_t len)
{
	char buf[16];
	if (len >= 3 && strncasecmp(name, "SIG", 3) == 0) {
		name += 3;
		len -= 3;
	}
	if (!len || len >= sizeof buf)
		return -1;
	memcpy(buf, name, len);
	buf[len] = 0;
	uint64_t n;
	if (parse_number(buf, no_units, &n) == 0)
		return n >= 1 && n < 32 ? (int)n : -1;
	for (int i = 1; i < 32; i++) {
		const char *abbrev = sigabbrev_np(i);
		if (abbrev && strcasecmp(abbrev, buf) == 0)
			return i;
	}
	return -1;
}

int ck_opts_signals(const char *list, sigset_t *set, struct ck_err *err)
{
	/* cannot be caught, or raised by a fault in the program, or ckshim's own business */
	static const int unfit[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS,
		SIGABRT, SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU };
	if (set)
		sigemptyset(set);
	for (const char *p = list;;) {
		size_t len = strcspn(p, ",");
		int n = signal_number(p, len);
		if (n < 0)
			return ck_err_set(err, CK_EINVAL, 0,
					  "\"%.*s\" is not a signal; give names such as TERM,USR1",
					  (int)(len < 32 ? len : 32), p);
		for (size_t i = 0; i < sizeof unfit / sizeof unfit[0]; i++)
			if (n == unfit[i])
				return ck_err_set(err, CK_EINVAL, 0, "SIG%s cannot start a checkpoint",
						  sigabbrev_np(n));
		if (set)
			sigaddset(set, n);
		if (!p[len])
			return 0;
		p += len + 1;
	}
}

int ck_opts_check_signals(const char *value, struct ck_err *err)
{
	return ck_opts_signals(value, NULL, err);
}

int ck_opts_check_log(const char *value, struct ck_err *err)
{
	if (strcmp(value, "quiet") && strcmp(value, "normal") && strcmp(value, "debug"))
		return ck_err_set(err, CK_EINVAL, 0, "\"%.64s\" is not quiet, normal or debug", value);
	return 0;
}

int ck_opts_check_job(const char *value, struct ck_err *err)
{
	char job[CK_JOB_MAX];
	return ck_store_job(value, job, sizeof job, err);
}

void ck_opts_log(const char *level)
{
	setenv("CKSHIM_LOG", level, 1);
	ck_log_init();
}
