/* train.c - a small network, trained wholly on the device: the main job of the tests.
 *
 *   rows x IN  -> matmul, bias, relu -> rows x HIDDEN -> matmul, bias -> rows x OUT -> mean square -> Adam
 *
 * Beside it lies a large state of which every step reads and changes a part, as an optimizer's would be.
 * Each step prints its loss; the end prints a checksum over everything that lies on the device. Nothing
 * depends on time, addresses or the order of threads. It knows nothing of checkpoints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cu.h"
#include "prog.h"

#define ROWS	32u
#define IN	16u
#define HIDDEN	32u
#define OUT	8u
#define STRIDE	16u
#define PARTS	3

/* One weight matrix or bias with its gradient and Adam's two moments. */
struct weights {
	CUdeviceptr w, g, m, v;
	unsigned n;
};

static struct {
	CUfunction fill, batch, matmul, mse, relu_back, sum_rows, adam, churn, digest;
	struct weights w1, b1, w2, b2;
	CUdeviceptr x, y, hidden, out, dout, dhidden, loss, sum;
	CUdeviceptr state[PARTS];
	unsigned words[PARTS];
} t;

static CUdeviceptr floats(unsigned n)
{
	CUdeviceptr p;
	CU(cuMemAlloc_v2(&p, n * sizeof(float)));
	CU(cuMemsetD32_v2(p, 0, n));
	return p;
}

static void make_weights(struct weights *w, unsigned n, unsigned long long seed, float scale)
{
	*w = (struct weights){ .w = floats(n), .g = floats(n), .m = floats(n), .v = floats(n), .n = n };
	if (scale != 0)
		cu_launch1(t.fill, n, 64, NULL, (void *[]){ &w->w, &w->n, &seed, &scale });
}

/* c[m][n] = a * b, with a or b transposed, an optional bias and relu. */
static void multiply(CUdeviceptr a, CUdeviceptr b, CUdeviceptr bias, CUdeviceptr c, unsigned m, unsigned n, unsigned k,
		     unsigned ta, unsigned tb, unsigned relu)
{
	void *args[] = { &a, &b, &bias, &c, &m, &n, &k, &ta, &tb, &relu };
	CU(cuLaunchKernel(t.matmul, (n + 7) / 8, (m + 7) / 8, 1, 8, 8, 1, 0, NULL, args, NULL));
}

static void update(struct weights *w, unsigned step)
{
	/* Adam's corrections, by products: no pow() whose last bit might differ between machines */
	float rate = 0.02f, p1 = 1, p2 = 1;
	for (unsigned k = 0; k < step && k < 20000; k++) {
		p1 *= 0.9f;
		p2 *= 0.999f;
	}
	float c1 = 1 / (1 - p1), c2 = 1 / (1 - p2);
	cu_launch1(t.adam, w->n, 64, NULL, (void *[]){ &w->w, &w->g, &w->m, &w->v, &w->n, &rate, &c1, &c2 });
}

static float train_step(unsigned step, unsigned long long seed)
{
	unsigned rows = ROWS, in = IN, hid = HIDDEN, out = OUT, n = ROWS * OUT, nh = ROWS * HIDDEN;
	unsigned long long s = seed + step * 1000003ull;
	float loss;
	cu_launch1(t.batch, ROWS, 32, NULL, (void *[]){ &t.x, &t.y, &rows, &in, &out, &s });
	multiply(t.x, t.w1.w, t.b1.w, t.hidden, ROWS, HIDDEN, IN, 0, 0, 1);
	multiply(t.hidden, t.w2.w, t.b2.w, t.out, ROWS, OUT, HIDDEN, 0, 0, 0);
	CU(cuLaunchKernel(t.mse, 1, 1, 1, 128, 1, 1, 0, NULL, ((void *[]){ &t.out, &t.y, &t.dout, &t.loss, &n }), NULL));
	multiply(t.hidden, t.dout, 0, t.w2.g, HIDDEN, OUT, ROWS, 1, 0, 0);
	cu_launch1(t.sum_rows, OUT, 32, NULL, (void *[]){ &t.dout, &t.b2.g, &rows, &out });
	multiply(t.dout, t.w2.w, 0, t.dhidden, ROWS, HIDDEN, OUT, 0, 1, 0);
	cu_launch1(t.relu_back, nh, 64, NULL, (void *[]){ &t.dhidden, &t.hidden, &nh });
	multiply(t.x, t.dhidden, 0, t.w1.g, IN, HIDDEN, ROWS, 1, 0, 0);
	cu_launch1(t.sum_rows, HIDDEN, 32, NULL, (void *[]){ &t.dhidden, &t.b1.g, &rows, &hid });
	update(&t.w1, step);
	update(&t.b1, step);
	update(&t.w2, step);
	update(&t.b2, step);
	for (int k = 0; k < PARTS; k++) {
		unsigned stride = STRIDE, blocks = t.words[k] / STRIDE / 128 / 4 + 1;
		CU(cuLaunchKernel(t.churn, blocks, 1, 1, 128, 1, 1, 0, NULL,
				  ((void *[]){ &t.state[k], &t.words[k], &stride, &step }), NULL));
	}
	CU(cuMemcpyDtoH_v2(&loss, t.loss, sizeof loss));
	return loss;
}

