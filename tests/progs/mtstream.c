/* mtstream.c - several threads, each with a stream, pinned memory, events and copies of its own, and one
 * thread without CUDA that maps, fills, checks and unmaps memory all the while: whatever puts something
 * over a mapping of this process is found out by it. Every step is verified against the host. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "cu.h"
#include "prog.h"

#define THREADS 4
#define REGIONS 64

static struct prog_opts opts = { .steps = 20, .size = 0, .seed = 7 };
static CUcontext context;
static CUfunction vstep;
static pthread_barrier_t begin, end;
static atomic_int stop;
static atomic_ulong mapped;
static const uint32_t twist[4] = { 0x9e3779b9u, 0x7f4a7c15u, 0xbf58476du, 0x94d049bbu };

struct lane {
	pthread_t thread;
	unsigned id, n;
	uint64_t hash;
};

/* What the kernel does, here. */
static void host_step(uint32_t *v, unsigned n, unsigned round)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t x = v[i];
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		v[i] = x + twist[round & 3] * (i + round);
	}
}

/* Pinned memory in the two ways: of the driver, and of our own. */
static uint32_t *pin(unsigned id, size_t size)
{
	void *p = NULL;
	if (id & 1) {
		p = mmap(NULL, (size + 4095) & ~4095ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			prog_fail("mmap");
		CU(cuMemHostRegister_v2(p, (size + 4095) & ~4095ul, 0));
	} else {
		CU(cuMemHostAlloc(&p, size, CU_MEMHOSTALLOC_PORTABLE));
	}
	return p;
}

static void unpin(unsigned id, void *p, size_t size)
{
	if (!(id & 1)) {
		CU(cuMemFreeHost(p));
		return;
	}
	CU(cuMemHostUnregister(p));
	munmap(p, (size + 4095) & ~4095ul);
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	size_t size = l->n * 4ul;
	CUstream stream;
	CUevent up, done;
	CUdeviceptr dev;
	CU(cuCtxSetCurrent(context));
	CU(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	CU(cuEventCreate(&up, CU_EVENT_DISABLE_TIMING));
	CU(cuEventCreate(&done, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING));
	CU(cuMemAlloc_v2(&dev, size));
	uint32_t *in = pin(l->id, size), *out = pin(l->id + 1, size), *want = malloc(size);
	if (!want)
		prog_fail("no memory");
	for (unsigned i = 0; i < l->n; i++)
		want[i] = in[i] = prog_random(opts.seed + l->id, i);
	CU(cuMemcpyHtoDAsync_v2(dev, in, size, stream));
	for (unsigned long step = 1; step <= opts.steps; step++) {
		unsigned round = (unsigned)step, part = l->n / 8, at = (unsigned)(step % 8) * part;
		pthread_barrier_wait(&begin);
		/* an eighth comes anew from the host each step, the rest stays what it became */
		for (unsigned i = 0; i < part; i++)
			want[at + i] = in[at + i] = prog_random(opts.seed * 31 + step, i + l->id * l->n);
		CU(cuMemcpyHtoDAsync_v2(dev + at * 4ul, in + at, part * 4ul, stream));
		CU(cuEventRecord(up, stream));
		CU(cuStreamWaitEvent(stream, up, 0));
		cu_launch1(vstep, l->n, 128, stream, (void *[]){ &dev, &l->n, &round });
		CU(cuMemcpyDtoHAsync_v2(out, dev, size, stream));
		CU(cuEventRecord(done, stream));
		host_step(want, l->n, round);
		CU(cuEventSynchronize(done));
		for (unsigned i = 0; i < l->n; i++)
			if (out[i] != want[i])
				prog_fail("thread %u, step %lu, word %u: %08x, not %08x", l->id, step, i, out[i], want[i]);
		pthread_barrier_wait(&end);
	}
	CU(cuStreamSynchronize(stream));
	l->hash = prog_hash(l->id, out, size);
	unpin(l->id, in, size);
	unpin(l->id + 1, out, size);
	free(want);
	CU(cuMemFree_v2(dev));
	CU(cuEventDestroy_v2(up));
	CU(cuEventDestroy_v2(done));
	CU(cuStreamDestroy_v2(stream));
	return NULL;
}

static void fill(uint32_t *p, size_t words, uint32_t key)
{
	for (size_t i = 0; i < words; i += 61)
		p[i] = key + (uint32_t)i;
}

static void check(const uint32_t *p, size_t words, uint32_t key)
{
	for (size_t i = 0; i < words; i += 61)
		if (p[i] != key + (uint32_t)i)
			prog_fail("memory at %p was changed under us: %08x, not %08x", (const void *)&p[i], p[i],
				  key + (uint32_t)i);
}

/* Keeps REGIONS regions alive, half of them malloc's, and replaces the oldest all the time. */
static void *mapper_main(void *arg)
{
	static struct {
		uint32_t *p;
		size_t words;
		uint32_t key;
		int heap;
	} r[REGIONS];
	(void)arg;
	for (uint32_t k = 0; !atomic_load(&stop); k++) {
		unsigned s = k % REGIONS;
		if (r[s].p) {
			check(r[s].p, r[s].words, r[s].key);
			if (r[s].heap)
				free(r[s].p);
			else
				munmap(r[s].p, r[s].words * 4);
		}
		r[s].words = 1024 * (1 + prog_random(99, k) % 64);
		r[s].heap = (int)(k & 1);
		r[s].key = prog_random(98, k);
		r[s].p = r[s].heap ? malloc(r[s].words * 4)
				   : mmap(NULL, r[s].words * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (!r[s].p || r[s].p == MAP_FAILED)
			prog_fail("no memory");
		fill(r[s].p, r[s].words, r[s].key);
		atomic_fetch_add(&mapped, 1);
		if (s == 0) {
			for (unsigned i = 0; i < REGIONS; i++)
				if (r[i].p)
					check(r[i].p, r[i].words, r[i].key);
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		}
	}
	for (unsigned i = 0; i < REGIONS; i++)
		if (r[i].p)
			check(r[i].p, r[i].words, r[i].key);
	return NULL;
}

int main(int argc, char **argv)
{
	struct lane lanes[THREADS];
	pthread_t mapper;
	uint64_t hash = 0;
	prog_options(&opts, argc, argv);
	CUmodule mod = cu_setup(&context);
	vstep = cu_function(mod, "vstep");
	pthread_barrier_init(&begin, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	if (pthread_create(&mapper, NULL, mapper_main, NULL) != 0)
		prog_fail("no thread");
	for (unsigned k = 0; k < THREADS; k++) {
		/* one vector above a MiB, the others below */
		lanes[k] = (struct lane){ .id = k, .n = k ? 8192u + 1024u * k : 300u * 1024u };
		if (pthread_create(&lanes[k].thread, NULL, lane_main, &lanes[k]) != 0)
			prog_fail("no thread");
	}
	for (unsigned long step = 1; step <= opts.steps; step++) {
		prog_pause(&opts, step);
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		printf("step %lu verified\n", step);
	}
	for (unsigned k = 0; k < THREADS; k++) {
		pthread_join(lanes[k].thread, NULL);
		hash = prog_hash(hash, &lanes[k].hash, sizeof lanes[k].hash);
	}
	atomic_store(&stop, 1);
	pthread_join(mapper, NULL);
	if (!atomic_load(&mapped))
		prog_fail("the mapping thread never ran");
	/* the module's own counter lies in device memory too */
	CUdeviceptr p;
	size_t size;
	unsigned launches;
	CU(cuModuleGetGlobal_v2(&p, &size, mod, "launches"));
	CU(cuMemcpyDtoH_v2(&launches, p, sizeof launches));
	if (size != sizeof launches || launches != THREADS * opts.steps)
		prog_fail("%u launches counted on the device, not %lu", launches, THREADS * opts.steps);
	CU(cuModuleUnload(mod));
	prog_end(&opts, hash);
}
