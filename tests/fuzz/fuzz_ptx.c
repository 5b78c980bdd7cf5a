/* fuzz_ptx.c - any bytes as PTX text: the loader must refuse them or make something that can be run, and a
 * launch must end in a fault or in peace, touching nothing but its regions. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "../sim/ptx.h"

static volatile int late;

static void on_alarm(int sig)
{
	(void)sig;
	late = 1;
}

static void launch(struct ptx_func *f)
{
	/* exactly as large as they claim to be, so that a sanitizer sees one byte too many */
	static uint64_t params[4096];
	uint8_t *words = calloc(1, 4096), *fixed = calloc(1, 64);
	const struct ptx_func_info *info = ptx_func_info(f);
	struct ptx_region r[] = { { 0x1000, 0x2000, words, 0 }, { 0x3000, 0x3040, fixed, 1 } };
	struct ptx_fault fault;
	for (unsigned k = 0; k < info->param_count; k++)
		if (info->params[k].size == 8)
			params[info->params[k].offset / 8] = 0x1000 + k * 256;
	void *packed = malloc(info->param_size ? info->param_size : 1);
	if (!words || !fixed || !packed)
		abort();
	memcpy(packed, params, info->param_size);
	struct ptx_launch l = { .grid = { 2, 1, 1 },
				.block = { 5, 1, 1 },
				.dynamic_shared = 64,
				.params = packed,
				.params_size = info->param_size,
				.space = { r, 2 },
				.cancel = &late };
	if (info->reqntid[0])
		memcpy(l.block, info->reqntid, sizeof l.block);
	/* what takes long is cut off: loops without an end are no mistake of the interpreter */
	late = 0;
	struct itimerval t = { .it_value = { .tv_usec = 20000 } };
	setitimer(ITIMER_REAL, &t, NULL);
	ptx_launch(f, &l, &fault);
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	free(words);
	free(fixed);
	free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ptx_module *m;
	struct ck_err err;
	char *text = malloc(size ? size : 1);
	if (!text)
		return 0;
	signal(SIGALRM, on_alarm);
	memcpy(text, data, size);
	if (ptx_module_load(&m, text, size, &err) < 0) {
		if (!err.msg[0])
			abort();
		free(text);
		return 0;
	}
	free(text);
	for (size_t i = 0; i < ptx_module_global_count(m); i++)
		ptx_module_place(m, i, 0x1000);
	for (size_t i = 0; i < ptx_module_global_count(m); i++) {
		uint64_t n = ptx_module_global(m, i)->size;
		void *buf = n < 1 << 20 ? malloc(n) : NULL;
		if (buf)
			ptx_module_global_init(m, i, buf);
		free(buf);
	}
	for (size_t i = 0; i < ptx_module_func_count(m) && i < 3; i++)
		launch(ptx_module_func_at(m, i));
	ptx_module_free(m);
	return 0;
}
