// SPDX-License-Identifier: MIT
/* The entry table: chunks and their reuse, what is managed, holds and quarantines. */
#include "core/history.h"
#include "fake.h"

#include <stdlib.h>
#include <string.h>

static void test_init_refuses_nonsense(void **state)
{
	static const struct hn_geometry bad_geo[] = {
		{ .nr_chunks = 0, .chunk_shift = 3, .nr_pages = 16 },
		{ .nr_chunks = (1u << 22) + 1, .chunk_shift = 3, .nr_pages = 16 },
		{ .nr_chunks = 4, .chunk_shift = 10, .nr_pages = 16 },
		{ .nr_chunks = 4, .chunk_shift = 3, .nr_pages = 0 },
		{ .nr_chunks = 4, .chunk_shift = 3, .nr_pages = (1u << 20) + 1 },
		{ .nr_chunks = 4, .chunk_shift = 3, .nr_pages = 16, .nr_threads = 8 },
		{ .nr_chunks = 4, .chunk_shift = 3, .nr_pages = 16, .nr_threads = (1u << 16) + 16 },
		{ .nr_chunks = 4, .chunk_shift = 3, .nr_pages = 16, .nr_parts = 16 * 512 + 1 },
	};
	static const struct hn_params bad_par[] = {
		{ .nr_nodes = 0 },
		{ .nr_nodes = HN_MAX_NODES + 1 },
		{ .nr_nodes = 1, .policy = HN_NR_POLICIES },
	};
	struct hn_core *c = calloc(1, hn_core_bytes(&fake_geometry));
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(bad_geo) / sizeof(bad_geo[0]); i++)
		assert_int_equal(hn_core_init(c, &bad_geo[i], &fake_params), HN_EINVAL);
	for (i = 0; i < sizeof(bad_par) / sizeof(bad_par[0]); i++)
		assert_int_equal(hn_core_init(c, &fake_geometry, &bad_par[i]), HN_EINVAL);
	assert_int_equal(hn_core_init(c, &fake_geometry, &fake_params), 0);
	free(c);
}

static void test_block_is_within_budget(void **state)
{
	/* The table of parts is address space: what of it is touched is a page or two. */
	const struct hn_geometry big = { .nr_chunks = 4096, .chunk_shift = 6, .nr_pages = 512, .nr_parts = 128 };
	const struct hn_geometry small = { .nr_chunks = 4096, .chunk_shift = 6, .nr_pages = 512, .nr_parts = 128, .nr_threads = 1024 };
	const struct hn_geometry no_threads = { .nr_chunks = 4096, .chunk_shift = 6, .nr_pages = 512, .nr_parts = 128 };

	(void)state;
	/* DESIGN.md section 6: at most 64 bytes per managed huge page. */
	assert_true(hn_core_bytes(&big) <= 64u * (4096u << 6));
	/* And what does not depend on the memory there is: a thousand threads take less than a MiB of the 4 that it may be. */
	assert_true(hn_core_bytes(&small) - hn_core_bytes(&no_threads) < 1u << 20);
}

/* All references in the block are indices: a copy of it elsewhere means the same. */
static void test_block_can_be_copied(void **state)
{
	struct fake *f = *state;
	size_t bytes = hn_core_bytes(&f->hn.core->geo);
	struct hn_core *was = f->hn.core;
	uint32_t page;

	fake_manage(f, 2, 2, 1);
	page = fake_arm(f, 2);
	f->hn.core = malloc(bytes);
	memcpy(f->hn.core, was, bytes);
	memset(was, 0xa5, bytes);
	free(was);
	assert_int_equal(hn_state_of(&f->hn, fake_at(2)), HN_ARMED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(3)), HN_MAPPED);
	assert_int_equal(fake_entry(f, 2)->page, page);
	assert_true(fake_write(f, fake_at(2), 1));
}

