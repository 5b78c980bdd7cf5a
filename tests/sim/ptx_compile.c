/* ptx_compile.c - one statement of PTX into instructions: arithmetic, logic, comparison, moves. */
#include "ptx_int.h"

#include <fenv.h>
#include <stdio.h>
#include <string.h>

const char *const ptx_op_text[OP_COUNT] = {
#define P(id, text, sig, ...) text,
#include "ptx_ops.def"
#undef P
};

const char *const ptx_op_sig[OP_COUNT] = {
#define P(id, text, sig, ...) sig,
#include "ptx_ops.def"
#undef P
};

static const struct ptx_type type_pred = { 1, K_PRED };

int ptx_unsupported(struct ptx_parse *ps)
{
	return ptx_error(ps, "instruction '%.*s' is not supported", (int)(ps->opcode_len > 100 ? 100 : ps->opcode_len),
			 ps->opcode);
}

static uint32_t hash_text(const char *s)
{
	uint32_t h = 2166136261u;
	while (*s)
		h = (h ^ (unsigned char)*s++) * 16777619u;
	return h ^ h >> 15;
}

/* The instruction whose row has @text, or -1. The table lives as long as the load. */
int ptx_lookup(struct ptx_parse *ps, const char *text)
{
	if (!ps->op_hash) {
		uint32_t mask = 1;
		while (mask < OP_COUNT * 2)
			mask = mask * 2 + 1;
		ps->op_hash = ptx_temp(ps, (mask + 1) * sizeof *ps->op_hash);
		if (!ps->op_hash)
			return -1;
		ps->op_mask = mask;
		for (uint32_t i = 0; i < OP_COUNT; i++) {
			if (!*ptx_op_text[i])
				continue;
			uint32_t h = hash_text(ptx_op_text[i]) & mask;
			while (ps->op_hash[h])
				h = (h + 1) & mask;
			ps->op_hash[h] = (uint16_t)(i + 1);
		}
	}
	for (uint32_t h = hash_text(text) & ps->op_mask; ps->op_hash[h]; h = (h + 1) & ps->op_mask)
		if (!strcmp(ptx_op_text[ps->op_hash[h] - 1], text))
			return ps->op_hash[h] - 1;
	return -1;
}

