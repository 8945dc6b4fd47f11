// SPDX-License-Identifier: MIT
/*
 * discover.c - which memory is managed: private anonymous mappings that are mostly huge and have stopped growing.
 *
 * Whole mappings are registered, so that none is split (a split mapping cannot be mremapped by the program). Memory that
 * is still growing by first touch is left to the kernel, which serves it faster; a region where we serve many first
 * touches is given back for a while. Everything here runs in the one scanner thread.
 */
#include <errno.h>
#include <sys/mman.h>

#include "linux/block.h"
#include "linux/live.h"
#include "linux/number.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define HOLES_PER_S 30u          /* first touches served per second, for long, that mean "still growing" ... */
#define HOLES_AT_ONCE 8u         /* ... and so many more for a moment; each costs twice what the kernel's would */
#define EAGER_HOLES_PER_S 10000u /* the same with short scan periods, where being managed matters more */
#define REST_MS 250u             /* without growth before a region that was given back is registered again; doubles each time */
#define REST_DOUBLINGS 5u        /* so many times */
_Static_assert(HN_REST_MS == REST_MS << REST_DOUBLINGS, "the longest");

#define RANGES 64
#define REST_TRIES 16u /* to find no event outstanding; else the next look will */
#define MAX_ADDR ((hn_addr)1 << 53) /* numbers of huge pages are 32 bits wide (hn_page_set_haddr) */
#define COUNT_BYTES ((hn_addr)64 << 20) /* counted in one call: some 0.2 ms with small pages */
#define COUNT_NS 2000000u               /* for one look */
#define STEP_BYTES ((hn_addr)1 << 30) /* managed in one hold of the gate: less than a millisecond */

/* ---- counting, before anything is set up ---- */

struct count {
	int fd_pagemap;
	uint64_t bytes, enough;
	hn_addr from, next; /* next 0: all was looked at */
	uint64_t until_ns;
};

/* Small pages are asked about one by one, with the process's memory map locked: a piece at a time. */
static bool count_vma(void *arg, const struct hn_vma *vma)
{
	struct count *c = arg;
	hn_addr start = hn_page_up(vma->start), end = hn_page_down(vma->end), stop;

	if (start < c->from)
		start = c->from;
	for (; start < end && c->bytes < c->enough; start = stop) {
		if (hn_live_now_ns(NULL) > c->until_ns) {
			c->next = start;
			return false;
		}
		stop = end - start > COUNT_BYTES ? start + COUNT_BYTES : end;
		c->bytes += hn_pagemap_huge_bytes(c->fd_pagemap, start, stop, c->enough - c->bytes);
	}
	return c->bytes < c->enough;
}

uint32_t hn_discover_count(int fd_maps, int fd_pagemap, char *buf, size_t buf_bytes, uint32_t enough, struct hn_count *so_far)
{
	struct count c = { .fd_pagemap = fd_pagemap, .enough = enough * HN_PAGE_SIZE, .bytes = so_far->bytes, .from = so_far->next,
			   .until_ns = hn_live_now_ns(NULL) + COUNT_NS };

	hn_maps_walk(fd_maps, buf, buf_bytes, count_vma, &c);
	*so_far = (struct hn_count){ c.next, c.next ? c.bytes : 0 };
	return (uint32_t)(c.bytes >> HN_PAGE_SHIFT);
}

/* ---- candidates ---- */

static struct hn_candidate *candidate(struct hn_live *live, hn_addr start)
{
	uint32_t i, oldest = 0;

	for (i = 0; i < live->nr_candidates; i++) {
		if (live->candidate[i].start == start)
			return &live->candidate[i];
		if (live->candidate[i].seen_ms - live->candidate[oldest].seen_ms > UINT32_MAX / 2)
			oldest = i;
	}
	if (live->nr_candidates < HN_MAX_CANDIDATES)
		oldest = live->nr_candidates++;
	live->candidate[oldest] = (struct hn_candidate){ .start = start, .not_before_ms = hn_live_now_ms() };
	return &live->candidate[oldest];
}

