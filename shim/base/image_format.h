/* image_format.h - the records of an image file as IMAGE.md lays them down. For image_write.c and
 * image_read.c, and for tests that damage them. */
#ifndef CK_IMAGE_FORMAT_H
#define CK_IMAGE_FORMAT_H

#include <stdint.h>

#include "hash.h"
#include "image.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the file is little-endian and these records are used as they lie; a big-endian machine must swap"
#endif

#define CK_IMAGE_VERSION 1
#define CK_IMAGE_MAGIC "\x93" "CKIMG\r\n"
#define CK_IMAGE_END_MAGIC "\x93" "CKEND\r\n"
#define CK_IMAGE_ALIGN 4096u	/* where payloads and the index begin: a later release may use O_DIRECT */
#define CK_INDEX_MAX (256u << 20) /* a reader never allocates more; enough for 32 TiB of memory */

struct ck_disk_header {
	char magic[8];
	uint32_t version;
	uint32_t length;	/* of this record */
	int32_t pid;
	int32_t device;
	uint8_t uuid[CK_UUID_LEN];
	uint32_t chunk_size;
	uint32_t flags;		/* 0 */
	uint64_t reserved;	/* 0 */
	uint64_t check;		/* XXH3-64 of the bytes before */
};
_Static_assert(sizeof(struct ck_disk_header) == 64, "IMAGE.md");

struct ck_disk_range {
	struct ck_range r;
	uint64_t first_chunk;	/* number of its first chunk in the index */
};
_Static_assert(sizeof(struct ck_disk_range) == 32, "IMAGE.md");

enum ck_chunk_kind {
	CK_CHUNK_ZERO = 0,
	CK_CHUNK_STORED = 1,
	/* 2 lz4, 3 zstd, 4 reference to an older generation: reserved, refused by version 1 */
};

struct ck_disk_chunk {
	uint32_t kind;
	uint32_t length;	/* payload bytes in the file */
	uint64_t offset;	/* of the payload */
	uint8_t hash[CK_HASH_LEN]; /* of the memory, not of the payload; zero chunk: 0 */
};
_Static_assert(sizeof(struct ck_disk_chunk) == 32, "IMAGE.md");

struct ck_disk_footer {
	char magic[8];
	uint32_t version;
	uint32_t length;	/* of this record */
	uint64_t index_offset, index_length;
	uint64_t nranges, nchunks, nstacks;
	uint64_t stack_bytes;
	uint64_t range_bytes, stored_bytes, zero_chunks;
	uint64_t reserved;	/* 0 */
	uint8_t index_hash[CK_HASH_LEN]; /* of the header, then the index */
	uint8_t hash[CK_HASH_LEN];	 /* of the bytes before */
};
_Static_assert(sizeof(struct ck_disk_footer) == 128, "IMAGE.md");

/* Chunks that a range of @size bytes has. */
static inline uint64_t ck_range_chunks(uint64_t size)
{
	return size / CK_CHUNK_SIZE + (size % CK_CHUNK_SIZE != 0);
}

static inline uint64_t ck_image_align(uint64_t offset)
{
	return (offset + CK_IMAGE_ALIGN - 1) & ~(uint64_t)(CK_IMAGE_ALIGN - 1);
}

/* ck_ranges_overlap - whether any two of @n ranges share an address; their order does not matter.
 * @scratch has room for n ranges and is overwritten. */
int ck_ranges_overlap(const struct ck_disk_range *ranges, uint64_t n, struct ck_range *scratch);

#endif
