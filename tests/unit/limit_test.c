// SPDX-License-Identifier: MIT
/* How much may be migrated, and how long a thread may wait for it. */
#include "core/history.h"
#include "fake.h"

#include <errno.h>

#define CEILING_US 1000u

static void test_budget(void **state)
{
	struct hn_params par = fake_params;
	struct fake *f;
	unsigned slot;

	(void)state;
	par.policy = HN_POLICY_AUTOMATIC;
	par.budget_pages = 3;
	f = fake_new_with(&fake_geometry, &par);
	fake_manage(f, 0, 8, 0);
	for (slot = 0; slot < 3; slot++)
		assert_int_equal(fake_sample(f, slot, 1), HN_FAULT_MIGRATED);
	for (; slot < 6; slot++) {
		assert_int_equal(fake_sample(f, slot, 1), HN_FAULT_REFUSED);
		assert_int_equal(fake_verdict.refusal, HN_REFUSE_BUDGET);
	}
	fake_ms(f, 1100);
	for (slot = 3; slot < 6; slot++)
		assert_int_equal(fake_sample(f, slot, 1), HN_FAULT_MIGRATED);
	assert_int_equal(fake_sample(f, 6, 1), HN_FAULT_REFUSED);
	fake_finish(f);
}

/* How many pages want to migrate at that ms: always; many at once now and then; by bursts; a trickle, and a flood. */
static unsigned wanted(unsigned pattern, unsigned ms)
{
	switch (pattern) {
	case 0: return 3;
	case 1: return ms % 937 == 0 ? 500 : 0;
	case 2: return ms % 2001 > 1900 ? 5 : 0;
	default: return ms % 40 == 0 ? 1 + (ms % 3000 == 0) * 90 : 0;
	}
}

/* No second has more, wherever it begins and however pages come; and what may be is nearly used up. */
static void test_budget_of_any_second(void **state)
{
	enum { SECONDS = 20, MS = SECONDS * 1000 };
	static const uint32_t starts[] = { 0, 777, UINT32_MAX - MS / 2 }; /* over the wrap of the clock, too */
	static uint32_t sum[MS + 1];                                    /* begun before this ms */
	struct hn_params par = fake_params;
	enum hn_refusal why;
	struct fake *f;
	unsigned run, ms, i;

	(void)state;
	par.budget_pages = 50;
	for (run = 0; run < 4 * 3; run++) {
		f = fake_new_with(&fake_geometry, &par);
		for (ms = 0; ms < MS; ms++) {
			sum[ms + 1] = sum[ms];
			for (i = wanted(run % 4, ms); i; i--)
				sum[ms + 1] += !hn_limit_reached(&f->hn, starts[run / 4] + ms, &why);
			if (ms >= 1000)
				assert_true(sum[ms + 1] - sum[ms + 1 - 1000] <= par.budget_pages);
		}
		if (run % 4 == 0)
			assert_true(sum[MS] >= par.budget_pages * SECONDS * 9 / 10);
		fake_finish(f);
	}
}

/* What is put off because an event is unread comes again, and counts once. */
static void test_not_begun_is_not_charged(void **state)
{
	struct hn_params par = fake_params;
	enum hn_refusal why;
	struct fake *f;
	unsigned i;

	(void)state;
	par.budget_pages = 2;
	f = fake_new_with(&fake_geometry, &par);
	for (i = 0; i < 10; i++) {
		assert_false(hn_limit_reached(&f->hn, 5000 + i, &why));
		hn_limit_not_begun(&f->hn, 5000 + i);
	}
	assert_false(hn_limit_reached(&f->hn, 5010, &why));
	hn_limit_not_begun(&f->hn, 9000); /* whose step is over: nothing to take back */
	assert_false(hn_limit_reached(&f->hn, 5011, &why));
	assert_true(hn_limit_reached(&f->hn, 5012, &why));
	assert_int_equal(why, HN_REFUSE_BUDGET);
	fake_finish(f);
}

/* ---- the ceiling for stalls: what is begun ---- */

static struct fake *with_ceiling(uint32_t us)
{
	struct hn_params par = fake_params;
	struct fake *f;

	par.policy = HN_POLICY_AUTOMATIC;
	par.max_stall_us = us;
	f = fake_new_with(&fake_geometry, &par);
	fake_manage(f, 0, 8, 0);
	return f;
}

/* How many wanted migrations of a page are refused before one is begun, which ends as said. */
static unsigned refused_before(struct fake *f, unsigned slot, enum hn_outcome end)
{
	enum hn_outcome out;
	unsigned n;

	for (n = 0; (out = fake_sample(f, slot, 1)) == HN_FAULT_REFUSED && n < 1000; n++) {
		assert_int_equal(fake_verdict.refusal, HN_REFUSE_STALL);
		fake_entry(f, slot)->history = 0;
	}
	assert_int_equal(out, end);
	return n;
}

