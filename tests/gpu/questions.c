/* questions.c - what the probe asks. Each function runs in a process of its own and ends with answer(). */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ask.h"

#define MB ((size_t)1 << 20)

static void q_driver(const char *arg)
{
	int version = 0, n = 0, vmm = 0;
	char name[128] = "?";
	size_t total = 0;
	CUdevice d;
	CUresult r;
	double seconds;
	if (drv_open())
		answer("no", "%s", drv_error());
	if ((r = ask_call(0, "init", 0, &seconds)))
		answer("no", "cuInit: %s", drv_name(r));
	drv.cuDriverGetVersion(&version);
	drv.cuDeviceGetCount(&n);
	if (n < 1 || drv.cuDeviceGet(&d, 0))
		answer("no", "no device");
	drv.cuDeviceGetName(name, sizeof name, d);
	drv.cuDeviceTotalMem_v2(&total, d);
	drv.cuDeviceGetAttribute(&vmm, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, d);
	answer("yes", "%s, %zu MiB, %d device%s, CUDA %d.%d, virtual memory API: %s, cuInit %.3f s", name, total / MB, n,
	       n > 1 ? "s" : "", version / 1000, version % 1000 / 10, vmm ? "yes" : "no", seconds);
}

static void q_exports(const char *arg)
{
	static const char *const verbs[] = { "Lock", "Checkpoint", "Restore", "Unlock", "GetState",
		"GetRestoreThreadId" };
	char name[64], missing[256] = "";
	if (drv_open())
		answer("no", "%s", drv_error());
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		snprintf(name, sizeof name, "cuCheckpointProcess%s", verbs[i]);
		if (!drv_has(name))
			snprintf(missing + strlen(missing), sizeof missing - strlen(missing), " %s", verbs[i]);
	}
	answer(missing[0] ? "no" : "yes", missing[0] ? "missing:%s" : "all six%s", missing);
}

/* Rows of api.def as the driver exports them. */
static const struct {
	const char *name;
	int since;
} rows[] = {
#define E(name, since, policy, nargs, classes) { #name, since },
#include "../../shim/api.def"
#undef E
};
#define NROWS (sizeof rows / sizeof rows[0])

static int cut(char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);
	if (n <= k || strcmp(s + n - k, end) != 0)
		return 0;
	s[n - k] = 0;
	return 1;
}

static int exported(const void *p)
{
	for (size_t i = 0; i < NROWS; i++)
		if (dlsym(drv.lib, rows[i].name) == p)
			return 1;
	return 0;
}

static void note(char *list, size_t cap, const char *name)
{
	size_t n = strlen(list);
	if (n + strlen(name) + 2 < cap && n < 300)
		snprintf(list + n, cap - n, " %s", name);
}

static void compare(int from_facts)
{
	FILE *f = from_facts ? fopen(ask_options.facts, "re") : NULL;
	char base[128], strange[512] = "";
	int version, asked = 0, equal = 0, absent = 0, other = 0, status;
	unsigned long flags;
	void *p;
	if (drv_open())
		answer("no", "%s", drv_error());
	if (!drv_has("cuGetProcAddress_v2"))
		answer("unsupported", "not supported here: no cuGetProcAddress_v2");
	if (from_facts && !f)
		answer("error", "%s: %s", ask_options.facts, strerror(errno));
	for (size_t i = 0; from_facts || i < NROWS; i++) {
		if (from_facts) {
			if (fscanf(f, "%127s %d %lu", base, &version, &flags) != 3)
				break;
		} else {
			/* cuGetProcAddress has the base name; version and flags choose the export */
			snprintf(base, sizeof base, "%s", rows[i].name);
			version = rows[i].since;
			flags = cut(base, "_ptsz") || cut(base, "_ptds") ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM
									  : CU_GET_PROC_ADDRESS_LEGACY_STREAM;
			for (int v = 2; v < 5; v++)
				cut(base, (char[]){ '_', 'v', (char)('0' + v), 0 });
			if (!drv_has(rows[i].name))
				continue;
		}
		asked++;
		p = NULL;
		if (drv.cuGetProcAddress_v2(base, &p, version, flags, &status) || !p) {
			absent++;
		} else if (exported(p)) {
			equal++;
		} else {
			other++;
			note(strange, sizeof strange, base);
		}
	}
	if (f)
		fclose(f);
	answer(other ? "no" : "yes", "%d asked for: %d are exports of the table, %d not found, %d elsewhere:%s", asked,
	       equal, absent, other, strange[0] ? strange : " none");
}

static void q_addresses(const char *arg) { compare(0); }

