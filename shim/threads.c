#define _GNU_SOURCE
#include "threads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gate.h"
#include "hook.h"
#include "state.h"

/* A driver starts a handful of threads for each context. Past the table's end a thread counts as the
 * program's: it is held a moment longer than it should be, and the deadline says so. */
#define MAX_THREADS 1024

struct entry {
	_Atomic(int32_t) state; /* 0 free, -1 being started, else the tid */
	void *(*fn)(void *);
	void *arg;
};
static struct entry table[MAX_THREADS];

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static create_fn *real_create;

static void leave(void *p)
{
	struct entry *t = p;
	atomic_store(&t->state, 0);
}

static void *driver_thread(void *p)
{
	struct entry *t = p;
	void *result;
	atomic_store(&t->state, (int32_t)syscall(SYS_gettid));
	pthread_cleanup_push(leave, t);
	result = t->fn(t->arg);
	pthread_cleanup_pop(1);
	return result;
}

static struct entry *claim(void)
{
	for (int i = 0; i < MAX_THREADS; i++) {
		int32_t none = 0;
		if (atomic_load(&table[i].state) == 0 && atomic_compare_exchange_strong(&table[i].state, &none, -1))
			return &table[i];
	}
	return NULL;
}

CK_EXPORT int pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	if (!real_create)
		real_create = (create_fn *)dlvsym(RTLD_NEXT, "pthread_create", "GLIBC_2.2.5");
	if (!ck_state.supervised || !ck_hook_driver_path() || !ck_hook_is_driver_code(__builtin_return_address(0)))
		return real_create(t, attr, fn, arg);
	struct entry *e = claim();
	if (!e)
		return real_create(t, attr, fn, arg);
	e->fn = fn;
	e->arg = arg;
	int rc = real_create(t, attr, driver_thread, e);
	if (rc)
		atomic_store(&e->state, 0);
	return rc;
}

void ck_threads_report(struct ck_msg *m)
{
	uint64_t from = m->a, total = 0, fits = 0;
	int32_t tids[sizeof m->text / sizeof(int32_t) - 1];
	for (int i = 0; i < MAX_THREADS; i++) {
		int32_t tid = atomic_load(&table[i].state);
		if (tid <= 0)
			continue;
		if (total++ >= from && fits < sizeof tids / sizeof tids[0])
			tids[fits++] = tid;
	}
	ck_msg_init(m, CK_MSG_THREADS);
	m->a = total;
	m->b = fits;
	memcpy(m->text, tids, fits * sizeof tids[0]);
}

void ck_threads_after_fork(void)
{
	memset(table, 0, sizeof table);
}
