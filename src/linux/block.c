// SPDX-License-Identifier: MIT
#include "linux/block.h"

#include "linux/sys.h"

struct hn_own_threads hn_own_threads;

struct hn_own_thread *hn_own_self(void)
{
	uintptr_t at = (uintptr_t)__builtin_frame_address(0) - hn_own_threads.base;

	return at < hn_own_threads.bytes ? &hn_own_threads.thread[at / hn_own_threads.each] : NULL;
}

/* Nobody else writes them. */
static void count_up(struct hn_word *w) { hn_store_relaxed(w, hn_load_relaxed(w) + 1); }

void hn_own_beat(void)
{
	struct hn_own_thread *t = hn_own_self();

	if (t)
		count_up(&t->beats);
}

void hn_own_step(void)
{
	struct hn_own_thread *t = hn_own_self();

	if (t)
		count_up(&t->steps);
}

static void end_if_told(const struct hn_own_thread *t)
{
	while (hn_load_acquire(&hn_own_threads.leave) && t != hn_own_threads.rescuer)
		HN_SYS(SYS_exit, 0, 0, 0, 0, 0, 0);
}

long hn_sys_block(long nr, long a, long b, long c, long d, long e, long f)
{
	struct hn_own_thread *t = hn_own_self();
	long ret;

	if (!t)
		return hn_syscall6(nr, a, b, c, d, e, f);
	count_up(&t->beats);
	/* Full barriers: either we see `leave`, or the rescuer sees that we are awake, and waits. */
	hn_swap_acq_rel(&t->asleep, 1);
	end_if_told(t);
	ret = hn_syscall6(nr, a, b, c, d, e, f);
	hn_swap_acq_rel(&t->asleep, 0);
	end_if_told(t);
	return ret;
}
