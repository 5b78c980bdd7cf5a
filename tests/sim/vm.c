/* vm.c - device addresses of this process: ranges, physical memory, what is allocated, what is known about an
 * address. The virtual memory API is vm_map.c, what a checkpoint needs vm_ckpt.c; they share vm.h. */
#define _GNU_SOURCE
#include "vm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct cksim_vm cksim_vm = { .lock = PTHREAD_MUTEX_INITIALIZER };
#define vm cksim_vm

#define SMALL (1u << 20) /* below: several share a page */
#define UNIT  512u

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* --- the table of ranges ---------------------------------------------------------------------------- */

/* Index of the first range that ends behind @addr. */
static size_t va_index(uint64_t addr)
{
	size_t lo = 0, hi = vm.n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (vm.va[mid]->addr + vm.va[mid]->size <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct cksim_va *cksim_va_at(uint64_t addr)
{
	size_t i = va_index(addr);
	return i < vm.n && vm.va[i]->addr <= addr ? vm.va[i] : NULL;
}

static int va_insert(struct cksim_va *v)
{
	if (vm.n == vm.cap) {
		size_t cap = vm.cap ? vm.cap * 2 : 64;
		struct cksim_va **p = realloc(vm.va, cap * sizeof *p);
		if (!p)
			return -1;
		vm.va = p;
		vm.cap = cap;
	}
	size_t i = va_index(v->addr);
	memmove(vm.va + i + 1, vm.va + i, (vm.n - i) * sizeof *vm.va);
	vm.va[i] = v;
	vm.n++;
	return 0;
}

static void va_remove(struct cksim_va *v)
{
	size_t i = va_index(v->addr);
	memmove(vm.va + i, vm.va + i + 1, (vm.n - i - 1) * sizeof *vm.va);
	vm.n--;
}

/* First gap of @size bytes, or the place @hint if it is free. 0: none. */
static uint64_t va_gap(uint64_t size, uint64_t align, uint64_t hint)
{
	if (hint && hint >= CKSIM_VA_LO && hint + size > hint && hint + size <= CKSIM_VA_HI && hint % align == 0) {
		size_t i = va_index(hint);
		if (i == vm.n || vm.va[i]->addr >= hint + size)
			return hint;
	}
	uint64_t at = round_up(CKSIM_VA_LO, align);
	for (size_t i = va_index(at); i < vm.n && vm.va[i]->addr < at + size; i++)
		at = round_up(vm.va[i]->addr + vm.va[i]->size, align);
	return at + size <= CKSIM_VA_HI && at + size > at ? at : 0;
}

/* A range with an empty shadow. */
struct cksim_va *cksim_va_new(enum cksim_va_kind kind, uint64_t size, uint64_t align, uint64_t hint)
{
	struct cksim_va *v = calloc(1, sizeof *v);
	if (!v)
		return NULL;
	v->kind = kind;
	v->size = size;
	v->addr = va_gap(size, align, hint);
	v->shadow = v->addr ? cksim_shadow_reserve(NULL, size) : NULL;
	if (v->shadow && !va_insert(v))
		return v;
	if (v->shadow)
		munmap(v->shadow, size);
	free(v);
	return NULL;
}

void cksim_va_free(struct cksim_va *v)
{
	va_remove(v);
	if (v->kind == CKSIM_VA_BLOCK || v->kind == CKSIM_VA_RESERVED)
		munmap(v->shadow, v->size);
	free(v->subs);
	free(v);
}

/* --- physical memory ---------------------------------------------------------------------------------- */

CUresult cksim_phys_new(int dev, uint64_t size, struct cksim_phys **out)
{
	uint32_t n = (uint32_t)(round_up(size, CKSIM_PAGE) / CKSIM_PAGE);
	char arg[64];
	if (cksim_fault("alloc-oom-after", arg) && vm.grants >= strtoull(arg, NULL, 0))
		return CUDA_ERROR_OUT_OF_MEMORY;
	uint64_t left, total;
	cksim_machine_info(cksim.devmap[dev], &left, &total);
	if (size > total)
		return CUDA_ERROR_OUT_OF_MEMORY;
	struct cksim_phys *p = calloc(1, sizeof *p + n * sizeof *p->pages);
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	p->dev = dev;
	p->npages = n;
	CUresult r = cksim_pages_grant(cksim.devmap[dev], n, p->pages);
	if (r) {
		free(p);
		return r;
	}
	vm.grants++;
	p->granted = 1;
	p->next = vm.phys;
	if (p->next)
		p->next->prev = p;
	vm.phys = p;
	*out = p;
	return CUDA_SUCCESS;
}

void cksim_phys_put(struct cksim_phys *p)
{
	if (p->refs || p->maps)
		return;
	if (p->granted)
		cksim_pages_drop(cksim.devmap[p->dev], p->npages, p->pages);
	if (p->prev)
		p->prev->next = p->next;
	else
		vm.phys = p->next;
	if (p->next)
		p->next->prev = p->prev;
	free(p);
}

int cksim_phys_known(struct cksim_phys *q)
{
	for (struct cksim_phys *p = vm.phys; p; p = p->next)
		if (p == q)
			return 1;
	return 0;
}

/* Put @map into @v, sorted, and into the shadow. */
int cksim_map_add(struct cksim_va *v, struct cksim_map *map)
{
	if (cksim_shadow_map(v, map))
		return -1;
	struct cksim_map **at = &v->maps;
	while (*at && (*at)->addr < map->addr)
		at = &(*at)->next;
	map->next = *at;
	*at = map;
	map->phys->maps++;
	return 0;
}

/* --- the driver's own allocations ------------------------------------------------------------------- */

/* Room for @size in the block @v: the place in subs, and the address. */
static int sub_fit(const struct cksim_va *v, uint64_t size, uint32_t *at, uint64_t *addr)
{
	uint64_t a = v->addr;
	for (uint32_t i = 0; i <= v->nsubs; i++) {
		uint64_t end = i < v->nsubs ? v->subs[i].addr : v->addr + v->size;
		if (end - a >= size) {
			*at = i;
			*addr = a;
			return 1;
		}
		if (i < v->nsubs)
			a = v->subs[i].addr + round_up(v->subs[i].size, UNIT);
	}
	return 0;
}

static int sub_insert(struct cksim_va *v, uint32_t at, uint64_t addr, uint64_t size)
{
	if (v->nsubs == v->capsubs) {
		uint32_t cap = v->capsubs ? v->capsubs * 2 : 4;
		struct cksim_sub *p = realloc(v->subs, cap * sizeof *p);
		if (!p)
			return -1;
		v->subs = p;
		v->capsubs = cap;
	}
	memmove(v->subs + at + 1, v->subs + at, (v->nsubs - at) * sizeof *v->subs);
	v->subs[at] = (struct cksim_sub){ addr, size };
	v->nsubs++;
	return 0;
}

static const struct cksim_sub *sub_at(const struct cksim_va *v, uint64_t addr)
{
	uint32_t lo = 0, hi = v->nsubs;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (v->subs[mid].addr + v->subs[mid].size <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->nsubs && v->subs[lo].addr <= addr ? &v->subs[lo] : NULL;
}

static void block_free(struct cksim_va *v)
{
	struct cksim_phys *p = v->maps->phys;
	p->maps--;
	free(v->maps);
	cksim_va_free(v);
	cksim_phys_put(p);
}

static CUresult block_new(struct cksim_ctx *ctx, int dev, uint64_t size, struct cksim_va **out)
{
	struct cksim_phys *p;
	size = round_up(size, CKSIM_PAGE);
	CUresult r = cksim_phys_new(dev, size, &p);
	if (r)
		return r;
	struct cksim_va *v = cksim_va_new(CKSIM_VA_BLOCK, size, CKSIM_PAGE, 0);
	struct cksim_map *map = calloc(1, sizeof *map);
	if (v && map) {
		*map = (struct cksim_map){ .addr = v->addr, .size = size, .phys = p };
		if (!cksim_map_add(v, map)) {
			v->dev = dev;
			v->ctx = ctx;
			*out = v;
			return CUDA_SUCCESS;
		}
	}
	free(map);
	if (v)
		cksim_va_free(v);
	cksim_phys_put(p);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cksim_vm_alloc(struct cksim_ctx *ctx, int dev, uint64_t size, uint64_t *addr)
{
	CUresult r = CUDA_SUCCESS;
	struct cksim_va *v = NULL;
	uint32_t at = 0;
	if (size > CKSIM_VA_HI)
		return CUDA_ERROR_OUT_OF_MEMORY;
	uint64_t need = round_up(size, UNIT), where = 0;
	pthread_mutex_lock(&vm.lock);
	if (need < SMALL)
		for (size_t i = 0; i < vm.n && !v; i++) {
			struct cksim_va *b = vm.va[i];
			if (b->kind == CKSIM_VA_BLOCK && b->ctx == ctx && b->dev == dev && b->size == CKSIM_PAGE &&
			    sub_fit(b, need, &at, &where))
				v = b;
		}
	if (!v && (r = block_new(ctx, dev, need, &v)) == 0)
		where = v->addr;
	if (!r && sub_insert(v, at, where, size)) {
		if (!v->nsubs)
			block_free(v);
		r = CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (!r) {
		vm.generation++;
		*addr = where;
	}
	pthread_mutex_unlock(&vm.lock);
	return r;
}

CUresult cksim_vm_free(uint64_t addr)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at(addr);
	const struct cksim_sub *s = v && v->kind == CKSIM_VA_BLOCK ? sub_at(v, addr) : NULL;
	if (s && s->addr == addr) {
		uint32_t i = (uint32_t)(s - v->subs);
		if (v->nsubs > 1)
			memset(v->shadow + (addr - v->addr), CKSIM_POISON, s->size);
		memmove(v->subs + i, v->subs + i + 1, (v->nsubs - i - 1) * sizeof *v->subs);
		if (--v->nsubs == 0)
			block_free(v);
		vm.generation++;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&vm.lock);
	return r;
}

void cksim_vm_free_ctx(struct cksim_ctx *ctx)
{
	pthread_mutex_lock(&vm.lock);
	for (size_t i = vm.n; i-- > 0;) {
		struct cksim_va *v = vm.va[i];
		if (v->ctx != ctx)
			continue;
		if (v->kind == CKSIM_VA_BLOCK) {
			block_free(v);
		} else if (v->kind == CKSIM_VA_HOST || v->kind == CKSIM_VA_MANAGED) {
			if (!v->registered)
				munmap(v->shadow, v->size);
			if (v->kind == CKSIM_VA_MANAGED)
				cksim.managed--;
			cksim_va_free(v);
		}
	}
	vm.generation++;
	pthread_mutex_unlock(&vm.lock);
}

/* --- host memory that the device sees, under its own address ----------------------------------------- */

CUresult cksim_vm_host_add(struct cksim_ctx *ctx, void *p, uint64_t size, unsigned flags, enum cksim_va_kind kind,
			   int registered)
{
	CUresult r = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	uint64_t addr = (uint64_t)(uintptr_t)p;
	pthread_mutex_lock(&vm.lock);
	size_t i = va_index(addr);
	if (i == vm.n || vm.va[i]->addr >= addr + size) {
		struct cksim_va *v = calloc(1, sizeof *v);
		r = CUDA_ERROR_OUT_OF_MEMORY;
		if (v) {
			*v = (struct cksim_va){ .addr = addr, .size = size, .shadow = p, .kind = kind, .ctx = ctx,
				.dev = ctx ? ctx->dev : 0, .flags = flags, .registered = registered };
			if (!va_insert(v))
				r = CUDA_SUCCESS;
			else
				free(v);
		}
	}
	vm.generation++;
	pthread_mutex_unlock(&vm.lock);
	return r;
}

uint64_t cksim_vm_host_del(void *p, int registered, enum cksim_va_kind kind)
{
	uint64_t size = 0;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at((uint64_t)(uintptr_t)p);
	if (v && v->addr == (uint64_t)(uintptr_t)p && v->kind == kind && v->registered == registered) {
		size = v->size;
		cksim_va_free(v);
		vm.generation++;
	}
	pthread_mutex_unlock(&vm.lock);
	return size;
}

/* --- looking up --------------------------------------------------------------------------------------- */

struct cksim_map *cksim_map_of(const struct cksim_va *v, uint64_t addr)
{
	for (struct cksim_map *m = v->maps; m; m = m->next)
		if (addr >= m->addr && addr - m->addr < m->size)
			return m;
	return NULL;
}

int cksim_vm_find(uint64_t addr, struct cksim_where *w)
{
	int found = 0;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at(addr);
	if (v) {
		*w = (struct cksim_where){ .kind = v->kind, .base = v->addr, .size = v->size, .range_base = v->addr,
			.range_size = v->size, .ctx = v->ctx, .dev = v->dev, .registered = v->registered,
			.flags = v->flags, .rw = ~0u };
		found = 1;
		if (v->kind == CKSIM_VA_BLOCK) {
			const struct cksim_sub *s = sub_at(v, addr);
			if (s)
				w->base = s->addr, w->size = s->size;
			found = s != NULL;
		} else if (v->kind == CKSIM_VA_RESERVED) {
			struct cksim_map *m = cksim_map_of(v, addr);
			w->rw = w->ro = 0;
			if (m)
				w->base = m->addr, w->size = m->size, w->phys = m->phys, w->dev = m->phys->dev,
				w->rw = m->rw, w->ro = m->ro;
		}
	}
	pthread_mutex_unlock(&vm.lock);
	return found;
}

/* May device @dev use [addr, addr + len) of @v? */
static int covers(const struct cksim_va *v, uint64_t addr, uint64_t len, int dev, int write)
{
	if (len > v->size || addr - v->addr > v->size - len)
		return 0;
	if (v->kind == CKSIM_VA_BLOCK) {
		const struct cksim_sub *s = sub_at(v, addr);
		return s && len <= s->size && addr - s->addr <= s->size - len;
	}
	if (v->kind != CKSIM_VA_RESERVED)
		return 1;
	for (struct cksim_map *m = cksim_map_of(v, addr); m; m = m->next) {
		if (m->addr > addr || !((write ? m->rw : m->rw | m->ro) >> dev & 1))
			return 0;
		if (m->addr + m->size >= addr + len)
			return 1;
		len -= m->addr + m->size - addr;
		addr = m->addr + m->size;
	}
	return 0;
}

void *cksim_vm_host(uint64_t addr, uint64_t len, int dev, int write, int host_too)
{
	void *p = NULL;
	pthread_mutex_lock(&vm.lock);
	struct cksim_va *v = cksim_va_at(addr);
	if (!v)
		p = host_too ? (void *)(uintptr_t)addr : NULL;
	else if (v->kind == CKSIM_VA_HOST && host_too)
		p = (void *)(uintptr_t)addr; /* a copy may run past what is registered */
	else if (covers(v, addr, len, dev, write))
		p = v->shadow + (addr - v->addr);
	pthread_mutex_unlock(&vm.lock);
	return p;
}

static void space_add(struct ptx_space *space, struct ptx_region *r, uint64_t lo, uint64_t size,
		      unsigned char *host, int readonly)
{
	if (space->count) {
		struct ptx_region *last = &r[space->count - 1];
		if (last->hi == lo && (unsigned char *)last->host + (last->hi - last->lo) == host &&
		    last->readonly == readonly) {
			last->hi += size;
			return;
		}
	}
	r[space->count++] = (struct ptx_region){ .lo = lo, .hi = lo + size, .host = host, .readonly = readonly };
}

/* A kernel sees whole pages of a block, as on a GPU: an access past a small allocation is no fault. */
int cksim_vm_space(int dev, unsigned peers, struct ptx_space *space, struct ptx_region **held, size_t *cap)
{
	pthread_mutex_lock(&vm.lock);
	size_t n = 0;
	for (size_t i = 0; i < vm.n; i++)
		if (vm.va[i]->kind == CKSIM_VA_RESERVED)
			for (struct cksim_map *m = vm.va[i]->maps; m; m = m->next)
				n++;
		else
			n++;
	if (n > *cap) {
		struct ptx_region *p = realloc(*held, n * 2 * sizeof *p);
		if (!p) {
			pthread_mutex_unlock(&vm.lock);
			return -1;
		}
		*held = p;
		*cap = n * 2;
	}
	space->count = 0;
	for (size_t i = 0; i < vm.n; i++) {
		struct cksim_va *v = vm.va[i];
		if (v->kind != CKSIM_VA_RESERVED) {
			if (v->kind != CKSIM_VA_BLOCK || ((1u << dev | peers) >> v->dev & 1))
				space_add(space, *held, v->addr, v->size, v->shadow, 0);
			continue;
		}
		for (struct cksim_map *m = v->maps; m; m = m->next)
			if ((m->rw | m->ro) >> dev & 1)
				space_add(space, *held, m->addr, m->size, v->shadow + (m->addr - v->addr),
					  !(m->rw >> dev & 1));
	}
	space->regions = *held;
	pthread_mutex_unlock(&vm.lock);
	return 0;
}
