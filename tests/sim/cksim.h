/* cksim.h - the simulated GPU driver from inside. README.md says what it imitates and what it refuses.
 *
 *   machine   the GPUs of one simulated machine: files shared by its processes         machine.c
 *   vm        one process's device addresses, their physical memory, the host shadows  vm.c, vm_map.c
 *   queue     streams, their worker threads and what they run                          queue.c, op.c
 *   gate      cuInit, fork, who may enter when, injected faults                        gate.c
 *   ckpt      the checkpoint API: the thread that carries it out, and the caller       ckpt.c, ckpt_call.c
 *   api_*     the exports, by chapter; api_table.c has a refusing default for every row of api.def
 *
 * Device memory is never at its device address: each range has a shadow, pieces of the machine's memory
 * file mapped in the same order at addresses that the kernel chose. A checkpoint unmaps the shadows and
 * a restore puts them back where they were.
 */
#ifndef CKSIM_H
#define CKSIM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "../../shim/cuda_abi.h"
#include "ptx.h"

#define CKSIM_MAX_DEVICES 16
#define CKSIM_PAGE	  (2ull << 20) /* physical page, and the granularity of the virtual memory API */
#define CKSIM_VA_LO	  0x1000000000ull
#define CKSIM_VA_HI	  0x200000000000ull
#define CKSIM_POISON	  0xa5
#define CKSIM_DIR_MAX	  256

/* Values of the driver's interface that shim/cuda_abi.h has no need of. */
enum {
	CKSIM_ERROR_PROFILER_DISABLED = 5,
	CKSIM_ERROR_UNSUPPORTED_LIMIT = 215,
	CKSIM_ERROR_CONTEXT_ALREADY_IN_USE = 216,
	CKSIM_ERROR_PEER_ACCESS_UNSUPPORTED = 217,
	CKSIM_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
	CKSIM_ERROR_PEER_ACCESS_NOT_ENABLED = 705,
	CKSIM_ERROR_MISALIGNED_ADDRESS = 716,
};

/* API - open the definition of the export @name; the prototype keeps -Wmissing-prototypes quiet. */
#define API(name, ...)                                                                                \
	__attribute__((visibility("default"))) CUresult name(__VA_ARGS__);                            \
	__attribute__((visibility("default"))) CUresult name(__VA_ARGS__)

/* --- gate.c --------------------------------------------------------------------------------------- */

enum cksim_need {
	CKSIM_INIT = 1, /* cuInit was called by this very process */
	CKSIM_CTX = 2,	/* and the thread has a living context without a sticky error */
	CKSIM_GATE = 4, /* waits while the process is locked for a checkpoint */
};
#define CKSIM_TOUCH (CKSIM_INIT | CKSIM_GATE)
#define CKSIM_WORK  (CKSIM_INIT | CKSIM_GATE | CKSIM_CTX)

/* ENTER - first line of every export that reads or changes the driver's state: checks @need, waits at the
 * gate, and leaves it again on every way out of the function. */
#define ENTER(need)                                                                                   \
	__attribute__((cleanup(cksim_leave))) int cksim_inside_ = 0;                                  \
	do {                                                                                          \
		CUresult enter_ = cksim_enter(__func__, (need), &cksim_inside_);                      \
		if (enter_)                                                                           \
			return enter_;                                                                \
	} while (0)

/* cksim_enter - @name: the export, for injected faults. Returns CUDA_SUCCESS, NOT_INITIALIZED,
 * NOT_PERMITTED (called from a host function), INVALID_CONTEXT, CONTEXT_IS_DESTROYED or the context's
 * sticky error. Nested calls of one thread pass. cksim_leave undoes it. */
CUresult cksim_enter(const char *name, int need, int *inside);
void cksim_leave(int *inside);

/* cksim_fault - is the injected fault @name asked for (CKSIM_FAULT, or the file CKSIM_DIR/fault)?
 * *@arg gets the text after '=', cut to 63 characters; it may be NULL. Allocates nothing. */
int cksim_fault(const char *name, char arg[64]);

/* cksim_choose_dir - the machine's folder: what a restore said, else CKSIM_DIR, else /dev/shm/cksim-UID. */
void cksim_choose_dir(char dir[CKSIM_DIR_MAX]);

/* cksim_driver_release - 550, 570, 580 ...; cksim_driver_version - as cuDriverGetVersion gives it. */
int cksim_driver_release(void);
int cksim_driver_version(void);

/* Handles: every object starts with this, is entered while it lives, and is looked up before it is
 * touched, so that a wrong handle is an error and no crash. */
enum cksim_type { CKSIM_O_CTX = 1, CKSIM_O_STREAM, CKSIM_O_EVENT, CKSIM_O_MODULE, CKSIM_O_FUNC, CKSIM_O_LIBRARY,
	CKSIM_O_POOL };
