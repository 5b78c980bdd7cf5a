#define _GNU_SOURCE
#include "track.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ck_alloc *table;
static size_t count, room;

static int grow(void)
{
	size_t want = room ? room * 2 : 1024;
	void *p = room ? mremap(table, room * sizeof *table, want * sizeof *table, MREMAP_MAYMOVE)
		       : mmap(NULL, want * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -1;
	table = p;
	room = want;
	return 0;
}

/* Index of the first allocation whose end lies above @addr. */
static size_t lower(CUdeviceptr addr)
{
	size_t lo = 0, hi = count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (table[mid].addr + table[mid].size <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void take_at(size_t i, struct ck_alloc *out)
{
	*out = table[i];
	memmove(table + i, table + i + 1, (count - i - 1) * sizeof *table);
	count--;
}

int ck_track_add(const struct ck_alloc *a)
{
	pthread_mutex_lock(&lock);
	if (count == room && grow()) {
		pthread_mutex_unlock(&lock);
		return -1;
	}
	size_t i = lower(a->addr);
	memmove(table + i + 1, table + i, (count - i) * sizeof *table);
	table[i] = *a;
	count++;
	pthread_mutex_unlock(&lock);
	return 0;
}

bool ck_track_find(CUdeviceptr addr, struct ck_alloc *out)
{
	pthread_mutex_lock(&lock);
	size_t i = lower(addr);
	bool hit = i < count && table[i].addr <= addr;
	if (hit)
		*out = table[i];
	pthread_mutex_unlock(&lock);
	return hit;
}

bool ck_track_take(CUdeviceptr addr, struct ck_alloc *out)
{
	pthread_mutex_lock(&lock);
	size_t i = lower(addr);
	bool hit = i < count && table[i].addr == addr;
	if (hit)
		take_at(i, out);
	pthread_mutex_unlock(&lock);
	return hit;
}

bool ck_track_take_ctx(CUcontext ctx, struct ck_alloc *out)
{
	bool hit = false;
	pthread_mutex_lock(&lock);
	for (size_t i = count; i-- > 0 && !hit;)
		if (table[i].ctx == ctx) {
			take_at(i, out);
			hit = true;
		}
	pthread_mutex_unlock(&lock);
	return hit;
}

struct ck_alloc *ck_track_lock(size_t *n)
{
	pthread_mutex_lock(&lock);
	*n = count;
	return table;
}

void ck_track_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void ck_track_totals(uint64_t *offloaded, uint64_t *driver)
{
	*offloaded = *driver = 0;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < count; i++)
		*(table[i].kind == CK_ALLOC_OFFLOAD ? offloaded : driver) += table[i].size;
	pthread_mutex_unlock(&lock);
}

void ck_track_after_fork(void)
{
	pthread_mutex_init(&lock, NULL);
	count = 0;
}
