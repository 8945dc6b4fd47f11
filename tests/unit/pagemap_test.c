// SPDX-License-Identifier: MIT
/* Counting pages: right, and in calls that hold the memory map's lock for a moment only. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define FD 7
#define START ((hn_addr)1 << 40)
#define BYTES ((hn_addr)4 << 30)
#define MOST \
	((hn_addr)64 \
	 << 20) /* looked at in one call; the kernel takes some 0.2 ms for that, if all of it are small pages */

static unsigned int calls, fails_at; /* fails_at: that call fails; 0: none */
static hn_addr longest;

/* What there is: of every 2 MiB at START the first half. */
#define EVERY ((hn_addr)2 << 20)
#define THERE ((hn_addr)1 << 20)

/* As the kernel does: ranges until `vec` is full, and how far that was. */
static long scan(struct hn_pm_scan_arg *arg)
{
	struct hn_page_region *vec = (struct hn_page_region *)(uintptr_t)arg->vec;
	uint64_t n = 0;
	hn_addr at;

	calls++;
	if (calls == fails_at)
		return -ENOMEM;
	assert_true(arg->start < arg->end && arg->start >= START && arg->end <= START + BYTES);
	if (arg->end - arg->start > longest)
		longest = arg->end - arg->start;
	for (at = arg->start; at < arg->end; at = at / EVERY * EVERY + EVERY) {
		hn_addr end = at / EVERY * EVERY + THERE;

		if (at >= end)
			continue;
		if (n == arg->vec_len)
			break;
		vec[n].start = at;
		vec[n++].end = end < arg->end ? end : arg->end;
	}
	arg->walk_end = at < arg->end ? at : arg->end;
	return (long)n;
}

long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	(void)d, (void)e, (void)f;
	assert_int_equal(nr, SYS_ioctl);
	assert_int_equal(a, FD);
	assert_int_equal(b, (long)HN_PAGEMAP_SCAN);
	return scan((struct hn_pm_scan_arg *)c);
}

static int set_up(void **state)
{
	(void)state;
	calls = fails_at = 0;
	longest = 0;
	return 0;
}

static void test_all_is_counted(void **state)
{
	(void)state;
	assert_int_equal(hn_pagemap_present_bytes(FD, START, START + BYTES, UINT64_MAX), BYTES / EVERY * THERE);
	assert_int_equal(hn_pagemap_huge_bytes(FD, START + THERE / 2, START + EVERY + THERE / 4, UINT64_MAX),
			 THERE / 2 + THERE / 4);
	assert_int_equal(hn_pagemap_present_bytes(FD, START, START, UINT64_MAX), 0);
}

static void test_not_much_in_one_call(void **state)
{
	(void)state;
	hn_pagemap_present_bytes(FD, START, START + BYTES, UINT64_MAX);
	hn_pagemap_huge_bytes(FD, START, START + BYTES, UINT64_MAX);
	assert_true(longest <= MOST);
}

static void test_ends_with_what_is_enough(void **state)
{
	(void)state;
	assert_true(hn_pagemap_present_bytes(FD, START, START + BYTES, THERE) >= THERE);
	assert_int_equal(calls, 1);
}

/* The rest is not looked at, and what was counted stands. */
static void test_a_call_that_fails(void **state)
{
	uint64_t before;

	(void)state;
	before = hn_pagemap_present_bytes(FD, START, START + MOST, UINT64_MAX);
	calls = 0;
	fails_at = 2;
	assert_true(hn_pagemap_present_bytes(FD, START, START + BYTES, UINT64_MAX) <= before);
	assert_int_equal(calls, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_all_is_counted, set_up),
		cmocka_unit_test_setup(test_not_much_in_one_call, set_up),
		cmocka_unit_test_setup(test_ends_with_what_is_enough, set_up),
		cmocka_unit_test_setup(test_a_call_that_fails, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
