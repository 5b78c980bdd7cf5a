/* The image file: what is written comes back; whatever is wrong is refused; old files stay readable. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../shim/base/image.h"
#include "../../shim/base/image_format.h"
#include "../../shim/base/io.h"
#include "tap.h"

static struct ck_err err;
static const uint8_t uuid[CK_UUID_LEN] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

static int temp_file(void)
{
	return open(getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* Contents that depend on address and seed, so that a chunk in another's place shows. */
static void fill(unsigned char *buf, size_t len, uint64_t addr)
{
	uint64_t x = addr * 0x9e3779b97f4a7c15u + 1;
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buf[i] = (unsigned char)x;
	}
}

/* Whether the test image has zeros at @addr: every third chunk, and the whole of a range at 0x7...
 * A chunk that differs from zero in its last byte only is made at 0x5.... */
static void contents(unsigned char *buf, size_t len, uint64_t addr)
{
	memset(buf, 0, len);
	if (addr >> 60 == 5)
		buf[len - 1] = 1;
	else if (addr >> 60 != 7 && (addr / CK_CHUNK_SIZE) % 3 != 2)
		fill(buf, len, addr);
}

static const struct ck_range some[] = {
	{ 0x700000000000, 1, 0, 0 },
	{ 0x710000000000, CK_CHUNK_SIZE, 1, 0 },
	{ 0x720000000000, 3 * (uint64_t)CK_CHUNK_SIZE + 4097, CK_NO_STACK, 0 },
	{ 0x100000000000, CK_CHUNK_SIZE - 1, 0, 0 }, /* out of order */
	{ 0x7000000000000000, CK_CHUNK_SIZE + 1, 1, 0 },
	{ 0x5000000000000000, 100, CK_NO_STACK, 0 },
	{ UINT64_MAX - 8, 8, CK_NO_STACK, 0 }, /* ends one below the top of the address space */
};
#define NSOME (sizeof some / sizeof some[0])

static int write_image(int fd, const struct ck_range *r, size_t n, struct ck_image_info *info)
{
	static unsigned char buf[CK_CHUNK_SIZE];
	struct ck_image_writer *w;
	uint32_t s;
	if (ck_image_create(fd, 4711, 3, uuid, &w, &err))
		return -1;
	if (ck_image_stack(w, "main\ntrain", &s, &err) || s != 0 || ck_image_stack(w, "", &s, &err) || s != 1) {
		ck_image_abandon(w);
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		if (ck_image_range(w, &r[i], &err)) {
			ck_image_abandon(w);
			return -1;
		}
		for (uint64_t at = 0; at < r[i].size; at += CK_CHUNK_SIZE) {
			size_t len = r[i].size - at < CK_CHUNK_SIZE ? (size_t)(r[i].size - at) : CK_CHUNK_SIZE;
			contents(buf, len, r[i].addr + at);
			if (ck_image_chunk(w, buf, len, &err)) {
				ck_image_abandon(w);
				return -1;
			}
		}
	}
	return ck_image_finish(w, info, &err);
}

/* Everything comes back as contents() makes it. */
static int same(struct ck_image_reader *r, const struct ck_range *want, size_t n)
{
	static unsigned char buf[CK_CHUNK_SIZE], ref[CK_CHUNK_SIZE];
	for (size_t i = 0; i < n; i++) {
		const struct ck_range *g = ck_image_get_range(r, i);
		if (!g || memcmp(g, &want[i], sizeof *g))
			return 0;
		for (uint64_t c = 0; c < ck_range_chunks(g->size); c++) {
			size_t len;
			int zero;
			uint64_t at = c * CK_CHUNK_SIZE;
			memset(buf, 0, sizeof buf);
			if (ck_image_read(r, i, c, buf, &len, &zero, &err))
				return 0;
			contents(ref, len, g->addr + at);
			if (len != (g->size - at < CK_CHUNK_SIZE ? g->size - at : CK_CHUNK_SIZE) ||
			    memcmp(buf, ref, len))
				return 0;
			int really = len == 1 || memcmp(ref, ref + 1, len - 1) == 0;
			if (zero != (really && ref[0] == 0))
				return 0;
		}
	}
	return 1;
}