struct cksim_obj {
	enum cksim_type type;
	struct cksim_obj *hash_next;
};
void cksim_obj_add(struct cksim_obj *o, enum cksim_type type);
void cksim_obj_del(struct cksim_obj *o);
int cksim_obj_is(const void *p, enum cksim_type type);

/* The process. */
enum cksim_state { /* the first four are CUprocessState */
	CKSIM_RUNNING, CKSIM_LOCKED, CKSIM_CHECKPOINTED, CKSIM_FAILED, CKSIM_LOCKING
};
struct cksim_proc {
	_Atomic pid_t pid;	/* that initialised; another one is a forked child */
	pthread_mutex_t lock;	/* cuInit, contexts, modules */
	_Atomic uint32_t state; /* enum cksim_state; also the futex that the gate sleeps on */
	_Atomic uint32_t inside; /* threads between enter and leave */
	_Atomic uint64_t pending; /* operations submitted and not complete */
	int driver;
	int managed;	       /* managed allocations alive: this release cannot checkpoint them */
	int ndev;
	int devmap[CKSIM_MAX_DEVICES]; /* ordinal in this process -> device of the machine */
	unsigned char uuid[CKSIM_MAX_DEVICES][16]; /* by ordinal */
	uint64_t total_mem;
	char dir[CKSIM_DIR_MAX];
	int dir_given; /* by a restore: outranks the environment, also in a forked child */
};
extern struct cksim_proc cksim;

/* --- machine.c: every function but open takes the machine's lock by itself --------------------------- */

/* cksim_machine_open - attach to the machine at @dir (made if absent), or at the folder @dirfd unless -1:
 * files, a slot that tells that we live, a descriptor that CRIU refuses. Allocates no heap.
 * Returns CUDA_SUCCESS, or OPERATING_SYSTEM. cksim_machine_close gives all of it back, pages too. */
CUresult cksim_machine_open(const char *dir, int dirfd);
void cksim_machine_close(void);
/* cksim_machine_forget - in a forked child: close what the parent had open, take nothing back. */
void cksim_machine_forget(void);
int cksim_machine_devices(void);
/* cksim_machine_identity - fill cksim.uuid and cksim.total_mem by cksim.devmap. */
void cksim_machine_identity(void);
int cksim_machine_fd(int mdev); /* the memory file of the machine's device @mdev */
/* cksim_machine_find_uuid - the machine's device of that UUID, or -1. */
int cksim_machine_find_uuid(const unsigned char uuid[16]);
void cksim_machine_info(int mdev, uint64_t *free_bytes, uint64_t *total);
/* cksim_pages_grant - @n physical pages, filled with poison; page numbers to @pages. Reclaims what dead
 * processes held. All or nothing. CUDA_SUCCESS, OUT_OF_MEMORY or OPERATING_SYSTEM. */
CUresult cksim_pages_grant(int mdev, uint32_t n, uint32_t *pages);
void cksim_pages_drop(int mdev, uint32_t n, const uint32_t *pages);

/* --- vm.c: callers hold no lock; cksim_vm_* take vm's own ------------------------------------------- */

struct cksim_ctx;

struct cksim_phys { /* physical memory: a driver allocation's, or a handle of the virtual memory API */
	struct cksim_phys *next, *prev;
	int dev;	 /* ordinal */
	int granted;	 /* pages[] are ours on the machine */
	uint32_t npages;
	int refs, maps;	 /* handle references and mappings: freed when both are 0 */
	void *saved;	 /* its contents while checkpointed */
	uint32_t pages[];
};

struct cksim_map { /* a piece of a range that has memory */
	struct cksim_map *next;
	uint64_t addr, size, offset; /* offset into phys */
	struct cksim_phys *phys;
	unsigned rw, ro; /* bit per device */
};

enum cksim_va_kind { CKSIM_VA_BLOCK, CKSIM_VA_RESERVED, CKSIM_VA_HOST, CKSIM_VA_MANAGED };
struct cksim_sub { uint64_t addr, size; };
struct cksim_va {
	uint64_t addr, size;
	unsigned char *shadow; /* host address of the byte at addr */
	enum cksim_va_kind kind;
	int dev;
	unsigned flags;	       /* of a host allocation */
	int registered;	       /* host memory that the program owns */
	struct cksim_ctx *ctx; /* owner; NULL: nobody's (virtual memory API) */
	struct cksim_map *maps; /* BLOCK: one; RESERVED: sorted */
	struct cksim_sub *subs; /* BLOCK: what is allocated in it, sorted */
	uint32_t nsubs, capsubs;
};

