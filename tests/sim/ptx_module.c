/* ptx_module.c - a loaded module: what the driver asks of it, and its end. */
#include "ptx_int.h"

#include <stdlib.h>
#include <string.h>

/* Local memory that @f and what it calls need, following the longest chain; recursion, and calls through
 * pointers, get a fixed reserve. @seen: state of each function, 1 while on the path. */
#define PTX_STACK_RESERVE 16384u

static uint32_t stack_of(const struct ptx_module *m, const struct ptx_func *f, uint8_t *on_path, unsigned depth)
{
	uint32_t most = f->indirect ? PTX_STACK_RESERVE : 0;
	if (depth > 64)
		return PTX_STACK_RESERVE;
	on_path[f->index] = 1;
	for (uint32_t i = 0; i < f->ncallees; i++) {
		const struct ptx_func *to = m->funcs[f->callees[i]];
		uint32_t n = on_path[to->index] ? PTX_STACK_RESERVE : stack_of(m, to, on_path, depth + 1);
		most = n > most ? n : most;
	}
	on_path[f->index] = 0;
	return most > PTX_WINDOW_SIZE - f->frame ? (uint32_t)PTX_WINDOW_SIZE : f->frame + most;
}

/* Mark the shared variables that @f and what it may call use. */
void ptx_mark_shared(const struct ptx_func *f, uint8_t *seen, uint8_t *used)
{
	const struct ptx_module *m = f->mod;
	if (seen[f->index])
		return;
	seen[f->index] = 1;
	for (uint32_t i = 0; i < f->nuses; i++)
		used[f->uses[i]] = 1;
	for (uint32_t i = 0; i < f->ncallees; i++)
		ptx_mark_shared(m->funcs[f->callees[i]], seen, used);
	for (uint32_t i = 0; f->indirect && i < m->nfuncs; i++)
		if (!m->funcs[i]->is_entry)
			ptx_mark_shared(m->funcs[i], seen, used);
}

uint32_t ptx_shared_layout(const struct ptx_func *f, uint32_t *off)
{
	const struct ptx_module *m = f->mod;
	uint8_t *seen = calloc(m->nfuncs + 1, 1), *used = calloc(m->nvars + 1, 1);
	uint64_t end = 0;
	if (seen && used)
		ptx_mark_shared(f, seen, used);
	/* those whose size the launch gives come last, all at the same place */
	for (int pass = 0; seen && used && pass < 2; pass++) {
		uint64_t max = end;
		for (uint32_t i = 0; i < m->nvars; i++) {
			const struct ptx_var *v = &m->vars[i];
			if (v->space != SP_SHARED || !used[i] || (v->size == 0) != pass)
				continue;
			uint64_t at = (end + v->align - 1) & ~(uint64_t)(v->align - 1);
			if (off)
				off[v->index] = (uint32_t)at;
			if (!pass)
				end = at + v->size;
			max = at > max ? at : max;
		}
		end = pass ? max : end;
	}
	bool ok = seen && used;
	free(seen);
	free(used);
	return !ok || end > PTX_WINDOW_SIZE ? UINT32_MAX : (uint32_t)end;
}

static int finish_globals(struct ptx_parse *ps)
{
	struct ptx_module *m = ps->m;
	m->globals = calloc(m->nvars + 1, sizeof *m->globals);
	m->global_var = calloc(m->nvars + 1, sizeof *m->global_var);
	if (!m->globals || !m->global_var)
		return ptx_error(ps, "out of memory");
	for (uint32_t i = 0; i < m->nvars; i++) {
		struct ptx_var *v = &m->vars[i];
		if (v->space == SP_SHARED)
			continue;
		if (v->is_extern || !v->size)
			return ptx_error(ps, "the variable '%s' is declared, but not in this module", v->name);
		v->index = m->nglobals;
		m->global_var[m->nglobals] = i;
		m->globals[m->nglobals++] = (struct ptx_global){ .name = v->name,
								 .size = v->size,
								 .align = v->align,
								 .is_const = v->space == SP_CONST,
								 .is_visible = v->visible };
	}
	return 0;
}

