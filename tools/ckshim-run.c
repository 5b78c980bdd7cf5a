/* ckshim-run - start a program so that it can be checkpointed. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shim/base/log.h"
#include "opts.h"
#include "session.h"
#include "status.h"
#include "store.h"

static struct ck_common common;
static const char *exe;

static const struct ck_opt opts[] = {
	CK_OPTS_STORE(common),
	CK_OPTS_SUPERVISE(common),
	CK_OPTS_LOG(common),
	{ "exe", 0, "PATH", NULL, NULL, CK_OPT_STRING, &exe, 0, 0, NULL,
	  "the file to execute, where it is not the one that PROGRAM names" },
};

static const int statuses[] = { CK_STATUS_USAGE, CK_STATUS_CHECKPOINTED, CK_STATUS_INTERNAL,
	CK_STATUS_NOEXEC, CK_STATUS_NOTFOUND, 0 };

static const struct ck_tool tool = {
	.name = "ckshim-run",
	.usage = "[OPTION...] [--] PROGRAM [ARG...]",
	.summary = "Run PROGRAM so that a preemption signal saves it, GPU memory and all, to files and ends it; "
		   "ckshim-restore continues it. LD_PRELOAD=libckshim.so PROGRAM does the same.",
	.opts = opts,
	.nopts = sizeof opts / sizeof opts[0],
	.max_operands = -1,
	.stop_at_operand = 1,
	.ok = "the program ended with 0",
	.statuses = statuses,
	.status_note = "Any other status is the program's own. If it died by a signal, ckshim-run dies by the same.",
};

int main(int argc, char **argv)
{
	static char store[PATH_MAX], job[CK_JOB_MAX], key[CK_KEY_MAX];
	struct ck_err err;
	int status, had_log = getenv("CKSHIM_LOG") != NULL;
	int first = ck_opts_main(&tool, argc, argv, &status);
	if (first < 0)
		return status;
	ck_log_init();
	if (!had_log && strcmp(common.log, "normal") == 0)
		unsetenv("CKSHIM_LOG"); /* the program's environment stays its own */
	if (first >= argc) {
		fprintf(stderr, "ckshim-run: no program given; try ckshim-run --help\n");
		return CK_STATUS_USAGE;
	}
	struct ck_session s = { .exe = exe, .argv = argv + first, .from_fd = -1, .store = store, .key = key,
		.job = job, .signals = common.signals, .criu = common.criu, .deadline_ms = common.deadline_ms,
		.keep = common.keep };
	if (ck_store_job(common.job, job, sizeof job, &err) || ck_store_key(job, s.argv, key, sizeof key, &err) ||
	    ck_store_locate(common.dir, store, sizeof store, &err)) {
		/* No reason not to run; the checkpoint will say it again. */
		ck_say("no checkpoint will be possible: %s", err.msg);
	}
	return ck_session_run(&s);
}
