/* store_int.h - shared by the store_*.c files. */
#ifndef CK_STORE_INT_H
#define CK_STORE_INT_H

#include <dirent.h>
#include <sys/stat.h>

#include "store.h"

struct ck_store {
	char path[PATH_MAX];	/* of the key's folder */
	char begun_path[PATH_MAX];
	int fd;			/* of the key's folder */
	int lock_fd;		/* -1: not the owner */
	int gen_fd;		/* of gen-N.tmp; -1: none begun */
	uint32_t gen;		/* N, 0: none begun */
	int owner;
};

/* ck_store_check_dir - @fd is a folder that is ours, and nobody else can write it. @path for messages. */
int ck_store_check_dir(int fd, const char *path, struct ck_err *err);
/* ck_store_check_above - no folder above @fd is writable by all without the sticky bit. */
int ck_store_check_above(int fd, struct ck_err *err);

/* ck_store_open_dir - a folder inside another, not through a link, checked. -1 with err. */
int ck_store_open_dir(int at, const char *name, const char *path, struct ck_err *err);
/* ck_store_open_root - STORE itself. CK_ENOCKPT if it is not there. */
int ck_store_open_root(const char *store, struct ck_err *err);

/* ck_store_readdir - a stream over the folder @fd, which stays the caller's. NULL with errno. */
DIR *ck_store_readdir(int fd);

/* ck_gen_parse - number of "gen-000007" or "gen-000007.tmp" (*@tmp), 0 when it is neither. */
uint32_t ck_gen_parse(const char *name, int *tmp);
void ck_gen_name(uint32_t number, int tmp, char name[CK_GEN_MAX]);

/* ck_key_parse - whether @name is a key; *@job_len gets the length of its JOB. */
int ck_key_parse(const char *name, size_t *job_len);

/* ck_store_remove_tree - folder @name in @at with all in it. -1 with errno. */
int ck_store_remove_tree(int at, const char *name);
/* ck_store_sync_tree - fsync every file and folder below @fd, and @fd. -1 with errno. */
int ck_store_sync_tree(int fd);

#endif
