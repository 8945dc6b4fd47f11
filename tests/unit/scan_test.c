// SPDX-License-Identifier: MIT
/* The scanner: windows and the cursor, runs, refusals and their holds, expiry, drain. */
#include "fake.h"

#include <errno.h>

static uint32_t armed_slots(struct fake *f)
{
	uint32_t mask = 0, i;

	for (i = 0; i < 32; i++)
		if (hn_state_of(&f->hn, fake_at(i)) == HN_ARMED)
			mask |= 1u << i;
	return mask;
}

static uint32_t take_all_back(struct fake *f) { return hn_drain(&f->hn, 0, ~(hn_addr)0); }

static void test_empty(void **state)
{
	struct fake *f = *state;

	assert_int_equal(hn_scan_pass(&f->hn, 8), 0);
	assert_int_equal(hn_scan_expire(&f->hn), 0);
	assert_int_equal(take_all_back(f), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 4), 0);
	fake_manage(f, 0, 1, 0);
	assert_int_equal(hn_scan_pass(&f->hn, 0), 0);
	assert_int_equal(f->script[FAKE_ARM].calls, 0);
}

/* Passes of a small budget go round all pages in turn, none twice before all had theirs. */
static void test_cursor_goes_round(void **state)
{
	struct fake *f = *state;
	uint32_t seen = 0, round, mask;

	fake_manage(f, 0, 24, 0);
	for (round = 0; round < 8; round++) {
		assert_int_equal(hn_scan_pass(&f->hn, 6), 6);
		mask = armed_slots(f);
		assert_int_equal(seen & mask, 0);
		seen |= mask;
		if (seen == (1u << 24) - 1)
			seen = 0;
		assert_int_equal(take_all_back(f), 0);
	}
	assert_int_equal(seen, 0);
	assert_int_equal(f->stats.armed, 48);
	assert_int_equal(f->stats.disarmed[HN_DISARM_DRAIN], 48);
}

/* Neighbours go in one call of the op, but never across the border of a chunk. */
static void test_runs(void **state)
{
	struct fake *f = *state; /* chunks of 8 */

	fake_manage(f, 2, 10, 0);
	assert_int_equal(hn_scan_pass(&f->hn, 16), 10);
	assert_int_equal(f->script[FAKE_ARM].calls, 2);
	assert_int_equal(fake_entry(f, 3)->page, fake_entry(f, 2)->page + 1);
	assert_int_equal(take_all_back(f), 0);
	hn_unmanage(&f->hn, fake_at(4));
	assert_int_equal(hn_scan_pass(&f->hn, 16), 9);
	assert_int_equal(f->script[FAKE_ARM].calls, 6); /* 2-3; 5-7; 8 has the last id of the pool; 9-11 */
}

static void test_budget_is_kept(void **state)
{
	struct fake *f = *state;
	uint32_t budget;

	fake_manage(f, 0, 16, 0);
	for (budget = 1; budget <= 16; budget++) {
		assert_int_equal(hn_scan_pass(&f->hn, budget), budget);
		assert_int_equal(take_all_back(f), 0);
	}
}

/* No id free: the pass ends where it is and goes on there, without looking at all the rest in vain. */
static void test_ids_used_up(void **state)
{
	struct fake *f = *state; /* 16 ids */
	unsigned calls;

	fake_manage(f, 0, 32, 0);
	assert_int_equal(hn_scan_pass(&f->hn, 32), 16);
	assert_int_equal(armed_slots(f), 0xffff);
	calls = f->script[FAKE_ARM].calls;
	assert_int_equal(hn_scan_pass(&f->hn, 32), 0);
	assert_int_equal(f->script[FAKE_ARM].calls, calls);
	assert_int_equal(f->hn.core->cursor, 16);
	assert_int_equal(take_all_back(f), 0);
	assert_int_equal(hn_scan_pass(&f->hn, 32), 16);
	assert_int_equal(armed_slots(f), 0xffff0000u);
}

static void test_entry_in_service_is_skipped(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 3, 0);
	hn_lock(&fake_entry(f, 1)->lock);
	assert_int_equal(hn_scan_pass(&f->hn, 8), 2);
	hn_unlock(&fake_entry(f, 1)->lock);
	assert_int_equal(armed_slots(f), 5);
}

