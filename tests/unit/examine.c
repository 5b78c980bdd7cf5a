/* What the examination says of single objects, looked at in this very process. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tools/examine_int.h"
#include "tap.h"

static struct ck_scene scene;
static struct ck_proc me;
static struct ck_err err;

static int maps(void)
{
	err.msg[0] = 0;
	return ck_examine_maps(&scene, &me, &err);
}

static int fds(void)
{
	err.msg[0] = 0;
	free(scene.socks);
	free(scene.held);
	scene.socks = NULL;
	scene.held = NULL;
	scene.nsocks = scene.nheld = 0;
	scene.socks_read = 0;
	return ck_examine_fds(&scene, &me, &err);
}

static void mappings(void)
{
	pid_t gpu[1] = { me.pid };
	is_int(maps(), 0, "nothing to object to at first (%s)", err.msg);
	void *anon = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	is_int(maps(), 0, "shared anonymous memory is fine (%s)", err.msg);
	munmap(anon, 4096);
	int fd = memfd_create("x", MFD_CLOEXEC);
	ok(ftruncate(fd, 4096) == 0, "memfd");
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ok(maps() < 0 && strstr(err.msg, "memfd") && err.code == CK_EREFUSED, "a mapped memfd is refused: %s", err.msg);
	scene.gpu = gpu;
	scene.ngpu = 1;
	is_int(maps(), 0, "before the freeze it may be the GPU driver's");
	scene.pass = CK_EXAMINE_FULL;
	ok(maps() < 0, "after it, not");
	scene.pass = CK_EXAMINE_EARLY;
	scene.ngpu = 0;
	munmap(p, 4096);
	close(fd);
	char name[] = "/tmp/ckshim-unit-XXXXXX";
	fd = mkostemp(name, O_CLOEXEC);
	ok(fd >= 0 && ftruncate(fd, 4096) == 0, "file");
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	is_int(maps(), 0, "a mapped file is fine (%s)", err.msg);
	unlink(name);
	ok(maps() < 0 && strstr(err.msg, "deleted"), "a deleted one is refused: %s", err.msg);
	munmap(p, 4096);
	close(fd);
}

static void descriptors(void)
{
	is_int(fds(), 0, "nothing to object to at first (%s)", err.msg);
	int a = eventfd(0, EFD_CLOEXEC), b = epoll_create1(EPOLL_CLOEXEC), pair[2];
	ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	is_int(fds(), 0, "eventfd, epoll and an inner socketpair are fine (%s)", err.msg);
	close(a);
	close(b);
	/* the other end held by nobody that is examined: as a daemon outside */
	pid_t others = me.pid;
	scene.procs.p[0].pid = 1 << 30;
	ok(fds() < 0 && strstr(err.msg, "outside"), "a connection to outside is refused: %s", err.msg);
	scene.procs.p[0].pid = others;
	close(pair[0]);
	close(pair[1]);
	int fd = inotify_init1(IN_CLOEXEC);
	ok(fds() < 0 && strstr(err.msg, "inotify"), "inotify is refused: %s", err.msg);
	close(fd);
	struct ck_streams st = { .nother = 1 };
	struct ck_inherited in = { .reopen = 0 };
	int p[2];
	struct stat s;
	ok(pipe2(p, O_CLOEXEC) == 0 && fstat(p[0], &s) == 0, "pipe");
	in.dev = s.st_dev;
	in.ino = s.st_ino;
	st.other = &in;
	scene.st = &st;
	ok(fds() < 0 && strstr(err.msg, "inherited"), "what was inherited and left alone is refused: %s", err.msg);
	scene.st = NULL;
	is_int(fds(), 0, "any other pipe is fine (%s)", err.msg);
	close(p[0]);
	close(p[1]);
}

static void files(void)
{
	struct ck_manifest m;
	char name[] = "/tmp/ckshim-unit-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);
	ok(write(fd, "hello", 5) == 5, "file");
	ck_manifest_init(&m);
	is_int(ck_examine_files(me.pid, &m, &err), 0, "files are recorded");
	size_t i = 0;
	while (i < m.nfiles && strcmp(m.files[i].path, name) != 0)
		i++;
	ok(i < m.nfiles && m.files[i].size == 5, "with their size");
	is_int(ck_examine_changed(&m, &err), 0, "unchanged (%s)", err.msg);
	ok(write(fd, "!", 1) == 1 && ck_examine_changed(&m, &err) < 0 && strstr(err.msg, "6 now"),
	   "grown: %s", err.msg);
	ok(ftruncate(fd, 5) == 0 && ck_examine_changed(&m, &err) < 0 && strstr(err.msg, "same size"),
	   "changed at the same size: %s", err.msg);
	unlink(name);
	ok(ck_examine_changed(&m, &err) < 0 && err.code == CK_EREFUSED, "gone: %s", err.msg);
	ck_manifest_free(&m);
	close(fd);
}

int main(void)
{
	/* whoever runs the tests may have left us something */
	closefrom(3);
	static struct ck_proc one;
	me.pid = getpid();
	snprintf(me.comm, sizeof me.comm, "examine");
	me.in_tree = 1;
	one = me;
	scene.procs.p = &one;
	scene.procs.n = 1;
	scene.own_devpts = 1;
	/* standard streams, which in a session are ours */
	for (int i = 0; i < 3; i++) {
		if (i == 1)
			continue;
		int fd = open("/dev/null", O_RDWR);
		dup2(fd, i);
		close(fd);
	}
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096];
	static int mounts[4096];
	while (f && fgets(line, sizeof line, f) && scene.nmounts < 4096)
		mounts[scene.nmounts++] = atoi(line);
	if (f)
		fclose(f);
	scene.mounts = mounts;
	mappings();
	descriptors();
	files();
	return tap_done();
}
