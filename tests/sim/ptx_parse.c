/* ptx_parse.c - the module: its directives, and the life of a load. */
#include "ptx_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Temporary memory of a load: blocks on a list. */
struct ptx_mem {
	struct ptx_mem *next;
	size_t used, cap;
	max_align_t data[];
};

void *ptx_temp(struct ptx_parse *ps, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	struct ptx_mem *mem = ps->mem;
	if (!mem || mem->cap - mem->used < size) {
		size_t cap = size > 65536 ? size : 65536;
		mem = malloc(sizeof *mem + cap);
		if (!mem)
			return NULL;
		mem->next = ps->mem;
		mem->used = 0;
		mem->cap = cap;
		ps->mem = mem;
	}
	void *p = (char *)mem->data + mem->used;
	mem->used += size;
	return memset(p, 0, size);
}

/* Room for one more element: doubles at each power of two. */
void *ptx_grow(void *array, uint32_t n, size_t each)
{
	if (n & (n - 1))
		return array;
	return reallocarray(array, n ? (size_t)n * 2 : 1, each);
}

int ptx_error(struct ptx_parse *ps, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return ck_err_set(ps->err, CK_EINVAL, 0, "line %u: %s", ps->line ? ps->line : ps->lx.line, text);
}

bool ptx_tok_is(const struct ptx_lex *lx, const char *text)
{
	return lx->kind != T_EOF && strlen(text) == lx->len && !memcmp(text, lx->text, lx->len);
}

bool ptx_accept(struct ptx_parse *ps, int punct)
{
	if (ps->lx.kind != T_PUNCT || ps->lx.value != (uint64_t)punct)
		return false;
	ptx_lex_next(&ps->lx);
	return true;
}

int ptx_expect(struct ptx_parse *ps, int punct)
{
	if (ptx_accept(ps, punct))
		return 0;
	return ptx_error(ps, "expected '%c' before '%.*s'", punct, (int)(ps->lx.len > 40 ? 40 : ps->lx.len),
			 ps->lx.text);
}

char *ptx_strndup(const char *s, uint32_t len)
{
	char *d = malloc((size_t)len + 1);
	if (d) {
		memcpy(d, s, len);
		d[len] = 0;
	}
	return d;
}

struct ptx_func *ptx_find_func(struct ptx_module *m, const char *name, uint32_t len)
{
	for (uint32_t i = 0; i < m->nfuncs; i++)
		if (strlen(m->funcs[i]->name) == len && !memcmp(m->funcs[i]->name, name, len))
			return m->funcs[i];
	return NULL;
}

static void skip_line(struct ptx_parse *ps)
{
	uint32_t line = ps->lx.line;
	while (ps->lx.kind != T_EOF && ps->lx.line == line)
		ptx_lex_next(&ps->lx);
}

/* .section name { ... }: debugging data of no use here. */
static int skip_section(struct ptx_parse *ps)
{
	while (ps->lx.kind != T_EOF && !(ps->lx.kind == T_PUNCT && ps->lx.value == '{'))
		ptx_lex_next(&ps->lx);
	while (ps->lx.kind != T_EOF && !(ps->lx.kind == T_PUNCT && ps->lx.value == '}'))
		ptx_lex_next(&ps->lx);
	return ptx_expect(ps, '}');
}

/* ".version 7.0": the lexer reads a decimal number. */
static int parse_version(struct ptx_parse *ps)
{
	ptx_lex_next(&ps->lx);
	if (ps->lx.kind != T_DEC || !(ps->lx.dec >= 1 && ps->lx.dec < 100))
		return ptx_error(ps, ".version needs a number such as 7.0");
	ps->m->version = (uint32_t)(ps->lx.dec * 10 + 0.5);
	ptx_lex_next(&ps->lx);
	return 0;
}

