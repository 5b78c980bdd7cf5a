/* libFuzzer: any bytes as a manifest, as they are and (where they are JSON) with the checksum made right.
 * What is accepted must come back the same when written and read again. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/manifest.h"
#include "../../tools/manifest_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void again(const struct ck_manifest *m)
{
	struct ck_manifest n;
	struct ck_err err;
	json_t *a = ck_manifest_json(m);
	char *text = a ? json_dumps(a, JSON_INDENT(1)) : NULL;
	if (!text || ck_manifest_parse(&n, text, strlen(text), &err))
		abort();
	json_t *b = ck_manifest_json(&n);
	if (!b || !json_equal(a, b))
		abort();
	for (size_t i = 0; i < n.nimages; i++)
		if (!ck_mf_name_ok(n.images[i].name))
			abort();
	json_decref(a);
	json_decref(b);
	free(text);
	ck_manifest_free(&n);
}

static void try(const char *text, size_t len)
{
	struct ck_manifest m;
	struct ck_err err;
	if (ck_manifest_parse(&m, text, len, &err) == 0)
		again(&m);
	ck_manifest_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char hex[2 * CK_HASH_LEN + 1];
	try((const char *)data, len);
	json_t *root = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(root) && ck_manifest_checksum(root, hex) == 0) {
		json_object_set_new(root, "xxh3", json_string(hex));
		char *text = json_dumps(root, JSON_COMPACT);
		if (text)
			try(text, strlen(text));
		free(text);
	}
	json_decref(root);
	return 0;
}
