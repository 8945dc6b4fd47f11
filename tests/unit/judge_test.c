// SPDX-License-Identifier: MIT
/* The default policy rule by rule, then at work on pages with a known life. */
#include "core/history.h"
#include "core/policy.h"
#include "fake.h"

#include <string.h>

#define SETTLE_MS 60000u
#define STAY HN_NO_NODE
#define QUESTION_MS 60u /* a sample that leaves a question is followed by another so soon */

static struct hn_placing place = { .nr_nodes = 4, .allowed = ~0ull, .settle_ms = SETTLE_MS };

/* "0112": nodes of samples, the oldest first; '-': not known. */
static uint64_t history_of(const char *nodes)
{
	uint64_t h = 0;

	for (; *nodes; nodes++)
		h = hn_history_push(h, *nodes == '-' ? HN_NO_NODE : *nodes - '0', false);
	return h;
}

/* ---- the record ---- */

static void test_history(void **state)
{
	static const struct {
		const char *nodes;
		unsigned samples, run, of_1;
	} rows[] = {
		{ "", 0, 0, 0 },	       { "1", 1, 1, 1 },	{ "11", 2, 2, 2 },
		{ "01", 2, 1, 1 },	       { "0101", 4, 1, 2 },	{ "00001111", 8, 4, 4 },
		{ "1111111100000000", 8, 8, 0 }, { "1-1", 2, 1, 2 },	{ "-", 0, 0, 0 },
		{ "01230123", 8, 1, 2 },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t h = history_of(rows[i].nodes);

		if (hn_history_samples(h) != rows[i].samples || hn_history_run(h) != rows[i].run ||
		    hn_history_count(h, 1) != rows[i].of_1)
			fail_msg("'%s': %u samples, run %u, %u of node 1", rows[i].nodes, hn_history_samples(h),
				 hn_history_run(h), hn_history_count(h, 1));
	}
	assert_int_equal(hn_history_node(hn_history_push(0, HN_MAX_NODES - 1, true), 0), HN_MAX_NODES - 1);
	assert_true(hn_history_same_thread(hn_history_push(0, HN_MAX_NODES - 1, true), 0));
	assert_false(hn_history_same_thread(hn_history_push(0, HN_MAX_NODES - 1, false), 0));
}

/* ---- the rules ---- */

struct row {
	const char *what, *nodes; /* samples before this one */
	int page, thread;
	bool same_thread, moved;
	uint32_t ms_ago;
	int target, why; /* reason, or refusal when it stays */
};


static const struct row rows[] = {
	{ "first sample", "", 0, 1, false, false, 0, 1, HN_REASON_FIRST },
	{ "first of a known node", "-", 0, 1, false, false, 0, 1, HN_REASON_FIRST },
	{ "after a local one", "0", 0, 1, false, false, 0, STAY, HN_REFUSE_FILTER },
	{ "after one of a third", "2", 0, 1, false, false, 0, STAY, HN_REFUSE_FILTER },
	{ "two of a thread", "1", 0, 1, true, false, 0, 1, HN_REASON_THREAD },
	{ "two of a node", "1", 0, 1, false, false, 0, 1, HN_REASON_NODE },
	{ "a new user", "00000001", 0, 1, true, true, 1000, 1, HN_REASON_THREAD },
	{ "just moved, and after a moment on", "221", 2, 1, true, true, 1000, 1, HN_REASON_THREAD },
	{ "just moved, by somebody who has gone", "0002211", 2, 1, true, true, 1000, STAY, HN_REFUSE_SETTLING },
	{ "just moved, but it is his for a while now", "002211111", 2, 1, true, true, 1000, 1, HN_REASON_THREAD },
	{ "moved long ago", "0002211", 2, 1, true, true, SETTLE_MS, 1, HN_REASON_THREAD },
	{ "a visit is a coincidence", "1001", 0, 1, true, false, 0, 1, HN_REASON_THREAD },
	{ "and so are two", "01001", 0, 1, true, false, 0, 1, HN_REASON_THREAD },
	{ "three are not", "0101001", 0, 1, true, false, 0, STAY, HN_REFUSE_SHARED },
	{ "by turns", "0101010", 0, 1, true, false, 0, STAY, HN_REFUSE_SHARED },
	{ "shared by four", "0123012", 0, 3, false, false, 0, STAY, HN_REFUSE_SHARED },
};

