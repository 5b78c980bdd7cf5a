/* api_ctx.c - exports: contexts. A context's memory is never given back to malloc, so that a stale handle
 * in some thread's stack of current contexts can still be told to be dead. */
#define _GNU_SOURCE
#include "cksim.h"

#include <stdlib.h>
#include <string.h>

#define STACK 32
static __thread struct cksim_ctx *stack[STACK];
static __thread int top; /* the current context is stack[top - 1] */
static struct cksim_ctx *primary[CKSIM_MAX_DEVICES], *all;
static unsigned primary_refs[CKSIM_MAX_DEVICES], primary_flags[CKSIM_MAX_DEVICES];
static _Atomic uint64_t next_id = 1;

#define NEED_DEVICE(d)                                                                                \
	do {                                                                                          \
		if ((d) < 0 || (d) >= cksim.ndev)                                                     \
			return CUDA_ERROR_INVALID_DEVICE;                                             \
	} while (0)

struct cksim_ctx *cksim_ctx_current(void)
{
	return top ? stack[top - 1] : NULL;
}

struct cksim_ctx *cksim_ctx_of(CUcontext h)
{
	struct cksim_ctx *c = h ? (struct cksim_ctx *)h : cksim_ctx_current();
	return c && cksim_obj_is(c, CKSIM_O_CTX) ? c : NULL;
}

void cksim_ctx_forget(void)
{
	memset(primary, 0, sizeof primary);
	memset(primary_refs, 0, sizeof primary_refs);
	all = NULL;
	top = 0;
}

static struct cksim_ctx *ctx_new(int dev, unsigned flags)
{
	struct cksim_ctx *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->dev = dev;
	c->flags = flags;
	c->api = 3020;
	c->id = atomic_fetch_add(&next_id, 1);
	c->limits[0] = 1024;	/* stack size */
	c->limits[1] = 1 << 20; /* printf fifo */
	c->limits[2] = 8 << 20; /* malloc heap */
	c->legacy = cksim_stream_new(c, 0, 0);
	if (!c->legacy) {
		free(c);
		return NULL;
	}
	c->legacy->legacy = 1;
	c->next = all;
	all = c;
	cksim_obj_add(&c->obj, CKSIM_O_CTX);
	return c;
}

static void ctx_end(struct cksim_ctx *c)
{
	cksim_ctx_wait(c);
	cksim_obj_del(&c->obj);
	c->destroyed = 1;
	c->legacy = NULL;
	while (c->streams)
		cksim_stream_destroy(c->streams);
	cksim_modules_free(c);
	cksim_vm_free_ctx(c);
	for (struct cksim_ctx **at = &all; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
}

static CUresult ctx_create(CUcontext *out, unsigned flags, CUdevice dev)
{
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(dev);
	if (top == STACK)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&cksim.lock);
	struct cksim_ctx *c = ctx_new(dev, flags);
	pthread_mutex_unlock(&cksim.lock);
	if (!c)
		return CUDA_ERROR_OUT_OF_MEMORY;
	stack[top++] = c;
	*out = (CUcontext)c;
	return CUDA_SUCCESS;
}

API(cuCtxCreate_v2, CUcontext *out, unsigned flags, CUdevice dev)
{
	ENTER(CKSIM_TOUCH);
	return ctx_create(out, flags, dev);
}

API(cuCtxCreate_v3, CUcontext *out, void *affinity, int n, unsigned flags, CUdevice dev)
{
	ENTER(CKSIM_TOUCH);
	return n ? CUDA_ERROR_NOT_SUPPORTED : ctx_create(out, flags, dev);
}

API(cuCtxCreate_v4, CUcontext *out, void *params, unsigned flags, CUdevice dev)
{
	ENTER(CKSIM_TOUCH);
	return ctx_create(out, flags, dev);
}

