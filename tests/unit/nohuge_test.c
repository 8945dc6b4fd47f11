// SPDX-License-Identifier: MIT
/* Where the program does not want huge pages: the table against a model of it, page by page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "linux/live.h"

#define PAGES 64u
#define AT(i) ((hn_addr)0x7f0000000000 + (hn_addr)(i) * HN_BASE_SIZE)
#define FAR(i) ((hn_addr)0x100000000 + (hn_addr)(i) * 2 * HN_PAGE_SIZE)

static struct hn_nohuge table;

static struct hn_nohuge *none(void)
{
	memset(&table, 0, sizeof(table));
	return &table;
}

static void assert_is_like(const struct hn_nohuge *n, const bool *model)
{
	uint32_t i;

	for (i = 0; i < PAGES; i++)
		assert_int_equal(hn_nohuge_any(n, AT(i), AT(i + 1)), model[i]);
	for (i = 0; i < n->nr; i++) {
		assert_true(n->range[i].start < n->range[i].end);
		assert_true(i == 0 || n->range[i - 1].end < n->range[i].start);
	}
}

static void test_is_what_was_said_last(void **state)
{
	struct hn_nohuge *n = none();
	bool model[PAGES] = { false };
	uint32_t round, i;

	(void)state;
	srand(1);
	for (round = 0; round < 20000; round++) {
		uint32_t from = (uint32_t)rand() % PAGES, to = from + (uint32_t)rand() % (PAGES - from + 1);
		bool wanted = rand() % 2;

		(wanted ? hn_nohuge_remove : hn_nohuge_add)(n, AT(from), AT(to));
		for (i = from; i < to; i++)
			model[i] = !wanted;
		assert_is_like(n, model);
		assert_int_equal(n->changes.v & 1, 0);
	}
}

static void test_full(void **state)
{
	struct hn_nohuge *n = none();
	uint32_t i;

	(void)state;
	for (i = 0; i < HN_MAX_NOHUGE; i++)
		hn_nohuge_add(n, FAR(i), FAR(i) + HN_PAGE_SIZE);
	hn_nohuge_add(n, FAR(i), FAR(i) + HN_PAGE_SIZE);
	assert_false(hn_nohuge_any(n, FAR(i), FAR(i + 1)));
	assert_int_equal(n->nr, HN_MAX_NOHUGE);
	/* What makes one longer, or two one, needs no room. */
	hn_nohuge_add(n, FAR(3) + HN_PAGE_SIZE, FAR(3) + HN_PAGE_SIZE + HN_BASE_SIZE);
	assert_true(hn_nohuge_any(n, FAR(3) + HN_PAGE_SIZE, FAR(4)));
	/* Cut in two: the second half is forgotten, also where it is the last of all. */
	hn_nohuge_remove(n, FAR(5) + HN_BASE_SIZE, FAR(5) + 2 * HN_BASE_SIZE);
	assert_true(hn_nohuge_any(n, FAR(5), FAR(5) + HN_BASE_SIZE));
	assert_false(hn_nohuge_any(n, FAR(5) + HN_BASE_SIZE, FAR(6)));
	hn_nohuge_remove(n, FAR(i - 1) + HN_BASE_SIZE, FAR(i - 1) + 2 * HN_BASE_SIZE);
	assert_true(hn_nohuge_any(n, FAR(i - 1), FAR(i - 1) + HN_BASE_SIZE));
	assert_false(hn_nohuge_any(n, FAR(i - 1) + HN_BASE_SIZE, FAR(i)));
	assert_true(hn_nohuge_any(n, FAR(6), FAR(7)));
	assert_int_equal(n->nr, HN_MAX_NOHUGE);
	hn_nohuge_remove(n, FAR(0), FAR(i));
	assert_int_equal(n->nr, 0);
}

/* Advice for a part of a mapping makes that one a mapping of its own: where it is none any more, it is another one. */
static void test_of_a_mapping_that_is_gone(void **state)
{
	struct hn_nohuge *n = none();

	(void)state;
	hn_nohuge_add(n, AT(10), AT(20));
	hn_nohuge_trim(n, n->changes.v, AT(12), AT(20));
	hn_nohuge_trim(n, n->changes.v, AT(20), AT(30));
	assert_true(hn_nohuge_any(n, AT(10), AT(11)) && hn_nohuge_any(n, AT(19), AT(20)));
	hn_nohuge_trim(n, n->changes.v - 2, AT(5), AT(15)); /* looked at before that was said */
	assert_true(hn_nohuge_any(n, AT(10), AT(15)));
	hn_nohuge_trim(n, n->changes.v, AT(5), AT(15));
	assert_false(hn_nohuge_any(n, AT(5), AT(15)));
	assert_true(hn_nohuge_any(n, AT(15), AT(20)));
}

static void test_forked(void **state)
{
	struct hn_nohuge *n = none();

	(void)state;
	hn_nohuge_add(n, AT(1), AT(2));
	n->lock.v = 1;
	hn_nohuge_forked(n);
	assert_int_equal(n->lock.v, 0);
	assert_true(hn_nohuge_any(n, AT(1), AT(2)));
	n->changes.v++; /* another thread was writing */
	assert_false(hn_nohuge_any(n, AT(1), AT(2)));
	hn_nohuge_forked(n);
	assert_false(hn_nohuge_any(n, AT(1), AT(2)));
	hn_nohuge_add(n, AT(1), AT(2));
	assert_true(hn_nohuge_any(n, AT(1), AT(2)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_what_was_said_last),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_of_a_mapping_that_is_gone),
		cmocka_unit_test(test_forked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
