/* ptx_int.h - what the files of the PTX interpreter share. Nothing else includes it.
 *
 * A function is an array of instructions over slots. A slot is 64 bits of a thread's frame: a register,
 * or a value that is fixed before the thread starts (a literal, a special register, a variable's
 * address). So every operand is a slot, and the interpreter knows one form of each instruction.
 * A narrow value lies in the low bits of its slot; readers mask, and the bits above mean nothing.
 */
#ifndef PTX_INT_H
#define PTX_INT_H

#include <pthread.h>
#include <stdbool.h>

#include "ptx.h"

enum ptx_op {
#define P(id, text, sig, ...) OP_##id,
#include "ptx_ops.def"
#undef P
	OP_COUNT
};

struct ptx_insn {
	uint16_t op, aux;
	uint32_t d, a, b, c, e; /* slots; memory: base in a, data in d, b, c, e */
	int64_t imm;		/* address offset, branch distance, index of a call */
};

enum ptx_space_kind { SP_GENERIC, SP_GLOBAL, SP_CONST, SP_SHARED, SP_LOCAL, SP_PARAM, SP_REG, SP_NONE };

/* Types, as bits that say what they are: size in bytes, and how the bits are read. */
enum ptx_kind { K_BITS, K_UNSIGNED, K_SIGNED, K_FLOAT, K_PRED };
struct ptx_type {
	uint8_t size;
	uint8_t kind;
};

/* What a fixed slot holds. */
enum ptx_fixed_kind {
	FX_REG,	    /* a register: starts as zero */
	FX_CONST,   /* value */
	FX_SPECIAL, /* value: enum ptx_special */
	FX_GLOBAL,  /* index of a global; value added to its device address */
	FX_SHARED,  /* index of a shared variable; value added to its offset in the block's window */
	FX_LOCAL,   /* value: offset in the function's local frame */
	FX_FUNC,    /* index of a function */
};

struct ptx_fixed {
	uint8_t kind;
	bool generic; /* the address as a generic one */
	uint32_t index;
	uint64_t value;
};

/* X(name, text): launch-wide first, then per block, then per thread. */
#define PTX_SPECIALS(X)                                                                               \
	X(NTID_X, "%ntid.x") X(NTID_Y, "%ntid.y") X(NTID_Z, "%ntid.z")                                \
	X(NCTAID_X, "%nctaid.x") X(NCTAID_Y, "%nctaid.y") X(NCTAID_Z, "%nctaid.z")                    \
	X(NWARPID, "%nwarpid") X(NSMID, "%nsmid") X(GRIDID, "%gridid") X(WARP_SZ, "WARP_SZ")          \
	X(DYN_SMEM, "%dynamic_smem_size") X(TOTAL_SMEM, "%total_smem_size")                           \
	X(CTAID_X, "%ctaid.x") X(CTAID_Y, "%ctaid.y") X(CTAID_Z, "%ctaid.z") X(SMID, "%smid")         \
	X(TID_X, "%tid.x") X(TID_Y, "%tid.y") X(TID_Z, "%tid.z") X(LANEID, "%laneid")                 \
	X(WARPID, "%warpid") X(LM_EQ, "%lanemask_eq") X(LM_LE, "%lanemask_le")                        \
	X(LM_LT, "%lanemask_lt") X(LM_GE, "%lanemask_ge") X(LM_GT, "%lanemask_gt")

enum ptx_special {
#define X(name, text) SR_##name,
	PTX_SPECIALS(X)
#undef X
	SR_COUNT
};
#define SR_FIRST_BLOCK	SR_CTAID_X
#define SR_FIRST_THREAD SR_TID_X

/* One value that a call copies between the frames' local memories. */
struct ptx_copy {
	uint32_t from, to, size; /* byte offsets in the caller's and callee's frames, or the other way */
	int64_t slot;		 /* >= 0: the caller's side is this slot instead */
};

struct ptx_call {
	uint32_t func; /* index, or UINT32_MAX: the address is in the instruction's slot a */
	uint32_t nin, nout;
	struct ptx_copy *in, *out;
};

struct ptx_var {
	char *name;
	uint8_t space; /* SP_GLOBAL, SP_CONST, SP_SHARED */
	bool is_extern, visible;
	struct ptx_type type;
	uint32_t align;
	uint64_t size; /* 0: an array whose size the launch gives */
	uint32_t index; /* of global or of shared */
	uint8_t *init;	/* size bytes, or NULL for zeros */
	struct ptx_reloc *relocs;
	uint32_t nrelocs;
	uint64_t dev; /* where the driver put it */
};

struct ptx_reloc {
	uint64_t at;
	int64_t add;
	uint32_t var;  /* index in module->vars, or UINT32_MAX: func */
	uint32_t func;
};

