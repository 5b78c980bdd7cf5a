/* ptx_compile_mem.c - loads, stores, atomics, address conversions. */
#include "ptx_int.h"

#include <string.h>

static const struct ptx_type type_u64 = { 8, K_UNSIGNED };

static int space_of(const char *part)
{
	static const struct {
		const char *name;
		int space;
	} names[] = {
		{ "global", MS_GLOBAL },      { "const", MS_GLOBAL }, { "shared", MS_SHARED },
		{ "shared::cta", MS_SHARED }, { "local", MS_LOCAL },  { "param", MS_PARAM },
		{ "param::entry", MS_PARAM }, { "param::func", MS_LOCAL },
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcmp(names[i].name, part))
			return names[i].space;
	return -1;
}

/* What changes no result here: memory is always coherent, and atomics are sequentially consistent. */
static bool is_hint(const char *part)
{
	static const char *const hints[] = { "weak",	"volatile", "relaxed", "acquire", "release", "acq_rel", "mmio",
					     "cta",	"cluster",  "gpu",     "sys",	  "ca",	     "cg",	"cs",
					     "lu",	"cv",	    "wb",      "wt",	  "nc" };
	for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
		if (!strcmp(hints[i], part))
			return true;
	return !strncmp(part, "L1::", 4) || (!strncmp(part, "L2::", 4) && strcmp(part, "L2::cache_hint") != 0);
}

struct access {
	int space;
	uint32_t vec;
	struct ptx_type t;
	uint32_t base;
	uint64_t off;
	bool narrow; /* the base is a 32-bit register: the upper half of its slot means nothing */
	bool masks;  /* the instruction can look at the lower half alone */
};

/* The space in which the address operand @o is to be looked up. */
static int resolve(struct ptx_parse *ps, const struct ptx_opnd *o, struct access *x)
{
	if (o->kind != O_MEM)
		return ptx_error(ps, "'%.*s' needs an address", (int)ps->opcode_len, ps->opcode);
	x->base = o->slot;
	x->off = o->v;
	x->narrow = o->space == SP_NONE && o->type.size && o->type.size < 8;
	/* parameters of a .func, and of a call that is being made, lie in the local frame */
	if (x->space == MS_PARAM && (o->space == SP_LOCAL || (o->space == SP_NONE && !ps->f->is_entry)))
		x->space = MS_LOCAL;
	int have = o->space == SP_GLOBAL || o->space == SP_CONST ? MS_GLOBAL
		   : o->space == SP_SHARED			 ? MS_SHARED
		   : o->space == SP_LOCAL			 ? MS_LOCAL
		   : o->space == SP_PARAM			 ? MS_PARAM
								 : x->space;
	if (have != x->space && !(x->space == MS_GENERIC && have == MS_GLOBAL))
		return ptx_error(ps, "'%.*s' names a variable of another space", (int)ps->opcode_len, ps->opcode);
	if (!x->narrow || (x->masks && x->space != MS_GLOBAL && x->space != MS_GENERIC))
		return 0;
	uint32_t wide = ptx_slot_new(ps);
	if (wide == UINT32_MAX || !ptx_emit(ps, OP_ext_u32, wide, x->base, 0, 0))
		return ptx_error(ps, "out of memory");
	x->base = wide;
	return 0;
}

static int parse_access(struct ptx_parse *ps, struct access *x)
{
	uint32_t last = ps->nparts - 1;
	*x = (struct access){ .space = MS_GENERIC, .vec = 1, .masks = true };
	if (ps->nparts < 2 || ptx_type_of(ps->parts[last], (uint32_t)strlen(ps->parts[last]), &x->t) < 0 ||
	    x->t.kind == K_PRED)
		return ptx_unsupported(ps);
	for (uint32_t i = 1; i < last; i++) {
		int space = space_of(ps->parts[i]);
		if (space >= 0 && x->space == MS_GENERIC)
			x->space = space;
		else if (!strcmp(ps->parts[i], "v2") || !strcmp(ps->parts[i], "v4"))
			x->vec = (uint32_t)(ps->parts[i][1] - '0');
		else if (!is_hint(ps->parts[i]))
			return ptx_unsupported(ps);
	}
	return 0;
}

