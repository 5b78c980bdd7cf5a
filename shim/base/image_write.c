/* image_write.c - the writing side of image.h: one pass, append only, index and footer last.
 *
 * Runs inside the host program while its threads may be stopped anywhere, malloc's lock held included:
 * all memory is mapped. What stays in memory is the index: 32 bytes for each chunk of 4 MiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image_format.h"
#include "io.h"

/* An array in its own mapping, which grows by mremap: no copy, no old block to free. */
struct table {
	char *p;
	size_t used, room;
};

struct ck_image_writer {
	int fd;
	int broken;	   /* a write failed: the file is of no use any more */
	uint64_t end;	   /* where the next byte goes */
	uint64_t left;	   /* bytes of the current range still to come */
	uint64_t top;	   /* end of the highest range so far */
	int unordered;	   /* ranges did not come in order of address: look for overlap at the end */
	struct ck_disk_header header;
	struct ck_disk_footer footer; /* counts grow here */
	struct table ranges, chunks, stack_at, stack_text;
};

static int table_room(struct table *t, size_t more, struct ck_err *err)
{
	size_t room = t->room ? t->room : 65536;
	while (room - t->used < more)
		room *= 2;
	if (room == t->room)
		return 0;
	void *p = t->p ? mremap(t->p, t->room, room, MREMAP_MAYMOVE)
		       : mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return ck_err_errno(err, "no memory for the image's index");
	t->p = p;
	t->room = room;
	return 0;
}

static void *table_add(struct table *t, const void *what, size_t len)
{
	void *at = t->p + t->used;
	memcpy(at, what, len);
	t->used += len;
	return at;
}

static void table_drop(struct table *t)
{
	if (t->p)
		munmap(t->p, t->room);
}

static size_t index_length(const struct ck_image_writer *w)
{
	return w->ranges.used + w->chunks.used + w->stack_at.used + w->stack_text.used;
}

/* Room for @more bytes of index, within what a reader accepts. */
static int index_room(struct ck_image_writer *w, struct table *t, size_t more, struct ck_err *err)
{
	if (more > CK_INDEX_MAX || index_length(w) > CK_INDEX_MAX - more)
		return ck_err_set(err, CK_EINVAL, 0, "image index would exceed %u MiB", CK_INDEX_MAX >> 20);
	return table_room(t, more, err);
}

/* A failed write leaves the image unusable, whatever was written of it. */
static int append(struct ck_image_writer *w, const void *buf, size_t len, struct ck_err *err)
{
	if (ck_pwrite_full(w->fd, buf, len, (off_t)w->end)) {
		w->broken = 1;
		return ck_err_errno(err, "cannot write the image");
	}
	w->end += len;
	return 0;
}

static int usable(const struct ck_image_writer *w, struct ck_err *err)
{
	if (w->broken)
		return ck_err_set(err, CK_EINVAL, 0, "an earlier write to this image failed");
	return 0;
}

int ck_image_create(int fd, int32_t pid, int32_t device, const uint8_t uuid[CK_UUID_LEN],
		    struct ck_image_writer **out, struct ck_err *err)
{
	*out = NULL;
	struct stat st;
	if (fstat(fd, &st))
		return ck_err_errno(err, "cannot look at the image file");
	if (!S_ISREG(st.st_mode) || st.st_size)
		return ck_err_set(err, CK_EINVAL, 0, "an image begins in an empty regular file");
	struct ck_image_writer *w =
		mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w == MAP_FAILED)
		return ck_err_errno(err, "no memory for an image");
	w->fd = fd;
	struct ck_disk_header *h = &w->header;
	memcpy(h->magic, CK_IMAGE_MAGIC, sizeof h->magic);
	h->version = CK_IMAGE_VERSION;
	h->length = sizeof *h;
	h->pid = pid;
	h->device = device;
	memcpy(h->uuid, uuid, CK_UUID_LEN);
	h->chunk_size = CK_CHUNK_SIZE;
	h->check = ck_hash64(h, offsetof(struct ck_disk_header, check));
	if (append(w, h, sizeof *h, err)) {
		ck_image_abandon(w);
		return -1;
	}
	*out = w;
	return 0;
}