/* These samples before, a second apart, and one of nid. */
static struct hn_tenure tenure_of(const char *nodes, int nid)
{
	struct hn_tenure t = { 0 };
	uint32_t ms = 1000000;
	uint64_t h = 0;

	for (; *nodes; nodes++, ms += 1000) {
		h = hn_history_push(h, *nodes == '-' ? HN_NO_NODE : *nodes - '0', false);
		t = hn_tenure_sample(t, h, ms);
	}
	return hn_tenure_sample(t, hn_history_push(h, nid, false), ms);
}

static struct hn_ruling ask(const struct row *r, const struct hn_placing *p)
{
	struct hn_judge j = {
		.place = p, .page_nid = r->page, .thread_nid = r->thread, .history = history_of(r->nodes),
		.same_thread = r->same_thread, .tenure = tenure_of(r->nodes, r->thread), .tenure_ms = 1000 * hn_history_run(history_of(r->nodes)), .moved = r->moved, .moved_ms_ago = r->ms_ago,
	};
	struct hn_ruling got;

	memset(&got, 0xff, sizeof(got));
	hn_judge_automatic(&j, &got);
	return got;
}

static void test_rules(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hn_ruling got = ask(&rows[i], &place);
		int why = got.target_nid == STAY ? (int)got.refusal : (int)got.reason;

		if (got.target_nid != rows[i].target || why != rows[i].why)
			fail_msg("%s: target %d, why %d", rows[i].what, got.target_nid, why);
	}
}

static void test_nodes_that_are_not_allowed(void **state)
{
	struct hn_placing p = place;
	struct row r = { "", "1", 0, 1, true, false, 0, 0, 0 };

	(void)state;
	p.allowed = 1u << 0 | 1u << 2;
	assert_int_equal(ask(&r, &p).refusal, HN_REFUSE_NODES);
	r.thread = 2;
	r.nodes = "2";
	assert_int_equal(ask(&r, &p).target_nid, 2);
}

/* A first sample is not believed where the pages beside it tell of other users; two in a row are. */
static void test_first_sample_beside_others(void **state)
{
	struct hn_judge j = { .place = &place, .page_nid = 0, .thread_nid = 1, .disputed = true };
	struct hn_ruling r;

	(void)state;
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.target_nid, STAY);
	assert_int_equal(r.refusal, HN_REFUSE_FILTER);
	j.history = history_of("1");
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.target_nid, 1);
}

/* Nobody uses it where it lies: with whom it comes to is not so important, but there it stays until more is known. */
static void test_a_deserted_page_comes_to_one_of_its_users(void **state)
{
	struct hn_judge j = { .place = &place, .page_nid = 0, .thread_nid = 1, .disputed = true, .deserted = true };
	struct hn_ruling r;

	(void)state;
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.target_nid, 1);
	assert_int_equal(r.reason, HN_REASON_FIRST);
	j.history = history_of("2");
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.target_nid, 1);
	assert_int_equal(r.reason, HN_REASON_MAJORITY);
	j.history = history_of("20");
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.target_nid, STAY);
	assert_int_equal(r.refusal, HN_REFUSE_FILTER);
	j.history = history_of("2");
	j.moved = true;
	j.moved_ms_ago = 100000;
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.target_nid, STAY);
	assert_int_equal(r.refusal, HN_REFUSE_FILTER);
}

