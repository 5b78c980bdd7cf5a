/* ckshim-inspect - look at checkpoints: a store, one program's, or one of them. Changes nothing. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect.h"
#include "opts.h"
#include "status.h"
#include "store_int.h"

static struct ck_common common;
static int as_json, verify;

static const struct ck_opt opts[] = {
	CK_OPTS_STORE(common),
	{ "store", 0, "DIR", NULL, NULL, CK_OPT_STRING, &common.dir, 0, 0, NULL, "the same as --dir" },
	{ "json", 0, NULL, NULL, NULL, CK_OPT_FLAG, &as_json, 0, 0, NULL, "print JSON" },
	{ "verify", 0, NULL, NULL, NULL, CK_OPT_FLAG, &verify, 0, 0, NULL,
	  "read every byte and check it against its checksum" },
};

static const int statuses[] = { CK_STATUS_USAGE, CK_STATUS_NOCKPT, CK_STATUS_DAMAGED, CK_STATUS_STORE,
	CK_STATUS_INTERNAL, 0 };

static const struct ck_tool tool = {
	.name = "ckshim-inspect",
	.usage = "[OPTION...] [STORE | KEY | GENERATION]",
	.summary = "List the checkpoints in a store or in one program's folder of it, or show one of them: when, "
		   "what program, how large, device memory by size and by call stack, open files.",
	.opts = opts,
	.nopts = sizeof opts / sizeof opts[0],
	.max_operands = 1,
	.ok = "shown; nothing wrong was seen",
	.statuses = statuses,
};

/* What the command line means: a store, maybe a key in it, maybe a generation of that. */
struct target {
	char store[PATH_MAX];
	char key[CK_KEY_MAX];	/* "" : all of @job, or of all jobs */
	uint32_t generation;	/* 0: all */
	const char *job;	/* NULL: all */
};

static int status_of(const struct ck_err *e)
{
	switch (e->code) {
	case CK_EINVAL:
		return CK_STATUS_USAGE;
	case CK_ENOCKPT:
		return CK_STATUS_NOCKPT;
	case CK_EDAMAGED:
	case CK_EVERSION:
		return CK_STATUS_DAMAGED;
	case CK_EUNSAFE:
	case CK_ESYS:
		return CK_STATUS_STORE;
	default:
		return CK_STATUS_INTERNAL;
	}
}

/* Cut the last part off @path into @name. */
static void cut(char *path, char *name, size_t cap)
{
	char *slash = strrchr(path, '/');
	snprintf(name, cap, "%s", slash + 1);
	*(slash == path ? slash + 1 : slash) = 0;
}

/* Tell by its name what @operand is. */
static int find_target(const char *operand, struct target *t, struct ck_err *err)
{
	char name[256];
	size_t job_len;
	int tmp;
	t->job = common.job;
	if (!operand)
		return ck_store_locate(common.dir, t->store, sizeof t->store, err);
	char *real = realpath(operand, NULL);
	if (!real)
		return ck_err_set(err, CK_ENOCKPT, 0, "%s does not exist", operand);
	snprintf(t->store, sizeof t->store, "%s", real);
	free(real);
	const char *base = strrchr(t->store, '/') + 1;
	t->generation = ck_gen_parse(base, &tmp);
	if (t->generation) {
		cut(t->store, name, sizeof name);
		base = strrchr(t->store, '/') + 1;
		if (tmp || !ck_key_parse(base, &job_len))
			return ck_err_set(err, CK_ENOCKPT, 0, "%s is not a finished checkpoint in a store", operand);
	}
	if (ck_key_parse(base, &job_len))
		cut(t->store, t->key, sizeof t->key);
	return 0;
}

/* What the run has seen so far. */
struct result {
	int damaged, shown;
	json_t *list; /* with --json */
};

