// SPDX-License-Identifier: MIT
/*
 * The handlers: what is read in which order and under which lock, who gives the lead away, and who wakes what had to be
 * put off. A second handler runs where a real one could: inside the fake's copy().
 */
#include "core/history.h"
#include "fake.h"

#include <errno.h>

/* Threads of the program that keep at their access until it works. */
struct thread {
	hn_addr addr;
	uint32_t tid;
};

static struct thread threads[FAKE_MESSAGES];
static unsigned nr_threads, nr_waits, nr_short_waits;

static void start_thread(struct fake *f, hn_addr addr, uint32_t tid)
{
	threads[nr_threads++] = (struct thread){ addr, tid };
	fake_queue_fault(f, addr, tid);
}

static struct fake_cell *cell_of(struct fake *f, hn_addr addr) { return &f->cell[(addr - FAKE_BASE) / FAKE_CELL]; }

/* Nothing to read: who has been woken for nothing faults again. */
static bool run_threads(struct fake *f, bool chores)
{
	unsigned i;

	nr_waits++;
	nr_short_waits += chores;
	for (i = 0; i < nr_threads; i++) {
		struct fake_cell *c = cell_of(f, threads[i].addr);

		if (c->mapped && !c->present && !c->sleeper)
			fake_queue_fault(f, threads[i].addr, threads[i].tid);
	}
	if (nr_waits > 1000)
		fail_msg("the handlers never come to rest");
	return f->nr_messages || chores;
}

static int setup(void **state)
{
	struct fake *f = fake_new();

	nr_threads = nr_waits = nr_short_waits = 0;
	f->in_wait = run_threads;
	*state = f;
	return 0;
}

#define serve_test(fn) cmocka_unit_test_setup_teardown(fn, setup, fake_teardown)

static void check_at_rest(struct fake *f)
{
	unsigned i;

	assert_false(f->hn.leading || f->other.leading);
	assert_int_equal(f->hn.core->lead.v, 0);
	assert_int_equal(f->hn.core->nr_deferred, 0);
	assert_int_equal(f->hn.core->deferred_to, 0);
	assert_int_equal(f->nr_messages, 0);
	for (i = 0; i < nr_threads; i++)
		assert_false(fake_sleeps(f, threads[i].addr));
	fake_check(f);
}

/* Have the next fault of tid 1 on these slots, which lie on node 0, migrate; those of tid 0 stay. */
static void arm_misplaced(struct fake *f, unsigned slot, unsigned nr)
{
	fake_manage(f, slot, nr, 0);
	for (; nr--; slot++) {
		fake_arm(f, slot);
		fake_entry(f, slot)->history = hn_history_push(0, 1, false);
	}
}

static bool is_there(struct fake *f, unsigned slot) { return f->cell[slot * FAKE_CELLS].present; }

/* ---- one handler ---- */

static void test_leaves_when_told(void **state)
{
	struct fake *f = *state;

	f->in_wait = NULL;
	hn_serve(&f->hn);
	assert_int_equal(f->reads, 1);
	check_at_rest(f);
}

/* One fault is one read: that there is no other message is found out by sleeping. */
static void test_a_fault_is_served(void **state)
{
	struct fake *f = *state;

	arm_misplaced(f, 0, 1);
	start_thread(f, fake_cell_at(0, 3), 0);
	hn_serve(&f->hn);
	assert_int_equal(f->stats.local + f->stats.refused[HN_REFUSE_FILTER], 1);
	assert_int_equal(f->reads, 1);
	assert_int_equal(nr_waits, 1);
	assert_int_equal(nr_short_waits, 0);
	check_at_rest(f);
}

static void test_events_are_processed_and_noted(void **state)
{
	struct fake *f = *state;
	unsigned i;

	fake_manage(f, 0, 4, 0);
	fake_arm(f, 0);
	fake_arm(f, 1);
	fake_arm(f, 2);
	for (i = 0; i < FAKE_CELLS; i++) { /* what the system calls did, and the kernel tells */
		struct fake_cell *c = &f->cell[i], *zap = &f->cell[FAKE_CELLS + i];
		struct fake_cell *from = &f->cell[2 * FAKE_CELLS + i], *to = &f->cell[20 * FAKE_CELLS + i];

		*c = (struct fake_cell){ 0 };
		zap->truth = 0;
		*to = *from;
		*from = (struct fake_cell){ 0 };
	}
	fake_queue_event(f, HN_MSG_UNMAP, fake_at(0), HN_PAGE_SIZE, 0);
	fake_queue_event(f, HN_MSG_REMOVE, fake_at(1), HN_PAGE_SIZE, 0);
	fake_queue_event(f, HN_MSG_REMAP, fake_at(2), HN_PAGE_SIZE, fake_at(20));
	fake_queue_event(f, HN_MSG_FORK, 0, 0, 0);
	fake_queue_event(f, HN_MSG_OTHER, 0, 0, 0);
	hn_serve(&f->hn);
	assert_int_equal(f->noted, 5);
	assert_int_equal(hn_state_of(&f->hn, fake_at(0)), HN_UNMANAGED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(1)), HN_UNMANAGED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(2)), HN_UNMANAGED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(20)), HN_ARMED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(3)), HN_MAPPED);
	check_at_rest(f);
}

