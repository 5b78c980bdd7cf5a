/* image_read.c - the reading side of image.h. Everything in the file may be wrong: nothing is used
 * before it is checked, no sum or product before it is bounded, and memory is bounded by CK_INDEX_MAX.
 *
 * Used inside the host program as well (memory is filled again from these files), so it maps its memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image_format.h"
#include "io.h"

struct ck_image_reader {
	int fd;
	uint64_t file_size;
	struct ck_disk_header header;
	struct ck_disk_footer footer;
	void *index; /* as in the file */
	const struct ck_disk_range *ranges;
	const struct ck_disk_chunk *chunks;
	const uint32_t *stack_at;
	const char *stack_text;
};

static int damaged(struct ck_err *err, const char *what)
{
	return ck_err_set(err, CK_EDAMAGED, 0, "damaged image: %s", what);
}

/* A file that ends early is damaged; another failure is the system's. */
static int read_at(int fd, void *buf, size_t len, uint64_t at, struct ck_err *err)
{
	if (ck_pread_full(fd, buf, len, (off_t)at) == 0)
		return 0;
	if (errno == ENODATA)
		return damaged(err, "it ends early");
	if (errno == EIO)
		return ck_err_set(err, CK_EDAMAGED, EIO, "cannot read the image");
	return ck_err_errno(err, "cannot read the image");
}

static int read_header(struct ck_image_reader *r, struct ck_err *err)
{
	struct ck_disk_header *h = &r->header;
	if (r->file_size < CK_IMAGE_ALIGN + sizeof(struct ck_disk_footer))
		return damaged(err, "too short");
	if (read_at(r->fd, h, sizeof *h, 0, err))
		return -1;
	if (memcmp(h->magic, CK_IMAGE_MAGIC, sizeof h->magic))
		return damaged(err, "not an image of ckshim");
	if (h->check != ck_hash64(h, offsetof(struct ck_disk_header, check)))
		return damaged(err, "header");
	/* after the checksum: a flipped bit is damage, not a newer version */
	if (h->version != CK_IMAGE_VERSION)
		return ck_err_set(err, CK_EVERSION, 0,
				  "image format %u, this release knows %d: use the ckshim that wrote it", h->version,
				  CK_IMAGE_VERSION);
	if (h->length != sizeof *h || h->chunk_size != CK_CHUNK_SIZE || h->flags || h->reserved)
		return damaged(err, "header");
	return 0;
}

static int read_footer(struct ck_image_reader *r, struct ck_err *err)
{
	struct ck_disk_footer *f = &r->footer;
	if (read_at(r->fd, f, sizeof *f, r->file_size - sizeof *f, err))
		return -1;
	uint8_t hash[CK_HASH_LEN];
	ck_hash128(f, offsetof(struct ck_disk_footer, hash), hash);
	if (memcmp(f->magic, CK_IMAGE_END_MAGIC, sizeof f->magic) || memcmp(hash, f->hash, sizeof hash))
		return damaged(err, "no footer: it was not written to its end");
	if (f->version != r->header.version || f->length != sizeof *f || f->reserved)
		return damaged(err, "footer");
	uint64_t body = r->file_size - sizeof *f;
	if (f->index_offset < CK_IMAGE_ALIGN || f->index_offset % CK_IMAGE_ALIGN || f->index_offset > body ||
	    f->index_length != body - f->index_offset || f->index_length > CK_INDEX_MAX)
		return damaged(err, "place of the index");
	/* each count is below 2^32 after this, so the sum cannot overflow */
	uint64_t len = f->index_length;
	if (f->nranges > len / sizeof(struct ck_disk_range) || f->nchunks > len / sizeof(struct ck_disk_chunk) ||
	    f->nstacks > len / sizeof(uint32_t) || f->stack_bytes > len ||
	    f->nranges * sizeof(struct ck_disk_range) + f->nchunks * sizeof(struct ck_disk_chunk) +
			    f->nstacks * sizeof(uint32_t) + f->stack_bytes !=
		    len)
		return damaged(err, "size of the index");
	return 0;
}

