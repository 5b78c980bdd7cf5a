#define _GNU_SOURCE
#include "holes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

struct span {
	uintptr_t lo, hi;
};

/* Room for as many mappings as a process may have (vm.max_map_count is 65530 by default); touched only
 * as far as used. */
#define MAX_SPANS (1u << 20)
static struct span *spans[2]; /* before, after */
static size_t nspans;

static uintptr_t hex(const char **p, const char *end)
{
	uintptr_t v = 0;
	for (; *p < end; (*p)++) {
		char c = **p;
		if (c >= '0' && c <= '9')
			v = v << 4 | (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uintptr_t)(c - 'a' + 10);
		else
			break;
	}
	return v;
}

/* "lo-hi perms ..." on each line, ascending. Neighbours are joined. */
static int read_spans(struct span *out, size_t *n, struct ck_err *err)
{
	static char buf[65536];
	size_t have = 0;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ck_err_errno(err, "cannot read /proc/self/maps");
	*n = 0;
	for (;;) {
		ssize_t k = read(fd, buf + have, sizeof buf - have);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0) {
			ck_err_errno(err, "cannot read /proc/self/maps");
			close(fd);
			return -1;
		}
		if (k == 0)
			break;
		have += (size_t)k;
		const char *p = buf, *end = buf + have;
		for (;;) {
			const char *nl = p;
			while (nl < end && *nl != '\n')
				nl++;
			if (nl == end)
				break;
			uintptr_t lo = hex(&p, nl);
			p++;
			uintptr_t hi = hex(&p, nl);
			if (*n && out[*n - 1].hi == lo)
				out[*n - 1].hi = hi;
			else if (*n < MAX_SPANS)
				out[(*n)++] = (struct span){ lo, hi };
			p = nl + 1;
		}
		have = (size_t)(end - p);
		for (size_t i = 0; i < have; i++)
			buf[i] = p[i];
	}
	close(fd);
	return 0;
}

int ck_holes_before(struct ck_err *err)
{
	for (int i = 0; i < 2; i++)
		if (!spans[i]) {
			void *p = mmap(NULL, MAX_SPANS * sizeof *spans[i], PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
			if (p == MAP_FAILED)
				return ck_err_errno(err, "no room to remember the address space");
			spans[i] = p;
		}
	return read_spans(spans[0], &nspans, err);
}

static int reserve(uintptr_t lo, uintptr_t hi, struct ck_err *err)
{
	void *p = mmap((void *)lo, hi - lo, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (p != (void *)lo)
		return ck_err_errno(err, "cannot keep the driver's addresses %#lx-%#lx free", (unsigned long)lo,
				    (unsigned long)hi);
	ck_debug("keeping %#lx-%#lx free for the driver", (unsigned long)lo, (unsigned long)hi);
	return 0;
}

int ck_holes_reserve(struct ck_err *err)
{
	size_t n, j = 0;
	if (!spans[1])
		return ck_err_set(err, CK_EINVAL, 0, "ck_holes_reserve without ck_holes_before");
	if (read_spans(spans[1], &n, err))
		return -1;
	const struct span *now = spans[1];
	for (size_t i = 0; i < nspans; i++) {
		uintptr_t at = spans[0][i].lo, end = spans[0][i].hi;
		while (j < n && now[j].hi <= at)
			j++;
		for (size_t k = j; at < end; k++) {
			uintptr_t stop = k < n && now[k].lo < end ? now[k].lo : end;
			if (stop > at && reserve(at, stop, err))
				return -1;
			if (stop == end)
				break;
			at = now[k].hi;
		}
	}
	return 0;
}