int ck_image_stack(struct ck_image_writer *w, const char *text, uint32_t *index, struct ck_err *err)
{
	size_t len = strlen(text) + 1;
	uint32_t at = (uint32_t)w->stack_text.used;
	if (usable(w, err) || index_room(w, &w->stack_at, sizeof at, err) ||
	    index_room(w, &w->stack_text, len + sizeof at, err))
		return -1;
	table_add(&w->stack_at, &at, sizeof at);
	table_add(&w->stack_text, text, len);
	*index = (uint32_t)w->footer.nstacks++;
	w->footer.stack_bytes += len;
	return 0;
}

int ck_image_range(struct ck_image_writer *w, const struct ck_range *r, struct ck_err *err)
{
	if (usable(w, err))
		return -1;
	if (w->left)
		return ck_err_set(err, CK_EINVAL, 0, "the range before lacks %llu bytes",
				  (unsigned long long)w->left);
	if (!r->size || r->addr + r->size < r->addr || r->flags ||
	    (r->stack != CK_NO_STACK && r->stack >= w->footer.nstacks))
		return ck_err_set(err, CK_EINVAL, 0, "no such range: %#llx, %llu bytes, stack %u",
				  (unsigned long long)r->addr, (unsigned long long)r->size, r->stack);
	if (index_room(w, &w->ranges, sizeof(struct ck_disk_range), err))
		return -1;
	if (r->addr < w->top)
		w->unordered = 1;
	else
		w->top = r->addr + r->size;
	struct ck_disk_range d = { .r = *r, .first_chunk = w->footer.nchunks };
	table_add(&w->ranges, &d, sizeof d);
	w->footer.nranges++;
	w->footer.range_bytes += r->size;
	w->left = r->size;
	return 0;
}

/* memcmp of the buffer with itself, shifted: libc's vector code looks for the first byte that differs
 * from the one eight before it. Stops early in a chunk that is not zero, which is the common case. */
static int all_zero(const void *buf, size_t len)
{
	const unsigned char *p = buf;
	size_t head = len < 8 ? len : 8;
	for (size_t i = 0; i < head; i++)
		if (p[i])
			return 0;
	return len <= 8 || memcmp(p, p + 8, len - 8) == 0;
}

int ck_image_chunk(struct ck_image_writer *w, const void *buf, size_t len, struct ck_err *err)
{
	if (usable(w, err))
		return -1;
	uint64_t want = w->left < CK_CHUNK_SIZE ? w->left : CK_CHUNK_SIZE;
	if (!want || len != want)
		return ck_err_set(err, CK_EINVAL, 0, "chunk of %zu bytes where %llu are due", len,
				  (unsigned long long)want);
	if (index_room(w, &w->chunks, sizeof(struct ck_disk_chunk), err))
		return -1;
	struct ck_disk_chunk c = { .kind = CK_CHUNK_ZERO };
	if (all_zero(buf, len)) {
		w->footer.zero_chunks++;
	} else {
		c.kind = CK_CHUNK_STORED;
		c.length = (uint32_t)len;
		/* the gap before it becomes a hole, which reads as the zeros that the format wants */
		c.offset = w->end = ck_image_align(w->end);
		ck_hash128(buf, len, c.hash);
		if (append(w, buf, len, err))
			return -1;
		w->footer.stored_bytes += len;
		/* Let the disk begin now: the last fdatasync then has little left to wait for. Only a
		 * hint; file systems that lack it say so, and nothing is lost. */
		sync_file_range(w->fd, (off_t)c.offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
	}
	table_add(&w->chunks, &c, sizeof c);
	w->footer.nchunks++;
	w->left -= len;
	return 0;
}

static int check_overlap(struct ck_image_writer *w, struct ck_err *err)
{
	if (!w->unordered)
		return 0;
	size_t room = w->footer.nranges * sizeof(struct ck_range);
	void *scratch = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (scratch == MAP_FAILED)
		return ck_err_errno(err, "no memory for the image's index");
	int bad = ck_ranges_overlap((struct ck_disk_range *)w->ranges.p, w->footer.nranges, scratch);
	munmap(scratch, room);
	if (bad)
		return ck_err_set(err, CK_EINVAL, 0, "ranges of the image overlap");
	return 0;
}

static int finish(struct ck_image_writer *w, struct ck_err *err)
{
	if (usable(w, err))
		return -1;
	if (w->left)
		return ck_err_set(err, CK_EINVAL, 0, "the last range lacks %llu bytes",
				  (unsigned long long)w->left);
	if (check_overlap(w, err))
		return -1;
	const struct table *part[] = { &w->ranges, &w->chunks, &w->stack_at, &w->stack_text };
	struct ck_disk_footer *f = &w->footer;
	struct ck_hash hash;
	ck_hash_init(&hash);
	ck_hash_update(&hash, &w->header, sizeof w->header);
	f->index_offset = w->end = ck_image_align(w->end);
	f->index_length = index_length(w);
	for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
		if (!part[i]->used)
			continue;
		ck_hash_update(&hash, part[i]->p, part[i]->used);
		if (append(w, part[i]->p, part[i]->used, err))
			return -1;
	}
	ck_hash_final(&hash, f->index_hash);
	memcpy(f->magic, CK_IMAGE_END_MAGIC, sizeof f->magic);
	f->version = CK_IMAGE_VERSION;
	f->length = sizeof *f;
	ck_hash128(f, offsetof(struct ck_disk_footer, hash), f->hash);
	if (append(w, f, sizeof *f, err))
		return -1;
	/* One sync for data and footer: a cut between them leaves a file that no manifest names. */
	if (fdatasync(w->fd))
		return ck_err_errno(err, "cannot sync the image");
	return 0;
}

