// SPDX-License-Identifier: MIT
/*
 * takeout.c - pages out of the program and to staging, and out of staging to be freed. The normal way is one UFFDIO_MOVE for
 * a whole run; the rest is for a page that the kernel splits while it is moved.
 */
#include "core/internal.h"
#include "core/mm.h"

#define RUNS 32u

bool hn_mm_is_empty(const struct hn_mm *mm, hn_addr start, hn_addr end)
{
	struct hn_range r;

	while (start < end)
		if (mm->ops->look(mm->be, HN_MM_THERE, start, end, &r, 1, &start) != 0)
			return false;
	return true;
}

/* Leading bytes of [start, end) that are whole huge pages. */
static uint64_t huge_prefix(const struct hn_mm *mm, hn_addr start, hn_addr end)
{
	struct hn_range r;
	hn_addr next;

	if (mm->ops->look(mm->be, HN_MM_HUGE, start, end, &r, 1, &next) != 1 || r.start != start)
		return 0;
	return hn_page_down(r.end) - start;
}

/*
 * A move stopped inside a page: it was split between our look and the move. Bring its first part home. False when that
 * cannot be, because of an event, say: then the page counts as armed.
 */
static bool undo_part(const struct hn_mm *mm, hn_addr haddr, hn_addr staged, uint64_t part)
{
	uint64_t off = 0, moved;

	while (off < part) {
		if (mm->ops->move(mm->be, HN_MM_IN, haddr + off, staged + off, part - off, &moved) && moved == 0)
			return false;
		off += moved;
	}
	return true;
}

uint32_t hn_mm_take_out(const struct hn_mm *mm, hn_addr haddr, hn_addr staged, uint32_t nr, int *err)
{
	uint64_t huge = huge_prefix(mm, haddr, haddr + nr * HN_PAGE_SIZE), done = 0, step = huge, moved;

	*err = HN_ENOENT;
	while (done < huge) {
		uint64_t len = step < huge - done ? step : huge - done;

		*err = mm->ops->move(mm->be, HN_MM_OUT, staged + done, haddr + done, len, &moved);
		if (*err == 0)
			moved = len;
		done += moved & HN_PAGE_MASK;
		if (moved & ~HN_PAGE_MASK) {
			bool home = undo_part(mm, haddr + done, staged + done, moved & ~HN_PAGE_MASK);

			done += home ? 0 : HN_PAGE_SIZE;
			*err = home ? HN_ENOENT : HN_EAGAIN;
			break;
		}
		if (*err == HN_EINVAL && len > HN_PAGE_SIZE)
			step = HN_PAGE_SIZE; /* the run may span two mappings, which one move may not */
		else if (*err && moved == 0) /* the true error comes only when nothing could be moved */
			break;
	}
	/* A page that is being split may have been moved in part without a word of it: then it counts as armed, as above. */
	if (done < huge && !hn_mm_is_empty(mm, staged + done, staged + done + HN_PAGE_SIZE)) {
		done += HN_PAGE_SIZE;
		*err = HN_EAGAIN;
	}
	if (done < nr * HN_PAGE_SIZE && done == huge)
		*err = HN_ENOENT;
	return (uint32_t)(done >> HN_PAGE_SHIFT);
}

/* What staging still holds: it was split, or filled by mlockall. False: it cannot be moved, because of a hardware memory error. */
static bool discard_pieces(const struct hn_mm *mm, hn_addr staged)
{
	hn_addr at = staged, end = staged + HN_PAGE_SIZE;
	struct hn_range r[RUNS];
	bool can = true;
	uint64_t moved;

	while (at < end) {
		int n = mm->ops->look(mm->be, HN_MM_THERE, at, end, r, RUNS, &at), i;

		if (n < 0)
			break;
		for (i = 0; i < n; i++)
			can &= mm->ops->trash(mm->be, r[i].start, r[i].end - r[i].start, &moved) != HN_EFAULT;
	}
	return can;
}

/*
 * The trash is emptied each time: what was moved in part, with or without a word, would be in the way of the rest for ever.
 */
void hn_mm_discard(const struct hn_mm *mm, hn_addr staged)
{
	bool can = true;
	uint32_t tries = 0;
	uint64_t moved;
	int err = mm->ops->trash(mm->be, staged, HN_PAGE_SIZE, &moved);

	mm->ops->empty_trash(mm->be, staged);
	while (err && !hn_mm_is_empty(mm, staged, staged + HN_PAGE_SIZE)) {
		if (!can || (tries && !mm->ops->again(mm->be, tries))) {
			mm->ops->drop(mm->be, staged);
			return;
		}
		tries++;
		can = discard_pieces(mm, staged);
		mm->ops->empty_trash(mm->be, staged);
	}
}
