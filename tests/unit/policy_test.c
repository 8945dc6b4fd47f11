// SPDX-License-Identifier: MIT
/* The policies: one row per decision, then the record they decide on. */
#include "core/history.h"
#include "fake.h"

struct row {
	const char *what;
	uint32_t policy;
	int page_nid, last_nid, thread_nid;
	bool held;
	int target;
	bool local;
	int refusal; /* -1: none */
};

#define STAY HN_NO_NODE

static const struct row rows[] = {
	{ "local", HN_POLICY_TWO_STAGE, 1, STAY, 1, false, STAY, true, -1 },
	{ "local, last was remote", HN_POLICY_TWO_STAGE, 1, 2, 1, false, STAY, true, -1 },
	{ "local, held", HN_POLICY_TWO_STAGE, 1, 1, 1, true, STAY, true, -1 },
	{ "first sample", HN_POLICY_TWO_STAGE, 0, STAY, 1, false, STAY, false, HN_REFUSE_FILTER },
	{ "last was local", HN_POLICY_TWO_STAGE, 0, 0, 1, false, STAY, false, HN_REFUSE_FILTER },
	{ "last was a third", HN_POLICY_TWO_STAGE, 0, 2, 1, false, STAY, false, HN_REFUSE_FILTER },
	{ "two in a row", HN_POLICY_TWO_STAGE, 0, 1, 1, false, 1, false, -1 },
	{ "two in a row, held", HN_POLICY_TWO_STAGE, 0, 1, 1, true, STAY, false, HN_REFUSE_HELD },
	{ "first sample, held", HN_POLICY_TWO_STAGE, 0, STAY, 1, true, STAY, false, HN_REFUSE_HELD },
	{ "thread unknown", HN_POLICY_TWO_STAGE, 0, 1, STAY, false, STAY, false, HN_REFUSE_NO_NODE },
	{ "page unknown", HN_POLICY_TWO_STAGE, STAY, 1, 1, false, STAY, false, HN_REFUSE_NO_NODE },
	{ "both unknown", HN_POLICY_TWO_STAGE, STAY, STAY, STAY, false, STAY, false, HN_REFUSE_NO_NODE },
	{ "observe: local", HN_POLICY_OBSERVE, 1, 0, 1, false, STAY, true, -1 },
	{ "observe: first", HN_POLICY_OBSERVE, 0, STAY, 1, false, STAY, false, HN_REFUSE_OBSERVE },
	{ "observe: last was local", HN_POLICY_OBSERVE, 0, 0, 1, false, STAY, false, HN_REFUSE_FILTER },
	{ "observe: two in a row", HN_POLICY_OBSERVE, 0, 1, 1, false, STAY, false, HN_REFUSE_OBSERVE },
	{ "plug-in: local", HN_POLICY_PLUGIN, 1, 0, 1, false, STAY, true, -1 },
	{ "plug-in: local, held", HN_POLICY_PLUGIN, 1, 0, 1, true, STAY, true, -1 },
	{ "plug-in: first", HN_POLICY_PLUGIN, 0, STAY, 1, false, STAY, false, HN_REFUSE_PLUGIN },
	{ "plug-in: two in a row", HN_POLICY_PLUGIN, 0, 1, 1, false, 1, false, -1 },
	{ "plug-in: two in a row, held", HN_POLICY_PLUGIN, 0, 1, 1, true, STAY, false, HN_REFUSE_HELD },
	{ "plug-in: thread unknown", HN_POLICY_PLUGIN, 0, 1, STAY, false, STAY, false, HN_REFUSE_NO_NODE },
	{ "first-touch: first", HN_POLICY_FIRST_TOUCH, 0, STAY, 1, false, 1, false, -1 },
	{ "first-touch: second", HN_POLICY_FIRST_TOUCH, 0, 1, 1, false, STAY, false, HN_REFUSE_ONCE },
	{ "first-touch: after a local one", HN_POLICY_FIRST_TOUCH, 0, 0, 1, false, STAY, false, HN_REFUSE_ONCE },
	{ "first-touch: local", HN_POLICY_FIRST_TOUCH, 1, STAY, 1, false, STAY, true, -1 },
	{ "always: next", HN_POLICY_ALWAYS, 0, STAY, 0, false, 1, false, -1 },
	{ "always: round", HN_POLICY_ALWAYS, 3, STAY, 1, false, 0, false, -1 },
	{ "always: held", HN_POLICY_ALWAYS, 3, STAY, 1, true, STAY, false, HN_REFUSE_HELD },
	{ "always: thread unknown", HN_POLICY_ALWAYS, 3, 3, STAY, false, STAY, false, HN_REFUSE_NO_NODE },
};

static struct fake *with_policy(uint32_t policy, uint32_t seed, uint32_t nodes)
{
	struct hn_params par = fake_params;

