// SPDX-License-Identifier: MIT
/*
 * policy.c - is a page misplaced? Pure decisions on the entry's record, asked with entry lock AND page lock held (F4),
 * so that inputs, decision and disarm cannot come apart (R1, R4, R22). The rules themselves are in judge.c.
 */
#include "core/history.h"
#include "core/internal.h"

#include <string.h>

#define NEAR 4         /* pages on each side that say who is around, ... */
#define NEAR_SAMPLES 3 /* ... if so many of them were sampled */

/* It orders nothing, and may change between two looks: each fault is judged by one or the other. */
static uint32_t policy_of(const struct hn *hn) { return __atomic_load_n(&hn->core->par.policy, __ATOMIC_RELAXED); }

void hn_policy_set(struct hn *hn, uint32_t policy) { __atomic_store_n(&hn->core->par.policy, policy, __ATOMIC_RELAXED); }

void hn_policy_allow(struct hn *hn, uint64_t nodes) { __atomic_store_n(&hn->core->par.allowed_nodes, nodes, __ATOMIC_RELAXED); }

void hn_policy_short(struct hn *hn, uint64_t nodes) { __atomic_store_n(&hn->core->par.short_nodes, nodes, __ATOMIC_RELAXED); }

void hn_tier_set_plan(struct hn *hn, const struct hn_tier_plan *plan)
{
	struct hn_tier_plan *p = &hn->core->plan;

	memcpy(p->target, plan->target, sizeof(p->target));
	memcpy(p->pages, plan->pages, sizeof(p->pages));
	__atomic_store_n(&p->full, plan->full, __ATOMIC_RELAXED);
	__atomic_store_n(&p->roomy, plan->roomy, __ATOMIC_RELAXED);
}

static void halve(uint32_t *p) { __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) / 2, __ATOMIC_RELAXED); }

void hn_policy_age(struct hn *hn)
{
	uint32_t i;

	for (i = 0; i < hn->core->par.nr_nodes; i++) {
		halve(&hn->core->by_cpu[i]);
		halve(&hn->core->by_page[i]);
	}
}

void hn_policy_set_wish(struct hn *hn, uint32_t wish, const struct hn_wish *w)
{
	if (wish == 0 || wish >= HN_MAX_WISHES)
		return;
	__atomic_store_n(&hn->core->wish[wish].nodes, w->nodes, __ATOMIC_RELAXED);
	__atomic_store_n(&hn->core->wish[wish].dry, w->dry, __ATOMIC_RELAXED);
	__atomic_store_n(&hn->core->wish[wish].soft, w->soft, __ATOMIC_RELAXED);
}

/* The nodes that the page may be on: what the user allows, and of that what the program wants. */
static uint64_t allowed_for(const struct hn *hn, const struct hn_entry *e)
{
	uint64_t allowed = __atomic_load_n(&hn->core->par.allowed_nodes, __ATOMIC_RELAXED);
	uint64_t nodes = __atomic_load_n(&hn->core->wish[e->wish].nodes, __ATOMIC_RELAXED);

	return (allowed ? allowed : ~(uint64_t)0) & (nodes ? nodes : ~(uint64_t)0);
}

static bool is_dry(const struct hn *hn, const struct hn_entry *e)
{
	return (hn_policies[policy_of(hn)].traits & HN_POLICY_DRY) || __atomic_load_n(&hn->core->wish[e->wish].dry, __ATOMIC_RELAXED);
}

bool hn_policy_may_send(const struct hn *hn, const struct hn_entry *e, int nid)
{
	return (allowed_for(hn, e) >> nid & 1) && !is_dry(hn, e);
}

/* The program wants the page on other nodes than it is on: to that of the thread, or else to one by its address. */
static bool is_astray(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, int thread_nid, struct hn_ruling *r)
{
	uint64_t nodes = __atomic_load_n(&hn->core->wish[e->wish].nodes, __ATOMIC_RELAXED);
	int of[HN_MAX_NODES], nr = 0, nid;

	if (!nodes || (nodes >> e->nid & 1) || __atomic_load_n(&hn->core->wish[e->wish].soft, __ATOMIC_RELAXED))
		return false;
	nodes = allowed_for(hn, e);
	for (nid = 0; nid < (int)hn->core->par.nr_nodes; nid++)
		if (nodes >> nid & 1)
			of[nr++] = nid;
	r->refusal = HN_REFUSE_NODES;
	r->reason = HN_REASON_BOUND;
	if (nr)
		r->target_nid = nodes >> thread_nid & 1 ? thread_nid : of[(haddr >> HN_PAGE_SHIFT) % (unsigned)nr];
	return true;
}