/* One thread's page, and that thread is on another node now: that it has moved is certain with the first sample. */
static void test_a_thread_that_moves_takes_its_pages_along(void **state)
{
	struct hn_judge j = { .place = &place, .page_nid = 0, .thread_nid = 1, .same_thread = true };
	struct hn_ruling r;
	unsigned i;

	(void)state;
	j.history = hn_history_push(0, 0, false);
	for (i = 0; i < 10; i++) {
		hn_judge_automatic(&j, &r);
		assert_int_equal(r.target_nid, 1);
		assert_int_equal(r.reason, HN_REASON_THREAD);
		j.history = hn_history_push(j.history, 0, true);
	}
	j.moved = true; /* but one that wanders does not drag them about */
	j.moved_ms_ago = SETTLE_MS - 1;
	j.tenure.doubt = HN_DOUBT_BRIEF;
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.refusal, HN_REFUSE_SETTLING);
	j.moved = false;
	j.history = hn_history_push(hn_history_push(hn_history_push(0, 0, false), 0, false), 0, true); /* it had another user */
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.refusal, HN_REFUSE_FILTER);
}

/* A thread that wandered and is now kept where it is (--move-threads): pages of its own follow at once, others do not. */
static void test_a_thread_that_has_come_to_rest(void **state)
{
	struct hn_judge j = {
		.place = &place, .page_nid = 0, .thread_nid = 1, .same_thread = true, .moved = true, .moved_ms_ago = 1000,
		.tenure = { .doubt = HN_DOUBT_MOST, .shared = 1 },
	};
	struct hn_ruling r;
	unsigned i;

	(void)state;
	for (i = 0; i < HN_HISTORY_SAMPLES; i++)
		j.history = hn_history_push(j.history, (int)(i % 2), i > 0);
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.refusal, HN_REFUSE_SHARED);
	j.at_home = true;
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.target_nid, 1);
	assert_int_equal(r.reason, HN_REASON_THREAD);
	j.history = hn_history_push(j.history, 0, false); /* another thread has used it, too */
	hn_judge_automatic(&j, &r);
	assert_int_equal(r.refusal, HN_REFUSE_SHARED);
}

/* Eight of eight from one node, and shared all the same: by what was before. */
static void test_majority(void **state)
{
	struct row r = { "", "0101010101111111", 0, 1, true, true, SETTLE_MS, 0, 0 };

	(void)state;
	assert_int_equal(ask(&r, &place).reason, HN_REASON_MAJORITY);
	r.ms_ago = SETTLE_MS - 1;
	assert_int_equal(ask(&r, &place).refusal, HN_REFUSE_SHARED);
	r.ms_ago = SETTLE_MS;
	r.nodes = "010101010111111";
	assert_int_equal(ask(&r, &place).refusal, HN_REFUSE_SHARED);
	/* Shared by others, and nobody where it is. */
	r.nodes = "12121";
	r.ms_ago = 10 * SETTLE_MS;
	assert_int_equal(ask(&r, &place).reason, HN_REASON_MAJORITY);
	r.ms_ago--;
	assert_int_equal(ask(&r, &place).refusal, HN_REFUSE_SHARED);
}

/* Shared, and nearly all that its threads do is done on the other node by now. */
static const struct {
	const char *what, *nodes;
	uint32_t cpu_to, cpu_from, ms_ago;
	bool moved, grouped;
	int target, why;
} group_rows[] = {
	{ "no group", "0101010", 9, 1, 0, false, false, STAY, HN_REFUSE_SHARED },
	{ "three times is not more", "0101010", 9, 3, 0, false, true, STAY, HN_REFUSE_SHARED },
	{ "more than three times", "0101010", 10, 3, 0, false, true, 1, HN_REASON_GROUP },
	{ "its own samples say otherwise", "0010010", 10, 3, 0, false, true, STAY, HN_REFUSE_SHARED },
	{ "moved a moment ago", "0101010", 10, 3, SETTLE_MS - 1, true, true, STAY, HN_REFUSE_SHARED },
	{ "moved long ago", "0101010", 10, 3, SETTLE_MS, true, true, 1, HN_REASON_GROUP },
	{ "nobody is here any more", "0101010", 1, 0, 0, false, true, 1, HN_REASON_GROUP },
};

