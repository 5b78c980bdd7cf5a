// blas.cu - cuBLAS under a checkpoint: its handle, its workspace and a stream of its own live across one. A chain
// of matrix products; each step prints a hash of a corner, the end a checksum of the whole. Deterministic: cuBLAS
// gives the same bits for the same call on the same GPU when one stream is used.
//
//   cublas [--steps N] [--pause-at K --pause-file F]
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N 1024

#define TRY(call)                                                                                          \
	do {                                                                                               \
		int e_ = (int)(call);                                                                      \
		if (e_) {                                                                                  \
			fprintf(stderr, "error %d: %s\n", e_, #call);                                      \
			exit(3);                                                                           \
		}                                                                                          \
	} while (0)

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
	struct timespec t = { 0, 10000000 };
	snprintf(path, sizeof path, "%s.reached", file);
	int fd = open(path, O_WRONLY | O_CREAT, 0666);
	if (fd < 0) {
		perror(path);
		exit(3);
	}
	close(fd);
	snprintf(path, sizeof path, "%s.go", file);
	while (access(path, F_OK) != 0)
		nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
	int steps = 20, pause = 0;
	const char *file = NULL;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--steps"))
			steps = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--pause-at"))
			pause = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--pause-file"))
			file = argv[i + 1];
	}
	setvbuf(stdout, NULL, _IOLBF, 0);

	size_t bytes = (size_t)N * N * sizeof(float);
	float *host = (float *)malloc(bytes), *a, *x, *y;
	cublasHandle_t blas;
	cudaStream_t s;
	uint32_t r = 1;
	for (int i = 0; i < N * N; i++) {
		r = r * 1664525u + 1013904223u;
		/* rows of about unit length: the chain neither vanishes nor overflows */
		host[i] = ((float)(r >> 8) / 8388608.0f - 1.0f) * 0.054f;
	}
	TRY(cudaStreamCreate(&s));
	TRY(cublasCreate(&blas));
	TRY(cublasSetStream(blas, s));
	TRY(cudaMalloc((void **)&a, bytes));
	TRY(cudaMalloc((void **)&x, bytes));
	TRY(cudaMalloc((void **)&y, bytes));
	TRY(cudaMemcpy(a, host, bytes, cudaMemcpyHostToDevice));
	TRY(cudaMemcpy(x, host, bytes, cudaMemcpyHostToDevice));
	const float one = 1, zero = 0;
	for (int step = 1; step <= steps; step++) {
		if (step == pause && file)
			pause_at(file);
		TRY(cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_T, N, N, N, &one, a, N, x, N, &zero, y, N));
		float *t = x;
		x = y;
		y = t;
		float corner[16];
		TRY(cudaMemcpyAsync(corner, x, sizeof corner, cudaMemcpyDeviceToHost, s));
		TRY(cudaStreamSynchronize(s));
		printf("step %d %016llx\n", step, (unsigned long long)hash(0xcbf29ce484222325ull, corner, sizeof corner));
	}
	TRY(cudaMemcpy(host, x, bytes, cudaMemcpyDeviceToHost));
	printf("checksum %016llx\n", (unsigned long long)hash(0xcbf29ce484222325ull, host, bytes));
	TRY(cublasDestroy(blas));
	return 0;
}
