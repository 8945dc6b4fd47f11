// SPDX-License-Identifier: MIT
/*
 * Address-space events: unmap, remove and remap, of all or part of a page that is MAPPED, ARMED, or in migration.
 * An event during a migration is delivered from inside the fake's copy(), where the engine holds the page lock only.
 */
#include "core/history.h"
#include "fake.h"

#include <errno.h>

enum when { WHEN_MAPPED, WHEN_ARMED, WHEN_COPYING, NR_WHEN };

/* What the event does to slots 4 and 5, in cells from the start of slot 4. */
struct range {
	unsigned from, to;
};

static const struct range ranges[] = {
	{ 0, 8 },  /* all of slot 4 */
	{ 0, 16 }, /* both */
	{ 0, 3 },  /* the head */
	{ 5, 8 },  /* the tail */
	{ 2, 6 },  /* the middle */
	{ 4, 12 }, /* halves of two */
	{ 0, 12 }, /* one and a half */
	{ 7, 16 },
};

#define NR_RANGES (sizeof(ranges) / sizeof(ranges[0]))

static void (*event)(struct fake *f, const struct range *r);
static const struct range *range;

static hn_addr start_of(const struct range *r) { return fake_cell_at(4, r->from); }
static uint64_t len_of(const struct range *r) { return (r->to - r->from) * FAKE_CELL; }

static void unmap(struct fake *f, const struct range *r) { fake_munmap(f, start_of(r), len_of(r)); }
static void unmap_and_map_anew(struct fake *f, const struct range *r)
{
	unsigned i;

	fake_munmap(f, start_of(r), len_of(r));
	for (i = r->from; i < r->to; i++)
		f->cell[4 * FAKE_CELLS + i].mapped = true;
}
static void dontneed(struct fake *f, const struct range *r) { fake_dontneed(f, start_of(r), len_of(r)); }
static void dontneed_twice(struct fake *f, const struct range *r)
{
	dontneed(f, r);
	dontneed(f, r);
}
static void remap_aligned(struct fake *f, const struct range *r)
{
	fake_mremap(f, start_of(r), fake_cell_at(20, r->from), len_of(r));
}
static void remap_misaligned(struct fake *f, const struct range *r)
{
	fake_mremap(f, start_of(r), fake_cell_at(20, r->from + 3), len_of(r));
}
static void remap_there_and_back(struct fake *f, const struct range *r)
{
	remap_aligned(f, r);
	fake_mremap(f, fake_cell_at(20, r->from), start_of(r), len_of(r));
}
static void remap_twice(struct fake *f, const struct range *r)
{
	remap_aligned(f, r);
	fake_mremap(f, fake_cell_at(20, r->from), fake_cell_at(30, r->from + 1), len_of(r));
}
static void remap_then_dontneed(struct fake *f, const struct range *r)
{
	remap_misaligned(f, r);
	fake_dontneed(f, fake_cell_at(20, r->from + 3), FAKE_CELL);
}
static void remap_then_unmap(struct fake *f, const struct range *r)
{
	remap_aligned(f, r);
	fake_munmap(f, fake_cell_at(20, r->from), len_of(r));
}
static void remap_dontunmap(struct fake *f, const struct range *r)
{
	fake_mremap_dontunmap(f, start_of(r), fake_cell_at(20, r->from + 3), len_of(r));
}
static void remap_over_managed(struct fake *f, const struct range *r)
{
	fake_munmap(f, fake_at(20), 2 * HN_PAGE_SIZE);
	remap_aligned(f, r);
}

static const struct {
	const char *name;
	void (*fn)(struct fake *f, const struct range *r);
} events[] = {
	{ "unmap", unmap },
	{ "unmap and map anew", unmap_and_map_anew },
	{ "dontneed", dontneed },
	{ "dontneed twice", dontneed_twice },
	{ "remap aligned", remap_aligned },
	{ "remap misaligned", remap_misaligned },
	{ "remap there and back", remap_there_and_back },
	{ "remap twice", remap_twice },
	{ "remap then dontneed", remap_then_dontneed },
	{ "remap then unmap", remap_then_unmap },
	{ "remap dontunmap", remap_dontunmap },
	{ "remap over managed", remap_over_managed },
};

