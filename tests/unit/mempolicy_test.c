// SPDX-License-Identifier: MIT
/*
 * Memory policies of the program: what is read of them, what becomes of a mapping, and the fence against the kernel's
 * balancing, which must be gone without a trace. The backend's own code on a kernel of this file: mappings with a policy each.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define BALANCING (1 << 13)
#define MANY 5
#define VMAS 4u
#define AT(i) (HN_PAGE_SIZE * (100 + 10 * (hn_addr)(i)))
#define ZERO 77 /* descriptors */
#define MAPS 78

static struct hn_mempolicy vma[VMAS]; /* of [AT(i), AT(i + 1)) */
static bool unmapped[VMAS];
static const char *numa_maps; /* of the one thread there is */
static bool balancing;
static unsigned binds;

/* Each is a mapping of its own, also where neighbours have the same policy. */
static long next_mapping(struct hn_procmap_query *q)
{
	unsigned i;

	assert_int_equal(q->query_flags, HN_PROCMAP_QUERY_COVERING_OR_NEXT_VMA);
	for (i = 0; i < VMAS; i++)
		if (!unmapped[i] && q->query_addr < AT(i + 1)) {
			q->vma_start = AT(i);
			q->vma_end = AT(i + 1);
			return 0;
		}
	return -ENOENT;
}

long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	unsigned long i = ((unsigned long)(nr == SYS_mbind ? a : d) - AT(0)) / (AT(1) - AT(0));

	(void)f;
	switch (nr) {
	case SYS_get_mempolicy:
		assert_int_equal(e, MPOL_F_ADDR);
		if (i >= VMAS || unmapped[i])
			return -EFAULT;
		*(int *)a = vma[i].mode;
		memset((void *)b, 0, 128);
		memcpy((void *)b, &vma[i].nodes, 8);
		return 0;
	case SYS_mbind:
		assert_in_range(i, 0, VMAS - 1);
		assert_false(unmapped[i]);
		assert_int_equal(a, AT(i));
		assert_int_equal(b, AT(1) - AT(0)); /* a mapping at a time: another may have another policy */
		vma[i] = (struct hn_mempolicy){ (int)c, d ? *(uint64_t *)d : 0 };
		assert_true((c & ~(BALANCING | MPOL_F_STATIC_NODES)) != MPOL_DEFAULT || !d);
		binds++;
		return 0;
	case SYS_openat: return strstr((const char *)b, "numa_balancing") ? ZERO : MAPS;
	case SYS_close: return 0;
	case SYS_ioctl: return b == (long)HN_PROCMAP_QUERY ? next_mapping((void *)c) : -ENOTTY;
	case SYS_pread64: {
		const char *text = a == MAPS ? numa_maps : balancing ? "1\n" : "0\n";
		size_t n = strlen(text) < (size_t)c ? strlen(text) : (size_t)c;

		memcpy((void *)b, text, n);
		return (long)n;
	}
	default: fail_msg("system call %ld", nr);
	}
	return -ENOSYS;
}

void hn_number_path(char *buf, const char *a, uint32_t number, const char *b) { snprintf(buf, 64, "%s%u%s", a, number, b); }
void hn_each_thread(struct hn_live *live, bool (*fn)(struct hn_live *live, uint32_t tid)) { fn(live, 1); }
uint64_t hn_live_now_ns(void *be)
{
	(void)be;
	return 5000000000;
}

static uint8_t distance[HN_MAX_NODES][HN_MAX_NODES] = { { 10, 20, 30 }, { 20, 10, 15 }, { 30, 15, 10 } };
static const int16_t os_nid[] = { 0, 2, 5 }; /* indices 0, 1, 2 */
static struct hn_live live;
static uint64_t counter[8];

static struct hn_live *fresh(bool balances, const char *thread)
{
	memset(&live, 0, sizeof(live));
	live.setup = (struct hn_setup){ .nr_nodes = 3, .os_nid = os_nid, .distance = distance };
	live.cnt = (struct hn_live_counters){ &counter[0], &counter[1], &counter[2], &counter[3],
					      &counter[4], &counter[5], &counter[6] };
	memset(vma, 0, sizeof(vma));
	memset(unmapped, 0, sizeof(unmapped));
	balancing = balances;
	numa_maps = thread;
	hn_policy_look(&live);
	return &live;
}

