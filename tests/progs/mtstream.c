/* mtstream - several threads with a stream each, pinned memory of both kinds and events, and a thread that
 * maps and unmaps memory all the while: whoever maps something over it is found out.
 *
 * The main thread counts steps; in each, every worker does a round. While the main thread pauses, the
 * workers go on copying a scratch buffer to and fro, so that a preemption finds them in the driver.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "cu.h"

PTX_TEXT(stir_ptx);

enum { WORKERS = 3, WORDS = 600000, SCRATCH = 65536, MAPS = 48 };

static struct prog p = { .steps = 10, .seed = 1 };
static CUcontext ctx;
static CUfunction stir;
static pthread_barrier_t turn;
static atomic_int idle_work, stop_mapping;
static uint64_t sums[WORKERS];

struct worker {
	int id;
	CUstream stream;
	CUevent event;
	CUdeviceptr dev, scratch;
	uint32_t *pinned;     /* cuMemHostAlloc */
	uint32_t *registered; /* malloc, cuMemHostRegister */
};

static void idle(struct worker *w, uint32_t n)
{
	for (uint32_t i = 0; i < SCRATCH / 4; i++)
		w->registered[i] = i * 31 + n;
	CU(cuMemcpyHtoDAsync_v2, w->scratch, w->registered, SCRATCH, w->stream);
	CU(cuEventRecord, w->event, w->stream);
	CU(cuStreamWaitEvent, w->stream, w->event, 0);
	CU(cuMemcpyDtoHAsync_v2, w->pinned, w->scratch, SCRATCH, w->stream);
	CU(cuStreamSynchronize, w->stream);
	if (memcmp(w->pinned, w->registered, SCRATCH) != 0)
		prog_die(4, "worker %d: what came back is not what was sent", w->id);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint32_t n = WORDS;
	CU(cuCtxSetCurrent, ctx);
	CU(cuStreamCreate, &w->stream, CU_STREAM_NON_BLOCKING);
	CU(cuEventCreate, &w->event, CU_EVENT_DISABLE_TIMING);
	CU(cuMemAlloc_v2, &w->dev, WORDS * 4);
	CU(cuMemAlloc_v2, &w->scratch, SCRATCH);
	CU(cuMemHostAlloc, (void **)&w->pinned, WORDS * 4, 0);
	if (posix_memalign((void **)&w->registered, 4096, SCRATCH))
		prog_die(3, "no host memory");
	CU(cuMemHostRegister_v2, w->registered, SCRATCH, 0);
	for (uint32_t i = 0; i < WORDS; i++)
		w->pinned[i] = i * 2654435761u + (uint32_t)w->id + p.seed;
	CU(cuMemcpyHtoDAsync_v2, w->dev, w->pinned, WORDS * 4, w->stream);
	CU(cuStreamSynchronize, w->stream);
	for (int k = 1; k <= p.steps; k++) {
		uint32_t round = (uint32_t)k;
		pthread_barrier_wait(&turn);
		for (uint32_t i = 0; atomic_load(&idle_work); i++)
			idle(w, i);
		pthread_barrier_wait(&turn);
		void *args[] = { &w->dev, &n, &round };
		cu_launch(stir, (WORDS + 255) / 256, 256, w->stream, args);
		CU(cuMemcpyDtoHAsync_v2, w->pinned, w->dev, WORDS * 4, w->stream);
		CU(cuEventRecord, w->event, w->stream);
		CU(cuEventSynchronize, w->event);
		sums[w->id] = prog_sum(PROG_SUM, w->pinned, WORDS * 4);
		pthread_barrier_wait(&turn);
	}
	CU(cuMemHostUnregister, w->registered);
	return NULL;
}

static void *map_memory(void *arg)
{
	struct {
		uint64_t *at;
		size_t len;
		uint64_t key;
	} map[MAPS];
	uint64_t x = 88172645463325252u;
	memset(map, 0, sizeof map);
	while (!atomic_load(&stop_mapping)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		int i = (int)(x % MAPS);
		for (size_t k = 0; map[i].at && k < map[i].len / 8; k += 512)
			if (map[i].at[k] != (map[i].key ^ k))
				prog_die(4, "somebody mapped something over this program's memory");
		if (map[i].at)
			munmap(map[i].at, map[i].len);
		map[i].len = 4096 * (1 + x % 512);
		map[i].key = x;
		map[i].at = mmap(NULL, map[i].len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map[i].at == MAP_FAILED)
			prog_die(3, "mmap");
		for (size_t k = 0; k < map[i].len / 8; k += 512)
			map[i].at[k] = x ^ k;
	}
	return arg;
}

int main(int argc, char **argv)
{
	CUmodule m;
	pthread_t t[WORKERS], mapper;
	struct worker w[WORKERS];
	prog_args(&p, argc, argv);
	ctx = cu_start();
	CU(cuModuleLoadData, &m, stir_ptx);
	stir = cu_function(m, "stir");
	pthread_barrier_init(&turn, NULL, WORKERS + 1);
	memset(w, 0, sizeof w);
	for (int i = 0; i < WORKERS; i++) {
		w[i].id = i;
		if (pthread_create(&t[i], NULL, work, &w[i]))
			prog_die(3, "no thread");
	}
	if (pthread_create(&mapper, NULL, map_memory, NULL))
		prog_die(3, "no thread");
	for (int k = 1; k <= p.steps; k++) {
		atomic_store(&idle_work, prog_due(&p, k));
		pthread_barrier_wait(&turn);
		prog_pause(&p, k);
		atomic_store(&idle_work, 0);
		pthread_barrier_wait(&turn);
		pthread_barrier_wait(&turn);
		printf("step %d\n", k);
	}
	for (int i = 0; i < WORKERS; i++)
		pthread_join(t[i], NULL);
	atomic_store(&stop_mapping, 1);
	pthread_join(mapper, NULL);
	printf("checksum %016llx\n", (unsigned long long)prog_sum(PROG_SUM, sums, sizeof sums));
	prog_end(&p);
}
