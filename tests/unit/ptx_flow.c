/* Threads, memory and control flow: barriers, warps, calls, spaces, atomics, faults. */
#include "ptx_kernel.h"

static void test_barrier(void)
{
	/* each thread reads what another wrote before the barrier */
	int rc = run_kernel(HEAD KERNEL(".shared .align 4 .b8 s[1024];\nmov.u32 %r0, s;\nmad.lo.u32 %r1, %t, 4, %r0;\n"
					"st.shared.u32 [%r1], %i;\nbar.sync 0;\nsub.u32 %r2, 255, %t;\n"
					"mad.lo.u32 %r1, %r2, 4, %r0;\nld.shared.u32 %r3, [%r1];\nst.global.u32 [%o], %r3;"),
			    4, 256, 0, 0, 2);
	int good = rc == 0;
	for (uint32_t i = 0; i < 1024; i++)
		good &= K.out[i] == i / 256 * 256 + (255 - i % 256);
	ok(good, "bar.sync: shared memory of all threads is there behind it");

	rc = run_kernel(HEAD KERNEL("setp.lt.u32 %p0, %t, 40;\n@%p0 exit;\nbar.sync 0;\nst.global.u32 [%o], 1;"), 1, 100, 0, 0, 1);
	good = rc == 0;
	for (uint32_t i = 0; i < 100; i++)
		good &= K.out[i] == (i >= 40);
	ok(good, "bar.sync does not wait for threads that have ended");

	rc = run_kernel(HEAD KERNEL("setp.lt.u32 %p0, %t, 7;\nbar.red.popc.u32 %r0, 0, %p0;\nbar.red.or.pred %p1, 0, %p0;\n"
				    "bar.red.and.pred %p2, 0, %p0;\nselp.u32 %r1, 100, 0, %p1;\nselp.u32 %r2, 1000, 0, %p2;\n"
				    "add.u32 %r0, %r0, %r1;\nadd.u32 %r0, %r0, %r2;\nst.global.u32 [%o], %r0;"), 1, 64, 0, 0, 1);
	ok(rc == 0 && K.out[0] == 107 && K.out[63] == 107, "bar.red: popc, or, and");

	/* the upper half produces and arrives, the lower half waits for it */
	rc = run_kernel(HEAD KERNEL(".shared .u32 box;\nsetp.ge.u32 %p0, %t, 32;\n@!%p0 bra WAIT;\nsetp.eq.u32 %p1, %t, 40;\n"
				    "@%p1 st.shared.u32 [box], 99;\nbar.arrive 3, 64;\nbra DONE;\nWAIT: bar.sync 3, 64;\n"
				    "ld.shared.u32 %r0, [box];\nst.global.u32 [%o], %r0;\nDONE:"), 1, 64, 0, 0, 1);
	ok(rc == 0 && K.out[0] == 99 && K.out[31] == 99 && K.out[32] == 0, "bar.arrive and bar.sync with a count");

	rc = run_kernel(HEAD KERNEL("setp.lt.u32 %p0, %t, 5;\n@%p0 bar.sync 1;\nbar.sync 2, 96;"), 1, 64, 0, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_DEADLOCK, "threads that wait for ever are a fault: %s", K.why);

	rc = run_kernel(HEAD KERNEL(".shared .u32 lock;\nsetp.eq.u32 %p0, %t, 63;\n@%p0 bra SET;\nSPIN: ld.volatile.shared.u32 %r0, [lock];\n"
				    "setp.ne.u32 %p1, %r0, 5;\n@%p1 bra SPIN;\nst.global.u32 [%o], 1;\nbra DONE;\nSET: mov.u32 %r0, 5;\n"
				    "st.shared.u32 [lock], %r0;\nDONE:"), 1, 64, 0, 0, 1);
	ok(rc == 0 && K.out[0] == 1 && K.out[62] == 1, "a thread that spins for another of its block lets it run");
}

/* The manual's description of shfl, for one lane. */
static uint32_t shuffle(char mode, uint32_t lane, uint32_t b, uint32_t c, int *pred)
{
	uint32_t bval = b & 31, cval = c & 31, mask = c >> 8 & 31;
	int max = (int)((lane & mask) | (cval & ~mask)), min = (int)(lane & mask), j;
	switch (mode) {
	case 'u': j = (int)lane - (int)bval; *pred = j >= max; break;
	case 'd': j = (int)lane + (int)bval; *pred = j <= max; break;
	case 'b': j = (int)(lane ^ bval); *pred = j <= max; break;
	default: j = min | (int)(bval & ~mask); *pred = j <= max; break;
	}
	return *pred ? (uint32_t)j : lane;
}

