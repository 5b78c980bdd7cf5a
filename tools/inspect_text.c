/* inspect_text.c - for people, in 80 columns. Names come from programs: whatever could move the cursor
 * is shown as '?'. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "inspect.h"

#define WIDTH 80
#define MAX_ROWS 20	/* of call stacks, files and processes: --json has all */

/* 1023 B, 1.0 KiB, 2.3 GiB */
static const char *size_text(uint64_t n, char buf[16])
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	int u = 0;
	double v = (double)n;
	for (; v >= 1023.95 && u < 6; u++)
		v /= 1024;
	if (u == 0)
		snprintf(buf, 16, "%u B", (unsigned)n);
	else
		snprintf(buf, 16, "%.1f %s", v, unit[u]);
	return buf;
}

/* @text in at most @room columns: printable bytes, shortened in the middle. */
static void print_short(FILE *f, const char *text, size_t room)
{
	size_t len = strlen(text), head = len, tail = 0;
	if (len > room) {
		tail = (room - 3) * 2 / 3;
		head = room - 3 - tail;
	}
	for (size_t i = 0; i < len; i++) {
		if (i == head && tail) {
			fputs("...", f);
			i = len - tail;
		}
		unsigned char c = (unsigned char)text[i];
		fputc(c >= 0x20 && c < 0x7f ? c : '?', f);
	}
}

/* The start of a command line in @room columns: its folder says less than its arguments. */
static void print_command(FILE *f, const char *cmd, size_t room)
{
	size_t word = strcspn(cmd, " "), base = word;
	while (base && cmd[base - 1] != '/')
		base--;
	cmd += base;
	int cut = strlen(cmd) > room;
	char *head = strndup(cmd, cut ? room - 3 : room);
	print_short(f, head ? head : "?", room);
	if (cut)
		fputs("...", f);
	free(head);
}

static void row(FILE *f, const char *name, const char *text)
{
	fprintf(f, "%-10s ", name);
	print_short(f, text ? text : "?", WIDTH - 11);
	fputc('\n', f);
}

static void when(int64_t ns, char buf[32])
{
	time_t t = (time_t)(ns / 1000000000);
	struct tm tm;
	if (!gmtime_r(&t, &tm) || !strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm))
		strcpy(buf, "?");
}

static char *command(const struct ck_manifest *m)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	for (char **a = m->argv; a && *a; a++)
		fprintf(f, "%s%s", a == m->argv ? "" : " ", *a);
	fclose(f);
	return text;
}

void ck_inspect_print_row(FILE *f, const struct ck_checkpoint *c)
{
	char time[32], size[16];
	if (!c->readable) {
		fprintf(f, "  %-10s %s: ", c->gen.name, ck_inspect_state(c));
		print_short(f, c->why.msg, 50);
		fputc('\n', f);
		return;
	}
	when(c->m.created_ns, time);
	fprintf(f, "  %-10s %s %10s  %-8s ", c->gen.name, time, size_text(ck_manifest_bytes(&c->m), size),
		ck_inspect_state(c));
	char *cmd = command(&c->m);
	print_command(f, cmd ? cmd : "?", WIDTH - 55);
	free(cmd);
	fputc('\n', f);
}

static void print_head(FILE *f, const struct ck_checkpoint *c)
{
	char buf[1200], time[32];
	const struct ck_manifest *m = &c->m;
	when(m->created_ns, time);
	snprintf(buf, sizeof buf, "%s of %s", c->gen.name, c->key);
	row(f, "Checkpoint", buf);
	row(f, "Folder", c->path);
	snprintf(buf, sizeof buf, "%s UTC, by %s, with ckshim %s", time, m->reason ? m->reason : "?", m->version);
	row(f, "Taken", buf);
	snprintf(buf, sizeof buf, "%s, Linux %s", m->host, m->kernel);
	row(f, "Host", buf);
	row(f, "Job", m->job);
	char *cmd = command(m);
	row(f, "Command", cmd);
	free(cmd);
	row(f, "Program", m->exe);
	row(f, "Directory", m->cwd);
	snprintf(buf, sizeof buf, "%s%s%s", ck_inspect_state(c), c->why.code ? ": " : "", c->why.code ? c->why.msg : "");
	row(f, "State", buf);
}

static void print_sizes(FILE *f, const struct ck_manifest *m)
{
	uint64_t device = 0;
	char all[16], dev[16], host[16], buf[128];
	for (size_t i = 0; i < m->nimages; i++)
		device += m->images[i].footer_only ? m->images[i].size : 0;
	uint64_t total = ck_manifest_bytes(m);
	snprintf(buf, sizeof buf, "%s in %zu files: %s device memory, %s all else", size_text(total, all), m->nimages,
		 size_text(device, dev), size_text(total - device, host));
	row(f, "Size", buf);
}

