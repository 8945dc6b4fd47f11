// SPDX-License-Identifier: MIT
/*
 * Faults that no entry answers: first touches, and what can happen to the place between the fault and the filling.
 */
#include "fake.h"

#include <errno.h>

static void map_holes(struct fake *f, unsigned slot, unsigned first, unsigned nr)
{
	unsigned i;

	for (i = slot * FAKE_CELLS + first; i < slot * FAKE_CELLS + first + nr; i++)
		f->cell[i] = (struct fake_cell){ .mapped = true };
}

static unsigned present_in(struct fake *f, unsigned slot)
{
	unsigned i, n = 0;

	for (i = 0; i < FAKE_CELLS; i++)
		n += f->cell[slot * FAKE_CELLS + i].present;
	return n;
}

/* A thread of node 2 faults at a cell that no entry answers; true when it was served. */
static bool touch(struct fake *f, unsigned slot, unsigned cell)
{
	hn_addr at = fake_cell_at(slot, cell) + 4096;

	fake_sleep(f, at);
	assert_int_equal(hn_fault(&f->hn, at, 2, f->now_ns, &fake_verdict), HN_FAULT_UNMANAGED);
	return hn_hole_serve(&f->hn, at, 2);
}

/* ---- first touches ---- */

static void test_empty_place_is_filled_huge(void **state)
{
	struct fake *f = *state;

	map_holes(f, 3, 0, FAKE_CELLS);
	assert_true(touch(f, 3, 5));
	assert_false(fake_sleeps(f, fake_cell_at(3, 5)));
	assert_int_equal(present_in(f, 3), FAKE_CELLS);
	assert_true(f->huge[3]);
	assert_int_equal(f->nid[3], 2);
	assert_int_equal(f->targets_out, 0);
}

static void test_unknown_node(void **state)
{
	struct fake *f = *state;

	f->thread_nid[2] = HN_NO_NODE;
	map_holes(f, 3, 0, FAKE_CELLS);
	assert_true(touch(f, 3, 5));
	assert_true(f->huge[3]);
	assert_int_equal(f->targets_out, 0);
}

static void test_used_place_is_filled_small(void **state)
{
	struct fake *f = *state;

	map_holes(f, 3, 0, FAKE_CELLS);
	f->cell[3 * FAKE_CELLS].present = true;
	map_holes(f, 4, 2, 4);
	assert_true(touch(f, 3, 5));
	assert_true(touch(f, 4, 3));
	assert_int_equal(present_in(f, 3), 2);
	assert_int_equal(present_in(f, 4), 1);
	assert_int_equal(f->targets_out, 0);
}

static void test_no_zeros_to_be_had(void **state)
{
	struct fake *f = *state;

	map_holes(f, 3, 0, FAKE_CELLS);
	fake_fail(f, FAKE_HOLE_GET, 1, -ENOMEM);
	assert_true(touch(f, 3, 5));
	assert_int_equal(present_in(f, 3), 1);
}

/* An event comes first: nothing changes, and the sleeper is left to the caller. */
static void test_event_comes_first(void **state)
{
	struct fake *f = *state;

	map_holes(f, 3, 0, FAKE_CELLS);
	f->event_pending = true;
	assert_false(touch(f, 3, 5));
	assert_true(fake_sleeps(f, fake_cell_at(3, 5)));
	assert_int_equal(present_in(f, 3), 0);
	assert_int_equal(f->targets_out, 0);
	f->event_pending = false;
	assert_true(touch(f, 3, 5));
}

static void fill_it_meanwhile(struct fake *f)
{
	unsigned i;

	for (i = 0; i < FAKE_CELLS; i++) {
		struct fake_cell *c = &f->cell[3 * FAKE_CELLS + i];

		c->present = true;
		c->value = c->truth = 77;
	}
	f->in_hole_get = NULL;
}

static void test_somebody_was_faster(void **state)
{
	struct fake *f = *state;

	map_holes(f, 3, 0, FAKE_CELLS);
	f->in_hole_get = fill_it_meanwhile;
	assert_true(touch(f, 3, 5));
	assert_false(fake_sleeps(f, fake_cell_at(3, 5)));
	assert_true(fake_read(f, fake_cell_at(3, 5), 2));
	assert_int_equal(f->targets_out, 0);
}

/* ---- what arrives between the look and the filling ---- */

static void armed_page_arrives(struct fake *f)
{
	f->in_hole_get = NULL;
	fake_munmap(f, fake_at(20), HN_PAGE_SIZE);
	fake_mremap(f, fake_at(0), fake_at(20), HN_PAGE_SIZE);
	fake_sleep(f, fake_cell_at(20, 5));
}

