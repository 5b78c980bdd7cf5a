/* freeze.h - the GPU side of a checkpoint, as pid 1 conducts it. See DESIGN "Freeze, in order".
 *
 * The registry knows every process of the tree that has called cuInit. Single-threaded: only pid 1's
 * event loop calls these. None of them lasts longer than the deadline it is given.
 */
#ifndef CK_FREEZE_H
#define CK_FREEZE_H

#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "../shim/base/err.h"

struct ck_gpus; /* the registry */

/* ck_gpus_new - an empty registry. @listen_fd is the supervisor's socket (shim/base/proto.h), @drv the
 * path of the ckshim-drv helper; both are borrowed. NULL when out of memory. */
struct ck_gpus *ck_gpus_new(int listen_fd, const char *drv);
void ck_gpus_free(struct ck_gpus *g);

/* ck_gpus_accept - the listening socket is readable outside a freeze: take one connection and serve a
 * registration. Waits at most 1 s for the peer. Never fails the caller. */
void ck_gpus_accept(struct ck_gpus *g);

/* ck_gpus_forget - a process was reaped. */
void ck_gpus_forget(struct ck_gpus *g, pid_t pid);

/* ck_gpus_count - GPU processes known and alive. */
int ck_gpus_count(const struct ck_gpus *g);

/* ck_gpus_freeze - put away the GPU state of all registered processes: device memory into image files
 * made in @gen_dirfd, the rest by the driver's checkpoint. Afterwards CRIU can dump them.
 * @until_ns: CLOCK_MONOTONIC deadline. On failure everything is already undone, the processes run on.
 * Returns 0 or -1: CK_ETIMEOUT, CK_ENOSPC, CK_EDRIVER, CK_EENV, CK_ESYS. */
int ck_gpus_freeze(struct ck_gpus *g, int gen_dirfd, uint64_t until_ns, struct ck_err *err);

/* ck_gpus_thaw - bring it all back: after a failed dump, or after CRIU restored the processes.
 * Driver restore and unlock, device memory mapped and filled from @gen_dirfd, gates opened.
 * Returns 0 or -1; a process that could not be brought back is then lost: kill it. */
int ck_gpus_thaw(struct ck_gpus *g, int gen_dirfd, uint64_t until_ns, struct ck_err *err);

/* ck_gpus_to_json - the manifest's "gpu" array (new reference), or NULL when out of memory.
 * ck_gpus_from_json - fill an empty registry from it. Trusts nothing. 0 or -1 CK_EDAMAGED. */
json_t *ck_gpus_to_json(const struct ck_gpus *g);
int ck_gpus_from_json(struct ck_gpus *g, const json_t *array, struct ck_err *err);

#endif
