// SPDX-License-Identifier: MIT
/*
 * oddities.c - three oddities of the kernel's balancing, over virtual time, beside what ships here: does its pace go
 * on slowing down after one failed migration, does it slow down while all memory is remote but private, and do local
 * samples count for nothing?
 *
 *   bench-oddities [--json | --check]
 *
 * Three rows a scenario: the engine's own pace and judgement; a model of the kernel's rules; the same model without
 * the one rule in question, so that what differs between the last two is that rule and nothing else. Means of runs
 * whose changes come a second later each time: how long something takes depends on where in a round it begins. No
 * clock, fixed seeds: the numbers are the same on every machine. --check prints nothing where all is as
 * docs/policy.md says, else what is not, and exits 1. --json has rows besides for what the document says in sentences: ours
 * without the failure, and how long it takes in each of a hundred runs. tests/tools/test_numbers.py compares.
 *
 * All sides see the same program: every page is in use all the time, so a hint is answered at once; threads stay
 * where they are put and never wait. What the model leaves out of the kernel: moving threads, groups (with one
 * thread a node, a page that has passed the filter is the same thread's, or nobody's yet), and the time that
 * scanning takes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/history.h"
#include "core/pace.h"
#include "core/policy.h"

#define PAGES 256u
#define MOST_LOCAL_PERCENT 95u
#define NEVER UINT32_MAX
#define RUNS 20u
#define MANY_RUNS 100u /* where a mean says little: waits of the middle run, the tenth from the end, the worst */
#define LATER_MS 1000u

/* The kernel's defaults and rules; times in ms. */
#define K_WINDOW_PAGES 128u /* 256 MB a run of the scanner */
#define K_WINDOWS ((PAGES + K_WINDOW_PAGES - 1) / K_WINDOW_PAGES)
#define K_DELAY_MS 1000u /* before the first run; and the period to begin with */
#define K_FLOOR_MS 100u  /* no shorter period, however large the memory is */
/* The shortest and the longest period are those of a round over all of the memory, so a window has a part of each. */
#define K_ROUND_MIN_MS 1000u
#define K_ROUND_MAX_MS 60000u
#define K_MIN_MS (K_ROUND_MIN_MS / K_WINDOWS > K_FLOOR_MS ? K_ROUND_MIN_MS / K_WINDOWS : K_FLOOR_MS)
#define K_MAX_MS (K_ROUND_MAX_MS / K_WINDOWS > K_MIN_MS ? K_ROUND_MAX_MS / K_WINDOWS : K_MIN_MS)
#define K_SLOTS 10u       /* the period changes by tenths of itself, ... */
#define K_ENOUGH 7u       /* ... down where less than seven tenths of the faults are good, else up */
#define K_EARLY_ROUNDS 4u /* so long a thread's first touch of a page is enough */

#define MAX_CHANGES 8u

enum oddity { STICKY, PRIVATE, UNSEEN };

struct scenario {
	const char *name, *about;
	const char *without; /* how it is without the rule, for the third row */
	enum oddity oddity;
	bool shows;                      /* the rule in the kernel's time, as far as --check is to see to it */
	int first_nid;                   /* where all pages are to begin with */
	int user_nid[MAX_CHANGES + 1];   /* of the main thread, from the start and after each change */
	uint32_t change_ms[MAX_CHANGES]; /* 0: no more */
	uint32_t since_ms, end_ms;       /* time until most are local: from when on */
	unsigned other_percent;          /* of the uses come from a thread on the other node */
	bool one_fails;                  /* the first migration that is tried */
};