bool hn_huge_enough(const struct hn_live *live, hn_addr start, hn_addr end, uint32_t pages)
{
	struct hn_range r;

	if (pages != 1 || live->nr_regions >= HN_MAX_REGIONS / 2)
		return pages > 1;
	return hn_pagemap_runs(live->fd_pagemap, start, end, HN_PAGE_IS_HUGE | HN_PAGE_IS_PFNZERO, HN_PAGE_IS_PFNZERO, &r, 1,
			       &start) == 1 &&
	       !hn_overlaps(live->exclude, live->nr_excludes, hn_page_up(r.start), r.end);
}

bool hn_small_enough(const struct hn_live *live, hn_addr start, hn_addr end, uint64_t huge_bytes)
{
	uint64_t present = hn_pagemap_present_bytes(live->fd_pagemap, start, end, UINT64_MAX);

	return present <= huge_bytes + huge_bytes / 3 || present == end - start;
}

/* Bytes of huge pages, of anything, and in all, in what is to be managed of a mapping. */
static void measure(struct hn_live *live, const struct hn_vma *vma, uint64_t *huge, uint64_t *present, uint64_t *all)
{
	hn_addr at = vma->start;
	struct hn_range r;
	uint8_t wish;

	*huge = *present = *all = 0;
	for (; hn_ranges_next(live, at, vma->end, &r, &wish); at = r.end) {
		hn_addr start = hn_page_up(r.start), end = hn_page_down(r.end);

		if (start >= end)
			continue;
		*huge += hn_pagemap_huge_bytes(live->fd_pagemap, start, end, UINT64_MAX);
		*present += hn_pagemap_present_bytes(live->fd_pagemap, start, end, UINT64_MAX);
		*all += end - start;
	}
}

/* Growth of a mapping that is left alone is at rest for as long as this, if registering it was a mistake before. */
static uint32_t rest_ms(const struct hn_candidate *c) { return c->backoff ? REST_MS << (c->backoff - 1) : 0; }

/* More pages than would be served as first touches for long, were it registered. */
static bool has_grown(const struct hn_candidate *c, uint32_t pages, uint32_t now)
{
	uint64_t served = (uint64_t)HOLES_PER_S * (now - c->seen_ms) / 1000;

	return !c->huge || pages > c->huge + (served < c->huge / 64 ? served : c->huge / 64);
}

/*
 * Mostly huge among what is populated, and not growing any more since the last look. What was taken for that too early, because
 * the program or the host paused in the middle, has to be at rest for longer the next time; but counted from its last growth, so
 * that no more than that is lost when it is filled at last.
 */
static bool is_ripe(struct hn_live *live, const struct hn_vma *vma)
{
	uint32_t pages, now = hn_live_now_ms();
	struct hn_candidate *c;
	uint64_t huge, present, all;
	bool steady, rests;

	measure(live, vma, &huge, &present, &all);
	pages = (uint32_t)(huge >> HN_PAGE_SHIFT);
	if (!pages || !hn_huge_enough(live, hn_page_up(vma->start), hn_page_down(vma->end), pages))
		return false;
	c = candidate(live, vma->start);
	steady = !has_grown(c, pages, now);
	if (!steady && c->backoff)
		c->not_before_ms = now + rest_ms(c);
	c->huge = pages;
	c->seen_ms = now;
	rests = hn_ms_left(c->not_before_ms, now, HN_REST_MS) > 0;
	live->growing += !steady || rests;
	if (rests || (!steady && !live->setup.eager))
		return false;
	return present <= huge + huge / 3 || present == all;
}

static int initial_node(const struct hn_live *live, hn_addr haddr)
{
	if (!live->setup.is_virtual)
		return HN_NO_NODE; /* asked of the kernel when armed */
	return live->setup.interleave ? (int)((haddr >> HN_PAGE_SHIFT) % live->setup.nr_nodes) : 0;
}