int ptx_finish_module(struct ptx_parse *ps)
{
	struct ptx_module *m = ps->m;
	if (finish_globals(ps) < 0)
		return -1;
	uint8_t *on_path = calloc(m->nfuncs + 1, 1);
	if (!on_path)
		return ptx_error(ps, "out of memory");
	int rc = 0;
	for (uint32_t i = 0; i < m->nfuncs && rc == 0; i++) {
		struct ptx_func *f = m->funcs[i];
		for (uint32_t k = 0; k < f->ncallees; k++)
			if (!m->funcs[f->callees[k]]->defined)
				rc = ptx_error(ps, "'%s' calls '%s', which is not in this module", f->name,
					       m->funcs[f->callees[k]]->name);
		for (uint32_t k = 0; k < f->nslots; k++)
			if (f->slots[k].kind == FX_FUNC && !m->funcs[f->slots[k].index]->defined && rc == 0)
				rc = ptx_error(ps, "'%s' names '%s', which is not in this module", f->name,
					       m->funcs[f->slots[k].index]->name);
		if (rc == 0 && ptx_list_varying(f) < 0)
			rc = ptx_error(ps, "out of memory");
		if (rc || !f->is_entry)
			continue;
		if (!f->defined)
			rc = ptx_error(ps, "the kernel '%s' has no body", f->name);
		f->info.shared_size = ptx_shared_layout(f, NULL);
		if (f->info.shared_size == UINT32_MAX)
			rc = ptx_error(ps, "'%s' uses too much shared memory", f->name);
		f->info.local_size = stack_of(m, f, on_path, 0);
		f->info.ptx_version = m->version;
		f->info.target = m->target;
	}
	free(on_path);
	return rc;
}

static void free_func(struct ptx_func *f)
{
	for (uint32_t i = 0; i < f->ncalls; i++) {
		free(f->calls[i].in);
		free(f->calls[i].out);
	}
	free(f->calls);
	free(f->name);
	free(f->params);
	free(f->arg_off);
	free(f->arg_size);
	free(f->ret_off);
	free(f->ret_size);
	free(f->code);
	free(f->lines);
	free(f->slots);
	free(f->tables);
	free(f->uses);
	free(f->callees);
	free(f->varying);
	free(f);
}

void ptx_module_free(struct ptx_module *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->nfuncs; i++)
		free_func(m->funcs[i]);
	for (uint32_t i = 0; i < m->nvars; i++) {
		free(m->vars[i].name);
		free(m->vars[i].init);
		free(m->vars[i].relocs);
	}
	free(m->funcs);
	free(m->vars);
	free(m->globals);
	free(m->global_var);
	free(m);
}

size_t ptx_module_global_count(const struct ptx_module *m)
{
	return m->nglobals;
}

const struct ptx_global *ptx_module_global(const struct ptx_module *m, size_t i)
{
	return i < m->nglobals ? &m->globals[i] : NULL;
}

void ptx_module_place(struct ptx_module *m, size_t i, uint64_t dev)
{
	if (i < m->nglobals)
		__atomic_store_n(&m->vars[m->global_var[i]].dev, dev, __ATOMIC_RELEASE);
}

void ptx_module_global_init(const struct ptx_module *m, size_t i, void *buf)
{
	const struct ptx_var *v = &m->vars[m->global_var[i]];
	if (v->init)
		memcpy(buf, v->init, v->size);
	else
		memset(buf, 0, v->size);
	for (uint32_t k = 0; k < v->nrelocs; k++) {
		const struct ptx_reloc *r = &v->relocs[k];
		uint64_t to = r->var != UINT32_MAX ? m->vars[r->var].dev
						   : PTX_FUNC_WINDOW + ((uint64_t)r->func + 1) * 16;
		to += (uint64_t)r->add;
		memcpy((uint8_t *)buf + r->at, &to, 8);
	}
}

struct ptx_func *ptx_module_func(struct ptx_module *m, const char *name)
{
	struct ptx_func *f = ptx_find_func(m, name, (uint32_t)strlen(name));
	return f && f->is_entry ? f : NULL;
}

size_t ptx_module_func_count(const struct ptx_module *m)
{
	size_t n = 0;
	for (uint32_t i = 0; i < m->nfuncs; i++)
		n += m->funcs[i]->is_entry;
	return n;
}

struct ptx_func *ptx_module_func_at(struct ptx_module *m, size_t i)
{
	for (uint32_t k = 0; k < m->nfuncs; k++)
		if (m->funcs[k]->is_entry && i-- == 0)
			return m->funcs[k];
	return NULL;
}

const struct ptx_func_info *ptx_func_info(const struct ptx_func *f)
{
	return &f->info;
}