static void test_nodes_are_asked(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 2, 0);
	f->nid[1] = 3; /* the kernel has moved it */
	fake_arm(f, 1);
	assert_int_equal(fake_entry(f, 1)->nid, 0);
	assert_int_equal(take_all_back(f), 0);
	f->ask_nodes = true;
	fake_arm(f, 1);
	assert_int_equal(fake_entry(f, 1)->nid, 3);
}

static void test_busy_is_left_alone_for_longer_each_time(void **state)
{
	struct fake *f = *state;
	unsigned i;

	fake_manage(f, 0, 1, 0);
	for (i = 0; i < 4; i++) {
		fake_fail(f, FAKE_ARM, 1, HN_ARM_BUSY);
		assert_int_equal(hn_scan_pass(&f->hn, 8), 0);
		assert_int_equal(f->stats.arm_refused[HN_ARM_BUSY], i + 1);
		fake_ms(f, (1000u << i) - 1);
		assert_int_equal(hn_scan_pass(&f->hn, 8), 0);
		assert_int_equal(f->script[FAKE_ARM].calls, 1);
		fake_ms(f, 1);
	}
	assert_int_equal(hn_scan_pass(&f->hn, 8), 1);
}

static void refuse(struct fake *f, enum hn_arm_error why, unsigned part, uint32_t want_armed)
{
	fake_fail(f, FAKE_ARM, 1, (int)why);
	f->script[FAKE_ARM].part = part;
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 4), want_armed);
	assert_int_equal(f->stats.arm_refused[why], 1);
	fake_check(f);
}

static void test_refusals(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 4, 0);
	refuse(f, HN_ARM_EVENT, 0, 0); /* nothing is wrong with the page */
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 4), 4);
	assert_int_equal(take_all_back(f), 0);
	refuse(f, HN_ARM_ABSENT, 2, 2);
	assert_int_equal(armed_slots(f), 3);
	assert_int_equal(hn_state_of(&f->hn, fake_at(2)), HN_UNMANAGED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(3)), HN_MAPPED);
	assert_int_equal(f->stats.managed_pages, 3);
	assert_int_equal(take_all_back(f), 0);
	refuse(f, HN_ARM_INVALID, 1, 1);
	assert_int_equal(take_all_back(f), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(1), 1), 0); /* held */
	fake_ms(f, 9999);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(1), 1), 0);
	fake_ms(f, 1);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(1), 1), 1);
	assert_int_equal(take_all_back(f), 0);
	refuse(f, HN_ARM_OTHER, 0, 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 0);
	fake_ms(f, 1000);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 1);
}

/* The ids of what was not armed go straight back, and nothing is discarded for them. */
static void test_refused_ids_are_free(void **state)
{
	struct fake *f = *state;
	unsigned i;

	fake_manage(f, 0, 8, 0);
	for (i = 0; i < 20; i++) {
		fake_fail(f, FAKE_ARM, 1, HN_ARM_EVENT);
		assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 8), 0);
	}
	assert_int_equal(f->discards, 0);
	f->script[FAKE_ARM].fail_at = 0;
	for (i = 0; i < 8; i++)
		fake_arm(f, i);
}

static void test_pending_event_stops_arming(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 4, 0);
	f->event_pending = true;
	assert_int_equal(hn_scan_pass(&f->hn, 8), 0);
	f->event_pending = false;
	assert_int_equal(hn_scan_pass(&f->hn, 8), 4);
}

static void test_expiry(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 3, 0);
	fake_arm(f, 0);
	fake_ms(f, 400);
	fake_arm(f, 1);
	fake_ms(f, FAKE_EXPIRY_MS - 401);
	assert_int_equal(hn_scan_expire(&f->hn), 0);
	fake_ms(f, 1);
	assert_int_equal(hn_scan_expire(&f->hn), 1);
	assert_int_equal(armed_slots(f), 2);
	f->event_pending = true;
	fake_ms(f, 400);
	assert_int_equal(hn_scan_expire(&f->hn), 0);
	f->event_pending = false;
	assert_int_equal(hn_scan_expire(&f->hn), 1);
	assert_int_equal(f->stats.disarmed[HN_DISARM_EXPIRY], 2);
	assert_int_equal(f->stats.samples, 0); /* nobody touched it: no sample */
}

