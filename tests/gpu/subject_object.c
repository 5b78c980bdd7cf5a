/* subject_object.c - subjects that hold what is not memory: streams, events, modules, graphs, work under way. */
#define _GNU_SOURCE
#include <string.h>

#include "drv.h"
#include "subject.h"

static CUmodule mod;
static CUdeviceptr word;
static CUstream a, b;
static CUevent e1, e2;
static void *exec;
static float elapsed;

static const char *read_word(unsigned want, const char *what)
{
	unsigned got = 0;
	V(cuMemcpyDtoH_v2(&got, word, 4));
	return got == want ? NULL : subject_say("bad %s: %u, expected %u", what, got, want);
}

static const char *start(void)
{
	CUresult r = drv_start(&mod);
	if (r)
		return subject_say("error %s", drv_error());
	S(cuMemAlloc_v2(&word, 4096));
	S(cuMemsetD32_v2(word, 0, 1024));
	S(cuCtxSynchronize()); /* a stream of the non-blocking kind does not wait for a memset */
	return NULL;
}

static const char *add(CUstream s, unsigned v)
{
	CUresult r = drv_launch(mod, "add", 1, 1, s, (void *[]){ &word, &v });
	return r ? subject_failed(r, "cuLaunchKernel(") : NULL;
}

static const char *streams_setup(void)
{
	const char *e = start();
	if (e)
		return e;
	S(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	S(cuStreamCreate(&b, CU_STREAM_DEFAULT));
	e = add(a, 1);
	if (e)
		return e;
	S(cuStreamSynchronize(a));
	return NULL;
}

/* Both still run work, and one still waits for the other. */
static const char *streams_verify(void)
{
	CUevent ev;
	const char *e = add(a, 2);
	if (e)
		return subject_say("bad %s", e);
	V(cuEventCreate(&ev, CU_EVENT_DISABLE_TIMING));
	V(cuEventRecord(ev, a));
	V(cuStreamWaitEvent(b, ev, 0));
	e = add(b, 4);
	if (e)
		return subject_say("bad %s", e);
	V(cuStreamSynchronize(b));
	return read_word(7, "the streams' work");
}

static const char *events_setup(void)
{
	const char *e = start();
	if (e)
		return e;
	S(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	S(cuEventCreate(&e1, CU_EVENT_DEFAULT));
	S(cuEventCreate(&e2, CU_EVENT_DEFAULT));
	S(cuEventRecord(e1, a));
	e = add(a, 1);
	if (e)
		return e;
	S(cuEventRecord(e2, a));
	S(cuStreamSynchronize(a));
	if (drv.cuEventElapsedTime(&elapsed, e1, e2))
		elapsed = -1;
	return NULL;
}

static const char *events_verify(void)
{
	float again = -1;
	V(cuEventQuery(e1));
	V(cuEventQuery(e2));
	if (elapsed >= 0) {
		V(cuEventElapsedTime(&again, e1, e2));
		if (again != elapsed)
			return subject_say("bad time between two events was %g ms and is %g ms", (double)elapsed,
					   (double)again);
	}
	V(cuEventRecord(e1, a));
	V(cuStreamSynchronize(a));
	V(cuEventQuery(e1));
	subject_note(elapsed >= 0 ? "done, and the time between them kept" : "done; no times to compare here");
	return NULL;
}

static const char *bump(unsigned v)
{
	CUresult r = drv_launch(mod, "bump", 1, 1, NULL, (void *[]){ &v });
	if (r)
		return subject_failed(r, "cuLaunchKernel(");
	S(cuCtxSynchronize());
	return NULL;
}

static const char *module_setup(void)
{
	size_t size;
	const char *e = start();
	if (e)
		return e;
	S(cuModuleGetGlobal_v2(&word, &size, mod, "counter"));
	return bump(40);
}

/* The module's functions run, its variable kept its value and its address. */
static const char *module_verify(void)
{
	CUdeviceptr at;
	size_t size;
	const char *e = read_word(40, "the module's variable");
	if (e)
		return e;
	V(cuModuleGetGlobal_v2(&at, &size, mod, "counter"));
	if (at != word)
		return subject_say("bad the module's variable moved from %#llx to %#llx", word, at);
	e = bump(2);
	return e ? subject_say("bad %s", e) : read_word(42, "the module's variable");
}

static const char *capture_begin(void)
{
	const char *e = start();
	if (e)
		return e;
	S(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	/* loaded before: a capture forbids lazy loading */
	e = add(a, 0);
	if (e)
		return e;
	S(cuStreamSynchronize(a));
	S(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
	return add(a, 5);
}

static const char *capture_end(void)
{
	void *graph;
	S(cuStreamEndCapture(a, &graph));
	S(cuGraphInstantiateWithFlags(&exec, graph, 0));
	return NULL;
}

static const char *graph_launch(void)
{
	V(cuGraphLaunch(exec, a));
	V(cuStreamSynchronize(a));
	return NULL;
}

static const char *graph_setup(void)
{
	const char *e = capture_begin();
	if (!e)
		e = capture_end();
	return e ? e : graph_launch();
}

static const char *graph_verify(void)
{
	const char *e = graph_launch();
	return e ? e : read_word(10, "what the graph computes");
}

static const char *capture_verify(void)
{
	const char *e = capture_end();
	if (e)
		return subject_say("bad %s", e);
	e = graph_launch();
	return e ? e : read_word(5, "what the captured graph computes");
}

/* A kernel that runs on while somebody wants to checkpoint. @size: its number of steps. */
static const char *spin_setup(void)
{
	unsigned n = (unsigned)subject_size;
	const char *e = start();
	if (e)
		return e;
	S(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	S(cuCtxSynchronize());
	CUresult r = drv_launch(mod, "spin", 1, 1, a, (void *[]){ &word, &n });
	return r ? subject_failed(r, "cuLaunchKernel(") : NULL;
}

static const char *spin_verify(void)
{
	V(cuStreamSynchronize(a));
	return read_word((unsigned)subject_size, "what the running kernel counted");
}

const struct subject subjects_object[] = {
	{ "streams", { streams_setup, streams_verify } },
	{ "events", { events_setup, events_verify } },
	{ "module", { module_setup, module_verify } },
	{ "graph", { graph_setup, graph_verify } },
	{ "capture", { capture_begin, capture_verify } },
	{ "spin", { spin_setup, spin_verify } },
	{ 0 },
};