/* ---- putting off ---- */

static void sleeper_waits_for_the_event(struct fake *f)
{
	if (f->reads == 2) { /* about to read the event that is in the way */
		assert_true(fake_sleeps(f, fake_cell_at(0, 3)));
		assert_int_equal(f->hn.core->nr_deferred, 1);
		assert_int_equal(nr_waits, 0);
	}
}

/* A fault that finds an event unread waits for it; nobody sleeps meanwhile, and the event's causer runs first. */
static void test_event_comes_before_the_wake_up(void **state)
{
	struct fake *f = *state;

	arm_misplaced(f, 0, 1);
	fake_queue_event(f, HN_MSG_OTHER, 0, 0, 0);
	start_thread(f, fake_cell_at(0, 3), 0);
	f->in_read = sleeper_waits_for_the_event;
	hn_serve(&f->hn);
	assert_int_equal(f->stats.deferred, 1);
	assert_int_equal(f->yields, 1);
	assert_int_equal(f->stats.samples, 1);
	assert_true(is_there(f, 0));
	check_at_rest(f);
}

/* The causer does not get to run at the first try. */
static void test_put_off_again_and_again(void **state)
{
	struct fake *f = *state;

	arm_misplaced(f, 0, 1);
	f->script[FAKE_DISARM] = (struct fake_script){ .fail_at = 1, .fail_nr = 5, .err = -EAGAIN };
	start_thread(f, fake_cell_at(0, 3), 0);
	hn_serve(&f->hn);
	assert_int_equal(f->stats.deferred, 5);
	assert_int_equal(f->stats.samples, 1);
	check_at_rest(f);
}

static void test_a_hole_is_put_off(void **state)
{
	struct fake *f = *state;

	f->cell[3].mapped = true;
	fake_queue_event(f, HN_MSG_OTHER, 0, 0, 0);
	start_thread(f, fake_cell_at(0, 3), 0);
	f->in_read = sleeper_waits_for_the_event;
	hn_serve(&f->hn);
	assert_true(f->cell[3].present);
	assert_int_equal(f->stats.unmanaged, 2);
	check_at_rest(f);
}

#define NR_FAULTS (HN_MAX_DEFERRED + 8u)

/*
 * All faults are read, the event is next. The last page's do not fit into the table; whoever was woken now would fault again, and
 * faults are read before events: with enough threads the event would never be read.
 */
static void table_is_full(struct fake *f)
{
	unsigned i, awake = 0;

	if (f->reads != NR_FAULTS + 1)
		return;
	assert_int_equal(f->hn.core->nr_deferred, HN_MAX_DEFERRED);
	for (i = 0; i < NR_FAULTS; i++)
		awake += !fake_sleeps(f, threads[i].addr);
	assert_int_equal(awake, 0);
	assert_true(f->hn.core->deferred_from <= threads[NR_FAULTS - 1].addr && threads[NR_FAULTS - 1].addr < f->hn.core->deferred_to);
}

static void test_table_of_deferred_is_full(void **state)
{
	struct fake *f = *state;
	unsigned i;

	arm_misplaced(f, 0, 16);
	fake_queue_event(f, HN_MSG_OTHER, 0, 0, 0);
	for (i = 0; i < NR_FAULTS; i++)
		start_thread(f, FAKE_BASE + i * FAKE_CELL, 0);
	f->in_read = table_is_full;
	hn_serve(&f->hn);
	assert_int_equal(f->stats.deferred, NR_FAULTS);
	check_at_rest(f);
}

static uint32_t held_page;

static bool let_go_after_a_while(struct fake *f, bool chores)
{
	nr_waits++;
	assert_int_equal(chores, fake_parts(f) != 0);
	if (nr_waits == 3)
		hn_page_unlock(&f->hn, held_page);
	return chores;
}

/* As long as parts wait for their place the leader looks again after a short while, and no longer. */
static void test_parts_are_chores(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	held_page = fake_arm(f, 0);
	fake_munmap(f, fake_cell_at(0, 3), 2 * FAKE_CELL);
	assert_int_equal(fake_parts(f), 2);
	assert_true(hn_page_trylock(&f->hn, held_page)); /* as if a migration still read it */
	f->in_wait = let_go_after_a_while;
	hn_serve(&f->hn);
	assert_int_equal(nr_waits, 4);
	assert_int_equal(fake_parts(f), 0);
	check_at_rest(f);
}

/* ---- two handlers ---- */

static void serve_others(struct fake *f)
{
	bool (*wait)(struct fake *, bool) = f->in_wait;

	assert_false(f->hn.leading);
	assert_int_equal(f->hn.core->lead.v, 0);
	f->in_wait = NULL; /* this one sleeps then; here: leaves */
	hn_serve(&f->other);
	f->in_wait = wait;
	assert_int_equal(f->nr_messages, 0);
}

