/* api_code.c - exports: modules, libraries, functions, launches, occupancy. Images are PTX text only. */
#define _GNU_SOURCE
#include "cksim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cksim_module {
	struct cksim_obj obj;
	struct cksim_module *next;
	struct cksim_ctx *ctx;
	struct ptx_module *ptx;
	uint64_t *globals; /* device address of each, 0: not placed */
	struct cksim_func *funcs;
	int is_library;	   /* seen through cuLibrary*: CUlibrary is the module, CUkernel the function */
};

struct cksim_ctx *cksim_func_ctx(const struct cksim_func *f)
{
	return f->mod->ctx;
}

/* JIT options that are heeded: where to write the error log. */
enum { JIT_ERROR_LOG = 5, JIT_ERROR_LOG_SIZE = 6 };

static void jit_log(const struct ck_err *err, unsigned n, const int *options, void **values)
{
	char *buf = NULL;
	size_t size = 0, size_at = 0, len;
	for (unsigned i = 0; i < n; i++) {
		if (options[i] == JIT_ERROR_LOG)
			buf = values[i];
		else if (options[i] == JIT_ERROR_LOG_SIZE)
			size = (size_t)(uintptr_t)values[i], size_at = i + 1;
	}
	if (!buf || !size)
		return;
	len = strlen(err->msg);
	if (len >= size)
		len = size - 1;
	memcpy(buf, err->msg, len);
	buf[len] = 0;
	if (size_at)
		values[size_at - 1] = (void *)(uintptr_t)len; /* out: bytes written */
}

static void module_free(struct cksim_module *m)
{
	size_t n = ptx_module_global_count(m->ptx);
	for (size_t i = 0; m->globals && i < n; i++)
		if (m->globals[i])
			cksim_vm_free(m->globals[i]);
	while (m->funcs) {
		struct cksim_func *f = m->funcs;
		m->funcs = f->next;
		cksim_obj_del(&f->obj);
		free(f);
	}
	ptx_module_free(m->ptx);
	free(m->globals);
	free(m);
}

/* Globals live in device memory, each an allocation of the context's. */
static CUresult place_globals(struct cksim_module *m)
{
	size_t n = ptx_module_global_count(m->ptx);
	m->globals = calloc(n + 1, sizeof *m->globals);
	if (!m->globals)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < n; i++) {
		CUresult r = cksim_vm_alloc(m->ctx, m->ctx->dev, ptx_module_global(m->ptx, i)->size, &m->globals[i]);
		if (r)
			return r;
		ptx_module_place(m->ptx, i, m->globals[i]);
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t size = ptx_module_global(m->ptx, i)->size;
		void *p = cksim_vm_host(m->globals[i], size, m->ctx->dev, 1, 0);
		if (!p)
			return CUDA_ERROR_OUT_OF_MEMORY;
		ptx_module_global_init(m->ptx, i, p);
	}
	return CUDA_SUCCESS;
}

/* PTX text begins with a directive or a comment; anything else is a cubin or a fat binary. */
static int looks_like_text(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	return *p == '.' || *p == '/';
}

static CUresult module_load(struct cksim_module **out, const void *image, unsigned n, const int *options, void **values)
{
	struct ck_err err;
	struct cksim_ctx *c = cksim_ctx_current();
	if (!out || !image)
		return CUDA_ERROR_INVALID_VALUE;
	if (!memcmp(image, "\x7f" "ELF", 4))
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	if (!looks_like_text(image))
		return CUDA_ERROR_INVALID_IMAGE;
	struct cksim_module *m = calloc(1, sizeof *m);
	if (!m)
		return CUDA_ERROR_OUT_OF_MEMORY;
	m->ctx = c;
	if (ptx_module_load(&m->ptx, image, strlen(image), &err)) {
		jit_log(&err, n, options, values);
		free(m);
		return err.code == CK_ESYS ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_PTX;
	}
	CUresult r = place_globals(m);
	if (r) {
		module_free(m);
		return r;
	}
	pthread_mutex_lock(&cksim.lock);
	m->next = c->modules;
	c->modules = m;
	pthread_mutex_unlock(&cksim.lock);
	*out = m;
	return CUDA_SUCCESS;
}

static void module_unload(struct cksim_module *m)
{
	cksim_all_wait(); /* no launch of it may be running */
	pthread_mutex_lock(&cksim.lock);
	for (struct cksim_module **at = &m->ctx->modules; *at; at = &(*at)->next)
		if (*at == m) {
			*at = m->next;
			break;
		}
	pthread_mutex_unlock(&cksim.lock);
	cksim_obj_del(&m->obj);
	module_free(m);
}

void cksim_modules_free(struct cksim_ctx *ctx)
{
	while (ctx->modules)
		module_unload(ctx->modules);
}

