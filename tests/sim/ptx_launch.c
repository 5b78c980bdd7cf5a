/* ptx_launch.c - a launch: workers take blocks, and run each block's threads in turn. */
#include "ptx_int.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fenv.h>

static bool per_thread(const struct ptx_fixed *x)
{
	return x->kind == FX_LOCAL || (x->kind == FX_SPECIAL && x->value >= SR_FIRST_THREAD);
}

static uint64_t special(const struct ptx_block *b, const struct ptx_thread *t, unsigned which)
{
	const struct ptx_launch *l = b->run->l;
	const uint32_t *n = l->block;
	uint32_t linear = t ? (uint32_t)(t - b->threads) : 0, lane = linear & 31;
	switch (which) {
	case SR_NTID_X: case SR_NTID_Y: case SR_NTID_Z: return n[which - SR_NTID_X];
	case SR_NCTAID_X: case SR_NCTAID_Y: case SR_NCTAID_Z: return l->grid[which - SR_NCTAID_X];
	case SR_NWARPID: return (b->nthreads + 31) / 32;
	case SR_NSMID: return 1;
	case SR_GRIDID: return 1;
	case SR_WARP_SZ: return 32;
	case SR_DYN_SMEM: return l->dynamic_shared;
	case SR_TOTAL_SMEM: return b->run->shared_size;
	case SR_CTAID_X: case SR_CTAID_Y: case SR_CTAID_Z: return b->ctaid[which - SR_CTAID_X];
	case SR_SMID: return 0;
	case SR_TID_X: case SR_TID_Y: case SR_TID_Z: return t ? t->tid[which - SR_TID_X] : 0;
	case SR_LANEID: return lane;
	case SR_WARPID: return linear / 32;
	case SR_LM_EQ: return 1u << lane;
	case SR_LM_LE: return (uint32_t)((2ull << lane) - 1);
	case SR_LM_LT: return (1u << lane) - 1;
	case SR_LM_GE: return ~((1u << lane) - 1);
	default: return (uint32_t) ~((2ull << lane) - 1);
	}
}

/* Fill the function's template with all that is the same for the block's threads. */
static void fill_template(struct ptx_block *b, const struct ptx_func *f, bool block_only)
{
	uint64_t *out = b->templates[f->index];
	for (uint32_t i = 0; i < f->nslots; i++) {
		const struct ptx_fixed *x = &f->slots[i];
		if (x->kind == FX_SPECIAL && x->value < SR_FIRST_THREAD)
			out[i] = special(b, NULL, (unsigned)x->value);
		else if (block_only)
			continue;
		else if (x->kind == FX_CONST)
			out[i] = x->value;
		else if (x->kind == FX_GLOBAL)
			out[i] = __atomic_load_n(&f->mod->vars[x->index].dev, __ATOMIC_ACQUIRE) + x->value;
		else if (x->kind == FX_SHARED)
			out[i] = b->run->shared_off[x->index] + x->value;
		else if (x->kind == FX_FUNC)
			out[i] = PTX_FUNC_WINDOW + ((uint64_t)x->index + 1) * 16;
		else
			out[i] = 0;
	}
}

void ptx_frame_init(struct ptx_block *b, const struct ptx_thread *t, const struct ptx_func *f, uint64_t *slots)
{
	memcpy(slots, b->templates[f->index], f->nslots * sizeof *slots);
	for (uint32_t k = 0; k < f->nvarying; k++) {
		uint32_t s = f->varying[k];
		const struct ptx_fixed *x = &f->slots[s];
		slots[s] = x->kind == FX_LOCAL ? t->fp + x->value : special(b, t, (unsigned)x->value);
	}
}

int ptx_list_varying(struct ptx_func *f)
{
	f->nvarying = 0;
	for (uint32_t i = 0; i < f->nslots; i++) {
		if (!per_thread(&f->slots[i]))
			continue;
		void *grown = ptx_grow(f->varying, f->nvarying, sizeof *f->varying);
		if (!grown)
			return -1;
		f->varying = grown;
		f->varying[f->nvarying++] = i;
	}
	return 0;
}

/* --- one block -------------------------------------------------------------------------------------- */

static void start_threads(struct ptx_block *b)
{
	const uint32_t *n = b->run->l->block;
	for (uint32_t k = 0; k < b->nthreads; k++) {
		struct ptx_thread *t = &b->threads[k];
		*t = (struct ptx_thread){ .slots = b->slots + (size_t)k * b->f->nslots,
					  .ip = b->f->code,
					  .f = b->f,
					  .local = b->local + (size_t)k * b->local_size,
					  .tid = { k % n[0], k / n[0] % n[1], k / n[0] / n[1] } };
		ptx_frame_init(b, t, b->f, t->slots);
	}
	b->live = b->nthreads;
	memset(b->arrived, 0, sizeof b->arrived);
	memset(b->arrive_expect, 0, sizeof b->arrive_expect);
}