static int show_one(struct ck_checkpoint *c, struct result *res, struct ck_err *err)
{
	struct ck_mem mem;
	int have = c->readable && ck_inspect_memory(c, &mem, err) == 0;
	if (c->readable && !have && !c->why.code)
		c->why = *err;
	if (as_json) {
		if (json_array_append_new(res->list, ck_inspect_json(c, have ? &mem : NULL)))
			return ck_err_set(err, CK_ESYS, 0, "out of memory");
	} else {
		ck_inspect_print(stdout, c, have ? &mem : NULL);
	}
	if (c->readable)
		ck_inspect_free_memory(&mem);
	return 0;
}

static int show_row(struct ck_checkpoint *c, struct result *res, struct ck_err *err)
{
	if (as_json) {
		if (json_array_append_new(res->list, ck_inspect_json(c, NULL)))
			return ck_err_set(err, CK_ESYS, 0, "out of memory");
	} else {
		ck_inspect_print_row(stdout, c);
	}
	return 0;
}

static int show_key(const struct target *t, const char *key, struct result *res, struct ck_err *err)
{
	struct ck_store *s;
	struct ck_gen *gens;
	struct ck_checkpoint c;
	size_t n;
	if (ck_store_open(t->store, key, 0, &s, err))
		return -1;
	if (ck_store_list(s, &gens, &n, err)) {
		ck_store_close(s);
		return -1;
	}
	int rc = 0;
	if (!as_json && !t->generation && n)
		printf("%s\n", key);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (t->generation && gens[i].number != t->generation)
			continue;
		ck_inspect_load(s, &gens[i], key, verify, &c);
		rc = t->generation ? show_one(&c, res, err) : show_row(&c, res, err);
		res->damaged |= c.why.code != 0;
		res->shown++;
		ck_inspect_unload(&c);
	}
	free(gens);
	ck_store_close(s);
	return rc;
}

static int show_store(const struct target *t, struct result *res, struct ck_err *err)
{
	struct ck_store_key_info *keys;
	size_t n;
	if (ck_store_keys(t->store, t->job, &keys, &n, err))
		return -1;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = show_key(t, keys[i].key, res, err);
	free(keys);
	return rc;
}

static int show(const struct target *t, struct result *res, struct ck_err *err)
{
	if (as_json && !(res->list = json_array()))
		return ck_err_set(err, CK_ESYS, 0, "out of memory");
	if (t->key[0] ? show_key(t, t->key, res, err) : show_store(t, res, err))
		return -1;
	if (!res->shown)
		return ck_err_set(err, CK_ENOCKPT, 0, "no checkpoint%s%s in %s%s%s", t->job && !t->key[0] ? " of job " : "",
				  t->job && !t->key[0] ? t->job : "", t->store, t->key[0] ? "/" : "", t->key);
	return 0;
}

static int print_json(const struct target *t, struct result *res)
{
	json_t *out;
	if (t->generation)
		out = json_incref(json_array_get(res->list, 0));
	else
		out = json_pack("{s:s, s:O}", "store", t->store, "checkpoints", res->list);
	int rc = !out || json_dumpf(out, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(out);
	return rc;
}

int main(int argc, char **argv)
{
	static struct target t;
	static struct result res;
	struct ck_err err;
	int status;
	int first = ck_opts_main(&tool, argc, argv, &status);
	if (first < 0)
		return status;
	int rc = find_target(first < argc ? argv[first] : NULL, &t, &err);
	if (rc == 0)
		rc = show(&t, &res, &err);
	/* an empty store is a valid answer for a program that asked */
	if (as_json && res.list && (rc == 0 || (err.code == CK_ENOCKPT && !t.generation)) && print_json(&t, &res))
		rc = ck_err_set(&err, CK_ESYS, 0, "cannot write");
	json_decref(res.list);
	if (fflush(stdout) || ferror(stdout))
		rc = ck_err_errno(&err, "cannot write");
	if (rc) {
		fprintf(stderr, "ckshim-inspect: %s\n", err.msg);
		return status_of(&err);
	}
	return res.damaged ? CK_STATUS_DAMAGED : 0;
}
