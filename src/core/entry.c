// SPDX-License-Identifier: MIT
/*
 * entry.c - the entry table: a directory of chunks of neighbouring entries, and the transitions of an entry.
 *
 * The directory is an open-addressing hash of chunk numbers + 1 (0 = empty). Chunks are inserted by one thread at a
 * time and looked up without a lock; they are re-keyed only with the event gate held exclusively, which keeps every
 * look-up out.
 */
#include "core/internal.h"

#include <string.h>

#define FAILS_MOST 15u

static uint64_t align8(uint64_t n) { return (n + 7) & ~(uint64_t)7; }

static uint32_t dir_size(const struct hn_geometry *geo)
{
	uint32_t n = 2;

	while (n < 2 * geo->nr_chunks)
		n *= 2;
	return n;
}

/* Each base page of each page that can be armed, in a place of its own. */
static uint32_t most_parts(const struct hn_geometry *geo) { return geo->nr_pages * (uint32_t)(HN_PAGE_SIZE / HN_BASE_SIZE); }

static void layout(struct hn_core *c, const struct hn_geometry *geo, uint64_t *bytes)
{
	c->dir_off = align8(sizeof(*c));
	c->chunk_off = align8(c->dir_off + dir_size(geo) * sizeof(struct hn_word));
	c->page_off = align8(c->chunk_off + geo->nr_chunks * sizeof(struct hn_chunk));
	c->entry_off = align8(c->page_off + geo->nr_pages * sizeof(struct hn_page));
	c->disp_off = align8(c->entry_off + ((uint64_t)geo->nr_chunks << geo->chunk_shift) * sizeof(struct hn_entry));
	c->max_displaced = geo->nr_parts ? geo->nr_parts : most_parts(geo);
	c->max_moves = geo->nr_moves ? geo->nr_moves : HN_MOVES;
	c->arrived_off = align8(c->disp_off + (uint64_t)c->max_displaced * sizeof(struct hn_displaced));
	c->early_off = align8(c->arrived_off + c->max_moves * sizeof(struct hn_arrived));
	c->tid_off = align8(c->early_off + c->max_moves * sizeof(struct hn_early));
	c->thread_off = align8(c->tid_off + geo->nr_threads * sizeof(uint32_t));
	c->group_off = align8(c->thread_off + geo->nr_threads * sizeof(struct hn_thread));
	*bytes = align8(c->group_off + hn_nr_groups(geo) * sizeof(struct hn_group));
}

size_t hn_core_bytes(const struct hn_geometry *geo)
{
	struct hn_core c;
	uint64_t bytes;

	layout(&c, geo, &bytes);
	return bytes;
}

int hn_core_init(struct hn_core *c, const struct hn_geometry *geo, const struct hn_params *par)
{
	uint64_t bytes;

	if (!geo->nr_chunks || geo->nr_chunks > 1u << 22 || geo->chunk_shift > 9 || !geo->nr_pages ||
	    geo->nr_pages > 1u << 20 || geo->nr_parts > most_parts(geo) || geo->nr_moves > 1u << 16 || geo->nr_threads % 16 || geo->nr_threads > 1u << 16)
		return HN_EINVAL;
	if (!par->nr_nodes || par->nr_nodes > HN_MAX_NODES || par->policy >= HN_NR_POLICIES)
		return HN_EINVAL;
	c->geo = *geo;
	c->par = *par;
	hn_tier_start(&c->tier, par->hot_ms, 0);
	c->dir_mask = dir_size(geo) - 1;
	layout(c, geo, &bytes);
	return 0;
}

static uint64_t chunk_key(const struct hn *hn, hn_addr haddr)
{
	return haddr >> (HN_PAGE_SHIFT + hn->core->geo.chunk_shift);
}

static uint32_t dir_slot(const struct hn *hn, uint64_t key)
{
	return (uint32_t)((key * 0x9e3779b97f4a7c15ULL) >> 32) & hn->core->dir_mask;
}

static struct hn_entry *chunk_entry(const struct hn *hn, uint32_t chunk, hn_addr haddr)
{
	uint32_t in = (uint32_t)(haddr >> HN_PAGE_SHIFT) & (hn_chunk_entries(hn) - 1);

	return &hn_entries(hn)[((uint64_t)chunk << hn->core->geo.chunk_shift) + in];
}

struct hn_entry *hn_entry_find(const struct hn *hn, hn_addr haddr)
{
	uint64_t key = chunk_key(hn, haddr);
	uint32_t slot = dir_slot(hn, key);

