/* Integer, logic, bit and comparison instructions against C. The references are written in another way
 * than the interpreter where there is one: 128-bit sums, loops over bits. */
#include <stdbool.h>

#include "ptx_run.h"

#define REF(name, ...)                                                                                        \
	static uint64_t name(uint64_t a, uint64_t b, uint64_t c)                                              \
	{                                                                                                     \
		(void)a, (void)b, (void)c;                                                                    \
		return (uint64_t)(__VA_ARGS__);                                                               \
	}
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef __int128 s128;
typedef unsigned __int128 u128;

REF(add, a + b)
REF(sub, a - b)
REF(minus7, a - 7)
REF(mul, a * b)
REF(mad, a * b + c)
REF(hi_u16, (a * b) >> 16)
REF(hi_s16, ((s64)(s16)a * (s16)b) >> 16)
REF(hi_u32, (a * b) >> 32)
REF(hi_s32, ((s64)(s32)a * (s32)b) >> 32)
REF(hi_u64, ((u128)a * b) >> 64)
REF(hi_s64, ((s128)(s64)a * (s64)b) >> 64)
REF(madhi_u32, ((a * b) >> 32) + c)
REF(madhi_s32, (((s64)(s32)a * (s32)b) >> 32) + (s64)c)
REF(madhi_u64, (u64)(((u128)a * b) >> 64) + c)
REF(wide_u16, a *b)
REF(wide_s16, (s64)(s16)a * (s16)b)
REF(wide_u32, a *b)
REF(wide_s32, (s64)(s32)a * (s32)b)
REF(madwide_u32, a *b + c)
REF(madwide_s32, (u64)((s64)(s32)a * (s32)b) + c)
REF(div_u32, b ? a / b : ~0ull)
REF(div_s32, (s32)b ? (s64)(s32)a / (s32)b : -1)
REF(div_u64, b ? a / b : ~0ull)
REF(div_s64, b ? (s128)(s64)a / (s64)b : -1)
REF(rem_u32, b ? a % b : a)
REF(rem_s32, (s32)b ? (s64)(s32)a % (s32)b : (s64)a)
REF(rem_u64, b ? a % b : a)
REF(rem_s64, b ? (s128)(s64)a % (s64)b : (s128)a)
REF(div_s16, (s16)b ? (s64)(s16)a / (s16)b : -1)
REF(rem_u16, b ? a % b : a)
REF(min_u32, a < b ? a : b)
REF(max_s32, (s32)a > (s32)b ? a : b)
REF(min_s64, (s64)a < (s64)b ? a : b)
REF(max_u64, a > b ? a : b)
REF(min_s16, (s16)a < (s16)b ? a : b)
REF(neg, -a)
REF(abs_s32, (s32)a < 0 ? -a : a)
REF(abs_s64, (s64)a < 0 ? -a : a)
REF(sad_u32, c + (a < b ? b - a : a - b))
REF(sad_s32, c + (u64)((s32)a < (s32)b ? (s64)(s32)b - (s32)a : (s64)(s32)a - (s32)b))
REF(and_, a &b)
REF(or_, a | b)
REF(xor_, a ^ b)
REF(not_, ~a)
REF(cnot, a == 0)
REF(shl32, b > 31 ? 0 : a << b)
REF(shl64, b > 63 ? 0 : a << b)
REF(shr_u32, b > 31 ? 0 : a >> b)
REF(shr_u64, b > 63 ? 0 : a >> b)
REF(shr_s32, (s32)a >> (b > 31 ? 31 : b))
REF(shr_s64, (s64)a >> (b > 63 ? 63 : b))
REF(shr_s16, (s16)a >> (b > 15 ? 15 : b))
REF(shl16, b > 15 ? 0 : a << b)
REF(mul24, (a & 0xffffff) * (b & 0xffffff))
REF(mul24s, (s64)((s32)(a << 8) >> 8) * ((s32)(b << 8) >> 8))
REF(mul24hi, ((a & 0xffffff) * (b & 0xffffff)) >> 16)
REF(addsat, (s64)(s32)a + (s32)b > INT32_MAX ? INT32_MAX : (s64)(s32)a + (s32)b < INT32_MIN ? INT32_MIN : (s64)(s32)a + (s32)b)
REF(subsat, (s64)(s32)a - (s32)b > INT32_MAX ? INT32_MAX : (s64)(s32)a - (s32)b < INT32_MIN ? INT32_MIN : (s64)(s32)a - (s32)b)

