/* api_launch.c - exports: kernel launches, with parameters as pointers or as one packed buffer. */
#define _GNU_SOURCE
#include "cksim.h"

#include <stdlib.h>
#include <string.h>

/* Markers in the array "extra". */
#define EXTRA_END  ((void *)0)
#define EXTRA_BUF  ((void *)1)
#define EXTRA_SIZE ((void *)2)

struct shape { unsigned grid[3], block[3], shared; };

static CUresult check_shape(const struct cksim_func *f, const struct shape *s)
{
	const struct ptx_func_info *i = ptx_func_info(f->ptx);
	uint64_t threads = 1;
	static const unsigned max_block[3] = { 1024, 1024, 64 }, max_grid[3] = { 2147483647, 65535, 65535 };
	for (int d = 0; d < 3; d++) {
		if (!s->grid[d] || s->grid[d] > max_grid[d] || !s->block[d] || s->block[d] > max_block[d])
			return CUDA_ERROR_INVALID_VALUE;
		if (i->reqntid[0] && s->block[d] != (i->reqntid[d] ? i->reqntid[d] : 1))
			return CUDA_ERROR_INVALID_VALUE;
		threads *= s->block[d];
	}
	if (threads > 1024)
		return CUDA_ERROR_INVALID_VALUE;
	if (threads > i->max_threads)
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	uint64_t most = f->dynamic_max ? (uint64_t)f->dynamic_max + i->shared_size : 49152;
	return (uint64_t)s->shared + i->shared_size > most ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

/* The parameters, copied now: the caller may change his own at once. */
static CUresult pack(const struct cksim_func *f, void **params, void **extra, void **out, size_t *out_size)
{
	const struct ptx_func_info *i = ptx_func_info(f->ptx);
	const void *buf = NULL;
	size_t size = 0;
	if (params && extra)
		return CUDA_ERROR_INVALID_VALUE;
	for (void **e = extra; e && *e != EXTRA_END; e += 2) {
		if (*e == EXTRA_BUF)
			buf = e[1];
		else if (*e == EXTRA_SIZE)
			size = *(size_t *)e[1];
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (i->param_count && !params && (!buf || size < i->param_size))
		return CUDA_ERROR_INVALID_VALUE;
	unsigned char *p = calloc(1, i->param_size + 1);
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (buf)
		memcpy(p, buf, size < i->param_size ? size : i->param_size);
	for (uint32_t k = 0; params && k < i->param_count; k++)
		memcpy(p + i->params[k].offset, params[k], i->params[k].size);
	*out = p;
	*out_size = i->param_size;
	return CUDA_SUCCESS;
}

static unsigned workers(void)
{
	const char *v = getenv("CKSIM_WORKERS");
	int n = v ? atoi(v) : 1;
	return n > 0 && n <= 64 ? (unsigned)n : 1;
}

static CUresult launch(CUfunction fh, const struct shape *shape, CUstream h, void **params, void **extra, int ptsz)
{
	struct cksim_stream *s;
	if (!cksim_obj_is(fh, CKSIM_O_FUNC))
		return CUDA_ERROR_INVALID_HANDLE;
	struct cksim_func *f = (struct cksim_func *)fh;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (!r && s->ctx != cksim_func_ctx(f))
		r = CUDA_ERROR_INVALID_HANDLE;
	if (!r)
		r = check_shape(f, shape);
	if (r)
		return r;
	struct cksim_op *op = cksim_op_new(CKSIM_OP_KERNEL);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	struct ptx_launch *l = &op->kernel.launch;
	op->kernel.func = f->ptx;
	memcpy(l->grid, shape->grid, sizeof l->grid);
	memcpy(l->block, shape->block, sizeof l->block);
	l->dynamic_shared = shape->shared;
	l->workers = workers();
	r = pack(f, params, extra, &op->kernel.params, &l->params_size);
	if (r) {
		cksim_op_free(op);
		return r;
	}
	l->params = op->kernel.params;
	return cksim_submit(s, op, NULL, 0);
}

#define SHAPE { { gx, gy, gz }, { bx, by, bz }, shared }

API(cuLaunchKernel, CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, CUstream h, void **params, void **extra)
{
	ENTER(CKSIM_WORK);
	struct shape s = SHAPE;
	return launch(f, &s, h, params, extra, 0);
}

API(cuLaunchKernel_ptsz, CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, CUstream h, void **params, void **extra)
{
	ENTER(CKSIM_WORK);
	struct shape s = SHAPE;
	return launch(f, &s, h, params, extra, 1);
}

struct launch_config {
	unsigned gx, gy, gz, bx, by, bz, shared;
	CUstream stream;
	void *attrs;
	unsigned nattrs;
};

static CUresult launch_ex(const struct launch_config *c, CUfunction f, void **params, void **extra, int ptsz)
{
	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	if (c->nattrs) /* clusters, cooperative grids, programmatic launches: none of them is here */
		return CUDA_ERROR_NOT_SUPPORTED;
	struct shape s = { { c->gx, c->gy, c->gz }, { c->bx, c->by, c->bz }, c->shared };
	return launch(f, &s, c->stream, params, extra, ptsz);
}

API(cuLaunchKernelEx, const struct launch_config *c, CUfunction f, void **params, void **extra)
{
	ENTER(CKSIM_WORK);
	return launch_ex(c, f, params, extra, 0);
}

API(cuLaunchKernelEx_ptsz, const struct launch_config *c, CUfunction f, void **params, void **extra)
{
	ENTER(CKSIM_WORK);
	return launch_ex(c, f, params, extra, 1);
}
