// The kernels of train.c. Every result is the same bit for bit on each run: no floating-point atomics, a
// fixed order of every sum.
#include <stdint.h>

#define TILE 16

static __device__ __forceinline__ uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ x >> 16;
}

// n numbers, uniform in [-scale, scale)
extern "C" __global__ void fill(float *p, uint32_t n, uint32_t seed, float scale)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n)
		p[i] = ((float)(mix(i * 2654435761u + seed) >> 8) * (1.0f / 8388608.0f) - 1.0f) * scale;
}

// c[m][n] = a[m][k] * b[k][n]; ta, tb: the operand is stored transposed. Grid over (n, m), tile by tile.
extern "C" __global__ void gemm(float *c, const float *a, const float *b, uint32_t m, uint32_t n, uint32_t k,
				uint32_t ta, uint32_t tb)
{
	__shared__ float sa[TILE][TILE], sb[TILE][TILE];
	uint32_t tx = threadIdx.x % TILE, ty = threadIdx.x / TILE, across = (n + TILE - 1) / TILE;
	uint32_t row = blockIdx.x / across * TILE + ty, col = blockIdx.x % across * TILE + tx;
	float sum = 0.0f;
	for (uint32_t t = 0; t < k; t += TILE) {
		uint32_t ka = t + tx, kb = t + ty;
		sa[ty][tx] = row < m && ka < k ? (ta ? a[ka * m + row] : a[row * k + ka]) : 0.0f;
		sb[ty][tx] = kb < k && col < n ? (tb ? b[col * k + kb] : b[kb * n + col]) : 0.0f;
		__syncthreads();
		for (uint32_t i = 0; i < TILE; i++)
			sum = fmaf(sa[ty][i], sb[i][tx], sum);
		__syncthreads();
	}
	if (row < m && col < n)
		c[row * n + col] = sum;
}

extern "C" __global__ void bias_relu(float *h, const float *bias, uint32_t rows, uint32_t cols, uint32_t relu)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < rows * cols) {
		float v = h[i] + bias[i % cols];
		h[i] = relu && v < 0.0f ? 0.0f : v;
	}
}

extern "C" __global__ void relu_back(float *d, const float *h, uint32_t n)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n && h[i] <= 0.0f)
		d[i] = 0.0f;
}

// target: a fixed nonlinear function of the input; d = (out - target) * 2 / n; one block sums the loss
extern "C" __global__ void loss(const float *out, const float *x, float *d, float *total, uint32_t rows,
				uint32_t nout, uint32_t nin)
{
	__shared__ float part[256];
	float sum = 0.0f, scale = 1.0f / (float)(rows * nout);
	for (uint32_t i = threadIdx.x; i < rows * nout; i += blockDim.x) {
		const float *in = x + i / nout * nin;
		float target = in[i % nout] * in[(i % nout + 1) % nin] + 0.5f * in[(i % nout + 3) % nin];
		float e = out[i] - target;
		d[i] = 2.0f * e * scale;
		sum = fmaf(e * scale, e, sum);
	}
	part[threadIdx.x] = sum;
	for (uint32_t s = blockDim.x / 2; s; s /= 2) {
		__syncthreads();
		if (threadIdx.x < s)
			part[threadIdx.x] += part[threadIdx.x + s];
	}
	if (threadIdx.x == 0)
		*total = part[0];
}

extern "C" __global__ void col_sum(float *g, const float *d, uint32_t rows, uint32_t cols)
{
	uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;
	if (c >= cols)
		return;
	float sum = 0.0f;
	for (uint32_t r = 0; r < rows; r++)
		sum += d[r * cols + c];
	g[c] = sum;
}

// Adam without bias correction
extern "C" __global__ void adam(float *w, const float *g, float *m, float *v, uint32_t n, float rate)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= n)
		return;
	float gi = g[i], mi = fmaf(0.9f, m[i], 0.1f * gi), vi = fmaf(0.99f, v[i], 0.01f * gi * gi);
	m[i] = mi;
	v[i] = vi;
	w[i] -= rate * mi / (sqrtf(vi) + 1e-6f);
}

__device__ uint32_t steps_done; // a module's own variable lives on the device too

// Touch count places of a large buffer, spread over all of it, each depending on what was there before.
extern "C" __global__ void churn(uint32_t *big, uint32_t words, uint32_t count, uint32_t step)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < count) {
		uint32_t at = (uint32_t)(((uint64_t)words * i) / count + mix(step) % (words / count));
		big[at] = mix(big[at] + i + step);
	}
	if (i == 0)
		steps_done = steps_done + 1;
}
