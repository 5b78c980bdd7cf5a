/* queue.c - streams. One worker thread each, made at the first operation; one lock for all queues.
 *
 * An operation is complete when its stream's count has reached its number. An operation waits for
 * (stream, number) pairs: the legacy stream's operations for all blocking streams of the context and
 * theirs for the legacy stream's, as CUDA's rules have it, and for events.
 */
#define _GNU_SOURCE
#include "cksim.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t q = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static _Atomic uint64_t next_id = 1;
static __thread int callback_depth;

int cksim_in_callback(void)
{
	return callback_depth;
}

void cksim_queue_forget(void)
{
	pthread_mutex_init(&q, NULL);
	pthread_cond_init(&done, NULL);
}

struct cksim_op *cksim_op_new(enum cksim_op_kind kind)
{
	struct cksim_op *op = calloc(1, sizeof *op);
	if (op)
		op->kind = kind;
	return op;
}

static void stream_put(struct cksim_stream *s) /* under q */
{
	if (--s->refs == 0) {
		pthread_cond_destroy(&s->work);
		free(s);
	}
}

static void event_put(struct cksim_event *e) /* under q */
{
	if (--e->refs)
		return;
	if (e->stream)
		stream_put(e->stream);
	free(e);
}

void cksim_event_put(struct cksim_event *e)
{
	pthread_mutex_lock(&q);
	event_put(e);
	pthread_mutex_unlock(&q);
}

static void op_release(struct cksim_op *op) /* under q */
{
	for (size_t i = 0; i < op->ndeps; i++)
		stream_put(op->deps[i].stream);
	free(op->deps);
	if (op->kind == CKSIM_OP_COPY)
		free(op->copy.staged);
	else if (op->kind == CKSIM_OP_KERNEL)
		free(op->kernel.params);
	else if (op->kind == CKSIM_OP_EVENT)
		event_put(op->event);
	free(op);
}

void cksim_op_free(struct cksim_op *op)
{
	pthread_mutex_lock(&q);
	op_release(op);
	pthread_mutex_unlock(&q);
}

static int deps_met(const struct cksim_op *op)
{
	for (size_t i = 0; i < op->ndeps; i++)
		if (op->deps[i].stream->completed < op->deps[i].seq)
			return 0;
	return 1;
}

static void *worker(void *arg)
{
	struct cksim_stream *s = arg;
	pthread_mutex_lock(&q);
	for (;;) {
		while (!s->head && !s->dying)
			pthread_cond_wait(&s->work, &q);
		struct cksim_op *op = s->head;
		if (!op)
			break;
		while (!deps_met(op))
			pthread_cond_wait(&done, &q);
		s->head = op->next;
		if (!s->head)
			s->tail = NULL;
		pthread_mutex_unlock(&q);
		int user = op->kind == CKSIM_OP_HOST || op->kind == CKSIM_OP_CALLBACK;
		callback_depth += user;
		int sticky = cksim_op_run(op);
		callback_depth -= user;
		if (sticky) {
			int none = 0;
			atomic_compare_exchange_strong(&s->ctx->sticky, &none, sticky);
		}
		pthread_mutex_lock(&q);
		s->completed = op->seq;
		op_release(op);
		atomic_fetch_sub(&cksim.pending, 1);
		pthread_cond_broadcast(&done);
	}
	stream_put(s);
	pthread_mutex_unlock(&q);
	return NULL;
}

/* The driver's threads take no signal of the program's. */
static int start_worker(struct cksim_stream *s)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t t;
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&t, &attr, worker, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r)
		return -1;
	s->started = 1;
	s->refs++;
	return 0;
}

struct cksim_stream *cksim_stream_new(struct cksim_ctx *ctx, unsigned flags, int priority)
{
	struct cksim_stream *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->ctx = ctx;
	s->flags = flags;
	s->priority = priority;
	s->refs = 1;
	s->id = atomic_fetch_add(&next_id, 1);
	pthread_cond_init(&s->work, NULL);
	pthread_mutex_lock(&q);
	s->next = ctx->streams;
	ctx->streams = s;
	pthread_mutex_unlock(&q);
	cksim_obj_add(&s->obj, CKSIM_O_STREAM);
	return s;
}

