// SPDX-License-Identifier: MIT
/* Tiers: the rules of promotion, how their threshold tunes itself, what is demoted, and how a demotion ends. */
#include "core/fault.h"
#include "core/policy.h"
#include "fake.h"

#include <errno.h>
#include <string.h>

#define BASE_MS 800u
#define STEP_MS 100u
#define TUNE HN_TIER_TUNE_MS

/* ---- promotion: nodes 0 and 1 are fast, 2 and 3 slow ---- */

static const struct promote_row {
	const char *what;
	int page, thread;
	uint64_t allowed, full, roomy;
	uint32_t ms;
	bool tier; /* tiers have a say */
	int target, why;
} promotes[] = {
	{ "both fast", 0, 1, 15, 0, 0, 0, false, 0, 0 },
	{ "touched at once", 2, 0, 15, 0, 0, 0, true, 0, HN_REASON_HOT },
	{ "touched just in time", 2, 1, 15, 0, 0, BASE_MS, true, 1, HN_REASON_HOT },
	{ "touched too late", 2, 1, 15, 0, 0, BASE_MS + 1, true, HN_NO_NODE, HN_REFUSE_COLD },
	{ "too late, but there is room", 3, 1, 15, 0, 2, 100 * BASE_MS, true, 1, HN_REASON_ROOM },
	{ "room elsewhere", 3, 1, 15, 0, 1, 100 * BASE_MS, true, HN_NO_NODE, HN_REFUSE_COLD },
	{ "hot, but no room", 2, 0, 15, 1, 0, 0, true, HN_NO_NODE, HN_REFUSE_LOW },
	{ "no room elsewhere", 2, 0, 15, 2, 0, 0, true, 0, HN_REASON_HOT },
	{ "not allowed", 2, 0, 14, 0, 0, 0, true, HN_NO_NODE, HN_REFUSE_NODES },
	{ "a thread on a slow node, page fast", 0, 2, 15, 0, 0, 0, true, HN_NO_NODE, HN_REFUSE_TIER },
	{ "a thread on a slow node, page on another", 3, 2, 15, 0, 0, 0, true, HN_NO_NODE, HN_REFUSE_TIER },
};

static void test_promotion(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(promotes) / sizeof(promotes[0]); i++) {
		const struct promote_row *r = &promotes[i];
		struct hn_placing p = { .nr_nodes = 4, .allowed = r->allowed, .slow = 12, .full = r->full, .roomy = r->roomy,
					.hot_ms = BASE_MS };
		struct hn_judge j = { .place = &p, .page_nid = r->page, .thread_nid = r->thread, .armed_ms_ago = r->ms };
		struct hn_ruling got = { .target_nid = HN_NO_NODE };
		bool tier = hn_judge_tier(&j, &got);
		int why = got.target_nid == HN_NO_NODE ? (int)got.refusal : (int)got.reason;

		if (tier != r->tier || (tier && (got.target_nid != r->target || why != r->why)))
			fail_msg("%s: tier %d, target %d, why %d", r->what, tier, got.target_nid, why);
	}
}

/* ---- the threshold; a rate of 10 pages a second is 100 between two looks ---- */

static const struct tune_row {
	const char *what;
	uint32_t rate, promoted, too_cold, over_rate, bounced, hot, next;
} tunes[] = {
	{ "nothing happened", 10, 0, 0, 0, 0, BASE_MS, BASE_MS },
	{ "rate to spare, none turned away", 10, 50, 0, 0, 0, BASE_MS, BASE_MS },
	{ "rate to spare, some turned away", 10, 50, 1, 0, 0, BASE_MS, BASE_MS + STEP_MS },
	{ "rate used up, some turned away", 10, 90, 100, 0, 0, BASE_MS, BASE_MS },
	{ "a few over the rate", 10, 100, 100, 10, 0, BASE_MS, BASE_MS },
	{ "many over the rate", 10, 100, 100, 11, 0, BASE_MS, BASE_MS - STEP_MS },
	{ "no limit, some turned away", 0, 1000, 1, 0, 0, BASE_MS, BASE_MS + STEP_MS },
	{ "some come back", 10, 40, 10, 0, 9, BASE_MS, BASE_MS },
	{ "a quarter comes back", 10, 40, 10, 0, 10, BASE_MS, BASE_MS - STEP_MS },
	{ "hardly any come back", 10, 64, 10, 0, 4, BASE_MS, BASE_MS + STEP_MS },
	{ "all that was promoted comes back", 0, 1, 0, 0, 1, BASE_MS, BASE_MS - STEP_MS },
	{ "not above twice", 10, 0, 5, 0, 0, 2 * BASE_MS, 2 * BASE_MS },
	{ "not below an eighth", 10, 100, 5, 100, 0, STEP_MS, STEP_MS },
};

