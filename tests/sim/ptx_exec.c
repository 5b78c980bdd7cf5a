/* ptx_exec.c - the interpreter: one thread, until it waits, ends, faults or has had its share. */
#include "ptx_int.h"

#include <stdlib.h>
#include <time.h>

#include "ptx_alu.h"

/* Backward branches and calls before another thread has its turn, so that a thread which spins for
 * another of its block does not spin for ever. */
#define PTX_SHARE 65536

#define MAX_DEPTH 4096

static void fault_at(struct ptx_block *b, struct ptx_thread *t, const struct ptx_insn *i, enum ptx_fault_kind kind)
{
	if (b->fault.kind == PTX_FAULT_NONE)
		b->fault.kind = kind;
	b->fault.kernel = b->f->name;
	b->fault.line = t->f->lines[i - t->f->code];
	for (int k = 0; k < 3; k++) {
		b->fault.block[k] = b->ctaid[k];
		b->fault.thread[k] = t->tid[k];
	}
	t->state = TS_FAULT;
}

static uint64_t load_sized(const void *p, unsigned kind)
{
	switch (kind) {
	case MK_U8: return *(const uint8_t *)p;
	case MK_S8: return (uint64_t)*(const int8_t *)p;
	case MK_U16: return *(const uint16_t *)p;
	case MK_S16: return (uint64_t)*(const int16_t *)p;
	case MK_U32: return *(const uint32_t *)p;
	case MK_S32: return (uint64_t)*(const int32_t *)p;
	default: return *(const uint64_t *)p;
	}
}

static void store_sized(void *p, unsigned kind, uint64_t v)
{
	if (kind <= MK_S8)
		*(uint8_t *)p = (uint8_t)v;
	else if (kind <= MK_S16)
		*(uint16_t *)p = (uint16_t)v;
	else if (kind <= MK_S32)
		*(uint32_t *)p = (uint32_t)v;
	else
		*(uint64_t *)p = v;
}

static const uint8_t kind_size[] = { 1, 1, 2, 2, 4, 4, 8 };

static bool vector(struct ptx_block *b, struct ptx_thread *t, const struct ptx_insn *i, uint64_t *R, unsigned space,
		   bool store)
{
	unsigned n = i->aux & 15, kind = i->aux >> 4 & 7, size = kind_size[kind];
	uint64_t addr = (i->aux & PTX_NARROW ? (uint32_t)R[i->a] : R[i->a]) + (uint64_t)i->imm;
	uint8_t *p = ptx_mem_slow(b, t, space, addr, n * size, store);
	uint32_t slots[4] = { i->d, i->b, i->c, i->e };
	if (!p)
		return false;
	uint64_t v[4];
	for (unsigned k = 0; k < n && !store; k++)
		v[k] = load_sized(p + k * size, kind);
	for (unsigned k = 0; k < n; k++) {
		if (store)
			store_sized(p + k * size, kind, R[slots[k]]);
		else
			R[slots[k]] = v[k];
	}
	return true;
}

/* Copy values into or out of the callee's frame at @callee of the thread's local memory. */
static void copy_in(struct ptx_thread *t, const struct ptx_call *c, uint32_t caller, uint32_t callee, const uint64_t *R)
{
	for (uint32_t k = 0; k < c->nin; k++) {
		const struct ptx_copy *x = &c->in[k];
		if (x->slot >= 0)
			memcpy(t->local + callee + x->to, &R[x->slot], x->size);
		else
			memmove(t->local + callee + x->to, t->local + caller + x->from, x->size);
	}
}

static void copy_out(struct ptx_thread *t, const struct ptx_call *c, uint32_t caller, uint32_t callee, uint64_t *R)
{
	for (uint32_t k = 0; k < c->nout; k++) {
		const struct ptx_copy *x = &c->out[k];
		if (x->slot >= 0) {
			R[x->slot] = 0;
			memcpy(&R[x->slot], t->local + callee + x->from, x->size);
		} else {
			memmove(t->local + caller + x->to, t->local + callee + x->from, x->size);
		}
	}
}

