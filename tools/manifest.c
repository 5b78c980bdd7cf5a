/* manifest.c - the manifest in memory, and its text encoding. */
#define _GNU_SOURCE
#include "manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "manifest_int.h"

static int no_memory(struct ck_err *err)
{
	return ck_err_set(err, CK_ESYS, ENOMEM, "manifest");
}

void ck_manifest_init(struct ck_manifest *m)
{
	memset(m, 0, sizeof *m);
}

static void free_argv(char **argv)
{
	for (char **a = argv; a && *a; a++)
		free(*a);
	free(argv);
}

void ck_manifest_free(struct ck_manifest *m)
{
	char *const one[] = { m->version, m->host, m->kernel, m->exe, m->cwd, m->job, m->reason, m->rundir };
	for (size_t i = 0; i < sizeof one / sizeof one[0]; i++)
		free(one[i]);
	free_argv(m->argv);
	for (int i = 0; i < 3; i++) {
		free(m->stream[i].kind);
		free(m->stream[i].key);
	}
	for (size_t i = 0; i < m->nprocesses; i++) {
		free(m->processes[i].comm);
		free(m->processes[i].exe);
	}
	free(m->processes);
	for (size_t i = 0; i < m->nfiles; i++)
		free(m->files[i].path);
	free(m->files);
	for (size_t i = 0; i < m->nimages; i++)
		free(m->images[i].name);
	free(m->images);
	json_decref(m->gpu);
	ck_manifest_init(m);
}

int ck_manifest_str(char **field, const char *text, struct ck_err *err)
{
	char *copy = NULL;
	if (text && !(copy = strdup(text)))
		return no_memory(err);
	free(*field);
	*field = copy;
	return 0;
}

int ck_manifest_argv(struct ck_manifest *m, char *const *argv, struct ck_err *err)
{
	size_t n = 0;
	while (argv[n])
		n++;
	char **copy = calloc(n + 1, sizeof *copy);
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(argv[i]);
		if (!copy[i]) {
			free_argv(copy);
			copy = NULL;
		}
	}
	if (!copy)
		return no_memory(err);
	free_argv(m->argv);
	m->argv = copy;
	return 0;
}

int ck_manifest_add_process(struct ck_manifest *m, pid_t pid, pid_t ppid, const char *comm,
			    const char *exe, struct ck_err *err)
{
	struct ck_mf_process p = { .pid = pid, .ppid = ppid, .comm = strdup(comm), .exe = strdup(exe) };
	void *more = reallocarray(m->processes, m->nprocesses + 1, sizeof *m->processes);
	if (more)
		m->processes = more;
	if (!more || !p.comm || !p.exe) {
		free(p.comm);
		free(p.exe);
		return no_memory(err);
	}
	m->processes[m->nprocesses++] = p;
	return 0;
}

int ck_manifest_add_file(struct ck_manifest *m, const struct ck_mf_file *f, struct ck_err *err)
{
	struct ck_mf_file copy = *f;
	copy.path = strdup(f->path);
	void *more = reallocarray(m->files, m->nfiles + 1, sizeof *m->files);
	if (more)
		m->files = more;
	if (!more || !copy.path) {
		free(copy.path);
		return no_memory(err);
	}
	m->files[m->nfiles++] = copy;
	return 0;
}

uint64_t ck_manifest_bytes(const struct ck_manifest *m)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < m->nimages; i++)
		sum += m->images[i].size;
	return sum;
}

/* ---- text ---- */

/* Length of the valid UTF-8 sequence at @s (ends at a NUL), and its character; 0: not valid. */
static size_t utf8_at(const unsigned char *s, uint32_t *c)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3
			: s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
	if (len <= 1) {
		*c = s[0];
		return len;
	}
	*c = s[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (s[i] & 0x3f);
	}
	if (*c < least[len] || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000))
		return 0;
	return len;
}

static int is_byte_char(uint32_t c)
{
	return c >= 0xf780 && c <= 0xf7ff;
}

json_t *ck_text_encode(const char *bytes)
{
	const unsigned char *s = (const unsigned char *)bytes;
	size_t n = 0;
	char *out = malloc(3 * strlen(bytes) + 1);
	if (!out)
		return NULL;
	while (*s) {
		uint32_t c;
		size_t len = utf8_at(s, &c);
		if (len && !is_byte_char(c)) {
			memcpy(out + n, s, len);
			n += len;
			s += len;
			continue;
		}
		c = 0xf700u + *s++; /* as UTF-8, three bytes */
		out[n++] = (char)(0xe0 | c >> 12);
		out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		out[n++] = (char)(0x80 | (c & 0x3f));
	}
	json_t *j = json_stringn(out, n);
	free(out);
	return j;
}

char *ck_text_decode(const json_t *string)
{
	const char *text = json_string_value(string);
	size_t left = json_string_length(string), n = 0;
	if (!text || memchr(text, 0, left))
		return NULL;
	const unsigned char *s = (const unsigned char *)text;
	char *out = malloc(left + 1);
	if (!out)
		return NULL;
	while (*s) {
		uint32_t c;
		size_t len = utf8_at(s, &c);
		if (len == 3 && is_byte_char(c)) {
			out[n++] = (char)(c - 0xf700u);
		} else {
			len = len ? len : 1; /* jansson gives valid UTF-8 only */
			memcpy(out + n, s, len);
			n += len;
		}
		s += len;
	}
	out[n] = 0;
	return out;
}

int ck_manifest_checksum(const json_t *root, char hex[2 * CK_HASH_LEN + 1])
{
	uint8_t hash[CK_HASH_LEN];
	json_t *copy = json_copy((json_t *)root); /* shallow */
	if (!copy)
		return -1;
	json_object_del(copy, "xxh3");
	char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(copy);
	if (!text)
		return -1;
	ck_hash128(text, strlen(text), hash);
	free(text);
	ck_hash_hex(hash, hex);
	return 0;
}

int ck_mf_name_ok(const char *name)
{
	size_t len = strlen(name);
	int parts = 0;
	if (!len || len > CK_MF_NAME_MAX || strcmp(name, CK_MANIFEST_NAME) == 0)
		return 0;
	for (const char *p = name;; p++) {
		size_t part = strcspn(p, "/");
		if (!part || part > 255 || (part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.') ||
		    ++parts > CK_MF_DEPTH_MAX)
			return 0;
		p += part;
		if (!*p)
			return 1;
	}
}

int ck_mf_is_device(const char *name)
{
	size_t len = strlen(name);
	return strncmp(name, "device-", 7) == 0 && len > 10 && strcmp(name + len - 3, ".ck") == 0 &&
	       !strchr(name, '/');
}