static const struct scenario scenarios[] = {
	{ .name = "one failure",
	  .about = "a migration fails in the first round; at 60 s all pages get a user on the other node",
	  .without = "counters are cleared", .oddity = STICKY, .shows = true, .one_fails = true,
	  .user_nid = { 1, 0 }, .change_ms = { 60000 }, .since_ms = 60000, .end_ms = 600000 },
	{ .name = "one failure, late", .about = "the same, but they get it at 300 s",
	  .without = "counters are cleared", .oddity = STICKY, .one_fails = true,
	  .user_nid = { 1, 0 }, .change_ms = { 300000 }, .since_ms = 300000, .end_ms = 900000 },
	{ .name = "moved once", .about = "private pages; at 60 s all of them are used from the other node",
	  .without = "locality alone decides", .oddity = PRIVATE,
	  .user_nid = { 0, 1 }, .change_ms = { 60000 }, .since_ms = 60000, .end_ms = 600000 },
	{ .name = "moved back", .about = "the same, and at 180 s from the first node again",
	  .without = "locality alone decides", .oddity = PRIVATE, .shows = true,
	  .user_nid = { 0, 1, 0 }, .change_ms = { 60000, 180000 }, .since_ms = 180000, .end_ms = 600000 },
	{ .name = "other hands every five seconds",
	  .about = "from 60 s on all pages are used from the other node every 5 s, eight times; the eighth",
	  .without = "locality alone decides", .oddity = PRIVATE,
	  .user_nid = { 0, 1, 0, 1, 0, 1, 0, 1, 0 },
	  .change_ms = { 60000, 65000, 70000, 75000, 80000, 85000, 90000, 95000 }, .since_ms = 95000, .end_ms = 120000 },
	{ .name = "nine to one", .about = "an hour; pages start away from the thread that uses them 9 of 10 times",
	  .without = "local samples recorded", .oddity = UNSEEN,
	  .first_nid = 1, .other_percent = 10, .end_ms = 3600000 },
};
#define NR_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

struct page {
	int nid;
	/* Ours, as in the engine's entry. */
	uint64_t history;
	uint32_t last_tid, moved_ms, hold_ms;
	bool moved, open, armed, held;
	struct hn_tenure tenure;
	/* The kernel's: who used it last, as far as it is on record; 0: nobody. */
	uint32_t k_tid;
	int k_nid;
};

/* One run of one side. */
struct world {
	const struct scenario *sc;
	struct page page[PAGES];
	uint32_t seed, now_ms, seen_ms; /* seen_ms: until when local_ms is up to date */
	uint64_t local_ms, page_ms;     /* since since_ms: pages times how long they were local; were there */
	bool has_failed;
};

struct result {
	uint32_t late_ms; /* from since_ms until most pages are local; NEVER */
	uint32_t faults, migrations;
	uint32_t before_ms, period_ms; /* the period: when the time until most are local begins; at the end */
	double local_percent;
};

/* Of all runs. */
struct mean {
	bool never; /* in one run at least */
	double late_s, local_percent, faults, migrations, before_s, period_s;
};

struct user {
	int nid;
	uint32_t tid;
};

