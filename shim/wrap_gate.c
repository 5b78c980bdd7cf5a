/* wrap_gate.c - the wrappers that need no hand: one for each row of api.def with policy PASS or GATE. */
#include "gate.h"
#include "hook.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define CALL_REAL(name, nargs, classes)                                                                    \
	((CUresult(*)(CK_PARAMS(nargs, classes)))ck_real_get(CK_ENTRY_##name))(CK_ARGS(nargs))

#define WRAP_PASS(name, nargs, classes)                                                                    \
	CK_EXPORT CUresult name(CK_PARAMS(nargs, classes))                                                 \
	{                                                                                                  \
		return CALL_REAL(name, nargs, classes);                                                    \
	}

#define WRAP_GATE(name, nargs, classes)                                                                    \
	CK_EXPORT CUresult name(CK_PARAMS(nargs, classes))                                                 \
	{                                                                                                  \
		ck_gate_enter(CK_ENTRY_##name);                                                            \
		CUresult r = CALL_REAL(name, nargs, classes);                                              \
		ck_gate_exit();                                                                            \
		return r;                                                                                  \
	}

#define WRAP_HAND(name, nargs, classes) /* wrap_mem.c, wrap_ctx.c, hook.c */

#define E(name, since, policy, nargs, classes) WRAP_##policy(name, nargs, classes)
#include "api.def"
#undef E
