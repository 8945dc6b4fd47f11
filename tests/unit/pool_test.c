// SPDX-License-Identifier: MIT
/*
 * Slots of the pool whose node the process may not use for a while (its cpuset): none is lost, and all are bound when it may again.
 * The backend's own code on a kernel of this file.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "linux/live.h"
#include "linux/sys.h"

static struct hn_live live;
static const int16_t os_nid[] = { 0, 3 };
static int bound[2 * HN_POOL_PER_NODE]; /* node that a slot prefers; -1: none */
static bool gone[2 * HN_POOL_PER_NODE]; /* nothing is mapped there */
static bool allowed, huge_to_be_had, no_mapping;

static uint32_t slot_at(long addr) { return (uint32_t)((hn_addr)addr >> HN_PAGE_SHIFT) - 1; }

long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	uint32_t i, first = slot_at(a), n = (uint32_t)(b >> HN_PAGE_SHIFT);

	(void)e;
	(void)f;
	switch (nr) {
	case SYS_mbind:
		assert_int_equal(c, MPOL_PREFERRED | MPOL_F_STATIC_NODES);
		if (first >= HN_POOL_PER_NODE && !allowed)
			return -EINVAL;
		for (i = first; i < first + n; i++)
			if (gone[i])
				return -EFAULT;
		for (i = first; i < first + n; i++)
			bound[i] = *(uint64_t *)d & 1 ? 0 : 3;
		return 0;
	case SYS_madvise: return 0;
	case SYS_futex: return 0;
	default: fail_msg("system call %ld", nr);
	}
	return -ENOSYS;
}

int hn_area_renew(void *p, size_t bytes, bool huge)
{
	uint32_t slot = slot_at((long)p);

	assert_true(huge && bytes == HN_PAGE_SIZE);
	bound[slot] = -1;
	gone[slot] = no_mapping;
	return no_mapping ? -ENOMEM : 0;
}

bool hn_pagemap_is_huge(int fd, hn_addr haddr)
{
	(void)fd;
	(void)haddr;
	return huge_to_be_had;
}

/* What is not bound comes from where this thread runs. */
int hn_os_node(void *at) { return bound[slot_at((long)at)] < 0 ? 0 : bound[slot_at((long)at)]; }

uint64_t hn_live_cpu_ns(void *be)
{
	(void)be;
	return 0;
}

static uint64_t now_ms;

uint64_t hn_live_now_ns(void *be)
{
	(void)be;
	return now_ms * 1000000;
}

uint32_t hn_room_kib(const struct hn_live *l, uint32_t n)
{
	(void)l;
	(void)n;
	return 0;
}

void hn_room_note_enough(struct hn_live *l, uint32_t n, uint32_t before_kib)
{
	(void)l;
	(void)n;
	(void)before_kib;
}

bool hn_room_is_enough(const struct hn_live *l, uint32_t n)
{
	(void)l;
	(void)n;
	return true;
}

bool hn_room_is_scarce(const struct hn_live *l, uint32_t n)
{
	(void)l;
	(void)n;
	return false;
}

void hn_room_note_scarce(struct hn_live *l, uint32_t n)
{
	(void)l;
	(void)n;
}

static void fresh(void)
{
	unsigned i;

	memset(&live, 0, sizeof(live));
	memset(gone, 0, sizeof(gone));
	for (i = 0; i < 2 * HN_POOL_PER_NODE; i++)
		bound[i] = -1;
	live.setup = (struct hn_setup){ .nr_nodes = 2, .os_nid = os_nid };
	live.pool = (char *)HN_PAGE_SIZE;
	allowed = huge_to_be_had = true;
	no_mapping = false;
	now_ms = 1000;
	assert_int_equal(hn_pool_bind(&live), 0);
}

/* How many slots of node 1 can be had at one time. */
static unsigned slots_there_are(void)
{
	uint32_t slot[HN_POOL_PER_NODE + 1];
	unsigned n = 0, i;

	while (n <= HN_POOL_PER_NODE && hn_pool_get(&live, 1, false, &slot[n]) == 0) {
		assert_int_equal(bound[slot[n]], 3);
		n++;
	}
	for (i = 0; i < n; i++)
		hn_pool_drop(&live, slot[i]);
	return n;
}

/* The keeper's turn, after whatever it waits for. */
static void tend(void)
{
	now_ms += 40000;
	hn_pool_tend(&live);
}

/* Moves are broken off and small pages come while the cpuset has not the node. */
static void test_a_node_that_is_excluded_for_a_while(void **state)
{
	uint32_t slot[HN_POOL_PER_NODE], i;

	(void)state;
	fresh();
	assert_int_equal(slots_there_are(), HN_POOL_PER_NODE);
	for (i = 0; i < HN_POOL_PER_NODE; i++)
		assert_int_equal(hn_pool_get(&live, 1, false, &slot[i]), 0);
	allowed = huge_to_be_had = false;
	for (i = 0; i < HN_POOL_PER_NODE; i++)
		hn_pool_put(&live, slot[i]);
	for (i = 0; i < 3; i++) {
		assert_int_not_equal(hn_pool_get(&live, 1, false, &slot[0]), 0);
		tend();
	}
	allowed = huge_to_be_had = true;
	assert_int_not_equal(hn_pool_get(&live, 1, false, &slot[0]), 0); /* the keeper's business, until it has one */
	tend();
	assert_int_equal(slots_there_are(), HN_POOL_PER_NODE);
}

/* Only what there is no memory for, not even for a mapping, is lost, and does not keep the others from being bound. */
static void test_a_slot_that_is_gone(void **state)
{
	uint32_t slot[2];

	(void)state;
	fresh();
	assert_int_equal(hn_pool_get(&live, 1, false, &slot[0]), 0);
	assert_int_equal(hn_pool_get(&live, 1, false, &slot[1]), 0);
	huge_to_be_had = allowed = false;
	hn_pool_put(&live, slot[1]);
	no_mapping = true;
	hn_pool_put(&live, slot[0]);
	huge_to_be_had = allowed = true;
	assert_int_equal(slots_there_are(), HN_POOL_PER_NODE - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_node_that_is_excluded_for_a_while),
		cmocka_unit_test(test_a_slot_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
