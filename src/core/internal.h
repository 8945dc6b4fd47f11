// SPDX-License-Identifier: MIT
/*
 * internal.h - what the files of the engine share among themselves.
 */
#ifndef HN_CORE_INTERNAL_H
#define HN_CORE_INTERNAL_H

#include "core/core.h"
#include "core/lock.h"
#include "core/policy.h"

#define HN_ENOENT (-2)
#define HN_EAGAIN (-11)
#define HN_EFAULT (-14)
#define HN_EBUSY (-16)
#define HN_EEXIST (-17)
#define HN_EINVAL (-22)
#define HN_ENOSPC (-28)
#define HN_ETIME (-62)

/* After so many stale faults in a row on a mapped entry the page is not where we think: let the backend look. */
#define HN_STALE_LIMIT 8

static inline struct hn_word *hn_dir(const struct hn *hn)
{
	return (struct hn_word *)((char *)hn->core + hn->core->dir_off);
}
static inline struct hn_chunk *hn_chunks(const struct hn *hn)
{
	return (struct hn_chunk *)((char *)hn->core + hn->core->chunk_off);
}
static inline struct hn_entry *hn_entries(const struct hn *hn)
{
	return (struct hn_entry *)((char *)hn->core + hn->core->entry_off);
}
static inline struct hn_page *hn_pages(const struct hn *hn)
{
	return (struct hn_page *)((char *)hn->core + hn->core->page_off);
}
static inline struct hn_displaced *hn_displaced_table(const struct hn *hn)
{
	return (struct hn_displaced *)((char *)hn->core + hn->core->disp_off);
}
static inline struct hn_arrived *hn_arrived_table(const struct hn *hn)
{
	return (struct hn_arrived *)((char *)hn->core + hn->core->arrived_off);
}
static inline struct hn_early *hn_early_table(const struct hn *hn)
{
	return (struct hn_early *)((char *)hn->core + hn->core->early_off);
}
static inline uint32_t hn_chunk_entries(const struct hn *hn) { return 1u << hn->core->geo.chunk_shift; }
static inline uint32_t hn_nr_groups(const struct hn_geometry *geo)
{
	return geo->nr_threads / 2 < HN_MAX_GROUPS ? geo->nr_threads / 2 : HN_MAX_GROUPS;
}
static inline hn_addr hn_page_haddr(const struct hn *hn, uint32_t page)
{
	return (hn_addr)hn_load_relaxed(&hn_pages(hn)[page].place) << HN_PAGE_SHIFT;
}
static inline void hn_page_set_haddr(struct hn *hn, uint32_t page, hn_addr haddr)
{
	hn_store_relaxed(&hn_pages(hn)[page].place, (uint32_t)(haddr >> HN_PAGE_SHIFT));
}
static inline uint32_t hn_now_ms(const struct hn *hn) { return (uint32_t)(hn->ops->now_ns(hn->be) / 1000000u); }

/* Time comparison that survives the wrap of 32-bit milliseconds. */
static inline bool hn_before(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }

/* The entry for haddr, or NULL. Gate held (either way): chunks are re-keyed only with it held exclusively. */
struct hn_entry *hn_entry_find(const struct hn *hn, hn_addr haddr);
/* The same, made if there is room; NULL if not. Only the scanner (gate shared) or an event (exclusive). */
struct hn_entry *hn_entry_make(struct hn *hn, hn_addr haddr);
/* The address entry index i stands for; its chunk must be in use. */
hn_addr hn_entry_addr(const struct hn *hn, uint32_t index);

/* Transitions, entry lock held; the only places that write state, gen and page. */
void hn_entry_to_armed(struct hn *hn, struct hn_entry *e, uint32_t page, uint32_t now_ms);
void hn_entry_to_mapped(struct hn *hn, struct hn_entry *e, enum hn_disarm_cause cause);
void hn_entry_to_unmanaged(struct hn *hn, struct hn_entry *e);
void hn_entry_set_managed(struct hn *hn, struct hn_entry *e, int nid);