static void test_groups_move_on(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(group_rows) / sizeof(group_rows[0]); i++) {
		uint32_t cpu[4] = { group_rows[i].cpu_from, group_rows[i].cpu_to }, mem[4] = { 8, 0 };
		struct hn_judge j = {
			.place = &place, .page_nid = 0, .thread_nid = 1, .history = history_of(group_rows[i].nodes),
			.tenure = { .doubt = HN_DOUBT_SHARED, .shared = 1 },
			.moved = group_rows[i].moved, .moved_ms_ago = group_rows[i].ms_ago,
			.group_cpu = group_rows[i].grouped ? cpu : NULL, .group_mem = mem,
		};
		struct hn_ruling r;
		int why;

		hn_judge_automatic(&j, &r);
		why = r.target_nid == STAY ? (int)r.refusal : (int)r.reason;
		if (r.target_nid != group_rows[i].target || why != group_rows[i].why)
			fail_msg("%s: target %d, why %d", group_rows[i].what, r.target_nid, why);
	}
}

static void test_spreading(void **state)
{
	struct hn_placing p = place;
	struct hn_judge j = { .place = &p, .page_nid = 0, .thread_nid = 3, .history = history_of("0303030"),
			      .tenure = { .doubt = HN_DOUBT_SHARED, .shared = 1 } };
	struct hn_ruling r;
	unsigned i, on[4] = { 0 };

	(void)state;
	p.spread_shared = true;
	for (i = 0; i < 64; i++) {
		j.haddr = i * HN_PAGE_SIZE;
		hn_judge_automatic(&j, &r);
		on[r.target_nid == STAY ? 0 : r.target_nid]++;
		assert_true(r.target_nid == STAY ? r.refusal == HN_REFUSE_SHARED : r.reason == HN_REASON_SPREAD);
	}
	assert_int_equal(on[0], 32);
	assert_int_equal(on[3], 32); /* and none on nodes that do not use them */
	j.moved = true;
	j.moved_ms_ago = SETTLE_MS - 1;
	for (i = 0; i < 64; i++) {
		j.haddr = i * HN_PAGE_SIZE;
		hn_judge_automatic(&j, &r);
		assert_int_equal(r.target_nid, STAY);
	}
}

/* ---- as the kernel judges ---- */

static const struct {
	const char *what, *nodes;
	bool same_thread;
	uint32_t cpu_to, cpu_from, page_to, page_from;
	int target, why;
} kernel_rows[] = {
	{ "first sample", "", false, 0, 0, 0, 0, 1, HN_REASON_FIRST },
	{ "after a third", "2", false, 9, 0, 0, 0, STAY, HN_REFUSE_FILTER },
	{ "same thread", "1", true, 0, 9, 0, 0, 1, HN_REASON_THREAD },
	{ "local samples are not on record", "10000000", true, 0, 9, 0, 0, 1, HN_REASON_THREAD },
	{ "three times is not more than three", "1", false, 9, 3, 0, 0, STAY, HN_REFUSE_SHARED },
	{ "more than three times", "1", false, 10, 3, 0, 0, 1, HN_REASON_GROUP },
	{ "4/3 is not more than 4/3", "1", false, 4, 3, 3, 3, STAY, HN_REFUSE_SHARED },
	{ "more than 4/3", "1", false, 5, 3, 3, 3, 1, HN_REASON_GROUP },
	{ "no group yet", "1", false, 0, 0, 0, 0, 1, HN_REASON_NODE },
	{ "fewer users, fewer pages", "1", false, 3, 5, 1, 3, 1, HN_REASON_GROUP },
};

