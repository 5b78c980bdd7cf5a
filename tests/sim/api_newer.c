/* api_newer.c - an entry that no table knows, as a driver newer than ckshim has them: tests/hook.bats. */
#include "../../shim/cuda_abi.h"

CUresult cuCksimNewer(int *out);

__attribute__((visibility("default"))) CUresult cuCksimNewer(int *out)
{
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = 42;
	return CUDA_SUCCESS;
}
