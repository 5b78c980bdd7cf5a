/* ptx_alu.h - the arithmetic that ptx_ops.def names. Included by ptx_exec.c alone. */
#ifndef PTX_ALU_H
#define PTX_ALU_H

#include <fenv.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t ptx_u16;
typedef int16_t ptx_s16;
typedef uint32_t ptx_u32;
typedef int32_t ptx_s32;
typedef uint64_t ptx_u64;
typedef int64_t ptx_s64;
typedef unsigned __int128 ptx_u128;
typedef __int128 ptx_s128;
typedef uint16_t ptx_b16;
typedef uint32_t ptx_b32;
typedef uint64_t ptx_b64;
typedef float ptx_f32;
typedef double ptx_f64;

static inline float ptx_get_f32(uint64_t v)
{
	uint32_t u = (uint32_t)v;
	float f;
	memcpy(&f, &u, 4);
	return f;
}

static inline double ptx_get_f64(uint64_t v)
{
	double d;
	memcpy(&d, &v, 8);
	return d;
}

/* A NaN that arithmetic makes is the GPU's, whatever x86 would propagate: the compiler may swap operands,
 * and results must not depend on it. */
static inline uint64_t ptx_bits_f32(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	return f != f ? 0x7fffffffu : u;
}

static inline uint64_t ptx_bits_f64(double d)
{
	uint64_t u;
	memcpy(&u, &d, 8);
	return d != d ? 0x7ff8000000000000ull : u;
}

#define G_u16(s) ((uint16_t)R[s])
#define G_s16(s) ((int16_t)R[s])
#define G_u32(s) ((uint32_t)R[s])
#define G_s32(s) ((int32_t)R[s])
#define G_u64(s) (R[s])
#define G_s64(s) ((int64_t)R[s])
#define G_b16	 G_u16
#define G_b32	 G_u32
#define G_b64	 G_u64
#define G_f32(s) ptx_get_f32(R[s])
#define G_f64(s) ptx_get_f64(R[s])
#define S_u16(s, v) R[s] = (uint16_t)(v)
#define S_s16(s, v) R[s] = (uint16_t)(v)
#define S_u32(s, v) R[s] = (uint32_t)(v)
#define S_s32(s, v) R[s] = (uint32_t)(v)
#define S_u64(s, v) R[s] = (uint64_t)(v)
#define S_s64(s, v) R[s] = (uint64_t)(v)
#define S_f32(s, v) R[s] = ptx_bits_f32(v)
#define S_f64(s, v) R[s] = ptx_bits_f64(v)

#define PTX_U24(s) ((uint64_t)(R[s] & 0xffffff))
#define PTX_S24(s) ((int64_t)(int32_t)((uint32_t)R[s] << 8) >> 8)
#define PTX_CARRY(ut, u2, w, ...)                                                                             \
	ptx_##u2 r_ = (__VA_ARGS__);                                                                          \
	S_##ut(i->d, r_);                                                                                     \
	R[0] = (uint64_t)(r_ >> w) & 1
#define PTX_MULLO(ut) ((ptx_##ut)(G_##ut(i->a) * G_##ut(i->b)))
#define PTX_MULHI(t, ut, wt, w) ((ptx_##ut)((ptx_##wt)((ptx_##wt)G_##t(i->a) * G_##t(i->b)) >> w))

