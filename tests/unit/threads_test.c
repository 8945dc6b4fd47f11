// SPDX-License-Identifier: MIT
/* Threads: where their memory is, who shares with whom, what moves to what. */
#include "core/history.h"
#include "fake.h"

#include <string.h>

#define STAY HN_NO_NODE
#define ROWS 32u

static const struct hn_geometry geometry = { .nr_chunks = 4, .chunk_shift = 3, .nr_pages = 16, .nr_threads = ROWS };

static struct fake *with_nodes(uint32_t nr_nodes)
{
	struct hn_params par = fake_params;

	par.policy = HN_POLICY_AUTOMATIC;
	par.nr_nodes = nr_nodes;
	return fake_new_with(&geometry, &par);
}

static int setup(void **state)
{
	*state = with_nodes(4);
	return 0;
}

static int teardown(void **state)
{
	fake_free(*state);
	return 0;
}

static struct hn_thread *row(struct fake *f, uint32_t tid)
{
	struct hn_thread *t = hn_thread_find(&f->hn, tid);

	assert_non_null(t);
	return t;
}

/* One accounted sample on a page that lies on nid; nothing is moved. */
static void note(struct fake *f, struct hn_entry *e, int nid, int thread_nid, uint32_t tid)
{
	e->nid = (int8_t)nid;
	hn_policy_record(&f->hn, e, thread_nid, tid, 0);
}

/* ---- samples ---- */

static void test_samples_go_to_the_thread_and_the_page_s_node(void **state)
{
	struct fake *f = *state;
	struct hn_entry e = { 0 }, other = { 0 };
	unsigned i;

	for (i = 0; i < 3; i++)
		note(f, &e, 2, 1, 5);
	note(f, &other, 3, 1, 5);
	note(f, &other, 3, 3, 6);
	assert_int_equal(row(f, 5)->samples, 4);
	assert_int_equal(row(f, 5)->mem[2], 3);
	assert_int_equal(row(f, 5)->mem[3], 1);
	assert_int_equal(row(f, 5)->cpu[1], 4);
	assert_int_equal(row(f, 5)->node, 1);
	assert_int_equal(row(f, 5)->local, 0);
	assert_int_equal(row(f, 5)->own_lately, 4); /* the first of a page is nobody else's */
	assert_int_equal(row(f, 6)->shared_lately, 1);
	assert_int_equal(row(f, 6)->local, 1);
	hn_threads_sum(&f->hn);
	assert_int_equal(row(f, 5)->preferred, 2);
	assert_int_equal(row(f, 6)->preferred, 3);
}

/* After a migration the sample counts where the page is then (R5). */
static void test_a_migrated_page_counts_where_it_is_now(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(row(f, 1)->mem[1], 1);
	assert_int_equal(row(f, 1)->mem[0], 0);
}

static void test_samples_decay(void **state)
{
	struct fake *f = *state;
	struct hn_entry e = { 0 };
	unsigned i;

	for (i = 0; i < 8; i++)
		note(f, &e, 2, 1, 5);
	for (i = 4; i; i /= 2) {
		hn_threads_age(&f->hn);
		assert_int_equal(row(f, 5)->mem[2], i);
		assert_int_equal(row(f, 5)->own_lately, i);
	}
	assert_int_equal(row(f, 5)->samples, 8); /* these are all there ever were */
	hn_threads_age(&f->hn);
	assert_null(hn_thread_find(&f->hn, 5)); /* the row is free */
	note(f, &e, 1, 1, 5);
	assert_int_equal(row(f, 5)->samples, 1);
	assert_int_equal(row(f, 5)->mem[2], 0);
}

static void test_who_finds_no_room_is_counted(void **state)
{
	struct fake *f = *state;
	unsigned tid, known = 0;

	for (tid = 1; tid <= 10 * ROWS; tid++) {
		struct hn_entry e = { 0 };

		note(f, &e, 0, 0, tid);
		known += hn_thread_find(&f->hn, tid) != NULL;
	}
	assert_int_equal(known, ROWS); /* all of it is used */
	assert_int_equal(hn_threads_missed(&f->hn), 9 * ROWS);
}

static void test_no_table_no_record(void **state)
{
	struct fake *f = fake_new();
	struct hn_entry e = { 0 };

	(void)state;
	note(f, &e, 0, 1, 5);
	note(f, &e, 0, 1, 6);
	assert_null(hn_thread_find(&f->hn, 5));
	assert_int_equal(e.prior_tid, 0);
	hn_threads_age(&f->hn);
	assert_false(hn_threads_hold(&f->hn, 5, 0, true));
	fake_free(f);
}

