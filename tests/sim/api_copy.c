/* api_copy.c - exports: copies and memsets.
 *
 * All become operations of a stream; the synchronous forms wait for theirs. What the driver promises about
 * pageable host memory is kept: an asynchronous copy from it has read it on return, one to it is complete.
 */
#define _GNU_SOURCE
#include "cksim.h"

#include <stdlib.h>
#include <string.h>

enum { SYNC = 1, PT = 2 }; /* how a form differs: waits; per-thread default stream */

/* Host memory is whatever the address says; device memory must be ours. 'U': the address decides. */
enum role { H, D, U };

static int pinned(uint64_t addr)
{
	struct cksim_where w;
	return cksim_vm_find(addr, &w) && w.kind == CKSIM_VA_HOST;
}

static int ours(uint64_t addr)
{
	struct cksim_where w;
	return cksim_vm_find(addr, &w);
}

static struct cksim_side side(enum role role, uint64_t addr, uint64_t pitch, uint64_t slice)
{
	struct cksim_side s = { .addr = addr, .pitch = pitch, .slice = slice };
	s.host = role == H || (role == U && (!ours(addr) || pinned(addr)));
	return s;
}

static int valid(const struct cksim_side *s, uint64_t width, uint64_t height, uint64_t depth, int dev, int write)
{
	if (s->host)
		return s->addr != 0;
	for (uint64_t z = 0; z < depth; z++)
		for (uint64_t y = 0; y < height; y++)
			if (!cksim_vm_host(s->addr + z * s->slice + y * s->pitch, width, dev, write, 0))
				return 0;
	return 1;
}

static int stage(struct cksim_op *op)
{
	const struct cksim_side *s = &op->copy.src;
	op->copy.staged = malloc(op->copy.width * op->copy.height * op->copy.depth);
	if (!op->copy.staged)
		return -1;
	char *to = op->copy.staged;
	for (uint64_t z = 0; z < op->copy.depth; z++)
		for (uint64_t y = 0; y < op->copy.height; y++, to += op->copy.width)
			memcpy(to, (void *)(uintptr_t)(s->addr + z * s->slice + y * s->pitch), op->copy.width);
	return 0;
}

static CUresult copy(struct cksim_side dst, struct cksim_side src, uint64_t width, uint64_t height, uint64_t depth,
		     CUstream h, int how)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, how & PT, &s);
	if (r || !width || !height || !depth)
		return r;
	if (!valid(&dst, width, height, depth, s->ctx->dev, 1) || !valid(&src, width, height, depth, s->ctx->dev, 0))
		return CUDA_ERROR_INVALID_VALUE;
	struct cksim_op *op = cksim_op_new(CKSIM_OP_COPY);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->copy.dst = dst;
	op->copy.src = src;
	op->copy.width = width;
	op->copy.height = height;
	op->copy.depth = depth;
	int wait = how & SYNC || (dst.host && !pinned(dst.addr));
	if (!wait && src.host && !pinned(src.addr) && stage(op)) {
		cksim_op_free(op);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return cksim_submit(s, op, NULL, wait);
}

static CUresult copy1(enum role dr, uint64_t dst, enum role sr, uint64_t src, uint64_t n, CUstream h, int how)
{
	return copy(side(dr, dst, 0, 0), side(sr, src, 0, 0), n, 1, 1, h, how);
}

#define P(p) ((uint64_t)(uintptr_t)(p))

/* FORMS - the four exports of one linear copy. */
#define FORMS(sync, async, dtype, stype, dr, sr)                                                      \
	API(sync, dtype dst, stype src, size_t n)                                                     \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return copy1(dr, P(dst), sr, P(src), n, NULL, SYNC);                                  \
	}                                                                                             \
	API(sync##_ptds, dtype dst, stype src, size_t n)                                              \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return copy1(dr, P(dst), sr, P(src), n, NULL, SYNC | PT);                             \
	}                                                                                             \
	API(async, dtype dst, stype src, size_t n, CUstream h)                                        \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return copy1(dr, P(dst), sr, P(src), n, h, 0);                                        \
	}                                                                                             \
	API(async##_ptsz, dtype dst, stype src, size_t n, CUstream h)                                 \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return copy1(dr, P(dst), sr, P(src), n, h, PT);                                       \
	}