	par.policy = policy;
	par.seed = seed;
	par.nr_nodes = nodes;
	return fake_new_with(&fake_geometry, &par);
}

static int ask(struct fake *f, unsigned slot, int thread_nid, bool *local)
{
	struct hn_ruling r;

	hn_policy_misplaced(&f->hn, fake_entry(f, slot), fake_at(slot), thread_nid, 1, hn_now_ms(&f->hn), &r);
	*local = r.local;
	return r.target_nid;
}

static void check_row(const struct row *r)
{
	struct fake *f = with_policy(r->policy, 1, 4);
	struct hn_ruling got;
	struct hn_entry *e;
	bool misplaced;

	fake_manage(f, 0, 1, 0);
	e = fake_entry(f, 0);
	e->nid = (int16_t)r->page_nid;
	if (r->last_nid != STAY)
		e->history = hn_history_push(0, r->last_nid, false);
	if (r->held)
		hn_entry_hold(&f->hn, e, HN_E_NO_MOVE, 1000);
	misplaced = hn_policy_misplaced(&f->hn, e, fake_at(0), r->thread_nid, 1, hn_now_ms(&f->hn), &got);
	if (got.target_nid != r->target || misplaced != (r->target != STAY) || got.local != r->local || (r->refusal >= 0 && (int)got.refusal != r->refusal))
		fail_msg("%s: target %d, local %d, refusal %d", r->what, got.target_nid, got.local, (int)got.refusal);
	fake_finish(f);
}

static void test_table(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i]);
}

/* The kernel's blind spot: there, local samples go unrecorded and two remote ones around them make a move. */
static void test_local_samples_are_recorded(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_sample(f, 0, 0), HN_FAULT_LOCAL);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_LOCAL);
	assert_int_equal(f->stats.samples, 5);
	assert_int_equal(f->stats.sample_from[0], 1);
	assert_int_equal(f->stats.sample_from[1], 4);
}

static void test_unknown_node_resets_the_filter(void **state)
{
	struct fake *f = *state;

	f->thread_nid[9] = HN_NO_NODE;
	fake_manage(f, 0, 1, 0);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_sample(f, 0, 9), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_NO_NODE);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_FILTER);
}

/* The page beside it is somebody else's, by its last sample: one sample is not enough then. */
static void test_neighbours_are_heard(void **state)
{
	struct fake *f = with_policy(HN_POLICY_AUTOMATIC, 1, 4);

	(void)state;
	fake_manage(f, 0, 8, 0);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED); /* nobody has anything to say against it */
	assert_int_equal(fake_sample(f, 1, 1), HN_FAULT_MIGRATED);
	assert_int_equal(fake_sample(f, 2, 2), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_FILTER);
	assert_int_equal(fake_sample(f, 2, 2), HN_FAULT_MIGRATED);
	assert_int_equal(fake_sample(f, 4, 0), HN_FAULT_LOCAL);
	assert_int_equal(fake_sample(f, 6, 3), HN_FAULT_MIGRATED);
	assert_int_equal(fake_sample(f, 5, 1), HN_FAULT_REFUSED); /* the one behind counts as well */
	hn_unmanage(&f->hn, fake_at(6));
	assert_int_equal(fake_sample(f, 7, 2), HN_FAULT_MIGRATED); /* one that is no more does not */
	fake_finish(f);
}

/* All of it was filled on node 0, where nobody uses it: any user is better, as soon as that can be told. */
static void test_nobody_where_it_lies(void **state)
{
	struct fake *f = with_policy(HN_POLICY_AUTOMATIC, 1, 4);

	(void)state;
	fake_manage(f, 0, 16, 0);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(fake_sample(f, 1, 2), HN_FAULT_REFUSED);
	assert_int_equal(fake_sample(f, 2, 1), HN_FAULT_REFUSED); /* two pages around it do not say enough, */
	assert_int_equal(fake_sample(f, 3, 2), HN_FAULT_MIGRATED); /* three do */
	assert_int_equal(fake_verdict.reason, HN_REASON_FIRST);
	assert_int_equal(fake_sample(f, 1, 1), HN_FAULT_MIGRATED); /* and for one whose first sample left a question, too */
	assert_int_equal(fake_verdict.reason, HN_REASON_MAJORITY);
	assert_int_equal(fake_sample(f, 1, 2), HN_FAULT_REFUSED); /* by now somebody is where it is */
	assert_int_equal(fake_sample(f, 1, 1), HN_FAULT_LOCAL);
	assert_int_equal(fake_sample(f, 7, 0), HN_FAULT_LOCAL);
	assert_int_equal(fake_sample(f, 4, 1), HN_FAULT_REFUSED); /* here, somebody uses what lies on node 0: three pages away */
	assert_int_equal(fake_sample(f, 2, 2), HN_FAULT_MIGRATED); /* there, nobody: five */
	fake_finish(f);
}