static void test_wanderers(void **state)
{
	static const struct {
		const char *cpus; /* node of each sample */
		uint32_t wander;
	} rows[] = {
		{ "00000000", 0 }, { "0101010", 0 }, { "01010101", 1 }, { "0000000001", 0 }, { "00000000111", 1 }, { "01230123", 1 },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fake *f = with_nodes(4);
		struct hn_entry e = { 0 };
		const char *c;

		for (c = rows[i].cpus; *c; c++)
			note(f, &e, 2, *c - '0', 5);
		if (hn_threads_wandering(&f->hn) != rows[i].wander)
			fail_msg("%s", rows[i].cpus);
		fake_free(f);
	}
}

/* ---- groups ---- */

/* "aba": threads, 'a' is 1. */
static void touch(struct fake *f, struct hn_entry *e, const char *who)
{
	for (; *who; who++)
		note(f, e, 0, (*who - 'a') % 4, (uint32_t)(*who - 'a') + 1);
}

static void test_groups(void **state)
{
	static const struct {
		const char *what, *who;
		bool together; /* a and b */
	} rows[] = {
		{ "alone", "aaaaaaaa", false },
		{ "handed over", "aaaabbbb", false },
		{ "handed over and back", "aaaabbbbaaaa", false },
		{ "met once", "aba", false },
		{ "each met once", "abab", false },
		{ "by turns", "ababa", true },
		{ "by turns of two", "aabbaabbaabb", false },
		{ "three in turn", "abcabcabc", false }, /* no two of them alternate */
		{ "three at random", "abacbcabab", true },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fake *f = with_nodes(4);
		struct hn_entry e = { 0 };
		const struct hn_thread *b;
		bool together;

		touch(f, &e, rows[i].who);
		b = hn_thread_find(&f->hn, 2);
		together = b && b->group != HN_NO_GROUP && b->group == row(f, 1)->group;
		if (together != rows[i].together)
			fail_msg("%s: %s", rows[i].what, together ? "together" : "not together");
		fake_free(f);
	}
}

static void test_group_sums_and_preference(void **state)
{
	struct fake *f = *state;
	struct hn_entry shared = { 0 }, own = { 0 };
	const struct hn_group *g;
	unsigned i;

	for (i = 0; i < 4; i++)
		note(f, &own, 3, 0, 1);
	for (i = 0; i < 10; i++)
		note(f, &shared, 2, (int)(i % 2), i % 2 + 1);
	hn_threads_sum(&f->hn);
	g = hn_group_of(&f->hn, row(f, 1)->group);
	assert_non_null(g);
	assert_int_equal(g->members, 2);
	assert_int_equal(g->mem[2], 10);
	assert_int_equal(g->mem[3], 4);
	assert_int_equal(g->cpu[0], 9);
	assert_int_equal(g->preferred, 2);
	/* Thread 2 shares all, and goes by the group; thread 1 has 5 of its own (the page's first is) and 4 shared. */
	assert_int_equal(row(f, 2)->preferred, 2);
	assert_int_equal(row(f, 1)->own_lately, 5);
	assert_ptr_equal(hn_thread_mem(&f->hn, row(f, 1)), row(f, 1)->mem);
	assert_ptr_equal(hn_thread_mem(&f->hn, row(f, 2)), g->mem);
}

/* A pair and a three; then one of the pair meets one of the three: it goes over, not the other way. */
static void test_the_smaller_group_comes_over(void **state)
{
	struct fake *f = *state;
	struct hn_entry pair = { 0 }, three = { 0 }, both = { 0 };
	uint32_t small, big;

	touch(f, &pair, "ababababab");
	touch(f, &three, "cdcdcdcdedededec");
	hn_threads_sum(&f->hn);
	small = row(f, 1)->group;
	big = row(f, 3)->group;
	assert_int_not_equal(small, big);
	assert_int_equal(hn_group_of(&f->hn, big)->members, 3);
	assert_int_equal(hn_group_of(&f->hn, small)->members, 2);
	touch(f, &both, "acac");
	assert_int_equal(row(f, 1)->group, big);
	assert_int_equal(row(f, 3)->group, big);
	assert_int_equal(row(f, 2)->group, small);
}

