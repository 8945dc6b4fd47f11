// SPDX-License-Identifier: MIT
/* scenarios_stop.c - stopping: everything is put back, memory is given back to the kernel, the handlers leave. */
#include "check/roles.h"

const struct ck_scenario ck_stop_scenarios[] = {
	{ .name = "stop_vs_fault", .about = "everything is put back and let go of while threads fault", .races = "R7",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_two_armed,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), THREAD("b", 0, "w1.0"), ACTOR("stopper", "G L") } },
	{ .name = "stop_vs_migration", .about = "everything is put back and let go of while a page migrates",
	  .races = "R7", .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 1, "w0.0"), ACTOR("stopper", "G L") } },
	{ .name = "stop_vs_unmap", .about = "everything is put back while memory is unmapped", .races = "R26",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_two_armed,
	  .role = { HANDLER(1), ACTOR("unmapper", "U0"), ACTOR("stopper", "G L") } },
	{ .name = "stop_vs_remove", .about = "everything is put back while memory is dropped", .races = "R15 R26",
	  .policy = HN_POLICY_TWO_STAGE, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), ACTOR("remover", "D0 r0.0"), ACTOR("stopper", "G L") } },
	{ .name = "stop_vs_remap", .about = "everything is put back while half a page moves elsewhere", .races = "R25",
	  .policy = HN_POLICY_TWO_STAGE, .ways = CK_MOVE_ONLY, .lock_steps = true, .setup = ck_world_armed,
	  .role = { HANDLER(1), ACTOR("mover", "V0.1>2.0+1"), ACTOR("stopper", "G L") } },
	{ .name = NULL },
};
