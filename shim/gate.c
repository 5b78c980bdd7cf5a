#define _GNU_SOURCE
#include "gate.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "futex.h"

__thread struct ck_slot *ck_gate_slot __attribute__((tls_model("initial-exec")));
_Atomic(uint32_t) ck_gate_shut;

/* Slots come in blocks which are never given back; a thread's slot is free again after its end. */
#define BLOCK_SLOTS 255
struct block {
	_Atomic(struct block *) next;
	char pad[56];
	struct ck_slot slot[BLOCK_SLOTS];
};
static struct block first;
static _Atomic(uint32_t) left_count; /* futex: someone left a shut gate */
static pthread_key_t slot_key;
static pthread_once_t slot_once = PTHREAD_ONCE_INIT;

static void slot_release(void *p)
{
	struct ck_slot *s = p;
	ck_gate_slot = NULL;
	s->depth = 0;
	atomic_store(&s->busy, 0);
	atomic_store(&s->tid, 0);
}

static void make_key(void)
{
	pthread_key_create(&slot_key, slot_release);
}

static struct ck_slot *claim(struct block *b, pid_t tid)
{
	for (unsigned i = 0; i < BLOCK_SLOTS; i++) {
		pid_t none = 0;
		if (atomic_load_explicit(&b->slot[i].tid, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong(&b->slot[i].tid, &none, tid))
			return &b->slot[i];
	}
	return NULL;
}

struct ck_slot *ck_gate_take_slot(void)
{
	int keep = errno;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	struct ck_slot *s = NULL;
	for (struct block *b = &first; !s; b = atomic_load(&b->next)) {
		s = claim(b, tid);
		if (!s && !atomic_load(&b->next)) {
			struct block *fresh = mmap(NULL, sizeof *fresh, PROT_READ | PROT_WRITE,
						   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			struct block *none = NULL;
			if (fresh == MAP_FAILED) {
				/* No memory for a slot: wait for another thread to end. */
				usleep(1000);
				b = &first;
				continue;
			}
			if (!atomic_compare_exchange_strong(&b->next, &none, fresh))
				munmap(fresh, sizeof *fresh);
		}
	}
	ck_gate_slot = s;
	pthread_once(&slot_once, make_key);
	pthread_setspecific(slot_key, s);
	errno = keep;
	return s;
}

void ck_gate_wait(struct ck_slot *s)
{
	int keep = errno;
	for (;;) {
		atomic_store(&s->busy, 0);
		ck_gate_left();
		while (atomic_load(&ck_gate_shut))
			ck_futex_wait(&ck_gate_shut, 1, 0);
		atomic_exchange(&s->busy, 1);
		if (!atomic_load(&ck_gate_shut))
			break;
	}
	errno = keep;
}

void ck_gate_left(void)
{
	int keep = errno;
	atomic_fetch_add(&left_count, 1);
	ck_futex_wake(&left_count);
	errno = keep;
}

void ck_gate_exempt(void)
{
	struct ck_slot *s = ck_gate_slot ? ck_gate_slot : ck_gate_take_slot();
	s->depth = 1; /* every call of this thread is a nested one: never busy, never stopped */
}

static struct ck_slot *someone_inside(void)
{
	for (struct block *b = &first; b; b = atomic_load(&b->next))
		for (unsigned i = 0; i < BLOCK_SLOTS; i++)
			if (atomic_load(&b->slot[i].busy))
				return &b->slot[i];
	return NULL;
}

int ck_gate_close(uint64_t until_ns, pid_t *tid, int *entry)
{
	atomic_store(&ck_gate_shut, 1);
	for (;;) {
		uint32_t seen = atomic_load(&left_count);
		struct ck_slot *s = someone_inside();
		if (!s)
			return 0;
		uint64_t now = ck_now_ns();
		if (now >= until_ns) {
			*tid = atomic_load(&s->tid);
			*entry = atomic_load(&s->entry);
			ck_gate_open();
			return -1;
		}
		ck_futex_wait(&left_count, seen, until_ns - now);
	}
}

void ck_gate_open(void)
{
	atomic_store(&ck_gate_shut, 0);
	ck_futex_wake(&ck_gate_shut);
}

void ck_gate_after_fork(void)
{
	struct ck_slot *mine = ck_gate_slot;
	for (struct block *b = &first; b; b = atomic_load(&b->next))
		for (unsigned i = 0; i < BLOCK_SLOTS; i++) {
			struct ck_slot *s = &b->slot[i];
			if (s == mine) {
				atomic_store(&s->tid, (pid_t)syscall(SYS_gettid));
				continue;
			}
			s->depth = 0;
			atomic_store(&s->busy, 0);
			atomic_store(&s->tid, 0);
		}
	atomic_store(&ck_gate_shut, 0);
}
