// SPDX-License-Identifier: MIT
/*
 * explain.c - what an address is to the agent, and why it is not managed: the same questions that discover.c asks of a
 * mapping, in the same order, for one address and without doing anything about it.
 */
#include <string.h>

#include "core/history.h"
#include "linux/live.h"

static bool is_in(const struct hn_range *r, uint32_t nr, hn_addr addr)
{
	uint32_t i;

	for (i = 0; i < nr; i++)
		if (addr >= r[i].start && addr < r[i].end)
			return true;
	return false;
}

static void about_entry(struct hn_answer *a, const struct hn_entry *e)
{
	a->state = e->state;
	a->nid = e->nid;
	a->last_nid = (int16_t)hn_history_node(e->history, 0);
	a->last_tid = e->last_tid;
	a->flags = e->flags;
	a->fails = e->fails;
	a->hold_ms = e->flags ? hn_ms_left(e->hold_ms, hn_live_now_ms(), INT32_MAX) : 0;
	a->armed_ms = e->state == HN_ARMED ? hn_live_now_ms() - e->armed_ms : 0;
}

static bool about_region(struct hn_worker *w, struct hn_answer *a)
{
	const struct hn_region *r;

	hn_gate_read_lock(&w->hn);
	r = hn_region_at(w->live, a->addr);
	if (r) {
		a->start = r->start;
		a->end = r->end;
	}
	hn_gate_read_unlock(&w->hn);
	return r != NULL;
}

struct find {
	hn_addr addr;
	struct hn_vma vma;
};

static bool find_vma(void *arg, const struct hn_vma *vma)
{
	struct find *f = arg;

	if (f->addr >= vma->start && f->addr < vma->end)
		f->vma = *vma;
	return vma->end <= f->addr;
}

static const struct hn_candidate *find_candidate(const struct hn_live *live, hn_addr start)
{
	uint32_t i;

	for (i = 0; i < live->nr_candidates; i++)
		if (live->candidate[i].start == start)
			return &live->candidate[i];
	return NULL;
}

/* A mapping that could be managed and is not: what keeps it from being ripe? */
static enum hn_place why_not_ripe(struct hn_worker *w, const struct hn_vma *vma, struct hn_answer *a)
{
	struct hn_live *live = w->live;
	hn_addr start = hn_page_up(vma->start), end = hn_page_down(vma->end);
	const struct hn_candidate *c = find_candidate(live, vma->start);
	uint64_t huge, bound;

	if (start >= end)
		return HN_PLACE_SMALL;
	if (hn_policy_rule(live, vma->start, NULL, &bound) == HN_RANGE_OWN)
		return HN_PLACE_POLICY;
	if (hn_ranges_wish(w, bound, 0) < 0)
		return HN_PLACE_UNBOUND;
	huge = hn_pagemap_huge_bytes(live->fd_pagemap, start, end, UINT64_MAX);
	a->huge_pages = (uint32_t)(huge >> HN_PAGE_SHIFT);
	if (!hn_huge_enough(live, start, end, a->huge_pages))
		return HN_PLACE_FEW_HUGE;
	a->hold_ms = c ? hn_ms_left(c->not_before_ms, hn_live_now_ms(), HN_REST_MS) : 0;
	if (a->hold_ms)
		return HN_PLACE_GIVEN_BACK;
	if (!hn_small_enough(live, start, end, huge))
		return HN_PLACE_MOSTLY_SMALL;
	return HN_PLACE_GROWING;
}

static enum hn_place about_mapping(struct hn_worker *w, struct hn_answer *a)
{
	struct hn_live *live = w->live;
	struct find f = { .addr = a->addr };

	if (hn_maps_walk(live->fd_maps, live->maps_buf, sizeof(live->maps_buf), find_vma, &f) != 0)
		return HN_PLACE_UNKNOWN;
	if (!f.vma.end)
		return HN_PLACE_NOT_ANON;
	a->start = f.vma.start;
	a->end = f.vma.end;
	return why_not_ripe(w, &f.vma, a);
}

static enum hn_place place_of(struct hn_worker *w, struct hn_answer *a, bool idle)
{
	struct hn_live *live = w->live;
	struct hn_entry e;
	bool registered = about_region(w, a);

	if (hn_entry_look(&w->hn, a->addr, &e)) {
		about_entry(a, &e);
		a->bound = w->hn.core->wish[e.wish].nodes;
		return HN_PLACE_MANAGED;
	}
	if (is_in(live->own, live->nr_own, a->addr))
		return HN_PLACE_OWN;
	if (is_in(live->exclude, live->nr_excludes, a->addr))
		return HN_PLACE_THREAD;
	if (!hn_ranges_any(live, hn_page_down(a->addr), hn_page_down(a->addr) + HN_PAGE_SIZE))
		return HN_PLACE_LEFT;
	if (registered)
		return hn_pagemap_is_huge(live->fd_pagemap, hn_page_down(a->addr)) ? HN_PLACE_SOON : HN_PLACE_NOT_HUGE;
	if (idle)
		return HN_PLACE_IDLE;
	return about_mapping(w, a);
}

void hn_explain(struct hn_worker *w, bool idle)
{
	struct hn_answer a = { .nid = HN_NO_NODE, .last_nid = HN_NO_NODE };
	struct hn_record *r = w->live->record;
	uint32_t number;

	if (!r || !hn_query_pending(&r->query, &number, &a.addr))
		return;
	a.place = place_of(w, &a, idle);
	hn_query_answer(&r->query, number, &a);
}