static unsigned refused_before_one(struct fake *f, unsigned slot) { return refused_before(f, slot, HN_FAULT_MIGRATED); }

static uint32_t pass_us;

static void time_passes(struct fake *f) { f->now_ns += pass_us * 1000ull; }

/* Slow migrations forbid themselves, but not for ever: what is not tried again cannot show that it has become faster. */
static void test_slow_ones_are_not_begun(void **state)
{
	struct fake *f = with_ceiling(CEILING_US);
	int i;

	(void)state;
	for (i = 0; i < 30; i++)
		hn_limit_note_stall(&f->hn, (CEILING_US - 100) * 1000);
	assert_int_equal(refused_before_one(f, 0), 0);
	for (i = 0; i < 30; i++)
		hn_limit_note_stall(&f->hn, 3 * CEILING_US * 1000);
	assert_in_range(refused_before_one(f, 1), 10, 30);
	fake_finish(f);
}

/* Whose thread was interrupted for a second says nothing about the next one. */
static void test_an_outlier_forbids_nothing(void **state)
{
	struct fake *f = with_ceiling(CEILING_US);
	int i;

	(void)state;
	for (i = 0; i < 30; i++)
		hn_limit_note_stall(&f->hn, 200000);
	hn_limit_note_stall(&f->hn, 1000000000);
	assert_int_equal(refused_before_one(f, 0), 0);
	hn_limit_note_given_up(&f->hn);
	assert_int_equal(refused_before_one(f, 1), 0);
	fake_finish(f);
}

/* The more in a row were given up, the longer none is begun, to an end; one that succeeds ends it. */
static void test_given_up_in_a_row(void **state)
{
	static const uint32_t ceilings[] = { 1, 2, 15, CEILING_US, 10000000 }; /* to the ends of the setting */
	unsigned i, c, n, last;

	(void)state;
	for (c = 0; c < sizeof(ceilings) / sizeof(ceilings[0]); c++) {
		struct fake *f = with_ceiling(ceilings[c]);

		pass_us = ceilings[c];
		f->in_copy = time_passes;
		for (i = last = 0; i < 12; i++) {
			n = refused_before(f, 0, HN_FAULT_FAILED);
			assert_in_range(n, last, 80);
			assert_true(i > 1 || n == 0);
			last = n;
			fake_entry(f, 0)->history = 0;
			fake_ms(f, 100000); /* the page is not held any more */
		}
		assert_true(last > 3);
		f->in_copy = NULL;
		refused_before_one(f, 0);
		assert_int_equal(f->hn.core->given_up, 0);
		fake_finish(f);
	}
}

/* ---- what is given up ---- */

/* One fault of thread 1, whose page of slot 0 is to move. */
static enum hn_outcome one_migration(struct fake *f)
{
	fake_arm(f, 0);
	fake_sleep(f, fake_cell_at(0, 3));
	return fake_fault(f, 0, 1);
}

static void expect_given_up(struct fake *f)
{
	assert_int_equal(fake_verdict.failure, HN_FAIL_STALL);
	assert_int_equal(f->stats.failed[HN_FAIL_STALL], 1);
	assert_int_equal(f->stats.migrated, 0);
	assert_int_equal(f->stats.migration_stall_ns.count, 1);
	assert_int_equal(f->stats.migration_stall_ns.max, pass_us * 1000ull);
	assert_int_equal(fake_entry(f, 0)->state, HN_MAPPED);
	assert_int_equal(f->nid[0], 0);
	assert_true(f->huge[0]);
	fake_check(f); /* nobody sleeps, nothing leaks */
	/* Not at once again, but again. */
	f->in_copy = f->in_target_get = NULL;
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_HELD);
	fake_ms(f, 1000);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	fake_finish(f);
}

static void use_rwp(struct fake *f)
{
	static struct fake *rwp;

	rwp = fake_new_rwp();
	f->rwp = true;
	f->hn.ops = f->other.ops = rwp->hn.ops;
	fake_free(rwp);
}

/* Armed the one way or the other; whatever time_passes() is called in takes as long as a thread may wait. */
static struct fake *too_slow(int way)
{
	struct fake *f = with_ceiling(CEILING_US);

	if (way)
		use_rwp(f);
	pass_us = CEILING_US;
	return f;
}

static void test_given_up_in_the_copy(void **state)
{
	int way;

	(void)state;
	for (way = 0; way < 2; way++) {
		struct fake *f = too_slow(way);

		f->in_copy = time_passes;
		assert_int_equal(one_migration(f), HN_FAULT_FAILED);
		expect_given_up(f);
	}
}