static void *map_memory(size_t len)
{
	void *p = mmap(NULL, len ? len : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void unmap_memory(void *p, size_t len)
{
	if (p)
		munmap(p, len ? len : 1);
}

static int read_index(struct ck_image_reader *r, struct ck_err *err)
{
	const struct ck_disk_footer *f = &r->footer;
	r->index = map_memory(f->index_length);
	if (!r->index)
		return ck_err_errno(err, "no memory for the image's index");
	if (read_at(r->fd, r->index, f->index_length, f->index_offset, err))
		return -1;
	struct ck_hash h;
	uint8_t hash[CK_HASH_LEN];
	ck_hash_init(&h);
	ck_hash_update(&h, &r->header, sizeof r->header);
	ck_hash_update(&h, r->index, f->index_length);
	ck_hash_final(&h, hash);
	if (memcmp(hash, f->index_hash, sizeof hash))
		return damaged(err, "index");
	r->ranges = r->index;
	r->chunks = (const void *)(r->ranges + f->nranges);
	r->stack_at = (const void *)(r->chunks + f->nchunks);
	r->stack_text = (const void *)(r->stack_at + f->nstacks);
	return 0;
}

/* Stacks: strings one after the other, each ended by a NUL, nothing between them and nothing after. */
static int check_stacks(const struct ck_image_reader *r, struct ck_err *err)
{
	const struct ck_disk_footer *f = &r->footer;
	uint64_t at = 0;
	for (uint64_t i = 0; i < f->nstacks; i++) {
		const char *nul = NULL;
		if (r->stack_at[i] == at && at < f->stack_bytes)
			nul = memchr(r->stack_text + at, 0, f->stack_bytes - at);
		if (!nul)
			return damaged(err, "call stacks");
		at = (uint64_t)(nul - r->stack_text) + 1;
	}
	if (at != f->stack_bytes)
		return damaged(err, "call stacks");
	return 0;
}

static int check_ranges(const struct ck_image_reader *r, struct ck_err *err)
{
	const struct ck_disk_footer *f = &r->footer;
	uint64_t chunk = 0, bytes = 0;
	for (uint64_t i = 0; i < f->nranges; i++) {
		const struct ck_range *g = &r->ranges[i].r;
		if (!g->size || g->addr + g->size < g->addr || g->flags ||
		    (g->stack != CK_NO_STACK && g->stack >= f->nstacks) || r->ranges[i].first_chunk != chunk ||
		    ck_range_chunks(g->size) > f->nchunks - chunk)
			return damaged(err, "a memory range");
		/* at most CK_INDEX_MAX / 32 chunks of 4 MiB: no overflow */
		chunk += ck_range_chunks(g->size);
		bytes += g->size;
	}
	if (chunk != f->nchunks || bytes != f->range_bytes)
		return damaged(err, "count of memory ranges");
	if (f->nranges < 2)
		return 0;
	size_t room = f->nranges * sizeof(struct ck_range);
	struct ck_range *scratch = map_memory(room);
	if (!scratch)
		return ck_err_errno(err, "no memory for the image's index");
	int bad = ck_ranges_overlap(r->ranges, f->nranges, scratch);
	unmap_memory(scratch, room);
	return bad ? damaged(err, "memory ranges overlap") : 0;
}

/* Memory covered by chunk @c of range @i. */
static size_t chunk_bytes(const struct ck_image_reader *r, uint64_t i, uint64_t c)
{
	uint64_t left = r->ranges[i].r.size - c * CK_CHUNK_SIZE;
	return left < CK_CHUNK_SIZE ? (size_t)left : CK_CHUNK_SIZE;
}

/* Payloads stand in the order of the index, each at the next multiple of the alignment: with that
 * known, none can overlap another, reach into the index, or leave bytes that nothing accounts for. */
static int check_chunks(const struct ck_image_reader *r, struct ck_err *err)
{
	const struct ck_disk_footer *f = &r->footer;
	uint64_t end = sizeof(struct ck_disk_header), stored = 0, zero = 0;
	static const uint8_t nohash[CK_HASH_LEN];
	for (uint64_t i = 0, n = 0; i < f->nranges; i++) {
		for (uint64_t c = 0; c < ck_range_chunks(r->ranges[i].r.size); c++, n++) {
			const struct ck_disk_chunk *k = &r->chunks[n];
			if (k->kind == CK_CHUNK_ZERO) {
				if (k->length || k->offset || memcmp(k->hash, nohash, sizeof nohash))
					return damaged(err, "a zero chunk");
				zero++;
				continue;
			}
			if (k->kind != CK_CHUNK_STORED || k->length != chunk_bytes(r, i, c) ||
			    k->offset != ck_image_align(end) || k->offset > f->index_offset ||
			    k->length > f->index_offset - k->offset)
				return damaged(err, "a chunk's place");
			end = k->offset + k->length;
			stored += k->length;
		}
	}
	if (stored != f->stored_bytes || zero != f->zero_chunks || ck_image_align(end) != f->index_offset)
		return damaged(err, "count of chunks");
	return 0;
}

int ck_image_open(int fd, struct ck_image_reader **out, struct ck_err *err)
{
	*out = NULL;
	struct stat st;
	if (fstat(fd, &st))
		return ck_err_errno(err, "cannot look at the image");
	if (!S_ISREG(st.st_mode))
		return damaged(err, "not a regular file");
	struct ck_image_reader *r = map_memory(sizeof *r);
	if (!r)
		return ck_err_errno(err, "no memory for an image");
	r->fd = fd;
	r->file_size = (uint64_t)st.st_size;
	if (read_header(r, err) || read_footer(r, err) || read_index(r, err) || check_stacks(r, err) ||
	    check_ranges(r, err) || check_chunks(r, err)) {
		ck_image_close(r);
		return -1;
	}
	*out = r;
	return 0;
}

void ck_image_close(struct ck_image_reader *r)
{
	if (!r)
		return;
	unmap_memory(r->index, r->footer.index_length);
	unmap_memory(r, sizeof *r);
}

void ck_image_get_info(const struct ck_image_reader *r, struct ck_image_info *info)
{
	const struct ck_disk_footer *f = &r->footer;
	memset(info, 0, sizeof *info);
	info->pid = r->header.pid;
	info->device = r->header.device;
	memcpy(info->uuid, r->header.uuid, CK_UUID_LEN);
	info->nranges = f->nranges;
	info->nchunks = f->nchunks;
	info->nstacks = f->nstacks;
	info->range_bytes = f->range_bytes;
	info->stored_bytes = f->stored_bytes;
	info->zero_chunks = f->zero_chunks;
}

const struct ck_range *ck_image_get_range(const struct ck_image_reader *r, uint64_t i)
{
	return i < r->footer.nranges ? &r->ranges[i].r : NULL;
}

const char *ck_image_get_stack(const struct ck_image_reader *r, uint32_t i)
{
	return i < r->footer.nstacks ? r->stack_text + r->stack_at[i] : NULL;
}

int ck_image_read(struct ck_image_reader *r, uint64_t i, uint64_t c, void *buf, size_t *len, int *zero,
		  struct ck_err *err)
{
	if (i >= r->footer.nranges || c >= ck_range_chunks(r->ranges[i].r.size))
		return ck_err_set(err, CK_EINVAL, 0, "no chunk %llu of range %llu", (unsigned long long)c,
				  (unsigned long long)i);
	const struct ck_disk_chunk *k = &r->chunks[r->ranges[i].first_chunk + c];
	*len = chunk_bytes(r, i, c);
	*zero = k->kind == CK_CHUNK_ZERO;
	if (*zero)
		return 0;
	if (read_at(r->fd, buf, k->length, k->offset, err))
		return -1;
	uint8_t hash[CK_HASH_LEN];
	ck_hash128(buf, k->length, hash);
	if (memcmp(hash, k->hash, sizeof hash))
		return ck_err_set(err, CK_EDAMAGED, 0, "damaged image: memory at %#llx",
				  (unsigned long long)(r->ranges[i].r.addr + c * CK_CHUNK_SIZE));
	return 0;
}

/* The bytes between @from and the next payload at @to: fewer than the alignment, and zero. */
static int check_gap(struct ck_image_reader *r, uint64_t from, uint64_t to, struct ck_err *err)
{
	unsigned char gap[CK_IMAGE_ALIGN];
	if (read_at(r->fd, gap, (size_t)(to - from), from, err))
		return -1;
	for (uint64_t i = 0; i < to - from; i++)
		if (gap[i])
			return damaged(err, "bytes between two chunks");
	return 0;
}

int ck_image_verify(struct ck_image_reader *r, struct ck_err *err)
{
	const struct ck_disk_footer *f = &r->footer;
	void *buf = map_memory(CK_CHUNK_SIZE);
	if (!buf)
		return ck_err_errno(err, "no memory for a chunk");
	uint64_t end = sizeof(struct ck_disk_header);
	int rc = 0;
	for (uint64_t i = 0; rc == 0 && i < f->nranges; i++) {
		uint64_t n = ck_range_chunks(r->ranges[i].r.size);
		for (uint64_t c = 0; rc == 0 && c < n; c++) {
			const struct ck_disk_chunk *k = &r->chunks[r->ranges[i].first_chunk + c];
			size_t len;
			int zero;
			rc = ck_image_read(r, i, c, buf, &len, &zero, err);
			if (rc || zero)
				continue;
			rc = check_gap(r, end, k->offset, err);
			end = k->offset + k->length;
		}
	}
	if (rc == 0)
		rc = check_gap(r, end, f->index_offset, err);
	munmap(buf, CK_CHUNK_SIZE);
	return rc;
}
