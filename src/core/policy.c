// SPDX-License-Identifier: MIT
/*
 * policy.c - is a page misplaced? Pure decisions on the entry's record, asked with entry lock AND page lock held (F4),
 * so that inputs, decision and disarm cannot come apart (R1, R4, R22). The rules themselves are in judge.c.
 */
#include "core/history.h"
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

void hn_policy_allow(struct hn *hn, uint64_t nodes) { __atomic_store_n(&hn->core->par.allowed_nodes, nodes, __ATOMIC_RELAXED); }

static void halve(uint32_t *p) { __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) / 2, __ATOMIC_RELAXED); }

void hn_policy_age(struct hn *hn)
{
	uint32_t i;

	for (i = 0; i < hn->core->par.nr_nodes; i++) {
		halve(&hn->core->by_cpu[i]);
		halve(&hn->core->by_page[i]);
	}
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

static void judge_chaos(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, int thread_nid, struct hn_ruling *r)
{
	r->target_nid = chaos(hn, e, haddr, thread_nid);
	r->reason = HN_REASON_TEST;
}

static void judge_placement(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, int thread_nid, uint32_t tid,
			    uint32_t now_ms, struct hn_ruling *r)
{
	const struct hn_params *par = &hn->core->par;
	uint64_t allowed = __atomic_load_n(&par->allowed_nodes, __ATOMIC_RELAXED);
	uint32_t policy = policy_of(hn);
	struct hn_placing place = {
		.nr_nodes = par->nr_nodes,
		.allowed = allowed ? allowed : ~(uint64_t)0,
		.spread_shared = par->spread_shared != 0,
		.settle_ms = par->settle_ms,
	};
	struct hn_judge j = {
		.place = &place,
		.haddr = haddr,
		.page_nid = e->nid,
		.thread_nid = thread_nid,
		.history = e->history,
		.same_thread = e->last_tid == tid,
		.moved = e->moved != 0,
		.moved_ms_ago = now_ms - e->moved_ms,
		.stayed = e->stayed,
		.shared = e->shared != 0,
		.by_cpu = hn->core->by_cpu,
		.by_page = hn->core->by_page,
	};

	if (policy == HN_POLICY_TWO_STAGE)
		hn_judge_two_stage(&j, r);
	else if (policy == HN_POLICY_KERNEL)
		hn_judge_kernel(&j, r);
	else
		hn_judge_automatic(&j, r);
	if (r->target_nid == HN_NO_NODE)
		return;
	if (policy == HN_POLICY_OBSERVE) {
		r->target_nid = HN_NO_NODE;
		r->refusal = HN_REFUSE_OBSERVE;
	} else if (hn_limit_reached(hn, now_ms, &r->refusal)) {
		r->target_nid = HN_NO_NODE;
	}
}

static bool is_local(const struct hn_ruling *r, bool test, int thread_nid, int page_nid)
{
	return test ? r->target_nid == page_nid : thread_nid == page_nid;
}

bool hn_policy_misplaced(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, int thread_nid, uint32_t tid,
			 uint32_t now_ms, struct hn_ruling *r)
{
	bool test = is_chaos(policy_of(hn));

	*r = (struct hn_ruling){ .target_nid = HN_NO_NODE, .refusal = HN_REFUSE_NO_NODE };
	if (thread_nid < 0 || e->nid < 0)
		return false;
	if (test)
		judge_chaos(hn, e, haddr, thread_nid, r);
	if (is_local(r, test, thread_nid, e->nid)) {
		r->target_nid = HN_NO_NODE;
		r->local = true;
	} else if (hn_entry_held(e, HN_E_NO_MOVE, now_ms)) {
		r->target_nid = HN_NO_NODE;
		r->refusal = HN_REFUSE_HELD;
	} else if (!test) {
		judge_placement(hn, e, haddr, thread_nid, tid, now_ms, r);
	}
	return r->target_nid != HN_NO_NODE;
}

void hn_policy_record(struct hn *hn, struct hn_entry *e, int thread_nid, uint32_t tid)
{
	e->history = hn_history_push(e->history, thread_nid, e->last_tid == tid);
	e->last_tid = tid;
	e->shared = hn_judge_is_shared(e->history, e->shared != 0);
	if (thread_nid == e->nid && hn_history_run(e->history) > e->stayed)
		e->stayed = (uint8_t)hn_history_run(e->history);
	hn_stat_add(&hn->stats->samples, 1);
	if (e->nid >= 0)
		__atomic_fetch_add(&hn->core->by_page[e->nid], 1, __ATOMIC_RELAXED);
	if (thread_nid >= 0)
		__atomic_fetch_add(&hn->core->by_cpu[thread_nid], 1, __ATOMIC_RELAXED);
	if (thread_nid >= 0)
		hn_stat_add(&hn->stats->sample_from[thread_nid], 1);
}

/* A first sample is little reason: where it sent the page, nothing holds it. */
void hn_policy_moved(struct hn_entry *e, enum hn_reason reason, uint32_t now_ms)
{
	e->moved = reason != HN_REASON_FIRST;
	e->moved_ms = now_ms;
	e->stayed = 0;
}
