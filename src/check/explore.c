// SPDX-License-Identifier: MIT
/*
 * explore.c - the depth-first search, its cutting into items, and replay.
 */
#include "check/explore.h"

#include <stdlib.h>
#include <string.h>

static uint32_t lowest(uint32_t set) { return (uint32_t)__builtin_ctz(set); }

/* A preemption: leaving an actor that could go on. */
static bool preempts(const struct ck *k, uint32_t depth, uint32_t actor)
{
	uint32_t last;

	if (depth == 0)
		return false;
	last = k->node[depth - 1].chosen;
	return actor != last && (k->node[depth].enabled & (1u << last));
}

/* Going on with the same actor gives the executions that are easiest to read. */
static uint32_t prefer(const struct ck *k, uint32_t depth, uint32_t set)
{
	if (depth && (set & (1u << k->node[depth - 1].chosen)))
		return k->node[depth - 1].chosen;
	return lowest(set);
}

/* Within the bound, which of `set` may go on from the node at `depth`? What is refused is counted. */
static uint32_t within_bound(struct ck *k, uint32_t depth, uint32_t set)
{
	uint32_t a, out = set;

	if (k->bound < 0)
		return set;
	for (a = 0; a < k->nr_actors; a++)
		if ((set & (1u << a)) && k->node[depth].preemptions + preempts(k, depth, a) > k->bound)
			out &= ~(1u << a);
	if (out != set)
		k->count.bounded++;
	return out;
}

/* Set up the node after step depth-1: who can go on, and who sleeps because going on with it was explored already. */
static void enter_node(struct ck *k, uint32_t depth)
{
	struct ck_node *n = &k->node[depth];
	uint32_t a;

	n->enabled = ck_enabled(k);
	n->done = n->backtrack = n->sleep = 0;
	n->preemptions = 0;
	if (k->bound >= 0)
		n->backtrack = n->enabled; /* what stands for an execution may be over the bound: try all of them */
	if (depth == 0)
		return;
	n->preemptions = (uint8_t)(k->node[depth - 1].preemptions + preempts(k, depth - 1, k->node[depth - 1].chosen));
	for (a = 0; a < k->nr_actors; a++) {
		const struct ck_node *up = &k->node[depth - 1];
		const struct ck_touches *t;

		if (a == up->chosen || !((up->sleep | up->done) & (1u << a)) || k->bound >= 0)
			continue;
		t = (up->sleep & (1u << a)) ? up->asleep[a] : &up->sibling[a];
		if (ck_conflict(t, &k->step[depth - 1].touches))
			continue;
		n->sleep |= 1u << a;
		n->asleep[a] = t;
	}
}

/* To the beginning, with nothing known yet. */
static void start_over(struct ck *k)
{
	ck_rewind(k, 0);
	k->recorded = 0;
}

/* Run the step chosen at the node of the current depth, as a new one. */
static bool take_step(struct ck *k)
{
	uint32_t i = k->nr_steps;

	if (!ck_run_step(k, k->node[i].chosen))
		return false;
	ck_races(k, i);
	ck_save(k);
	return true;
}

static bool too_long(struct ck *k)
{
	if (k->nr_steps < CK_MAX_STEPS - 1)
		return false;
	k->violation.invariant = 3;
	strcpy(k->violation.text, "livelock: the execution does not come to an end");
	return true;
}

/* From the node at the current depth to the end of the execution. False: violation. */
static bool descend(struct ck *k)
{
	for (;;) {
		struct ck_node *n = &k->node[k->nr_steps];
		uint32_t can = n->enabled & ~n->sleep;

		if (n->enabled && too_long(k)) /* one that has just ended is long, and has ended: so says a replay */
			return false;
		if (n->enabled == 0) {
			ck_note_races(k);
			k->count.explored++;
			if (k->nr_steps > k->count.longest)
				k->count.longest = k->nr_steps;
			return ck_finish(k);
		}
		if (can)
			can = within_bound(k, k->nr_steps, can);
		if (!can) {
			ck_note_races(k);
			k->count.blocked++;
			return true;
		}
		n->chosen = (uint8_t)prefer(k, k->nr_steps, can);
		n->backtrack |= 1u << n->chosen;
		if (!take_step(k))
			return false;
		enter_node(k, k->nr_steps);
	}
}

/* Repeat the chosen steps up to `depth`; they are known already. */
static bool repeat(struct ck *k, uint32_t depth)
{
	ck_rewind(k, depth);
	k->recorded = depth;
	while (k->nr_steps < depth)
		if (!ck_run_step(k, k->node[k->nr_steps].chosen))
			return false;
	return true;
}

