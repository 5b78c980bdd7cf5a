/* ptx_compile_flow.c - branches, calls, barriers, and what the lanes of a warp do together. */
#include "ptx_int.h"

#include <stdlib.h>
#include <string.h>

static const struct ptx_type type_u32 = { 4, K_UNSIGNED }, type_b64 = { 8, K_BITS }, type_u64 = { 8, K_UNSIGNED },
			     type_pred = { 1, K_PRED };

static bool part_is(const struct ptx_parse *ps, uint32_t i, const char *text)
{
	return i < ps->nparts && !strcmp(ps->parts[i], text);
}

static int compile_bra(struct ptx_parse *ps)
{
	bool guarded = ps->guard.kind == O_SLOT;
	if (ps->nops != 1 || ps->ops_[0].kind != O_LABEL || ps->nparts > 2 || (ps->nparts == 2 && !part_is(ps, 1, "uni")))
		return ptx_unsupported(ps);
	unsigned op = !guarded ? OP_bra : ps->guard.not_ ? OP_bra_unless : OP_bra_if;
	if (!ptx_emit(ps, op, 0, guarded ? ps->guard.slot : 0, 0, 0))
		return -1;
	return ptx_label_ref(ps, &ps->ops_[0], ps->f->ncode - 1, false);
}

static int compile_brx(struct ptx_parse *ps)
{
	uint32_t index, a;
	if (!part_is(ps, 1, "idx") || ps->nops != 2 || ps->ops_[1].kind != O_LABEL)
		return ptx_unsupported(ps);
	const struct ptx_sym *s = ptx_find_sym(ps, ps->ops_[1].text, ps->ops_[1].len, &index);
	if (!s || s->kind != SYM_TABLE)
		return ptx_error(ps, "'%.*s' is no list of branch targets", (int)ps->ops_[1].len, ps->ops_[1].text);
	if (ptx_use(ps, &ps->ops_[0], type_u32, &a) < 0)
		return -1;
	struct ptx_insn *i = ptx_emit(ps, OP_brx, 0, a, s->size, 0);
	if (i)
		i->imm = s->slot;
	return i ? 0 : -1;
}

/* Copies between the operands of one side of a call and the callee's frame. */
static int copies(struct ptx_parse *ps, struct ptx_opnd *list, uint32_t n, bool in, const uint32_t *off,
		  const uint32_t *size, struct ptx_copy **out)
{
	static const struct ptx_opnd none;
	*out = calloc(n ? n : 1, sizeof **out);
	if (!*out)
		return ptx_error(ps, "out of memory");
	for (uint32_t i = 0; i < n; i++) {
		struct ptx_opnd *o = &list[i];
		struct ptx_copy c = { .size = size[i], .slot = -1 };
		uint32_t near = 0, slot;
		if (o->kind == O_SYM && o->space == SP_LOCAL) {
			if (o->size != size[i])
				return ptx_error(ps, "'%.*s' has another size than the parameter", (int)o->len, o->text);
			near = o->off;
		} else {
			struct ptx_type t = { size[i] > 8 ? 0 : (uint8_t)size[i], K_BITS };
			if (!t.size || o->kind == none.kind || (in ? ptx_use(ps, o, t, &slot) : ptx_def(ps, o, &slot)) < 0)
				return t.size ? -1 : ptx_error(ps, "a register for a large parameter");
			c.slot = slot;
		}
		c.from = in ? near : off[i];
		c.to = in ? off[i] : near;
		(*out)[i] = c;
	}
	return 0;
}

static int note_callee(struct ptx_func *f, uint32_t callee)
{
	void *grown = ptx_grow(f->callees, f->ncallees, sizeof *f->callees);
	if (!grown)
		return -1;
	f->callees = grown;
	f->callees[f->ncallees++] = callee;
	return 0;
}

