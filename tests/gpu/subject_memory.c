/* subject_memory.c - subjects that hold memory: device, reserved, shared, managed, pooled, host. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../shim/holes.h"
#include "drv.h"
#include "subject.h"

#define BLOCK ((size_t)4 << 20)
#define WORDS 1024u

static CUmodule mod;
static CUdeviceptr mem, other;
static CUmemGenericAllocationHandle handle, imported;
static unsigned *host;
static int shared_fd = -1;

static const char *start(void)
{
	CUresult r = drv_start(&mod);
	return r ? subject_say("error %s", drv_error()) : NULL;
}

static unsigned pattern(size_t block)
{
	return (unsigned)block * 2654435761u + 0x1234567u;
}

/* Every block has a value of its own; two pages of it, at places that differ, are looked at afterwards. */
static const char *fill(CUdeviceptr p, size_t size)
{
	for (size_t at = 0, b = 0; at < size; at += BLOCK, b++) {
		size_t n = size - at < BLOCK ? size - at : BLOCK;
		S(cuMemsetD32_v2(p + at, pattern(b), n / 4));
	}
	S(cuCtxSynchronize());
	return NULL;
}

static const char *check(CUdeviceptr p, size_t size)
{
	unsigned buf[WORDS];
	for (size_t at = 0, b = 0; at < size; at += BLOCK, b++) {
		size_t n = size - at < BLOCK ? size - at : BLOCK;
		size_t places[2] = { (b * 4096 * 37) % n / 4096 * 4096, n - sizeof buf };
		for (int k = 0; k < 2; k++) {
			if (places[k] + sizeof buf > n)
				places[k] = 0;
			V(cuMemcpyDtoH_v2(buf, p + at + places[k], sizeof buf));
			for (unsigned i = 0; i < WORDS; i++)
				if (buf[i] != pattern(b))
					return subject_say("bad device memory: %#x at offset %zu, expected %#x", buf[i],
							   at + places[k] + i * 4, pattern(b));
		}
	}
	return NULL;
}

/* --- plain memory --- */
static const char *plain_setup(void)
{
	const char *e = start();
	if (e || subject_size == 0)
		return e;
	S(cuMemAlloc_v2(&mem, subject_size));
	return fill(mem, subject_size);
}

/* Contents, and that the GPU still works: memory new and old, and a kernel. */
static const char *plain_verify(void)
{
	unsigned v = 7, got = 0, zero = 0;
	const char *e = subject_size ? check(mem, subject_size) : NULL;
	if (e)
		return e;
	V(cuMemAlloc_v2(&other, 4096));
	V(cuMemcpyHtoD_v2(other, &zero, 4));
	CUresult r = drv_launch(mod, "add", 1, 1, NULL, (void *[]){ &other, &v });
	if (r)
		return subject_say("bad a kernel cannot be launched: %s", drv_name(r));
	V(cuMemcpyDtoH_v2(&got, other, 4));
	return got == v ? NULL : subject_say("bad a kernel computes %u, expected %u", got, v);
}

/* --- a process that checkpoints itself --- */
static const char *oneself(void)
{
	CUcheckpointLockArgs lock = { .timeoutMs = 10000 };
	int pid = getpid();
	double t0 = drv_seconds();
	S(cuCheckpointProcessLock(pid, &lock));
	S(cuCheckpointProcessCheckpoint(pid, NULL));
	double t1 = drv_seconds();
	S(cuCheckpointProcessRestore(pid, NULL));
	S(cuCheckpointProcessUnlock(pid, NULL));
	subject_note("put away in %.3f s, back in %.3f s", t1 - t0, drv_seconds() - t1);
	const char *e = plain_verify();
	return e;
}

/* --- the virtual memory API: addresses kept, physical memory given up --- */
static const CUmemAllocationProp prop = { .type = CU_MEM_ALLOCATION_TYPE_PINNED,
	.location = { CU_MEM_LOCATION_TYPE_DEVICE, 0 } };

