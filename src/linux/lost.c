// SPDX-License-Identifier: MIT
/*
 * lost.c - pages of registered memory that are mapped small: the kernel has split them, or they came back in pieces. They are made
 * huge again where the kernel by itself would not do so, because the memory is registered. Scanner only.
 */
#include <linux/futex.h>

#include "linux/live.h"
#include "linux/number.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define COLLAPSE_PER_LOOK 2u /* pages made huge again per look: each takes milliseconds */
#define LOST_MS 2000u        /* for so long it is tried: the kernel may be in the middle of something */
#define LOST_AGAIN_MS 200u
#define NOT_ASKED UINT64_MAX
#define RANGES 64

/*
 * The kernel maps what is all zeros in a page that it splits to its page of zeros, and a page of which a part is mapped so it
 * makes huge again only where no userfaultfd watches. So each such part gets memory of its own first: by an addition of nothing, a
 * write that changes nothing whatever the program has there by now, and fails where it would have to wait for us (EFAULT).
 */
static void write_nothing(hn_addr base_page)
{
	uint32_t nobody = 0;

	HN_SYS(SYS_futex, &nobody, FUTEX_WAKE_OP_PRIVATE, 0, 0, base_page, FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_LT, -2048));
}

/* As many parts without memory as the kernel itself would give some, were the page not registered. Asked once a look at most. */
static uint64_t most_zero_bytes(struct hn_live *live)
{
	uint64_t pages = HN_PAGE_SIZE / HN_BASE_SIZE - 1;
	char buf[32];

	if (live->most_zero_bytes != NOT_ASKED)
		return live->most_zero_bytes;
	if (hn_sys_read_file("/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none", buf, sizeof(buf)))
		hn_read_number(buf, &pages);
	live->most_zero_bytes = pages * HN_BASE_SIZE;
	return live->most_zero_bytes;
}

static bool has_too_many_zeros(struct hn_live *live, hn_addr haddr)
{
	uint64_t bytes = hn_pagemap_zero_bytes(live->fd_pagemap, haddr, haddr + HN_PAGE_SIZE);

	return bytes && bytes > most_zero_bytes(live);
}

static void fill_zero_parts(struct hn_live *live, hn_addr haddr)
{
	hn_addr at = haddr, end = haddr + HN_PAGE_SIZE, a;
	struct hn_range r[RANGES];

	while (at < end) {
		int n = hn_pagemap_runs(live->fd_pagemap, at, end, HN_PAGE_IS_PFNZERO, 0, r, RANGES, &at), i;

		for (i = 0; i < n; i++)
			for (a = r[i].start; a < r[i].end; a += HN_BASE_SIZE)
				write_nothing(a);
		if (n <= 0)
			return;
	}
}

/* What is in swap stays there: to read it in is not ours to decide. */
static bool is_all_present(const struct hn_live *live, hn_addr haddr)
{
	return hn_pagemap_present_bytes(live->fd_pagemap, haddr, haddr + HN_PAGE_SIZE, UINT64_MAX) == HN_PAGE_SIZE;
}

static bool can_be_huge(struct hn_live *live, hn_addr haddr)
{
	return is_all_present(live, haddr) && !has_too_many_zeros(live, haddr);
}

static bool make_huge(struct hn_live *live, hn_addr haddr)
{
	fill_zero_parts(live, haddr);
	if (hn_sys_madvise((void *)(uintptr_t)haddr, HN_PAGE_SIZE, HN_MADV_COLLAPSE))
		return false;
	hn_stat_add(live->cnt.collapses, 1);
	return true;
}

enum lost { LOST_TRY, LOST_WAIT, LOST_FORGET };

/* Is it time to try what can be done about a page that is mapped small, once more, or too late? */
static enum lost what_of_lost(struct hn_live *live, hn_addr haddr)
{
	uint32_t now = hn_live_now_ms(), i;
	struct hn_lost *free = NULL;

	for (i = 0; i < HN_MAX_LOST; i++) {
		struct hn_lost *l = &live->lost[i];

		if (l->haddr != haddr) {
			if (!l->haddr || now - l->since_ms > 2 * LOST_MS)
				free = l;
			continue;
		}
		if (now - l->since_ms > 2 * LOST_MS) /* of another time */
			l->since_ms = l->next_ms = now;
		if (now - l->since_ms > LOST_MS) {
			l->haddr = 0;
			return LOST_FORGET;
		}
		if ((int32_t)(now - l->next_ms) < 0)
			return LOST_WAIT;
		l->next_ms = now + LOST_AGAIN_MS;
		return LOST_TRY;
	}
	if (!free)
		return LOST_WAIT; /* there are many: one after the other */
	*free = (struct hn_lost){ haddr, now, now + LOST_AGAIN_MS };
	return LOST_TRY;
}

