// SPDX-License-Identifier: MIT
/*
 * judge.c - the rules of the built-in policies.
 *
 * What each is good for, and where the kernel's balancing does otherwise, is in docs/policy.md.
 */
#include "core/policy.h"

#include "core/history.h"

#define SETTLING_RUN 4u    /* somebody who has had it alone for so many samples ... */
#define SETTLING_MS 1000u  /* ... and so long is no passer-by */
#define SOME_SAMPLES 4u    /* if none of so many is from the page's own node, it may as well be with somebody who uses it, ... */
#define RESTS 10u          /* ... once in so many times policy.settle_ms: among several users that comes about by chance */

static void stay(struct hn_ruling *r, enum hn_refusal why)
{
	r->target_nid = HN_NO_NODE;
	r->refusal = why;
}

static void move(struct hn_ruling *r, int nid, enum hn_reason why)
{
	r->target_nid = nid;
	r->reason = why;
}

static bool allowed(const struct hn_judge *j, int nid) { return (j->place->allowed >> nid & 1) != 0; }

void hn_judge_two_stage(const struct hn_judge *j, struct hn_ruling *r)
{
	if (hn_history_node(j->history, 0) != j->thread_nid)
		stay(r, HN_REFUSE_FILTER);
	else
		move(r, j->thread_nid, j->same_thread ? HN_REASON_THREAD : HN_REASON_NODE);
}

void hn_judge_first_touch(const struct hn_judge *j, struct hn_ruling *r)
{
	if (!allowed(j, j->thread_nid))
		stay(r, HN_REFUSE_NODES);
	else if (hn_history_samples(j->history) == 0)
		move(r, j->thread_nid, HN_REASON_FIRST);
	else
		stay(r, HN_REFUSE_ONCE);
}

/* The last sample from a node other than the page's; HN_NO_NODE: none. */
static int last_remote(const struct hn_judge *j)
{
	unsigned i;

	for (i = 0; i < HN_HISTORY_SAMPLES; i++) {
		int nid = hn_history_node(j->history, i);

		if (nid != HN_NO_NODE && nid != j->page_nid)
			return nid;
	}
	return HN_NO_NODE;
}

/* Three times as much is done by its threads there as here. */
static bool group_is_there(const struct hn_judge *j)
{
	return (uint64_t)j->group_cpu[j->thread_nid] > (uint64_t)j->group_cpu[j->page_nid] * 3;
}

/* The same; or, weighed by where the group's pages are, a third more. */
static bool group_wants(const struct hn_judge *j)
{
	uint64_t cpu_to = j->group_cpu[j->thread_nid], cpu_from = j->group_cpu[j->page_nid];
	uint64_t mem_to = j->group_mem[j->thread_nid], mem_from = j->group_mem[j->page_nid];

	return group_is_there(j) || cpu_to * mem_from * 3 > cpu_from * mem_to * 4;
}

void hn_judge_kernel(const struct hn_judge *j, struct hn_ruling *r)
{
	int last = last_remote(j);

	if (!allowed(j, j->thread_nid))
		stay(r, HN_REFUSE_NODES);
	else if (last == HN_NO_NODE && hn_history_samples(j->history) == 0)
		move(r, j->thread_nid, HN_REASON_FIRST);
	else if (last != j->thread_nid)
		stay(r, HN_REFUSE_FILTER);
	else if (j->same_thread)
		move(r, j->thread_nid, HN_REASON_THREAD);
	else if (!j->group_cpu)
		move(r, j->thread_nid, HN_REASON_NODE);
	else if (group_wants(j))
		move(r, j->thread_nid, HN_REASON_GROUP);
	else
		stay(r, HN_REFUSE_SHARED);
}

/* The address decides among the nodes that use the page, so that neighbouring pages go to different ones. */
static int spread_target(const struct hn_judge *j, uint64_t h)
{
	int nodes[HN_HISTORY_SAMPLES + 1];
	unsigned nr = 0;
	int nid;

	for (nid = 0; nid < (int)j->place->nr_nodes && nr < HN_HISTORY_SAMPLES; nid++)
		if (allowed(j, nid) && hn_history_count(h, nid))
			nodes[nr++] = nid;
	return nr ? nodes[(j->haddr >> HN_PAGE_SHIFT) % nr] : HN_NO_NODE;
}

/* The threads that share memory are nearly all on this node by now, and the page's own samples do not say otherwise. */
static bool group_moved_on(const struct hn_judge *j, uint64_t h)
{
	return j->group_cpu && group_is_there(j) &&
	       hn_history_count(h, j->thread_nid) >= hn_history_count(h, j->page_nid);
}