static CUresult ctx_destroy(CUcontext h)
{
	struct cksim_ctx *c = h ? cksim_ctx_of(h) : NULL;
	if (!c || c->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	ctx_end(c);
	if (top && stack[top - 1] == c)
		top--;
	return CUDA_SUCCESS;
}

API(cuCtxDestroy_v2, CUcontext h)
{
	ENTER(CKSIM_TOUCH);
	return ctx_destroy(h);
}

API(cuCtxDestroy, CUcontext h)
{
	ENTER(CKSIM_TOUCH);
	return ctx_destroy(h);
}

static CUresult ctx_push(CUcontext h)
{
	struct cksim_ctx *c = h ? cksim_ctx_of(h) : NULL;
	if (!c || top == STACK)
		return CUDA_ERROR_INVALID_CONTEXT;
	stack[top++] = c;
	return CUDA_SUCCESS;
}

static CUresult ctx_pop(CUcontext *out)
{
	if (!top)
		return CUDA_ERROR_INVALID_CONTEXT;
	top--;
	if (out)
		*out = (CUcontext)stack[top];
	return CUDA_SUCCESS;
}

API(cuCtxPushCurrent_v2, CUcontext h)
{
	ENTER(CKSIM_TOUCH);
	return ctx_push(h);
}

API(cuCtxPopCurrent_v2, CUcontext *out)
{
	ENTER(CKSIM_TOUCH);
	return ctx_pop(out);
}

API(cuCtxSetCurrent, CUcontext h)
{
	ENTER(CKSIM_TOUCH);
	if (!h) {
		top -= top > 0;
		return CUDA_SUCCESS;
	}
	struct cksim_ctx *c = cksim_ctx_of(h);
	if (!c)
		return CUDA_ERROR_INVALID_CONTEXT;
	top += top == 0;
	stack[top - 1] = c;
	return CUDA_SUCCESS;
}

API(cuCtxGetCurrent, CUcontext *out)
{
	ENTER(CKSIM_INIT);
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = (CUcontext)cksim_ctx_current();
	return CUDA_SUCCESS;
}

API(cuCtxGetDevice, CUdevice *dev)
{
	ENTER(CKSIM_INIT);
	struct cksim_ctx *c = cksim_ctx_of(NULL);
	if (!dev)
		return CUDA_ERROR_INVALID_VALUE;
	if (!c)
		return CUDA_ERROR_INVALID_CONTEXT;
	*dev = c->dev;
	return CUDA_SUCCESS;
}

API(cuCtxGetDevice_v2, CUdevice *dev, CUcontext h)
{
	ENTER(CKSIM_INIT);
	struct cksim_ctx *c = cksim_ctx_of(h);
	if (!dev)
		return CUDA_ERROR_INVALID_VALUE;
	if (!c)
		return CUDA_ERROR_INVALID_CONTEXT;
	*dev = c->dev;
	return CUDA_SUCCESS;
}

API(cuCtxSynchronize, void)
{
	ENTER(CKSIM_WORK);
	return cksim_ctx_wait(cksim_ctx_current());
}

API(cuCtxSynchronize_v2, CUcontext h)
{
	ENTER(CKSIM_TOUCH);
	struct cksim_ctx *c = cksim_ctx_of(h);
	return c ? cksim_ctx_wait(c) : CUDA_ERROR_INVALID_CONTEXT;
}

API(cuCtxGetFlags, unsigned *flags)
{
	ENTER(CKSIM_WORK);
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = cksim_ctx_current()->flags;
	return CUDA_SUCCESS;
}

API(cuCtxSetFlags, unsigned flags)
{
	ENTER(CKSIM_WORK);
	cksim_ctx_current()->flags = flags;
	return CUDA_SUCCESS;
}

API(cuCtxGetId, CUcontext h, unsigned long long *id)
{
	ENTER(CKSIM_TOUCH);
	struct cksim_ctx *c = cksim_ctx_of(h);
	if (!c)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!id)
		return CUDA_ERROR_INVALID_VALUE;
	*id = c->id;
	return CUDA_SUCCESS;
}

API(cuCtxGetApiVersion, CUcontext h, unsigned *version)
{
	ENTER(CKSIM_INIT);
	struct cksim_ctx *c = cksim_ctx_of(h);
	if (!c)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = c->api;
	return CUDA_SUCCESS;
}

API(cuCtxGetStreamPriorityRange, int *least, int *greatest)
{
	ENTER(CKSIM_WORK);
	if (least)
		*least = 0;
	if (greatest)
		*greatest = -5;
	return CUDA_SUCCESS;
}

API(cuCtxGetLimit, size_t *value, int limit)
{
	ENTER(CKSIM_WORK);
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit < 0 || limit >= 16)
		return (CUresult)CKSIM_ERROR_UNSUPPORTED_LIMIT;
	*value = cksim_ctx_current()->limits[limit];
	return CUDA_SUCCESS;
}

