// SPDX-License-Identifier: MIT
/*
 * live_ops.c - ops of struct hn_ops that do not depend on the way to arm.
 */
#include <errno.h>
#include <time.h>

#include "linux/block.h"
#include "linux/live.h"
#include "linux/sys.h"

uint64_t hn_live_now_ns(void *be)
{
	struct timespec t;

	(void)be;
	clock_gettime(CLOCK_MONOTONIC, &t); /* the vDSO: no system call, no thread-local storage */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A system call: the vDSO does not know this clock. */
uint64_t hn_live_cpu_ns(void *be)
{
	struct timespec t = { 0, 0 };

	(void)be;
	HN_SYS(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &t, 0, 0, 0, 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

enum hn_arm_error hn_arm_error_of(int err)
{
	switch (err) {
	case -EBUSY: return HN_ARM_BUSY;
	case -EINVAL: return HN_ARM_INVALID;
	case -ENOENT: return HN_ARM_ABSENT;
	case -EAGAIN: return HN_ARM_EVENT;
	default: return HN_ARM_OTHER;
	}
}

int hn_live_thread_node(void *be, uint32_t tid) { return hn_who_node(be, tid); }

int hn_live_target_get(void *be, int nid, uint32_t *target)
{
	struct hn_live *live = hn_live_of(be);
	int err = hn_pool_get(live, nid, false, target);

	if (err || !live->setup.kernel_mover || hn_pool_has_room(live, *target))
		return err;
	hn_pool_put(live, *target);
	return -ENOMEM;
}

void hn_live_target_put(void *be, uint32_t target)
{
	struct hn_live *live = hn_live_of(be);

	if (live->setup.kernel_mover)
		hn_pool_drop(live, target); /* it was room for the kernel's own */
	else
		hn_pool_put(live, target);
}

int hn_live_copy(void *be, uint32_t page, uint32_t target, int nid, uint64_t until_ns)
{
	return hn_mover_copy(be, page, target, nid, until_ns);
}

int hn_live_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target)
{
	struct hn_live *live = hn_live_of(be);
	char *from = live->setup.kernel_mover ? hn_staging(live, page) : hn_pool_addr(live, target);
	bool copied;
	int err = hn_put_new(live, haddr, (hn_addr)(uintptr_t)from, &copied);

	if (err == 0 && copied && !live->setup.kernel_mover)
		hn_pool_put(live, target); /* what is left of it must not be taken for zeros (I1) */
	else if (err == 0)
		hn_pool_gone(live, target);
	return err;
}

bool hn_live_event_unread(void *be) { return hn_uffd_changing(hn_live_of(be)->fd); }

void hn_live_wake(void *be, hn_addr addr, uint64_t bytes) { hn_uffd_wake(hn_live_of(be)->fd, addr, bytes); }

void hn_live_yield(void *be)
{
	(void)be;
	HN_SYS_BLOCK(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

void hn_worker_init(struct hn_worker *w, struct hn_live *live)
{
	w->live = live;
	w->hn = (struct hn){ .core = live->core, .ops = live->way->ops, .be = w, .stats = live->stats, .record = live->record,
			     .plugin = live->plugin };
}
