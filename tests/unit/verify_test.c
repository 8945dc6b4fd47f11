// SPDX-License-Identifier: MIT
/* The invariant walkers: each complaint is provoked by damaging the block, and is gone when it is mended. */
#include "fake.h"

#include <string.h>

static uint32_t damaged_page;

static void expect_complaint(struct fake *f, int invariant, const char *part)
{
	const char *what = NULL;
	int bad = hn_verify(&f->hn, HN_VERIFY_WALK, &what);

	if (bad != invariant || !strstr(what, part))
		fail_msg("I%d \"%s\" instead of I%d \"...%s...\"", bad, what, invariant, part);
}

/* Slot 0 MAPPED, slot 1 ARMED, slot 2 never managed. */
static int setup(void **state)
{
	struct fake *f = fake_new();

	fake_manage(f, 0, 2, 0);
	damaged_page = fake_arm(f, 1);
	fake_verify(f);
	*state = f;
	return 0;
}

#define DAMAGE(lvalue, value, invariant, part) \
	do { \
		__typeof__(lvalue) was = (lvalue); \
		(lvalue) = (value); \
		expect_complaint(f, invariant, part); \
		(lvalue) = was; \
		fake_verify(f); \
	} while (0)

static void test_entries(void **state)
{
	struct fake *f = *state;
	struct hn_entry *mapped = fake_entry(f, 0), *armed = fake_entry(f, 1);

	DAMAGE(mapped->lock.v, 1, 4, "entry lock is held");
	DAMAGE(mapped->state, 7, 2, "no valid state");
	DAMAGE(mapped->page, 3, 2, "has a page without being ARMED");
	DAMAGE(armed->page, HN_NO_INDEX, 2, "ARMED without a page");
	DAMAGE(armed->state, HN_MAPPED, 2, "has a page without being ARMED");
	DAMAGE(armed->page, 16, 2, "does not exist");
	DAMAGE(armed->page, 5, 2, "disagree about the address");
}

static void test_pages(void **state)
{
	struct fake *f = *state;
	struct hn_page *p = &hn_pages(&f->hn)[damaged_page], *other = &hn_pages(&f->hn)[9];
	const unsigned places[] = { 0, 1, 60 };
	unsigned i;

	DAMAGE(p->place.v, p->place.v + 1, 2, "disagree about the address");
	DAMAGE(p->content, 0, 2, "has no content");
	DAMAGE(p->lock.v, 1, 4, "page lock is held");
	DAMAGE(p->lock.v, 2, 4, "page lock is held");
	DAMAGE(p->refs.v, 2, 4, "more than one reference");
	DAMAGE(p->refs.v, 0, 4, "free page still has content");
	DAMAGE(other->content, 1, 4, "free page still has content");
	other->refs.v = 1;
	expect_complaint(f, 4, "more references than parts"); /* nowhere, and no part is on record */
	for (i = 0; i < 3; i++) {
		other->place.v = (uint32_t)(fake_at(places[i]) >> HN_PAGE_SHIFT);
		expect_complaint(f, 4, "attached to no entry");
	}
	other->place.v = 0;
	other->refs.v = 0;
}

static void test_counts(void **state)
{
	struct fake *f = *state;

	DAMAGE(f->hn.core->gate.v, 1, 4, "gate is held");
	DAMAGE(f->stats.samples, 1, 5, "conservation equations");
	DAMAGE(f->stats.managed_pages, 1, 5, "managed entries");
	f->stats.armed++; /* keeps the equations true */
	f->stats.armed_now++;
	expect_complaint(f, 5, "armed entries");
	f->stats.armed--;
	f->stats.armed_now--;
}

/* The cheap level looks at counters and the gate only. */
static void test_cheap_level(void **state)
{
	struct fake *f = *state;
	const char *what;

	fake_entry(f, 0)->lock.v = 1;
	assert_int_equal(hn_verify(&f->hn, HN_VERIFY_CHEAP, &what), 0);
	assert_int_equal(hn_verify(&f->hn, HN_VERIFY_WALK, &what), 4);
	fake_entry(f, 0)->lock.v = 0;
	f->stats.local++;
	assert_int_equal(hn_verify(&f->hn, HN_VERIFY_CHEAP, &what), 5);
	f->stats.local--;
	assert_int_equal(hn_verify(&f->hn, HN_VERIFY_CHEAP, &what), 0);
	assert_string_equal(what, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_entries, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_pages, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_counts, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_cheap_level, setup, fake_teardown),
	};

	return fake_run(tests);
}
