// SPDX-License-Identifier: MIT
/*
 * scenarios_fork.c - fork: behind libc (the kernel's event) and through libc (everything is put back first). The child must
 * find what the parent had at that instant.
 */
#include "check/roles.h"

const struct ck_scenario ck_fork_scenarios[] = {
	{ .name = "fork_vs_arm", .about = "a fork behind libc while pages are armed", .races = "R8 R22",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_two,
	  .role = { HANDLER(1), ACTOR("forker", "F w0.0"), ACTOR("scanner", "A0+4") } },
	{ .name = "fork_vs_fault", .about = "a fork behind libc while a page is judged", .races = "R8 R22",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "w0.0 r0.0"), ACTOR("forker", "F") } },
	{ .name = "fork_vs_migration", .about = "a fork behind libc while a page migrates", .races = "R8 R22",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0 r0.0"), ACTOR("forker", "F") } },
	{ .name = "fork_vs_remap", .about = "a fork behind libc while half a page waits for its place", .races = "R25",
	  .policy = HN_POLICY_TWO_STAGE, .ways = CK_MOVE_ONLY, .setup = ck_world_armed,
	  .role = { HANDLER(1), ACTOR("forker", "V0.1>2.0+1 F"), THREAD("b", 0, "w0.0") } },
	{ .name = "drain_fork_vs_fault", .about = "a fork through libc: put everything back, then fork", .races = "R22",
	  .policy = HN_POLICY_TWO_STAGE, .setup = ck_world_two_armed,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.0"), ACTOR("forker", "G f w1.0") } },
	{ .name = "drain_fork_vs_migration", .about = "a fork through libc while a page migrates", .races = "R22",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0 r0.0"), ACTOR("forker", "G f") } },
	{ .name = "drain_fork_vs_remove", .about = "a fork through libc while memory is dropped", .races = "R15 R22",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_two_armed,
	  .role = { HANDLER(1), ACTOR("remover", "D0 r0.0"), ACTOR("forker", "G f") } },
	{ .name = NULL },
};
