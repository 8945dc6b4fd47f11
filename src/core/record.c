// SPDX-License-Identifier: MIT
/*
 * record.c - the ring of decisions, and what the scanner makes of them.
 *
 *   writer                              reader
 *   ----------------------------------  ----------------------------------
 *   seq: even -> odd (compare-and-swap) seq, must be that of the wanted decision
 *   the decision                        copy
 *   seq: odd -> even + 2                seq, must be the same
 *
 * A writer that was overtaken by the whole ring finds a newer or an odd seq and drops its decision: two never write one
 * place at a time, and none waits.
 */
#include "core/record.h"

#include <stddef.h>
#include <string.h>

typedef uint64_t __attribute__((may_alias)) any_word; /* of whatever type it is made */

/*
 * What a reader may look at meanwhile goes in whole words: each store comes after the odd seq (release), each load before
 * the second look at it (acquire). On x86-64 these are plain moves. The last word may go beyond `bytes`.
 */
static void store_words(void *to, const void *from, size_t bytes)
{
	const any_word *src = from;
	any_word *dst = to;
	size_t i;

	for (i = 0; i < bytes; i += sizeof(*dst))
		__atomic_store_n(dst++, *src++, __ATOMIC_RELEASE);
}

static void load_words(void *to, const void *from, size_t bytes)
{
	const any_word *src = from;
	any_word *dst = to;
	size_t i;

	for (i = 0; i < bytes; i += sizeof(*dst))
		*dst++ = __atomic_load_n(src++, __ATOMIC_ACQUIRE);
}

_Static_assert(sizeof(struct hn_region_row) % 8 == 0 && sizeof(struct hn_thread_row) % 8 == 0 &&
		       sizeof(struct hn_answer) % 8 == 0 && offsetof(struct hn_heat, nr_rows) % 8 == 0 &&
		       offsetof(struct hn_heat, step_ms) % 8 == 0 && offsetof(struct hn_heat, key) % 8 == 0 &&
		       HN_HEAT_ROWS % 4 == 0 && HN_HEAT_CELLS % 2 == 0,
	       "copied in whole words");

/* ---- decisions ---- */

static uint32_t seq_of(uint32_t n) { return (n + 1) * 2; }

static void ring_put(struct hn_ring *r, const struct hn_decision *d)
{
	uint32_t n = hn_add_acq_rel(&r->next, 1), seq;
	struct hn_ring_place *p = &r->place[n % HN_RING_MAX];

	seq = hn_load_relaxed(&p->seq);
	if ((seq & 1) || (int32_t)(seq_of(n) - seq) <= 0 || !hn_cas_acquire(&p->seq, seq, seq_of(n) - 1)) {
		hn_add_acq_rel(&r->dropped, 1);
		return;
	}
	store_words(&p->d, d, sizeof(*d));
	hn_store_release(&p->seq, seq_of(n));
}

void hn_record_decision(struct hn_record *r, const struct hn_decision *d)
{
	ring_put(&r->ring, d);
	if (d->outcome == HN_FAULT_WAITED)
		return;
	if (d->thread_nid >= 0) {
		hn_stat_add(&r->node[d->thread_nid].samples, 1);
		if (d->outcome == HN_FAULT_LOCAL)
			hn_stat_add(&r->node[d->thread_nid].local, 1);
	}
	if (d->outcome == HN_FAULT_MIGRATED || d->outcome == HN_FAULT_DEMOTED) {
		hn_stat_add(&r->node[d->target_nid].migrated_to, 1);
		hn_stat_add(&r->node[d->from_nid].migrated_from, 1);
	}
}

bool hn_record_read(const struct hn_record *r, uint32_t n, struct hn_decision *d)
{
	const struct hn_ring_place *p = &r->ring.place[n % HN_RING_MAX];

	if (hn_load_acquire(&p->seq) != seq_of(n))
		return false;
	load_words(d, &p->d, sizeof(*d));
	return hn_load_acquire(&p->seq) == seq_of(n) && seq_of(n);
}

