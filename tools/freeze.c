/* freeze.c - takes GPU processes apart, and puts them together again from wherever that stopped. */
#define _GNU_SOURCE
#include "freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../shim/base/io.h"
#include "../shim/base/log.h"
#include "../shim/base/proto.h"
#include "gpus.h"
#include "hold.h"

/* Putting a process together again is not bound by the deadline of taking it apart. */
#define UNDO_NS 300000000000u
/* While threads are held the driver may want a lock that one of them has (malloc's): after this long they
 * run for a blink and are held again. */
#define HOLD_SLICE_MS 500

static int ms_left(uint64_t until_ns)
{
	uint64_t now = ck_now_ns();
	return now >= until_ns ? 0 : (int)((until_ns - now) / 1000000u);
}

/* --- talking to control threads ----------------------------------------------------------------------- */

static pid_t silent_one(const struct ck_gpus *g, enum ck_gpu_state least)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->p[i].state >= least && g->p[i].sock < 0)
			return g->p[i].pid;
	return 0;
}

/* Wake the control threads of all processes that are in state @least or further, and take their calls. */
static int call_all(struct ck_gpus *g, enum ck_gpu_state least, uint64_t until_ns, struct ck_err *err)
{
	size_t missing = 0;
	for (size_t i = 0; i < g->n;) {
		struct ck_gpu_proc *p = &g->p[i];
		if (p->state < least) {
			i++;
			continue;
		}
		if (syscall(SYS_tgkill, p->pid, p->ctl_tid, CK_WAKE_SIGNAL) < 0) {
			if (errno != ESRCH || least > CK_GPU_RUNNING)
				return ck_err_errno(err, "cannot wake the control thread of process %d", p->pid);
			ck_gpus_forget(g, p->pid); /* it has just ended */
			continue;
		}
		missing++;
		i++;
	}
	while (missing) {
		pid_t pid;
		int left = ms_left(until_ns);
		if (left == 0)
			return ck_err_set(err, CK_ETIMEOUT, 0,
					  "GPU process %d did not answer by the deadline; is it stopped?",
					  silent_one(g, least));
		int sock = ck_gpus_take(g, left, &pid);
		struct ck_gpu_proc *p = sock >= 0 ? ck_gpus_find(g, pid) : NULL;
		if (p && p->sock < 0) {
			p->sock = sock;
			missing--;
		} else if (sock >= 0)
			close(sock);
	}
	return 0;
}

static int tell(struct ck_gpu_proc *p, enum ck_msg_type type, uint64_t a, uint64_t b, int fd, struct ck_err *err)
{
	struct ck_msg m;
	ck_msg_init(&m, type);
	m.pid = p->pid;
	m.a = a;
	m.b = b;
	return ck_msg_send(p->sock, &m, fd, err);
}

static int hear(struct ck_gpu_proc *p, enum ck_msg_type type, struct ck_msg *m, int timeout_ms, struct ck_err *err)
{
	if (ck_msg_recv(p->sock, m, NULL, timeout_ms, err))
		return ck_err_wrap(err, "process %d", p->pid);
	if (m->type != type)
		return ck_err_set(err, CK_EINVAL, 0, "process %d answered %d to %d", p->pid, m->type, type);
	if (m->status)
		return ck_err_set(err, (enum ck_errc)m->status, 0, "process %d: %s", p->pid, m->text);
	return 0;
}

static int command(struct ck_gpu_proc *p, enum ck_msg_type type, uint64_t a, int fd, uint64_t until_ns,
		   struct ck_msg *m, struct ck_err *err)
{
	int left = ms_left(until_ns);
	if (tell(p, type, a, (uint64_t)left, fd, err))
		return -1;
	/* The shim keeps the deadline itself and says what it waited for; ours only catches a silent one. */
	return hear(p, type, m, left + 2000, err);
}

static void hang_up(struct ck_gpu_proc *p)
{
	if (p->sock >= 0)
		close(p->sock);
	p->sock = -1;
}

/* --- the driver's helper ---------------------------------------------------------------------------------- */

static int helper_start(struct ck_gpus *g, struct ck_err *err)
{
	g->drv_ready = false;
	for (size_t i = 0; i < g->n; i++)
		if (g->p[i].libcuda[0])
			return ck_drv_start(g->helper, g->p[i].libcuda, &g->drv, err);
	return 0;
}