FORMS(cuMemcpyHtoD_v2, cuMemcpyHtoDAsync_v2, CUdeviceptr, const void *, D, H)
FORMS(cuMemcpyDtoH_v2, cuMemcpyDtoHAsync_v2, void *, CUdeviceptr, H, D)
FORMS(cuMemcpyDtoD_v2, cuMemcpyDtoDAsync_v2, CUdeviceptr, CUdeviceptr, D, D)
FORMS(cuMemcpy, cuMemcpyAsync, CUdeviceptr, CUdeviceptr, U, U)

API(cuMemcpyPeer, CUdeviceptr dst, CUcontext dctx, CUdeviceptr src, CUcontext sctx, size_t n)
{
	ENTER(CKSIM_WORK);
	return copy1(D, dst, D, src, n, NULL, SYNC);
}

API(cuMemcpyPeerAsync, CUdeviceptr dst, CUcontext dctx, CUdeviceptr src, CUcontext sctx, size_t n, CUstream h)
{
	ENTER(CKSIM_WORK);
	return copy1(D, dst, D, src, n, h, 0);
}

/* --- two and three dimensions; arrays are not there ------------------------------------------------------ */

enum { TYPE_HOST = 1, TYPE_DEVICE = 2, TYPE_UNIFIED = 4 };

struct copy2d {
	size_t sx, sy;
	int stype;
	const void *shost;
	CUdeviceptr sdev;
	void *sarray;
	size_t spitch;
	size_t dx, dy;
	int dtype;
	void *dhost;
	CUdeviceptr ddev;
	void *darray;
	size_t dpitch;
	size_t width, height;
};

struct copy3d {
	size_t sx, sy, sz, slod;
	int stype;
	const void *shost;
	CUdeviceptr sdev;
	void *sarray, *reserved0;
	size_t spitch, sheight;
	size_t dx, dy, dz, dlod;
	int dtype;
	void *dhost;
	CUdeviceptr ddev;
	void *darray, *reserved1;
	size_t dpitch, dheight;
	size_t width, height, depth;
};

static CUresult pick(struct cksim_side *out, int type, const void *host, CUdeviceptr dev, uint64_t offset,
		     uint64_t pitch, uint64_t slice)
{
	if (type != TYPE_HOST && type != TYPE_DEVICE && type != TYPE_UNIFIED)
		return type == 3 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
	*out = side(type == TYPE_HOST ? H : type == TYPE_DEVICE ? D : U, (type == TYPE_HOST ? P(host) : dev) + offset,
		    pitch, slice);
	return CUDA_SUCCESS;
}

static CUresult copy_2d(const struct copy2d *c, CUstream h, int how)
{
	struct cksim_side s, d;
	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	uint64_t sp = c->spitch ? c->spitch : c->width, dp = c->dpitch ? c->dpitch : c->width;
	if (sp < c->width || dp < c->width)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult r = pick(&s, c->stype, c->shost, c->sdev, c->sy * sp + c->sx, sp, 0);
	if (!r)
		r = pick(&d, c->dtype, c->dhost, c->ddev, c->dy * dp + c->dx, dp, 0);
	return r ? r : copy(d, s, c->width, c->height, 1, h, how);
}

static CUresult copy_3d(const struct copy3d *c, CUstream h, int how)
{
	struct cksim_side s, d;
	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	uint64_t sp = c->spitch ? c->spitch : c->width, dp = c->dpitch ? c->dpitch : c->width;
	uint64_t ss = sp * (c->sheight ? c->sheight : c->height), ds = dp * (c->dheight ? c->dheight : c->height);
	if (sp < c->width || dp < c->width)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult r = pick(&s, c->stype, c->shost, c->sdev, c->sz * ss + c->sy * sp + c->sx, sp, ss);
	if (!r)
		r = pick(&d, c->dtype, c->dhost, c->ddev, c->dz * ds + c->dy * dp + c->dx, dp, ds);
	return r ? r : copy(d, s, c->width, c->height, c->depth, h, how);
}

