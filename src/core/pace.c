// SPDX-License-Identifier: MIT
#include "core/pace.h"

#define JUDGED_SAMPLES 16u /* fewer say nothing */
#define PLACED 950u        /* permille: nothing to gain */
#define MISPLACED 700u     /* less than this: much; the share that the kernel's balancing aims at, too */
#define CHANGE 300u        /* a share that falls by so much is a change of phase */
#define TICK_MS 1000u      /* longest time between two passes ... */
#define LEAST_MS 100u      /* ... and shortest, unless the user's period is shorter */

/* A permille of a CPU is so many ns in each ms. */
#define NS_PER_MS_PERMILLE 1000

static int64_t most(uint32_t permille) { return (int64_t)permille * NS_PER_MS_PERMILLE * HN_CREDIT_MS; }

void hn_credit_start(struct hn_credit *c, uint32_t permille, uint32_t now_ms)
{
	*c = (struct hn_credit){ most(permille), now_ms };
}

void hn_credit_use(struct hn_credit *c, uint32_t permille, uint64_t used_ns, uint32_t now_ms)
{
	c->ns += (int64_t)permille * NS_PER_MS_PERMILLE * (now_ms - c->ms);
	c->ms = now_ms;
	if (c->ns > most(permille))
		c->ns = most(permille);
	c->ns -= (int64_t)used_ns;
}

uint32_t hn_credit_wait_ms(const struct hn_credit *c, uint32_t permille)
{
	int64_t per_ms = (int64_t)permille * NS_PER_MS_PERMILLE;

	return c->ns >= 0 || !per_ms ? 0 : (uint32_t)((per_ms - 1 - c->ns) / per_ms);
}

void hn_pace_start(struct hn_pace *p, const struct hn_pace_params *par, uint32_t now_ms)
{
	p->period_ms = par->start_ms;
	p->judged = false;
	p->grown_ms = now_ms;
	p->pass_ms = now_ms - par->start_ms;
}

/* At most once a round: samples of one round are judged many times. */
static void grow(struct hn_pace *p, const struct hn_pace_params *par, uint32_t now_ms)
{
	if (now_ms - p->grown_ms < p->period_ms)
		return;
	p->grown_ms = now_ms;
	p->period_ms = p->period_ms > par->max_ms / 2 ? par->max_ms : p->period_ms * 2;
}

/* In proportion to how far away the share is, at most by seven tenths. */
static void shrink(struct hn_pace *p, const struct hn_pace_params *par, uint32_t share)
{
	uint32_t less = (uint32_t)((uint64_t)p->period_ms * (MISPLACED - share) / 1000);

	p->period_ms = p->period_ms - less > par->min_ms ? p->period_ms - less : par->min_ms;
}

bool hn_pace_judge(struct hn_pace *p, const struct hn_pace_params *par, uint64_t samples, uint64_t placed, uint32_t now_ms)
{
	uint64_t new_samples = samples - p->samples, new_placed = placed - p->placed;
	uint32_t share, before = p->share;
	bool change;

	if (new_samples < JUDGED_SAMPLES)
		return false;
	/* Counters are read one after the other while they grow. */
	share = new_placed >= new_samples ? 1000 : (uint32_t)(new_placed * 1000 / new_samples);
	change = p->judged && before >= share + CHANGE && p->period_ms > par->start_ms;
	p->samples = samples;
	p->placed = placed;
	p->share = share;
	p->judged = true;
	if (change) {
		p->period_ms = par->start_ms;
		p->grown_ms = now_ms;
	} else if (share >= PLACED) {
		grow(p, par, now_ms);
	} else if (share < MISPLACED) {
		shrink(p, par, share);
	}
	return change;
}

uint32_t hn_pace_interval_ms(const struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed_pages)
{
	uint64_t windows = (managed_pages + par->window_pages - 1) / par->window_pages;
	uint32_t least = par->min_ms < LEAST_MS ? par->min_ms : LEAST_MS;
	uint64_t ms = windows ? p->period_ms / windows : p->period_ms;

	if (ms > TICK_MS)
		ms = TICK_MS;
	return ms < least ? least : (uint32_t)ms;
}

uint32_t hn_pace_budget(struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed_pages, uint32_t now_ms)
{
	uint32_t elapsed = now_ms - p->pass_ms;
	uint64_t pages;

	if (elapsed > p->period_ms)
		elapsed = p->period_ms;
	p->pass_ms = now_ms;
	pages = (managed_pages * elapsed + p->period_ms - 1) / p->period_ms;
	return pages > par->window_pages ? par->window_pages : (uint32_t)pages;
}