/* How a mapping is managed. */
struct managing {
	uint64_t bound;   /* see hn_ranges_wish */
	bool fresh;       /* it was registered a moment ago, and never before; ... */
	uint32_t removes; /* ... so many remove events had been read then */
};

/* Manage every huge page of [start, end) that may be. Gate held. */
static void manage_step(struct hn_worker *w, hn_addr start, hn_addr end, uint32_t wish, const struct managing *m)
{
	/* Of what was registered before, a remove event may have been read whose zap is still to come (R16). */
	bool fresh = m->fresh && w->hn.core->removes == m->removes;
	struct hn_live *live = w->live;
	bool some_excluded = hn_overlaps(live->exclude, live->nr_excludes, start, end);
	struct hn_range r[RANGES];
	hn_addr a;

	while (start < end) {
		int n = hn_pagemap_runs(live->fd_pagemap, start, end, HN_PAGE_IS_HUGE | HN_PAGE_IS_PFNZERO, HN_PAGE_IS_PFNZERO, r,
					RANGES, &start), i;

		for (i = 0; i < n; i++)
			for (a = hn_page_up(r[i].start); a + HN_PAGE_SIZE <= r[i].end; a += HN_PAGE_SIZE)
				if (!some_excluded || !hn_overlaps(live->exclude, live->nr_excludes, a, a + HN_PAGE_SIZE)) {
					(fresh ? hn_manage_fresh : hn_manage)(&w->hn, a, initial_node(live, a));
					if (live->wishes)
						hn_entry_wish(&w->hn, a, wish);
				}
		if (n <= 0)
			return;
	}
}

/* The same step by step: who waits for the gate has a fault to serve (I3), and a mapping may have a TiB. */
static void manage_piece(struct hn_worker *w, hn_addr start, hn_addr end, uint32_t wish, const struct managing *m)
{
	bool is_known = true;
	hn_addr stop;

	for (; start < end && is_known; start = stop) {
		stop = end - start > STEP_BYTES ? start + STEP_BYTES : end;
		hn_gate_read_lock(&w->hn);
		is_known = hn_region_covers(w->live, start, stop); /* else it has changed meanwhile: the next look */
		if (is_known)
			manage_step(w, start, stop, wish, m);
		hn_gate_read_unlock(&w->hn);
	}
}

/* Where there is no number for a wish pages would go where they must not. Gate not held. */
static void manage_range(struct hn_worker *w, const struct hn_vma *vma, const struct managing *m)
{
	hn_addr at = vma->start;
	struct hn_range r;
	uint8_t user;

	for (; !w->live->excludes_full && hn_ranges_next(w->live, at, vma->end, &r, &user); at = r.end) {
		int wish = hn_ranges_wish(w, m->bound, user);

		if (wish >= 0 && hn_page_up(r.start) < hn_page_down(r.end))
			manage_piece(w, hn_page_up(r.start), hn_page_down(r.end), (uint32_t)wish, m);
	}
}

/*
 * What was one mapping when it was looked at may have got a hole since, which nobody told us of, and memory that comes there later
 * is not registered: to arm it would lose it (a read of it finds zeros, not us). So it is looked at again when every change
 * raises an event. Gate exclusive. False: it is not to be managed, not now.
 */
static bool register_whole(struct hn_worker *w, hn_addr start, hn_addr end, bool fresh)
{
	struct hn_live *live = w->live;
	int err = hn_uffd_register(live->fd, start, end - start, live->way->register_mode);

	if (!err && hn_maps_is_whole(live->fd_maps, start, end))
		return true;
	if (err && err != -ENOMEM)
		return false; /* else it may be half done */
	/* While a page is armed mremap may have brought it here, and nobody would answer the faults on it any more (I1). */
	if (fresh && hn_page_all_free(&w->hn))
		hn_uffd_unregister(live->fd, start, end - start);
	hn_region_remember(live, start, end);
	return false;
}

