/* ptx_func.c - a function: its head, scopes, labels and statements. */
#include "ptx_int.h"

#include <stdlib.h>
#include <string.h>

static struct ptx_sym *add_sym(struct ptx_parse *ps, uint8_t kind, const char *name, uint32_t len)
{
	if (ps->nsyms == ps->csyms) {
		uint32_t cap = ps->csyms ? ps->csyms * 2 : 64;
		void *grown = reallocarray(ps->syms, cap, sizeof *ps->syms);
		if (!grown) {
			ptx_error(ps, "out of memory");
			return NULL;
		}
		ps->syms = grown;
		ps->csyms = cap;
	}
	struct ptx_sym *s = &ps->syms[ps->nsyms++];
	*s = (struct ptx_sym){ .name = name, .len = len, .kind = kind };
	return s;
}

/* The newest symbol called @name; of %r<N> also %r0 to %rN-1, whose number goes to @index. */
const struct ptx_sym *ptx_find_sym(struct ptx_parse *ps, const char *name, uint32_t len, uint32_t *index)
{
	*index = 0;
	uint32_t digits = 0;
	while (digits < len && digits < 9 && name[len - 1 - digits] >= '0' && name[len - 1 - digits] <= '9')
		digits++;
	for (uint32_t i = ps->nsyms; i-- > 0;) {
		const struct ptx_sym *s = &ps->syms[i];
		if (s->kind == SYM_REGS && s->count) {
			/* %r12 is the 12 of %r<N>, or the 2 of %r1<N> */
			uint32_t d = len - s->len;
			if (s->len >= len || d > digits || memcmp(s->name, name, s->len))
				continue;
			if (d > 1 && name[s->len] == '0')
				continue;
			uint32_t n = 0;
			for (uint32_t k = s->len; k < len; k++)
				n = n * 10 + (uint32_t)(name[k] - '0');
			if (n >= s->count)
				continue;
			*index = n;
			return s;
		}
		if (s->len == len && !memcmp(s->name, name, len))
			return s;
	}
	return NULL;
}

static uint32_t place(uint32_t *end, const struct ptx_decl *d)
{
	uint32_t at = (*end + d->align - 1) & ~(d->align - 1);
	*end = at + (uint32_t)d->size;
	return at;
}

/* Offsets of @n declarations one after the other; allocated, into @off and @size. */
static int layout(struct ptx_parse *ps, const struct ptx_decl *d, uint32_t n, uint32_t *end, uint32_t **off,
		  uint32_t **size)
{
	*off = calloc(n ? n : 1, sizeof **off);
	*size = calloc(n ? n : 1, sizeof **size);
	if (!*off || !*size)
		return ptx_error(ps, "out of memory");
	for (uint32_t i = 0; i < n; i++) {
		(*off)[i] = place(end, &d[i]);
		(*size)[i] = (uint32_t)d[i].size;
	}
	return 0;
}

static int parse_regs(struct ptx_parse *ps)
{
	struct ptx_decl d;
	if (ptx_parse_decl(ps, &d) < 0)
		return -1;
	for (;;) {
		if (d.vec != 1)
			return ptx_error(ps, "vector registers are not supported");
		struct ptx_sym *s = add_sym(ps, SYM_REGS, d.name, d.len);
		if (!s)
			return -1;
		if (d.ranged && !d.count)
			ps->nsyms--;
		s->type = d.type;
		s->count = d.count;
		s->slot = ptx_slot_new(ps);
		for (uint32_t i = 1; i < d.count; i++)
			ptx_slot_new(ps);
		if (s->slot == UINT32_MAX || ps->f->nslots >= 1u << 20)
			return ptx_error(ps, "too many registers");
		if (!ptx_accept(ps, ','))
			return ptx_expect(ps, ';');
		if (ps->lx.kind != T_IDENT)
			return ptx_error(ps, "expected a register");
		d.name = ps->lx.text;
		d.len = ps->lx.len;
		d.ranged = false;
		d.count = 0;
		ptx_lex_next(&ps->lx);
		if (ptx_accept(ps, '<')) {
			if (ps->lx.kind != T_INT || !ps->lx.value || ps->lx.value > 1000000)
				return ptx_error(ps, "expected a count");
			d.count = (uint32_t)ps->lx.value;
			d.ranged = true;
			ptx_lex_next(&ps->lx);
			if (ptx_expect(ps, '>') < 0)
				return -1;
		}
	}
}

