/* kernels.cu - the device code of the test programs. nvcc makes kernels.ptx from it; both are committed.
 *
 * Everything is deterministic: no atomic on floating point, one order of summation. Reductions that use
 * atomics do so on integers. */

#define TILE 8

/* A counter-based generator: the value depends on (seed, index) alone. */
static __device__ __forceinline__ unsigned mix(unsigned long long seed, unsigned long long i)
{
	unsigned long long x = seed + i * 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (unsigned)((x ^ (x >> 31)) >> 32);
}

/* Numbers in [-scale, scale). */
extern "C" __global__ void fill_random(float *out, unsigned n, unsigned long long seed, float scale)
{
	unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n)
		out[i] = ((float)(mix(seed, i) >> 8) * (1.0f / 8388608.0f) - 1.0f) * scale;
}

extern "C" __global__ void fill_u32(unsigned *out, unsigned n, unsigned long long seed)
{
	for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
		out[i] = mix(seed, i);
}

/* The samples of a step and what the network is to learn of them: a smooth function of the inputs. */
extern "C" __global__ void make_batch(float *x, float *y, unsigned rows, unsigned in, unsigned out,
				      unsigned long long seed)
{
	unsigned r = blockIdx.x * blockDim.x + threadIdx.x;
	if (r >= rows)
		return;
	float sum = 0.0f;
	for (unsigned k = 0; k < in; k++) {
		float v = (float)(mix(seed, (unsigned long long)r * in + k) >> 8) * (1.0f / 8388608.0f) - 1.0f;
		x[r * in + k] = v;
		sum = fmaf(v, (k & 1) ? -0.5f : 1.0f, sum);
	}
	for (unsigned k = 0; k < out; k++)
		y[r * out + k] = sum * sum * 0.25f - (float)k * 0.1f * sum;
}

/* c[m][n] = act(a[m][k] * b[k][n] + bias[n]), by way of tiles in shared memory; ta, tb: operand transposed. */
extern "C" __global__ void matmul(const float *a, const float *b, const float *bias, float *c, unsigned m,
				  unsigned n, unsigned k, unsigned ta, unsigned tb, unsigned relu)
{
	__shared__ float as[TILE][TILE + 1], bs[TILE][TILE + 1];
	unsigned row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
	float sum = 0.0f;
	for (unsigned t = 0; t < k; t += TILE) {
		unsigned ka = t + threadIdx.x, kb = t + threadIdx.y;
		as[threadIdx.y][threadIdx.x] = row < m && ka < k ? a[ta ? ka * m + row : row * k + ka] : 0.0f;
		bs[threadIdx.y][threadIdx.x] = col < n && kb < k ? b[tb ? col * k + kb : kb * n + col] : 0.0f;
		__syncthreads();
#pragma unroll
		for (unsigned j = 0; j < TILE; j++)
			sum = fmaf(as[threadIdx.y][j], bs[j][threadIdx.x], sum);
		__syncthreads();
	}
	if (row >= m || col >= n)
		return;
	if (bias)
		sum += bias[col];
	c[row * n + col] = relu && sum < 0.0f ? 0.0f : sum;
}

/* grad = 2 (out - want) / count; one block: loss = mean of the squares, summed in a fixed order. */
extern "C" __global__ void mse(const float *out, const float *want, float *grad, float *loss, unsigned count)
{
	__shared__ float part[128];
	float sum = 0.0f;
	for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
		float d = out[i] - want[i];
		grad[i] = 2.0f * d / (float)count;
		sum = fmaf(d, d, sum);
	}
	part[threadIdx.x] = sum;
	__syncthreads();
	for (unsigned s = blockDim.x / 2; s; s /= 2) {
		if (threadIdx.x < s)
			part[threadIdx.x] += part[threadIdx.x + s];
		__syncthreads();
	}
	if (threadIdx.x == 0)
		*loss = part[0] / (float)count;
}

extern "C" __global__ void relu_back(float *grad, const float *act, unsigned n)
{
	unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n && !(act[i] > 0.0f))
		grad[i] = 0.0f;
}

extern "C" __global__ void sum_rows(const float *grad, float *out, unsigned rows, unsigned cols)
{
	unsigned c = blockIdx.x * blockDim.x + threadIdx.x;
	if (c >= cols)
		return;
	float sum = 0.0f;
	for (unsigned r = 0; r < rows; r++)
		sum += grad[r * cols + c];
	out[c] = sum;
}

extern "C" __global__ void adam(float *w, const float *g, float *m, float *v, unsigned n, float rate, float c1,
				float c2)
{
	unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= n)
		return;
	m[i] = 0.9f * m[i] + 0.1f * g[i];
	v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
	w[i] -= rate * (m[i] * c1) / (sqrtf(v[i] * c2) + 1e-8f);
}

/* One step of the large state: of every group of @stride words one is read, mixed with its neighbour a
 * large way off and the step's number, and written, so that over @stride steps every word changes and a
 * word that came back wrong spreads. @stride * @stride divides nothing in particular; n is a multiple of
 * @stride. */
extern "C" __global__ void churn(unsigned *state, unsigned n, unsigned stride, unsigned step)
{
	unsigned groups = n / stride;
	for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < groups; i += gridDim.x * blockDim.x) {
		unsigned at = i * stride + step % stride, from = i * stride + (step * 7 + 3) % stride;
		state[at] = state[at] * 1664525u + (state[from] ^ (state[from] >> 15)) + step;
	}
}

/* Checksum on the device: out[0] += a position-dependent mix of each word. Integer, so any order is one. */
extern "C" __global__ void digest(const unsigned *in, unsigned n, unsigned long long *out)
{
	unsigned long long sum = 0;
	for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
		sum += (unsigned long long)mix(in[i], i) * (i | 1u);
	for (int d = 16; d; d /= 2)
		sum += __shfl_down_sync(0xffffffffu, sum, d);
	if ((threadIdx.x & 31) == 0)
		atomicAdd(out, sum);
}

/* mtstream: a chain of integer steps over a vector, which can be computed on the host as well. */
__constant__ unsigned twist[4] = { 0x9e3779b9u, 0x7f4a7c15u, 0xbf58476du, 0x94d049bbu };
__device__ unsigned launches;

extern "C" __global__ void vstep(unsigned *v, unsigned n, unsigned round)
{
	unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n) {
		unsigned x = v[i];
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		v[i] = x + twist[round & 3] * (i + round);
	}
	if (i == 0)
		atomicAdd(&launches, 1u);
}
