/* holder.c - holds one named kind of object: sets it up, waits to be checkpointed, verifies that it is still
 * what it was, and ends with --exit. "unsupported" (77) where this kernel does not allow the object.
 *
 *     holder KIND [--pause-at 1 --pause-file F] [--exit N]          holder --list */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "holder.h"
#include "prog.h"

static const struct kind *const tables[] = { holder_ipc_kinds, holder_fd_kinds, holder_task_kinds };

int main(int argc, char **argv)
{
	struct prog_opts o = { 0 };
	const char *name = argc > 1 ? argv[1] : "";
	for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
		for (const struct kind *k = tables[t]; k->name; k++) {
			if (strcmp(name, "--list") == 0) {
				puts(k->name);
				continue;
			}
			if (strcmp(name, k->name) != 0)
				continue;
			argv[1] = argv[0];
			prog_options(&o, argc - 1, argv + 1);
			k->set_up();
			prog_pause(&o, 1);
			k->verify();
			printf("%s is right\n", k->name);
			prog_end(&o, 0);
		}
	}
	if (strcmp(name, "--list") == 0)
		return 0;
	prog_fail("no such kind: %s", name);
}

_Noreturn void holder_unsupported(const char *what)
{
	perror(what);
	_exit(77);
}