/* ---- a thread's policy, as text ---- */

static void test_numa_maps(void **state)
{
	static const struct {
		const char *text;
		enum hn_task_policy policy;
		int mode;
		uint64_t nodes;
	} rows[] = {
		{ "7f00 default anon=1 dirty=1 N0=1\n", HN_TASK_DEFAULT, 0, 0 },
		{ "7f00 local anon=1 dirty=1 N0=1\n", HN_TASK_LOCAL, 0, 0 },
		{ "7f00 bind:0-1 anon=1 dirty=1 N0=1\n", HN_TASK_OWN, 0, 0 },
		{ "7f00 interleave:0-3 anon=1 N0=1\n", HN_TASK_OWN, 0, 0 },
		{ "7f00 prefer (many):0 anon=1 N0=1\n", HN_TASK_OWN, 0, 0 },
		{ "7f00 bind=balancing:0 anon=1 N0=1\n", HN_TASK_BOUND, MPOL_BIND | BALANCING, 1 },
		{ "7f00 bind=balancing:0-2,5,63\n", HN_TASK_BOUND, MPOL_BIND | BALANCING, 0x8000000000000027 },
		{ "7f00 bind=static|balancing:1 anon=1\n", HN_TASK_BOUND, MPOL_BIND | MPOL_F_STATIC_NODES | BALANCING, 2 },
		{ "7f00 prefer (many)=balancing:1,3 anon=1\n", HN_TASK_BOUND, MANY | BALANCING, 10 },
		{ "7f00 bind=relative|balancing:1 anon=1\n", HN_TASK_OWN, 0, 0 },
		{ "7f00 bind=static:1 anon=1 dirty=1\n", HN_TASK_OWN, 0, 0 },
		{ "7f00 bind=balancing:1,64 anon=1\n", HN_TASK_OWN, 0, 0 },
		{ "7f00 bind=balancing:5-99999999999 anon=1\n", HN_TASK_OWN, 0, 0 },
		{ "7f00 bind=balancing:x anon=1 dirty=1\n", HN_TASK_OWN, 0, 0 },
		{ "7f00 bind=balancing:0-1", HN_TASK_UNKNOWN, 0, 0 }, /* there may be more */
		{ "7f00 bind=balancing:", HN_TASK_UNKNOWN, 0, 0 },
		{ "7f00 prefer (many)=bal", HN_TASK_UNKNOWN, 0, 0 },
		{ "7f00 bind=stat", HN_TASK_UNKNOWN, 0, 0 },
		{ "7f00 def", HN_TASK_UNKNOWN, 0, 0 },
		{ "", HN_TASK_UNKNOWN, 0, 0 },
	};
	struct hn_mempolicy got;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum hn_task_policy p = hn_parse_task_policy(rows[i].text, rows[i].text + strlen(rows[i].text), &got);

		if (p != rows[i].policy)
			fail_msg("%s: %d", rows[i].text, p);
		if (p == HN_TASK_BOUND && (got.mode != rows[i].mode || got.nodes != rows[i].nodes))
			fail_msg("%s: mode %x, nodes %lx", rows[i].text, (unsigned)got.mode, (unsigned long)got.nodes);
	}
}

/* ---- what becomes of a mapping ---- */

#define DEFAULT_THREAD "7f00 default anon=1 dirty=1\n"
#define BOUND_THREAD "7f00 bind=balancing:0,5 anon=1\n"
#define OWN_THREAD "7f00 interleave:0-3 anon=1\n"