/* Enter the function that instruction @i calls. Returns false with a fault. */
static bool enter(struct ptx_block *b, struct ptx_thread *t, const struct ptx_insn *i)
{
	const struct ptx_call *c = &t->f->calls[i->imm];
	const struct ptx_module *m = t->f->mod;
	uint32_t index = c->func;
	if (index == UINT32_MAX) {
		uint64_t at = t->slots[i->a] - PTX_FUNC_WINDOW;
		index = (uint32_t)(at >> 4) - 1;
		if ((at & 15) || at >> 4 == 0 || at >> 4 > m->nfuncs || m->funcs[index]->is_entry ||
		    m->funcs[index]->nargs != c->nin || m->funcs[index]->nrets != c->nout) {
			fault_at(b, t, i, PTX_FAULT_CALL);
			return false;
		}
		for (uint32_t k = 0; k < c->nin + c->nout; k++) {
			bool in = k < c->nin;
			const struct ptx_func *to = m->funcs[index];
			if (in ? to->arg_size[k] != c->in[k].size || to->arg_off[k] != c->in[k].to
			       : to->ret_size[k - c->nin] != c->out[k - c->nin].size) {
				fault_at(b, t, i, PTX_FAULT_CALL);
				return false;
			}
		}
	}
	const struct ptx_func *f = m->funcs[index];
	uint32_t fp = t->fp + t->f->frame, depth = t->top ? t->top->depth + 1 : 1;
	if (fp > b->local_size || b->local_size - fp < f->frame || depth > MAX_DEPTH) {
		fault_at(b, t, i, PTX_FAULT_STACK);
		return false;
	}
	struct ptx_frame *fr = malloc(sizeof *fr + f->nslots * sizeof fr->own[0]);
	if (!fr) {
		fault_at(b, t, i, PTX_FAULT_NOMEM);
		return false;
	}
	*fr = (struct ptx_frame){ .up = t->top, .f = t->f, .ret = i + 1, .call = c, .slots = t->slots, .fp = t->fp,
				  .depth = depth };
	copy_in(t, c, t->fp, fp, t->slots);
	t->top = fr;
	t->fp = fp;
	t->f = f;
	t->slots = fr->own;
	ptx_frame_init(b, t, f, fr->own);
	t->ip = f->code;
	return true;
}

static void leave(struct ptx_thread *t)
{
	struct ptx_frame *fr = t->top;
	copy_out(t, fr->call, fr->fp, t->fp, fr->slots);
	t->top = fr->up;
	t->f = fr->f;
	t->slots = fr->slots;
	t->fp = fr->fp;
	t->ip = fr->ret;
	free(fr);
}