/* Only the node that is short is no target, and only as long as it is. */
static void test_a_node_short_of_memory_is_no_target(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 2, 0);
	hn_policy_short(&f->hn, (uint64_t)1 << 1);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_ROOM);
	assert_int_equal(fake_sample(f, 1, 2), HN_FAULT_REFUSED);
	assert_int_equal(fake_sample(f, 1, 2), HN_FAULT_MIGRATED);
	hn_policy_short(&f->hn, 0);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
}

/* ---- memory that the program has bound to nodes ---- */

#define WISH HN_USER_WISHES

/* Nodes 1 and 2. `soft`: as the kernel balances what is bound, without bringing anything there. */
static struct fake *bound(uint32_t policy, int nid, bool soft)
{
	struct fake *f = with_policy(policy, 1, 4);
	struct hn_wish wish = { .nodes = 6, .soft = soft };

	fake_manage(f, 0, 2, nid);
	hn_policy_set_wish(&f->hn, WISH, &wish);
	hn_entry_wish(&f->hn, fake_at(0), WISH);
	return f;
}

/* Whatever the policy: among the nodes of the set, and never to another. The second page shows that it does move pages. */
static void test_bound_memory_stays_within(void **state)
{
	static const uint32_t policies[] = { HN_POLICY_AUTOMATIC, HN_POLICY_KERNEL, HN_POLICY_TWO_STAGE, HN_POLICY_FIRST_TOUCH,
					     HN_POLICY_PLUGIN, HN_POLICY_ALWAYS, HN_POLICY_RANDOM };
	unsigned i, n;

	(void)state;
	for (i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct fake *f = bound(policies[i], 1, true);
		uint64_t seen[2] = { 0, 0 };

		for (n = 0; n < 64; n++) {
			/* unlike 0, 1, 2, 3: every one comes twice in a row */
			fake_sample(f, 0, n < 8 ? 3 : n / 2 % 4);
			fake_sample(f, 1, n < 8 ? 3 : n / 2 % 4);
			seen[0] |= (uint64_t)1 << fake_entry(f, 0)->nid;
			seen[1] |= (uint64_t)1 << fake_entry(f, 1)->nid;
		}
		if ((seen[0] & ~(uint64_t)6) || !(seen[1] & 9))
			fail_msg("%s: seen on nodes %x, unbound on %x", hn_policies[policies[i]].name, (unsigned)seen[0],
				 (unsigned)seen[1]);
		fake_finish(f);
	}
}

static void test_bound_memory_is_balanced(void **state)
{
	struct fake *f = bound(HN_POLICY_AUTOMATIC, 1, true);

	(void)state;
	assert_int_equal(fake_sample(f, 0, 3), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_NODES);
	assert_int_equal(fake_entry(f, 0)->open, 0); /* another sample from there would tell nothing new */
	assert_int_equal(fake_sample(f, 0, 2), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_FILTER);
	assert_int_equal(fake_entry(f, 0)->open, 1);
	assert_int_equal(fake_sample(f, 0, 2), HN_FAULT_MIGRATED);
	assert_int_equal(fake_entry(f, 0)->nid, 2);
	fake_finish(f);
}

/* The kernel leaves such a page to a thread outside, and takes it in for one inside; hugenuma_treat() brings it at once. */
static void test_memory_outside_its_nodes(void **state)
{
	struct fake *f = bound(HN_POLICY_AUTOMATIC, 0, true);

	(void)state;
	assert_int_equal(fake_sample(f, 0, 3), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_NODES);
	assert_int_equal(fake_sample(f, 0, 0), HN_FAULT_LOCAL);
	fake_sample(f, 0, 1);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(fake_verdict.reason, HN_REASON_THREAD);
	fake_finish(f);
	f = bound(HN_POLICY_AUTOMATIC, 0, false);
	assert_int_equal(fake_sample(f, 0, 3), HN_FAULT_MIGRATED);
	assert_int_equal(fake_verdict.reason, HN_REASON_BOUND);
	assert_true(fake_entry(f, 0)->nid == 1 || fake_entry(f, 0)->nid == 2);
	fake_finish(f);
}

static void test_bound_and_nodes(void **state)
{
	struct fake *f = bound(HN_POLICY_TWO_STAGE, 1, true);

	(void)state;
	hn_policy_allow(&f->hn, 11);
	fake_sample(f, 0, 2);
	assert_int_equal(fake_sample(f, 0, 2), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_NODES);
	fake_sample(f, 1, 2); /* --nodes alone */
	assert_int_equal(fake_sample(f, 1, 2), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_NODES);
	fake_finish(f);
}

