// SPDX-License-Identifier: MIT
/*
 * scenarios_split.c - reclaim splits a huge page wherever it is: in the program while it is armed, in staging while it is put
 * back, read or dropped, in the pool while it takes the place of another. MOVE then goes part by part and may stop in
 * between; "mute" ones do not say how far they came.
 */
#include "check/roles.h"

static void mapped_mute(struct ck_world *w)
{
	ck_world_mapped(w);
	w->mute = true;
}

static void armed_mute(struct ck_world *w)
{
	ck_world_armed(w);
	w->mute = true;
}

/* The first part that is to be moved cannot be at once. */
static void armed_busy(struct ck_world *w)
{
	ck_world_armed(w);
	ck_have_fail(w, CK_OP_PART, 1, -EBUSY);
}

/* The second part that is to be moved cannot be, for a passing reason. */
static void armed_part_fails(struct ck_world *w)
{
	armed_mute(w);
	ck_have_fail(w, CK_OP_PART, 2, -EBUSY);
}

/* It cannot be seen what is where. */
static void armed_look_fails(struct ck_world *w)
{
	armed_mute(w);
	ck_have_fail(w, CK_OP_LOOK, 1, -EIO);
}

/* The same after a MOVE that was refused: so the page counts as armed, all of it in its place. */
static void mapped_look_fails(struct ck_world *w)
{
	ck_world_mapped(w);
	ck_have_fail(w, CK_OP_ARM, 1, -EBUSY);
	ck_have_fail(w, CK_OP_LOOK, 2, -EIO);
}

static void two_armed(struct ck_world *w)
{
	ck_have(w, 0, 2, 0);
	ck_have_armed(w, 0, 1);
}

static void two_armed_mute(struct ck_world *w)
{
	two_armed(w);
	w->mute = true;
}

static void armed_kernel_mover(struct ck_world *w)
{
	ck_world_armed(w);
	w->kernel_mover = true;
}

static void armed_kernel_mover_mute(struct ck_world *w)
{
	armed_mute(w);
	w->kernel_mover = true;
}

static void untouched(struct ck_world *w) { ck_have(w, 0, 1, 0); }

#define SPLIT(id, what, races_, ...)                                                                                   \
	{ .name = id, .about = what, .races = races_, .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, __VA_ARGS__ }
/* What would be nothing new where an armed page stays in its place; and what is possible only there. */
#define STAGED(...) SPLIT(__VA_ARGS__, .ways = CK_MOVE_ONLY)
#define LIFTED(...) SPLIT(__VA_ARGS__, .ways = CK_RWP_ONLY)

