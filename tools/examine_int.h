/* examine_int.h - between the parts of examine. */
#ifndef CK_EXAMINE_INT_H
#define CK_EXAMINE_INT_H

#include <sys/types.h>

#include "examine.h"
#include "procs.h"

struct ck_sock;

struct ck_scene {
	enum ck_examine_pass pass;
	const struct ck_streams *st;
	struct ck_procs procs;
	pid_t *gpu;		/* registered GPU processes */
	size_t ngpu;
	int *mounts;		/* ids of the mounts of our namespace */
	size_t nmounts;
	int own_devpts;		/* ptys made inside can be restored */
	struct ck_sock *socks;	/* of the network namespace, by inode */
	size_t nsocks;
	int socks_read;
	ino_t *held;		/* inodes of the sockets that the tree holds */
	size_t nheld;
};

/* ck_refuse - "process 1003 (python3) OBJECT: WHY; REMEDY". Returns -1. */
int ck_refuse(struct ck_err *err, const struct ck_proc *p, const char *object, const char *why,
	      const char *remedy);

/* 1 if in this pass what belongs to a GPU is to be overlooked in @p. */
int ck_scene_gpu_owned(const struct ck_scene *s, pid_t pid);

/* Each looks at one process (socks: at one socket). Returns 0 or -1 with err. */
int ck_examine_maps(struct ck_scene *s, const struct ck_proc *p, struct ck_err *err);
int ck_examine_fds(struct ck_scene *s, const struct ck_proc *p, struct ck_err *err);
int ck_examine_socket(struct ck_scene *s, const struct ck_proc *p, int fd, ino_t ino, struct ck_err *err);
int ck_examine_sysv(struct ck_err *err);

#endif
