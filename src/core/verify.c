// SPDX-License-Identifier: MIT
/*
 * verify.c - walkers for the invariants of docs/protocol.md. Call them only when the engine is quiet: no fault, pass or
 * event in service.
 */
#include "core/internal.h"

static int violated(const char **what, int invariant, const char *text)
{
	*what = text;
	return invariant;
}

static int check_entry(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, const char **what)
{
	if (e->lock.v != 0)
		return violated(what, 4, "an entry lock is held at rest");
	if (e->state > HN_ARMED)
		return violated(what, 2, "an entry has no valid state");
	if ((e->state == HN_ARMED) != (e->page != HN_NO_INDEX))
		return violated(what, 2, "an entry is ARMED without a page, or has a page without being ARMED");
	if (e->state != HN_ARMED)
		return 0;
	if (e->page >= hn->core->geo.nr_pages)
		return violated(what, 2, "an ARMED entry names a page that does not exist");
	if (hn_page_haddr(hn, e->page) != haddr)
		return violated(what, 2, "an ARMED entry and its page disagree about the address");
	if (hn_pages(hn)[e->page].content != 1 && !hn->ops->isolate)
		return violated(what, 2, "an ARMED entry's page has no content");
	return 0;
}

static uint32_t nr_parts_of(const struct hn *hn, uint32_t page)
{
	uint32_t i, n = 0;

	for (i = 0; i < hn->core->nr_displaced.v; i++)
		n += hn_displaced_table(hn)[i].page == page;
	return n;
}

static int check_page(const struct hn *hn, uint32_t page, const char **what)
{
	const struct hn_page *p = &hn_pages(hn)[page];
	struct hn_entry *e;

	if (p->lock.v != 0)
		return violated(what, 4, "a page lock is held at rest");
	if (p->refs.v == 0)
		return p->content ? violated(what, 4, "a free page still has content") : 0;
	if (p->place.v == 0)
		return p->refs.v == nr_parts_of(hn, page) ? 0 : violated(what, 4, "a page nowhere has more references than parts");
	e = hn_entry_find(hn, hn_page_haddr(hn, page));
	if (!e || e->state != HN_ARMED || e->page != page)
		return violated(what, 4, "a page is referenced but attached to no entry");
	if (p->refs.v != 1)
		return violated(what, 4, "an attached page has more than one reference at rest");
	return 0;
}

/* What a pass that looks for questions goes by. */
static int check_open(const struct hn *hn, const char **what)
{
	uint32_t nr = hn_chunk_entries(hn), all = 0, chunk, i;

	for (chunk = 0; chunk < hn->core->nr_chunks_used; chunk++) {
		uint32_t open = 0;

		for (i = 0; i < nr; i++)
			open += hn_entries(hn)[chunk * nr + i].open;
		if (open != hn_chunks(hn)[chunk].nr_open)
			return violated(what, 5, "a chunk's count of open questions is wrong");
		all += open;
	}
	return all == hn->core->nr_open ? 0 : violated(what, 5, "the count of open questions is wrong");
}

static int walk(const struct hn *hn, const char **what)
{
	uint32_t total = hn->core->nr_chunks_used << hn->core->geo.chunk_shift, i;
	uint64_t armed = 0, managed = 0;
	int bad;

	for (i = 0; i < total; i++) {
		const struct hn_entry *e = &hn_entries(hn)[i];

		bad = check_entry(hn, e, hn_entry_addr(hn, i), what);
		if (bad)
			return bad;
		armed += e->state == HN_ARMED;
		managed += e->state != HN_UNMANAGED;
	}
	for (i = 0; i < hn->core->geo.nr_pages; i++) {
		bad = check_page(hn, i, what);
		if (bad)
			return bad;
	}
	if (armed != hn_stat_read(&hn->stats->armed_now))
		return violated(what, 5, "the count of armed entries is wrong");
	if (managed != hn_stat_read(&hn->stats->managed_pages))
		return violated(what, 5, "the count of managed entries is wrong");
	return 0;
}

int hn_verify(const struct hn *hn, enum hn_verify_level level, const char **what)
{
	int bad;

	*what = "";
	if (!hn_stats_balanced(hn->stats))
		return violated(what, 5, "the conservation equations do not hold");
	if (hn->core->gate.v != 0)
		return violated(what, 4, "the event gate is held at rest");
	if (level < HN_VERIFY_WALK)
		return 0;
	bad = walk(hn, what);
	return bad ? bad : check_open(hn, what);
}