static void test_round_trip(void)
{
	struct ck_image_info a, b;
	struct ck_image_reader *r;
	int fd = temp_file();
	ok(write_image(fd, some, NSOME, &a) == 0, "an image is written");
	if (!ok(ck_image_open(fd, &r, &err) == 0, "and opened"))
		return;
	ck_image_get_info(r, &b);
	ok(memcmp(&a, &b, sizeof a) == 0, "writer and reader say the same of it");
	is_int(b.pid, 4711, "pid");
	is_int(b.device, 3, "device");
	ok(memcmp(b.uuid, uuid, sizeof uuid) == 0, "uuid");
	is_int(b.nranges, NSOME, "ranges");
	is_int(b.nchunks, 11, "chunks");
	ok(same(r, some, NSOME), "contents come back, zero chunks are told");
	is_str(ck_image_get_stack(r, 0), "main\ntrain", "a call stack comes back");
	is_str(ck_image_get_stack(r, 1), "", "an empty one too");
	ok(!ck_image_get_stack(r, 2) && !ck_image_get_stack(r, CK_NO_STACK) && !ck_image_get_range(r, NSOME),
	   "past the end is NULL");
	size_t len;
	int zero;
	char c;
	ok(ck_image_read(r, NSOME, 0, &c, &len, &zero, &err) && err.code == CK_EINVAL, "no such range");
	ok(ck_image_read(r, 0, 1, &c, &len, &zero, &err) && err.code == CK_EINVAL, "no such chunk");
	ok(ck_image_verify(r, &err) == 0, "it verifies");
	ck_image_close(r);
	close(fd);

	fd = temp_file();
	ok(write_image(fd, NULL, 0, &a) == 0 && ck_image_open(fd, &r, &err) == 0, "an image without ranges");
	ok(ck_image_verify(r, &err) == 0, "verifies");
	ck_image_close(r);
	close(fd);
}

static void test_misuse(void)
{
	struct ck_image_writer *w;
	struct ck_range r = { 0x1000, 10, CK_NO_STACK, 0 };
	char buf[16] = "x";
	int p[2];
	int fd = temp_file();
	ok(ck_write_full(fd, "x", 1) == 0 && ck_image_create(fd, 1, 0, uuid, &w, &err) && err.code == CK_EINVAL,
	   "a file that is not empty is refused");
	close(fd);
	ok(pipe(p) == 0 && ck_image_create(p[1], 1, 0, uuid, &w, &err) && err.code == CK_EINVAL,
	   "a pipe is refused");
	fd = temp_file();
	ok(ck_image_create(fd, 1, 0, uuid, &w, &err) == 0, "create");
	ok(ck_image_chunk(w, buf, 1, &err) && err.code == CK_EINVAL, "a chunk without a range");
	r.stack = 0;
	ok(ck_image_range(w, &r, &err) && err.code == CK_EINVAL, "a range with an unknown call stack");
	r.stack = CK_NO_STACK;
	r.size = 0;
	ok(ck_image_range(w, &r, &err) && err.code == CK_EINVAL, "a range of nothing");
	r.size = UINT64_MAX;
	ok(ck_image_range(w, &r, &err) && err.code == CK_EINVAL, "a range that wraps");
	r.size = 10;
	ok(ck_image_range(w, &r, &err) == 0, "after all that a good one is taken");
	ok(ck_image_chunk(w, buf, 9, &err) && err.code == CK_EINVAL, "a chunk too short");
	ok(ck_image_chunk(w, buf, 11, &err) && err.code == CK_EINVAL, "a chunk too long");
	ok(ck_image_range(w, &r, &err) && err.code == CK_EINVAL, "a range before the other is complete");
	ok(ck_image_chunk(w, buf, 10, &err) == 0, "the right chunk");
	r.addr = 0xffa;
	ok(ck_image_range(w, &r, &err) == 0 && ck_image_chunk(w, buf, 10, &err) == 0, "an overlapping range");
	ok(ck_image_finish(w, NULL, &err) && err.code == CK_EINVAL, "is found at the end");
	struct ck_image_reader *rd;
	ok(ck_image_open(fd, &rd, &err) && err.code == CK_EDAMAGED && !rd, "what was not finished does not open");
	close(fd);
	fd = temp_file();
	ok(ck_image_create(fd, 1, 0, uuid, &w, &err) == 0 && ck_image_range(w, &r, &err) == 0 &&
		   ck_image_finish(w, NULL, &err) && err.code == CK_EINVAL,
	   "an incomplete range is found at the end");
	close(fd);
}

