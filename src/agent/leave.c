// SPDX-License-Identifier: MIT
/*
 * leave.c - stepping aside: every page in place, no thread of the agent left. Program side.
 *
 * For what a process with threads may not do, or what the agent's threads would miss: libc changes the user of all
 * threads it knows, and ours are not among them; the kernel refuses a new user namespace to a process with threads. The
 * agent comes back afterwards as what the process has become, if that may still be managed.
 */
#include <linux/futex.h>
#include <string.h>
#include <time.h>

#include "agent/agent.h"
#include "linux/sys.h"

#define LOCK_TRIES 10000 /* a millisecond apart */
#define RETURNS_MAX 4u /* a process that goes on like that is better left alone */

/* The list of the areas lies in one of them. */
static void unmap_areas(const struct hn_live *live)
{
	struct hn_range own[sizeof(live->own) / sizeof(live->own[0])];
	uint32_t i, nr = live->nr_own;

	memcpy(own, live->own, sizeof(own));
	for (i = 0; i < nr; i++)
		hn_sys_munmap((void *)(uintptr_t)own[i].start, own[i].end - own[i].start);
}

/* A keeper or handler that was started cannot be ended any more; then all stays. */
void hn_agent_clear_up(void)
{
	struct hn_live *live = hn_agent.failed;
	uint32_t i;

	if (!live || hn_load_acquire(&hn_agent.working))
		return;
	for (i = 0; i < hn_load_acquire(&hn_own_threads.nr); i++)
		while (!hn_bare_wait_gone(i, 1000))
			;
	hn_agent.failed = NULL;
	hn_own_threads.base = hn_own_threads.bytes = 0;
	unmap_areas(live);
}

/* Pausing, and nobody else may. */
static bool leave_locked(void)
{
	struct timespec step = { .tv_nsec = 50000000 };
	struct hn_live *live;
	uint32_t i;

	if (hn_load_acquire(&hn_agent.state) != HN_AGENT_RUNNING)
		return false;
	hn_control_leave();
	while (hn_load_acquire(&hn_agent.state) == HN_AGENT_RUNNING && hn_control_leaving())
		hn_sys_futex(&hn_agent.state.v, FUTEX_WAIT_PRIVATE, HN_AGENT_RUNNING, &step);
	if (hn_load_acquire(&hn_agent.state) != HN_AGENT_LEFT)
		return false;
	live = hn_agent.live;
	/* A thread that has said farewell is still there for a moment, on its stack. */
	for (i = 0; i < hn_load_acquire(&hn_own_threads.nr); i++)
		while (!hn_bare_wait_gone(i, 1000))
			;
	hn_agent.live = NULL;
	hn_own_threads.base = hn_own_threads.bytes = 0;
	unmap_areas(live);
	return true;
}

/* The call may have come from a signal handler, and the thread below it be the one that holds the lock. */
static bool lock_patiently(void)
{
	struct timespec step = { .tv_nsec = 1000000 };
	int tries;

	for (tries = 0; tries < LOCK_TRIES; tries++) {
		if (hn_lock_try(&hn_agent.lockall))
			return true;
		HN_SYS(SYS_nanosleep, &step, NULL, 0, 0, 0, 0);
	}
	return false;
}

bool hn_agent_leave(void)
{
	uint32_t state = hn_load_acquire(&hn_agent.state);
	bool left;

	if (!hn_agent.shm || !hn_agent_is_ours() ||
	    (state != HN_AGENT_STARTING && state != HN_AGENT_RUNNING))
		return false;
	if (!lock_patiently())
		return false;
	left = hn_agent_pause() && leave_locked();
	hn_agent_resume();
	hn_unlock(&hn_agent.lockall);
	return left;
}

/* What the user has ordered meanwhile goes on to be so. */
static void start_again(void)
{
	hn_agent.kept_mode = hn_load_acquire(&hn_agent.slot->wanted_mode);
	hn_agent.kept_config = hn_agent.slot->config;
	if (hn_cas_acquire(&hn_agent.state, HN_AGENT_LEFT, HN_AGENT_IDLE))
		hn_agent_start();
}

void hn_agent_come_back(bool left)
{
	if (!left)
		return;
	/* Whoever starts the threads hands his filter on to them. */
	if (hn_load_relaxed(&hn_agent.filtered))
		hn_slot_say(hn_agent.slot,
			    "no longer managed: the program changes its user or its namespaces, and has a system call filter", 0);
	else if (++hn_agent.returns > RETURNS_MAX)
		hn_slot_say(hn_agent.slot,
			    "no longer managed: the program changes its user or its namespaces all the time", 0);
	else
		start_again();
}
