/* ptx_operand.c - slots, and operands that become slots. */
#include "ptx_int.h"

#include <stdlib.h>
#include <string.h>

uint32_t ptx_slot_new(struct ptx_parse *ps)
{
	struct ptx_func *f = ps->f;
	if (f->nslots == f->cslots) {
		uint32_t cap = f->cslots ? f->cslots * 2 : 64;
		void *grown = cap > 1u << 21 ? NULL : reallocarray(f->slots, cap, sizeof *f->slots);
		if (!grown)
			return UINT32_MAX;
		f->slots = grown;
		f->cslots = cap;
	}
	f->slots[f->nslots] = (struct ptx_fixed){ .kind = FX_REG };
	return f->nslots++;
}

static uint32_t hash_fixed(const struct ptx_fixed *x)
{
	uint64_t h = x->value * 0x9e3779b97f4a7c15ull + x->index * 0x85ebca6bull + x->kind * 31u + x->generic;
	return (uint32_t)(h ^ h >> 29);
}

static bool same_fixed(const struct ptx_fixed *a, const struct ptx_fixed *b)
{
	return a->kind == b->kind && a->generic == b->generic && a->index == b->index && a->value == b->value;
}

static bool rehash(struct ptx_parse *ps)
{
	uint32_t mask = ps->fixed_mask ? ps->fixed_mask * 2 + 1 : 63;
	uint32_t *table = calloc((size_t)mask + 1, sizeof *table);
	if (!table)
		return false;
	for (uint32_t s = 0; s < ps->f->nslots; s++) {
		if (ps->f->slots[s].kind == FX_REG)
			continue;
		uint32_t h = hash_fixed(&ps->f->slots[s]) & mask;
		while (table[h])
			h = (h + 1) & mask;
		table[h] = s + 1;
	}
	free(ps->fixed_hash);
	ps->fixed_hash = table;
	ps->fixed_mask = mask;
	return true;
}

uint32_t ptx_slot_fixed(struct ptx_parse *ps, struct ptx_fixed want)
{
	if ((!ps->fixed_hash || ps->nfixed * 2 > ps->fixed_mask) && !rehash(ps))
		return UINT32_MAX;
	uint32_t h = hash_fixed(&want) & ps->fixed_mask;
	for (; ps->fixed_hash[h]; h = (h + 1) & ps->fixed_mask)
		if (same_fixed(&ps->f->slots[ps->fixed_hash[h] - 1], &want))
			return ps->fixed_hash[h] - 1;
	uint32_t s = ptx_slot_new(ps);
	if (s == UINT32_MAX)
		return s;
	ps->f->slots[s] = want;
	ps->fixed_hash[h] = s + 1;
	ps->nfixed++;
	return s;
}

uint32_t ptx_slot_const(struct ptx_parse *ps, uint64_t v)
{
	return ptx_slot_fixed(ps, (struct ptx_fixed){ .kind = FX_CONST, .value = v });
}

struct ptx_insn *ptx_emit(struct ptx_parse *ps, unsigned op, uint32_t d, uint32_t a, uint32_t b, uint32_t c)
{
	struct ptx_func *f = ps->f;
	if (f->ncode == f->ccode) {
		uint32_t cap = f->ccode ? f->ccode * 2 : 64;
		void *code = reallocarray(f->code, cap, sizeof *f->code);
		if (code)
			f->code = code;
		void *lines = reallocarray(f->lines, cap, sizeof *f->lines);
		if (lines)
			f->lines = lines;
		if (!code || !lines) {
			ptx_error(ps, "out of memory");
			return NULL;
		}
		f->ccode = cap;
	}
	f->lines[f->ncode] = ps->line;
	struct ptx_insn *i = &f->code[f->ncode++];
	*i = (struct ptx_insn){ .op = (uint16_t)op, .d = d, .a = a, .b = b, .c = c };
	return i;
}