static void no_more_lost(struct hn_live *live, hn_addr haddr)
{
	uint32_t i;

	for (i = 0; i < HN_MAX_LOST; i++)
		if (live->lost[i].haddr == haddr)
			live->lost[i].haddr = 0;
}

/*
 * A managed page that is mapped small now: try to have it huge again, off everybody's path. The kernel may be just splitting or
 * moving it, or in need of memory for a moment; a hole, though, is there because the program wants it, or soon filled by it.
 */
static void recover(struct hn_worker *w, hn_addr haddr, uint32_t *tries)
{
	struct hn_live *live = w->live;
	enum hn_state state;

	hn_gate_read_lock(&w->hn);
	state = hn_state_of(&w->hn, haddr);
	hn_gate_read_unlock(&w->hn);
	if (state != HN_MAPPED || hn_pagemap_is_huge(live->fd_pagemap, haddr))
		return;
	if (!hn_pagemap_has_hole(live->fd_pagemap, haddr, haddr + HN_PAGE_SIZE)) {
		enum lost what = *tries ? what_of_lost(live, haddr) : LOST_WAIT;

		if (what == LOST_TRY && can_be_huge(live, haddr)) {
			--*tries;
			if (make_huge(live, haddr))
				no_more_lost(live, haddr);
		}
		if (what != LOST_FORGET)
			return;
	}
	hn_gate_read_lock(&w->hn);
	if (!hn_pagemap_is_huge(live->fd_pagemap, haddr) && hn_state_of(&w->hn, haddr) == HN_MAPPED) {
		hn_stat_add(&live->stats->pages_lost_huge, 1);
		hn_unmanage(&w->hn, haddr);
	}
	hn_gate_read_unlock(&w->hn);
}

/*
 * One that nobody manages any more, because it was not huge when it was to be armed, and that khugepaged would have mended, had it
 * not parts that are all zeros. Once: such parts have memory of their own then, and the rest is khugepaged's.
 */
static void recover_unmanaged(struct hn_worker *w, hn_addr haddr, uint32_t *tries)
{
	enum hn_state state;

	hn_gate_read_lock(&w->hn);
	state = hn_state_of(&w->hn, haddr);
	hn_gate_read_unlock(&w->hn);
	if (state != HN_UNMANAGED || !*tries || !can_be_huge(w->live, haddr))
		return;
	--*tries;
	make_huge(w->live, haddr);
}

/* What is mapped by base pages in registered memory: all of it, and what has parts that are all zeros. */
static const struct {
	uint64_t mask;
	void (*recover)(struct hn_worker *w, hn_addr haddr, uint32_t *tries);
} small[] = {
	{ HN_PAGE_IS_HUGE | HN_PAGE_IS_PRESENT, recover },
	{ HN_PAGE_IS_HUGE | HN_PAGE_IS_PRESENT | HN_PAGE_IS_PFNZERO, recover_unmanaged },
};

static void find_small(struct hn_worker *w, unsigned which)
{
	struct hn_live *live = w->live;
	uint32_t i, tries = COLLAPSE_PER_LOOK;

	for (i = 0;; i++) {
		struct hn_range r[RANGES];
		hn_addr at, end, a, last = 0;
		int n, k;

		hn_gate_read_lock(&w->hn);
		at = i < live->nr_regions ? hn_page_up(live->region[i].start) : 0;
		end = i < live->nr_regions ? hn_page_down(live->region[i].end) : 0;
		hn_gate_read_unlock(&w->hn);
		if (!end)
			return;
		while (at < end) {
			/* Runs that are not huge: small pages, holes, and what is armed at this moment. */
			n = hn_pagemap_runs(live->fd_pagemap, at, end, small[which].mask, HN_PAGE_IS_HUGE, r, RANGES, &at);
			for (k = 0; k < n; k++)
				for (a = hn_page_down(r[k].start); a < r[k].end; a += HN_PAGE_SIZE) {
					if (a != last)
						small[which].recover(w, a, &tries);
					last = a;
				}
			if (n <= 0)
				break;
		}
	}
}

void hn_find_lost(struct hn_worker *w)
{
	w->live->most_zero_bytes = NOT_ASKED;
	find_small(w, 0);
	find_small(w, 1);
}
