/* ptx_compile_cvt.c - cvt[.rnd][.ftz][.sat].DTYPE.ATYPE, from smaller steps. */
#include "ptx_int.h"

#include <fenv.h>
#include <string.h>

struct cvt {
	struct ptx_type d, a;
	int round;	    /* mode of fesetround() for an inexact result */
	unsigned integral;  /* OP of rounding to an integer, f32's, or 0 */
	bool ftz, sat, d16, a16, dbf, abf, rounded;
	uint32_t slot, out;
};

static int step(struct ptx_parse *ps, struct cvt *c, unsigned op, unsigned aux)
{
	struct ptx_insn *i = ptx_emit(ps, op, c->out, c->slot, 0, 0);
	if (!i)
		return -1;
	i->aux = (uint16_t)aux;
	c->slot = c->out;
	return 0;
}

static int rounded_step(struct ptx_parse *ps, struct cvt *c, unsigned op)
{
	struct ptx_insn *i = c->round ? ptx_emit(ps, OP_round, 0, 0, 0, 0) : NULL;
	if (i)
		i->aux = (uint16_t)c->round;
	if ((c->round && !i) || step(ps, c, op, 0) < 0)
		return -1;
	i = c->round ? ptx_emit(ps, OP_round, 0, 0, 0, 0) : NULL;
	if (i)
		i->aux = FE_TONEAREST;
	return c->round && !i ? -1 : 0;
}

static unsigned extend(struct ptx_type t)
{
	bool s = t.kind == K_SIGNED;
	return t.size == 1 ? (s ? OP_ext_s8 : OP_ext_u8)
	       : t.size == 2 ? (s ? OP_ext_s16 : OP_ext_u16)
	       : t.size == 4 ? (s ? OP_ext_s32 : OP_ext_u32)
			     : OP_mov_b64;
}

/* How ptx_int_of_f64() and ptx_sat_*() name an integer type: size, and 16 for signed. */
static unsigned int_code(struct ptx_type t)
{
	return t.size | (t.kind == K_SIGNED ? 16u : 0);
}

static int int_to_int(struct ptx_parse *ps, struct cvt *c)
{
	if (c->sat) {
		if (step(ps, c, extend(c->a), 0) < 0)
			return -1;
		return step(ps, c, c->a.kind == K_SIGNED ? OP_clamp_s64 : OP_clamp_u64, int_code(c->d));
	}
	if (c->d.size <= c->a.size)
		return step(ps, c, extend(c->d), 0);
	if (step(ps, c, extend(c->a), 0) < 0)
		return -1;
	/* a register wider than the destination type gets the extension of that type */
	return c->d.size < 8 && c->d.kind != c->a.kind ? step(ps, c, extend(c->d), 0) : 0;
}

static int int_to_float(struct ptx_parse *ps, struct cvt *c)
{
	bool s = c->a.kind == K_SIGNED;
	if (!c->rounded && c->d.size == 4)
		return ptx_unsupported(ps);
	if (step(ps, c, extend(c->a), 0) < 0)
		return -1;
	if (rounded_step(ps, c, c->d.size == 4 ? (s ? OP_f32_s64 : OP_f32_u64) : (s ? OP_f64_s64 : OP_f64_u64)) < 0)
		return -1;
	return c->sat ? step(ps, c, c->d.size == 4 ? OP_sat_f32 : OP_sat_f64, 0) : 0;
}

static int float_to_int(struct ptx_parse *ps, struct cvt *c)
{
	if (!c->integral)
		return ptx_unsupported(ps);
	if (c->ftz && c->a.size == 4 && step(ps, c, OP_ftz_f32, 0) < 0)
		return -1;
	/* the f64 row follows the f32 row at a fixed distance; truncation is what the conversion does */
	unsigned op = c->a.size == 4 ? c->integral : c->integral - OP_rint_f32 + OP_rint_f64;
	if (c->integral != OP_trunc_f32 && step(ps, c, op, 0) < 0)
		return -1;
	return step(ps, c, c->a.size == 4 ? OP_int_f32 : OP_int_f64, int_code(c->d));
}

