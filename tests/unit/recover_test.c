// SPDX-License-Identifier: MIT
/*
 * Going on alone: a thread ends in the middle of an op, with whatever it held, as a thread of the agent does that has a
 * fault of its own. Then everything is taken over and put back.
 */
#include "core/history.h"
#include "fake.h"

#include <pthread.h>
#include <setjmp.h>
#include <unistd.h>

static jmp_buf fallen;
static unsigned calls_left;

/* The thread ends here. */
static void fall(struct fake *f)
{
	if (--calls_left)
		return;
	f->fallen = true;
	f->in_arm = f->in_copy = f->in_isolate = f->in_discard = NULL;
	longjmp(fallen, 1);
}

static int setup(void **state)
{
	calls_left = 1;
	alarm(30); /* a lock that nobody gives back */
	return fake_setup(state);
}

static int setup_rwp(void **state)
{
	calls_left = 1;
	alarm(30);
	return fake_setup_rwp(state);
}

/* A thread that ends keeps a reference or an id, and what is left in staging goes with the process. */
static int teardown(void **state)
{
	fake_free(*state);
	return 0;
}

#define recover_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define recover_test_rwp(fn) cmocka_unit_test_setup_teardown(fn, setup_rwp, teardown)

/* Everything the program has is in its place, and right. */
static void check_all_back(struct fake *f)
{
	unsigned i;

	assert_int_equal(hn_drain(&f->hn, 0, ~(hn_addr)0), 0);
	fake_resolve(f);
	assert_int_equal(fake_parts(f), 0);
	for (i = 0; i < FAKE_SLOTS * FAKE_CELLS; i++)
		if (f->cell[i].mapped && (f->cell[i].present ? f->cell[i].value : 0) != f->cell[i].truth)
			fail_msg("slot %u cell %u: %u, should be %u", i / FAKE_CELLS, i % FAKE_CELLS,
				 f->cell[i].present ? f->cell[i].value : 0, f->cell[i].truth);
	for (i = 0; i < 12; i++)
		assert_int_not_equal(hn_state_of(&f->hn, fake_at(i)), HN_ARMED);
	if (f->broken)
		fail_msg("contract: %s", f->broken);
}

/* ---- locks ---- */

static void test_takes_every_lock(void **state)
{
	struct fake *f = *state;
	struct hn_core *c = f->hn.core;
	uint32_t page;

	fake_manage(f, 0, 3, 0);
	page = fake_arm(f, 0);
	fake_entry(f, 0)->lock.v = 1;
	fake_entry(f, 1)->lock.v = 2; /* and somebody sleeps */
	hn_pages(&f->hn)[page].lock.v = 1;
	c->displaced_lock.v = 1;
	c->lead.v = 2;
	hn_gate_write_lock(&f->hn);
	f->hn.leading = true;
	c->nr_deferred = 3;
	hn_recover(&f->hn);
	assert_int_equal(fake_entry(f, 0)->lock.v | fake_entry(f, 1)->lock.v, 0);
	assert_int_equal(hn_pages(&f->hn)[page].lock.v, 0);
	assert_int_equal(c->displaced_lock.v | c->lead.v | c->gate.v, 0);
	assert_false(f->hn.leading);
	assert_int_equal(c->nr_deferred, 0);
	check_all_back(f);
	fake_check(f);
}

/* Shared, and with a writer that waits. */
static void test_takes_the_gate_from_readers(void **state)
{
	struct fake *f = *state;

	hn_gate_read_lock(&f->hn);
	hn_gate_read_lock(&f->hn);
	f->hn.core->gate.v |= 1u << 29;
	hn_recover(&f->hn);
	hn_gate_write_lock(&f->hn);
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(f->hn.core->gate.v, 0);
}

static struct hn_word woken;

static void *sleep_on_lock(void *arg)
{
	struct hn_entry *e = arg;

	hn_lock(&e->lock);
	hn_unlock(&e->lock);
	hn_store_release(&woken, 1);
	return NULL;
}

