#define _GNU_SOURCE
#include "gpus.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/base/log.h"
#include "../shim/base/proto.h"

struct ck_gpus *ck_gpus_new(int listen_fd, const char *drv)
{
	struct ck_gpus *g = calloc(1, sizeof *g);
	if (g) {
		g->listen_fd = listen_fd;
		g->helper = drv;
	}
	return g;
}

static void drop(struct ck_gpu_proc *p)
{
	if (p->sock >= 0)
		close(p->sock);
	free(p->own);
}

void ck_gpus_free(struct ck_gpus *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n; i++)
		drop(&g->p[i]);
	ck_drv_stop(g->drv);
	free(g->p);
	free(g);
}

struct ck_gpu_proc *ck_gpus_find(struct ck_gpus *g, pid_t pid)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->p[i].pid == pid)
			return &g->p[i];
	return NULL;
}

static struct ck_gpu_proc *add(struct ck_gpus *g, pid_t pid)
{
	struct ck_gpu_proc *p = ck_gpus_find(g, pid);
	if (p) {
		drop(p);
	} else {
		if (g->n == g->room) {
			size_t room = g->room ? g->room * 2 : 8;
			struct ck_gpu_proc *q = realloc(g->p, room * sizeof *q);
			if (!q)
				return NULL;
			g->p = q;
			g->room = room;
		}
		p = &g->p[g->n++];
	}
	memset(p, 0, sizeof *p);
	p->pid = pid;
	p->sock = -1;
	return p;
}

void ck_gpus_forget(struct ck_gpus *g, pid_t pid)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->p[i].pid == pid) {
			drop(&g->p[i]);
			g->p[i] = g->p[--g->n];
			return;
		}
}

int ck_gpus_count(const struct ck_gpus *g)
{
	return (int)g->n;
}

static void serve_register(struct ck_gpus *g, const struct ck_msg *m, int sock)
{
	struct ck_msg r;
	struct ck_err e;
	ck_msg_init(&r, g->freezing ? CK_MSG_BUSY : CK_MSG_OK);
	if (!g->freezing) {
		if (m->b)
			ck_gpus_forget(g, m->pid);
		else {
			struct ck_gpu_proc *p = add(g, m->pid);
			if (p) {
				p->ctl_tid = (pid_t)m->a;
				snprintf(p->libcuda, sizeof p->libcuda, "%s", m->text);
			}
		}
	}
	ck_debug("process %d %s", m->pid, g->freezing ? "waits to register" : m->b ? "has no GPU after all" : "uses CUDA");
	(void)ck_msg_send(sock, &r, -1, &e); /* a peer that has gone needs no answer */
}

int ck_gpus_take(struct ck_gpus *g, int timeout_ms, pid_t *pid)
{
	struct ck_msg m;
	struct ck_err e;
	struct ucred who;
	socklen_t len = sizeof who;
	struct pollfd p = { .fd = g->listen_fd, .events = POLLIN };
	if (poll(&p, 1, timeout_ms) <= 0)
		return -1;
	int sock = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (sock < 0)
		return -1;
	if (ck_msg_recv(sock, &m, NULL, 1000, &e) ||
	    getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) || who.pid != m.pid) {
		close(sock);
		return -1;
	}
	if (m.type == CK_MSG_HELLO) {
		*pid = m.pid;
		return sock;
	}
	if (m.type == CK_MSG_REGISTER)
		serve_register(g, &m, sock);
	close(sock);
	return -1;
}

void ck_gpus_accept(struct ck_gpus *g)
{
	pid_t pid;
	int sock = ck_gpus_take(g, 0, &pid);
	if (sock >= 0) /* a control thread nobody called: it goes back to sleep when we hang up */
		close(sock);
}

/* --- manifest --------------------------------------------------------------------------------------- */

static json_t *device_json(const struct ck_gpu_device *d, int index)
{
	return json_pack("{s:i, s:i, s:s, s:s, s:I, s:I}", "index", index, "ordinal", d->ordinal, "uuid", d->uuid,
			 "file", d->file, "bytes", (json_int_t)d->bytes, "written", (json_int_t)d->written);
}

