// SPDX-License-Identifier: MIT
/*
 * mover.c - bringing an armed page to another node, and asking where pages are.
 *
 * copy    copies into a pool page of the target node; the commit moves that page into the program. Nothing can write
 *         the source: it is in staging, and MOVE refuses pinned pages, so no device can either. The old frame goes
 *         back to the kernel and is never handed out again by us: zero-copy sends may still read it. In slices, where
 *         it may become too late: the page in staging is as it was then, and what the pool's holds does not matter.
 * kernel  mbind on the staging address, strict, and the result is looked up: the kernel reports success for pages it
 *         did not move when somebody holds a reference. When it finds no huge page on the target node it splits ours and
 *         moves the pieces, and no call forbids that; so a page of the pool, which shows that there is one, is given back
 *         just before. Should somebody else be faster, what was split is made huge again.
 */
#include <emmintrin.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define SLICE_BYTES (64u << 10) /* some 5 us: what a copy may take longer than it may, but for interruptions */
#define PREFETCH_BYTES 1024 /* how far ahead of the copy; between 512 and 2048 it makes little difference */

void hn_page_nodes(struct hn_live *live, hn_addr start, uint32_t nr, int16_t *nid)
{
	void *at[HN_ARM_BATCH];
	int status[HN_ARM_BATCH];
	uint32_t i, n;
	long err = -EINVAL;

	for (i = 0; i < nr; i++) {
		at[i] = (void *)(uintptr_t)(start + i * HN_PAGE_SIZE);
		nid[i] = HN_NO_NODE;
	}
	if (!live->setup.is_virtual)
		err = HN_SYS(SYS_move_pages, 0, nr, at, NULL, status, 0);
	for (i = 0; err == 0 && i < nr; i++)
		for (n = 0; n < live->setup.nr_nodes; n++)
			if (status[i] == live->setup.os_nid[n])
				nid[i] = (int16_t)n;
}

int hn_os_node(void *at)
{
	int status = -ENOENT;
	long err = HN_SYS(SYS_move_pages, 0, 1, &at, NULL, &status, 0);

	return err < 0 ? (int)err : status; /* above 0: left where it is, and nothing said of where */
}

/*
 * Where small pages once were, a page table stays, and a huge page that is moved there is split: so this mends the place
 * as well. A page that cannot be mended goes home in pieces (discover.c, recover).
 */
void hn_mend_staging(struct hn_live *live, uint32_t first, uint32_t nr)
{
	uint32_t i;

	for (i = first; i < first + nr; i++) {
		char *at = hn_staging(live, i);

		if (hn_pagemap_is_huge(live->fd_pagemap, (hn_addr)(uintptr_t)at))
			continue;
		if (hn_sys_madvise(at, HN_PAGE_SIZE, HN_MADV_COLLAPSE))
			return; /* no huge page to be had: nor for the next */
		hn_stat_add(live->cnt.collapses, 1);
	}
}

static bool is_too_late(uint64_t until_ns) { return until_ns && hn_live_now_ns(NULL) >= until_ns; }

/* One system call, which nothing can stop: only waiting for the turn can be given up. */
static int kernel_migrate(struct hn_live *live, uint32_t page, uint32_t target, int nid, uint64_t until_ns)
{
	unsigned long mask[16] = { 0 };
	int os = live->setup.os_nid[nid];
	void *at = hn_staging(live, page);
	bool whole;
	long err = -ENOMEM;

	mask[os / 64] = 1ul << (os % 64);
	hn_lock(&live->mover_lock); /* the kernel has every CPU drain its caches for each: nothing is gained by two */
	if (is_too_late(until_ns)) {
		hn_unlock(&live->mover_lock);
		return -ETIME;
	}
	if (hn_pool_free_page(live, target)) {
		err = HN_SYS(SYS_mbind, at, HN_PAGE_SIZE, MPOL_BIND, mask, 1024, MPOL_MF_MOVE | MPOL_MF_STRICT);
		/* As before (hn_area): else the kernel's balancing would look at it, and every second page be a mapping of its own. */
		HN_SYS(SYS_mbind, at, HN_PAGE_SIZE, hn_area_mode(live), NULL, 0, 0);
	}
	whole = hn_pagemap_is_huge(live->fd_pagemap, (hn_addr)(uintptr_t)at);
	if (!whole)
		hn_pool_note_scarce(live, target);
	hn_unlock(&live->mover_lock);
	if (!whole)
		hn_mend_staging(live, page, 1);
	if (err)
		return (int)err;
	return hn_os_node(at) == os ? 0 : -EIO;
}

/*
 * Past the caches: the target is not read first, and the program's cached data is not pushed out by 2 MiB that this
 * CPU will not look at again. Faster than memcpy unless both pages are in the cache (docs/benchmarks.md). A prefetch
 * of what lies behind the page does no harm: it never faults.
 */
static void copy_bytes(char *to, const char *from, size_t bytes)
{
	const __m128i *s = (const __m128i *)(const void *)from, *end = s + bytes / sizeof(*s);
	__m128i *d = (__m128i *)(void *)to;

	for (; s < end; s += 4, d += 4) {
		__m128i l0 = _mm_load_si128(s), l1 = _mm_load_si128(s + 1);
		__m128i l2 = _mm_load_si128(s + 2), l3 = _mm_load_si128(s + 3);

		_mm_prefetch((const char *)s + PREFETCH_BYTES, _MM_HINT_NTA);
		_mm_stream_si128(d, l0);
		_mm_stream_si128(d + 1, l1);
		_mm_stream_si128(d + 2, l2);
		_mm_stream_si128(d + 3, l3);
	}
}

static int copy_page(char *to, const char *from, uint64_t until_ns)
{
	size_t slice = until_ns ? SLICE_BYTES : HN_PAGE_SIZE, off;

	for (off = 0; off < HN_PAGE_SIZE; off += slice) {
		if (is_too_late(until_ns))
			break;
		copy_bytes(to + off, from + off, slice);
	}
	_mm_sfence(); /* such stores are ordered by nothing else, and the commit must not overtake them (I1) */
	return off < HN_PAGE_SIZE ? -ETIME : 0;
}

/*
 * A base page with a hardware memory error ends who reads it: this page goes home, and the program's place says so then
 * (core/putback.c). The kernel splits such a page first, so one that is whole has none that is known.
 */
static bool has_lost(struct hn_live *live, uint32_t page)
{
	hn_addr at = (hn_addr)(uintptr_t)hn_staging(live, page), end = at + HN_PAGE_SIZE, a;
	struct hn_range r[16];

	if (hn_pagemap_is_huge(live->fd_pagemap, at))
		return false;
	while (at < end) {
		int n = hn_pagemap_look(live->fd_pagemap, HN_MM_SWAPPED, at, end, r, 16, &at), i;

		for (i = 0; i < n; i++)
			for (a = r[i].start; a < r[i].end; a += HN_BASE_SIZE)
				if (hn_sys_madvise((void *)(uintptr_t)a, HN_BASE_SIZE, HN_MADV_POPULATE_READ))
					return true; /* lost, or not to be had now: nobody may find out by reading it */
		if (n < 0)
			break;
	}
	return false;
}

int hn_mover_copy(struct hn_worker *w, uint32_t page, uint32_t target, int nid, uint64_t until_ns)
{
	struct hn_live *live = w->live;

	hn_lead_release(&w->hn); /* other faults must not wait behind this */
	if (live->setup.kernel_mover)
		return kernel_migrate(live, page, target, nid, until_ns);
	if (has_lost(live, page))
		return -EIO;
	return copy_page(hn_pool_addr(live, target), hn_staging(live, page), until_ns);
}