static CUresult get_func(struct cksim_module *m, const char *name, struct cksim_func **out)
{
	if (!name || !out)
		return CUDA_ERROR_INVALID_VALUE;
	struct ptx_func *p = ptx_module_func(m->ptx, name);
	if (!p)
		return CUDA_ERROR_NOT_FOUND;
	CUresult r = CUDA_SUCCESS;
	pthread_mutex_lock(&cksim.lock);
	struct cksim_func *f = m->funcs;
	while (f && f->ptx != p)
		f = f->next;
	if (!f && (f = calloc(1, sizeof *f)) != NULL) {
		f->mod = m;
		f->ptx = p;
		f->next = m->funcs;
		m->funcs = f;
		cksim_obj_add(&f->obj, CKSIM_O_FUNC);
	}
	pthread_mutex_unlock(&cksim.lock);
	if (!f)
		r = CUDA_ERROR_OUT_OF_MEMORY;
	*out = f;
	return r;
}

static CUresult get_global(struct cksim_module *m, CUdeviceptr *addr, size_t *size, const char *name)
{
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < ptx_module_global_count(m->ptx); i++) {
		const struct ptx_global *g = ptx_module_global(m->ptx, i);
		if (strcmp(g->name, name)) /* visible or not: nvcc 13 leaves .visible out, and they are found */
			continue;
		if (addr)
			*addr = m->globals[i];
		if (size)
			*size = g->size;
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_NOT_FOUND;
}

/* --- modules ------------------------------------------------------------------------------------------------ */

static CUresult load_module(CUmodule *out, const void *image, unsigned n, const int *options, void **values)
{
	struct cksim_module *m;
	CUresult r = out ? module_load(&m, image, n, options, values) : CUDA_ERROR_INVALID_VALUE;
	if (r)
		return r;
	cksim_obj_add(&m->obj, CKSIM_O_MODULE);
	*out = (CUmodule)m;
	return CUDA_SUCCESS;
}

API(cuModuleLoadData, CUmodule *out, const void *image)
{
	ENTER(CKSIM_WORK);
	return load_module(out, image, 0, NULL, NULL);
}

API(cuModuleLoadDataEx, CUmodule *out, const void *image, unsigned n, int *options, void **values)
{
	ENTER(CKSIM_WORK);
	return load_module(out, image, n, options, values);
}

API(cuModuleLoad, CUmodule *out, const char *path)
{
	ENTER(CKSIM_WORK);
	FILE *f = path ? fopen(path, "re") : NULL;
	if (!f)
		return path ? CUDA_ERROR_FILE_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
	char *text = NULL;
	size_t cap = 0;
	ssize_t n = getdelim(&text, &cap, 0, f);
	fclose(f);
	CUresult r = n > 0 ? load_module(out, text, 0, NULL, NULL) : CUDA_ERROR_INVALID_IMAGE;
	free(text);
	return r;
}

API(cuModuleUnload, CUmodule h)
{
	ENTER(CKSIM_WORK);
	if (!cksim_obj_is(h, CKSIM_O_MODULE) || ((struct cksim_module *)h)->is_library)
		return CUDA_ERROR_INVALID_HANDLE;
	module_unload((struct cksim_module *)h);
	return CUDA_SUCCESS;
}

API(cuModuleGetFunction, CUfunction *out, CUmodule h, const char *name)
{
	ENTER(CKSIM_WORK);
	if (!cksim_obj_is(h, CKSIM_O_MODULE))
		return CUDA_ERROR_INVALID_HANDLE;
	return get_func((struct cksim_module *)h, name, (struct cksim_func **)out);
}

API(cuModuleGetGlobal_v2, CUdeviceptr *addr, size_t *size, CUmodule h, const char *name)
{
	ENTER(CKSIM_WORK);
	if (!cksim_obj_is(h, CKSIM_O_MODULE))
		return CUDA_ERROR_INVALID_HANDLE;
	return get_global((struct cksim_module *)h, addr, size, name);
}

API(cuModuleGetLoadingMode, int *mode)
{
	ENTER(CKSIM_INIT);
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = 1; /* eager */
	return CUDA_SUCCESS;
}

/* --- libraries: modules without a context of their own; here they live in the current one ------------------- */

API(cuLibraryLoadData, void **out, const void *image, int *jopts, void **jvals, unsigned njit, int *lopts, void **lvals,
    unsigned nlib)
{
	ENTER(CKSIM_WORK);
	CUmodule m;
	CUresult r = out ? load_module(&m, image, njit, jopts, jvals) : CUDA_ERROR_INVALID_VALUE;
	if (!r) {
		((struct cksim_module *)m)->is_library = 1;
		*out = m;
	}
	return r;
}

static struct cksim_module *library(void *h)
{
	struct cksim_module *m = h;
	return cksim_obj_is(m, CKSIM_O_MODULE) && m->is_library ? m : NULL;
}

API(cuLibraryUnload, void *h)
{
	ENTER(CKSIM_WORK);
	struct cksim_module *m = library(h);
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	module_unload(m);
	return CUDA_SUCCESS;
}

API(cuLibraryGetKernel, void **out, void *h, const char *name)
{
	ENTER(CKSIM_WORK);
	struct cksim_module *m = library(h);
	return m ? get_func(m, name, (struct cksim_func **)out) : CUDA_ERROR_INVALID_HANDLE;
}

API(cuLibraryGetModule, CUmodule *out, void *h)
{
	ENTER(CKSIM_WORK);
	struct cksim_module *m = library(h);
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = (CUmodule)m;
	return CUDA_SUCCESS;
}