#define NR_EVENTS (sizeof(events) / sizeof(events[0]))

static void in_copy(struct fake *f)
{
	struct hn_verdict v;

	/* Somebody waits for this migration, before and after the event. */
	fake_sleep(f, fake_cell_at(4, 1));
	assert_int_equal(hn_fault(&f->hn, fake_cell_at(4, 1), 0, f->now_ns, &v), HN_FAULT_WAITED);
	event(f, range);
	fake_resolve(f); /* must not get at a page that is being copied */
}

static void touch_everything(struct fake *f)
{
	unsigned i;

	for (i = 0; i < FAKE_SLOTS * FAKE_CELLS; i++)
		if (f->cell[i].mapped) {
			assert_true(fake_read(f, FAKE_BASE + i * FAKE_CELL, i % FAKE_TIDS));
			assert_true(fake_write(f, FAKE_BASE + i * FAKE_CELL, i % FAKE_TIDS));
		}
}

/* Faults of slots 4 and 5 by threads of node 1, for whom they are misplaced. */
static void migrate_both(struct fake *f)
{
	unsigned slot;

	for (slot = 4; slot <= 5; slot++) {
		hn_addr at = fake_cell_at(slot, 3);
		enum hn_outcome out;

		fake_sleep(f, at);
		out = hn_fault(&f->hn, at, 1, f->now_ns, &fake_verdict);
		/* The event may have been for the other page, or have taken this one before its turn. */
		assert_true(out != HN_FAULT_WAITED && out != HN_FAULT_DEFERRED);
		if (out == HN_FAULT_UNMANAGED)
			f->hn.ops->wake(f, fake_at(slot), HN_PAGE_SIZE);
		f->in_copy = NULL; /* the event happens once */
	}
}

static void one_case(unsigned nr, const struct range *r, enum when when, int fail_op)
{
	struct fake *f = fake_new();

	f->about = events[nr].name;
	event = events[nr].fn;
	range = r;
	fake_manage(f, 4, 2, 0);
	if (event == remap_over_managed) {
		fake_manage(f, 20, 2, 2);
		fake_arm(f, 20);
	}
	if (when != WHEN_MAPPED)
		assert_int_equal(hn_arm_run(&f->hn, fake_at(4), 2), 2);
	fake_entry(f, 4)->history = fake_entry(f, 5)->history = hn_history_push(0, 1, false);
	if (fail_op >= 0)
		fake_fail(f, (enum fake_op)fail_op, 1, -EIO);
	if (when == WHEN_COPYING) {
		f->in_copy = in_copy;
		migrate_both(f);
		assert_int_equal(f->in_copy_nr, 1);
	} else {
		event(f, r);
	}
	fake_check(f);
	if ((r->from + r->to) & 1) /* half of the cases go on from here, the others are put back by drain alone */
		touch_everything(f);
	fake_ms(f, FAKE_QUARANTINE_MS);
	fake_finish(f);
}

static void test_all_cases(void **state)
{
	unsigned nr, i, when;

	(void)state;
	for (nr = 0; nr < NR_EVENTS; nr++)
		for (i = 0; i < NR_RANGES; i++)
			for (when = 0; when < NR_WHEN; when++) {
				one_case(nr, &ranges[i], (enum when)when, -1);
			}
}

/* The migration whose page is taken away fails as well. */
static void test_all_cases_with_failures(void **state)
{
	unsigned nr, i;

	(void)state;
	for (nr = 0; nr < NR_EVENTS; nr++)
		for (i = 0; i < NR_RANGES; i++) {
			one_case(nr, &ranges[i], WHEN_COPYING, FAKE_COPY);
			one_case(nr, &ranges[i], WHEN_COPYING, FAKE_COMMIT);
		}
}

/* ---- single points ---- */