static int helper_ready(struct ck_gpus *g, uint64_t until_ns, struct ck_err *err)
{
	char name[64];
	int result, rc;
	if (g->drv_ready)
		return 0;
	if (!g->drv && helper_start(g, err))
		return -1;
	rc = ck_drv_poll(g->drv, ms_left(until_ns), &result, name, sizeof name, NULL, 0, err);
	if (rc == 0)
		return ck_err_set(err, CK_ETIMEOUT, 0, "the CUDA driver did not start by the deadline");
	if (rc < 0 || ck_drv_explain(result, name, "starting the CUDA driver", err))
		return -1;
	g->drv_ready = true;
	return 0;
}

static void helper_stop(struct ck_gpus *g)
{
	ck_drv_stop(g->drv);
	g->drv = NULL;
	g->drv_ready = false;
}

/* --- taking apart ----------------------------------------------------------------------------------------- */

static int quiesce_all(struct ck_gpus *g, uint64_t until_ns, struct ck_err *err)
{
	struct ck_msg m;
	int left = ms_left(until_ns), rc = 0;
	for (size_t i = 0; i < g->n; i++)
		if (tell(&g->p[i], CK_MSG_QUIESCE, (uint64_t)left, 0, -1, err))
			return -1;
	for (size_t i = 0; i < g->n; i++) {
		struct ck_gpu_proc *p = &g->p[i];
		struct ck_err e;
		if (hear(p, CK_MSG_QUIESCE, &m, ms_left(until_ns) + 2000, &e)) {
			if (rc == 0)
				*err = e;
			rc = -1; /* but hear the others out: their gates may be shut */
			continue;
		}
		p->state = CK_GPU_QUIET;
		p->ndevices = m.a <= CK_GPU_MAX ? (int)m.a : CK_GPU_MAX;
		p->residue = m.c;
		p->driver = m.d != 0;
		snprintf(p->why_off, sizeof p->why_off, "%s", m.text);
		if (p->why_off[0])
			ck_debug("process %d: device memory goes through the driver: %s", p->pid, p->why_off);
	}
	return rc;
}

static int learn_threads(struct ck_gpu_proc *p, uint64_t until_ns, struct ck_err *err)
{
	struct ck_msg m;
	size_t total = 1, n = 0;
	free(p->own);
	p->own = NULL;
	do {
		if (command(p, CK_MSG_THREADS, n, -1, until_ns, &m, err))
			return -1;
		if (m.a > 65536 || m.b > sizeof m.text / sizeof(int32_t) || n + m.b > m.a)
			return ck_err_set(err, CK_EINVAL, 0, "process %d: nonsense about its threads", p->pid);
		total = m.a;
		if (!p->own && !(p->own = calloc(total + 1, sizeof *p->own)))
			return ck_err_set(err, CK_ESYS, ENOMEM, "process %d", p->pid);
		for (size_t i = 0; i < m.b; i++) {
			int32_t tid;
			memcpy(&tid, m.text + i * sizeof tid, sizeof tid);
			p->own[n++] = tid;
		}
	} while (n < total && m.b);
	p->own[n++] = p->ctl_tid;
	p->nown = n;
	return 0;
}

