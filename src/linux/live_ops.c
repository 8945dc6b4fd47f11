// SPDX-License-Identifier: MIT
/*
 * live_ops.c - struct hn_ops for a live process; arming by MOVE.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "linux/live.h"
#include "linux/sys.h"

uint64_t hn_live_now_ns(void *be)
{
	struct timespec t;

	(void)be;
	clock_gettime(CLOCK_MONOTONIC, &t); /* the vDSO: no system call, no thread-local storage */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static enum hn_arm_error arm_error(int err)
{
	switch (err) {
	case -EBUSY: return HN_ARM_BUSY;
	case -EINVAL: return HN_ARM_INVALID;
	case -ENOENT: return HN_ARM_ABSENT;
	case -EAGAIN: return HN_ARM_EVENT;
	default: return HN_ARM_OTHER;
	}
}

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

static uint32_t op_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why)
{
	struct hn_live *live = hn_live_of(be);
	uint64_t huge = hn_pagemap_huge_prefix(live->fd_pagemap, haddr, haddr + nr * HN_PAGE_SIZE);
	hn_addr staged = (hn_addr)(uintptr_t)hn_staging(live, first);
	uint64_t done = 0, moved, step = huge;
	int err = -ENOENT;

	while (done < huge) {
		uint64_t len = step < huge - done ? step : huge - done;

		err = hn_uffd_move(live->fd, staged + done, haddr + done, len, &moved);
		done += moved & HN_PAGE_MASK;
		if (moved & ~HN_PAGE_MASK) {
			bool home = undo_part(live, haddr + done, staged + done, moved & ~HN_PAGE_MASK);

			done += home ? 0 : HN_PAGE_SIZE;
			err = home ? -ENOENT : -EAGAIN;
			break;
		}
		if (err == -EINVAL && len > HN_PAGE_SIZE)
			step = HN_PAGE_SIZE; /* the run may span two mappings, which one move may not */
		else if (err && moved == 0) /* the true error comes only when nothing could be moved */
			break;
	}
	*why = done < huge ? arm_error(err) : HN_ARM_ABSENT;
	if (done && hn_pagemap_huge_prefix(live->fd_pagemap, staged, staged + done) != done)
		hn_mend_staging(live, first, (uint32_t)(done >> HN_PAGE_SHIFT));
	return (uint32_t)(done >> HN_PAGE_SHIFT);
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
	(void)haddr;
	hn_page_nodes(hn_live_of(be), first, nr, nid);
}

static int op_thread_node(void *be, uint32_t tid) { return hn_who_node(be, tid); }

static int op_target_get(void *be, int nid, uint32_t *target)
{
	struct hn_live *live = hn_live_of(be);
	int err = hn_pool_get(live, nid, false, target);

	if (err || !live->setup.kernel_mover || hn_pool_has_room(live, *target))
		return err;
	hn_pool_put(live, *target);
	return -ENOMEM;
}

static void op_target_put(void *be, uint32_t target)
{
	struct hn_live *live = hn_live_of(be);

	if (live->setup.kernel_mover)
		hn_pool_drop(live, target); /* it was room for the kernel's own */
	else
		hn_pool_put(live, target);
}

static int op_copy(void *be, uint32_t page, uint32_t target, int nid) { return hn_mover_copy(be, page, target, nid); }

static int op_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target)
{
	struct hn_live *live = hn_live_of(be);
	char *from = live->setup.kernel_mover ? hn_staging(live, page) : hn_pool_addr(live, target);
	int err = hn_put_new(live, haddr, (hn_addr)(uintptr_t)from);

	if (err == 0)
		hn_pool_gone(live, target);
	return err;
}

static bool op_event_unread(void *be) { return hn_uffd_changing(hn_live_of(be)->fd); }

static void op_wake(void *be, hn_addr addr, uint64_t bytes) { hn_uffd_wake(hn_live_of(be)->fd, addr, bytes); }

static void op_yield(void *be)
{
	(void)be;
	HN_SYS(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

const struct hn_ops hn_live_ops = {
	.now_ns = hn_live_now_ns,
	.arm = op_arm,
	.disarm = op_disarm,
	.discard = op_discard,
	.zero = op_zero,
	.copy_in = op_copy_in,
	.page_nodes = op_page_nodes,
	.thread_node = op_thread_node,
	.target_get = op_target_get,
	.target_put = op_target_put,
	.copy = op_copy,
	.commit = op_commit,
	.wake = op_wake,
	.event_unread = op_event_unread,
	.read_message = hn_live_read_message,
	.wait_message = hn_live_wait_message,
	.note_event = hn_live_note_event,
	.yield = op_yield,
	.hole_get = hn_live_hole_get,
	.hole_put = hn_live_hole_put,
	.hole_fill = hn_live_hole_fill,
};

void hn_worker_init(struct hn_worker *w, struct hn_live *live)
{
	w->live = live;
	w->hn = (struct hn){ .core = live->core, .ops = &hn_live_ops, .be = w, .stats = live->stats,
		.record = live->record };
}