static void drop_frames(struct ptx_block *b)
{
	for (uint32_t k = 0; k < b->nthreads; k++) {
		while (b->threads[k].top) {
			struct ptx_frame *up = b->threads[k].top->up;
			free(b->threads[k].top);
			b->threads[k].top = up;
		}
	}
}

static bool stopped(struct ptx_block *b)
{
	const struct ptx_launch *l = b->run->l;
	if (l->cancel && *l->cancel && b->fault.kind == PTX_FAULT_NONE) {
		b->fault.kind = PTX_FAULT_CANCELLED;
		b->fault.kernel = b->f->name;
	}
	return b->fault.kind != PTX_FAULT_NONE || __atomic_load_n(&b->run->stop, __ATOMIC_RELAXED);
}

/* Run the ready lanes of the warp at @first until none can go on by itself. Returns false to stop. */
static bool run_warp(struct ptx_block *b, uint32_t first, bool *moved)
{
	uint32_t end = first + 32 < b->nthreads ? first + 32 : b->nthreads;
	do {
		for (uint32_t k = first; k < end; k++) {
			struct ptx_thread *t = &b->threads[k];
			if (t->state != TS_READY)
				continue;
			*moved = true;
			ptx_exec_thread(b, t);
			if (t->state == TS_FAULT)
				return false;
			if (t->state == TS_EXITED)
				b->live--;
		}
		if (stopped(b))
			return false;
	} while (ptx_warp_resolve(b, first));
	return true;
}

static void deadlock(struct ptx_block *b)
{
	b->fault.kind = PTX_FAULT_DEADLOCK;
	b->fault.kernel = b->f->name;
	memcpy(b->fault.block, b->ctaid, sizeof b->ctaid);
	for (uint32_t k = 0; k < b->nthreads; k++) {
		const struct ptx_thread *t = &b->threads[k];
		if (t->state == TS_EXITED)
			continue;
		memcpy(b->fault.thread, t->tid, sizeof t->tid);
		b->fault.line = t->f->lines[t->ip - t->f->code];
		return;
	}
}

static void run_block(struct ptx_block *b)
{
	for (uint32_t i = 0; i < b->f->mod->nfuncs; i++)
		if (b->templates[i])
			fill_template(b, b->f->mod->funcs[i], true);
	start_threads(b);
	while (b->live) {
		bool moved = false;
		for (uint32_t first = 0; first < b->nthreads; first += 32)
			if (!run_warp(b, first, &moved))
				goto out;
		if (!b->live)
			break;
		if (!ptx_barrier_resolve(b) && !moved) {
			deadlock(b);
			break;
		}
	}
out:
	drop_frames(b);
}

/* --- workers ---------------------------------------------------------------------------------------- */

static void free_block(struct ptx_block *b)
{
	for (uint32_t i = 0; b->templates && i < b->f->mod->nfuncs; i++)
		free(b->templates[i]);
	free(b->templates);
	free(b->threads);
	free(b->slots);
	free(b->shared);
	free(b->local);
}

static bool make_block(struct ptx_block *b, struct ptx_run *run)
{
	const struct ptx_launch *l = run->l;
	const struct ptx_module *m = run->f->mod;
	size_t n = (size_t)l->block[0] * l->block[1] * l->block[2];
	*b = (struct ptx_block){ .run = run, .f = run->f, .nthreads = (uint32_t)n, .params = l->params };
	b->params_size = run->f->info.param_size;
	b->shared_size = run->shared_size;
	b->local_size = (run->f->info.local_size + 15) & ~15u;
	b->threads = calloc(n, sizeof *b->threads);
	b->slots = calloc(n * run->f->nslots, sizeof *b->slots);
	b->shared = calloc(1, (size_t)b->shared_size + 16);
	b->local = calloc(n, (size_t)b->local_size + 16);
	b->templates = calloc(m->nfuncs, sizeof *b->templates);
	if (!b->threads || !b->slots || !b->shared || !b->local || !b->templates)
		return false;
	for (uint32_t i = 0; i < m->nfuncs; i++) {
		const struct ptx_func *f = m->funcs[i];
		if (!f->defined || (f->is_entry && f != run->f))
			continue;
		b->templates[i] = calloc(f->nslots, sizeof **b->templates);
		if (!b->templates[i])
			return false;
		fill_template(b, f, false);
	}
	return true;
}