static int float_to_float(struct ptx_parse *ps, struct cvt *c)
{
	/* half floats pass through f32, which holds each exactly */
	if (c->a16 && step(ps, c, c->abf ? OP_f32_bf16 : OP_f32_f16, 0) < 0)
		return -1;
	if (c->d.size == 2) {
		if (c->sat || c->integral || c->round || c->a.size == 8 || (c->a.size == 2 && c->a16 && c->dbf != c->abf))
			return ptx_unsupported(ps);
		if (c->ftz && !c->a16 && step(ps, c, OP_ftz_f32, 0) < 0)
			return -1;
		return step(ps, c, c->dbf ? OP_bf16_f32 : OP_f16_f32, 0);
	}
	unsigned from = c->a16 ? 4 : c->a.size;
	if (c->ftz && from == 4 && step(ps, c, OP_ftz_f32, 0) < 0)
		return -1;
	if (from == 4 && c->d.size == 8) {
		if (step(ps, c, OP_f64_f32, 0) < 0)
			return -1;
	} else if (from == 8 && c->d.size == 4) {
		if (!c->rounded || rounded_step(ps, c, OP_f32_f64) < 0)
			return c->rounded ? -1 : ptx_unsupported(ps);
	} else if (c->integral) {
		if (step(ps, c, from == 4 ? c->integral : c->integral - OP_rint_f32 + OP_rint_f64, 0) < 0)
			return -1;
	} else if (step(ps, c, OP_mov_b64, 0) < 0) {
		return -1;
	}
	if (c->ftz && c->d.size == 4 && step(ps, c, OP_ftz_f32, 0) < 0)
		return -1;
	return c->sat ? step(ps, c, c->d.size == 4 ? OP_sat_f32 : OP_sat_f64, 0) : 0;
}

static int parse_mods(struct ptx_parse *ps, struct cvt *c)
{
	static const struct {
		const char *name;
		int round;
		unsigned integral;
	} rounds[] = {
		{ "rn", 0, 0 },		    { "rz", FE_TOWARDZERO, 0 },	 { "rm", FE_DOWNWARD, 0 },
		{ "rp", FE_UPWARD, 0 },	    { "rni", 0, OP_rint_f32 },	 { "rzi", 0, OP_trunc_f32 },
		{ "rmi", 0, OP_floor_f32 }, { "rpi", 0, OP_ceil_f32 },
	};
	for (uint32_t i = 1; i + 2 < ps->nparts; i++) {
		bool hit = false;
		for (size_t k = 0; k < sizeof rounds / sizeof *rounds; k++) {
			if (!strcmp(ps->parts[i], rounds[k].name)) {
				c->round = rounds[k].round;
				c->integral = rounds[k].integral;
				c->rounded = hit = true;
			}
		}
		if (!strcmp(ps->parts[i], "ftz"))
			c->ftz = hit = true;
		else if (!strcmp(ps->parts[i], "sat"))
			c->sat = hit = true;
		if (!hit)
			return ptx_unsupported(ps);
	}
	return 0;
}

static bool is_half(const char *name, bool *bf, struct ptx_type *t)
{
	*bf = !strcmp(name, "bf16");
	if (!*bf && strcmp(name, "f16") != 0)
		return false;
	*t = (struct ptx_type){ 2, K_FLOAT };
	return true;
}

int ptx_compile_cvt(struct ptx_parse *ps)
{
	struct cvt c = { 0 };
	uint32_t d;
	if (ps->nparts < 3 || ps->nops != 2)
		return ptx_unsupported(ps);
	const char *dn = ps->parts[ps->nparts - 2], *an = ps->parts[ps->nparts - 1];
	if (ptx_type_of(dn, (uint32_t)strlen(dn), &c.d) < 0 || ptx_type_of(an, (uint32_t)strlen(an), &c.a) < 0)
		return ptx_unsupported(ps);
	c.d16 = is_half(dn, &c.dbf, &c.d);
	c.a16 = is_half(an, &c.abf, &c.a);
	bool df = c.d.kind == K_FLOAT, af = c.a.kind == K_FLOAT;
	if (c.d.kind == K_PRED || c.a.kind == K_PRED || c.d.kind == K_BITS || c.a.kind == K_BITS ||
	    (df != af && (c.d16 || c.a16)))
		return ptx_unsupported(ps);
	if (parse_mods(ps, &c) < 0 || ptx_use(ps, &ps->ops_[1], c.a, &c.slot) < 0 ||
	    ptx_def(ps, &ps->ops_[0], &d) < 0)
		return -1;
	c.out = d;
	return df ? (af ? float_to_float(ps, &c) : int_to_float(ps, &c))
		  : (af ? float_to_int(ps, &c) : int_to_int(ps, &c));
}
