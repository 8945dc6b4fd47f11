// SPDX-License-Identifier: MIT
/*
 * Parts of pages: what events make of them, how they get back, and what happens when there are too many.
 */
#include "fake.h"

#include <errno.h>

/* Slot 0's page, armed, is moved to where it is no whole page any more: cell 3 of slot 20 to cell 2 of slot 21. */
static uint32_t displace(struct fake *f)
{
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = fake_arm(f, 0);
	fake_mremap(f, fake_at(0), fake_cell_at(20, 3), HN_PAGE_SIZE);
	assert_int_equal(fake_parts(f), 1);
	assert_int_equal(hn_pages(&f->hn)[page].refs.v, 1);
	return page;
}

static const struct hn_displaced *part(struct fake *f, unsigned i) { return &hn_displaced_table(&f->hn)[i]; }

static hn_addr all_from(void) { return fake_cell_at(20, 3); }

/* ---- events ---- */

static const struct {
	unsigned from, to; /* cells of slot 20 */
	unsigned parts;
} cuts[] = {
	{ 0, 3, 1 },  /* just misses it */
	{ 11, 16, 1 },
	{ 3, 11, 0 }, /* exactly */
	{ 0, 16, 0 },
	{ 3, 5, 1 },  /* head */
	{ 0, 5, 1 },
	{ 9, 11, 1 }, /* tail */
	{ 9, 16, 1 },
	{ 5, 8, 2 },  /* middle */
};

#define NR_CUTS (sizeof(cuts) / sizeof(cuts[0]))

static void check_cut(unsigned i, bool unmap)
{
	struct fake *f = fake_new();
	uint32_t page = displace(f);

	if (unmap)
		fake_munmap(f, fake_cell_at(20, cuts[i].from), (cuts[i].to - cuts[i].from) * FAKE_CELL);
	else
		fake_dontneed(f, fake_cell_at(20, cuts[i].from), (cuts[i].to - cuts[i].from) * FAKE_CELL);
	assert_int_equal(fake_parts(f), cuts[i].parts);
	assert_int_equal(hn_pages(&f->hn)[page].refs.v, cuts[i].parts);
	assert_int_equal(f->discards, cuts[i].parts == 0);
	fake_check(f);
	fake_finish(f);
}

static void test_cut(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < NR_CUTS; i++) {
		check_cut(i, true);
		check_cut(i, false);
	}
}

/* What of it is moved goes on from there, the rest stays behind. */
static void test_remap_of_a_part(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < NR_CUTS; i++) {
		struct fake *f = fake_new();
		uint32_t page = displace(f);
		bool misses = cuts[i].to <= 3 || cuts[i].from >= 11;
		bool whole = cuts[i].from <= 3 && cuts[i].to >= 11;

		fake_mremap(f, fake_cell_at(20, cuts[i].from), fake_cell_at(30, cuts[i].from + 1),
			    (cuts[i].to - cuts[i].from) * FAKE_CELL);
		assert_int_equal(fake_parts(f), misses || whole ? 1 : cuts[i].parts + 1);
		assert_int_equal(hn_pages(&f->hn)[page].refs.v, fake_parts(f));
		assert_int_equal(hn_displaced_covers(&f->hn, fake_cell_at(30, cuts[i].from > 3 ? cuts[i].from + 1 : 4)),
				 !misses);
		fake_check(f);
		fake_finish(f);
	}
}

static void test_covers(void **state)
{
	struct fake *f = *state;

	assert_false(hn_displaced_any(&f->hn));
	assert_false(hn_displaced_covers(&f->hn, all_from()));
	displace(f);
	assert_true(hn_displaced_any(&f->hn));
	assert_false(hn_displaced_covers(&f->hn, all_from() - 1));
	assert_true(hn_displaced_covers(&f->hn, all_from()));
	assert_true(hn_displaced_covers(&f->hn, all_from() + HN_PAGE_SIZE - 1));
	assert_false(hn_displaced_covers(&f->hn, all_from() + HN_PAGE_SIZE));
}

/* ---- the way back ---- */

static bool resolve_all(struct fake *f) { return hn_displaced_resolve(&f->hn, 0, ~(hn_addr)0) == 0; }

static void test_resolve(void **state)
{
	struct fake *f = *state;

	assert_true(resolve_all(f)); /* nothing there, nothing left */
	displace(f);
	fake_sleep(f, all_from() + 2 * FAKE_CELL);
	assert_true(resolve_all(f));
	assert_false(fake_sleeps(f, all_from() + 2 * FAKE_CELL));
	assert_int_equal(fake_parts(f), 0);
	assert_int_equal(f->discards, 1);
	assert_true(hn_page_all_free(&f->hn));
}

