/* staging.h - pinned host buffers and a stream, through which chunks travel: while one is on the link the
 * other is hashed and written. Control thread only. */
#ifndef CK_STAGING_H
#define CK_STAGING_H

#include "base/err.h"
#include "cuda_abi.h"

#define CK_STAGING_BUFS 2

struct ck_staging {
	CUcontext ctx;
	CUstream stream;
	void *buf[CK_STAGING_BUFS]; /* CK_CHUNK_SIZE each */
};

/* ck_staging_open - make @ctx current and set up; 0, or -1 CK_EDRIVER with nothing left behind.
 * ck_staging_close - undo it. */
int ck_staging_open(struct ck_staging *s, CUcontext ctx, struct ck_err *err);
void ck_staging_close(struct ck_staging *s);

/* Start a copy; wait for all that was started. 0 or -1 CK_EDRIVER. */
int ck_staging_down(struct ck_staging *s, int b, CUdeviceptr from, size_t len, struct ck_err *err);
int ck_staging_up(struct ck_staging *s, int b, CUdeviceptr to, size_t len, struct ck_err *err);
int ck_staging_zero(struct ck_staging *s, CUdeviceptr to, size_t len, struct ck_err *err);
int ck_staging_wait(struct ck_staging *s, struct ck_err *err);

#endif