static void print_stacks(FILE *f, const struct ck_mem *mem)
{
	char size[16];
	fprintf(f, "\nDevice memory by call stack, largest first\n");
	for (size_t i = 0; i < mem->nstacks && i < MAX_ROWS; i++) {
		const struct ck_mem_stack *s = &mem->stacks[i];
		fprintf(f, "  %10s in %" PRIu64 " range%s\n", size_text(s->bytes, size), s->ranges,
			s->ranges == 1 ? "" : "s");
		const char *p = s->text[0] ? s->text : "(call stack not known)";
		while (*p) {
			size_t len = strcspn(p, "\n");
			char frame[512];
			snprintf(frame, sizeof frame, "%.*s", (int)(len < 511 ? len : 511), p);
			fputs("             ", f);
			print_short(f, frame, WIDTH - 13);
			fputc('\n', f);
			p += len + (p[len] != 0);
		}
	}
	if (mem->nstacks > MAX_ROWS)
		fprintf(f, "  and %zu more (--json has all)\n", mem->nstacks - MAX_ROWS);
}

static void print_memory(FILE *f, const struct ck_mem *mem)
{
	char a[16], b[16], lo[16], hi[16];
	if (!mem->ranges) {
		fprintf(f, "\nNo device memory in files.\n");
		return;
	}
	fprintf(f, "\nDevice memory: %s in %" PRIu64 " range%s; %s stored, %" PRIu64 " of %" PRIu64 " chunks zero\n",
		size_text(mem->bytes, a), mem->ranges, mem->ranges == 1 ? "" : "s", size_text(mem->stored, b),
		mem->zero_chunks, mem->chunks);
	for (int i = CK_MEM_CLASSES - 1; i >= 0; i--)
		if (mem->by_size[i].ranges)
			fprintf(f, "  %10s in %6" PRIu64 " of %s up to %s\n", size_text(mem->by_size[i].bytes, a),
				mem->by_size[i].ranges, size_text(1ull << i, lo),
				i < 63 ? size_text(1ull << (i + 1), hi) : "16.0 EiB");
	print_stacks(f, mem);
}

static void print_processes(FILE *f, const struct ck_manifest *m)
{
	fprintf(f, "\nProcesses\n      PID    PPID NAME\n");
	for (size_t i = 0; i < m->nprocesses && i < MAX_ROWS; i++) {
		const struct ck_mf_process *p = &m->processes[i];
		fprintf(f, "  %7d %7d ", (int)p->pid, (int)p->ppid);
		print_short(f, p->comm, 16);
		fputs("  ", f);
		print_short(f, p->exe, WIDTH - 18 - 18);
		fputc('\n', f);
	}
	if (m->nprocesses > MAX_ROWS)
		fprintf(f, "  and %zu more (--json has all)\n", m->nprocesses - MAX_ROWS);
}

static void print_gpus(FILE *f, const struct ck_manifest *m)
{
	size_t i, j;
	json_t *p, *d;
	char size[16];
	json_array_foreach(m->gpu, i, p) {
		json_array_foreach(json_object_get(p, "devices"), j, d) {
			const char *uuid = json_string_value(json_object_get(d, "uuid"));
			json_int_t bytes = json_integer_value(json_object_get(d, "bytes"));
			fprintf(f, "  process %lld, device %lld, ",
				(long long)json_integer_value(json_object_get(p, "pid")),
				(long long)json_integer_value(json_object_get(d, "ordinal")));
			print_short(f, uuid ? uuid : "?", 36);
			fprintf(f, ": %s\n", size_text(bytes < 0 ? 0 : (uint64_t)bytes, size));
		}
	}
}

static void print_files(FILE *f, const struct ck_manifest *m)
{
	char size[16];
	if (!m->nfiles) {
		fprintf(f, "\nNo open files.\n");
		return;
	}
	fprintf(f, "\nOpen files\n      PID    FD       SIZE PATH\n");
	for (size_t i = 0; i < m->nfiles && i < MAX_ROWS; i++) {
		const struct ck_mf_file *o = &m->files[i];
		fprintf(f, "  %7d %5d %10s ", (int)o->pid, o->fd, size_text(o->size, size));
		print_short(f, o->path, WIDTH - 27);
		fputc('\n', f);
	}
	if (m->nfiles > MAX_ROWS)
		fprintf(f, "  and %zu more (--json has all)\n", m->nfiles - MAX_ROWS);
}

void ck_inspect_print(FILE *f, const struct ck_checkpoint *c, const struct ck_mem *mem)
{
	if (!c->readable) {
		char buf[CK_GEN_MAX + CK_KEY_MAX + 8];
		snprintf(buf, sizeof buf, "%s of %s", c->gen.name, c->key);
		row(f, "Checkpoint", buf);
		row(f, "Folder", c->path);
		row(f, "State", c->why.msg);
		return;
	}
	print_head(f, c);
	print_sizes(f, &c->m);
	print_processes(f, &c->m);
	if (mem) {
		print_memory(f, mem);
		if (c->m.gpu && json_array_size(c->m.gpu)) {
			fprintf(f, "\nGPUs\n");
			print_gpus(f, &c->m);
		}
	}
	print_files(f, &c->m);
}
