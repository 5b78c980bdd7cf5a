/* state.h - what this process is to ckshim. Set once by the constructor (init.c), read everywhere. */
#ifndef CK_STATE_H
#define CK_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

struct ck_state {
	bool supervised;	 /* a supervisor listens at rundir */
	char rundir[96];	 /* short enough for a socket address */
	bool offload;		 /* CKSHIM_OFFLOAD is not off */
	uint64_t offload_min;	 /* bytes, CKSHIM_OFFLOAD_MIN */
	_Atomic(pid_t) cuda_pid; /* the process in which cuInit succeeded under the shim; 0: none */
};

extern struct ck_state ck_state;

#endif