static void q_requests(const char *arg)
{
	if (!ask_options.facts)
		answer("error", "no --facts");
	compare(1);
}

/* One subject, put away and brought back; step 1 verifies. */
static void q_subject(const char *kind)
{
	ask_start(kind, 8 * MB);
	ask_away();
	ask_back();
	const char *detail = ask_step(1);
	answer("yes", "away %.3f s, back %.3f s%s%s", ask_times.lock + ask_times.checkpoint,
	       ask_times.restore + ask_times.unlock, detail[0] ? "; " : "", detail);
}

static void q_oneself(const char *arg)
{
	if (drv_open())
		answer("unsupported", "%s", drv_error());
	ask_start("oneself", 8 * MB);
	answer("yes", "%s", ask_step(1));
}

static size_t memory_kib(const char *what)
{
	char file[64], text[256];
	size_t kib = 0, n = strlen(what);
	snprintf(file, sizeof file, "/proc/%d/status", ask_pid());
	FILE *f = fopen(file, "re");
	while (f && fgets(text, sizeof text, f))
		if (!strncmp(text, what, n))
			kib = strtoul(text + n, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

static void q_time(const char *which)
{
	size_t size = ask_options.sizes[atoi(which)];
	ask_start("plain", size);
	size_t before = memory_kib("VmRSS:");
	ask_away();
	size_t after = memory_kib("VmRSS:");
	ask_back();
	ask_step(1);
	answer("measured", "%zu MiB: lock %.3f s, checkpoint %.3f s, restore %.3f s, unlock %.3f s; host memory %zu -> %zu MiB",
	       size / MB, ask_times.lock, ask_times.checkpoint, ask_times.restore, ask_times.unlock, before >> 10,
	       after >> 10);
}

struct held {
	int fds, nvidia_fds, maps, nvidia_maps;
	char names[256];
};

static void holds(struct held *h)
{
	char p[300], to[256], text[4200];
	struct dirent *e;
	memset(h, 0, sizeof *h);
	snprintf(p, sizeof p, "/proc/%d/fd", ask_pid());
	DIR *d = opendir(p);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(p, sizeof p, "/proc/%d/fd/%.16s", ask_pid(), e->d_name);
		ssize_t n = readlink(p, to, sizeof to - 1);
		to[n < 0 ? 0 : n] = 0;
		h->fds++;
		if (strstr(to, "nvidia")) {
			h->nvidia_fds++;
			if (!strstr(h->names, to))
				note(h->names, sizeof h->names, to);
		}
	}
	if (d)
		closedir(d);
	snprintf(p, sizeof p, "/proc/%d/maps", ask_pid());
	FILE *f = fopen(p, "re");
	while (f && fgets(text, sizeof text, f)) {
		h->maps++;
		h->nvidia_maps += strstr(text, "/dev/nvidia") != NULL;
	}
	if (f)
		fclose(f);
}

static void q_descriptors(const char *arg)
{
	struct held running, away, back;
	ask_start("plain", 8 * MB);
	holds(&running);
	ask_away();
	holds(&away);
	ask_back();
	holds(&back);
	ask_step(1);
	answer(away.nvidia_fds || away.nvidia_maps ? "no" : "yes",
	       "descriptors (of them nvidia) %d (%d), checkpointed %d (%d), restored %d (%d); mappings %d (%d), %d (%d), "
	       "%d (%d); left open:%s",
	       running.fds, running.nvidia_fds, away.fds, away.nvidia_fds, back.fds, back.nvidia_fds, running.maps,
	       running.nvidia_maps, away.maps, away.nvidia_maps, back.maps, back.nvidia_maps,
	       away.names[0] ? away.names : " none");
}

static void q_reserved_range(const char *arg)
{
	ask_start("vmm", 64 * MB);
	ask_step(1);
	ask_away();
	ask_back();
	answer("yes", "%s", ask_step(2));
}

static void q_holes(const char *arg)
{
	ask_start("holes", 8 * MB);
	ask_step(1);
	ask_away();
	ask_step(2);
	ask_back();
	answer("yes", "%s", ask_step(3));
}

static void q_running_kernel(const char *arg)
{
	CUprocessState state = CU_PROCESS_STATE_FAILED;
	double seconds;
	CUresult r;
	/* in the caller first: the kernel may be over before a cuInit is */
	if (drv_open())
		answer("unsupported", "%s", drv_error());
	if ((r = drv.cuInit(0)))
		answer("error", "cuInit in the caller: %s", drv_name(r));
	ask_start("spin", ask_options.spin);
	r = ask_call(ask_pid(), "lock", 1, &seconds);
	drv.cuCheckpointProcessGetState(ask_pid(), &state);
	if (r == CUDA_SUCCESS)
		answer("error", "the kernel was over before the lock with 1 ms, which took %.3f s", seconds);
	ask_away();
	ask_back();
	ask_step(1);
	answer("yes", "lock with 1 ms: %s after %.3f s, state %d; a patient lock drains it in %.3f s", drv_name(r), seconds,
	       (int)state, ask_times.lock);
}

/* A process of its own that only restores: with or without a cuInit before. */
static void q_restore(const char *how)
{
	char pid[16], line[128] = "", *out = line;
	int pipes[2], status = 0;
	ask_start("plain", 8 * MB);
	ask_away();
	snprintf(pid, sizeof pid, "%d", ask_pid());
	if (pipe(pipes))
		answer("error", "pipe: %s", strerror(errno));
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		dup2(pipes[1], 1);
		execl("/proc/self/exe", "probe", "--act", pid, how, (char *)NULL);
		_exit(127);
	}
	close(pipes[1]);
	for (ssize_t n; (n = read(pipes[0], out, (size_t)(line + sizeof line - 1 - out))) > 0;)
		out += n;
	waitpid(child, &status, 0);
	line[strcspn(line, "\n")] = 0;
	if (status)
		answer("refused", "%s", line);
	ask_step(1);
	answer("measured", "%s", line);
}