/* Last samples of the pages around one: only a hint, so no lock is taken, and nothing is looked for in another chunk. */
static int neighbour(const struct hn *hn, const struct hn_entry *e, int off)
{
	int i = (int)((uint32_t)(e - hn_entries(hn)) & (hn_chunk_entries(hn) - 1)) + off;

	if (i < 0 || i >= (int)hn_chunk_entries(hn))
		return HN_NO_NODE;
	return hn_history_node(__atomic_load_n(&e[off].history, __ATOMIC_RELAXED), 0);
}

/* Does a page beside this one belong to somebody else? */
static bool is_disputed(const struct hn *hn, const struct hn_entry *e, int thread_nid)
{
	int before = neighbour(hn, e, -1), after = neighbour(hn, e, 1);

	return (before != HN_NO_NODE && before != thread_nid) || (after != HN_NO_NODE && after != thread_nid);
}

/* Is nobody around here on the node that the page lies on? */
static bool is_deserted(const struct hn *hn, const struct hn_entry *e)
{
	int off, known = 0;

	for (off = -NEAR; off <= NEAR; off++) {
		int nid = off ? neighbour(hn, e, off) : HN_NO_NODE;

		if (nid == e->nid)
			return false;
		known += nid != HN_NO_NODE;
	}
	return known >= NEAR_SAMPLES;
}

/* What the policy wants, limits included; local or held is known not to stand against it. */
static void ask(const struct hn *hn, const struct hn_entry *e, const struct hn_policy *policy, uint32_t tid,
		struct hn_judge *j, uint32_t now_ms, struct hn_ruling *r)
{
	const struct hn_thread *thread = hn_thread_find(hn, tid);
	const struct hn_group *group = thread ? hn_group_of(hn, __atomic_load_n(&thread->group, __ATOMIC_RELAXED)) : NULL;
	const struct hn_params *par = &hn->core->par;
	struct hn_placing place = {
		.nr_nodes = par->nr_nodes,
		.allowed = allowed_for(hn, e),
		.spread_shared = par->spread_shared != 0,
		.settle_ms = par->settle_ms,
		.slow = par->slow_nodes,
		.full = __atomic_load_n(&hn->core->plan.full, __ATOMIC_RELAXED),
		.roomy = __atomic_load_n(&hn->core->plan.roomy, __ATOMIC_RELAXED),
		.hot_ms = __atomic_load_n(&hn->core->tier.hot_ms, __ATOMIC_RELAXED),
	};

	j->place = &place;
	j->page_nid = e->nid;
	j->history = e->history;
	j->moved = e->moved;
	j->moved_ms_ago = now_ms - e->moved_ms;
	j->tenure = hn_tenure_sample(e->tenure, hn_history_push(e->history, j->thread_nid, j->same_thread), now_ms);
	j->at_home = thread && hn_thread_is_home(thread, j->thread_nid);
	j->disputed = is_disputed(hn, e, j->thread_nid);
	j->deserted = is_deserted(hn, e);
	j->by_cpu = hn->core->by_cpu;
	j->by_page = hn->core->by_page;
	j->group_cpu = group ? group->cpu : NULL;
	j->group_mem = group ? group->mem : NULL;
	j->armed_ms_ago = now_ms - e->armed_ms;
	j->tenure_ms = hn_tenure_ms(j->tenure, now_ms);
	j->idle_ms = e->idle * par->expiry_ms;
	j->gen = e->gen;
	j->seed = par->seed;
	j->plugin = hn->plugin;
	policy->judge(j, r);
}

static bool is_short(const struct hn *hn, int nid)
{
	return __atomic_load_n(&hn->core->par.short_nodes, __ATOMIC_RELAXED) >> nid & 1;
}

