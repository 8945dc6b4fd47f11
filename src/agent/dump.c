// SPDX-License-Identifier: MIT
/*
 * dump.c - before the kernel writes a core: every page in its place, and none taken away any more. The core would have zeros where
 * a page lies in staging, and nothing at all where one is protected in place. Program side; called in a signal handler.
 */
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "agent/agent.h"
#include "linux/sys.h"

/* The other threads run on meanwhile, in a program that is broken: rather a core that lacks some pages. */
#define PATIENCE_S 2

/* What core_pattern names as a program or a socket is written to whatever the limit is. */
static bool will_dump(void)
{
	struct {
		uint64_t cur, max;
	} limit = { 0, 0 };
	char pattern[8];

	if (HN_SYS(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0, 0) == 0)
		return false;
	if (HN_SYS(SYS_prlimit64, 0, RLIMIT_CORE, NULL, &limit, 0, 0) == 0 && limit.cur > 1)
		return true;
	hn_sys_read_file("/proc/sys/kernel/core_pattern", pattern, sizeof(pattern));
	return pattern[0] == '|' || pattern[0] == '@';
}

void hn_dump_prepare(void)
{
	/* For good. What was put back in time is not in staging any more; where there is no agent, or no more, there is none. */
	if (hn_agent_has_begun() && will_dump() && hn_agent_pause_for(PATIENCE_S) && hn_control_is_paused())
		hn_live_dump_staging(hn_agent.live, false);
}