static void q_rate(const char *arg)
{
	CUmodule mod;
	CUdeviceptr p;
	void *host;
	size_t n = ask_options.rate;
	double best[2] = { 0, 0 };
	if (drv_start(&mod))
		answer("error", "%s", drv_error());
	if (drv.cuMemAlloc_v2(&p, n) || drv.cuMemHostAlloc(&host, n, 0))
		answer("error", "no memory for %zu MiB", n / MB);
	memset(host, 0x5c, n);
	for (int i = 0; i < 10; i++) {
		double t0 = drv_seconds();
		CUresult r = i % 2 ? drv.cuMemcpyDtoHAsync_v2(host, p, n, NULL) : drv.cuMemcpyHtoDAsync_v2(p, host, n, NULL);
		if (r || (r = drv.cuCtxSynchronize()))
			answer("error", "copy: %s", drv_name(r));
		double rate = (double)n / (drv_seconds() - t0) / 1e9;
		if (rate > best[i % 2])
			best[i % 2] = rate;
	}
	answer("measured", "to the device %.2f GB/s, from it %.2f GB/s (best of 5, %zu MiB)", best[0], best[1], n / MB);
}

const struct question questions[] = {
	{ "driver", 30, q_driver, NULL },
	{ "checkpoint-api-exported", 30, q_exports, NULL },
	{ "procaddress-equals-exports", 30, q_addresses, NULL },
	{ "runtime-requests-in-table", 30, q_requests, NULL },
	{ "from-another-process", 40, q_subject, "plain" },
	{ "on-oneself", 40, q_oneself, NULL },
	{ "time-0", 60, q_time, "0" },
	{ "time-1", 60, q_time, "1" },
	{ "time-2", 100, q_time, "2" },
	{ "nothing-of-nvidia-stays-open", 40, q_descriptors, NULL },
	{ "reserved-range-survives", 40, q_reserved_range, NULL },
	{ "restore-maps-over-reservations", 40, q_holes, NULL },
	{ "mapped-virtual-memory", 40, q_subject, "vmm-mapped" },
	{ "exported-handle-open", 40, q_subject, "exported-open" },
	{ "exported-handle-closed", 40, q_subject, "exported-closed" },
	{ "imported-handle", 40, q_subject, "imported" },
	{ "ipc-handle-made", 40, q_subject, "ipc" },
	{ "managed-memory", 40, q_subject, "managed" },
	{ "memory-pool", 40, q_subject, "pool" },
	{ "capture-under-way", 40, q_subject, "capture" },
	{ "graph", 40, q_subject, "graph" },
	{ "running-kernel", 60, q_running_kernel, NULL },
	{ "streams", 40, q_subject, "streams" },
	{ "events", 40, q_subject, "events" },
	{ "module-and-its-variable", 40, q_subject, "module" },
	{ "pinned-memory", 40, q_subject, "pinned" },
	{ "registered-memory", 40, q_subject, "registered" },
	{ "restore-without-cuinit", 40, q_restore, "cold" },
	{ "restore-with-warm-cuinit", 40, q_restore, "warm" },
	{ "pinned-copy-rate", 40, q_rate, NULL },
	{ 0 },
};
