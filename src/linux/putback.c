// SPDX-License-Identifier: MIT
/*
 * putback.c - the system calls by which core/mm.h takes pages out of the program and brings them back.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "linux/block.h"
#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define BUSY_TRIES 200

static int mm_move(void *be, enum hn_mm_way way, hn_addr dst, hn_addr src, uint64_t len, uint64_t *moved)
{
	struct hn_live *live = be;

	return hn_uffd_move_mode(live->fd, dst, src, len, way == HN_MM_IN ? live->way->move_in_mode : 0, moved);
}

static int mm_copy(void *be, hn_addr dst, hn_addr src, uint64_t len, uint64_t *copied)
{
	return hn_uffd_copy(((struct hn_live *)be)->fd, dst, src, len, copied);
}

static int mm_look(void *be, enum hn_mm_kind kind, hn_addr start, hn_addr end, struct hn_range *run, uint32_t nr,
		   hn_addr *next)
{
	return hn_pagemap_look(((struct hn_live *)be)->fd_pagemap, kind, start, end, run, nr, next);
}

static void mm_wake(void *be, hn_addr start, uint64_t len) { hn_uffd_wake(((struct hn_live *)be)->fd, start, len); }

/* The trash of a staged page is as far from the beginning as the page. */
static hn_addr trash_of(const struct hn_live *live, hn_addr staged)
{
	return (hn_addr)(uintptr_t)live->trash + (staged - (hn_addr)(uintptr_t)live->staging);
}

static int mm_trash(void *be, hn_addr src, uint64_t len, uint64_t *moved)
{
	struct hn_live *live = be;

	return hn_uffd_move(live->fd_trash, trash_of(live, src), src, len, moved);
}

static void mm_empty_trash(void *be, hn_addr src)
{
	hn_sys_madvise((void *)(uintptr_t)trash_of(be, src), HN_PAGE_SIZE, MADV_DONTNEED);
}

/* Unregistered meanwhile, so that no event is raised: three mappings of staging for a moment. False: not at vm.max_map_count. */
static bool drop(struct hn_live *live, hn_addr start, uint64_t len)
{
	if (hn_uffd_unregister(live->fd, start, len))
		return false;
	hn_sys_madvise((void *)(uintptr_t)start, len, HN_MADV_DONTNEED_LOCKED);
	hn_uffd_register(live->fd, start, len, UFFDIO_REGISTER_MODE_WP);
	return true;
}

static void mm_drop(void *be, hn_addr src) { drop(be, src, HN_PAGE_SIZE); }

/* The one call that tells such an error from all others; where it cannot be made nothing is taken for one. */
bool hn_is_lost(hn_addr piece)
{
	return hn_sys_madvise((void *)(uintptr_t)piece, HN_BASE_SIZE, HN_MADV_POPULATE_READ) == -EHWPOISON;
}

static bool mm_is_lost(void *be, hn_addr src)
{
	(void)be;
	return hn_is_lost(src);
}

static int mm_mark_lost(void *be, hn_addr dst) { return hn_uffd_poison(((struct hn_live *)be)->fd, dst, HN_BASE_SIZE); }

static bool mm_again(void *be, uint32_t tries)
{
	(void)be;
	if (tries >= BUSY_TRIES)
		return false;
	HN_SYS_BLOCK(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	return true;
}

static void mm_note(void *be, enum hn_mm_note what, uint64_t n)
{
	struct hn_live *live = be;

	hn_stat_add(what == HN_MM_FIXUP ? live->cnt.fixups : &live->stats->collisions, n);
}

static const struct hn_mm_ops mm_ops = {
	.move = mm_move,
	.copy = mm_copy,
	.look = mm_look,
	.wake = mm_wake,
	.trash = mm_trash,
	.empty_trash = mm_empty_trash,
	.drop = mm_drop,
	.is_lost = mm_is_lost,
	.mark_lost = mm_mark_lost,
	.again = mm_again,
	.note = mm_note,
};

struct hn_mm hn_live_mm(struct hn_live *live)
{
	return (struct hn_mm){ .ops = &mm_ops, .be = live, .piece = HN_BASE_SIZE };
}

void hn_staging_discard(struct hn_live *live, uint32_t page)
{
	struct hn_mm mm = hn_live_mm(live);

	hn_mm_discard(&mm, (hn_addr)(uintptr_t)hn_staging(live, page));
}

/*
 * A page with a hardware memory error is no huge page any more. What it lost is dropped now: the program finds zeros there, as
 * it would have. What is not there is as good as zeros.
 */
void hn_staging_zero(struct hn_live *live, uint32_t page, uint32_t from, uint32_t to)
{
	char *at = hn_staging(live, page);
	uint32_t off;

	if (hn_pagemap_is_huge(live->fd_pagemap, (hn_addr)(uintptr_t)at)) {
		memset(at + from, 0, to - from);
		return;
	}
	for (off = from; off < to; off += HN_BASE_SIZE) {
		hn_addr piece = (hn_addr)(uintptr_t)at + off;

		if (hn_is_empty(live, piece, piece + HN_BASE_SIZE))
			continue;
		if (hn_pagemap_present_bytes(live->fd_pagemap, piece, piece + HN_BASE_SIZE, UINT64_MAX))
			memset(at + off, 0, HN_BASE_SIZE);
		else if (!drop(live, piece, HN_BASE_SIZE) && !hn_is_lost(piece)) /* which reads in what is in swap */
			memset(at + off, 0, HN_BASE_SIZE);
	}
}

bool hn_is_empty(struct hn_live *live, hn_addr start, hn_addr end)
{
	struct hn_mm mm = hn_live_mm(live);

	return hn_mm_is_empty(&mm, start, end);
}

int hn_copy_in(struct hn_live *live, hn_addr dst, hn_addr src, uint64_t len)
{
	struct hn_mm mm = hn_live_mm(live);

	return hn_mm_copy_in(&mm, dst, src, len);
}

int hn_putback(struct hn_live *live, hn_addr haddr, hn_addr src)
{
	struct hn_mm mm = hn_live_mm(live);

	return hn_mm_putback(&mm, haddr, src);
}

int hn_put_new(struct hn_live *live, hn_addr haddr, hn_addr src, bool *copied)
{
	struct hn_mm mm = hn_live_mm(live);

	return hn_mm_put_new(&mm, haddr, src, copied);
}