/* Its place is with this thread more than where it is: nobody else uses it lately, or nobody where it is. */
static bool is_out_of_place(const struct hn_judge *j, uint64_t h)
{
	if (hn_history_all_same(h))
		return true;
	if (j->moved && j->moved_ms_ago / RESTS < j->place->settle_ms)
		return false;
	return hn_history_samples(h) >= SOME_SAMPLES && hn_history_count(h, j->page_nid) == 0;
}

/* Wherever such a page is, somebody is far away: moving it after each of them helps nobody. */
static void judge_shared(const struct hn_judge *j, uint64_t h, struct hn_ruling *r)
{
	bool rested = !j->moved || j->moved_ms_ago >= j->place->settle_ms;
	int nid = j->place->spread_shared ? spread_target(j, h) : HN_NO_NODE;

	if (rested && nid != HN_NO_NODE && nid != j->page_nid)
		move(r, nid, HN_REASON_SPREAD);
	else if (rested && !j->place->spread_shared && is_out_of_place(j, h))
		move(r, j->thread_nid, HN_REASON_MAJORITY);
	else if (rested && !j->place->spread_shared && group_moved_on(j, h))
		move(r, j->thread_nid, HN_REASON_GROUP);
	else
		stay(r, HN_REFUSE_SHARED);
}

static bool is_in(uint64_t set, int nid) { return (set >> nid & 1) != 0; }

/* One sample is enough, as far as it is quick: how soon a page is touched tells how often it is used. */
bool hn_judge_tier(const struct hn_judge *j, struct hn_ruling *r)
{
	const struct hn_placing *p = j->place;

	if (!is_in(p->slow, j->page_nid) && !is_in(p->slow, j->thread_nid))
		return false;
	if (is_in(p->slow, j->thread_nid))
		stay(r, HN_REFUSE_TIER);
	else if (!allowed(j, j->thread_nid))
		stay(r, HN_REFUSE_NODES);
	else if (is_in(p->full, j->thread_nid))
		stay(r, HN_REFUSE_LOW);
	else if (is_in(p->roomy, j->thread_nid))
		move(r, j->thread_nid, HN_REASON_ROOM);
	else if (j->idle_ms + j->armed_ms_ago > p->hot_ms)
		stay(r, HN_REFUSE_COLD);
	else
		move(r, j->thread_nid, HN_REASON_HOT);
	return true;
}

/*
 * Somebody else had it last. Where nobody at all uses it on its own node, nor the pages around it, it lies where it was
 * filled, and is better off with any of those who use it.
 */
static void judge_passer_by(const struct hn_judge *j, uint64_t h, struct hn_ruling *r)
{
	if (j->deserted && !j->moved && hn_history_count(h, j->page_nid) == 0)
		move(r, j->thread_nid, HN_REASON_MAJORITY);
	else
		stay(r, HN_REFUSE_FILTER);
}

/* It has come a moment ago, and somebody else had it for a moment only: sending it on may be work for nothing. */
static bool is_settling(const struct hn_judge *j, uint64_t h)
{
	if (!j->moved || j->moved_ms_ago >= j->place->settle_ms || j->tenure.doubt < HN_DOUBT_BRIEF)
		return false;
	return hn_history_run(h) < SETTLING_RUN || j->tenure_ms < SETTLING_MS;
}

/* Nobody else uses it, if somebody did. What its thread did while it wandered says nothing once it has come to rest. */
static bool is_its_own(uint64_t h) { return hn_history_one_thread(h) || hn_history_all_same(h); }

void hn_judge_automatic(const struct hn_judge *j, struct hn_ruling *r)
{
	uint64_t h = hn_history_push(j->history, j->thread_nid, j->same_thread);

	if (hn_judge_tier(j, r))
		return;
	if (!allowed(j, j->thread_nid))
		stay(r, HN_REFUSE_NODES);
	else if (hn_history_samples(h) == 1 && (!j->disputed || j->deserted))
		move(r, j->thread_nid, HN_REASON_FIRST);
	else if (j->at_home && is_its_own(h))
		move(r, j->thread_nid, HN_REASON_THREAD);
	else if (j->tenure.shared)
		judge_shared(j, h, r);
	else if (hn_history_run(h) < 2 && !hn_history_one_thread(h))
		judge_passer_by(j, h, r);
	else if (is_settling(j, h))
		stay(r, HN_REFUSE_SETTLING);
	else
		move(r, j->thread_nid, j->same_thread ? HN_REASON_THREAD : HN_REASON_NODE);
}