static void test_warp(void)
{
	static const struct {
		const char *name;
		char mode;
		uint32_t b, c;
	} rows[] = { { "up", 'u', 1, 0 },	 { "up", 'u', 3, 0x1800 },   { "down", 'd', 16, 31 }, { "down", 'd', 2, 0x181f },
		     { "bfly", 'b', 5, 31 },	 { "bfly", 'b', 12, 0x1c1f }, { "idx", 'i', 7, 31 },   { "idx", 'i', 9, 0x181f },
		     { "down", 'd', 1, 0x100f } };
	char body[512];
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		snprintf(body, sizeof body,
			 "mul.lo.u32 %%r0, %%t, 10;\nshfl.sync.%s.b32 %%r1|%%p0, %%r0, %u, %u, 0xffffffff;\n"
			 "selp.u32 %%r2, 1, 0, %%p0;\nadd.u32 %%r1, %%r1, %%r2;\nst.global.u32 [%%o], %%r1;",
			 rows[i].name, rows[i].b, rows[i].c);
		int good = run_kernel(kernel_around(body), 1, 64, 0, 0, 1) == 0, pred;
		for (uint32_t t = 0; t < 64 && good; t++) {
			uint32_t from = t / 32 * 32 + shuffle(rows[i].mode, t % 32, rows[i].b, rows[i].c, &pred);
			good = K.out[t] == from * 10 + (uint32_t)pred;
		}
		ok(good, "shfl.sync.%s %u, 0x%x %s", rows[i].name, rows[i].b, rows[i].c, K.err.msg);
	}
	int rc = run_kernel(HEAD KERNEL("and.b32 %r0, %t, 1;\nsetp.eq.u32 %p0, %r0, 1;\nvote.sync.ballot.b32 %r1, %p0, 0xffffffff;\n"
					"vote.sync.any.pred %p1, %p0, 0xffffffff;\nvote.sync.all.pred %p2, %p0, 0xffffffff;\n"
					"selp.u32 %r2, 1, 0, %p1;\n@%p2 add.u32 %r2, %r2, 10;\nadd.u32 %r1, %r1, %r2;\nst.global.u32 [%o], %r1;"),
			    1, 32, 0, 0, 1);
	ok(rc == 0 && K.out[0] == 0xaaaaaaab && K.out[31] == 0xaaaaaaab, "vote.sync: ballot, any, all");

	rc = run_kernel(HEAD KERNEL("and.b32 %r0, %t, 3;\nsetp.eq.u32 %p0, %r0, 2;\n@%p0 bra SOME;\nbra DONE;\nSOME: activemask.b32 %r1;\n"
				    "popc.b32 %r2, %r1;\nshfl.sync.idx.b32 %r3, %t, 30, 31, %r1;\nmad.lo.u32 %r2, %r2, 100, %r3;\n"
				    "st.global.u32 [%o], %r2;\nDONE:"), 1, 32, 0, 0, 1);
	ok(rc == 0 && K.out[2] == 830 && K.out[30] == 830 && K.out[0] == 0, "activemask: the lanes of a branch find each other");

	rc = run_kernel(HEAD KERNEL("shr.u32 %r0, %t, 2;\nmatch.any.sync.b32 %r1, %r0, 0xffffffff;\nredux.sync.add.u32 %r2, %t, 0xffffffff;\n"
				    "redux.sync.max.s32 %r3, %t, 0xffffffff;\nxor.b32 %r1, %r1, %r2;\nxor.b32 %r1, %r1, %r3;\n"
				    "st.global.u32 [%o], %r1;"), 1, 32, 0, 0, 1);
	ok(rc == 0 && K.out[0] == (15u ^ 496 ^ 31) && K.out[31] == (0xf0000000u ^ 496 ^ 31), "match.any, redux.sync");
}