static const char *map(int shareable)
{
	CUmemAllocationProp p = prop;
	CUmemAccessDesc access = { p.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	p.requestedHandleTypes = shareable ? CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR : 0;
	S(cuMemCreate(&handle, subject_size, &p, 0));
	S(cuMemMap(mem, subject_size, 0, handle, 0));
	S(cuMemSetAccess(mem, subject_size, &access, 1));
	return NULL;
}

static const char *reserve(int shareable)
{
	size_t unit;
	const char *e = start();
	if (e)
		return e;
	S(cuMemGetAllocationGranularity(&unit, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
	subject_size = (subject_size + unit - 1) / unit * unit;
	S(cuMemAddressReserve(&mem, subject_size, 0, 0, 0));
	e = map(shareable);
	if (!e)
		e = fill(mem, subject_size);
	if (!e)
		subject_note("granularity %zu, address %#llx", unit, mem);
	return e;
}

static const char *vmm_setup(void) { return reserve(0); }

static const char *vmm_release(void)
{
	S(cuCtxSynchronize());
	S(cuMemUnmap(mem, subject_size));
	S(cuMemRelease(handle));
	return NULL;
}

static const char *vmm_remap(void)
{
	CUdeviceptr taken = 0;
	/* kept: then nobody else is given the address, not even who asks for it */
	CUresult r = drv.cuMemAddressReserve(&taken, subject_size, 0, mem, 0);
	if (r == CUDA_SUCCESS && taken == mem)
		return subject_say("bad the reserved range was given away at the same address %#llx", mem);
	const char *e = map(0);
	if (e)
		return subject_say("bad cannot map there again: %s", e);
	e = fill(mem, subject_size);
	if (!e)
		e = check(mem, subject_size);
	if (!e)
		subject_note("mapped again at %#llx, written and read", mem);
	return e;
}

static const char *vmm_verify(void) { return check(mem, subject_size); }

static const char *export_setup(void)
{
	const char *e = reserve(1);
	if (e)
		return e;
	S(cuMemExportToShareableHandle(&shared_fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	return NULL;
}

static const char *export_closed_setup(void)
{
	const char *e = export_setup();
	if (!e)
		close(shared_fd);
	return e;
}

static const char *import_setup(void)
{
	const char *e = export_setup();
	if (e)
		return e;
	S(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)shared_fd,
					 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	close(shared_fd);
	return NULL;
}

static const char *ipc_setup(void)
{
	char ipc[64];
	const char *e = plain_setup();
	if (e)
		return e;
	S(cuIpcGetMemHandle(ipc, mem));
	return NULL;
}

/* --- memory of other kinds --- */
static const char *managed_setup(void)
{
	const char *e = start();
	if (e)
		return e;
	S(cuMemAllocManaged(&mem, subject_size, CU_MEM_ATTACH_GLOBAL));
	return fill(mem, subject_size);
}

static const char *pool_setup(void)
{
	const char *e = start();
	if (e)
		return e;
	S(cuMemAllocAsync(&mem, subject_size, NULL));
	return fill(mem, subject_size);
}

/* The GPU reads and writes host memory in place, before and after. */
static const char *host_add(unsigned v)
{
	CUdeviceptr p;
	V(cuMemHostGetDevicePointer_v2(&p, host, 0));
	if (other && p != other)
		return subject_say("bad the device's address of it was %#llx and is %#llx", other, p);
	other = p;
	CUresult r = drv_launch(mod, "add", 1, 1, NULL, (void *[]){ &p, &v });
	if (r)
		return subject_say("bad a kernel cannot be launched: %s", drv_name(r));
	V(cuCtxSynchronize());
	return NULL;
}

static const char *host_setup(void)
{
	for (size_t i = 0; i < subject_size / 4; i++)
		host[i] = pattern(i);
	return host_add(1);
}

static const char *pinned_setup(void)
{
	const char *e = start();
	if (e)
		return e;
	S(cuMemHostAlloc((void **)&host, subject_size, CU_MEMHOSTALLOC_DEVICEMAP));
	e = host_setup();
	return e ? subject_say("unsupported %s", e) : NULL;
}

static const char *registered_setup(void)
{
	const char *e = start();
	if (e)
		return e;
	host = mmap(NULL, subject_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (host == MAP_FAILED)
		return "error no host memory";
	S(cuMemHostRegister_v2(host, subject_size, CU_MEMHOSTREGISTER_DEVICEMAP));
	e = host_setup();
	return e ? subject_say("unsupported %s", e) : NULL;
}

static const char *host_verify(void)
{
	if (host[0] != pattern(0) + 1)
		return subject_say("bad contents lost: %#x, expected %#x", host[0], pattern(0) + 1);
	for (size_t i = 1; i < subject_size / 4; i++)
		if (host[i] != pattern(i))
			return subject_say("bad contents lost at offset %zu", i * 4);
	const char *e = host_add(5);
	if (e)
		return e;
	if (host[0] != pattern(0) + 6)
		return subject_say("bad the GPU no longer writes it: %#x, expected %#x", host[0], pattern(0) + 6);
	return NULL;
}

static const char *registered_verify(void)
{
	const char *e = host_verify();
	if (e)
		return e;
	V(cuMemHostUnregister(host));
	return NULL;
}

/* --- the holes that a checkpoint leaves in the address space: what shim/holes.c relies on --- */
static const char *holes_before(void)
{
	struct ck_err err = { 0 };
	return ck_holes_before(&err) ? subject_say("error %s", err.msg) : NULL;
}

/* Bytes of address space that are only reserved: private, anonymous, without any permission. */
static unsigned long reserved(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char text[4200], perms[8];
	unsigned long lo, hi, off, ino, sum = 0;
	while (f && fgets(text, sizeof text, f))
		if (sscanf(text, "%lx-%lx %7s %lx %*s %lu", &lo, &hi, perms, &off, &ino) == 5 && ino == 0 &&
		    !strcmp(perms, "---p"))
			sum += hi - lo;
	if (f)
		fclose(f);
	return sum;
}

static unsigned long reserved_before, reserved_holes;

static const char *holes_reserve(void)
{
	struct ck_err err = { 0 };
	reserved_before = reserved();
	if (ck_holes_reserve(&err))
		return subject_say("bad cannot reserve: %s", err.msg);
	reserved_holes = reserved() - reserved_before;
	return NULL;
}

static const char *holes_verify(void)
{
	long left = (long)(reserved() - reserved_before);
	const char *e = plain_verify();
	if (!e)
		subject_note("%lu KiB of holes kept free, %ld KiB of them not mapped again by the restore",
			     reserved_holes >> 10, left >> 10);
	return e;
}

const struct subject subjects_memory[] = {
	{ "plain", { plain_setup, plain_verify } },
	{ "oneself", { plain_setup, oneself } },
	{ "vmm", { vmm_setup, vmm_release, vmm_remap } },
	{ "vmm-mapped", { vmm_setup, vmm_verify } },
	{ "exported-open", { export_setup, vmm_verify } },
	{ "exported-closed", { export_closed_setup, vmm_verify } },
	{ "imported", { import_setup, vmm_verify } },
	{ "ipc", { ipc_setup, plain_verify } },
	{ "managed", { managed_setup, plain_verify } },
	{ "pool", { pool_setup, plain_verify } },
	{ "pinned", { pinned_setup, host_verify } },
	{ "registered", { registered_setup, registered_verify } },
	{ "holes", { plain_setup, holes_before, holes_reserve, holes_verify } },
	{ 0 },
};