API(cuLibraryGetGlobal, CUdeviceptr *addr, size_t *size, void *h, const char *name)
{
	ENTER(CKSIM_WORK);
	struct cksim_module *m = library(h);
	return m ? get_global(m, addr, size, name) : CUDA_ERROR_INVALID_HANDLE;
}

API(cuKernelGetFunction, CUfunction *out, void *kernel)
{
	ENTER(CKSIM_WORK);
	if (!cksim_obj_is(kernel, CKSIM_O_FUNC))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = kernel;
	return CUDA_SUCCESS;
}

/* --- functions ---------------------------------------------------------------------------------------------- */

static struct cksim_func *func(CUfunction h)
{
	return cksim_obj_is(h, CKSIM_O_FUNC) ? (struct cksim_func *)h : NULL;
}

API(cuFuncGetAttribute, int *value, int attr, CUfunction h)
{
	ENTER(CKSIM_WORK);
	struct cksim_func *f = func(h);
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	const struct ptx_func_info *i = ptx_func_info(f->ptx);
	const int table[] = { (int)i->max_threads, (int)i->shared_size, 0, (int)i->local_size, (int)i->regs,
		(int)i->ptx_version, (int)i->target, 0, f->dynamic_max ? f->dynamic_max : 49152 - (int)i->shared_size, -1 };
	*value = 0;
	if (attr < 0)
		return CUDA_ERROR_INVALID_VALUE;
	if ((size_t)attr < sizeof table / sizeof *table)
		*value = table[attr];
	return CUDA_SUCCESS;
}

API(cuFuncSetAttribute, CUfunction h, int attr, int value)
{
	ENTER(CKSIM_WORK);
	struct cksim_func *f = func(h);
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	if ((attr != 8 && attr != 9) || (attr == 8 && (value < 0 || value > 101376)))
		return CUDA_ERROR_INVALID_VALUE;
	if (attr == 8) /* most dynamic shared memory; 9 is a hint */
		f->dynamic_max = value;
	return CUDA_SUCCESS;
}

API(cuFuncSetCacheConfig, CUfunction h, int config)
{
	ENTER(CKSIM_WORK);
	return func(h) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API(cuFuncGetModule, CUmodule *out, CUfunction h)
{
	ENTER(CKSIM_WORK);
	if (!func(h))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = (CUmodule)func(h)->mod;
	return CUDA_SUCCESS;
}

API(cuFuncGetName, const char **out, CUfunction h)
{
	ENTER(CKSIM_WORK);
	if (!func(h))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = ptx_func_info(func(h)->ptx)->name;
	return CUDA_SUCCESS;
}

API(cuFuncGetParamInfo, CUfunction h, size_t index, size_t *offset, size_t *size)
{
	ENTER(CKSIM_WORK);
	if (!func(h))
		return CUDA_ERROR_INVALID_HANDLE;
	const struct ptx_func_info *i = ptx_func_info(func(h)->ptx);
	if (index >= i->param_count || !offset)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = i->params[index].offset;
	if (size)
		*size = i->params[index].size;
	return CUDA_SUCCESS;
}

/* --- occupancy: threads and blocks only; registers do not limit an interpreter ------------------------------ */

static int blocks_per_sm(const struct cksim_func *f, int block, size_t shared)
{
	size_t s = ptx_func_info(f->ptx)->shared_size + shared;
	int n = 1536 / ((block + 31) / 32 * 32);
	if (s && (size_t)n > 102400 / s)
		n = (int)(102400 / s);
	return n > 16 ? 16 : n;
}

API(cuOccupancyMaxActiveBlocksPerMultiprocessor, int *out, CUfunction h, int block, size_t shared)
{
	ENTER(CKSIM_WORK);
	if (!func(h))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out || block <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	*out = blocks_per_sm(func(h), block, shared);
	return CUDA_SUCCESS;
}

API(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, int *out, CUfunction h, int block, size_t shared, unsigned flags)
{
	ENTER(CKSIM_WORK);
	if (!func(h))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!out || block <= 0 || flags & ~1u)
		return CUDA_ERROR_INVALID_VALUE;
	*out = blocks_per_sm(func(h), block, shared);
	return CUDA_SUCCESS;
}

API(cuOccupancyMaxPotentialBlockSize, int *grid, int *block, CUfunction h, size_t (*need)(int), size_t shared, int limit)
{
	ENTER(CKSIM_WORK);
	struct cksim_func *f = func(h);
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!grid || !block)
		return CUDA_ERROR_INVALID_VALUE;
	int best = 0, best_threads = 0, max = (int)ptx_func_info(f->ptx)->max_threads;
	if (limit > 0 && limit < max)
		max = limit;
	for (int b = max; b >= 32; b = (b - 1) / 32 * 32) {
		int threads = b * blocks_per_sm(f, b, need ? need(b) : shared);
		if (threads > best_threads)
			best_threads = threads, best = b;
	}
	if (!best)
		best = max;
	*block = best;
	*grid = 16 * blocks_per_sm(f, best, need ? need(best) : shared);
	return CUDA_SUCCESS;
}