static void test_calls(void)
{
	int rc = run_kernel(HEAD ".func (.param .b32 r) fact(.param .b32 n)\n{\n.reg .b32 %a, %b;\n.reg .pred %p;\nld.param.u32 %a, [n];\n"
			    "setp.lt.u32 %p, %a, 2;\n@%p bra ONE;\n{ .param .b32 x; .param .b32 y; sub.u32 %b, %a, 1;\nst.param.b32 [x], %b;\n"
			    "call.uni (y), fact, (x);\nld.param.b32 %b, [y]; }\nmul.lo.u32 %a, %a, %b;\nst.param.b32 [r], %a;\nret;\n"
			    "ONE: mov.u32 %a, 1;\nst.param.b32 [r], %a;\nret;\n}\n"
			    KERNEL("{ .param .b32 q; .param .b32 w; add.u32 %r0, %t, 1;\nst.param.b32 [q], %r0;\ncall.uni (w), fact, (q);\n"
				   "ld.param.b32 %r1, [w]; }\nst.global.u32 [%o], %r1;"), 1, 12, 0, 0, 1);
	ok(rc == 0 && K.out[0] == 1 && K.out[4] == 120 && K.out[11] == 479001600, "recursion: %s", rc ? K.why : "factorials");

	rc = run_kernel(HEAD ".func (.param .b32 r) f1(.param .b32 n)\n{\n.reg .b32 %a;\nld.param.u32 %a, [n];\nadd.u32 %a, %a, 100;\n"
			"st.param.b32 [r], %a;\nret;\n}\n.func (.param .b32 r) f2(.param .b32 n)\n{\n.reg .b32 %a;\nld.param.u32 %a, [n];\n"
			"mul.lo.u32 %a, %a, 3;\nst.param.b32 [r], %a;\nret;\n}\n.global .align 8 .u64 table[2] = {f1, f2};\n"
			KERNEL("PROTO: .callprototype (.param .b32 _) _ (.param .b32 _);\nand.b32 %r0, %t, 1;\nmov.u64 %rd0, table;\n"
			       "mad.wide.u32 %rd0, %r0, 8, %rd0;\nld.global.u64 %rd1, [%rd0];\n{ .param .b32 q; .param .b32 w;\n"
			       "st.param.b32 [q], %t;\ncall (w), %rd1, (q), PROTO;\nld.param.b32 %r1, [w]; }\nst.global.u32 [%o], %r1;"),
			1, 8, 0, 0, 1);
	ok(rc == 0 && K.out[2] == 102 && K.out[3] == 9, "calls through pointers from a table: %s", rc ? K.why : "");

	rc = run_kernel(HEAD ".func loop(.param .b32 n)\n{\n.local .b32 x[64];\n.reg .b32 %a;\nld.param.u32 %a, [n];\n{ .param .b32 q; st.param.b32 [q], %a;\n"
			"call.uni loop, (q); }\nret;\n}\n" KERNEL("{ .param .b32 q; st.param.b32 [q], %t;\ncall.uni loop, (q); }"), 1, 2, 0, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_STACK, "endless recursion is a fault: %s", K.why);

	rc = run_kernel(HEAD KERNEL("PROTO: .callprototype _ (.param .b32 _);\n{ .param .b32 q; st.param.b32 [q], %t;\ncall %g, (q), PROTO; }"),
			1, 1, 0x1234, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_CALL, "a call to what is no function is a fault: %s", K.why);

	rc = run_kernel(HEAD KERNEL("TS: .branchtargets A, B, C;\nrem.u32 %r0, %t, 3;\nbrx.idx %r0, TS;\nA: mov.u32 %r1, 10;\nbra DONE;\n"
				    "B: mov.u32 %r1, 20;\nbra DONE;\nC: mov.u32 %r1, 30;\nDONE: st.global.u32 [%o], %r1;"), 1, 6, 0, 0, 1);
	ok(rc == 0 && K.out[3] == 10 && K.out[4] == 20 && K.out[5] == 30, "brx.idx");
}