static void test_rules(void **state)
{
	static const struct {
		const char *what, *thread;
		struct hn_mempolicy p;
		enum hn_range_rule rule;
		uint64_t nodes;
	} rows[] = {
		{ "nothing", DEFAULT_THREAD, { MPOL_DEFAULT, 0 }, HN_RANGE_FREE, 0 },
		{ "local", DEFAULT_THREAD, { MPOL_LOCAL, 0 }, HN_RANGE_FREE, 0 },
		{ "bind", DEFAULT_THREAD, { MPOL_BIND, 5 }, HN_RANGE_OWN, 0 },
		{ "bind, balanced", DEFAULT_THREAD, { MPOL_BIND | BALANCING, 5 }, HN_RANGE_BOUND, 3 },
		{ "static, balanced", DEFAULT_THREAD, { MPOL_BIND | MPOL_F_STATIC_NODES | BALANCING, 36 }, HN_RANGE_BOUND, 6 },
		{ "relative, balanced", DEFAULT_THREAD, { MPOL_BIND | MPOL_F_RELATIVE_NODES | BALANCING, 5 }, HN_RANGE_OWN, 0 },
		{ "balanced, but of unknown nodes", DEFAULT_THREAD, { MPOL_BIND | BALANCING, 2 }, HN_RANGE_OWN, 0 },
		{ "preferred", DEFAULT_THREAD, { MPOL_PREFERRED, 1 }, HN_RANGE_OWN, 0 },
		{ "preferred-many", DEFAULT_THREAD, { MANY, 5 }, HN_RANGE_OWN, 0 },
		{ "preferred-many, balanced", DEFAULT_THREAD, { MANY | BALANCING, 32 }, HN_RANGE_BOUND, 4 },
		{ "interleave", DEFAULT_THREAD, { MPOL_INTERLEAVE, 5 }, HN_RANGE_OWN, 0 },
		{ "weighted interleave", DEFAULT_THREAD, { 6, 5 }, HN_RANGE_OWN, 0 },
		{ "one of the future", DEFAULT_THREAD, { 99, 5 }, HN_RANGE_OWN, 0 },
		{ "nothing, threads are bound", BOUND_THREAD, { MPOL_DEFAULT, 0 }, HN_RANGE_BOUND, 5 },
		{ "local, threads are bound", BOUND_THREAD, { MPOL_LOCAL, 0 }, HN_RANGE_FREE, 0 },
		{ "its own, threads are bound", BOUND_THREAD, { MPOL_BIND | BALANCING, 4 }, HN_RANGE_BOUND, 2 },
		{ "nothing, threads have their own", OWN_THREAD, { MPOL_DEFAULT, 0 }, HN_RANGE_OWN, 0 },
		{ "local, threads have their own", OWN_THREAD, { MPOL_LOCAL, 0 }, HN_RANGE_FREE, 0 },
	};
	uint64_t nodes;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hn_live *l = fresh(false, rows[i].thread);
		enum hn_range_rule rule;

		vma[0] = rows[i].p;
		rule = hn_policy_rule(l, AT(0), NULL, &nodes);
		if (rule != rows[i].rule || nodes != rows[i].nodes)
			fail_msg("%s: %d, nodes %lx", rows[i].what, rule, (unsigned long)nodes);
		assert_false(hn_policy_fence_for(l, AT(0)).up); /* the kernel does not balance */
		l->setup.own_policy_too = true;
		assert_int_equal(hn_policy_rule(l, AT(0), NULL, &nodes), HN_RANGE_FREE);
	}
}

/* ---- the fence ---- */

static const struct hn_fence *fence_of(unsigned i)
{
	struct hn_region *r = hn_region_at(&live, AT(i));

	return r ? &r->fence : NULL;
}

/* As discover.c does: what was read of the policies before the gate is what the fence is made for. */
static void put_up(unsigned first, unsigned last, const struct hn_fence *f)
{
	if (!hn_region_covers(&live, AT(first), AT(last + 1)))
		hn_region_add(&live, AT(first), AT(last + 1), NULL);
	hn_policy_fence(&live, AT(first), AT(last + 1), f);
}

static void take_in(unsigned i)
{
	struct hn_fence f = hn_policy_fence_for(&live, AT(i));

	put_up(i, i, &f);
}

static void let_go_of_all(void)
{
	while (live.nr_regions) {
		struct hn_region r = live.region[0];

		hn_policy_unfence(&live, r.start, r.end);
		hn_region_cut(&live, r.start, r.end);
	}
}

static const struct hn_mempolicy mixed[VMAS] = {
	{ MPOL_BIND | BALANCING, 5 }, { MPOL_DEFAULT, 0 }, { MANY | MPOL_F_STATIC_NODES | BALANCING, 4 }, { MPOL_BIND | BALANCING, 1 },
};

