/* ptx_warp.c - where threads meet: exchanges between the lanes of a warp, and barriers of a block.
 *
 * Threads run one after the other, so a lane that comes to an exchange waits until every lane named in
 * its mask waits at the same kind of instruction; then all of them are served at once. An instruction
 * without a mask is served when no lane of the warp can run on: those at the same place form its group. */
#include "ptx_int.h"

/* What the lanes of one exchange bring; b is the block's, first the warp's first thread. */
struct group {
	struct ptx_thread *lane[32];
	const struct ptx_insn *at[32];
	uint32_t mask;
};

static uint64_t value(const struct group *g, unsigned k)
{
	return g->lane[k]->slots[g->at[k]->a];
}

/* The lane from which lane @k reads, and whether that is in range. */
static unsigned source(const struct group *g, unsigned k, bool *in_range)
{
	const struct ptx_insn *i = g->at[k];
	const uint64_t *R = g->lane[k]->slots;
	uint32_t by = (uint32_t)R[i->b] & 31, clamp = (uint32_t)R[i->c] & 31, seg = (uint32_t)R[i->c] >> 8 & 31;
	int max = (int)((k & seg) | (clamp & ~seg)), min = (int)(k & seg), j;
	switch (i->aux) {
	case W_SHFL_UP:
		j = (int)k - (int)by;
		*in_range = j >= max;
		break;
	case W_SHFL_DOWN:
		j = (int)(k + by);
		*in_range = j <= max;
		break;
	case W_SHFL_BFLY:
		j = (int)(k ^ by);
		*in_range = j <= max;
		break;
	default:
		j = min | (int)(by & ~seg);
		*in_range = j <= max;
		break;
	}
	return *in_range ? (unsigned)j & 31 : k;
}

static uint32_t ballot(const struct group *g)
{
	uint32_t r = 0;
	for (unsigned k = 0; k < 32; k++)
		if (g->mask >> k & 1)
			r |= (uint32_t)(value(g, k) & 1) << k;
	return r;
}

static uint32_t equals(const struct group *g, unsigned k, uint64_t bits)
{
	uint32_t r = 0;
	for (unsigned j = 0; j < 32; j++)
		if ((g->mask >> j & 1) && !((value(g, j) ^ value(g, k)) & bits))
			r |= 1u << j;
	return r;
}

static uint32_t reduce(const struct group *g, unsigned kind)
{
	bool first = true;
	uint32_t r = 0;
	for (unsigned k = 0; k < 32; k++) {
		if (!(g->mask >> k & 1))
			continue;
		uint32_t v = (uint32_t)value(g, k);
		if (first)
			r = v;
		else if (kind == W_REDUX_ADD)
			r += v;
		else if (kind == W_REDUX_MIN_U32)
			r = v < r ? v : r;
		else if (kind == W_REDUX_MAX_U32)
			r = v > r ? v : r;
		else if (kind == W_REDUX_MIN_S32)
			r = (int32_t)v < (int32_t)r ? v : r;
		else if (kind == W_REDUX_MAX_S32)
			r = (int32_t)v > (int32_t)r ? v : r;
		else
			r = kind == W_REDUX_AND ? r & v : kind == W_REDUX_OR ? r | v : r ^ v;
		first = false;
	}
	return r;
}

static uint64_t result(const struct group *g, unsigned k, uint64_t *pred)
{
	unsigned kind = g->at[k]->aux;
	bool in;
	uint32_t m;
	switch (kind) {
	case W_SYNC:
		return 0;
	case W_ACTIVE:
		return g->mask;
	case W_SHFL_UP:
	case W_SHFL_DOWN:
	case W_SHFL_BFLY:
	case W_SHFL_IDX: {
		unsigned from = source(g, k, &in);
		*pred = in;
		/* what a lane outside the group would give is undefined; it gets its own */
		return (uint32_t)value(g, g->mask >> from & 1 ? from : k);
	}
	case W_ALL:
		return ballot(g) == g->mask;
	case W_ANY:
		return ballot(g) != 0;
	case W_UNI:
		m = ballot(g);
		return m == 0 || m == g->mask;
	case W_BALLOT:
		return ballot(g);
	case W_MATCH_ANY32:
		return equals(g, k, UINT32_MAX);
	case W_MATCH_ANY64:
		return equals(g, k, UINT64_MAX);
	case W_MATCH_ALL32:
	case W_MATCH_ALL64:
		m = equals(g, k, kind == W_MATCH_ALL32 ? UINT32_MAX : UINT64_MAX);
		*pred = m == g->mask;
		return *pred ? m : 0;
	default:
		return reduce(g, kind);
	}
}

