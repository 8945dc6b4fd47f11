// SPDX-License-Identifier: MIT
/* Page ids: allocation in runs, references, discard, the page lock. */
#include "fake.h"

#include <pthread.h>

static uint32_t refs_of(struct fake *f, uint32_t page) { return hn_pages(&f->hn)[page].refs.v; }

static void test_runs_are_consecutive_and_wrap(void **state)
{
	struct fake *f = *state; /* 16 ids */
	uint32_t first, i;

	assert_int_equal(hn_page_alloc_run(&f->hn, 10, &first), 10);
	assert_int_equal(first, 0);
	assert_int_equal(hn_page_alloc_run(&f->hn, 10, &first), 6); /* up to the end, not round it */
	assert_int_equal(first, 10);
	assert_int_equal(hn_page_alloc_run(&f->hn, 1, &first), 0);
	assert_false(hn_page_any_free(&f->hn));
	hn_page_put(&f->hn, 3);
	hn_page_put(&f->hn, 4);
	hn_page_put(&f->hn, 12);
	assert_true(hn_page_any_free(&f->hn));
	assert_int_equal(hn_page_alloc_run(&f->hn, 8, &first), 2);
	assert_int_equal(first, 3);
	assert_int_equal(hn_page_alloc_run(&f->hn, 8, &first), 1);
	assert_int_equal(first, 12);
	for (i = 0; i < 16; i++) {
		assert_int_equal(refs_of(f, i), 1);
		hn_page_put(&f->hn, i);
		assert_int_equal(refs_of(f, i), 0);
	}
	assert_int_equal(f->discards, 0); /* there was no content */
}

static void test_ids_are_used_in_turn(void **state)
{
	struct fake *f = *state;
	uint32_t first, i;

	for (i = 0; i < 40; i++) {
		assert_int_equal(hn_page_alloc_run(&f->hn, 1, &first), 1);
		assert_int_equal(first, i % 16);
		hn_page_put(&f->hn, first);
	}
}

static void test_last_reference_discards_content(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = fake_arm(f, 0);
	assert_int_equal(refs_of(f, page), 1);
	assert_int_equal(hn_page_haddr(&f->hn, page), fake_at(0));
	hn_page_get(&f->hn, page);
	hn_page_get(&f->hn, page);
	fake_munmap(f, fake_at(0), HN_PAGE_SIZE);
	assert_int_equal(refs_of(f, page), 2);
	hn_page_put(&f->hn, page);
	assert_int_equal(f->discards, 0);
	hn_page_put(&f->hn, page);
	assert_int_equal(f->discards, 1);
	assert_int_equal(refs_of(f, page), 0);
	assert_int_equal(hn_page_haddr(&f->hn, page), 0);
}

static void test_id_is_not_reused_while_referenced(void **state)
{
	const struct hn_geometry geo = { .nr_chunks = 1, .chunk_shift = 3, .nr_pages = 1 };
	struct fake *f = fake_new_with(&geo, &fake_params);
	uint32_t page;

	(void)state;
	fake_manage(f, 0, 2, 0);
	page = fake_arm(f, 0);
	hn_page_get(&f->hn, page);
	fake_munmap(f, fake_at(0), HN_PAGE_SIZE);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(1), 1), 0);
	hn_page_put(&f->hn, page);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(1), 1), 1);
	fake_finish(f);
}

static void test_lock_is_a_trylock(void **state)
{
	struct fake *f = *state;

	assert_true(hn_page_trylock(&f->hn, 5));
	assert_false(hn_page_trylock(&f->hn, 5));
	assert_true(hn_page_trylock(&f->hn, 6));
	hn_page_unlock(&f->hn, 6);
	hn_page_unlock(&f->hn, 5);
	assert_true(hn_page_trylock(&f->hn, 5));
	hn_page_unlock(&f->hn, 5);
	hn_page_wait(&f->hn, 5); /* free: returns at once */
}

static void *wait_for_page(void *arg)
{
	struct fake *f = arg;

	hn_page_wait(&f->hn, 5);
	return NULL;
}

static void test_unlock_wakes_all_waiters(void **state)
{
	struct fake *f = *state;
	struct hn_word *w = &hn_pages(&f->hn)[5].lock;
	pthread_t t[3];
	int i;

	assert_true(hn_page_trylock(&f->hn, 5));
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, wait_for_page, f), 0);
	while (hn_load_relaxed(w) != 2)
		sched_yield();
	hn_page_unlock(&f->hn, 5);
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	/* A waiter that came after the unlock may have left its note on nobody's lock; it must not count as held. */
	assert_int_equal(hn_load_relaxed(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fake_test(test_runs_are_consecutive_and_wrap),
		fake_test(test_ids_are_used_in_turn),
		fake_test(test_last_reference_discards_content),
		cmocka_unit_test(test_id_is_not_reused_while_referenced),
		fake_test(test_lock_is_a_trylock),
		fake_test(test_unlock_wakes_all_waiters),
	};

	return fake_run(tests);
}
