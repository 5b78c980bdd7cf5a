/* tty.h - a program on a terminal: a pty of ours between it and the job's terminal.
 *
 * The pty comes from the session's own devpts, where CRIU can find it. Pid 1 makes it and gives the master
 * to the monitor, which passes bytes, window sizes and modes between it and the outer terminal.
 */
#ifndef CK_TTY_H
#define CK_TTY_H

#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

#include "../shim/base/err.h"

/* ck_tty_open - in pid 1: a new pty. @key gets CRIU's name of it. Both descriptors are close-on-exec.
 * Returns 0 or -1 with err. */
int ck_tty_open(int *master, int *slave, char *key, size_t cap, struct ck_err *err);

/* ck_tty_send, ck_tty_receive - the master's way through the session's socket, as a packet @data beside
 * which it rides. receive: as recv(2); *@fd is -1 when none came. */
int ck_tty_send(int sock, const void *data, size_t len, int fd, struct ck_err *err);
ssize_t ck_tty_receive(int sock, void *data, size_t len, int *fd);

struct ck_tty {
	int outer;	/* the job's terminal, or -1 */
	int master;	/* -1: there is none */
	int raw;	/* the outer terminal is in raw mode, and its keys are fed to the pty */
	struct termios saved;
};

/* ck_tty_attach - the master has come: take over modes and size of the outer terminal, and put that into
 * raw mode if we are in its foreground and stdin is it. */
void ck_tty_attach(struct ck_tty *t, int master);
void ck_tty_resize(const struct ck_tty *t);
/* ck_tty_restore - give the outer terminal its modes back. Again and again is fine. */
void ck_tty_restore(struct ck_tty *t);
void ck_tty_raw(struct ck_tty *t); /* raw again, after a stop */

#endif
