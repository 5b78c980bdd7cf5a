/* machine.c - the GPUs of one simulated machine.
 *
 *   DIR/state    devices, who lives, and whose each physical page is; mapped by all
 *   DIR/vramN    the memory of device N; pages that nobody has are holes
 *   DIR/lock     record locks: byte i tells that the owner of slot i lives, byte 4096 guards the state
 *
 * Record locks, because they vanish with the process and are not inherited by a forked child (open file
 * description locks are). Nobody has to clean up: who needs a page takes those of the dead.
 * A page given back becomes a hole, and is filled with poison when it is granted again, so that memory
 * that was never saved can never come back by luck.
 */
#define _GNU_SOURCE
#include "cksim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../shim/base/io.h"

#define MAGIC	    0x6d69736bu
#define NSLOTS	    256
#define LOCK_BYTE   4096
#define LOCK_WAIT_S 10

struct slot {
	uint64_t pidns; /* pids of different namespaces may be equal: the pair names a process */
	int32_t pid;
	uint32_t used;
};

struct state {
	uint32_t magic, ndev, npages; /* pages per device */
	uint32_t unused;
	unsigned char uuid[CKSIM_MAX_DEVICES][16];
	struct slot slots[NSLOTS];
	uint16_t owner[]; /* ndev * npages: 0, or slot + 1 */
};

static struct {
	pthread_mutex_t mutex; /* record locks do not exclude threads of one process */
	int open, slot;
	int dirfd, lockfd, refused;
	int vram[CKSIM_MAX_DEVICES];
	struct state *state;
	size_t len;
} m = { .mutex = PTHREAD_MUTEX_INITIALIZER, .dirfd = -1, .lockfd = -1, .refused = -1,
	.vram = { [0 ... CKSIM_MAX_DEVICES - 1] = -1 } };

static unsigned char poison[65536];

static int record_lock(short type, off_t at)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };
	return fcntl(m.lockfd, F_SETLK, &l);
}

/* The holder may be stopped (by a tracer, by CRIU): so a deadline, and no F_SETLKW. */
static int machine_lock(void)
{
	pthread_mutex_lock(&m.mutex);
	uint64_t until = ck_now_ns() + LOCK_WAIT_S * 1000000000ull;
	while (record_lock(F_WRLCK, LOCK_BYTE)) {
		if ((errno != EAGAIN && errno != EACCES && errno != EINTR) || ck_now_ns() > until) {
			pthread_mutex_unlock(&m.mutex);
			return -1;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	return 0;
}

static void machine_unlock(void)
{
	record_lock(F_UNLCK, LOCK_BYTE);
	pthread_mutex_unlock(&m.mutex);
}

static void punch(int mdev, uint32_t page)
{
	fallocate(m.vram[mdev], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)page * (off_t)CKSIM_PAGE,
		  (off_t)CKSIM_PAGE);
}

static int slot_alive(uint32_t i)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1 };
	return (int)i == m.slot || fcntl(m.lockfd, F_GETLK, &l) || l.l_type != F_UNLCK;
}

/* Under the lock: take back what the dead still have. Returns how many live. */
static int reap(void)
{
	struct state *s = m.state;
	int alive = 0;
	for (uint32_t i = 0; i < NSLOTS; i++) {
		if (!s->slots[i].used)
			continue;
		if (slot_alive(i)) {
			alive++;
			continue;
		}
		for (uint32_t p = 0; p < s->ndev * s->npages; p++)
			if (s->owner[p] == i + 1) {
				punch((int)(p / s->npages), p % s->npages);
				s->owner[p] = 0;
			}
		s->slots[i].used = 0;
	}
	return alive;
}

static uint64_t env_u64(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);
	if (!v || !*v)
		return otherwise;
	char *end;
	unsigned long long n = strtoull(v, &end, 0);
	for (; *end; end++)
		n <<= *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
	return n ? n : otherwise;
}

static size_t state_len(uint32_t ndev, uint32_t npages)
{
	return sizeof(struct state) + (size_t)ndev * npages * sizeof(uint16_t);
}

static int map_state(int fd)
{
	struct stat st;
	if (fstat(fd, &st) || (size_t)st.st_size < sizeof(struct state))
		return -1;
	m.len = (size_t)st.st_size;
	m.state = mmap(NULL, m.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m.state == MAP_FAILED) {
		m.state = NULL;
		return -1;
	}
	if (m.state->magic == MAGIC && m.state->ndev <= CKSIM_MAX_DEVICES &&
	    m.len >= state_len(m.state->ndev, m.state->npages))
		return 0;
	munmap(m.state, m.len);
	m.state = NULL;
	return -1;
}

