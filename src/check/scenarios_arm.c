// SPDX-License-Identifier: MIT
/* scenarios_arm.c - arming, in batches too, against what may happen to a page meanwhile. */
#include "check/roles.h"

static void middle_is_small(struct ck_world *w)
{
	ck_have(w, 0, 3, 0);
	w->slot[1].pt.huge = false;
}

static void three(struct ck_world *w) { ck_have(w, 0, 3, 0); }

/* A page that was forked and not written since: the kernel says EBUSY to MOVE. */
static void shared_page(struct ck_world *w)
{
	ck_world_mapped(w);
	w->frame[w->slot[0].pt.at[0] >> 1].shared = 1;
}

const struct ck_scenario ck_arm_scenarios[] = {
	{ .name = "arm_vs_access", .about = "a page is armed while two threads use it", .races = "R11 R12 R14",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_mapped,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.0"), THREAD("b", 1, "w0.1"), ACTOR("scanner", "A0") } },
	{ .name = "batch_arm_vs_fault", .about = "three pages are armed in one go, faults on the first and the last",
	  .races = "R11 R13", .policy = HN_POLICY_TWO_STAGE, .setup = three,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), THREAD("b", 0, "w2.1"), ACTOR("scanner", "A0+6") } },
	{ .name = "batch_arm_partial_vs_fault", .about = "the kernel stops in the middle of the batch, at a small page",
	  .races = "R13 R23", .policy = HN_POLICY_TWO_STAGE, .setup = middle_is_small,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), THREAD("b", 0, "w1.0 w2.0"), ACTOR("scanner", "A0+6") } },
	{ .name = "arm_vs_split", .about = "the kernel splits a page while it is armed", .races = "R3 R13",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_two,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0 w1.1"), ACTOR("kernel", "S0 S1"), ACTOR("scanner", "A0+4") } },
	{ .name = "arm_vs_mprotect", .about = "a page is made read-only and writable again while it is armed and back",
	  .races = "R19", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_mapped,
	  .role = { HANDLER(1), ACTOR("thread a", "O0 r0.0 Q0 w0.0"), THREAD("b", 1, "r0.1"), ACTOR("scanner", "A0") } },
	{ .name = "migration_vs_mprotect", .about = "a page becomes read-only while it migrates", .races = "R19",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), ACTOR("mprotect", "O0 r0.0"), THREAD("b", 1, "r0.1") } },
	{ .name = "arm_vs_device", .about = "a device writes into a page (O_DIRECT, RDMA) that is being armed",
	  .races = "R8 R9", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_mapped,
	  .role = { HANDLER(1), ACTOR("device", "I0.0 r0.0"), THREAD("b", 1, "w0.1"), ACTOR("scanner", "A0") } },
	{ .name = "migration_vs_device", .about = "a device wants a page that is in migration", .races = "R8 R9 R17",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), ACTOR("device", "I0.1 r0.1") } },
	{ .name = "arm_vs_shared", .about = "a page that was shared by a fork is written, then armed", .races = "R22",
	  .policy = HN_POLICY_TWO_STAGE, .setup = shared_page,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0 w0.1"), ACTOR("scanner", "A0 T1500 A0") } },
	{ .name = "pass_vs_fault", .about = "the scanner goes round all pages while two of them are in use",
	  .races = "R13 R14 R26", .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_two,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), THREAD("b", 0, "w1.0"), ACTOR("scanner", "P2") } },
	{ .name = NULL },
};
