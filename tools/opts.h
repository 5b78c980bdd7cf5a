/* opts.h - one table of options for each tool. From it come the parser, --help, --version, the usage
 * errors, and --dump-options, which the man page check and shell completion read.
 *
 * Where a value comes from, the later winning: the row's default, the CKSHIM_* variable, the command
 * line. All three go through the same checks. An empty variable counts as unset; nonsense in one is an
 * error that names it.
 */
#ifndef CK_OPTS_H
#define CK_OPTS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "../shim/base/err.h"

enum ck_opt_type {
	CK_OPT_FLAG,	 /* int: 1 when given. As a variable: 1/yes/on/true or 0/no/off/false */
	CK_OPT_STRING,	 /* const char *: not empty; borrowed from argv, environ or the table */
	CK_OPT_UINT,	 /* unsigned */
	CK_OPT_SIZE,	 /* uint64_t bytes: 4096, 64K, 1M, 2G, 1T (powers of 1024) */
	CK_OPT_DURATION, /* unsigned milliseconds: 30, 30s, 5m, 2h, 500ms; plain numbers are seconds */
};

struct ck_opt {
	const char *name;    /* long option without dashes */
	char letter;	     /* short option, or 0 */
	const char *arg;     /* what help calls its argument; NULL for a flag */
	const char *env;     /* CKSHIM_NAME, or NULL */
	const char *dflt;    /* default as the user would write it; NULL: @var stays as it was */
	enum ck_opt_type type;
	void *var;	     /* where the value goes, of the type above */
	uint64_t min, max;   /* in the variable's unit; max 0: no upper bound but the type's */
	int (*check)(const char *value, struct ck_err *err); /* strings: 0 or -1; may be NULL */
	const char *help;    /* one or more lines, wrapped by us */
};

struct ck_tool {
	const char *name;	  /* "ckshim-run" */
	const char *usage;	  /* what follows the name: "[OPTION...] [--] PROGRAM [ARG...]" */
	const char *summary;	  /* one paragraph */
	const struct ck_opt *opts;
	size_t nopts;
	int max_operands;	  /* more are a usage error; -1: any number */
	int stop_at_operand;	  /* options end at the first operand (a program's command line follows) */
	const char *ok;		  /* meaning of exit status 0 */
	const int *statuses;	  /* enum ck_status the tool may end with, 0-terminated; --help lists them */
	const char *status_note;  /* printed under them, or NULL */
};

/* --help (-h), --version (-V) and the hidden --dump-options need no row: every tool has them. */

/* ck_opts_parse - fill the tool's variables from defaults, environment and @argv. Prints nothing.
 * *@first gets the index of the first operand (argc when there is none); operands that stand between
 * options are moved behind them, so they are argv[*first..argc-1] (never with stop_at_operand).
 * *@text is NULL, or what --help, --version or --dump-options asked for: print it to stdout and exit 0
 * (malloc'd; the caller frees; the variables are then unspecified).
 * Returns 0; or -1: CK_EINVAL with one line that names the option or the variable. */
int ck_opts_parse(const struct ck_tool *t, int argc, char **argv, int *first, char **text,
		  struct ck_err *err);

/* ck_opts_main - the beginning that every tool's main() has alike: ck_opts_parse, and print what there
 * is to print: help to stdout; an error in one line, and where help is, to stderr. A row named "log"
 * takes effect here.
 * Returns the index of the first operand; or -1, and main returns *@status (0 or CK_STATUS_USAGE).
 * For main() only. */
int ck_opts_main(const struct ck_tool *t, int argc, char **argv, int *status);

/* ck_opts_signals - parse "TERM,USR1" (SIG allowed, numbers allowed) into *@set. Refuses an empty list,
 * unknown names, and signals that cannot be caught or that mean a fault (KILL, STOP, SEGV ...).
 * @set may be NULL: only check. Fits ck_opt.check through ck_opts_check_signals. */
int ck_opts_signals(const char *list, sigset_t *set, struct ck_err *err);
int ck_opts_check_signals(const char *value, struct ck_err *err);
int ck_opts_check_log(const char *value, struct ck_err *err);
int ck_opts_check_job(const char *value, struct ck_err *err);

/* ck_opts_log - make --log's level count, here and in what is started from here (CKSHIM_LOG). */
void ck_opts_log(const char *level);

/* Options that several tools share: rows over one struct, so that they read alike everywhere. */
struct ck_common {
	const char *dir;      /* NULL: ck_store_locate chooses */
	const char *job;      /* NULL: ck_store_job chooses */
	const char *signals;
	const char *criu;     /* NULL: find one */
	const char *log;      /* quiet, normal, debug */
	unsigned deadline_ms;
	unsigned keep;
};

/* Put into a table: static struct ck_common c; static const struct ck_opt opts[] = {
 *	CK_OPTS_STORE(c), CK_OPTS_SUPERVISE(c), CK_OPTS_LOG(c), ... };
 *
 * The deadline's default is the longest grace that sites document (5 minutes): where the grace is
 * shorter Slurm's SIGKILL ends the attempt anyway and the checkpoint before it stays valid, while a
 * shorter default would give up saves that had time to finish. */
#define CK_OPTS_STORE(c)                                                                              \
	{ "dir", 'd', "DIR", "CKSHIM_DIR", NULL, CK_OPT_STRING, &(c).dir, 0, 0, NULL,                 \
	  "store of checkpoints; default: ckshim-checkpoints in the submit directory, else here" },   \
	{ "job", 'j', "JOB", "CKSHIM_JOB", NULL, CK_OPT_STRING, &(c).job, 0, 0, ck_opts_check_job,    \
	  "name of the job whose checkpoints these are; default: Slurm's job id, else \"local\"" }
#define CK_OPTS_SUPERVISE(c)                                                                          \
	{ "signals", 's', "LIST", "CKSHIM_SIGNALS", "TERM,USR1", CK_OPT_STRING, &(c).signals, 0, 0,   \
	  ck_opts_check_signals, "signals that mean: checkpoint, then end" },                         \
	{ "deadline", 't', "TIME", "CKSHIM_DEADLINE", "300", CK_OPT_DURATION, &(c).deadline_ms,       \
	  1000, 86400000, NULL,                                                                       \
	  "time a checkpoint may take (seconds; 90s, 5m); when it passes the program runs on" },      \
	{ "keep", 'k', "N", "CKSHIM_KEEP", "2", CK_OPT_UINT, &(c).keep, 1, 1000, NULL,                \
	  "valid checkpoints to keep, the newest included" },                                         \
	{ "criu", 0, "PATH", "CKSHIM_CRIU", NULL, CK_OPT_STRING, &(c).criu, 0, 0, NULL,               \
	  "the criu to use, 4.1 or newer; default: the installed bundle, else PATH" }
#define CK_OPTS_LOG(c)                                                                                \
	{ "log", 0, "LEVEL", "CKSHIM_LOG", "normal", CK_OPT_STRING, &(c).log, 0, 0,                   \
	  ck_opts_check_log, "ckshim's own lines on standard error: quiet, normal or debug" }

#endif
