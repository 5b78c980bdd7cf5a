/* libFuzzer: any bytes as an image file. The checksums stand in the way of a blind fuzzer, so they are
 * made right again first, wherever the lengths allow it: what is fuzzed is what the checks do with a
 * file whose author knew how to compute them. Byte 0 of the input says whether. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../shim/base/image_format.h"
#include "../../shim/base/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void seal(uint8_t *p, size_t len)
{
	struct ck_disk_header h;
	struct ck_disk_footer f;
	struct ck_hash s;
	if (len < sizeof h + sizeof f)
		return;
	memcpy(&h, p, sizeof h);
	memcpy(h.magic, CK_IMAGE_MAGIC, sizeof h.magic);
	h.check = ck_hash64(&h, offsetof(struct ck_disk_header, check));
	memcpy(p, &h, sizeof h);
	uint8_t *end = p + len - sizeof f;
	memcpy(&f, end, sizeof f);
	memcpy(f.magic, CK_IMAGE_END_MAGIC, sizeof f.magic);
	if (f.index_offset <= len && f.index_length <= len - f.index_offset) {
		ck_hash_init(&s);
		ck_hash_update(&s, &h, sizeof h);
		ck_hash_update(&s, p + f.index_offset, f.index_length);
		ck_hash_final(&s, f.index_hash);
	}
	ck_hash128(&f, offsetof(struct ck_disk_footer, hash), f.hash);
	memcpy(end, &f, sizeof f);
}

static void use(struct ck_image_reader *r)
{
	static char buf[CK_CHUNK_SIZE];
	struct ck_image_info info;
	struct ck_err err;
	size_t len;
	int zero;
	ck_image_get_info(r, &info);
	for (uint64_t i = 0; i < info.nranges && i < 64; i++) {
		const struct ck_range *g = ck_image_get_range(r, i);
		if (!g || !g->size || (g->stack != CK_NO_STACK && !ck_image_get_stack(r, g->stack)))
			abort();
		if (ck_image_read(r, i, 0, buf, &len, &zero, &err) == 0 && (len > CK_CHUNK_SIZE || len > g->size))
			abort();
	}
	for (uint32_t i = 0; i < info.nstacks; i++)
		if (strlen(ck_image_get_stack(r, i)) > info.nranges + (1u << 28))
			abort();
	ck_image_verify(r, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int fd = -1;
	struct ck_image_reader *r;
	struct ck_err err;
	if (fd < 0)
		fd = memfd_create("image", MFD_CLOEXEC);
	if (!len)
		return 0;
	uint8_t *copy = malloc(len);
	memcpy(copy, data + 1, len - 1);
	if (data[0] & 1)
		seal(copy, len - 1);
	if (ftruncate(fd, 0) || ck_pwrite_full(fd, copy, len - 1, 0))
		abort();
	if (ck_image_open(fd, &r, &err) == 0) {
		use(r);
		ck_image_close(r);
	}
	free(copy);
	return 0;
}
