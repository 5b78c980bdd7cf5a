/* store_names.c - how store, job, key and generation are named. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shim/base/hash.h"
#include "store_int.h"

#define PROGRAM_MAX 64	/* characters kept of a program's name */
#define GEN_LAST 999999999u

static const char safe_chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-";

static const char *env(const char *name)
{
	const char *v = getenv(name);
	return v && *v ? v : NULL;
}

static int put(char *out, size_t cap, struct ck_err *err, const char *what, const char *text)
{
	size_t len = strlen(text);
	if (len >= cap)
		return ck_err_set(err, CK_EINVAL, 0, "%s is too long: %.200s...", what, text);
	memcpy(out, text, len + 1);
	return 0;
}

int ck_store_locate(const char *dir, char *path, size_t cap, struct ck_err *err)
{
	char base[PATH_MAX] = "", full[2 * PATH_MAX];
	const char *submit = env("SLURM_SUBMIT_DIR");
	if (!dir && submit && submit[0] == '/') {
		if (put(base, sizeof base, err, "SLURM_SUBMIT_DIR", submit))
			return -1;
	} else if (!dir || dir[0] != '/') {
		if (!getcwd(base, sizeof base))
			return ck_err_errno(err, "cannot tell the current directory");
	}
	if (!dir)
		dir = CK_STORE_FOLDER;
	int n = snprintf(full, sizeof full, "%s%s%s", base, base[0] ? "/" : "", dir);
	if (n < 0 || (size_t)n >= sizeof full)
		return ck_err_set(err, CK_EINVAL, 0, "path of the store is too long: %.200s...", dir);
	while (n > 1 && full[n - 1] == '/')
		full[--n] = 0;
	return put(path, cap, err, "path of the store", full);
}

/* Dots are allowed but not first: a name must not hide, and must not be "..". */
static int job_ok(const char *job)
{
	size_t len = strlen(job);
	if (!len || len >= CK_JOB_MAX || job[0] == '.' || job[0] == '-')
		return 0;
	for (const char *p = job; *p; p++)
		if (*p != '.' && !strchr(safe_chars, *p))
			return 0;
	return 1;
}

int ck_store_job(const char *job, char *out, size_t cap, struct ck_err *err)
{
	char made[4 * CK_JOB_MAX];
	if (!job) {
		const char *array = env("SLURM_ARRAY_JOB_ID"), *task = env("SLURM_ARRAY_TASK_ID");
		const char *id = env("SLURM_JOB_ID");
		const char *ntasks = env("SLURM_NTASKS"), *procid = env("SLURM_PROCID");
		int many = ntasks && procid && strtoul(ntasks, NULL, 10) > 1;
		if (!id)
			array = procid = NULL;
		if (array && task)
			snprintf(made, sizeof made, "%.128s_%.128s%s%.32s", array, task, many ? ".p" : "",
				 many ? procid : "");
		else
			snprintf(made, sizeof made, "%.128s%s%.32s", id ? id : "local", many && id ? ".p" : "",
				 many && id ? procid : "");
		job = made;
	}
	if (!job_ok(job))
		return ck_err_set(err, CK_EINVAL, 0,
				  "\"%.100s\" is not a job's name: up to %d letters, digits, and _ + - . (not first)",
				  job, CK_JOB_MAX - 1);
	return put(out, cap, err, "the job's name", job);
}

/* All of argv, so that two programs in one job do not take each other's checkpoint. */
static uint32_t argv_hash(char *const *argv, int *failed)
{
	size_t len = 0;
	for (char *const *a = argv; *a; a++)
		len += strlen(*a) + 1;
	char *joined = malloc(len ? len : 1), *p = joined;
	*failed = !joined;
	if (!joined)
		return 0;
	for (char *const *a = argv; *a; a++)
		p = stpcpy(p, *a) + 1;
	uint64_t h = ck_hash64(joined, len);
	free(joined);
	return (uint32_t)h;
}

int ck_store_key(const char *job, char *const *argv, char *out, size_t cap, struct ck_err *err)
{
	char program[PROGRAM_MAX + 1], key[CK_KEY_MAX];
	if (!argv || !argv[0])
		return ck_err_set(err, CK_EINVAL, 0, "no program");
	if (!job_ok(job))
		return ck_err_set(err, CK_EINVAL, 0, "\"%.100s\" is not a job's name", job);
	const char *slash = strrchr(argv[0], '/'), *base = slash ? slash + 1 : argv[0];
	size_t n = 0;
	for (; base[n] && n < PROGRAM_MAX; n++)
		program[n] = strchr(safe_chars, base[n]) ? base[n] : '_';
	if (!n)
		program[n++] = '_';
	program[n] = 0;
	int failed;
	uint32_t hash = argv_hash(argv, &failed);
	if (failed)
		return ck_err_set(err, CK_ESYS, ENOMEM, "cannot name the checkpoint");
	snprintf(key, sizeof key, "%s.%s.%08x", job, program, hash);
	return put(out, cap, err, "the checkpoint's name", key);
}

int ck_key_parse(const char *name, size_t *job_len)
{
	const char *hash = strrchr(name, '.');
	if (!hash || strlen(name) >= CK_KEY_MAX || strlen(hash + 1) != 8 ||
	    strspn(hash + 1, "0123456789abcdef") != 8)
		return 0;
	const char *program = memrchr(name, '.', (size_t)(hash - name));
	if (!program || program + 1 == hash)
		return 0;
	for (const char *p = program + 1; p < hash; p++)
		if (!strchr(safe_chars, *p))
			return 0;
	char job[CK_JOB_MAX];
	*job_len = (size_t)(program - name);
	if (*job_len >= sizeof job)
		return 0;
	memcpy(job, name, *job_len);
	job[*job_len] = 0;
	return job_ok(job);
}

void ck_gen_name(uint32_t number, int tmp, char name[CK_GEN_MAX])
{
	snprintf(name, CK_GEN_MAX, "gen-%06u%s", number, tmp ? ".tmp" : "");
}

uint32_t ck_gen_parse(const char *name, int *tmp)
{
	if (strncmp(name, "gen-", 4))
		return 0;
	size_t digits = strspn(name + 4, "0123456789");
	if (digits < 6 || digits > 9)
		return 0;
	unsigned long n = strtoul(name + 4, NULL, 10);
	*tmp = strcmp(name + 4 + digits, ".tmp") == 0;
	char again[CK_GEN_MAX];
	if (!n || n > GEN_LAST)
		return 0;
	/* the one spelling we write, no other: 000000007 is not ours */
	ck_gen_name((uint32_t)n, *tmp, again);
	return strcmp(again, name) ? 0 : (uint32_t)n;
}
