/* inspect_load.c - gathers what ckshim-inspect shows. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shim/base/image.h"
#include "inspect.h"

void ck_inspect_load(const struct ck_store *s, const struct ck_gen *g, const char *key, int verify,
		     struct ck_checkpoint *c)
{
	memset(c, 0, sizeof *c);
	ck_manifest_init(&c->m);
	c->gen = *g;
	snprintf(c->key, sizeof c->key, "%s", key);
	snprintf(c->path, sizeof c->path, "%.*s/%s", (int)(sizeof c->path - CK_GEN_MAX - 2), ck_store_path(s), g->name);
	int fd = ck_store_gen_open(s, g->number, &c->why);
	if (fd < 0)
		return;
	if (ck_manifest_read(&c->m, fd, &c->why) == 0) {
		c->readable = 1;
		if (ck_manifest_verify(&c->m, fd, verify ? CK_VERIFY_FULL : CK_VERIFY_QUICK, &c->why) == 0) {
			c->why.code = CK_EOK;
			c->verified = verify;
		}
	}
	close(fd);
}

void ck_inspect_unload(struct ck_checkpoint *c)
{
	ck_manifest_free(&c->m);
}

const char *ck_inspect_state(const struct ck_checkpoint *c)
{
	switch (c->why.code) {
	case CK_EOK:
		return c->verified ? "verified" : "ok";
	case CK_EVERSION:
		return "unknown version";
	case CK_EUNSAFE:
		return "unsafe";
	case CK_EDAMAGED:
		return "damaged";
	default:
		return "unreadable";
	}
}

/* ---- device memory ---- */

static int add_range(struct ck_mem *mem, size_t *room, const char *stack, uint64_t size, struct ck_err *err)
{
	int class = 63 - __builtin_clzll(size); /* a range has at least one byte */
	mem->by_size[class].bytes += size;
	mem->by_size[class].ranges++;
	mem->bytes += size;
	mem->ranges++;
	if (mem->nstacks == *room) {
		*room = *room ? 2 * *room : 64;
		void *p = reallocarray(mem->stacks, *room, sizeof *mem->stacks);
		if (!p)
			return ck_err_set(err, CK_ESYS, ENOMEM, "device memory");
		mem->stacks = p;
	}
	struct ck_mem_stack *s = &mem->stacks[mem->nstacks];
	s->text = strdup(stack ? stack : "");
	if (!s->text)
		return ck_err_set(err, CK_ESYS, ENOMEM, "device memory");
	s->bytes = size;
	s->ranges = 1;
	mem->nstacks++;
	return 0;
}

static int add_image(struct ck_mem *mem, size_t *room, int fd, struct ck_err *err)
{
	struct ck_image_reader *r;
	struct ck_image_info info;
	if (ck_image_open(fd, &r, err))
		return -1;
	ck_image_get_info(r, &info);
	int rc = 0;
	for (uint64_t i = 0; rc == 0 && i < info.nranges; i++) {
		const struct ck_range *g = ck_image_get_range(r, i);
		rc = add_range(mem, room, ck_image_get_stack(r, g->stack), g->size, err);
	}
	mem->stored += info.stored_bytes;
	mem->chunks += info.nchunks;
	mem->zero_chunks += info.zero_chunks;
	ck_image_close(r);
	return rc;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct ck_mem_stack *)a)->text, ((const struct ck_mem_stack *)b)->text);
}

static int by_bytes(const void *a, const void *b)
{
	const struct ck_mem_stack *x = a, *y = b;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return strcmp(x->text, y->text);
}

static void merge(struct ck_mem *mem)
{
	size_t n = 0;
	if (!mem->nstacks)
		return;
	qsort(mem->stacks, mem->nstacks, sizeof *mem->stacks, by_text);
	for (size_t i = 1; i < mem->nstacks; i++) {
		struct ck_mem_stack *to = &mem->stacks[n], *from = &mem->stacks[i];
		if (strcmp(to->text, from->text) == 0) {
			to->bytes += from->bytes;
			to->ranges += from->ranges;
			free(from->text);
		} else {
			mem->stacks[++n] = *from;
		}
	}
	mem->nstacks = n + 1;
	qsort(mem->stacks, mem->nstacks, sizeof *mem->stacks, by_bytes);
}

int ck_inspect_memory(const struct ck_checkpoint *c, struct ck_mem *mem, struct ck_err *err)
{
	size_t room = 0;
	memset(mem, 0, sizeof *mem);
	int dir = open(c->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return ck_err_errno(err, "cannot open %s", c->path);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < c->m.nimages; i++) {
		const struct ck_mf_image *im = &c->m.images[i];
		if (!im->footer_only)
			continue;
		int fd = openat(dir, im->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		rc = fd < 0 ? ck_err_errno(err, "cannot open %s", im->name) : add_image(mem, &room, fd, err);
		if (fd >= 0)
			close(fd);
	}
	close(dir);
	merge(mem);
	return rc;
}

void ck_inspect_free_memory(struct ck_mem *mem)
{
	for (size_t i = 0; i < mem->nstacks; i++)
		free(mem->stacks[i].text);
	free(mem->stacks);
	memset(mem, 0, sizeof *mem);
}