	for (;; slot = (slot + 1) & hn->core->dir_mask) {
		uint32_t c = hn_load_acquire(&hn_dir(hn)[slot]); /* pairs with the release in dir_insert */

		if (c == 0)
			return NULL;
		if (hn_chunks(hn)[c - 1].key == key)
			return chunk_entry(hn, c - 1, haddr);
	}
}

static void dir_insert(struct hn *hn, uint32_t chunk)
{
	uint32_t slot = dir_slot(hn, hn_chunks(hn)[chunk].key);

	while (hn_load_relaxed(&hn_dir(hn)[slot]) != 0)
		slot = (slot + 1) & hn->core->dir_mask;
	hn_store_release(&hn_dir(hn)[slot], chunk + 1);
}

struct hn_entry *hn_entry_make(struct hn *hn, hn_addr haddr)
{
	struct hn_core *c = hn->core;
	struct hn_entry *e = hn_entry_find(hn, haddr);
	uint32_t chunk, i;

	if (e || c->nr_chunks_used == c->geo.nr_chunks)
		return e;
	chunk = c->nr_chunks_used++;
	hn_chunks(hn)[chunk] = (struct hn_chunk){ .key = chunk_key(hn, haddr) };
	for (i = 0; i < hn_chunk_entries(hn); i++) {
		e = &hn_entries(hn)[((uint64_t)chunk << c->geo.chunk_shift) + i];
		/* A migration that remembers this address or this entry from before a reclaim must not match (F6). */
		e->gen = (e->gen > c->gen_floor ? e->gen : c->gen_floor) + 1;
		e->page = HN_NO_INDEX;
		e->nid = HN_NO_NODE;
		e->flags = e->fails = e->stale = e->open = 0;
	}
	dir_insert(hn, chunk);
	return chunk_entry(hn, chunk, haddr);
}

hn_addr hn_entry_addr(const struct hn *hn, uint32_t index)
{
	uint32_t shift = hn->core->geo.chunk_shift;
	uint64_t key = hn_chunks(hn)[index >> shift].key;

	return ((key << shift) + (index & (hn_chunk_entries(hn) - 1))) << HN_PAGE_SHIFT;
}

enum hn_state hn_state_of(const struct hn *hn, hn_addr haddr)
{
	struct hn_entry *e = hn_entry_find(hn, hn_page_down(haddr));
	enum hn_state state = HN_UNMANAGED;

	if (e) {
		hn_lock(&e->lock);
		state = (enum hn_state)e->state;
		hn_unlock(&e->lock);
	}
	return state;
}

bool hn_entry_look(struct hn *hn, hn_addr haddr, struct hn_entry *copy)
{
	struct hn_entry *e;
	bool managed = false;

	hn_gate_read_lock(hn);
	e = hn_entry_find(hn, hn_page_down(haddr));
	if (e) {
		hn_lock(&e->lock);
		*copy = *e;
		managed = e->state != HN_UNMANAGED;
		hn_unlock(&e->lock);
	}
	hn_gate_read_unlock(hn);
	return managed;
}

/* The gate keeps a chunk where it is while it is looked at; chunks that come meanwhile are for the next time. */
void hn_census(struct hn *hn, hn_census_fn fn, void *arg)
{
	uint32_t chunk, i, nr = hn_chunk_entries(hn);

	for (chunk = 0;; chunk++) {
		hn_gate_read_lock(hn);
		if (chunk >= hn->core->nr_chunks_used) {
			hn_gate_read_unlock(hn);
			return;
		}
		for (i = chunk * nr; i < (chunk + 1) * nr; i++) {
			const struct hn_entry *e = &hn_entries(hn)[i];

			if (e->state != HN_UNMANAGED)
				fn(arg, hn_entry_addr(hn, i), e->nid);
		}
		hn_gate_read_unlock(hn);
	}
}

/* ---- transitions ---- */

void hn_entry_set_open(struct hn *hn, struct hn_entry *e, bool open)
{
	uint64_t chunk = ((uint64_t)(uintptr_t)e - (uint64_t)(uintptr_t)hn_entries(hn)) / sizeof(*e) >> hn->core->geo.chunk_shift;
	uint32_t add = open ? 1 : (uint32_t)-1;

	if (e->open == open)
		return;
	e->open = open;
	__atomic_fetch_add(&hn->core->nr_open, add, __ATOMIC_RELAXED);
	if (chunk < hn->core->geo.nr_chunks) /* who only wants pages judged may have an entry of his own */
		__atomic_fetch_add(&hn_chunks(hn)[chunk].nr_open, add, __ATOMIC_RELAXED);
}