const struct ck_scenario ck_split_scenarios[] = {
	/* ---- in the program ---- */
	SPLIT("split_vs_arm", "reclaim splits a page while it is armed", "R3 R13", .setup = ck_world_mapped,
	      .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.1 w0.1"), ACTOR("scanner", "A0"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_mute_arm", "the same, and the kernel does not say what it has moved", "R3 R13", .setup = mapped_mute,
	      .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.1 w0.1"), ACTOR("scanner", "A0"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_arm_vs_migration", "a page that is there in part migrates", "R3 R13 R23", .setup = mapped_mute,
	      .role = { HANDLER(1), THREAD("a", 1, "w0.0 w0.1"), ACTOR("scanner", "A0"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_arm_vs_remove_part", "half of a page that is there in part is dropped", "R3 R13 R15",
	      .setup = mapped_mute,
	      .role = { HANDLER(1), ACTOR("remover", "D0.1+1 r0.1 r0.0"), ACTOR("scanner", "A0"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_arm_vs_unmap_part", "half of a page that is there in part is unmapped", "R3 R13 R25",
	      .setup = mapped_mute,
	      .role = { HANDLER(1), ACTOR("unmapper", "U0.1+1 r0.0"), ACTOR("scanner", "A0"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_arm_vs_remap_part", "half of a page that is there in part moves elsewhere", "R3 R13 R25",
	      .setup = mapped_mute,
	      .role = { HANDLER(1), ACTOR("mover", "V0.1>2.0+1 r2.0 r0.0"), ACTOR("scanner", "A0"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_arm_vs_fork", "a fork while a page is there in part", "R3 R13 R22", .setup = mapped_mute,
	      .role = { HANDLER(1), ACTOR("forker", "F r0.1"), ACTOR("scanner", "A0"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_arm_vs_remap", "a page that is there in part moves elsewhere, whole", "R3 R13", .setup = mapped_mute,
	      .role = { HANDLER(1), ACTOR("mover", "V0>2 r2.0 r2.1"), ACTOR("scanner", "A0"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_arm_vs_two_faults", "threads of two nodes use a page that is there in part", "R1 R3 R13",
	      .setup = mapped_mute,
	      .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), THREAD("b", 0, "w0.1"), ACTOR("scanner", "A0"),
			ACTOR("reclaim", "K0") }),

	/* ---- in staging ---- */
	SPLIT("split_vs_fault", "reclaim splits an armed page while it is put back", "R3", .setup = ck_world_armed,
	      .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.1"), THREAD("b", 0, "w0.1"), ACTOR("reclaim", "k0 K0") }),
	STAGED("split_vs_mute_fault", "the same, and the kernel does not say what it has moved", "R3", .setup = armed_mute,
	       .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.1"), THREAD("b", 0, "w0.1"), ACTOR("reclaim", "k0") }),
	SPLIT("split_vs_migration", "reclaim splits a page while it migrates", "R3 R23", .setup = ck_world_armed,
	      .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("reclaim", "K0 k0") }),
	SPLIT("split_vs_mute_migration", "the same, and the kernel does not say what it has moved", "R3 R23",
	      .setup = armed_mute, .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("reclaim", "K0 k0") }),
	SPLIT("split_vs_two_faults", "one thread local, one remote, and reclaim splits the page", "R1 R3", .setup = armed_mute,
	      .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), THREAD("b", 0, "r0.1"), ACTOR("reclaim", "k0 K0") }),
	STAGED("split_vs_busy_fault", "reclaim splits a page while its put-back is tried again", "R3", .setup = armed_busy,
	       .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.1"), ACTOR("reclaim", "k0") }),
	STAGED("split_vs_failing_look", "a page is put back in parts, and cannot be looked at", "R3", .setup = armed_look_fails,
	       .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.1"), ACTOR("reclaim", "k0") }),
	STAGED("arm_vs_failing_look", "arming is refused, and nobody can tell whether in part", "R6 R13", .setup = mapped_look_fails,
	       .expiry_ms = 100,
	       .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("scanner", "A0 T500 E"), ACTOR("reclaim", "K0") }),
	SPLIT("split_vs_swap_vs_fault", "reclaim swaps parts of an armed page out", "R3", .setup = armed_mute,
	      .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.1"), ACTOR("reclaim", "k0 x0.1 K0 X0.1 X0.0") }),
	STAGED("split_vs_expire", "the same while nobody wants it", "R3", .setup = armed_mute, .expiry_ms = 100,
	       .role = { HANDLER(1), THREAD("a", 0, "w0.1 r0.0"), ACTOR("scanner", "T500 E"), ACTOR("reclaim", "k0 x0.1") }),
	STAGED("split_vs_remove_part", "reclaim splits an armed page of which half is dropped", "R3 R15", .setup = armed_mute,
	       .role = { HANDLER(1), THREAD("a", 0, "r0.0"), ACTOR("remover", "D0.1+1"), ACTOR("reclaim", "k0") }),
	STAGED("split_vs_unmap", "an armed page that reclaim splits is unmapped", "R3 R26", .setup = armed_mute,
	       .role = { HANDLER(1), THREAD("a", 0, "R0.0"), ACTOR("unmapper", "U0"), ACTOR("reclaim", "k0") }),
	STAGED("split_vs_remap_part", "half of an armed page that reclaim splits moves elsewhere", "R3 R25", .setup = armed_mute,
	       .role = { HANDLER(1), ACTOR("mover", "V0.1>2.0+1 r2.0"), ACTOR("reclaim", "k0") }),
	STAGED("split_vs_touch_beside_part", "a first touch beside a part, of a page that is split, that waits for its place",
	       "R3 R25 R27", .setup = armed_mute,
	       .role = { HANDLER(1), ACTOR("mover", "V0.1>2.0+1 N2.1+1 w2.1 r2.0"), ACTOR("reclaim", "k0 x0.1") }),
	STAGED("split_vs_fork", "reclaim splits an armed page that a fork gives to the child", "R3 R22", .setup = armed_mute,
	       .role = { HANDLER(1), THREAD("a", 0, "w0.0"), ACTOR("forker", "F"), ACTOR("reclaim", "k0") }),
	STAGED("split_vs_drain", "everything is put back while reclaim splits", "R3", .setup = armed_mute,
	       .role = { HANDLER(1), THREAD("a", 0, "w0.1"), ACTOR("stopper", "D1 G L"), ACTOR("reclaim", "k0") }),

	/* ---- an event elsewhere in the middle of a put-back ---- */
	STAGED("split_vs_fault_vs_event", "an event elsewhere while a page that is split is put back", "R3 R7",
	       .setup = two_armed_mute,
	       .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.1"), ACTOR("remover", "D1"), ACTOR("reclaim", "k0") }),
	STAGED("split_vs_migration_vs_event", "an event elsewhere while a page that is split migrates", "R3 R7",
	       .setup = two_armed,
	       .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("remover", "D1"), ACTOR("reclaim", "k0") }),
	LIFTED("split_vs_isolate_vs_event", "an event elsewhere while a page that is split is lifted", "R3 R7",
	       .setup = two_armed,
	       .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("remover", "D1"), ACTOR("reclaim", "K0") }),
	STAGED("split_vs_migration_vs_remove_part", "half of a page is dropped that is split while it migrates", "R3 R15 R16",
	       .setup = armed_mute,
	       .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("remover", "D0.1+1"), ACTOR("reclaim", "k0") }),
	LIFTED("split_vs_isolate_vs_remove_part", "half of a page is dropped of which a part was lifted", "R3 R15 R16",
	       .setup = armed_part_fails,
	       .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("remover", "D0.1+1"), ACTOR("kernel", "S0") }),
	LIFTED("split_vs_isolate_vs_unmap_part", "half of a page is unmapped of which a part was lifted", "R3 R25",
	       .setup = armed_part_fails,
	       .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("unmapper", "U0.1+1"), ACTOR("kernel", "S0") }),

	/* ---- the kernel's mover: the page that is committed is the one in staging ---- */
	SPLIT("kernel_mover_vs_fault", "one thread local, one remote, and the page migrates in staging", "R1 R23",
	      .setup = armed_kernel_mover,
	      .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "w0.0 r0.0"), THREAD("b", 1, "w0.1 r0.1") }),
	SPLIT("kernel_mover_vs_remove_part", "half of a page is dropped while it migrates in staging", "R16 R23",
	      .setup = armed_kernel_mover,
	      .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "r0.0"), ACTOR("remover", "D0.1+1") }),
	SPLIT("split_vs_kernel_mover", "reclaim splits a page that migrates in staging", "R3 R23",
	      .setup = armed_kernel_mover_mute,
	      .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), THREAD("b", 0, "w0.1"), ACTOR("reclaim", "K0 k0 x0.1") }),
	STAGED("split_vs_kernel_mover_vs_remap_part", "the same, and half of it moves elsewhere", "R3 R23 R25",
	       .setup = armed_kernel_mover_mute,
	       .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("mover", "V0.1>2.0+1"), ACTOR("reclaim", "k0") }),

	/* ---- in the pool ---- */
	SPLIT("split_target_vs_migration", "reclaim splits the page that is to take another's place", "R3 R23",
	      .setup = ck_world_armed, .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("reclaim", "j0") }),
	SPLIT("split_target_vs_mute_migration", "the same, and the kernel does not say what it has moved", "R3 R23",
	      .setup = armed_mute, .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("reclaim", "j0") }),
	SPLIT("split_both_vs_migration", "reclaim splits the page that migrates and the one that is to take its place", "R3 R23",
	      .setup = armed_mute,
	      .role = { HANDLER(1), THREAD("a", 1, "w0.0 r0.1"), ACTOR("reclaim", "K0 k0"), ACTOR("reclaim too", "j0") }),
	SPLIT("split_zeros_vs_touch", "reclaim splits the page of zeros for a first touch", "R3 R27", .setup = untouched,
	      .role = { HANDLER(1), ACTOR("remover", "D0 w0.0 r0.1"), THREAD("b", 0, "w0.1"), ACTOR("reclaim", "j2") }),
	{ .name = NULL },
};
