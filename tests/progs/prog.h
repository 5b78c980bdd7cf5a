/* prog.h - what the test programs share: options, the pause that lets a test preempt them at a known step,
 * and checksums. Each program sets up, works in steps, and verifies or prints what it came to.
 */
#ifndef PROG_H
#define PROG_H

#include <stddef.h>
#include <stdint.h>

struct prog {
	int steps;	       /* --steps N */
	uint64_t size;	       /* --size BYTES */
	uint32_t seed;	       /* --seed N */
	int pause_at;	       /* --pause-at K: before step K; 0 never */
	int stop_every;	       /* --stop-every N: and every N steps after that */
	const char *pause_file; /* --pause-file F */
	int exit_status;       /* --exit N: at the end */
	int die_by;	       /* --signal N: at the end, by raising it */
};

/* prog_args - fill @p (defaults first set by the caller) from the command line; wrong ones exit with 2. */
void prog_args(struct prog *p, int argc, char **argv);

/* prog_due - does the program pause before @step? */
int prog_due(const struct prog *p, int step);

/* prog_pause - if it does: make F.reached, wait for F.go, remove both. With F.free there it never pauses. */
void prog_pause(const struct prog *p, int step);

/* prog_waiting - one turn of that wait for programs that work meanwhile. Returns 0 once it is over. */
int prog_waiting(const struct prog *p);
void prog_reached(const struct prog *p);

/* prog_sum - FNV-1a over 8-byte words (a tail by bytes), continued from @h. Start with PROG_SUM. */
#define PROG_SUM 0xcbf29ce484222325u
uint64_t prog_sum(uint64_t h, const void *data, size_t len);

/* prog_end - exit as --exit and --signal say. */
void prog_end(const struct prog *p) __attribute__((noreturn));

/* prog_die - print and exit with @status. */
void prog_die(int status, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

#endif
