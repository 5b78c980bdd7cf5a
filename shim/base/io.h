/* io.h - whole reads and writes, and time. No globals; safe in the shim. */
#ifndef CK_IO_H
#define CK_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Each retries EINTR and short transfers. Returns 0, or -1 with errno; a read that meets the end of
 * the file early fails with errno ENODATA. */
int ck_read_full(int fd, void *buf, size_t len);
int ck_write_full(int fd, const void *buf, size_t len);
int ck_pread_full(int fd, void *buf, size_t len, off_t at);
int ck_pwrite_full(int fd, const void *buf, size_t len, off_t at);

/* ck_read_text - up to cap-1 bytes of the file @path (relative to @dirfd, or AT_FDCWD) and a NUL.
 * Returns the length, or -1 with errno. Meant for /proc: a longer file is cut. */
ssize_t ck_read_text(int dirfd, const char *path, char *buf, size_t cap);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t ck_now_ns(void);

#endif