void cksim_stream_destroy(struct cksim_stream *s)
{
	cksim_obj_del(&s->obj);
	pthread_mutex_lock(&q);
	for (struct cksim_stream **at = &s->ctx->streams; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	s->dying = 1;
	pthread_cond_signal(&s->work);
	stream_put(s);
	pthread_mutex_unlock(&q);
}

static int add_dep(struct cksim_op *op, struct cksim_stream *s, uint64_t seq) /* under q */
{
	if (s->completed >= seq)
		return 0;
	void *p = realloc(op->deps, (op->ndeps + 1) * sizeof *op->deps);
	if (!p)
		return -1;
	op->deps = p;
	op->deps[op->ndeps].stream = s;
	op->deps[op->ndeps++].seq = seq;
	s->refs++;
	return 0;
}

static int add_implicit(struct cksim_op *op, struct cksim_stream *s) /* under q */
{
	if (s->flags & CU_STREAM_NON_BLOCKING)
		return 0;
	if (!s->legacy)
		return s->ctx->legacy ? add_dep(op, s->ctx->legacy, s->ctx->legacy->submitted) : 0;
	for (struct cksim_stream *o = s->ctx->streams; o; o = o->next)
		if (o != s && !(o->flags & CU_STREAM_NON_BLOCKING) && add_dep(op, o, o->submitted))
			return -1;
	return 0;
}

CUresult cksim_submit(struct cksim_stream *s, struct cksim_op *op, struct cksim_event *dep, int wait)
{
	struct cksim_ctx *ctx = s->ctx;
	pthread_mutex_lock(&q);
	if (op->kind == CKSIM_OP_EVENT)
		op->event->refs++;
	if ((!s->started && start_worker(s)) || add_implicit(op, s) ||
	    (dep && dep->stream && add_dep(op, dep->stream, dep->seq))) {
		op_release(op);
		pthread_mutex_unlock(&q);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	op->stream = s;
	op->seq = ++s->submitted;
	uint64_t seq = op->seq;
	if (op->kind == CKSIM_OP_EVENT) {
		struct cksim_event *e = op->event;
		s->refs++;
		if (e->stream)
			stream_put(e->stream);
		e->stream = s;
		e->seq = seq;
	}
	if (s->tail)
		s->tail->next = op;
	else
		s->head = op;
	s->tail = op;
	atomic_fetch_add(&cksim.pending, 1);
	pthread_cond_signal(&s->work);
	if (wait) {
		s->refs++;
		while (s->completed < seq)
			pthread_cond_wait(&done, &q);
		stream_put(s);
	}
	pthread_mutex_unlock(&q);
	return wait ? (CUresult)atomic_load(&ctx->sticky) : CUDA_SUCCESS;
}

CUresult cksim_stream_wait(struct cksim_stream *s)
{
	struct cksim_ctx *ctx = s->ctx;
	pthread_mutex_lock(&q);
	uint64_t seq = s->submitted;
	s->refs++;
	while (s->completed < seq)
		pthread_cond_wait(&done, &q);
	stream_put(s);
	pthread_mutex_unlock(&q);
	return (CUresult)atomic_load(&ctx->sticky);
}

/* The legacy stream stands for the blocking ones too. */
int cksim_stream_idle(struct cksim_stream *s)
{
	pthread_mutex_lock(&q);
	int r = s->completed == s->submitted;
	if (s->legacy)
		for (struct cksim_stream *o = s->ctx->streams; o; o = o->next)
			if (!(o->flags & CU_STREAM_NON_BLOCKING))
				r = r && o->completed == o->submitted;
	pthread_mutex_unlock(&q);
	return r;
}

CUresult cksim_ctx_wait(struct cksim_ctx *ctx)
{
	pthread_mutex_lock(&q);
	for (struct cksim_stream *s = ctx->streams; s;) {
		if (s->completed == s->submitted) {
			s = s->next;
			continue;
		}
		/* The list may change while we sleep: start over. New work of other threads is waited for
		 * too; the driver promises no less. */
		pthread_cond_wait(&done, &q);
		s = ctx->streams;
	}
	pthread_mutex_unlock(&q);
	return (CUresult)atomic_load(&ctx->sticky);
}

void cksim_all_wait(void)
{
	pthread_mutex_lock(&q);
	while (atomic_load(&cksim.pending))
		pthread_cond_wait(&done, &q);
	pthread_mutex_unlock(&q);
}

int cksim_event_done(struct cksim_event *e)
{
	pthread_mutex_lock(&q);
	int r = !e->stream || e->stream->completed >= e->seq;
	pthread_mutex_unlock(&q);
	return r;
}

void cksim_event_wait(struct cksim_event *e)
{
	pthread_mutex_lock(&q);
	struct cksim_stream *s = e->stream;
	uint64_t seq = e->seq;
	if (s) {
		s->refs++;
		while (s->completed < seq)
			pthread_cond_wait(&done, &q);
		stream_put(s);
	}
	pthread_mutex_unlock(&q);
}
