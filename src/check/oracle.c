// SPDX-License-Identifier: MIT
/*
 * oracle.c - do the invariants of docs/protocol.md hold? After every step what must always be so; at the end, when
 * everything has been put back, what must balance. Loads are checked where they happen (calls.c).
 */
#include <string.h>

#include "check/scenario.h"

#define MAX_TOUCHES 16u /* more than the engine takes for stale before it has the backend look */

/* I2: content that the program has written and cannot reach must be in staging. */
static bool is_staged(struct ck_world *w, uint32_t value)
{
	uint32_t p, c;

	for (p = 0; p < CK_PAGES; p++)
		for (c = 0; c < CK_CELLS; c++)
			if (w->staging[p].at[c] != CK_HOLE && *ck_value(w, w->staging[p].at[c]) == value)
				return true;
	return false;
}

static void check_cell(struct ck_world *w, uint32_t slot, uint32_t c)
{
	struct ck_slot *s = &w->slot[slot];
	uint32_t v;

	if (!s->mapped[c]) {
		if (s->pt.at[c] != CK_HOLE)
			ck_violated(6, "something was put at %u.%u, where nothing is mapped", slot, c);
		return;
	}
	if (s->pt.at[c] == CK_HOLE) {
		if (s->truth[c] && s->flux[c] == CK_STEADY && !is_staged(w, s->truth[c]))
			ck_violated(2, "%s, written at %u.%u, is nowhere any more", ck_value_name(s->truth[c]), slot, c);
		return;
	}
	v = *ck_value(w, s->pt.at[c]);
	if (v == s->truth[c] || (v == 0 && s->flux[c] == CK_DROPPING))
		return;
	ck_violated(1, "the program has %s at %u.%u, where %s was written last", ck_value_name(v), slot, c,
		    ck_value_name(s->truth[c]));
}

static void count(uint8_t *refs, const struct ck_place *p)
{
	uint32_t c;

	for (c = 0; c < CK_CELLS; c++)
		if (p->at[c] != CK_HOLE)
			refs[p->at[c] >> 1]++;
}

/* Every frame has as many references as there are entries and pins: none is leaked, none used after its end. */
static void check_frames(struct ck_world *w)
{
	uint8_t refs[CK_FRAMES] = { 0 };
	uint32_t i;

	for (i = 0; i < CK_SLOTS; i++)
		count(refs, &w->slot[i].pt);
	for (i = 0; i < CK_PAGES; i++) {
		count(refs, &w->staging[i]);
		count(refs, &w->trash[i]);
	}
	for (i = 0; i < CK_TARGETS; i++)
		count(refs, &w->target[i]);
	count(refs, &w->zeros);
	for (i = 0; i < CK_FRAMES; i++)
		if (refs[i] + w->frame[i].pinned != w->frame[i].refs)
			ck_violated(4, "frame %u has %u references and is found in %u places", i, w->frame[i].refs, refs[i]);
}

void ck_check_step(struct ck *k)
{
	uint32_t s, c;

	for (s = 0; s < CK_SLOTS; s++)
		for (c = 0; c < CK_CELLS; c++)
			check_cell(k->world, s, c);
}

/* ---- at the end ---- */

static void check_sleepers(struct ck *k)
{
	struct ck_world *w = k->world;
	uint32_t i;

	for (i = 0; i < k->nr_actors; i++) {
		const struct ck_actor *a = &k->actor[i];

		if (a->status == CK_DONE)
			continue;
		if (w->in_fault[i])
			ck_violated(3, "%s sleeps for ever in a fault on %u.%u", a->name, ck_slot_of(w->fault_addr[i]),
				    ck_cell_of(w->fault_addr[i]));
		if (!a->may_sleep || w->stop)
			ck_violated(3, "%s sleeps for ever", a->name);
	}
	if (w->nr_faults || w->nr_events)
		ck_violated(3, "messages are left unread");
}

static void put_everything_back(struct ck *k)
{
	struct ck_world *w = k->world;
	struct hn *hn = &w->hn[CK_MAX_ACTORS];
	uint32_t i;

	if (hn_drain(hn, 0, ~(hn_addr)0) || hn_displaced_resolve(hn, 0, ~(hn_addr)0))
		ck_violated(7, "a page cannot be put back");
	for (i = 0; i < CK_PAGES; i++)
		if (w->staging[i].at[0] != CK_HOLE || w->staging[i].at[1] != CK_HOLE)
			ck_violated(4, "staging page %u holds something that nobody will free", i);
		else if (w->trash[i].at[0] != CK_HOLE || w->trash[i].at[1] != CK_HOLE)
			ck_violated(4, "the trash of page %u is not emptied", i);
	for (i = 0; i < CK_TARGETS; i++)
		if (w->target_out[i])
			ck_violated(4, "a target page was taken and neither used nor given back");
	if (w->zeros_out)
		ck_violated(4, "a page of zeros was taken and neither used nor given back");
	if (!hn_page_all_free(hn))
		ck_violated(4, "a page has references that nobody will put");
}

/* Nothing is armed any more, so nothing may be protected that the backend does not know of (I6). */
static void check_guards(struct ck_world *w)
{
	uint32_t s, c;

	for (s = 0; s < CK_SLOTS; s++)
		for (c = 0; c < CK_CELLS; c++)
			if (w->slot[s].guard[c] == CK_PROTECTED)
				ck_violated(6, "%u.%u is protected, and nothing is armed there", s, c);
}

/* What was left protected heals when somebody touches it. */
static void touch_what_was_left(struct ck_world *w)
{
	struct hn *hn = &w->hn[CK_MAX_ACTORS];
	struct hn_verdict verdict;
	uint32_t i, n;

	for (i = 0; i < CK_SLOTS * CK_CELLS; i++) {
		const uint8_t *guard = &w->slot[i / CK_CELLS].guard[i % CK_CELLS];
		hn_addr addr = ck_cell_at(i / CK_CELLS, i % CK_CELLS);

		for (n = 0; *guard != CK_OPEN && n < MAX_TOUCHES; n++)
			if (hn_fault(hn, addr, 0, 0, &verdict) == HN_FAULT_UNMANAGED)
				hn_hole_serve(hn, addr, 0);
		if (*guard != CK_OPEN)
			ck_violated(3, "an access to %u.%u, which was left protected, would fault for ever", i / CK_CELLS,
				    i % CK_CELLS);
	}
}

static void check_content(struct ck_world *w)
{
	uint32_t s, c;

	for (s = 0; s < CK_SLOTS; s++) {
		for (c = 0; c < CK_CELLS; c++) {
			check_cell(w, s, c);
			if (w->slot[s].mapped[c] && w->slot[s].pt.at[c] == CK_HOLE && w->slot[s].truth[c])
				ck_violated(2, "%s, written at %u.%u, is lost", ck_value_name(w->slot[s].truth[c]), s, c);
		}
	}
}

void ck_check_end(struct ck *k)
{
	struct ck_world *w = k->world;
	const char *what;
	int bad;

	check_sleepers(k);
	bad = hn_verify(&w->hn[CK_MAX_ACTORS], HN_VERIFY_WALK, &what);
	if (bad)
		ck_violated(bad, "%s", what);
	put_everything_back(k);
	check_guards(w);
	touch_what_was_left(w);
	check_content(w);
	check_frames(w);
	bad = hn_verify(&w->hn[CK_MAX_ACTORS], HN_VERIFY_WALK, &what);
	if (bad)
		ck_violated(bad, "%s (when everything had been put back)", what);
	if (k->scenario->check)
		k->scenario->check(w);
}