/* A new machine, or the old one with another shape (only while nobody lives). UUIDs stay. */
static int shape_state(int fd, uint32_t ndev, uint32_t npages)
{
	unsigned char uuid[CKSIM_MAX_DEVICES][16];
	if (m.state) {
		memcpy(uuid, m.state->uuid, sizeof uuid);
		munmap(m.state, m.len);
		m.state = NULL;
	} else if (getrandom(uuid, sizeof uuid, 0) != (ssize_t)sizeof uuid) {
		return -1;
	}
	m.len = state_len(ndev, npages);
	if (ftruncate(fd, 0) || ftruncate(fd, (off_t)m.len))
		return -1;
	m.state = mmap(NULL, m.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m.state == MAP_FAILED) {
		m.state = NULL;
		return -1;
	}
	m.state->ndev = ndev;
	m.state->npages = npages;
	memcpy(m.state->uuid, uuid, sizeof uuid);
	m.state->magic = MAGIC;
	return 0;
}

static int open_memory(void)
{
	for (uint32_t d = 0; d < m.state->ndev; d++) {
		char name[16] = "vram0";
		if (d < 10)
			name[4] = (char)('0' + d);
		else
			name[4] = '1', name[5] = (char)('0' + d % 10);
		m.vram[d] = openat(m.dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (m.vram[d] < 0 || ftruncate(m.vram[d], (off_t)m.state->npages * (off_t)CKSIM_PAGE))
			return -1;
	}
	return 0;
}

static void close_memory(void)
{
	for (int d = 0; d < CKSIM_MAX_DEVICES; d++)
		if (m.vram[d] >= 0) {
			close(m.vram[d]);
			m.vram[d] = -1;
		}
}

/* What CRIU refuses by its kind, and any user may make. Containers forbid one or the other. */
static int open_refused(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
	if (fd >= 0)
		return fd;
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof attr,
		.config = PERF_COUNT_SW_CPU_CLOCK, .exclude_kernel = 1, .disabled = 1 };
	fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd >= 0)
		return fd;
	char params[128] = { 0 };
	fd = (int)syscall(SYS_io_uring_setup, 4, params);
	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

