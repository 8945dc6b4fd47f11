// SPDX-License-Identifier: MIT
/*
 * event.c - what the program did to its own address space. The gate is held exclusively from before the event was
 * read, so no put-back, no arm and no other event runs meanwhile; a copy may (F5), and finds out in F6.
 */
#include "core/internal.h"

/* Detach the armed page, if any; an entry in migration leaves the page to the migrator's reference. Entry lock held. */
static void forget(struct hn *hn, struct hn_entry *e)
{
	uint32_t page = e->state == HN_ARMED ? e->page : HN_NO_INDEX;

	hn_entry_to_unmanaged(hn, e);
	if (page != HN_NO_INDEX)
		hn_page_put(hn, page);
}

/* The program keeps bytes [from, to) of a page that is no whole page any more; they get a reference of their own. */
static void keep_part(struct hn *hn, uint32_t page, hn_addr addr, hn_addr from, hn_addr to)
{
	if (from >= to)
		return;
	hn_page_get(hn, page);
	hn_displaced_add(hn, page, addr, (uint32_t)(from - addr), (uint32_t)(to - addr));
}

/* What of [start, end) lies in the page at haddr is gone; what is left beside it must not go with it. */
static void unmap_one(struct hn *hn, struct hn_entry *e, hn_addr haddr, hn_addr start, hn_addr end)
{
	if (e->state == HN_ARMED) {
		hn_page_set_haddr(hn, e->page, 0);
		keep_part(hn, e->page, haddr, haddr, start < haddr ? haddr : start);
		keep_part(hn, e->page, haddr, end, haddr + HN_PAGE_SIZE);
	}
	forget(hn, e);
}

/*
 * The zap follows the wake-up of madvise's caller, so the range may look untouched for a while: a page armed in that
 * window would survive the zap and come back with old data. Hence the quarantine.
 */
static void remove_one(struct hn *hn, struct hn_entry *e, hn_addr haddr, hn_addr start, hn_addr end)
{
	hn_addr from = start > haddr ? start : haddr;
	hn_addr to = end < haddr + HN_PAGE_SIZE ? end : haddr + HN_PAGE_SIZE;

	if (e->state == HN_ARMED && to - from < HN_PAGE_SIZE && hn_pages(hn)[e->page].content) {
		/* Part of a page that is in staging: the kernel zaps nothing, so we do, and a copy in flight is void. */
		hn->ops->zero(hn->be, e->page, (uint32_t)(from - haddr), (uint32_t)(to - haddr));
		e->gen++;
	} else {
		forget(hn, e);
	}
	e->flags = HN_E_NO_ARM;
	e->hold_ms = hn->core->removed_ms + hn->core->par.quarantine_ms;
}

typedef void (*event_fn)(struct hn *hn, struct hn_entry *e, hn_addr haddr, hn_addr start, hn_addr end);

static void visit(struct hn *hn, struct hn_entry *e, hn_addr haddr, hn_addr start, hn_addr end, event_fn fn)
{
	hn_lock(&e->lock);
	if (e->state != HN_UNMANAGED)
		fn(hn, e, haddr, start, end);
	hn_unlock(&e->lock);
}

/* By address for small ranges, by chunk for ranges larger than all that is managed. */
static void for_each_managed(struct hn *hn, hn_addr start, hn_addr end, event_fn fn)
{
	uint64_t nr = (hn_page_up(end) - hn_page_down(start)) >> HN_PAGE_SHIFT;
	uint32_t total = hn->core->nr_chunks_used << hn->core->geo.chunk_shift, i;
	hn_addr a;

	if (nr <= total) {
		for (a = hn_page_down(start); a < end; a += HN_PAGE_SIZE) {
			struct hn_entry *e = hn_entry_find(hn, a);

			if (e)
				visit(hn, e, a, start, end, fn);
		}
		return;
	}
	for (i = 0; i < total; i++) {
		a = hn_entry_addr(hn, i);
		if (a + HN_PAGE_SIZE > start && a < end)
			visit(hn, &hn_entries(hn)[i], a, start, end, fn);
	}
}

bool hn_entry_any(struct hn *hn, hn_addr start, hn_addr end)
{
	uint64_t nr = (hn_page_up(end) - hn_page_down(start)) >> HN_PAGE_SHIFT;
	uint32_t total = hn->core->nr_chunks_used << hn->core->geo.chunk_shift, i;
	hn_addr a;

	if (nr <= total) {
		for (a = hn_page_down(start); a < end; a += HN_PAGE_SIZE) {
			const struct hn_entry *e = hn_entry_find(hn, a);

			if (e && e->state != HN_UNMANAGED)
				return true;
		}
		return false;
	}
	for (i = 0; i < total; i++) {
		a = hn_entry_addr(hn, i);
		if (hn_entries(hn)[i].state != HN_UNMANAGED && a + HN_PAGE_SIZE > start && a < end)
			return true;
	}
	return false;
}

