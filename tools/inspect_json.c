/* inspect_json.c - for programs. The members are described in ckshim-inspect(1). */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "inspect.h"
#include "manifest_int.h"

static json_t *frames(const char *text)
{
	json_t *list = json_array();
	while (*text) {
		size_t len = strcspn(text, "\n");
		char *one = strndup(text, len);
		if (!one || json_array_append_new(list, ck_text_encode(one))) {
			free(one);
			json_decref(list);
			return NULL;
		}
		free(one);
		text += len + (text[len] != 0);
	}
	return list;
}

static json_t *memory_json(const struct ck_mem *mem)
{
	json_t *stacks = json_array(), *sizes = json_array();
	for (size_t i = 0; i < mem->nstacks; i++)
		json_array_append_new(stacks, json_pack("{s:I, s:I, s:o}", "bytes", (json_int_t)mem->stacks[i].bytes,
							"ranges", (json_int_t)mem->stacks[i].ranges, "stack",
							frames(mem->stacks[i].text)));
	for (int i = CK_MEM_CLASSES - 1; i >= 0; i--)
		if (mem->by_size[i].ranges)
			json_array_append_new(sizes, json_pack("{s:I, s:I, s:I}", "from", (json_int_t)(1ull << i), "bytes",
							       (json_int_t)mem->by_size[i].bytes, "ranges",
							       (json_int_t)mem->by_size[i].ranges));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "bytes", (json_int_t)mem->bytes, "ranges",
			 (json_int_t)mem->ranges, "stored", (json_int_t)mem->stored, "chunks",
			 (json_int_t)mem->chunks, "zero_chunks", (json_int_t)mem->zero_chunks, "by_stack", stacks,
			 "by_size", sizes);
}

json_t *ck_inspect_json(const struct ck_checkpoint *c, const struct ck_mem *mem)
{
	json_t *o = json_pack("{s:s, s:I, s:o, s:s, s:b}", "key", c->key, "generation", (json_int_t)c->gen.number,
			      "path", ck_text_encode(c->path), "state", ck_inspect_state(c), "verified", c->verified);
	if (!o)
		return NULL;
	int bad = 0;
	if (c->why.code)
		bad |= json_object_set_new(o, "error", ck_text_encode(c->why.msg)) != 0;
	if (c->readable) {
		bad |= json_object_set_new(o, "bytes", json_integer((json_int_t)ck_manifest_bytes(&c->m))) != 0;
		bad |= json_object_set_new(o, "manifest", ck_manifest_json(&c->m)) != 0;
	}
	if (mem)
		bad |= json_object_set_new(o, "device_memory", memory_json(mem)) != 0;
	if (bad) {
		json_decref(o);
		return NULL;
	}
	return o;
}
