/* gate.c - who may enter the driver when: initialisation, fork, checkpoint lock, injected faults, handles. */
#define _GNU_SOURCE
#include "cksim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../shim/base/io.h"

struct cksim_proc cksim = { .lock = PTHREAD_MUTEX_INITIALIZER };
static __thread int depth;

/* --- versions and faults ------------------------------------------------------------------------------ */

int cksim_driver_release(void)
{
	const char *v = getenv("CKSIM_DRIVER");
	int n = v ? atoi(v) : 0;
	return n >= 400 && n < 1000 ? n : 580;
}

int cksim_driver_version(void)
{
	static const struct { int release, version; } known[] = {
		{ 615, 13040 }, { 610, 13030 }, { 590, 13010 }, { 580, 13000 }, { 575, 12090 }, { 570, 12080 },
		{ 565, 12070 }, { 560, 12060 }, { 555, 12050 }, { 550, 12040 }, { 0, 12000 },
	};
	int r = cksim_driver_release();
	for (size_t i = 0;; i++)
		if (r >= known[i].release)
			return known[i].version;
}

static int fault_in(const char *list, const char *name, char arg[64])
{
	size_t len = strlen(name);
	while (list && *list) {
		size_t n = strcspn(list, ",\n");
		if (n >= len && !strncmp(list, name, len) && (n == len || list[len] == '=')) {
			size_t k = n > len ? n - len - 1 : 0;
			if (arg) {
				k = k > 63 ? 63 : k;
				memcpy(arg, list + len + 1, k);
				arg[k] = 0;
			}
			return 1;
		}
		list += n + (list[n] != 0);
	}
	return 0;
}

int cksim_fault(const char *name, char arg[64])
{
	char path[CKSIM_DIR_MAX + 16], text[512];
	if (arg)
		arg[0] = 0;
	if (fault_in(getenv("CKSIM_FAULT"), name, arg))
		return 1;
	if (!cksim.dir[0])
		return 0;
	snprintf(path, sizeof path, "%s/fault", cksim.dir);
	return ck_read_text(AT_FDCWD, path, text, sizeof text) > 0 && fault_in(text, name, arg);
}

/* Faults that any export may meet. The file is looked for at each call only while the variable or the
 * file's existence asks for it: one access(2) a call. */
