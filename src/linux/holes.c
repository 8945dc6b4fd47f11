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
 * 0 when served, -EAGAIN when an event comes first, other errors: try it smaller. Gate held exclusively. The place need
 * not be in a region known to us: a registered mapping that grows in place stays registered, and the kernel checks the
 * rest.
 */
static int serve_huge(struct hn_live *live, hn_addr haddr, uint32_t slot)
{
	if (slot == HN_NO_INDEX || !hn_pagemap_is_empty(live->fd_pagemap, haddr, haddr + HN_PAGE_SIZE))
		return -EEXIST;
	return hn_put_new(live, haddr, (hn_addr)(uintptr_t)hn_pool_addr(live, slot));
}

/* Gate held exclusively. */
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

/* A zeroed huge page where one would go, taken before the gate is closed because it may have to be made first. */
static uint32_t page_for(struct hn_worker *w, hn_addr haddr, uint32_t tid)
{
	struct hn_live *live = w->live;
	uint32_t slot;
	int nid;

	if (!hn_pagemap_is_empty(live->fd_pagemap, haddr, haddr + HN_PAGE_SIZE))
		return HN_NO_INDEX;
	hn_gate_read_lock(&w->hn);
	nid = hn_who_node(w, tid);
	hn_gate_read_unlock(&w->hn);
	return hn_pool_get(live, nid < 0 ? 0 : nid, true, &slot) ? HN_NO_INDEX : slot;
}

static void return_page(struct hn_live *live, uint32_t slot, bool used)
{
	if (slot == HN_NO_INDEX)
		return;
	if (used)
		hn_pool_gone(live, slot);
	else
		hn_pool_put_zeroed(live, slot);
}

/*
 * The gate is held exclusively from the look to the fill: since the fault was found to have no entry, a remap may have
 * brought an armed page here, or the scanner armed the page that is here. Then the place looks empty and is not, and
 * zeros put there would win over the data (I1).
 */
bool hn_holes_serve(struct hn_worker *w, hn_addr addr, uint32_t tid)
{
	struct hn_live *live = w->live;
	hn_addr haddr = hn_page_down(addr);
	uint32_t slot;
	int err;

	if (hn_displaced_covers(live, addr))
		return hn_displaced_resolve(w, addr & ~(HN_BASE_SIZE - 1), addr + 1);
	slot = page_for(w, haddr, tid);
	hn_gate_write_lock(&w->hn);
	if (hn_displaced_covers(live, addr)) {
		err = -EAGAIN;
	} else if (hn_state_of(&w->hn, haddr) == HN_ARMED) {
		err = -EBUSY;
		hn_uffd_wake(live->fd, haddr, HN_PAGE_SIZE);
	} else {
		err = serve_huge(live, haddr, slot);
	}
	return_page(live, slot, err == 0);
	if (err && err != -EAGAIN && err != -EBUSY)
		err = serve_small(live, addr);
	count_hole(live, addr);
	hn_gate_write_unlock(&w->hn);
	return err != -EAGAIN;
}