/* cksim_vm_alloc - device memory for @ctx; small ones share a page. *@addr is aligned to 512 bytes. */
CUresult cksim_vm_alloc(struct cksim_ctx *ctx, int dev, uint64_t size, uint64_t *addr);
/* cksim_vm_free - INVALID_VALUE unless @addr is the start of a living allocation. */
CUresult cksim_vm_free(uint64_t addr);
void cksim_vm_free_ctx(struct cksim_ctx *ctx);
/* cksim_vm_host_add - make host memory known under its own address; cksim_vm_host_del forgets the range
 * that starts there, of that kind (@registered), and returns its size, or 0. */
CUresult cksim_vm_host_add(struct cksim_ctx *ctx, void *p, uint64_t size, unsigned flags, enum cksim_va_kind kind,
			   int registered);
uint64_t cksim_vm_host_del(void *p, int registered, enum cksim_va_kind kind);

struct cksim_where { /* what cksim_vm_find knows about an address */
	enum cksim_va_kind kind;
	uint64_t base, size;	     /* the allocation, or the mapping */
	uint64_t range_base, range_size; /* the block or reservation */
	struct cksim_ctx *ctx;
	struct cksim_phys *phys; /* of a mapping; not referenced */
	int dev, registered;
	unsigned rw, ro, flags;
};
int cksim_vm_find(uint64_t addr, struct cksim_where *w); /* 1 found, 0 not */

/* cksim_vm_host - the host bytes of [addr, addr+len) as device @dev may use them, or NULL. @host_too: an
 * address that is none of ours is taken for the program's own memory. */
void *cksim_vm_host(uint64_t addr, uint64_t len, int dev, int write, int host_too);

/* cksim_vm_space - a snapshot for a launch on @dev, which also sees the memory of the devices in @peers;
 * valid until the next call with the same holder. *@held is grown as needed and belongs to the caller (free). 0 or -1 without memory. */
int cksim_vm_space(int dev, unsigned peers, struct ptx_space *space, struct ptx_region **held, size_t *cap);

/* the virtual memory API; errors as the driver's */
CUresult cksim_vm_reserve(uint64_t size, uint64_t align, uint64_t hint, uint64_t *addr);
CUresult cksim_vm_unreserve(uint64_t addr, uint64_t size);
CUresult cksim_vm_create(int dev, uint64_t size, struct cksim_phys **out);
CUresult cksim_vm_release(struct cksim_phys *p);
CUresult cksim_vm_map(uint64_t addr, uint64_t size, uint64_t offset, struct cksim_phys *p);
CUresult cksim_vm_unmap(uint64_t addr, uint64_t size);
CUresult cksim_vm_access(uint64_t addr, uint64_t size, int dev, int flags);
CUresult cksim_vm_retain(uint64_t addr, struct cksim_phys **out);
int cksim_vm_phys_is(struct cksim_phys *p);

/* checkpoint, in the driver's thread with nobody else inside; no heap */
CUresult cksim_vm_save(void);	 /* contents to anonymous memory; on failure all of it is undone */
void cksim_vm_drop(void);	 /* pages given back, shadows unmapped */
CUresult cksim_vm_regain(void);	 /* pages granted and filled; nothing kept on failure */
CUresult cksim_vm_remap(void);	 /* shadows back in their places, saved copies freed */
void cksim_vm_forget(void);	 /* in a forked child: the tables are emptied, nothing is given back */
int cksim_vm_aperture(void); /* map what stands for the device registers, at its place. 0 or -1 */

/* --- queue.c ----------------------------------------------------------------------------------------- */

struct cksim_stream {
	struct cksim_obj obj;
	struct cksim_ctx *ctx;
	struct cksim_stream *next; /* in the context */
	unsigned flags;
	int priority, refs, started, dying, legacy;
	uint64_t id, submitted, completed;
	struct cksim_op *head, *tail;
	pthread_cond_t work;
};

struct cksim_event {
	struct cksim_obj obj;
	struct cksim_ctx *ctx;
	unsigned flags;
	int refs;
	struct cksim_stream *stream; /* of the last record, or NULL */
	uint64_t seq;
	_Atomic uint64_t time_ns;
};

struct cksim_ctx {
	struct cksim_obj obj;
	struct cksim_ctx *next;
	int dev, primary, destroyed;
	unsigned flags, api;
	uint64_t id;
	unsigned peers; /* bit per device whose memory this context may use */
	_Atomic int sticky;
	uint64_t limits[16];
	int cache_config, shared_config;
	struct cksim_stream *legacy, *streams;
	struct cksim_module *modules;
};

enum cksim_op_kind { CKSIM_OP_NOP, CKSIM_OP_COPY, CKSIM_OP_SET, CKSIM_OP_KERNEL, CKSIM_OP_HOST, CKSIM_OP_CALLBACK,
	CKSIM_OP_EVENT, CKSIM_OP_FREE };

