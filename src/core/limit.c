// SPDX-License-Identifier: MIT
/*
 * limit.c - how much may be migrated, and how long a thread may wait for it.
 *
 * The ceiling for stalls binds twice. A migration that has kept a thread waiting for so long is given up (migrate.c); and
 * none is begun while they take longer than that lately, or have been given up in a row.
 *
 * The budget holds in any second, wherever it begins: what counts is what was begun in the last 1024 ms and the step of
 * 64 ms that they begin in. Handlers look and count without a lock: a page too many is no harm.
 */
#include "core/internal.h"

#define STEP_SHIFT 6u /* ms */
#define STEP_MASK (UINT32_MAX >> STEP_SHIFT)

_Static_assert((HN_BUDGET_STEPS - 1) << STEP_SHIFT >= 1000, "a second, wherever in a step it begins");

/* One slow migration, whose thread was interrupted for however long, must not keep the next ones from being begun. */
#define OUTLIER 4u
#define ROW_DOUBLINGS 6u

static uint32_t peek(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static void poke(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }

static bool over_budget(const struct hn *hn, uint32_t now_ms)
{
	const struct hn_core *c = hn->core;
	uint32_t now = now_ms >> STEP_SHIFT, i;
	uint64_t pages = 0;

	if (c->par.budget_pages == 0)
		return false;
	for (i = 0; i < HN_BUDGET_STEPS; i++)
		if (((now - peek(&c->begun_step[i])) & STEP_MASK) < HN_BUDGET_STEPS)
			pages += peek(&c->begun[i]);
	return pages >= c->par.budget_pages;
}

static void count_begun(struct hn_core *c, uint32_t now_ms)
{
	uint32_t now = now_ms >> STEP_SHIFT, i = now % HN_BUDGET_STEPS;

	if (peek(&c->begun_step[i]) != now) {
		poke(&c->begun[i], 0);
		poke(&c->begun_step[i], now);
	}
	__atomic_fetch_add(&c->begun[i], 1, __ATOMIC_RELAXED);
}

/* Forgotten bit by bit while it forbids migrations: else nothing would ever show that they have become faster. */
static bool too_slow(const struct hn *hn)
{
	struct hn_core *c = hn->core;
	uint32_t us = peek(&c->stall_us);

	if (c->par.max_stall_us == 0 || us <= c->par.max_stall_us)
		return false;
	poke(&c->stall_us, us - us / 16 - 1);
	return true;
}

bool hn_limit_reached(const struct hn *hn, uint32_t now_ms, enum hn_refusal *why)
{
	if (over_budget(hn, now_ms)) {
		*why = HN_REFUSE_BUDGET;
		return true;
	}
	if (too_slow(hn)) {
		*why = HN_REFUSE_STALL;
		return true;
	}
	count_begun(hn->core, now_ms);
	return false;
}

void hn_limit_not_begun(struct hn *hn, uint32_t now_ms)
{
	struct hn_core *c = hn->core;
	uint32_t now = now_ms >> STEP_SHIFT, i = now % HN_BUDGET_STEPS;

	if (peek(&c->begun_step[i]) == now && peek(&c->begun[i]))
		__atomic_fetch_sub(&c->begun[i], 1, __ATOMIC_RELAXED);
}

/*
 * The ceiling may be as low as a put-back takes; half of it is for the copy in any case: what cannot be done in time then
 * is found not to be.
 */
uint64_t hn_limit_until(const struct hn *hn, uint64_t since_ns)
{
	uint64_t ns = (uint64_t)hn->core->par.max_stall_us * 1000, last = peek(&hn->core->last_step_ns);

	return ns ? since_ns + ns - (last < ns / 2 ? last : ns / 2) : 0;
}

static uint32_t averaged(uint32_t old, uint64_t new, uint64_t most)
{
	return (uint32_t)(((uint64_t)old * 7 + (new < most ? new : most)) / 8);
}

void hn_limit_note_stall(struct hn *hn, uint64_t ns)
{
	struct hn_core *c = hn->core;
	uint32_t old = peek(&c->stall_us);

	poke(&c->stall_us, averaged(old, ns / 1000, (uint64_t)c->par.max_stall_us * OUTLIER));
	poke(&c->given_up, 0);
}

void hn_limit_note_given_up(struct hn *hn)
{
	struct hn_core *c = hn->core;
	uint32_t row = peek(&c->given_up);
	uint64_t us = (uint64_t)c->par.max_stall_us << (row < ROW_DOUBLINGS ? row : ROW_DOUBLINGS);

	poke(&c->given_up, row + 1 ? row + 1 : row);
	if (us > peek(&c->stall_us))
		poke(&c->stall_us, us < UINT32_MAX ? (uint32_t)us : UINT32_MAX);
}

void hn_limit_note_last_step(struct hn *hn, uint64_t ns)
{
	struct hn_core *c = hn->core;

	poke(&c->last_step_ns, averaged(peek(&c->last_step_ns), ns, (uint64_t)c->par.max_stall_us * 1000));
}
