// runtime.cu - what "nvcc x.cu" makes: a program of the runtime API that knows nothing of checkpoints. Streams,
// pinned memory, a __device__ variable, constant memory, asynchronous copies,
// memory allocated and freed while it runs. Prints a line each step and a checksum of everything at the end.
//
//   runtime [--steps N] [--pause-at K --pause-file F]
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORDS (4u << 20)
#define PART (1u << 16)
#define STREAMS 3

#define RT(call)                                                                                           \
	do {                                                                                               \
		cudaError_t e_ = (call);                                                                   \
		if (e_ != cudaSuccess) {                                                                   \
			fprintf(stderr, "%s: %s\n", cudaGetErrorString(e_), #call);                        \
			exit(3);                                                                           \
		}                                                                                          \
	} while (0)

__device__ unsigned int launches;
__constant__ unsigned int twist[4];

static __host__ __device__ uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ x >> 16;
}

__global__ void stir(uint32_t *p, uint32_t n, uint32_t step)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n)
		p[i] = mix(p[i] + step) ^ twist[i & 3];
	if (i == 0)
		atomicAdd(&launches, 1);
}

__global__ void add_to(float *out, const float *in, uint32_t n)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n)
		out[i] = out[i] * 0.5f + in[i];
}

static uint64_t hash(uint64_t h, const void *buf, size_t len)
{
	const uint8_t *p = (const uint8_t *)buf;
	while (len--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

static void pause_at(const char *file)
{
	char path[4096];
	snprintf(path, sizeof path, "%s.reached", file);
	int fd = open(path, O_WRONLY | O_CREAT, 0666);
	if (fd < 0) {
		perror(path);
		exit(3);
	}
	close(fd);
	snprintf(path, sizeof path, "%s.go", file);
	struct timespec t = { 0, 10000000 };
	while (access(path, F_OK) != 0)
		nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
	unsigned steps = 20, pause = 0;
	const char *file = NULL;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--steps"))
			steps = (unsigned)atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--pause-at"))
			pause = (unsigned)atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--pause-file"))
			file = argv[i + 1];
	}
	setvbuf(stdout, NULL, _IOLBF, 0);

	const unsigned init[4] = { 3, 5, 7, 11 };
	uint32_t *host, *part[STREAMS], *dev[STREAMS];
	float *a, *b;
	cudaStream_t s[STREAMS];
	RT(cudaMemcpyToSymbol(twist, init, sizeof init));
	host = (uint32_t *)malloc(WORDS * 4);
	for (uint32_t i = 0; i < WORDS; i++)
		host[i] = mix(i);
	for (int k = 0; k < STREAMS; k++) {
		RT(cudaStreamCreate(&s[k]));
		RT(cudaMalloc(&dev[k], WORDS * 4));
		RT(cudaHostAlloc(&part[k], PART * 4, cudaHostAllocDefault));
		RT(cudaMemcpy(dev[k], host, WORDS * 4, cudaMemcpyHostToDevice));
		host[0] += 1;
	}
	RT(cudaMalloc(&a, PART * 4));
	RT(cudaMalloc(&b, PART * 4));
	RT(cudaMemset(a, 0, PART * 4));

	for (unsigned step = 1; step <= steps; step++) {
		if (step == pause && file)
			pause_at(file);
		float *tmp;
		RT(cudaMalloc(&tmp, (1u << 20) + step * 4096));
		RT(cudaMemset(tmp, (int)(step & 15), PART * 4));
		for (int k = 0; k < STREAMS; k++) {
			stir<<<(WORDS + 255) / 256, 256, 0, s[k]>>>(dev[k], WORDS, step + (unsigned)k);
			RT(cudaGetLastError());
			RT(cudaMemcpyAsync(part[k], dev[k] + step * 101 % (WORDS - PART), PART * 4, cudaMemcpyDeviceToHost, s[k]));
		}
		RT(cudaMemcpy(b, tmp, PART * 4, cudaMemcpyDeviceToDevice));
		add_to<<<(PART + 255) / 256, 256>>>(a, b, PART);
		RT(cudaGetLastError());
		RT(cudaDeviceSynchronize());
		RT(cudaFree(tmp));
		uint64_t h = 0xcbf29ce484222325ull;
		for (int k = 0; k < STREAMS; k++)
			h = hash(h, part[k], 4096);
		printf("step %u %016llx\n", step, (unsigned long long)h);
	}

	unsigned n;
	uint64_t h = 0xcbf29ce484222325ull;
	RT(cudaMemcpyFromSymbol(&n, launches, sizeof n));
	h = hash(h, &n, sizeof n);
	for (int k = 0; k < STREAMS; k++) {
		RT(cudaMemcpy(host, dev[k], WORDS * 4, cudaMemcpyDeviceToHost));
		h = hash(h, host, WORDS * 4);
	}
	RT(cudaMemcpy(host, a, PART * 4, cudaMemcpyDeviceToHost));
	h = hash(h, host, PART * 4);
	printf("checksum %016llx\n", (unsigned long long)h);
	return 0;
}
