// SPDX-License-Identifier: MIT
/*
 * calls_memory.c - madvise(2), wrapped: to know whether there is memory that children find zeroed (src/linux/forked.c) and where
 * huge pages are not wanted (src/linux/nohuge.c), and for guard pages. Program side.
 */
#include <dlfcn.h>
#include <sys/mman.h>

#include "agent/agent.h"
#include "uapi/uapi.h"

static int (*real_madvise)(void *, size_t, int);

/*
 * The kernel tells nobody of guard pages. One that was installed where a page is armed would be filled at the put-back, for
 * UFFDIO_COPY takes the mark for a hole; so everything is in its place for the time of the call, and what has a guard page
 * in it is no huge page afterwards.
 */
static int install_guard(void *at, size_t bytes)
{
	int ret;

	if (!hn_agent_has_begun())
		return real_madvise(at, bytes, HN_MADV_GUARD_INSTALL);
	hn_agent_pause();
	ret = real_madvise(at, bytes, HN_MADV_GUARD_INSTALL);
	hn_agent_resume();
	return ret;
}

/* The advice has been taken: a look that is under way has seen, or will see, mappings as they are now. */
static void note_huge(hn_addr start, size_t bytes, bool wanted)
{
	hn_addr end = start + hn_base_up(bytes);
	uint64_t old;

	if (!hn_agent.shm || !hn_agent_is_ours())
		return;
	old = hn_lock_undisturbed(&hn_agent.nohuge.lock);
	if (wanted)
		hn_nohuge_remove(&hn_agent.nohuge, start, end);
	else
		hn_nohuge_add(&hn_agent.nohuge, start, end);
	hn_unlock_undisturbed(&hn_agent.nohuge.lock, old);
}

__attribute__((visibility("default"))) int madvise(void *at, size_t bytes, int advice)
{
	int ret;

	if (advice == MADV_WIPEONFORK)
		hn_store_relaxed(&hn_agent.wipes, 1);
	if (!real_madvise)
		hn_memory_load();
	ret = advice == HN_MADV_GUARD_INSTALL ? install_guard(at, bytes) : real_madvise(at, bytes, advice);
	if (ret == 0 && (advice == MADV_NOHUGEPAGE || advice == MADV_HUGEPAGE))
		note_huge((hn_addr)(uintptr_t)at, bytes, advice == MADV_HUGEPAGE);
	return ret;
}

void hn_memory_load(void) { real_madvise = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "madvise"); }