static void test_full_disk(void)
{
	/* a file size limit fails the write in the middle, as a full disk does */
	static unsigned char buf[CK_CHUNK_SIZE];
	struct rlimit old, lim;
	struct ck_image_writer *w;
	struct ck_range r = { CK_CHUNK_SIZE, 8 * (uint64_t)CK_CHUNK_SIZE, CK_NO_STACK, 0 };
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	lim = old;
	lim.rlim_cur = 2 * CK_CHUNK_SIZE;
	memset(buf, 1, sizeof buf);
	int fd = temp_file();
	setrlimit(RLIMIT_FSIZE, &lim);
	int made = ck_image_create(fd, 1, 0, uuid, &w, &err) == 0 && ck_image_range(w, &r, &err) == 0;
	int first = ck_image_chunk(w, buf, sizeof buf, &err);
	int second = ck_image_chunk(w, buf, sizeof buf, &err);
	enum ck_errc code = err.code;
	setrlimit(RLIMIT_FSIZE, &old);
	ok(made && first == 0 && second && code == CK_ENOSPC, "no room is told as such");
	ok(ck_image_chunk(w, buf, sizeof buf, &err) && err.code == CK_EINVAL, "the image is then unusable");
	ok(ck_image_finish(w, NULL, &err) && err.code == CK_EINVAL, "and cannot be finished");
	close(fd);
}

/* ---- damage ---- */

static unsigned char *slurp(int fd, size_t *len)
{
	struct stat st;
	fstat(fd, &st);
	*len = (size_t)st.st_size;
	unsigned char *p = malloc(*len);
	return ck_pread_full(fd, p, *len, 0) ? NULL : p;
}

/* Code of open + verify; 0 when all is well. */
static int verdict(int fd)
{
	struct ck_image_reader *r;
	if (ck_image_open(fd, &r, &err))
		return (int)err.code;
	int rc = ck_image_verify(r, &err) ? (int)err.code : 0;
	ck_image_close(r);
	return rc;
}

static void test_flips(void)
{
	static const struct ck_range small[] = {
		{ 0x1000, 100, 0, 0 }, { 0x2000, 50, 1, 0 }, { 0x5000000000000000, 9, CK_NO_STACK, 0 }
	};
	int fd = temp_file();
	size_t len, missed = 0, wrong = 0;
	write_image(fd, small, 3, NULL);
	unsigned char *p = slurp(fd, &len);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = p[i] ^ (unsigned char)(1 << i % 8);
		ck_pwrite_full(fd, &c, 1, (off_t)i);
		int v = verdict(fd);
		missed += v == 0;
		wrong += v && v != CK_EDAMAGED;
		ck_pwrite_full(fd, p + i, 1, (off_t)i);
	}
	ok(missed == 0, "any flipped bit of %zu bytes is found (%zu missed)", len, missed);
	ok(wrong == 0, "and called damage (%zu were not)", wrong);
	missed = 0;
	for (size_t i = len; i-- > 0;) {
		if (ftruncate(fd, (off_t)i))
			break;
		missed += verdict(fd) != CK_EDAMAGED;
	}
	ok(missed == 0, "any shorter file is refused");
	ck_pwrite_full(fd, p, len, 0);
	ck_pwrite_full(fd, "x", 1, (off_t)len);
	is_int(verdict(fd), CK_EDAMAGED, "a longer one too");
	ftruncate(fd, (off_t)len);
	is_int(verdict(fd), 0, "and put back it is whole again");
	free(p);
	close(fd);
}

/* A forger's file: fields changed and all checksums made right again. */
struct forged {
	unsigned char *p;
	size_t len;
	struct ck_disk_header *h;
	struct ck_disk_footer *f, footer; /* in the file it need not be aligned */
	struct ck_disk_range *r;
	struct ck_disk_chunk *c;
	uint32_t *stack_at;
	char *stack_text;
};

