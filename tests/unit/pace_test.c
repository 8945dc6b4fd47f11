// SPDX-License-Identifier: MIT
/* Which pages are asked about, and when: rule by rule, then memory with a known life. */
#include "core/pace.h"
#include "fake.h"

static const struct hn_pace_params par = { .start_ms = 1000, .min_ms = 250, .max_ms = 60000, .window_pages = 128 };

struct run {
	struct hn_pace p;
	uint64_t managed, fresh, open, confirmed; /* pages; `fresh` and `open`: that there are to be asked about */
	uint64_t asked;                           /* so far ... */
	uint32_t questions;                       /* ... and of them `open` */
	uint32_t now_ms;
	uint64_t old; /* pages that were not sampled since others like them moved */
};

static struct run begin(uint64_t managed)
{
	struct run r = { .managed = managed, .now_ms = UINT32_MAX - 500 }; /* the clock wraps on the way */

	hn_pace_start(&r.p, &par, r.now_ms);
	return r;
}

static uint32_t take(uint64_t *from, uint32_t most)
{
	uint32_t n = *from < most ? (uint32_t)*from : most;

	*from -= n;
	return n;
}

/* One pass, and the time until the next; returns what it armed. */
static struct hn_pace_plan pass(struct run *r)
{
	struct hn_pace_plan plan = hn_pace_plan(&r->p, &par, r->managed, r->questions, r->confirmed, r->now_ms);

	plan.fresh = take(&r->fresh, plan.fresh);
	plan.open = take(&r->open, plan.open);
	plan.old = take(&r->old, plan.old);
	hn_pace_done(&r->p, &plan);
	r->questions += plan.open + take(&r->open, plan.rather_open);
	r->asked += plan.fresh + plan.open + plan.any + plan.old;
	r->now_ms += hn_pace_interval_ms(&r->p, &par, r->managed, r->now_ms);
	return plan;
}

/* Passes for so long. */
static void run_ms(struct run *r, uint32_t ms)
{
	uint32_t end = r->now_ms + ms;

	while ((int32_t)(r->now_ms - end) < 0)
		pass(r);
}

static void test_new_memory_is_asked_about_at_once(void **state)
{
	struct run r = begin(32);
	struct hn_pace_plan plan;

	(void)state;
	r.fresh = 32;
	plan = pass(&r);
	assert_int_equal(plan.fresh, 32);
	assert_int_equal(r.now_ms, UINT32_MAX - 450); /* and what came of it is looked at soon */
	r.fresh = 64;
	assert_int_equal(pass(&r).fresh, 64);
}

/* All of it once in the period, and no more than a window at a time. */
static void test_much_new_memory_takes_a_period(void **state)
{
	struct run r = begin(1024);
	uint32_t start = r.now_ms;

	(void)state;
	r.fresh = 1024;
	while (r.fresh)
		assert_true(pass(&r).fresh <= 128);
	assert_in_range(r.now_ms - start, 800, 1100);
	r.managed = r.fresh = 100; /* a little memory again and again is a window in a period, too */
	for (start = r.now_ms; r.now_ms - start < 10000; r.fresh = 100)
		pass(&r);
	assert_in_range(r.asked, 1024 + 1280, 1024 + 1280 + 300);
}

/* Placed memory: one sample in 125 ms for half a minute, then in 250 ms, or a round in max_ms if that is more. */
static void test_watch(void **state)
{
	static const struct {
		uint64_t managed;
		unsigned least, most; /* in a minute */
	} rows[] = { { 1, 300, 370 }, { 10, 300, 370 }, { 250, 330, 400 }, { 1000, 980, 1010 }, { 20000, 19800, 20200 } };
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct run r = begin(rows[i].managed);

		run_ms(&r, 60000);
		if (r.asked < rows[i].least || r.asked > rows[i].most)
			fail_msg("%u pages: %u asked", (unsigned)rows[i].managed, (unsigned)r.asked);
	}
}

/* As many as that many windows allow, and no storm afterwards. */
static void test_watch_of_more_than_can_be_watched(void **state)
{
	struct run r = begin(10000000);

	(void)state;
	run_ms(&r, 10000);
	assert_in_range(r.asked, 90 * 128, 101 * 128);
	r.now_ms += 3600000;
	assert_int_equal(pass(&r).any, 128);
}

/* Questions are asked again for as long as a migration comes of most; the first few anyway. */
static void test_questions(void **state)
{
	struct run r = begin(100);
	unsigned i, asked = 0, turns = 0;
	uint32_t from;

	(void)state;
	r.open = 100;
	assert_int_equal(pass(&r).open, 4);
	assert_int_equal(pass(&r).open, 4); /* answers may take their time */
	for (i = 0; i < 5; i++)
		assert_int_equal(pass(&r).open, 0);
	r = begin(100);
	r.open = 100;
	for (i = 0; i < 5; i++)
		r.confirmed += pass(&r).open;
	assert_int_equal(r.open, 0);
	/* Every second, as with pages that two nodes use at random. */
	r = begin(1000);
	from = r.now_ms;
	for (i = 0; i < 1000; i++) {
		uint32_t n;

		r.open = 1000;
		n = pass(&r).open;
		r.confirmed += n / 2;
		asked += n;
	}
	assert_true(asked <= 64 + (r.now_ms - from) / 500); /* two a second: to see whether it pays by now */
	for (i = asked = 0; i < 1000; i++) {
		struct hn_pace_plan plan = pass(&r);

		assert_true(plan.rather_open == 0 || plan.rather_open == plan.any);
		turns += plan.any != 0;
		asked += plan.rather_open != 0;
	}
	assert_in_range(asked, turns / 4, turns / 2 + 1); /* every other turn of the watch is theirs */
	/* Nor is the watch as frequent there, where samples lead to nothing. */
	r.asked = 0;
	r.open = 1000;
	run_ms(&r, 60000);
	assert_in_range(r.asked, 990, 1070); /* questions included */
	r.managed = 10;
	r.asked = 0;
	r.open = 1000;
	run_ms(&r, 60000);
	assert_in_range(r.asked, 90, 190);
}

