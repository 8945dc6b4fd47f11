// SPDX-License-Identifier: MIT
/* The pace of the scanner: rule by rule, then against memory with a known life. */
#include "core/pace.h"
#include "fake.h"

static const struct hn_pace_params par = { .start_ms = 1000, .min_ms = 250, .max_ms = 60000, .window_pages = 128 };

struct run {
	struct hn_pace p;
	uint64_t samples, placed;
	uint32_t now_ms;
};

static struct run fresh(uint32_t now_ms)
{
	struct run r = { .now_ms = now_ms };

	hn_pace_start(&r.p, &par, now_ms);
	return r;
}

/* So many samples, of which `share` permille are placed, after `ms`. */
static bool judge(struct run *r, unsigned samples, unsigned share, uint32_t ms)
{
	r->samples += samples;
	r->placed += (uint64_t)samples * share / 1000;
	r->now_ms += ms;
	return hn_pace_judge(&r->p, &par, r->samples, r->placed, r->now_ms);
}

static void test_grows_once_a_round(void **state)
{
	struct run r = fresh(UINT32_MAX - 500); /* the clock wraps on the way */
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++)
		judge(&r, 16, 1000, 200);
	assert_int_equal(r.p.period_ms, 1000);
	judge(&r, 16, 1000, 200);
	assert_int_equal(r.p.period_ms, 2000);
	judge(&r, 16, 1000, 1900);
	assert_int_equal(r.p.period_ms, 2000);
	judge(&r, 16, 1000, 100);
	assert_int_equal(r.p.period_ms, 4000);
	for (i = 0; i < 10; i++)
		judge(&r, 1000, 950, 60000);
	assert_int_equal(r.p.period_ms, 60000);
}

static void test_too_few_samples_say_nothing(void **state)
{
	struct run r = fresh(0);

	(void)state;
	assert_false(judge(&r, 15, 0, 5000));
	assert_int_equal(r.p.period_ms, 1000);
	assert_false(judge(&r, 1, 0, 0)); /* they are not lost */
	assert_int_equal(r.p.period_ms, 300);
}

static void test_shrinks_in_proportion(void **state)
{
	static const struct {
		unsigned share;
		uint32_t then;
	} rows[] = { { 949, 1000 }, { 700, 1000 }, { 600, 900 }, { 200, 500 }, { 0, 300 } };
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct run r = fresh(0);

		judge(&r, 1000, rows[i].share, 100);
		assert_int_equal(r.p.period_ms, rows[i].then);
		for (unsigned k = 0; k < 20; k++)
			judge(&r, 1000, rows[i].share, 100);
		assert_true(rows[i].share >= 700 || r.p.period_ms == 250);
	}
}

static void test_a_change_is_answered_at_once(void **state)
{
	struct run r = fresh(0);
	unsigned i;

	(void)state;
	for (i = 0; i < 8; i++)
		assert_false(judge(&r, 16, 1000, 60000));
	assert_int_equal(r.p.period_ms, 60000);
	assert_false(judge(&r, 100, 800, 1000)); /* worse, but no change */
	assert_true(judge(&r, 100, 400, 1000));
	assert_int_equal(r.p.period_ms, 1000);
	assert_false(judge(&r, 100, 0, 1000)); /* that is the same change still */
}

/* The kernel's balancing keeps its counters after a failed migration and backs off on and on; a window is a window here. */
static void test_nothing_sticks(void **state)
{
	struct run r = fresh(0);

	(void)state;
	judge(&r, 1000, 0, 1000);
	judge(&r, 16, 1000, 1000);
	judge(&r, 16, 1000, 1000);
	assert_true(r.p.period_ms > 300);
}

static void test_a_round_takes_its_period(void **state)
{
	static const uint64_t managed[] = { 1, 10, 127, 128, 129, 1000, 5000 };
	static const uint32_t period[] = { 250, 1000, 7000, 60000 };
	unsigned i, k;

	(void)state;
	for (i = 0; i < sizeof(managed) / sizeof(managed[0]); i++)
		for (k = 0; k < sizeof(period) / sizeof(period[0]); k++) {
			struct run r = fresh(0);
			uint64_t armed = 0, whole;
			uint32_t end;

			r.p.period_ms = period[k];
			r.p.pass_ms = 0;
			end = r.now_ms + period[k];
			while (r.now_ms < end) {
				r.now_ms += hn_pace_interval_ms(&r.p, &par, managed[i]);
				armed += hn_pace_budget(&r.p, &par, managed[i], r.now_ms);
			}
			/* Rounded up to pages in each pass; limited by one window each least interval. */
			whole = managed[i] < period[k] / 100 * 128 ? managed[i] : period[k] / 100 * 128;
			if (armed < whole || armed > whole + period[k] / 100 + 128)
				fail_msg("%u pages in %u ms: %u armed", (unsigned)managed[i], period[k], (unsigned)armed);
		}
}

/* Backed off to a minute a round, a change of everything is answered within seconds, not at the end of the round. */
static void test_a_change_is_noticed_in_seconds(void **state)
{
	struct run r = fresh(0);
	uint32_t start;

	(void)state;
	r.p.period_ms = 60000;
	r.p.share = 1000;
	r.p.judged = true;
	for (start = r.now_ms; r.now_ms < start + 60000;) {
		uint32_t ms = hn_pace_interval_ms(&r.p, &par, 256);
		unsigned armed;

		r.now_ms += ms;
		armed = hn_pace_budget(&r.p, &par, 256, r.now_ms);
		if (judge(&r, armed, 0, 0))
			break;
	}
	assert_true(r.now_ms - start <= 5000);
	assert_int_equal(r.p.period_ms, 1000);
}

/* A burst as long as what was saved up allows, then the share; time that was not used is not saved for ever. */
static void test_credit(void **state)
{
	struct hn_credit c;
	uint32_t now = UINT32_MAX - 1000, start; /* the clock wraps on the way */

	(void)state;
	hn_credit_start(&c, 100, now);
	hn_credit_use(&c, 100, 3000000000u, now);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 0);
	hn_credit_use(&c, 100, 1, now);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 1);
	hn_credit_use(&c, 100, 50000000, now);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 501);
	hn_credit_use(&c, 100, 0, now += 501);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 0);
	hn_credit_use(&c, 100, 0, now += 86400000);
	hn_credit_use(&c, 100, 3000000001u, now);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 1);
	hn_credit_use(&c, 0, 1000000000, now); /* 0: no limit */
	assert_int_equal(hn_credit_wait_ms(&c, 0), 0);
	hn_credit_start(&c, 20, now);
	for (start = now; now - start < 300000; now += 100 + hn_credit_wait_ms(&c, 20))
		hn_credit_use(&c, 20, 30000000, now);
	assert_in_range(now - start, 300000, 303000);
	hn_credit_use(&c, 20, 0, now);
	assert_true(c.ns > -30000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_once_a_round),
		cmocka_unit_test(test_too_few_samples_say_nothing),
		cmocka_unit_test(test_shrinks_in_proportion),
		cmocka_unit_test(test_a_change_is_answered_at_once),
		cmocka_unit_test(test_nothing_sticks),
		cmocka_unit_test(test_a_round_takes_its_period),
		cmocka_unit_test(test_a_change_is_noticed_in_seconds),
		cmocka_unit_test(test_credit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
