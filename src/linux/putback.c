// SPDX-License-Identifier: MIT
/*
 * putback.c - how a page gets back into the program whatever the kernel answers (I1, I6, I7).
 *
 * The normal way is one UFFDIO_MOVE. The rest of this file is for the answers that docs/protocol.md lists: a page
 * table in the way, a protection that changed, a lock that differs, a page split behind our back. What the program
 * has put in place itself since always wins: it is newer.
 */
#include <errno.h>
#include <sys/mman.h>

#include "linux/block.h"
#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define BUSY_TRIES 200

static void yield(void) { HN_SYS_BLOCK(SYS_sched_yield, 0, 0, 0, 0, 0, 0); }

/* Page by page: staging was split, or filled by mlockall. Holes are passed over. */
static void discard_pieces(struct hn_live *live, hn_addr dst, hn_addr src)
{
	uint64_t off = 0, moved;
	int tries = 0;

	while (off < HN_PAGE_SIZE && tries < BUSY_TRIES) {
		int err = hn_uffd_move(live->fd_trash, dst + off, src + off, HN_BASE_SIZE, &moved);

		if (err == 0 || err == -ENOENT) {
			off += HN_BASE_SIZE;
		} else {
			tries++;
			yield();
		}
	}
}

/* Free one huge page's worth of staging, through the trash so that no event is raised against ourselves. */
void hn_staging_discard(struct hn_live *live, uint32_t page)
{
	hn_addr src = (hn_addr)(uintptr_t)hn_staging(live, page);
	char *trash = live->trash + (uint64_t)page * HN_PAGE_SIZE;
	uint64_t moved;

	if (hn_uffd_move(live->fd_trash, (hn_addr)(uintptr_t)trash, src, HN_PAGE_SIZE, &moved) != 0) {
		if (moved == 0 && hn_pagemap_is_empty(live->fd_pagemap, src, src + HN_PAGE_SIZE))
			return;
		discard_pieces(live, (hn_addr)(uintptr_t)trash, src);
	}
	hn_sys_madvise(trash, HN_PAGE_SIZE, MADV_DONTNEED);
}

/*
 * How much from start on is in place already. Asked for, not found out base page by base page: a put-back that has to
 * begin anew for each event would then never get to its end where events are many.
 */
static uint64_t in_place(struct hn_live *live, hn_addr start, hn_addr end)
{
	struct hn_range r;
	hn_addr next;

	if (hn_pagemap_runs(live->fd_pagemap, start, end, HN_PAGE_IS_PRESENT, 0, &r, 1, &next) != 1 || r.start != start)
		return HN_BASE_SIZE;
	return r.end - start;
}

/*
 * Copy len bytes to dst where the program has nothing; what it has stays. A range that no longer lies in one mapping
 * (mprotect or munmap of a part) is refused whole by the kernel, so it is then tried base page by base page.
 */
int hn_copy_in(struct hn_live *live, hn_addr dst, hn_addr src, uint64_t len)
{
	uint64_t off = 0, step = len, done;
	int ret = 0;

	while (off < len) {
		int err = hn_uffd_copy(live->fd, dst + off, src + off, step < len - off ? step : len - off, &done);

		off += done;
		if (err == 0 || done)
			continue;
		if (err != -EEXIST && err != -ENOENT && err != -EINVAL)
			return -EAGAIN; /* an event first, or no memory: not now */
		if (err != -EEXIST && step > HN_BASE_SIZE) {
			step = HN_BASE_SIZE;
			continue;
		}
		if (err == -EEXIST) {
			uint64_t there = in_place(live, dst + off, dst + len);

			hn_stat_add(&live->stats->collisions, there / HN_BASE_SIZE);
			off += there;
		} else {
			ret = -EAGAIN; /* this piece is not ours any more: an event will say so */
			off += HN_BASE_SIZE;
		}
	}
	return ret;
}