static void fence_all(const char *thread, unsigned first, unsigned step, const struct hn_mempolicy *within)
{
	struct hn_live *l = fresh(true, thread);
	uint64_t nodes[2];
	unsigned n, i;

	memcpy(vma, mixed, sizeof(vma));
	for (n = 0; n < VMAS; n++) {
		i = (first + n * step) % VMAS;
		hn_policy_rule(l, AT(i), NULL, &nodes[0]);
		take_in(i);
		assert_int_equal(hn_policy_rule(l, AT(i), fence_of(i), &nodes[1]), nodes[0] ? HN_RANGE_BOUND : HN_RANGE_FREE);
		assert_int_equal(nodes[1], nodes[0]); /* ours hides nothing */
	}
	for (i = 0; i < VMAS; i++) {
		assert_int_equal(vma[i].mode, within[i].mode); /* nothing that the kernel balances */
		assert_int_equal(vma[i].nodes, within[i].nodes);
	}
	binds = 0;
	for (i = 0; i < VMAS; i++)
		take_in(i); /* the next look */
	assert_int_equal(binds, 0);
	let_go_of_all();
	assert_memory_equal(vma, mixed, sizeof(vma));
}

static void test_fence(void **state)
{
	static const struct hn_mempolicy within[2][VMAS] = {
		{ { MPOL_BIND, 5 }, { MPOL_LOCAL, 0 }, { MANY | MPOL_F_STATIC_NODES, 4 }, { MPOL_BIND, 1 } },
		{ { MPOL_BIND, 5 }, { MPOL_BIND, 33 }, { MANY | MPOL_F_STATIC_NODES, 4 }, { MPOL_BIND, 1 } },
	};
	unsigned first, step;

	(void)state;
	for (first = 0; first < VMAS; first++)
		for (step = 1; step < VMAS; step += 2) {
			fence_all(DEFAULT_THREAD, first, step, within[0]);
			fence_all(BOUND_THREAD, first, step, within[1]);
		}
}

/* Regions that touch and are fenced alike are one, others stay apart, and mremap takes the fence along. */
static void test_fenced_regions(void **state)
{
	(void)state;
	fresh(true, DEFAULT_THREAD);
	vma[0] = vma[1] = (struct hn_mempolicy){ MPOL_BIND | BALANCING, 5 };
	vma[2] = (struct hn_mempolicy){ MPOL_BIND | BALANCING, 4 };
	take_in(0);
	take_in(2);
	take_in(1);
	assert_int_equal(live.nr_regions, 2);
	assert_true(live.region[0].start == AT(0) && live.region[0].end == AT(2));
	hn_region_remap(&live, AT(2), AT(20), AT(1) - AT(0));
	assert_int_equal(live.nr_regions, 2);
	assert_true(live.region[1].start == AT(20) && live.region[1].fence.up && live.region[1].fence.now.nodes == 4);
}

/* What the program says while the fence stands is what counts, then and afterwards. */
static void test_the_program_changes_its_mind(void **state)
{
	uint64_t nodes;

	(void)state;
	fresh(true, DEFAULT_THREAD);
	vma[0] = (struct hn_mempolicy){ MPOL_BIND | BALANCING, 5 };
	take_in(0);
	vma[0] = (struct hn_mempolicy){ MPOL_INTERLEAVE, 5 };
	assert_int_equal(hn_policy_rule(&live, AT(0), fence_of(0), &nodes), HN_RANGE_OWN);
	let_go_of_all();
	assert_int_equal(vma[0].mode, MPOL_INTERLEAVE);
	vma[0] = (struct hn_mempolicy){ MPOL_BIND | BALANCING, 5 };
	take_in(0);
	vma[0] = (struct hn_mempolicy){ MPOL_BIND | BALANCING, 1 };
	assert_int_equal(hn_policy_rule(&live, AT(0), fence_of(0), &nodes), HN_RANGE_BOUND);
	assert_int_equal(nodes, 1);
	take_in(0);
	assert_int_equal(vma[0].mode, MPOL_BIND);
	let_go_of_all();
	assert_int_equal(vma[0].mode, MPOL_BIND | BALANCING);
	assert_int_equal(vma[0].nodes, 1);
}

