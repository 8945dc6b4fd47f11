// SPDX-License-Identifier: MIT
/*
 * displaced.c - parts of armed pages whose place in the program is no longer a whole huge page: after mremap to an
 * address that is not huge-aligned, or munmap of a part. They go back as base pages, by UFFDIO_COPY.
 *
 * Few and short-lived. Lock: displaced_lock, inside the gate; never held while a page lock is waited for.
 */
#include "linux/live.h"

static hn_addr lo(const struct hn_displaced *d) { return d->addr + d->from; }
static hn_addr hi(const struct hn_displaced *d) { return d->addr + d->to; }

static void add_locked(struct hn_live *live, struct hn_displaced d)
{
	uint32_t n = hn_load_relaxed(&live->nr_displaced);

	/* The table holds two records for every page that can be armed; see hn_live_open. */
	live->displaced[n] = d;
	hn_store_relaxed(&live->nr_displaced, n + 1);
}

static void remove_locked(struct hn_live *live, uint32_t i)
{
	uint32_t n = hn_load_relaxed(&live->nr_displaced) - 1;

	live->displaced[i] = live->displaced[n];
	hn_store_relaxed(&live->nr_displaced, n);
}

void hn_displaced_add(struct hn_live *live, uint32_t page, hn_addr addr, uint32_t from, uint32_t to)
{
	hn_lock(&live->displaced_lock);
	add_locked(live, (struct hn_displaced){ .addr = addr, .page = page, .from = from, .to = to });
	hn_unlock(&live->displaced_lock);
}

/* Split record i so that it covers only [start, end); what is left over becomes records of its own. True if it does. */
static bool isolate_locked(struct hn_worker *w, uint32_t i, hn_addr start, hn_addr end)
{
	struct hn_displaced *d = &w->live->displaced[i], rest = *d;

	if (hi(d) <= start || lo(d) >= end)
		return false;
	if (lo(d) < start) {
		rest.to = (uint32_t)(start - d->addr);
		d->from = rest.to;
		hn_page_get(&w->hn, rest.page);
		add_locked(w->live, rest);
	}
	if (hi(d) > end) {
		rest = *d;
		rest.from = (uint32_t)(end - d->addr);
		d->to = rest.from;
		hn_page_get(&w->hn, rest.page);
		add_locked(w->live, rest);
	}
	return true;
}

void hn_displaced_cut(struct hn_worker *w, hn_addr start, hn_addr end)
{
	struct hn_live *live = w->live;
	uint32_t i = 0;

	hn_lock(&live->displaced_lock);
	while (i < hn_load_relaxed(&live->nr_displaced)) {
		if (isolate_locked(w, i, start, end)) {
			hn_page_put(&w->hn, live->displaced[i].page);
			remove_locked(live, i);
		} else {
			i++;
		}
	}
	hn_unlock(&live->displaced_lock);
}

void hn_displaced_remap(struct hn_worker *w, hn_addr from, hn_addr to, uint64_t len)
{
	struct hn_live *live = w->live;
	uint32_t i, nr;

	hn_lock(&live->displaced_lock);
	nr = hn_load_relaxed(&live->nr_displaced); /* what is split off stays behind */
	for (i = 0; i < nr; i++)
		if (isolate_locked(w, i, from, from + len))
			live->displaced[i].addr += to - from;
	hn_unlock(&live->displaced_lock);
}

bool hn_displaced_covers(struct hn_live *live, hn_addr addr)
{
	bool found = false;
	uint32_t i;

	if (hn_load_relaxed(&live->nr_displaced) == 0)
		return false;
	hn_lock(&live->displaced_lock);
	for (i = 0; i < hn_load_relaxed(&live->nr_displaced) && !found; i++)
		found = addr >= lo(&live->displaced[i]) && addr < hi(&live->displaced[i]);
	hn_unlock(&live->displaced_lock);
	return found;
}

/*
 * Put one part in place. 0 when all of it is there. Any error: later. Where the range is not ours any more nobody can
 * wait for it, and the event that took it is still to be read and will cut it off.
 */
static int put_part(struct hn_live *live, const struct hn_displaced *d)
{
	hn_addr src = (hn_addr)(uintptr_t)hn_staging(live, d->page) + d->from;
	int err = hn_copy_in(live, lo(d), src, d->to - d->from);

	if (err == 0)
		hn_uffd_wake(live->fd, lo(d), d->to - d->from);
	return err;
}

/* Gate held shared. True when record i is gone from the table. */
static bool resolve_one(struct hn_worker *w, uint32_t i)
{
	struct hn_live *live = w->live;
	struct hn_displaced d = live->displaced[i];

	if (!hn_page_trylock(&w->hn, d.page))
		return false; /* a migration still reads it; it will find RACED and let go */
	if (put_part(live, &d) != 0) {
		hn_page_unlock(&w->hn, d.page);
		return false;
	}
	remove_locked(live, i);
	hn_page_unlock(&w->hn, d.page);
	hn_page_put(&w->hn, d.page);
	return true;
}

bool hn_displaced_resolve(struct hn_worker *w, hn_addr start, hn_addr end)
{
	struct hn_live *live = w->live;
	bool left = false;
	uint32_t i = 0;

	if (hn_load_relaxed(&live->nr_displaced) == 0)
		return true;
	hn_gate_read_lock(&w->hn);
	hn_lock(&live->displaced_lock);
	while (i < hn_load_relaxed(&live->nr_displaced)) {
		const struct hn_displaced *d = &live->displaced[i];

		if (hi(d) <= start || lo(d) >= end) {
			i++;
		} else if (!resolve_one(w, i)) {
			left = true;
			i++;
		}
	}
	hn_unlock(&live->displaced_lock);
	hn_gate_read_unlock(&w->hn);
	return !left;
}
