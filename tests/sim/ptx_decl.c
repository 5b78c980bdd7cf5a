/* ptx_decl.c - declarations: types, module variables with their initial values, parameter lists. */
#include "ptx_int.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of one variable's initial values: far above what compilers write into text. */
#define PTX_MAX_INIT (256ull << 20)

int ptx_type_of(const char *text, uint32_t len, struct ptx_type *out)
{
	static const struct {
		const char *name;
		struct ptx_type t;
	} table[] = {
		{ "b8", { 1, K_BITS } },     { "u8", { 1, K_UNSIGNED } },  { "s8", { 1, K_SIGNED } },
		{ "b16", { 2, K_BITS } },    { "u16", { 2, K_UNSIGNED } }, { "s16", { 2, K_SIGNED } },
		{ "b32", { 4, K_BITS } },    { "u32", { 4, K_UNSIGNED } }, { "s32", { 4, K_SIGNED } },
		{ "b64", { 8, K_BITS } },    { "u64", { 8, K_UNSIGNED } }, { "s64", { 8, K_SIGNED } },
		{ "f16", { 2, K_FLOAT } },   { "f32", { 4, K_FLOAT } },	   { "f64", { 8, K_FLOAT } },
		{ "f16x2", { 4, K_BITS } },  { "bf16x2", { 4, K_BITS } },  { "bf16", { 2, K_BITS } },
		{ "pred", { 1, K_PRED } },
	};
	if (len && *text == '.') {
		text++;
		len--;
	}
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (strlen(table[i].name) == len && !memcmp(table[i].name, text, len)) {
			*out = table[i].t;
			return 0;
		}
	}
	return -1;
}

/* [N] or [N][M]..., or [] for a size that is given elsewhere. */
static int parse_dims(struct ptx_parse *ps, struct ptx_decl *d)
{
	while (ptx_accept(ps, '[')) {
		uint64_t n = 0;
		if (ps->lx.kind == T_INT) {
			n = ps->lx.value;
			ptx_lex_next(&ps->lx);
		}
		if (ptx_expect(ps, ']') < 0)
			return -1;
		if (n > UINT32_MAX || (n && d->size > (1ull << 36) / n))
			return ptx_error(ps, "'%.*s' is too large", (int)d->len, d->name);
		d->size *= n;
	}
	return 0;
}

int ptx_parse_decl(struct ptx_parse *ps, struct ptx_decl *d)
{
	struct ptx_lex *lx = &ps->lx;
	bool typed = false;
	memset(d, 0, sizeof *d);
	d->vec = 1;
	for (; lx->kind == T_DIRECTIVE; ptx_lex_next(lx)) {
		if (ptx_tok_is(lx, ".align")) {
			ptx_lex_next(lx);
			if (lx->kind != T_INT || !lx->value || lx->value > 65536 || (lx->value & (lx->value - 1)))
				return ptx_error(ps, ".align needs a power of two");
			/* after .ptr it is the alignment of what is pointed at */
			if (!typed)
				d->align = (uint32_t)lx->value;
		} else if (ptx_tok_is(lx, ".v2")) {
			d->vec = 2;
		} else if (ptx_tok_is(lx, ".v4")) {
			d->vec = 4;
		} else if (!typed && ptx_type_of(lx->text, lx->len, &d->type) == 0) {
			typed = true;
		} else if (!typed || (!ptx_tok_is(lx, ".ptr") && !ptx_tok_is(lx, ".global") &&
				      !ptx_tok_is(lx, ".shared") && !ptx_tok_is(lx, ".const") &&
				      !ptx_tok_is(lx, ".local"))) {
			return ptx_error(ps, "'%.*s' in a declaration is not supported", (int)lx->len, lx->text);
		}
	}
	if (!typed || lx->kind != T_IDENT)
		return ptx_error(ps, "a declaration needs a type and a name");
	d->name = lx->text;
	d->len = lx->len;
	d->size = (uint64_t)d->type.size * d->vec;
	d->align = d->align ? d->align : (uint32_t)d->size;
	ptx_lex_next(lx);
	if (ptx_accept(ps, '<')) {
		if (lx->kind != T_INT || lx->value > 1000000)
			return ptx_error(ps, "'%.*s<...>' needs a count", (int)d->len, d->name);
		d->count = (uint32_t)lx->value;
		d->ranged = true;
		ptx_lex_next(lx);
		return ptx_expect(ps, '>');
	}
	return parse_dims(ps, d);
}