/* The deepest node with something left to try becomes the current one; false when there is none. */
static bool backtrack(struct ck *k, uint32_t depth)
{
	while (depth-- > k->fixed) {
		struct ck_node *n = &k->node[depth];
		uint32_t left;

		n->sibling[n->chosen] = k->step[depth].touches;
		n->done |= 1u << n->chosen;
		left = n->backtrack & ~n->done & ~n->sleep;
		if (left)
			left = within_bound(k, depth, left);
		if (left) {
			n->chosen = (uint8_t)prefer(k, depth, left);
			k->nr_steps = depth;
			return true;
		}
	}
	return false;
}

/* The nodes of the item's prefix, and its sleep set behind it. */
static bool enter_item(struct ck *k, const struct ck_item *item)
{
	uint32_t d, a;

	start_over(k);
	k->fixed = item->depth;
	enter_node(k, 0);
	for (d = 0; d < item->depth; d++) {
		k->node[d].chosen = item->schedule[d];
		if (!take_step(k))
			return false;
		enter_node(k, d + 1);
	}
	k->node[d].sleep = item->sleep;
	for (a = 0; a < k->nr_actors; a++)
		k->node[d].asleep[a] = &item->asleep[a];
	return true;
}

bool ck_explore(struct ck *k, const struct ck_item *item, const volatile bool *stop)
{
	if (!enter_item(k, item) || !descend(k))
		return false;
	while (!*stop && !(k->max_steps && k->count.steps > k->max_steps) && backtrack(k, k->nr_steps)) {
		uint32_t depth = k->nr_steps;

		if (!repeat(k, depth) || !take_step(k))
			return false;
		enter_node(k, depth + 1);
		if (!descend(k))
			return false;
	}
	return true;
}

/* ---- cutting ---- */

static bool add_item(struct ck *k, struct ck_item **items, uint32_t *nr)
{
	const struct ck_node *n = &k->node[k->nr_steps];
	struct ck_item *bigger, *it;
	uint32_t i;

	bigger = realloc(*items, (*nr + 1) * sizeof(**items));
	if (!bigger)
		return false;
	*items = bigger;
	it = &bigger[(*nr)++];
	memset(it, 0, sizeof(*it));
	it->depth = k->nr_steps;
	for (i = 0; i < k->nr_steps; i++)
		it->schedule[i] = k->node[i].chosen;
	it->sleep = n->sleep;
	for (i = 0; i < k->nr_actors; i++)
		if (n->sleep & (1u << i))
			it->asleep[i] = *n->asleep[i];
	return true;
}

/* To the given depth, trying everything at every node but what sleeps. */
static bool descend_to(struct ck *k, uint32_t depth)
{
	while (k->nr_steps < depth && k->node[k->nr_steps].enabled) {
		struct ck_node *n = &k->node[k->nr_steps];

		n->backtrack = n->enabled;
		if (!(n->enabled & ~n->sleep))
			return true;
		n->chosen = (uint8_t)prefer(k, k->nr_steps, n->enabled & ~n->sleep);
		if (!take_step(k))
			return false;
		enter_node(k, k->nr_steps);
	}
	return true;
}

uint32_t ck_split(struct ck *k, uint32_t depth, struct ck_item **items)
{
	uint32_t nr = 0;
	bool fine, first = true;

	*items = NULL;
	if (depth > sizeof((*items)->schedule))
		depth = sizeof((*items)->schedule);
	k->fixed = 0;
	start_over(k);
	enter_node(k, 0);
	do {
		fine = first || take_step(k);
		if (fine && !first)
			enter_node(k, k->nr_steps);
		first = false;
		fine = fine && descend_to(k, depth);
		/* A prefix that violates something is explored like any other, and found out there. */
		if (!fine)
			k->node[k->nr_steps].sleep = 0;
		if (!add_item(k, items, &nr))
			return 0;
	} while (backtrack(k, k->nr_steps) && repeat(k, k->nr_steps));
	return nr;
}

/* ---- replay ---- */

bool ck_replay(struct ck *k, const uint8_t *schedule, uint32_t nr)
{
	uint32_t i;

	k->tracing = true;
	start_over(k);
	for (i = 0; ck_enabled(k); i++) {
		uint32_t can = ck_enabled(k), actor;

		if (too_long(k))
			return false;
		actor = i < nr ? schedule[i] : (i && (can & (1u << k->violation.schedule[i - 1])) ? k->violation.schedule[i - 1] : lowest(can));
		if (actor >= k->nr_actors || !(can & (1u << actor))) {
			k->violation.invariant = -1;
			return false;
		}
		if (!ck_run_step(k, actor))
			return false;
	}
	return ck_finish(k);
}