/* A part of what is fenced, and of what is going to be: it has its own policy, and keeps it; the rest gets its own back. */
static void test_a_part_has_another_policy(void **state)
{
	static const struct hn_mempolicy was[] = { { MPOL_DEFAULT, 0 }, { MPOL_BIND | BALANCING, 5 } };
	static const struct hn_mempolicy own = { MPOL_INTERLEAVE, 33 };
	unsigned part, before, i, p;

	(void)state;
	for (p = 0; p < 2; p++)
		for (part = 0; part < VMAS; part++)
			for (before = 0; before < 2; before++) {
				struct hn_fence f;

				fresh(true, DEFAULT_THREAD);
				for (i = 0; i < VMAS; i++)
					vma[i] = was[p];
				f = hn_policy_fence_for(&live, AT(0));
				assert_true(f.up);
				if (before)
					vma[part] = own;
				put_up(0, VMAS - 1, &f);
				for (i = 0; i < VMAS; i++)
					assert_int_equal(vma[i].mode, before && i == part ? own.mode : f.now.mode);
				vma[part] = own;
				let_go_of_all();
				for (i = 0; i < VMAS; i++) {
					assert_int_equal(vma[i].mode, i == part ? own.mode : was[p].mode);
					assert_int_equal(vma[i].nodes, i == part ? own.nodes : was[p].nodes);
				}
			}
}

/* A hole, of which the event is still to be read, keeps the rest from nothing. */
static void test_a_part_is_gone(void **state)
{
	struct hn_fence f;
	unsigned i;

	(void)state;
	fresh(true, DEFAULT_THREAD);
	for (i = 0; i < VMAS; i++)
		vma[i] = (struct hn_mempolicy){ MPOL_BIND | BALANCING, 5 };
	f = hn_policy_fence_for(&live, AT(0));
	put_up(0, VMAS - 1, &f);
	unmapped[0] = unmapped[2] = true;
	let_go_of_all();
	assert_int_equal(vma[1].mode, MPOL_BIND | BALANCING);
	assert_int_equal(vma[3].mode, MPOL_BIND | BALANCING);
}

/* All of what it was made for has changed: nothing is touched, and no region says that it was. */
static void test_the_fence_comes_too_late(void **state)
{
	struct hn_fence f;

	(void)state;
	fresh(true, DEFAULT_THREAD);
	f = hn_policy_fence_for(&live, AT(0));
	vma[0] = (struct hn_mempolicy){ MPOL_PREFERRED, 4 };
	put_up(0, 0, &f);
	assert_int_equal(vma[0].mode, MPOL_PREFERRED);
	assert_false(fence_of(0)->up);
}

/* The same nodes, and yet not the same fence: each gets its own back. */
static void test_fences_of_the_same_nodes(void **state)
{
	static const struct hn_mempolicy was[VMAS] = {
		{ MPOL_BIND | BALANCING, 5 }, { MANY | BALANCING, 5 }, { MPOL_BIND | MPOL_F_STATIC_NODES | BALANCING, 5 },
		{ MPOL_DEFAULT, 0 },
	};
	unsigned i;

	(void)state;
	fresh(true, DEFAULT_THREAD);
	memcpy(vma, was, sizeof(vma));
	hn_region_add(&live, AT(0), AT(VMAS), NULL); /* one region so far, as before the kernel began to balance */
	for (i = 0; i < VMAS; i++)
		take_in(i);
	assert_int_equal(live.nr_regions, VMAS);
	let_go_of_all();
	assert_memory_equal(vma, was, sizeof(vma));
}

/* ---- first touches ---- */

