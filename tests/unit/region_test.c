// SPDX-License-Identifier: MIT
/* Which memory is known, and which of it can be taken for new. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "linux/live.h"

#define AT(i) ((hn_addr)0x100000000 + (hn_addr)(i) * HN_PAGE_SIZE)

static struct hn_live live;
static uint64_t counter[8];

static struct hn_live *none(void)
{
	memset(&live, 0, sizeof(live));
	live.cnt = (struct hn_live_counters){ &counter[0], &counter[1], &counter[2], &counter[3],
					      &counter[4], &counter[5], &counter[6] };
	return &live;
}

static void test_what_was_never_registered_is_fresh(void **state)
{
	struct hn_live *l = none();

	(void)state;
	assert_true(hn_region_is_fresh(l, AT(0), AT(10)));
	hn_region_add(l, AT(4), AT(6), NULL);
	assert_false(hn_region_is_fresh(l, AT(0), AT(10))); /* grown, at both ends */
	assert_false(hn_region_is_fresh(l, AT(5), AT(7)));
	assert_false(hn_region_is_fresh(l, AT(0), AT(5)));
	assert_true(hn_region_is_fresh(l, AT(0), AT(4)));
	assert_true(hn_region_is_fresh(l, AT(6), AT(10)));
}

/* Its pages may have been dropped, or may just be being, while it was known. */
static void test_what_was_given_back_is_not_fresh(void **state)
{
	struct hn_live *l = none();

	(void)state;
	hn_region_add(l, AT(4), AT(6), NULL);
	hn_region_cut(l, AT(4), AT(6));
	hn_region_remember(l, AT(4), AT(6));
	assert_false(hn_region_covers(l, AT(4), AT(6)));
	assert_false(hn_region_is_fresh(l, AT(5), AT(7)));
	assert_true(hn_region_is_fresh(l, AT(6), AT(7)));
	hn_region_unmap(l, AT(4), AT(5)); /* the rest is what it was */
	assert_false(hn_region_is_fresh(l, AT(5), AT(7)));
	hn_region_unmap(l, AT(3), AT(7));
	assert_true(hn_region_is_fresh(l, AT(4), AT(6)));
}

/* MREMAP_DONTUNMAP raises the same event as a plain move, which is told of as unmapped next. */
static void test_what_was_moved_may_be_there_still(void **state)
{
	struct hn_live *l = none();

	(void)state;
	hn_region_add(l, AT(4), AT(8), NULL);
	hn_region_remap(l, AT(4), AT(20), 4 * HN_PAGE_SIZE);
	assert_true(hn_region_covers(l, AT(20), AT(24)));
	assert_false(hn_region_is_fresh(l, AT(4), AT(8)));
	hn_region_unmap(l, AT(4), AT(8));
	assert_true(hn_region_is_fresh(l, AT(4), AT(8)));
	assert_false(hn_region_is_fresh(l, AT(20), AT(24)));
}

static void test_a_full_table_forgets_nothing_that_matters(void **state)
{
	struct hn_live *l = none();
	uint32_t i, end = 2 * HN_MAX_REGIONS;

	(void)state;
	for (i = 0; i < HN_MAX_REGIONS; i++)
		assert_true(hn_region_add(l, AT(2 * i), AT(2 * i + 1), NULL));
	l->region[HN_MAX_REGIONS - 1].end = AT(end + 3);
	hn_region_cut(l, AT(end), AT(end + 1));
	assert_int_equal(l->nr_regions, HN_MAX_REGIONS);
	assert_false(hn_region_covers(l, AT(end + 1), AT(end + 3)));
	assert_false(hn_region_is_fresh(l, AT(end + 1), AT(end + 3)));
}

/* The same again takes no room; with more than there is room for nothing counts as fresh any more. */
static void test_more_than_can_be_remembered(void **state)
{
	struct hn_live *l = none();
	uint32_t i;

	(void)state;
	for (i = 0; i < 2 * HN_MAX_ONCE; i++)
		hn_region_remember(l, AT(0), AT(2));
	hn_region_remember(l, AT(1), AT(2));
	assert_int_equal(l->nr_once, 1);
	for (i = 1; i < HN_MAX_ONCE; i++)
		hn_region_remember(l, AT(4 * i), AT(4 * i + 2));
	assert_true(hn_region_is_fresh(l, AT(3), AT(4)));
	hn_region_unmap(l, AT(4), AT(6)); /* which makes room for one */
	hn_region_remember(l, AT(4), AT(6));
	assert_true(hn_region_is_fresh(l, AT(3), AT(4)));
	hn_region_remember(l, AT(1000), AT(1001));
	assert_false(hn_region_is_fresh(l, AT(3), AT(4)));
	hn_region_unmap(l, AT(0), AT(5000));
	assert_false(hn_region_is_fresh(l, AT(3), AT(4)));
}

/* A table that is full while something moves: what arrives is registered, and in no region. */
static void test_a_move_into_a_full_table(void **state)
{
	struct hn_live *l = none();
	uint32_t i;

	(void)state;
	for (i = 0; i < HN_MAX_REGIONS; i++)
		assert_true(hn_region_add(l, AT(4 * i), AT(4 * i + 3), NULL));
	hn_region_remap(l, AT(1), AT(100000), HN_PAGE_SIZE); /* the rest needs the place that is left, or the other way round */
	assert_false(hn_region_is_fresh(l, AT(100000), AT(100001)));
	assert_false(hn_region_is_fresh(l, AT(2), AT(3)));
}

/* Times of a clock that wraps after 49 days, and some that are never renewed. */
static void test_waits_end(void **state)
{
	uint32_t day = 24u * 3600 * 1000, now;

	(void)state;
	for (now = 0; now < 49 * day; now += day / 7) {
		assert_int_equal(hn_ms_left(now + 100, now, 8000), 100);
		assert_int_equal(hn_ms_left(now - 1, now, 8000), 0);
		assert_int_equal(hn_ms_left(now - 25 * day, now, 8000), 0);
		assert_true(hn_ms_left(0, now, 8000) == 0 || now == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_never_registered_is_fresh),
		cmocka_unit_test(test_what_was_given_back_is_not_fresh),
		cmocka_unit_test(test_what_was_moved_may_be_there_still),
		cmocka_unit_test(test_a_full_table_forgets_nothing_that_matters),
		cmocka_unit_test(test_more_than_can_be_remembered),
		cmocka_unit_test(test_a_move_into_a_full_table),
		cmocka_unit_test(test_waits_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