static void test_manage_and_unmanage(void **state)
{
	struct fake *f = *state;

	assert_int_equal(hn_state_of(&f->hn, fake_at(5)), HN_UNMANAGED);
	fake_manage(f, 5, 1, 2);
	assert_int_equal(hn_state_of(&f->hn, fake_at(5)), HN_MAPPED);
	assert_int_equal(fake_entry(f, 5)->nid, 2);
	assert_int_equal(fake_entry(f, 5)->history, 0);
	assert_int_equal(hn_manage(&f->hn, fake_at(5), 3), 0);
	assert_int_equal(fake_entry(f, 5)->nid, 2); /* nothing changes */
	assert_int_equal(f->stats.managed_pages, 1);
	fake_manage(f, 6, 2, 0);
	hn_unmanage(&f->hn, fake_at(6));
	hn_unmanage(&f->hn, fake_at(6));
	hn_unmanage(&f->hn, fake_at(40)); /* never heard of */
	assert_int_equal(f->stats.managed_pages, 2);
	assert_int_equal(f->stats.managed_peak_pages, 3);
	assert_int_equal(hn_state_of(&f->hn, fake_at(6)), HN_UNMANAGED);
}

static void test_unmanage_leaves_armed(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	hn_unmanage(&f->hn, fake_at(0));
	assert_int_equal(hn_state_of(&f->hn, fake_at(0)), HN_ARMED);
}

static void test_generation_changes_with_every_transition(void **state)
{
	struct fake *f = *state;
	uint32_t gen;

	fake_manage(f, 0, 1, 0);
	gen = fake_entry(f, 0)->gen;
	fake_arm(f, 0);
	assert_int_not_equal(fake_entry(f, 0)->gen, gen);
	gen = fake_entry(f, 0)->gen;
	fake_dontneed(f, fake_cell_at(0, 1), FAKE_CELL);
	assert_int_not_equal(fake_entry(f, 0)->gen, gen);
	gen = fake_entry(f, 0)->gen;
	assert_int_equal(fake_fault(f, 0, 0), HN_FAULT_LOCAL);
	assert_int_not_equal(fake_entry(f, 0)->gen, gen);
	gen = fake_entry(f, 0)->gen;
	hn_unmanage(&f->hn, fake_at(0));
	assert_int_not_equal(fake_entry(f, 0)->gen, gen);
}

static void test_chunks_run_out_and_come_back(void **state)
{
	struct fake *f = *state; /* 4 chunks of 8 */
	unsigned i;

	for (i = 0; i < 4; i++)
		fake_manage(f, 8 * i + 3, 1, 0);
	fake_map(f, 40, 1, 0);
	assert_int_equal(hn_manage(&f->hn, fake_at(40), 0), HN_ENOSPC);
	assert_int_equal(hn_manage(&f->hn, fake_at(12), 0), 0); /* same chunk as 11 */
	fake_map(f, 12, 1, 0);
	assert_int_equal(hn_reclaim(&f->hn), 0);
	hn_unmanage(&f->hn, fake_at(3));
	hn_unmanage(&f->hn, fake_at(19));
	fake_ms(f, FAKE_QUARANTINE_MS);
	hn_gate_write_lock(&f->hn);
	assert_int_equal(hn_reclaim(&f->hn), 2);
	assert_int_equal(hn_reclaim(&f->hn), 0);
	hn_gate_write_unlock(&f->hn);
	assert_null(fake_entry(f, 3));
	assert_null(fake_entry(f, 19));
	assert_int_equal(hn_state_of(&f->hn, fake_at(11)), HN_MAPPED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(27)), HN_MAPPED);
	assert_int_equal(hn_manage(&f->hn, fake_at(40), 0), 0);
	assert_int_equal(f->stats.managed_pages, 4);
}

/* The last chunk moves into the place of the idle one: an armed page must not notice. */
static void test_reclaim_moves_an_armed_page(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	fake_manage(f, 20, 1, 1);
	page = fake_arm(f, 20);
	hn_unmanage(&f->hn, fake_at(0));
	fake_ms(f, FAKE_QUARANTINE_MS);
	hn_gate_write_lock(&f->hn);
	assert_int_equal(hn_reclaim(&f->hn), 1);
	hn_gate_write_unlock(&f->hn);
	fake_verify(f);
	assert_int_equal(fake_entry(f, 20)->page, page);
	assert_true(fake_write(f, fake_at(20), 1));
	assert_int_equal(hn_state_of(&f->hn, fake_at(20)), HN_MAPPED);
}

