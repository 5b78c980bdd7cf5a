#define _GNU_SOURCE
#include "save.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "ctx.h"
#include "futex.h"
#include "gate.h"
#include "hook.h"
#include "mem.h"
#include "stack.h"
#include "staging.h"
#include "track.h"

const char *ck_drv_name(CUresult r)
{
	static char text[32];
	const char *s = NULL;
	if (CK_DRV(cuGetErrorName, CUresult, const char **)(r, &s) == CUDA_SUCCESS && s)
		return s;
	snprintf(text, sizeof text, "CUDA error %d", r);
	return text;
}

int ck_save_devices(CUdevice *out, int cap)
{
	size_t n;
	int have = 0;
	const struct ck_alloc *t = ck_track_lock(&n);
	for (size_t i = 0; i < n; i++) {
		if (t[i].kind != CK_ALLOC_OFFLOAD)
			continue;
		int at = 0;
		while (at < have && out[at] < t[i].dev)
			at++;
		if (at < have && out[at] == t[i].dev)
			continue;
		if (have == cap)
			break;
		memmove(out + at + 1, out + at, (size_t)(have - at) * sizeof *out);
		out[at] = t[i].dev;
		have++;
	}
	ck_track_unlock();
	return have;
}

/* --- synchronise ------------------------------------------------------------------------------------ */

/* One waiting thread at a time. It owns nothing, so it may outlive a deadline and just end later. */
static struct {
	_Atomic(uint32_t) state; /* futex: 0 none, 1 waiting, 2 done */
	_Atomic(int) result;
	struct ck_ctx ctx[256];
	size_t n;
} syncer;

static void *sync_main(void *arg)
{
	CUcontext old;
	ck_gate_exempt();
	int result = CUDA_SUCCESS;
	for (size_t i = 0; i < syncer.n && result == CUDA_SUCCESS; i++) {
		result = CK_DRV(cuCtxPushCurrent_v2, CUcontext)(syncer.ctx[i].ctx);
		if (result != CUDA_SUCCESS)
			break;
		result = CK_DRV(cuCtxSynchronize, void)();
		CK_DRV(cuCtxPopCurrent_v2, CUcontext *)(&old);
	}
	atomic_store(&syncer.result, result);
	atomic_store(&syncer.state, 2);
	ck_futex_wake(&syncer.state);
	return arg;
}

int ck_save_sync(uint64_t until_ns, struct ck_err *err)
{
	if (atomic_load(&syncer.state) != 1) {
		pthread_t t;
		syncer.n = ck_ctx_list(syncer.ctx, sizeof syncer.ctx / sizeof syncer.ctx[0]);
		if (syncer.n > sizeof syncer.ctx / sizeof syncer.ctx[0])
			return ck_err_set(err, CK_EREFUSED, 0, "more than 256 CUDA contexts in one process");
		atomic_store(&syncer.state, 1);
		if (pthread_create(&t, NULL, sync_main, NULL) != 0) {
			atomic_store(&syncer.state, 0);
			return ck_err_set(err, CK_ESYS, 0, "cannot start a thread");
		}
		pthread_detach(t);
	} /* else: one from an earlier attempt still waits, for the same work */
	while (atomic_load(&syncer.state) == 1) {
		uint64_t now = ck_now_ns();
		if (now >= until_ns)
			return ck_err_set(err, CK_ETIMEOUT, 0,
					  "the GPU was still at work at the deadline; raise --deadline, or the kernel "
					  "waits for something that a checkpoint stops");
		ck_futex_wait(&syncer.state, 1, until_ns - now);
	}
	int r = atomic_load(&syncer.result);
	if (r != CUDA_SUCCESS)
		return ck_err_set(err, CK_EDRIVER, 0, "waiting for the GPU: %s", ck_drv_name((CUresult)r));
	return 0;
}

/* --- save ------------------------------------------------------------------------------------------- */

static int device_uuid(CUdevice dev, uint8_t out[CK_UUID_LEN], struct ck_err *err)
{
	CUuuid u;
	CUresult r = CK_DRV(cuDeviceGetUuid_v2, CUuuid *, CUdevice)(&u, dev);
	if (r != CUDA_SUCCESS)
		r = CK_DRV(cuDeviceGetUuid, CUuuid *, CUdevice)(&u, dev);
	if (r != CUDA_SUCCESS)
		return ck_err_set(err, CK_EDRIVER, 0, "cuDeviceGetUuid: %s", ck_drv_name(r));
	memcpy(out, u.bytes, CK_UUID_LEN);
	return 0;
}