int ck_image_finish(struct ck_image_writer *w, struct ck_image_info *info, struct ck_err *err)
{
	int rc = finish(w, err);
	if (info) {
		memset(info, 0, sizeof *info);
		info->pid = w->header.pid;
		info->device = w->header.device;
		memcpy(info->uuid, w->header.uuid, CK_UUID_LEN);
		info->nranges = w->footer.nranges;
		info->nchunks = w->footer.nchunks;
		info->nstacks = w->footer.nstacks;
		info->range_bytes = w->footer.range_bytes;
		info->stored_bytes = w->footer.stored_bytes;
		info->zero_chunks = w->footer.zero_chunks;
	}
	ck_image_abandon(w);
	return rc;
}

void ck_image_abandon(struct ck_image_writer *w)
{
	if (!w)
		return;
	table_drop(&w->ranges);
	table_drop(&w->chunks);
	table_drop(&w->stack_at);
	table_drop(&w->stack_text);
	munmap(w, sizeof *w);
}

static int below(const struct ck_range *a, const struct ck_range *b)
{
	return a->addr < b->addr;
}

/* Move element @i of a heap of @n down to its place. */
static void sift(struct ck_range *a, uint64_t i, uint64_t n)
{
	for (;;) {
		uint64_t big = i, l = 2 * i + 1;
		if (l < n && below(&a[big], &a[l]))
			big = l;
		if (l + 1 < n && below(&a[big], &a[l + 1]))
			big = l + 1;
		if (big == i)
			return;
		struct ck_range t = a[i];
		a[i] = a[big];
		a[big] = t;
		i = big;
	}
}

/* Heapsort: qsort may call malloc. */
int ck_ranges_overlap(const struct ck_disk_range *ranges, uint64_t n, struct ck_range *scratch)
{
	for (uint64_t i = 0; i < n; i++)
		scratch[i] = ranges[i].r;
	for (uint64_t i = n / 2; i-- > 0;)
		sift(scratch, i, n);
	for (uint64_t end = n; end > 1; end--) {
		struct ck_range t = scratch[0];
		scratch[0] = scratch[end - 1];
		scratch[end - 1] = t;
		sift(scratch, 0, end - 1);
	}
	for (uint64_t i = 1; i < n; i++)
		if (scratch[i].addr - scratch[i - 1].addr < scratch[i - 1].size)
			return 1;
	return 0;
}