uint32_t hn_record_first(const struct hn_record *r, uint32_t *next)
{
	*next = hn_load_acquire(&r->ring.next);
	return *next > HN_RING_MAX ? *next - HN_RING_MAX : 0;
}

/* ---- the table of regions ---- */

static void seq_begin(struct hn_word *seq) { hn_store_relaxed(seq, hn_load_relaxed(seq) + 1); }

static void seq_end(struct hn_word *seq) { hn_store_release(seq, hn_load_relaxed(seq) + 1); }

uint32_t hn_record_copy_regions(const struct hn_record *r, struct hn_region_row *row)
{
	for (uint32_t tries = 0; tries < 1000; tries++) {
		uint32_t seq = hn_load_acquire(&r->table_seq), nr = r->nr_regions;

		if ((seq & 1) || nr > HN_RECORD_REGIONS)
			continue;
		load_words(row, r->region, nr * sizeof(*row));
		if (hn_load_acquire(&r->table_seq) == seq)
			return nr;
	}
	return UINT32_MAX;
}

uint32_t hn_record_copy_threads(const struct hn_record *r, struct hn_thread_row *row)
{
	for (uint32_t tries = 0; tries < 1000; tries++) {
		uint32_t seq = hn_load_acquire(&r->thread_seq), nr = r->nr_threads;

		if ((seq & 1) || nr > HN_RECORD_THREADS)
			continue;
		load_words(row, r->thread, nr * sizeof(*row));
		if (hn_load_acquire(&r->thread_seq) == seq)
			return nr;
	}
	return UINT32_MAX;
}

void hn_record_set_threads(struct hn_record *r, const struct hn_thread_row *in, uint32_t nr, uint32_t total,
			   uint32_t nr_groups)
{
	seq_begin(&r->thread_seq);
	store_words(r->thread, in, nr * sizeof(*in));
	r->nr_threads = nr;
	r->nr_threads_total = total;
	r->nr_groups = nr_groups;
	seq_end(&r->thread_seq);
}

/* A row leaves what it has counted to the first that inherits it. */
static void inherit(struct hn_region_table *to, uint32_t i, struct hn_region_table *from, uint32_t k)
{
	struct hn_region_row *a = &to->row[i], *b = &from->row[k];
	uint32_t n;

	a->local += b->local;
	a->remote += b->remote;
	a->migrated += b->migrated;
	for (n = 0; n < HN_MAX_NODES; n++)
		a->from[n] += b->from[n];
	for (n = 0; n < 2; n++) {
		to->young[i][n] += from->young[k][n];
		to->old[i][n] += from->old[k][n];
	}
	b->start = b->end = 0;
}

/* Most of the time: then the counters stay where they are. */
static bool same_ranges(const struct hn_region_table *t, const struct hn_region_row *in, uint32_t nr)
{
	uint32_t i;

	if (t->nr != nr)
		return false;
	for (i = 0; i < nr; i++)
		if (t->row[i].start != in[i].start || t->row[i].end != in[i].end)
			return false;
	return true;
}

/* Only what is in use: most processes have a few regions, and the rest of the table is memory that nobody has touched. */
static void copy_table(struct hn_region_table *to, const struct hn_region_table *from)
{
	to->nr = from->nr;
	memcpy(to->row, from->row, from->nr * sizeof(*to->row));
	memcpy(to->young, from->young, from->nr * sizeof(*to->young));
	memcpy(to->old, from->old, from->nr * sizeof(*to->old));
}

static void clear_table(struct hn_region_table *t, uint32_t nr)
{
	t->nr = nr;
	memset(t->row, 0, nr * sizeof(*t->row));
	memset(t->young, 0, nr * sizeof(*t->young));
	memset(t->old, 0, nr * sizeof(*t->old));
}

