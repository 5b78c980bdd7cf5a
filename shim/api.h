/* api.h - what expands from api.def: argument classes and parameter lists. Shared by the shim, the
 * simulated driver and the tests. */
#ifndef CK_API_H
#define CK_API_H

#include <stdint.h>

typedef int32_t ck_i32;
typedef uint64_t ck_u64;
typedef void *ck_ptr;
typedef uint8_t ck_u8;
typedef uint16_t ck_u16;
typedef float ck_f32;
typedef struct { char bytes[64]; } ck_blob64;

/* CK_PARAMS(n, (classes)) -> "ck_u64 a0, ck_ptr a1, ..."; CK_ARGS(n) -> "a0, a1, ..." */
#define CK_P0(...) void
#define CK_P1(a) ck_##a a0
#define CK_P2(a, b) CK_P1(a), ck_##b a1
#define CK_P3(a, b, c) CK_P2(a, b), ck_##c a2
#define CK_P4(a, b, c, d) CK_P3(a, b, c), ck_##d a3
#define CK_P5(a, b, c, d, e) CK_P4(a, b, c, d), ck_##e a4
#define CK_P6(a, b, c, d, e, f) CK_P5(a, b, c, d, e), ck_##f a5
#define CK_P7(a, b, c, d, e, f, g) CK_P6(a, b, c, d, e, f), ck_##g a6
#define CK_P8(a, b, c, d, e, f, g, h) CK_P7(a, b, c, d, e, f, g), ck_##h a7
#define CK_P9(a, b, c, d, e, f, g, h, i) CK_P8(a, b, c, d, e, f, g, h), ck_##i a8
#define CK_P10(a, b, c, d, e, f, g, h, i, j) CK_P9(a, b, c, d, e, f, g, h, i), ck_##j a9
#define CK_P11(a, b, c, d, e, f, g, h, i, j, k) CK_P10(a, b, c, d, e, f, g, h, i, j), ck_##k a10
#define CK_P12(a, b, c, d, e, f, g, h, i, j, k, l) \
	CK_P11(a, b, c, d, e, f, g, h, i, j, k), ck_##l a11
#define CK_P13(a, b, c, d, e, f, g, h, i, j, k, l, m) \
	CK_P12(a, b, c, d, e, f, g, h, i, j, k, l), ck_##m a12
#define CK_P14(a, b, c, d, e, f, g, h, i, j, k, l, m, n) \
	CK_P13(a, b, c, d, e, f, g, h, i, j, k, l, m), ck_##n a13
#define CK_P15(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o) \
	CK_P14(a, b, c, d, e, f, g, h, i, j, k, l, m, n), ck_##o a14
#define CK_P16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
	CK_P15(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o), ck_##p a15
#define CK_PARAMS(n, classes) CK_P##n classes

#define CK_A0
#define CK_A1 a0
#define CK_A2 CK_A1, a1
#define CK_A3 CK_A2, a2
#define CK_A4 CK_A3, a3
#define CK_A5 CK_A4, a4
#define CK_A6 CK_A5, a5
#define CK_A7 CK_A6, a6
#define CK_A8 CK_A7, a7
#define CK_A9 CK_A8, a8
#define CK_A10 CK_A9, a9
#define CK_A11 CK_A10, a10
#define CK_A12 CK_A11, a11
#define CK_A13 CK_A12, a12
#define CK_A14 CK_A13, a13
#define CK_A15 CK_A14, a14
#define CK_A16 CK_A15, a15
#define CK_ARGS(n) CK_A##n

/* Index of each entry: CK_ENTRY_cuInit, ... CK_ENTRY_COUNT */
enum ck_entry {
#define E(name, since, policy, nargs, classes) CK_ENTRY_##name,
#include "api.def"
#undef E
	CK_ENTRY_COUNT
};

#endif