/*
 * What we know must be what is: while an event is outstanding there can be pages here, for all we know, that were unmapped before
 * this mapping came, and its UNMAP would be taken for older than this (order.c). False: not now, the gate is not held.
 */
static bool lock_gate_at_rest(struct hn_worker *w)
{
	uint32_t tries;

	for (tries = 0; tries < REST_TRIES; tries++) {
		hn_gate_write_lock(&w->hn);
		if (!hn_order_any(&w->hn) && !hn_live_event_unread(w))
			return true;
		hn_gate_write_unlock(&w->hn);
		hn_live_yield(w);
	}
	return false;
}

/*
 * Gate exclusive: no event is between read and processed, so what MAPPED says is true when it is said (I2). An event
 * that is queued but unread makes every later arm and put-back fail with EAGAIN until it is read.
 */
static void register_vma(struct hn_worker *w, const struct hn_vma *vma, uint64_t bound)
{
	struct hn_fence fence = hn_policy_fence_for(w->live, vma->start);
	struct managing m = { .bound = bound };
	struct hn_live *live = w->live;
	bool done;

	if (!lock_gate_at_rest(w))
		return;
	/* What has moved, grown or gone since it was looked at would be cut in two, which the program's mremap fails on: the next look. */
	if (!hn_maps_is_as_seen(live->fd_maps, vma)) {
		hn_gate_write_unlock(&w->hn);
		return;
	}
	m.fresh = hn_region_is_fresh(live, vma->start, vma->end);
	m.removes = w->hn.core->removes;
	done = live->nr_regions < HN_MAX_REGIONS - 1 && !hn_displaced_any(&w->hn) &&
	       register_whole(w, vma->start, vma->end, m.fresh);
	if (done) {
		hn_region_add(live, vma->start, vma->end, NULL);
		hn_policy_fence(live, vma->start, vma->end, &fence);
	}
	hn_gate_write_unlock(&w->hn);
	if (done)
		manage_range(w, vma, &m);
}

static void give_back(struct hn_worker *w, hn_addr start, hn_addr end);

/* Is the mapping to be balanced? *bound: among these nodes only. */
static bool is_ours(struct hn_worker *w, const struct hn_vma *vma, const struct hn_fence *fence, uint64_t *bound)
{
	if (hn_policy_rule(w->live, vma->start, fence, bound) == HN_RANGE_OWN)
		return false;
	if (hn_ranges_wish(w, *bound, 0) >= 0)
		return true;
	w->live->unbound_now++;
	return false;
}

/* A mapping we know: new pages in it are managed; unless the program has a policy for it by now. */
static void revisit_vma(struct hn_worker *w, const struct hn_vma *vma, const struct hn_fence *old)
{
	struct hn_live *live = w->live;
	struct hn_fence fence;
	uint64_t bound;

	if (!is_ours(w, vma, old, &bound) || !hn_ranges_any(live, vma->start, vma->end)) {
		give_back(w, vma->start, vma->end);
		return;
	}
	manage_range(w, vma, &(struct managing){ .bound = bound });
	fence = hn_policy_fence_for(live, vma->start);
	if (!fence.up)
		return;
	hn_gate_write_lock(&w->hn);
	if (hn_region_covers(live, vma->start, vma->end))
		hn_policy_fence(live, vma->start, vma->end, &fence);
	hn_gate_write_unlock(&w->hn);
}

static bool visit_vma(void *arg, const struct hn_vma *vma)
{
	struct hn_worker *w = arg;
	struct hn_live *live = w->live;
	struct hn_fence fence = { .up = false };
	const struct hn_region *r;
	uint64_t bound;
	bool known;

	if (vma->end - vma->start < HN_PAGE_SIZE || vma->end > MAX_ADDR || hn_overlaps(live->own, live->nr_own, vma->start, vma->end))
		return true;
	if (live->nohuge)
		hn_nohuge_trim(live->nohuge, live->nohuge_seen, vma->start, vma->end);
	hn_gate_read_lock(&w->hn);
	known = hn_region_covers(live, vma->start, vma->end);
	r = hn_region_at(live, vma->start);
	if (r)
		fence = r->fence;
	hn_gate_read_unlock(&w->hn);
	if (known)
		revisit_vma(w, vma, &fence);
	else if (!live->excludes_full && is_ripe(live, vma) && is_ours(w, vma, NULL, &bound))
		register_vma(w, vma, bound);
	return true;
}

