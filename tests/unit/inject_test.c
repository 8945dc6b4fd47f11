// SPDX-License-Identifier: MIT
/*
 * Failure injection: one scripted life of a program, again and again, with the n-th call of each op failing in each way
 * its contract allows, for every n. Contents must be right at every access and the books balanced at the end.
 */
#include "fake.h"

#include <errno.h>

static uint32_t policy;

static void expire(struct fake *f)
{
	fake_ms(f, FAKE_EXPIRY_MS);
	hn_scan_expire(&f->hn);
}

/* While a page is copied: another thread faults on it, and half of the time the program drops something. */
static void meanwhile(struct fake *f)
{
	struct hn_verdict v;
	unsigned slot;

	for (slot = 0; slot < 12; slot++)
		if (hn_state_of(&f->hn, fake_at(slot)) == HN_ARMED &&
		    hn_pages(&f->hn)[fake_entry(f, slot)->page].lock.v != 0) {
			assert_int_equal(hn_fault(&f->hn, fake_at(slot), 3, f->now_ns, &v), HN_FAULT_WAITED);
			if (f->in_copy_nr % 2 == 0)
				fake_dontneed(f, fake_cell_at(slot, f->in_copy_nr % 8), FAKE_CELL);
		}
}

static void touch_all(struct fake *f, uint32_t tid)
{
	unsigned i;

	for (i = tid % 3; i < 40 * FAKE_CELLS; i += 3) {
		hn_addr at = FAKE_BASE + i * FAKE_CELL;

		if (!f->cell[i].mapped)
			continue;
		assert_true(i % 2 ? fake_read(f, at, tid) : fake_write(f, at, tid));
	}
}

static void round_of_hints(struct fake *f, uint32_t tid)
{
	fake_ms(f, FAKE_QUARANTINE_MS);
	hn_scan_pass(&f->hn, 6);
	hn_scan_pass(&f->hn, 6);
	touch_all(f, tid);
}

static void life(struct fake *f)
{
	unsigned i;

	f->in_copy = meanwhile;
	fake_manage(f, 0, 12, 0);
	for (i = 0; i < 3; i++)
		round_of_hints(f, 1);
	hn_scan_pass(&f->hn, 12);
	fake_mremap(f, fake_at(2), fake_at(20), 2 * HN_PAGE_SIZE);
	fake_mremap(f, fake_cell_at(5, 2), fake_cell_at(26, 5), HN_PAGE_SIZE);
	fake_dontneed(f, fake_cell_at(7, 4), HN_PAGE_SIZE);
	fake_munmap(f, fake_cell_at(9, 6), 4 * FAKE_CELL);
	touch_all(f, 2);
	for (i = 0; i < 2; i++)
		round_of_hints(f, 2);
	hn_scan_pass(&f->hn, 12);
	f->event_pending = true; /* read by the first that is put off */
	fake_write(f, fake_at(0), 1);
	expire(f);
	fake_munmap(f, fake_at(0), 2 * HN_PAGE_SIZE);
	fake_ms(f, FAKE_QUARANTINE_MS);
	hn_gate_write_lock(&f->hn);
	hn_reclaim(&f->hn);
	hn_gate_write_unlock(&f->hn);
	round_of_hints(f, 0);
	hn_scan_pass(&f->hn, 12);
	hn_drain(&f->hn, fake_at(4), fake_at(30));
	touch_all(f, 3);
}

static struct fake *start(void)
{
	struct hn_params par = fake_params;

	par.policy = policy;
	return fake_new_with(&fake_geometry, &par);
}

static const struct {
	enum fake_op op;
	int err;
	unsigned part;
} ways[] = {
	{ FAKE_ARM, HN_ARM_BUSY, 0 },     { FAKE_ARM, HN_ARM_BUSY, 2 },    { FAKE_ARM, HN_ARM_INVALID, 1 },
	{ FAKE_ARM, HN_ARM_ABSENT, 0 },   { FAKE_ARM, HN_ARM_EVENT, 3 },   { FAKE_ARM, HN_ARM_OTHER, 1 },
	{ FAKE_DISARM, -EAGAIN, 0 },      { FAKE_TARGET_GET, -ENOMEM, 0 }, { FAKE_COPY, -EIO, 0 },
	{ FAKE_COPY, -EAGAIN, 0 },        { FAKE_COMMIT, -EAGAIN, 0 },     { FAKE_COMMIT, -EEXIST, 0 },
	{ FAKE_COMMIT, -ENOMEM, 0 },      { FAKE_COMMIT, -EINVAL, 0 },
	{ FAKE_COPY_IN, -EAGAIN, 0 },     { FAKE_HOLE_GET, -ENOMEM, 0 },   { FAKE_HOLE_FILL, -EAGAIN, 0 },
};

#define NR_WAYS (sizeof(ways) / sizeof(ways[0]))

/* nr calls in a row fail from the n-th on; together with another op's, when `also` is one. */
static void one_life(unsigned way, unsigned n, unsigned nr, int also)
{
	struct fake *f = start();

	f->script[ways[way].op] = (struct fake_script){
		.fail_at = n, .fail_nr = nr, .err = ways[way].err, .part = ways[way].part,
	};
	if (also >= 0)
		f->script[also] = (struct fake_script){ .fail_at = 1, .fail_nr = 5, .err = -EAGAIN };
	life(f);
	fake_finish(f);
}

static void sweep(unsigned nr, int also)
{
	for (policy = 0; policy < HN_NR_POLICIES; policy++) {
		struct fake *f = start();
		unsigned calls[FAKE_NR_OPS], way, n;

		life(f);
		assert_true(f->stats.samples > 20 && f->stats.deferred > 0);
		assert_true(policy == HN_POLICY_OBSERVE || (f->stats.migrated > 0 && f->stats.raced > 0));
		for (n = 0; n < FAKE_NR_OPS; n++)
			calls[n] = f->script[n].calls;
		fake_finish(f);
		for (way = 0; way < NR_WAYS; way++)
			for (n = 1; n <= calls[ways[way].op] + 2; n++)
				if ((int)ways[way].op != also)
					one_life(way, n, nr, also);
	}
}

static void test_each_call_fails_once(void **state)
{
	(void)state;
	sweep(1, -1);
}

static void test_calls_fail_in_a_row(void **state)
{
	(void)state;
	sweep(4, -1);
}

static void test_putback_is_put_off_too(void **state)
{
	(void)state;
	sweep(2, FAKE_DISARM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_call_fails_once),
		cmocka_unit_test(test_calls_fail_in_a_row),
		cmocka_unit_test(test_putback_is_put_off_too),
	};

	return fake_run(tests);
}
