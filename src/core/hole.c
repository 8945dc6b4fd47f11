// SPDX-License-Identifier: MIT
/*
 * hole.c - faults on registered memory that have no armed entry: first touches, and parts displaced by mremap or munmap.
 */
#include "core/internal.h"

static bool is_armed(struct hn_entry *e)
{
	bool armed;

	hn_lock(&e->lock);
	armed = e->state == HN_ARMED;
	hn_unlock(&e->lock);
	return armed;
}

/*
 * The gate is held exclusively from the look to the fill: since the fault was found to have no entry, the scanner may
 * have armed a page here, and zeros put there would win over the data (I1). The same goes for a part of a page that
 * waits for its place.
 */
static int fill_if_empty(struct hn *hn, hn_addr addr, uint32_t zeros)
{
	hn_addr haddr = hn_page_down(addr);
	struct hn_entry *e;
	int err;

	if (hn_order_waits(hn) || hn_displaced_covers(hn, addr)) {
		hn->ops->hole_put(hn->be, zeros);
		return HN_EAGAIN;
	}
	e = hn_entry_find(hn, haddr);
	if (e && is_armed(e)) {
		hn->ops->hole_put(hn->be, zeros);
		hn->ops->wake(hn->be, haddr, HN_PAGE_SIZE); /* the fault comes again, and finds the entry */
		return 0;
	}
	/* A part that waits for its place elsewhere in this huge page: zeros must not take that place (I1). */
	if (zeros != HN_NO_INDEX && hn_displaced_overlaps(hn, haddr, haddr + HN_PAGE_SIZE)) {
		hn->ops->hole_put(hn->be, zeros);
		zeros = HN_NO_INDEX;
	}
	err = hn->ops->hole_fill(hn->be, addr, zeros);
	if (err == HN_EAGAIN && e)
		e->stale = HN_STALE_LIMIT; /* nobody has looked yet; with the gate ours alone its lock is free */
	return err;
}

bool hn_hole_serve(struct hn *hn, hn_addr addr, uint32_t tid)
{
	uint32_t zeros;
	int nid, err;

	if (hn_displaced_covers(hn, addr))
		return hn_displaced_resolve(hn, addr & ~(HN_BASE_SIZE - 1), addr + 1) != HN_EAGAIN;
	hn_gate_read_lock(hn);
	nid = hn->ops->thread_node(hn->be, tid);
	hn_gate_read_unlock(hn);
	zeros = hn->ops->hole_get(hn->be, hn_page_down(addr), nid);
	hn_gate_write_lock(hn);
	err = fill_if_empty(hn, addr, zeros);
	hn_gate_write_unlock(hn);
	return err != HN_EAGAIN;
}