static void test_unmap_counts(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 3, 0);
	fake_arm(f, 1);
	fake_munmap(f, fake_at(0), 2 * HN_PAGE_SIZE);
	assert_int_equal(f->stats.managed_pages, 1);
	assert_int_equal(f->stats.disarmed[HN_DISARM_EVENT], 1);
	assert_int_equal(f->discards, 1);
	assert_int_equal(hn_state_of(&f->hn, fake_at(2)), HN_MAPPED);
}

static void unmap_slot_0(struct fake *f) { fake_munmap(f, fake_at(0), HN_PAGE_SIZE); }

/* The page outlives its mapping until the copy has ended, then its content goes (R17). */
static void test_unmapped_page_outlives_the_copy(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_sample(f, 0, 1);
	f->in_copy = unmap_slot_0;
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_STALE);
	assert_int_equal(f->stats.samples, 1); /* the event accounted the hint */
	assert_int_equal(f->discards, 1);
	assert_int_equal(f->targets_out, 0);
}

/* What a memory policy binds is a mapping, what hugenuma_treat() does is a range of addresses. */
static void test_remap_and_wishes(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 2, 0);
	hn_entry_wish(&f->hn, fake_at(0), HN_USER_WISHES + 1);
	hn_entry_wish(&f->hn, fake_at(1), 1);
	fake_arm(f, 0);
	fake_arm(f, 1);
	fake_mremap(f, fake_at(0), fake_at(20), 2 * HN_PAGE_SIZE);
	assert_int_equal(fake_entry(f, 20)->wish, HN_USER_WISHES + 1);
	assert_int_equal(fake_entry(f, 21)->wish, 0);
}

static void test_remap_moves_the_hint(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	f->thread_nid[3] = 3;
	fake_manage(f, 0, 1, 3);
	page = fake_arm(f, 0);
	fake_mremap(f, fake_at(0), fake_at(17), HN_PAGE_SIZE);
	assert_int_equal(hn_state_of(&f->hn, fake_at(0)), HN_UNMANAGED);
	assert_int_equal(hn_state_of(&f->hn, fake_at(17)), HN_ARMED);
	assert_int_equal(fake_entry(f, 17)->page, page);
	assert_int_equal(fake_entry(f, 17)->nid, 3);
	fake_check(f);
	assert_int_equal(fake_fault(f, 17, 3), HN_FAULT_LOCAL);
}

/* Chunks are used up: there can be no entry at the new place, so the page becomes a part of one piece. */
static void test_remap_without_room(void **state)
{
	const struct hn_geometry geo = { .nr_chunks = 1, .chunk_shift = 3, .nr_pages = 4 };
	struct fake *f = fake_new_with(&geo, &fake_params);

	(void)state;
	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	fake_mremap(f, fake_at(0), fake_at(17), HN_PAGE_SIZE);
	assert_int_equal(fake_parts(f), 1);
	fake_check(f);
	assert_true(fake_write(f, fake_at(17), 0));
	fake_finish(f);
}

/* A hole in the middle: two parts stay behind, each with a reference. */
static void test_unmap_of_the_middle(void **state)
{
	struct fake *f = *state;
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = fake_arm(f, 0);
	fake_munmap(f, fake_cell_at(0, 3), 2 * FAKE_CELL);
	assert_int_equal(fake_parts(f), 2);
	assert_int_equal(hn_pages(&f->hn)[page].refs.v, 2);
	fake_check(f);
	assert_true(fake_read(f, fake_cell_at(0, 0), 0));
	assert_false(fake_read(f, fake_cell_at(0, 3), 0));
	assert_true(fake_read(f, fake_cell_at(0, 7), 0));
	assert_int_equal(hn_pages(&f->hn)[page].refs.v, 0);
}

static void test_partial_remove_of_armed(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	fake_dontneed(f, fake_cell_at(0, 2), 3 * FAKE_CELL);
	assert_int_equal(f->zeroes, 1);
	assert_int_equal(hn_state_of(&f->hn, fake_at(0)), HN_ARMED);
	assert_true(fake_read(f, fake_cell_at(0, 2), 0));
	/* It is back as a whole page, but must not be armed before the zap can be over. */
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 0);
	fake_ms(f, FAKE_QUARANTINE_MS);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 1);
}

