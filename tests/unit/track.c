/* The table of allocations: found by any address inside, taken by the first only, whatever the order. */
#include "../../shim/track.c"

#include "tap.h"

int main(void)
{
	struct ck_alloc a;
	size_t n;
	int wrong = 0, unsorted = 0;
	/* 5000 ranges of 4096 bytes, 8192 apart, added in a scattered order */
	for (unsigned i = 0; i < 5000; i++) {
		unsigned k = i * 2791u % 5000;
		struct ck_alloc x = { .addr = 0x100000 + 8192ull * k, .size = 4096, .mapped = 4096, .stack = k,
			.kind = k % 2 ? CK_ALLOC_OFFLOAD : CK_ALLOC_DRIVER, .ctx = (CUcontext)(uintptr_t)(k % 5 + 1) };
		wrong += ck_track_add(&x) != 0;
	}
	ok(wrong == 0, "5000 allocations are added");
	const struct ck_alloc *t = ck_track_lock(&n);
	for (size_t i = 1; i < n; i++)
		unsorted += t[i - 1].addr >= t[i].addr;
	ck_track_unlock();
	ok(n == 5000 && unsorted == 0, "they lie sorted");
	for (unsigned k = 0; k < 5000; k++) {
		CUdeviceptr p = 0x100000 + 8192ull * k;
		wrong += !ck_track_find(p, &a) || a.stack != k;
		wrong += !ck_track_find(p + 4095, &a) || a.stack != k;
		wrong += ck_track_find(p + 4096, &a);
	}
	ok(wrong == 0, "found by first and last byte, not by the byte after");
	ok(!ck_track_find(0xfffff, &a) && !ck_track_find(~0ull, &a), "nothing is found outside");
	ok(!ck_track_take(0x100001, &a), "an address inside takes nothing");
	ok(ck_track_take(0x100000, &a) && a.stack == 0 && !ck_track_take(0x100000, &a), "the first takes it, once");
	uint64_t offloaded, driver;
	ck_track_totals(&offloaded, &driver);
	ok(offloaded == 2500 * 4096ull && driver == 2499 * 4096ull, "totals by kind");
	unsigned taken = 0;
	while (ck_track_take_ctx((CUcontext)3, &a))
		taken += a.stack % 5 == 2;
	ok(taken == 1000, "a context's are taken, all and only those");
	ck_track_after_fork();
	ck_track_lock(&n);
	ck_track_unlock();
	ok(n == 0, "a forked child owns none");
	return tap_done();
}
