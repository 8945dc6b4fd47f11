// SPDX-License-Identifier: MIT
/*
 * mm.h - taking pages out of the program and bringing them back, whatever the kernel answers: what a backend that moves pages
 * with UFFDIO_MOVE builds its ops of.
 *
 * The kernel may split a huge page at any time, in staging, in the program or in the pool, and then has each base page of it
 * for a moment in no page table (a migration entry, which PAGEMAP_SCAN calls swapped), or for long in swap. So everything here
 * goes by what is where, asked for in one look, and never by what a call that failed says to have done (I1, I2). What the
 * program has in place always wins: it is newer.
 *
 * A base page may also have a hardware memory error: what it held is lost, in staging as it would have been in the program. Then
 * the program's place is marked, so that whoever touches it gets the signal that he would have got without us, and nobody else
 * anything.
 *
 * Addresses are of the process, `piece` divides all of them. Results are 0 or a negative errno.
 */
#ifndef HN_CORE_MM_H
#define HN_CORE_MM_H

#include "core/types.h"

/* What to look for. */
enum hn_mm_kind {
	HN_MM_PRESENT,
	HN_MM_SWAPPED, /* in swap; or, for a moment, being split or migrated */
	HN_MM_THERE,   /* the one or the other, in one look: there is no moment at which a page is neither */
	HN_MM_HUGE,    /* mapped as a huge page, the huge zero page apart */
};

enum hn_mm_way {
	HN_MM_OUT, /* out of the program, to staging */
	HN_MM_IN,  /* into the program; wakes who sleeps there, unless the way of arming wakes later */
};

enum hn_mm_note {
	HN_MM_FIXUP,     /* a page could not be put back by moving it alone */
	HN_MM_COLLISION, /* n pieces that were to be copied were in place already */
};

struct hn_mm_ops {
	/*
	 * UFFDIO_MOVE. *moved: bytes that are moved, from the start on, when there is an error; 0: none, or the kernel does not
	 * say. HN_EAGAIN with *moved 0: an event is unread.
	 */
	int (*move)(void *be, enum hn_mm_way way, hn_addr dst, hn_addr src, uint64_t len, uint64_t *moved);
	/* UFFDIO_COPY into the program, *copied alike. */
	int (*copy)(void *be, hn_addr dst, hn_addr src, uint64_t len, uint64_t *copied);
	/* PAGEMAP_SCAN: up to nr runs of [start, end), ascending, and where to go on. Their number, or negative. */
	int (*look)(void *be, enum hn_mm_kind kind, hn_addr start, hn_addr end, struct hn_range *run, uint32_t nr,
		    hn_addr *next);
	void (*wake)(void *be, hn_addr start, uint64_t len);
	/* MOVE of a part of a huge page's worth of staging to the trash that belongs to it; and freeing what that holds. */
	int (*trash)(void *be, hn_addr src, uint64_t len, uint64_t *moved);
	void (*empty_trash)(void *be, hn_addr src);
	/* Free a huge page's worth of staging some other way: what cannot be moved, because it is pinned or on its way to swap. */
	void (*drop)(void *be, hn_addr src);
	/*
	 * MADV_POPULATE_READ of a piece that is there: true only when what it held is lost to a hardware memory error, never
	 * because it cannot be read for another reason. And UFFDIO_POISON of as much in the program: 0, or HN_EEXIST and others as
	 * for copy.
	 */
	bool (*is_lost)(void *be, hn_addr src);
	int (*mark_lost)(void *be, hn_addr dst);
	/* Is what failed for a passing reason to be tried once more, after so many times? Lets others run. */
	bool (*again)(void *be, uint32_t tries);
	void (*note)(void *be, enum hn_mm_note what, uint64_t n);
};

struct hn_mm {
	const struct hn_mm_ops *ops;
	void *be;
	uint64_t piece; /* bytes of a base page: the least that a page is moved or copied in */
};

/* ---- takeout.c ---- */

/*
 * Take up to nr huge pages from haddr to staging, a stretch of the same length. Returns how many are there, always a prefix;
 * when less than nr, *err is why. A page that the kernel has split meanwhile may be there in part: then it counts as there,
 * it is the last, and *err is -EAGAIN; its put-back brings together what is where.
 */
uint32_t hn_mm_take_out(const struct hn_mm *mm, hn_addr haddr, hn_addr staged, uint32_t nr, int *err);

/*
 * Free a huge page's worth of staging, through the trash, so that no event is raised against ourselves. Nothing is left: the
 * next page with this id would find it there, not be moved, be taken for armed all the same, and its put-back would bring
 * what is left of the old one wherever the program has nothing by then (I1).
 */
void hn_mm_discard(const struct hn_mm *mm, hn_addr staged);

/* True when nothing at all is there, swap included; false also when that cannot be found out. */
bool hn_mm_is_empty(const struct hn_mm *mm, hn_addr start, hn_addr end);

/* ---- putback.c ---- */

/* Bring the page in staging to haddr, leave nothing of it there, and wake who sleeps: 0. -EAGAIN: not now, or not all of it. */
int hn_mm_putback(const struct hn_mm *mm, hn_addr haddr, hn_addr staged);

/*
 * The same for a page that is to take the place of an old one, or of nothing: what the kernel says is returned when nothing is
 * known to have moved. After -EAGAIN part of it may be in place, after another error too; the old page, put back later,
 * then brings the rest. *copied on success: src may still hold something, or page tables; it is left there.
 */
int hn_mm_put_new(const struct hn_mm *mm, hn_addr haddr, hn_addr src, bool *copied);

/* Copy into the program where it has nothing yet; 0, or -EAGAIN when some of it must wait for an event. */
int hn_mm_copy_in(const struct hn_mm *mm, hn_addr dst, hn_addr src, uint64_t len);

#endif
