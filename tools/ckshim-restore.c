/* ckshim-restore - continue the newest valid checkpoint, or start the program. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shim/base/log.h"
#include "opts.h"
#include "restore.h"
#include "session.h"
#include "status.h"
#include "store.h"

static struct ck_common common;
static int fresh;

static const struct ck_opt opts[] = {
	CK_OPTS_STORE(common),
	CK_OPTS_SUPERVISE(common),
	CK_OPTS_LOG(common),
	{ "fresh", 0, NULL, NULL, NULL, CK_OPT_FLAG, &fresh, 0, 0, NULL,
	  "start PROGRAM from its beginning, whatever checkpoints there are" },
};

static const int statuses[] = { CK_STATUS_USAGE, CK_STATUS_CHECKPOINTED, CK_STATUS_NOCKPT, CK_STATUS_DAMAGED,
	CK_STATUS_REFUSED, CK_STATUS_ENVIRONMENT, CK_STATUS_RESTORE, CK_STATUS_STORE, CK_STATUS_INTERNAL,
	CK_STATUS_NOEXEC, CK_STATUS_NOTFOUND, 0 };

static const struct ck_tool tool = {
	.name = "ckshim-restore",
	.usage = "[OPTION...] [[--] PROGRAM [ARG...]]",
	.summary = "Continue the newest valid checkpoint of this job: of PROGRAM with these arguments, or without "
		   "them the newest of all. With PROGRAM, start it when there is none.",
	.opts = opts,
	.nopts = sizeof opts / sizeof opts[0],
	.max_operands = -1,
	.stop_at_operand = 1,
	.ok = "the program ended with 0",
	.statuses = statuses,
	.status_note = "Any other status is the program's own. If it died by a signal, ckshim-restore dies by "
		       "the same.",
};

static int status_of(const struct ck_err *e)
{
	switch (e->code) {
	case CK_ENOCKPT:
		return CK_STATUS_NOCKPT;
	case CK_EDAMAGED:
	case CK_EVERSION:
		return CK_STATUS_DAMAGED;
	case CK_EREFUSED:
		return CK_STATUS_REFUSED;
	case CK_EUNSAFE:
	case CK_ENOSPC:
		return CK_STATUS_STORE;
	case CK_EINVAL:
		return CK_STATUS_USAGE;
	default:
		return CK_STATUS_RESTORE;
	}
}

/* Without a command: the key of this job with the newest checkpoint. */
static int newest_key(const char *store, const char *job, char *key, struct ck_err *err)
{
	struct ck_store_key_info *list;
	size_t n;
	if (ck_store_keys(store, job, &list, &n, err))
		return -1;
	if (n)
		snprintf(key, CK_KEY_MAX, "%s", list[0].key);
	free(list);
	return n ? 0 : ck_err_set(err, CK_ENOCKPT, 0, "job %s has no checkpoint in %s", job, store);
}

int main(int argc, char **argv)
{
	static char store[PATH_MAX], job[CK_JOB_MAX], key[CK_KEY_MAX];
	static struct ck_restore r;
	struct ck_err err;
	int status, had_log = getenv("CKSHIM_LOG") != NULL;
	int first = ck_opts_main(&tool, argc, argv, &status);
	if (first < 0)
		return status;
	ck_log_init();
	if (!had_log && strcmp(common.log, "normal") == 0)
		unsetenv("CKSHIM_LOG"); /* the program's environment stays its own */
	int command = first < argc;
	if (fresh && !command) {
		fprintf(stderr, "ckshim-restore: --fresh needs a program to start; try ckshim-restore --help\n");
		return CK_STATUS_USAGE;
	}
	struct ck_session s = { .argv = argv + first, .from_fd = -1, .store = store, .key = key, .job = job,
		.signals = common.signals, .criu = common.criu, .deadline_ms = common.deadline_ms,
		.keep = common.keep };
	r.fd = -1;
	int rc = ck_store_locate(common.dir, store, sizeof store, &err);
	if (rc == 0)
		rc = ck_store_job(common.job, job, sizeof job, &err);
	if (rc == 0)
		rc = command ? ck_store_key(job, s.argv, key, sizeof key, &err) : newest_key(store, job, key, &err);
	if (rc == 0 && fresh)
		return ck_session_run(&s);
	if (rc == 0)
		rc = ck_restore_choose(store, key, &r, &err);
	if (rc && err.code == CK_ENOCKPT && command) {
		ck_restore_close(&r);
		return ck_session_run(&s);
	}
	if (rc) {
		ck_say("%s%s", err.msg, err.code == CK_EDAMAGED && command ?
		       "; --fresh starts the program from its beginning" : "");
		ck_restore_close(&r);
		return status_of(&err);
	}
	s.exe = r.m.exe;
	s.argv = r.m.argv;
	s.from = &r.m;
	s.from_path = r.path;
	s.from_fd = r.fd;
	s.owned = r.store;
	ck_debug("continuing %s", r.path);
	return ck_session_run(&s);
}