static uint64_t count(uint64_t v)
{
	uint64_t n = 0;
	for (; v; v &= v - 1)
		n++;
	return n;
}
static uint64_t lead(uint64_t v, int w)
{
	uint64_t n = 0;
	while (w-- && !(v >> w & 1))
		n++;
	return n;
}
static uint64_t top(uint64_t v, int w, bool sign, bool shift)
{
	if (sign && (v >> (w - 1) & 1))
		v = ~v & (w == 64 ? ~0ull : (1ull << w) - 1);
	for (int k = w - 1; k >= 0; k--)
		if (v >> k & 1)
			return shift ? (uint64_t)(w - 1 - k) : (uint64_t)k;
	return UINT32_MAX;
}
static uint64_t reverse(uint64_t v, int w)
{
	uint64_t r = 0;
	for (int k = 0; k < w; k++)
		r |= (v >> k & 1) << (w - 1 - k);
	return r;
}
/* Bit by bit, as the manual defines it. */
static uint64_t field(uint64_t a, uint64_t b, uint64_t c, int w, bool sign)
{
	int pos = (int)(b & 0xff), len = (int)(c & 0xff), msb = w - 1;
	int sb = pos + len - 1 < msb ? pos + len - 1 : msb;
	uint64_t s = sign && len ? a >> sb & 1 : 0, r = 0;
	for (int k = 0; k <= msb; k++)
		r |= (k < len && pos + k <= msb ? a >> (pos + k) & 1 : s) << k;
	return r;
}
static uint64_t insert(uint64_t a, uint64_t b, int pos, int len, int w)
{
	for (int k = 0; k < len && pos + k < w; k++)
		b = (b & ~(1ull << (pos + k))) | (a >> k & 1) << (pos + k);
	return b;
}
static uint64_t permute(uint64_t a, uint64_t b, uint64_t c)
{
	uint8_t byte[8];
	uint32_t r = 0;
	for (int k = 0; k < 4; k++) {
		byte[k] = (uint8_t)(a >> 8 * k);
		byte[k + 4] = (uint8_t)(b >> 8 * k);
	}
	for (int k = 0; k < 4; k++) {
		unsigned sel = c >> 4 * k & 15;
		uint8_t v = byte[sel & 7];
		r |= (uint32_t)(sel & 8 ? (uint8_t)((int8_t)v >> 7) : v) << 8 * k;
	}
	return r;
}
REF(popc, count(a))
REF(clz32, lead(a, 32))
REF(clz64, lead(a, 64))
REF(brev32, reverse(a, 32))
REF(brev64, reverse(a, 64))
REF(bfind_u32, top(a, 32, false, false))
REF(bfind_s32, top(a, 32, true, false))
REF(bfind_u64, top(a, 64, false, false))
REF(bfind_s64, top(a, 64, true, false))
REF(bfind_sa, top(a, 32, true, true))
REF(bfe_u32, field(a, b, c, 32, false))
REF(bfe_s32, field(a, b, c, 32, true))
REF(bfe_u64, field(a, b, c, 64, false))
REF(bfe_s64, field(a, b, c, 64, true))
REF(bfi_5_7, insert(a, b, 5, 7, 32))
REF(bfi_c_9, insert(a, b, (int)(c & 0xff), 9, 32))
REF(bfi64_c, insert(a, b, (int)(c & 0xff), 33, 64))
REF(prmt, permute(a, b, c))
REF(lop3_maj, (a & b) | (b & c) | (a & c))
REF(lop3_xor, a ^ b ^ c)
REF(lop3_sel, (a & b) | (~a & c))
REF(shfl_wrap, c % 32 ? (b << c % 32) | (a >> (32 - c % 32)) : b)
REF(shfl_clamp, c > 31 ? a : c ? (b << c) | (a >> (32 - c)) : b)
REF(shfr_wrap, c % 32 ? (a >> c % 32) | (b << (32 - c % 32)) : a)
REF(shfr_clamp, c > 31 ? b : c ? (a >> c) | (b << (32 - c)) : a)
REF(dp4a_s, (u64)((s64)(s8)a * (s8)b + (s64)(s8)(a >> 8) * (s8)(b >> 8) + (s64)(s8)(a >> 16) * (s8)(b >> 16) +
		  (s64)(s8)(a >> 24) * (s8)(b >> 24)) + c)