static unsigned load_kind(struct ptx_type t)
{
	bool s = t.kind == K_SIGNED;
	return t.size == 1 ? (s ? MK_S8 : MK_U8)
	       : t.size == 2 ? (s ? MK_S16 : MK_U16)
	       : t.size == 4 ? (s ? MK_S32 : MK_U32)
			     : MK_U64;
}

static int compile_access(struct ptx_parse *ps, bool store)
{
	struct access x;
	uint32_t v[4] = { 0 };
	if (parse_access(ps, &x) < 0)
		return -1;
	struct ptx_opnd *data = &ps->ops_[store ? 1 : 0];
	if (ps->nops != 2 || (data->kind == O_VEC) != (x.vec > 1) || (x.vec > 1 && data->n != x.vec))
		return ptx_unsupported(ps);
	if (resolve(ps, &ps->ops_[store ? 0 : 1], &x) < 0)
		return -1;
	if (store && x.space == MS_PARAM)
		return ptx_error(ps, "a store to a kernel's parameter");
	for (uint32_t i = 0; i < x.vec; i++) {
		struct ptx_opnd *o = x.vec > 1 ? &data->vec[i] : data;
		if (store && o->kind == O_SINK)
			return ptx_unsupported(ps);
		if ((store ? ptx_use(ps, o, x.t, &v[i]) : ptx_def(ps, o, &v[i])) < 0)
			return -1;
		if (!store && o->kind == O_SLOT && o->type.kind == K_PRED)
			return ptx_error(ps, "a load into a predicate");
	}
	unsigned kind = x.vec > 1 ? (store ? MK_STV : MK_LDV)
			: store	  ? (x.t.size == 1   ? MK_ST8
				     : x.t.size == 2 ? MK_ST16
				     : x.t.size == 4 ? MK_ST32
						     : MK_ST64)
				  : load_kind(x.t);
	struct ptx_insn *i =
		ptx_emit(ps, OP_ld_global_u8 + (unsigned)x.space * MK_COUNT + kind, v[0], x.base, v[1], v[2]);
	if (!i)
		return -1;
	i->e = v[3];
	i->imm = (int64_t)x.off;
	i->aux = (uint16_t)(x.vec | load_kind(x.t) << 4 | (x.narrow ? PTX_NARROW : 0));
	return 0;
}

static int atom_op(const char *part)
{
	static const char *const names[] = { "add", "exch", "cas", "min", "max", "inc", "dec", "and", "or", "xor" };
	for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
		if (!strcmp(names[i], part))
			return i;
	return -1;
}

/* Which types an operation has. */
static int atom_type(int op, struct ptx_type t)
{
	bool f = t.kind == K_FLOAT, bits = t.kind == K_BITS;
	if (t.size != 4 && t.size != 8)
		return -1;
	if (f)
		return op == AT_ADD ? (t.size == 4 ? ATT_F32 : ATT_F64) : -1;
	if (bits && (op == AT_ADD || op == AT_MIN || op == AT_MAX))
		return -1;
	if ((op == AT_INC || op == AT_DEC) && (t.size != 4 || t.kind != K_UNSIGNED))
		return -1;
	bool s = t.kind == K_SIGNED;
	return t.size == 4 ? (s ? ATT_S32 : ATT_U32) : (s ? ATT_S64 : ATT_U64);
}