static int special(const char *text, uint32_t len)
{
	static const char *const names[] = {
#define X(name, text) text,
		PTX_SPECIALS(X)
#undef X
	};
	for (int i = 0; i < SR_COUNT; i++)
		if (strlen(names[i]) == len && !memcmp(names[i], text, len))
			return i;
	return -1;
}

/* Remember which shared variables and functions the code names. */
static int note(uint32_t **list, uint32_t *n, uint32_t what)
{
	for (uint32_t i = 0; i < *n; i++)
		if ((*list)[i] == what)
			return 0;
	void *grown = ptx_grow(*list, *n, sizeof **list);
	if (!grown)
		return -1;
	*list = grown;
	(*list)[(*n)++] = what;
	return 0;
}

static int var_operand(struct ptx_parse *ps, struct ptx_opnd *o, uint32_t index)
{
	struct ptx_var *v = &ps->m->vars[index];
	struct ptx_fixed x = { .kind = FX_GLOBAL, .index = index };
	if (v->space == SP_SHARED) {
		x = (struct ptx_fixed){ .kind = FX_SHARED, .index = v->index };
		if (note(&ps->f->uses, &ps->f->nuses, index) < 0)
			return ptx_error(ps, "out of memory");
	}
	o->kind = O_SYM;
	o->space = v->space;
	o->func = UINT32_MAX;
	o->slot = ptx_slot_fixed(ps, x);
	return 0;
}

static int sym_operand(struct ptx_parse *ps, struct ptx_opnd *o, const struct ptx_sym *s, uint32_t index)
{
	o->func = UINT32_MAX;
	switch (s->kind) {
	case SYM_REGS:
		o->kind = O_SLOT;
		o->slot = s->slot + index;
		o->type = s->type;
		o->writable = true;
		return 0;
	case SYM_VAR:
		return var_operand(ps, o, s->slot);
	case SYM_LOCAL:
		o->kind = O_SYM;
		o->space = SP_LOCAL;
		o->off = s->off;
		o->size = s->size;
		o->slot = ptx_slot_fixed(ps, (struct ptx_fixed){ .kind = FX_LOCAL, .value = s->off });
		return 0;
	case SYM_KPARAM:
		o->kind = O_SYM;
		o->space = SP_PARAM;
		o->slot = ptx_slot_const(ps, s->off);
		return 0;
	default:
		o->kind = O_LABEL; /* a table or prototype: found again by name */
		return 0;
	}
}

static int ident_operand(struct ptx_parse *ps, struct ptx_opnd *o)
{
	struct ptx_lex *lx = &ps->lx;
	uint32_t index;
	o->text = lx->text;
	o->len = lx->len;
	if (ptx_tok_is(lx, "_")) {
		o->kind = O_SINK;
		return 0;
	}
	const struct ptx_sym *s = ptx_find_sym(ps, lx->text, lx->len, &index);
	if (s)
		return sym_operand(ps, o, s, index);
	int sr = special(lx->text, lx->len);
	if (sr >= 0) {
		o->kind = O_SLOT;
		o->type = (struct ptx_type){ 4, K_UNSIGNED };
		o->slot = ptx_slot_fixed(ps, (struct ptx_fixed){ .kind = FX_SPECIAL, .value = (uint64_t)sr });
		return 0;
	}
	struct ptx_var *v = ptx_find_var(ps->m, lx->text, lx->len);
	if (v)
		return var_operand(ps, o, (uint32_t)(v - ps->m->vars));
	struct ptx_func *f = ptx_find_func(ps->m, lx->text, lx->len);
	if (f) {
		o->kind = O_SYM;
		o->space = SP_NONE;
		o->func = f->index;
		o->slot = ptx_slot_fixed(ps, (struct ptx_fixed){ .kind = FX_FUNC, .index = f->index });
		return 0;
	}
	/* %clock and the like are read by an instruction of their own; the rest must be a label */
	if (lx->text[0] == '%' && !ptx_tok_is(lx, "%clock") && !ptx_tok_is(lx, "%clock64") &&
	    !ptx_tok_is(lx, "%globaltimer") && !ptx_tok_is(lx, "%clock_hi") && !ptx_tok_is(lx, "%globaltimer_lo") &&
	    !ptx_tok_is(lx, "%globaltimer_hi"))
		return ptx_error(ps, "register '%.*s' is not known", (int)lx->len, lx->text);
	o->kind = O_LABEL;
	return 0;
}