static void test_kernel_rules(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(kernel_rows) / sizeof(kernel_rows[0]); i++) {
		uint32_t cpu[4] = { kernel_rows[i].cpu_from, kernel_rows[i].cpu_to };
		bool grouped = kernel_rows[i].cpu_to + kernel_rows[i].cpu_from != 0;
		uint32_t page[4] = { kernel_rows[i].page_from, kernel_rows[i].page_to };
		struct hn_judge j = {
			.place = &place, .page_nid = 0, .thread_nid = 1, .history = history_of(kernel_rows[i].nodes),
			.same_thread = kernel_rows[i].same_thread, .group_cpu = grouped ? cpu : NULL, .group_mem = page,
		};
		struct hn_ruling r;
		int why;

		hn_judge_kernel(&j, &r);
		why = r.target_nid == STAY ? (int)r.refusal : (int)r.reason;
		if (r.target_nid != kernel_rows[i].target || why != kernel_rows[i].why)
			fail_msg("%s: target %d, why %d", kernel_rows[i].what, r.target_nid, why);
	}
}

/* ---- pages at work ---- */

struct life {
	uint64_t history;
	int nid;
	bool moved;
	struct hn_tenure tenure;
	uint32_t moved_ms;
	unsigned migrations;
	uint32_t last_tid;
};

/* One sample, as the engine records and moves. True when the page was migrated. */
static bool sample(struct life *l, int thread_nid, uint32_t now_ms)
{
	uint64_t history = hn_history_push(l->history, thread_nid, l->last_tid == (uint32_t)thread_nid + 1);
	struct hn_tenure tenure = hn_tenure_sample(l->tenure, history, now_ms);
	struct hn_judge j = {
		.place = &place, .page_nid = l->nid, .thread_nid = thread_nid, .history = l->history,
		.same_thread = l->last_tid == (uint32_t)thread_nid + 1, .moved = l->moved,
		.moved_ms_ago = now_ms - l->moved_ms, .tenure = tenure, .tenure_ms = hn_tenure_ms(tenure, now_ms),
	};
	struct hn_ruling r = { .target_nid = STAY };

	if (thread_nid != l->nid)
		hn_judge_automatic(&j, &r);
	l->history = history;
	l->last_tid = (uint32_t)thread_nid + 1;
	l->tenure = tenure;
	if (r.target_nid == STAY) {
		return false;
	}
	l->nid = r.target_nid;
	l->moved = true;
	l->moved_ms = now_ms;
	l->migrations++;
	return true;
}

static uint32_t draw(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 24; /* the low bits of this kind of generator go round in short circles */
}

/* An hour of one sample a second, by nodes drawn anew each time: no more than one migration a minute. */
static void test_shared_pages_stay(void **state)
{
	unsigned nodes, page, total = 0;

	(void)state;
	for (nodes = 2; nodes <= 4; nodes++)
		for (page = 0; page < 50; page++) {
			struct life l = { .nid = 0 };
			uint32_t seed = page * 7 + nodes, s;

			for (s = 0; s < 3600; s++)
				sample(&l, (int)(draw(&seed) % nodes), s * 1000);
			if (l.migrations > 60)
				fail_msg("%u nodes, page %u: %u migrations in an hour", nodes, page, l.migrations);
			total += l.migrations;
		}
	print_message("# %u migrations an hour and page\n", total / 150);
}

/* An hour of a page that nodes have in strict turns of turn_ms; a sample, and after one that leaves a question another. */
static struct life an_hour_of_turns(uint32_t turn_ms, unsigned nodes, uint32_t every_ms, unsigned questions, unsigned *local)
{
	struct life l = { .nid = 0 };
	uint32_t ms = 0, q;

	*local = 0;
	for (; ms < 3600000; ms += every_ms) {
		int nid = (int)(ms / turn_ms % nodes);

		sample(&l, nid, ms);
		for (q = 1; q <= questions && nid != l.nid; q++)
			sample(&l, (int)((ms + q * QUESTION_MS) / turn_ms % nodes), ms + q * QUESTION_MS);
		*local += nid == l.nid;
	}
	return l;
}