static int compile_atom(struct ptx_parse *ps, bool red)
{
	struct access x = { .space = MS_GENERIC };
	int op = -1;
	uint32_t last = ps->nparts - 1, d, b, c = 0;
	if (ps->nparts < 3 || ptx_type_of(ps->parts[last], (uint32_t)strlen(ps->parts[last]), &x.t) < 0)
		return ptx_unsupported(ps);
	for (uint32_t i = 1; i < last; i++) {
		int space = space_of(ps->parts[i]);
		if (op < 0 && (op = atom_op(ps->parts[i])) >= 0)
			continue;
		if (space >= 0 && x.space == MS_GENERIC && space != MS_PARAM && space != MS_LOCAL)
			x.space = space;
		else if (!is_hint(ps->parts[i]))
			return ptx_unsupported(ps);
	}
	if (op < 0)
		return ptx_unsupported(ps);
	int at = atom_type(op, x.t);
	uint32_t k = red ? 0 : 1;
	if (at < 0 || (red && (op == AT_CAS || op == AT_EXCH)) || ps->nops != k + 2 + (op == AT_CAS))
		return ptx_unsupported(ps);
	struct ptx_opnd sink = { .kind = O_SINK };
	if (resolve(ps, &ps->ops_[k], &x) < 0 || ptx_def(ps, red ? &sink : &ps->ops_[0], &d) < 0 ||
	    ptx_use(ps, &ps->ops_[k + 1], x.t, &b) < 0 ||
	    (op == AT_CAS && ptx_use(ps, &ps->ops_[k + 2], x.t, &c) < 0))
		return -1;
	struct ptx_insn *i = ptx_emit(ps, OP_atom, d, x.base, b, c);
	if (!i)
		return -1;
	i->imm = (int64_t)x.off;
	i->aux = (uint16_t)((unsigned)x.space | (unsigned)op << 3 | (unsigned)at << 8);
	return 0;
}

/* cvta[.to].SPACE.u64 d, a */
static int compile_cvta(struct ptx_parse *ps)
{
	bool to = ps->nparts > 2 && !strcmp(ps->parts[1], "to");
	int space = ps->nparts == 3u + to ? space_of(ps->parts[1 + to]) : -1;
	uint32_t d, a, w;
	if (space < 0 || strcmp(ps->parts[2 + to], "u64") != 0 || ps->nops != 2)
		return ptx_unsupported(ps);
	if (ptx_use(ps, &ps->ops_[1], type_u64, &a) < 0 || ptx_def(ps, &ps->ops_[0], &d) < 0)
		return -1;
	if (space == MS_PARAM && !ps->f->is_entry)
		space = MS_LOCAL;
	if (space == MS_GLOBAL)
		return ptx_emit(ps, OP_mov_b64, d, a, 0, 0) ? 0 : -1;
	w = ptx_slot_const(ps, space == MS_SHARED  ? PTX_SHARED_WINDOW
			       : space == MS_LOCAL ? PTX_LOCAL_WINDOW
						   : PTX_PARAM_WINDOW);
	if (w == UINT32_MAX)
		return ptx_error(ps, "out of memory");
	return ptx_emit(ps, to ? OP_sub_u64 : OP_add_u64, d, a, w, 0) ? 0 : -1;
}

static int compile_isspacep(struct ptx_parse *ps)
{
	uint32_t d, a;
	int space = ps->nparts == 2 ? space_of(ps->parts[1]) : -1;
	if (space < 0 || !strcmp(ps->parts[1], "const") || ps->nops != 2)
		return ptx_unsupported(ps);
	if (ptx_use(ps, &ps->ops_[1], type_u64, &a) < 0 || ptx_def(ps, &ps->ops_[0], &d) < 0)
		return -1;
	struct ptx_insn *i = ptx_emit(ps, OP_isspacep, d, a, 0, 0);
	if (i)
		i->aux = (uint16_t)space;
	return i ? 0 : -1;
}

int ptx_compile_mem(struct ptx_parse *ps, bool *done)
{
	const char *op = ps->parts[0];
	*done = true;
	if (!strcmp(op, "ld") || !strcmp(op, "ldu"))
		return compile_access(ps, false);
	if (!strcmp(op, "st"))
		return compile_access(ps, true);
	if (!strcmp(op, "atom") || !strcmp(op, "red"))
		return compile_atom(ps, *op == 'r');
	if (!strcmp(op, "cvta"))
		return compile_cvta(ps);
	if (!strcmp(op, "isspacep"))
		return compile_isspacep(ps);
	if (!strcmp(op, "membar") || (!strcmp(op, "fence") && ps->nparts < 4 && ps->nparts > 1 &&
				      strcmp(ps->parts[1], "proxy") != 0))
		return ps->nops ? ptx_unsupported(ps) : ptx_emit(ps, OP_fence, 0, 0, 0, 0) ? 0 : -1;
	if (!strcmp(op, "prefetch") || !strcmp(op, "prefetchu"))
		return 0;
	*done = false;
	return 0;
}