#define SYNC_FORM(name, type, body, how)                                                              \
	API(name, const struct type *c)                                                               \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return body(c, NULL, SYNC | (how));                                                   \
	}
#define ASYNC_FORM(name, type, body, how)                                                             \
	API(name, const struct type *c, CUstream h)                                                   \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return body(c, h, how);                                                               \
	}

SYNC_FORM(cuMemcpy2D_v2, copy2d, copy_2d, 0)
SYNC_FORM(cuMemcpy2D_v2_ptds, copy2d, copy_2d, PT)
SYNC_FORM(cuMemcpy2DUnaligned_v2, copy2d, copy_2d, 0)
SYNC_FORM(cuMemcpy2DUnaligned_v2_ptds, copy2d, copy_2d, PT)
ASYNC_FORM(cuMemcpy2DAsync_v2, copy2d, copy_2d, 0)
ASYNC_FORM(cuMemcpy2DAsync_v2_ptsz, copy2d, copy_2d, PT)
SYNC_FORM(cuMemcpy3D_v2, copy3d, copy_3d, 0)
SYNC_FORM(cuMemcpy3D_v2_ptds, copy3d, copy_3d, PT)
ASYNC_FORM(cuMemcpy3DAsync_v2, copy3d, copy_3d, 0)
ASYNC_FORM(cuMemcpy3DAsync_v2_ptsz, copy3d, copy_3d, PT)

/* --- memset ------------------------------------------------------------------------------------------------ */

static CUresult fill(uint64_t addr, uint64_t pitch, uint32_t value, uint32_t unit, uint64_t width, uint64_t height,
		     CUstream h, int how)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, how & PT, &s);
	if (r || !width || !height)
		return r;
	struct cksim_side d = { .addr = addr, .pitch = pitch };
	if (addr % unit || (height > 1 && pitch % unit) || !valid(&d, width * unit, height, 1, s->ctx->dev, 1))
		return CUDA_ERROR_INVALID_VALUE;
	struct cksim_op *op = cksim_op_new(CKSIM_OP_SET);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->set.addr = addr;
	op->set.pitch = pitch;
	op->set.width = width;
	op->set.height = height;
	op->set.value = value;
	op->set.unit = unit;
	return cksim_submit(s, op, NULL, pinned(addr)); /* only for host memory does memset wait */
}

#define MEMSET(bits, type)                                                                            \
	API(cuMemsetD##bits##_v2, CUdeviceptr p, type v, size_t n)                                    \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return fill(p, 0, v, bits / 8, n, 1, NULL, 0);                                        \
	}                                                                                             \
	API(cuMemsetD##bits##_v2_ptds, CUdeviceptr p, type v, size_t n)                               \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return fill(p, 0, v, bits / 8, n, 1, NULL, PT);                                       \
	}                                                                                             \
	API(cuMemsetD##bits##Async, CUdeviceptr p, type v, size_t n, CUstream h)                      \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return fill(p, 0, v, bits / 8, n, 1, h, 0);                                           \
	}                                                                                             \
	API(cuMemsetD##bits##Async_ptsz, CUdeviceptr p, type v, size_t n, CUstream h)                 \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return fill(p, 0, v, bits / 8, n, 1, h, PT);                                          \
	}                                                                                             \
	API(cuMemsetD2D##bits##_v2, CUdeviceptr p, size_t pitch, type v, size_t w, size_t n)          \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return fill(p, pitch, v, bits / 8, w, n, NULL, 0);                                    \
	}                                                                                             \
	API(cuMemsetD2D##bits##Async, CUdeviceptr p, size_t pitch, type v, size_t w, size_t n, CUstream h) \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return fill(p, pitch, v, bits / 8, w, n, h, 0);                                       \
	}

MEMSET(8, unsigned char)
MEMSET(16, unsigned short)
MEMSET(32, unsigned)