static void test_reclaim_waits_for_quarantine(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_dontneed(f, fake_at(0), HN_PAGE_SIZE);
	assert_int_equal(hn_state_of(&f->hn, fake_at(0)), HN_UNMANAGED);
	hn_gate_write_lock(&f->hn);
	assert_int_equal(hn_reclaim(&f->hn), 0);
	fake_ms(f, FAKE_QUARANTINE_MS);
	assert_int_equal(hn_reclaim(&f->hn), 1);
	hn_gate_write_unlock(&f->hn);
}

/* Single-entry chunks in every order: the directory finds each one, through collisions and after deletions. */
static void test_directory_against_a_model(void **state)
{
	const struct hn_geometry geo = { .nr_chunks = 40, .chunk_shift = 0, .nr_pages = 4 };
	struct fake *f = fake_new_with(&geo, &fake_params);
	bool managed[FAKE_SLOTS] = { false };
	uint32_t x = 12345, used = 0, round, i;

	(void)state;
	for (round = 0; round < 4000; round++) {
		x = x * 1664525u + 1013904223u;
		i = (x >> 8) % FAKE_SLOTS;
		hn_gate_write_lock(&f->hn);
		if (managed[i]) {
			hn_unmanage(&f->hn, fake_at(i));
			fake_ms(f, FAKE_QUARANTINE_MS);
			assert_int_equal(hn_reclaim(&f->hn), 1);
			managed[i] = false;
			used--;
		} else {
			assert_int_equal(hn_manage(&f->hn, fake_at(i), 0), used == geo.nr_chunks ? HN_ENOSPC : 0);
			managed[i] = used < geo.nr_chunks;
			used += managed[i];
		}
		hn_gate_write_unlock(&f->hn);
		if (round % 64 == 0)
			for (i = 0; i < FAKE_SLOTS; i++)
				assert_int_equal(hn_state_of(&f->hn, fake_at(i)),
						 managed[i] ? HN_MAPPED : HN_UNMANAGED);
	}
	fake_finish(f);
}

/* ---- reclaim while a migration is in flight: it must not mistake the new entry at its address for its own ---- */

static unsigned aba_arms;

static void put_anew(struct fake *f)
{
	unsigned i;

	fake_munmap(f, fake_at(9), HN_PAGE_SIZE);
	fake_munmap(f, fake_at(0), HN_PAGE_SIZE);
	fake_ms(f, FAKE_QUARANTINE_MS);
	hn_gate_write_lock(&f->hn);
	assert_int_equal(hn_reclaim(&f->hn), 2);
	hn_gate_write_unlock(&f->hn);
	fake_manage(f, 9, 1, 0); /* takes the chunk that slot 0 had */
	for (i = 0; i < aba_arms; i++) {
		fake_arm(f, 9);
		assert_int_equal(hn_drain(&f->hn, 0, ~(hn_addr)0), 0);
	}
	fake_arm(f, 9);
}

static void test_reclaim_during_migration(void **state)
{
	(void)state;
	for (aba_arms = 0; aba_arms < 12; aba_arms++) {
		struct fake *f = fake_new();
		unsigned i;

		fake_manage(f, 0, 1, 0);
		fake_manage(f, 9, 1, 0);
		for (i = 0; i < 3; i++) /* let slot 9's generation run ahead */
			assert_int_equal(fake_sample(f, 9, 0), HN_FAULT_LOCAL);
		fake_entry(f, 9)->history = hn_history_push(0, 1, false);
		fake_arm(f, 9);
		f->in_copy = put_anew;
		assert_int_equal(fake_fault(f, 9, 1), HN_FAULT_STALE);
		assert_int_equal(f->in_copy_nr, 1);
		assert_int_equal(f->stats.migrated, 0);
		assert_int_equal(hn_state_of(&f->hn, fake_at(9)), HN_ARMED);
		fake_check(f);
		assert_true(fake_read(f, fake_at(9), 0));
		fake_finish(f);
	}
}

