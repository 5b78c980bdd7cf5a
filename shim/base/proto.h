/* proto.h - what the shim in a program and the supervisor (pid 1 of its namespaces) say to each other.
 *
 * Transport: a SOCK_SEQPACKET unix socket, RUNDIR/sock, listened on by the supervisor; one message is
 * one fixed-size packet, at most one descriptor rides along (SCM_RIGHTS). The shim always connects;
 * no connection outlives an exchange, so that CRIU never meets one. RUNDIR stands in the environment
 * as CKSHIM_RUNDIR. It is a small tmpfs that only the job's own mount namespace has.
 *
 * Two exchanges:
 *
 *   register   shim: CK_MSG_REGISTER            supervisor: CK_MSG_OK, or CK_MSG_BUSY (a checkpoint is
 *              (at cuInit, from any thread)     under way: close, wait, try again)
 *
 *   freeze     The supervisor wakes the control thread with CK_WAKE_SIGNAL, directed at its tid. The
 *              control thread connects and says CK_MSG_HELLO; from then on the supervisor commands and
 *              the shim answers each command with the same type, status 0, or an errno-like code and text.
 *              CK_MSG_SEALED or CK_MSG_OPEN ends the exchange; both sides close.
 *
 *   freezing:   QUIESCE  THREADS...  SAVE(fd)...  RELEASE  | driver lock, checkpoint |  RESERVE  SEALED
 *   restoring:  | driver restore, unlock |  REFILL(fd)...  OPEN
 *   aborting:   the same as restoring from wherever it stood; before RELEASE just OPEN
 */
#ifndef CK_PROTO_H
#define CK_PROTO_H

#include <signal.h>
#include <stdint.h>

#include "err.h"

#define CK_PROTO_MAGIC 0x4b50434bu /* "KCPK" */
#define CK_PROTO_VERSION 1
#define CK_SOCK_NAME "sock"

/* Thread-directed, blocked everywhere in the control thread: wakes it. glibc keeps 32 and 33. */
#define CK_WAKE_SIGNAL (SIGRTMIN + 27)
/* Process-directed at pid 1 by a shim whose process met a preemption signal from outside the
 * namespace; the signal's number is the value. */
#define CK_NOTIFY_SIGNAL (SIGRTMIN + 28)
/* sigqueue value with which pid 1 sends a preemption signal that is to be delivered after all. */
#define CK_DELIVER_VALUE 0x636b6465

enum ck_msg_type {
	CK_MSG_OK = 1,
	CK_MSG_BUSY,
	CK_MSG_REGISTER, /* pid; a: control thread's tid; b: 1 to take it back (cuInit failed);
			    text: path of the libcuda it uses */
	CK_MSG_HELLO,	 /* pid; a: control thread's tid */
	CK_MSG_QUIESCE,	 /* > a: milliseconds left.  < a: number of devices to save, b: offloaded bytes,
			    c: residue bytes, d: 1 once cuInit has succeeded (else the driver knows nothing of this
			    process); text: why offload is off for it, or empty */
	CK_MSG_THREADS,	 /* > a: index to start from.  < a: how many in all; text: as many int32_t tids of the
			    driver's own threads as fit, from that index; b: how many of them */
	CK_MSG_SAVE,	 /* > a: index of the device in use (0..), b: ms left; fd: empty file, O_RDWR.
			    < a: device ordinal, b: bytes of device memory, c: bytes written, text: GPU UUID as
			    32 hex digits */
	CK_MSG_RELEASE,	 /* give up the physical memory, keep the addresses */
	CK_MSG_RESERVE,	 /* after the driver's checkpoint: hold the address ranges it unmapped */
	CK_MSG_SEALED,	 /* end of exchange; the gate stays shut */
	CK_MSG_REFILL,	 /* > a: index of the device, b: ms left; fd: the image file. Maps and fills */
	CK_MSG_OPEN,	 /* end of exchange; the gate opens (memory must be back) */
	CK_MSG_TYPES
};

struct ck_msg {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	int32_t status; /* 0, or an enum ck_errc; text says more */
	int32_t pid;	/* as seen inside the namespace */
	uint64_t a, b, c, d;
	char text[512];
};

/* ck_msg_init - zero @m and fill magic, version, type. */
void ck_msg_init(struct ck_msg *m, enum ck_msg_type type);

/* ck_msg_send - one packet, with descriptor @fd unless -1 (the caller keeps it). Never raises SIGPIPE.
 * Returns 0 or -1 with err. Async-signal-unsafe only in its error text. */
int ck_msg_send(int sock, const struct ck_msg *m, int fd, struct ck_err *err);

/* ck_msg_recv - wait up to @timeout_ms (-1: for ever) for one packet; checks size, magic, version, type
 * and terminates text. *@fd gets a close-on-exec descriptor or -1; @fd may be NULL (then one is closed).
 * Returns 0; or -1 with err: CK_ETIMEOUT, CK_ESYS (sys ECONNRESET: the peer is gone), CK_EINVAL. */
int ck_msg_recv(int sock, struct ck_msg *m, int *fd, int timeout_ms, struct ck_err *err);

/* ck_sock_connect - connect to RUNDIR/sock, close-on-exec. Returns the socket or -1 with err. */
int ck_sock_connect(const char *rundir, struct ck_err *err);

/* ck_sock_listen - make RUNDIR/sock and listen, close-on-exec. Returns the socket or -1 with err. */
int ck_sock_listen(const char *rundir, struct ck_err *err);

#endif
