// SPDX-License-Identifier: MIT
/*
 * way_rwp.c - arming by UFFDIO_RWPROTECT (Linux 7.3): the page stays where it is and cannot be accessed. Only a migration
 * takes it to staging (isolate), because nobody, no device either, may write it during the copy.
 *
 * The protection is in the page table: it stays with the page through mremap, mprotect, swapping and splits, and ends with
 * it. Like a MOVE, the call is refused while an event is unread. What arrives in registered memory by MOVE arrives
 * protected; so that sleepers wake once, such a MOVE wakes nobody, and the call that ends the protection does.
 *
 * Two rules make this safe:
 *   - To take a protection away is never wrong while the page is in place: at worst a hint ends unseen.
 *   - A protection that nobody knows of any more is found by the fault on it, which hn_hole_serve answers: what
 *     MADV_FREE leaves behind, and a page put in place when an event began just then.
 *
 * lifted[page] says that staging holds the page. It is written with the gate held shared and the page lock, and read
 * with the page lock or with the gate held exclusively (a migration has the page lock during its copy, but not the gate,
 * and changes nothing then). In discard the last reference is gone, and nobody else looks.
 */
#include <errno.h>
#include <sys/mman.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

/*
 * Make what is present in the range accessible and wake who sleeps there. 0, or -EAGAIN. The kernel refuses a range that
 * is not registered as a whole: then what is, base page by base page.
 */
static int unprotect(struct hn_live *live, hn_addr start, uint64_t len)
{
	int err = hn_uffd_rwprotect(live->fd, start, len, 0);
	uint64_t off;

	for (off = 0; err == -ENOENT && off < len; off += HN_BASE_SIZE)
		if (hn_uffd_rwprotect(live->fd, start + off, HN_BASE_SIZE, 0) == -EAGAIN)
			return -EAGAIN;
	if (err == -EAGAIN)
		return -EAGAIN;
	if (err)
		hn_uffd_wake(live->fd, start, len);
	return 0;
}

/* A page has been put in place, and there is no way back. If an event has begun meanwhile the next fault sees to it. */
static bool unprotect_new(struct hn_live *live, hn_addr haddr)
{
	if (unprotect(live, haddr, HN_PAGE_SIZE) == 0)
		return true;
	hn_uffd_wake(live->fd, haddr, HN_PAGE_SIZE);
	return false;
}

/*
 * Locked memory could be armed, but never migrated (MOVE wants both places locked or neither), and who locks it does not
 * want to wait for it. MS_INVALIDATE does nothing to anonymous memory but to be refused where a part of it is locked.
 */
static bool is_locked(hn_addr start, uint64_t len)
{
	return HN_SYS(SYS_msync, start, len, MS_INVALIDATE, 0, 0, 0) == -EBUSY;
}

static int protect(struct hn_live *live, hn_addr start, uint64_t len)
{
	if (is_locked(start, len))
		return -EINVAL;
	return hn_uffd_rwprotect(live->fd, start, len, HN_UFFDIO_RWPROTECT_MODE_RWP);
}

static uint32_t op_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why)
{
	struct hn_live *live = hn_live_of(be);
	uint64_t huge = hn_pagemap_huge_prefix(live->fd_pagemap, haddr, haddr + nr * HN_PAGE_SIZE);
	uint64_t done = 0, step = huge;
	int err = -ENOENT;

	(void)first;
	while (done < huge) {
		uint64_t len = step < huge - done ? step : huge - done;

		err = protect(live, haddr + done, len);
		if (err == 0)
			done += len;
		else if (err != -EAGAIN && len > HN_PAGE_SIZE)
			step = HN_PAGE_SIZE; /* it was all or nothing: find the one */
		else
			break;
	}
	*why = done < huge ? hn_arm_error_of(err) : HN_ARM_ABSENT;
	hn_trace_arm(haddr, nr, (uint32_t)(done >> HN_PAGE_SHIFT), *why);
	return (uint32_t)(done >> HN_PAGE_SHIFT);
}

