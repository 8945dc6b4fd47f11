// SPDX-License-Identifier: MIT
/*
 * ranges.c - which memory the program wants managed, and what it wants for it (agent/ranges.c has it from the program).
 */
#include <errno.h>

#include "linux/live.h"

bool hn_ranges_next(const struct hn_live *live, hn_addr at, hn_addr end, struct hn_range *piece, uint8_t *wish)
{
	uint32_t i;

	for (i = 0; i < live->nr_ranges && at < end; i++) {
		const struct hn_wanted *w = &live->wanted[i];

		if (w->end <= at)
			continue;
		if (w->start > at && !live->only_ranges) {
			*piece = (struct hn_range){ at, w->start < end ? w->start : end };
			*wish = 0;
			return true;
		}
		at = w->start > at ? w->start : at;
		if (w->leave) {
			at = w->end;
			continue;
		}
		if (at >= end)
			return false;
		*piece = (struct hn_range){ at, w->end < end ? w->end : end };
		*wish = w->wish;
		return true;
	}
	*piece = (struct hn_range){ at, end };
	*wish = 0;
	return at < end && !live->only_ranges;
}

bool hn_ranges_any(const struct hn_live *live, hn_addr start, hn_addr end)
{
	struct hn_range piece;
	uint8_t wish;

	return hn_ranges_next(live, start, end, &piece, &wish);
}

/* Number of the wish from HN_USER_WISHES on, made if need be. None is ever given up: pages may still have it. */
static int bound_wish(struct hn_worker *w, const struct hn_wish *wish)
{
	struct hn_live *live = w->live;
	uint32_t i;

	for (i = 0; i < live->nr_bound; i++) {
		const struct hn_wish *old = &w->hn.core->wish[HN_USER_WISHES + i];

		if (old->nodes == wish->nodes && old->dry == wish->dry && old->soft == wish->soft)
			return (int)(HN_USER_WISHES + i);
	}
	if (i == HN_MAX_WISHES - HN_USER_WISHES)
		return -ENOSPC;
	hn_policy_set_wish(&w->hn, HN_USER_WISHES + i, wish);
	live->wishes = true;
	live->nr_bound = i + 1;
	return (int)(HN_USER_WISHES + i);
}

/* What contradicts itself is judged and not moved. */
int hn_ranges_wish(struct hn_worker *w, uint64_t nodes, uint8_t user)
{
	struct hn_wish wish = w->hn.core->wish[user];

	if (!nodes)
		return user;
	wish.soft = !wish.nodes;
	wish.nodes = wish.nodes ? wish.nodes & nodes : nodes;
	wish.dry |= !wish.nodes;
	return bound_wish(w, &wish);
}

/* Pages that hang over the end of a range are not in it. Gate not held. */
static void leave_alone(struct hn_worker *w, hn_addr start, hn_addr end)
{
	hn_addr a;

	for (a = hn_page_down(start); a < end; a += HN_PAGE_SIZE) {
		enum hn_state state;

		hn_gate_read_lock(&w->hn);
		state = hn_state_of(&w->hn, a);
		hn_gate_read_unlock(&w->hn);
		if (state == HN_UNMANAGED)
			continue;
		if (state == HN_ARMED)
			hn_drain(&w->hn, a, a + HN_PAGE_SIZE);
		hn_gate_read_lock(&w->hn);
		hn_unmanage(&w->hn, a);
		hn_gate_read_unlock(&w->hn);
	}
}

/* In the region [start, end): everything between the pieces. */
static void leave_rest(struct hn_worker *w, hn_addr start, hn_addr end)
{
	struct hn_range piece;
	uint8_t wish;

	while (start < end && hn_ranges_next(w->live, start, end, &piece, &wish)) {
		if (piece.start > start)
			leave_alone(w, start, piece.start);
		start = piece.end;
		if (start < end && (start & ~HN_PAGE_MASK))
			leave_alone(w, start, hn_page_up(start));
	}
	if (start < end)
		leave_alone(w, start, end);
}

void hn_ranges_enforce(struct hn_worker *w)
{
	struct hn_live *live = w->live;
	struct hn_region r;
	uint32_t i;

	if (!live->ranges_new)
		return;
	live->ranges_new = false;
	for (i = 0; hn_region_nth(w, i, &r); i++)
		leave_rest(w, r.start, r.end);
}