API(cuCtxSetLimit, int limit, size_t value)
{
	ENTER(CKSIM_WORK);
	if (limit < 0 || limit >= 16)
		return (CUresult)CKSIM_ERROR_UNSUPPORTED_LIMIT;
	cksim_ctx_current()->limits[limit] = value;
	return CUDA_SUCCESS;
}

API(cuCtxGetCacheConfig, int *config)
{
	ENTER(CKSIM_WORK);
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	*config = cksim_ctx_current()->cache_config;
	return CUDA_SUCCESS;
}

API(cuCtxSetCacheConfig, int config)
{
	ENTER(CKSIM_WORK);
	cksim_ctx_current()->cache_config = config;
	return CUDA_SUCCESS;
}

API(cuCtxEnablePeerAccess, CUcontext peer, unsigned flags)
{
	ENTER(CKSIM_WORK);
	struct cksim_ctx *c = cksim_ctx_current(), *p = peer ? cksim_ctx_of(peer) : NULL;
	if (!p || p->dev == c->dev)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (c->peers >> p->dev & 1)
		return (CUresult)CKSIM_ERROR_PEER_ACCESS_ALREADY_ENABLED;
	c->peers |= 1u << p->dev;
	return CUDA_SUCCESS;
}

API(cuCtxDisablePeerAccess, CUcontext peer)
{
	ENTER(CKSIM_WORK);
	struct cksim_ctx *c = cksim_ctx_current(), *p = peer ? cksim_ctx_of(peer) : NULL;
	if (!p)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!(c->peers >> p->dev & 1))
		return (CUresult)CKSIM_ERROR_PEER_ACCESS_NOT_ENABLED;
	c->peers &= ~(1u << p->dev);
	return CUDA_SUCCESS;
}

/* --- primary contexts --------------------------------------------------------------------------------- */

API(cuDevicePrimaryCtxRetain, CUcontext *out, CUdevice dev)
{
	ENTER(CKSIM_TOUCH);
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	NEED_DEVICE(dev);
	pthread_mutex_lock(&cksim.lock);
	if (!primary[dev] && (primary[dev] = ctx_new(dev, primary_flags[dev])) != NULL)
		primary[dev]->primary = 1;
	if (primary[dev])
		primary_refs[dev]++;
	*out = (CUcontext)primary[dev];
	pthread_mutex_unlock(&cksim.lock);
	return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult primary_release(CUdevice dev, int all_refs)
{
	NEED_DEVICE(dev);
	CUresult r = CUDA_SUCCESS;
	pthread_mutex_lock(&cksim.lock);
	struct cksim_ctx *c = primary[dev], *end = NULL;
	if (!c)
		r = all_refs ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
	else if (all_refs || --primary_refs[dev] == 0)
		end = c, primary[dev] = NULL, primary_refs[dev] = 0;
	pthread_mutex_unlock(&cksim.lock);
	if (end)
		ctx_end(end);
	return r;
}

API(cuDevicePrimaryCtxRelease_v2, CUdevice dev)
{
	ENTER(CKSIM_TOUCH);
	return primary_release(dev, 0);
}

API(cuDevicePrimaryCtxReset_v2, CUdevice dev)
{
	ENTER(CKSIM_TOUCH);
	return primary_release(dev, 1);
}

API(cuDevicePrimaryCtxSetFlags_v2, CUdevice dev, unsigned flags)
{
	ENTER(CKSIM_TOUCH);
	NEED_DEVICE(dev);
	pthread_mutex_lock(&cksim.lock);
	primary_flags[dev] = flags;
	if (primary[dev])
		primary[dev]->flags = flags;
	pthread_mutex_unlock(&cksim.lock);
	return CUDA_SUCCESS;
}

API(cuDevicePrimaryCtxGetState, CUdevice dev, unsigned *flags, int *active)
{
	ENTER(CKSIM_TOUCH);
	NEED_DEVICE(dev);
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&cksim.lock);
	*flags = primary_flags[dev];
	*active = primary[dev] != NULL;
	pthread_mutex_unlock(&cksim.lock);
	return CUDA_SUCCESS;
}