/* Only what lies in the range, and all of a part that does in some of it. */
static void test_resolve_of_a_range(void **state)
{
	struct fake *f = *state;

	displace(f);
	fake_munmap(f, fake_cell_at(20, 6), FAKE_CELL);
	assert_int_equal(fake_parts(f), 2);
	assert_int_equal(0, hn_displaced_resolve(&f->hn, fake_cell_at(20, 6), fake_cell_at(20, 7)));
	assert_int_equal(0, hn_displaced_resolve(&f->hn, 0, fake_cell_at(20, 3)));
	assert_int_equal(0, hn_displaced_resolve(&f->hn, fake_cell_at(20, 11), ~(hn_addr)0));
	assert_int_equal(fake_parts(f), 2);
	assert_int_equal(0, hn_displaced_resolve(&f->hn, fake_cell_at(20, 5) + FAKE_CELL - 1, fake_cell_at(20, 6)));
	assert_int_equal(fake_parts(f), 1);
	assert_true(f->cell[20 * FAKE_CELLS + 3].present);
	assert_false(f->cell[20 * FAKE_CELLS + 7].present);
	fake_check(f);
}

static void test_what_the_program_has_is_newer(void **state)
{
	struct fake *f = *state;
	struct fake_cell *c;

	displace(f);
	c = &f->cell[20 * FAKE_CELLS + 4];
	c->present = true;
	c->value = c->truth = 4711;
	assert_true(resolve_all(f));
	assert_int_equal(c->value, 4711);
}

static void test_event_comes_first(void **state)
{
	struct fake *f = *state;

	displace(f);
	f->event_pending = true;
	fake_sleep(f, all_from());
	assert_false(resolve_all(f));
	assert_int_equal(fake_parts(f), 1);
	assert_true(fake_sleeps(f, all_from()));
	assert_false(f->cell[20 * FAKE_CELLS + 3].present);
	f->event_pending = false;
	assert_true(resolve_all(f));
}

/* It stops half way. What is there is there, nobody is woken, and the rest follows. */
static void test_half_a_part(void **state)
{
	struct fake *f = *state;
	uint32_t page = displace(f);

	f->script[FAKE_COPY_IN] = (struct fake_script){ .fail_at = 1, .fail_nr = 2 };
	fake_sleep(f, all_from() + FAKE_CELL);
	assert_false(resolve_all(f));
	assert_true(f->cell[20 * FAKE_CELLS + 3].present);
	assert_true(fake_sleeps(f, all_from() + FAKE_CELL));
	assert_int_equal(hn_pages(&f->hn)[page].refs.v, 1);
	assert_int_equal(hn_pages(&f->hn)[page].lock.v, 0);
	assert_false(resolve_all(f));
	f->cell[20 * FAKE_CELLS + 3].value = f->cell[20 * FAKE_CELLS + 3].truth = 4711; /* the program goes on */
	assert_true(resolve_all(f));
	assert_false(fake_sleeps(f, all_from() + FAKE_CELL));
}

/* Several parts, one of which cannot be put back: the others are. */
static void test_one_of_several(void **state)
{
	struct fake *f = *state;

	displace(f);
	fake_munmap(f, fake_cell_at(20, 5), FAKE_CELL);
	fake_munmap(f, fake_cell_at(20, 8), FAKE_CELL);
	assert_int_equal(fake_parts(f), 3);
	fake_fail(f, FAKE_COPY_IN, 2, -EAGAIN);
	assert_false(resolve_all(f));
	assert_int_equal(fake_parts(f), 1);
	fake_check(f);
	assert_true(resolve_all(f));
}

static void test_migration_still_reads_it(void **state)
{
	struct fake *f = *state;
	uint32_t page = displace(f);

	assert_true(hn_page_trylock(&f->hn, page));
	assert_false(resolve_all(f));
	assert_int_equal(f->script[FAKE_COPY_IN].calls, 0);
	hn_page_unlock(&f->hn, page);
	assert_true(resolve_all(f));
}

/* ---- for a child ---- */

struct given {
	struct fake *f;
	unsigned cells;
};

static void give(void *arg, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct given *g = arg;
	uint32_t off;

	for (off = from; off < to; off += FAKE_CELL, addr += FAKE_CELL) {
		assert_int_equal(g->f->staging[page].value[off / FAKE_CELL],
				 g->f->cell[(addr - FAKE_BASE) / FAKE_CELL].truth);
		g->cells++;
	}
}

static void test_a_child_gets_everything(void **state)
{
	struct fake *f = *state;
	struct given g = { .f = f };

	displace(f);
	fake_munmap(f, fake_cell_at(20, 5), 2 * FAKE_CELL);
	fake_manage(f, 8, 2, 0);
	fake_arm(f, 9);
	hn_gate_write_lock(&f->hn);
	hn_for_each_armed(&f->hn, give, &g);
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(g.cells, FAKE_CELLS - 2 + FAKE_CELLS);
}

/*
 * A part can be in place although its put-back said "not now", and the page around it whole and huge. Armed, its place would be
 * empty, and the part come back as it was before the program wrote there.
 */
