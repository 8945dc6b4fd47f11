// SPDX-License-Identifier: MIT
/* The hinting-fault path: every outcome, what it leaves behind, and what it counts. */
#include "core/history.h"
#include "fake.h"

#include <errno.h>
#include <string.h>

/* Counters before the call under test; afterwards exactly the named ones may differ. */
static struct hn_stats before;

static void note(struct fake *f) { before = f->stats; }

/* One more message; `accounted` hints ended by a fault. */
static void expect_counted(struct fake *f, const uint64_t *outcome, unsigned accounted)
{
	const struct hn_stats *s = &f->stats;
	ptrdiff_t offset = (const char *)outcome - (const char *)s;
	const uint64_t *was = (const uint64_t *)(const void *)((const char *)&before + offset);

	assert_int_equal(*outcome, *was + 1);
	assert_int_equal(s->messages, before.messages + 1);
	assert_int_equal(s->samples, before.samples + accounted);
	assert_int_equal(s->disarmed[HN_DISARM_FAULT], before.disarmed[HN_DISARM_FAULT] + accounted);
	assert_int_equal(s->fault_service_ns.count, before.fault_service_ns.count + accounted);
	/* The outcome is counted once and under one name only. */
	assert_int_equal(s->local + s->raced + s->migrated + s->stale + s->waited + s->deferred + s->unmanaged +
				 s->refused[0] + s->refused[1] + s->refused[2] + s->refused[3] + s->failed[0] +
				 s->failed[1] + s->failed[2] + s->failed[3] + s->failed[4],
			 s->messages);
}

static void expect_mapped(struct fake *f, unsigned slot, int nid)
{
	const struct hn_entry *e = fake_entry(f, slot);

	assert_int_equal(e->state, HN_MAPPED);
	assert_int_equal(e->nid, nid);
	assert_int_equal(f->nid[slot], nid);
	assert_false(fake_sleeps(f, fake_cell_at(slot, 3)));
	fake_check(f);
}

/* Armed, a thread asleep, and the record such that a fault of thread `tid` is the second in a row from its node. */
static uint32_t ready(struct fake *f, unsigned slot, uint32_t tid)
{
	uint32_t page = fake_arm(f, slot);

	fake_entry(f, slot)->history = hn_history_push(0, (int16_t)f->thread_nid[tid], false);
	fake_sleep(f, fake_cell_at(slot, 3));
	note(f);
	return page;
}

static void test_unmanaged(void **state)
{
	struct fake *f = *state;

	note(f);
	assert_int_equal(fake_fault(f, 40, 1), HN_FAULT_UNMANAGED); /* no chunk */
	expect_counted(f, &f->stats.unmanaged, 0);
	fake_manage(f, 0, 1, 0);
	note(f);
	assert_int_equal(fake_fault(f, 1, 1), HN_FAULT_UNMANAGED); /* no entry in the chunk */
	expect_counted(f, &f->stats.unmanaged, 0);
	assert_int_equal(fake_verdict.target_nid, HN_NO_NODE);
}

static void test_stale(void **state)
{
	struct fake *f = *state;
	uint32_t gen;

	fake_manage(f, 0, 1, 0);
	gen = fake_entry(f, 0)->gen;
	fake_sleep(f, fake_cell_at(0, 7));
	note(f);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_STALE);
	expect_counted(f, &f->stats.stale, 0);
	assert_false(fake_sleeps(f, fake_cell_at(0, 7)));
	assert_int_equal(fake_entry(f, 0)->gen, gen);
	assert_int_equal(hn_history_node(fake_entry(f, 0)->history, 0), HN_NO_NODE); /* no sample */
}

/* Several messages for one hint: one is charged, the rest are stale (R2). */
static void test_one_sample_per_hint(void **state)
{
	struct fake *f = *state;
	uint32_t tid;

	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_REFUSED);
	for (tid = 1; tid < 6; tid++)
		assert_int_equal(fake_fault(f, 0, tid), HN_FAULT_STALE);
	assert_int_equal(f->stats.samples, 1);
	assert_int_equal(fake_entry(f, 0)->last_tid, 1);
}

