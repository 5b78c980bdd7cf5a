/* Floating-point instructions and conversions against C. Rounding modes are checked against exact
 * intermediate results rounded by hand; halves against the compiler's _Float16. */
#include <math.h>
#include <stdbool.h>

#include "ptx_run.h"

#define REF(name, ...)                                                                                        \
	static uint64_t name(uint64_t a, uint64_t b, uint64_t c)                                              \
	{                                                                                                     \
		(void)a, (void)b, (void)c;                                                                    \
		return (uint64_t)(__VA_ARGS__);                                                               \
	}

static float f(uint64_t v)
{
	uint32_t u = (uint32_t)v;
	float x;
	memcpy(&x, &u, 4);
	return x;
}

static double d(uint64_t v)
{
	double x;
	memcpy(&x, &v, 8);
	return x;
}

static uint64_t uf(float x)
{
	uint32_t u;
	memcpy(&u, &x, 4);
	return isnan(x) ? 0x7fffffff : u;
}

static uint64_t ud(double x)
{
	uint64_t u;
	memcpy(&u, &x, 8);
	return isnan(x) ? 0x7ff8000000000000 : u;
}

/* The f32 on the wanted side of the exact @x. */
static uint64_t round_to(long double x, char mode)
{
	float n = (float)x;
	if (isnan(n) || isinf((double)x) || x == 0)
		return uf(n);
	bool down = mode == 'm' || (mode == 'z' && x > 0), up = mode == 'p' || (mode == 'z' && x < 0);
	if (down && n > x)
		n = nextafterf(n, -INFINITY);
	if (up && n < x)
		n = nextafterf(n, INFINITY);
	return uf(n == 0 ? copysignf(0, (float)(x > 0 ? 1 : -1)) : n);
}

REF(add, uf(f(a) + f(b)))
REF(sub, uf(f(a) - f(b)))
REF(mul, uf(f(a) * f(b)))
REF(div_, uf(f(a) / f(b)))
REF(fma_, uf(fmaf(f(a), f(b), f(c))))
REF(mul_rz, round_to((long double)f(a) * f(b), 'z'))
REF(mul_rm, round_to((long double)f(a) * f(b), 'm'))
REF(mul_rp, round_to((long double)f(a) * f(b), 'p'))
REF(addd, ud(d(a) + d(b)))
REF(subd, ud(d(a) - d(b)))
REF(muld, ud(d(a) * d(b)))
REF(divd, ud(d(a) / d(b)))
REF(fmad, ud(fma(d(a), d(b), d(c))))
REF(sqrt_, uf(sqrtf(f(a))))
REF(sqrtd, ud(sqrt(d(a))))
REF(rcp, uf(1.0f / f(a)))
REF(rcpd, ud(1.0 / d(a)))
REF(ex2, uf((float)exp2(f(a))))
REF(lg2, uf((float)log2(f(a))))
REF(neg, a ^ 0x80000000)
REF(abs_, a & 0x7fffffff)
REF(negd, a ^ 0x8000000000000000)
REF(copysign_, (b & 0x7fffffff) | (a & 0x80000000))

/* fminf and fmaxf leave the order of zeros open. */
static uint64_t least(float x, float y, bool max)
{
	if (isnan(x) || isnan(y))
		return uf(isnan(x) ? y : x);
	if (x == 0 && y == 0)
		return uf((signbit(x) != 0) == max ? y : x);
	return uf(max ? fmaxf(x, y) : fminf(x, y));
}
REF(min_, least(f(a), f(b), false))
REF(max_, least(f(a), f(b), true))
REF(mind, ud(isnan(d(a)) ? d(b) : isnan(d(b)) ? d(a) : d(a) == 0 && d(b) == 0 ? (signbit(d(a)) ? d(a) : d(b)) : fmin(d(a), d(b))))

static float z(uint64_t v)
{
	return fpclassify(f(v)) == FP_SUBNORMAL ? copysignf(0, f(v)) : f(v);
}
REF(add_ftz, uf(z(uf(z(a) + z(b)))))
REF(mul_ftz, uf(z(uf(z(a) * z(b)))))
REF(fma_ftz, uf(z(uf(fmaf(z(a), z(b), z(c))))))
REF(lt_ftz, z(a) < z(b))
REF(add_sat, isnan(f(a) + f(b)) ? 0 : uf(f(a) + f(b) > 1 ? 1 : f(a) + f(b) > 0 ? f(a) + f(b) : 0))

