// Kernels of the probe and of the measurements: as plain as they can be. kernels.ptx is committed.
#include <stdint.h>

__device__ unsigned int counter;

static __device__ __forceinline__ uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ x >> 16;
}

// one thread, n dependent steps through memory: runs for a while
extern "C" __global__ void spin(volatile uint32_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		*p = *p + 1;
}

extern "C" __global__ void add(uint32_t *p, uint32_t v)
{
	*p += v;
}

extern "C" __global__ void bump(uint32_t v)
{
	counter += v;
}

extern "C" __global__ void nothing(void)
{
}

extern "C" __global__ void fill_words(uint32_t *p, uint64_t n, uint32_t seed)
{
	uint64_t step = (uint64_t)gridDim.x * blockDim.x;
	for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
		p[i] = mix((uint32_t)i ^ mix((uint32_t)(i >> 32) + seed));
}

// integer sum: the same in whatever order the threads come
extern "C" __global__ void sum_words(const uint32_t *p, uint64_t n, unsigned long long *sum)
{
	uint64_t step = (uint64_t)gridDim.x * blockDim.x;
	unsigned long long s = 0;
	for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
		s += (unsigned long long)p[i] * (uint32_t)(2 * i + 1);
	atomicAdd(sum, s);
}
