// SPDX-License-Identifier: MIT
/*
 * policies.c - the table of policies, and those that are for torture. The rules of the others are in judge.c.
 */
#include "core/policy.h"

const struct hn_policy hn_policies[HN_NR_POLICIES] = {
	[HN_POLICY_AUTOMATIC] = {"automatic", "follow the user of a page, leave alone what several nodes share",
				 hn_judge_automatic, 0},
	[HN_POLICY_KERNEL] = {"kernel", "as the kernel's balancing judges, as far as one process can", hn_judge_kernel,
			      0},
	[HN_POLICY_TWO_STAGE] = {"two-stage", "move after two samples in a row from the same node", hn_judge_two_stage,
				 0},
	[HN_POLICY_FIRST_TOUCH] = {"first-touch", "move to the first user, and never again", hn_judge_first_touch, 0},
	[HN_POLICY_OBSERVE] = {"observe", "judge as automatic does, and never move", hn_judge_automatic, HN_POLICY_DRY},
	[HN_POLICY_ALWAYS] = {"always", "for tests: every sample goes to the next node", hn_judge_always,
			      HN_POLICY_ASKED_OF_LOCAL | HN_POLICY_UNLIMITED},
	[HN_POLICY_ALTERNATE] = {"alternate", "for tests: move, stay, move, stay", hn_judge_alternate,
				 HN_POLICY_ASKED_OF_LOCAL | HN_POLICY_UNLIMITED},
	[HN_POLICY_RANDOM] = {"random", "for tests: seeded coin and seeded target", hn_judge_random,
			      HN_POLICY_ASKED_OF_LOCAL | HN_POLICY_UNLIMITED},
	[HN_POLICY_PLUGIN] = {"plugin", "a shared object", hn_judge_plugin, HN_POLICY_ASKED_OF_LOCAL},
};

/* A fixed mix of 64 bits; no state, so that a decision can be replayed. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ULL;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44dULL;
	return x ^ (x >> 33);
}

/* For these a page is local where it was to go anyway. */
static void to(const struct hn_judge *j, struct hn_ruling *r, int nid)
{
	r->local = nid == j->page_nid;
	r->target_nid = r->local ? HN_NO_NODE : nid;
	r->reason = HN_REASON_TEST;
}

static int next(const struct hn_judge *j) { return (j->page_nid + 1) % (int)j->place->nr_nodes; }

void hn_judge_always(const struct hn_judge *j, struct hn_ruling *r) { to(j, r, next(j)); }

/*
 * Threads of different nodes get different verdicts for one hint, as they would from a real policy: the founding race
 * needs one that stays while another moves (R1).
 */
void hn_judge_alternate(const struct hn_judge *j, struct hn_ruling *r)
{
	to(j, r, (j->gen / 2 + (uint32_t)j->thread_nid) & 1 ? next(j) : j->page_nid);
}

void hn_judge_random(const struct hn_judge *j, struct hn_ruling *r)
{
	uint64_t x = j->haddr ^ ((uint64_t)j->seed << 32) ^ ((uint64_t)(uint32_t)j->thread_nid << 53) ^ j->gen;

	to(j, r, (int)(mix(x) % j->place->nr_nodes));
}