static int save_device(struct ck_gpu_proc *p, int index, int gen_dirfd, uint64_t until_ns, struct ck_err *err)
{
	struct ck_msg m;
	struct ck_gpu_device *d = &p->device[index];
	snprintf(d->file, sizeof d->file, "device-%d-%d.ck", p->pid, index);
	int fd = openat(gen_dirfd, d->file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return ck_err_errno(err, "cannot create %s", d->file);
	int rc = command(p, CK_MSG_SAVE, (uint64_t)index, fd, until_ns, &m, err);
	close(fd);
	if (rc)
		return -1;
	d->ordinal = (int)m.a;
	d->bytes = m.b;
	d->written = m.c;
	snprintf(d->uuid, sizeof d->uuid, "%.32s", m.text);
	return 0;
}

/* The driver's checkpoint of one process while its threads are held. */
static int checkpoint_held(struct ck_gpus *g, struct ck_gpu_proc *p, uint64_t until_ns, struct ck_err *err)
{
	struct ck_hold *h;
	struct ck_msg m;
	char name[64];
	int result = 0, rc;
	if (ck_hold_begin(p->pid, p->own, p->nown, until_ns, &h, err))
		return -1;
	rc = ck_drv_send(g->drv, err, "checkpoint %d", p->pid);
	while (rc == 0) {
		rc = ck_drv_poll(g->drv, HOLD_SLICE_MS, &result, name, sizeof name, NULL, 0, err);
		if (rc != 0)
			break;
		ck_hold_end(h);
		h = NULL;
		if (ck_now_ns() >= until_ns) {
			rc = ck_err_set(err, CK_ETIMEOUT, 0, "the driver's checkpoint took longer than the deadline");
			break;
		}
		if (ck_hold_begin(p->pid, p->own, p->nown, until_ns, &h, err))
			rc = -1;
	}
	if (rc > 0)
		rc = ck_drv_explain(result, name, "the driver's checkpoint", err);
	if (rc == 0) {
		p->state = CK_GPU_CHECKPOINTED;
		rc = command(p, CK_MSG_RESERVE, 0, -1, until_ns, &m, err);
	}
	ck_hold_end(h);
	return rc;
}

static int take_apart(struct ck_gpus *g, int gen_dirfd, uint64_t until_ns, struct ck_err *err)
{
	struct ck_msg m;
	if (helper_start(g, err) || call_all(g, CK_GPU_RUNNING, until_ns, err) || quiesce_all(g, until_ns, err))
		return -1;
	for (size_t i = 0; i < g->n; i++)
		for (int d = 0; d < g->p[i].ndevices; d++)
			if (save_device(&g->p[i], d, gen_dirfd, until_ns, err))
				return -1;
	if (helper_ready(g, until_ns, err) ||
	    ck_drv_call(g->drv, "listing the GPUs", until_ns, g->visible, sizeof g->visible, err, "uuids"))
		return -1;
	for (size_t i = 0; i < g->n; i++) {
		struct ck_gpu_proc *p = &g->p[i];
		if (learn_threads(p, until_ns, err))
			return -1;
		p->state = CK_GPU_RELEASED;
		if (command(p, CK_MSG_RELEASE, 0, -1, until_ns, &m, err))
			return -1;
	}
	for (size_t i = 0; i < g->n; i++) {
		struct ck_gpu_proc *p = &g->p[i];
		if (!p->driver)
			continue;
		if (ck_drv_call(g->drv, "the driver's lock", until_ns, NULL, 0, err, "lock %d %d", p->pid,
				ms_left(until_ns) > 0 ? ms_left(until_ns) : 1))
			return -1;
		p->state = CK_GPU_LOCKED;
	}
	for (size_t i = 0; i < g->n; i++)
		if (g->p[i].driver && checkpoint_held(g, &g->p[i], until_ns, err))
			return -1;
	for (size_t i = 0; i < g->n; i++) {
		if (command(&g->p[i], CK_MSG_SEALED, 0, -1, until_ns, &m, err))
			return -1;
		hang_up(&g->p[i]);
	}
	return 0;
}

int ck_gpus_freeze(struct ck_gpus *g, int gen_dirfd, uint64_t until_ns, struct ck_err *err)
{
	g->freezing = true;
	if (g->n == 0)
		return 0;
	if (take_apart(g, gen_dirfd, until_ns, err) == 0) {
		helper_stop(g);
		return 0;
	}
	struct ck_err undo;
	if (ck_gpus_thaw(g, gen_dirfd, ck_now_ns() + UNDO_NS, &undo)) {
		/* Nothing worse can happen to a program; say both. */
		struct ck_err first = *err;
		ck_err_set(err, undo.code, 0, "%.400s; and undoing it failed: %.400s", first.msg, undo.msg);
	}
	return -1;
}

/* --- putting together ------------------------------------------------------------------------------------- */

/* The driver wants a pair for every GPU if any has changed. Same GPUs: no map. Otherwise the old ones go to
 * the new ones in order; a machine with fewer cannot take the program. */
static int gpu_map(struct ck_gpus *g, const char *now, char *map, size_t cap, struct ck_err *err)
{
	size_t have = (strlen(now) + 1) / 33, want = (strlen(g->visible) + 1) / 33, len = 0;
	bool same = true;
	map[0] = 0;
	for (size_t i = 0; i < want && same; i++) {
		char one[33];
		memcpy(one, g->visible + 33 * i, 32);
		one[32] = 0;
		same = strstr(now, one) != NULL;
	}
	if (same)
		return 0;
	if (have < want)
		return ck_err_set(err, CK_EENV, 0, "the program had %zu GPUs, here are %zu: ask for as many", want, have);
	for (size_t i = 0; i < want && len + 67 < cap; i++)
		len += (size_t)snprintf(map + len, cap - len, "%s%.32s=%.32s", i ? "," : "", g->visible + 33 * i,
					now + 33 * i);
	return 0;
}

static int driver_back(struct ck_gpus *g, struct ck_gpu_proc *p, const char *map, uint64_t until_ns,
		       struct ck_err *err)
{
	if (p->state == CK_GPU_CHECKPOINTED) {
		if (ck_drv_call(g->drv, "the driver's restore", until_ns, NULL, 0, err, "restore %d %s", p->pid, map))
			return -1;
		p->state = CK_GPU_LOCKED;
	}
	if (p->state == CK_GPU_LOCKED) {
		if (ck_drv_call(g->drv, "the driver's unlock", until_ns, NULL, 0, err, "unlock %d", p->pid))
			return -1;
		p->state = CK_GPU_RELEASED;
	}
	return 0;
}

static int memory_back(struct ck_gpu_proc *p, int gen_dirfd, uint64_t until_ns, struct ck_err *err)
{
	struct ck_msg m;
	for (int d = 0; p->state == CK_GPU_RELEASED && d < p->ndevices; d++) {
		int fd = openat(gen_dirfd, p->device[d].file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return ck_err_errno(err, "cannot open %s", p->device[d].file);
		int rc = command(p, CK_MSG_REFILL, (uint64_t)d, fd, until_ns, &m, err);
		close(fd);
		if (rc)
			return -1;
	}
	p->state = CK_GPU_QUIET;
	return 0;
}

static int all_back(struct ck_gpus *g, int gen_dirfd, uint64_t until_ns, struct ck_err *err)
{
	struct ck_msg m;
	bool touched = false;
	char now[CK_GPU_MAX * 33 + 1], map[CK_GPU_MAX * 67];
	map[0] = 0;
	for (size_t i = 0; i < g->n; i++)
		touched = touched || g->p[i].state >= CK_GPU_LOCKED;
	if (touched) {
		if (helper_ready(g, until_ns, err) ||
		    ck_drv_call(g->drv, "listing the GPUs", until_ns, now, sizeof now, err, "uuids") ||
		    gpu_map(g, now, map, sizeof map, err))
			return -1;
		for (size_t i = 0; i < g->n; i++)
			if (driver_back(g, &g->p[i], map, until_ns, err))
				return -1;
	}
	if (call_all(g, CK_GPU_RELEASED, until_ns, err))
		return -1;
	for (size_t i = 0; i < g->n; i++)
		if (g->p[i].sock >= 0 && memory_back(&g->p[i], gen_dirfd, until_ns, err))
			return -1;
	for (size_t i = 0; i < g->n; i++) {
		if (g->p[i].sock >= 0 && command(&g->p[i], CK_MSG_OPEN, 0, -1, until_ns, &m, err))
			return -1;
		g->p[i].state = CK_GPU_RUNNING;
	}
	return 0;
}

int ck_gpus_thaw(struct ck_gpus *g, int gen_dirfd, uint64_t until_ns, struct ck_err *err)
{
	/* An exchange that broke off half-way may owe an answer, so it ends here. Where no memory was given
	 * up yet that opens the gate; the others are called again. */
	int rc = 0;
	if (g->n) {
		for (size_t i = 0; i < g->n; i++)
			hang_up(&g->p[i]);
		rc = all_back(g, gen_dirfd, until_ns, err);
		for (size_t i = 0; i < g->n; i++)
			hang_up(&g->p[i]);
		helper_stop(g);
	}
	g->freezing = false;
	return rc;
}