/* ---- regions that were a mistake ---- */

#define GROWN_TRIES 3

/*
 * A registered mapping that has grown in its place is registered to its end, and nobody said so. Left so, it would be two mappings
 * from here on, which mremap does not take for one. Not where the kernel can only be asked by text (before Linux 6.11). *room: it may
 * grow so far while we look; nothing else is mapped there.
 */
static hn_addr grown_end(const struct hn_live *live, hn_addr end, hn_addr *room)
{
	struct hn_vma vma;
	int tries;

	*room = end;
	for (tries = 0; tries < GROWN_TRIES && hn_maps_next(live->fd_maps, end, &vma) == 0; tries++) {
		if (vma.start >= end) {
			*room = vma.start;
			break;
		}
		if (vma.end <= end || hn_region_any(live, end, vma.end))
			break;
		*room = end = vma.end;
	}
	return end;
}

/* The call changes nothing where something cannot be registered, which may have come into the room since. */
static void unregister_grown(const struct hn_live *live, hn_addr start, hn_addr end, hn_addr room)
{
	if (hn_uffd_unregister(live->fd, start, room - start))
		hn_uffd_unregister(live->fd, start, end - start);
	hn_uffd_wake(live->fd, start, room - start);
}

/* Put back what is armed in the region, then let the kernel have it. */
static void give_back(struct hn_worker *w, hn_addr start, hn_addr end)
{
	struct hn_live *live = w->live;
	hn_addr room;

	if (hn_drain(&w->hn, 0, ~(hn_addr)0))
		return; /* next look */
	hn_gate_write_lock(&w->hn);
	if (hn_region_covers(live, start, end) && hn_release_range(&w->hn, start, end)) {
		end = grown_end(live, end, &room);
		unregister_grown(live, start, end, room);
		hn_policy_unfence(live, start, end);
		hn_region_cut(live, start, end);
		hn_region_remember(live, start, end);
	}
	hn_gate_write_unlock(&w->hn);
}

/* First touches that every region was allowed since the last review. */
static uint32_t holes_allowed(struct hn_live *live)
{
	uint32_t now = hn_live_now_ms(), since = now - live->reviewed_ms;
	uint64_t per_s = live->setup.eager ? EAGER_HOLES_PER_S : HOLES_PER_S;

	live->reviewed_ms = now;
	return (uint32_t)(per_s * (since < 60000 ? since : 60000) / 1000);
}

static void review_regions(struct hn_worker *w)
{
	struct hn_live *live = w->live;
	uint32_t i, holes, allowed = holes_allowed(live);
	struct hn_candidate *c;
	struct hn_region r;

	for (i = 0;; i++) {
		hn_gate_read_lock(&w->hn);
		if (i >= live->nr_regions) {
			hn_gate_read_unlock(&w->hn);
			return;
		}
		holes = hn_swap_acq_rel(&live->region[i].holes, 0);
		live->region[i].holes_before += holes;
		holes += live->region[i].excess;
		live->region[i].excess = holes > allowed ? holes - allowed : 0;
		r = live->region[i];
		hn_gate_read_unlock(&w->hn);
		if (r.excess <= HOLES_AT_ONCE)
			continue;
		give_back(w, r.start, r.end);
		c = candidate(live, r.start);
		c->backoff = c->backoff <= REST_DOUBLINGS ? c->backoff + 1 : c->backoff;
		c->not_before_ms = hn_live_now_ms() + rest_ms(c);
	}
}