/* The large state: half, a quarter and a quarter of @size, filled from the host. */
static void make_state(unsigned long size, unsigned long long seed)
{
	for (int k = 0; k < PARTS; k++) {
		unsigned long bytes = size / (k ? 4 : 2);
		t.words[k] = (unsigned)(bytes / 4 / STRIDE * STRIDE);
		if (!t.words[k])
			t.words[k] = STRIDE;
		uint32_t *buf = malloc((size_t)t.words[k] * 4);
		if (!buf)
			prog_fail("no memory for %lu bytes", bytes);
		for (unsigned i = 0; i < t.words[k]; i++)
			buf[i] = prog_random(seed + (unsigned)k, i);
		CU(cuMemAlloc_v2(&t.state[k], (size_t)t.words[k] * 4));
		CU(cuMemcpyHtoD_v2(t.state[k], buf, (size_t)t.words[k] * 4));
		free(buf);
	}
}

static uint64_t hash_device(uint64_t h, CUdeviceptr p, size_t size)
{
	void *buf = malloc(size);
	if (!buf)
		prog_fail("no memory for %zu bytes", size);
	CU(cuMemcpyDtoH_v2(buf, p, size));
	h = prog_hash(h, buf, size);
	free(buf);
	return h;
}

/* The device's own sum over the weights against the host's: what is copied back is what lies there. */
static void verify_digest(const struct weights *w)
{
	unsigned long long zero = 0, got, want = 0;
	CU(cuMemcpyHtoD_v2(t.sum, &zero, sizeof zero));
	CU(cuLaunchKernel(t.digest, 2, 1, 1, 64, 1, 1, 0, NULL, ((void *[]){ (void *)&w->w, (void *)&w->n, &t.sum }), NULL));
	CU(cuMemcpyDtoH_v2(&got, t.sum, sizeof got));
	uint32_t *buf = malloc(w->n * 4);
	if (!buf)
		prog_fail("no memory");
	CU(cuMemcpyDtoH_v2(buf, w->w, w->n * 4));
	for (unsigned i = 0; i < w->n; i++)
		want += (unsigned long long)prog_random(buf[i], i) * (i | 1u);
	free(buf);
	if (got != want)
		prog_fail("digest on the device %016llx, on the host %016llx", got, want);
}

static uint64_t checksum(void)
{
	const struct weights *w[] = { &t.w1, &t.b1, &t.w2, &t.b2 };
	uint64_t h = 0;
	for (int k = 0; k < 4; k++) {
		verify_digest(w[k]);
		h = hash_device(h, w[k]->w, w[k]->n * 4);
		h = hash_device(h, w[k]->m, w[k]->n * 4);
		h = hash_device(h, w[k]->v, w[k]->n * 4);
	}
	for (int k = 0; k < PARTS; k++)
		h = hash_device(h, t.state[k], (size_t)t.words[k] * 4);
	return h;
}

int main(int argc, char **argv)
{
	struct prog_opts o = { .steps = 20, .size = 8 << 20, .seed = 1 };
	prog_options(&o, argc, argv);
	CUcontext ctx;
	CUmodule mod = cu_setup(&ctx);
	t.fill = cu_function(mod, "fill_random");
	t.batch = cu_function(mod, "make_batch");
	t.matmul = cu_function(mod, "matmul");
	t.mse = cu_function(mod, "mse");
	t.relu_back = cu_function(mod, "relu_back");
	t.sum_rows = cu_function(mod, "sum_rows");
	t.adam = cu_function(mod, "adam");
	t.churn = cu_function(mod, "churn");
	t.digest = cu_function(mod, "digest");
	make_weights(&t.w1, IN * HIDDEN, o.seed * 4 + 1, 0.25f);
	make_weights(&t.b1, HIDDEN, 0, 0);
	make_weights(&t.w2, HIDDEN * OUT, o.seed * 4 + 2, 0.18f);
	make_weights(&t.b2, OUT, 0, 0);
	t.x = floats(ROWS * IN);
	t.y = floats(ROWS * OUT);
	t.hidden = floats(ROWS * HIDDEN);
	t.out = floats(ROWS * OUT);
	t.dout = floats(ROWS * OUT);
	t.dhidden = floats(ROWS * HIDDEN);
	t.loss = floats(1);
	t.sum = floats(2);
	make_state(o.size, o.seed * 4 + 3);
	for (unsigned long step = 1; step <= o.steps; step++) {
		prog_pause(&o, step);
		printf("step %lu loss %.9g\n", step, (double)train_step((unsigned)step, o.seed));
	}
	prog_end(&o, checksum());
}