void hn_event_unmap(struct hn *hn, hn_addr start, hn_addr end)
{
	hn_displaced_cut(hn, start, end);
	for_each_managed(hn, start, end, unmap_one);
	/* Threads that sleep in a fault on a range that is gone must fault again, or die as they should (I3). */
	hn->ops->wake(hn->be, start, end - start);
}

void hn_event_removing(struct hn *hn)
{
	hn->core->removed_ms = hn_now_ms(hn);
	hn->core->removed = 1;
	hn->core->removes++;
}

void hn_event_remove(struct hn *hn, hn_addr start, hn_addr end)
{
	hn_event_removing(hn);
	hn_displaced_cut(hn, start, end);
	for_each_managed(hn, start, end, remove_one);
	hn->ops->wake(hn->be, start, end - start);
}

/*
 * Attach a page that was armed elsewhere to the entry of its new place. A wish of the program's own is about addresses, one
 * that stands for a memory policy goes with the mapping. False: there is no room for an entry.
 */
static bool rekey(struct hn *hn, uint32_t page, int nid, uint8_t wish, hn_addr to)
{
	struct hn_entry *n = hn_entry_make(hn, to);

	if (!n)
		return false;
	hn_lock(&n->lock); /* the only place where two entry locks nest out of order: the gate keeps all others out */
	if (n->state != HN_UNMANAGED)
		forget(hn, n);
	hn_page_set_haddr(hn, page, to);
	hn_entry_set_managed(hn, n, nid);
	hn_entry_to_armed(hn, n, page, hn_now_ms(hn));
	hn_stat_add(&hn->stats->armed, 1);
	n->wish = wish < HN_USER_WISHES ? 0 : wish;
	hn_unlock(&n->lock);
	return true;
}

struct remap {
	hn_addr from, end, to;
};

/* An armed page whose content, or part of it, is expected elsewhere. A migration in flight finds RACED. Entry locked. */
static void move_armed(struct hn *hn, struct hn_entry *e, hn_addr haddr, const struct remap *r)
{
	hn_addr lo = r->from > haddr ? r->from : haddr;
	hn_addr hi = r->end < haddr + HN_PAGE_SIZE ? r->end : haddr + HN_PAGE_SIZE;
	hn_addr dest = r->to + (haddr - r->from); /* where the start of this page would be; may wrap below `to` */
	uint32_t page = e->page;
	uint8_t wish = e->wish;
	int nid = e->nid;

	hn_entry_to_unmanaged(hn, e);
	if (hi - lo == HN_PAGE_SIZE && (dest & ~HN_PAGE_MASK) == 0 && rekey(hn, page, nid, wish, dest))
		return;
	hn_page_set_haddr(hn, page, 0);
	keep_part(hn, page, haddr, haddr, lo);
	keep_part(hn, page, haddr, hi, haddr + HN_PAGE_SIZE);
	hn_displaced_add(hn, page, dest, (uint32_t)(lo - haddr), (uint32_t)(hi - haddr));
}

void hn_event_remap(struct hn *hn, hn_addr from, hn_addr to, uint64_t len)
{
	struct remap r = { from, from + len, to };
	hn_addr a;

	hn_displaced_remap(hn, from, to, len);
	for (a = hn_page_down(from); a < from + len; a += HN_PAGE_SIZE) {
		struct hn_entry *e = hn_entry_find(hn, a);

		if (!e)
			continue;
		hn_lock(&e->lock);
		if (e->state == HN_ARMED)
			move_armed(hn, e, a, &r);
		else if (e->state == HN_MAPPED)
			hn_entry_to_unmanaged(hn, e);
		hn_unlock(&e->lock);
	}
	/* Also at the old place: who waits there for a migration that began at yet another one is nobody else's (I3). */
	hn->ops->wake(hn->be, from, len);
	hn->ops->wake(hn->be, to, len);
}

struct giving {
	struct hn *hn;
	hn_give_fn give;
	void *arg;
};

/* Bytes [from, to) of a page, of which the first is at addr for us; some of it may be about to be elsewhere. */
static void give_where_expected(void *arg, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct giving *g = arg;

	while (from < to) {
		hn_addr end = addr + (to - from), place = hn_order_place(g->hn, addr, &end);
		uint32_t len = (uint32_t)(end - addr);

		g->give(g->arg, place, page, from, from + len);
		addr += len;
		from += len;
	}
}

/* With the gate held exclusively every entry lock is free; it is taken all the same, as everywhere. */
void hn_for_each_armed(struct hn *hn, hn_give_fn give, void *arg)
{
	struct giving giving = { hn, give, arg };
	uint32_t page;

	for (page = 0; page < hn->core->geo.nr_pages; page++) {
		hn_addr haddr = hn_page_haddr(hn, page);
		struct hn_entry *e = haddr ? hn_entry_find(hn, haddr) : NULL;

		if (!e)
			continue;
		hn_lock(&e->lock);
		if (e->state == HN_ARMED && e->page == page)
			give_where_expected(&giving, haddr, page, 0, (uint32_t)HN_PAGE_SIZE);
		hn_unlock(&e->lock);
	}
	hn_for_each_displaced(hn, give_where_expected, &giving);
}