REF(eq, f(a) == f(b))
REF(ne, f(a) < f(b) || f(a) > f(b))
REF(lt, f(a) < f(b))
REF(ge, f(a) >= f(b))
REF(equ, isunordered(f(a), f(b)) || f(a) == f(b))
REF(neu, isunordered(f(a), f(b)) || f(a) != f(b))
REF(ltu, isunordered(f(a), f(b)) || f(a) < f(b))
REF(leu, isunordered(f(a), f(b)) || f(a) <= f(b))
REF(gtu, isunordered(f(a), f(b)) || f(a) > f(b))
REF(geu, isunordered(f(a), f(b)) || f(a) >= f(b))
REF(num, !isunordered(f(a), f(b)))
REF(nan_, isunordered(f(a), f(b)))
REF(ltd, d(a) < d(b))
REF(neud, isunordered(d(a), d(b)) || d(a) != d(b))

/* conversions */
static uint64_t to_int(long double x, int bits, bool sign)
{
	if (isnan(x))
		return 0;
	long double top = ldexpl(1, sign ? bits - 1 : bits), bottom = sign ? -top : 0;
	if (x >= top)
		return sign ? (1ull << (bits - 1)) - 1 : bits == 64 ? ~0ull : (1ull << bits) - 1;
	return x <= bottom ? (sign ? ~0ull << (bits - 1) : 0) : sign ? (uint64_t)(int64_t)x : (uint64_t)x;
}
REF(f2s32, to_int(truncl(f(a)), 32, true))
REF(f2u32, to_int(truncl(f(a)), 32, false))
REF(f2s64, to_int(truncl(f(a)), 64, true))
REF(f2u64, to_int(truncl(f(a)), 64, false))
REF(f2s32_rni, to_int(rintl(f(a)), 32, true))
REF(f2s32_rmi, to_int(floorl(f(a)), 32, true))
REF(f2s32_rpi, to_int(ceill(f(a)), 32, true))
REF(f2u8, to_int(truncl(f(a)), 8, false))
REF(f2s16, to_int(rintl(f(a)), 16, true))
REF(d2s32, to_int(truncl(d(a)), 32, true))
REF(d2u64_rpi, to_int(ceill(d(a)), 64, false))
REF(d2s64_rni, to_int(rintl(d(a)), 64, true))
REF(s32f, round_to((int32_t)a, 'n'))
REF(u32f_rz, round_to((uint32_t)a, 'z'))
REF(s64f, round_to((int64_t)a, 'n'))
REF(u64f, round_to(a, 'n'))
REF(u64f_rz, round_to(a, 'z'))
REF(s64f_rm, round_to((int64_t)a, 'm'))
REF(u64f_rp, round_to(a, 'p'))
REF(s32d, ud((int32_t)a))
REF(u64d, ud((double)a))
REF(s8f, uf((int8_t)a))
REF(fd, ud(f(a)))
REF(df, uf((float)d(a)))
REF(df_rz, round_to(d(a), 'z'))
REF(df_rm, round_to(d(a), 'm'))
REF(df_rp, round_to(d(a), 'p'))
REF(rni, uf(rintf(f(a))))
REF(rzi, uf(truncf(f(a))))
REF(rmid, ud(floor(d(a))))
REF(fsat, isnan(f(a)) ? 0 : uf(f(a) > 1 ? 1 : f(a) > 0 ? f(a) : 0))
REF(bits, a)

static uint64_t half_of(float x)
{
	_Float16 h = (_Float16)x;
	uint16_t u;
	memcpy(&u, &h, 2);
	return isnan(x) ? 0x7fff : u;
}
static uint64_t of_half(uint64_t v)
{
	uint16_t u = (uint16_t)v;
	_Float16 h;
	memcpy(&h, &u, 2);
	return uf((float)h);
}
REF(f2h, half_of(f(a)))
REF(h2f, of_half(a))

