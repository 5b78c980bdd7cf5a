#define _GNU_SOURCE
#include "stack.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include "base/log.h"
#include "hook.h"

/* libunwind's names carry the target in a prefix which its header's macros spell. */
#define STR_(x) #x
#define STR(x) STR_(x)

static struct {
	int (*backtrace)(void **, int);
	int (*getcontext)(unw_context_t *);
	int (*init_local)(unw_cursor_t *, unw_context_t *);
	int (*set_reg)(unw_cursor_t *, int, unw_word_t);
	int (*get_proc_name)(unw_cursor_t *, char *, size_t, unw_word_t *);
} unw;

struct stack {
	uint64_t hash;
	uint32_t depth;
	void *ip[CK_STACK_DEPTH];
};

/* Room is reserved once and touched as it fills. Programs have tens of allocation sites, not thousands;
 * past the end an allocation simply has no stack. */
#define MAX_STACKS 16384
#define BUCKETS 32768
static struct stack *stacks;
static uint32_t *buckets;
static uint32_t nstacks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void ck_hook_resolve(void);
extern void *(*ck_real_dlsym)(void *, const char *) CK_HIDDEN;
extern void *(*ck_real_dlopen)(const char *, int) CK_HIDDEN;

void ck_stack_init(void)
{
	if (stacks)
		return;
	ck_hook_resolve();
	void *h = ck_real_dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
	if (!h) {
		dlerror();
		ck_debug("libunwind.so.8 is not installed: allocations carry no call stack");
		return;
	}
	*(void **)&unw.backtrace = ck_real_dlsym(h, "unw_backtrace");
	*(void **)&unw.getcontext = ck_real_dlsym(h, STR(unw_getcontext));
	if (!unw.getcontext) /* a macro with arguments: the plain symbol */
		*(void **)&unw.getcontext = ck_real_dlsym(h, "_Ux86_64_getcontext");
	*(void **)&unw.init_local = ck_real_dlsym(h, STR(unw_init_local));
	*(void **)&unw.set_reg = ck_real_dlsym(h, STR(unw_set_reg));
	*(void **)&unw.get_proc_name = ck_real_dlsym(h, STR(unw_get_proc_name));
	dlerror();
	size_t bytes = MAX_STACKS * sizeof *stacks + BUCKETS * sizeof *buckets;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return;
	buckets = p;
	stacks = (struct stack *)(buckets + BUCKETS);
}

static uint64_t hash_ips(void **ip, int n)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (int i = 0; i < n; i++)
		h = (h ^ (uint64_t)(uintptr_t)ip[i]) * 0x9e3779b97f4a7c15u;
	return h;
}

uint32_t ck_stack_here(void)
{
	void *ip[CK_STACK_DEPTH + 4];
	if (!stacks || !unw.backtrace)
		return CK_STACK_NONE;
	int n = unw.backtrace(ip, CK_STACK_DEPTH + 4);
	int skip = 0; /* frames of this library */
	Dl_info me, d;
	dladdr((void *)ck_stack_here, &me);
	while (skip < n && skip < 4 && dladdr(ip[skip], &d) && d.dli_fbase == me.dli_fbase)
		skip++;
	n -= skip;
	if (n <= 0)
		return CK_STACK_NONE;
	if (n > CK_STACK_DEPTH)
		n = CK_STACK_DEPTH;
	uint64_t h = hash_ips(ip + skip, n);
	pthread_mutex_lock(&lock);
	uint32_t b = (uint32_t)(h >> 40) % BUCKETS, found = CK_STACK_NONE;
	for (; buckets[b]; b = (b + 1) % BUCKETS) {
		struct stack *s = &stacks[buckets[b] - 1];
		if (s->hash == h && s->depth == (uint32_t)n && !memcmp(s->ip, ip + skip, (size_t)n * sizeof *ip)) {
			found = buckets[b] - 1;
			break;
		}
	}
	if (found == CK_STACK_NONE && nstacks < MAX_STACKS) {
		struct stack *s = &stacks[nstacks];
		s->hash = h;
		s->depth = (uint32_t)n;
		memcpy(s->ip, ip + skip, (size_t)n * sizeof *ip);
		found = nstacks++;
		buckets[b] = nstacks;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

uint32_t ck_stack_count(void)
{
	return nstacks;
}

/* A cursor set to any address finds the procedure there from the file's full symbol table; dladdr knows
 * exported names only. */
static void frame_name(void *ip, char *buf, size_t cap)
{
	unw_context_t uc;
	unw_cursor_t c;
	unw_word_t off = 0;
	char name[160] = "";
	/* A return address may be one past a function that ends in a call: look at the call itself. */
	void *at = (char *)ip - 1;
	if (unw.getcontext && unw.init_local && unw.set_reg && unw.get_proc_name && unw.getcontext(&uc) == 0 &&
	    unw.init_local(&c, &uc) == 0 && unw.set_reg(&c, UNW_REG_IP, (unw_word_t)at) == 0)
		(void)unw.get_proc_name(&c, name, sizeof name, &off);
	Dl_info d;
	const char *obj = "?";
	uintptr_t rel = (uintptr_t)at;
	if (dladdr(at, &d) && d.dli_fname) {
		const char *s = strrchr(d.dli_fname, '/');
		obj = s ? s + 1 : d.dli_fname;
		rel = (uintptr_t)at - (uintptr_t)d.dli_fbase;
	}
	if (name[0])
		snprintf(buf, cap, "%s+0x%lx (%s)", name, (unsigned long)off, obj);
	else
		snprintf(buf, cap, "0x%lx (%s)", (unsigned long)rel, obj);
}

size_t ck_stack_text(uint32_t n, char *buf, size_t cap)
{
	size_t len = 0;
	buf[0] = 0;
	if (n >= nstacks)
		return 0;
	for (uint32_t i = 0; i < stacks[n].depth && len + 2 < cap; i++) {
		char line[256];
		frame_name(stacks[n].ip[i], line, sizeof line);
		int k = snprintf(buf + len, cap - len, "%s%s", len ? "\n" : "", line);
		if (k < 0 || (size_t)k >= cap - len)
			break;
		len += (size_t)k;
	}
	buf[len] = 0;
	return len;
}
