/* ckshim-drv - talks to the CUDA driver about other processes, for pid 1, which links nothing of CUDA.
 *
 * Started at the beginning of a freeze or restore, so that its cuInit overlaps other work; ends at the end
 * of its input. Not for users. One command a line, one answer a line:
 *
 *     init                     cuInit
 *     uuids                    UUIDs of the GPUs here, 32 hex digits each, in the driver's order
 *     state PID                0 running, 1 locked, 2 checkpointed, 3 failed
 *     lock PID MS              checkpoint PID
 *     restore PID [OLD=NEW,..] unlock PID
 *
 * Answer: "NUMBER NAME[ VALUE]", NUMBER being the CUresult, or -1 when the driver has no such call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shim/cuda_abi.h"

static struct {
	CUresult (*Init)(unsigned);
	CUresult (*GetErrorName)(CUresult, const char **);
	CUresult (*DeviceGetCount)(int *);
	CUresult (*DeviceGet)(CUdevice *, int);
	CUresult (*DeviceGetUuid)(CUuuid *, CUdevice);
	CUresult (*Lock)(int, CUcheckpointLockArgs *);
	CUresult (*Checkpoint)(int, CUcheckpointCheckpointArgs *);
	CUresult (*Restore)(int, CUcheckpointRestoreArgs *);
	CUresult (*Unlock)(int, CUcheckpointUnlockArgs *);
	CUresult (*GetState)(int, CUprocessState *);
} drv;

static void answer(int r, const char *value)
{
	const char *name = "?";
	if (r < 0)
		name = "MISSING";
	else if (drv.GetErrorName)
		drv.GetErrorName((CUresult)r, &name);
	printf("%d %s%s%s\n", r, name ? name : "?", value ? " " : "", value ? value : "");
	fflush(stdout);
}

static int uuids(char *out, size_t cap)
{
	int n = 0;
	CUresult r = drv.DeviceGetCount ? drv.DeviceGetCount(&n) : CUDA_ERROR_NOT_FOUND;
	size_t len = 0;
	for (int i = 0; i < n && r == CUDA_SUCCESS && len + 34 < cap; i++) {
		CUdevice d;
		CUuuid u;
		r = drv.DeviceGet(&d, i);
		if (r == CUDA_SUCCESS)
			r = drv.DeviceGetUuid(&u, d);
		for (int k = 0; k < 16 && r == CUDA_SUCCESS; k++)
			len += (size_t)sprintf(out + len, "%02x", (unsigned char)u.bytes[k]);
		if (i + 1 < n)
			out[len++] = ',';
	}
	out[len] = 0;
	return (int)r;
}

static int unhex(const char *s, CUuuid *u)
{
	for (int i = 0; i < 16; i++) {
		unsigned v;
		if (sscanf(s + 2 * i, "%2x", &v) != 1)
			return -1;
		u->bytes[i] = (char)v;
	}
	return 0;
}

static int restore(int pid, const char *map)
{
	static CUcheckpointGpuPair pair[64];
	CUcheckpointRestoreArgs args;
	unsigned n = 0;
	if (!drv.Restore)
		return -1;
	memset(&args, 0, sizeof args);
	/* OLD=NEW, 32 hex digits each, 66 characters with the comma */
	for (; map && strlen(map) >= 65 && map[32] == '=' && n < 64; n++) {
		if (unhex(map, &pair[n].oldUuid) || unhex(map + 33, &pair[n].newUuid))
			return CUDA_ERROR_INVALID_VALUE;
		map = map[65] == ',' ? map + 66 : NULL;
	}
	if (n) {
		args.gpuPairs = pair;
		args.gpuPairsCount = n;
	}
	return (int)drv.Restore(pid, &args);
}

static int act(const char *verb, int pid, const char *arg, char *value)
{
	if (strcmp(verb, "lock") == 0 && drv.Lock) {
		CUcheckpointLockArgs a;
		memset(&a, 0, sizeof a);
		a.timeoutMs = arg ? (unsigned)strtoul(arg, NULL, 10) : 0;
		return (int)drv.Lock(pid, &a);
	}
	if (strcmp(verb, "checkpoint") == 0 && drv.Checkpoint) {
		CUcheckpointCheckpointArgs a;
		memset(&a, 0, sizeof a);
		return (int)drv.Checkpoint(pid, &a);
	}
	if (strcmp(verb, "unlock") == 0 && drv.Unlock) {
		CUcheckpointUnlockArgs a;
		memset(&a, 0, sizeof a);
		return (int)drv.Unlock(pid, &a);
	}
	if (strcmp(verb, "state") == 0 && drv.GetState) {
		CUprocessState s = CU_PROCESS_STATE_RUNNING;
		CUresult r = drv.GetState(pid, &s);
		sprintf(value, "%d", (int)s);
		return (int)r;
	}
	return -1;
}

static void serve(void)
{
	static char line[8192], value[8192];
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		char *save = NULL, *verb = strtok_r(line, " ", &save), *pid = strtok_r(NULL, " ", &save),
		     *arg = strtok_r(NULL, " ", &save);
		value[0] = 0;
		int r = CUDA_ERROR_INVALID_VALUE;
		if (!verb)
			continue;
		if (strcmp(verb, "init") == 0)
			r = drv.Init ? (int)drv.Init(0) : -1;
		else if (strcmp(verb, "uuids") == 0)
			r = uuids(value, sizeof value);
		else if (pid && strcmp(verb, "restore") == 0)
			r = restore(atoi(pid), arg);
		else if (pid)
			r = act(verb, atoi(pid), arg, value);
		answer(r, value[0] ? value : NULL);
	}
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "libcuda.so.1";
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!h) {
		fprintf(stderr, "ckshim-drv: %s\n", dlerror());
		return 1;
	}
#define TAKE(field, name) *(void **)&drv.field = dlsym(h, name)
	TAKE(Init, "cuInit");
	TAKE(GetErrorName, "cuGetErrorName");
	TAKE(DeviceGetCount, "cuDeviceGetCount");
	TAKE(DeviceGet, "cuDeviceGet");
	TAKE(DeviceGetUuid, "cuDeviceGetUuid_v2");
	if (!drv.DeviceGetUuid)
		TAKE(DeviceGetUuid, "cuDeviceGetUuid");
	TAKE(Lock, "cuCheckpointProcessLock");
	TAKE(Checkpoint, "cuCheckpointProcessCheckpoint");
	TAKE(Restore, "cuCheckpointProcessRestore");
	TAKE(Unlock, "cuCheckpointProcessUnlock");
	TAKE(GetState, "cuCheckpointProcessGetState");
	serve();
	return 0;
}
