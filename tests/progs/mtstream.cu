// The kernel of mtstream.c and forker.c.
#include <stdint.h>

extern "C" __global__ void stir(uint32_t *p, uint32_t n, uint32_t round)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n) {
		uint32_t x = p[i] ^ (i + round * 0x9e3779b9u);
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		p[i] = x;
	}
}
