/* image.h - the file that holds one device's memory of one process: device-PID-GPU.ck.
 * The format is normative in IMAGE.md. Writing is one pass, append only; the index and the footer
 * come last, so a torn file has no footer and is refused. Reading trusts no length or offset.
 *
 * A range is one allocation (address, size, call stack). Its contents are stored as chunks of at most
 * CK_CHUNK_SIZE bytes of address range each. Chunks of a range are appended in order of address.
 */
#ifndef CK_IMAGE_H
#define CK_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define CK_CHUNK_SIZE (4u << 20)
#define CK_UUID_LEN 16

struct ck_image_info {
	int32_t pid;		     /* process inside the namespace */
	int32_t device;		     /* its ordinal in that process */
	uint8_t uuid[CK_UUID_LEN];   /* the GPU's */
	uint64_t nranges, nchunks, nstacks;
	uint64_t range_bytes;	     /* device memory covered */
	uint64_t stored_bytes;	     /* payload bytes in the file */
	uint64_t zero_chunks;
};

struct ck_range {
	uint64_t addr, size; /* device address; bytes asked for by the program */
	uint32_t stack;	     /* index of its call stack, or CK_NO_STACK */
	uint32_t flags;	     /* reserved, 0 */
};
#define CK_NO_STACK UINT32_MAX

struct ck_image_writer;
struct ck_image_reader;

/* ck_image_create - begin an image in the empty regular file @fd (the caller keeps and closes it).
 * @alloc memory comes from mmap, never malloc: usable inside a host program with its threads stopped.
 * Returns 0 and *@out, or -1: CK_EINVAL, CK_ESYS, CK_ENOSPC. */
int ck_image_create(int fd, int32_t pid, int32_t device, const uint8_t uuid[CK_UUID_LEN],
		    struct ck_image_writer **out, struct ck_err *err);

/* ck_image_stack - append a call stack: @text, one frame a line, NUL-terminated UTF-8 or bytes. Before
 * the ranges that name it. *@index gets its number. Returns 0 or -1 (CK_ESYS, CK_ENOSPC). */
int ck_image_stack(struct ck_image_writer *w, const char *text, uint32_t *index, struct ck_err *err);

/* ck_image_range - begin a range; the one before must be complete (CK_EINVAL otherwise). Ranges may not
 * overlap; addr + size may not overflow; size > 0. Any order will do; only when they do not come in order
 * of address is an overlap found as late as in ck_image_finish. An index of 256 MiB is the limit
 * (CK_EINVAL): 32 TiB of memory. */
int ck_image_range(struct ck_image_writer *w, const struct ck_range *r, struct ck_err *err);

/* ck_image_chunk - append the next @len bytes of the current range. @len is CK_CHUNK_SIZE but for the
 * range's last chunk. All-zero chunks take no payload. Each is hashed with XXH3-128.
 * Returns 0 or -1: CK_ENOSPC, CK_ESYS (image unusable), CK_EINVAL (nothing written). */
int ck_image_chunk(struct ck_image_writer *w, const void *buf, size_t len, struct ck_err *err);

/* ck_image_finish - write index and footer and fdatasync. Frees @w either way. *@info may be NULL.
 * Returns 0 or -1: CK_ENOSPC, CK_ESYS, CK_EINVAL (a range is incomplete, ranges overlap, or an earlier
 * write failed): the file is then without a footer, or not known to be on the disk. */
int ck_image_finish(struct ck_image_writer *w, struct ck_image_info *info, struct ck_err *err);

/* ck_image_abandon - free @w; the file stays as it is, without a footer. NULL is allowed. */
void ck_image_abandon(struct ck_image_writer *w);

/* ck_image_open - check header, footer and index of @fd (caller keeps it; read with pread). Allocates by
 * mmap only, never more than about 512 MiB whatever the file says.
 * Returns 0 and *@out; or -1: CK_EDAMAGED, CK_EVERSION, CK_ESYS. */
int ck_image_open(int fd, struct ck_image_reader **out, struct ck_err *err);
void ck_image_close(struct ck_image_reader *r); /* NULL is allowed */

void ck_image_get_info(const struct ck_image_reader *r, struct ck_image_info *info);
/* @i below nranges / nstacks of the info; otherwise NULL. Valid until close. */
const struct ck_range *ck_image_get_range(const struct ck_image_reader *r, uint64_t i);
const char *ck_image_get_stack(const struct ck_image_reader *r, uint32_t i);

/* ck_image_read - chunk @c of range @i into @buf (CK_CHUNK_SIZE bytes of room), its checksum verified.
 * *@len gets its length, *@zero whether it is all zero (then @buf is left untouched).
 * Chunks of range i: 0 .. ceil(size / CK_CHUNK_SIZE) - 1. Thread-safe on one reader.
 * Returns 0 or -1: CK_EDAMAGED, CK_ESYS, CK_EINVAL. */
int ck_image_read(struct ck_image_reader *r, uint64_t i, uint64_t c, void *buf, size_t *len, int *zero,
		  struct ck_err *err);

/* ck_image_verify - read and check every byte that ck_image_open did not. Returns 0 or -1 as ck_image_read. */
int ck_image_verify(struct ck_image_reader *r, struct ck_err *err);

#endif
