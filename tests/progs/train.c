/* train - a small network trained wholly on the device. Knows nothing of checkpoints.
 *
 * Prints "step K loss X" for each step and, last, "checksum H" over weights, optimizer state and the large
 * buffers, read back from the device. The same for the same --seed and --steps, bit for bit.
 */
#include <stdio.h>
#include <string.h>

#include "cu.h"

PTX_TEXT(train_ptx);

enum { ROWS = 32, NIN = 32, NHID = 64, NOUT = 8, CHURN = 8192 };

static CUfunction fill, gemm, bias_relu, relu_back, loss, col_sum, adam, churn;

struct param { /* a weight with its gradient and the optimizer's two moments */
	CUdeviceptr w, g, m, v;
	uint32_t n;
};

static struct param w1, b1, w2, b2;
static CUdeviceptr x, hid, out, dhid, dout, total, big[2];
static uint32_t words;

static CUdeviceptr device(size_t bytes)
{
	CUdeviceptr p;
	CU(cuMemAlloc_v2, &p, bytes);
	CU(cuMemsetD8_v2, p, 0, bytes);
	return p;
}

static unsigned blocks(uint32_t n)
{
	return (n + 127) / 128;
}

static void fill_with(CUdeviceptr p, uint32_t n, uint32_t seed, float scale)
{
	void *args[] = { &p, &n, &seed, &scale };
	cu_launch(fill, blocks(n), 128, NULL, args);
}

static struct param param(uint32_t n, uint32_t seed, float scale)
{
	struct param p = { device(n * 4), device(n * 4), device(n * 4), device(n * 4), n };
	fill_with(p.w, n, seed, scale);
	return p;
}

static void multiply(CUdeviceptr c, CUdeviceptr a, CUdeviceptr b, uint32_t m, uint32_t n, uint32_t k, uint32_t ta,
		     uint32_t tb)
{
	void *args[] = { &c, &a, &b, &m, &n, &k, &ta, &tb };
	cu_launch(gemm, (m + 15) / 16 * ((n + 15) / 16), 256, NULL, args);
}

static void layer(CUdeviceptr h, CUdeviceptr bias, uint32_t cols, uint32_t relu)
{
	uint32_t rows = ROWS;
	void *args[] = { &h, &bias, &rows, &cols, &relu };
	cu_launch(bias_relu, blocks(rows * cols), 128, NULL, args);
}

static void sum_columns(CUdeviceptr g, CUdeviceptr d, uint32_t cols)
{
	uint32_t rows = ROWS;
	void *args[] = { &g, &d, &rows, &cols };
	cu_launch(col_sum, blocks(cols), 128, NULL, args);
}

static void update(struct param *p)
{
	float rate = 0.01f;
	void *args[] = { &p->w, &p->g, &p->m, &p->v, &p->n, &rate };
	cu_launch(adam, blocks(p->n), 128, NULL, args);
}

static float step(uint32_t k, uint32_t seed)
{
	uint32_t rows = ROWS, nin = NIN, nout = NOUT, nh = ROWS * NHID, count = CHURN;
	float value;
	fill_with(x, ROWS * NIN, seed + k * 7919u, 1.0f);
	multiply(hid, x, w1.w, ROWS, NHID, NIN, 0, 0);
	layer(hid, b1.w, NHID, 1);
	multiply(out, hid, w2.w, ROWS, NOUT, NHID, 0, 0);
	layer(out, b2.w, NOUT, 0);
	void *la[] = { &out, &x, &dout, &total, &rows, &nout, &nin };
	cu_launch(loss, 1, 256, NULL, la);
	multiply(w2.g, hid, dout, NHID, NOUT, ROWS, 1, 0);
	sum_columns(b2.g, dout, NOUT);
	multiply(dhid, dout, w2.w, ROWS, NHID, NOUT, 0, 1);
	void *ra[] = { &dhid, &hid, &nh };
	cu_launch(relu_back, blocks(nh), 128, NULL, ra);
	multiply(w1.g, x, dhid, NIN, NHID, ROWS, 1, 0);
	sum_columns(b1.g, dhid, NHID);
	update(&w1);
	update(&b1);
	update(&w2);
	update(&b2);
	for (int i = 0; i < 2; i++) {
		void *ca[] = { &big[i], &words, &count, &k };
		cu_launch(churn, blocks(count), 128, NULL, ca);
	}
	CU(cuMemcpyDtoH_v2, &value, total, sizeof value);
	return value;
}

static uint64_t sum_device(uint64_t h, CUdeviceptr p, size_t bytes)
{
	void *host = malloc(bytes);
	if (!host)
		prog_die(3, "no host memory");
	CU(cuMemcpyDtoH_v2, host, p, bytes);
	h = prog_sum(h, host, bytes);
	free(host);
	return h;
}

int main(int argc, char **argv)
{
	struct prog p = { .steps = 20, .size = 8 << 20, .seed = 1 };
	CUmodule m;
	prog_args(&p, argc, argv);
	words = (uint32_t)(p.size / 8 < CHURN * 4 ? CHURN * 4 : p.size / 8);
	cu_start();
	CU(cuModuleLoadData, &m, train_ptx);
	fill = cu_function(m, "fill");
	gemm = cu_function(m, "gemm");
	bias_relu = cu_function(m, "bias_relu");
	relu_back = cu_function(m, "relu_back");
	loss = cu_function(m, "loss");
	col_sum = cu_function(m, "col_sum");
	adam = cu_function(m, "adam");
	churn = cu_function(m, "churn");
	w1 = param(NIN * NHID, p.seed * 11, 0.3f);
	b1 = param(NHID, p.seed * 13, 0.1f);
	w2 = param(NHID * NOUT, p.seed * 17, 0.3f);
	b2 = param(NOUT, p.seed * 19, 0.1f);
	x = device(ROWS * NIN * 4);
	hid = device(ROWS * NHID * 4);
	out = device(ROWS * NOUT * 4);
	dhid = device(ROWS * NHID * 4);
	dout = device(ROWS * NOUT * 4);
	total = device(4);
	for (int i = 0; i < 2; i++)
		big[i] = device((size_t)words * 4);
	for (int k = 1; k <= p.steps; k++) {
		prog_pause(&p, k);
		printf("step %d loss %.9g\n", k, (double)step((uint32_t)k, p.seed));
	}
	CUdeviceptr counter;
	size_t size;
	uint32_t done = 0;
	CU(cuModuleGetGlobal_v2, &counter, &size, m, "steps_done");
	CU(cuMemcpyDtoH_v2, &done, counter, sizeof done);
	if (done != 2 * (uint32_t)p.steps)
		prog_die(4, "the device has counted %u launches, not %d", done, 2 * p.steps);
	uint64_t h = PROG_SUM;
	const struct param *all[] = { &w1, &b1, &w2, &b2 };
	for (int i = 0; i < 4; i++) {
		h = sum_device(h, all[i]->w, all[i]->n * 4);
		h = sum_device(h, all[i]->m, all[i]->n * 4);
		h = sum_device(h, all[i]->v, all[i]->n * 4);
	}
	for (int i = 0; i < 2; i++)
		h = sum_device(h, big[i], (size_t)words * 4);
	printf("checksum %016llx\n", (unsigned long long)h);
	prog_end(&p);
}