/* Stale again and again: the page is not where we think, so the backend has to look. */
static void test_stale_limit(void **state)
{
	struct fake *f = *state;
	unsigned i, unmanaged = 0;

	fake_manage(f, 0, 1, 0);
	for (i = 0; i < 30; i++)
		unmanaged += fake_fault(f, 0, 1) == HN_FAULT_UNMANAGED;
	assert_in_range(unmanaged, 2, 5);
	assert_int_equal(f->stats.stale + f->stats.unmanaged, 30);
	fake_sample(f, 0, 1);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_STALE); /* counts from the last arm */
}

static void test_local(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 1);
	ready(f, 0, 1);
	fake_entry(f, 0)->fails = 5; /* days ago */
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_LOCAL);
	assert_int_equal(fake_entry(f, 0)->fails, 0);
	expect_counted(f, &f->stats.local, 1);
	expect_mapped(f, 0, 1);
	assert_int_equal(fake_verdict.from_nid, 1);
	assert_int_equal(fake_verdict.thread_nid, 1);
	assert_int_equal(fake_verdict.target_nid, HN_NO_NODE);
	assert_int_equal(f->stats.sample_from[1], before.sample_from[1] + 1);
	assert_int_equal(f->discards, 0);
}

static void test_refused_filter(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 2);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_FILTER);
	expect_counted(f, &f->stats.refused[HN_REFUSE_FILTER], 1);
	expect_mapped(f, 0, 0);
	assert_int_equal(hn_history_node(fake_entry(f, 0)->history, 0), 1);
	assert_int_equal(fake_entry(f, 0)->last_tid, 1);
}

static void test_refused_no_node(void **state)
{
	struct fake *f = *state;

	f->thread_nid[5] = HN_NO_NODE;
	fake_manage(f, 0, 1, 0);
	ready(f, 0, 5);
	assert_int_equal(fake_fault(f, 0, 5), HN_FAULT_REFUSED);
	expect_counted(f, &f->stats.refused[HN_REFUSE_NO_NODE], 1);
	expect_mapped(f, 0, 0);
}

static void test_refused_held(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	hn_entry_hold(&f->hn, fake_entry(f, 0), HN_E_NO_MOVE, 1000);
	ready(f, 0, 1);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_REFUSED);
	expect_counted(f, &f->stats.refused[HN_REFUSE_HELD], 1);
	expect_mapped(f, 0, 0);
}

static void test_refused_observe(void **state)
{
	struct hn_params par = fake_params;
	struct fake *f;

	(void)state;
	par.policy = HN_POLICY_OBSERVE;
	f = fake_new_with(&fake_geometry, &par);
	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_REFUSED);
	expect_counted(f, &f->stats.refused[HN_REFUSE_OBSERVE], 1);
	expect_mapped(f, 0, 0);
	fake_finish(f);
}

static void test_migrated(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = ready(f, 0, 1);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_MIGRATED);
	expect_counted(f, &f->stats.migrated, 1);
	assert_int_equal(f->stats.migrated_to[1], 1);
	assert_int_equal(f->stats.migration_stall_ns.count, 1);
	expect_mapped(f, 0, 1);
	assert_int_equal(fake_verdict.from_nid, 0);
	assert_int_equal(fake_verdict.target_nid, 1);
	assert_int_equal(f->discards, 1); /* the old frame */
	assert_int_equal(hn_pages(&f->hn)[page].refs.v, 0);
	assert_true(fake_write(f, fake_at(0), 1));
}

/* ---- each op fails ---- */

