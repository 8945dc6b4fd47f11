// SPDX-License-Identifier: MIT
/* How long CPUs have been idle, as /proc/stat tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linux/live.h"

static void test_lines(void **state)
{
	static const struct {
		const char *line;
		bool ok;
		uint32_t cpu;
		uint64_t ms;
	} rows[] = {
		{ "cpu3 10 0 20 300 7 0 1 0 0 0", true, 3, 3070 },
		{ "cpu0 0 0 0 0 0 0 0 0 0 0", true, 0, 0 },
		{ "cpu4095 1 2 3 4 5", true, 4095, 90 },
		{ "cpu1 1 2 3 4000000000000 5", true, 1, 40000000000050 },
		{ "cpu  40 0 80 1200 28 0 4 0 0 0", false, 0, 0 }, /* all of them */
		{ "cpu1 1 2 3 4", false, 0, 0 },                   /* cut off */
		{ "cpu1 1 2 3 4 ", false, 0, 0 },
		{ "cpu1", false, 0, 0 },
		{ "cpu", false, 0, 0 },
		{ "cpu1 1 2 x 4 5", false, 0, 0 },
		{ "intr 1 2 3 4 5", false, 0, 0 },
		{ "", false, 0, 0 },
		{ "cpu99999999999 1 2 3 4 5", true, UINT32_MAX, 90 }, /* one that there is not */
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t cpu = 0;
		uint64_t ms = 0;
		bool ok = hn_idle_line(rows[i].line, &cpu, &ms);

		if (ok != rows[i].ok || (ok && (cpu != rows[i].cpu || ms != rows[i].ms)))
			fail_msg("%s: %d, CPU %u, %lu ms", rows[i].line, ok, cpu, (unsigned long)ms);
	}
}

/* Of this machine: all CPUs together have been idle for some time, and none of those that are not asked about. */
static void test_look(void **state)
{
	static struct hn_live live;
	static int16_t cpu_node[4096];
	uint64_t cpus[64], idle[HN_MAX_NODES];
	unsigned i;

	(void)state;
	for (i = 0; i < 64; i++)
		cpus[i] = ~0ull;
	for (i = 0; i < 4096; i++)
		cpu_node[i] = (int16_t)(i == 0 ? 1 : 2);
	live.setup.nr_cpus = 4096;
	live.setup.cpu_node = cpu_node;
	assert_true(hn_idle_look(&live, cpus, idle));
	assert_true(idle[1] > 0);
	assert_int_equal(idle[0], 0);
	cpus[0] &= ~1ull;
	assert_true(hn_idle_look(&live, cpus, idle));
	assert_int_equal(idle[1], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_lines), cmocka_unit_test(test_look) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
