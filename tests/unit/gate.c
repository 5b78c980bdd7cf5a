/* The gate: nobody is inside when it has closed, whoever waits gets in again, deadlines hold. The module is
 * compiled into the test, so that its sanitized builds check it too. */
#include "../../shim/gate.c"

#include "tap.h"

#define THREADS 4

static _Atomic(int) stop, inside, closed, seen_inside;
static _Atomic(long) calls;

static void *caller(void *arg)
{
	while (!atomic_load(&stop)) {
		ck_gate_enter(7);
		atomic_fetch_add(&inside, 1);
		if (atomic_load(&closed))
			atomic_fetch_add(&seen_inside, 1);
		ck_gate_enter(8); /* nested: must not stop at a gate that shut meanwhile */
		ck_gate_exit();
		atomic_fetch_sub(&inside, 1);
		ck_gate_exit();
		atomic_fetch_add(&calls, 1);
	}
	return arg;
}

static void *stayer(void *arg)
{
	ck_gate_enter(42);
	atomic_store((_Atomic(int) *)arg, 1);
	while (!atomic_load(&stop))
		usleep(1000);
	ck_gate_exit();
	return arg;
}

static void *brief(void *arg)
{
	ck_gate_enter(1);
	ck_gate_exit();
	return arg;
}

int main(void)
{
	pthread_t t[THREADS], s;
	pid_t tid = 0;
	int entry = 0, bad = 0, timeouts = 0;
	_Atomic(int) there = 0;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, caller, NULL);
	for (int round = 0; round < 2000; round++) {
		if (ck_gate_close(ck_now_ns() + 10000000000u, &tid, &entry)) {
			timeouts++;
			continue;
		}
		atomic_store(&closed, 1);
		bad += atomic_load(&inside) != 0;
		atomic_store(&closed, 0);
		ck_gate_open();
	}
	long before = atomic_load(&calls);
	while (atomic_load(&calls) == before)
		usleep(1000);
	ok(1, "callers get in again after 2000 closings");
	ok(timeouts == 0, "the gate closes while threads go in and out");
	ok(bad == 0 && atomic_load(&seen_inside) == 0, "nobody is inside a closed gate");
	atomic_store(&stop, 1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);

	atomic_store(&stop, 0);
	pthread_create(&s, NULL, stayer, &there);
	while (!atomic_load(&there))
		usleep(1000);
	ok(ck_gate_close(ck_now_ns() + 20000000u, &tid, &entry) == -1, "a thread that stays inside keeps it from closing");
	ok(entry == 42 && tid > 0 && tid != (pid_t)syscall(SYS_gettid), "it is told who stays, and in which call");
	ok(atomic_load(&ck_gate_shut) == 0, "and the gate is open again");
	ck_gate_enter(1);
	ck_gate_exit();
	atomic_store(&stop, 1);
	pthread_join(s, NULL);

	/* More threads than a block has slots, one after the other and at once. */
	for (int i = 0; i < 600; i++) {
		pthread_create(&s, NULL, brief, NULL);
		pthread_join(s, NULL);
	}
	ok(atomic_load(&first.next) == NULL, "slots of threads that have ended are used again");
	ok(ck_gate_close(ck_now_ns() + 1000000000u, &tid, &entry) == 0, "an empty gate closes");
	ck_gate_exempt();
	ck_gate_enter(3);
	ck_gate_exit();
	ok(1, "the control thread passes a shut gate");
	ck_gate_open();
	ck_gate_after_fork();
	ok(atomic_load(&ck_gate_shut) == 0, "a forked child begins with an open gate");
	return tap_done();
}
