// SPDX-License-Identifier: MIT
/*
 * scenarios_event.c - munmap, MADV_DONTNEED and mremap against arming, faults and migrations. "Partial" events cover half
 * of the page: the other half must not go with it.
 */
#include "check/roles.h"

static void armed_commit_fails(struct ck_world *w)
{
	ck_world_armed(w);
	ck_have_fail(w, CK_OP_COMMIT, 1, -EBUSY);
}

static void armed_put_back_in_vain(struct ck_world *w)
{
	ck_have(w, 0, 2, 0);
	ck_have_armed(w, 0, 1);
	ck_have_fail(w, CK_OP_COPIED, 1, -EAGAIN);
}

static void moved_to_what_is_unmapped(struct ck_world *w)
{
	ck_have(w, 0, 1, 0);
	ck_have(w, 2, 1, 0);
	ck_have_armed(w, 0, 1);
}

static void moved_to_what_moves(struct ck_world *w)
{
	moved_to_what_is_unmapped(w);
	ck_have_armed(w, 2, 1);
}

static void three_armed(struct ck_world *w)
{
	ck_world_two_armed(w);
	ck_have(w, 3, 1, 0);
	ck_have_armed(w, 3, 1);
}

static void two_armed_to_follow(struct ck_world *w)
{
	ck_world_two_armed(w);
	ck_have(w, 2, 1, 0);
}

static void two_armed_and_a_hole(struct ck_world *w)
{
	uint32_t c;

	ck_world_two_armed(w);
	for (c = 0; c < CK_CELLS; c++)
		w->slot[3].mapped[c] = w->slot[3].registered[c] = w->slot[3].known[c] = true;
}

