// SPDX-License-Identifier: MIT
/*
 * policy_sticky.c - a policy as a plug-in: a page moves only after three samples in a row from one other node, and a page
 * that three nodes have used lately stays for good.
 *
 *     cc -O2 -fPIC -shared -nostartfiles -fno-stack-protector -o sticky.so policy_sticky.c
 *     hugenuma run --policy ./sticky.so -- PROGRAM
 *
 * hugenuma/policy.h is the contract. There is no state here: everything there is to know is in the question.
 */
#include "hugenuma/policy.h"

#define IN_A_ROW 3u
#define TOO_MANY_NODES 3u

enum rule { LOCAL, NOT_ALLOWED, SHARED, TOO_FEW, ENOUGH, NR_RULES };

static const struct hugenuma_rule rules[NR_RULES] = {
	[LOCAL] = { "local", "it is where it is used" },
	[NOT_ALLOWED] = { "not_allowed", "pages may not go to the node of the thread" },
	[SHARED] = { "three_nodes", "three nodes have used it lately" },
	[TOO_FEW] = { "too_few", "three samples in a row from the same node are wanted" },
	[ENOUGH] = { "three_in_a_row", "three samples in a row came from there" },
};

/* Samples in a row from the thread's node, this one included. */
static uint32_t in_a_row(const struct hugenuma_fault *f)
{
	uint32_t n = 0;

	while (n < HUGENUMA_SAMPLES && f->sample_node[n] == f->thread_node)
		n++;
	return n + 1;
}

static uint32_t nodes_seen(const struct hugenuma_fault *f)
{
	uint64_t seen = (uint64_t)1 << f->thread_node;
	uint32_t i, n = 0;

	for (i = 0; i < HUGENUMA_SAMPLES; i++)
		if (f->sample_node[i] != HUGENUMA_NO_NODE)
			seen |= (uint64_t)1 << f->sample_node[i];
	for (; seen; seen &= seen - 1)
		n++;
	return n;
}

static void judge(const struct hugenuma_fault *f, struct hugenuma_answer *answer)
{
	answer->node = HUGENUMA_NO_NODE;
	if (f->thread_node == f->page_node) {
		answer->rule = LOCAL;
	} else if (!(f->allowed >> f->thread_node & 1)) {
		answer->rule = NOT_ALLOWED;
	} else if (nodes_seen(f) >= TOO_MANY_NODES) {
		answer->rule = SHARED;
	} else if (in_a_row(f) < IN_A_ROW) {
		answer->rule = TOO_FEW;
	} else {
		answer->rule = ENOUGH;
		answer->node = f->thread_node;
	}
}

__attribute__((visibility("default"))) extern const struct hugenuma_policy hugenuma_policy;

const struct hugenuma_policy hugenuma_policy = {
	.abi = HUGENUMA_POLICY_ABI,
	.size = sizeof(struct hugenuma_policy),
	.name = "sticky",
	.about = "three samples in a row from one node",
	.rules = rules,
	.nr_rules = NR_RULES,
	.judge = judge,
};