static int parse_local(struct ptx_parse *ps)
{
	struct ptx_decl d;
	do {
		if (ptx_parse_decl(ps, &d) < 0)
			return -1;
		if (!d.size || d.size > PTX_WINDOW_SIZE / 2 || ps->local > PTX_WINDOW_SIZE / 2)
			return ptx_error(ps, "'%.*s' does not fit local memory", (int)d.len, d.name);
		struct ptx_sym *s = add_sym(ps, SYM_LOCAL, d.name, d.len);
		if (!s)
			return -1;
		s->off = place(&ps->local, &d);
		s->size = (uint32_t)d.size;
	} while (ptx_accept(ps, ','));
	return ptx_expect(ps, ';');
}

/* A shared variable of the function: a module variable under a name that no other can have. */
static int parse_shared(struct ptx_parse *ps)
{
	struct ptx_decl d;
	if (ptx_parse_decl(ps, &d) < 0)
		return -1;
	struct ptx_module *m = ps->m;
	void *grown = ptx_grow(m->vars, m->nvars, sizeof *m->vars);
	if (!grown)
		return ptx_error(ps, "out of memory");
	m->vars = grown;
	struct ptx_sym *s = add_sym(ps, SYM_VAR, d.name, d.len);
	char *name = s ? ptx_strndup("", 0) : NULL;
	if (!name)
		return ptx_error(ps, "out of memory");
	s->slot = m->nvars;
	m->vars[m->nvars++] = (struct ptx_var){ .name = name, .space = SP_SHARED, .type = d.type,
						.align = d.align, .size = d.size, .index = m->nshared++,
						.is_extern = d.size == 0 };
	return ptx_expect(ps, ';');
}

static int add_label(struct ptx_parse *ps, struct ptx_label **list, uint32_t *n, struct ptx_label l)
{
	void *grown = ptx_grow(*list, *n, sizeof **list);
	if (!grown)
		return ptx_error(ps, "out of memory");
	*list = grown;
	(*list)[(*n)++] = l;
	return 0;
}

int ptx_label_ref(struct ptx_parse *ps, const struct ptx_opnd *o, uint32_t at, bool in_table)
{
	return add_label(ps, &ps->refs, &ps->nrefs,
			 (struct ptx_label){ .name = o->text, .len = o->len, .scope = ps->scope, .at = at,
					     .line = ps->line, .in_table = in_table });
}

static int resolve_labels(struct ptx_parse *ps)
{
	for (uint32_t i = 0; i < ps->nrefs; i++) {
		struct ptx_label *r = &ps->refs[i], *hit = NULL;
		for (uint32_t sc = r->scope; !hit; sc = ps->scope_up[sc]) {
			for (uint32_t k = 0; k < ps->nlabels && !hit; k++) {
				struct ptx_label *l = &ps->labels[k];
				if (l->scope == sc && l->len == r->len && !memcmp(l->name, r->name, r->len))
					hit = l;
			}
			if (!sc)
				break;
		}
		ps->line = r->line;
		if (!hit)
			return ptx_error(ps, "label '%.*s' is not in this function", (int)r->len, r->name);
		if (r->in_table)
			ps->f->tables[r->at] = hit->at;
		else
			ps->f->code[r->at].imm = (int64_t)hit->at - (int64_t)r->at;
	}
	return 0;
}

/* NAME: .branchtargets A, B; */
static int parse_targets(struct ptx_parse *ps, struct ptx_sym *s)
{
	struct ptx_func *f = ps->f;
	s->slot = f->ntables;
	s->count = 0;
	do {
		void *grown = ptx_grow(f->tables, f->ntables, sizeof *f->tables);
		if (!grown)
			return ptx_error(ps, "out of memory");
		f->tables = grown;
		struct ptx_opnd o = { .text = ps->lx.text, .len = ps->lx.len };
		if (ps->lx.kind != T_IDENT || ptx_label_ref(ps, &o, f->ntables, true) < 0)
			return ptx_error(ps, "expected a label");
		f->tables[f->ntables++] = 0;
		s->size++;
		ptx_lex_next(&ps->lx);
	} while (ptx_accept(ps, ','));
	return ptx_expect(ps, ';');
}