static void one_failure(struct fake *f, enum fake_op op, int err, enum hn_failure why)
{
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = ready(f, 0, 1);
	fake_fail(f, op, 1, err);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_FAILED);
	assert_int_equal(fake_verdict.failure, why);
	expect_counted(f, &f->stats.failed[why], 1);
	expect_mapped(f, 0, 0);
	assert_int_equal(f->discards, 0);
	assert_int_equal(hn_pages(&f->hn)[page].refs.v, 0);
	assert_true(hn_entry_held(fake_entry(f, 0), HN_E_NO_MOVE, hn_now_ms(&f->hn)));
	/* Left alone for a while, then tried again. */
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_HELD);
	fake_ms(f, 1000);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	assert_false(hn_entry_held(fake_entry(f, 0), HN_E_NO_MOVE, hn_now_ms(&f->hn)));
	fake_finish(f);
}

static void test_failed(void **state)
{
	static const struct { enum fake_op op; int err; enum hn_failure why; } one[] = {
		{ FAKE_TARGET_GET, -ENOMEM, HN_FAIL_TARGET }, { FAKE_TARGET_GET, -EIO, HN_FAIL_TARGET },
		{ FAKE_COPY, -EIO, HN_FAIL_COPY }, { FAKE_COPY, -ENOMEM, HN_FAIL_COPY },
		{ FAKE_COPY, -EAGAIN, HN_FAIL_COPY }, { FAKE_COPY, -ETIME, HN_FAIL_STALL }, { FAKE_COMMIT, -EEXIST, HN_FAIL_COMMIT },
		{ FAKE_COMMIT, -EINVAL, HN_FAIL_COMMIT }, { FAKE_COMMIT, -ENOMEM, HN_FAIL_COMMIT },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(one) / sizeof(one[0]); i++) {
		one_failure(fake_new(), one[i].op, one[i].err, one[i].why);
		one_failure(fake_new_rwp(), one[i].op, one[i].err, one[i].why);
	}
	one_failure(fake_new_rwp(), FAKE_ISOLATE, -EBUSY, HN_FAIL_ISOLATE);
	one_failure(fake_new_rwp(), FAKE_ISOLATE, -EINVAL, HN_FAIL_ISOLATE);
	one_failure(fake_new_rwp(), FAKE_ISOLATE, -EAGAIN, HN_FAIL_ISOLATE); /* and put-backs are let through again */
}

static void test_no_target_left(void **state)
{
	struct fake *f = *state;
	uint32_t t;

	fake_manage(f, 0, 1, 0);
	while (f->hn.ops->target_get(f, 1, &t) == 0)
		;
	ready(f, 0, 1);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_FAILED);
	assert_int_equal(fake_verdict.failure, HN_FAIL_TARGET);
	while (f->targets_out)
		f->hn.ops->target_put(f, f->targets_out - 1);
}

/* ---- an event is pending: nothing changes, and whoever is told must wake the range ---- */

static void expect_deferred(struct fake *f, uint32_t page)
{
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_DEFERRED);
	expect_counted(f, &f->stats.deferred, 0);
	assert_int_equal(fake_entry(f, 0)->state, HN_ARMED);
	assert_int_equal(fake_entry(f, 0)->page, page);
	assert_true(fake_sleeps(f, fake_cell_at(0, 3)));
	f->hn.ops->wake(f, fake_at(0), HN_PAGE_SIZE);
	f->event_pending = false;
	fake_check(f);
	assert_true(fake_write(f, fake_at(0), 1));
}

static void test_deferred_at_stay(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 1);
	page = ready(f, 0, 1);
	f->event_pending = true;
	expect_deferred(f, page);
}

/* Nothing is copied that could not be put back: faults are read before events, and the same one would come again. */
static void test_deferred_before_the_copy(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = ready(f, 0, 1);
	f->event_pending = true;
	expect_deferred(f, page);
	assert_int_equal(f->script[FAKE_COPY].calls, 1); /* of the second try */
	assert_int_equal(f->script[FAKE_TARGET_GET].calls, 1);
	assert_int_equal(fake_entry(f, 0)->nid, 1);
}