struct cksim_side { uint64_t addr, pitch, slice; int host; };

struct cksim_op {
	struct cksim_op *next;
	enum cksim_op_kind kind;
	uint64_t seq;
	struct cksim_stream *stream;
	union {
		struct { struct cksim_side dst, src; uint64_t width, height, depth; void *staged; } copy;
		struct { uint64_t addr, pitch, width, height; uint32_t value, unit; } set; /* width in units */
		struct { struct ptx_func *func; struct ptx_launch launch; void *params; } kernel;
		struct { CUhostFn fn; CUstreamCallback cb; CUstream handle; void *user; } host;
		struct cksim_event *event;
		uint64_t addr;
	};
	size_t ndeps;
	struct { struct cksim_stream *stream; uint64_t seq; } *deps;
};

/* cksim_op_new - zeroed, of that kind; NULL without memory. cksim_op_free - one that was never submitted. */
struct cksim_op *cksim_op_new(enum cksim_op_kind kind);
void cksim_op_free(struct cksim_op *op);
/* cksim_op_run - in queue's worker: do it. Returns the context's new sticky error, or 0. (op.c) */
int cksim_op_run(struct cksim_op *op);
/* cksim_in_callback - this thread is running a host function. */
int cksim_in_callback(void);

/* cksim_stream_get - the living stream that the handle @h means for this thread (NULL, 1, 2 and real ones).
 * @ptsz: the per-thread variant of an export. INVALID_HANDLE, INVALID_CONTEXT, or the sticky error. */
CUresult cksim_stream_get(CUstream h, int ptsz, struct cksim_stream **out);
struct cksim_stream *cksim_stream_new(struct cksim_ctx *ctx, unsigned flags, int priority);
void cksim_stream_destroy(struct cksim_stream *s); /* what was submitted still runs */

/* cksim_submit - append @op (now the queue's, also on failure) to @s, behind what the legacy stream's rules ask
 * for, and behind @dep unless NULL; an EVENT counts as recorded from here. @wait: return when it is complete,
 * with the context's sticky error. */
CUresult cksim_submit(struct cksim_stream *s, struct cksim_op *op, struct cksim_event *dep, int wait);
CUresult cksim_stream_wait(struct cksim_stream *s);
int cksim_stream_idle(struct cksim_stream *s);
CUresult cksim_ctx_wait(struct cksim_ctx *ctx);
void cksim_all_wait(void); /* everything this process has submitted */
int cksim_event_done(struct cksim_event *e);
void cksim_event_wait(struct cksim_event *e);
void cksim_event_put(struct cksim_event *e);
void cksim_queue_forget(void);

/* --- api_ctx.c, api_code.c --------------------------------------------------------------------------- */
struct cksim_ctx *cksim_ctx_current(void); /* NULL, or one that may be destroyed */
struct cksim_ctx *cksim_ctx_of(CUcontext h); /* NULL: the current one; NULL when not alive */
void cksim_ctx_forget(void);
void cksim_modules_free(struct cksim_ctx *ctx);

struct cksim_func {
	struct cksim_obj obj;
	struct cksim_func *next;
	struct cksim_module *mod;
	struct ptx_func *ptx;
	int dynamic_max;
};
struct cksim_ctx *cksim_func_ctx(const struct cksim_func *f);

/* --- api_table.c --------------------------------------------------------------------------------------- */

/* cksim_proc_address - the export that cuGetProcAddress means; *@status (may be NULL) as documented there. */
CUresult cksim_proc_address(const char *symbol, void **fn, int version, uint64_t flags, int *status);

/* --- ckpt.c ------------------------------------------------------------------------------------------- */
#define CKSIM_SIGNAL	(SIGRTMIN + 20)
#define CKSIM_THREAD_NAME "cuda-ckpt-sim"

enum cksim_cmd { CKSIM_CMD_STATE, CKSIM_CMD_LOCK, CKSIM_CMD_CHECKPOINT, CKSIM_CMD_RESTORE, CKSIM_CMD_UNLOCK };
struct cksim_request {
	uint32_t size, cmd, timeout_ms, npairs;
	char dir[CKSIM_DIR_MAX];
	CUcheckpointGpuPair pairs[CKSIM_MAX_DEVICES];
};
struct cksim_reply {
	uint32_t size, result, state;
};
/* cksim_ckpt_name - the abstract socket of a request: its address into @un (struct sockaddr_un). Returns
 * the address's length. */
unsigned cksim_ckpt_name(void *un, uint64_t token);
/* cksim_ckpt_start - create the driver's thread, all signals blocked. 0 or -1. */
int cksim_ckpt_start(void);

#endif