void hn_entry_set_managed(struct hn *hn, struct hn_entry *e, int nid)
{
	e->state = HN_MAPPED;
	e->gen++;
	e->page = HN_NO_INDEX;
	e->nid = (int8_t)nid;
	__atomic_store_n(&e->history, 0, __ATOMIC_RELAXED);
	e->last_tid = e->prior_tid = 0;
	e->moved = 0;
	e->tenure = (struct hn_tenure){ 0 };
	e->idle = e->demoted = 0;
	e->wish = 0;
	e->fails = e->stale = 0;
	e->flags = 0;
	hn_entry_set_open(hn, e, true);
	hn_stat_add(&hn->stats->managed_pages, 1);
	hn_stat_max(&hn->stats->managed_peak_pages, hn_stat_read(&hn->stats->managed_pages));
}

void hn_entry_to_armed(struct hn *hn, struct hn_entry *e, uint32_t page, uint32_t now_ms)
{
	e->state = HN_ARMED;
	e->gen++;
	e->page = page;
	e->armed_ms = now_ms;
	e->stale = 0;
	if (e->open && e->history)
		__atomic_fetch_add(&hn->core->questions, 1, __ATOMIC_RELAXED);
	hn_entry_set_open(hn, e, false);
	hn_stat_add(&hn->stats->armed_now, 1);
}

/* One place counts the end of a hint, so that armed = disarmed + armed now holds by construction (I5, R2). */
static void count_disarm(struct hn *hn, enum hn_disarm_cause cause)
{
	hn_stat_add(&hn->stats->armed_now, (uint64_t)-1);
	hn_stat_add(&hn->stats->disarmed_total, 1);
	hn_stat_add(&hn->stats->disarmed[cause], 1);
}

static void note_disarm(struct hn *hn, const struct hn_entry *e, enum hn_disarm_cause cause)
{
	if (hn->ops->note_disarm)
		hn->ops->note_disarm(hn->be, hn_entry_addr(hn, (uint32_t)(e - hn_entries(hn))), cause);
}

void hn_entry_to_mapped(struct hn *hn, struct hn_entry *e, enum hn_disarm_cause cause)
{
	count_disarm(hn, cause);
	note_disarm(hn, e, cause);
	if (cause == HN_DISARM_DRAIN)
		hn_entry_set_open(hn, e, true); /* the program has not had a chance to answer */
	e->state = HN_MAPPED;
	e->gen++;
	e->page = HN_NO_INDEX;
}

void hn_entry_to_unmanaged(struct hn *hn, struct hn_entry *e)
{
	if (e->state == HN_ARMED) {
		count_disarm(hn, HN_DISARM_EVENT);
		note_disarm(hn, e, HN_DISARM_EVENT);
	}
	e->state = HN_UNMANAGED;
	e->gen++;
	e->page = HN_NO_INDEX;
	__atomic_store_n(&e->history, 0, __ATOMIC_RELAXED); /* says nothing about the pages beside it any more */
	hn_entry_set_open(hn, e, false);
	hn_stat_add(&hn->stats->managed_pages, (uint64_t)-1);
}

void hn_entry_hold(struct hn *hn, struct hn_entry *e, uint8_t flag, uint32_t base_ms)
{
	uint32_t now = hn_now_ms(hn), until = now + (base_ms << (e->fails < 6 ? e->fails : 6));

	hn_entry_release(e, now);
	if (!e->flags || hn_before(e->hold_ms, until))
		e->hold_ms = until; /* never earlier: what stands may be a quarantine */
	e->flags |= flag;
	if (e->fails < FAILS_MOST)
		e->fails++;
}

void hn_entry_release(struct hn_entry *e, uint32_t now_ms)
{
	if (!hn_before(now_ms, e->hold_ms))
		e->flags = 0;
}

bool hn_entry_held(const struct hn_entry *e, uint8_t flag, uint32_t now_ms)
{
	return (e->flags & flag) && hn_before(now_ms, e->hold_ms);
}

/* ---- what is managed ---- */

/* Until when the zap of a remove event that has been read may still be to come, wherever; false: none is. Gate held. */
static bool zap_pending(struct hn_core *c, uint32_t now_ms, uint32_t *until_ms)
{
	*until_ms = c->removed_ms + c->par.quarantine_ms;
	if (c->removed && !hn_before(now_ms, *until_ms))
		c->removed = 0; /* removed_ms means nothing half a wrap later */
	return c->removed;
}

/*
 * A remove event read while nobody knew this page left no quarantine of its own behind, and its zap may still be to come
 * (R16). So a page that was found in known memory is held until the last of them is over; what a zap takes meanwhile is
 * found absent when it is armed. Memory that has only grown need not wait.
 */