/* It looks empty and is not: zeros there would win over the data (I1). The thread faults again and finds the entry. */
static void test_armed_page_arrives(void **state)
{
	struct fake *f = *state;

	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	map_holes(f, 20, 0, FAKE_CELLS);
	f->in_hole_get = armed_page_arrives;
	assert_true(touch(f, 20, 5));
	assert_int_equal(hn_state_of(&f->hn, fake_at(20)), HN_ARMED);
	assert_int_equal(present_in(f, 20), 0);
	assert_int_equal(f->targets_out, 0);
	fake_check(f);
	assert_true(fake_read(f, fake_cell_at(20, 5), 2));
}

static hn_addr part_to;

static void part_arrives(struct fake *f)
{
	f->in_hole_get = NULL;
	fake_munmap(f, part_to, HN_PAGE_SIZE);
	fake_mremap(f, fake_at(0), part_to, HN_PAGE_SIZE);
	fake_sleep(f, fake_cell_at(20, 5));
}

static void part_arrives_at(struct fake *f, hn_addr to)
{
	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	map_holes(f, 20, 0, 2 * FAKE_CELLS);
	part_to = to;
	f->in_hole_get = part_arrives;
}

static void test_part_arrives(void **state)
{
	struct fake *f = *state;

	part_arrives_at(f, fake_cell_at(20, 3));
	assert_false(touch(f, 20, 5));
	assert_true(fake_sleeps(f, fake_cell_at(20, 5)));
	assert_int_equal(present_in(f, 20), 0);
	assert_int_equal(f->targets_out, 0);
	assert_true(touch(f, 20, 5)); /* the caller's next try puts it where it belongs */
	fake_check(f);
}

/* Of the huge page that is touched, some other bytes are waiting to come: it must not be filled as a whole. */
static void test_part_arrives_beside(void **state)
{
	struct fake *f = *state;

	part_arrives_at(f, fake_cell_at(20, 6));
	assert_true(touch(f, 20, 5));
	assert_false(fake_sleeps(f, fake_cell_at(20, 5)));
	assert_int_equal(present_in(f, 20), 1);
	assert_int_equal(f->targets_out, 0);
	fake_check(f);
	assert_true(fake_read(f, fake_cell_at(20, 7), 2));
	assert_true(fake_read(f, fake_cell_at(21, 0), 2));
}

/* ---- displaced parts ---- */

static uint32_t displace_to_20(struct fake *f)
{
	uint32_t page;

	fake_manage(f, 0, 1, 0);
	page = fake_arm(f, 0);
	fake_mremap(f, fake_at(0), fake_cell_at(20, 3), HN_PAGE_SIZE);
	map_holes(f, 20, 0, 3);
	map_holes(f, 21, 3, 5);
	return page;
}

static void test_part_is_put_in_place(void **state)
{
	struct fake *f = *state;

	displace_to_20(f);
	assert_true(touch(f, 20, 5));
	assert_false(fake_sleeps(f, fake_cell_at(20, 5)));
	assert_int_equal(fake_parts(f), 0);
	assert_int_equal(present_in(f, 20), 5);
	fake_check(f);
}

static void test_hole_beside_a_part(void **state)
{
	struct fake *f = *state;

	displace_to_20(f);
	assert_true(touch(f, 20, 1));
	assert_int_equal(present_in(f, 20), 1);
	assert_int_equal(fake_parts(f), 1);
	fake_check(f);
}

/* A migration reads the page, and will put it there when it has ended; or an event comes first. */
static void test_part_cannot_be_put_now(void **state)
{
	struct fake *f = *state;
	uint32_t page = displace_to_20(f);

	assert_true(hn_page_trylock(&f->hn, page));
	assert_true(touch(f, 20, 5));
	assert_true(fake_sleeps(f, fake_cell_at(20, 5)));
	assert_int_equal(present_in(f, 20), 0);
	assert_int_equal(hn_displaced_resolve(&f->hn, 0, ~(hn_addr)0), HN_EBUSY);
	hn_page_unlock(&f->hn, page);
	f->event_pending = true;
	assert_false(touch(f, 20, 5));
	assert_true(fake_sleeps(f, fake_cell_at(20, 5)));
	assert_int_equal(present_in(f, 20), 0);
	f->event_pending = false;
	assert_true(touch(f, 20, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fake_test(test_empty_place_is_filled_huge),
		fake_test(test_unknown_node),
		fake_test(test_used_place_is_filled_small),
		fake_test(test_no_zeros_to_be_had),
		fake_test(test_event_comes_first),
		fake_test(test_somebody_was_faster),
		fake_test(test_armed_page_arrives),
		fake_test(test_part_arrives),
		fake_test(test_part_arrives_beside),
		fake_test(test_part_is_put_in_place),
		fake_test(test_hole_beside_a_part),
		fake_test(test_part_cannot_be_put_now),
	};

	return fake_run(tests);
}
