// SPDX-License-Identifier: MIT
/*
 * commit.c - where the kernel promises no more memory than it has (vm.overcommit_memory=2), address space counts although it is
 * never filled: what our areas take of the limit is missing to every program on the machine.
 */
#include "linux/live.h"
#include "linux/number.h"
#include "linux/sys.h"

#include <fcntl.h>

#define SHARE 512u     /* of what is left we take one part in so many: each managed process does, and there may be hundreds */
#define FEWEST 8u      /* armed at a time, or there is no point in it; ... */
#define MOST_SHARE 64u /* ... for which we may take one part in so many */
#define AREAS 2u       /* staging and trash */

uint32_t hn_commit_pages(const char *mode, const char *meminfo, uint32_t wanted)
{
	uint64_t limit = hn_number_behind(meminfo, "CommitLimit:"), used = hn_number_behind(meminfo, "Committed_AS:");
	uint64_t left = limit > used ? (limit - used) << 10 : 0, each = AREAS * HN_PAGE_SIZE;
	uint64_t pages = left / SHARE / each;

	if (mode[0] != '2' || !limit)
		return wanted;
	if (pages < FEWEST && FEWEST * each <= left / MOST_SHARE)
		pages = FEWEST;
	if (pages >= wanted)
		return wanted;
	return pages < FEWEST ? 0 : (uint32_t)pages;
}

uint32_t hn_commit_room(uint32_t wanted)
{
	char mode[16], meminfo[4096];

	hn_sys_read_file("/proc/sys/vm/overcommit_memory", mode, sizeof(mode));
	hn_sys_read_file("/proc/meminfo", meminfo, sizeof(meminfo));
	return hn_commit_pages(mode, meminfo, wanted);
}