/* call[.uni] [(results),] function [, (arguments)] [, prototype] */
static int compile_call(struct ptx_parse *ps)
{
	struct ptx_opnd *rets = NULL, *args = NULL, *target, *proto = NULL;
	uint32_t k = 0, index;
	struct ptx_proto p = { 0 };
	struct ptx_func *f = ps->f;
	if (ps->nparts > 2 || (ps->nparts == 2 && !part_is(ps, 1, "uni")) || ps->paired)
		return ptx_unsupported(ps);
	if (k < ps->nops && ps->ops_[k].kind == O_VEC)
		rets = &ps->ops_[k++];
	if (k == ps->nops)
		return ptx_unsupported(ps);
	target = &ps->ops_[k++];
	if (k < ps->nops && ps->ops_[k].kind == O_VEC)
		args = &ps->ops_[k++];
	if (k < ps->nops)
		proto = &ps->ops_[k++];
	bool direct = target->kind == O_SYM && target->func != UINT32_MAX;
	if (k != ps->nops || (!direct && (target->kind != O_SLOT || !proto)) || (direct && proto))
		return ptx_error(ps, "the function '%.*s' is not known here", (int)target->len,
				 target->text ? target->text : "");
	if (direct) {
		struct ptx_func *to = ps->m->funcs[target->func];
		if (to->is_entry)
			return ptx_error(ps, "a kernel cannot be called");
		p = (struct ptx_proto){ to->nrets, to->nargs, to->arg_off, to->arg_size, to->ret_off, to->ret_size, 0 };
	} else {
		const struct ptx_sym *s = ptx_find_sym(ps, proto->text ? proto->text : "", proto->len, &index);
		if (!s || s->kind != SYM_PROTO)
			return ptx_error(ps, "the call has no prototype");
		p = ps->protos[s->slot];
		f->indirect = true;
	}
	if ((rets ? rets->n : 0) != p.nrets || (args ? args->n : 0) != p.nargs)
		return ptx_error(ps, "the call has another number of parameters than the function");
	void *grown = ptx_grow(f->calls, f->ncalls, sizeof *f->calls);
	if (!grown)
		return ptx_error(ps, "out of memory");
	f->calls = grown;
	struct ptx_call *c = &f->calls[f->ncalls++];
	*c = (struct ptx_call){ .func = direct ? target->func : UINT32_MAX, .nin = p.nargs, .nout = p.nrets };
	if (copies(ps, args ? args->vec : NULL, p.nargs, true, p.arg_off, p.arg_size, &c->in) < 0 ||
	    copies(ps, rets ? rets->vec : NULL, p.nrets, false, p.ret_off, p.ret_size, &c->out) < 0)
		return -1;
	if (direct && note_callee(f, target->func) < 0)
		return ptx_error(ps, "out of memory");
	struct ptx_insn *i = ptx_emit(ps, OP_call, 0, target->slot, 0, 0);
	if (i)
		i->imm = (int64_t)f->ncalls - 1;
	return i ? 0 : -1;
}

/* shfl[.sync].MODE.b32 d[|p], a, b, c[, mask] */
static int compile_shfl(struct ptx_parse *ps)
{
	bool sync = part_is(ps, 1, "sync");
	uint32_t k = ps->paired ? 2 : 1, d, p = UINT32_MAX, a, b, c, mask = 0;
	unsigned kind = part_is(ps, 1 + sync, "up")	? W_SHFL_UP
			: part_is(ps, 1 + sync, "down") ? W_SHFL_DOWN
			: part_is(ps, 1 + sync, "bfly") ? W_SHFL_BFLY
			: part_is(ps, 1 + sync, "idx")	? W_SHFL_IDX
							: W_SYNC;
	if (kind == W_SYNC || ps->nparts != 3u + sync || !part_is(ps, 2 + sync, "b32") || ps->nops != k + 3 + sync)
		return ptx_unsupported(ps);
	if (ptx_def(ps, &ps->ops_[0], &d) < 0 || (ps->paired && ptx_def(ps, &ps->ops_[1], &p) < 0) ||
	    ptx_use(ps, &ps->ops_[k], type_u32, &a) < 0 || ptx_use(ps, &ps->ops_[k + 1], type_u32, &b) < 0 ||
	    ptx_use(ps, &ps->ops_[k + 2], type_u32, &c) < 0 ||
	    (sync && ptx_use(ps, &ps->ops_[k + 3], type_u32, &mask) < 0))
		return -1;
	struct ptx_insn *i = ptx_emit(ps, OP_warp, d, a, b, c);
	if (!i)
		return -1;
	i->aux = (uint16_t)kind;
	i->e = p;
	i->imm = sync ? (int64_t)mask : -1;
	return 0;
}