struct ptx_var *ptx_find_var(struct ptx_module *m, const char *name, uint32_t len)
{
	for (uint32_t i = 0; i < m->nvars; i++)
		if (strlen(m->vars[i].name) == len && !memcmp(m->vars[i].name, name, len))
			return &m->vars[i];
	return NULL;
}

static int add_reloc(struct ptx_parse *ps, struct ptx_var *v, uint64_t at)
{
	struct ptx_lex *lx = &ps->lx;
	struct ptx_reloc r = { .at = at, .var = UINT32_MAX, .func = UINT32_MAX };
	bool generic = ptx_tok_is(lx, "generic");
	if (generic) {
		ptx_lex_next(lx);
		if (ptx_expect(ps, '(') < 0)
			return -1;
	}
	struct ptx_var *to = ptx_find_var(ps->m, lx->text, lx->len);
	struct ptx_func *f = ptx_find_func(ps->m, lx->text, lx->len);
	if (to && to->space != SP_SHARED)
		r.var = (uint32_t)(to - ps->m->vars);
	else if (f)
		r.func = f->index;
	else
		return ptx_error(ps, "initial value '%.*s' is not known", (int)lx->len, lx->text);
	ptx_lex_next(lx);
	if (generic && ptx_expect(ps, ')') < 0)
		return -1;
	if (ptx_accept(ps, '+')) {
		if (lx->kind != T_INT)
			return ptx_error(ps, "expected an offset");
		r.add = (int64_t)lx->value;
		ptx_lex_next(lx);
	}
	void *grown = ptx_grow(v->relocs, v->nrelocs, sizeof *v->relocs);
	if (!grown)
		return ptx_error(ps, "out of memory");
	v->relocs = grown;
	v->relocs[v->nrelocs++] = r;
	return 0;
}

/* One scalar of an initialiser at *at; nested braces only group. */
static int parse_init(struct ptx_parse *ps, struct ptx_var *v, uint64_t *at, unsigned depth)
{
	struct ptx_lex *lx = &ps->lx;
	if (depth > 16)
		return ptx_error(ps, "braces too deep");
	if (ptx_accept(ps, '{')) {
		do {
			if (lx->kind == T_PUNCT && lx->value == '}')
				break;
			if (parse_init(ps, v, at, depth + 1) < 0)
				return -1;
		} while (ptx_accept(ps, ','));
		return ptx_expect(ps, '}');
	}
	if (*at + v->type.size > v->size)
		return ptx_error(ps, "more initial values than '%s' has room for", v->name);
	bool neg = ptx_accept(ps, '-');
	uint64_t bits = lx->value;
	if (lx->kind == T_IDENT && v->type.size == 8) {
		if (neg || add_reloc(ps, v, *at) < 0)
			return neg ? ptx_error(ps, "expected a number") : -1;
		*at += 8;
		return 0;
	}
	if (lx->kind == T_DEC && v->type.kind == K_FLOAT) {
		double d = neg ? -lx->dec : lx->dec;
		float f = (float)d;
		if (v->type.size == 8)
			memcpy(&bits, &d, 8);
		else
			memcpy(&bits, &f, 4);
	} else if (lx->kind == T_F32 || lx->kind == T_F64 || lx->kind == T_INT) {
		if (lx->kind != T_INT && v->type.size != (lx->kind == T_F32 ? 4 : 8))
			return ptx_error(ps, "a literal of another size in '%s'", v->name);
		if (neg && lx->kind != T_INT)
			return ptx_error(ps, "a minus before exact bits");
		if (lx->kind == T_INT && v->type.kind == K_FLOAT && bits)
			return ptx_error(ps, "an integer in the float '%s'", v->name);
		bits = neg ? 0 - bits : bits;
	} else {
		return ptx_error(ps, "initial value '%.*s' is not supported", (int)lx->len, lx->text);
	}
	memcpy(v->init + *at, &bits, v->type.size);
	*at += v->type.size;
	ptx_lex_next(lx);
	return 0;
}