static void test_threshold(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(tunes) / sizeof(tunes[0]); i++) {
		const struct tune_row *r = &tunes[i];
		struct hn_tier t;

		hn_tier_start(&t, r->hot, 5);
		t.promoted = r->promoted;
		t.too_cold = r->too_cold;
		t.over_rate = r->over_rate;
		t.bounced = r->bounced;
		assert_false(hn_tier_tune(&t, BASE_MS, r->rate, 4 + TUNE));
		assert_true(hn_tier_tune(&t, BASE_MS, r->rate, 5 + TUNE));
		if (t.hot_ms != r->next)
			fail_msg("%s: %u ms, not %u", r->what, t.hot_ms, r->next);
		assert_int_equal(t.promoted + t.too_cold + t.over_rate + t.bounced, 0);
	}
}

/* Any base: never 0, never above twice, and both ends are reached and left again. */
static void test_threshold_ends(void **state)
{
	uint32_t base, i;

	(void)state;
	for (base = 8; base <= 60000; base = base * 3 / 2 + 1) {
		struct hn_tier t;

		hn_tier_start(&t, base, 0);
		for (i = 1; i <= 40; i++) {
			t.bounced = t.promoted = 1;
			hn_tier_tune(&t, base, 0, i * TUNE);
			assert_in_range(t.hot_ms, 1, base);
		}
		assert_in_range(t.hot_ms, base / 8, base / 8 + base % 8 + 1);
		for (; i <= 80; i++) {
			t.too_cold = 1;
			hn_tier_tune(&t, base, 0, i * TUNE);
			assert_in_range(t.hot_ms, 1, 2 * base);
		}
		assert_in_range(t.hot_ms, 2 * base - 16, 2 * base);
	}
}

static void test_rate(void **state)
{
	struct hn_tier t;
	unsigned i;

	(void)state;
	hn_tier_start(&t, BASE_MS, 100);
	for (i = 0; i < 3; i++) {
		assert_true(hn_tier_within_rate(&t, 3, 200));
		hn_tier_promoted(&t, false);
	}
	assert_false(hn_tier_within_rate(&t, 3, 1099));
	assert_true(hn_tier_within_rate(&t, 0, 1099));
	assert_true(hn_tier_within_rate(&t, 3, 1100));
	assert_int_equal(t.promoted, 3);
}

/* ---- the plan: 1000 pages a node; below 40 it is short, 61 are to be free then, from 160 on it is roomy ---- */

static uint8_t distance[HN_MAX_NODES][HN_MAX_NODES] = {
	{ 10, 20, 28, 30 }, { 20, 10, 30, 28 }, { 28, 30, 10, 40 }, { 30, 28, 40, 10 },
};