static void test_memory(void)
{
	int rc = run_kernel(HEAD ".const .align 4 .u32 c[4] = {11, 22, 33};\n.global .align 8 .u64 p = generic(v)+4;\n", 1, 1, 0, 0, 1);
	ok(rc < 0 && strstr(K.why, "'v' is not known"), "an initial value must be declared before: %s", K.why);

	rc = run_kernel(HEAD ".const .align 4 .u32 c[4] = {11, 22, 33};\n.global .align 4 .f32 v[2] = {0f3F800000, 2.5};\n"
			".global .align 8 .u64 p = generic(v)+4;\n"
			KERNEL("ld.const.u32 %r0, [c+4];\nld.global.u64 %rd0, [p];\nld.f32 %f0, [%rd0];\ncvt.rzi.u32.f32 %r1, %f0;\n"
			       "mad.lo.u32 %r0, %r1, 1000, %r0;\nst.global.u32 [%o], %r0;"), 1, 1, 0, 0, 1);
	ok(rc == 0 && K.out[0] == 2022, "constants, and the address of one global in another: %s", rc ? K.why : "");

	rc = run_kernel(HEAD ".extern .shared .align 16 .b8 dyn[];\n"
			KERNEL(".shared .u32 own[3];\nmov.u64 %rd0, dyn;\ncvta.shared.u64 %rd1, %rd0;\nmad.wide.u32 %rd1, %t, 4, %rd1;\nst.u32 [%rd1], %i;\n"
			       "bar.sync 0;\nisspacep.shared %p0, %rd1;\nselp.u32 %r1, 1000, 0, %p0;\nxor.b32 %r2, %t, 1;\nmov.u32 %r3, dyn;\n"
			       "mad.lo.u32 %r3, %r2, 4, %r3;\nld.shared.u32 %r4, [%r3];\nadd.u32 %r4, %r4, %r1;\nst.u32 [%o], %r4;"),
			2, 16, 0, 64, 1);
	ok(rc == 0 && K.out[0] == 1001 && K.out[17] == 1016, "dynamic shared memory, generic addresses: %s", rc ? K.why : "");

	rc = run_kernel(HEAD ".extern .shared .align 16 .b8 dyn[];\n" KERNEL("mov.u32 %r3, dyn;\nst.shared.u32 [%r3+64], %t;"), 1, 1, 0, 64, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_ADDRESS, "shared memory ends where the launch said: %s", K.why);

	rc = run_kernel(HEAD KERNEL(".local .align 16 .b8 a[64];\nmov.u64 %rd0, a;\ncvta.local.u64 %rd1, %rd0;\nadd.u32 %r0, %t, 1;\nadd.u32 %r1, %t, 2;\n"
				    "st.v4.u32 [%rd1+16], {%t, %r0, %r1, 7};\nld.local.v2.u64 {%rd2, %rd3}, [%rd0+16];\nshr.u64 %rd2, %rd2, 32;\n"
				    "cvt.u32.u64 %r3, %rd2;\ncvt.u32.u64 %r4, %rd3;\nmad.lo.u32 %r3, %r3, 1000, %r4;\nst.global.u32 [%o], %r3;"),
			1, 40, 0, 0, 1);
	ok(rc == 0 && K.out[0] == 1002 && K.out[39] == 40041, "local memory is each thread's own; vectors: %s", rc ? K.why : "");

	rc = run_kernel(HEAD KERNEL("ld.param.u32 %r0, [arg+4];\nst.global.u32 [%o], %r0;"), 1, 1, 0x1234500000000ull, 0, 1);
	ok(rc == 0 && K.out[0] == 0x12345, "part of a parameter");
}

static void test_atomics(void)
{
	int rc = run_kernel(HEAD KERNEL("atom.global.add.u32 %r0, [%base], 1;\nred.global.max.u32 [%base+4], %i;\nred.global.add.u64 [%base+8], 3;\n"
					"atom.global.inc.u32 %r1, [%base+16], 9;\nred.global.or.b32 [%base+20], %i;\ncvt.rn.f32.u32 %f0, %t;\n"
					"red.global.add.f32 [%base+24], %f0;\natom.global.cas.b32 %r2, [%base+28], 0, 77;"), 16, 256, 0, 0, 2);
	ok(rc == 0 && K.out[0] == 4096 && K.out[1] == 4095 && K.out[2] == 12288 && K.out[4] == 4096 % 10 && K.out[5] == 4095 &&
		   K.out[7] == 77, "atomics of many blocks on two workers: %s", rc ? K.why : "nothing lost");
	float sum;
	memcpy(&sum, &K.out[6], 4);
	ok(sum == 16.0f * (255 * 128), "atom.add.f32");
	rc = run_kernel(HEAD KERNEL(".shared .u32 n;\nsetp.eq.u32 %p0, %t, 0;\n@%p0 st.shared.u32 [n], 100;\nbar.sync 0;\natom.shared.dec.u32 %r0, [n], 50;\n"
				    "bar.sync 0;\nld.shared.u32 %r1, [n];\nst.global.u32 [%o], %r1;"), 1, 10, 0, 0, 1);
	ok(rc == 0 && K.out[0] == 41, "atom.shared.dec");
}