/* The page itself comes back to its place by two mremaps, changed on the way; the copy must not be taken for it. */
static void go_round(struct fake *f)
{
	unsigned i;

	fake_mremap(f, fake_at(9), fake_at(20), HN_PAGE_SIZE);
	fake_dontneed(f, fake_cell_at(20, 1), FAKE_CELL);
	fake_munmap(f, fake_at(0), HN_PAGE_SIZE);
	fake_ms(f, FAKE_QUARANTINE_MS);
	hn_gate_write_lock(&f->hn);
	assert_int_equal(hn_reclaim(&f->hn), 2);
	hn_gate_write_unlock(&f->hn);
	fake_map(f, 1, 1, 0);
	assert_int_equal(hn_manage(&f->hn, fake_at(1), 0), 0);
	fake_ms(f, FAKE_QUARANTINE_MS);
	fake_mremap(f, fake_at(20), fake_at(9), HN_PAGE_SIZE);
	for (i = 0; i < aba_arms; i++)
		fake_dontneed(f, fake_cell_at(9, 2), FAKE_CELL);
}

static void test_reclaim_and_round_trip_during_migration(void **state)
{
	(void)state;
	for (aba_arms = 0; aba_arms < 12; aba_arms++) {
		struct fake *f = fake_new();
		unsigned i;

		fake_manage(f, 0, 1, 0);
		fake_manage(f, 9, 1, 0);
		for (i = 0; i < 3; i++)
			assert_int_equal(fake_sample(f, 9, 0), HN_FAULT_LOCAL);
		fake_entry(f, 9)->history = hn_history_push(0, 1, false);
		fake_arm(f, 9);
		f->in_copy = go_round;
		assert_int_equal(fake_fault(f, 9, 1), HN_FAULT_RACED);
		assert_int_equal(f->in_copy_nr, 1);
		fake_check(f);
		fake_finish(f);
	}
}

/* ---- holds ---- */

static void test_hold_doubles(void **state)
{
	struct fake *f = *state;
	struct hn_entry *e;
	unsigned i;

	fake_manage(f, 0, 1, 0);
	e = fake_entry(f, 0);
	for (i = 0; i < 9; i++) {
		uint32_t ms = 100u << (i < 6 ? i : 6), now = hn_now_ms(&f->hn);

		hn_entry_hold(&f->hn, e, HN_E_NO_MOVE, 100);
		assert_true(hn_entry_held(e, HN_E_NO_MOVE, now));
		assert_true(hn_entry_held(e, HN_E_NO_MOVE, now + ms - 1));
		assert_false(hn_entry_held(e, HN_E_NO_MOVE, now + ms));
		assert_false(hn_entry_held(e, HN_E_NO_ARM, now));
		fake_ms(f, ms);
	}
}

/* A short hold for one reason must not end a longer one for another: that may be a quarantine. */
static void test_hold_is_never_shortened(void **state)
{
	struct fake *f = *state;
	struct hn_entry *e;

	fake_manage(f, 0, 1, 0);
	e = fake_entry(f, 0);
	hn_entry_hold(&f->hn, e, HN_E_NO_ARM, 500);
	e->fails = 0;
	hn_entry_hold(&f->hn, e, HN_E_NO_MOVE, 10);
	fake_ms(f, 499);
	assert_true(hn_entry_held(e, HN_E_NO_ARM, hn_now_ms(&f->hn)));
	fake_ms(f, 1);
	assert_false(hn_entry_held(e, HN_E_NO_ARM, hn_now_ms(&f->hn)));
	/* And what has run out does not come back with the next one. */
	hn_entry_hold(&f->hn, e, HN_E_NO_MOVE, 10);
	assert_false(hn_entry_held(e, HN_E_NO_ARM, hn_now_ms(&f->hn)));
}

