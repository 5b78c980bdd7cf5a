/* Options: three sources, one set of checks; nothing is accepted that is not understood. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "../../tools/opts.h"
#include "../../tools/status.h"
#include "tap.h"

static struct ck_err err;
static struct ck_common c;
static int flag, other;
static uint64_t size;

static const struct ck_opt rows[] = {
	CK_OPTS_STORE(c),
	CK_OPTS_SUPERVISE(c),
	CK_OPTS_LOG(c),
	{ "json", 'J', NULL, "CKSHIM_JSON", NULL, CK_OPT_FLAG, &flag, 0, 0, NULL, "as JSON" },
	{ "quick", 'q', NULL, NULL, NULL, CK_OPT_FLAG, &other, 0, 0, NULL, "quickly" },
	{ "offload-min", 0, "SIZE", "CKSHIM_OFFLOAD_MIN", "1M", CK_OPT_SIZE, &size, 4096, 0, NULL, "least" },
};
static const int statuses[] = { CK_STATUS_USAGE, CK_STATUS_DAMAGED, 0 };
static struct ck_tool tool = {
	.name = "ckshim-test", .usage = "[OPTION...] [FILE]", .summary = "Does nothing.",
	.opts = rows, .nopts = sizeof rows / sizeof rows[0], .max_operands = -1, .ok = "fine",
	.statuses = statuses,
};

static char *argv_[16], *text;
static int argc_, first;

/* Parse the words of @line. */
static int parse(const char *line)
{
	static char buf[512];
	memset(&c, 0, sizeof c);
	flag = other = 0;
	size = 0;
	free(text);
	text = NULL;
	snprintf(buf, sizeof buf, "%s", line);
	argc_ = 0;
	argv_[argc_++] = (char *)"ckshim-test";
	for (char *w = strtok(buf, " "); w; w = strtok(NULL, " "))
		argv_[argc_++] = w;
	argv_[argc_] = NULL;
	memset(&err, 0, sizeof err);
	return ck_opts_parse(&tool, argc_, argv_, &first, &text, &err);
}

static void refused(const char *line, const char *names)
{
	int rc = parse(line);
	if (!ok(rc == -1 && err.code == CK_EINVAL && strstr(err.msg, names), "refused: %s", line))
		printf("# %d %s\n", rc, err.msg);
}

static void test_sources(void)
{
	ok(parse("") == 0 && first == 1, "nothing at all");
	is_str(c.signals, "TERM,USR1", "default of a string");
	is_int(c.deadline_ms, 300000, "of a duration");
	is_int(c.keep, 2, "of a number");
	is_int(size, 1 << 20, "of a size");
	ok(!c.dir && !c.criu && !flag, "no default is none");
	setenv("CKSHIM_KEEP", "5", 1);
	setenv("CKSHIM_JSON", "yes", 1);
	setenv("CKSHIM_DIR", "", 1);
	ok(parse("") == 0 && c.keep == 5 && flag && !c.dir, "variables; an empty one is unset");
	ok(parse("--keep 7") == 0 && c.keep == 7, "the command line wins");
	static const struct {
		const char *name, *value;
	} bad[] = { { "CKSHIM_KEEP", "two" }, { "CKSHIM_KEEP", "0" }, { "CKSHIM_DEADLINE", "5 minutes" },
		{ "CKSHIM_DEADLINE", "-1" }, { "CKSHIM_SIGNALS", "TERM,KILL" }, { "CKSHIM_JSON", "maybe" },
		{ "CKSHIM_LOG", "loud" }, { "CKSHIM_JOB", "../x" }, { "CKSHIM_OFFLOAD_MIN", "1X" } };
	unsetenv("CKSHIM_KEEP");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		setenv(bad[i].name, bad[i].value, 1);
		ok(parse("--quick") == -1 && strstr(err.msg, bad[i].name), "nonsense names its variable: %s=%s",
		   bad[i].name, bad[i].value);
		ok(parse("--help") == 0 && text, "and --help works all the same");
		unsetenv(bad[i].name);
	}
}

