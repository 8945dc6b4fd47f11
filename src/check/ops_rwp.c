// SPDX-License-Identifier: MIT
/*
 * ops_rwp.c - the ops where arming is UFFDIO_RWPROTECT: a page stays in its place and is only protected, and is lifted to
 * staging when it is to be copied. What comes back by MOVE or COPY arrives protected, and is unprotected then.
 *
 * world->lifted[page] is the backend's own note. The engine's locks order all that looks at it, as they do with the
 * content of staging, so both are one object for the explorer.
 */
#include <errno.h>

#include "check/ops_rwp.h"

static struct ck_world *world(void) { return ck_now->world; }

static bool is_lifted(uint32_t page)
{
	ck_touch(&world()->staged[page], CK_READ);
	return world()->lifted[page];
}

static void set_lifted(uint32_t page, bool lifted)
{
	ck_touch(&world()->staged[page], CK_WRITE);
	world()->lifted[page] = lifted;
}

static uint32_t huge_prefix(hn_addr haddr, uint32_t nr)
{
	hn_addr next;
	struct hn_range r;

	if (ck_mm.ops->look(ck_mm.be, HN_MM_HUGE, haddr, haddr + nr * HN_PAGE_SIZE, &r, 1, &next) != 1 || r.start != haddr)
		return 0;
	return (uint32_t)((r.end - haddr) / HN_PAGE_SIZE);
}

uint32_t ck_rwp_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why)
{
	uint32_t n, huge = huge_prefix(haddr, nr);
	int err = -ENOENT;

	(void)be;
	(void)first;
	for (n = 0; n < huge; n++) {
		ck_point(NULL);
		err = ck_told_to_fail(CK_OP_ARM);
		if (err == 0)
			err = ck_protect(world(), haddr + n * HN_PAGE_SIZE);
		if (err)
			break;
	}
	*why = n < huge ? ck_arm_error(err) : HN_ARM_ABSENT;
	return n;
}

void ck_rwp_page_nodes(void *be, hn_addr haddr, uint32_t first, uint32_t nr, int16_t *nid)
{
	struct ck_world *w = world();
	uint32_t i;

	(void)be;
	(void)first;
	ck_point(NULL);
	ck_minor();
	for (i = 0; i < nr; i++) {
		const struct ck_slot *s = &w->slot[ck_slot_of(haddr) + i];

		ck_touch(&s->pt, CK_READ);
		nid[i] = s->pt.at[0] == CK_HOLE ? HN_NO_NODE : w->frame[s->pt.at[0] >> 1].nid;
	}
}

/* ---- putting back ---- */

/* The last step of everything that ends a hint: what is there now becomes accessible, and who sleeps there goes on. */
static int unprotect(hn_addr start, uint64_t bytes)
{
	ck_point(NULL);
	/* Whatever else it says, an event will explain: not ours any more. */
	return ck_unprotect(world(), start, bytes) ? -EAGAIN : 0;
}

/* From staging to its place, where it arrives protected. */
static int put_down(hn_addr haddr, uint32_t page)
{
	int err = hn_mm_putback(&ck_mm, haddr, ck_staged_at(page));

	if (err == 0)
		set_lifted(page, false);
	return err;
}

/* When only the last step is refused, the page is armed as it was before it was lifted. */
int ck_rwp_disarm(void *be, hn_addr haddr, uint32_t page)
{
	int err;

	(void)be;
	ck_point(NULL);
	if (is_lifted(page)) {
		err = put_down(haddr, page);
		return err ? err : unprotect(haddr, HN_PAGE_SIZE);
	}
	err = ck_told_to_fail(CK_OP_DISARM);
	return err ? -EAGAIN : unprotect(haddr, HN_PAGE_SIZE);
}

/* A part that was never lifted has moved with its place, protection and all. */
int ck_rwp_copy_in(void *be, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	int err;

	(void)be;
	ck_point("copy in");
	err = ck_told_to_fail(CK_OP_COPY_IN);
	if (err == 0 && is_lifted(page))
		err = hn_mm_copy_in(&ck_mm, addr, ck_staged_at(page) + from, to - from);
	if (err == 0)
		err = unprotect(addr, to - from);
	return ck_told_after(err, CK_OP_COPIED);
}

void ck_rwp_discard(void *be, uint32_t page)
{
	(void)be;
	ck_point(NULL);
	if (!is_lifted(page))
		return; /* in the program, or gone with what the program unmapped or dropped */
	hn_mm_discard(&ck_mm, ck_staged_at(page));
	set_lifted(page, false);
}

/* What is in its place the kernel zeroes. */
void ck_rwp_zero(void *be, uint32_t page, uint32_t from, uint32_t to)
{
	ck_point(NULL);
	if (is_lifted(page))
		ck_op_zero(be, page, from, to);
}

/* ---- migrating ---- */

int ck_rwp_isolate(void *be, hn_addr haddr, uint32_t page)
{
	int err;

	(void)be;
	ck_point(NULL);
	if (is_lifted(page))
		return 0; /* since an earlier migration, which could neither commit nor put it back */
	if (hn_mm_take_out(&ck_mm, haddr, ck_staged_at(page), 1, &err) == 0)
		return err;
	set_lifted(page, true);
	return err ? HN_ISOLATED_PART : 0;
}

int ck_rwp_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target)
{
	struct ck_world *w = world();
	int err = ck_op_commit(be, haddr, page, target);

	if (err)
		return err;
	ck_leave_protected(w, haddr, HN_PAGE_SIZE); /* even if the program should move it first */
	if (unprotect(haddr, HN_PAGE_SIZE) == 0)
		return 0;
	/* Past the commit point. Who touches it faults, and hole_fill() will see to it. */
	ck_point("wake sleepers");
	ck_wake_range(w, haddr, HN_PAGE_SIZE);
	return HN_COMMIT_PROTECTED;
}

/* ---- first touches, and what was left protected ---- */

static bool is_whole(hn_addr haddr)
{
	const struct ck_slot *s = &world()->slot[ck_slot_of(haddr)];

	ck_touch(&s->pt, CK_READ);
	return s->mapped[0] && s->mapped[1] && s->registered[0] && s->registered[1];
}

static uint8_t guard_at(hn_addr addr)
{
	ck_touch(&world()->slot[ck_slot_of(addr)].pt, CK_READ);
	return world()->slot[ck_slot_of(addr)].guard[ck_cell_of(addr)];
}

/* Fills only what is empty; whatever is there then must not stay protected. */
int ck_rwp_hole_fill(void *be, hn_addr addr, uint32_t zeros)
{
	hn_addr start = addr & ~(CK_CELL - 1);
	uint64_t bytes = CK_CELL;
	uint8_t before;
	int err;

	ck_point(NULL);
	before = guard_at(addr);
	err = ck_op_hole_fill(be, addr, zeros);
	if (err)
		return err;
	ck_leave_protected(world(), hn_page_down(addr), HN_PAGE_SIZE);
	ck_point(NULL);
	if (is_whole(hn_page_down(addr))) { /* a huge page is not to be split by this */
		start = hn_page_down(addr);
		bytes = HN_PAGE_SIZE;
	}
	ck_point(NULL);
	err = ck_unprotect(world(), start, bytes);
	if (err == 0 && before == CK_PROTECTED) /* it would heal here, but should not have to */
		ck_violated(6, "%u.%u was forgotten, and is still protected", ck_slot_of(addr), ck_cell_of(addr));
	if (err && err != -EAGAIN)
		ck_wake_range(world(), start, bytes); /* it is not ours: the kernel serves it */
	return err == -EAGAIN ? err : 0;
}
