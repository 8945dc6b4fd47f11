// SPDX-License-Identifier: MIT
/*
 * policy.c - is a page misplaced? Pure decisions on the entry's record, asked with entry lock AND page lock held (F4),
 * so that inputs, decision and disarm cannot come apart (R1, R4, R22).
 */
#include "core/internal.h"

/* A fixed mix of 64 bits; no state, so that a decision can be replayed. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ULL;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44dULL;
	return x ^ (x >> 33);
}

/* It orders nothing, and may change between two looks: each fault is judged by one or the other. */
static uint32_t policy_of(const struct hn *hn) { return __atomic_load_n(&hn->core->par.policy, __ATOMIC_RELAXED); }

void hn_policy_set(struct hn *hn, uint32_t policy) { __atomic_store_n(&hn->core->par.policy, policy, __ATOMIC_RELAXED); }

/* Two samples in a row from the same node, and the kernel's blind spot mended: local samples are recorded too. */
static int two_stage(const struct hn_entry *e, int thread_nid, enum hn_refusal *refusal)
{
	if (e->last_nid != thread_nid) {
		*refusal = HN_REFUSE_FILTER;
		return HN_NO_NODE;
	}
	return thread_nid;
}

/*
 * The torture policies only want pages on the move. Threads of different nodes get different verdicts for one hint, as
 * they would from a real policy: the founding race needs one that stays while another moves (R1).
 */
static int chaos(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, int thread_nid)
{
	const struct hn_params *par = &hn->core->par;
	uint32_t policy = policy_of(hn);
	uint64_t r = mix(haddr ^ ((uint64_t)par->seed << 32) ^ ((uint64_t)(uint32_t)thread_nid << 53) ^ e->gen);

	switch (policy) {
	case HN_POLICY_ALTERNATE:
		return (e->gen / 2 + (uint32_t)thread_nid) & 1 ? (e->nid + 1) % (int)par->nr_nodes : e->nid;
	case HN_POLICY_RANDOM:
		return (int)(r % par->nr_nodes);
	default:
		return (e->nid + 1) % (int)par->nr_nodes;
	}
}

static bool is_chaos(uint32_t policy)
{
	return policy == HN_POLICY_ALWAYS || policy == HN_POLICY_ALTERNATE || policy == HN_POLICY_RANDOM;
}

int hn_policy_misplaced(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, int thread_nid, uint32_t now_ms,
			enum hn_refusal *refusal, bool *local)
{
	uint32_t policy = policy_of(hn);
	int target;

	*local = false;
	if (thread_nid < 0 || e->nid < 0) {
		*refusal = HN_REFUSE_NO_NODE;
		return HN_NO_NODE;
	}
	target = is_chaos(policy) ? chaos(hn, e, haddr, thread_nid) : thread_nid;
	if (target == e->nid) {
		*local = true;
		return HN_NO_NODE;
	}
	if (hn_entry_held(e, HN_E_NO_MOVE, now_ms)) {
		*refusal = HN_REFUSE_HELD;
		return HN_NO_NODE;
	}
	if (!is_chaos(policy))
		target = two_stage(e, thread_nid, refusal);
	if (target != HN_NO_NODE && policy == HN_POLICY_OBSERVE) {
		*refusal = HN_REFUSE_OBSERVE;
		return HN_NO_NODE;
	}
	return target;
}

void hn_policy_record(struct hn *hn, struct hn_entry *e, int thread_nid, uint32_t tid)
{
	e->last_nid = (int16_t)thread_nid;
	e->last_tid = tid;
	hn_stat_add(&hn->stats->samples, 1);
	if (thread_nid >= 0)
		hn_stat_add(&hn->stats->sample_from[thread_nid], 1);
}