static void others_in_copy(struct fake *f)
{
	serve_others(f);
	assert_false(is_there(f, 0));
	assert_true(is_there(f, 1)); /* did not wait behind the copy */
	assert_true(fake_sleeps(f, fake_cell_at(0, 5))); /* waits for it */
}

/* No fault waits behind a migration that is not its own. */
static void test_lead_is_handed_over_for_a_copy(void **state)
{
	struct fake *f = *state;

	arm_misplaced(f, 0, 2);
	start_thread(f, fake_cell_at(0, 3), 1);
	start_thread(f, fake_cell_at(0, 5), 1);
	start_thread(f, fake_cell_at(1, 2), 0);
	f->in_copy = others_in_copy;
	hn_serve(&f->hn);
	assert_int_equal(f->in_copy_nr, 1);
	assert_int_equal(f->stats.migrated, 1);
	assert_int_equal(f->stats.waited, 1);
	check_at_rest(f);
}

/* Both copy at one time: nobody leads then. */
static void test_both_copy(void **state)
{
	struct fake *f = *state;

	arm_misplaced(f, 0, 2);
	start_thread(f, fake_cell_at(0, 3), 1);
	start_thread(f, fake_cell_at(1, 2), 1);
	f->in_copy = serve_others;
	hn_serve(&f->hn);
	assert_int_equal(f->stats.migrated, 2);
	check_at_rest(f);
}

static void event_is_read_but_its_causer_sleeps(struct fake *f)
{
	f->in_copy = NULL; /* only once */
	fake_queue_event(f, HN_MSG_OTHER, 0, 0, 0);
	serve_others(f);
	assert_int_equal(f->yields, 0);
	assert_true(f->event_pending);
	f->reads = 0;
}

/* The other handler has read all there is and sleeps: it will wake nobody. */
static void nobody_is_left_to_the_leader(struct fake *f)
{
	if (f->in_copy_nr == 0 || f->reads != 1)
		return;
	assert_false(fake_sleeps(f, fake_cell_at(0, 3)));
	assert_int_equal(f->hn.core->nr_deferred, 0);
}

/*
 * A handler that has given its lead away and then has to put its fault off wakes at once: the leader may have read the
 * event already, and sleep without limit (I3).
 */
static void test_follower_wakes_at_once(void **state)
{
	struct fake *f = *state;

	arm_misplaced(f, 0, 1);
	start_thread(f, fake_cell_at(0, 3), 1);
	f->in_copy = event_is_read_but_its_causer_sleeps;
	f->in_read = nobody_is_left_to_the_leader;
	hn_serve(&f->hn);
	assert_int_equal(f->stats.deferred, 1);
	assert_true(f->yields > 0);
	assert_true(is_there(f, 0));
	check_at_rest(f);
}

static void deferred_are_inherited(struct fake *f)
{
	assert_int_equal(f->hn.core->nr_deferred, 1);
	assert_true(fake_sleeps(f, fake_cell_at(1, 2)));
	serve_others(f);
	assert_int_equal(f->hn.core->nr_deferred, 0);
	assert_false(fake_sleeps(f, fake_cell_at(1, 2)));
}

/* What a leader put off is woken by the next one, when it gives the lead away before. */
static void test_next_leader_wakes_the_deferred(void **state)
{
	struct fake *f = *state;

	arm_misplaced(f, 0, 2);
	fake_fail(f, FAKE_DISARM, 1, -EAGAIN);
	start_thread(f, fake_cell_at(1, 2), 0);
	start_thread(f, fake_cell_at(0, 3), 1);
	f->in_copy = deferred_are_inherited;
	hn_serve(&f->hn);
	assert_int_equal(f->in_copy_nr, 1);
	assert_int_equal(f->stats.samples, 2);
	check_at_rest(f);
}

static void test_release_without_the_lead(void **state)
{
	struct fake *f = *state;

	hn_lead_release(&f->hn);
	assert_int_equal(f->hn.core->lead.v, 0);
	hn_lock(&f->hn.core->lead); /* somebody else's */
	hn_lead_release(&f->hn);
	assert_int_equal(f->hn.core->lead.v, 1);
	hn_unlock(&f->hn.core->lead);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		serve_test(test_leaves_when_told),
		serve_test(test_a_fault_is_served),
		serve_test(test_events_are_processed_and_noted),
		serve_test(test_event_comes_before_the_wake_up),
		serve_test(test_put_off_again_and_again),
		serve_test(test_a_hole_is_put_off),
		serve_test(test_table_of_deferred_is_full),
		serve_test(test_parts_are_chores),
		serve_test(test_lead_is_handed_over_for_a_copy),
		serve_test(test_both_copy),
		serve_test(test_follower_wakes_at_once),
		serve_test(test_next_leader_wakes_the_deferred),
		serve_test(test_release_without_the_lead),
	};

	return fake_run(tests);
}