/* Add the variable @d to the module, or fill in what an earlier declaration left open. */
static struct ptx_var *add_var(struct ptx_parse *ps, const struct ptx_decl *d, uint8_t space, bool is_extern)
{
	struct ptx_module *m = ps->m;
	struct ptx_var *v = ptx_find_var(m, d->name, d->len);
	if (v) {
		if (!v->is_extern && !is_extern) {
			ptx_error(ps, "'%s' stands twice", v->name);
			return NULL;
		}
		if (v->space != space) {
			ptx_error(ps, "'%s' is declared in two spaces", v->name);
			return NULL;
		}
		v->is_extern = v->is_extern && is_extern;
		v->size = d->size ? d->size : v->size;
		return v;
	}
	void *grown = ptx_grow(m->vars, m->nvars, sizeof *m->vars);
	char *name = ptx_strndup(d->name, d->len);
	if (grown)
		m->vars = grown;
	if (!grown || !name) {
		free(name);
		ptx_error(ps, "out of memory");
		return NULL;
	}
	v = &m->vars[m->nvars++];
	*v = (struct ptx_var){ .name = name, .space = space, .is_extern = is_extern, .type = d->type,
			       .align = d->align, .size = d->size };
	v->index = space == SP_SHARED ? m->nshared++ : UINT32_MAX;
	return v;
}

int ptx_parse_var(struct ptx_parse *ps, uint8_t space, bool is_extern, bool visible)
{
	struct ptx_decl d;
	if (ptx_parse_decl(ps, &d) < 0)
		return -1;
	if (d.ranged || d.type.kind == K_PRED)
		return ptx_error(ps, "'%.*s' cannot be a variable", (int)d.len, d.name);
	struct ptx_var *v = add_var(ps, &d, space, is_extern);
	if (!v)
		return -1;
	v->visible = v->visible || visible || is_extern;
	if (ptx_accept(ps, '=')) {
		if (space == SP_SHARED || !v->size || v->init || is_extern)
			return ptx_error(ps, "'%s' cannot have initial values", v->name);
		if (v->size > PTX_MAX_INIT)
			return ptx_error(ps, "initial values of '%s' are too large", v->name);
		v->init = calloc(1, v->size);
		if (!v->init)
			return ptx_error(ps, "out of memory");
		uint64_t at = 0;
		if (parse_init(ps, v, &at, 0) < 0)
			return -1;
	}
	if (space != SP_SHARED && !v->size && !is_extern)
		return ptx_error(ps, "'%s' has no size", v->name);
	return ptx_expect(ps, ';');
}

int ptx_parse_params(struct ptx_parse *ps, struct ptx_decl **out, uint32_t *n)
{
	struct ptx_decl *list = NULL;
	uint32_t count = 0, cap = 0;
	*out = NULL;
	*n = 0;
	if (ptx_expect(ps, '(') < 0)
		return -1;
	while (!ptx_accept(ps, ')')) {
		if (count && ptx_expect(ps, ',') < 0)
			return -1;
		if (!ptx_tok_is(&ps->lx, ".param"))
			return ptx_error(ps, "parameter '%.*s': only .param is supported", (int)ps->lx.len,
					 ps->lx.text);
		ptx_lex_next(&ps->lx);
		if (count == cap) {
			struct ptx_decl *bigger = ptx_temp(ps, (cap = cap * 2 + 4) * sizeof *list);
			if (!bigger)
				return ptx_error(ps, "out of memory");
			if (count)
				memcpy(bigger, list, count * sizeof *list);
			list = bigger;
		}
		if (ptx_parse_decl(ps, &list[count]) < 0)
			return -1;
		if (list[count].ranged || !list[count].size || list[count].size > 65536 ||
		    list[count].type.kind == K_PRED)
			return ptx_error(ps, "parameter '%.*s' cannot be so", (int)list[count].len,
					 list[count].name);
		count++;
	}
	*out = list;
	*n = count;
	return 0;
}