/* A thread may have been given a stack in memory that is managed already. */
static void enforce_excludes(struct hn_worker *w)
{
	struct hn_live *live = w->live;
	uint32_t i;
	hn_addr a;

	for (i = 0; i < live->nr_excludes; i++)
		for (a = live->exclude[i].start; a < live->exclude[i].end; a += HN_PAGE_SIZE) {
			enum hn_state state;

			hn_gate_read_lock(&w->hn);
			state = hn_state_of(&w->hn, a);
			hn_gate_read_unlock(&w->hn);
			if (state == HN_UNMANAGED)
				continue;
			hn_drain(&w->hn, a, a + HN_PAGE_SIZE);
			hn_gate_read_lock(&w->hn);
			hn_unmanage(&w->hn, a);
			hn_gate_read_unlock(&w->hn);
		}
}

/* The two first numbers of statm; nothing changes where it cannot be read. */
static void read_sizes(const struct hn_live *live, uint64_t *mapped, uint64_t *resident)
{
	char buf[128];
	long n = hn_sys_pread(live->fd_statm, buf, sizeof(buf) - 1, 0);
	const char *p;

	if (n <= 0)
		return;
	buf[n] = '\0';
	p = hn_read_number(buf, mapped);
	if (*p == ' ')
		hn_read_number(p + 1, resident);
}

bool hn_discover_is_due(struct hn_live *live)
{
	uint64_t mapped = live->seen_mapped, resident = live->seen_resident;

	if (live->growing)
		return true;
	read_sizes(live, &mapped, &resident);
	return mapped != live->seen_mapped || resident >= live->seen_resident + HN_GROWN_PAGES * (HN_PAGE_SIZE / HN_BASE_SIZE);
}

void hn_discover(struct hn_worker *w)
{
	struct hn_live *live = w->live;

	read_sizes(live, &live->seen_mapped, &live->seen_resident); /* what comes while we look is seen by the next one */
	hn_exclude_threads(live);
	hn_policy_look(live);
	live->growing = 0;
	live->nohuge_seen = live->nohuge ? hn_load_acquire(&live->nohuge->changes) : 0;
	enforce_excludes(w);
	hn_ranges_enforce(w);
	review_regions(w);
	hn_find_lost(w);
	hn_maps_walk(live->fd_maps, live->maps_buf, sizeof(live->maps_buf), visit_vma, w);
	if (live->core->nr_chunks_used == live->core->geo.nr_chunks) {
		hn_gate_write_lock(&w->hn);
		hn_reclaim(&w->hn);
		hn_gate_write_unlock(&w->hn);
	}
}

bool hn_live_drain(struct hn_worker *w, uint32_t ms)
{
	uint32_t end = hn_live_now_ms() + ms;

	while (hn_drain(&w->hn, 0, ~(hn_addr)0) || hn_displaced_resolve(&w->hn, 0, ~(hn_addr)0)) {
		if ((int32_t)(hn_live_now_ms() - end) > 0)
			return false;
		HN_SYS_BLOCK(SYS_sched_yield, 0, 0, 0, 0, 0, 0); /* the handlers have an event to read first */
	}
	return true;
}

/* A region must not be taken for another: the gate keeps the handlers, which cut and move them, out. */
static bool first_region(struct hn_worker *w, struct hn_region *r)
{
	bool any;

	hn_gate_read_lock(&w->hn);
	any = w->live->nr_regions != 0;
	if (any)
		*r = w->live->region[0];
	hn_gate_read_unlock(&w->hn);
	return any;
}

bool hn_live_release(struct hn_worker *w, uint32_t ms)
{
	uint32_t end = hn_live_now_ms() + ms;
	struct hn_region r;

	while (first_region(w, &r)) {
		if ((int32_t)(hn_live_now_ms() - end) > 0 || !hn_live_drain(w, ms))
			return false;
		give_back(w, r.start, r.end);
	}
	return true;
}
