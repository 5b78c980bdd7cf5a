/* ptx_kernel.h - whole kernels in unit tests: text in, words of memory in and out, the fault. */
#ifndef PTX_KERNEL_H
#define PTX_KERNEL_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../sim/ptx.h"
#include "tap.h"

#define HEAD	 ".version 7.0\n.target sm_52\n.address_size 64\n"
#define OUT	 0x10000000ull /* device address of the words */
#define WORDS	 4096
#define READONLY 0x20000000ull

struct kernel {
	uint32_t out[WORDS], fixed[16];
	struct ptx_fault fault;
	struct ck_err err;
	char why[512];
	uint8_t globals[4096]; /* the module's globals, one after the other from 0x30000000 on */
};

static struct kernel K;

/* Load @text, place its globals, run kernel "k" with (out, @arg). 0, or -1 with K.err or K.fault. */
__attribute__((unused)) static int run_kernel(const char *text, uint32_t blocks, uint32_t threads, uint64_t arg,
					      uint32_t dynamic, unsigned workers)
{
	struct ptx_module *m;
	memset(&K.fault, 0, sizeof K.fault);
	memset(&K.err, 0, sizeof K.err);
	memset(K.out, 0, sizeof K.out);
	if (ptx_module_load(&m, text, strlen(text), &K.err) < 0) {
		snprintf(K.why, sizeof K.why, "%.500s", K.err.msg);
		return -1;
	}
	uint64_t at = 0;
	for (size_t i = 0; i < ptx_module_global_count(m); i++) {
		ptx_module_place(m, i, 0x30000000 + at);
		at += (ptx_module_global(m, i)->size + 255) & ~255ull;
	}
	at = 0;
	for (size_t i = 0; i < ptx_module_global_count(m); i++) {
		ptx_module_global_init(m, i, K.globals + at);
		at += (ptx_module_global(m, i)->size + 255) & ~255ull;
	}
	struct ptx_region regions[] = { { OUT, OUT + sizeof K.out, K.out, 0 },
					{ READONLY, READONLY + sizeof K.fixed, K.fixed, 1 },
					{ 0x30000000, 0x30000000 + sizeof K.globals, K.globals, 0 } };
	uint64_t params[2] = { OUT, arg };
	struct ptx_func *f = ptx_module_func(m, "k");
	struct ptx_launch l = { .grid = { blocks, 1, 1 }, .block = { threads, 1, 1 }, .dynamic_shared = dynamic,
				.params = params, .params_size = sizeof params, .space = { regions, 3 }, .workers = workers };
	int rc = f ? ptx_launch(f, &l, &K.fault) : -1;
	if (rc < 0)
		ptx_fault_text(&K.fault, K.why, sizeof K.why);
	K.fault.kernel = NULL;
	ptx_module_free(m);
	return rc;
}

/* A kernel k(out, arg): %tid in %t, %ctaid in %b, the address of out[linear thread] in %o, arg in %g. */
#define KERNEL(body)                                                                                          \
	".visible .entry k(.param .u64 out, .param .u64 arg)\n{\n.reg .b32 %t, %b, %n, %i, %r<20>;\n"         \
	".reg .b64 %o, %base, %g, %rd<20>;\n.reg .pred %p<8>;\n.reg .f32 %f<4>;\n"                            \
	"mov.u32 %t, %tid.x;\nmov.u32 %b, %ctaid.x;\nmov.u32 %n, %ntid.x;\nmad.lo.u32 %i, %b, %n, %t;\n"      \
	"ld.param.u64 %base, [out];\nmad.wide.u32 %o, %i, 4, %base;\nld.param.u64 %g, [arg];\n" body          \
	"\nret;\n}\n"

/* KERNEL() around a body that is made at run time. */
__attribute__((unused)) static const char *kernel_around(const char *body)
{
	static const char frame[] = HEAD KERNEL("@@");
	static char text[8192];
	const char *at = strstr(frame, "@@");
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - frame), frame, body, at + 2);
	return text;
}

#endif