static void serve(struct group *g)
{
	uint64_t res[32], pred[32] = { 0 };
	for (unsigned k = 0; k < 32; k++)
		if (g->mask >> k & 1)
			res[k] = result(g, k, &pred[k]);
	for (unsigned k = 0; k < 32; k++) {
		if (!(g->mask >> k & 1))
			continue;
		struct ptx_thread *t = g->lane[k];
		const struct ptx_insn *i = g->at[k];
		if (i->aux != W_SYNC)
			t->slots[i->d] = res[k];
		if (i->aux != W_SYNC && i->e != UINT32_MAX)
			t->slots[i->e] = pred[k];
		t->ip = i + 1;
		t->state = TS_READY;
	}
}

/* Gather the lanes that lane @k waits for. Returns false while one is missing. */
static bool gather(struct ptx_block *b, uint32_t first, unsigned k, struct group *g)
{
	struct ptx_thread *t = &b->threads[first + k];
	const struct ptx_insn *i = t->ip;
	bool named = i->imm >= 0;
	uint32_t want = named ? (uint32_t)t->slots[i->imm] : UINT32_MAX;
	g->mask = 0;
	for (unsigned j = 0; j < 32 && first + j < b->nthreads; j++) {
		struct ptx_thread *o = &b->threads[first + j];
		if (!(want >> j & 1) || o->state == TS_EXITED)
			continue;
		if (named) {
			if (o->state != TS_WARP || o->ip->aux != i->aux || o->ip->imm < 0 ||
			    (uint32_t)o->slots[o->ip->imm] != want)
				return false;
		} else {
			if (o->state == TS_READY)
				return false;
			if (o->state != TS_WARP || o->ip != i)
				continue;
		}
		g->lane[j] = o;
		g->at[j] = o->ip;
		g->mask |= 1u << j;
	}
	/* a lane that is not in its own mask waits alone */
	if (!(g->mask >> k & 1)) {
		g->lane[k] = t;
		g->at[k] = i;
		g->mask = 1u << k;
	}
	return true;
}

bool ptx_warp_resolve(struct ptx_block *b, uint32_t first)
{
	bool moved = false;
	for (unsigned k = 0; k < 32 && first + k < b->nthreads; k++) {
		struct group g;
		if (b->threads[first + k].state == TS_WARP && gather(b, first, k, &g)) {
			serve(&g);
			moved = true;
		}
	}
	return moved;
}

/* Open barrier @id: all who wait there go on, with the reduction they asked for. */
static void open_barrier(struct ptx_block *b, unsigned id)
{
	uint32_t yes = 0, n = 0;
	for (uint32_t k = 0; k < b->nthreads; k++) {
		struct ptx_thread *t = &b->threads[k];
		if (t->state != TS_BARRIER || t->barrier != id || t->ip->aux == BAR_SYNC)
			continue;
		yes += t->slots[t->ip->c] & 1;
		n++;
	}
	for (uint32_t k = 0; k < b->nthreads; k++) {
		struct ptx_thread *t = &b->threads[k];
		if (t->state != TS_BARRIER || t->barrier != id)
			continue;
		unsigned kind = t->ip->aux;
		if (kind != BAR_SYNC)
			t->slots[t->ip->d] = kind == BAR_POPC ? yes : kind == BAR_AND ? yes == n : yes != 0;
		t->ip++;
		t->state = TS_READY;
	}
	b->arrived[id] = 0;
	b->arrive_expect[id] = 0;
}

bool ptx_barrier_resolve(struct ptx_block *b)
{
	uint32_t waiting[16] = { 0 }, expect[16] = { 0 };
	bool moved = false;
	for (uint32_t k = 0; k < b->nthreads; k++) {
		const struct ptx_thread *t = &b->threads[k];
		if (t->state == TS_BARRIER) {
			waiting[t->barrier]++;
			expect[t->barrier] = t->expect;
		}
	}
	for (unsigned id = 0; id < 16; id++) {
		uint32_t need = expect[id] ? expect[id] : waiting[id] ? b->live : b->arrive_expect[id];
		if (waiting[id] + b->arrived[id] && waiting[id] + b->arrived[id] >= need) {
			open_barrier(b, id);
			moved = moved || waiting[id];
		}
	}
	return moved;
}