static json_t *proc_json(const struct ck_gpus *g, const struct ck_gpu_proc *p)
{
	json_t *devices = json_array();
	for (int i = 0; devices && i < p->ndevices; i++)
		json_array_append_new(devices, device_json(&p->device[i], i));
	return json_pack("{s:i, s:i, s:s, s:b, s:s, s:I, s:s, s:o}", "pid", p->pid, "ctl_tid", p->ctl_tid, "libcuda",
			 p->libcuda, "driver", p->driver, "offload_off", p->why_off, "residue",
			 (json_int_t)p->residue, "visible", g->visible, "devices", devices);
}

json_t *ck_gpus_to_json(const struct ck_gpus *g)
{
	json_t *a = json_array();
	for (size_t i = 0; a && i < g->n; i++)
		if (json_array_append_new(a, proc_json(g, &g->p[i]))) {
			json_decref(a);
			return NULL;
		}
	return a;
}

static int copy(char *to, size_t cap, const char *from)
{
	return (size_t)snprintf(to, cap, "%s", from) < cap ? 0 : -1;
}

/* "device-PID-INDEX.ck" and nothing else: the name is opened in the generation's folder. */
static int device_from_json(struct ck_gpu_proc *p, const json_t *o)
{
	int index, ordinal;
	const char *uuid, *file;
	json_int_t bytes, written;
	char expect[64];
	if (json_unpack((json_t *)o, "{s:i, s:i, s:s, s:s, s:I, s:I}", "index", &index, "ordinal", &ordinal, "uuid",
			&uuid, "file", &file, "bytes", &bytes, "written", &written) ||
	    index != p->ndevices || index >= CK_GPU_MAX || ordinal < 0 || bytes < 0 || written < 0 ||
	    strlen(uuid) != 32 || strspn(uuid, "0123456789abcdef") != 32)
		return -1;
	struct ck_gpu_device *d = &p->device[p->ndevices++];
	snprintf(expect, sizeof expect, "device-%d-%d.ck", p->pid, index);
	if (strcmp(expect, file) != 0 || copy(d->file, sizeof d->file, file) || copy(d->uuid, sizeof d->uuid, uuid))
		return -1;
	d->ordinal = ordinal;
	d->bytes = (uint64_t)bytes;
	d->written = (uint64_t)written;
	return 0;
}

static int proc_from_json(struct ck_gpus *g, const json_t *o)
{
	int pid, tid, driver;
	const char *libcuda, *off, *visible;
	json_int_t residue;
	json_t *devices, *d;
	size_t i;
	if (json_unpack((json_t *)o, "{s:i, s:i, s:s, s:b, s:s, s:I, s:s, s:o}", "pid", &pid, "ctl_tid", &tid,
			"libcuda", &libcuda, "driver", &driver, "offload_off", &off, "residue", &residue, "visible",
			&visible, "devices", &devices) ||
	    pid <= 1 || tid <= 1 || ck_gpus_find(g, pid) || !json_is_array(devices))
		return -1;
	struct ck_gpu_proc *p = add(g, pid);
	if (!p || copy(p->libcuda, sizeof p->libcuda, libcuda) || copy(p->why_off, sizeof p->why_off, off) ||
	    copy(g->visible, sizeof g->visible, visible) ||
	    strspn(visible, "0123456789abcdef,") != strlen(visible))
		return -1;
	p->ctl_tid = tid;
	p->driver = driver;
	p->residue = (uint64_t)residue;
	p->state = driver ? CK_GPU_CHECKPOINTED : CK_GPU_RELEASED;
	json_array_foreach(devices, i, d)
		if (device_from_json(p, d))
			return -1;
	return 0;
}

int ck_gpus_from_json(struct ck_gpus *g, const json_t *array, struct ck_err *err)
{
	size_t i;
	json_t *o;
	if (!json_is_array(array))
		return ck_err_set(err, CK_EDAMAGED, 0, "manifest: gpu is not a list");
	json_array_foreach(array, i, o)
		if (proc_from_json(g, o))
			return ck_err_set(err, CK_EDAMAGED, 0, "manifest: entry %zu of gpu makes no sense", i);
	return 0;
}
