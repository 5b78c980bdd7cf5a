/* manifest_int.h - shared by the manifest_*.c files. */
#ifndef CK_MANIFEST_INT_H
#define CK_MANIFEST_INT_H

#include "../shim/base/hash.h"
#include "manifest.h"

#define CK_MANIFEST_MAX (16u << 20)	/* bytes of manifest.json */
#define CK_MANIFEST_DEPTH 16		/* brackets within brackets */
#define CK_MANIFEST_TOKENS 1000000	/* brackets and commas: bounds what parsing may allocate */
#define CK_MF_NAME_MAX 1024		/* an image's name */
#define CK_MF_DEPTH_MAX 4		/* folders in it */

/* ck_text_encode - a JSON string for bytes that need not be UTF-8 (new reference; NULL: no memory). Each
 * byte that is not part of valid UTF-8 becomes the private character U+F700 + byte; those characters
 * themselves are taken for such bytes too, so that decoding always gives the bytes back.
 * ck_text_decode - the other way (malloc'd; NULL: no memory, or a NUL inside). */
json_t *ck_text_encode(const char *bytes);
char *ck_text_decode(const json_t *string);

/* ck_manifest_checksum - of @root without its member "xxh3": the compact form with sorted keys.
 * 0 or -1 (no memory). */
int ck_manifest_checksum(const json_t *root, char hex[2 * CK_HASH_LEN + 1]);

/* ck_mf_name_ok - a relative path that stays inside: no empty part, no dot parts, not the manifest. */
int ck_mf_name_ok(const char *name);
/* ck_mf_is_device - whether @name is a device image, pinned by its footer. */
int ck_mf_is_device(const char *name);

/* ck_mf_hash_file - XXH3-128 of all of @fd. 0 or -1 with errno. */
int ck_mf_hash_file(int fd, char hex[2 * CK_HASH_LEN + 1]);
/* ck_mf_hash_footer - of a device image's last record; *size gets the file's. CK_EDAMAGED if it is short. */
int ck_mf_hash_footer(int fd, char hex[2 * CK_HASH_LEN + 1], struct ck_err *err);

#endif