static void test_page_around_a_part_is_not_armed(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_manage(f, 19, 3, 0);
	fake_munmap(f, fake_cell_at(20, 3), FAKE_CELL);
	fake_arm(f, 0);
	fake_mremap(f, fake_cell_at(0, 0), fake_cell_at(20, 3), FAKE_CELL);
	assert_int_equal(fake_parts(f), 2);
	fake_fail(f, FAKE_COPY_IN, 2, -EAGAIN);
	assert_false(resolve_all(f));
	assert_int_equal(fake_parts(f), 1);
	assert_true(fake_write(f, fake_cell_at(20, 3), 1));
	f->huge[20] = true; /* MADV_COLLAPSE */
	assert_int_equal(hn_manage_fresh(&f->hn, fake_at(20), 0), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(19), 3), 1);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(20), 2), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(21), 1), 1);
	fake_resolve(f);
	assert_int_equal(fake_parts(f), 0);
	assert_int_equal(hn_arm_run(&f->hn, fake_at(20), 1), 1);
	assert_true(fake_read(f, fake_cell_at(20, 3), 1));
}

/* Wherever the program scatters the pages that can be armed, there is room for every piece. */
static void test_room_for_all(void **state)
{
	const struct hn_geometry geo = { .nr_chunks = 1, .chunk_shift = 0, .nr_pages = 3 };
	struct fake *f = fake_new_with(&geo, &fake_params);

	(void)state;
	assert_int_equal(f->hn.core->max_displaced, 3 * HN_PAGE_SIZE / HN_BASE_SIZE);
	fake_free(f);
}

/* ---- too many ---- */

static struct fake *new_with_pages(unsigned nr)
{
	const struct hn_geometry geo = { .nr_chunks = 4, .chunk_shift = 3, .nr_pages = nr, .nr_parts = 4 * nr };

	return fake_new_with(&geo, &fake_params);
}

/* Each cell of slot 0's page goes to a place of its own. */
static void scatter(struct fake *f, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		fake_mremap(f, fake_cell_at(0, i), fake_cell_at(20 + i, 1), FAKE_CELL);
}

/* Splitting a part that lies in a full table: the piece that finds no room is put in place at once. */
static void test_no_room_for_a_split(void **state)
{
	struct fake *f = new_with_pages(1);

	(void)state;
	assert_int_equal(f->hn.core->max_displaced, 4);
	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	scatter(f, 3);
	assert_int_equal(fake_parts(f), 4);
	fake_sleep(f, fake_cell_at(0, 3));
	fake_mremap(f, fake_cell_at(0, 5), fake_cell_at(30, 1), FAKE_CELL); /* out of the middle of the last */
	assert_int_equal(fake_parts(f), 4);
	assert_int_equal(hn_pages(&f->hn)[0].refs.v, 4);
	assert_true(f->cell[3].present);
	assert_true(f->cell[4].present);
	assert_true(f->cell[6].present);
	assert_true(f->cell[7].present);
	assert_true(hn_displaced_covers(&f->hn, fake_cell_at(30, 1)));
	fake_check(f);
	fake_finish(f);
}

/* The same where the middle is cut out. */
static void test_no_room_for_a_cut(void **state)
{
	struct fake *f = new_with_pages(1);

	(void)state;
	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	scatter(f, 3);
	fake_dontneed(f, fake_cell_at(0, 5), FAKE_CELL);
	assert_int_equal(fake_parts(f), 3);
	assert_int_equal(f->discards, 0);
	fake_check(f);
	fake_finish(f);
}

static void test_no_room_for_a_page(void **state)
{
	struct fake *f = new_with_pages(2);
	uint32_t page;

	(void)state;
	fake_manage(f, 0, 2, 0);
	fake_arm(f, 0);
	page = fake_arm(f, 1);
	scatter(f, FAKE_CELLS);
	assert_int_equal(fake_parts(f), 8);
	fake_sleep(f, fake_cell_at(1, 0));
	fake_munmap(f, fake_cell_at(1, 3), 2 * FAKE_CELL);
	assert_int_equal(fake_parts(f), 8);
	assert_int_equal(hn_pages(&f->hn)[page].refs.v, 0);
	assert_false(fake_sleeps(f, fake_cell_at(1, 0)));
	assert_true(f->cell[FAKE_CELLS].present);
	assert_true(f->cell[FAKE_CELLS + 7].present);
	assert_int_equal(part(f, 7)->to - part(f, 7)->from, FAKE_CELL);
	fake_check(f);
	fake_finish(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_remap_of_a_part),
		fake_test(test_covers),
		fake_test(test_resolve),
		fake_test(test_resolve_of_a_range),
		fake_test(test_what_the_program_has_is_newer),
		fake_test(test_event_comes_first),
		fake_test(test_half_a_part),
		fake_test(test_one_of_several),
		fake_test(test_migration_still_reads_it),
		fake_test(test_a_child_gets_everything),
		fake_test(test_page_around_a_part_is_not_armed),
		cmocka_unit_test(test_room_for_all),
		cmocka_unit_test(test_no_room_for_a_split),
		cmocka_unit_test(test_no_room_for_a_cut),
		cmocka_unit_test(test_no_room_for_a_page),
	};

	return fake_run(tests);
}
