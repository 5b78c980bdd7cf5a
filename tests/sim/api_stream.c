/* api_stream.c - exports: streams, events, host functions. Capture is refused. */
#define _GNU_SOURCE
#include "cksim.h"

#include <stdlib.h>

#define LEGACY	   ((CUstream)1)
#define PER_THREAD ((CUstream)2)

/* This thread's default streams, one a context. */
static __thread struct { uint64_t ctx; struct cksim_stream *s; } mine[8];
static __thread unsigned mine_next;

static struct cksim_stream *per_thread(struct cksim_ctx *c)
{
	for (unsigned i = 0; i < 8; i++)
		if (mine[i].ctx == c->id && cksim_obj_is(mine[i].s, CKSIM_O_STREAM))
			return mine[i].s;
	struct cksim_stream *s = cksim_stream_new(c, 0, 0);
	unsigned i = mine_next++ % 8;
	mine[i].ctx = c->id;
	mine[i].s = s;
	return s;
}

CUresult cksim_stream_get(CUstream h, int ptsz, struct cksim_stream **out)
{
	if (h && h != LEGACY && h != PER_THREAD) {
		if (!cksim_obj_is(h, CKSIM_O_STREAM))
			return CUDA_ERROR_INVALID_HANDLE;
		*out = (struct cksim_stream *)h;
	} else {
		struct cksim_ctx *c = cksim_ctx_of(NULL);
		if (!c)
			return CUDA_ERROR_INVALID_CONTEXT;
		*out = h == PER_THREAD || (!h && ptsz) ? per_thread(c) : c->legacy;
		if (!*out)
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return (CUresult)atomic_load(&(*out)->ctx->sticky);
}

/* BOTH - the export and its per-thread twin, from one body that takes the flag ptsz last. */
#define BOTH(name, body, params, args)                                                                \
	API(name, UNWRAP params)                                                                      \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return body(UNWRAP args, 0);                                                          \
	}                                                                                             \
	API(name##_ptsz, UNWRAP params)                                                               \
	{                                                                                             \
		ENTER(CKSIM_WORK);                                                                    \
		return body(UNWRAP args, 1);                                                          \
	}
#define UNWRAP(...) __VA_ARGS__

/* --- streams ----------------------------------------------------------------------------------------------- */

static CUresult stream_create(CUstream *out, unsigned flags, int priority)
{
	if (!out || flags & ~1u)
		return CUDA_ERROR_INVALID_VALUE;
	struct cksim_stream *s = cksim_stream_new(cksim_ctx_current(), flags, priority);
	*out = (CUstream)s;
	return s ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API(cuStreamCreate, CUstream *out, unsigned flags)
{
	ENTER(CKSIM_WORK);
	return stream_create(out, flags, 0);
}

API(cuStreamCreateWithPriority, CUstream *out, unsigned flags, int priority)
{
	ENTER(CKSIM_WORK);
	return stream_create(out, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority);
}

static CUresult stream_destroy(CUstream h)
{
	if (!cksim_obj_is(h, CKSIM_O_STREAM))
		return CUDA_ERROR_INVALID_HANDLE;
	cksim_stream_destroy((struct cksim_stream *)h);
	return CUDA_SUCCESS;
}

API(cuStreamDestroy_v2, CUstream h)
{
	ENTER(CKSIM_TOUCH);
	return stream_destroy(h);
}

API(cuStreamDestroy, CUstream h)
{
	ENTER(CKSIM_TOUCH);
	return stream_destroy(h);
}

static CUresult stream_sync(CUstream h, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (r)
		return r;
	if (!s->legacy)
		return cksim_stream_wait(s);
	struct cksim_op *op = cksim_op_new(CKSIM_OP_NOP); /* lands behind the blocking streams */
	return op ? cksim_submit(s, op, NULL, 1) : CUDA_ERROR_OUT_OF_MEMORY;
}
BOTH(cuStreamSynchronize, stream_sync, (CUstream h), (h))

static CUresult stream_query(CUstream h, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	return r ? r : cksim_stream_idle(s) ? (CUresult)atomic_load(&s->ctx->sticky) : CUDA_ERROR_NOT_READY;
}
BOTH(cuStreamQuery, stream_query, (CUstream h), (h))

static CUresult stream_wait_event(CUstream h, CUevent e, unsigned flags, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (r)
		return r;
	if (!cksim_obj_is(e, CKSIM_O_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	struct cksim_op *op = cksim_op_new(CKSIM_OP_NOP);
	return op ? cksim_submit(s, op, (struct cksim_event *)e, 0) : CUDA_ERROR_OUT_OF_MEMORY;
}
BOTH(cuStreamWaitEvent, stream_wait_event, (CUstream h, CUevent e, unsigned flags), (h, e, flags))

static CUresult stream_flags(CUstream h, unsigned *flags, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (!r && !flags)
		r = CUDA_ERROR_INVALID_VALUE;
	if (!r)
		*flags = s->flags;
	return r;
}
BOTH(cuStreamGetFlags, stream_flags, (CUstream h, unsigned *flags), (h, flags))

static CUresult stream_priority(CUstream h, int *priority, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (!r && !priority)
		r = CUDA_ERROR_INVALID_VALUE;
	if (!r)
		*priority = s->priority;
	return r;
}
BOTH(cuStreamGetPriority, stream_priority, (CUstream h, int *priority), (h, priority))

static CUresult stream_ctx(CUstream h, CUcontext *out, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (!r && !out)
		r = CUDA_ERROR_INVALID_VALUE;
	if (!r)
		*out = (CUcontext)s->ctx;
	return r;
}
BOTH(cuStreamGetCtx, stream_ctx, (CUstream h, CUcontext *out), (h, out))

static CUresult stream_id(CUstream h, unsigned long long *id, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (!r && !id)
		r = CUDA_ERROR_INVALID_VALUE;
	if (!r)
		*id = s->id;
	return r;
}
BOTH(cuStreamGetId, stream_id, (CUstream h, unsigned long long *id), (h, id))

/* --- host functions ------------------------------------------------------------------------------------------ */

static CUresult host_func(CUstream h, CUhostFn fn, void *user, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (r)
		return r;
	if (!fn)
		return CUDA_ERROR_INVALID_VALUE;
	struct cksim_op *op = cksim_op_new(CKSIM_OP_HOST);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->host.fn = fn;
	op->host.user = user;
	return cksim_submit(s, op, NULL, 0);
}
BOTH(cuLaunchHostFunc, host_func, (CUstream h, CUhostFn fn, void *user), (h, fn, user))

static CUresult add_callback(CUstream h, CUstreamCallback cb, void *user, unsigned flags, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(h, ptsz, &s);
	if (r)
		return r;
	if (!cb || flags)
		return CUDA_ERROR_INVALID_VALUE;
	struct cksim_op *op = cksim_op_new(CKSIM_OP_CALLBACK);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->host.cb = cb;
	op->host.handle = h;
	op->host.user = user;
	return cksim_submit(s, op, NULL, 0);
}
BOTH(cuStreamAddCallback, add_callback, (CUstream h, CUstreamCallback cb, void *user, unsigned flags),
     (h, cb, user, flags))

/* --- events -------------------------------------------------------------------------------------------------- */

API(cuEventCreate, CUevent *out, unsigned flags)
{
	ENTER(CKSIM_WORK);
	if (!out || flags & ~7u)
		return CUDA_ERROR_INVALID_VALUE;
	struct cksim_event *e = calloc(1, sizeof *e);
	if (!e)
		return CUDA_ERROR_OUT_OF_MEMORY;
	e->ctx = cksim_ctx_current();
	e->flags = flags;
	e->refs = 1;
	cksim_obj_add(&e->obj, CKSIM_O_EVENT);
	*out = (CUevent)e;
	return CUDA_SUCCESS;
}

static CUresult event_destroy(CUevent h)
{
	if (!cksim_obj_is(h, CKSIM_O_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	cksim_obj_del(&((struct cksim_event *)h)->obj);
	cksim_event_put((struct cksim_event *)h);
	return CUDA_SUCCESS;
}

API(cuEventDestroy_v2, CUevent h)
{
	ENTER(CKSIM_TOUCH);
	return event_destroy(h);
}

API(cuEventDestroy, CUevent h)
{
	ENTER(CKSIM_TOUCH);
	return event_destroy(h);
}

static CUresult event_record(CUevent h, CUstream sh, int ptsz)
{
	struct cksim_stream *s;
	CUresult r = cksim_stream_get(sh, ptsz, &s);
	if (r)
		return r;
	if (!cksim_obj_is(h, CKSIM_O_EVENT) || ((struct cksim_event *)h)->ctx != s->ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	struct cksim_op *op = cksim_op_new(CKSIM_OP_EVENT);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->event = (struct cksim_event *)h;
	return cksim_submit(s, op, NULL, 0);
}
BOTH(cuEventRecord, event_record, (CUevent h, CUstream sh), (h, sh))

static CUresult event_record_flags(CUevent h, CUstream sh, unsigned flags, int ptsz)
{
	return flags & ~1u ? CUDA_ERROR_INVALID_VALUE : event_record(h, sh, ptsz);
}
BOTH(cuEventRecordWithFlags, event_record_flags, (CUevent h, CUstream sh, unsigned flags), (h, sh, flags))

API(cuEventSynchronize, CUevent h)
{
	ENTER(CKSIM_TOUCH);
	if (!cksim_obj_is(h, CKSIM_O_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	struct cksim_event *e = (struct cksim_event *)h;
	cksim_event_wait(e);
	return (CUresult)atomic_load(&e->ctx->sticky);
}

API(cuEventQuery, CUevent h)
{
	ENTER(CKSIM_TOUCH);
	if (!cksim_obj_is(h, CKSIM_O_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	struct cksim_event *e = (struct cksim_event *)h;
	return cksim_event_done(e) ? (CUresult)atomic_load(&e->ctx->sticky) : CUDA_ERROR_NOT_READY;
}

static CUresult elapsed(float *ms, CUevent from, CUevent to)
{
	if (!ms)
		return CUDA_ERROR_INVALID_VALUE;
	if (!cksim_obj_is(from, CKSIM_O_EVENT) || !cksim_obj_is(to, CKSIM_O_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	struct cksim_event *a = (struct cksim_event *)from, *b = (struct cksim_event *)to;
	if (!a->stream || !b->stream || (a->flags | b->flags) & CU_EVENT_DISABLE_TIMING)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!cksim_event_done(a) || !cksim_event_done(b))
		return CUDA_ERROR_NOT_READY;
	*ms = (float)((double)(int64_t)(atomic_load(&b->time_ns) - atomic_load(&a->time_ns)) / 1e6);
	return CUDA_SUCCESS;
}

API(cuEventElapsedTime, float *ms, CUevent from, CUevent to)
{
	ENTER(CKSIM_TOUCH);
	return elapsed(ms, from, to);
}

API(cuEventElapsedTime_v2, float *ms, CUevent from, CUevent to)
{
	ENTER(CKSIM_TOUCH);
	return elapsed(ms, from, to);
}