static int manage(struct hn *hn, hn_addr haddr, int nid, bool quarantine)
{
	struct hn_entry *e = hn_entry_make(hn, haddr);
	uint32_t now = hn_now_ms(hn), until;
	int err = 0;

	if (!e)
		return HN_ENOSPC;
	quarantine = zap_pending(hn->core, now, &until) && quarantine;
	hn_lock(&e->lock);
	if (e->state == HN_UNMANAGED && hn_entry_held(e, HN_E_NO_ARM, now)) {
		err = HN_EBUSY;
	} else if (e->state == HN_UNMANAGED) {
		hn_entry_set_managed(hn, e, nid);
		if (quarantine) {
			e->flags = HN_E_NO_ARM;
			e->hold_ms = until;
		}
	}
	hn_unlock(&e->lock);
	return err;
}

int hn_manage(struct hn *hn, hn_addr haddr, int nid) { return manage(hn, haddr, nid, true); }

int hn_manage_fresh(struct hn *hn, hn_addr haddr, int nid) { return manage(hn, haddr, nid, false); }

void hn_entry_wish(struct hn *hn, hn_addr haddr, uint32_t wish)
{
	struct hn_entry *e = hn_entry_find(hn, haddr);

	if (!e || wish >= HN_MAX_WISHES)
		return;
	hn_lock(&e->lock);
	e->wish = (uint8_t)wish;
	hn_unlock(&e->lock);
}

void hn_unmanage(struct hn *hn, hn_addr haddr)
{
	struct hn_entry *e = hn_entry_find(hn, haddr);

	if (!e)
		return;
	hn_lock(&e->lock);
	if (e->state == HN_MAPPED)
		hn_entry_to_unmanaged(hn, e);
	hn_unlock(&e->lock);
}

bool hn_release_range(struct hn *hn, hn_addr start, hn_addr end)
{
	hn_addr a;

	if (!hn_page_all_free(hn))
		return false;
	for (a = hn_page_down(start); a < end; a += HN_PAGE_SIZE)
		hn_unmanage(hn, a);
	return true;
}

static bool chunk_idle(const struct hn *hn, uint32_t chunk)
{
	const struct hn_entry *e = &hn_entries(hn)[(uint64_t)chunk << hn->core->geo.chunk_shift];
	uint32_t now = hn_now_ms(hn), i;

	for (i = 0; i < hn_chunk_entries(hn); i++)
		if (e[i].state != HN_UNMANAGED || hn_entry_held(&e[i], HN_E_NO_ARM, now))
			return false;
	return true;
}

/* Whatever place the chunk's addresses get next, their generations go on from here. */
static void chunk_retire(struct hn *hn, uint32_t chunk)
{
	const struct hn_entry *e = &hn_entries(hn)[(uint64_t)chunk << hn->core->geo.chunk_shift];
	uint32_t i;

	for (i = 0; i < hn_chunk_entries(hn); i++)
		if (e[i].gen > hn->core->gen_floor)
			hn->core->gen_floor = e[i].gen;
}

/* Move chunk `from` (the last in use) into the place of the idle chunk `to`. */
static void chunk_move(struct hn *hn, uint32_t to, uint32_t from)
{
	uint32_t shift = hn->core->geo.chunk_shift, i;
	struct hn_entry *d = &hn_entries(hn)[(uint64_t)to << shift];
	struct hn_entry *s = &hn_entries(hn)[(uint64_t)from << shift];

	for (i = 0; i < hn_chunk_entries(hn); i++) {
		uint32_t gen = d[i].gen > s[i].gen ? d[i].gen : s[i].gen;

		d[i] = s[i];
		/* Both places get a generation that neither had: a migration in flight on either finds RACED (F6). */
		d[i].gen = s[i].gen = gen + 1;
		s[i].state = HN_UNMANAGED;
		s[i].page = HN_NO_INDEX;
	}
	hn_chunks(hn)[to] = hn_chunks(hn)[from];
}

uint32_t hn_reclaim(struct hn *hn)
{
	struct hn_core *c = hn->core;
	uint32_t before = c->nr_chunks_used, i = 0;

	while (i < c->nr_chunks_used) {
		if (!chunk_idle(hn, i)) {
			i++;
			continue;
		}
		chunk_retire(hn, i);
		c->nr_chunks_used--;
		if (i != c->nr_chunks_used)
			chunk_move(hn, i, c->nr_chunks_used);
	}
	if (before == c->nr_chunks_used)
		return 0;
	memset(hn_dir(hn), 0, ((size_t)c->dir_mask + 1) * sizeof(struct hn_word));
	for (i = 0; i < c->nr_chunks_used; i++)
		dir_insert(hn, i);
	return before - c->nr_chunks_used;
}