static void event_comes(struct fake *f)
{
	f->event_pending = f->in_copy_nr == 1;
}

static void test_deferred_at_commit(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = ready(f, 0, 1);
	f->in_copy = event_comes;
	expect_deferred(f, page);
	assert_int_equal(f->script[FAKE_COPY].calls, 2);
	assert_int_equal(fake_entry(f, 0)->nid, 1); /* the second try moved it */
}

static void test_deferred_at_putback(void **state)
{
	static const enum fake_op first[] = { FAKE_TARGET_GET, FAKE_COPY, FAKE_COMMIT };
	unsigned i;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct fake *f = fake_new();
		uint32_t page;

		fake_manage(f, 0, 1, 0);
		page = ready(f, 0, 1);
		fake_fail(f, first[i], 1, -EIO);
		fake_fail(f, FAKE_DISARM, 1, -EAGAIN);
		expect_deferred(f, page);
		assert_false(fake_entry(f, 0)->flags & HN_E_NO_MOVE); /* the failure was not charged */
		assert_int_equal(f->stats.failed[0] + f->stats.failed[1] + f->stats.failed[2], 0);
		fake_finish(f);
	}
}

/* ---- another handler meets the page lock ---- */

static void second_fault(struct fake *f)
{
	struct hn_verdict v;
	uint32_t tid;

	/* On the page's own node, on the migration's, on a third: placement is not even asked (R1). */
	for (tid = 0; tid < 3; tid++) {
		fake_sleep(f, fake_cell_at(0, tid));
		assert_int_equal(hn_fault(&f->hn, fake_cell_at(0, tid), tid, f->now_ns, &v), HN_FAULT_WAITED);
		assert_int_equal(v.target_nid, HN_NO_NODE);
		assert_true(fake_sleeps(f, fake_cell_at(0, tid))); /* until the winner maps the page */
	}
	assert_int_equal(hn_drain(&f->hn, fake_at(1), fake_at(2)), 0);
}

static void expect_waited(struct fake *f, unsigned nr)
{
	assert_int_equal(f->stats.waited, nr);
	assert_int_equal(f->stats.samples, 1);
	assert_false(fake_sleeps(f, fake_cell_at(0, 0)));
	assert_false(fake_sleeps(f, fake_cell_at(0, 1)));
	assert_false(fake_sleeps(f, fake_cell_at(0, 2)));
	fake_check(f);
}

static void test_waited(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	f->in_copy = second_fault;
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(f->in_copy_nr, 1);
	expect_waited(f, 3);
}

/* The winner fails: those who waited are woken by the put-back all the same. */
static void test_waited_for_a_failure(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	f->in_copy = second_fault;
	fake_fail(f, FAKE_COMMIT, 1, -ENOMEM);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_FAILED);
	expect_waited(f, 3);
}

/* ---- the entry changes under the copy; event_test.c has the rest ---- */

static void drop_part(struct fake *f)
{
	second_fault(f);
	fake_dontneed(f, fake_cell_at(0, 1), FAKE_CELL); /* a cell the copy has read already */
	fake_dontneed(f, fake_cell_at(0, 6), FAKE_CELL); /* and one that is still to come */
}

static void test_raced(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	f->in_copy = drop_part;
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_RACED);
	expect_waited(f, 3);
	assert_int_equal(f->stats.raced, 1);
	assert_int_equal(f->stats.migrated, 0);
	assert_int_equal(f->zeroes, 2);
	expect_mapped(f, 0, 0);
	assert_true(fake_read(f, fake_cell_at(0, 1), 0));
}

static void test_raced_and_failed(void **state)
{
	static const struct { enum fake_op op; int err; } fails[] = { { FAKE_COPY, -EIO }, { FAKE_COMMIT, -EIO } };
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct fake *f = fake_new();

		fake_manage(f, 0, 1, 0);
		ready(f, 0, 1);
		f->in_copy = drop_part;
		fake_fail(f, fails[i].op, 1, fails[i].err);
		assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_RACED);
		expect_waited(f, 3);
		fake_finish(f);
	}
}