/* It belongs elsewhere. Is it to be moved now? */
static void restrain(const struct hn *hn, const struct hn_entry *e, const struct hn_policy *policy, uint32_t tid,
		     uint32_t now_ms, struct hn_ruling *r)
{
	if (hn_entry_held(e, HN_E_NO_MOVE, now_ms))
		r->refusal = HN_REFUSE_HELD;
	else if (!(allowed_for(hn, e) >> r->target_nid & 1)) /* not every policy looks at that */
		r->refusal = HN_REFUSE_NODES;
	else if (is_dry(hn, e))
		r->refusal = HN_REFUSE_OBSERVE;
	else if (!(policy->traits & HN_POLICY_UNLIMITED) && hn_threads_hold(hn, tid, e->nid, e->tenure.shared))
		r->refusal = HN_REFUSE_THREAD;
	else if (!(policy->traits & HN_POLICY_UNLIMITED) && is_short(hn, r->target_nid))
		r->refusal = HN_REFUSE_ROOM;
	else if ((r->reason == HN_REASON_HOT || r->reason == HN_REASON_ROOM) &&
		 !hn_tier_within_rate(&hn->core->tier, hn->core->par.promote_pages, now_ms))
		r->refusal = HN_REFUSE_RATE;
	else if ((policy->traits & HN_POLICY_UNLIMITED) || !hn_limit_reached(hn, now_ms, &r->refusal))
		return;
	r->target_nid = HN_NO_NODE;
}

void hn_policy_not_begun(struct hn *hn, uint32_t now_ms)
{
	if (!(hn_policies[policy_of(hn)].traits & HN_POLICY_UNLIMITED))
		hn_limit_not_begun(hn, now_ms);
}

bool hn_policy_misplaced(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, int thread_nid, uint32_t tid,
			 uint32_t now_ms, struct hn_ruling *r)
{
	const struct hn_policy *policy = &hn_policies[policy_of(hn)];
	bool same_node = thread_nid == e->nid;
	struct hn_judge j = { .haddr = haddr, .thread_nid = thread_nid, .same_thread = e->last_tid == tid };

	*r = (struct hn_ruling){ .target_nid = HN_NO_NODE, .refusal = HN_REFUSE_NO_NODE, .rule = HN_NO_RULE };
	if (thread_nid < 0 || e->nid < 0)
		return false;
	if (is_astray(hn, e, haddr, thread_nid, r))
		;
	else if (same_node && !(policy->traits & HN_POLICY_ASKED_OF_LOCAL))
		r->local = true;
	else if (hn_entry_held(e, HN_E_NO_MOVE, now_ms) && !(policy->traits & HN_POLICY_ASKED_OF_LOCAL))
		r->refusal = HN_REFUSE_HELD;
	else
		ask(hn, e, policy, tid, &j, now_ms, r);
	if (r->target_nid == HN_NO_NODE)
		return false;
	restrain(hn, e, policy, tid, now_ms, r);
	return r->target_nid != HN_NO_NODE;
}

static bool knows_tiers(const struct hn *hn) { return hn_policies[policy_of(hn)].judge == hn_judge_automatic; }

/* Will another sample soon tell more? Not where the page belongs, nor where nothing would follow from it. */
static bool leaves_question(const struct hn *hn, const struct hn_entry *e, int thread_nid)
{
	uint64_t slow = hn->core->par.slow_nodes;

	if (thread_nid == e->nid || thread_nid < 0 || e->nid < 0 || hn_tenure_is_known(e->tenure))
		return false;
	if (!(allowed_for(hn, e) >> thread_nid & 1))
		return false;
	/* Hot or cold is not told by asking again at once: any page is touched soon while it is in use. */
	if (knows_tiers(hn) && ((slow >> e->nid & 1) || (slow >> thread_nid & 1)))
		return false;
	return !(hn_policies[policy_of(hn)].traits & HN_POLICY_DRY) || hn_history_run(e->history) < 2;
}

void hn_policy_record(struct hn *hn, struct hn_entry *e, int thread_nid, uint32_t tid, uint32_t now_ms)
{
	hn_threads_note(hn, e, thread_nid, tid);
	/* Neighbours look at it without the lock. */
	__atomic_store_n(&e->history, hn_history_push(e->history, thread_nid, e->last_tid == tid), __ATOMIC_RELAXED);
	e->tenure = hn_tenure_sample(e->tenure, e->history, now_ms);
	e->last_tid = tid;
	hn_entry_set_open(hn, e, leaves_question(hn, e, thread_nid));
	hn_stat_add(&hn->stats->samples, 1);
	if (e->nid >= 0)
		__atomic_fetch_add(&hn->core->by_page[e->nid], 1, __ATOMIC_RELAXED);
	if (thread_nid >= 0)
		__atomic_fetch_add(&hn->core->by_cpu[thread_nid], 1, __ATOMIC_RELAXED);
	if (thread_nid >= 0)
		hn_stat_add(&hn->stats->sample_from[thread_nid], 1);
}

void hn_policy_moved(struct hn_entry *e, uint32_t now_ms)
{
	e->moved = 1;
	e->moved_ms = now_ms;
	e->demoted = 0;
}
