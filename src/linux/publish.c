// SPDX-License-Identifier: MIT
/*
 * publish.c - the tables of the record: which regions there are, where their pages lie, who asks for them. All of it is
 * made by the scanner from what handlers have put into the ring and from a walk over the entries.
 */
#include <string.h>

#include "linux/live.h"

#define SHARE 100u       /* one part of so many of a CPU at most */
#define LATEST_MS 10000u /* and at the latest after so long */

static void take_regions(struct hn_worker *w)
{
	struct hn_publish *p = &w->live->publish;
	uint32_t i;

	hn_gate_read_lock(&w->hn);
	p->nr = w->live->nr_regions < HN_RECORD_REGIONS ? w->live->nr_regions : HN_RECORD_REGIONS;
	for (i = 0; i < p->nr; i++) {
		const struct hn_region *r = &w->live->region[i];

		memset(&p->row[i], 0, sizeof(p->row[i]));
		p->row[i].start = r->start;
		p->row[i].end = r->end;
		p->row[i].holes = r->holes_before + hn_load_relaxed(&r->holes);
	}
	hn_gate_read_unlock(&w->hn);
}

static struct hn_region_row *row_at(struct hn_publish *p, hn_addr addr)
{
	uint32_t low = 0, high = p->nr;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (p->row[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < p->nr && p->row[low].start <= addr ? &p->row[low] : NULL;
}

static void count_page(void *arg, hn_addr haddr, int nid)
{
	struct hn_publish *p = arg;
	struct hn_region_row *row = row_at(p, haddr);

	if (row)
		row->pages++;
	if (nid < 0 || nid >= HN_MAX_NODES)
		return;
	p->pages[nid]++;
	if (row)
		row->pages_on[nid]++;
}

static uint64_t lately(const struct hn_thread_row *t) { return (uint64_t)t->own_lately + t->shared_lately; }

/* When all rows are taken, the one with the least to say makes room. */
static struct hn_thread_row *thread_row(struct hn_publish *p, uint64_t samples)
{
	struct hn_thread_row *least = &p->thread[0];
	uint32_t i;

	if (p->nr_threads < HN_RECORD_THREADS)
		return &p->thread[p->nr_threads++];
	for (i = 1; i < HN_RECORD_THREADS; i++)
		if (lately(&p->thread[i]) < lately(least))
			least = &p->thread[i];
	return lately(least) < samples ? least : NULL;
}

static void take_thread(void *arg, uint32_t tid, struct hn_thread *t)
{
	struct hn_publish *p = arg;
	struct hn_thread_row *row;

	if (!t->samples && t->follow != HN_FOLLOW_MEMORY)
		return; /* known by its CPU time only */
	row = thread_row(p, (uint64_t)t->own_lately + t->shared_lately);

	p->nr_threads_total++;
	if (t->group != HN_NO_GROUP)
		p->groups |= (uint64_t)1 << ((t->group - 1) % HN_MAX_GROUPS);
	if (!row)
		return;
	*row = (struct hn_thread_row){
		.tid = tid,
		.group = t->group,
		.samples = t->samples,
		.local = t->local,
		.own_lately = t->own_lately,
		.shared_lately = t->shared_lately,
		.node = (int16_t)t->node,
		.preferred = (int16_t)t->preferred,
		.home = t->follow == HN_FOLLOW_MEMORY ? (int16_t)t->home : HN_NO_NODE,
	};
	memcpy(row->mem, t->mem, sizeof(row->mem));
}

static void take_threads(struct hn_worker *w, struct hn_record *r)
{
	struct hn_publish *p = &w->live->publish;

	hn_threads_sum(&w->hn);
	p->nr_threads = p->nr_threads_total = 0;
	p->groups = 0;
	hn_for_each_thread(&w->hn, take_thread, p);
	hn_record_set_threads(r, p->thread, p->nr_threads, p->nr_threads_total, (uint32_t)__builtin_popcountll(p->groups));
}

static void make_tables(struct hn_worker *w, uint64_t started_ms, uint64_t now_ms)
{
	struct hn_record *r = w->live->record;
	struct hn_publish *p = &w->live->publish;
	uint32_t n;

	take_regions(w);
	memset(p->pages, 0, sizeof(p->pages));
	hn_census(&w->hn, count_page, p);
	hn_record_set_regions(&p->cursor, p->row, p->nr);
	hn_record_follow(r, &p->cursor, started_ms, now_ms);
	take_threads(w, r);
	for (n = 0; n < w->live->setup.nr_nodes; n++)
		__atomic_store_n(&r->node[n].pages, p->pages[n], __ATOMIC_RELAXED);
	__atomic_store_n(&r->nr_regions_total, w->live->nr_regions, __ATOMIC_RELAXED);
}

void hn_publish(struct hn_worker *w, uint64_t started_ms, uint64_t now_ms, uint64_t (*cpu_ns)(void))
{
	struct hn_publish *p = &w->live->publish;
	uint64_t before, wait_ms;

	if (!w->live->record || now_ms < p->not_before_ms)
		return;
	before = cpu_ns();
	make_tables(w, started_ms, now_ms);
	wait_ms = (cpu_ns() - before) / 1000000 * SHARE;
	p->not_before_ms = now_ms + (wait_ms < LATEST_MS ? wait_ms : LATEST_MS);
}
