// SPDX-License-Identifier: MIT
/* scenarios_fault.c - hinting faults against one another, against migration and against the scanner. */
#include "check/roles.h"
#include "core/internal.h"

static void one_target(struct ck_world *w)
{
	ck_world_two_armed(w);
	ck_have_targets(w, 1);
}

/* I5: each armed hint was charged once, whoever disarmed it (R2). */
static void one_sample(struct ck_world *w)
{
	if (w->stats.samples != 1 || w->stats.disarmed_total != 1)
		ck_violated(5, "one hint was armed and touched; %u samples, %u disarmed", (unsigned)w->stats.samples,
			    (unsigned)w->stats.disarmed_total);
}

/* F7: the charge went to the node that holds the page now (R5). */
static void charged_right(struct ck_world *w)
{
	const struct hn_entry *e = hn_entry_find(&w->hn[CK_MAX_ACTORS], ck_at(0));
	int nid = w->frame[w->slot[0].pt.at[0] >> 1].nid;

	one_sample(w);
	if (e->nid != nid)
		ck_violated(5, "the page lies on node %d and is booked on node %d", nid, e->nid);
	if (w->stats.migrated + w->stats.local != 1)
		ck_violated(5, "neither local nor migrated");
}

/* Two pages, room for one: the second stays, is refused with a reason, and nobody loses anything (R29). */
static void one_stays(struct ck_world *w)
{
	if (w->stats.migrated > 1 || w->stats.migrated + w->stats.failed[HN_FAIL_TARGET] != 2)
		ck_violated(5, "room for one page, but %u migrated and %u found no target", (unsigned)w->stats.migrated,
			    (unsigned)w->stats.failed[HN_FAIL_TARGET]);
}

const struct ck_scenario ck_fault_scenarios[] = {
	{ .name = "local_vs_remote",
	  .about = "the founding race: one thread local, one remote, a migration in flight", .races = "R1 R2 R4 R5",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed, .check = charged_right,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "w0.0 r0.0"), THREAD("b", 1, "w0.1 r0.1") } },
	{ .name = "local_vs_remote_vs_rearm",
	  .about = "the same, and the scanner arms the page again as soon as it can", .races = "R1 R2 R4 R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "w0.0"), THREAD("b", 1, "r0.0"), ACTOR("scanner", "A0") } },
	{ .name = "fault_vs_fault_vs_fault", .about = "three threads fault on one page", .races = "R2",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed, .check = one_sample,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), THREAD("b", 1, "w0.1"), THREAD("c", 0, "r0.0") } },
	{ .name = "read_vs_write", .about = "one reads what the other writes, the page migrating under them",
	  .races = "R1 R12", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0 w0.1"), THREAD("b", 1, "r0.1 r0.0") } },
	{ .name = "fault_vs_rearm", .about = "a page is judged while the scanner wants to arm it again",
	  .races = "R11 R13 R14", .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), THREAD("a", 1, "w0.0 w0.0"), ACTOR("scanner", "A0 A0") } },
	{ .name = "fault_vs_expire", .about = "a hint is taken back by the scanner while somebody faults on it",
	  .races = "R2 R7", .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed, .expiry_ms = 500,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), ACTOR("scanner", "T600 E") } },
	{ .name = "page_vs_page", .about = "two pages in migration at once, each with its own fault", .races = "R29",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_two_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), THREAD("b", 1, "w1.0") } },
	{ .name = "page_vs_page_one_target", .about = "two pages want a target page, there is one", .races = "R29",
	  .policy = HN_POLICY_TWO_STAGE, .setup = one_target, .check = one_stays,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), THREAD("b", 1, "w1.0") } },
	{ .name = "handler_vs_handler", .about = "handlers that only just start, with a fault waiting already",
	  .races = "R17", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed, .check = one_sample,
	  .role = { NEW_HANDLER(1), NEW_HANDLER(2), THREAD("a", 1, "w0.0") } },
	{ .name = NULL },
};
