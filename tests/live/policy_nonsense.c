// SPDX-License-Identifier: MIT
/* policy_nonsense.c - a policy that seldom makes sense: nodes and rules that there are not, other nodes at random. */
#include "hugenuma/policy.h"

static const struct hugenuma_rule rules[] = { { "anything", "it is as good as anything" } };

static void judge(const struct hugenuma_fault *f, struct hugenuma_answer *answer)
{
	uint64_t x = f->address >> 21;

	for (uint32_t i = 0; i < f->nr_nodes; i++)
		x += f->by_thread_node[i] + 3 * f->by_page_node[i];
	x *= 0x9e3779b97f4a7c15u;
	answer->node = (int32_t)(x >> 16 & 7) - 2;
	answer->rule = x >> 40 & 7 ? 0 : (uint32_t)(x >> 8);
}

extern const struct hugenuma_policy hugenuma_policy;

const struct hugenuma_policy hugenuma_policy = {
	HUGENUMA_POLICY_ABI, sizeof(hugenuma_policy), "nonsense", "for a test", rules, 1, 0, judge,
};
