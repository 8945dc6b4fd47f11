// SPDX-License-Identifier: MIT
/*
 * lockall.c - mlockall(2) fills every mapping of the process with memory, the agent's address ranges included, which
 * are large and meant to be empty. They are made unreachable for the time of the call. Program side.
 */
#include <dlfcn.h>
#include <sys/mman.h>

#include "agent/agent.h"

static int (*real_mlockall)(int flags);

void hn_lockall_load(void) { real_mlockall = (int (*)(int))dlsym(RTLD_NEXT, "mlockall"); }

__attribute__((visibility("default"))) int mlockall(int flags)
{
	struct hn_live *live;
	int ret;

	if (!real_mlockall)
		hn_lockall_load();
	if (!(flags & MCL_CURRENT) || !hn_agent_has_begun() || !hn_agent_is_ours())
		return real_mlockall(flags);
	/* Two callers at once must not open the ranges under each other; a third party finds nothing armed anyway. */
	hn_lock(&hn_agent.lockall);
	live = hn_agent_pause() && hn_load_acquire(&hn_agent.state) == HN_AGENT_RUNNING ? hn_agent.live : NULL;
	if (live && !hn_live_hide(live))
		live = NULL;
	ret = real_mlockall(flags);
	if (live)
		hn_live_show(live);
	hn_agent_resume();
	hn_unlock(&hn_agent.lockall);
	return ret;
}