/* vote[.sync].MODE.pred|b32 d, p[, mask]; match.any|all.sync.b32|b64 d[|p], a, mask;
 * redux.sync.OP.TYPE d, a, mask; activemask.b32 d */
static int compile_exchange(struct ptx_parse *ps, unsigned kind, struct ptx_type t, bool sync)
{
	uint32_t k = ps->paired ? 2 : 1, d, p = UINT32_MAX, a = 0, mask = 0;
	bool has_value = kind != W_ACTIVE;
	if (ps->nops != k + has_value + sync)
		return ptx_unsupported(ps);
	if (ptx_def(ps, &ps->ops_[0], &d) < 0 || (ps->paired && ptx_def(ps, &ps->ops_[1], &p) < 0) ||
	    (has_value && ptx_use(ps, &ps->ops_[k], t, &a) < 0) ||
	    (sync && ptx_use(ps, &ps->ops_[k + 1], type_u32, &mask) < 0))
		return -1;
	bool pred = kind == W_ALL || kind == W_ANY || kind == W_UNI;
	if (ps->ops_[0].kind == O_SLOT && (ps->ops_[0].type.kind == K_PRED) != pred)
		return ptx_error(ps, "a result of the wrong kind");
	struct ptx_insn *i = ptx_emit(ps, OP_warp, d, a, 0, 0);
	if (!i)
		return -1;
	i->aux = (uint16_t)kind;
	i->e = p;
	i->imm = sync ? (int64_t)mask : -1;
	return 0;
}

static int compile_vote(struct ptx_parse *ps)
{
	bool sync = part_is(ps, 1, "sync");
	unsigned kind = part_is(ps, 1 + sync, "all")	  ? W_ALL
			: part_is(ps, 1 + sync, "any")	  ? W_ANY
			: part_is(ps, 1 + sync, "uni")	  ? W_UNI
			: part_is(ps, 1 + sync, "ballot") ? W_BALLOT
							  : W_SYNC;
	if (kind == W_SYNC || ps->nparts != 3u + sync || !part_is(ps, 2 + sync, kind == W_BALLOT ? "b32" : "pred") ||
	    ps->paired)
		return ptx_unsupported(ps);
	return compile_exchange(ps, kind, type_pred, sync);
}

static int compile_match(struct ptx_parse *ps)
{
	bool all = part_is(ps, 1, "all"), wide = part_is(ps, 3, "b64");
	if (ps->nparts != 4 || (!all && !part_is(ps, 1, "any")) || !part_is(ps, 2, "sync") ||
	    (!wide && !part_is(ps, 3, "b32")) || (ps->paired && !all))
		return ptx_unsupported(ps);
	return compile_exchange(ps, (all ? W_MATCH_ALL32 : W_MATCH_ANY32) + wide, wide ? type_b64 : type_u32, true);
}

static int compile_redux(struct ptx_parse *ps)
{
	static const struct {
		const char *op, *type;
		unsigned kind;
	} rows[] = {
		{ "add", "u32", W_REDUX_ADD },	   { "add", "s32", W_REDUX_ADD },     { "min", "u32", W_REDUX_MIN_U32 },
		{ "max", "u32", W_REDUX_MAX_U32 }, { "min", "s32", W_REDUX_MIN_S32 }, { "max", "s32", W_REDUX_MAX_S32 },
		{ "and", "b32", W_REDUX_AND },	   { "or", "b32", W_REDUX_OR },	      { "xor", "b32", W_REDUX_XOR },
	};
	if (ps->nparts == 4 && part_is(ps, 1, "sync") && !ps->paired)
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
			if (part_is(ps, 2, rows[i].op) && part_is(ps, 3, rows[i].type))
				return compile_exchange(ps, rows[i].kind, type_u32, true);
	return ptx_unsupported(ps);
}