static void take_sizes(struct hn_region_row *to, const struct hn_region_row *from)
{
	to->start = from->start;
	to->end = from->end;
	to->holes = from->holes;
	to->pages = from->pages;
	memcpy(to->pages_on, from->pages_on, sizeof(to->pages_on));
}

void hn_record_set_regions(struct hn_record_cursor *c, const struct hn_region_row *in, uint32_t nr)
{
	struct hn_region_table *now = &c->now, *before = &c->before;
	uint32_t i, k;

	if (nr > HN_RECORD_REGIONS)
		nr = HN_RECORD_REGIONS;
	if (!same_ranges(now, in, nr)) {
		copy_table(before, now);
		clear_table(now, nr);
		for (i = 0; i < nr; i++)
			for (k = 0; k < before->nr; k++)
				if (before->row[k].start < in[i].end && before->row[k].end > in[i].start)
					inherit(now, i, before, k);
	}
	for (i = 0; i < nr; i++)
		take_sizes(&now->row[i], &in[i]);
}

/* Index of the row that addr is in, or the number of rows. */
static uint32_t row_of(const struct hn_region_row *row, uint32_t nr, hn_addr addr)
{
	uint32_t low = 0, high = nr;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (row[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < nr && row[low].start <= addr ? low : nr;
}

/* Returns the index of the row of a sample, or nr. */
static uint32_t count_in_region(struct hn_region_row *row, uint32_t nr, const struct hn_decision *d)
{
	uint32_t i = row_of(row, nr, d->haddr);
	bool local = d->outcome == HN_FAULT_LOCAL;

	if (i == nr)
		return nr;
	if (d->outcome == HN_FAULT_DEMOTED) {
		row[i].migrated++;
		return nr;
	}
	row[i].local += local;
	row[i].remote += !local;
	row[i].migrated += d->outcome == HN_FAULT_MIGRATED;
	if (d->thread_nid >= 0 && d->thread_nid < HN_MAX_NODES)
		row[i].from[d->thread_nid]++;
	return i;
}

/* ---- the heat map ---- */

static uint32_t *heat_cell(struct hn_heat *h, uint32_t point, uint32_t row, uint32_t nid)
{
	return &h->cell[(point * h->rows + row) * h->nodes + nid];
}

/* Everything about row `from` goes to row `to`. */
static void heat_move_row(struct hn_heat *h, uint32_t to, uint32_t from)
{
	uint32_t p, n;

	for (p = 0; p < h->nr_points; p++) {
		uint32_t *l = &h->local[p * h->rows];

		l[to] += l[from];
		l[from] = 0;
		for (n = 0; n < h->nodes; n++) {
			*heat_cell(h, p, to, n) += *heat_cell(h, p, from, n);
			*heat_cell(h, p, from, n) = 0;
		}
	}
}

/* Twice as many bytes to a row; neighbours that have become one are added up. */
static void heat_coarsen(struct hn_heat *h)
{
	uint32_t i, nr = 0;

	h->shift++;
	for (i = 0; i < h->nr_rows; i++) {
		uint64_t key = h->key[i] >> 1;

		if (!nr || h->key[nr - 1] != key)
			h->key[nr++] = key;
		if (nr - 1 != i)
			heat_move_row(h, nr - 1, i);
	}
	h->nr_rows = nr;
}

/* Programs have 47 bits of address: as many to a row make one row of everything. */
#define HEAT_SHIFT_MAX 47u

/* The row of addr, made where there is none. */
static uint32_t heat_row(struct hn_heat *h, hn_addr addr)
{
	uint32_t i, k;

	while (h->shift < HEAT_SHIFT_MAX) {
		uint64_t key = addr >> h->shift;

		for (i = 0; i < h->nr_rows && h->key[i] < key; i++)
			;
		if (i < h->nr_rows && h->key[i] == key)
			return i;
		if (h->nr_rows < h->rows)
			break;
		heat_coarsen(h);
	}
	if (h->shift >= HEAT_SHIFT_MAX)
		return 0;
	for (k = h->nr_rows++; k > i; k--) {
		h->key[k] = h->key[k - 1];
		heat_move_row(h, k, k - 1);
	}
	h->key[i] = addr >> h->shift;
	return i;
}

/* Half as many points, each for twice the time. */
static void heat_halve(struct hn_heat *h)
{
	uint32_t p, k, row = h->rows * h->nodes;

	for (p = 0; p < h->nr_points; p++) {
		for (k = 0; k < row; k++) {
			uint32_t v = h->cell[p * row + k];

			h->cell[p * row + k] = 0;
			h->cell[p / 2 * row + k] += v;
		}
		for (k = 0; k < h->rows; k++) {
			uint32_t v = h->local[p * h->rows + k];

			h->local[p * h->rows + k] = 0;
			h->local[p / 2 * h->rows + k] += v;
		}
	}
	h->nr_points = (h->nr_points + 1) / 2;
	h->step_ms = h->step_ms > UINT32_MAX / 2 ? UINT32_MAX : h->step_ms * 2;
}

void hn_heat_add(struct hn_heat *h, hn_addr addr, int nid, bool local, uint64_t ms)
{
	uint64_t point;
	uint32_t row;

	/* 49 days are what a point can be told apart in */
	if (nid < 0 || (uint32_t)nid >= h->nodes || ms >= UINT32_MAX)
		return;
	while ((point = (ms < h->start_ms ? 0 : ms - h->start_ms) / h->step_ms) >= h->points)
		heat_halve(h);
	if (point >= h->nr_points)
		h->nr_points = (uint32_t)point + 1;
	row = heat_row(h, addr);
	++*heat_cell(h, (uint32_t)point, row, (uint32_t)nid);
	h->local[point * h->rows + row] += local;
}

static void heat_init(struct hn_heat *h, uint32_t nr_nodes)
{
	h->nodes = nr_nodes;
	h->rows = nr_nodes > 16 ? HN_HEAT_ROWS / 2 : HN_HEAT_ROWS;
	h->points = HN_HEAT_CELLS / (h->rows * nr_nodes);
	if (h->points > HN_HEAT_POINTS)
		h->points = HN_HEAT_POINTS;
	h->shift = HN_PAGE_SHIFT;
	h->step_ms = 250;
}

/* ---- following ---- */

void hn_record_init(struct hn_record *r, uint32_t nr_nodes)
{
	memset(r, 0, sizeof(*r));
	heat_init(&r->heat, nr_nodes);
}

static void age_recent(struct hn_record_cursor *c, uint64_t now_ms)
{
	if (c->recent_ms && now_ms - c->recent_ms < HN_RECENT_MS)
		return;
	memcpy(c->now.old, c->now.young, sizeof(c->now.old));
	memset(c->now.young, 0, sizeof(c->now.young));
	if (now_ms - c->recent_ms >= 2 * HN_RECENT_MS)
		memset(c->now.old, 0, sizeof(c->now.old));
	c->recent_ms = now_ms;
}

static void count_in_heat(struct hn_heat *h, const struct hn_decision *d, uint64_t started_ms)
{
	uint64_t ms = d->time_ns / 1000000;

	hn_heat_add(h, d->haddr, d->thread_nid, d->outcome == HN_FAULT_LOCAL, ms > started_ms ? ms - started_ms : 0);
}

/* At the first time the map is as hn_record_init made it, or it is none. */
static void begin_heat(struct hn_record_cursor *c, const struct hn_heat *h)
{
	if (c->heat.nodes)
		return;
	memcpy(&c->heat, h, offsetof(struct hn_heat, key));
	c->heat.nr_rows = c->heat.nr_points = 0;
	if (!hn_heat_is_sane(&c->heat))
		c->heat.nodes = 0;
}

/*
 * Points that are not in use any more have become zeros. Where cells change places the map is empty meanwhile: one half of
 * either would count samples twice. So how much of it is in use comes last, after the keys, too.
 */
static void publish_heat(struct hn_heat *to, struct hn_record_cursor *c)
{
	const struct hn_heat *from = &c->heat;

	if (to->shift != from->shift || to->step_ms != from->step_ms || to->nr_rows != from->nr_rows) {
		__atomic_store_n(&to->nr_rows, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&to->nr_points, 0, __ATOMIC_RELEASE);
	}
	if (from->nr_points > c->heat_points)
		c->heat_points = from->nr_points;
	store_words(to->cell, from->cell, (size_t)c->heat_points * from->rows * from->nodes * sizeof(*to->cell));
	store_words(to->local, from->local, (size_t)c->heat_points * from->rows * sizeof(*to->local));
	store_words(to->key, from->key, sizeof(to->key));
	store_words(&to->step_ms, &from->step_ms, offsetof(struct hn_heat, key) - offsetof(struct hn_heat, step_ms));
	store_words(to, from, offsetof(struct hn_heat, step_ms));
	c->heat_points = from->nr_points;
}

static void take_in(const struct hn_record *r, struct hn_record_cursor *c, uint64_t started_ms)
{
	uint32_t next, first = hn_record_first(r, &next), i;
	struct hn_decision d;

	begin_heat(c, &r->heat);
	if (c->next < first) {
		c->missed += first - c->next;
		c->next = first;
	}
	for (; c->next < next; c->next++) {
		if (!hn_record_read(r, c->next, &d)) {
			c->missed++;
			continue;
		}
		if (d.outcome == HN_FAULT_WAITED)
			continue;
		i = count_in_region(c->now.row, c->now.nr, &d);
		if (i < c->now.nr)
			c->now.young[i][d.outcome != HN_FAULT_LOCAL]++;
		count_in_heat(&c->heat, &d, started_ms);
	}
}

static void publish_rows(struct hn_record *r, struct hn_record_cursor *c)
{
	uint32_t i;

	for (i = 0; i < c->now.nr; i++) {
		struct hn_region_row *row = &c->now.row[i];

		row->recent_local = c->now.young[i][0] + c->now.old[i][0];
		row->recent_remote = c->now.young[i][1] + c->now.old[i][1];
		store_words(&r->region[i], row, sizeof(*row));
	}
	__atomic_store_n(&r->nr_regions, c->now.nr, __ATOMIC_RELEASE);
}

/*
 * The process may end at any of these stores, and who finds the tables then must know what they may have and what not
 * (hn_record_finish): so rows come before the map, that before the numbers, and all between the two steps of the sequence.
 * Each is a release, after what comes before it.
 */
void hn_record_follow(struct hn_record *r, struct hn_record_cursor *c, uint64_t started_ms, uint64_t now_ms)
{
	uint32_t begin = c->next;

	age_recent(c, now_ms);
	take_in(r, c, started_ms);
	__atomic_store_n(&r->taking, c->next, __ATOMIC_RELAXED);
	hn_store_release(&r->table_seq, hn_load_relaxed(&r->table_seq) + 1);
	publish_rows(r, c);
	if (c->next != begin && c->heat.nodes)
		publish_heat(&r->heat, c);
	__atomic_store_n(&r->missed, c->missed, __ATOMIC_RELEASE);
	__atomic_store_n(&r->followed, c->next, __ATOMIC_RELEASE);
	seq_end(&r->table_seq);
}

bool hn_heat_is_sane(const struct hn_heat *h)
{
	return h->nodes >= 1 && h->nodes <= HN_MAX_NODES && h->rows >= 1 && h->rows <= HN_HEAT_ROWS && h->points >= 1 &&
	       h->points <= HN_HEAT_POINTS && h->nr_rows <= h->rows && h->nr_points <= h->points && h->shift < 48 &&
	       h->step_ms && (uint64_t)h->rows * h->points * h->nodes <= HN_HEAT_CELLS;
}

static void clear_heat(struct hn_heat *h)
{
	h->nr_rows = 0;
	memset(h->cell, 0, sizeof(h->cell));
	memset(h->local, 0, sizeof(h->local));
}

static uint64_t heat_sum(const struct hn_heat *h)
{
	uint32_t p, k, row = h->rows * h->nodes;
	uint64_t sum = 0;

	for (p = 0; p < h->nr_points; p++)
		for (k = 0; k < h->nr_rows * h->nodes; k++)
			sum += h->cell[p * row + k];
	return sum;
}

static uint64_t samples_of(const struct hn_record *r)
{
	uint64_t sum = 0;
	uint32_t n;

	for (n = 0; n < HN_MAX_NODES; n++)
		sum += r->node[n].samples;
	return sum;
}

static void finish_one(struct hn_record *r, const struct hn_decision *d, uint64_t started_ms, bool sane)
{
	uint32_t i = count_in_region(r->region, r->nr_regions, d);

	if (i < r->nr_regions) {
		r->region[i].recent_local += d->outcome == HN_FAULT_LOCAL;
		r->region[i].recent_remote += d->outcome != HN_FAULT_LOCAL;
	}
	if (sane)
		count_in_heat(&r->heat, d, started_ms);
}

/*
 * Where the scanner was ended while it published, what it had taken in then is not taken in again: it may be there. What
 * the map lacks in the end is known by the samples that handlers have counted themselves.
 */
void hn_record_finish(struct hn_record *r, uint64_t started_ms)
{
	uint32_t next, first = hn_record_first(r, &next), n = r->followed;
	bool torn = hn_load_relaxed(&r->table_seq) & 1, sane = hn_heat_is_sane(&r->heat);
	uint64_t there, due = samples_of(r);
	struct hn_decision d;

	if (torn && n < r->taking)
		n = r->taking;
	if (torn && !r->heat.nr_rows)
		clear_heat(&r->heat);
	if (n < first) {
		r->missed += first - n;
		n = first;
	}
	for (; n < next; n++) {
		if (!hn_record_read(r, n, &d))
			r->missed++;
		else if (d.outcome != HN_FAULT_WAITED)
			finish_one(r, &d, started_ms, sane);
	}
	there = torn && sane ? heat_sum(&r->heat) : 0;
	if (torn)
		r->missed = due > there ? due - there : 0;
	r->followed = next;
	hn_store_relaxed(&r->table_seq, 0);
}

/* ---- questions about one address ---- */

bool hn_query_pending(const struct hn_query *q, uint32_t *number, hn_addr *addr)
{
	*number = hn_load_acquire(&q->asked);
	*addr = hn_stat_read(&q->addr);
	return *number != hn_load_relaxed(&q->answered);
}

void hn_query_answer(struct hn_query *q, uint32_t number, const struct hn_answer *a)
{
	seq_begin(&q->seq);
	store_words(&q->answer, a, sizeof(*a));
	seq_end(&q->seq);
	hn_store_release(&q->answered, number);
}

uint32_t hn_query_ask(struct hn_query *q, hn_addr addr)
{
	__atomic_store_n(&q->addr, addr, __ATOMIC_RELAXED);
	return hn_add_acq_rel(&q->asked, 1) + 1;
}

bool hn_query_read(const struct hn_query *q, uint32_t number, hn_addr addr, struct hn_answer *a)
{
	uint32_t seq;

	if ((int32_t)(hn_load_acquire(&q->answered) - number) < 0)
		return false;
	seq = hn_load_acquire(&q->seq);
	load_words(a, &q->answer, sizeof(*a));
	return !(seq & 1) && hn_load_acquire(&q->seq) == seq && a->addr == addr;
}