/* A thread that sleeps on a lock comes to itself, and finds out that it is to end. */
static void test_sleepers_wake(void **state)
{
	struct fake *f = *state;
	pthread_t thread;
	unsigned ms;

	fake_manage(f, 0, 1, 0);
	hn_lock(&fake_entry(f, 0)->lock);
	assert_int_equal(pthread_create(&thread, NULL, sleep_on_lock, fake_entry(f, 0)), 0);
	while (hn_load_acquire(&fake_entry(f, 0)->lock) != 2)
		usleep(100);
	usleep(20000); /* it says so before it sleeps */
	hn_recover(&f->hn);
	for (ms = 0; ms < 3000 && !hn_load_acquire(&woken); ms++)
		usleep(1000);
	assert_int_equal(hn_load_acquire(&woken), 1);
	pthread_join(thread, NULL);
}

/* ---- a run that was being armed ---- */

static void fall_in_arm(struct fake *f, unsigned slot, uint32_t nr)
{
	f->in_arm = fall;
	if (setjmp(fallen) == 0) {
		hn_arm_run(&f->hn, fake_at(slot), nr);
		fail_msg("did not fall");
	}
}

/* The ids are the youngest, in a row. */
static uint32_t recover_run(struct fake *f, unsigned slot, uint32_t first, uint32_t nr)
{
	uint32_t done = hn_recover_run(&f->hn, fake_at(slot), first, nr);

	hn_recover(&f->hn);
	return done;
}

static void test_half_armed_run(void **state)
{
	struct fake *f = *state;
	uint32_t first;

	fake_manage(f, 0, 6, 0);
	first = fake_arm(f, 0) + 1;
	fall_in_arm(f, 1, 4);
	assert_int_equal(fake_entry(f, 2)->state, HN_MAPPED);
	assert_int_equal(recover_run(f, 1, first, 4), 4);
	assert_int_equal(hn_state_of(&f->hn, fake_at(2)), HN_ARMED);
	assert_int_equal(f->stats.armed, 5);
	fake_check(f);
	check_all_back(f);
	fake_check(f);
}

/* The kernel took a part of it: the rest is found in its place. */
static void test_half_armed_in_part(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 4, 0);
	f->script[FAKE_ARM] = (struct fake_script){ .fail_at = 1, .err = HN_ARM_BUSY, .part = 2 };
	fall_in_arm(f, 0, 4);
	assert_int_equal(recover_run(f, 0, 0, 4), 4);
	check_all_back(f);
}

/* A run that ended as it should, and what lies beside one, is nobody's business. */
static void test_nothing_half_armed(void **state)
{
	struct fake *f = *state;
	uint32_t armed;

	fake_manage(f, 0, 6, 0);
	armed = fake_arm(f, 1);
	hn_lock(&fake_entry(f, 1)->lock); /* ARMED, and held by a handler */
	assert_int_equal(hn_recover_run(&f->hn, fake_at(0), armed, 4), 0);
	assert_int_equal(hn_state_of(&f->hn, fake_at(0)), HN_MAPPED);
	assert_int_equal(fake_entry(f, 1)->page, armed);
	assert_int_equal(hn_recover_run(&f->hn, FAKE_BASE + (1ull << 40), 0, 4), 0); /* no entries at all */
	assert_int_equal(f->stats.armed, 1);
	hn_recover(&f->hn);
	check_all_back(f);
	fake_check(f);
}

/* The run was cut short by a page that a handler has in hand: what is behind it has ids, too, and nobody took it. */
static void test_run_is_shorter_than_noted(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 6, 0);
	page = fake_arm(f, 2);
	assert_int_equal(page, 0);
	fall_in_arm(f, 0, 4);
	hn_lock(&fake_entry(f, 2)->lock);
	assert_int_equal(recover_run(f, 0, 1, 4), 2);
	assert_int_equal(fake_entry(f, 2)->page, page);
	assert_int_equal(hn_state_of(&f->hn, fake_at(3)), HN_MAPPED);
	check_all_back(f);
}

/* ---- a migration ---- */

static void test_fallen_in_the_copy(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 2, 0);
	fake_arm(f, 0);
	fake_entry(f, 0)->history = hn_history_push(0, 1, false);
	f->in_copy = fall;
	if (setjmp(fallen) == 0) {
		fake_fault(f, 0, 1);
		fail_msg("did not fall");
	}
	hn_recover(&f->hn);
	check_all_back(f);
}

