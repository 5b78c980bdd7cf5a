#include "staging.h"

#include <string.h>

#include "base/image.h"
#include "hook.h"
#include "save.h"

static int fail(struct ck_err *err, CUresult r, const char *what)
{
	return ck_err_set(err, CK_EDRIVER, 0, "%s: %s", what, ck_drv_name(r));
}

int ck_staging_open(struct ck_staging *s, CUcontext ctx, struct ck_err *err)
{
	memset(s, 0, sizeof *s);
	s->ctx = ctx;
	CUresult r = CK_DRV(cuCtxPushCurrent_v2, CUcontext)(ctx);
	if (r != CUDA_SUCCESS) {
		s->ctx = NULL;
		return fail(err, r, "cuCtxPushCurrent");
	}
	r = CK_DRV(cuStreamCreate, CUstream *, unsigned)(&s->stream, CU_STREAM_NON_BLOCKING);
	for (int i = 0; i < CK_STAGING_BUFS && r == CUDA_SUCCESS; i++)
		r = CK_DRV(cuMemHostAlloc, void **, size_t, unsigned)(&s->buf[i], CK_CHUNK_SIZE,
								    CU_MEMHOSTALLOC_PORTABLE);
	if (r == CUDA_SUCCESS)
		return 0;
	ck_staging_close(s);
	return fail(err, r, "no pinned memory for the copy");
}

void ck_staging_close(struct ck_staging *s)
{
	CUcontext old;
	if (!s->ctx)
		return;
	if (s->stream) {
		CK_DRV(cuStreamSynchronize, CUstream)(s->stream);
		CK_DRV(cuStreamDestroy_v2, CUstream)(s->stream);
	}
	for (int i = 0; i < CK_STAGING_BUFS; i++)
		if (s->buf[i])
			CK_DRV(cuMemFreeHost, void *)(s->buf[i]);
	CK_DRV(cuCtxPopCurrent_v2, CUcontext *)(&old);
	memset(s, 0, sizeof *s);
}

int ck_staging_down(struct ck_staging *s, int b, CUdeviceptr from, size_t len, struct ck_err *err)
{
	CUresult r = CK_DRV(cuMemcpyDtoHAsync_v2, void *, CUdeviceptr, size_t, CUstream)(s->buf[b], from, len, s->stream);
	return r == CUDA_SUCCESS ? 0 : fail(err, r, "copy from the device");
}

int ck_staging_up(struct ck_staging *s, int b, CUdeviceptr to, size_t len, struct ck_err *err)
{
	CUresult r = CK_DRV(cuMemcpyHtoDAsync_v2, CUdeviceptr, const void *, size_t, CUstream)(to, s->buf[b], len,
											     s->stream);
	return r == CUDA_SUCCESS ? 0 : fail(err, r, "copy to the device");
}

int ck_staging_zero(struct ck_staging *s, CUdeviceptr to, size_t len, struct ck_err *err)
{
	CUresult r = CK_DRV(cuMemsetD8Async, CUdeviceptr, unsigned char, size_t, CUstream)(to, 0, len, s->stream);
	return r == CUDA_SUCCESS ? 0 : fail(err, r, "clearing device memory");
}

int ck_staging_wait(struct ck_staging *s, struct ck_err *err)
{
	CUresult r = CK_DRV(cuStreamSynchronize, CUstream)(s->stream);
	return r == CUDA_SUCCESS ? 0 : fail(err, r, "copying device memory");
}
