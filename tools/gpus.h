/* gpus.h - the registry behind freeze.h: shared by gpus.c (registration, manifest) and freeze.c. */
#ifndef CK_GPUS_H
#define CK_GPUS_H

#include <stdbool.h>

#include "drv.h"
#include "freeze.h"

#define CK_GPU_MAX 64

/* How far a process has been taken apart; it is put together again from there. */
enum ck_gpu_state {
	CK_GPU_RUNNING,	     /* nothing was done to it */
	CK_GPU_QUIET,	     /* gate shut */
	CK_GPU_RELEASED,     /* device memory given up (perhaps in part) */
	CK_GPU_LOCKED,	     /* the driver has locked it */
	CK_GPU_CHECKPOINTED, /* the driver has put it away */
};

struct ck_gpu_device {
	int ordinal;
	char uuid[33];
	char file[64];
	uint64_t bytes, written;
};

struct ck_gpu_proc {
	pid_t pid, ctl_tid;
	char libcuda[512];
	enum ck_gpu_state state;
	int sock;	  /* exchange under way, or -1 */
	bool driver;	  /* cuInit has succeeded there */
	char why_off[512]; /* offload is off because ... */
	uint64_t residue;
	int ndevices;
	struct ck_gpu_device device[CK_GPU_MAX];
	pid_t *own;	  /* threads not to be held: the driver's and the control thread */
	size_t nown;
};

struct ck_gpus {
	int listen_fd;
	const char *helper;
	struct ck_drv *drv;
	bool drv_ready;		   /* its cuInit has been answered */
	char visible[CK_GPU_MAX * 33 + 1]; /* UUIDs of the GPUs when it was frozen, comma-separated */
	bool freezing;
	size_t n, room;
	struct ck_gpu_proc *p;
};

struct ck_gpu_proc *ck_gpus_find(struct ck_gpus *g, pid_t pid);

/* ck_gpus_take - accept one connection and read its first message, within @timeout_ms. Registrations are
 * served (CK_MSG_BUSY while freezing). Returns the socket of a CK_MSG_HELLO, with *@pid; or -1 (no HELLO). */
int ck_gpus_take(struct ck_gpus *g, int timeout_ms, pid_t *pid);

#endif