static void test_raced_and_deferred(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	f->in_copy = drop_part;
	fake_fail(f, FAKE_DISARM, 1, -EAGAIN);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_DEFERRED);
	assert_int_equal(fake_entry(f, 0)->state, HN_ARMED);
	f->hn.ops->wake(f, fake_at(0), HN_PAGE_SIZE); /* as the caller has to */
	fake_check(f);
	assert_true(fake_read(f, fake_cell_at(0, 1), 0));
}

/* ---- armed in its place, isolated only to migrate ---- */

static void test_isolated_only_to_migrate(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	assert_int_equal(fake_fault(f, 0, 0), HN_FAULT_LOCAL);
	assert_int_equal(f->script[FAKE_ISOLATE].calls, 0);
	expect_mapped(f, 0, 0);
	ready(f, 0, 1);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(f->script[FAKE_ISOLATE].calls, 1);
	assert_int_equal(f->discards, 1);
	expect_mapped(f, 0, 1);
	assert_true(fake_write(f, fake_at(0), 1));
	assert_int_equal(f->stats.messages, 2);
}

static void test_isolate_without_target(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	fake_fail(f, FAKE_TARGET_GET, 1, -ENOMEM);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_FAILED);
	assert_int_equal(f->script[FAKE_ISOLATE].calls, 0);
	expect_mapped(f, 0, 0);
}

static void an_event_begins(struct fake *f) { f->event_pending = f->script[FAKE_TARGET_GET].calls == 1; }

/* Neither isolate nor a put-back can be had: the page stays armed in its place. */
static void test_isolate_deferred(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = ready(f, 0, 1);
	f->in_target_get = an_event_begins;
	expect_deferred(f, page);
	assert_int_equal(f->script[FAKE_ISOLATE].calls, 2);
	assert_int_equal(f->script[FAKE_COPY].calls, 1);
	assert_int_equal(fake_entry(f, 0)->nid, 1);
}

static void dropped(struct fake *f) { fake_dontneed(f, fake_at(0), HN_PAGE_SIZE); }
static void dropped_in_part(struct fake *f) { fake_dontneed(f, fake_cell_at(0, 2), FAKE_CELL); }
static void unmapped(struct fake *f) { fake_munmap(f, fake_at(0), HN_PAGE_SIZE); }
static void unmapped_in_part(struct fake *f) { fake_munmap(f, fake_at(0), FAKE_CELL); }
static void moved(struct fake *f) { fake_mremap(f, fake_at(0), fake_at(20), HN_PAGE_SIZE); }
static void moved_askew(struct fake *f) { fake_mremap(f, fake_at(0), fake_cell_at(20, 1), HN_PAGE_SIZE); }

/* What the program does between the decision and the isolation: nothing is taken out of it any more. */
static void test_isolate_raced(void **state)
{
	static void (*const what[])(struct fake *) = {
		dropped, dropped_in_part, unmapped, unmapped_in_part, moved, moved_askew,
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		struct fake *f = fake_new_rwp();

		fake_manage(f, 0, 1, 0);
		ready(f, 0, 1);
		f->in_target_get = what[i];
		assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_STALE);
		assert_int_equal(f->script[FAKE_ISOLATE].calls, 0);
		assert_int_equal(f->stats.samples, 0);
		assert_int_equal(f->targets_out, 0);
		fake_resolve(f);
		fake_check(f);
		fake_finish(f);
	}
}

/* The causer of a MADV_DONTNEED that was read may not have dropped anything yet. */
static void test_isolate_in_quarantine(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	hn_entry_hold(&f->hn, fake_entry(f, 0), HN_E_NO_ARM, FAKE_QUARANTINE_MS);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_FAILED);
	assert_int_equal(fake_verdict.failure, HN_FAIL_ISOLATE);
	assert_int_equal(f->script[FAKE_ISOLATE].calls, 0);
	expect_mapped(f, 0, 0);
}