static void report(struct ptx_run *run, const struct ptx_fault *fault)
{
	pthread_mutex_lock(&run->lock);
	if (run->fault.kind == PTX_FAULT_NONE)
		run->fault = *fault;
	pthread_mutex_unlock(&run->lock);
	__atomic_store_n(&run->stop, 1, __ATOMIC_RELAXED);
}

static void *worker(void *arg)
{
	struct ptx_run *run = arg;
	const uint32_t *grid = run->l->grid;
	struct ptx_block b;
	int round = fegetround();
	fesetround(FE_TONEAREST);
	if (!make_block(&b, run))
		report(run, &(struct ptx_fault){ .kind = PTX_FAULT_NOMEM, .kernel = run->f->name });
	while (!__atomic_load_n(&run->stop, __ATOMIC_RELAXED)) {
		uint64_t k = __atomic_fetch_add(&run->next, 1, __ATOMIC_RELAXED);
		if (k >= run->nblocks)
			break;
		b.ctaid[0] = (uint32_t)(k % grid[0]);
		b.ctaid[1] = (uint32_t)(k / grid[0] % grid[1]);
		b.ctaid[2] = (uint32_t)(k / grid[0] / grid[1]);
		run_block(&b);
		if (b.fault.kind != PTX_FAULT_NONE)
			report(run, &b.fault);
	}
	free_block(&b);
	fesetround(round);
	return NULL;
}

static bool fits(const struct ptx_func *f, const struct ptx_launch *l)
{
	uint64_t threads = 1;
	for (int i = 0; i < 3; i++) {
		if (!l->grid[i] || !l->block[i] || l->block[i] > 1024)
			return false;
		threads *= l->block[i];
		if (f->info.reqntid[0] && f->info.reqntid[i] != l->block[i])
			return false;
	}
	return threads <= f->info.max_threads && l->params_size >= f->info.param_size &&
	       (uint64_t)f->info.shared_size + l->dynamic_shared <= PTX_WINDOW_SIZE &&
	       l->grid[1] <= 65535 && l->grid[2] <= 65535;
}

/* Helpers have every signal blocked: the program's handlers belong to the program's threads. */
static void run_workers(struct ptx_run *run, unsigned n)
{
	pthread_t helper[64];
	unsigned started = 0;
	sigset_t all, old;
	n = n > 64 ? 64 : n;
	if (n > run->nblocks)
		n = (unsigned)run->nblocks;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* with fewer helpers than asked for, the others do the work */
	while (started + 1 < n && pthread_create(&helper[started], NULL, worker, run) == 0)
		started++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	worker(run);
	while (started)
		pthread_join(helper[--started], NULL);
}

int ptx_launch(struct ptx_func *f, const struct ptx_launch *l, struct ptx_fault *fault)
{
	struct ptx_run run = { .f = f, .l = l, .lock = PTHREAD_MUTEX_INITIALIZER };
	memset(fault, 0, sizeof *fault);
	fault->kernel = f->name;
	if (!fits(f, l)) {
		fault->kind = PTX_FAULT_CONFIG;
		return -1;
	}
	run.nblocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
	run.shared_off = calloc(f->mod->nshared + 1, sizeof *run.shared_off);
	uint32_t end = run.shared_off ? ptx_shared_layout(f, run.shared_off) : UINT32_MAX;
	if (end == UINT32_MAX) {
		free(run.shared_off);
		fault->kind = PTX_FAULT_NOMEM;
		return -1;
	}
	run.shared_size = end + l->dynamic_shared;
	run_workers(&run, l->workers);
	free(run.shared_off);
	pthread_mutex_destroy(&run.lock);
	if (run.fault.kind == PTX_FAULT_NONE)
		return 0;
	*fault = run.fault;
	return -1;
}

char *ptx_fault_text(const struct ptx_fault *f, char *buf, size_t cap)
{
	static const char *const names[] = { "no fault",       "address outside of memory", "misaligned address",
					     "trap",	       "every thread waits",	    "stack exhausted",
					     "call of nothing", "cancelled",		    "out of host memory",
					     "launch does not fit the function" };
	snprintf(buf, cap, "%s: %s, address 0x%llx, %u bytes, PTX line %u, block (%u,%u,%u), thread (%u,%u,%u)",
		 f->kernel ? f->kernel : "?", names[f->kind], (unsigned long long)f->addr, f->size, f->line,
		 f->block[0], f->block[1], f->block[2], f->thread[0], f->thread[1], f->thread[2]);
	return buf;
}
