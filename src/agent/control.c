// SPDX-License-Identifier: MIT
/*
 * control.c - pausing: "put every page back and leave it there". A program thread that is about to fork asks, because
 * the child would read zeros where a page lies in staging.
 */
#include <linux/futex.h>
#include <signal.h>
#include <time.h>

#include "agent/agent.h"
#include "linux/sys.h"

#define PATIENCE_S 20 /* for an agent that does not get a CPU; one that runs answers in microseconds */

uint64_t hn_lock_undisturbed(struct hn_word *lock)
{
	uint64_t old = hn_block_signals();

	hn_lock(lock);
	return old;
}

void hn_unlock_undisturbed(struct hn_word *lock, uint64_t old)
{
	hn_unlock(lock);
	hn_restore_signals(old);
}

void hn_control_kick(void)
{
	hn_add_acq_rel(&hn_agent.control.kick, 1);
	hn_wake(&hn_agent.control.kick, 1);
}

void hn_control_nap(struct hn_word *w, uint32_t v)
{
	struct timespec step = { .tv_nsec = 50000000 };

	hn_sys_futex(&w->v, FUTEX_WAIT_PRIVATE, v, &step);
}

/* An agent that is only starting must be waited for too: it looks at `wanted` before it arms anything. */
static bool may_arm(void)
{
	uint32_t s = hn_load_acquire(&hn_agent.state);

	/* A process made behind libc's back has this memory but none of its threads. */
	if (!hn_agent_is_ours())
		return false;
	return s == HN_AGENT_STARTING || s == HN_AGENT_RUNNING;
}

/*
 * `wanted` is raised before the state is looked at, and an agent that starts sets its state before it looks at `wanted`
 * (both are full barriers on x86-64): one of the two sees the other.
 */
bool hn_agent_pause_for(uint32_t seconds)
{
	uint64_t old, last = hn_live_now_ns(NULL), left = seconds * 1000000000ull;
	struct timespec step = { .tv_nsec = 50000000 };
	struct hn_control *c = &hn_agent.control;

	old = hn_lock_undisturbed(&c->lock);
	hn_add_acq_rel(&c->wanted, 1);
	hn_unlock_undisturbed(&c->lock, old);
	if (!may_arm())
		return true;
	hn_control_kick();
	while (hn_load_acquire(&c->paused) == 0 && may_arm()) {
		hn_sys_futex(&c->paused.v, FUTEX_WAIT_PRIVATE, 0, &step);
		if (!hn_patience_left(&left, &last))
			return false;
	}
	return true;
}

bool hn_agent_pause(void) { return hn_agent_pause_for(PATIENCE_S); }

void hn_agent_resume(void)
{
	struct hn_control *c = &hn_agent.control;
	uint64_t old = hn_lock_undisturbed(&c->lock);

	if (hn_load_relaxed(&c->wanted)) /* a fork in a signal handler, in the middle of another one, has reset it in the child */
		hn_add_acq_rel(&c->wanted, (uint32_t)-1);
	hn_unlock_undisturbed(&c->lock, old);
	hn_control_kick();
}

bool hn_control_is_paused(void) { return hn_load_acquire(&hn_agent.control.paused) != 0; }

bool hn_control_wanted(void) { return hn_load_acquire(&hn_agent.control.wanted) != 0; }

/* Under the lock, so that a pauser who sees `paused` still set knows that arming has not begun again. */
static bool leave_pause(struct hn_control *c)
{
	bool leave;

	hn_lock(&c->lock);
	leave = hn_load_relaxed(&c->wanted) == 0;
	if (leave)
		hn_store_release(&c->paused, 0);
	hn_unlock(&c->lock);
	return leave;
}

void hn_control_leave(void)
{
	hn_store_release(&hn_agent.control.leave, 1);
	hn_control_kick();
}

bool hn_control_leaving(void) { return hn_load_acquire(&hn_agent.control.leave) != 0; }

void hn_control_stay(void) { hn_store_release(&hn_agent.control.leave, 0); }

/* State is LEFT already: who waits for a pause finds that there is nothing to wait for. */
void hn_control_left(void)
{
	struct hn_control *c = &hn_agent.control;

	hn_lock(&c->lock);
	hn_store_release(&c->leave, 0);
	hn_store_release(&c->paused, 0);
	hn_unlock(&c->lock);
}

bool hn_control_paused(void)
{
	struct hn_control *c = &hn_agent.control;

	hn_store_release(&c->paused, 1);
	hn_wake(&c->paused, INT32_MAX);
	for (;;) {
		uint32_t k = hn_load_acquire(&c->kick);

		if (hn_control_leaving())
			return false;
		if (leave_pause(c))
			return true;
		hn_wait_while(&c->kick, k);
	}
}

void hn_control_reset(void)
{
	hn_agent.control = (struct hn_control){ 0 };
}
