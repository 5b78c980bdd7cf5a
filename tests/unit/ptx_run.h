/* ptx_run.h - one PTX instruction over many operands, against a reference in C.
 *
 * A row names the instruction, the register types of its operands, and a function that computes the same.
 * A kernel is made around it: each thread loads its operands, executes, stores the result. The values are
 * the edges of the type, all combinations of them, and random ones. */
#ifndef PTX_RUN_H
#define PTX_RUN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../sim/ptx.h"
#include "tap.h"

typedef uint64_t ref_fn(uint64_t a, uint64_t b, uint64_t c);

struct row {
	const char *text;  /* "add.s32 %d, %a, %b" */
	const char *types; /* of d, a, b, c: w (16), r (32), l (64), f (f32), d (f64), p (predicate) */
	ref_fn *ref;
};

#define DEV_BASE 0x700000000ull

__attribute__((unused)) static uint64_t rnd(uint64_t *s)
{
	*s += 0x9e3779b97f4a7c15ull;
	uint64_t x = *s;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* The edge values of one register type; the unused bits above are noise on purpose. */
__attribute__((unused)) static size_t edges(char type, uint64_t *out)
{
	static const uint64_t ints[] = { 0, 1, 2, 3, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 0x7f, 0x80, 0xff, 0x100,
					 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffff, 0x800000, 0x7fffffff, 0x80000000,
					 0xfffffffe, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
					 0x8000000000000000, 0xfffffffffffffffe, 0xffffffffffffffff,
					 0x123456789abcdef0 };
	static const uint32_t floats[] = { 0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x3f800000, 0xbf800000,
					   0x3f000000, 0x3fc00000, 0x40200000, 0xc0200000, 0x3f7fffff, 0x4b800000,
					   0x4effffff, 0x4f000000, 0xcf000000, 0xcf000001, 0x4f800000, 0x5f000000,
					   0x5f800000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
					   0x33800000, 0x38800000 };
	static const double doubles[] = { 0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1, -1, 0.5, 1.5, 2.5, -2.5,
					  0.1, 16777217, 2147483647.5, -2147483649.0, 4294967295.5, 9.3e18, 1.9e19,
					  1e300, -1e300, 1e-300, 3.4028235677973366e38, 1e-40 };
	size_t n = 0;
	if (type == 'f') {
		for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
			out[n++] = floats[i] | 0xdeadbeef00000000;
		return n;
	}
	if (type == 'd') {
		for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
			memcpy(&out[n++], &doubles[i], 8);
		out[n++] = 0x7ff0000000000000;
		out[n++] = 0xfff0000000000000;
		out[n++] = 0x7ff8000000000000;
		return n;
	}
	if (type == 'p') {
		out[0] = 0;
		out[1] = 1;
		return 2;
	}
	memcpy(out, ints, sizeof ints);
	return sizeof ints / sizeof *ints;
}

__attribute__((unused)) static const char *reg_type(char t)
{
	return t == 'w' ? "b16" : t == 'r' ? "b32" : t == 'f' ? "f32" : t == 'd' ? "f64" : t == 'p' ? "pred" : "b64";
}

/* Text that loads operand @v of type @t from the address in %x at @off. */
__attribute__((unused)) static int load_text(char *o, size_t cap, char v, char t, int off)
{
	if (t == 'p')
		return snprintf(o, cap, "ld.global.u8 %%k, [%%x+%d];\nsetp.ne.u16 %%%c, %%k, 0;\n", off, v);
	return snprintf(o, cap, "ld.global.%s %%%c, [%%x+%d];\n", reg_type(t), v, off);
}

__attribute__((unused)) static void row_text(const struct row *r, char *o, size_t cap)
{
	const char *names = "dabc";
	size_t n = (size_t)snprintf(o, cap,
				    ".version 7.0\n.target sm_80\n.address_size 64\n"
				    ".visible .entry k(.param .u64 pin, .param .u64 pout)\n{\n.reg .b64 %%x, %%y, %%t, %%z;\n"
				    ".reg .b32 %%i, %%j;\n.reg .b16 %%k;\n");
	for (size_t i = 0; r->types[i]; i++)
		n += (size_t)snprintf(o + n, cap - n, ".reg .%s %%%c;\n", reg_type(r->types[i]), names[i]);
	n += (size_t)snprintf(o + n, cap - n,
			      "mov.u32 %%i, %%ctaid.x;\nmov.u32 %%j, %%ntid.x;\nmul.lo.u32 %%i, %%i, %%j;\n"
			      "mov.u32 %%j, %%tid.x;\nadd.u32 %%i, %%i, %%j;\nmul.wide.u32 %%t, %%i, 24;\n"
			      "ld.param.u64 %%x, [pin];\nadd.u64 %%x, %%x, %%t;\nmul.wide.u32 %%t, %%i, 8;\n"
			      "ld.param.u64 %%y, [pout];\nadd.u64 %%y, %%y, %%t;\nmov.u64 %%z, 0;\nst.global.u64 [%%y], %%z;\n");
	for (size_t i = 1; r->types[i]; i++)
		n += (size_t)load_text(o + n, cap - n, names[i], r->types[i], (int)(i - 1) * 8);
	n += (size_t)snprintf(o + n, cap - n, "%s%s\n", r->text, r->text[strlen(r->text) - 1] == '}' && *r->text == '{' ? "" : ";");
	if (r->types[0] == 'p')
		n += (size_t)snprintf(o + n, cap - n, "selp.u32 %%i, 1, 0, %%d;\nst.global.u32 [%%y], %%i;\n");
	else
		n += (size_t)snprintf(o + n, cap - n, "st.global.%s [%%y], %%d;\n", reg_type(r->types[0]));
	snprintf(o + n, cap - n, "ret;\n}\n");
}

__attribute__((unused)) static uint64_t only(char t, uint64_t v)
{
	return t == 'w' ? (uint16_t)v : t == 'r' || t == 'f' ? (uint32_t)v : t == 'p' ? (v & 1) : v;
}

/* Run one row. One TAP line. */
__attribute__((unused)) static void run_row(const struct row *r)
{
	static char text[8192];
	static uint64_t e[3][64];
	size_t n[3] = { 1, 1, 1 }, args = strlen(r->types) - 1, extra = 500;
	uint64_t seed = 42;
	struct ptx_module *m;
	struct ck_err err;
	row_text(r, text, sizeof text);
	if (ptx_module_load(&m, text, strlen(text), &err) < 0) {
		ok(0, "%s: %s", r->text, err.msg);
		return;
	}
	for (size_t i = 0; i < args; i++)
		n[i] = edges(r->types[1 + i], e[i]);
	size_t total = n[0] * n[1] * n[2] + extra, k = 0;
	uint64_t *mem = calloc(total, 32), *out = mem + total * 3;
	for (size_t i = 0; i < n[0]; i++)
		for (size_t j = 0; j < n[1]; j++)
			for (size_t l = 0; l < n[2]; l++, k += 3) {
				mem[k] = e[0][i];
				mem[k + 1] = e[1][j];
				mem[k + 2] = e[2][l];
			}
	for (; k < total * 3; k++)
		mem[k] = r->types[1 + k % 3 % (args ? args : 1)] == 'p' ? rnd(&seed) & 1 : rnd(&seed);
	struct ptx_region region = { DEV_BASE, DEV_BASE + total * 32, mem, 0 };
	uint64_t params[2] = { DEV_BASE, DEV_BASE + total * 24 };
	/* whole blocks only, so that no thread is past the arrays; two workers, as launches have */
	struct ptx_launch l = { .grid = { (uint32_t)(total / 64), 1, 1 }, .block = { 64, 1, 1 }, .params = params,
				.params_size = sizeof params, .space = { &region, 1 }, .workers = 2 };
	struct ptx_fault fault;
	int rc = ptx_launch(ptx_module_func(m, "k"), &l, &fault);
	size_t bad = 0, done = (size_t)l.grid[0] * 64;
	for (size_t i = 0; i < done && rc == 0; i++) {
		uint64_t a = only(r->types[1], mem[i * 3]), b = args > 1 ? only(r->types[2], mem[i * 3 + 1]) : 0;
		uint64_t c = args > 2 ? only(r->types[3], mem[i * 3 + 2]) : 0;
		uint64_t want = only(r->types[0], r->ref(a, b, c)), got = only(r->types[0], out[i]);
		if (got != want && !bad++)
			printf("# %s a=%llx b=%llx c=%llx: got %llx, want %llx\n", r->text, (unsigned long long)a,
			       (unsigned long long)b, (unsigned long long)c, (unsigned long long)got,
			       (unsigned long long)want);
	}
	char why[256];
	ok(rc == 0 && !bad && done, "%s (%zu operands)%s", r->text, done, rc ? ptx_fault_text(&fault, why, sizeof why) : "");
	free(mem);
	ptx_module_free(m);
}

#endif