/* A target that was long to come: nothing is taken out of the program for it. */
static void test_given_up_before_the_copy(void **state)
{
	int way;

	(void)state;
	for (way = 0; way < 2; way++) {
		struct fake *f = too_slow(way);

		f->in_target_get = time_passes;
		assert_int_equal(one_migration(f), HN_FAULT_FAILED);
		assert_int_equal(f->script[FAKE_ISOLATE].calls, 0);
		assert_int_equal(f->script[FAKE_COPY].calls, 0);
		expect_given_up(f);
	}
}

static void test_in_time(void **state)
{
	struct fake *f = with_ceiling(CEILING_US);

	(void)state;
	pass_us = CEILING_US - 1;
	f->in_copy = time_passes;
	assert_int_equal(one_migration(f), HN_FAULT_MIGRATED);
	fake_finish(f);
}

/* What the last step took lately is kept for it, but half of the time is for the copy. */
static void test_time_is_kept_for_the_last_step(void **state)
{
	struct fake *f = with_ceiling(CEILING_US);
	int i;

	(void)state;
	for (i = 0; i < 50; i++)
		hn_limit_note_last_step(&f->hn, 100000);
	assert_in_range(hn_limit_until(&f->hn, 0), CEILING_US * 1000 - 100000, CEILING_US * 1000 - 99000);
	pass_us = CEILING_US - 90;
	f->in_copy = time_passes;
	assert_int_equal(one_migration(f), HN_FAULT_FAILED);
	for (i = 0; i < 50; i++)
		hn_limit_note_last_step(&f->hn, 1000000000);
	assert_int_equal(hn_limit_until(&f->hn, 7), CEILING_US * 1000 / 2 + 7);
	fake_finish(f);
}

static void test_no_ceiling(void **state)
{
	struct fake *f = with_ceiling(0);

	(void)state;
	pass_us = 1000000;
	f->in_copy = f->in_target_get = time_passes;
	hn_limit_note_given_up(&f->hn);
	assert_int_equal(hn_limit_until(&f->hn, 5), 0);
	assert_int_equal(one_migration(f), HN_FAULT_MIGRATED);
	fake_finish(f);
}

/* The policies that only want pages on the move are no exception. */
static void test_ceiling_of_unlimited_policies(void **state)
{
	struct fake *f = with_ceiling(CEILING_US);

	(void)state;
	hn_policy_set(&f->hn, HN_POLICY_ALWAYS);
	pass_us = CEILING_US;
	f->in_copy = time_passes;
	assert_int_equal(one_migration(f), HN_FAULT_FAILED);
	assert_int_equal(fake_verdict.failure, HN_FAIL_STALL);
	fake_finish(f);
}

/* ---- and what a fault waits before it is read ---- */

static bool third_comes(struct fake *f, bool chores)
{
	static bool came;

	(void)chores;
	came = !came;
	f->in_target_get = NULL;
	f->hn.core->stall_us = 0; /* two in a row is another test */
	fake_ms(f, 5000);
	if (came)
		fake_queue_fault(f, fake_cell_at(2, 0), 1);
	return came;
}

/* The second waits behind the first, so its time is over as well; the third finds an idle handler. */
static void test_the_queue_counts(void **state)
{
	struct fake *f = with_ceiling(CEILING_US);
	unsigned slot;

	(void)state;
	for (slot = 0; slot < 3; slot++)
		fake_arm(f, slot);
	fake_queue_fault(f, fake_cell_at(0, 0), 1);
	fake_queue_fault(f, fake_cell_at(1, 0), 1);
	pass_us = CEILING_US;
	f->in_target_get = time_passes;
	f->in_wait = third_comes;
	hn_serve(&f->hn);
	assert_int_equal(f->stats.failed[HN_FAIL_STALL], 2);
	assert_int_equal(f->stats.migrated, 1);
	assert_int_equal(f->nid[2], 1);
	assert_int_equal(f->stats.migration_stall_ns.max, 2 * CEILING_US * 1000);
	fake_finish(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_budget_of_any_second),
		cmocka_unit_test(test_not_begun_is_not_charged),
		cmocka_unit_test(test_slow_ones_are_not_begun),
		cmocka_unit_test(test_an_outlier_forbids_nothing),
		cmocka_unit_test(test_given_up_in_a_row),
		cmocka_unit_test(test_given_up_in_the_copy),
		cmocka_unit_test(test_given_up_before_the_copy),
		cmocka_unit_test(test_in_time),
		cmocka_unit_test(test_time_is_kept_for_the_last_step),
		cmocka_unit_test(test_no_ceiling),
		cmocka_unit_test(test_ceiling_of_unlimited_policies),
		cmocka_unit_test(test_the_queue_counts),
	};

	return fake_run(tests);
}
