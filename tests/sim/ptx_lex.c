/* ptx_lex.c - PTX text into tokens. */
#include "ptx_int.h"

#include <stdlib.h>
#include <string.h>

static bool is_alpha(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(int c)
{
	return is_alpha(c) || is_digit(c);
}

static int peek(const struct ptx_lex *lx, size_t k)
{
	return (size_t)(lx->end - lx->p) > k ? (unsigned char)lx->p[k] : 0;
}

static void skip_blank(struct ptx_lex *lx)
{
	while (lx->p < lx->end) {
		int c = peek(lx, 0);
		if (c == '\n') {
			lx->line++;
			lx->p++;
		} else if (c == ' ' || c == '\t' || c == '\r') {
			lx->p++;
		} else if (c == '/' && peek(lx, 1) == '/') {
			while (lx->p < lx->end && *lx->p != '\n')
				lx->p++;
		} else if (c == '/' && peek(lx, 1) == '*') {
			lx->p += 2;
			while (lx->p < lx->end && !(*lx->p == '*' && peek(lx, 1) == '/')) {
				if (*lx->p == '\n')
					lx->line++;
				lx->p++;
			}
			lx->p += lx->p < lx->end ? 2 : 0;
		} else {
			break;
		}
	}
}

static int hex_value(int c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Digits of @base; sets bad when they overflow 64 bits or are none. */
static uint64_t digits(struct ptx_lex *lx, unsigned base)
{
	uint64_t v = 0;
	const char *start = lx->p;
	for (; lx->p < lx->end; lx->p++) {
		int h = hex_value(*lx->p);
		if (h < 0 || (unsigned)h >= base)
			break;
		if (v > (UINT64_MAX - (unsigned)h) / base)
			lx->bad = true;
		v = v * base + (unsigned)h;
	}
	if (lx->p == start)
		lx->bad = true;
	return v;
}

/* The literal of exact bits, 0f3F800000 or 0d3FF0000000000000. */
static void exact(struct ptx_lex *lx, unsigned count, enum ptx_tok kind)
{
	lx->kind = kind;
	lx->p += 2;
	const char *start = lx->p;
	lx->value = digits(lx, 16);
	if (lx->p - start != (long)count)
		lx->bad = true;
}

static void decimal_float(struct ptx_lex *lx)
{
	char buf[64];
	size_t n = 0;
	while (n < sizeof buf - 1) {
		int c = peek(lx, n);
		bool sign = (c == '+' || c == '-') && n && (buf[n - 1] == 'e' || buf[n - 1] == 'E');
		if (!is_digit(c) && c != '.' && c != 'e' && c != 'E' && !sign)
			break;
		buf[n++] = (char)c;
	}
	buf[n] = 0;
	char *end;
	lx->kind = T_DEC;
	lx->dec = strtod(buf, &end);
	if (end == buf || *end)
		lx->bad = true;
	lx->p += n;
}

static void number(struct ptx_lex *lx)
{
	int c1 = peek(lx, 1);
	lx->kind = T_INT;
	if (peek(lx, 0) == '0' && (c1 == 'f' || c1 == 'F')) {
		exact(lx, 8, T_F32);
	} else if (peek(lx, 0) == '0' && (c1 == 'd' || c1 == 'D')) {
		exact(lx, 16, T_F64);
	} else if (peek(lx, 0) == '0' && (c1 == 'x' || c1 == 'X')) {
		lx->p += 2;
		lx->value = digits(lx, 16);
	} else if (peek(lx, 0) == '0' && (c1 == 'b' || c1 == 'B')) {
		lx->p += 2;
		lx->value = digits(lx, 2);
	} else {
		size_t n = 0;
		while (is_digit(peek(lx, n)))
			n++;
		int c = peek(lx, n);
		if (c == '.' || c == 'e' || c == 'E') {
			decimal_float(lx);
			return;
		}
		lx->value = digits(lx, peek(lx, 0) == '0' && n > 1 ? 8 : 10);
	}
	if (lx->kind == T_INT && peek(lx, 0) == 'U')
		lx->p++;
	if (is_word(peek(lx, 0)))
		lx->bad = true;
}

void ptx_lex_next(struct ptx_lex *lx)
{
	skip_blank(lx);
	lx->text = lx->p;
	lx->value = 0;
	int c = peek(lx, 0);
	if (lx->p >= lx->end || !c) {
		lx->kind = T_EOF;
		lx->len = 0;
		return;
	}
	if (is_alpha(c)) {
		lx->kind = T_IDENT;
		while (is_word(peek(lx, 0)) || (peek(lx, 0) == '.' && is_word(peek(lx, 1))) ||
		       (peek(lx, 0) == ':' && peek(lx, 1) == ':' && is_word(peek(lx, 2))))
			lx->p += peek(lx, 0) == ':' ? 2 : 1;
	} else if (c == '.' && is_alpha(peek(lx, 1))) {
		lx->kind = T_DIRECTIVE;
		lx->p++;
		while (is_word(peek(lx, 0)))
			lx->p++;
	} else if (is_digit(c)) {
		number(lx);
	} else if (c == '"') {
		lx->kind = T_STRING;
		lx->p++;
		while (lx->p < lx->end && *lx->p != '"' && *lx->p != '\n')
			lx->p++;
		if (lx->p < lx->end && *lx->p == '"')
			lx->p++;
		else
			lx->bad = true;
	} else {
		lx->kind = T_PUNCT;
		lx->value = (uint64_t)c;
		lx->p++;
	}
	lx->len = (uint32_t)(lx->p - lx->text);
}