static void test_expiry_over_the_wrap(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	f->now_ns = ((uint64_t)UINT32_MAX - 5) * 1000000u;
	fake_entry(f, 0)->flags = 0;
	fake_arm(f, 0);
	fake_ms(f, 10);
	assert_int_equal(hn_scan_expire(&f->hn), 0);
	fake_ms(f, FAKE_EXPIRY_MS);
	assert_int_equal(hn_scan_expire(&f->hn), 1);
}

static void expire_during_copy(struct fake *f)
{
	fake_ms(f, 2 * FAKE_EXPIRY_MS);
	assert_int_equal(hn_scan_expire(&f->hn), 0);
	assert_int_equal(hn_scan_pass(&f->hn, 8), 0);
}

static void test_expiry_leaves_migrations_alone(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_sample(f, 0, 1);
	f->in_copy = expire_during_copy;
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(f->in_copy_nr, 1);
}

static void test_drain_range(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 8, 0);
	assert_int_equal(hn_scan_pass(&f->hn, 8), 8);
	assert_int_equal(hn_drain(&f->hn, fake_at(2), fake_at(5)), 0);
	assert_int_equal(armed_slots(f), 0xe3);
	f->event_pending = true;
	assert_int_equal(hn_drain(&f->hn, fake_at(0), fake_at(2)), 2);
	assert_int_equal(armed_slots(f), 0xe3);
	f->event_pending = false;
	assert_int_equal(hn_drain(&f->hn, fake_at(0), fake_at(2)), 0);
	fake_fail(f, FAKE_DISARM, 2, -EAGAIN);
	assert_int_equal(take_all_back(f), 1);
	assert_int_equal(take_all_back(f), 0);
}

/* A page is asked about when it is new, and again while its last sample leaves a question; else only in its turn. */
static void test_open_questions(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 8, 0);
	assert_int_equal(f->hn.core->nr_open, 8);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_NEW, 6), 6);
	assert_int_equal(f->hn.core->nr_open, 2);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_NEW, 6), 2); /* what is armed has been asked about */
	assert_int_equal(take_all_back(f), 0);                    /* but the program was not given the time to answer */
	assert_int_equal(f->hn.core->nr_open, 8);
	assert_int_equal(hn_scan_questions(&f->hn), 0);
	fake_sample(f, 0, 0); /* local */
	fake_sample(f, 1, 1); /* a question */
	assert_int_equal(f->hn.core->nr_open, 7);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_NEW, 8), 6);
	assert_int_equal(armed_slots(f), 0xfc);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_OPEN, 8), 1);
	assert_int_equal(armed_slots(f), 0xfe);
	assert_int_equal(hn_scan_questions(&f->hn), 1);
	fake_ms(f, 2 * FAKE_EXPIRY_MS);
	assert_int_equal(hn_scan_expire(&f->hn), 7); /* nobody uses them: they wait for their turn */
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_OPEN, 8), 0);
	assert_int_equal(hn_scan_pass(&f->hn, 8), 8);
	take_all_back(f);
	hn_unmanage(&f->hn, fake_at(3));
	assert_int_equal(f->hn.core->nr_open, 8 - 1);
}

static uint32_t chunk_open(struct fake *f, unsigned chunk) { return hn_chunks(&f->hn)[chunk].nr_open; }

/* Where no question is open in a chunk, none of its entries is looked at. */
static void test_chunks_without_questions(void **state)
{
	struct fake *f = *state; /* chunks of 8 */

	fake_manage(f, 0, 24, 0);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_NEW, 12), 12);
	assert_int_equal(chunk_open(f, 0), 0);
	assert_int_equal(chunk_open(f, 1), 4);
	assert_int_equal(chunk_open(f, 2), 8);
	hn_chunks(&f->hn)[1].nr_open = 0; /* a lie, to see who believes it */
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_NEW, 12), 4);
	assert_int_equal(armed_slots(f), 0xf0fff);
	hn_chunks(&f->hn)[1].nr_open = 4;
	assert_int_equal(take_all_back(f), 0);
	assert_int_equal(chunk_open(f, 0), 8);
	assert_int_equal(hn_scan_pass(&f->hn, 16), 16);
	take_all_back(f);
}

