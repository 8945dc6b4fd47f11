// SPDX-License-Identifier: MIT
/*
 * fork.c - a child must not find holes where its parent's pages lie in staging (docs/protocol.md, "Fork"). Program
 * side. fork(3) runs these handlers; calls_fork.c has its other ways.
 */
#include <pthread.h>
#include <signal.h>

#include "agent/agent.h"
#include "linux/sys.h"

/*
 * An agent that does not answer may have pages in staging, where the child will have holes. Where the kernel tells of
 * forks the handlers fill them. Else the child would take zeros for its data: it must not run at all. To its parent that
 * is a child that was killed, which programs are prepared for.
 */
void hn_before_fork(void)
{
	bool whole;

	hn_affinity_release_self();
	if (hn_agent.forking)
		hn_agent.forking(true);
	whole = hn_agent_pause(); /* after that: a look starts the agent */
	const struct hn_live *live = hn_agent.live;

	hn_store_relaxed(&hn_agent.child_has_holes, !whole && live && !live->fork_events);
}

void hn_after_fork_in_parent(void)
{
	hn_agent_resume();
	if (hn_agent.forking)
		hn_agent.forking(false);
}

static void die_if_holed(void)
{
	if (hn_load_relaxed(&hn_agent.child_has_holes))
		HN_SYS(SYS_kill, hn_sys_getpid(), SIGKILL, 0, 0, 0, 0);
}

/* No agent thread and none of its areas came along; the child is managed in its own right when it is worth it. */
void hn_after_fork_in_child(void)
{
	if (!hn_agent.shm) {
		hn_control_reset();
		return;
	}
	die_if_holed();
	hn_agent.pid = (uint32_t)hn_sys_getpid();
	hn_agent.slot = NULL;
	hn_agent.live = NULL;
	hn_own_threads = (struct hn_own_threads){ 0 };
	hn_crash_reset();
	if (hn_load_acquire(&hn_agent.shm_lost))
		hn_agent.shm = NULL; /* what is there now is its parent's */
	hn_control_reset();
	hn_stacks_reset();
	hn_ranges_reset();
	hn_nohuge_forked(&hn_agent.nohuge);
	hn_agent.lockall = (struct hn_word){ 0 };
	hn_affinity_reset();
	hn_agent.returns = 0;
	if (hn_load_relaxed(&hn_agent.filtered) || !hn_agent.shm) {
		hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
		return;
	}
	hn_store_release(&hn_agent.state, HN_AGENT_IDLE);
	if (hn_agent.forked)
		hn_agent.forked();
}

void hn_fork_handle(void) { pthread_atfork(hn_before_fork, hn_after_fork_in_parent, hn_after_fork_in_child); }