static void test_who_meets_nobody_any_more_leaves(void **state)
{
	struct fake *f = *state;
	struct hn_entry e = { 0 }, own = { 0 };
	unsigned round;

	touch(f, &e, "abababababababab");
	assert_int_not_equal(row(f, 1)->group, HN_NO_GROUP);
	for (round = 0; round < 8; round++) {
		touch(f, &own, "aa");
		hn_threads_age(&f->hn);
	}
	assert_int_equal(row(f, 1)->group, HN_NO_GROUP);
	assert_null(hn_group_of(&f->hn, HN_NO_GROUP));
	/* And its group's number may be somebody else's. */
	touch(f, &(struct hn_entry){ 0 }, "cdcdcd");
	assert_int_equal(row(f, 3)->group, 1);
}

static void test_groups_run_out(void **state)
{
	struct fake *f = *state;
	unsigned pair, grouped = 0;

	for (pair = 0; pair < 13; pair++) {
		struct hn_entry e = { 0 };
		unsigned i;

		for (i = 0; i < 8; i++)
			note(f, &e, 0, 0, 2 * pair + i % 2 + 1);
	}
	for (pair = 0; pair < 26; pair++) {
		const struct hn_thread *t = hn_thread_find(&f->hn, pair + 1);

		grouped += t && t->group != HN_NO_GROUP;
		assert_true(!t || t->group <= ROWS / 2);
	}
	assert_true(grouped > 0);
}

/* ---- who moves ---- */

static void test_pages_wait_for_the_decision(void **state)
{
	struct fake *f = *state;

	hn_threads_let_move(&f->hn, true, 1);
	fake_manage(f, 0, 2, 0);
	/* Undecided from its very first sample on: the record is made when that is accounted. */
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_THREAD);
	assert_int_equal(row(f, 1)->follow, HN_FOLLOW_UNDECIDED);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	row(f, 1)->follow = HN_FOLLOW_THREAD;
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	/* Kept on node 0, but seen on node 1: what lies on 0 stays, the rest comes as ever. */
	row(f, 1)->follow = HN_FOLLOW_MEMORY;
	row(f, 1)->home = 0;
	assert_int_equal(fake_sample(f, 1, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_THREAD);
	row(f, 1)->home = 1;
	assert_int_equal(fake_sample(f, 1, 1), HN_FAULT_MIGRATED);
	hn_threads_let_move(&f->hn, false, 1);
	assert_int_equal(row(f, 1)->home, STAY);
	assert_int_equal(row(f, 1)->follow, HN_FOLLOW_THREAD);
}

/* A shared page stays where its group is going to. */
static void test_the_group_s_home_keeps_shared_pages(void **state)
{
	struct fake *f = *state;
	struct hn_entry e = { 0 };

	hn_threads_let_move(&f->hn, true, 1);
	touch(f, &e, "abababab");
	row(f, 1)->follow = HN_FOLLOW_MEMORY;
	row(f, 1)->home = 2;
	row(f, 2)->follow = HN_FOLLOW_THREAD;
	hn_threads_sum(&f->hn);
	assert_int_equal(hn_group_of(&f->hn, row(f, 2)->group)->home, 2);
	assert_true(hn_threads_hold(&f->hn, 2, 2, true));
	assert_false(hn_threads_hold(&f->hn, 2, 2, false)); /* its own pages follow it */
	assert_false(hn_threads_hold(&f->hn, 2, 1, true));
	hn_threads_let_move(&f->hn, false, 1);
	assert_false(hn_threads_hold(&f->hn, 2, 2, true));
}

/* A thread that is kept somewhere is remembered until whoever keeps it there lets it go. */
static void test_a_kept_thread_keeps_its_row(void **state)
{
	struct fake *f = *state;
	struct hn_entry e = { 0 };
	unsigned i;

	hn_threads_let_move(&f->hn, true, 1);
	touch(f, &e, "a");
	row(f, 1)->follow = HN_FOLLOW_MEMORY;
	for (i = 0; i < 5; i++)
		hn_threads_age(&f->hn);
	row(f, 1)->follow = HN_FOLLOW_THREAD;
	hn_threads_age(&f->hn);
	assert_null(hn_thread_find(&f->hn, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_samples_go_to_the_thread_and_the_page_s_node, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_migrated_page_counts_where_it_is_now, setup, teardown),
		cmocka_unit_test_setup_teardown(test_samples_decay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_finds_no_room_is_counted, setup, teardown),
		cmocka_unit_test(test_no_table_no_record),
		cmocka_unit_test(test_wanderers),
		cmocka_unit_test(test_groups),
		cmocka_unit_test_setup_teardown(test_group_sums_and_preference, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_smaller_group_comes_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_meets_nobody_any_more_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_groups_run_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_wait_for_the_decision, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_group_s_home_keeps_shared_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_kept_thread_keeps_its_row, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
