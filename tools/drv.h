/* drv.h - the ckshim-drv helper, as pid 1 uses it: a child that calls the CUDA driver. */
#ifndef CK_DRV_H
#define CK_DRV_H

#include <stdint.h>
#include <sys/types.h>

#include "../shim/base/err.h"

struct ck_drv; /* a running helper */

/* ck_drv_start - start @helper on the driver library @libcuda; its cuInit runs while the caller goes on.
 * LD_PRELOAD is taken from its environment. 0 and *@out, or -1 CK_ESYS. */
int ck_drv_start(const char *helper, const char *libcuda, struct ck_drv **out, struct ck_err *err);

/* ck_drv_stop - end it (it is killed if it does not end by itself at once). NULL is allowed. */
void ck_drv_stop(struct ck_drv *d);

/* The helper's pid, so that the reaper knows it and the examination of the tree leaves it out. */
pid_t ck_drv_pid(const struct ck_drv *d);

/* ck_drv_send, ck_drv_poll - one command, and its answer within @timeout_ms: 1 and the CUresult in *@result
 * (-1: the driver lacks the call), its name and value; 0 nothing yet; -1 the helper is gone (err). */
int ck_drv_send(struct ck_drv *d, struct ck_err *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int ck_drv_poll(struct ck_drv *d, int timeout_ms, int *result, char *name, size_t name_cap, char *value,
		size_t value_cap, struct ck_err *err);

/* ck_drv_call - both, and any result but success becomes an error that says @what failed: CK_EENV when the
 * driver lacks the call or refuses the system, CK_ETIMEOUT, else CK_EDRIVER. @value may be NULL. */
int ck_drv_call(struct ck_drv *d, const char *what, uint64_t until_ns, char *value, size_t value_cap,
		struct ck_err *err, const char *fmt, ...) __attribute__((format(printf, 7, 8)));

/* ck_drv_explain - turn an answer into an error as ck_drv_call does. 0 for success, else -1. */
int ck_drv_explain(int result, const char *name, const char *what, struct ck_err *err);

#endif