static uint32_t draw(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static int main_nid(const struct scenario *sc, uint32_t now_ms)
{
	unsigned i = 0;

	while (i < MAX_CHANGES && sc->change_ms[i] && now_ms >= sc->change_ms[i])
		i++;
	return sc->user_nid[i];
}

/* Who meets the hint on a page. */
static struct user next_user(struct world *w)
{
	int nid = main_nid(w->sc, w->now_ms);

	if (w->sc->other_percent && draw(&w->seed) % 100 < w->sc->other_percent)
		return (struct user){ 1 - nid, 2 };
	return (struct user){ nid, 1 };
}

static void world_start(struct world *w, const struct scenario *sc, uint32_t seed)
{
	unsigned i;

	memset(w, 0, sizeof(*w));
	w->sc = sc;
	w->seed = seed * 2654435761u; /* small numbers begin with small draws */
	for (i = 0; i < PAGES; i++) {
		w->page[i].nid = sc->first_nid;
		w->page[i].open = true;
	}
}

static uint32_t count_local(const struct world *w, uint32_t now_ms)
{
	int nid = main_nid(w->sc, now_ms);
	uint32_t i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += w->page[i].nid == nid;
	return n;
}

/* Nothing moves and nobody changes nodes before to_ms: how much was local until then? */
static void pass_time(struct world *w, uint32_t to_ms)
{
	if (to_ms > w->sc->since_ms && w->seen_ms < to_ms) {
		uint32_t from_ms = w->seen_ms > w->sc->since_ms ? w->seen_ms : w->sc->since_ms;

		w->local_ms += (uint64_t)count_local(w, from_ms) * (to_ms - from_ms);
		w->page_ms += (uint64_t)PAGES * (to_ms - from_ms);
	}
	w->seen_ms = w->now_ms = to_ms;
}

static void note(const struct world *w, uint32_t period_ms, struct result *r)
{
	if (w->now_ms < w->sc->since_ms)
		r->before_ms = period_ms;
	if (r->late_ms == NEVER && w->now_ms >= w->sc->since_ms &&
	    count_local(w, w->now_ms) * 100 >= PAGES * MOST_LOCAL_PERCENT)
		r->late_ms = w->now_ms - w->sc->since_ms;
}

/* A migration is tried; true when the page is there. */
static bool migrate(struct world *w, struct page *p, int nid, struct result *r)
{
	if (w->sc->one_fails && !w->has_failed) {
		w->has_failed = true;
		return false;
	}
	p->nid = nid;
	r->migrations++;
	return true;
}

static void result_end(const struct world *w, struct result *r, uint32_t period_ms)
{
	r->period_ms = period_ms;
	r->local_percent = w->page_ms ? 100.0 * (double)w->local_ms / (double)w->page_ms : 0;
}

/* ---- the kernel's rules, each of the three to be switched off ---- */

struct rules {
	bool sticky;       /* backing off leaves the counters of locality and failure as they are */
	bool private_slow; /* private faults count as good ones, wherever the memory is */
	bool local_unseen; /* a sample from the page's own node leaves no record */
};

struct kernel {
	struct rules rules;
	uint32_t period_ms[2]; /* of each thread, which scan by turns */
	uint32_t locality[2][2], failed[2], private[2], shared[2]; /* locality: remote, local */
	uint32_t cursor, rounds;
};

static uint32_t clamp(uint32_t ms) { return ms < K_MIN_MS ? K_MIN_MS : ms > K_MAX_MS ? K_MAX_MS : ms; }

static uint32_t tenths(uint32_t part, uint32_t rest) { return part + rest ? part * K_SLOTS / (part + rest) : 0; }

static uint32_t up(uint32_t good) { return good > K_ENOUGH ? good - K_ENOUGH : 1; }

/* Nothing to learn from, or something in the way: is the period to be doubled? */
static bool backs_off(const struct kernel *k, unsigned t)
{
	uint32_t use = k->locality[t][1] + (k->rules.private_slow ? k->shared[t] : k->locality[t][0]);

	return use == 0 || k->failed[t];
}

static void forget(struct kernel *k, unsigned t) { k->locality[t][0] = k->locality[t][1] = k->failed[t] = 0; }

/* Once a round, for each thread. */
static void adapt(struct kernel *k, unsigned t)
{
	uint32_t slot = (k->period_ms[t] + K_SLOTS - 1) / K_SLOTS;
	uint32_t lr = tenths(k->locality[t][1], k->locality[t][0]);
	uint32_t ps = k->rules.private_slow ? tenths(k->private[t], k->shared[t]) : 0;

	if (backs_off(k, t)) {
		k->period_ms[t] = clamp(k->period_ms[t] * 2);
		if (!k->rules.sticky)
			forget(k, t);
	} else {
		if (ps >= K_ENOUGH)
			k->period_ms[t] += up(ps) * slot;
		else if (lr >= K_ENOUGH)
			k->period_ms[t] += up(lr) * slot;
		else
			k->period_ms[t] -= (K_ENOUGH - (lr > ps ? lr : ps)) * slot;
		k->period_ms[t] = clamp(k->period_ms[t]);
		forget(k, t);
	}
	k->private[t] = k->shared[t] = 0;
}

/* Is the page to go to the user's node? The record is exchanged even where the answer is no. */
static bool kernel_wants(const struct kernel *k, struct page *p, struct user u)
{
	uint32_t was_tid = p->k_tid;
	int was_nid = p->k_nid;

	if (p->nid == u.nid && k->rules.local_unseen)
		return false;
	p->k_tid = u.tid;
	p->k_nid = u.nid;
	if (p->nid == u.nid)
		return false;
	if (k->rounds <= K_EARLY_ROUNDS && (!was_tid || was_tid == u.tid))
		return true;
	return !was_tid || was_nid == u.nid; /* the two-stage filter; what comes after it says yes, without groups */
}

static void kernel_fault(struct kernel *k, struct world *w, struct page *p, struct result *r)
{
	struct user u = next_user(w);
	unsigned t = u.tid - 1;
	bool local = p->nid == u.nid, private = !p->k_tid || p->k_tid == u.tid;

	r->faults++;
	k->locality[t][local]++;
	k->private[t] += private;
	k->shared[t] += !private;
	if (kernel_wants(k, p, u) && !migrate(w, p, u.nid, r))
		k->failed[t]++;
}

/* A window; after the last one a round is over. */
static void kernel_run(struct kernel *k, struct world *w, struct result *r)
{
	uint32_t i;

	for (i = 0; i < K_WINDOW_PAGES && k->cursor < PAGES; i++)
		kernel_fault(k, w, &w->page[k->cursor++], r);
	if (k->cursor < PAGES)
		return;
	k->cursor = 0;
	k->rounds++;
	adapt(k, 0);
	if (w->sc->other_percent)
		adapt(k, 1);
}

/* Time goes to the next event, change by change, but not past the end. False: it is over. */
static bool go_to(struct world *w, uint32_t next_ms)
{
	uint32_t i;

	for (i = 0; i < MAX_CHANGES; i++)
		if (w->sc->change_ms[i] > w->now_ms && w->sc->change_ms[i] <= next_ms)
			pass_time(w, w->sc->change_ms[i]);
	pass_time(w, next_ms < w->sc->end_ms ? next_ms : w->sc->end_ms);
	return next_ms < w->sc->end_ms;
}

static struct result run_kernel(const struct scenario *sc, uint32_t seed, struct rules rules)
{
	struct kernel k = { .rules = rules, .period_ms = { clamp(K_DELAY_MS), clamp(K_DELAY_MS) } };
	struct result r = { .late_ms = NEVER };
	uint32_t next_ms = K_DELAY_MS, turn = 0;
	struct world w;

	world_start(&w, sc, seed);
	while (go_to(&w, next_ms)) {
		kernel_run(&k, &w, &r);
		note(&w, k.period_ms[0], &r);
		turn = sc->other_percent ? 1 - turn : 0;
		next_ms = w.now_ms + k.period_ms[turn];
	}
	result_end(&w, &r, k.period_ms[0]);
	return r;
}

/* ---- ours: hn_pace_* and hn_judge_automatic, with what scan.c, fault.c and policy.c do around them ---- */

#define FAIL_HOLD_MS 1000u /* as in migrate.c, where it doubles with each failure in a row: here one fails, once */

static const struct hn_pace_params par = { .start_ms = 1000, .min_ms = 250, .max_ms = 60000, .window_pages = 128 };
static const struct hn_placing place = { .nr_nodes = 2, .allowed = ~0ull, .settle_ms = 60000 };

struct ours {
	struct hn_pace pace;
	uint32_t questions, cursor, open_cursor;
	uint64_t confirmed;
};

enum wanted { NEW, OPEN, ANY, OLD };

static bool is_wanted(struct page *p, enum wanted what, uint32_t since_ms, uint32_t now_ms)
{
	if (p->held && now_ms >= p->hold_ms)
		p->held = false;
	if (p->armed)
		return false;
	if (what == OLD)
		return hn_tenure_age_ms(p->tenure, now_ms) > now_ms - since_ms;
	return what == ANY || (p->open && !p->held && (what == OPEN || !p->history));
}

static uint32_t arm(struct ours *o, struct world *w, enum wanted what, uint32_t since_ms, uint32_t most)
{
	uint32_t *cursor = what == ANY || what == OLD ? &o->cursor : &o->open_cursor, looked, n = 0;

	for (looked = 0; looked < PAGES && n < most; looked++) {
		struct page *p = &w->page[*cursor];

		*cursor = (*cursor + 1) % PAGES;
		if (!is_wanted(p, what, since_ms, w->now_ms))
			continue;
		o->questions += p->open && p->history;
		p->open = false;
		p->armed = true;
		n++;
	}
	return n;
}

static bool neighbour_disagrees(const struct world *w, uint32_t i, int nid)
{
	int before = i ? hn_history_node(w->page[i - 1].history, 0) : HN_NO_NODE;
	int after = i + 1 < PAGES ? hn_history_node(w->page[i + 1].history, 0) : HN_NO_NODE;

	return (before != HN_NO_NODE && before != nid) || (after != HN_NO_NODE && after != nid);
}

/* The page's tenure with one more sample. */
static struct hn_tenure with(const struct page *p, struct user u, uint32_t now_ms)
{
	return hn_tenure_sample(p->tenure, hn_history_push(p->history, u.nid, p->last_tid == u.tid), now_ms);
}

static struct hn_ruling judge(const struct world *w, uint32_t i, struct user u)
{
	const struct page *p = &w->page[i];
	struct hn_judge j = {
		.place = &place, .page_nid = p->nid, .thread_nid = u.nid, .history = p->history,
		.same_thread = p->last_tid == u.tid, .moved = p->moved, .moved_ms_ago = w->now_ms - p->moved_ms,
		.tenure = with(p, u, w->now_ms),
		.tenure_ms = hn_tenure_ms(with(p, u, w->now_ms), w->now_ms), .disputed = neighbour_disagrees(w, i, u.nid),
	};
	struct hn_ruling r = { .target_nid = HN_NO_NODE };

	if (p->nid != u.nid && !p->held)
		hn_judge_automatic(&j, &r);
	return r;
}

static void record(struct page *p, struct user u, uint32_t now_ms)
{
	p->tenure = with(p, u, now_ms);
	p->history = hn_history_push(p->history, u.nid, p->last_tid == u.tid);
	p->last_tid = u.tid;
	p->open = p->nid != u.nid && !hn_tenure_is_known(p->tenure);
}

static void our_fault(struct ours *o, struct world *w, uint32_t i, struct result *r)
{
	struct page *p = &w->page[i];
	struct user u = next_user(w);
	struct hn_ruling ruling = judge(w, i, u);
	bool moves = ruling.target_nid != HN_NO_NODE, moved = moves && migrate(w, p, ruling.target_nid, r);

	r->faults++;
	p->armed = false;
	record(p, u, w->now_ms);
	if (moved) {
			p->moved = true;
		p->moved_ms = w->now_ms;
		o->confirmed += ruling.reason != HN_REASON_FIRST;
	} else if (moves) {
		p->held = true;
		p->hold_ms = w->now_ms + FAIL_HOLD_MS;
	}
}

static void our_pass(struct ours *o, struct world *w, struct result *r)
{
	struct hn_pace_plan plan = hn_pace_plan(&o->pace, &par, PAGES, o->questions, o->confirmed, w->now_ms);
	uint32_t window = par.window_pages, i;

	plan.fresh = arm(o, w, NEW, 0, plan.fresh < window ? plan.fresh : window);
	plan.open = arm(o, w, OPEN, 0, plan.open < window - plan.fresh ? plan.open : window - plan.fresh);
	if (plan.any > window - plan.fresh - plan.open)
		plan.any = window - plan.fresh - plan.open;
	plan.rather_open = arm(o, w, OPEN, 0, plan.any < plan.rather_open ? plan.any : plan.rather_open);
	plan.any = plan.rather_open + arm(o, w, ANY, 0, plan.any - plan.rather_open);
	plan.old = arm(o, w, OLD, plan.since_ms, plan.old);
	hn_pace_done(&o->pace, &plan);
	for (i = 0; i < PAGES; i++)
		if (w->page[i].armed)
			our_fault(o, w, i, r);
}

static struct result run_ours(const struct scenario *sc, uint32_t seed)
{
	struct result r = { .late_ms = NEVER };
	struct ours o = { .questions = 0 };
	uint32_t next_ms = 0, hinted_ms = 0, period_ms = 0; /* between two passes that set hints */
	struct world w;

	world_start(&w, sc, seed);
	hn_pace_start(&o.pace, &par, 0);
	while (go_to(&w, next_ms)) {
		uint32_t faults = r.faults;

		our_pass(&o, &w, &r);
		if (r.faults != faults) {
			period_ms = w.now_ms - hinted_ms;
			hinted_ms = w.now_ms;
		}
		note(&w, period_ms, &r);
		next_ms = w.now_ms + hn_pace_interval_ms(&o.pace, &par, PAGES, w.now_ms);
	}
	result_end(&w, &r, period_ms);
	return r;
}

/* ---- the table ---- */

enum side { OURS, KERNEL, WITHOUT, NR_SIDES };

static const char *const sides[] = { "hugenuma", "kernel's rules", "kernel's rules without it" };

static void add(struct mean *m, const struct result *r)
{
	m->never |= r->late_ms == NEVER;
	m->late_s += r->late_ms / 1000.0 / RUNS;
	m->local_percent += r->local_percent / RUNS;
	m->faults += (double)r->faults / RUNS;
	m->migrations += (double)r->migrations / RUNS;
	m->before_s += r->before_ms / 1000.0 / RUNS;
	m->period_s += r->period_ms / 1000.0 / RUNS;
}

/* The run number `run`, from 0. */
static struct result one_run(const struct scenario *sc, enum side side, uint32_t run)
{
	struct rules rules = { true, true, true };
	struct scenario later = *sc;
	uint32_t i;

	if (side == WITHOUT && sc->oddity == STICKY)
		rules.sticky = false;
	else if (side == WITHOUT && sc->oddity == PRIVATE)
		rules.private_slow = false;
	else if (side == WITHOUT)
		rules.local_unseen = false;
	for (i = 0; i < MAX_CHANGES; i++)
		later.change_ms[i] += sc->change_ms[i] ? run * LATER_MS : 0;
	later.since_ms += sc->since_ms ? run * LATER_MS : 0;
	return side == OURS ? run_ours(&later, run + 1) : run_kernel(&later, run + 1, rules);
}

static struct mean measure(const struct scenario *sc, enum side side)
{
	struct mean m = { .never = false };
	uint32_t run;

	for (run = 0; run < RUNS; run++) {
		struct result r = one_run(sc, side, run);

		add(&m, &r);
	}
	return m;
}

static void print_row(const char *side, const struct mean *m)
{
	char late[16] = "never", before[16] = "-";

	if (!m->never)
		snprintf(late, sizeof(late), "%.1f", m->late_s);
	if (m->before_s > 0)
		snprintf(before, sizeof(before), "%.2f", m->before_s);
	printf("  %-50s %9s %6.1f %7.0f %10.0f %8s %8.2f\n",
	       side, late, m->local_percent, m->faults, m->migrations, before, m->period_s);
}

static void print_table(void)
{
	static const char head[] = "  %-50s %9s %6s %7s %10s %8s %8s\n";
	unsigned i, side;

	printf(head, "", "95% local", "local", "hint", "", "period", "period");
	printf(head, "", "after s", "%", "faults", "migrations", "before s", "at end s");
	for (i = 0; i < NR_SCENARIOS; i++) {
		printf("%s: %s\n", scenarios[i].name, scenarios[i].about);
		for (side = 0; side < NR_SIDES; side++) {
			struct mean m = measure(&scenarios[i], (enum side)side);
			char what[64];

			snprintf(what, sizeof(what), "%s%s%s", sides[side], side == WITHOUT ? ": " : "",
				 side == WITHOUT ? scenarios[i].without : "");
			print_row(what, &m);
		}
	}
}

static void print_json_row(const struct scenario *sc, const char *side, const struct mean *m)
{
	char late[32] = "null";

	if (!m->never)
		snprintf(late, sizeof(late), "%.2f", m->late_s);
	printf("{\"scenario\": \"%s\", \"side\": \"%s\", \"local_after_s\": %s, "
	       "\"local_percent\": %.2f, \"hint_faults\": %.1f, \"migrations\": %.1f, "
	       "\"period_before_s\": %.3f, \"period_s\": %.3f}\n",
	       sc->name, side, late, m->local_percent, m->faults, m->migrations, m->before_s, m->period_s);
}

static int by_time(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print_json_spread(const struct scenario *sc)
{
	uint32_t late_ms[MANY_RUNS], run;

	for (run = 0; run < MANY_RUNS; run++)
		late_ms[run] = one_run(sc, OURS, run).late_ms;
	qsort(late_ms, MANY_RUNS, sizeof(late_ms[0]), by_time);
	printf("{\"scenario\": \"%s\", \"side\": \"hugenuma, runs\", \"runs\": %u, \"half_after_s\": %.2f, "
	       "\"nine_of_ten_after_s\": %.2f, \"worst_after_s\": %.2f}\n",
	       sc->name, MANY_RUNS, late_ms[MANY_RUNS / 2 - 1] / 1000.0, late_ms[MANY_RUNS * 9 / 10 - 1] / 1000.0,
	       late_ms[MANY_RUNS - 1] / 1000.0);
}

static void print_json(void)
{
	unsigned i, side;

	for (i = 0; i < NR_SCENARIOS; i++) {
		const struct scenario *sc = &scenarios[i];

		for (side = 0; side < NR_SIDES; side++) {
			struct mean m = measure(sc, (enum side)side);

			print_json_row(sc, sides[side], &m);
		}
		if (sc->one_fails) {
			struct scenario whole = *sc;
			struct mean m;

			whole.one_fails = false;
			m = measure(&whole, OURS);
			print_json_row(sc, "hugenuma, no failure", &m);
		}
		if (sc->oddity == UNSEEN)
			print_json_spread(sc);
	}
}

/* ---- is it as the document says? ---- */

#define SOON_S 2.0 /* ours, wherever pages have one user */

static int complain(const struct scenario *sc, const char *what)
{
	printf("%s: %s\n", sc->name, what);
	return 1;
}

static bool about(double a, double b) { return a <= b * 1.05 + 0.1 && b <= a * 1.05 + 0.1; }

/* That one migration fails makes no difference to us. */
static int check_failure(const struct scenario *sc, const struct mean *ours)
{
	struct scenario whole = *sc;
	struct mean m;

	whole.one_fails = false;
	m = measure(&whole, OURS);
	if (!about(ours->late_s, m.late_s) || !about(ours->faults, m.faults))
		return complain(sc, "our pace is another after a failure");
	return 0;
}

static int check(const struct scenario *sc)
{
	struct mean ours = measure(sc, OURS), kernel = measure(sc, KERNEL), without = measure(sc, WITHOUT);
	int bad = 0;

	if (sc->oddity != UNSEEN && (ours.never || ours.late_s > SOON_S))
		bad |= complain(sc, "ours takes long");
	if (sc->one_fails)
		bad |= check_failure(sc, &ours);
	if (sc->oddity == UNSEEN) {
		if (kernel.migrations < 2 * without.migrations)
			bad |= complain(sc, "the rule makes no difference");
		if (ours.migrations * 2 > kernel.migrations)
			bad |= complain(sc, "ours migrates as much");
	} else if (sc->shows && !kernel.never && (without.never || kernel.late_s < 1.3 * without.late_s)) {
		bad |= complain(sc, "the rule makes no difference");
	}
	return bad;
}

int main(int argc, char **argv)
{
	unsigned i;
	int bad = 0;

	if (argc == 1) {
		print_table();
	} else if (argc == 2 && !strcmp(argv[1], "--json")) {
		print_json();
	} else if (argc == 2 && !strcmp(argv[1], "--check")) {
		for (i = 0; i < NR_SCENARIOS; i++)
			bad |= check(&scenarios[i]);
	} else {
		fprintf(stderr, "usage: bench-oddities [--json | --check]\n");
		return 2;
	}
	return bad;
}