static int op_isolate(void *be, hn_addr haddr, uint32_t page)
{
	struct hn_live *live = hn_live_of(be);
	int err;

	if (live->lifted[page])
		return 0; /* since a migration whose commit had to wait for an event */
	live->lifted[page] = hn_move_out(live, haddr, page, 1, &err) != 0;
	return live->lifted[page] && err ? HN_ISOLATED_PART : err;
}

static int op_disarm(void *be, hn_addr haddr, uint32_t page)
{
	struct hn_live *live = hn_live_of(be);

	if (live->lifted[page]) {
		int err = hn_putback(live, haddr, (hn_addr)(uintptr_t)hn_staging(live, page));

		if (err)
			return err;
		live->lifted[page] = 0;
	}
	return unprotect(live, haddr, HN_PAGE_SIZE); /* -EAGAIN: in place and armed, as if never lifted */
}

/* With the copy mover staging still holds the old page: the last reference drops it. */
static int op_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target)
{
	int err = hn_live_commit(be, haddr, page, target);

	if (err)
		return err;
	return unprotect_new(hn_live_of(be), haddr) ? 0 : HN_COMMIT_PROTECTED;
}

static void op_discard(void *be, uint32_t page)
{
	struct hn_live *live = hn_live_of(be);

	if (live->lifted[page])
		hn_staging_discard(live, page);
	live->lifted[page] = 0;
}

/* What is in place the kernel drops itself. */
static void op_zero(void *be, uint32_t page, uint32_t from, uint32_t to)
{
	struct hn_live *live = hn_live_of(be);

	if (live->lifted[page])
		hn_staging_zero(live, page, from, to);
}

/* A part of a page that is in place went where it is wanted by itself, and is only protected there. */
static int op_copy_in(void *be, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct hn_live *live = hn_live_of(be);
	int err = 0;

	if (live->lifted[page])
		err = hn_copy_in(live, addr, (hn_addr)(uintptr_t)hn_staging(live, page) + from, to - from);
	return err ? err : unprotect(live, addr, to - from);
}

static void op_page_nodes(void *be, hn_addr haddr, uint32_t first, uint32_t nr, int16_t *nid)
{
	(void)first;
	hn_page_nodes(hn_live_of(be), haddr, nr, nid);
}

/* Gate held exclusively, and nothing is armed here: what is present but cannot be accessed is a left-over protection. */
static int op_hole_fill(void *be, hn_addr addr, uint32_t zeros)
{
	struct hn_live *live = hn_live_of(be);
	hn_addr base = addr & ~(HN_BASE_SIZE - 1), haddr = hn_page_down(addr);
	int err;

	if (!hn_is_empty(live, base, base + HN_BASE_SIZE)) {
		hn_live_hole_put(be, zeros);
		return unprotect(live, haddr, HN_PAGE_SIZE);
	}
	err = hn_live_hole_fill(be, addr, zeros);
	if (err == 0 && zeros != HN_NO_INDEX)
		unprotect_new(live, haddr);
	return err;
}

static const struct hn_ops ops = {
	HN_LIVE_OPS,
	.arm = op_arm,
	.disarm = op_disarm,
	.discard = op_discard,
	.zero = op_zero,
	.copy_in = op_copy_in,
	.page_nodes = op_page_nodes,
	.isolate = op_isolate,
	.commit = op_commit,
	.hole_fill = op_hole_fill,
};

const struct hn_way hn_way_rwp = {
	.arming = HN_ARMING_RWP,
	.in_place = true,
	.feature = HN_UFFD_FEATURE_RWP,
	/* Missing too: while a page is lifted the kernel must not fill its place with zeros. */
	.register_mode = UFFDIO_REGISTER_MODE_MISSING | HN_UFFDIO_REGISTER_MODE_RWP,
	.move_in_mode = HN_UFFDIO_MOVE_MODE_DONTWAKE,
	.ops = &ops,
};
