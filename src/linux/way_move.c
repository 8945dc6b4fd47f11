// SPDX-License-Identifier: MIT
/*
 * way_move.c - arming by UFFDIO_MOVE: the page goes to staging, its place in the program is empty (Linux 6.8).
 */
#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

uint32_t hn_move_out(struct hn_live *live, hn_addr haddr, uint32_t first, uint32_t nr, int *err)
{
	hn_addr staged = (hn_addr)(uintptr_t)hn_staging(live, first);
	struct hn_mm mm = hn_live_mm(live);
	uint32_t n = hn_mm_take_out(&mm, haddr, staged, nr, err);

	if (n && hn_pagemap_huge_prefix(live->fd_pagemap, staged, staged + n * HN_PAGE_SIZE) != n * HN_PAGE_SIZE)
		hn_mend_staging(live, first, n);
	return n;
}

static uint32_t op_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why)
{
	struct hn_live *live = hn_live_of(be);
	uint32_t armed;
	int err;

	live->arming_at = haddr;
	live->arming_first = first;
	live->arming_nr = nr;
	armed = hn_move_out(live, haddr, first, nr, &err);
	*why = hn_arm_error_of(err);
	hn_trace_arm(haddr, nr, armed, *why);
	return armed;
}

static int op_disarm(void *be, hn_addr haddr, uint32_t page)
{
	struct hn_live *live = hn_live_of(be);

	return hn_putback(live, haddr, (hn_addr)(uintptr_t)hn_staging(live, page));
}

static void op_discard(void *be, uint32_t page)
{
	struct hn_live *live = hn_live_of(be);

	hn_staging_discard(live, page);
}

static void op_zero(void *be, uint32_t page, uint32_t from, uint32_t to)
{
	hn_staging_zero(hn_live_of(be), page, from, to);
}

static int op_copy_in(void *be, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct hn_live *live = hn_live_of(be);

	return hn_copy_in(live, addr, (hn_addr)(uintptr_t)hn_staging(live, page) + from, to - from);
}

static void op_page_nodes(void *be, hn_addr haddr, uint32_t first, uint32_t nr, int16_t *nid)
{
	struct hn_live *live = hn_live_of(be);

	(void)haddr;
	hn_page_nodes(live, (hn_addr)(uintptr_t)hn_staging(live, first), nr, nid);
}

static const struct hn_ops ops = {
	HN_LIVE_OPS,
	.arm = op_arm,
	.disarm = op_disarm,
	.discard = op_discard,
	.zero = op_zero,
	.copy_in = op_copy_in,
	.page_nodes = op_page_nodes,
	.commit = hn_live_commit,
	.hole_fill = hn_live_hole_fill,
};

const struct hn_way hn_way_move = {
	.arming = HN_ARMING_MOVE,
	.register_mode = UFFDIO_REGISTER_MODE_MISSING,
	.ops = &ops,
};
