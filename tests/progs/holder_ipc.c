#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "holder.h"
#include "prog.h"

#define SIZE 65536u

static uint8_t *map;
static int fd = -1, id = -1;
static sem_t *sem;
static mqd_t queue;
static char name[64];

static const char *own_name(void)
{
	snprintf(name, sizeof name, "/ckshim-holder-%ld-%d", (long)getuid(), (int)getpid());
	return name;
}

static void fill(void)
{
	for (size_t i = 0; i < SIZE; i++)
		map[i] = (uint8_t)prog_random(1, i);
}

static void check_map(void)
{
	for (size_t i = 0; i < SIZE; i++)
		if (map[i] != (uint8_t)prog_random(1, i))
			prog_fail("byte %zu of the mapping is not what it was", i);
}

static void map_shared(void)
{
	if (fd < 0 || ftruncate(fd, SIZE) != 0)
		prog_fail("no file to map: %s", strerror(errno));
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		prog_fail("mmap: %s", strerror(errno));
	fill();
}

/* What is written through the mapping is read through the descriptor: they are one file. */
static void check_both(void)
{
	uint8_t b = 0;
	check_map();
	map[7] ^= 0x55;
	if (pread(fd, &b, 1, 7) != 1 || b != map[7])
		prog_fail("mapping and descriptor are two files");
}

static void memfd_set_up(void)
{
	fd = memfd_create("holder", MFD_CLOEXEC);
	map_shared();
}

static void shm_unlinked_set_up(void)
{
	fd = shm_open(own_name(), O_RDWR | O_CREAT | O_EXCL, 0600);
	map_shared();
	shm_unlink(name);
}

static void deleted_file_set_up(void)
{
	char path[] = "holder-XXXXXX";
	fd = mkstemp(path);
	map_shared();
	unlink(path);
}

static void anonymous_set_up(void)
{
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		prog_fail("mmap: %s", strerror(errno));
	fill();
}

static void sem_open_set_up(void)
{
	sem = sem_open(own_name(), O_CREAT | O_EXCL, 0600, 3);
	if (sem == SEM_FAILED)
		prog_fail("sem_open: %s", strerror(errno));
	sem_unlink(name);
}

static void sem_open_verify(void)
{
	int v = 0;
	if (sem_getvalue(sem, &v) != 0 || v != 3)
		prog_fail("the semaphore is %d", v);
}

static void sysv_shm_set_up(void)
{
	id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
	map = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
	if (map == (void *)-1)
		prog_fail("System V shared memory: %s", strerror(errno));
	fill();
	shmctl(id, IPC_RMID, NULL);
}

static void sysv_sem_set_up(void)
{
	struct sembuf up = { .sem_op = 5 };
	id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	if (id < 0 || semop(id, &up, 1) != 0)
		prog_fail("System V semaphores: %s", strerror(errno));
}

static void sysv_sem_verify(void)
{
	int v = semctl(id, 0, GETVAL);
	semctl(id, 0, IPC_RMID);
	if (v != 5)
		prog_fail("the semaphore is %d", v);
}

struct letter {
	long type;
	char text[16];
};

static void sysv_msg_set_up(void)
{
	struct letter m = { 1, "hello" };
	id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	if (id < 0 || msgsnd(id, &m, sizeof m.text, 0) != 0)
		prog_fail("System V queue: %s", strerror(errno));
}

static void sysv_msg_verify(void)
{
	struct letter m = { 0 };
	ssize_t n = msgrcv(id, &m, sizeof m.text, 0, IPC_NOWAIT);
	msgctl(id, IPC_RMID, NULL);
	if (n != sizeof m.text || strcmp(m.text, "hello") != 0)
		prog_fail("the letter is lost");
}

static void mqueue_set_up(void)
{
	struct mq_attr a = { .mq_maxmsg = 4, .mq_msgsize = 16 };
	queue = mq_open(own_name(), O_RDWR | O_CREAT | O_EXCL, 0600, &a);
	if (queue < 0)
		holder_unsupported("mq_open");
	mq_unlink(name);
	if (mq_send(queue, "hello", 6, 1) != 0)
		prog_fail("mq_send: %s", strerror(errno));
}

static void mqueue_verify(void)
{
	char text[16] = "";
	if (mq_receive(queue, text, sizeof text, NULL) != 6 || strcmp(text, "hello") != 0)
		prog_fail("the letter is lost: %s", strerror(errno));
}

static void reserve_set_up(void)
{
	map = mmap(NULL, 64ul << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		prog_fail("64 GiB: %s", strerror(errno));
}

static void reserve_verify(void)
{
	uint8_t *p = map + (40ul << 30);
	if (mprotect(p, SIZE, PROT_READ | PROT_WRITE) != 0)
		prog_fail("the reservation is gone: %s", strerror(errno));
	memset(p, 1, SIZE);
}

const struct kind holder_ipc_kinds[] = {
	{ "memfd", memfd_set_up, check_both },
	{ "shm-unlinked", shm_unlinked_set_up, check_both },
	{ "deleted-file", deleted_file_set_up, check_both },
	{ "sem-unlinked", sem_open_set_up, sem_open_verify },
	{ "sysv-shm", sysv_shm_set_up, check_map },
	{ "sysv-sem", sysv_sem_set_up, sysv_sem_verify },
	{ "sysv-msg", sysv_msg_set_up, sysv_msg_verify },
	{ "mqueue", mqueue_set_up, mqueue_verify },
	{ "shared-anonymous", anonymous_set_up, check_map },
	{ "reserve-64g", reserve_set_up, reserve_verify },
	{ 0 },
};