/* The counts go with the chunks when these are reclaimed. */
static void test_questions_of_chunks_that_move(void **state)
{
	struct fake *f = *state;
	unsigned i;

	fake_manage(f, 0, 24, 0);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_NEW, 14), 14);
	for (i = 0; i < 14; i++)
		fake_fault(f, i, 0); /* local: no question is left */
	for (i = 0; i < 8; i++)
		hn_unmanage(&f->hn, fake_at(i));
	assert_int_equal(chunk_open(f, 2), 8);
	fake_ms(f, 2 * FAKE_QUARANTINE_MS);
	hn_gate_write_lock(&f->hn);
	assert_int_equal(hn_reclaim(&f->hn), 1);
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(chunk_open(f, 0), 8);
	assert_int_equal(chunk_open(f, 1), 2);
	fake_check(f);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_NEW, 16), 10);
	assert_int_equal(armed_slots(f), 0xffc000);
	fake_manage(f, 40, 8, 0); /* a new chunk begins with what is its own */
	assert_int_equal(chunk_open(f, 2), 8);
	take_all_back(f);
}

/* What was sampled since then need not be asked again; everything else is, once. */
static void test_old_samples(void **state)
{
	struct fake *f = *state;
	uint32_t since;

	fake_manage(f, 0, 4, 0);
	fake_sample(f, 0, 0);
	fake_sample(f, 1, 0);
	fake_ms(f, 200);
	since = hn_now_ms(&f->hn);
	fake_ms(f, 200);
	fake_sample(f, 1, 0);
	assert_int_equal(hn_scan_old(&f->hn, since, 8), 3);
	assert_int_equal(armed_slots(f), 0xd);
	take_all_back(f);
	fake_sample(f, 0, 0);
	fake_sample(f, 2, 1);
	fake_sample(f, 3, 1);
	assert_int_equal(hn_scan_old(&f->hn, since, 8), 0);
	fake_ms(f, 200);
	assert_int_equal(hn_scan_old(&f->hn, hn_now_ms(&f->hn), 3), 3);
}

/* Nor what has moved since then, however short a while after: samples' times are not as fine as that. */
static void test_what_has_moved_is_not_asked_about_again(void **state)
{
	struct fake *f = *state;
	uint32_t since;

	fake_manage(f, 0, 3, 0);
	fake_sample(f, 1, 0);
	fake_ms(f, 1023 - hn_now_ms(&f->hn) % 64); /* the last ms of a tick of the samples' clock */
	since = hn_now_ms(&f->hn);
	fake_sample(f, 0, 1);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	fake_ms(f, 641);
	assert_int_equal(hn_scan_old(&f->hn, since, 8), 2);
	take_all_back(f);
	assert_int_equal(hn_scan_old(&f->hn, since + 1, 8), 3); /* before that */
}

/* Nothing follows from asking about a page that may not be moved yet. */
static void test_a_question_waits_for_a_hold(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 2, 0);
	fake_entry(f, 0)->flags = 0;
	hn_entry_hold(&f->hn, fake_entry(f, 0), HN_E_NO_MOVE, 100);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_OPEN, 8), 1);
	assert_int_equal(armed_slots(f), 2);
	fake_ms(f, 100);
	assert_int_equal(hn_scan_open(&f->hn, HN_ASK_OPEN, 8), 1);
}

static void test_drain_wakes_sleepers(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	fake_sleep(f, fake_cell_at(0, 3));
	assert_int_equal(take_all_back(f), 0);
	assert_false(fake_sleeps(f, fake_cell_at(0, 3)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fake_test(test_empty),
		fake_test(test_cursor_goes_round),
		fake_test(test_runs),
		fake_test(test_budget_is_kept),
		fake_test(test_ids_used_up),
		fake_test(test_entry_in_service_is_skipped),
		fake_test(test_nodes_are_asked),
		fake_test(test_busy_is_left_alone_for_longer_each_time),
		fake_test(test_refusals),
		fake_test(test_refused_ids_are_free),
		fake_test(test_pending_event_stops_arming),
		fake_test(test_expiry),
		fake_test(test_expiry_over_the_wrap),
		fake_test(test_expiry_leaves_migrations_alone),
		fake_test(test_drain_range),
		fake_test(test_open_questions),
		fake_test(test_chunks_without_questions),
		fake_test(test_questions_of_chunks_that_move),
		fake_test(test_old_samples),
		fake_test(test_what_has_moved_is_not_asked_about_again),
		fake_test(test_a_question_waits_for_a_hold),
		fake_test(test_drain_wakes_sleepers),
	};

	return fake_run(tests);
}