static int forge_load(int fd, struct forged *g)
{
	g->p = slurp(fd, &g->len);
	if (!g->p)
		return -1;
	g->h = (void *)g->p;
	g->f = &g->footer;
	memcpy(g->f, g->p + g->len - sizeof *g->f, sizeof *g->f);
	g->r = (void *)(g->p + g->f->index_offset);
	g->c = (void *)(g->r + g->f->nranges);
	g->stack_at = (void *)(g->c + g->f->nchunks);
	g->stack_text = (void *)(g->stack_at + g->f->nstacks);
	return 0;
}

static int forge_try(struct forged *g, uint64_t index_offset, uint64_t index_length)
{
	struct ck_hash s;
	g->h->check = ck_hash64(g->h, offsetof(struct ck_disk_header, check));
	ck_hash_init(&s);
	ck_hash_update(&s, g->h, sizeof *g->h);
	ck_hash_update(&s, g->p + index_offset, index_length);
	ck_hash_final(&s, g->f->index_hash);
	ck_hash128(g->f, offsetof(struct ck_disk_footer, hash), g->f->hash);
	memcpy(g->p + g->len - sizeof *g->f, g->f, sizeof *g->f);
	int fd = temp_file();
	ck_write_full(fd, g->p, g->len);
	int v = verdict(fd);
	close(fd);
	return v;
}

static void test_forged(void)
{
	static const struct ck_range two[] = { { 0x1000, CK_CHUNK_SIZE + 5, 0, 0 }, { 0x80000000, 50, 1, 0 } };
	int fd = temp_file();
	struct forged g;
	write_image(fd, two, 2, NULL);
#define FORGE(want, what, ...)                                                                        \
	do {                                                                                          \
		forge_load(fd, &g);                                                                   \
		uint64_t off = g.f->index_offset, len = g.f->index_length;                            \
		__VA_ARGS__;                                                                          \
		is_int(forge_try(&g, off, len), want, "forged: %s", what);                            \
		free(g.p);                                                                            \
	} while (0)
	FORGE(0, "nothing (the forger's checksums are right)", (void)0);
	FORGE(CK_EVERSION, "a newer version", g.h->version = g.f->version = 2);
	FORGE(CK_EDAMAGED, "two versions", g.f->version = 2);
	FORGE(CK_EDAMAGED, "header flags", g.h->flags = 1);
	FORGE(CK_EDAMAGED, "chunk size", g.h->chunk_size = 1);
	FORGE(CK_EDAMAGED, "index past the end", g.f->index_offset += CK_IMAGE_ALIGN);
	FORGE(CK_EDAMAGED, "index before the start", g.f->index_offset = 0);
	FORGE(CK_EDAMAGED, "index offset near 2^64", g.f->index_offset = -(uint64_t)CK_IMAGE_ALIGN);
	FORGE(CK_EDAMAGED, "2^63 ranges", g.f->nranges = 1ull << 63);
	FORGE(CK_EDAMAGED, "2^59 chunks (times 32 wraps to 0)", g.f->nchunks = 1ull << 59);
	FORGE(CK_EDAMAGED, "2^62 stacks", g.f->nstacks = 1ull << 62);
	FORGE(CK_EDAMAGED, "no stacks", g.f->stack_bytes += 4 * g.f->nstacks; g.f->nstacks = 0);
	FORGE(CK_EDAMAGED, "a stack without end", g.stack_text[g.f->stack_bytes - 1] = 'x');
	FORGE(CK_EDAMAGED, "stacks out of place", g.stack_at[1] = 0xffffffff);
	FORGE(CK_EDAMAGED, "a range that wraps", g.r[1].r.addr = UINT64_MAX);
	FORGE(CK_EDAMAGED, "a range of nothing", g.r[1].r.size = 0);
	FORGE(CK_EDAMAGED, "a huge range", g.r[1].r.size = 1ull << 62);
	FORGE(CK_EDAMAGED, "ranges that overlap", g.r[1].r.addr = 0x1001);
	FORGE(CK_EDAMAGED, "an unknown stack", g.r[1].r.stack = 2);
	FORGE(CK_EDAMAGED, "range flags", g.r[1].r.flags = 1);
	FORGE(CK_EDAMAGED, "a range's first chunk", g.r[1].first_chunk = 1);
	FORGE(CK_EDAMAGED, "sum of ranges", g.f->range_bytes++);
	FORGE(CK_EDAMAGED, "an unknown kind of chunk", g.c[0].kind = 2);
	FORGE(CK_EDAMAGED, "a chunk elsewhere", g.c[0].offset += CK_IMAGE_ALIGN);
	FORGE(CK_EDAMAGED, "a chunk in the header", g.c[0].offset = 0);
	FORGE(CK_EDAMAGED, "a chunk too long", g.c[0].length++);
	FORGE(CK_EDAMAGED, "a zero chunk with a place", g.c[0].kind = CK_CHUNK_ZERO);
	FORGE(CK_EDAMAGED, "sum of zero chunks", g.f->zero_chunks++);
	FORGE(CK_EDAMAGED, "sum of stored bytes", g.f->stored_bytes--);
	FORGE(CK_EDAMAGED, "a chunk's hash", g.c[0].hash[0] ^= 1);
	FORGE(CK_EDAMAGED, "the memory itself", g.p[CK_IMAGE_ALIGN] ^= 1);
	close(fd);

	/* a terabyte of hole, said to be index: refused before anything is allocated */
	fd = temp_file();
	struct ck_disk_header h = { .magic = CK_IMAGE_MAGIC, .version = 1, .length = 64,
		.chunk_size = CK_CHUNK_SIZE };
	struct ck_disk_footer f = { .magic = CK_IMAGE_END_MAGIC, .version = 1, .length = 128,
		.index_offset = CK_IMAGE_ALIGN, .index_length = 1ull << 40, .stack_bytes = 1ull << 40 };
	h.check = ck_hash64(&h, offsetof(struct ck_disk_header, check));
	ck_hash128(&f, offsetof(struct ck_disk_footer, hash), f.hash);
	if (ck_pwrite_full(fd, &h, sizeof h, 0) ||
	    ck_pwrite_full(fd, &f, sizeof f, (off_t)(CK_IMAGE_ALIGN + (1ull << 40))))
		skip(1, "no sparse files of 1 TiB here");
	else
		is_int(verdict(fd), CK_EDAMAGED, "an index of 1 TiB is refused");
	close(fd);
}

