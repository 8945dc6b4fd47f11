// SPDX-License-Identifier: MIT
/*
 * holes.c - first touches of registered memory: served huge from the pool where the whole extent is empty and the program does
 * not say otherwise, as the kernel would have; else with the zero page, one base page at a time. A region where this happens
 * often is given back to the kernel (discover.c).
 */
#include <errno.h>

#include "linux/live.h"
#include "linux/sys.h"

/*
 * 0 when served, -EAGAIN when an event comes first, other errors: try it smaller. Gate held exclusively. The place need
 * not be in a region known to us: a registered mapping that grows in place stays registered, and the kernel checks the
 * rest.
 */
static int serve_huge(struct hn_live *live, hn_addr haddr, uint32_t slot, bool *copied)
{
	*copied = true;
	if (slot == HN_NO_INDEX || !hn_is_empty(live, haddr, haddr + HN_PAGE_SIZE))
		return -EEXIST;
	return hn_put_new(live, haddr, (hn_addr)(uintptr_t)hn_pool_addr(live, slot), copied);
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

/* What is put off counts for the region, too: where it comes again and again the kernel gets the region back, and serves it. */
static void count_hole(struct hn_live *live, hn_addr addr, bool served)
{
	struct hn_region *r = hn_region_at(live, addr);

	if (served)
		hn_stat_add(live->cnt.holes_served, 1);
	if (r)
		hn_add_acq_rel(&r->holes, 1);
}

/* Where they are switched off for the whole process (prctl(2)) the pool gets none. */
static bool may_be_huge(const struct hn_live *live, hn_addr haddr)
{
	return !live->nohuge || !hn_nohuge_any(live->nohuge, haddr, haddr + HN_PAGE_SIZE);
}

uint32_t hn_live_hole_get(void *be, hn_addr haddr, int nid)
{
	struct hn_live *live = hn_live_of(be);
	uint32_t slot;

	if (!may_be_huge(live, haddr) || !hn_is_empty(live, haddr, haddr + HN_PAGE_SIZE))
		return HN_NO_INDEX;
	nid = hn_policy_hole_node(live, haddr, nid);
	return nid < 0 || hn_pool_get(live, nid, true, &slot) ? HN_NO_INDEX : slot;
}

void hn_live_hole_put(void *be, uint32_t zeros)
{
	if (zeros != HN_NO_INDEX)
		hn_pool_put_zeroed(hn_live_of(be), zeros);
}

int hn_live_hole_fill(void *be, hn_addr addr, uint32_t zeros)
{
	struct hn_live *live = hn_live_of(be);
	bool copied;
	int err = serve_huge(live, hn_page_down(addr), zeros, &copied);

	if (err == 0 && !copied)
		hn_pool_gone(live, zeros);
	else
		hn_live_hole_put(be, zeros);
	if (err && err != -EAGAIN)
		err = serve_small(live, addr);
	count_hole(live, addr, err != -EAGAIN);
	return err;
}
