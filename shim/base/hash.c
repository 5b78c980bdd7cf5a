#include "hash.h"

#include <string.h>

/* Everything inlined: the shim may not depend on a library, and may not export its symbols. */
#define XXH_INLINE_ALL
#include <xxhash.h>

_Static_assert(sizeof(XXH3_state_t) <= sizeof(struct ck_hash), "room for xxHash's state");
_Static_assert(_Alignof(struct ck_hash) >= 64, "xxHash's state is aligned to 64");

void ck_hash128(const void *buf, size_t len, uint8_t out[CK_HASH_LEN])
{
	XXH128_canonical_t c;
	XXH128_canonicalFromHash(&c, XXH3_128bits(buf, len));
	memcpy(out, c.digest, CK_HASH_LEN);
}

uint64_t ck_hash64(const void *buf, size_t len)
{
	return XXH3_64bits(buf, len);
}

void ck_hash_init(struct ck_hash *h)
{
	XXH3_state_t *s = (XXH3_state_t *)h->state;
	XXH3_INITSTATE(s);
	XXH3_128bits_reset(s);
}

void ck_hash_update(struct ck_hash *h, const void *buf, size_t len)
{
	XXH3_128bits_update((XXH3_state_t *)h->state, buf, len);
}

void ck_hash_final(const struct ck_hash *h, uint8_t out[CK_HASH_LEN])
{
	XXH128_canonical_t c;
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest((const XXH3_state_t *)h->state));
	memcpy(out, c.digest, CK_HASH_LEN);
}

void ck_hash_hex(const uint8_t hash[CK_HASH_LEN], char out[2 * CK_HASH_LEN + 1])
{
	static const char digit[] = "0123456789abcdef";
	for (int i = 0; i < CK_HASH_LEN; i++) {
		out[2 * i] = digit[hash[i] >> 4];
		out[2 * i + 1] = digit[hash[i] & 15];
	}
	out[2 * CK_HASH_LEN] = 0;
}