/* A page with a new user stands for others; where migrations come of questions but now and then, it does not. */
/* Questions led to nothing for a while, and now they do: it must not take as many good ones as there were bad ones. */
static void test_what_did_not_pay_may_pay_later(void **state)
{
	struct run r = begin(100);
	uint32_t from;

	(void)state;
	r.open = 1000;
	run_ms(&r, 30000);
	r.open = 100;
	from = r.now_ms;
	while (r.open) {
		struct hn_pace_plan plan = pass(&r);

		r.confirmed += plan.open + plan.rather_open;
	}
	assert_in_range(r.now_ms - from, 0, 8000);
}

static void test_one_change_asks_the_rest(void **state)
{
	struct run r = begin(100);
	struct hn_pace_plan plan;
	uint32_t before;

	(void)state;
	run_ms(&r, 60000);
	before = r.p.credit_ms; /* when the plan was made whose samples said so */
	r.old = 100;
	r.confirmed++;
	plan = pass(&r);
	assert_int_equal(plan.old, 16);
	assert_int_equal(plan.since_ms, before);
	r.old = 100;
	r.confirmed += 12;
	assert_int_equal(pass(&r).old, 100); /* all there is */
	run_ms(&r, 10000);
	r.p.asked = 4;
	r.p.answered = 1;
	r.old = 100;
	r.confirmed++;
	assert_int_equal(pass(&r).old, 4); /* two of four: it may be chance */
	r.p.asked = 28;
	r.p.answered = 13;
	r.old = 100;
	r.confirmed++;
	assert_int_equal(pass(&r).old, 0);
}

/* Everything has another user at once: how long until all is asked about, and how often meanwhile? */
static void test_a_change_of_phase(void **state)
{
	static const uint64_t managed[] = { 8, 32, 1000, 20000 };
	static const uint32_t most_ms[] = { 1000, 1000, 2000, 20000 }; /* the last: windows, one after the other */
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(managed) / sizeof(managed[0]); i++) {
		struct run r = begin(managed[i]);
		uint64_t once = 0, twice = 0;
		uint32_t start;

		run_ms(&r, 60000);
		r.asked = 0;
		for (start = r.now_ms; twice < managed[i] && r.now_ms - start < 60000;) {
			struct hn_pace_plan plan;

			r.old = managed[i] - once;
			plan = pass(&r);
			/* Pages that were found out by the one kind of asking are confirmed by the other. */
			twice += plan.open;
			r.confirmed += plan.open;
			plan.any += plan.old;
			r.open += plan.any < managed[i] - once ? plan.any : managed[i] - once;
			once += plan.any < managed[i] - once ? plan.any : managed[i] - once;
		}
		print_message("# %u pages: %u ms, %u asked\n", (unsigned)managed[i], (unsigned)(r.now_ms - start),
			      (unsigned)r.asked);
		assert_true(r.now_ms - start <= most_ms[i]);
		assert_true(r.asked <= managed[i] * 4 + 32);
	}
}

/* A limit says nothing about whether asking pays: what it refuses is taken off again, at once or later. */
static void test_limits_are_no_answers(void **state)
{
	struct run r = begin(1000);
	uint32_t i;

	(void)state;
	pass(&r);
	for (i = 0; i < 100; i++) {
		uint32_t asked;

		r.open = 1000;
		asked = pass(&r).open;
		assert_true(asked > 0);
		r.questions -= asked - 1; /* all but one met the limit */
		r.confirmed++;
	}
	r.questions -= 500; /* first samples are refused, too, and were no questions */
	r.open = 1000;
	assert_true(pass(&r).open > 0);
}

/* A burst as long as what was saved up allows, then the share; time that was not used is not saved for ever. */
static void test_credit(void **state)
{
	struct hn_credit c;
	uint32_t now = UINT32_MAX - 1000, start; /* the clock wraps on the way */

	(void)state;
	hn_credit_start(&c, 100, now);
	hn_credit_use(&c, 100, 6000000000u, now);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 0);
	hn_credit_use(&c, 100, 1, now);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 1);
	hn_credit_use(&c, 100, 50000000, now);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 501);
	hn_credit_use(&c, 100, 0, now += 501);
	assert_int_equal(hn_credit_wait_ms(&c, 100), 0);
	hn_credit_use(&c, 100, 0, now += 86400000);
	hn_credit_use(&c, 100, 6000000001u, now);
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

/* All of it within a second, a window at a time; then only the watch is left. */
static void test_moved_threads_ask_all_they_use(void **state)
{
	struct run r = begin(200);

	(void)state;
	run_ms(&r, 5000);
	r.asked = 0;
	hn_pace_stir(&r.p, 200);
	assert_true(pass(&r).any > 100);
	run_ms(&r, 1000);
	assert_true(r.asked >= 200 && r.asked < 220);
	r.asked = 0;
	run_ms(&r, 1000);
	assert_true(r.asked < 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_memory_is_asked_about_at_once),
		cmocka_unit_test(test_much_new_memory_takes_a_period),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_watch_of_more_than_can_be_watched),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_what_did_not_pay_may_pay_later),
		cmocka_unit_test(test_one_change_asks_the_rest),
		cmocka_unit_test(test_a_change_of_phase),
		cmocka_unit_test(test_limits_are_no_answers),
		cmocka_unit_test(test_moved_threads_ask_all_they_use),
		cmocka_unit_test(test_credit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
