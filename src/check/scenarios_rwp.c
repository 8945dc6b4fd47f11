// SPDX-License-Identifier: MIT
/*
 * scenarios_rwp.c - what is special where a page is armed in its place and lifted only to migrate: the time between the
 * decision and the lifting, and the two steps in which what was lifted comes back. An event elsewhere is enough for the
 * kernel to refuse the second of them.
 */
#include "check/roles.h"

static void failing_isolate(struct ck_world *w, int err)
{
	ck_world_armed(w);
	ck_have_fail(w, CK_OP_ISOLATE, 1, err);
}

static void isolate_busy(struct ck_world *w) { failing_isolate(w, -EBUSY); }
static void isolate_again(struct ck_world *w) { failing_isolate(w, -EAGAIN); }

/* Page 0 is armed, page 1 is there to have something happen to it. */
static void one_of_two_armed(struct ck_world *w)
{
	ck_have(w, 0, 2, 0);
	ck_have_armed(w, 0, 1);
}

static void copy_fails(struct ck_world *w)
{
	one_of_two_armed(w);
	ck_have_fail(w, CK_OP_COPY, 1, -EIO);
}

static void copy_fails_and_move_back(struct ck_world *w)
{
	copy_fails(w);
	ck_have_fail(w, CK_OP_DISARM, 1, -EINVAL);
}

/* One hint, and it ended in one of two ways: split in time or too late. */
static void lifted_or_refused(struct ck_world *w)
{
	if (w->stats.migrated + w->stats.failed[HN_FAIL_ISOLATE] != 1 || w->stats.samples != 1)
		ck_violated(5, "%u migrated, %u could not be lifted", (unsigned)w->stats.migrated,
			    (unsigned)w->stats.failed[HN_FAIL_ISOLATE]);
}

#define RWP(id, what, races_, ...)                                                                                     \
	{ .name = id, .about = what, .races = races_, .policy = HN_POLICY_TWO_STAGE, .ways = CK_RWP_ONLY, __VA_ARGS__ }

const struct ck_scenario ck_rwp_scenarios[] = {
	/* ---- between the decision and the lifting ---- */
	RWP("isolate_vs_split", "the kernel splits a page that is about to be lifted", "R3 R13",
	    .setup = ck_world_armed, .check = lifted_or_refused,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("kernel", "S0") }),
	RWP("isolate_vs_unmap_part", "half of a page is unmapped while it is lifted", "R3 R25", .setup = ck_world_armed,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("unmapper", "U0.1+1 r0.0") }),
	RWP("isolate_vs_remap_odd", "half of a page moves elsewhere while it is lifted", "R25", .setup = ck_world_armed,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("mover", "V0.1>2.0+1") }),
	RWP("isolate_vs_map_anew", "the address is mapped anew before the page that was there is lifted", "R7 R14",
	    .setup = ck_world_armed,
	    .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "W0.1"), ACTOR("unmapper", "U0 M0 w0.0 r0.0") }),
	RWP("isolate_vs_fork", "a fork shares a page that is about to be lifted, and the parent writes", "R8 R22",
	    .setup = ck_world_armed, .role = { HANDLER(1), THREAD("a", 1, "r0.0"), ACTOR("forker", "F w0.0") }),
	RWP("fault_vs_failing_isolate_busy", "a page cannot be lifted: it is pinned", "R6 R8", .setup = isolate_busy,
	    .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "w0.0 r0.0"), THREAD("b", 1, "w0.1 r0.1") }),
	RWP("fault_vs_failing_isolate_again", "a page cannot be lifted now", "R6", .setup = isolate_again,
	    .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "w0.0 r0.0"), THREAD("b", 1, "w0.1 r0.1") }),
	RWP("remove_part_vs_fault", "half of a page that is armed in its place is dropped and filled again", "R15 R25",
	    .setup = ck_world_armed,
	    .role = { HANDLER(1), THREAD("a", 0, "r0.0"), ACTOR("remover", "D0.1+1 w0.1 r0.1 r0.0") }),

	/* ---- the two steps back, and an event between them ---- */
	RWP("commit_vs_remove", "a page migrates, memory elsewhere is dropped: the new page may stay protected", "R7 R16",
	    .setup = one_of_two_armed,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.0"), ACTOR("remover", "D1 r1.0") }),
	RWP("commit_vs_remove_vs_rearm", "the same, and the scanner arms the page again", "R7 R16",
	    .setup = one_of_two_armed,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("remover", "D1"), ACTOR("scanner", "A0") }),
	RWP("commit_vs_drain_fork", "the same, and a fork through libc", "R7 R22", .setup = one_of_two_armed,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("forker", "D1 G f") }),
	RWP("commit_vs_stop", "the same, and everything is let go of", "R7 R26", .setup = one_of_two_armed,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("stopper", "D1 G L") }),
	RWP("putback_vs_remove", "a copy fails, and memory elsewhere is dropped while the page is put back", "R6 R7",
	    .setup = copy_fails,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("remover", "D1") }),
	RWP("putback_vs_remove_part", "a copy fails, and half of the page is dropped while it is put back", "R15 R16",
	    .setup = copy_fails,
	    .role = { HANDLER(1), THREAD("a", 1, "r0.0"), ACTOR("remover", "D0.1+1") }),
	RWP("putback_vs_unmap_part", "a copy fails, and half of the page is unmapped while it is put back", "R3 R25",
	    .setup = copy_fails, .role = { HANDLER(1), THREAD("a", 1, "r0.0"), ACTOR("unmapper", "U0.1+1 w0.0") }),
	RWP("putback_vs_failing_move", "a copy fails, and the page must be put back by copying", "R6 R19",
	    .setup = copy_fails_and_move_back,
	    .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("remover", "D1") }),
	{ .name = NULL },
};
