// SPDX-License-Identifier: MIT
/*
 * displaced.c - parts of armed pages whose place in the program is no longer a whole huge page: after mremap to an
 * address that is not huge-aligned, or munmap of a part. They go back in base pages, where the program has nothing.
 *
 * Few and short-lived. The displaced lock is inside gate and entry lock; nobody waits for a page lock with it held. Parts
 * come into being and change only with the gate held exclusively.
 */
#include "core/internal.h"

static hn_addr lo(const struct hn_displaced *d) { return d->addr + d->from; }
static hn_addr hi(const struct hn_displaced *d) { return d->addr + d->to; }
static uint32_t nr_parts(const struct hn *hn) { return hn_load_relaxed(&hn->core->nr_displaced); }

static bool add_locked(struct hn *hn, struct hn_displaced d)
{
	uint32_t n = nr_parts(hn);

	if (n == hn->core->max_displaced)
		return false;
	hn_displaced_table(hn)[n] = d;
	hn_store_relaxed(&hn->core->nr_displaced, n + 1);
	return true;
}

static void remove_locked(struct hn *hn, uint32_t i)
{
	uint32_t n = nr_parts(hn) - 1;

	hn_displaced_table(hn)[i] = hn_displaced_table(hn)[n];
	hn_store_relaxed(&hn->core->nr_displaced, n);
}

/*
 * A record for a part, with a reference of its own. In a process the table has room for every base page of every page that can
 * be armed: right after an event nothing can be put in place, so a part without a record would be lost (I2). Where there is
 * less room (geometry.nr_parts), putting it in place at once is the last resort.
 */
static void add_or_put(struct hn *hn, struct hn_displaced d)
{
	if (add_locked(hn, d))
		return;
	hn->ops->copy_in(hn->be, lo(&d), d.page, d.from, d.to);
	hn->ops->wake(hn->be, lo(&d), d.to - d.from);
	hn_page_put(hn, d.page);
}

void hn_displaced_add(struct hn *hn, uint32_t page, hn_addr addr, uint32_t from, uint32_t to)
{
	hn_lock(&hn->core->displaced_lock);
	add_or_put(hn, (struct hn_displaced){ .addr = addr, .page = page, .from = from, .to = to });
	hn_unlock(&hn->core->displaced_lock);
}

/* Split record i so that it covers only [start, end); what is left over becomes records of its own. True if it does. */
static bool isolate_locked(struct hn *hn, uint32_t i, hn_addr start, hn_addr end)
{
	struct hn_displaced *d = &hn_displaced_table(hn)[i], rest = *d;

	if (hi(d) <= start || lo(d) >= end)
		return false;
	if (lo(d) < start) {
		rest.to = (uint32_t)(start - d->addr);
		d->from = rest.to;
		hn_page_get(hn, rest.page);
		add_or_put(hn, rest);
	}
	if (hi(d) > end) {
		rest = *d;
		rest.from = (uint32_t)(end - d->addr);
		d->to = rest.from;
		hn_page_get(hn, rest.page);
		add_or_put(hn, rest);
	}
	return true;
}

void hn_displaced_cut(struct hn *hn, hn_addr start, hn_addr end)
{
	uint32_t i = 0;

	if (!hn_displaced_any(hn))
		return;
	hn_lock(&hn->core->displaced_lock);
	while (i < nr_parts(hn)) {
		if (isolate_locked(hn, i, start, end)) {
			hn_page_put(hn, hn_displaced_table(hn)[i].page);
			remove_locked(hn, i);
		} else {
			i++;
		}
	}
	hn_unlock(&hn->core->displaced_lock);
}

void hn_displaced_remap(struct hn *hn, hn_addr from, hn_addr to, uint64_t len)
{
	uint32_t i, nr;

	if (!hn_displaced_any(hn))
		return;
	hn_lock(&hn->core->displaced_lock);
	nr = nr_parts(hn); /* what is split off stays behind */
	for (i = 0; i < nr; i++)
		if (isolate_locked(hn, i, from, from + len))
			hn_displaced_table(hn)[i].addr += to - from;
	hn_unlock(&hn->core->displaced_lock);
}

bool hn_displaced_any(const struct hn *hn) { return nr_parts(hn) != 0; }

bool hn_displaced_overlaps(struct hn *hn, hn_addr start, hn_addr end)
{
	bool found = false;
	uint32_t i;

	if (!hn_displaced_any(hn))
		return false;
	hn_lock(&hn->core->displaced_lock);
	for (i = 0; i < nr_parts(hn) && !found; i++)
		found = hi(&hn_displaced_table(hn)[i]) > start && lo(&hn_displaced_table(hn)[i]) < end;
	hn_unlock(&hn->core->displaced_lock);
	return found;
}

bool hn_displaced_covers(struct hn *hn, hn_addr addr) { return hn_displaced_overlaps(hn, addr, addr + 1); }

void hn_for_each_displaced(struct hn *hn, hn_give_fn give, void *arg)
{
	uint32_t i;

	if (!hn_displaced_any(hn))
		return;
	hn_lock(&hn->core->displaced_lock);
	for (i = 0; i < nr_parts(hn); i++) {
		const struct hn_displaced *d = &hn_displaced_table(hn)[i];

		give(arg, lo(d), d->page, d->from, d->to);
	}
	hn_unlock(&hn->core->displaced_lock);
}

/*
 * Gate held shared. 0: record i is gone from the table. Where the range is not the program's any more nobody can wait for
 * it, and the event that took it is still to be read and will cut it off.
 */
static int resolve_one(struct hn *hn, uint32_t i)
{
	struct hn_displaced d = hn_displaced_table(hn)[i];

	/* With the displaced lock held only a migration can have it: it reads the page still, and will find STALE. */
	if (!hn_page_trylock(hn, d.page))
		return HN_EBUSY;
	if (hn_order_waits(hn) || hn->ops->copy_in(hn->be, lo(&d), d.page, d.from, d.to) != 0) {
		hn_page_unlock(hn, d.page);
		return HN_EAGAIN;
	}
	hn->ops->wake(hn->be, lo(&d), d.to - d.from);
	remove_locked(hn, i);
	hn_page_unlock(hn, d.page);
	hn_page_put(hn, d.page);
	return 0;
}

int hn_displaced_resolve(struct hn *hn, hn_addr start, hn_addr end)
{
	uint32_t i = 0;
	int left = 0;

	if (!hn_displaced_any(hn))
		return 0;
	hn_gate_read_lock(hn);
	hn_lock(&hn->core->displaced_lock);
	while (i < nr_parts(hn)) {
		const struct hn_displaced *d = &hn_displaced_table(hn)[i];
		int err;

		if (hi(d) <= start || lo(d) >= end) {
			i++;
			continue;
		}
		err = resolve_one(hn, i);
		if (err) {
			i++;
			left = left == HN_EAGAIN ? left : err;
		}
	}
	hn_unlock(&hn->core->displaced_lock);
	hn_gate_read_unlock(hn);
	return left;
}