static void test_forms(void)
{
	ok(parse("--keep=3 -d /a -j job.1 -Jq x y") == 0 && c.keep == 3 && flag && other &&
		   strcmp(c.dir, "/a") == 0 && strcmp(c.job, "job.1") == 0,
	   "long with =, short, bundled");
	ok(first == argc_ - 2 && strcmp(argv_[first], "x") == 0, "operands follow");
	ok(parse("x -k3 y --json z") == 0 && c.keep == 3 && flag && argc_ - first == 3 &&
		   strcmp(argv_[first], "x") == 0 && strcmp(argv_[first + 1], "y") == 0 &&
		   strcmp(argv_[first + 2], "z") == 0,
	   "options among operands are found, operands stay in order");
	ok(parse("a -- -k3 --json") == 0 && c.keep == 2 && !flag && argc_ - first == 3 &&
		   strcmp(argv_[first], "a") == 0 && strcmp(argv_[first + 1], "-k3") == 0,
	   "after -- nothing is an option");
	ok(parse("-") == 0 && argc_ - first == 1, "a lone dash is an operand");
	tool.stop_at_operand = 1;
	ok(parse("-k4 prog --keep 9 -- -x") == 0 && c.keep == 4 && argc_ - first == 5 &&
		   strcmp(argv_[first], "prog") == 0,
	   "a program's options are its own");
	ok(parse("-k4 -- -prog -x") == 0 && argc_ - first == 2 && strcmp(argv_[first], "-prog") == 0,
	   "and may follow --");
	tool.stop_at_operand = 0;
	tool.max_operands = 1;
	ok(parse("one") == 0, "as many operands as allowed");
	refused("one two", "two");
	tool.max_operands = -1;
	static const struct {
		const char *given;
		unsigned ms;
	} times[] = { { "30", 30000 }, { "30s", 30000 }, { "1500ms", 1500 }, { "5m", 300000 }, { "2h", 7200000 } };
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		char line[64];
		snprintf(line, sizeof line, "--deadline %s", times[i].given);
		ok(parse(line) == 0 && c.deadline_ms == times[i].ms, "duration %s", times[i].given);
	}
	ok(parse("--offload-min 64K") == 0 && size == 65536, "64K");
	ok(parse("--offload-min 2GiB") == 0 && size == 2ull << 30, "2GiB");
}

static void test_refusals(void)
{
	refused("--nonsense", "--nonsense");
	refused("--kee 3", "--kee"); /* no abbreviations: they would change meaning with the next release */
	refused("-x", "-x");
	refused("-qx", "-x");
	refused("--keep", "--keep");
	refused("-k", "-k");
	refused("--json=1", "--json");
	refused("--help=x", "--help");
	refused("--keep 1001", "--keep");
	refused("--keep -1", "--keep");
	refused("--keep 1.5", "--keep");
	refused("--keep 99999999999999999999", "--keep");
	refused("--deadline 0", "--deadline");
	refused("--deadline 999ms", "--deadline");
	refused("--deadline 25h", "--deadline");
	refused("--offload-min 99999999999T", "--offload-min");
	refused("--offload-min 1", "--offload-min");
	refused("--dir=", "--dir");
	refused("--signals TERM,,USR1", "--signals");
	refused("--signals BOGUS", "BOGUS");
	refused("--signals SEGV", "SEGV");
	refused("--log chatty", "chatty");
}

static void test_signals(void)
{
	sigset_t s;
	ok(ck_opts_signals("TERM,sigusr2,1", &s, &err) == 0 && sigismember(&s, SIGTERM) &&
		   sigismember(&s, SIGUSR2) && sigismember(&s, SIGHUP) && !sigismember(&s, SIGUSR1),
	   "names with and without SIG, and numbers");
	ok(ck_opts_signals("9", &s, &err) && ck_opts_signals("STOP", &s, &err) && ck_opts_signals("", &s, &err) &&
		   ck_opts_signals("0", &s, &err) && ck_opts_signals("64", &s, &err),
	   "what cannot start a checkpoint is refused");
}

/* Longest line of @s. */
static size_t widest(const char *s)
{
	size_t w = 0;
	while (*s) {
		size_t n = strcspn(s, "\n");
		w = n > w ? n : w;
		s += n + (s[n] != 0);
	}
	return w;
}

static void test_text(void)
{
	ok(parse("--help") == 0 && text && strstr(text, "Usage: ckshim-test [OPTION...] [FILE]\n"), "--help");
	ok(text && strstr(text, "--deadline TIME") && strstr(text, "CKSHIM_DEADLINE") && strstr(text, "default 300"),
	   "tells option, variable, default");
	ok(text && strstr(text, "\nExit status:\n") && strstr(text, "  87   every checkpoint there is damaged"),
	   "and exit statuses");
	ok(text && !strstr(text, "  88 "), "only the tool's own");
	ok(text && !strstr(text, "dump-options"), "not what is hidden");
	ok(text && widest(text) <= 80, "in 80 columns");
	ok(parse("-h") == 0 && text, "-h");
	ok(parse("--version") == 0 && text && strcmp(text, "ckshim-test " CK_VERSION "\n") == 0, "--version");
	ok(parse("-V") == 0 && text, "-V");
	ok(parse("--dump-options") == 0 && text && strstr(text, "option\tkeep\tk\tN\tCKSHIM_KEEP\t2\n") &&
		   strstr(text, "status\t87\n") && strstr(text, "option\tjson\tJ\t-\tCKSHIM_JSON\t-\n"),
	   "--dump-options");
	tool.stop_at_operand = 1;
	ok(parse("prog --help") == 0 && !text, "the program's --help is the program's");
	tool.stop_at_operand = 0;
}

int main(void)
{
	static const char *const v[] = { "CKSHIM_DIR", "CKSHIM_JOB", "CKSHIM_SIGNALS", "CKSHIM_DEADLINE",
		"CKSHIM_KEEP", "CKSHIM_CRIU", "CKSHIM_LOG" };
	for (size_t i = 0; i < sizeof v / sizeof v[0]; i++)
		unsetenv(v[i]);
	test_sources();
	test_forms();
	test_refusals();
	test_signals();
	test_text();
	free(text);
	return tap_done();
}
