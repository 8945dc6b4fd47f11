// SPDX-License-Identifier: MIT
/*
 * pagemap.c - what is really mapped: PAGEMAP_SCAN.
 *
 * PAGE_IS_HUGE means mapped by a PMD and includes the huge zero page, which must never be moved (some kernels
 * corrupt the page table); so PFNZERO is always excluded with it.
 */
#include <errno.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define RUNS 64

static int runs(int fd, hn_addr start, hn_addr end, const struct hn_pm_scan_arg *what, struct hn_range *out, uint32_t nr,
		hn_addr *next)
{
	struct hn_page_region vec[RUNS];
	struct hn_pm_scan_arg arg = *what;
	long got, i;

	arg.size = sizeof(arg);
	arg.start = start;
	arg.end = end;
	arg.vec = (uintptr_t)vec;
	arg.vec_len = nr < RUNS ? nr : RUNS;
	got = hn_sys_ioctl(fd, HN_PAGEMAP_SCAN, &arg);

	if (got < 0)
		return (int)got;
	for (i = 0; i < got; i++) {
		out[i].start = vec[i].start;
		out[i].end = vec[i].end;
	}
	*next = arg.walk_end > start ? arg.walk_end : end;
	return (int)got;
}

int hn_pagemap_runs(int fd, hn_addr start, hn_addr end, uint64_t mask, uint64_t invert, struct hn_range *out, uint32_t nr,
		    hn_addr *next)
{
	struct hn_pm_scan_arg what = { .category_inverted = invert, .category_mask = mask };

	return runs(fd, start, end, &what, out, nr, next);
}

#define HUGE_MASK (HN_PAGE_IS_HUGE | HN_PAGE_IS_PFNZERO)

/*
 * Presence and swap are asked for together where both count: a page that the kernel is just splitting or moving is called
 * swapped, and a moment later present, and who asked for the one and then for the other would see neither.
 */
static const struct hn_pm_scan_arg kinds[] = {
	[HN_MM_PRESENT] = { .category_mask = HN_PAGE_IS_PRESENT },
	[HN_MM_SWAPPED] = { .category_mask = HN_PAGE_IS_SWAPPED },
	[HN_MM_THERE] = { .category_anyof_mask = HN_PAGE_IS_PRESENT | HN_PAGE_IS_SWAPPED },
	[HN_MM_HUGE] = { .category_mask = HUGE_MASK, .category_inverted = HN_PAGE_IS_PFNZERO },
};

int hn_pagemap_look(int fd, enum hn_mm_kind kind, hn_addr start, hn_addr end, struct hn_range *out, uint32_t nr,
		    hn_addr *next)
{
	return runs(fd, start, end, &kinds[kind], out, nr, next);
}

uint64_t hn_pagemap_huge_prefix(int fd, hn_addr start, hn_addr end)
{
	struct hn_range r;
	hn_addr next;

	if (hn_pagemap_look(fd, HN_MM_HUGE, start, end, &r, 1, &next) != 1 || r.start != start)
		return 0;
	return hn_page_down(r.end) - start;
}

bool hn_pagemap_is_huge(int fd, hn_addr haddr)
{
	return hn_pagemap_huge_prefix(fd, haddr, haddr + HN_PAGE_SIZE) == HN_PAGE_SIZE;
}

#define COUNT_STEP ((hn_addr)64 << 20) /* the kernel holds the memory map's lock for the whole of a call: 0.2 ms with small pages */

static uint64_t count_bytes(int fd, hn_addr start, hn_addr end, const struct hn_pm_scan_arg *what, uint64_t enough)
{
	struct hn_range r[RUNS];
	uint64_t sum = 0;

	while (start < end && sum < enough) {
		hn_addr stop = end - start > COUNT_STEP ? start + COUNT_STEP : end;
		int n = runs(fd, start, stop, what, r, RUNS, &start), i;

		if (n < 0)
			break;
		for (i = 0; i < n; i++)
			sum += r[i].end - r[i].start;
	}
	return sum;
}

uint64_t hn_pagemap_huge_bytes(int fd, hn_addr start, hn_addr end, uint64_t enough)
{
	return count_bytes(fd, start, end, &kinds[HN_MM_HUGE], enough);
}

bool hn_pagemap_has_hole(int fd, hn_addr start, hn_addr end)
{
	return count_bytes(fd, start, end, &kinds[HN_MM_THERE], UINT64_MAX) != end - start;
}

uint64_t hn_pagemap_zero_bytes(int fd, hn_addr start, hn_addr end)
{
	static const struct hn_pm_scan_arg zero = { .category_mask = HN_PAGE_IS_PFNZERO };

	return count_bytes(fd, start, end, &zero, UINT64_MAX);
}

uint64_t hn_pagemap_present_bytes(int fd, hn_addr start, hn_addr end, uint64_t enough)
{
	return count_bytes(fd, start, end, &kinds[HN_MM_PRESENT], enough);
}