static void test_always_goes_round(void **state)
{
	struct fake *f = with_policy(HN_POLICY_ALWAYS, 1, 3);
	int i;

	(void)state;
	fake_manage(f, 0, 1, 0);
	for (i = 1; i <= 7; i++) {
		assert_int_equal(fake_sample(f, 0, 0), HN_FAULT_MIGRATED);
		assert_int_equal(fake_entry(f, 0)->nid, i % 3);
	}
	fake_finish(f);
}

static void test_alternate_alternates(void **state)
{
	struct fake *f = with_policy(HN_POLICY_ALTERNATE, 1, 2);
	enum hn_outcome last = HN_NR_OUTCOMES;
	int i;

	(void)state;
	fake_manage(f, 0, 1, 0);
	for (i = 0; i < 8; i++) {
		enum hn_outcome out = fake_sample(f, 0, 0);

		assert_true(out == HN_FAULT_MIGRATED || out == HN_FAULT_LOCAL);
		assert_int_not_equal(out, last);
		last = out;
	}
	fake_finish(f);
}

/* One bit per target: what a seed makes of the first 64 generations of 4 pages. */
static uint64_t trace(uint32_t seed, int targets[4])
{
	struct fake *f = with_policy(HN_POLICY_RANDOM, seed, 4);
	uint64_t bits = 0;
	unsigned i, slot;

	fake_manage(f, 0, 4, 0);
	for (i = 0; i < 64; i++)
		for (slot = 0; slot < 4; slot++) {
			bool local;
			int target = ask(f, slot, 0, &local);

			assert_true(local ? target == STAY : target >= 1 && target < 4);
			targets[local ? 0 : target]++;
			bits = bits * 31 + (uint64_t)(target + 1);
			fake_entry(f, slot)->gen++;
		}
	fake_finish(f);
	return bits;
}

static void test_random_is_a_function_of_its_seed(void **state)
{
	int n[4] = { 0 }, i;

	(void)state;
	assert_true(trace(7, n) == trace(7, n));
	assert_true(trace(7, n) != trace(8, n));
	for (i = 0; i < 4; i++) /* 1024 draws: about 256 each */
		assert_in_range(n[i], 180, 340);
}

/* One hint, two threads of different nodes: one verdict to move and one to stay, or no torture would see R1. */
static void test_chaos_disagrees_about_one_hint(void **state)
{
	static const uint32_t policies[] = { HN_POLICY_ALTERNATE, HN_POLICY_RANDOM };
	unsigned i, gen;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct fake *f = with_policy(policies[i], 1, 4);
		unsigned disagree = 0;

		fake_manage(f, 0, 1, 0);
		for (gen = 0; gen < 64; gen++) {
			bool local[2];

			fake_entry(f, 0)->gen = gen;
			ask(f, 0, 0, &local[0]);
			ask(f, 0, 1, &local[1]);
			disagree += local[0] != local[1];
		}
		assert_true(disagree >= 10);
		fake_finish(f);
	}
}

static void test_one_node_never_moves(void **state)
{
	uint32_t policy;

	(void)state;
	for (policy = 0; policy < HN_NR_POLICIES; policy++) {
		struct fake *f = with_policy(policy, 1, 1);
		int i;

		fake_manage(f, 0, 1, 0);
		for (i = 0; i < 6; i++)
			assert_int_equal(fake_sample(f, 0, 0), HN_FAULT_LOCAL);
		fake_finish(f);
	}
}

static void test_observe_never_moves(void **state)
{
	struct fake *f = with_policy(HN_POLICY_OBSERVE, 1, 4);
	int i;

	(void)state;
	fake_manage(f, 0, 1, 0);
	for (i = 0; i < 6; i++)
		assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(f->stats.refused[HN_REFUSE_OBSERVE], 6);
	assert_int_equal(f->script[FAKE_TARGET_GET].calls, 0);
	fake_finish(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		fake_test(test_local_samples_are_recorded),
		fake_test(test_unknown_node_resets_the_filter),
		fake_test(test_a_node_short_of_memory_is_no_target),
		cmocka_unit_test(test_bound_memory_stays_within),
		cmocka_unit_test(test_bound_memory_is_balanced),
		cmocka_unit_test(test_memory_outside_its_nodes),
		cmocka_unit_test(test_bound_and_nodes),
		cmocka_unit_test(test_neighbours_are_heard),
		cmocka_unit_test(test_nobody_where_it_lies),
		cmocka_unit_test(test_always_goes_round),
		cmocka_unit_test(test_alternate_alternates),
		cmocka_unit_test(test_random_is_a_function_of_its_seed),
		cmocka_unit_test(test_chaos_disagrees_about_one_hint),
		cmocka_unit_test(test_one_node_never_moves),
		cmocka_unit_test(test_observe_never_moves),
	};

	return fake_run(tests);
}