/* Is there something to ask about this page soon? Entry lock held; MAPPED or ARMED. */
void hn_entry_set_open(struct hn *hn, struct hn_entry *e, bool open);
/* Keep the entry from being armed or migrated for a time that doubles with each failure in a row. Entry lock held. */
void hn_entry_hold(struct hn *hn, struct hn_entry *e, uint8_t flag, uint32_t base_ms);
/* Clear what has run out: hold_ms means nothing half a wrap (24 days) later. Entry lock held. */
void hn_entry_release(struct hn_entry *e, uint32_t now_ms);
bool hn_entry_held(const struct hn_entry *e, uint8_t flag, uint32_t now_ms);

/* A run of nr free page ids, each given one reference; returns how many of them were found in a row, *first set. */
uint32_t hn_page_alloc_run(struct hn *hn, uint32_t nr, uint32_t *first);
bool hn_page_any_free(const struct hn *hn);

/* Is anything of [start, end) managed? Gate held exclusively. */
bool hn_entry_any(struct hn *hn, hn_addr start, hn_addr end);

/* order.c, gate held exclusively: process an event that was read, and have the backend note it. */
void hn_order_event(struct hn *hn, const struct hn_message *m);
/* Nothing to read: forget what was remembered, and process what waits, if no event is outstanding. */
void hn_order_settle(struct hn *hn);
/* Where the program expects what is at addr for us; *end comes down to where that ends. */
hn_addr hn_order_place(const struct hn *hn, hn_addr addr, hn_addr *end);

/* displaced.c, gate held exclusively. Takes over the reference that comes with the call. */
void hn_displaced_add(struct hn *hn, uint32_t page, hn_addr addr, uint32_t from, uint32_t to);
void hn_displaced_cut(struct hn *hn, hn_addr start, hn_addr end);
void hn_displaced_remap(struct hn *hn, hn_addr from, hn_addr to, uint64_t len);
void hn_for_each_displaced(struct hn *hn, hn_give_fn give, void *arg);

/*
 * policy.c: is the page misplaced that thread `tid` of node thread_nid has touched? *r says where it belongs, or why it
 * stays. Entry lock held.
 */
bool hn_policy_misplaced(const struct hn *hn, const struct hn_entry *e, hn_addr haddr, int thread_nid, uint32_t tid,
			 uint32_t now_ms, struct hn_ruling *r);
/* What was ruled at now_ms to be migrated is not, as an event has to be read first: it is no part of the budget. */
void hn_policy_not_begun(struct hn *hn, uint32_t now_ms);
/* May this page go to nid at all, whatever it is asked for? Entry lock held. */
bool hn_policy_may_send(const struct hn *hn, const struct hn_entry *e, int nid);
/* limit.c: may one more page be migrated now? Counts it if so, else *why says what stands against it. */
bool hn_limit_reached(const struct hn *hn, uint32_t now_ms, enum hn_refusal *why);
/* What was allowed at now_ms is not begun after all. */
void hn_limit_not_begun(struct hn *hn, uint32_t now_ms);
/*
 * When a migration is to be given up that a thread has waited for since since_ns, so that the old page is back in time;
 * 0: never.
 */
uint64_t hn_limit_until(const struct hn *hn, uint64_t since_ns);
/* A migration has kept a thread waiting so long; one was given up; and the last step of one has taken so long. */
void hn_limit_note_stall(struct hn *hn, uint64_t ns);
void hn_limit_note_given_up(struct hn *hn);
void hn_limit_note_last_step(struct hn *hn, uint64_t ns);
/* The page has been migrated. Entry lock held. */
void hn_policy_moved(struct hn_entry *e, uint32_t now_ms);
/* Record an accounted sample. Entry lock held. */
void hn_policy_record(struct hn *hn, struct hn_entry *e, int thread_nid, uint32_t tid, uint32_t now_ms);

#endif
