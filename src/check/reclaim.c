// SPDX-License-Identifier: MIT
/*
 * reclaim.c - what the kernel does to the program's pages, and to ours, by itself: MADV_PAGEOUT from outside, DAMON, reclaim.
 *
 * To split a huge page it first unmaps it: each part is in the page table as a migration entry, which is no hole, but is not
 * present either. Then the parts come back, one by one. Whoever touches or moves a part in the meantime waits. Mappings may
 * change meanwhile, and take the entries with them.
 */
#include "check/world.h"

static struct ck_world *world(void) { return ck_now->world; }

void ck_await_split(struct ck_world *w, hn_addr at)
{
	w->stalled |= 1u << ck_now->running;
	w->stalled_at[ck_now->running] = at;
	ck_say("it is being split");
	ck_sleep();
}

/* In the program wherever they are: what they wait for may have been moved away from there. */
static void end_stalls(struct ck_world *w, hn_addr at)
{
	uint32_t a;

	for (a = 0; a < CK_MAX_ACTORS; a++) {
		if (!(w->stalled & (1u << a)))
			continue;
		if (ck_in_world(at) != ck_in_world(w->stalled_at[a]))
			continue;
		if (!ck_in_world(at) && hn_page_down(at) != hn_page_down(w->stalled_at[a]))
			continue;
		w->stalled &= ~(1u << a);
		ck_wake(a);
	}
}

static bool come_back(struct ck_place *p, const void *object, int entry)
{
	uint32_t c;

	ck_touch(object, CK_READ);
	for (c = 0; c < CK_CELLS; c++) {
		if (p->at[c] != entry || p->form[c] != CK_CHANGING)
			continue;
		ck_touch(object, CK_WRITE);
		p->form[c] = CK_PRESENT;
		return true;
	}
	return false;
}

/* In the program mremap may have taken it elsewhere; staging and pool keep what is being split. */
static void remap(struct ck_world *w, hn_addr at, int entry)
{
	const void *object;
	struct ck_place *p = ck_place_at(w, at, &object);
	bool found = false;
	uint32_t s;

	if (!ck_in_world(at))
		found = come_back(p, object, entry);
	for (s = 0; ck_in_world(at) && s < CK_SLOTS; s++)
		found |= come_back(&w->slot[s].pt, &w->slot[s].pt, entry);
	ck_say(found ? "half %d of the page is mapped again" : "half %d of the page is gone", entry & 1);
	end_stalls(w, at);
}

static const char *name_of(hn_addr at)
{
	return ck_in_world(at) ? "the program's" : at < CK_POOL ? "the staged" : "the pool's";
}

void ck_reclaim_split(hn_addr at)
{
	struct ck_world *w = world();
	const void *object;
	struct ck_place *p = ck_place_at(w, at, &object);
	int entry, c;

	ck_point(NULL);
	ck_touch(object, CK_READ);
	if (!p->huge || w->frame[p->at[0] >> 1].pinned) {
		ck_say("reclaim finds nothing to split");
		return;
	}
	ck_touch(object, CK_WRITE);
	entry = p->at[0] & ~1;
	p->huge = false;
	for (c = 0; c < (int)CK_CELLS; c++)
		p->form[c] = CK_CHANGING;
	ck_say("reclaim unmaps %s page, to split it", name_of(at));
	for (c = 0; c < (int)CK_CELLS; c++) {
		ck_point(NULL);
		remap(w, at, entry + c);
	}
}

void ck_reclaim_swap(hn_addr at)
{
	struct ck_world *w = world();
	const void *object;
	struct ck_place *p = ck_place_at(w, at, &object);
	uint32_t c = ck_cell_of(at);

	ck_point(NULL);
	ck_touch(object, CK_READ);
	if (p->huge || p->at[c] == CK_HOLE || p->form[c] != CK_PRESENT || w->frame[p->at[c] >> 1].pinned) {
		ck_say("reclaim finds nothing to swap out");
		return;
	}
	ck_touch(object, CK_WRITE);
	p->form[c] = CK_SWAPPED;
	ck_say("reclaim swaps out half %u of %s page", c, name_of(at));
}