const struct ck_scenario ck_event_scenarios[] = {
	/* ---- munmap ---- */
	{ .name = "unmap_vs_arm", .about = "a page is unmapped while it is armed", .races = "R7 R26",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_mapped,
	  .role = { HANDLER(1), ACTOR("unmapper", "U0"), ACTOR("scanner", "A0 A0") } },
	{ .name = "unmap_vs_fault", .about = "a page is unmapped while a thread faults on it", .races = "R7 R17",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "W0.0"), ACTOR("unmapper", "U0") } },
	{ .name = "unmap_vs_migration", .about = "a page is unmapped while it migrates", .races = "R7 R17",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "W0.0"), ACTOR("unmapper", "U0") } },
	{ .name = "unmap_part_vs_migration", .about = "half of a page is unmapped while it migrates", .races = "R3 R25",
	  .policy = HN_POLICY_TWO_STAGE, .ways = CK_MOVE_ONLY, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), ACTOR("unmapper", "U0.1+1 r0.0") } },
	{ .name = "map_anew_vs_arm", .about = "the address is mapped anew while the scanner arms what was there",
	  .races = "R7 R14", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_mapped,
	  .role = { HANDLER(1), ACTOR("unmapper", "U0 M0 w0.0 r0.0"), ACTOR("scanner", "A0 A0") } },
	{ .name = "map_anew_vs_fault", .about = "the address is mapped anew while the page that was there is put back",
	  .races = "R7", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), ACTOR("unmapper", "U0 M0 r0.0 w0.0 r0.0"), THREAD("b", 1, "W0.1") } },

	/* ---- MADV_DONTNEED ---- */
	{ .name = "remove_vs_arm", .about = "a page is dropped while it is armed: zeros, not old data", .races = "R15",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_mapped,
	  .role = { HANDLER(1), ACTOR("remover", "D0 r0.0 w0.0 r0.0"), ACTOR("scanner", "A0 A0") } },
	{ .name = "remove_vs_fault", .about = "a page is dropped while a thread faults on it", .races = "R15 R16",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "r0.0"), ACTOR("remover", "D0 r0.0") } },
	{ .name = "remove_vs_migration", .about = "a page is dropped while it migrates", .races = "R16",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "r0.0"), ACTOR("remover", "D0") } },
	{ .name = "remove_part_vs_arm", .about = "half of a page is dropped while it is armed", .races = "R15 R25",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_mapped,
	  .role = { HANDLER(1), ACTOR("remover", "D0.1+1 r0.1 r0.0"), ACTOR("scanner", "A0 A0") } },
	{ .name = "remove_part_vs_migration", .about = "half of a page is dropped while it migrates", .races = "R16 R25",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "r0.0"), ACTOR("remover", "D0.1+1") } },
	{ .name = "remove_vs_manage", .about = "the scanner finds a page that is about to be dropped", .races = "R15 R16",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_mapped,
	  .role = { HANDLER(1), ACTOR("remover", "D0 r0.0"), ACTOR("scanner", "m0 A0") } },

	/* ---- mremap ---- */
	{ .name = "remap_vs_arm", .about = "a page is moved elsewhere while it is armed", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_mapped,
	  .role = { HANDLER(1), ACTOR("mover", "V0>2 r2.0 w2.1"), ACTOR("scanner", "A0 A2") } },
	{ .name = "remap_vs_fault", .about = "a page is moved elsewhere while a thread faults on it", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "R0.0"), ACTOR("mover", "V0>2 r2.0") } },
	{ .name = "remap_vs_migration", .about = "a page is moved elsewhere while it migrates", .races = "R7 R17",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "R0.0"), ACTOR("mover", "V0>2 r2.0") } },
	{ .name = "remap_part_vs_fault", .about = "half of a page is moved to an odd place while somebody faults on it",
	  .races = "R3 R25", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), ACTOR("mover", "V0.1>2.0+1 r2.0") } },
	{ .name = "remap_odd_vs_fault", .about = "a page is moved to a place that is not huge-aligned, armed",
	  .races = "R25", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), THREAD("a", 0, "R0.0"), ACTOR("mover", "V0>2.1 r2.1 r3.0") } },
	{ .name = "remap_vs_unmap", .about = "a page is moved elsewhere and then unmapped, armed", .races = "R7 R25",
	  .policy = HN_POLICY_TWO_STAGE, .ways = CK_MOVE_ONLY, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "R0.0"), ACTOR("mover", "V0>2 U2.1+1 r2.0") } },
	{ .name = "collapse_vs_part", .about = "a part is in place, its put-back has failed all the same, and the page around it is huge",
	  .races = "R3 R25", .policy = HN_POLICY_TWO_STAGE, .setup = armed_put_back_in_vain, .lock_steps = true,
	  .role = { HANDLER(1), ACTOR("mover", "V0>2.1 N2.0+1 w2.0 w2.1 C2 g2 A2"), ACTOR("remover", "D1") } },
	{ .name = "unmap_vs_remap_there", .about = "a page moves to where another thread has just unmapped one, and is heard of first",
	  .races = "R7", .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = moved_to_what_is_unmapped,
	  .role = { HANDLER(1), ACTOR("unmapper", "U2"), ACTOR("mover", "v0>2 R2.0") } },
	{ .name = "remap_vs_remap_there", .about = "a page moves to where another has just moved away from, both armed", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = moved_to_what_moves,
	  .role = { HANDLER(1), ACTOR("mover 1", "V2>4"), ACTOR("mover 2", "v0>2") } },
	{ .name = "remap_vs_remap_mapped", .about = "the same, and what was there was not armed", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = moved_to_what_is_unmapped,
	  .role = { HANDLER(1), ACTOR("mover 1", "V2>4 r4.0"), ACTOR("mover 2", "v0>2 R2.0") } },
	{ .name = "unmap_vs_remap_there_vs_unmap", .about = "the same place is freed, moved to, and freed again", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = moved_to_what_is_unmapped,
	  .role = { HANDLER(1), ACTOR("unmapper", "U2"), ACTOR("mover", "v0>2 U2 M2 g2 R2.0") } },
	{ .name = "remap_vs_remap_vs_remove", .about = "a page moves to where one is just unmapped; another follows it, and is dropped",
	  .races = "R7 R15", .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = two_armed_to_follow,
	  .role = { HANDLER(1), ACTOR("unmapper", "U2"), ACTOR("mover", "v0>2 v1>0 D0") } },
	{ .name = "remap_vs_remap_vs_unmap", .about = "the same, and what has followed is unmapped", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = two_armed_to_follow,
	  .role = { HANDLER(1), ACTOR("unmapper", "U2"), ACTOR("mover", "v0>2 v1>0 U0") } },
	{ .name = "shrinking_remap_vs_armed", .about = "two pages shrink to one as they move, beside one that is armed", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = three_armed,
	  .role = { HANDLER(1), ACTOR("mover", "y0>2 r2.0 r3.0") } },
	{ .name = "shrinking_remap_vs_hole", .about = "the same, beside memory that nobody has touched", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = two_armed_and_a_hole,
	  .role = { HANDLER(1), ACTOR("mover", "y0>2 r2.0 r3.0") } },
	{ .name = "shrinking_remap_vs_nothing", .about = "the same, beside nothing", .races = "R7", .policy = HN_POLICY_TWO_STAGE,
	  .lock_steps = true, .setup = ck_world_two_armed, .role = { HANDLER(1), ACTOR("mover", "y0>2 r2.0") } },
	{ .name = "remap_vs_touch", .about = "a thread touches the new place before the move has been heard of",
	  .races = "R7 R27", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), ACTOR("mover", "V0>2 r2.0"), THREAD("b", 0, "R2.1") } },

	/* ---- several at once, and discovery ---- */
	{ .name = "remove_vs_unmap", .about = "one thread drops the page that another unmaps, armed", .races = "R15 R26",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), ACTOR("remover", "D0"), ACTOR("unmapper", "U0") } },
	{ .name = "unmap_vs_failing_commit", .about = "a page is unmapped while its migration fails", .races = "R6 R7",
	  .policy = HN_POLICY_TWO_STAGE, .setup = armed_commit_fails, .lock_steps = true,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "W0.0"), ACTOR("unmapper", "U0") } },
	{ .name = "register_vs_map_anew", .about = "a mapping is registered where an armed page was just unmapped",
	  .races = "R7 R27", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed, .lock_steps = true,
	  .role = { HANDLER(1), ACTOR("unmapper", "U0 M0 w0.0 r0.0"), ACTOR("scanner", "g0 A0") } },
	{ .name = "give_back_vs_remap", .about = "a region is given back to the kernel while a page moves into it",
	  .races = "R26", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed, .lock_steps = true,
	  .role = { HANDLER(1), ACTOR("mover", "V0>2 r2.0"), ACTOR("scanner", "b2") } },
	{ .name = "give_back_vs_fault", .about = "a region is given back to the kernel while threads fault in it",
	  .races = "R26", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed, .lock_steps = true,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), ACTOR("scanner", "b0") } },
	{ .name = "reclaim_vs_migration", .about = "entries are reclaimed and made anew while a page migrates",
	  .races = "R14 R17", .policy = HN_POLICY_TWO_STAGE, .ways = CK_MOVE_ONLY, .setup = ck_world_armed,
	  .lock_steps = true, .quarantine_ms = 1,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "W0.0"), ACTOR("unmapper", "U0 M0"), ACTOR("scanner", "c g0") } },
	{ .name = NULL },
};
