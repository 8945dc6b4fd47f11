// SPDX-License-Identifier: MIT
/*
 * scan.c - the scanner: arms managed pages in windows (steps A1 to A4), takes back hints nobody touched, and drains.
 */
#include "core/fault.h"

/* How long a page is left alone after the kernel refused to give it away; doubles with each refusal in a row. */
#define BUSY_HOLD_MS 1000     /* EBUSY stays until the page is written (after fork) or unpinned */
#define INVALID_HOLD_MS 10000 /* protection or locking differ: rarely changes */

static bool can_arm(const struct hn_entry *e, uint32_t now_ms)
{
	return e->state == HN_MAPPED && !hn_entry_held(e, HN_E_NO_ARM, now_ms);
}

/* Lock up to nr entries in ascending order, stopping at the first that cannot be armed. */
static uint32_t lock_run(struct hn_entry *e, uint32_t nr, uint32_t now_ms)
{
	uint32_t n;

	for (n = 0; n < nr; n++) {
		hn_lock(&e[n].lock);
		if (!can_arm(&e[n], now_ms)) {
			hn_unlock(&e[n].lock);
			break;
		}
	}
	return n;
}

static void note_refused(struct hn *hn, struct hn_entry *e, enum hn_arm_error why)
{
	hn_stat_add(&hn->stats->arm_refused[why], 1);
	switch (why) {
	case HN_ARM_BUSY:
	case HN_ARM_OTHER: hn_entry_hold(hn, e, HN_E_NO_ARM, BUSY_HOLD_MS); break;
	case HN_ARM_INVALID: hn_entry_hold(hn, e, HN_E_NO_ARM, INVALID_HOLD_MS); break;
	case HN_ARM_ABSENT: hn_entry_to_unmanaged(hn, e); break;
	case HN_ARM_EVENT:
	case HN_NR_ARM_ERRORS: break; /* the event will say; nothing is wrong with the page */
	}
}

/* A3 for the armed prefix, and the refusal of the one after it. Entry locks held. */
static void settle_run(struct hn *hn, struct hn_entry *e, hn_addr haddr, uint32_t first, uint32_t nr, uint32_t armed,
		       enum hn_arm_error why)
{
	int16_t nid[HN_ARM_BATCH];
	uint32_t now = hn_now_ms(hn), i;

	if (armed)
		hn->ops->page_nodes(hn->be, haddr, first, armed, nid);
	for (i = 0; i < armed; i++) {
		struct hn_page *p = &hn_pages(hn)[first + i];

		hn_page_set_haddr(hn, first + i, haddr + i * HN_PAGE_SIZE);
		p->content = !hn->ops->isolate;
		hn_entry_to_armed(hn, &e[i], first + i, now);
		if (nid[i] != HN_NO_NODE)
			e[i].nid = (int8_t)nid[i];
	}
	hn_stat_add(&hn->stats->armed, armed);
	if (armed < nr)
		note_refused(hn, &e[armed], why);
}

/*
 * How many pages from haddr on have no part of another page waiting for its place in them. Such a part can be in place in truth,
 * when its put-back stopped half-way, and the page around it be whole and huge (khugepaged, MADV_COLLAPSE): armed, its place
 * would be empty, and the next put-back of the part bring what it was long ago (I1). Gate held shared: parts only go.
 */
static uint32_t without_parts(struct hn *hn, hn_addr haddr, uint32_t nr)
{
	uint32_t n = 0;

	if (!hn_displaced_any(hn))
		return nr;
	while (n < nr && !hn_displaced_overlaps(hn, haddr + n * HN_PAGE_SIZE, haddr + (n + 1) * HN_PAGE_SIZE))
		n++;
	return n;
}

uint32_t hn_arm_run(struct hn *hn, hn_addr haddr, uint32_t nr)
{
	enum hn_arm_error why = HN_ARM_OTHER;
	uint32_t first = 0, locked, got, armed = 0, i;
	struct hn_entry *e;

	got = hn_page_alloc_run(hn, nr < HN_ARM_BATCH ? nr : HN_ARM_BATCH, &first);
	if (!got)
		return 0;
	/* Gate shared: an event read but not yet processed would make MAPPED a lie, and we could arm a new mapping. */
	hn_gate_read_lock(hn);
	e = hn_entry_find(hn, haddr);
	locked = e && !hn_order_waits(hn) ? lock_run(e, without_parts(hn, haddr, got), hn_now_ms(hn)) : 0; /* A1 */
	if (locked) {
		armed = hn->ops->arm(hn->be, haddr, first, locked, &why); /* A2 */
		settle_run(hn, e, haddr, first, locked, armed, why);      /* A3 */
	}
	for (i = 0; i < locked; i++) /* A4 */
		hn_unlock(&e[i].lock);
	hn_gate_read_unlock(hn);
	for (i = armed; i < got; i++)
		hn_page_put(hn, first + i); /* content is 0: the id goes straight back */
	return armed;
}

