/* opts_int.h - between opts.c (reading) and opts_help.c (telling). */
#ifndef CK_OPTS_INT_H
#define CK_OPTS_INT_H

#include "opts.h"

/* The text of --help, --version, --dump-options: malloc'd, NULL when out of memory. */
char *ck_opts_help(const struct ck_tool *t);
char *ck_opts_version(const struct ck_tool *t);
char *ck_opts_dump(const struct ck_tool *t);

#endif
