/* opts_help.c - what an option table tells: --help, --version, --dump-options. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opts.h"
#include "opts_int.h"
#include "status.h"

#define WIDTH 79
#define HELP_COLUMN 26

static const struct {
	int number;
	const char *meaning;
} statuses[] = {
#define X(name, number, meaning) { number, meaning },
	CK_STATUS_TABLE(X)
#undef X
};

static const char *status_meaning(int number)
{
	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
		if (statuses[i].number == number)
			return statuses[i].meaning;
	return "?";
}

/* @text from @column on, broken at blanks and at its own line ends, later lines indented by @indent. */
static void wrap(FILE *f, const char *text, size_t column, size_t indent)
{
	while (*text) {
		size_t len = strcspn(text, " \n");
		if (column > indent && column + len > WIDTH) {
			fprintf(f, "\n%*s", (int)indent, "");
			column = indent;
		}
		fwrite(text, 1, len, f);
		column += len;
		text += len;
		if (*text == '\n') {
			fprintf(f, "\n%*s", (int)indent, "");
			column = indent;
		} else if (*text == ' ' && column < WIDTH) {
			fputc(' ', f);
			column++;
		}
		text += *text != 0;
	}
	fputc('\n', f);
}

static void help_row(FILE *f, char letter, const char *name, const char *arg, const char *text)
{
	char left[128], key[8] = "    ";
	if (letter)
		snprintf(key, sizeof key, "-%c, ", letter);
	int n = snprintf(left, sizeof left, "  %s--%s%s%s", key, name, arg ? " " : "", arg ? arg : "");
	if (n + 2 > HELP_COLUMN)
		fprintf(f, "%s\n%*s", left, HELP_COLUMN, "");
	else
		fprintf(f, "%-*s", HELP_COLUMN, left);
	wrap(f, text, HELP_COLUMN, HELP_COLUMN);
}

static void help_opt(FILE *f, const struct ck_opt *o)
{
	char text[1024], more[256] = "";
	int n = 0;
	if (o->env)
		n = snprintf(more, sizeof more, "%s", o->env);
	if (o->dflt && n >= 0 && (size_t)n < sizeof more)
		snprintf(more + n, sizeof more - (size_t)n, "%sdefault %s", n ? "; " : "", o->dflt);
	snprintf(text, sizeof text, more[0] ? "%s [%s]" : "%s", o->help, more);
	help_row(f, o->letter, o->name, o->arg, text);
}

char *ck_opts_help(const struct ck_tool *t)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	fprintf(f, "Usage: %s %s\n\n", t->name, t->usage);
	wrap(f, t->summary, 0, 0);
	fprintf(f, "\nOptions (each variable of the same name gives its default):\n");
	for (size_t i = 0; i < t->nopts; i++)
		help_opt(f, &t->opts[i]);
	help_row(f, 'h', "help", NULL, "print this and exit");
	help_row(f, 'V', "version", NULL, "print the version and exit");
	fprintf(f, "\nExit status:\n");
	if (t->ok) {
		fprintf(f, "  %-5d", 0);
		wrap(f, t->ok, 7, 7);
	}
	for (const int *s = t->statuses; s && *s; s++) {
		fprintf(f, "  %-5d", *s);
		wrap(f, status_meaning(*s), 7, 7);
	}
	if (t->status_note) {
		fputs("  ", f);
		wrap(f, t->status_note, 2, 2);
	}
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

char *ck_opts_version(const struct ck_tool *t)
{
	char *text;
	return asprintf(&text, "%s " CK_VERSION "\n", t->name) < 0 ? NULL : text;
}

/* One line each, fields between tabs, "-" where there is none:
 *   option NAME LETTER ARG VARIABLE DEFAULT
 *   status NUMBER */
char *ck_opts_dump(const struct ck_tool *t)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	for (size_t i = 0; i < t->nopts; i++) {
		const struct ck_opt *o = &t->opts[i];
		fprintf(f, "option\t%s\t%c\t%s\t%s\t%s\n", o->name, o->letter ? o->letter : '-',
			o->arg ? o->arg : "-", o->env ? o->env : "-", o->dflt ? o->dflt : "-");
	}
	fputs("option\thelp\th\t-\t-\t-\noption\tversion\tV\t-\t-\t-\n", f);
	if (t->ok)
		fputs("status\t0\n", f);
	for (const int *s = t->statuses; s && *s; s++)
		fprintf(f, "status\t%d\n", *s);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

int ck_opts_main(const struct ck_tool *t, int argc, char **argv, int *status)
{
	struct ck_err err;
	char *text;
	int first;
	if (ck_opts_parse(t, argc, argv, &first, &text, &err)) {
		fprintf(stderr, "%s: %s; try %s --help\n", t->name, err.msg, t->name);
		*status = CK_STATUS_USAGE;
		return -1;
	}
	if (!text) {
		for (size_t i = 0; i < t->nopts; i++)
			if (strcmp(t->opts[i].name, "log") == 0)
				ck_opts_log(*(const char **)t->opts[i].var);
		return first;
	}
	int bad = fputs(text, stdout) == EOF || fflush(stdout) == EOF;
	free(text);
	*status = bad ? CK_STATUS_INTERNAL : 0;
	return -1;
}
