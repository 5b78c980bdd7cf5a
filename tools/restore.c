#define _GNU_SOURCE
#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/base/log.h"
#include "examine.h"
#include "find.h"
#include "init1.h"
#include "ns.h"

/* A restored process reports signals that were pending at the dump within milliseconds; later reports of
 * the same kind are news, even where an expected one never came. */
#define EXPECT_NS (10ull * 1000000000u)

static int try_one(struct ck_restore *r, const struct ck_gen *g, struct ck_err *err)
{
	r->fd = ck_store_gen_open(r->store, g->number, err);
	if (r->fd < 0)
		return -1;
	if (ck_manifest_read(&r->m, r->fd, err) == 0) {
		if (ck_manifest_verify(&r->m, r->fd, CK_VERIFY_FULL, err) == 0) {
			r->number = g->number;
			snprintf(r->path, sizeof r->path, "%s/%s", ck_store_path(r->store), g->name);
			return 0;
		}
		ck_manifest_free(&r->m);
	}
	close(r->fd);
	r->fd = -1;
	return -1;
}

int ck_restore_choose(const char *store_path, const char *key, struct ck_restore *r, struct ck_err *err)
{
	struct ck_gen *list = NULL;
	size_t n = 0;
	memset(r, 0, sizeof *r);
	r->fd = -1;
	ck_manifest_init(&r->m);
	if (ck_store_open(store_path, key, CK_STORE_OWN, &r->store, err) ||
	    ck_store_list(r->store, &list, &n, err))
		return -1;
	if (n == 0) {
		free(list);
		return ck_err_set(err, CK_ENOCKPT, 0, "there is no checkpoint in %s", ck_store_path(r->store));
	}
	int found = 0;
	for (size_t i = 0; i < n && !found; i++) {
		found = try_one(r, &list[i], err) == 0;
		if (found)
			break;
		r->refused++;
		ck_say("%s is not used: %s", list[i].name, err->msg);
		if (err->code == CK_EUNSAFE) {
			free(list);
			return -1; /* what others could have written says nothing about the rest either */
		}
	}
	free(list);
	if (!found)
		return ck_err_set(err, CK_EDAMAGED, 0, "every checkpoint in %s is damaged or unreadable",
				  ck_store_path(r->store));
	return ck_examine_changed(&r->m, err);
}

void ck_restore_close(struct ck_restore *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	ck_manifest_free(&r->m);
	ck_store_close(r->store);
	r->store = NULL;
}

/* The supervisor's own notes in the generation; the manifest vouches for the file. */
static int read_notes(struct ck_init *in, int *last_pid, struct ck_err *err)
{
	char line[128];
	*last_pid = 0;
	int fd = openat(in->s->from_fd, CK_RESTORE_NOTES, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f)
		return ck_err_set(err, CK_EDAMAGED, errno, "cannot read " CK_RESTORE_NOTES);
	while (fgets(line, sizeof line, f)) {
		int pid, sig;
		if (sscanf(line, "lastpid %d", &pid) == 1) {
			*last_pid = pid;
		} else if (sscanf(line, "pending %d %d", &pid, &sig) == 2) {
			struct ck_reporter *more = realloc(in->expected, (in->nexpected + 1) * sizeof *more);
			if (!more)
				break;
			in->expected = more;
			in->expected[in->nexpected++] = (struct ck_reporter){ .pid = pid, .sig = sig };
		}
	}
	fclose(f);
	if (*last_pid < 1)
		return ck_err_set(err, CK_EDAMAGED, 0, CK_RESTORE_NOTES " lacks the last pid");
	return 0;
}

/* Hand the new streams over in place of those in the images. */
static size_t stream_keys(struct ck_init *in, struct ck_criu_key *keys)
{
	const struct ck_manifest *from = in->s->from;
	size_t n = 0;
	for (int i = 0; i < 3; i++) {
		const char *key = from->stream[i].key;
		if (!key || !*key || in->st->s[i].prog < 0)
			continue;
		if (in->st->s[i].kind == CK_STREAM_TTY && n && strcmp(key, keys[0].key) == 0)
			continue; /* one pty for all of them */
		if (i == 2 && n && strcmp(key, keys[n - 1].key) == 0) {
			/* One pipe then is one pipe now, wherever the new job's stderr goes. */
			snprintf(in->st->s[2].key, sizeof in->st->s[2].key, "%s", in->st->s[1].key);
			continue;
		}
		keys[n++] = (struct ck_criu_key){ .fd = in->st->s[i].prog, .key = key };
	}
	return n;
}

static int run_criu(struct ck_init *in, uint64_t until, struct ck_err *err)
{
	char criu[PATH_MAX], images[PATH_MAX + 8];
	struct ck_criu_key keys[CK_CRIU_KEYS];
	if (ck_find_criu(in->s->criu, criu, sizeof criu, err))
		return -1;
	snprintf(images, sizeof images, "%s/criu", in->s->from_path);
	struct ck_criu c = { .path = criu, .work = in->work, .images = images, .unprivileged = in->unprivileged };
	size_t nkeys = stream_keys(in, keys);
	in->helper_done = 0;
	in->helper = ck_criu_restore(&c, keys, nkeys, err);
	if (in->helper < 0) {
		in->helper = 0;
		return -1;
	}
	while (!in->helper_done) {
		/* A restore that hangs may be killed: the caller ends the half-made tree with it. */
		if (ck_now_ns() > until)
			return ck_err_set(err, CK_ETIMEOUT, 0, "the deadline passed while criu was restoring");
		ck_init_turn(in, -1, 500);
	}
	in->helper = 0;
	if (in->helper_status != 0)
		return ck_criu_reason(&c, "restore", in->helper_status, err);
	return 0;
}

int ck_restore_inside(struct ck_init *in, struct ck_err *err)
{
	const struct ck_manifest *from = in->s->from;
	uint64_t until = ck_now_ns() + (uint64_t)in->s->deadline_ms * 1000000u;
	int last_pid;
	if (read_notes(in, &last_pid, err) || ck_ns_last_pid(last_pid, err))
		return -1;
	in->saving = 1; /* registrations and forwarded signals wait until it is whole */
	in->root = from->root_pid;
	in->expected_until = until;
	if (run_criu(in, until, err))
		return -1;
	in->expected_until = ck_now_ns() + EXPECT_NS;
	if (from->gpu && json_array_size(from->gpu)) {
		if (ck_gpus_from_json(in->gpus, from->gpu, err) ||
		    ck_gpus_thaw(in->gpus, in->s->from_fd, until, err))
			return -1;
		in->expected_until = ck_now_ns() + EXPECT_NS;
	}
	in->saving = 0;
	return 0;
}