REF(eq, a == b)
REF(ne, a != b)
REF(lt_s32, (s32)a < (s32)b)
REF(le_s64, (s64)a <= (s64)b)
REF(gt_s16, (s16)a > (s16)b)
REF(lt, a < b)
REF(ge, a >= b)
REF(gt, a > b)
REF(le, a <= b)
REF(lt_and, a < b && c)
REF(lt_or, a < b || c)
REF(lt_xor, (a < b) ^ c)
REF(lt_andnot, a < b && !c)
REF(sel, c ? a : b)
REF(set_lt, a < b ? ~0ull : 0)
REF(set_ltf, a < b ? 0x3f800000 : 0)
REF(slct, (s32)c >= 0 ? a : b)

/* carries: low word, then what addc makes of nothing */
REF(carry_add, (a + b) >> 32)
REF(carry_sub, a < b ? 0xffffffff : 0)
REF(carry_add64, ((u128)a + b) >> 64)
REF(carry_mad, ((u64)(u32)(a * b) + c) >> 32)

REF(cvt_u8, (uint8_t)a)
REF(cvt_s8, (s8)a)
REF(cvt_s16, (s16)a)
REF(cvt_s32, (s32)a)
REF(same, a)
REF(sat_s8_s32, (s32)a > 127 ? 127 : (s32)a < -128 ? -128 : (s32)a)
REF(sat_u8_s32, (s32)a > 255 ? 255 : (s32)a < 0 ? 0 : (s32)a)
REF(sat_u16_u32, a > 65535 ? 65535 : a)
REF(sat_s32_u64, a > INT32_MAX ? INT32_MAX : a)
REF(sat_u32_s64, (s64)a < 0 ? 0 : a > UINT32_MAX ? UINT32_MAX : a)
REF(pack, a | b << 32)
REF(low, (u32)a)
REF(high, a >> 32)