static int literal_operand(struct ptx_parse *ps, struct ptx_opnd *o)
{
	struct ptx_lex *lx = &ps->lx;
	bool neg = ptx_accept(ps, '-');
	o->v = lx->value;
	o->dec = lx->dec;
	switch (lx->kind) {
	case T_INT:
		o->kind = O_INT;
		o->v = neg ? 0 - o->v : o->v;
		break;
	case T_DEC:
		o->kind = O_DEC;
		o->dec = neg ? -o->dec : o->dec;
		break;
	case T_F32:
	case T_F64:
		o->kind = lx->kind == T_F32 ? O_F32 : O_F64;
		if (neg)
			o->v ^= lx->kind == T_F32 ? 0x80000000ull : 0x8000000000000000ull;
		break;
	default:
		return ptx_error(ps, "expected an operand before '%.*s'", (int)(lx->len > 40 ? 40 : lx->len),
				 lx->text);
	}
	ptx_lex_next(lx);
	return 0;
}

/* [base], [base+n], [base+-n], [base-n], [n] */
static int mem_operand(struct ptx_parse *ps, struct ptx_opnd *o)
{
	struct ptx_opnd base = { 0 };
	if (ptx_parse_operand(ps, &base) < 0)
		return -1;
	o->func = UINT32_MAX;
	o->kind = O_MEM;
	if (base.kind == O_SLOT && base.type.kind != K_PRED && !base.not_) {
		o->space = SP_NONE;
		o->slot = base.slot;
		o->type = base.type;
	} else if (base.kind == O_SYM && base.func == UINT32_MAX) {
		o->space = base.space;
		o->slot = base.slot;
	} else if (base.kind == O_INT) {
		o->space = SP_NONE;
		o->slot = ptx_slot_const(ps, base.v);
	} else {
		return ptx_error(ps, "address [%.*s] is not supported", (int)base.len, base.text ? base.text : "");
	}
	bool plus = ptx_accept(ps, '+');
	bool minus = ptx_accept(ps, '-');
	if (plus || minus) {
		if (ps->lx.kind != T_INT)
			return ptx_error(ps, "expected an offset");
		o->v = minus ? 0 - ps->lx.value : ps->lx.value;
		ptx_lex_next(&ps->lx);
	}
	return ptx_expect(ps, ']');
}

/* { a, b } and the ( a, b ) of a call */
static int list_operand(struct ptx_parse *ps, struct ptx_opnd *o, int close)
{
	uint32_t cap = 0;
	o->kind = O_VEC;
	while (!ptx_accept(ps, close)) {
		if (o->n && ptx_expect(ps, ',') < 0)
			return -1;
		if (o->n == cap) {
			struct ptx_opnd *bigger = ptx_temp(ps, (cap = cap * 2 + 4) * sizeof *o->vec);
			if (!bigger)
				return ptx_error(ps, "out of memory");
			if (o->n)
				memcpy(bigger, o->vec, o->n * sizeof *o->vec);
			o->vec = bigger;
		}
		struct ptx_opnd *e = &o->vec[o->n];
		if (ptx_parse_operand(ps, e) < 0)
			return -1;
		if (e->kind == O_VEC || e->kind == O_MEM)
			return ptx_error(ps, "lists cannot hold lists or addresses");
		o->n++;
	}
	return 0;
}

