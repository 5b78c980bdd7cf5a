/* ptx.h - the processor of the simulated GPU: it loads PTX text and runs its kernels.
 *
 *   load      text -> lexer -> parser -> typed instructions with register slots    ptx_lex, _parse, _compile
 *   place     the driver puts the module's globals into device memory
 *   launch    blocks over worker threads, each block's threads in turn             ptx_launch, _exec, _mem
 *
 * It knows nothing of the driver API. Device memory is whatever regions the driver hands over: a
 * device address is never used as a host address, and an access outside every region is a fault.
 * What the loader does not know is an error that names the instruction and its line; nothing is guessed.
 */
#ifndef PTX_H
#define PTX_H

#include <stddef.h>
#include <stdint.h>

#include "../../shim/base/err.h"

/* Generic addresses of a block's shared memory, a thread's local memory and a kernel's parameters, as
 * seen by the kernel. They lie above every address of user space, so that neither a device address nor a
 * pinned host pointer can be one of them. The driver must not place regions at or above PTX_WINDOWS. */
#define PTX_WINDOWS	  0x0001000000000000ull
#define PTX_SHARED_WINDOW PTX_WINDOWS
#define PTX_LOCAL_WINDOW  (PTX_WINDOWS + 0x1000000)
#define PTX_PARAM_WINDOW  (PTX_WINDOWS + 0x2000000)
#define PTX_FUNC_WINDOW	  (PTX_WINDOWS + 0x3000000)
#define PTX_WINDOW_SIZE	  0x1000000ull

struct ptx_module;
struct ptx_func;

/* ptx_module_load - parse and compile @len bytes of PTX text (a final NUL may be counted or not).
 * @text     not kept
 * @out      the module; ptx_module_free() releases it
 * Context   no globals: any thread, several at once
 * Returns 0; or -1 with err: CK_EINVAL and "line N: ..." for text it cannot take (CUDA_ERROR_INVALID_PTX;
 * the message is meant for the JIT error log), CK_ESYS without memory */
int ptx_module_load(struct ptx_module **out, const char *text, size_t len, struct ck_err *err);

/* ptx_module_free - release a module and its functions. No launch of it may be running. NULL is allowed. */
void ptx_module_free(struct ptx_module *m);

/* --- globals: variables of the module in .global and .const ------------------------------------- */

struct ptx_global {
	const char *name;
	uint64_t size;	/* bytes, never 0 */
	uint32_t align; /* power of two */
	int is_const;	/* .const: kernels cannot write it */
	int is_visible; /* .visible, .weak or .common: cuModuleGetGlobal finds it */
};

/* ptx_module_global_count, ptx_module_global - the variables that the driver must place. */
size_t ptx_module_global_count(const struct ptx_module *m);
const struct ptx_global *ptx_module_global(const struct ptx_module *m, size_t i);

/* ptx_module_place - tell the module at which device address global @i is. Each must be told before the
 * first launch; telling again (a module moved by a restore) takes effect at the next launch. */
void ptx_module_place(struct ptx_module *m, size_t i, uint64_t dev);

/* ptx_module_global_init - write the initial bytes of global @i (size bytes) to @buf. Call it after all
 * were placed: an initialiser may hold another variable's address. */
void ptx_module_global_init(const struct ptx_module *m, size_t i, void *buf);

/* --- functions ---------------------------------------------------------------------------------- */

struct ptx_param {
	uint32_t offset, size; /* in the packed parameter buffer */
};

struct ptx_func_info {
	const char *name;
	uint32_t param_count;
	const struct ptx_param *params;
	uint32_t param_size;	/* of the packed buffer */
	uint32_t shared_size;	/* static shared memory of a block */
	uint32_t local_size;	/* local memory of a thread */
	uint32_t max_threads;	/* from .maxntid or .reqntid, else 1024 */
	uint32_t reqntid[3];	/* .reqntid, or zeros */
	uint32_t regs;		/* registers of a thread: an upper bound, for attributes */
	uint32_t ptx_version;	/* 70 for .version 7.0 */
	uint32_t target;	/* 52 for sm_52 */
};

/* ptx_module_func - the kernel (.entry) called @name, or NULL. Lives as long as the module. */
struct ptx_func *ptx_module_func(struct ptx_module *m, const char *name);

/* ptx_module_func_count, ptx_module_func_at - the kernels in the order of the text. */
size_t ptx_module_func_count(const struct ptx_module *m);
struct ptx_func *ptx_module_func_at(struct ptx_module *m, size_t i);

const struct ptx_func_info *ptx_func_info(const struct ptx_func *f);

/* --- launching ---------------------------------------------------------------------------------- */

/* Device addresses [lo, hi) are the host bytes at @host. */
struct ptx_region {
	uint64_t lo, hi;
	void *host;
	int readonly; /* a store faults */
};

/* A snapshot that stays as it is throughout the launch: sorted by lo, without overlap. */
struct ptx_space {
	const struct ptx_region *regions;
	size_t count;
};

enum ptx_fault_kind {
	PTX_FAULT_NONE = 0,
	PTX_FAULT_ADDRESS,    /* outside every region, or a store to a read-only one: ILLEGAL_ADDRESS */
	PTX_FAULT_MISALIGNED, /* CUDA_ERROR_MISALIGNED_ADDRESS (716) */
	PTX_FAULT_TRAP,	      /* trap, brkpt: LAUNCH_FAILED */
	PTX_FAULT_DEADLOCK,   /* every thread of a block waits for ever: LAUNCH_FAILED */
	PTX_FAULT_STACK,      /* local memory exhausted by calls: LAUNCH_FAILED */
	PTX_FAULT_CALL,	      /* an indirect call to what is no function: LAUNCH_FAILED */
	PTX_FAULT_CANCELLED,  /* *cancel became non-zero */
	PTX_FAULT_NOMEM,      /* the host has no memory for the block's state: LAUNCH_OUT_OF_RESOURCES */
	PTX_FAULT_CONFIG,     /* grid, block, parameters or shared memory do not fit the function */
};

struct ptx_fault {
	enum ptx_fault_kind kind;
	const char *kernel; /* name, lives as long as the module */
	uint64_t addr;	    /* ADDRESS, MISALIGNED */
	uint32_t size;	    /* bytes of the access */
	uint32_t line;	    /* of the PTX text */
	uint32_t block[3], thread[3];
};

struct ptx_launch {
	uint32_t grid[3], block[3];
	uint32_t dynamic_shared; /* bytes after the static ones */
	const void *params;	 /* packed as ptx_func_info.params says */
	size_t params_size;	 /* at least param_size */
	struct ptx_space space;
	unsigned workers;	 /* threads to use, the caller's included; 0 and 1: the caller alone */
	const volatile int *cancel; /* or NULL: becomes non-zero when the launch should end early */
};

/* ptx_launch - run the kernel @f to its end.
 * @fault    filled when the launch stops early; the first fault wins
 * Context   several launches of one module may run at once. With more than one worker, helper threads
 *           with all signals blocked exist until it returns. Blocks run in any order; one block's threads
 *           are run in turn, so one worker's results are the same each time, and with several workers
 *           only the order of atomic operations of different blocks may differ
 * Returns 0, or -1 with @fault (effects of the threads that had run remain, as on a GPU) */
int ptx_launch(struct ptx_func *f, const struct ptx_launch *l, struct ptx_fault *fault);

/* ptx_fault_text - one line for a log. Returns @buf. */
char *ptx_fault_text(const struct ptx_fault *fault, char *buf, size_t cap);

#endif
