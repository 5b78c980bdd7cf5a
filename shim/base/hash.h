/* hash.h - XXH3: 128 bits for contents, 64 for small records and names. Not cryptographic: it finds
 * damage, not malice; who could write a store is store.h's matter.
 *
 * 128-bit values are kept in xxHash's canonical byte order, so that `xxhsum -H2` prints the same digits.
 * No globals, no allocation; safe in the shim.
 */
#ifndef CK_HASH_H
#define CK_HASH_H

#include <stddef.h>
#include <stdint.h>

#define CK_HASH_LEN 16

void ck_hash128(const void *buf, size_t len, uint8_t out[CK_HASH_LEN]);
uint64_t ck_hash64(const void *buf, size_t len);

/* In pieces. The state lies with the caller (on the stack: about 600 bytes). */
struct ck_hash {
	_Alignas(64) unsigned char state[576];
};
void ck_hash_init(struct ck_hash *h);
void ck_hash_update(struct ck_hash *h, const void *buf, size_t len);
void ck_hash_final(const struct ck_hash *h, uint8_t out[CK_HASH_LEN]);

/* ck_hash_hex - 32 lower-case digits and a NUL. */
void ck_hash_hex(const uint8_t hash[CK_HASH_LEN], char out[2 * CK_HASH_LEN + 1]);

#endif
