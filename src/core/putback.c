// SPDX-License-Identifier: MIT
/*
 * putback.c - how a page gets into the program whatever the kernel answers (I1, I6, I7).
 *
 * The normal way is one UFFDIO_MOVE. The rest of this file is for the answers that docs/protocol.md lists: a page
 * table in the way, a protection that changed, a lock that differs, a page split behind our back.
 */
#include "core/internal.h"
#include "core/mm.h"

#define RUNS 32u

/*
 * How much from start on is in place already. Asked for, not found out piece by piece: a put-back that has to begin anew for
 * each event would then never get to its end where events are many.
 */
static uint64_t in_place(const struct hn_mm *mm, hn_addr start, hn_addr end)
{
	struct hn_range r;
	hn_addr next;

	if (mm->ops->look(mm->be, HN_MM_PRESENT, start, end, &r, 1, &next) != 1 || r.start != start)
		return mm->piece;
	return r.end - start;
}

/* The copy of one piece cannot be read. 0: because it is lost, and the program's place says so now, or has something newer. */
static int give_up_piece(const struct hn_mm *mm, hn_addr dst, hn_addr src)
{
	int err;

	if (!mm->ops->is_lost(mm->be, src))
		return HN_EAGAIN; /* no memory to read it in from swap, say */
	err = mm->ops->mark_lost(mm->be, dst);
	return err == HN_EEXIST ? 0 : err;
}

/*
 * A range that no longer lies in one mapping (mprotect or munmap of a part) is refused whole by the kernel, so it is then
 * tried piece by piece.
 */
static int copy_in(const struct hn_mm *mm, hn_addr dst, hn_addr src, uint64_t len, bool only_home)
{
	uint64_t off = 0, step = len, done;
	int ret = 0;

	while (off < len) {
		int err = mm->ops->copy(mm->be, dst + off, src + off, step < len - off ? step : len - off, &done);

		off += done;
		if (err == 0 || done)
			continue;
		if (err != HN_EEXIST && err != HN_ENOENT && err != HN_EINVAL && (err != HN_EFAULT || !only_home))
			return HN_EAGAIN; /* an event first, or no memory: not now */
		if (err != HN_EEXIST && step > mm->piece) {
			step = mm->piece;
			continue;
		}
		if (err == HN_EFAULT)
			err = give_up_piece(mm, dst + off, src + off);
		if (err == HN_EAGAIN)
			return HN_EAGAIN;
		if (err == HN_EEXIST) {
			uint64_t there = in_place(mm, dst + off, dst + len);

			mm->ops->note(mm->be, HN_MM_COLLISION, there / mm->piece);
			off += there;
		} else if (err == 0) {
			off += mm->piece;
			step = len;
		} else {
			ret = HN_EAGAIN; /* this piece is not ours any more: an event will say so */
			off += mm->piece;
		}
	}
	return ret;
}

int hn_mm_copy_in(const struct hn_mm *mm, hn_addr dst, hn_addr src, uint64_t len)
{
	return copy_in(mm, dst, src, len, true);
}

/*
 * Something of the page may already be in place. Where src holds a piece and the program does not, bring it; the pieces are
 * copied, not moved, because a move that must split a page can spin in some kernels.
 */
static int bring(const struct hn_mm *mm, hn_addr haddr, hn_addr src, bool only_home)
{
	hn_addr at = src, end = src + HN_PAGE_SIZE;
	struct hn_range r[RUNS];

	while (at < end) {
		int n = mm->ops->look(mm->be, HN_MM_THERE, at, end, r, RUNS, &at), i;

		/* It cannot be seen what is where: then all of it. A hole gives zeros, and only where the program has none. */
		if (n < 0)
			return copy_in(mm, haddr, src, HN_PAGE_SIZE, only_home);
		for (i = 0; i < n; i++)
			if (copy_in(mm, haddr + (r[i].start - src), r[i].start, r[i].end - r[i].start, only_home))
				return HN_EAGAIN;
	}
	return 0;
}

/*
 * MOVE said `err` with `moved` bytes in place. 0: all is; *copied: src still holds some of it, and nobody has been woken.
 * only_home: what is lost in src is lost; else it is somewhere else still, and -EAGAIN leaves that to the one who knows.
 */
static int put_slow(const struct hn_mm *mm, hn_addr haddr, hn_addr src, uint64_t moved, int err, bool only_home, bool *copied)
{
	uint64_t off = moved;
	uint32_t tries = 0;

	*copied = false;
	/* Unread events say EAGAIN until the one is read who may be waiting for a lock of ours (I3): never insist on that. */
	while ((err == HN_EBUSY || (err == HN_EAGAIN && moved > 0)) && mm->ops->again(mm->be, tries++)) {
		err = mm->ops->move(mm->be, HN_MM_IN, haddr + off, src + off, HN_PAGE_SIZE - off, &moved);
		if (err == 0)
			return 0;
		off += moved;
	}
	if (err == HN_EAGAIN)
		return HN_EAGAIN; /* what is in place already is found there the next time */
	*copied = true;
	mm->ops->note(mm->be, HN_MM_FIXUP, 1);
	if (err == HN_EEXIST || err == HN_ENOENT)
		return bring(mm, haddr, src, only_home);
	/* EINVAL: protection or locking differ now; a copy does not mind. Others: a copy is the best we can do. */
	return copy_in(mm, haddr + off, src + off, HN_PAGE_SIZE - off, only_home);
}

int hn_mm_putback(const struct hn_mm *mm, hn_addr haddr, hn_addr staged)
{
	uint64_t moved;
	bool copied;
	int err = mm->ops->move(mm->be, HN_MM_IN, haddr, staged, HN_PAGE_SIZE, &moved);

	if (err == 0)
		return 0;
	err = put_slow(mm, haddr, staged, moved, err, true, &copied);
	if (err || !copied)
		return err;
	mm->ops->wake(mm->be, haddr, HN_PAGE_SIZE);
	hn_mm_discard(mm, staged);
	return 0;
}

int hn_mm_put_new(const struct hn_mm *mm, hn_addr haddr, hn_addr src, bool *copied)
{
	uint64_t moved;
	bool wakes;
	int err = mm->ops->move(mm->be, HN_MM_IN, haddr, src, HN_PAGE_SIZE, &moved);

	*copied = err != 0;
	if (err == 0 || moved == 0)
		return err;
	/* Part of it is in the program. Finish it if that can be; if not, the old page is still whole, and goes beside it. */
	if (put_slow(mm, haddr, src, moved, err, false, &wakes))
		return HN_EAGAIN;
	if (wakes)
		mm->ops->wake(mm->be, haddr, HN_PAGE_SIZE);
	return 0;
}