static void test_hold_over_the_wrap_of_the_clock(void **state)
{
	struct fake *f = *state;
	struct hn_entry *e;

	f->now_ns = ((uint64_t)UINT32_MAX - 40) * 1000000u;
	fake_map(f, 0, 1, 0);
	fake_dontneed_event(f, fake_at(20), HN_PAGE_SIZE);
	assert_int_equal(hn_manage(&f->hn, fake_at(0), 0), 0);
	e = fake_entry(f, 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 0);
	fake_ms(f, FAKE_QUARANTINE_MS - 1); /* wrapped */
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 0);
	fake_ms(f, 1);
	assert_false(hn_entry_held(e, HN_E_NO_ARM, hn_now_ms(&f->hn)));
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 1);
}

/* A hold that ran out weeks ago must not stand again when the clock has gone half round. */
static void test_hold_does_not_return_after_half_a_wrap(void **state)
{
	struct fake *f = *state;
	struct hn_entry *e;

	fake_manage(f, 0, 2, 0);
	e = fake_entry(f, 0);
	hn_entry_hold(&f->hn, e, HN_E_NO_MOVE, 100);
	fake_dontneed(f, fake_at(1), HN_PAGE_SIZE);
	fake_map(f, 1, 1, 0);
	fake_ms(f, 1000);
	hn_scan_pass(&f->hn, 8); /* looks at every entry, as it does every few seconds */
	hn_drain(&f->hn, 0, ~(hn_addr)0);
	fake_ms(f, 0x80000000u);
	assert_false(hn_entry_held(e, HN_E_NO_MOVE, hn_now_ms(&f->hn)));
	assert_false(hn_entry_held(e, HN_E_NO_ARM, hn_now_ms(&f->hn)));
	assert_int_equal(hn_manage(&f->hn, fake_at(1), 0), 0);
}

/* ---- quarantine: the zap of a remove event comes after its caller was woken ---- */

static void test_quarantine_after_remove(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_dontneed_event(f, fake_at(0), HN_PAGE_SIZE);
	assert_int_equal(hn_manage(&f->hn, fake_at(0), 0), HN_EBUSY);
	fake_ms(f, FAKE_QUARANTINE_MS - 1);
	assert_int_equal(hn_manage(&f->hn, fake_at(0), 0), HN_EBUSY);
	fake_zap(f, fake_at(0), HN_PAGE_SIZE);
	fake_ms(f, 1);
	assert_int_equal(hn_manage(&f->hn, fake_at(0), 0), 0);
}

/* The event found nothing managed; the page becomes known before the zap. It must not be armed then. */
static void test_quarantine_of_what_was_not_known(void **state)
{
	struct fake *f = *state;

	fake_map(f, 30, 1, 0);
	fake_dontneed_event(f, fake_at(30), HN_PAGE_SIZE);
	assert_int_equal(hn_manage(&f->hn, fake_at(30), 0), 0);
	fake_ms(f, FAKE_QUARANTINE_MS - 1);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(30), 1), 0);
	assert_int_equal(hn_scan_pass(&f->hn, 8), 0);
	fake_zap(f, fake_at(30), HN_PAGE_SIZE);
	fake_ms(f, 1);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(30), 1), 0);
	assert_int_equal(f->stats.arm_refused[HN_ARM_ABSENT], 1);
	assert_int_equal(hn_state_of(&f->hn, fake_at(30)), HN_UNMANAGED);
	assert_true(fake_read(f, fake_at(30), 0));
}

/* Quarantine is for what may be about to be dropped: memory that was only found to have grown is asked about at once. */
static void test_grown_memory_needs_no_quarantine(void **state)
{
	struct fake *f = *state;

	fake_map(f, 8, 4, 0);
	assert_int_equal(hn_manage(&f->hn, fake_at(8), 0), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(8), 1), 1);
	fake_dontneed_event(f, fake_at(20), HN_PAGE_SIZE); /* elsewhere; who knows what else that thread is about to drop */
	fake_ms(f, 1);
	assert_int_equal(hn_manage(&f->hn, fake_at(9), 0), 0);
	fake_ms(f, FAKE_QUARANTINE_MS - 2); /* from the event, not from when the page was found */
	assert_int_equal(hn_manage(&f->hn, fake_at(10), 0), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(9), 1), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(10), 1), 0);
	fake_ms(f, 1);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(9), 2), 2);
	assert_int_equal(hn_manage(&f->hn, fake_at(10), 0), 0); /* as each look does with all it finds */
	fake_ms(f, 0x80000000u); /* half a wrap later the clock says nothing about an old event */
	assert_int_equal(hn_manage(&f->hn, fake_at(11), 0), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(11), 1), 1);
}