/* The quotient that overflows wraps, as on the GPU; x86 would trap. */
#define PTX_DIVS(t, ut)                                                                                       \
	static inline ptx_##t ptx_div_##t(ptx_##t x, ptx_##t y)                                               \
	{                                                                                                     \
		return y == -1 ? (ptx_##t)(0u - (ptx_##ut)x) : (ptx_##t)(x / y);                              \
	}                                                                                                     \
	static inline ptx_##t ptx_rem_##t(ptx_##t x, ptx_##t y)                                               \
	{                                                                                                     \
		return y == -1 ? 0 : (ptx_##t)(x % y);                                                        \
	}
PTX_DIVS(s16, u16)
PTX_DIVS(s32, u32)
PTX_DIVS(s64, u64)
#undef PTX_DIVS
#define ptx_div_u16(x, y) ((x) / (y))
#define ptx_div_u32(x, y) ((x) / (y))
#define ptx_div_u64(x, y) ((x) / (y))
#define ptx_rem_u16(x, y) ((x) % (y))
#define ptx_rem_u32(x, y) ((x) % (y))
#define ptx_rem_u64(x, y) ((x) % (y))

static inline int32_t ptx_clamp_s32(int64_t v)
{
	return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}

static inline uint64_t ptx_brev(uint64_t v)
{
	v = (v >> 1 & 0x5555555555555555ull) | (v & 0x5555555555555555ull) << 1;
	v = (v >> 2 & 0x3333333333333333ull) | (v & 0x3333333333333333ull) << 2;
	v = (v >> 4 & 0x0f0f0f0f0f0f0f0full) | (v & 0x0f0f0f0f0f0f0f0full) << 4;
	return __builtin_bswap64(v);
}

/* Position of the highest one, or with @width the shift that brings it to the top. */
static inline uint32_t ptx_bfind(uint64_t v, uint32_t width)
{
	if (!v)
		return UINT32_MAX;
	uint32_t pos = 63 - (uint32_t)__builtin_clzll(v);
	return width ? width - 1 - pos : pos;
}

static inline uint64_t ptx_bfe(uint64_t a, uint64_t pos, uint64_t len, uint32_t w, bool sign)
{
	pos &= 0xff;
	len &= 0xff;
	if (!len)
		return 0;
	/* bits past the operand's own are its sign, so the sign comes from its last bit at most */
	uint64_t top = pos + len - 1 < w - 1 ? pos + len - 1 : w - 1;
	uint64_t fill = sign && (a >> top & 1) ? ~0ull : 0;
	uint64_t v = pos >= w ? fill : (a >> pos) | (pos && fill ? ~0ull << (w - pos) : 0);
	if (w == 32 && pos == 0 && fill)
		v |= ~0ull << 32;
	return len >= 64 ? v : (v & ((1ull << len) - 1)) | (fill & ~((1ull << len) - 1));
}

static inline uint64_t ptx_bfi(uint64_t a, uint64_t b, uint64_t pos, uint64_t len, uint32_t w)
{
	pos &= 0xff;
	len &= 0xff;
	if (!len || pos >= w)
		return b;
	uint64_t mask = (len >= 64 ? ~0ull : (1ull << len) - 1) << pos;
	return (b & ~mask) | (a << pos & mask);
}

static inline uint32_t ptx_lop3(uint32_t a, uint32_t b, uint32_t c, uint64_t lut)
{
	uint32_t r = 0;
	for (unsigned k = 0; k < 8; k++)
		if (lut >> k & 1)
			r |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
	return r;
}

static inline uint32_t ptx_prmt(uint32_t a, uint32_t b, uint32_t c, unsigned mode)
{
	uint64_t bytes = (uint64_t)b << 32 | a;
	uint32_t r = 0, n = c & 3;
	for (unsigned k = 0; k < 4; k++) {
		uint32_t sel;
		switch (mode) {
		case 0: sel = c >> (4 * k) & 15; break;
		case 1: sel = n + k; break;			/* f4e */
		case 2: sel = (n - k) & 7; break;		/* b4e */
		case 3: sel = n; break;				/* rc8 */
		case 4: sel = k > n ? k : n; break;		/* ecl */
		case 5: sel = k < n ? k : n; break;		/* ecr */
		default: sel = (n & 1) * 2 + (k & 1); break;	/* rc16 */
		}
		uint32_t byte = (uint32_t)(bytes >> (8 * (sel & 7))) & 0xff;
		if (sel & 8)
			byte = byte & 0x80 ? 0xff : 0;
		r |= byte << (8 * k);
	}
	return r;
}

static inline uint32_t ptx_shf_l(uint32_t lo, uint32_t hi, uint32_t n)
{
	return n >= 32 ? lo : (uint32_t)((((uint64_t)hi << 32 | lo) << n) >> 32);
}

static inline uint32_t ptx_shf_r(uint32_t lo, uint32_t hi, uint32_t n)
{
	return (uint32_t)(((uint64_t)hi << 32 | lo) >> n);
}

static inline uint32_t ptx_dp4a(uint32_t a, uint32_t b, uint32_t c, bool sa, bool sb)
{
	for (unsigned k = 0; k < 32; k += 8) {
		int32_t x = sa ? (int8_t)(a >> k) : (uint8_t)(a >> k);
		int32_t y = sb ? (int8_t)(b >> k) : (uint8_t)(b >> k);
		c += (uint32_t)(x * y);
	}
	return c;
}

/* Of two zeros the negative one is less; of a number and a NaN the number is the result. */
#define PTX_MINMAX(t)                                                                                         \
	static inline ptx_##t ptx_min_##t(ptx_##t x, ptx_##t y)                                               \
	{                                                                                                     \
		return x != x ? y : y != y ? x : x == y ? (signbit(x) ? x : y) : x < y ? x : y;               \
	}                                                                                                     \
	static inline ptx_##t ptx_max_##t(ptx_##t x, ptx_##t y)                                               \
	{                                                                                                     \
		return x != x ? y : y != y ? x : x == y ? (signbit(x) ? y : x) : x > y ? x : y;               \
	}
PTX_MINMAX(f32)
PTX_MINMAX(f64)
#undef PTX_MINMAX

static inline uint64_t ptx_ftz_f32(uint64_t v)
{
	return v & 0x7f800000 ? v : v & 0x80000000;
}

static inline uint64_t ptx_ftz_f64(uint64_t v)
{
	return v;
}

/* @code: bytes of the type, and 16 where it is signed. */
static inline uint64_t ptx_sat_s64(int64_t v, unsigned code)
{
	unsigned bits = (code & 15) * 8;
	if (code & 16) {
		int64_t max = bits == 64 ? INT64_MAX : (1ll << (bits - 1)) - 1;
		return (uint64_t)(v > max ? max : v < -max - 1 ? -max - 1 : v);
	}
	uint64_t max = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
	return v < 0 ? 0 : (uint64_t)v > max ? max : (uint64_t)v;
}

static inline uint64_t ptx_sat_u64(uint64_t v, unsigned code)
{
	unsigned bits = (code & 15) * 8 - (code & 16 ? 1 : 0);
	uint64_t max = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
	return v > max ? max : v;
}

/* Truncates; out of range stops at the end, NaN is 0. */
static inline uint64_t ptx_int_of_f64(double v, unsigned code)
{
	unsigned bits = (code & 15) * 8;
	if (v != v)
		return 0;
	if (code & 16) {
		double lim = ldexp(1, (int)bits - 1);
		int64_t max = bits == 64 ? INT64_MAX : (1ll << (bits - 1)) - 1;
		return (uint64_t)(v >= lim ? max : v < -lim ? -max - 1 : (int64_t)v);
	}
	double lim = ldexp(1, (int)bits);
	return v >= lim ? (bits == 64 ? UINT64_MAX : (1ull << bits) - 1) : v <= 0 ? 0 : (uint64_t)v;
}

static inline uint64_t ptx_f32_of_f16(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff;
	if (e == 31)
		return m ? 0x7fffffffu : sign | 0x7f800000u;
	if (e)
		return sign | (e + 112) << 23 | m << 13;
	uint32_t bits = (uint32_t)ptx_bits_f32((float)m * 0x1p-24f);
	return sign | bits;
}

/* To nearest, ties to even. */
static inline uint64_t ptx_f16_of_f32(float f)
{
	uint32_t u = (uint32_t)ptx_bits_f32(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
	if (a > 0x7f800000)
		return 0x7fff;
	if (a >= 0x477ff000) /* 65520: rounds past the largest */
		return sign | 0x7c00;
	if (a < 0x38800000) { /* below 2^-14: a multiple of 2^-24 */
		float scaled = rintf(fabsf(f) * 0x1p24f);
		return sign | (uint32_t)scaled;
	}
	a += 0xfff + (a >> 13 & 1);
	return sign | (a - 0x38000000) >> 13;
}

static inline uint64_t ptx_bf16_of_f32(uint32_t u)
{
	if ((u & 0x7fffffff) > 0x7f800000)
		return 0x7fff;
	return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

#endif