static const struct plan_row {
	const char *what;
	uint64_t slow, allowed, demoting;
	uint64_t free[4];
	uint64_t full, roomy;
	int target[2];
	uint32_t pages[2];
} plans[] = {
	{ "enough everywhere", 12, 15, 0, { 40, 159, 500, 500 }, 0, 0, { -1, -1 }, { 0, 0 } },
	{ "plenty", 12, 15, 0, { 160, 40, 500, 500 }, 0, 1, { -1, -1 }, { 0, 0 } },
	{ "short, nearest", 12, 15, 0, { 39, 30, 500, 500 }, 3, 0, { 2, 3 }, { 22, 31 } },
	{ "nearest is short itself", 12, 15, 0, { 0, 100, 40, 500 }, 1, 0, { 3, -1 }, { 61, 0 } },
	{ "nearest has little room", 12, 15, 0, { 0, 100, 45, 500 }, 1, 0, { 2, -1 }, { 5, 0 } },
	{ "nearest is not allowed", 12, 11, 0, { 0, 100, 500, 500 }, 1, 0, { 3, -1 }, { 61, 0 } },
	{ "nowhere to go", 12, 15, 0, { 0, 100, 40, 0 }, 1, 0, { -1, -1 }, { 0, 0 } },
	{ "no slow node", 0, 15, 0, { 0, 100, 500, 500 }, 1, 12, { -1, -1 }, { 0, 0 } },
	{ "no longer low, but not done", 12, 15, 1, { 40, 100, 500, 500 }, 1, 0, { 2, -1 }, { 21, 0 } },
	{ "nearly done", 12, 15, 3, { 60, 61, 500, 500 }, 1, 0, { 2, -1 }, { 1, 0 } },
};

static void test_plan(void **state)
{
	unsigned i, n;

	(void)state;
	for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		const struct plan_row *r = &plans[i];
		struct hn_tier_machine m = { 4, r->slow, r->allowed, 40, distance, r->demoting };
		struct hn_tier_memory mem[4];
		struct hn_tier_plan p;

		for (n = 0; n < 4; n++)
			mem[n] = (struct hn_tier_memory){ 1000, r->free[n] };
		hn_tier_make_plan(&m, mem, &p);
		if (p.full != r->full || p.roomy != r->roomy)
			fail_msg("%s: full %u, roomy %u", r->what, (unsigned)p.full, (unsigned)p.roomy);
		for (n = 0; n < 2; n++)
			if (p.target[n] != r->target[n] || p.pages[n] != r->pages[n])
				fail_msg("%s: node %u: %u pages to %d", r->what, n, p.pages[n], p.target[n]);
		memset(mem, 0, sizeof(mem));
		hn_tier_make_plan(&m, mem, &p);
		assert_true(p.full == 0 && p.roomy == 0 && p.pages[0] == 0 && p.target[0] == HN_NO_NODE);
	}
}

/* ---- at work: node 3 is slow, two hints untouched are cold ---- */

static struct fake *tiered(void)
{
	struct hn_params par = fake_params;
	struct fake *f;

	par.policy = HN_POLICY_AUTOMATIC;
	par.slow_nodes = 8;
	par.hot_ms = BASE_MS;
	par.cold_rounds = 2;
	par.promote_pages = 2;
	f = fake_new_with(&fake_geometry, &par);
	f->hn.core->plan.target[0] = 3;
	f->hn.core->plan.pages[0] = 2;
	return f;
}

static void expire(struct fake *f)
{
	hn_scan_pass(&f->hn, 16);
	fake_ms(f, FAKE_EXPIRY_MS);
	hn_scan_expire(&f->hn);
}

static void test_cold_pages_go(void **state)
{
	struct fake *f = tiered();

	(void)state;
	fake_manage(f, 0, 4, 0);
	expire(f);
	assert_int_equal(f->stats.demoted, 0);
	assert_int_equal(fake_entry(f, 1)->idle, 1);
	fake_sample(f, 1, 0);
	assert_int_equal(fake_entry(f, 1)->idle, 0);
	expire(f);
	assert_int_equal(f->stats.demoted, 2); /* as many as planned */
	assert_int_equal(f->hn.core->plan.pages[0], 0);
	assert_int_equal(fake_entry(f, 0)->nid, 3);
	assert_int_equal(fake_entry(f, 1)->nid, 0); /* it was used */
	assert_int_equal(fake_entry(f, 2)->nid, 3);
	assert_int_equal(fake_entry(f, 3)->nid, 0);
	assert_int_equal(f->stats.armed_now, 0);
	assert_int_equal(f->stats.samples, 1);
	assert_int_equal(f->stats.migrated, 0);
	fake_finish(f);
}

