// SPDX-License-Identifier: MIT
/*
 * Where a thread is, and which memory is a thread's own: no read that could wait for ourselves, and no thread forgotten without
 * a word. The backend's own code on a kernel of this file.
 */
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

#define PROBE 7
#define TASK 8
#define STAT 9
#define RSEQ_FROM_ROBUST 256
#define TP_FROM_ROBUST (-736)
#define STACK(i) ((hn_addr)0x700000000000 + (hn_addr)(i) * (32 << 20)) /* end of thread i's stack, about; far from the next */
#define FIRST 1000u

static uint32_t nr_threads, listed;
static hn_addr head_at; /* of every thread; 0: in its own stack's mapping */
static unsigned probes, stats;

/* Where a libc of its own would put it: not beside the thread pointer. */
static hn_addr head_of(uint32_t tid) { return head_at ? head_at : STACK(tid - FIRST) - 4096; }

static long list_threads(char *buf, long bytes)
{
	long n = 0;

	for (; listed < nr_threads && n + 32 <= bytes; n += 32, listed++) {
		memset(buf + n, 0, 32);
		buf[n + 16] = 32;
		sprintf(buf + n + 19, "%u", FIRST + listed);
	}
	return n;
}

long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	static const char stat[] = "1 (a) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 5 0 0\n";
	static uint64_t number;

	(void)d;
	(void)e;
	(void)f;
	switch (nr) {
	case SYS_get_robust_list:
		*(hn_addr *)b = head_of((uint32_t)a);
		*(size_t *)c = 24;
		return 0;
	case SYS_write: /* the kernel reads the thread's area for us */
		assert_int_equal(a, PROBE);
		probes++;
		number = (uint64_t)3 << 32 | 3;
		return 8;
	case SYS_read:
		if (a == PROBE) {
			memcpy((void *)b, &number, 8);
			return 8;
		}
		assert_int_equal(a, STAT);
		stats++;
		memcpy((void *)b, stat, sizeof(stat) - 1);
		return (long)sizeof(stat) - 1;
	case SYS_openat: assert_int_equal(a, TASK); return STAT;
	case SYS_close: return 0;
	case SYS_lseek: listed = 0; return 0;
	case SYS_getdents64: return list_threads((char *)b, c);
	case SYS_getpid: return FIRST;
	case SYS_ioctl: return -ENOTTY;
	default: fail_msg("system call %ld", nr);
	}
	return -ENOSYS;
}

static uint64_t now_ns;

uint64_t hn_live_now_ns(void *be)
{
	(void)be;
	return now_ns;
}

static struct hn_live live;
static struct hn_worker worker;
static uint64_t counter[8];
static const int16_t cpu_node[] = { 0, 0, 0, 1, 0, 2 }; /* what is read tells CPU 3, stat 5 */

static void fresh(void)
{
	memset(&live, 0, sizeof(live));
	memset(&worker, 0, sizeof(worker));
	worker.live = &live;
	live.setup = (struct hn_setup){ .nr_nodes = 3, .nr_cpus = 6, .cpu_node = cpu_node };
	live.cnt = (struct hn_live_counters){ &counter[0], &counter[1], &counter[2], &counter[3],
					      &counter[4], &counter[5], &counter[6] };
	live.fd_probe = PROBE;
	live.fd_task = TASK;
	live.rseq_from_robust = RSEQ_FROM_ROBUST;
	live.tp_from_robust = TP_FROM_ROBUST;
	head_at = 0;
	nr_threads = 3;
	probes = stats = 0;
	now_ns = 1000000000;
}

/* What is in a region may be armed, and the read would never return. */
static void test_what_may_be_armed_is_not_read(void **state)
{
	hn_addr area = head_of(FIRST) + RSEQ_FROM_ROBUST;

	(void)state;
	fresh();
	assert_int_equal(hn_who_node(&worker, FIRST), 1);
	assert_int_equal(probes, 1);
	hn_region_add(&live, hn_page_down(area), hn_page_down(area) + HN_PAGE_SIZE, NULL); /* known since a moment */
	assert_int_equal(hn_who_node(&worker, FIRST), 2);
	now_ns += 5000000000; /* asked for anew */
	assert_int_equal(hn_who_node(&worker, FIRST), 2);
	assert_true(probes == 1 && stats == 2);
	assert_int_equal(hn_who_node(&worker, FIRST + 1), 1); /* another's is elsewhere */
	hn_region_cut(&live, hn_page_down(area), hn_page_down(area) + HN_PAGE_SIZE);
	assert_int_equal(hn_who_node(&worker, FIRST), 1);
}

static bool is_excluded(hn_addr at)
{
	uint32_t i;

	for (i = 0; i < live.nr_excludes; i++)
		if (live.exclude[i].start <= at && at < live.exclude[i].end)
			return true;
	return false;
}

/* One place each is enough; what does not fit any more is said. */
static void test_as_many_threads_as_there_is_room_for(void **state)
{
	static const uint32_t most[] = { 1, 2049, HN_MAX_EXCLUDES, HN_MAX_EXCLUDES + 1, 3 };
	unsigned i, t;

	(void)state;
	fresh();
	for (i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		nr_threads = most[i];
		hn_exclude_threads(&live);
		assert_int_equal(live.excludes_full, nr_threads > HN_MAX_EXCLUDES);
		for (t = 0; t < nr_threads && t < HN_MAX_EXCLUDES; t += 97)
			assert_true(is_excluded(head_of(FIRST + t)) && is_excluded(head_of(FIRST + t) + TP_FROM_ROBUST));
	}
}

/* A list that is not beside the thread pointer gets a place of its own. */
static void test_a_list_elsewhere(void **state)
{
	(void)state;
	fresh();
	nr_threads = 1;
	live.tp_from_robust = -(64 << 20);
	hn_exclude_threads(&live);
	assert_int_equal(live.nr_excludes, 2);
	assert_true(is_excluded(head_of(FIRST)) && is_excluded(head_of(FIRST) - (64 << 20)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_may_be_armed_is_not_read),
		cmocka_unit_test(test_as_many_threads_as_there_is_room_for),
		cmocka_unit_test(test_a_list_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