/* In its place the kernel drops the part, and the page is no whole page any more. In staging it is zeroed. */
static void test_part_dropped_in_place(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	fake_dontneed(f, fake_cell_at(0, 2), FAKE_CELL);
	assert_int_equal(f->zeroes, 0);
	assert_int_equal(fake_entry(f, 0)->state, HN_UNMANAGED);
	assert_true(fake_write(f, fake_cell_at(0, 2), 0));
	assert_true(fake_read(f, fake_cell_at(0, 3), 0));
	assert_int_equal(f->stats.stale, 0);
	fake_manage(f, 1, 1, 0);
	fake_entry(f, 1)->history = hn_history_push(0, 1, false);
	fake_arm(f, 1);
	fake_entry(f, 1)->history = hn_history_push(0, 1, false);
	fake_fail(f, FAKE_COMMIT, 1, -EAGAIN);
	assert_int_equal(fake_fault(f, 1, 1), HN_FAULT_DEFERRED);
	fake_dontneed(f, fake_cell_at(1, 2), FAKE_CELL);
	assert_int_equal(f->zeroes, 1);
	assert_int_equal(fake_entry(f, 1)->state, HN_ARMED);
}

/* The new page is in and cannot be made accessible: one fault more, not one for each that may be stale. */
static void test_commit_protected(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	ready(f, 0, 1);
	fake_fail(f, FAKE_UNPROTECT, 1, -EAGAIN);
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_MIGRATED);
	expect_counted(f, &f->stats.migrated, 1);
	assert_true(f->cell[3].guarded);
	expect_mapped(f, 0, 1);
	fake_fail(f, FAKE_HOLE_FILL, 1, -EAGAIN); /* and not nine more when nobody could look */
	assert_true(fake_write(f, fake_cell_at(0, 3), 1));
	assert_int_equal(f->stats.unmanaged, 2);
	assert_int_equal(f->stats.stale, 0);
	assert_true(fake_read(f, fake_cell_at(0, 5), 1));
	assert_int_equal(f->stats.messages, 3);
}

/* A put-back that gets no further than its first step leaves the page armed, as if it had never been isolated. */
static void test_putback_protected(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = ready(f, 0, 1);
	fake_fail(f, FAKE_COPY, 1, -EIO);
	fake_fail(f, FAKE_UNPROTECT, 1, -EAGAIN);
	expect_deferred(f, page);
	assert_int_equal(f->script[FAKE_ISOLATE].calls, 2);
	assert_int_equal(fake_entry(f, 0)->nid, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fake_test(test_unmanaged),
		fake_test(test_stale),
		fake_test(test_one_sample_per_hint),
		fake_test(test_stale_limit),
		fake_test(test_local),
		fake_test(test_refused_filter),
		fake_test(test_refused_no_node),
		fake_test(test_refused_held),
		cmocka_unit_test(test_refused_observe),
		fake_test(test_migrated),
		cmocka_unit_test(test_failed),
		fake_test(test_no_target_left),
		fake_test(test_deferred_at_stay),
		fake_test(test_deferred_before_the_copy),
		fake_test(test_deferred_at_commit),
		cmocka_unit_test(test_deferred_at_putback),
		fake_test(test_waited),
		fake_test(test_waited_for_a_failure),
		fake_test(test_raced),
		cmocka_unit_test(test_raced_and_failed),
		fake_test(test_raced_and_deferred),
		fake_test_rwp(test_isolated_only_to_migrate),
		fake_test_rwp(test_isolate_without_target),
		fake_test_rwp(test_isolate_deferred),
		cmocka_unit_test(test_isolate_raced),
		fake_test_rwp(test_isolate_in_quarantine),
		fake_test_rwp(test_part_dropped_in_place),
		fake_test_rwp(test_commit_protected),
		fake_test_rwp(test_putback_protected),
	};

	return fake_run(tests);
}