static bool is(const char *part, const char *list)
{
	size_t n = strlen(part);
	for (const char *p = list; (p = strstr(p, part)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return n > 0;
	return false;
}

static int split(struct ptx_parse *ps)
{
	char *copy = ptx_temp(ps, (size_t)ps->opcode_len + 1);
	if (!copy)
		return ptx_error(ps, "out of memory");
	memcpy(copy, ps->opcode, ps->opcode_len);
	ps->nparts = 0;
	for (char *p = copy; p; ps->nparts++) {
		if (ps->nparts == PTX_MAX_OPS)
			return ptx_unsupported(ps);
		ps->parts[ps->nparts] = p;
		p = strchr(p, '.');
		if (p)
			*p++ = 0;
	}
	return 0;
}

/* What stands around an arithmetic instruction. */
struct mods {
	bool ftz, sat;
	int round; /* 0: to nearest even */
};

/* The row's name from the opcode's parts, with the modifiers taken off. -1 when it is too long. */
static int plain_name(struct ptx_parse *ps, struct mods *m, struct ptx_type t, char *out, size_t cap)
{
	size_t n = 0;
	memset(m, 0, sizeof *m);
	for (uint32_t i = 0; i < ps->nparts; i++) {
		const char *p = ps->parts[i];
		if (i && t.kind == K_FLOAT && is(p, "rn approx full ftz sat rz rm rp")) {
			m->ftz |= !strcmp(p, "ftz");
			m->sat |= !strcmp(p, "sat");
			m->round = !strcmp(p, "rz") ? FE_TOWARDZERO
				   : !strcmp(p, "rm") ? FE_DOWNWARD
				   : !strcmp(p, "rp") ? FE_UPWARD
						      : m->round;
			continue;
		}
		int w = snprintf(out + n, cap - n, "%s%s", i ? "." : "", p);
		if (w < 0 || (size_t)w >= cap - n)
			return -1;
		n += (size_t)w;
	}
	return 0;
}

static int set_round(struct ptx_parse *ps, int mode)
{
	struct ptx_insn *i = ptx_emit(ps, OP_round, 0, 0, 0, 0);
	if (i)
		i->aux = (uint16_t)mode;
	return i ? 0 : -1;
}

static int flush(struct ptx_parse *ps, uint32_t *slot)
{
	uint32_t to = ptx_slot_new(ps);
	if (to == UINT32_MAX || !ptx_emit(ps, OP_ftz_f32, to, *slot, 0, 0))
		return ptx_error(ps, "out of memory");
	*slot = to;
	return 0;
}

/* An instruction that is a row of the table: @op with operands as its signature says. */
static int compile_row(struct ptx_parse *ps, int op, struct ptx_type t, const struct mods *m)
{
	const char *sig = ptx_op_sig[op];
	uint32_t s[5] = { 0 };
	if (!*sig || strlen(sig) != ps->nops || ps->paired)
		return ptx_error(ps, "'%.*s' with %u operands is not supported", (int)ps->opcode_len, ps->opcode,
				 ps->nops);
	for (uint32_t i = ps->nops; i-- > 0;) {
		struct ptx_type want = sig[i] == 'P' ? type_pred : t;
		/* slct's type is that of its last operand; the others are bits */
		if (!strcmp(ps->parts[0], "slct") && (i == 1 || i == 2))
			want.kind = K_BITS;
		if ((i ? ptx_use(ps, &ps->ops_[i], want, &s[i]) : ptx_def(ps, &ps->ops_[i], &s[i])) < 0)
			return -1;
		if (!i && ps->ops_[0].kind == O_SLOT && (ps->ops_[0].type.kind == K_PRED) != (*sig == 'P'))
			return ptx_error(ps, "'%.*s' writes to a register of the wrong kind", (int)ps->opcode_len,
					 ps->opcode);
	}
	for (uint32_t i = 1; m->ftz && t.size == 4 && i < ps->nops; i++)
		if (sig[i] != 'P' && flush(ps, &s[i]) < 0)
			return -1;
	if (m->round && set_round(ps, m->round) < 0)
		return -1;
	struct ptx_insn *in = ptx_emit(ps, (unsigned)op, s[0], s[1], s[2], s[3]);
	if (!in)
		return -1;
	in->e = s[4];
	if (m->round && set_round(ps, FE_TONEAREST) < 0)
		return -1;
	if (m->ftz && t.size == 4 && *sig == 'd' && !ptx_emit(ps, OP_ftz_f32, s[0], s[0], 0, 0))
		return -1;
	if (m->sat && !ptx_emit(ps, t.size == 4 ? OP_sat_f32 : OP_sat_f64, s[0], s[0], 0, 0))
		return -1;
	return 0;
}

/* setp.CMP[.BOOL][.ftz].TYPE p[|q], a, b[, c] and set.CMP[.BOOL][.ftz].DTYPE.TYPE d, a, b[, c] */
static int compile_compare(struct ptx_parse *ps, bool set)
{
	char name[64];
	const char *bool_op = NULL;
	struct ptx_type t, dt = { 0, 0 };
	bool ftz = false;
	uint32_t last = ps->nparts - 1, a, b, c = 0, cmp, d, q = 0;
	if (ps->nparts < 3 || ptx_type_of(ps->parts[last], (uint32_t)strlen(ps->parts[last]), &t) < 0)
		return ptx_unsupported(ps);
	if (set && (ps->nparts < 4 ||
		    ptx_type_of(ps->parts[last - 1], (uint32_t)strlen(ps->parts[last - 1]), &dt) < 0 || dt.size != 4))
		return ptx_unsupported(ps);
	for (uint32_t i = 2; i < last - set; i++) {
		if (is(ps->parts[i], "and or xor") && !bool_op)
			bool_op = ps->parts[i];
		else if (!strcmp(ps->parts[i], "ftz"))
			ftz = true;
		else
			return ptx_unsupported(ps);
	}
	snprintf(name, sizeof name, "setp.%.8s.%.8s", ps->parts[1], ps->parts[last]);
	int op = ptx_lookup(ps, name);
	uint32_t k = ps->paired ? 2 : 1;
	if (op < 0 || (set && ps->paired) || ps->nops != k + 2 + (bool_op != NULL))
		return ptx_unsupported(ps);
	if (ptx_use(ps, &ps->ops_[k], t, &a) < 0 || ptx_use(ps, &ps->ops_[k + 1], t, &b) < 0 ||
	    (bool_op && ptx_use(ps, &ps->ops_[k + 2], type_pred, &c) < 0) ||
	    ptx_def(ps, &ps->ops_[0], &d) < 0 || (ps->paired && ptx_def(ps, &ps->ops_[1], &q) < 0))
		return -1;
	for (uint32_t i = 0; i < k; i++)
		if (ps->ops_[i].kind == O_SLOT && (ps->ops_[i].type.kind == K_PRED) == set)
			return ptx_error(ps, "a result of the wrong kind");
	if (ftz && t.size == 4 && t.kind == K_FLOAT && (flush(ps, &a) < 0 || flush(ps, &b) < 0))
		return -1;
	/* d may be the same register as c: only the last step writes it */
	bool direct = !set && !bool_op && !ps->paired;
	cmp = direct ? d : ptx_slot_new(ps);
	if (cmp == UINT32_MAX || !ptx_emit(ps, (unsigned)op, cmp, a, b, 0))
		return -1;
	if (direct)
		return 0;
	unsigned bop = !bool_op ? OP_COUNT
		       : !strcmp(bool_op, "and") ? OP_and_pred
		       : !strcmp(bool_op, "or")	 ? OP_or_pred
						 : OP_xor_pred;
	uint32_t ncmp = ptx_slot_new(ps), res = set ? ptx_slot_new(ps) : d;
	if (ncmp == UINT32_MAX || res == UINT32_MAX)
		return ptx_error(ps, "out of memory");
	if (ps->paired && (!ptx_emit(ps, OP_not_pred, ncmp, cmp, 0, 0) ||
			   (bool_op && !ptx_emit(ps, bop, ncmp, ncmp, c, 0))))
		return -1;
	if (!ptx_emit(ps, bool_op ? bop : OP_mov_pred, res, cmp, c, 0) ||
	    (ps->paired && !ptx_emit(ps, OP_mov_pred, q, ncmp, 0, 0)))
		return -1;
	if (!set)
		return 0;
	uint32_t yes = ptx_slot_const(ps, dt.kind == K_FLOAT ? 0x3f800000 : 0xffffffff), no = ptx_slot_const(ps, 0);
	return yes != UINT32_MAX && no != UINT32_MAX && ptx_emit(ps, OP_selp_b32, d, yes, no, res) ? 0 : -1;
}

/* mov.b64 d, {a, b}; mov.b64 {a, b}, d */
static int compile_pack(struct ptx_parse *ps, struct ptx_type t)
{
	bool pack = ps->ops_[1].kind == O_VEC;
	struct ptx_opnd *v = &ps->ops_[pack ? 1 : 0], *whole = &ps->ops_[pack ? 0 : 1];
	uint32_t s[4] = { 0 }, w, n = v->n;
	if (whole->kind == O_VEC || (n != 2 && n != 4) || t.kind == K_PRED || t.size / n < 1)
		return ptx_unsupported(ps);
	uint8_t part = (uint8_t)(t.size / n);
	unsigned op = part == 1 && n == 4   ? OP_pack4x8
		      : part == 2 && n == 4 ? OP_pack4x16
		      : part == 2 && n == 2 ? OP_pack2x16
		      : part == 4 && n == 2 ? OP_pack2x32
					    : OP_COUNT;
	if (op == OP_COUNT)
		return ptx_unsupported(ps);
	struct ptx_type pt = { part, K_BITS };
	if (pack) {
		if (ptx_def(ps, whole, &w) < 0)
			return -1;
		for (uint32_t i = 0; i < n; i++)
			if (ptx_use(ps, &v->vec[i], pt, &s[i]) < 0)
				return -1;
		struct ptx_insn *in = ptx_emit(ps, op, w, s[0], s[1], s[2]);
		if (in)
			in->e = s[3];
		return in ? 0 : -1;
	}
	if (ptx_use(ps, whole, t, &w) < 0)
		return -1;
	/* a part may be the register that is taken apart */
	uint32_t copy = ptx_slot_new(ps);
	if (copy == UINT32_MAX || !ptx_emit(ps, OP_mov_b64, copy, w, 0, 0))
		return ptx_error(ps, "out of memory");
	for (uint32_t i = 0; i < n; i++) {
		if (ptx_def(ps, &v->vec[i], &s[i]) < 0)
			return -1;
		struct ptx_insn *in = ptx_emit(ps, OP_part, s[i], copy, 0, 0);
		if (!in)
			return -1;
		in->aux = (uint16_t)(i * part * 8);
		in->imm = (int64_t)((1ull << part * 8) - 1);
	}
	return 0;
}

static int compile_mov(struct ptx_parse *ps, struct ptx_type t)
{
	if (ps->nops != 2)
		return ptx_unsupported(ps);
	struct ptx_opnd *src = &ps->ops_[1];
	if (src->kind == O_VEC || ps->ops_[0].kind == O_VEC)
		return compile_pack(ps, t);
	if (src->kind == O_LABEL && src->text[0] == '%') {
		uint32_t d;
		bool hi = src->len > 3 && !memcmp(src->text + src->len - 3, "_hi", 3);
		if (ptx_def(ps, &ps->ops_[0], &d) < 0)
			return -1;
		struct ptx_insn *in = ptx_emit(ps, src->text[1] == 'c' ? OP_clock : OP_globaltimer, d, 0, 0, 0);
		if (in)
			in->aux = hi;
		return in ? 0 : -1;
	}
	char name[16];
	struct mods none = { 0 };
	if (t.kind == K_PRED)
		snprintf(name, sizeof name, "mov.pred");
	else
		snprintf(name, sizeof name, "mov.b%u", t.size * 8u);
	int op = ptx_lookup(ps, name);
	return op < 0 || ps->nparts != 2 ? ptx_unsupported(ps) : compile_row(ps, op, t, &none);
}

static int compile_plain(struct ptx_parse *ps)
{
	struct ptx_type t;
	struct mods m;
	char name[64];
	const char *last = ps->parts[ps->nparts - 1], *first = ps->parts[0];
	/* prmt's mode stands after its type */
	if (!strcmp(first, "prmt") && ps->nparts == 3)
		last = ps->parts[1];
	if (ps->nparts < 2 || ptx_type_of(last, (uint32_t)strlen(last), &t) < 0)
		return ptx_unsupported(ps);
	if (!strcmp(first, "mov"))
		return compile_mov(ps, t);
	if (!strcmp(first, "selp") && ps->nparts == 2) {
		memset(&m, 0, sizeof m);
		snprintf(name, sizeof name, "selp.b%u", t.size * 8u);
	} else if (!strcmp(first, "slct")) {
		struct ptx_type dt;
		bool ftz = ps->nparts == 4 && !strcmp(ps->parts[1], "ftz");
		const char *dtype = ps->parts[ps->nparts - 2];
		if (ps->nparts != 3u + ftz || ptx_type_of(dtype, (uint32_t)strlen(dtype), &dt) < 0)
			return ptx_unsupported(ps);
		/* -0 counts as not below zero, so flushing a negative subnormal changes the choice */
		memset(&m, 0, sizeof m);
		if (ftz)
			return ptx_unsupported(ps);
		snprintf(name, sizeof name, "slct.b%u.%s", dt.size * 8u, last);
	} else if (plain_name(ps, &m, t, name, sizeof name) < 0) {
		return ptx_unsupported(ps);
	}
	int op = ptx_lookup(ps, name);
	return op < 0 ? ptx_unsupported(ps) : compile_row(ps, op, t, &m);
}

static int compile_unguarded(struct ptx_parse *ps)
{
	const char *first = ps->parts[0];
	bool done = false;
	int rc = ptx_compile_mem(ps, &done);
	if (rc < 0 || done)
		return rc;
	rc = ptx_compile_flow(ps, &done);
	if (rc < 0 || done)
		return rc;
	if (!strcmp(first, "cvt"))
		return ptx_compile_cvt(ps);
	if (!strcmp(first, "setp") || !strcmp(first, "set"))
		return compile_compare(ps, first[3] == 0);
	return compile_plain(ps);
}

int ptx_compile(struct ptx_parse *ps)
{
	if (split(ps) < 0)
		return -1;
	/* a guarded branch is one instruction; anything else is skipped as a whole */
	if (ps->guard.kind == O_NONE || !strcmp(ps->parts[0], "bra"))
		return compile_unguarded(ps);
	uint32_t at = ps->f->ncode;
	if (!ptx_emit(ps, ps->guard.not_ ? OP_skip_if : OP_skip_unless, 0, ps->guard.slot, 0, 0))
		return -1;
	ps->guard.kind = O_NONE;
	if (compile_unguarded(ps) < 0)
		return -1;
	ps->f->code[at].imm = (int64_t)(ps->f->ncode - at);
	return 0;
}
