/* prog.h - what all test programs share: options, pausing at a known step, a checksum. */
#ifndef PROGS_PROG_H
#define PROGS_PROG_H

#include <stddef.h>
#include <stdint.h>

struct prog_opts {
	unsigned long steps;	/* --steps N */
	unsigned long size;	/* --size BYTES */
	unsigned long seed;	/* --seed N */
	unsigned long pause_at; /* --pause-at K: steps count from 1; 0: never */
	unsigned long stop_every; /* --stop-every N: and every N steps after that */
	const char *pause_file; /* --pause-file F */
	int exit_status;	/* --exit N */
	int signal;		/* --signal N: dies by it at the end */
};

/* prog_options - read the command line; sets standard output to line buffering. Wrong usage: exits 2. */
void prog_options(struct prog_opts *o, int argc, char **argv);

/* prog_pause - before step @step: if it is due, create F.reached, wait until F.go exists and remove both, so
 * that each pause waits for an F.go of its own. With F.free there the program pauses no more. */
void prog_pause(const struct prog_opts *o, unsigned long step);

/* prog_hash - checksum of @len bytes, continued from @h (start with 0). Any changed, moved or lost byte
 * changes it. */
uint64_t prog_hash(uint64_t h, const void *buf, size_t len);

/* prog_random - the @i'th number of the sequence @seed. */
uint32_t prog_random(uint64_t seed, uint64_t i);

/* prog_end - print "checksum HEX", then end as --exit and --signal ask. */
_Noreturn void prog_end(const struct prog_opts *o, uint64_t checksum);

/* prog_fail - a program that finds itself computing wrong says so and exits with 4. */
_Noreturn void prog_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
