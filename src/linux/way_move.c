// SPDX-License-Identifier: MIT
/*
 * way_move.c - arming by UFFDIO_MOVE: the page goes to staging, its place in the program is empty (Linux 6.8).
 */
#include <errno.h>
#include <string.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

/*
 * A move stopped inside a page: it was split between our look and the move. Bring its first part home. False when an
 * event is in the way: then the page counts as armed, and its put-back will merge what is where.
 */
static bool undo_part(struct hn_live *live, hn_addr haddr, hn_addr staged, uint64_t part)
{
	uint64_t off = 0, moved;

	while (off < part) {
		if (hn_uffd_move(live->fd, haddr + off, staged + off, part - off, &moved) && moved == 0)
			return false;
		off += moved;
	}
	return true;
}

uint32_t hn_move_out(struct hn_live *live, hn_addr haddr, uint32_t first, uint32_t nr, int *err)
{
	uint64_t huge = hn_pagemap_huge_prefix(live->fd_pagemap, haddr, haddr + nr * HN_PAGE_SIZE);
	hn_addr staged = (hn_addr)(uintptr_t)hn_staging(live, first);
	uint64_t done = 0, moved, step = huge;

	*err = -ENOENT;
	while (done < huge) {
		uint64_t len = step < huge - done ? step : huge - done;

		*err = hn_uffd_move(live->fd, staged + done, haddr + done, len, &moved);
		done += moved & HN_PAGE_MASK;
		if (moved & ~HN_PAGE_MASK) {
			bool home = undo_part(live, haddr + done, staged + done, moved & ~HN_PAGE_MASK);

			done += home ? 0 : HN_PAGE_SIZE;
			*err = home ? -ENOENT : -EAGAIN;
			break;
		}
		if (*err == -EINVAL && len > HN_PAGE_SIZE)
			step = HN_PAGE_SIZE; /* the run may span two mappings, which one move may not */
		else if (*err && moved == 0) /* the true error comes only when nothing could be moved */
			break;
	}
	/* A page that is being split may have been moved in part without a word of it: then it counts as armed, as above. */
	if (done < huge && !hn_pagemap_is_empty(live->fd_pagemap, staged + done, staged + done + HN_PAGE_SIZE)) {
		done += HN_PAGE_SIZE;
		*err = -EAGAIN;
	}
	if (done < nr * HN_PAGE_SIZE && done == huge)
		*err = -ENOENT;
	if (done && hn_pagemap_huge_prefix(live->fd_pagemap, staged, staged + done) != done)
		hn_mend_staging(live, first, (uint32_t)(done >> HN_PAGE_SHIFT));
	return (uint32_t)(done >> HN_PAGE_SHIFT);
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
	memset(hn_staging(hn_live_of(be), page) + from, 0, to - from);
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
