// SPDX-License-Identifier: MIT
#include "core/pace.h"

#define WATCH_MS 125u   /* longest time between two samples of a process, ... */
#define CALM_MS 250u    /* ... when nothing has moved for some time, ... */
#define SELDOM_MS 500u  /* ... and where samples lead to nothing */
#define CALM_FOR_MS 30000u
#define SOON_MS 50u     /* between two passes while there is something to find out, unless the user's is shorter ... */
#define MANY_MS 100u    /* ... and when the last one armed much */
#define LATELY 32u      /* questions that count as asked lately; then half as much, ... */
#define LATELY_MS 4000u /* ... as after this time: what did not pay a while ago may now */
#define SPREAD 16u      /* a page whose user has changed stands for so many ... */
#define DOUBTFUL 4u     /* ... or so many, when other questions lately led to nothing */
#define PAUSE_MS 1000u  /* without any that has: what moves next does so for another reason */
#define MILLION 1000000u

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
	*p = (struct hn_pace){ .watch_ms = now_ms, .credit_ms = now_ms, .halved_ms = now_ms,
			       .moved_ms = now_ms, .asked_ms = now_ms - PAUSE_MS, .confirmed = p->confirmed,
			       .questions = p->questions, .armed = 1 };
	p->credit = (uint64_t)par->window_pages * MILLION;
}

static uint32_t least(uint64_t a, uint64_t b) { return (uint32_t)(a < b ? a : b); }

/*
 * Does it pay to ask again about pages that a thread of another node has just used? The first few times anyway. A page that
 * really has a new user says so again, and is migrated; one that two nodes use at random says so every second time, and
 * is better left alone.
 */
static bool pays(const struct hn_pace *p) { return p->answered * 4 + 12 >= p->asked * 3; }

static uint32_t watch_ms(const struct hn_pace *p)
{
	return !pays(p) ? SELDOM_MS : p->calm ? CALM_MS : WATCH_MS;
}

static void count_answers(struct hn_pace *p, uint32_t questions, uint64_t confirmed, uint32_t now_ms)
{
	uint32_t new = (uint32_t)(confirmed - p->confirmed);
	int32_t asked = (int32_t)(questions - p->questions); /* less than none: answers that a limit took back later */

	if (now_ms - p->halved_ms >= LATELY_MS) {
		p->halved_ms = now_ms;
		p->asked /= 2;
		p->answered /= 2;
	}
	p->asked = asked < 0 && p->asked < (uint32_t)-asked ? 0 : p->asked + (uint32_t)asked;
	p->answered += new;
	p->questions = questions;
	p->confirmed = confirmed;
	if (p->asked >= LATELY || p->answered >= LATELY) {
		p->asked /= 2;
		p->answered /= 2;
	}
	/* The first of them was sampled after the plan before this one. */
	if (new && (now_ms - p->moved_ms >= PAUSE_MS || !p->burst_ms))
		p->burst_ms = p->credit_ms;
	if (new)
		p->moved_ms = now_ms;
	p->calm = !new && (p->calm || now_ms - p->moved_ms >= CALM_FOR_MS); /* the clock wraps */
	p->spread = !pays(p) ? 0 : p->answered * 4 >= p->asked * 3 ? new * SPREAD : new * DOUBTFUL;
}

/* All of the memory once in the period, a window at least; as much is saved up. */
static void add_credit(struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed, uint32_t now_ms)
{
	uint64_t round = managed > par->window_pages ? managed : par->window_pages, most = (uint64_t)par->window_pages * MILLION;
	uint32_t elapsed = now_ms - p->credit_ms, period = p->spread ? par->min_ms : par->start_ms;

	p->credit_ms = now_ms;
	if (elapsed > period)
		elapsed = period;
	p->credit += round * elapsed * MILLION / period;
	if (p->credit > most)
		p->credit = most;
}

/* The part of a round in max_ms that is due; one page, when none has been for long. */
static uint32_t watch(struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed, uint32_t now_ms)
{
	uint32_t elapsed = now_ms - p->watch_ms;
	uint64_t due;

	if (elapsed > par->max_ms) {
		p->watch_ms = now_ms - par->max_ms;
		elapsed = par->max_ms;
	}
	due = managed * elapsed / par->max_ms;
	if (due > par->window_pages)
		due = par->window_pages; /* what is left is lost: the rounds take longer */
	/* Other questions are as good as the watch. */
	if (due < 1 && (elapsed < watch_ms(p) || now_ms - p->asked_ms < watch_ms(p)))
		return 0;
	p->watch_ms = due < 1 || due == par->window_pages ? now_ms : p->watch_ms + (uint32_t)(due * par->max_ms / managed);
	return due < 1 ? 1 : (uint32_t)due;
}

struct hn_pace_plan hn_pace_plan(struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed, uint32_t questions,
				 uint64_t confirmed, uint32_t now_ms)
{
	struct hn_pace_plan plan;
	uint32_t left;

	count_answers(p, questions, confirmed, now_ms);
	add_credit(p, par, managed, now_ms);
	left = (uint32_t)(p->credit / MILLION);
	plan.fresh = left;
	plan.open = pays(p) ? least(left, 4 + 4 * (uint64_t)p->answered) : 0;
	plan.any = watch(p, par, managed, now_ms);
	/* Questions that are not asked at once are not forgotten: every other turn of the watch is theirs. */
	plan.rather_open = 0;
	if (!pays(p) && plan.any) {
		p->open_turn = !p->open_turn;
		plan.rather_open = p->open_turn ? plan.any : 0;
	}
	if (plan.any < p->stirred)
		plan.any = least(least(p->stirred, managed), left);
	plan.old = least(least(p->spread, managed), left);
	/* What answered a while ago may have done so by chance. */
	plan.since_ms = now_ms - p->burst_ms < PAUSE_MS ? p->burst_ms : now_ms - PAUSE_MS;
	return plan;
}

void hn_pace_stir(struct hn_pace *p, uint32_t pages)
{
	if (p->stirred < pages)
		p->stirred = pages;
}

void hn_pace_done(struct hn_pace *p, const struct hn_pace_plan *armed)
{
	uint64_t used;

	p->armed = armed->fresh + armed->open + armed->any + armed->old;
	if (p->armed > armed->any)
		p->asked_ms = p->credit_ms;
	p->stirred -= armed->any < p->stirred ? armed->any : p->stirred;
	used = (uint64_t)p->armed * MILLION;
	p->credit = p->credit > used ? p->credit - used : 0;
}

uint32_t hn_pace_interval_ms(const struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed, uint32_t now_ms)
{
	uint32_t soon = least(par->min_ms, p->armed > par->window_pages / 2 ? MANY_MS : SOON_MS), since = now_ms - p->watch_ms;
	uint64_t windows = (managed + par->window_pages - 1) / par->window_pages;
	uint64_t ms = windows ? par->max_ms / windows : par->max_ms;

	if (ms > watch_ms(p))
		ms = watch_ms(p);
	ms = ms > since ? ms - since : 0;
	return p->armed || ms < soon ? soon : (uint32_t)ms;
}
