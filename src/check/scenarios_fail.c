// SPDX-License-Identifier: MIT
/*
 * scenarios_fail.c - the n-th call of an op fails, for every op and every n that is made: the program must not notice, and
 * everything must balance (R6, R7).
 */
#include "check/roles.h"
#include "core/core.h"

#define FAILING(id, op, n, err)                                                                                        \
	static void fail_##id(struct ck_world *w)                                                                      \
	{                                                                                                              \
		ck_world_armed(w);                                                                                     \
		ck_have_fail(w, op, n, err);                                                                           \
	}

FAILING(target, CK_OP_TARGET, 1, -ENOMEM)
FAILING(copy_1, CK_OP_COPY, 1, -EIO)
FAILING(copy_2, CK_OP_COPY, 2, -EIO)
FAILING(commit_busy, CK_OP_COMMIT, 1, -EBUSY)
FAILING(commit_again, CK_OP_COMMIT, 1, -EAGAIN)
FAILING(disarm_1, CK_OP_DISARM, 1, -EAGAIN)
FAILING(disarm_2, CK_OP_DISARM, 2, -EAGAIN)
FAILING(disarm_busy, CK_OP_DISARM, 1, -EBUSY)
FAILING(disarm_invalid, CK_OP_DISARM, 1, -EINVAL)
FAILING(copy_in_1, CK_OP_COPY_IN, 1, -EAGAIN)
FAILING(copy_in_4, CK_OP_COPY_IN, 4, -EAGAIN)

/* A fault may wait for 1 ms, and a clock that goes on at any moment decides whether a migration is in time. */
static void ceiling(struct ck_world *w)
{
	ck_world_armed(w);
	((struct hn_core *)w->core)->par.max_stall_us = 1000;
}

static void moved_or_given_up(struct ck_world *w)
{
	if (w->stats.samples != 1 || w->stats.migrated + w->stats.failed[HN_FAIL_STALL] != 1)
		ck_violated(5, "%u migrated, %u given up", (unsigned)w->stats.migrated,
			    (unsigned)w->stats.failed[HN_FAIL_STALL]);
}

static void fail_copy_and_disarm(struct ck_world *w)
{
	fail_copy_1(w);
	ck_have_fail(w, CK_OP_DISARM, 1, -EAGAIN);
}

#define LOCAL_AND_REMOTE { HANDLER(1), HANDLER(2), THREAD("a", 0, "w0.0 r0.0"), THREAD("b", 1, "w0.1 r0.1") }
#define FAIL(id, what, races_, ...)                                                                                    \
	{ .name = "fault_vs_failing_" #id, .about = what, .races = races_, .policy = HN_POLICY_TWO_STAGE,              \
	  .setup = fail_##id, .role = LOCAL_AND_REMOTE, __VA_ARGS__ }

static void fail_hole(struct ck_world *w)
{
	ck_have(w, 0, 1, 0);
	ck_have_fail(w, CK_OP_HOLE, 1, -ENOMEM);
}

const struct ck_scenario ck_fail_scenarios[] = {
	FAIL(target, "no target page when a page is to migrate", "R6"),
	FAIL(copy_1, "the copy fails at once", "R6 R7"),
	FAIL(copy_2, "the copy fails half-way", "R6 R7"),
	FAIL(commit_busy, "the new page cannot be put in", "R6 R7"),
	FAIL(commit_again, "the new page cannot be put in now", "R6 R7", .lock_steps = true),
	FAIL(disarm_1, "the first put-back cannot be done now", "R7", .lock_steps = true),
	FAIL(disarm_2, "the second put-back cannot be done now", "R7"),
	FAIL(disarm_busy, "a put-back must be tried again, because a reference passes by", "R7"),
	FAIL(disarm_invalid, "a put-back must copy, because protection or locking differ", "R7 R19"),
	{ .name = "fault_vs_ceiling", .about = "time runs out at any point of a migration", .races = "R6 R7",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ceiling, .check = moved_or_given_up,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0 r0.0"), THREAD("b", 1, "w0.1"), ACTOR("clock", "T1") } },
	{ .name = "remap_vs_ceiling", .about = "the same, and the page is moved elsewhere", .races = "R6 R7 R25",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ceiling,
	  .role = { HANDLER(1), THREAD("a", 1, "R0.0"), ACTOR("mover", "V0>2 r2.0"), ACTOR("clock", "T1") } },
	FAIL(copy_and_disarm, "the copy fails, and then the put-back", "R6 R7", .lock_steps = true),
	{ .name = "remap_vs_failing_copy_in", .about = "half a page cannot be put in its new place at once",
	  .races = "R25", .policy = HN_POLICY_TWO_STAGE, .setup = fail_copy_in_1,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), ACTOR("mover", "V0.1>2.0+1 r2.0") } },
	{ .name = "touch_vs_failing_copy_in", .about = "a first touch beside a part that waits for its place",
	  .races = "R25 R27", .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = fail_copy_in_4,
	  .role = { HANDLER(1), ACTOR("mover", "V0.1>2.0+1 N2.1+1 w2.1 r2.0") } },
	{ .name = "remap_vs_failing_copy_2", .about = "a page is moved elsewhere while its copy fails half-way",
	  .races = "R6 R7", .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = fail_copy_2,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "R0.0"), ACTOR("mover", "V0>2 r2.0") } },
	{ .name = "arm_vs_failing_arm_busy", .about = "arming is refused once, EBUSY", .races = "R6",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_mapped,
	  .role = { HANDLER(1), THREAD("a", 1, "w0.0"), ACTOR("scanner", "A0 T5000 A0") } },
	{ .name = "first_touch_vs_failing_hole", .about = "no page of zeros for first touches", .races = "R6 R27",
	  .policy = HN_POLICY_TWO_STAGE, .setup = fail_hole,
	  .role = { HANDLER(1), HANDLER(2), ACTOR("remover", "D0 w0.0 r0.0"), THREAD("b", 0, "w0.1") } },
	{ .name = NULL },
};