struct ptx_func {
	char *name;
	struct ptx_module *mod;
	uint32_t index;
	bool is_entry, defined;
	struct ptx_func_info info;
	struct ptx_param *params;
	/* layout of a .func's results and parameters at the start of its local frame */
	uint32_t nrets, nargs, *arg_off, *arg_size, *ret_off, *ret_size;

	struct ptx_insn *code;
	uint32_t *lines;
	uint32_t ncode, ccode;
	struct ptx_fixed *slots;
	uint32_t nslots, cslots;
	struct ptx_call *calls;
	uint32_t ncalls;
	uint32_t *tables; /* brx.idx: instruction indices */
	uint32_t ntables;
	uint32_t frame;	  /* bytes of local memory of this function alone */
	uint32_t *uses;	  /* indices of shared variables and of functions named in the code */
	uint32_t nuses;
	uint32_t *callees;
	uint32_t ncallees;
	bool indirect; /* has a call through a pointer */
	uint32_t *varying; /* slots that differ from thread to thread */
	uint32_t nvarying;
};

struct ptx_module {
	uint32_t version, target;
	struct ptx_var *vars;
	uint32_t nvars;
	uint32_t nglobals, nshared;
	struct ptx_global *globals; /* what the driver sees, same order as index */
	uint32_t *global_var;	    /* global index -> var */
	struct ptx_func **funcs;
	uint32_t nfuncs;
};

/* --- lexer ----------------------------------------------------------------------------------------- */

enum ptx_tok { T_EOF, T_IDENT, T_DIRECTIVE, T_INT, T_F32, T_F64, T_DEC, T_STRING, T_PUNCT };

struct ptx_lex {
	const char *p, *end;
	uint32_t line;
	enum ptx_tok kind;
	const char *text; /* of the token, within the source */
	uint32_t len;
	uint64_t value; /* T_INT, bits of T_F32 and T_F64, the character of T_PUNCT */
	double dec;	/* T_DEC */
	bool bad;	/* a character that no token begins with */
};

/* ptx_lex_next - move to the next token. Identifiers carry their dotted suffixes ("ld.global.u32"). */
void ptx_lex_next(struct ptx_lex *lx);

/* --- parser ---------------------------------------------------------------------------------------- */

/* O_SLOT: a register or special register; O_SYM: a variable or function by its address; O_MEM: [base+v] */
enum ptx_opnd_kind { O_NONE, O_SLOT, O_INT, O_F32, O_F64, O_DEC, O_SYM, O_MEM, O_LABEL, O_VEC, O_SINK };

struct ptx_opnd {
	uint8_t kind;
	bool not_;	   /* !p */
	bool writable;	   /* a register */
	struct ptx_type type; /* of a register */
	bool open_size;	   /* O_SYM: an array without a size */
	uint8_t space;	   /* O_SYM, O_MEM: of the symbol; SP_NONE where a register is the base */
	uint32_t slot;	   /* O_SLOT, O_SYM, O_MEM */
	uint32_t off, size; /* O_SYM in the local frame */
	uint32_t func;	   /* O_SYM: index, or UINT32_MAX */
	uint64_t v;	   /* literal; O_MEM: offset */
	double dec;
	const char *text; /* the name */
	uint32_t len;
	uint32_t n; /* O_VEC */
	struct ptx_opnd *vec;
};

enum ptx_sym_kind { SYM_REGS, SYM_LOCAL, SYM_KPARAM, SYM_PROTO, SYM_TABLE, SYM_VAR };

/* A name of a function's scope. */
struct ptx_sym {
	const char *name;
	uint32_t len;
	uint8_t kind;
	struct ptx_type type;
	uint32_t count; /* SYM_REGS: 0, or the N of %r<N> */
	uint32_t slot;	/* SYM_REGS: first; SYM_TABLE: first index in tables; SYM_PROTO, SYM_VAR: index */
	uint32_t off, size;
};

struct ptx_label {
	const char *name;
	uint32_t len, scope, at, line;
	bool in_table; /* a reference: at is an index of tables, not of code */
};

#define PTX_MAX_OPS 24

struct ptx_proto {
	uint32_t nrets, nargs;
	uint32_t *arg_off, *arg_size, *ret_off, *ret_size, end;
};

/* State of a load. Everything it allocates besides the module hangs on ->mem and goes with it. */
struct ptx_parse {
	struct ptx_lex lx;
	struct ptx_module *m;
	struct ck_err *err;
	struct ptx_mem *mem;
	uint16_t *op_hash;
	uint32_t op_mask;

	/* the function being compiled */
	struct ptx_func *f;
	struct ptx_sym *syms;
	uint32_t nsyms, csyms;
	uint32_t scope, nscopes, *scope_up;
	struct ptx_label *labels, *refs;
	uint32_t nlabels, nrefs;
	struct ptx_proto *protos;
	uint32_t nprotos;
	uint32_t *fixed_hash, fixed_mask, nfixed;
	uint32_t local; /* bytes of the local frame so far */