/* Stacks first: the ranges name them by the image's own numbers, kept in @map (stack -> number + 1). */
static int write_stacks(struct ck_image_writer *w, const struct ck_alloc *t, size_t n, CUdevice dev, uint32_t *map,
			struct ck_err *err)
{
	static char text[16384];
	for (size_t i = 0; i < n; i++) {
		if (t[i].dev != dev || t[i].kind != CK_ALLOC_OFFLOAD || t[i].stack == CK_STACK_NONE ||
		    map[t[i].stack])
			continue;
		uint32_t number;
		ck_stack_text(t[i].stack, text, sizeof text);
		if (ck_image_stack(w, text, &number, err))
			return -1;
		map[t[i].stack] = number + 1;
	}
	return 0;
}

struct cursor { /* walks the chunks of all ranges of one device */
	const struct ck_alloc *t;
	size_t n, i;
	uint64_t off;
	CUdevice dev;
};

static bool next_chunk(struct cursor *c, const struct ck_alloc **a, uint64_t *off, size_t *len)
{
	for (; c->i < c->n; c->i++, c->off = 0) {
		const struct ck_alloc *x = &c->t[c->i];
		if (x->dev != c->dev || x->kind != CK_ALLOC_OFFLOAD || c->off >= x->size)
			continue;
		*a = x;
		*off = c->off;
		*len = x->size - c->off < CK_CHUNK_SIZE ? (size_t)(x->size - c->off) : CK_CHUNK_SIZE;
		c->off += *len;
		return true;
	}
	return false;
}

/* Two chunks in flight: while the next comes down the link, the last one is hashed and written. */
static int write_chunks(struct ck_image_writer *w, struct ck_staging *s, struct cursor *c, const uint32_t *map,
			uint64_t until_ns, struct ck_err *err)
{
	const struct ck_alloc *a, *na = NULL;
	uint64_t off, noff = 0;
	size_t len, nlen = 0;
	int b = 0;
	bool more = next_chunk(c, &a, &off, &len);
	if (more && ck_staging_down(s, b, a->addr + off, len, err))
		return -1;
	while (more) {
		if (ck_now_ns() >= until_ns)
			return ck_err_set(err, CK_ETIMEOUT, 0, "device memory was not written out by the deadline");
		if (ck_staging_wait(s, err))
			return -1;
		more = next_chunk(c, &na, &noff, &nlen);
		if (more && ck_staging_down(s, !b, na->addr + noff, nlen, err))
			return -1;
		if (off == 0) {
			struct ck_range r = { .addr = a->addr, .size = a->size,
				.stack = a->stack == CK_STACK_NONE ? CK_NO_STACK : map[a->stack] - 1 };
			if (ck_image_range(w, &r, err))
				return -1;
		}
		if (ck_image_chunk(w, s->buf[b], len, err))
			return -1;
		a = na;
		off = noff;
		len = nlen;
		b = !b;
	}
	return 0;
}

static CUcontext context_on(const struct ck_alloc *t, size_t n, CUdevice dev)
{
	for (size_t i = 0; i < n; i++)
		if (t[i].dev == dev && t[i].kind == CK_ALLOC_OFFLOAD)
			return t[i].ctx;
	return NULL;
}

static int save_locked(const struct ck_alloc *t, size_t n, CUdevice dev, int fd, uint64_t until_ns,
		       struct ck_image_info *info, struct ck_err *err)
{
	struct ck_staging s;
	struct ck_image_writer *w = NULL;
	uint8_t uuid[CK_UUID_LEN];
	size_t map_bytes = (ck_stack_count() + 1) * sizeof(uint32_t);
	if (device_uuid(dev, uuid, err))
		return -1;
	uint32_t *map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return ck_err_errno(err, "no memory for the list of call stacks");
	int rc = -1;
	if (ck_staging_open(&s, context_on(t, n, dev), err) == 0) {
		struct cursor c = { .t = t, .n = n, .dev = dev };
		rc = ck_image_create(fd, getpid(), dev, uuid, &w, err);
		if (rc == 0)
			rc = write_stacks(w, t, n, dev, map, err);
		if (rc == 0)
			rc = write_chunks(w, &s, &c, map, until_ns, err);
		ck_staging_close(&s);
	}
	if (rc == 0)
		rc = ck_image_finish(w, info, err);
	else
		ck_image_abandon(w);
	munmap(map, map_bytes);
	return rc;
}

int ck_save_device(CUdevice dev, int fd, uint64_t until_ns, struct ck_image_info *info, struct ck_err *err)
{
	size_t n;
	const struct ck_alloc *t = ck_track_lock(&n);
	int rc = save_locked(t, n, dev, fd, until_ns, info, err);
	ck_track_unlock();
	return rc;
}

int ck_save_release(struct ck_err *err)
{
	size_t n;
	int rc = 0;
	struct ck_alloc *t = ck_track_lock(&n);
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (t[i].kind != CK_ALLOC_OFFLOAD)
			continue;
		CUresult r = ck_mem_unback(&t[i]);
		if (r != CUDA_SUCCESS)
			rc = ck_err_set(err, CK_EDRIVER, 0, "giving up device memory: %s", ck_drv_name(r));
	}
	ck_track_unlock();
	return rc;
}
