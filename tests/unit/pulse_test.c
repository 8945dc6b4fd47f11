// SPDX-License-Identifier: MIT
/* Which threads the watchdog takes for such that go round for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linux/pulse.h"

#define S 1000000000u

/* A thread as it is seen once a second: what it does from one look to the next. */
struct life {
	uint32_t beat_every, step_every; /* looks; 0: never */
	uint32_t asleep_every;
	uint64_t cpu_ns;                 /* of each look */
};

/* At which look it is taken for stuck; 0: in `looks` looks at none. */
static uint32_t stuck_at(struct life l, uint32_t looks)
{
	struct hn_pulse p = { 0 };
	uint64_t cpu = 12345;
	uint32_t i;

	for (i = 1; i <= looks; i++) {
		cpu += l.cpu_ns;
		if (hn_pulse_look(&p, l.beat_every ? i / l.beat_every : 7, l.step_every ? i / l.step_every : 7,
				  l.asleep_every && i % l.asleep_every == 0, cpu))
			return i;
	}
	return 0;
}

static void test_goes_round(void **state)
{
	(void)state;
	/* Without a step, all of a CPU: from the second look on, which is the first that knows what was used. */
	assert_int_equal(stuck_at((struct life){ .cpu_ns = S }, 100), 22);
	/* Half of a CPU: later, by the time it has had. */
	assert_in_range(stuck_at((struct life){ .cpu_ns = S / 2 }, 100), 41, 43);
	/* With calls that succeed all the time, and never back where it came from. */
	assert_in_range(stuck_at((struct life){ .step_every = 1, .cpu_ns = S }, 1000), 300, 303);
}

static void test_gets_on(void **state)
{
	(void)state;
	/* A scanner in a slow guest: busy for minutes, and a call comes to its end every few seconds. */
	assert_int_equal(stuck_at((struct life){ .step_every = 15, .beat_every = 240, .cpu_ns = S }, 10000), 0);
	/* A handler that reads message after message. */
	assert_int_equal(stuck_at((struct life){ .beat_every = 1, .cpu_ns = S }, 10000), 0);
	assert_int_equal(stuck_at((struct life){ .asleep_every = 10, .cpu_ns = S }, 10000), 0);
	/* One that has nothing to do, or is not let run. */
	assert_int_equal(stuck_at((struct life){ .cpu_ns = 0 }, 10000), 0);
}

/* The guest stood still: to us it is as if the thread had had a minute. */
static void test_stolen(void **state)
{
	struct hn_pulse p = { 0 };

	(void)state;
	assert_false(hn_pulse_look(&p, 1, 1, false, S));
	assert_false(hn_pulse_look(&p, 1, 1, false, 61ull * S));
	assert_false(hn_pulse_look(&p, 1, 1, false, 62ull * S));
	assert_false(hn_pulse_look(&p, 1, 2, false, 63ull * S));
}

/* Counters wrap, and a clock may not be known for a moment: that is neither progress nor its end. */
static void test_odd(void **state)
{
	struct hn_pulse p = { .beats = UINT32_MAX, .steps = UINT32_MAX };
	uint32_t i;

	(void)state;
	assert_false(hn_pulse_look(&p, 0, 0, false, 5));
	for (i = 0; i < 1000; i++)
		assert_false(hn_pulse_look(&p, 0, 0, false, i % 2 ? 0 : (i + 1) * (uint64_t)S));
	assert_true(p.no_step_ns < 2ull * S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_goes_round),
		cmocka_unit_test(test_gets_on),
		cmocka_unit_test(test_stolen),
		cmocka_unit_test(test_odd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