static void test_faults(void)
{
	int rc = run_kernel(HEAD KERNEL("setp.eq.u32 %p0, %i, 70;\n@%p0 st.global.u32 [%g], %i;"), 4, 32, 0xdead0000, 0, 2);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_ADDRESS && K.fault.addr == 0xdead0000 && K.fault.block[0] == 2 && K.fault.thread[0] == 6,
	   "an address outside of memory: %s", K.why);
	rc = run_kernel(HEAD KERNEL("ld.global.u32 %r0, [%g];"), 1, 1, OUT + WORDS * 4, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_ADDRESS, "one word after a region: %s", K.why);
	rc = run_kernel(HEAD KERNEL("ld.global.u64 %rd0, [%g];"), 1, 1, OUT + WORDS * 4 - 4, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_MISALIGNED, "misaligned: %s", K.why);
	rc = run_kernel(HEAD KERNEL("ld.global.v2.u32 {%r0, %r1}, [%g];"), 1, 1, OUT - 8, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_ADDRESS, "a vector before a region: %s", K.why);
	rc = run_kernel(HEAD KERNEL("ld.global.u32 %r0, [%g];\nst.global.u32 [%o], %r0;\nst.global.u32 [%g], %r0;"), 1, 1, READONLY, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_ADDRESS && K.fault.addr == READONLY, "a store to read-only memory: %s", K.why);
	rc = run_kernel(HEAD KERNEL("ld.shared.u32 %r0, [%g];"), 1, 1, 0, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_ADDRESS, "shared memory that the kernel does not have: %s", K.why);
	rc = run_kernel(HEAD KERNEL("trap;"), 1, 1, 0, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_TRAP, "trap: %s", K.why);
	rc = run_kernel(HEAD KERNEL(""), 1, 2000, 0, 0, 1);
	ok(rc < 0 && K.fault.kind == PTX_FAULT_CONFIG, "too many threads: %s", K.why);
}

/* What the loader must refuse, and what it must say. */
static void test_refusals(void)
{
	static const struct {
		const char *body, *says;
	} rows[] = {
		{ "frob.u32 %r0, %r1;", "line 17: instruction 'frob.u32' is not supported" },
		{ "\n\nwmma.load.a.sync.aligned.row.m16n16k16.f16 %r0, %r1;", "line 19: instruction 'wmma.load" },
		{ "add.u32 %r0, %r1;", "with 2 operands is not supported" },
		{ "add.u32 %r0, %r1, %nope;", "register '%nope' is not known" },
		{ "add.u32 %r0, %r1, %r99;", "register '%r99' is not known" },
		{ "add.u32 %p0, %r1, %r2;", "wrong kind" },
		{ "add.u32 %r0, %p1, %r2;", "predicate" },
		{ "setp.eq.u32 %r0, %r1, %r2;", "wrong kind" },
		{ "bra NOWHERE;", "label 'NOWHERE' is not in this function" },
		{ "add.f32 %f0, %f1, 3;", "integer literal" },
		{ "mov.u32 %tid.x, %r0;", "needs a register to write to" },
		{ "add.u32 5, %r0, %r1;", "needs a register to write to" },
		{ "ld.global.u32 %r0, [out];", "another space" },
		{ "call.uni missing, (%r0);", "the function 'missing' is not known" },
		{ "add.u32 %r0, %r1, 0x;", "malformed literal" },
		{ "cvt.f32.f64 %f0, %rd0;", "is not supported" },
		{ "atom.global.frob.u32 %r0, [%o], 1;", "is not supported" },
		{ "ld.global.v3.u32 %r0, [%o];", "is not supported" },
		{ "{ add.u32 %r0, %r1, %r2;", "ends inside a function" },
		{ ".reg .b128 %q;", "is not supported" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int rc = run_kernel(kernel_around(rows[i].body), 1, 1, 0, 0, 1);
		ok(rc < 0 && strstr(K.err.msg, rows[i].says), "refused: %s", rc < 0 ? K.err.msg : rows[i].body);
	}
	ok(run_kernel("", 1, 1, 0, 0, 1) < 0 && K.err.msg[0], "empty text: %s", K.err.msg);
	ok(run_kernel("\177ELF", 1, 1, 0, 0, 1) < 0 && K.err.msg[0], "no text: %s", K.err.msg);
}

int main(void)
{
	test_barrier();
	test_warp();
	test_calls();
	test_memory();
	test_atomics();
	test_faults();
	test_refusals();
	return tap_done();
}