/* Put back between event and zap: what is zapped then is zeros already. */
static void test_zap_after_putback(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	fake_dontneed_event(f, fake_cell_at(0, 2), 3 * FAKE_CELL);
	assert_int_equal(fake_fault(f, 0, 0), HN_FAULT_LOCAL);
	assert_int_equal(f->cell[2].value, 0);
	fake_zap(f, fake_cell_at(0, 2), 3 * FAKE_CELL);
	assert_true(fake_read(f, fake_cell_at(0, 3), 0));
}

/* Larger than all that is managed: walked by entry instead of by address. */
static void test_events_on_huge_ranges(void **state)
{
	struct fake *f = *state;
	unsigned i;

	fake_manage(f, 3, 6, 0);
	fake_arm(f, 4);
	hn_gate_write_lock(&f->hn);
	hn_event_unmap(&f->hn, fake_at(9), (hn_addr)1 << 47); /* just misses them */
	hn_event_unmap(&f->hn, 0, fake_at(3));
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(f->stats.managed_pages, 6);
	for (i = 3; i < 9; i++) {
		unsigned c;

		for (c = 0; c < FAKE_CELLS; c++)
			f->cell[i * FAKE_CELLS + c] = (struct fake_cell){ 0 };
	}
	hn_gate_write_lock(&f->hn);
	hn_event_unmap(&f->hn, 0, (hn_addr)1 << 47);
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(f->stats.managed_pages, 0);
	assert_int_equal(f->discards, 1);
}

/* A thread that sleeps at a place that is moved away must look again there, wherever its migration began. */
static void (*move)(struct fake *f, hn_addr from, hn_addr to, uint64_t len);

static void wait_at_second_place(struct fake *f)
{
	struct hn_verdict v;

	move(f, fake_at(0), fake_at(10), HN_PAGE_SIZE);
	fake_sleep(f, fake_cell_at(10, 2));
	assert_int_equal(hn_fault(&f->hn, fake_cell_at(10, 2), 0, f->now_ns, &v), HN_FAULT_WAITED);
	move(f, fake_at(10), fake_at(20), HN_PAGE_SIZE);
	fake_sleep(f, fake_cell_at(20, 2));
	assert_int_equal(hn_fault(&f->hn, fake_cell_at(20, 2), 0, f->now_ns, &v), HN_FAULT_WAITED);
}

static void check_waiters(void (*how)(struct fake *f, hn_addr from, hn_addr to, uint64_t len))
{
	struct fake *f = fake_new();

	move = how;
	fake_manage(f, 0, 1, 0);
	fake_sample(f, 0, 1);
	fake_arm(f, 0);
	fake_sleep(f, fake_cell_at(0, 2));
	f->in_copy = wait_at_second_place;
	assert_int_equal(fake_fault(f, 0, 1), HN_FAULT_STALE);
	assert_int_equal(f->in_copy_nr, 1);
	assert_false(fake_sleeps(f, fake_cell_at(0, 2)));
	assert_false(fake_sleeps(f, fake_cell_at(10, 2)));
	assert_false(fake_sleeps(f, fake_cell_at(20, 2)));
	assert_int_equal(hn_state_of(&f->hn, fake_at(20)), HN_ARMED);
	fake_finish(f);
}

static void test_waiters_of_every_place_are_woken(void **state)
{
	(void)state;
	check_waiters(fake_mremap);
	check_waiters(fake_mremap_dontunmap); /* no unmap event follows to wake them */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_cases),
		cmocka_unit_test(test_all_cases_with_failures),
		fake_test(test_unmap_counts),
		fake_test(test_unmapped_page_outlives_the_copy),
		fake_test(test_remap_moves_the_hint),
		fake_test(test_remap_and_wishes),
		cmocka_unit_test(test_remap_without_room),
		fake_test(test_unmap_of_the_middle),
		fake_test(test_partial_remove_of_armed),
		fake_test(test_zap_after_putback),
		fake_test(test_events_on_huge_ranges),
		cmocka_unit_test(test_waiters_of_every_place_are_woken),
	};

	return fake_run(tests);
}