static int parse_target(struct ptx_parse *ps)
{
	do {
		ptx_lex_next(&ps->lx);
		if (ps->lx.len > 3 && !memcmp(ps->lx.text, "sm_", 3))
			ps->m->target = (uint32_t)strtoul(ps->lx.text + 3, NULL, 10);
		else if (!ptx_tok_is(&ps->lx, "debug") && !ptx_tok_is(&ps->lx, "texmode_independent") &&
			 !ptx_tok_is(&ps->lx, "texmode_unified"))
			return ptx_error(ps, "target '%.*s' is not known", (int)ps->lx.len, ps->lx.text);
		ptx_lex_next(&ps->lx);
	} while (ps->lx.kind == T_PUNCT && ps->lx.value == ',');
	return 0;
}

static int parse_directive(struct ptx_parse *ps)
{
	struct ptx_lex *lx = &ps->lx;
	bool is_extern = false, visible = false;
	for (;;) {
		ps->line = lx->line;
		if (lx->kind != T_DIRECTIVE)
			return ptx_error(ps, "expected a directive before '%.*s'", (int)(lx->len > 40 ? 40 : lx->len),
					 lx->text);
		if (ptx_tok_is(lx, ".extern"))
			is_extern = true;
		else if (ptx_tok_is(lx, ".visible") || ptx_tok_is(lx, ".weak") || ptx_tok_is(lx, ".common"))
			visible = true;
		else
			break;
		ptx_lex_next(lx);
	}
	if (ptx_tok_is(lx, ".version"))
		return parse_version(ps);
	if (ptx_tok_is(lx, ".target"))
		return parse_target(ps);
	if (ptx_tok_is(lx, ".address_size")) {
		ptx_lex_next(lx);
		if (lx->kind != T_INT || lx->value != 64)
			return ptx_error(ps, "only .address_size 64 is supported");
		ptx_lex_next(lx);
		return 0;
	}
	if (ptx_tok_is(lx, ".file") || ptx_tok_is(lx, ".loc") || ptx_tok_is(lx, ".pragma")) {
		skip_line(ps);
		return 0;
	}
	if (ptx_tok_is(lx, ".section"))
		return skip_section(ps);
	uint8_t space = ptx_tok_is(lx, ".global")  ? SP_GLOBAL
			: ptx_tok_is(lx, ".const")  ? SP_CONST
			: ptx_tok_is(lx, ".shared") ? SP_SHARED
						    : SP_NONE;
	if (space != SP_NONE) {
		ptx_lex_next(lx);
		return ptx_parse_var(ps, space, is_extern, visible);
	}
	bool entry = ptx_tok_is(lx, ".entry");
	if (entry || ptx_tok_is(lx, ".func")) {
		ptx_lex_next(lx);
		return ptx_parse_function(ps, entry, is_extern);
	}
	return ptx_error(ps, "directive '%.*s' is not supported", (int)lx->len, lx->text);
}

static int parse_module(struct ptx_parse *ps)
{
	ptx_lex_next(&ps->lx);
	while (ps->lx.kind != T_EOF)
		if (parse_directive(ps) < 0)
			return -1;
	ps->line = ps->lx.line;
	if (ps->lx.p < ps->lx.end && ps->lx.end - ps->lx.p > 1)
		return ptx_error(ps, "a NUL byte inside the text");
	if (!ps->m->version)
		return ptx_error(ps, "no .version: this is not PTX");
	return ptx_finish_module(ps);
}

static void free_state(struct ptx_parse *ps)
{
	while (ps->mem) {
		struct ptx_mem *next = ps->mem->next;
		free(ps->mem);
		ps->mem = next;
	}
	free(ps->syms);
	free(ps->labels);
	free(ps->refs);
	free(ps->scope_up);
	free(ps->protos);
	free(ps->fixed_hash);
}

int ptx_module_load(struct ptx_module **out, const char *text, size_t len, struct ck_err *err)
{
	struct ptx_parse ps = { .err = err, .lx = { .p = text, .end = text + len, .line = 1 } };
	*out = NULL;
	ps.m = calloc(1, sizeof *ps.m);
	if (!ps.m)
		return ck_err_set(err, CK_ESYS, 0, "no memory for a module");
	int rc = parse_module(&ps);
	free_state(&ps);
	if (rc < 0) {
		ptx_module_free(ps.m);
		return -1;
	}
	*out = ps.m;
	return 0;
}