static void maybe_hang(const char *name)
{
	char arg[64], path[CKSIM_DIR_MAX + 16];
	if (!cksim_fault("hang-in", arg) || strcmp(arg, name))
		return;
	/* A test that waits for a thread to be here waits for this file. */
	snprintf(path, sizeof path, "%s/hanging", cksim.dir);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	snprintf(path, sizeof path, "%s/release", cksim.dir);
	while (access(path, F_OK))
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* --- the gate ------------------------------------------------------------------------------------------- */

static void gate_pass(void)
{
	for (;;) {
		atomic_fetch_add(&cksim.inside, 1);
		uint32_t s = atomic_load(&cksim.state);
		if (s == CKSIM_RUNNING)
			return;
		atomic_fetch_sub(&cksim.inside, 1);
		syscall(SYS_futex, &cksim.state, FUTEX_WAIT_PRIVATE, s, NULL, NULL, 0);
	}
}

CUresult cksim_enter(const char *name, int need, int *inside)
{
	*inside = 0;
	if (atomic_load(&cksim.pid) != getpid())
		return CUDA_ERROR_NOT_INITIALIZED;
	if (cksim_in_callback())
		return CUDA_ERROR_NOT_PERMITTED;
	if (need & CKSIM_GATE) {
		if (depth == 0)
			gate_pass();
		depth++;
		*inside = 1;
		if (depth == 1)
			maybe_hang(name);
	}
	if (need & CKSIM_CTX) {
		struct cksim_ctx *c = cksim_ctx_current();
		CUresult r = !c ? CUDA_ERROR_INVALID_CONTEXT : c->destroyed ? CUDA_ERROR_CONTEXT_IS_DESTROYED :
			     (CUresult)atomic_load(&c->sticky);
		if (r) {
			cksim_leave(inside);
			*inside = 0;
			return r;
		}
	}
	return CUDA_SUCCESS;
}

void cksim_leave(int *inside)
{
	if (!*inside)
		return;
	if (--depth == 0)
		atomic_fetch_sub(&cksim.inside, 1);
}

/* --- handles ---------------------------------------------------------------------------------------------- */

#define BUCKETS 1024
static struct cksim_obj *table[BUCKETS];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

static struct cksim_obj **bucket(const void *p)
{
	return &table[((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15ull >> 54];
}

void cksim_obj_add(struct cksim_obj *o, enum cksim_type type)
{
	o->type = type;
	pthread_mutex_lock(&table_lock);
	o->hash_next = *bucket(o);
	*bucket(o) = o;
	pthread_mutex_unlock(&table_lock);
}

void cksim_obj_del(struct cksim_obj *o)
{
	pthread_mutex_lock(&table_lock);
	for (struct cksim_obj **at = bucket(o); *at; at = &(*at)->hash_next)
		if (*at == o) {
			*at = o->hash_next;
			break;
		}
	pthread_mutex_unlock(&table_lock);
}

int cksim_obj_is(const void *p, enum cksim_type type)
{
	int r = 0;
	pthread_mutex_lock(&table_lock);
	for (struct cksim_obj *o = *bucket(p); o && !r; o = o->hash_next)
		r = o == p && o->type == type;
	pthread_mutex_unlock(&table_lock);
	return r;
}

/* --- cuInit ------------------------------------------------------------------------------------------------ */

void cksim_choose_dir(char dir[CKSIM_DIR_MAX])
{
	const char *d = getenv("CKSIM_DIR");
	if (cksim.dir_given)
		d = cksim.dir;
	if (d && *d && strlen(d) < CKSIM_DIR_MAX)
		memmove(dir, d, strlen(d) + 1);
	else
		snprintf(dir, CKSIM_DIR_MAX, "/dev/shm/cksim-%u", (unsigned)getuid());
}

/* A forked child that inits anew. Everything of the parent is left alone; its descriptors are closed. */
static void become_child(void)
{
	cksim_machine_forget();
	cksim_vm_forget();
	cksim_queue_forget();
	cksim_ctx_forget();
	memset(table, 0, sizeof table);
	pthread_mutex_init(&table_lock, NULL);
	atomic_store(&cksim.inside, 0);
	atomic_store(&cksim.pending, 0);
	atomic_store(&cksim.state, CKSIM_RUNNING);
	cksim.managed = 0;
	depth = 0;
}

API(cuInit, unsigned flags)
{
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (atomic_load(&cksim.pid) == getpid())
		return CUDA_SUCCESS;
	if (atomic_load(&cksim.pid) && pthread_mutex_trylock(&cksim.lock) != 0)
		pthread_mutex_init(&cksim.lock, NULL);
	else if (!atomic_load(&cksim.pid))
		pthread_mutex_lock(&cksim.lock);
	CUresult r = CUDA_SUCCESS;
	if (atomic_load(&cksim.pid) != getpid()) {
		if (atomic_load(&cksim.pid))
			become_child();
		cksim_choose_dir(cksim.dir);
		cksim.driver = cksim_driver_release();
		r = cksim_machine_open(cksim.dir, -1);
		if (!r) {
			cksim.ndev = cksim_machine_devices();
			for (int i = 0; i < cksim.ndev; i++)
				cksim.devmap[i] = i;
			cksim_machine_identity();
			if (cksim_vm_aperture() || cksim_ckpt_start()) {
				cksim_machine_close();
				r = CUDA_ERROR_OPERATING_SYSTEM;
			}
		}
		if (!r)
			atomic_store(&cksim.pid, getpid());
	}
	pthread_mutex_unlock(&cksim.lock);
	return r;
}
