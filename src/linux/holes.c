// SPDX-License-Identifier: MIT
/*
 * holes.c - faults on registered memory that have no entry: first touches, and parts displaced by mremap or munmap.
 *
 * A first touch is served huge from the pool where the whole extent is empty, as the kernel would have; else with the
 * zero page, one base page at a time. A region where this happens often is given back to the kernel (discover.c).
 */
#include <errno.h>

#include "linux/live.h"
#include "linux/sys.h"

/*
 * 0 when served, -EAGAIN when an event comes first, other errors: try it smaller. Gate held shared. The place need not be
 * in a region known to us: a registered mapping that grows in place stays registered, and the kernel checks the rest.
 */
static int serve_huge(struct hn_worker *w, hn_addr haddr, uint32_t tid)
{
	struct hn_live *live = w->live;
	int nid = hn_who_node(w, tid), err;
	uint32_t slot;

	if (!hn_pagemap_is_empty(live->fd_pagemap, haddr, haddr + HN_PAGE_SIZE))
		return -EEXIST;
	err = hn_pool_get(live, nid < 0 ? 0 : nid, true, &slot);
	if (err)
		return err;
	err = hn_put_new(live, haddr, (hn_addr)(uintptr_t)hn_pool_addr(live, slot));
	if (err)
		hn_pool_put(live, slot);
	else
		hn_pool_gone(live, slot);
	return err;
}

/* Gate held shared. */
static int serve_small(struct hn_live *live, hn_addr addr)
{
	int err = hn_uffd_zero(live->fd, addr & ~(HN_BASE_SIZE - 1), HN_BASE_SIZE);

	if (err == -EAGAIN || err == -ENOMEM)
		return -EAGAIN;
	/* Already there, or not registered any more: whoever sleeps must look again. */
	if (err)
		hn_uffd_wake(live->fd, addr, 1);
	return 0;
}

static void count_hole(struct hn_live *live, hn_addr addr)
{
	struct hn_region *r = hn_region_at(live, addr);

	hn_stat_add(live->cnt.holes_served, 1);
	if (r)
		hn_add_acq_rel(&r->holes, 1);
}

bool hn_holes_serve(struct hn_worker *w, hn_addr addr, uint32_t tid)
{
	struct hn_live *live = w->live;
	hn_addr haddr = hn_page_down(addr);
	int err;

	while (hn_displaced_covers(live, addr)) {
		if (hn_displaced_resolve(w, addr & ~(HN_BASE_SIZE - 1), addr + 1))
			return true;
		if (hn_displaced_covers(live, addr))
			return false;
	}
	hn_gate_read_lock(&w->hn);
	if (hn_displaced_covers(live, addr)) { /* an event put one there before we had the gate */
		hn_gate_read_unlock(&w->hn);
		return false;
	}
	err = serve_huge(w, haddr, tid);
	if (err && err != -EAGAIN)
		err = serve_small(live, addr);
	count_hole(live, addr);
	hn_gate_read_unlock(&w->hn);
	return err == 0;
}