/* By a thread on node 1; nothing the program has said before is needed for it. */
static void test_first_touches(void **state)
{
	static const struct {
		const char *what;
		struct hn_mempolicy p;
		int node, node_if_bound; /* its threads to 0 and 2 */
	} rows[] = {
		{ "nothing", { MPOL_DEFAULT, 0 }, 1, 2 },
		{ "local", { MPOL_LOCAL, 0 }, 1, 1 },
		{ "local, as older kernels say it", { MPOL_PREFERRED, 0 }, 1, 1 },
		{ "bind", { MPOL_BIND, 1 }, 0, 0 },
		{ "bind, the nearer one", { MPOL_BIND, 1 | 32 }, 2, 2 },
		{ "bind, its own among them", { MPOL_BIND, 1 | 4 | 32 }, 1, 1 },
		{ "bind, balanced", { MPOL_BIND | BALANCING, 1 | 32 }, 2, 2 },
		{ "bind, static", { MPOL_BIND | MPOL_F_STATIC_NODES, 1 }, 0, 0 },
		{ "bind, relative", { MPOL_BIND | MPOL_F_RELATIVE_NODES, 1 }, HN_NO_NODE, HN_NO_NODE },
		{ "a node that is none of ours", { MPOL_BIND, 2 }, HN_NO_NODE, HN_NO_NODE },
		{ "preferred", { MPOL_PREFERRED, 32 }, 2, 2 },
		{ "preferred-many", { MANY, 1 | 32 }, 2, 2 },
		{ "interleave", { MPOL_INTERLEAVE, 1 | 4 }, HN_NO_NODE, HN_NO_NODE },
		{ "weighted interleave", { 6, 1 | 4 }, HN_NO_NODE, HN_NO_NODE },
		{ "one of the future", { 99, 1 }, HN_NO_NODE, HN_NO_NODE },
	};
	unsigned i, bound;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (bound = 0; bound < 2; bound++) {
			struct hn_live *l = fresh(false, bound ? BOUND_THREAD : DEFAULT_THREAD);
			int got;

			vma[0] = rows[i].p;
			got = hn_policy_hole_node(l, AT(0), 1);
			if (got != (bound ? rows[i].node_if_bound : rows[i].node))
				fail_msg("%s%s: node %d", rows[i].what, bound ? ", threads are bound" : "", got);
			l->setup.own_policy_too = true;
			assert_int_equal(hn_policy_hole_node(l, AT(0), 1), 1);
		}
	fresh(false, DEFAULT_THREAD);
	assert_int_equal(hn_policy_hole_node(&live, AT(0), HN_NO_NODE), 0);
	vma[0] = (struct hn_mempolicy){ MPOL_BIND, 32 };
	assert_int_equal(hn_policy_hole_node(&live, AT(0), HN_NO_NODE), 2);
	live.setup.is_virtual = true;
	assert_int_equal(hn_policy_hole_node(&live, AT(0), 1), 1);
}

/* ---- the numbers of wishes ---- */

static struct hn_core core;
static struct hn_worker worker;

static void test_wishes(void **state)
{
	struct hn *hn = &worker.hn;
	uint64_t n;
	int first;

	(void)state;
	worker.live = fresh(false, DEFAULT_THREAD);
	hn->core = &core;
	core.wish[1] = (struct hn_wish){ .nodes = 12 };
	core.wish[2] = (struct hn_wish){ .dry = 1 };
	core.wish[3] = (struct hn_wish){ .nodes = 8 };
	assert_int_equal(hn_ranges_wish(&worker, 0, 0), 0);
	assert_int_equal(hn_ranges_wish(&worker, 0, 3), 3); /* the program's own number */
	first = hn_ranges_wish(&worker, 6, 0);
	assert_int_equal(first, HN_USER_WISHES);
	assert_true(core.wish[first].nodes == 6 && core.wish[first].soft && !core.wish[first].dry);
	assert_int_equal(hn_ranges_wish(&worker, 6, 0), first);
	n = (uint64_t)hn_ranges_wish(&worker, 6, 1); /* both at once: what both allow, and it is brought there */
	assert_true(core.wish[n].nodes == 4 && !core.wish[n].soft && !core.wish[n].dry);
	n = (uint64_t)hn_ranges_wish(&worker, 6, 2);
	assert_true(core.wish[n].nodes == 6 && core.wish[n].dry);
	n = (uint64_t)hn_ranges_wish(&worker, 6, 3); /* nothing is left */
	assert_true(core.wish[n].nodes == 0 && core.wish[n].dry);
	for (n = 1; n <= HN_MAX_WISHES - HN_USER_WISHES - 4; n++)
		assert_in_range(hn_ranges_wish(&worker, n << 8, 0), HN_USER_WISHES, HN_MAX_WISHES - 1);
	assert_int_equal(hn_ranges_wish(&worker, n << 8, 0), -ENOSPC);
	assert_int_equal(hn_ranges_wish(&worker, 6, 0), first); /* those that there are go on */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numa_maps),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_fence),
		cmocka_unit_test(test_fenced_regions),
		cmocka_unit_test(test_the_program_changes_its_mind),
		cmocka_unit_test(test_a_part_has_another_policy),
		cmocka_unit_test(test_a_part_is_gone),
		cmocka_unit_test(test_the_fence_comes_too_late),
		cmocka_unit_test(test_fences_of_the_same_nodes),
		cmocka_unit_test(test_first_touches),
		cmocka_unit_test(test_wishes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