static int open_dir(const char *dir, int dirfd)
{
	struct stat st;
	if (dirfd >= 0) {
		m.dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	} else {
		mkdir(dir, 0700);
		m.dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (m.dirfd < 0 || fstat(m.dirfd, &st))
		return -1;
	/* Root may look into an ordinary user's machine, as the real driver lets it. */
	return (st.st_uid == geteuid() || geteuid() == 0) && !(st.st_mode & 022) ? 0 : -1;
}

static int take_slot(void)
{
	struct stat st;
	for (int i = 0; i < NSLOTS; i++) {
		if (m.state->slots[i].used || record_lock(F_WRLCK, i))
			continue;
		m.slot = i;
		m.state->slots[i].used = 1;
		m.state->slots[i].pid = getpid();
		m.state->slots[i].pidns = stat("/proc/self/ns/pid", &st) ? 0 : st.st_ino;
		return 0;
	}
	return -1;
}

static int attach(void)
{
	uint32_t ndev = (uint32_t)env_u64("CKSIM_DEVICES", 1);
	uint32_t npages = (uint32_t)(env_u64("CKSIM_MEM", 1ull << 30) / CKSIM_PAGE);
	if (ndev > CKSIM_MAX_DEVICES)
		ndev = CKSIM_MAX_DEVICES;
	int fd = openat(m.dirfd, "state", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	int r = map_state(fd);
	if (!r && (r = open_memory()) == 0 && reap() == 0 &&
	    (m.state->ndev != ndev || m.state->npages != npages))
		r = -1;
	if (r) {
		close_memory();
		r = shape_state(fd, ndev, npages);
		if (!r)
			r = open_memory();
	}
	close(fd);
	return r ? r : take_slot();
}

static void close_all(void)
{
	close_memory();
	if (m.state)
		munmap(m.state, m.len);
	m.state = NULL;
	if (m.refused >= 0)
		close(m.refused);
	if (m.lockfd >= 0)
		close(m.lockfd);
	if (m.dirfd >= 0)
		close(m.dirfd);
	m.refused = m.lockfd = m.dirfd = m.slot = -1;
	m.open = 0;
}

CUresult cksim_machine_open(const char *dir, int dirfd)
{
	memset(poison, CKSIM_POISON, sizeof poison);
	m.slot = -1;
	if (open_dir(dir, dirfd))
		goto fail;
	m.lockfd = openat(m.dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (m.lockfd < 0 || machine_lock())
		goto fail;
	int r = attach();
	machine_unlock();
	if (r)
		goto fail;
	m.refused = open_refused();
	m.open = 1;
	return CUDA_SUCCESS;
fail:
	close_all();
	return CUDA_ERROR_OPERATING_SYSTEM;
}

void cksim_machine_close(void)
{
	if (!m.open)
		return;
	if (!machine_lock()) {
		struct state *s = m.state;
		for (uint32_t p = 0; p < s->ndev * s->npages; p++)
			if (s->owner[p] == m.slot + 1) {
				punch((int)(p / s->npages), p % s->npages);
				s->owner[p] = 0;
			}
		s->slots[m.slot].used = 0;
		machine_unlock();
	}
	close_all(); /* closing the lock's descriptor also drops our slot's lock */
}

void cksim_machine_forget(void)
{
	pthread_mutex_init(&m.mutex, NULL); /* its holder, if any, stayed in the parent */
	close_all();
}

int cksim_machine_devices(void)
{
	return (int)m.state->ndev;
}

int cksim_machine_fd(int mdev)
{
	return m.vram[mdev];
}

void cksim_machine_identity(void)
{
	for (int i = 0; i < cksim.ndev; i++)
		memcpy(cksim.uuid[i], m.state->uuid[cksim.devmap[i]], 16);
	cksim.total_mem = m.state->npages * CKSIM_PAGE;
}

int cksim_machine_find_uuid(const unsigned char uuid[16])
{
	for (uint32_t d = 0; d < m.state->ndev; d++)
		if (!memcmp(uuid, m.state->uuid[d], 16))
			return (int)d;
	return -1;
}

void cksim_machine_info(int mdev, uint64_t *free_bytes, uint64_t *total)
{
	uint64_t n = 0;
	int locked = !machine_lock();
	if (locked)
		reap();
	for (uint32_t p = 0; p < m.state->npages; p++)
		n += !m.state->owner[(uint32_t)mdev * m.state->npages + p];
	if (locked)
		machine_unlock();
	*free_bytes = n * CKSIM_PAGE;
	*total = m.state->npages * CKSIM_PAGE;
}

/* Writing also takes the host memory now: a full tmpfs is an error here and no SIGBUS later. */
static int fill_poison(int mdev, uint32_t page)
{
	off_t at = (off_t)page * (off_t)CKSIM_PAGE;
	for (uint64_t done = 0; done < CKSIM_PAGE; done += sizeof poison)
		if (ck_pwrite_full(m.vram[mdev], poison, sizeof poison, at + (off_t)done))
			return -1;
	return 0;
}

static uint32_t count_free(const uint16_t *owner)
{
	uint32_t n = 0;
	for (uint32_t p = 0; p < m.state->npages; p++)
		n += !owner[p];
	return n;
}

static void drop_locked(int mdev, uint32_t n, const uint32_t *pages)
{
	for (uint32_t i = 0; i < n; i++) {
		punch(mdev, pages[i]);
		m.state->owner[(uint32_t)mdev * m.state->npages + pages[i]] = 0;
	}
}

CUresult cksim_pages_grant(int mdev, uint32_t n, uint32_t *pages)
{
	if (machine_lock())
		return CUDA_ERROR_OPERATING_SYSTEM;
	uint16_t *owner = m.state->owner + (size_t)mdev * m.state->npages;
	CUresult r = CUDA_ERROR_OUT_OF_MEMORY;
	if (count_free(owner) < n)
		reap();
	if (count_free(owner) >= n) {
		uint32_t got = 0;
		r = CUDA_SUCCESS;
		for (uint32_t p = 0; got < n; p++) {
			if (owner[p])
				continue;
			owner[p] = (uint16_t)(m.slot + 1);
			pages[got++] = p;
			if (fill_poison(mdev, p)) {
				drop_locked(mdev, got, pages);
				r = CUDA_ERROR_OUT_OF_MEMORY;
				break;
			}
		}
	}
	machine_unlock();
	return r;
}

void cksim_pages_drop(int mdev, uint32_t n, const uint32_t *pages)
{
	if (machine_lock())
		return; /* they stay ours until we die */
	drop_locked(mdev, n, pages);
	machine_unlock();
}
