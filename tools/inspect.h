/* inspect.h - what ckshim-inspect shows: checkpoints in a store, and one of them in full. Gathers; the
 * text and the JSON are made from the same. */
#ifndef CK_INSPECT_H
#define CK_INSPECT_H

#include <stdio.h>

#include <jansson.h>

#include "manifest.h"
#include "store.h"

/* Device memory of one generation that was allocated at one place in the program. */
struct ck_mem_stack {
	char *text;		/* one frame a line; "" unknown */
	uint64_t bytes, ranges;
};

#define CK_MEM_CLASSES 64
struct ck_mem {
	struct ck_mem_stack *stacks; /* largest first */
	size_t nstacks;
	/* ranges of size [2^i, 2^(i+1)) */
	struct { uint64_t bytes, ranges; } by_size[CK_MEM_CLASSES];
	uint64_t bytes, ranges, stored, chunks, zero_chunks;
};

struct ck_checkpoint {
	char key[CK_KEY_MAX];
	char path[PATH_MAX];
	struct ck_gen gen;
	int readable;		/* the manifest was read; @m holds it */
	int verified;		/* all bytes were read and are right */
	struct ck_err why;	/* when it is not readable, or damaged: code is set */
	struct ck_manifest m;
};

/* ck_inspect_load - read one generation of the key @s into @c; with @verify also every byte of it.
 * What is wrong with the checkpoint is in c->why, not an error here. Free with ck_inspect_unload. */
void ck_inspect_load(const struct ck_store *s, const struct ck_gen *g, const char *key, int verify,
		     struct ck_checkpoint *c);
void ck_inspect_unload(struct ck_checkpoint *c);

/* ck_inspect_memory - add up the device images of @c. 0 or -1 with err; free with ck_inspect_free_memory
 * either way. */
int ck_inspect_memory(const struct ck_checkpoint *c, struct ck_mem *mem, struct ck_err *err);
void ck_inspect_free_memory(struct ck_mem *mem);

/* Text. Within 80 columns. */
void ck_inspect_print_row(FILE *f, const struct ck_checkpoint *c);
void ck_inspect_print(FILE *f, const struct ck_checkpoint *c, const struct ck_mem *mem);

/* JSON (new references; NULL: no memory). @mem may be NULL: a row of a list. */
json_t *ck_inspect_json(const struct ck_checkpoint *c, const struct ck_mem *mem);

/* "ok", "verified" or "damaged", or "unknown version". */
const char *ck_inspect_state(const struct ck_checkpoint *c);

#endif