/* Turns that are too short to follow, however many samples are taken of each. */
static void test_turns_do_not_ping_pong(void **state)
{
	static const uint32_t turn_ms[] = { 200, 1000, 1500, 2000 }, every_ms[] = { 330, 500, 1000 };
	unsigned t, e, q, local;

	(void)state;
	for (t = 0; t < 4; t++)
		for (e = 0; e < 3; e++)
			for (q = 0; q < 2; q++) {
				struct life l = an_hour_of_turns(turn_ms[t], 2, every_ms[e], q * 5, &local);

				if (l.migrations > 61) /* the first, and one a minute */
					fail_msg("turns of %u ms, a sample every %u: %u migrations in an hour", turn_ms[t],
						 every_ms[e], l.migrations);
			}
}

/*
 * A page whose user changes every five seconds is followed, however few samples are taken each time, if there are two; and
 * however late: every_ms does not divide the turn, so that the first sample comes at any time in it.
 */
static void test_phases_are_followed(void **state)
{
	static const uint32_t every_ms[] = { 50, 230, 730, 1300, 2100, 3700, 4700 };
	unsigned e, nodes, local, turns = 3600 / 5;

	(void)state;
	for (nodes = 2; nodes <= 4; nodes++)
		for (e = 0; e < sizeof(every_ms) / sizeof(every_ms[0]); e++) {
			struct life l = an_hour_of_turns(5000, nodes, every_ms[e], 5, &local);

			assert_false(l.tenure.shared);
			if (l.migrations < turns * 9 / 10)
				fail_msg("%u nodes, a sample every %u ms: %u migrations in an hour", nodes, every_ms[e], l.migrations);
		}
}

/* One that was shared, and then has one user for good, follows; with few samples, too. */
static void test_shared_no_more(void **state)
{
	uint32_t seed = 1, every_ms, s;

	(void)state;
	for (every_ms = 50; every_ms <= 12800; every_ms *= 4) {
		struct life l = { .nid = 0 };

		for (s = 0; s < 1000; s++)
			sample(&l, (int)(draw(&seed) % 2), s * 1000);
		assert_true(l.tenure.shared);
		l.nid = 0;
		for (s = 0; s < 5000 / every_ms + 20 && l.nid == 0; s++)
			sample(&l, 1, 1000000 + s * every_ms);
		assert_int_equal(l.nid, 1);
		for (; s < 5000 / every_ms + 40; s++)
			sample(&l, 1, 1000000 + s * every_ms);
		assert_false(l.tenure.shared);
	}
}

/* Sampled seldom, a page that two nodes use at random is shared as well: the answers to the questions show it. */
static void test_shared_and_seldom_seen(void **state)
{
	unsigned page, s, shared = 0;

	(void)state;
	for (page = 0; page < 100; page++) {
		struct life l = { .nid = 0 };
		uint32_t seed = page;

		for (s = 0; s < 200; s++) {
			uint32_t ms = s * 10000;
			unsigned asked = 0;

			sample(&l, (int)(draw(&seed) % 2), ms);
			while (hn_history_node(l.history, 0) != l.nid && !hn_tenure_is_known(l.tenure) && asked++ < 20)
				sample(&l, (int)(draw(&seed) % 2), ms + asked * QUESTION_MS);
		}
		shared += l.tenure.shared;
	}
	assert_in_range(shared, 70, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_nodes_that_are_not_allowed),
		cmocka_unit_test(test_first_sample_beside_others),
		cmocka_unit_test(test_a_deserted_page_comes_to_one_of_its_users),
		cmocka_unit_test(test_a_thread_that_moves_takes_its_pages_along),
		cmocka_unit_test(test_a_thread_that_has_come_to_rest),
		cmocka_unit_test(test_majority),
		cmocka_unit_test(test_groups_move_on),
		cmocka_unit_test(test_spreading),
		cmocka_unit_test(test_kernel_rules),
		cmocka_unit_test(test_shared_pages_stay),
		cmocka_unit_test(test_turns_do_not_ping_pong),
		cmocka_unit_test(test_phases_are_followed),
		cmocka_unit_test(test_shared_no_more),
		cmocka_unit_test(test_shared_and_seldom_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