/* Memory that was registered in the same hold of the gate: no event on it can have been read. */
static void test_fresh_memory_needs_no_quarantine(void **state)
{
	struct fake *f = *state;

	fake_map(f, 3, 2, 1);
	hn_gate_write_lock(&f->hn);
	assert_int_equal(hn_manage_fresh(&f->hn, fake_at(3), 1), 0);
	hn_event_remove(&f->hn, fake_at(3), fake_at(4));
	assert_int_equal(hn_manage_fresh(&f->hn, fake_at(3), 1), HN_EBUSY); /* a quarantine that stands, stands */
	assert_int_equal(hn_manage_fresh(&f->hn, fake_at(4), 1), 0);
	hn_gate_write_unlock(&f->hn);
	fake_zap(f, fake_at(3), HN_PAGE_SIZE);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(4), 1), 1);
}

/* The same with an entry that is in quarantine already when the second event comes. */
static void test_second_remove_in_quarantine(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_dontneed(f, fake_at(0), HN_PAGE_SIZE);
	assert_true(fake_write(f, fake_at(0), 0));
	fake_ms(f, FAKE_QUARANTINE_MS - 1);
	fake_dontneed_event(f, fake_at(0), HN_PAGE_SIZE);
	fake_ms(f, 1);
	if (hn_manage(&f->hn, fake_at(0), 0) == 0)
		assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 0);
	fake_zap(f, fake_at(0), HN_PAGE_SIZE);
	assert_true(fake_read(f, fake_at(0), 0));
}

/* A region is given back only when nothing is armed anywhere: mremap could bring it there. */
static void test_release_range(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 4, 0);
	fake_arm(f, 3);
	assert_false(hn_release_range(&f->hn, fake_at(0), fake_at(2)));
	assert_int_equal(hn_state_of(&f->hn, fake_at(0)), HN_MAPPED);
	assert_int_equal(hn_drain(&f->hn, 0, ~(hn_addr)0), 0);
	assert_true(hn_release_range(&f->hn, fake_at(0), fake_at(2)));
	assert_int_equal(hn_state_of(&f->hn, fake_at(0)), HN_UNMANAGED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(1)), HN_UNMANAGED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(2)), HN_MAPPED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init_refuses_nonsense),
		cmocka_unit_test(test_block_is_within_budget),
		fake_test(test_release_range),
		fake_test(test_block_can_be_copied),
		fake_test(test_manage_and_unmanage),
		fake_test(test_unmanage_leaves_armed),
		fake_test(test_generation_changes_with_every_transition),
		fake_test(test_chunks_run_out_and_come_back),
		fake_test(test_reclaim_moves_an_armed_page),
		fake_test(test_reclaim_waits_for_quarantine),
		cmocka_unit_test(test_directory_against_a_model),
		cmocka_unit_test(test_reclaim_during_migration),
		cmocka_unit_test(test_reclaim_and_round_trip_during_migration),
		fake_test(test_hold_doubles),
		fake_test(test_hold_is_never_shortened),
		fake_test(test_hold_over_the_wrap_of_the_clock),
		fake_test(test_hold_does_not_return_after_half_a_wrap),
		fake_test(test_quarantine_after_remove),
		fake_test(test_quarantine_of_what_was_not_known),
		fake_test(test_grown_memory_needs_no_quarantine),
		fake_test(test_fresh_memory_needs_no_quarantine),
		fake_test(test_second_remove_in_quarantine),
	};

	return fake_run(tests);
}