/* bar.sync a[, n]; bar.arrive a, n; bar.red.OP d, a[, n], p; bar.warp.sync mask; and barrier's forms */
static int compile_bar(struct ptx_parse *ps)
{
	uint32_t at = part_is(ps, 1, "cta") ? 2 : 1, d = 0, a, n, p = 0, k = 0, mask;
	unsigned kind = BAR_SYNC;
	if (part_is(ps, 1, "warp")) {
		if (!part_is(ps, 2, "sync") || ps->nparts != 3 || ps->nops != 1 ||
		    ptx_use(ps, &ps->ops_[0], type_u32, &mask) < 0)
			return ptx_unsupported(ps);
		struct ptx_insn *i = ptx_emit(ps, OP_warp, 0, 0, 0, 0);
		if (i) {
			i->aux = W_SYNC;
			i->imm = mask;
		}
		return i ? 0 : -1;
	}
	bool red = part_is(ps, at, "red"), arrive = part_is(ps, at, "arrive");
	if (!red && !arrive && !part_is(ps, at, "sync"))
		return ptx_unsupported(ps);
	uint32_t end = part_is(ps, at + 1, "aligned") ? at + 2 : at + 1;
	if (red) {
		kind = part_is(ps, end, "popc") ? BAR_POPC : part_is(ps, end, "and") ? BAR_AND : BAR_OR;
		if ((kind == BAR_OR && !part_is(ps, end, "or")) || !part_is(ps, end + 1, kind == BAR_POPC ? "u32" : "pred"))
			return ptx_unsupported(ps);
		end += 2;
		if (ps->nops < 3 || ptx_def(ps, &ps->ops_[k++], &d) < 0 ||
		    ptx_use(ps, &ps->ops_[ps->nops - 1], type_pred, &p) < 0)
			return ptx_unsupported(ps);
	}
	bool counted = ps->nops == k + 2 + red;
	if (end != ps->nparts || ps->nops < k + 1 + red || ps->nops > k + 2 + red || (arrive && !counted))
		return ptx_unsupported(ps);
	n = ptx_slot_const(ps, 0);
	if (n == UINT32_MAX || ptx_use(ps, &ps->ops_[k], type_u32, &a) < 0 ||
	    (counted && ptx_use(ps, &ps->ops_[k + 1], type_u32, &n) < 0))
		return -1;
	struct ptx_insn *i = ptx_emit(ps, arrive ? OP_bar_arrive : OP_bar, d, a, n, p);
	if (i)
		i->aux = (uint16_t)kind;
	return i ? 0 : -1;
}

int ptx_compile_flow(struct ptx_parse *ps, bool *done)
{
	const char *op = ps->parts[0];
	bool plain = ps->nparts == 1 || (ps->nparts == 2 && part_is(ps, 1, "uni"));
	*done = true;
	if (!strcmp(op, "bra"))
		return compile_bra(ps);
	if (!strcmp(op, "brx"))
		return compile_brx(ps);
	if (!strcmp(op, "call"))
		return compile_call(ps);
	if (!strcmp(op, "ret") && plain && !ps->nops)
		return ptx_emit(ps, ps->f->is_entry ? OP_exit : OP_ret, 0, 0, 0, 0) ? 0 : -1;
	if (!strcmp(op, "exit") && ps->nparts == 1 && !ps->nops)
		return ptx_emit(ps, OP_exit, 0, 0, 0, 0) ? 0 : -1;
	if ((!strcmp(op, "trap") || !strcmp(op, "brkpt")) && ps->nparts == 1 && !ps->nops)
		return ptx_emit(ps, OP_trap, 0, 0, 0, 0) ? 0 : -1;
	if (!strcmp(op, "bar") || !strcmp(op, "barrier"))
		return compile_bar(ps);
	if (!strcmp(op, "shfl"))
		return compile_shfl(ps);
	if (!strcmp(op, "vote"))
		return compile_vote(ps);
	if (!strcmp(op, "match"))
		return compile_match(ps);
	if (!strcmp(op, "redux"))
		return compile_redux(ps);
	if (!strcmp(op, "activemask") && ps->nparts == 2 && !ps->paired)
		return compile_exchange(ps, W_ACTIVE, type_u64, false);
	if (!strcmp(op, "nanosleep") && ps->nops == 1)
		return 0; /* threads take turns anyway */
	*done = false;
	return 0;
}