static void test_who_does_not_go(void **state)
{
	struct fake *f = tiered();

	(void)state;
	fake_manage(f, 0, 1, 1); /* node 1 is not short */
	fake_manage(f, 1, 1, 3); /* slow already */
	fake_manage(f, 2, 1, 0); /* failed a moment ago */
	expire(f);
	fake_entry(f, 2)->fails = 6;
	hn_entry_hold(&f->hn, fake_entry(f, 2), HN_E_NO_MOVE, 100000);
	expire(f);
	expire(f);
	assert_int_equal(f->stats.demoted, 0);
	f->hn.core->par.cold_rounds = 0;
	hn_entry_release(fake_entry(f, 2), hn_now_ms(&f->hn) + 10000000);
	expire(f);
	assert_int_equal(f->stats.demoted, 0);
	fake_finish(f);
}

/* Bound elsewhere, only observed, or bound so that the slow node is among its nodes: only the last goes. */
static void test_demotion_keeps_to_what_is_bound(void **state)
{
	static const struct hn_wish wish[3] = { { .nodes = 3, .soft = 1 }, { .dry = 1 }, { .nodes = 9, .soft = 1 } };
	struct fake *f = tiered();
	unsigned i;

	(void)state;
	fake_manage(f, 0, 3, 0);
	for (i = 0; i < 3; i++) {
		hn_policy_set_wish(&f->hn, i + 1, &wish[i]);
		hn_entry_wish(&f->hn, fake_at(i), i + 1);
	}
	expire(f);
	expire(f);
	expire(f);
	assert_int_equal(f->stats.demoted, 1);
	assert_int_equal(fake_entry(f, 2)->nid, 3);
	fake_finish(f);
}

static void test_observing_demotes_nothing(void **state)
{
	struct fake *f = tiered();

	(void)state;
	hn_policy_set(&f->hn, HN_POLICY_OBSERVE);
	fake_manage(f, 0, 1, 0);
	expire(f);
	expire(f);
	expire(f);
	assert_int_equal(f->stats.demoted, 0);
	fake_finish(f);
}

/* A page that let a hint run out is not hot because the next one happened to be young when it was touched. */
static void test_untouched_hints_count(void **state)
{
	struct fake *f = tiered();

	(void)state;
	fake_manage(f, 0, 2, 3);
	expire(f);
	assert_int_equal(fake_sample(f, 0, 0), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_COLD);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_OPEN, 16), 0); /* asked in the midst of a burst it would look hot */
	assert_int_equal(fake_sample(f, 0, 0), HN_FAULT_MIGRATED); /* that was then */
	f->hn.core->tier.hot_ms = FAKE_EXPIRY_MS; /* the same, hot within that */
	assert_int_equal(fake_sample(f, 1, 0), HN_FAULT_MIGRATED);
	fake_finish(f);
}

static void test_demotion_fails(void **state)
{
	struct fake *f = tiered();

	(void)state;
	fake_manage(f, 0, 1, 0);
	expire(f);
	f->script[FAKE_TARGET_GET] = (struct fake_script){ .fail_at = f->script[FAKE_TARGET_GET].calls + 1, .fail_nr = 1, .err = -ENOMEM };
	expire(f);
	assert_int_equal(f->stats.demote_failed[HN_FAIL_TARGET], 1);
	assert_int_equal(f->stats.demoted, 0);
	assert_int_equal(fake_entry(f, 0)->nid, 0);
	assert_int_equal(f->stats.armed_now, 0);
	assert_int_equal(f->hn.core->plan.pages[0], 2);
	fake_finish(f);
}

/* An event at the commit: the page stays armed, and who waits for it is woken to fault again (I3). */
static void test_demotion_is_put_off(void **state)
{
	struct fake *f = tiered();
	unsigned woken;

	(void)state;
	fake_manage(f, 0, 1, 0);
	expire(f);
	f->script[FAKE_COMMIT] = (struct fake_script){ .fail_at = f->script[FAKE_COMMIT].calls + 1, .fail_nr = 1, .err = -EAGAIN };
	woken = f->wakes;
	expire(f);
	assert_int_equal(f->stats.demoted, 0);
	assert_int_equal(f->stats.armed_now, 1);
	assert_true(f->wakes > woken);
	expire(f);
	assert_int_equal(f->stats.demoted, 1);
	fake_finish(f);
}