/* What a pass is to arm: every page in turn, or only where there is something to ask. */
enum wanted { WANT_NEW = HN_ASK_NEW, WANT_OPEN = HN_ASK_OPEN, WANT_ANY, WANT_OLD };

struct want {
	enum wanted what;
	uint32_t now_ms;
	uint32_t since_ms; /* with WANT_OLD: what was not sampled since */
};

#define LONG_AGO_MS ((uint32_t)1 << 30) /* 12 days */

/* One that may not move yet need not be asked: its question waits. */
static bool is_wanted(const struct hn_entry *e, const struct want *w)
{
	if (w->what == WANT_ANY)
		return true;
	if (w->what == WANT_OLD) /* when it moved is known to the ms, when it was sampled to 64 */
		return hn_tenure_age_ms(e->tenure, w->now_ms) > w->now_ms - w->since_ms &&
		       !(e->moved && !hn_before(e->moved_ms, w->since_ms));
	return e->open && (w->what == WANT_OPEN || e->history == 0) && !hn_entry_held(e, HN_E_NO_MOVE, w->now_ms);
}

/* A contended entry is in service: not a candidate now. */
static bool looks_ready(struct hn_entry *e, const struct want *w)
{
	bool ready;

	if (!hn_lock_try(&e->lock))
		return false;
	hn_entry_release(e, w->now_ms);
	if (e->moved && w->now_ms - e->moved_ms > LONG_AGO_MS)
		e->moved_ms = w->now_ms - LONG_AGO_MS; /* or in some weeks it would be to come */
	ready = can_arm(e, w->now_ms) && is_wanted(e, w);
	hn_unlock(&e->lock);
	return ready;
}

/*
 * Length of the run of candidates from entry index i, within its chunk, and its address: a first look; hn_arm_run
 * checks again (R13). The gate keeps hn_reclaim from moving the chunk meanwhile.
 */
static uint32_t candidate_run(struct hn *hn, uint32_t i, uint32_t max, const struct want *w, hn_addr *haddr)
{
	uint32_t in_chunk = hn_chunk_entries(hn) - (i & (hn_chunk_entries(hn) - 1));
	uint32_t n = 0;

	if (max > in_chunk)
		max = in_chunk;
	hn_gate_read_lock(hn);
	while (n < max && looks_ready(&hn_entries(hn)[i + n], w))
		n++;
	*haddr = n ? hn_entry_addr(hn, i) : 0;
	hn_gate_read_unlock(hn);
	return n;
}

/* Events may add chunks at any time they hold the gate. */
static uint32_t entries_in_use(struct hn *hn)
{
	uint32_t total;

	hn_gate_read_lock(hn);
	total = hn->core->nr_chunks_used << hn->core->geo.chunk_shift;
	hn_gate_read_unlock(hn);
	return total;
}

/*
 * How many entries from i on need not be looked at, because no question is open in their chunk. Of a terabyte that is most of
 * half a million. Which chunk is which may change meanwhile: then this is a look that came too early, as others do.
 */
static uint32_t nothing_to_ask(const struct hn *hn, uint32_t i, enum wanted what)
{
	const struct hn_chunk *chunk = &hn_chunks(hn)[i >> hn->core->geo.chunk_shift];

	if ((what != WANT_NEW && what != WANT_OPEN) || __atomic_load_n(&chunk->nr_open, __ATOMIC_RELAXED))
		return 0;
	return hn_chunk_entries(hn) - (i & (hn_chunk_entries(hn) - 1));
}

