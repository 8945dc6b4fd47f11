// SPDX-License-Identifier: MIT
/*
 * region.c - the ranges of program memory that are registered with our userfaultfd, sorted, never overlapping, and
 * touching only where their fences differ. Written with the event gate held exclusively, read with it held either way.
 */
#include "linux/live.h"

static void publish(struct hn_live *live)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < live->nr_regions; i++)
		bytes += live->region[i].end - live->region[i].start;
	*live->cnt.registered_bytes = bytes;
	*live->cnt.regions = live->nr_regions;
}

/* Index of the first region that ends after addr. */
static uint32_t first_after(const struct hn_live *live, hn_addr addr)
{
	uint32_t low = 0, high = live->nr_regions;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (live->region[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct hn_region *hn_region_at(struct hn_live *live, hn_addr addr)
{
	uint32_t i = first_after(live, addr);

	return i < live->nr_regions && live->region[i].start <= addr ? &live->region[i] : NULL;
}

bool hn_region_nth(struct hn_worker *w, uint32_t i, struct hn_region *r)
{
	bool there;

	hn_gate_read_lock(&w->hn);
	there = i < w->live->nr_regions;
	if (there)
		*r = w->live->region[i];
	hn_gate_read_unlock(&w->hn);
	return there;
}

bool hn_region_any(const struct hn_live *live, hn_addr start, hn_addr end)
{
	uint32_t i = first_after(live, start);

	return i < live->nr_regions && live->region[i].start < end;
}

bool hn_live_is_known(void *be, hn_addr start, hn_addr end) { return hn_region_any(hn_live_of(be), start, end); }

bool hn_region_covers(const struct hn_live *live, hn_addr start, hn_addr end)
{
	uint32_t i = first_after(live, start);

	return i < live->nr_regions && live->region[i].start <= start && live->region[i].end >= end;
}

static void delete_at(struct hn_live *live, uint32_t i)
{
	for (live->nr_regions--; i < live->nr_regions; i++)
		live->region[i] = live->region[i + 1];
}

static bool insert_at(struct hn_live *live, uint32_t i, struct hn_region r)
{
	uint32_t j;

	if (live->nr_regions == HN_MAX_REGIONS)
		return false;
	for (j = live->nr_regions++; j > i; j--)
		live->region[j] = live->region[j - 1];
	live->region[i] = r;
	return true;
}

bool hn_fence_is_same(const struct hn_fence *a, const struct hn_fence *b)
{
	return a->up == b->up && (!a->up || (hn_policy_is_same(&a->was, &b->was) && hn_policy_is_same(&a->now, &b->now)));
}

static bool only_touches(const struct hn_region *a, const struct hn_region *b)
{
	return (a->end == b->start || b->end == a->start) && !hn_fence_is_same(&a->fence, &b->fence);
}

bool hn_region_add(struct hn_live *live, hn_addr start, hn_addr end, const struct hn_fence *fence)
{
	struct hn_region r = { .start = start, .end = end };
	uint32_t i = first_after(live, start ? start - 1 : 0);
	bool ok;

	if (fence)
		r.fence = *fence;
	while (i < live->nr_regions && live->region[i].start <= end) {
		if (only_touches(&live->region[i], &r)) {
			if (live->region[i].start >= end)
				break;
			i++;
			continue;
		}
		if (live->region[i].start < r.start)
			r.start = live->region[i].start;
		if (live->region[i].end > r.end)
			r.end = live->region[i].end;
		if (live->region[i].fence.up && !r.fence.up)
			r.fence = live->region[i].fence;
		r.holes_before += live->region[i].holes_before;
		delete_at(live, i);
	}
	ok = insert_at(live, i, r);
	publish(live);
	return ok;
}

/* ---- what was registered once ---- */

void hn_region_remember(struct hn_live *live, hn_addr start, hn_addr end)
{
	uint32_t i;

	if (live->nr_once > HN_MAX_ONCE)
		return;
	for (i = 0; i < live->nr_once; i++)
		if (live->once[i].start <= start && live->once[i].end >= end)
			return;
	if (live->nr_once < HN_MAX_ONCE)
		live->once[live->nr_once] = (struct hn_range){ start, end };
	live->nr_once++;
}

void hn_region_unmap(struct hn_live *live, hn_addr start, hn_addr end)
{
	uint32_t i = 0;

	hn_region_cut(live, start, end);
	while (live->nr_once <= HN_MAX_ONCE && i < live->nr_once) {
		if (live->once[i].start >= start && live->once[i].end <= end)
			live->once[i] = live->once[--live->nr_once];
		else
			i++;
	}
}

bool hn_region_is_fresh(const struct hn_live *live, hn_addr start, hn_addr end)
{
	uint32_t i = first_after(live, start);

	if (live->nr_once > HN_MAX_ONCE || (i < live->nr_regions && live->region[i].start < end))
		return false;
	return !hn_overlaps(live->once, live->nr_once, start, end);
}

/* ---- changes ---- */

void hn_region_cut(struct hn_live *live, hn_addr start, hn_addr end)
{
	uint32_t i = first_after(live, start);

	while (i < live->nr_regions && live->region[i].start < end) {
		struct hn_region *r = &live->region[i], tail = { .start = end, .end = r->end, .fence = r->fence };

		if (r->start < start && r->end > end) {
			r->end = start;
			if (!insert_at(live, i + 1, tail)) /* a full table: it stays registered, only unknown */
				hn_region_remember(live, tail.start, tail.end);
			break;
		}
		if (r->start >= start && r->end <= end) {
			delete_at(live, i);
		} else if (r->start < start) {
			r->end = start;
			i++;
		} else {
			r->start = end;
			i++;
		}
	}
	publish(live);
}

/*
 * The registration follows the mapping; whole pieces of [from, from+len) that were ours are ours at `to`. With MREMAP_DONTUNMAP
 * what stays behind stays registered; else it is said to be unmapped next.
 */
void hn_region_remap(struct hn_live *live, hn_addr from, hn_addr to, uint64_t len)
{
	struct hn_region *r;
	hn_addr a = from, end = from + len;

	while (a < end) {
		hn_addr stop;
		struct hn_fence fence;
		uint32_t i = first_after(live, a);

		if (i == live->nr_regions || live->region[i].start >= end)
			break;
		r = &live->region[i];
		if (r->start > a)
			a = r->start;
		stop = r->end < end ? r->end : end;
		fence = r->fence;
		hn_region_cut(live, a, stop);
		hn_region_remember(live, a, stop);
		if (!hn_region_add(live, to + (a - from), to + (stop - from), &fence))
			hn_region_remember(live, to + (a - from), to + (stop - from));
		a = stop;
	}
}