static int bring(struct hn_live *live, hn_addr haddr, hn_addr src)
{
	hn_addr at = src, end = src + HN_PAGE_SIZE;
	struct hn_range r[32];

	while (at < end) {
		int n = hn_pagemap_there(live->fd_pagemap, at, end, r, 32, &at), i;

		/* It cannot be seen what is where: then all of it. A hole gives zeros, and only where the program has none. */
		if (n < 0)
			return hn_copy_in(live, haddr, src, HN_PAGE_SIZE);
		for (i = 0; i < n; i++)
			if (hn_copy_in(live, haddr + (r[i].start - src), r[i].start, r[i].end - r[i].start))
				return -EAGAIN;
	}
	return 0;
}

/*
 * Something of the page may already be in place. Where staging holds a base page and the program does not, bring it;
 * the pieces are copied, not moved, because a move that must split a page can spin in some kernels.
 */
static int merge(struct hn_live *live, hn_addr haddr, hn_addr src)
{
	hn_stat_add(live->cnt.fixups, 1);
	if (bring(live, haddr, src))
		return -EAGAIN;
	hn_uffd_wake(live->fd, haddr, HN_PAGE_SIZE);
	return 0;
}

static int after_copy(struct hn_live *live, hn_addr haddr, hn_addr src, int err)
{
	hn_addr base = (hn_addr)(uintptr_t)live->staging;

	if (err)
		return err;
	hn_uffd_wake(live->fd, haddr, HN_PAGE_SIZE);
	if (src >= base && src < base + (uint64_t)live->setup.nr_pages * HN_PAGE_SIZE)
		hn_staging_discard(live, (uint32_t)((src - base) >> HN_PAGE_SHIFT));
	return 0;
}

static int move_in(struct hn_live *live, hn_addr dst, hn_addr src, uint64_t len, uint64_t *moved)
{
	return hn_uffd_move_mode(live->fd, dst, src, len, live->way->move_in_mode, moved);
}

/* MOVE said `err` with `off` bytes already in place. */
static int putback_slow(struct hn_live *live, hn_addr haddr, hn_addr src, uint64_t off, int err)
{
	int tries;
	uint64_t moved = off;

	/* Unread events say EAGAIN until the one is read who may be waiting for a lock of ours (I3): never insist on that. */
	for (tries = 0; tries < BUSY_TRIES && (err == -EBUSY || (err == -EAGAIN && moved > 0)); tries++) {
		yield();
		err = move_in(live, haddr + off, src + off, HN_PAGE_SIZE - off, &moved);
		off += moved;
		if (err == 0)
			return 0;
	}
	if (err == -EAGAIN)
		return -EAGAIN; /* what is in place already is found there the next time */
	if (err == -EEXIST || err == -ENOENT)
		return after_copy(live, haddr, src, merge(live, haddr, src));
	/* EINVAL: protection or locking differ now; a copy does not mind. Others: a copy is the best we can do. */
	hn_stat_add(live->cnt.fixups, 1);
	return after_copy(live, haddr, src, hn_copy_in(live, haddr + off, src + off, HN_PAGE_SIZE - off));
}

int hn_putback(struct hn_live *live, hn_addr haddr, hn_addr src)
{
	uint64_t moved;
	int err = move_in(live, haddr, src, HN_PAGE_SIZE, &moved);

	return err ? putback_slow(live, haddr, src, moved, err) : 0;
}

int hn_put_new(struct hn_live *live, hn_addr haddr, hn_addr src, bool *copied)
{
	uint64_t moved;
	int err = move_in(live, haddr, src, HN_PAGE_SIZE, &moved);

	*copied = err != 0;
	if (err == 0 || moved == 0)
		return err;
	/* Part of it is in the program. Finish it if that can be; if not, the old page is still whole, and goes beside it. */
	return putback_slow(live, haddr, src, moved, err) ? -EAGAIN : 0;
}