/* NAME: .callprototype (.param ...) _ (.param ...); */
static int parse_prototype(struct ptx_parse *ps, struct ptx_sym *s)
{
	struct ptx_decl *rets = NULL, *args = NULL;
	uint32_t nrets = 0, nargs = 0, end = 0;
	if (ps->lx.kind == T_PUNCT && ptx_parse_params(ps, &rets, &nrets) < 0)
		return -1;
	ptx_lex_next(&ps->lx); /* _ */
	if (ps->lx.kind == T_PUNCT && ps->lx.value == '(' && ptx_parse_params(ps, &args, &nargs) < 0)
		return -1;
	while (ps->lx.kind == T_DIRECTIVE)
		ptx_lex_next(&ps->lx);
	void *grown = ptx_grow(ps->protos, ps->nprotos, sizeof *ps->protos);
	struct ptx_proto p = { .nrets = nrets, .nargs = nargs };
	p.arg_off = ptx_temp(ps, 4 * (nargs + 1));
	p.arg_size = ptx_temp(ps, 4 * (nargs + 1));
	p.ret_off = ptx_temp(ps, 4 * (nrets + 1));
	p.ret_size = ptx_temp(ps, 4 * (nrets + 1));
	if (grown)
		ps->protos = grown;
	if (!grown || !p.arg_off || !p.arg_size || !p.ret_off || !p.ret_size)
		return ptx_error(ps, "out of memory");
	for (uint32_t i = 0; i < nrets; i++) {
		p.ret_off[i] = place(&end, &rets[i]);
		p.ret_size[i] = (uint32_t)rets[i].size;
	}
	for (uint32_t i = 0; i < nargs; i++) {
		p.arg_off[i] = place(&end, &args[i]);
		p.arg_size[i] = (uint32_t)args[i].size;
	}
	p.end = end;
	s->slot = ps->nprotos;
	ps->protos[ps->nprotos++] = p;
	return ptx_expect(ps, ';');
}

static int parse_label(struct ptx_parse *ps, const char *name, uint32_t len)
{
	bool targets = ptx_tok_is(&ps->lx, ".branchtargets");
	if (targets || ptx_tok_is(&ps->lx, ".callprototype")) {
		struct ptx_sym *s = add_sym(ps, targets ? SYM_TABLE : SYM_PROTO, name, len);
		ptx_lex_next(&ps->lx);
		return !s ? -1 : targets ? parse_targets(ps, s) : parse_prototype(ps, s);
	}
	for (uint32_t i = 0; i < ps->nlabels; i++)
		if (ps->labels[i].scope == ps->scope && ps->labels[i].len == len &&
		    !memcmp(ps->labels[i].name, name, len))
			return ptx_error(ps, "label '%.*s' stands twice", (int)len, name);
	return add_label(ps, &ps->labels, &ps->nlabels,
			 (struct ptx_label){ .name = name, .len = len, .scope = ps->scope, .at = ps->f->ncode });
}

static int parse_body_directive(struct ptx_parse *ps)
{
	struct ptx_lex *lx = &ps->lx;
	if (ptx_tok_is(lx, ".loc") || ptx_tok_is(lx, ".pragma")) {
		uint32_t line = lx->line;
		while (lx->kind != T_EOF && lx->line == line)
			ptx_lex_next(lx);
		return 0;
	}
	bool reg = ptx_tok_is(lx, ".reg"), local = ptx_tok_is(lx, ".local") || ptx_tok_is(lx, ".param");
	bool shared = ptx_tok_is(lx, ".shared");
	if (!reg && !local && !shared)
		return ptx_error(ps, "directive '%.*s' is not supported here", (int)lx->len, lx->text);
	ptx_lex_next(lx);
	return reg ? parse_regs(ps) : local ? parse_local(ps) : parse_shared(ps);
}

/* [@[!]p] opcode operands ; */
static int parse_statement(struct ptx_parse *ps)
{
	struct ptx_lex *lx = &ps->lx;
	ps->guard.kind = O_NONE;
	if (ptx_accept(ps, '@')) {
		if (ptx_parse_operand(ps, &ps->guard) < 0)
			return -1;
		if (ps->guard.kind != O_SLOT || ps->guard.type.kind != K_PRED)
			return ptx_error(ps, "a guard must be a predicate register");
	}
	if (lx->kind != T_IDENT)
		return ptx_error(ps, "expected an instruction before '%.*s'", (int)(lx->len > 40 ? 40 : lx->len),
				 lx->text);
	ps->opcode = lx->text;
	ps->opcode_len = lx->len;
	ptx_lex_next(lx);
	if (ps->guard.kind == O_NONE && ptx_accept(ps, ':'))
		return parse_label(ps, ps->opcode, ps->opcode_len);
	ps->nops = 0;
	ps->paired = false;
	while (!(lx->kind == T_PUNCT && lx->value == ';')) {
		if (ps->nops + 2 > PTX_MAX_OPS)
			return ptx_error(ps, "too many operands");
		if (ps->nops && ptx_expect(ps, ',') < 0)
			return -1;
		if (ptx_parse_operand(ps, &ps->ops_[ps->nops++]) < 0)
			return -1;
		if (ps->nops == 1 && ptx_accept(ps, '|')) {
			ps->paired = true;
			if (ptx_parse_operand(ps, &ps->ops_[ps->nops++]) < 0)
				return -1;
		}
	}
	ptx_lex_next(lx);
	return ptx_compile(ps);
}