static uint64_t now(bool real)
{
	struct timespec ts;
	clock_gettime(real ? CLOCK_REALTIME : CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#define NEXT goto *labels[(++i)->op]
#define GO   goto *labels[i->op]

/* The address in a block's own memory, or NULL to let ptx_mem_slow() say what is wrong. */
#define NEAR(base, limit, size)                                                                               \
	(addr < (limit) && (limit) - addr >= (size) && !(addr & ((size) - 1)) ? (base) + addr : NULL)
#define ADDR_NARROW ((i->aux & PTX_NARROW ? (uint32_t)R[i->a] : R[i->a]) + (uint64_t)i->imm)
#define ADDR_WIDE   (R[i->a] + (uint64_t)i->imm)

static inline void *far_address(struct ptx_block *b, uint64_t addr, uint32_t size, bool store)
{
	const struct ptx_cache *c = &b->cache[addr >> 16 & (PTX_CACHE - 1)];
	uint64_t o = addr - c->lo;
	if (__builtin_expect(o < c->len && c->len - o >= size && !(addr & (size - 1)) && !(store && c->readonly), 1))
		return c->host + o;
	return NULL;
}

#define AT_global(size, store)	far_address(b, addr, size, store)
#define AT_generic(size, store) far_address(b, addr, size, store)
#define AT_shared(size, store)	NEAR(b->shared, b->shared_size, size)
#define AT_local(size, store)	NEAR(t->local, b->local_size, size)
#define AT_param(size, store)	NEAR((uint8_t *)(uintptr_t)b->params, b->params_size, size)
#define ADDR_global		ADDR_WIDE
#define ADDR_generic		ADDR_WIDE
#define ADDR_shared		ADDR_NARROW
#define ADDR_local		ADDR_NARROW
#define ADDR_param		ADDR_NARROW

#define LOAD(sp, SP, name, type)                                                                              \
	L_ld_##sp##_##name: {                                                                                 \
		uint64_t addr = ADDR_##sp;                                                                    \
		const void *p = AT_##sp(sizeof(type), false);                                                 \
		if (!p && !(p = ptx_mem_slow(b, t, MS_##SP, addr, sizeof(type), false)))                      \
			goto fault;                                                                           \
		R[i->d] = (uint64_t) * (const type *)p;                                                       \
		NEXT;                                                                                         \
	}
#define STORE(sp, SP, name, type)                                                                             \
	L_st_##sp##_##name: {                                                                                 \
		uint64_t addr = ADDR_##sp;                                                                    \
		void *p = AT_##sp(sizeof(type), true);                                                        \
		if (!p && !(p = ptx_mem_slow(b, t, MS_##SP, addr, sizeof(type), true)))                       \
			goto fault;                                                                           \
		*(type *)p = (type)R[i->d];                                                                   \
		NEXT;                                                                                         \
	}
#define SPACE(sp, SP)                                                                                         \
	LOAD(sp, SP, u8, uint8_t) LOAD(sp, SP, s8, int8_t) LOAD(sp, SP, u16, uint16_t)                        \
	LOAD(sp, SP, s16, int16_t) LOAD(sp, SP, u32, uint32_t) LOAD(sp, SP, s32, int32_t)                     \
	LOAD(sp, SP, u64, uint64_t)                                                                           \
	STORE(sp, SP, u8, uint8_t) STORE(sp, SP, u16, uint16_t) STORE(sp, SP, u32, uint32_t)                  \
	STORE(sp, SP, u64, uint64_t)                                                                          \
	L_ldv_##sp: if (!vector(b, t, i, R, MS_##SP, false)) goto fault;                                      \
	NEXT;                                                                                                 \
	L_stv_##sp: if (!vector(b, t, i, R, MS_##SP, true)) goto fault;                                       \
	NEXT;

/* One function and not several: threaded code needs all its labels in one. Its length is the table's. */
void ptx_exec_thread(struct ptx_block *b, struct ptx_thread *t)
{
	static const void *const labels[OP_COUNT] = {
#define P(id, text, sig, ...) &&L_##id,
#include "ptx_ops.def"
#undef P
	};
	uint64_t *R = t->slots;
	const struct ptx_insn *i = t->ip;
	uint32_t share = PTX_SHARE;
	GO;

#undef PTX_HAND
#define PTX_HAND(id)
#define P(id, text, sig, ...)                                                                                 \
	L_##id:                                                                                               \
	__VA_ARGS__                                                                                           \
	NEXT;
#include "ptx_ops.def"
#undef P

	SPACE(global, GLOBAL)
	SPACE(shared, SHARED)
	SPACE(local, LOCAL)
	SPACE(param, PARAM)
	SPACE(generic, GENERIC)

L_atom:
	if (!ptx_atom(b, t, i, R))
		goto fault;
	NEXT;
L_isspacep: {
	uint64_t w = R[i->a] - PTX_WINDOWS;
	unsigned in = w < PTX_WINDOW_SIZE	? MS_SHARED
		      : w < 2 * PTX_WINDOW_SIZE ? MS_LOCAL
		      : w < 3 * PTX_WINDOW_SIZE ? MS_PARAM
						: MS_GLOBAL;
	R[i->d] = in == i->aux;
	NEXT;
}
L_fence:
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	NEXT;
L_skip_if:
	i += R[i->a] & 1 ? i->imm : 1;
	GO;
L_skip_unless:
	i += R[i->a] & 1 ? 1 : i->imm;
	GO;
L_bra_if:
	if (!(R[i->a] & 1))
		NEXT;
	goto L_bra;
L_bra_unless:
	if (R[i->a] & 1)
		NEXT;
L_bra:
	if (i->imm <= 0 && --share == 0) {
		t->ip = i + i->imm;
		return;
	}
	i += i->imm;
	GO;
L_brx: {
	uint32_t k = (uint32_t)R[i->a];
	if (k >= i->b) {
		b->fault.addr = k;
		fault_at(b, t, i, PTX_FAULT_TRAP);
		return;
	}
	i = t->f->code + t->f->tables[(uint64_t)i->imm + k];
	if (--share == 0) {
		t->ip = i;
		return;
	}
	GO;
}
L_call:
	if (!enter(b, t, i))
		return;
	R = t->slots;
	i = t->ip;
	if (--share == 0)
		return;
	GO;
L_ret:
	leave(t);
	R = t->slots;
	i = t->ip;
	GO;
L_exit:
	t->ip = i;
	t->state = TS_EXITED;
	return;
L_trap:
	fault_at(b, t, i, PTX_FAULT_TRAP);
	return;
L_clock:
	R[i->d] = now(false) >> (i->aux ? 32 : 0);
	NEXT;
L_globaltimer:
	R[i->d] = now(true) >> (i->aux ? 32 : 0);
	NEXT;
L_bar:
	t->barrier = R[i->a] & 15;
	t->expect = (uint32_t)R[i->b];
	t->ip = i;
	t->state = TS_BARRIER;
	return;
L_bar_arrive:
	b->arrived[R[i->a] & 15]++;
	b->arrive_expect[R[i->a] & 15] = (uint32_t)R[i->b];
	NEXT;
L_warp:
	t->ip = i;
	t->state = TS_WARP;
	return;
fault:
	fault_at(b, t, i, b->fault.kind);
}
