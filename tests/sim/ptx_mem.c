/* ptx_mem.c - addresses that the interpreter's fast path does not know, and atomics. */
#include "ptx_int.h"

#include <string.h>

static void *bad(struct ptx_block *b, uint64_t addr, uint32_t size, enum ptx_fault_kind kind)
{
	b->fault.kind = kind;
	b->fault.addr = addr;
	b->fault.size = size;
	return NULL;
}

/* @size bytes at @addr of device memory, or NULL. Remembers the region. */
static void *device(struct ptx_block *b, uint64_t addr, uint32_t size, bool store)
{
	const struct ptx_space *sp = &b->run->l->space;
	size_t lo = 0, hi = sp->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (sp->regions[mid].hi <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == sp->count || addr < sp->regions[lo].lo)
		return NULL;
	const struct ptx_region *r = &sp->regions[lo];
	if (r->hi - addr < size || (store && r->readonly))
		return NULL;
	b->cache[addr >> 16 & (PTX_CACHE - 1)] =
		(struct ptx_cache){ .lo = r->lo, .len = r->hi - r->lo, .host = r->host, .readonly = r->readonly };
	return (uint8_t *)r->host + (addr - r->lo);
}

void *ptx_mem_slow(struct ptx_block *b, struct ptx_thread *t, unsigned space, uint64_t addr, uint32_t size,
		   bool store)
{
	uint64_t at = addr, limit = 0;
	uint8_t *base = NULL;
	if (space == MS_GENERIC && addr - PTX_WINDOWS < 3 * PTX_WINDOW_SIZE) {
		uint64_t w = addr - PTX_WINDOWS;
		space = w < PTX_WINDOW_SIZE ? MS_SHARED : w < 2 * PTX_WINDOW_SIZE ? MS_LOCAL : MS_PARAM;
		at = w % PTX_WINDOW_SIZE;
	}
	if (addr & (size - 1))
		return bad(b, addr, size, PTX_FAULT_MISALIGNED);
	switch (space) {
	case MS_SHARED:
		base = b->shared;
		limit = b->shared_size;
		break;
	case MS_LOCAL:
		base = t->local;
		limit = b->local_size;
		break;
	case MS_PARAM:
		base = store ? NULL : (uint8_t *)(uintptr_t)b->params;
		limit = store ? 0 : b->params_size;
		break;
	default: {
		void *p = device(b, addr, size, store);
		return p ? p : bad(b, addr, size, PTX_FAULT_ADDRESS);
	}
	}
	if (at >= limit || limit - at < size)
		return bad(b, addr, size, PTX_FAULT_ADDRESS);
	return base + at;
}

static uint32_t combine_32(unsigned op, bool s, uint32_t old, uint32_t v)
{
	switch (op) {
	case AT_ADD: return old + v;
	case AT_EXCH: return v;
	case AT_MIN: return (s ? (int32_t)v < (int32_t)old : v < old) ? v : old;
	case AT_MAX: return (s ? (int32_t)v > (int32_t)old : v > old) ? v : old;
	case AT_INC: return old >= v ? 0 : old + 1;
	case AT_DEC: return old == 0 || old > v ? v : old - 1;
	case AT_AND: return old & v;
	case AT_OR: return old | v;
	default: return old ^ v;
	}
}

static uint64_t combine_64(unsigned op, bool s, uint64_t old, uint64_t v)
{
	switch (op) {
	case AT_ADD: return old + v;
	case AT_EXCH: return v;
	case AT_MIN: return (s ? (int64_t)v < (int64_t)old : v < old) ? v : old;
	case AT_MAX: return (s ? (int64_t)v > (int64_t)old : v > old) ? v : old;
	case AT_AND: return old & v;
	case AT_OR: return old | v;
	default: return old ^ v;
	}
}

static uint32_t add_f32(uint32_t x, uint32_t y)
{
	float a, b;
	memcpy(&a, &x, 4);
	memcpy(&b, &y, 4);
	a += b;
	memcpy(&x, &a, 4);
	return a != a ? 0x7fffffffu : x;
}

static uint64_t add_f64(uint64_t x, uint64_t y)
{
	double a, b;
	memcpy(&a, &x, 8);
	memcpy(&b, &y, 8);
	a += b;
	memcpy(&x, &a, 8);
	return a != a ? 0x7ff8000000000000ull : x;
}

/* Every operation by compare-and-swap: other workers and other processes may be at the same word. */
static uint64_t atom_32(uint32_t *p, unsigned op, unsigned type, uint32_t v, uint32_t with)
{
	uint32_t old = __atomic_load_n(p, __ATOMIC_RELAXED), want;
	do {
		want = op == AT_CAS	   ? (old == v ? with : old)
		       : type == ATT_F32 ? add_f32(old, v)
					   : combine_32(op, type == ATT_S32, old, v);
	} while (!__atomic_compare_exchange_n(p, &old, want, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	return old;
}

static uint64_t atom_64(uint64_t *p, unsigned op, unsigned type, uint64_t v, uint64_t with)
{
	uint64_t old = __atomic_load_n(p, __ATOMIC_RELAXED), want;
	do {
		want = op == AT_CAS	   ? (old == v ? with : old)
		       : type == ATT_F64 ? add_f64(old, v)
					   : combine_64(op, type == ATT_S64, old, v);
	} while (!__atomic_compare_exchange_n(p, &old, want, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	return old;
}

bool ptx_atom(struct ptx_block *b, struct ptx_thread *t, const struct ptx_insn *i, uint64_t *R)
{
	unsigned space = i->aux & 7, op = i->aux >> 3 & 31, type = i->aux >> 8;
	bool wide = type == ATT_U64 || type == ATT_S64 || type == ATT_F64;
	void *p = ptx_mem_slow(b, t, space, R[i->a] + (uint64_t)i->imm, wide ? 8 : 4, true);
	if (!p)
		return false;
	R[i->d] = wide ? atom_64(p, op, type, R[i->b], R[i->c])
		       : atom_32(p, op, type, (uint32_t)R[i->b], (uint32_t)R[i->c]);
	return true;
}