int ptx_parse_operand(struct ptx_parse *ps, struct ptx_opnd *o)
{
	memset(o, 0, sizeof *o);
	if (ps->depth > 3)
		return ptx_error(ps, "operands nested too deeply");
	ps->depth++;
	int rc = 0;
	if (ps->lx.bad)
		rc = ptx_error(ps, "malformed literal '%.*s'", (int)(ps->lx.len > 40 ? 40 : ps->lx.len), ps->lx.text);
	else if (ptx_accept(ps, '[')) {
		rc = mem_operand(ps, o);
	} else if (ptx_accept(ps, '{')) {
		rc = list_operand(ps, o, '}');
	} else if (ptx_accept(ps, '(')) {
		rc = list_operand(ps, o, ')');
	} else {
		o->not_ = ptx_accept(ps, '!');
		if (ps->lx.kind == T_IDENT) {
			rc = ident_operand(ps, o);
			ptx_lex_next(&ps->lx);
		} else {
			rc = literal_operand(ps, o);
		}
		if (rc == 0 && o->not_ && (o->kind != O_SLOT || o->type.kind != K_PRED))
			rc = ptx_error(ps, "'!' before what is not a predicate");
	}
	ps->depth--;
	if (rc == 0 && o->slot == UINT32_MAX)
		rc = ptx_error(ps, "too many values in one function");
	return rc;
}

/* The slot to read operand @o of type @t from. */
int ptx_use(struct ptx_parse *ps, const struct ptx_opnd *o, struct ptx_type t, uint32_t *slot)
{
	uint64_t bits = o->v;
	float f = (float)o->dec;
	switch (o->kind) {
	case O_SLOT:
		if ((o->type.kind == K_PRED) != (t.kind == K_PRED))
			return ptx_error(ps, "'%.*s': a predicate where a value belongs, or the reverse", (int)o->len,
					 o->text);
		*slot = o->slot;
		if (o->not_) {
			*slot = ptx_slot_new(ps);
			if (*slot == UINT32_MAX || !ptx_emit(ps, OP_not_pred, *slot, o->slot, 0, 0))
				return ptx_error(ps, "out of memory");
		}
		return 0;
	case O_SYM:
		if (t.size < 4 || t.kind == K_FLOAT)
			return ptx_error(ps, "the address of '%.*s' as a narrow value", (int)o->len, o->text);
		*slot = o->slot;
		return 0;
	case O_INT:
		if (t.kind == K_FLOAT && bits)
			return ptx_error(ps, "an integer literal for a floating-point operand");
		if (t.kind == K_PRED)
			bits = bits != 0;
		break;
	case O_F32:
		if (t.size != 4)
			return ptx_error(ps, "an f32 literal for an operand of another size");
		break;
	case O_F64:
		if (t.size != 8 && !(t.size == 4 && t.kind == K_FLOAT))
			return ptx_error(ps, "an f64 literal for an operand of another size");
		if (t.size == 4) {
			double d;
			memcpy(&d, &bits, 8);
			f = (float)d;
			bits = 0;
			memcpy(&bits, &f, 4);
		}
		break;
	case O_DEC:
		bits = 0;
		if (t.size == 8)
			memcpy(&bits, &o->dec, 8);
		else if (t.size == 4)
			memcpy(&bits, &f, 4);
		else
			return ptx_error(ps, "a decimal literal for this operand is not supported");
		break;
	default:
		return ptx_error(ps, "operand '%.*s' of '%.*s' is not known", (int)o->len, o->text ? o->text : "",
				 (int)ps->opcode_len, ps->opcode);
	}
	*slot = ptx_slot_const(ps, bits);
	return *slot == UINT32_MAX ? ptx_error(ps, "too many values in one function") : 0;
}

/* The slot to write operand @o to; for "_" one that nobody reads. */
int ptx_def(struct ptx_parse *ps, const struct ptx_opnd *o, uint32_t *slot)
{
	*slot = o->kind == O_SINK ? ptx_slot_new(ps) : o->slot;
	if (*slot == UINT32_MAX)
		return ptx_error(ps, "too many values in one function");
	if (o->kind == O_SINK || (o->kind == O_SLOT && o->writable && !o->not_))
		return 0;
	return ptx_error(ps, "'%.*s' needs a register to write to", (int)ps->opcode_len, ps->opcode);
}
