// SPDX-License-Identifier: MIT
/* scenarios_tier.c - a page that nobody has touched goes to a slow node, and just then somebody or something comes. */
#include "check/roles.h"
#include "core/internal.h"

#define SLOW 3

/* Node 3 is slow, node 0 short of memory, and a page through one hint is cold enough. */
static void short_of_memory(struct ck_world *w)
{
	struct hn_core *c = (struct hn_core *)w->core;

	c->par.slow_nodes = 1u << SLOW;
	c->par.hot_ms = 1000;
	c->par.cold_rounds = 1;
	c->plan.target[0] = SLOW;
	c->plan.pages[0] = 2;
}

static void cold_armed(struct ck_world *w)
{
	ck_world_armed(w);
	short_of_memory(w);
}

static void cold_armed_beside_another(struct ck_world *w)
{
	ck_have(w, 0, 2, 0);
	ck_have_armed(w, 0, 1);
	short_of_memory(w);
}

/* Reclaim splits pages, and the kernel does not say which parts of them it has moved. */
static void cold_armed_mute(struct ck_world *w)
{
	cold_armed(w);
	w->mute = true;
}

static void cold_mapped_mute(struct ck_world *w)
{
	ck_world_mapped(w);
	short_of_memory(w);
	w->mute = true;
}

static void no_target(struct ck_world *w)
{
	cold_armed(w);
	ck_have_targets(w, 0);
}

#define TIER .policy = HN_POLICY_AUTOMATIC, .lock_steps = true, .expiry_ms = 500

const struct ck_scenario ck_tier_scenarios[] = {
	{ .name = "demotion_vs_fault", .about = "a cold page is sent to a slow node while a thread touches it", .races = "R1 R2 R4",
	  TIER, .setup = cold_armed,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0 r0.0"), ACTOR("scanner", "T600 E") } },
	{ .name = "demotion_vs_two_faults", .about = "the same, two threads of different nodes", .races = "R1 R2",
	  TIER, .setup = cold_armed,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), THREAD("b", 1, "w0.1"), ACTOR("scanner", "T600 E") } },
	{ .name = "demotion_vs_promotion", .about = "a page is sent to a slow node, armed again and wanted back", .races = "R1 R11",
	  TIER, .setup = cold_armed,
	  .role = { HANDLER(1), HANDLER(2), THREAD("a", 0, "w0.0"), ACTOR("scanner", "T600 E A0") } },
	{ .name = "demotion_vs_unmap", .about = "a cold page is unmapped while it is sent to a slow node", .races = "R17 R26",
	  TIER, .setup = cold_armed,
	  .role = { HANDLER(1), ACTOR("unmapper", "U0 N0 w0.0"), ACTOR("scanner", "T600 E") } },
	{ .name = "demotion_vs_remove", .about = "a part of a cold page is dropped while it is sent to a slow node",
	  .races = "R15 R16", TIER, .setup = cold_armed,
	  .role = { HANDLER(1), ACTOR("remover", "D0.1+1 r0.1 r0.0"), ACTOR("scanner", "T600 E") } },
	{ .name = "demotion_vs_remap", .about = "a cold page moves elsewhere while it is sent to a slow node", .races = "R25",
	  TIER, .setup = cold_armed,
	  .role = { HANDLER(1), ACTOR("mover", "V0>2 r2.0"), ACTOR("scanner", "T600 E") } },
	{ .name = "demotion_vs_fault_and_event", .about = "a cold page is touched while it is sent to a slow node, and an event elsewhere "
							  "keeps it from being put in place",
	  .races = "R6 R7", TIER, .setup = cold_armed_beside_another,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), ACTOR("unmapper", "U1"), ACTOR("scanner", "T600 E") } },
	{ .name = "demotion_vs_failing_target", .about = "the slow node has no page free, and a thread comes", .races = "R6 R29",
	  TIER, .setup = no_target,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), ACTOR("scanner", "T600 E") } },
	{ .name = "demotion_vs_drain", .about = "everything is put back for a fork while a thread waits for a demotion", .races = "R7",
	  TIER, .setup = cold_armed,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.0"), ACTOR("scanner", "T600 E G") } },
	{ .name = "demotion_vs_split", .about = "reclaim splits a cold page while it is sent to a slow node", .races = "R3 R23",
	  TIER, .setup = cold_armed_mute,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.1"), ACTOR("scanner", "T600 E"), ACTOR("reclaim", "k0 K0") } },
	{ .name = "demotion_vs_split_arm", .about = "a cold page that is there in part is sent to a slow node", .races = "R3 R13 R23",
	  TIER, .setup = cold_mapped_mute,
	  .role = { HANDLER(1), THREAD("a", 0, "w0.1"), ACTOR("scanner", "A0 T600 E"), ACTOR("reclaim", "K0") } },
	{ .name = NULL },
};