static uint32_t pass(struct hn *hn, uint32_t *cursor, enum wanted what, uint32_t since_ms, uint32_t budget)
{
	struct want want = { .what = what, .now_ms = hn_now_ms(hn), .since_ms = since_ms };
	uint32_t i = *cursor, looked = 0, armed = 0;
	uint32_t total = entries_in_use(hn);

	while (looked < total && armed < budget) {
		uint32_t left = budget - armed, got = 0, n;
		hn_addr haddr;

		if (i >= total)
			i = 0;
		n = nothing_to_ask(hn, i, what);
		if (n) {
			i += n;
			looked += n;
			continue;
		}
		n = candidate_run(hn, i, left < HN_ARM_BATCH ? left : HN_ARM_BATCH, &want, &haddr);
		if (n)
			got = hn_arm_run(hn, haddr, n);
		if (n && !got && !hn_page_any_free(hn))
			break; /* every id is taken: go on from here when some hints have ended */
		armed += got;
		n = got ? got : 1;
		i += n;
		looked += n;
	}
	*cursor = i;
	return armed;
}

uint32_t hn_scan_questions(const struct hn *hn) { return __atomic_load_n(&hn->core->questions, __ATOMIC_RELAXED); }

uint32_t hn_scan_pass(struct hn *hn, uint32_t budget) { return pass(hn, &hn->core->cursor, WANT_ANY, 0, budget); }

uint32_t hn_scan_old(struct hn *hn, uint32_t since_ms, uint32_t budget)
{
	return pass(hn, &hn->core->cursor, WANT_OLD, since_ms, budget);
}

uint32_t hn_scan_open(struct hn *hn, enum hn_ask what, uint32_t budget)
{
	if (__atomic_load_n(&hn->core->nr_open, __ATOMIC_RELAXED) == 0)
		return 0; /* usually */
	return pass(hn, &hn->core->open_cursor, (enum wanted)what, 0, budget);
}

/*
 * Put one armed page back outside a fault. Returns 1 when done, 0 when there is nothing to do, -1 when it must be
 * tried again. *locked is set when a migration holds the page.
 */
static int take_back(struct hn *hn, uint32_t page, enum hn_disarm_cause cause, bool (*wanted)(struct hn *, struct hn_entry *),
		     bool *locked)
{
	struct hn_page *p = &hn_pages(hn)[page];
	hn_addr haddr = hn_page_haddr(hn, page);
	struct hn_entry *e = hn_entry_find(hn, haddr);
	int ret = 0;

	if (!e)
		return 0;
	hn_lock(&e->lock);
	if (e->state == HN_ARMED && e->page == page && wanted(hn, e)) {
		ret = -1;
		if (!hn_page_trylock(hn, page)) {
			*locked = true;
		} else if (!hn_order_waits(hn) && hn->ops->disarm(hn->be, haddr, page) == 0) {
			p->content = 0;
			hn_entry_to_mapped(hn, e, cause);
			hn_page_unlock(hn, page);
			ret = 1;
		} else {
			hn_page_unlock(hn, page);
		}
	}
	if (ret == 1 && cause == HN_DISARM_EXPIRY && e->idle < HN_IDLE_MAX)
		e->idle++;
	hn_unlock(&e->lock);
	if (ret == 1)
		hn_page_put(hn, page);
	return ret;
}

static bool is_expired(struct hn *hn, struct hn_entry *e)
{
	return !hn_before(hn_now_ms(hn), e->armed_ms + hn->core->par.expiry_ms);
}

static bool is_any(struct hn *hn, struct hn_entry *e)
{
	(void)hn;
	(void)e;
	return true;
}

uint32_t hn_scan_expire(struct hn *hn)
{
	uint32_t page, done = 0;
	bool locked = false;

	for (page = 0; page < hn->core->geo.nr_pages; page++) {
		if (hn_load_relaxed(&hn_pages(hn)[page].refs) == 0)
			continue;
		if (hn->core->par.slow_nodes && hn_demote(hn, page))
			continue;
		hn_gate_read_lock(hn);
		if (take_back(hn, page, HN_DISARM_EXPIRY, is_expired, &locked) == 1)
			done++;
		hn_gate_read_unlock(hn);
	}
	return done;
}

uint32_t hn_drain(struct hn *hn, hn_addr start, hn_addr end)
{
	uint32_t page, left = 0;

	for (page = 0; page < hn->core->geo.nr_pages; page++) {
		hn_addr haddr = hn_page_haddr(hn, page);
		bool locked = false;

		if (hn_load_relaxed(&hn_pages(hn)[page].refs) == 0 || haddr < start || haddr >= end)
			continue;
		hn_gate_read_lock(hn);
		if (take_back(hn, page, HN_DISARM_DRAIN, is_any, &locked) < 0)
			left++;
		hn_gate_read_unlock(hn);
		if (locked)
			hn_page_wait(hn, page);
	}
	return left;
}