static const struct row rows[] = {
	{ "add.s32 %d, %a, %b", "rrr", add }, { "add.u64 %d, %a, %b", "lll", add }, { "add.s16 %d, %a, %b", "www", add },
	{ "sub.u32 %d, %a, %b", "rrr", sub }, { "sub.s64 %d, %a, %b", "lll", sub }, { "add.s32 %d, %a, -7", "rr", minus7 },
	{ "mul.lo.s32 %d, %a, %b", "rrr", mul }, { "mul.lo.u64 %d, %a, %b", "lll", mul }, { "mul.lo.u16 %d, %a, %b", "www", mul },
	{ "mul.hi.u16 %d, %a, %b", "www", hi_u16 }, { "mul.hi.s16 %d, %a, %b", "www", hi_s16 },
	{ "mul.hi.u32 %d, %a, %b", "rrr", hi_u32 }, { "mul.hi.s32 %d, %a, %b", "rrr", hi_s32 },
	{ "mul.hi.u64 %d, %a, %b", "lll", hi_u64 }, { "mul.hi.s64 %d, %a, %b", "lll", hi_s64 },
	{ "mul.wide.u16 %d, %a, %b", "rww", wide_u16 }, { "mul.wide.s16 %d, %a, %b", "rww", wide_s16 },
	{ "mul.wide.u32 %d, %a, %b", "lrr", wide_u32 }, { "mul.wide.s32 %d, %a, %b", "lrr", wide_s32 },
	{ "mad.lo.s32 %d, %a, %b, %c", "rrrr", mad }, { "mad.lo.u64 %d, %a, %b, %c", "llll", mad },
	{ "mad.hi.u32 %d, %a, %b, %c", "rrrr", madhi_u32 }, { "mad.hi.s32 %d, %a, %b, %c", "rrrr", madhi_s32 },
	{ "mad.hi.u64 %d, %a, %b, %c", "llll", madhi_u64 },
	{ "mad.wide.u32 %d, %a, %b, %c", "lrrl", madwide_u32 }, { "mad.wide.s32 %d, %a, %b, %c", "lrrl", madwide_s32 },
	{ "mul24.lo.u32 %d, %a, %b", "rrr", mul24 }, { "mul24.lo.s32 %d, %a, %b", "rrr", mul24s },
	{ "mul24.hi.u32 %d, %a, %b", "rrr", mul24hi },
	{ "div.u32 %d, %a, %b", "rrr", div_u32 }, { "div.s32 %d, %a, %b", "rrr", div_s32 },
	{ "div.u64 %d, %a, %b", "lll", div_u64 }, { "div.s64 %d, %a, %b", "lll", div_s64 },
	{ "div.s16 %d, %a, %b", "www", div_s16 }, { "rem.u16 %d, %a, %b", "www", rem_u16 },
	{ "rem.u32 %d, %a, %b", "rrr", rem_u32 }, { "rem.s32 %d, %a, %b", "rrr", rem_s32 },
	{ "rem.u64 %d, %a, %b", "lll", rem_u64 }, { "rem.s64 %d, %a, %b", "lll", rem_s64 },
	{ "min.u32 %d, %a, %b", "rrr", min_u32 }, { "max.s32 %d, %a, %b", "rrr", max_s32 },
	{ "min.s64 %d, %a, %b", "lll", min_s64 }, { "max.u64 %d, %a, %b", "lll", max_u64 },
	{ "min.s16 %d, %a, %b", "www", min_s16 },
	{ "neg.s32 %d, %a", "rr", neg }, { "neg.s64 %d, %a", "ll", neg }, { "abs.s32 %d, %a", "rr", abs_s32 },
	{ "abs.s64 %d, %a", "ll", abs_s64 }, { "sad.u32 %d, %a, %b, %c", "rrrr", sad_u32 },
	{ "sad.s32 %d, %a, %b, %c", "rrrr", sad_s32 },
	{ "add.sat.s32 %d, %a, %b", "rrr", addsat }, { "sub.sat.s32 %d, %a, %b", "rrr", subsat },

	{ "and.b32 %d, %a, %b", "rrr", and_ }, { "or.b64 %d, %a, %b", "lll", or_ }, { "xor.b32 %d, %a, %b", "rrr", xor_ },
	{ "not.b64 %d, %a", "ll", not_ }, { "not.b16 %d, %a", "ww", not_ }, { "cnot.b32 %d, %a", "rr", cnot },
	{ "and.pred %d, %a, %b", "ppp", and_ }, { "or.pred %d, %a, %b", "ppp", or_ }, { "xor.pred %d, %a, %b", "ppp", xor_ },
	{ "not.pred %d, %a", "pp", not_ }, { "mov.pred %d, %a", "pp", same },
	{ "shl.b16 %d, %a, %b", "wwr", shl16 }, { "shl.b32 %d, %a, %b", "rrr", shl32 }, { "shl.b64 %d, %a, %b", "llr", shl64 },
	{ "shr.u32 %d, %a, %b", "rrr", shr_u32 }, { "shr.b64 %d, %a, %b", "llr", shr_u64 },
	{ "shr.s16 %d, %a, %b", "wwr", shr_s16 }, { "shr.s32 %d, %a, %b", "rrr", shr_s32 }, { "shr.s64 %d, %a, %b", "llr", shr_s64 },
	{ "popc.b32 %d, %a", "rr", popc }, { "popc.b64 %d, %a", "rl", popc }, { "clz.b32 %d, %a", "rr", clz32 },
	{ "clz.b64 %d, %a", "rl", clz64 }, { "brev.b32 %d, %a", "rr", brev32 }, { "brev.b64 %d, %a", "ll", brev64 },
	{ "bfind.u32 %d, %a", "rr", bfind_u32 }, { "bfind.s32 %d, %a", "rr", bfind_s32 },
	{ "bfind.u64 %d, %a", "rl", bfind_u64 }, { "bfind.s64 %d, %a", "rl", bfind_s64 },
	{ "bfind.shiftamt.s32 %d, %a", "rr", bfind_sa },
	{ "bfe.u32 %d, %a, %b, %c", "rrrr", bfe_u32 }, { "bfe.s32 %d, %a, %b, %c", "rrrr", bfe_s32 },
	{ "bfe.u64 %d, %a, %b, %c", "llrr", bfe_u64 }, { "bfe.s64 %d, %a, %b, %c", "llrr", bfe_s64 },
	{ "bfi.b32 %d, %a, %b, 5, 7", "rrr", bfi_5_7 }, { "bfi.b32 %d, %a, %b, %c, 9", "rrrr", bfi_c_9 },
	{ "bfi.b64 %d, %a, %b, %c, 33", "lllr", bfi64_c },
	{ "prmt.b32 %d, %a, %b, %c", "rrrr", prmt },
	{ "lop3.b32 %d, %a, %b, %c, 0xe8", "rrrr", lop3_maj }, { "lop3.b32 %d, %a, %b, %c, 0x96", "rrrr", lop3_xor },
	{ "lop3.b32 %d, %a, %b, %c, 0xca", "rrrr", lop3_sel },
	{ "shf.l.wrap.b32 %d, %a, %b, %c", "rrrr", shfl_wrap }, { "shf.l.clamp.b32 %d, %a, %b, %c", "rrrr", shfl_clamp },
	{ "shf.r.wrap.b32 %d, %a, %b, %c", "rrrr", shfr_wrap }, { "shf.r.clamp.b32 %d, %a, %b, %c", "rrrr", shfr_clamp },
	{ "dp4a.s32.s32 %d, %a, %b, %c", "rrrr", dp4a_s },

	{ "setp.eq.s32 %d, %a, %b", "prr", eq }, { "setp.ne.b64 %d, %a, %b", "pll", ne }, { "setp.lt.s32 %d, %a, %b", "prr", lt_s32 },
	{ "setp.le.s64 %d, %a, %b", "pll", le_s64 }, { "setp.gt.s16 %d, %a, %b", "pww", gt_s16 },
	{ "setp.lt.u32 %d, %a, %b", "prr", lt }, { "setp.lo.u64 %d, %a, %b", "pll", lt }, { "setp.hs.u32 %d, %a, %b", "prr", ge },
	{ "setp.hi.u16 %d, %a, %b", "pww", gt }, { "setp.ls.u32 %d, %a, %b", "prr", le },
	{ "setp.lt.and.u32 %d, %a, %b, %c", "prrp", lt_and }, { "setp.lt.or.u32 %d, %a, %b, %c", "prrp", lt_or },
	{ "setp.lt.xor.u32 %d, %a, %b, %c", "prrp", lt_xor }, { "setp.lt.and.u32 %d, %a, %b, !%c", "prrp", lt_andnot },
	{ "setp.ge.u32 _|%d, %a, %b", "prr", lt },
	{ "selp.b32 %d, %a, %b, %c", "rrrp", sel }, { "selp.u64 %d, %a, %b, %c", "lllp", sel },
	{ "set.lt.u32.u32 %d, %a, %b", "rrr", set_lt }, { "set.lt.f32.u32 %d, %a, %b", "rrr", set_ltf },
	{ "slct.u32.s32 %d, %a, %b, %c", "rrrr", slct },

	{ "{ .reg .b32 %q; add.cc.u32 %q, %a, %b; addc.u32 %d, 0, 0; }", "rrr", carry_add },
	{ "{ .reg .b32 %q; sub.cc.u32 %q, %a, %b; subc.u32 %d, 0, 0; }", "rrr", carry_sub },
	{ "{ .reg .b64 %q; add.cc.u64 %q, %a, %b; addc.u64 %d, 0, 0; }", "lll", carry_add64 },
	{ "{ .reg .b32 %q; mad.lo.cc.u32 %q, %a, %b, %c; addc.u32 %d, 0, 0; }", "rrrr", carry_mad },

	{ "cvt.u32.u8 %d, %a", "rr", cvt_u8 }, { "cvt.u8.u32 %d, %a", "rr", cvt_u8 }, { "cvt.s32.s8 %d, %a", "rr", cvt_s8 },
	{ "cvt.s64.s8 %d, %a", "ll", cvt_s8 }, { "cvt.s64.s16 %d, %a", "lw", cvt_s16 }, { "cvt.s64.s32 %d, %a", "lr", cvt_s32 },
	{ "cvt.u64.s32 %d, %a", "lr", cvt_s32 }, { "cvt.u64.u32 %d, %a", "lr", same }, { "cvt.u32.u64 %d, %a", "rl", low },
	{ "cvt.u16.u64 %d, %a", "wl", same }, { "cvt.sat.s8.s32 %d, %a", "rr", sat_s8_s32 },
	{ "cvt.sat.u8.s32 %d, %a", "rr", sat_u8_s32 }, { "cvt.sat.u16.u32 %d, %a", "rr", sat_u16_u32 },
	{ "cvt.sat.s32.u64 %d, %a", "rl", sat_s32_u64 }, { "cvt.sat.u32.s64 %d, %a", "rl", sat_u32_s64 },
	{ "mov.b64 %d, {%a, %b}", "lrr", pack }, { "mov.b64 {%d, _}, %a", "rl", low }, { "mov.b64 {_, %d}, %a", "rl", high },
	{ "mov.u32 %d, %a", "rr", same },
};


int main(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		run_row(&rows[i]);
	return tap_done();
}