/* Each format version keeps a file that must stay readable; scripts of later versions add theirs. */
static void test_golden(const char *path)
{
	struct ck_image_reader *r;
	struct ck_image_info i;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!ok(fd >= 0, "%s is there", path))
		return;
	if (!ok(ck_image_open(fd, &r, &err) == 0, "version 1 opens (%s)", fd < 0 ? "" : path)) {
		printf("# %s\n", err.msg);
		return;
	}
	ck_image_get_info(r, &i);
	is_int(i.pid, 4711, "its pid");
	ok(memcmp(i.uuid, uuid, sizeof uuid) == 0, "its uuid");
	is_str(ck_image_get_stack(r, 0), "main\ntrain", "its call stack");
	static const struct ck_range golden[] = { { 0x700000000000, 5000, 0, 0 }, { 0x7000000000000000, 4096, 1, 0 } };
	ok(i.nranges == 2 && same(r, golden, 2), "its contents");
	ok(ck_image_verify(r, &err) == 0, "it verifies");
	/* and the writer still writes it, byte for byte: another byte is another version */
	int again = temp_file();
	size_t la = 0, lb = 0;
	ok(write_image(again, golden, 2, NULL) == 0, "written anew");
	unsigned char *a = slurp(again, &la), *b = slurp(fd, &lb);
	ok(la == lb && memcmp(a, b, la) == 0, "it is the same file");
	free(a);
	free(b);
	ck_image_close(r);
	close(again);
	close(fd);
}

/* ./image --make FILE writes the golden image. */
int main(int argc, char **argv)
{
	static const struct ck_range golden[] = { { 0x700000000000, 5000, 0, 0 }, { 0x7000000000000000, 4096, 1, 0 } };
	if (argc == 3 && strcmp(argv[1], "--make") == 0) {
		int fd = open(argv[2], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		return fd < 0 || write_image(fd, golden, 2, NULL);
	}
	test_round_trip();
	test_misuse();
	test_full_disk();
	test_flips();
	test_forged();
	test_golden(argc > 1 ? argv[1] : "tests/golden/image-v1.ck");
	return tap_done();
}
