// SPDX-License-Identifier: MIT
/*
 * limit.c - how much may be migrated, and how long a thread may wait for it.
 *
 * Handlers look and count without a lock: a page too many in a window is no harm.
 */
#include "core/internal.h"

#define WINDOW_MS 1000u /* long enough for the bursts that a change of phase makes */

static uint32_t peek(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static void poke(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }

static bool over_budget(const struct hn *hn, uint32_t now_ms)
{
	struct hn_core *c = hn->core;

	if (c->par.budget_pages == 0)
		return false;
	if (now_ms - peek(&c->window_ms) >= WINDOW_MS) {
		poke(&c->window_ms, now_ms);
		poke(&c->window_pages, 0);
	}
	return peek(&c->window_pages) >= c->par.budget_pages;
}

/* Forgotten bit by bit while it forbids migrations: else nothing would ever show that they have become faster. */
static bool too_slow(const struct hn *hn)
{
	struct hn_core *c = hn->core;
	uint32_t us = peek(&c->stall_us);

	if (c->par.max_stall_us == 0 || us <= c->par.max_stall_us)
		return false;
	poke(&c->stall_us, us - us / 16);
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
	__atomic_fetch_add(&hn->core->window_pages, 1, __ATOMIC_RELAXED);
	return false;
}

void hn_limit_note_stall(struct hn *hn, uint64_t ns)
{
	uint32_t us = ns / 1000 > UINT32_MAX / 8 ? UINT32_MAX / 8 : (uint32_t)(ns / 1000), old = peek(&hn->core->stall_us);

	poke(&hn->core->stall_us, old ? (old * 7 + us) / 8 : us);
}
