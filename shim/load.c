#include "save.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <string.h>

#include "base/io.h"
#include "mem.h"
#include "staging.h"
#include "track.h"

static struct ck_alloc *find(struct ck_alloc *t, size_t n, CUdeviceptr addr)
{
	for (size_t lo = 0, hi = n; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;
		if (t[mid].addr == addr)
			return &t[mid];
		if (t[mid].addr < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static int fill(struct ck_image_reader *r, uint64_t i, const struct ck_range *g, struct ck_staging *s, int *b,
		uint64_t until_ns, struct ck_err *err)
{
	for (uint64_t off = 0, c = 0; off < g->size; c++) {
		size_t len;
		int zero;
		if (ck_now_ns() >= until_ns)
			return ck_err_set(err, CK_ETIMEOUT, 0, "device memory was not filled by the deadline");
		/* This buffer's last copy was waited for when the other one was taken. */
		if (ck_image_read(r, i, c, s->buf[*b], &len, &zero, err))
			return -1;
		if (ck_staging_wait(s, err))
			return -1;
		if (zero ? ck_staging_zero(s, g->addr + off, len, err) : ck_staging_up(s, *b, g->addr + off, len, err))
			return -1;
		*b = !*b;
		off += len;
	}
	return 0;
}

/* Every released allocation gets memory first: a shortage shows before any time is spent on copying. */
static int back_all(struct ck_alloc *t, size_t n, CUdevice dev, struct ck_image_reader *r, bool *touched,
		    struct ck_err *err)
{
	struct ck_image_info info;
	uint64_t want = 0, got = 0;
	ck_image_get_info(r, &info);
	for (uint64_t i = 0; i < info.nranges; i++) {
		const struct ck_range *g = ck_image_get_range(r, i);
		const struct ck_alloc *a = find(t, n, g->addr);
		if (!a || a->kind != CK_ALLOC_OFFLOAD || a->dev != dev || a->size != g->size)
			return ck_err_set(err, CK_EDAMAGED, 0,
					  "the image holds %llu bytes at %#llx, which this process never allocated",
					  (unsigned long long)g->size, (unsigned long long)g->addr);
		got++;
	}
	for (size_t i = 0; i < n; i++)
		want += t[i].kind == CK_ALLOC_OFFLOAD && t[i].dev == dev;
	if (want != got)
		return ck_err_set(err, CK_EDAMAGED, 0, "the image holds %llu of %llu allocations",
				  (unsigned long long)got, (unsigned long long)want);
	for (size_t i = 0; i < n; i++) {
		touched[i] = false;
		if (t[i].kind != CK_ALLOC_OFFLOAD || t[i].dev != dev || t[i].handle)
			continue;
		CUresult e = ck_mem_back(&t[i]);
		if (e != CUDA_SUCCESS)
			return ck_err_set(err, CK_EDRIVER, 0, "no device memory to come back to (%llu bytes): %s",
					  (unsigned long long)t[i].mapped, ck_drv_name(e));
		touched[i] = true;
	}
	return 0;
}

static int load_locked(struct ck_alloc *t, size_t n, CUdevice dev, struct ck_image_reader *r, bool *touched,
		       uint64_t until_ns, struct ck_err *err)
{
	struct ck_staging s;
	struct ck_image_info info;
	CUcontext ctx = NULL;
	for (size_t i = 0; i < n && !ctx; i++)
		if (t[i].kind == CK_ALLOC_OFFLOAD && t[i].dev == dev)
			ctx = t[i].ctx;
	if (!ctx)
		return ck_err_set(err, CK_EDAMAGED, 0, "no memory of GPU %d belongs to this process", dev);
	if (back_all(t, n, dev, r, touched, err))
		return -1;
	if (ck_staging_open(&s, ctx, err))
		return -1;
	int rc = 0, b = 0;
	ck_image_get_info(r, &info);
	for (uint64_t i = 0; i < info.nranges && rc == 0; i++) {
		const struct ck_range *g = ck_image_get_range(r, i);
		/* What was never given up still holds its contents. */
		if (touched[find(t, n, g->addr) - t])
			rc = fill(r, i, g, &s, &b, until_ns, err);
	}
	if (rc == 0)
		rc = ck_staging_wait(&s, err);
	ck_staging_close(&s);
	return rc;
}

int ck_load_device(CUdevice dev, int fd, uint64_t until_ns, struct ck_err *err)
{
	struct ck_image_reader *r;
	size_t n;
	if (ck_image_open(fd, &r, err))
		return -1;
	struct ck_alloc *t = ck_track_lock(&n);
	int rc;
	bool *touched = mmap(NULL, n + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (touched == MAP_FAILED)
		rc = ck_err_errno(err, "no memory");
	else {
		rc = load_locked(t, n, dev, r, touched, until_ns, err);
		/* Half-filled memory must not pass for good at another try. */
		for (size_t i = 0; i < n && rc != 0; i++)
			if (touched[i])
				ck_mem_unback(&t[i]);
		munmap(touched, n + 1);
	}
	ck_track_unlock();
	ck_image_close(r);
	return rc;
}