static const struct row rows[] = {
	{ "add.rn.f32 %d, %a, %b", "fff", add }, { "add.f32 %d, %a, %b", "fff", add }, { "sub.f32 %d, %a, %b", "fff", sub },
	{ "mul.f32 %d, %a, %b", "fff", mul }, { "div.rn.f32 %d, %a, %b", "fff", div_ }, { "fma.rn.f32 %d, %a, %b, %c", "ffff", fma_ },
	{ "mul.rz.f32 %d, %a, %b", "fff", mul_rz }, { "mul.rm.f32 %d, %a, %b", "fff", mul_rm }, { "mul.rp.f32 %d, %a, %b", "fff", mul_rp },
	{ "add.f64 %d, %a, %b", "ddd", addd }, { "sub.rn.f64 %d, %a, %b", "ddd", subd }, { "mul.f64 %d, %a, %b", "ddd", muld },
	{ "div.rn.f64 %d, %a, %b", "ddd", divd }, { "fma.rn.f64 %d, %a, %b, %c", "dddd", fmad },
	{ "sqrt.rn.f32 %d, %a", "ff", sqrt_ }, { "sqrt.rn.f64 %d, %a", "dd", sqrtd }, { "rcp.rn.f32 %d, %a", "ff", rcp },
	{ "rcp.rn.f64 %d, %a", "dd", rcpd }, { "ex2.approx.f32 %d, %a", "ff", ex2 }, { "lg2.approx.f32 %d, %a", "ff", lg2 },
	{ "neg.f32 %d, %a", "ff", neg }, { "abs.f32 %d, %a", "ff", abs_ }, { "neg.f64 %d, %a", "dd", negd },
	{ "copysign.f32 %d, %a, %b", "fff", copysign_ },
	{ "min.f32 %d, %a, %b", "fff", min_ }, { "max.f32 %d, %a, %b", "fff", max_ }, { "min.f64 %d, %a, %b", "ddd", mind },
	{ "add.ftz.f32 %d, %a, %b", "fff", add_ftz }, { "mul.rn.ftz.f32 %d, %a, %b", "fff", mul_ftz },
	{ "fma.rn.ftz.f32 %d, %a, %b, %c", "ffff", fma_ftz }, { "add.sat.f32 %d, %a, %b", "fff", add_sat },
	{ "setp.lt.ftz.f32 %d, %a, %b", "pff", lt_ftz },
	{ "setp.eq.f32 %d, %a, %b", "pff", eq }, { "setp.ne.f32 %d, %a, %b", "pff", ne }, { "setp.lt.f32 %d, %a, %b", "pff", lt },
	{ "setp.ge.f32 %d, %a, %b", "pff", ge }, { "setp.equ.f32 %d, %a, %b", "pff", equ }, { "setp.neu.f32 %d, %a, %b", "pff", neu },
	{ "setp.ltu.f32 %d, %a, %b", "pff", ltu }, { "setp.leu.f32 %d, %a, %b", "pff", leu }, { "setp.gtu.f32 %d, %a, %b", "pff", gtu },
	{ "setp.geu.f32 %d, %a, %b", "pff", geu }, { "setp.num.f32 %d, %a, %b", "pff", num }, { "setp.nan.f32 %d, %a, %b", "pff", nan_ },
	{ "setp.lt.f64 %d, %a, %b", "pdd", ltd }, { "setp.neu.f64 %d, %a, %b", "pdd", neud },
	{ "cvt.rzi.s32.f32 %d, %a", "rf", f2s32 }, { "cvt.rzi.u32.f32 %d, %a", "rf", f2u32 }, { "cvt.rzi.s64.f32 %d, %a", "lf", f2s64 },
	{ "cvt.rzi.u64.f32 %d, %a", "lf", f2u64 }, { "cvt.rni.s32.f32 %d, %a", "rf", f2s32_rni }, { "cvt.rmi.s32.f32 %d, %a", "rf", f2s32_rmi },
	{ "cvt.rpi.s32.f32 %d, %a", "rf", f2s32_rpi }, { "cvt.rzi.u8.f32 %d, %a", "rf", f2u8 }, { "cvt.rni.s16.f32 %d, %a", "wf", f2s16 },
	{ "cvt.rzi.s32.f64 %d, %a", "rd", d2s32 }, { "cvt.rpi.u64.f64 %d, %a", "ld", d2u64_rpi }, { "cvt.rni.s64.f64 %d, %a", "ld", d2s64_rni },
	{ "cvt.rn.f32.s32 %d, %a", "fr", s32f }, { "cvt.rz.f32.u32 %d, %a", "fr", u32f_rz }, { "cvt.rn.f32.s64 %d, %a", "fl", s64f },
	{ "cvt.rn.f32.u64 %d, %a", "fl", u64f }, { "cvt.rz.f32.u64 %d, %a", "fl", u64f_rz }, { "cvt.rm.f32.s64 %d, %a", "fl", s64f_rm },
	{ "cvt.rp.f32.u64 %d, %a", "fl", u64f_rp }, { "cvt.rn.f64.s32 %d, %a", "dr", s32d }, { "cvt.rn.f64.u64 %d, %a", "dl", u64d },
	{ "cvt.rn.f32.s8 %d, %a", "fr", s8f }, { "cvt.f64.f32 %d, %a", "df", fd }, { "cvt.rn.f32.f64 %d, %a", "fd", df },
	{ "cvt.rz.f32.f64 %d, %a", "fd", df_rz }, { "cvt.rm.f32.f64 %d, %a", "fd", df_rm }, { "cvt.rp.f32.f64 %d, %a", "fd", df_rp },
	{ "cvt.rni.f32.f32 %d, %a", "ff", rni }, { "cvt.rzi.f32.f32 %d, %a", "ff", rzi }, { "cvt.rmi.f64.f64 %d, %a", "dd", rmid },
	{ "cvt.sat.f32.f32 %d, %a", "ff", fsat }, { "mov.f32 %d, %a", "ff", bits }, { "mov.b32 %d, %a", "rf", bits },
	{ "cvt.rn.f16.f32 %d, %a", "wf", f2h }, { "cvt.f32.f16 %d, %a", "fw", h2f },
};

int main(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		run_row(&rows[i]);
	return tap_done();
}