/* A thread that touches the page during the copy waits for it, and then has it where it was. */
static struct fake *touching;
static enum hn_outcome touched;
static int (*really_copy)(void *be, uint32_t page, uint32_t target, int nid, uint64_t until_ns);

static int copy_and_touch(void *be, uint32_t page, uint32_t target, int nid, uint64_t until_ns)
{
	struct hn_verdict v;

	fake_sleep(touching, fake_at(0));
	touched = hn_fault(&touching->other, fake_at(0), 1, touching->now_ns, &v);
	return really_copy(be, page, target, nid, until_ns);
}

static void test_touched_during_the_copy(void **state)
{
	struct fake *f = tiered();
	struct hn_ops ops = *f->hn.ops;

	(void)state;
	touching = f;
	really_copy = ops.copy;
	ops.copy = copy_and_touch;
	fake_manage(f, 0, 1, 0);
	expire(f);
	f->hn.ops = &ops;
	expire(f);
	assert_int_equal(touched, HN_FAULT_WAITED);
	assert_int_equal(f->stats.demoted, 0);
	assert_int_equal(f->stats.demote_touched, 1);
	assert_int_equal(fake_entry(f, 0)->nid, 0);
	assert_int_equal(f->stats.armed_now, 0);
	fake_finish(f);
}

/* ---- and back ---- */

static void test_hot_pages_come_back(void **state)
{
	struct fake *f = tiered();

	(void)state;
	fake_manage(f, 0, 4, 3);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(fake_verdict.reason, HN_REASON_HOT);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(1), 1), 1);
	fake_ms(f, BASE_MS + 1);
	assert_int_equal(fake_fault(f, 1, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_COLD);
	fake_ms(f, 1000);
	assert_int_equal(fake_sample(f, 1, 1), HN_FAULT_MIGRATED);
	assert_int_equal(fake_sample(f, 2, 1), HN_FAULT_MIGRATED);
	assert_int_equal(fake_sample(f, 3, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_RATE);
	assert_int_equal(f->hn.core->tier.promoted, 3);
	assert_int_equal(f->hn.core->tier.too_cold, 1);
	assert_int_equal(f->hn.core->tier.over_rate, 1);
	fake_finish(f);
}

/* What fails is not promoted: only pages that really moved count against the rate. */
static void test_only_what_moved_counts(void **state)
{
	struct fake *f = tiered();

	(void)state;
	fake_manage(f, 0, 1, 3);
	f->script[FAKE_COPY] = (struct fake_script){ .fail_at = f->script[FAKE_COPY].calls + 1, .fail_nr = 1, .err = -EIO };
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_FAILED);
	assert_int_equal(f->hn.core->tier.promoted, 0);
	assert_int_equal(f->hn.core->tier.second_pages, 0);
	fake_finish(f);
}

static void test_bounces_are_seen(void **state)
{
	struct fake *f = tiered();

	(void)state;
	fake_manage(f, 0, 1, 0);
	expire(f);
	expire(f);
	assert_int_equal(fake_entry(f, 0)->nid, 3);
	assert_int_equal(fake_sample(f, 0, 0), HN_FAULT_MIGRATED);
	assert_int_equal(f->hn.core->tier.bounced, 1);
	assert_int_equal(fake_entry(f, 0)->demoted, 0);
	fake_finish(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_promotion),
		cmocka_unit_test(test_threshold),
		cmocka_unit_test(test_threshold_ends),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_cold_pages_go),
		cmocka_unit_test(test_who_does_not_go),
		cmocka_unit_test(test_demotion_keeps_to_what_is_bound),
		cmocka_unit_test(test_observing_demotes_nothing),
		cmocka_unit_test(test_untouched_hints_count),
		cmocka_unit_test(test_demotion_fails),
		cmocka_unit_test(test_demotion_is_put_off),
		cmocka_unit_test(test_touched_during_the_copy),
		cmocka_unit_test(test_hot_pages_come_back),
		cmocka_unit_test(test_only_what_moved_counts),
		cmocka_unit_test(test_bounces_are_seen),
	};

	return fake_run(tests);
}