	/* the statement being compiled */
	unsigned depth; /* of nested operands */
	uint32_t line;
	const char *opcode;
	uint32_t opcode_len;
	struct ptx_opnd guard;
	uint32_t nparts;
	char *parts[PTX_MAX_OPS]; /* the opcode cut at its dots */
	struct ptx_opnd ops_[PTX_MAX_OPS];
	uint32_t nops;
	bool paired; /* the first operand was p|q: ops_[0] and ops_[1] */
};

/* Memory that lives as long as a load. ptx_alloc never returns NULL: a load whose ->mem is exhausted
 * goes on with a reserve and ends with an error. See ptx_parse.c. */
int ptx_error(struct ptx_parse *ps, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *ptx_temp(struct ptx_parse *ps, size_t size);
void *ptx_grow(void *array, uint32_t n, size_t each);

bool ptx_accept(struct ptx_parse *ps, int punct);
int ptx_expect(struct ptx_parse *ps, int punct);
bool ptx_tok_is(const struct ptx_lex *lx, const char *text);
int ptx_type_of(const char *text, uint32_t len, struct ptx_type *out);

/* ptx_decl.c: variables, parameters */
struct ptx_decl {
	struct ptx_type type;
	uint32_t align, vec;
	const char *name;
	uint32_t len;
	uint64_t size;	/* bytes; 0 for an array without a size */
	uint32_t count; /* of %r<N> */
	bool ranged;
};
int ptx_parse_decl(struct ptx_parse *ps, struct ptx_decl *out);
int ptx_parse_var(struct ptx_parse *ps, uint8_t space, bool is_extern, bool visible);
int ptx_parse_params(struct ptx_parse *ps, struct ptx_decl **out, uint32_t *n);
struct ptx_var *ptx_find_var(struct ptx_module *m, const char *name, uint32_t len);
struct ptx_func *ptx_find_func(struct ptx_module *m, const char *name, uint32_t len);
char *ptx_strndup(const char *s, uint32_t len);

/* ptx_func.c: functions, scopes, operands */
int ptx_parse_function(struct ptx_parse *ps, bool is_entry, bool is_extern);
int ptx_parse_operand(struct ptx_parse *ps, struct ptx_opnd *o);
const struct ptx_sym *ptx_find_sym(struct ptx_parse *ps, const char *name, uint32_t len, uint32_t *index);
int ptx_label_ref(struct ptx_parse *ps, const struct ptx_opnd *o, uint32_t at, bool in_table);
int ptx_finish_module(struct ptx_parse *ps);

/* ptx_compile.c: one statement into instructions. ptx_emit.c: the pieces that it uses. */
int ptx_compile(struct ptx_parse *ps);
int ptx_compile_mem(struct ptx_parse *ps, bool *done);
int ptx_compile_flow(struct ptx_parse *ps, bool *done);
int ptx_compile_cvt(struct ptx_parse *ps);
struct ptx_insn *ptx_emit(struct ptx_parse *ps, unsigned op, uint32_t d, uint32_t a, uint32_t b, uint32_t c);
uint32_t ptx_slot_new(struct ptx_parse *ps);
uint32_t ptx_slot_fixed(struct ptx_parse *ps, struct ptx_fixed want);
uint32_t ptx_slot_const(struct ptx_parse *ps, uint64_t v);
int ptx_use(struct ptx_parse *ps, const struct ptx_opnd *o, struct ptx_type t, uint32_t *slot);
int ptx_def(struct ptx_parse *ps, const struct ptx_opnd *o, uint32_t *slot);
int ptx_unsupported(struct ptx_parse *ps);
int ptx_lookup(struct ptx_parse *ps, const char *text);
extern const char *const ptx_op_text[OP_COUNT], *const ptx_op_sig[OP_COUNT];

/* aux of OP_warp */
enum ptx_warp_kind {
	W_SYNC, W_ACTIVE, W_SHFL_UP, W_SHFL_DOWN, W_SHFL_BFLY, W_SHFL_IDX, W_ALL, W_ANY, W_UNI, W_BALLOT,
	W_MATCH_ANY32, W_MATCH_ANY64, W_MATCH_ALL32, W_MATCH_ALL64, W_REDUX_ADD, W_REDUX_MIN_U32, W_REDUX_MAX_U32,
	W_REDUX_MIN_S32, W_REDUX_MAX_S32, W_REDUX_AND, W_REDUX_OR, W_REDUX_XOR,
};
/* imm of OP_warp: the slot of the member mask; negative: whoever is there */

/* aux of loads and stores: length of the vector | MK_ of an element << 4 | PTX_NARROW: a 32-bit base */
#define PTX_NARROW 0x8000u

/* aux of OP_bar */
enum ptx_bar_kind { BAR_SYNC, BAR_POPC, BAR_AND, BAR_OR };

/* aux of OP_atom: space | op << 3 | type << 8 */
enum ptx_atom_op { AT_ADD, AT_EXCH, AT_CAS, AT_MIN, AT_MAX, AT_INC, AT_DEC, AT_AND, AT_OR, AT_XOR };
enum ptx_atom_type { ATT_U32, ATT_S32, ATT_U64, ATT_S64, ATT_F32, ATT_F64 };

/* order of the spaces in ptx_ops.def, and of each one's instructions */
enum { MS_GLOBAL, MS_SHARED, MS_LOCAL, MS_PARAM, MS_GENERIC };
enum { MK_U8, MK_S8, MK_U16, MK_S16, MK_U32, MK_S32, MK_U64, MK_ST8, MK_ST16, MK_ST32, MK_ST64, MK_LDV, MK_STV,
       MK_COUNT };

/* --- running --------------------------------------------------------------------------------------- */

enum ptx_state { TS_READY, TS_BARRIER, TS_WARP, TS_EXITED, TS_FAULT };

struct ptx_frame {
	struct ptx_frame *up;
	const struct ptx_func *f;
	const struct ptx_insn *ret;
	const struct ptx_call *call;
	uint64_t *slots; /* the caller's */
	uint32_t fp;	 /* the caller's */
	uint32_t depth;
	uint64_t own[];
};

struct ptx_thread {
	uint64_t *slots;
	const struct ptx_insn *ip; /* where it goes on; a waiting thread: the instruction it waits at */
	const struct ptx_func *f;
	struct ptx_frame *top;
	uint8_t *local;
	uint32_t fp;
	uint32_t tid[3];
	uint8_t state;
	uint8_t barrier;  /* TS_BARRIER: which */
	uint32_t expect;  /* TS_BARRIER: threads, 0 for all */
};

struct ptx_cache {
	uint64_t lo, len;
	uint8_t *host;
	bool readonly;
};
#define PTX_CACHE 16

/* One worker and the block it runs. */
struct ptx_block {
	struct ptx_run *run;
	const struct ptx_func *f;
	uint32_t ctaid[3];
	uint32_t nthreads, live;
	struct ptx_thread *threads;
	uint64_t *slots; /* of all threads, entry frames */
	uint64_t **templates; /* by function index: slots as they are when a frame begins */
	uint8_t *shared;
	uint32_t shared_size;
	uint8_t *local;
	uint32_t local_size;
	const uint8_t *params;
	uint32_t params_size;
	struct ptx_cache cache[PTX_CACHE];
	uint32_t arrived[16]; /* by bar.arrive */
	uint32_t arrive_expect[16];
	struct ptx_fault fault;
};

/* One launch. */
struct ptx_run {
	struct ptx_func *f;
	const struct ptx_launch *l;
	uint32_t *shared_off; /* by shared variable index */
	uint32_t shared_size;
	uint64_t nblocks;
	uint64_t next;	/* atomic */
	int stop;	/* atomic */
	pthread_mutex_t lock;
	struct ptx_fault fault; /* under lock */
};

/* ptx_exec_thread - run one thread until it waits, ends, faults or has used its share. */
void ptx_exec_thread(struct ptx_block *b, struct ptx_thread *t);
/* ptx_warp_resolve - let the lanes of the warp that begins at thread @first exchange what they wait
 * for. Returns true if some went on. */
bool ptx_warp_resolve(struct ptx_block *b, uint32_t first);
/* ptx_barrier_resolve - open the barriers at which everyone has arrived. Returns true if some did. */
bool ptx_barrier_resolve(struct ptx_block *b);
void ptx_frame_init(struct ptx_block *b, const struct ptx_thread *t, const struct ptx_func *f, uint64_t *slots);

/* ptx_shared_layout - offsets (by shared variable index; @off may be NULL) of what kernel @f uses of shared
 * memory. Returns its static size, or UINT32_MAX when it is too large or memory is short. */
uint32_t ptx_shared_layout(const struct ptx_func *f, uint32_t *off);
void ptx_mark_shared(const struct ptx_func *f, uint8_t *seen, uint8_t *used);
int ptx_list_varying(struct ptx_func *f);

/* ptx_mem.c: addresses. NULL means that b->fault is filled. */
void *ptx_mem_slow(struct ptx_block *b, struct ptx_thread *t, unsigned space, uint64_t addr, uint32_t size,
		   bool store);
bool ptx_atom(struct ptx_block *b, struct ptx_thread *t, const struct ptx_insn *i, uint64_t *R);

#endif