static int parse_body(struct ptx_parse *ps)
{
	struct ptx_lex *lx = &ps->lx;
	uint32_t mark[64], depth = 0;
	for (;;) {
		ps->line = lx->line;
		if (lx->bad)
			return ptx_error(ps, "malformed literal before '%.*s'", (int)(lx->len > 40 ? 40 : lx->len),
					 lx->text);
		if (lx->kind == T_EOF)
			return ptx_error(ps, "the text ends inside a function");
		if (ptx_accept(ps, '{')) {
			if (depth == 64)
				return ptx_error(ps, "scopes too deep");
			void *grown = ptx_grow(ps->scope_up, ps->nscopes, sizeof *ps->scope_up);
			if (!grown)
				return ptx_error(ps, "out of memory");
			ps->scope_up = grown;
			ps->scope_up[ps->nscopes] = ps->scope;
			ps->scope = ps->nscopes++;
			mark[depth++] = ps->nsyms;
		} else if (ptx_accept(ps, '}')) {
			if (!depth)
				return 0;
			ps->nsyms = mark[--depth];
			ps->scope = ps->scope_up[ps->scope];
		} else if (lx->kind == T_DIRECTIVE) {
			if (parse_body_directive(ps) < 0)
				return -1;
		} else if (!ptx_accept(ps, ';') && parse_statement(ps) < 0) {
			return -1;
		}
	}
}

/* .maxntid and the like, between the parameters and the body. */
static int parse_limits(struct ptx_parse *ps)
{
	struct ptx_lex *lx = &ps->lx;
	struct ptx_func_info *info = &ps->f->info;
	info->max_threads = info->max_threads ? info->max_threads : 1024;
	while (lx->kind == T_DIRECTIVE) {
		bool max = ptx_tok_is(lx, ".maxntid"), req = ptx_tok_is(lx, ".reqntid");
		if (!max && !req && !ptx_tok_is(lx, ".minnctapersm") && !ptx_tok_is(lx, ".maxnreg") &&
		    !ptx_tok_is(lx, ".noreturn") && !ptx_tok_is(lx, ".maxnctapersm") && !ptx_tok_is(lx, ".pragma"))
			return ptx_error(ps, "directive '%.*s' is not supported", (int)lx->len, lx->text);
		ptx_lex_next(lx);
		uint64_t n[3] = { 1, 1, 1 };
		unsigned k = 0;
		while (lx->kind == T_INT || lx->kind == T_STRING) {
			n[k] = lx->kind == T_INT ? lx->value : 1;
			if (++k > 2 || n[k - 1] > 65536)
				k = 2;
			ptx_lex_next(lx);
			if (!ptx_accept(ps, ','))
				break;
		}
		if (max || req)
			info->max_threads = n[0] * n[1] * n[2] > 1024 ? 1024 : (uint32_t)(n[0] * n[1] * n[2]);
		for (unsigned i = 0; req && i < 3; i++)
			info->reqntid[i] = (uint32_t)n[i];
		ptx_accept(ps, ';');
	}
	return 0;
}

static struct ptx_func *new_func(struct ptx_parse *ps, const char *name, uint32_t len)
{
	struct ptx_module *m = ps->m;
	void *grown = ptx_grow(m->funcs, m->nfuncs, sizeof *m->funcs);
	if (grown)
		m->funcs = grown;
	struct ptx_func *f = grown ? calloc(1, sizeof *f) : NULL;
	if (f)
		f->name = ptx_strndup(name, len);
	if (!f || !f->name) {
		free(f);
		ptx_error(ps, "out of memory");
		return NULL;
	}
	f->mod = m;
	f->index = m->nfuncs;
	m->funcs[m->nfuncs++] = f;
	return f;
}

