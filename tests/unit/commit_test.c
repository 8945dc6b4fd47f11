// SPDX-License-Identifier: MIT
/* How much of a commit limit is asked for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "linux/live.h"
#include "linux/sys.h"

/* /proc is not read here. */
long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	(void)nr, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	return -ENOENT;
}

#define GIB ((uint64_t)1 << 20) /* KiB */

static uint32_t asked(const char *mode, uint64_t limit_kib, uint64_t used_kib, uint32_t wanted)
{
	char text[200];

	snprintf(text, sizeof(text), "MemTotal:       24684080 kB\nCommitLimit:    %8llu kB\nCommitted_AS:   %8llu kB\n",
		 (unsigned long long)limit_kib, (unsigned long long)used_kib);
	return hn_commit_pages(mode, text, wanted);
}

static void test_shares(void **state)
{
	static const struct {
		const char *mode;
		uint64_t limit, used;
		uint32_t wanted, pages;
	} rows[] = {
		{ "0\n", 12 * GIB, 11 * GIB, 512, 512 }, /* the kernel guesses */
		{ "1\n", 12 * GIB, 20 * GIB, 512, 512 }, /* or does not care */
		{ "2\n", 1200 * GIB, 100 * GIB, 512, 512 },
		{ "2\n", 128 * GIB, 64 * GIB, 512, 32 }, /* one part in 512: 128 MiB */
		{ "2\n", 128 * GIB, 64 * GIB, 20, 20 },
		{ "2\n", 12 * GIB, 10 * GIB, 512, 8 }, /* the fewest: one part in 64 */
		{ "2\n", 12 * GIB, 10 * GIB + 4, 512, 0 },
		{ "2\n", 12 * GIB, 12 * GIB, 512, 0 },
		{ "2\n", 12 * GIB, 13 * GIB, 512, 0 }, /* over it: root has some in reserve */
		{ "2\n", 12 * GIB, 8 * GIB, 2, 2 },    /* who wants little */
		{ "2\n", 0, 0, 512, 512 },             /* not known */
		{ "", 12 * GIB, 11 * GIB, 512, 512 },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (asked(rows[i].mode, rows[i].limit, rows[i].used, rows[i].wanted) != rows[i].pages)
			fail_msg("row %u: %u", i, asked(rows[i].mode, rows[i].limit, rows[i].used, rows[i].wanted));
}

/* Hundreds of processes, each with its share, leave more than half to others. */
static void test_many_processes(void **state)
{
	uint64_t limit = 512 * GIB, used = 0;
	unsigned i;

	(void)state;
	for (i = 0; i < 300; i++)
		used += (uint64_t)asked("2\n", limit, used, 512) * 4096;
	assert_true(used < limit / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_shares), cmocka_unit_test(test_many_processes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