/* The page is in staging, and only the backend can tell. An event that is read before it is back must not lose the rest. */
static void test_fallen_in_the_isolation(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 2, 0);
	page = fake_arm(f, 0);
	fake_entry(f, 0)->history = hn_history_push(0, 1, false);
	f->in_isolate = fall;
	if (setjmp(fallen) == 0) {
		fake_fault(f, 0, 1);
		fail_msg("did not fall");
	}
	hn_recover_lifted(&f->hn, page);
	hn_recover_lifted(&f->hn, page + 1); /* free: left over by a thread that ended in a discard */
	assert_int_equal(hn_pages(&f->hn)[page + 1].content, 0);
	hn_recover(&f->hn);
	fake_dontneed(f, fake_at(0), 3 * FAKE_CELL);
	check_all_back(f);
}

/* ---- an event ---- */

/* The kernel has let the causer go on: what it dropped must not come back, however far its event came. */
static void drop_and_fall(struct fake *f, enum hn_message_kind kind, unsigned at)
{
	struct hn_message m = { .kind = kind, .start = fake_at(0), .end = fake_at(3), .fd = -1 };
	unsigned i;

	fake_manage(f, 0, 5, 0);
	for (i = 0; i < 5; i++)
		fake_arm(f, i);
	for (i = 0; i < 3 * FAKE_CELLS; i++)
		f->cell[i] = (struct fake_cell){ .mapped = kind == HN_MSG_REMOVE };
	fake_queue_event(f, kind, fake_at(0), 3 * HN_PAGE_SIZE, 0);
	f->in_discard = fall;
	calls_left = at;
	if (setjmp(fallen) == 0) {
		hn_serve(&f->hn);
		fail_msg("did not fall");
	}
	f->event_pending = false;
	hn_recover(&f->hn);
	hn_gate_write_lock(&f->hn);
	hn_event_again(&f->hn, &m);
	hn_gate_write_unlock(&f->hn);
	for (i = 0; i < 3; i++)
		assert_int_equal(hn_state_of(&f->hn, fake_at(i)), HN_UNMANAGED);
	check_all_back(f);
}

static void test_fallen_in_an_unmap(void **state)
{
	struct fake *f = *state;

	drop_and_fall(f, HN_MSG_UNMAP, 1);
}

static void test_fallen_in_a_remove(void **state)
{
	struct fake *f = *state;

	drop_and_fall(f, HN_MSG_REMOVE, 2);
}

/* What an event has done already is not there any more to be done. */
static void test_events_again(void **state)
{
	struct fake *f = *state;
	const struct hn_message again[] = {
		{ .kind = HN_MSG_UNMAP, .start = fake_at(0), .end = fake_at(1), .fd = -1 },
		{ .kind = HN_MSG_REMOVE, .start = fake_at(1), .end = fake_cell_at(1, 3), .fd = -1 },
		{ .kind = HN_MSG_REMAP, .start = fake_at(2), .end = fake_at(3), .to = fake_at(10), .fd = -1 },
		{ .kind = HN_MSG_REMAP, .start = fake_at(3), .end = fake_cell_at(3, 4), .to = fake_cell_at(11, 2), .fd = -1 },
	};
	unsigned i;

	fake_manage(f, 0, 5, 0);
	for (i = 0; i < 5; i++)
		fake_arm(f, i);
	fake_munmap(f, fake_at(0), HN_PAGE_SIZE);
	fake_dontneed(f, fake_at(1), 3 * FAKE_CELL);
	fake_mremap(f, fake_at(2), fake_at(10), HN_PAGE_SIZE);
	fake_mremap(f, fake_at(3), fake_cell_at(11, 2), 4 * FAKE_CELL);
	hn_gate_write_lock(&f->hn);
	for (i = 0; i < sizeof(again) / sizeof(again[0]); i++)
		hn_event_again(&f->hn, &again[i]);
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(hn_state_of(&f->hn, fake_at(10)), HN_ARMED);
	fake_check(f);
	check_all_back(f);
	fake_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		recover_test(test_takes_every_lock),
		recover_test(test_takes_the_gate_from_readers),
		recover_test(test_sleepers_wake),
		recover_test(test_half_armed_run),
		recover_test(test_half_armed_in_part),
		recover_test(test_nothing_half_armed),
		recover_test(test_run_is_shorter_than_noted),
		recover_test(test_fallen_in_the_copy),
		recover_test_rwp(test_fallen_in_the_copy),
		recover_test_rwp(test_fallen_in_the_isolation),
		recover_test(test_fallen_in_an_unmap),
		recover_test(test_fallen_in_a_remove),
		recover_test(test_events_again),
		recover_test_rwp(test_events_again),
	};

	return fake_run(tests);
}