static int lay_out_params(struct ptx_parse *ps, struct ptx_func *f, struct ptx_decl *rets, uint32_t nrets,
			  struct ptx_decl *args, uint32_t nargs)
{
	uint32_t end = 0;
	bool again = f->arg_off != NULL;
	if (again && (f->nargs != nargs || f->nrets != nrets))
		return ptx_error(ps, "'%s' is declared with other parameters", f->name);
	free(f->ret_off), free(f->ret_size), free(f->arg_off), free(f->arg_size);
	f->ret_off = f->ret_size = f->arg_off = f->arg_size = NULL;
	if (layout(ps, rets, nrets, &end, &f->ret_off, &f->ret_size) < 0 ||
	    layout(ps, args, nargs, &end, &f->arg_off, &f->arg_size) < 0)
		return -1;
	f->nrets = nrets;
	f->nargs = nargs;
	if (!f->is_entry) {
		ps->local = end;
		return 0;
	}
	f->params = calloc(nargs ? nargs : 1, sizeof *f->params);
	if (!f->params || end > 32764)
		return ptx_error(ps, "too many parameters");
	for (uint32_t i = 0; i < nargs; i++)
		f->params[i] = (struct ptx_param){ f->arg_off[i], f->arg_size[i] };
	f->info.param_count = nargs;
	f->info.params = f->params;
	f->info.param_size = end;
	return 0;
}

int ptx_parse_function(struct ptx_parse *ps, bool is_entry, bool is_extern)
{
	struct ptx_decl *rets = NULL, *args = NULL;
	uint32_t nrets = 0, nargs = 0;
	if (!is_entry && ps->lx.kind == T_PUNCT && ptx_parse_params(ps, &rets, &nrets) < 0)
		return -1;
	if (ps->lx.kind != T_IDENT)
		return ptx_error(ps, "expected a function's name");
	struct ptx_func *f = ptx_find_func(ps->m, ps->lx.text, ps->lx.len);
	if (f && (f->defined || f->is_entry != is_entry))
		return ptx_error(ps, "'%s' stands twice", f->name);
	if (!f)
		f = new_func(ps, ps->lx.text, ps->lx.len);
	if (!f)
		return -1;
	ptx_lex_next(&ps->lx);
	if (ps->lx.kind == T_PUNCT && ps->lx.value == '(' && ptx_parse_params(ps, &args, &nargs) < 0)
		return -1;
	free(f->params);
	f->params = NULL;
	f->is_entry = is_entry;
	ps->f = f;
	ps->local = 0;
	if (lay_out_params(ps, f, rets, nrets, args, nargs) < 0 || parse_limits(ps) < 0)
		return -1;
	f->info.name = f->name;
	if (ptx_accept(ps, ';'))
		return 0;
	if (is_extern)
		return ptx_error(ps, "'%s' is .extern and has a body", f->name);
	f->defined = true;
	ps->nsyms = ps->nlabels = ps->nrefs = ps->scope = ps->nprotos = ps->nfixed = 0;
	ps->nscopes = 1;
	free(ps->scope_up);
	ps->scope_up = calloc(1, sizeof *ps->scope_up);
	free(ps->fixed_hash);
	ps->fixed_hash = NULL;
	ps->fixed_mask = 0;
	if (!ps->scope_up || ptx_slot_new(ps) != 0) /* slot 0: the condition code */
		return ptx_error(ps, "out of memory");
	for (uint32_t i = 0; i < nrets + nargs; i++) {
		const struct ptx_decl *d = i < nrets ? &rets[i] : &args[i - nrets];
		struct ptx_sym *s = add_sym(ps, is_entry ? SYM_KPARAM : SYM_LOCAL, d->name, d->len);
		if (!s)
			return -1;
		s->off = i < nrets ? f->ret_off[i] : f->arg_off[i - nrets];
		s->size = (uint32_t)d->size;
	}
	if (ptx_expect(ps, '{') < 0 || parse_body(ps) < 0)
		return -1;
	/* falling off the end is a return */
	if (!ptx_emit(ps, is_entry ? OP_exit : OP_ret, 0, 0, 0, 0))
		return -1;
	f->frame = (ps->local + 15) & ~15u;
	f->info.regs = f->nslots > 255 ? 255 : f->nslots;
	return resolve_labels(ps);
}
