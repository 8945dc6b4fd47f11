// SPDX-License-Identifier: MIT
#include "core/tier.h"

#include <string.h>

#define STEPS 8u        /* the threshold goes in eighths of what it was at first ... */
#define MOST_STEPS 16u  /* ... and no further than twice that */
#define ROOMY_FACTOR 4u /* times what makes a node low */

static uint32_t peek(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static void poke(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }

/* ---- promotion ---- */

void hn_tier_start(struct hn_tier *t, uint32_t hot_ms, uint32_t now_ms)
{
	*t = (struct hn_tier){ .hot_ms = hot_ms, .second_ms = now_ms, .tuned_ms = now_ms };
}

bool hn_tier_within_rate(struct hn_tier *t, uint32_t rate_pages, uint32_t now_ms)
{
	if (!rate_pages)
		return true;
	if (now_ms - peek(&t->second_ms) >= 1000) {
		poke(&t->second_ms, now_ms);
		poke(&t->second_pages, 0);
	}
	return peek(&t->second_pages) < rate_pages;
}

void hn_tier_promoted(struct hn_tier *t, bool bounced)
{
	__atomic_fetch_add(&t->second_pages, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&t->promoted, 1, __ATOMIC_RELAXED);
	if (bounced)
		__atomic_fetch_add(&t->bounced, 1, __ATOMIC_RELAXED);
}

/*
 * Down: pages come back that have just been sent away (a quarter of what is promoted), or more is hot than the rate lets
 * through (a tenth of the rate and more). Up: there is rate to spare, and the threshold turns something away.
 */
static int direction(const struct hn_tier *t, uint32_t rate_pages, uint32_t ms)
{
	uint64_t rate = (uint64_t)rate_pages * ms / 1000, promoted = peek(&t->promoted), bounced = peek(&t->bounced);

	if (bounced && bounced * 4 >= promoted)
		return -1;
	if (rate && (uint64_t)peek(&t->over_rate) * 10 > rate)
		return -1;
	if (peek(&t->too_cold) && (!rate || promoted * 10 < rate * 9) && bounced * 16 <= promoted)
		return 1;
	return 0;
}

bool hn_tier_tune(struct hn_tier *t, uint32_t base_ms, uint32_t rate_pages, uint32_t now_ms)
{
	uint32_t ms = now_ms - t->tuned_ms, step = base_ms / STEPS ? base_ms / STEPS : 1, hot = peek(&t->hot_ms);
	int way;

	if (ms < HN_TIER_TUNE_MS)
		return false;
	way = direction(t, rate_pages, ms);
	if (way < 0)
		poke(&t->hot_ms, hot > 2 * step ? hot - step : step);
	else if (way > 0)
		poke(&t->hot_ms, hot + step < MOST_STEPS * step ? hot + step : MOST_STEPS * step);
	t->tuned_ms = now_ms;
	poke(&t->promoted, 0);
	poke(&t->too_cold, 0);
	poke(&t->over_rate, 0);
	poke(&t->bounced, 0);
	return true;
}

/* ---- demotion ---- */

static uint64_t low_of(const struct hn_tier_machine *m, const struct hn_tier_memory *mem)
{
	return mem->total * m->low_permille / 1000;
}

static bool is_in(uint64_t set, uint32_t nid) { return (set >> nid & 1) != 0; }

/* The nearest slow node that is not low itself. */
static int target_of(const struct hn_tier_machine *m, const struct hn_tier_memory *mem, uint32_t from)
{
	int best = HN_NO_NODE;
	uint32_t i;

	for (i = 0; i < m->nr_nodes; i++) {
		if (!is_in(m->slow, i) || !is_in(m->allowed, i) || !mem[i].total || mem[i].free <= low_of(m, &mem[i]))
			continue;
		if (best == HN_NO_NODE || m->distance[from][i] < m->distance[from][best])
			best = (int)i;
	}
	return best;
}

/* So much is to be free afterwards, or the next allocation would make the node low anew. */
static uint64_t enough_of(const struct hn_tier_machine *m, const struct hn_tier_memory *mem)
{
	return low_of(m, mem) + low_of(m, mem) / 2 + 1;
}

static void plan_low(const struct hn_tier_machine *m, const struct hn_tier_memory *mem, uint32_t from,
		     struct hn_tier_plan *plan)
{
	uint64_t wanted = enough_of(m, &mem[from]) - mem[from].free;
	int to = target_of(m, mem, from);
	uint64_t room;

	plan->full |= (uint64_t)1 << from;
	if (to == HN_NO_NODE)
		return;
	room = mem[to].free - low_of(m, &mem[to]);
	plan->target[from] = (int8_t)to;
	plan->pages[from] = (uint32_t)(wanted < room ? wanted : room);
}

void hn_tier_make_plan(const struct hn_tier_machine *m, const struct hn_tier_memory *mem, struct hn_tier_plan *plan)
{
	uint32_t i;

	memset(plan, 0, sizeof(*plan));
	memset(plan->target, HN_NO_NODE, sizeof(plan->target));
	for (i = 0; i < m->nr_nodes; i++) {
		if (is_in(m->slow, i) || !mem[i].total)
			continue;
		if (mem[i].free < low_of(m, &mem[i]) || (is_in(m->demoting, i) && mem[i].free < enough_of(m, &mem[i])))
			plan_low(m, mem, i, plan);
		else if (mem[i].free >= ROOMY_FACTOR * low_of(m, &mem[i]))
			plan->roomy |= (uint64_t)1 << i;
	}
}
