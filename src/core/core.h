// SPDX-License-Identifier: MIT
/*
 * core.h - the engine: its one block of state and what backends call.
 *
 * All state is in one caller-supplied block (hn_core_bytes, hn_core_init) that refers to itself by indices only, so
 * that it can be copied, compared and hashed. Statistics live in a block of their own because readers of another
 * process look at them.
 *
 * Locks, outermost first (docs/locking.md): lead -> event gate -> entry lock (ascending index) -> displaced lock -> page
 * lock (try only). A page lock may be held while the gate and an entry lock are taken (F6); nobody who holds either ever sleeps on it.
 */
#ifndef HN_CORE_CORE_H
#define HN_CORE_CORE_H

#include "core/ops.h"
#include "core/record.h"
#include "core/stats.h"
#include "core/sync.h"
#include "core/tenure.h"
#include "core/threads.h"
#include "core/tier.h"
#include "core/types.h"

#define HN_ARM_BATCH 32u
#define HN_MAX_DEFERRED 64u
#define HN_MOVES 128u /* remembered, if the geometry does not say */

/* Sizes of the block; all fixed for its life. */
struct hn_geometry {
	uint32_t nr_chunks;   /* entry chunks, >= 1 */
	uint32_t chunk_shift; /* log2 of entries per chunk, 0..9; 6 = 128 MiB of address space per chunk */
	uint32_t nr_pages;    /* pages that can be armed at one time, >= 1 */
	uint32_t nr_threads;  /* rows for threads, a multiple of 16 up to 65536; 0: nothing is recorded about threads */
	uint32_t nr_parts;    /* parts of pages that can wait for their places; 0: as many as there can be, a base page each */
	uint32_t nr_moves;    /* moves of memory that are remembered while events are unread, of each kind; 0: HN_MOVES */
};

struct hn_params {
	uint32_t nr_nodes;      /* 1..HN_MAX_NODES */
	uint32_t policy;        /* enum hn_policy_kind */
	uint32_t seed;          /* HN_POLICY_RANDOM */
	uint32_t expiry_ms;     /* an untouched hint is taken back after this long */
	uint32_t quarantine_ms; /* a dropped range is left alone so long: the kernel's zap comes after its event was read */
	uint64_t allowed_nodes; /* bit n: pages may go to node n; 0: to all */
	uint32_t spread_shared; /* 1: pages that several nodes share are spread over these; 0: left where they are */
	uint32_t settle_ms;     /* see policy.h */
	uint32_t budget_pages;  /* migrations begun in a second at most; 0: no limit */
	uint64_t slow_nodes;    /* bit n: node n is a slow tier; 0: there are none */
	uint32_t hot_ms;        /* a page of a slow node that is touched so soon is hot; adapts. >= 8 with slow nodes */
	uint32_t promote_pages; /* promoted in a second at most; 0: no limit */
	uint32_t cold_rounds;   /* a page that nobody touched through so many hints is cold; 0: none is */
	uint32_t max_stall_us;  /* a thread that has waited so long for a migration gets the old page back; 0: no limit */
	uint64_t short_nodes;   /* bit n: node n is below its high watermark, nothing goes there for now */
};

enum {
	HN_E_NO_ARM = 1u << 0,  /* not to be armed before hold_ms */
	HN_E_NO_MOVE = 1u << 1, /* not to be migrated before hold_ms */
};

#define HN_IDLE_MAX 15u
#define HN_BUDGET_STEPS 17u /* of time: the last second, and a step more */

/* What the program wants for some of its pages, other than for the rest. Relaxed; changes may be seen one by one. */
struct hn_wish {
	uint64_t nodes; /* bit n: they belong on node n; 0: no say */
	uint32_t dry;   /* 1: judged, never moved */
	uint32_t soft;  /* 1: to no other nodes, but those that lie elsewhere are not brought here; 0: they are */
};

#define HN_MAX_WISHES 32u  /* number 0 is that of all pages without one: it wants nothing; ... */
#define HN_USER_WISHES 16u /* ... below this they are the program's, through the library; the rest is the backend's */

/* One huge-page-sized place in the program. 48 bytes. All fields: entry lock, except lock itself. */
struct hn_entry {
	struct hn_word lock;
	uint32_t gen;      /* changes with every transition of state or content: the snapshot of F4 is compared in F6 */
	uint32_t page;     /* ARMED: the page attached; else HN_NO_INDEX */
	uint32_t armed_ms; /* ARMED: since when */
	uint32_t hold_ms;  /* until when the HN_E_NO_* flags stand */
	uint32_t last_tid; /* last accounted sample */
	int8_t nid;        /* where the page lies, as far as known */
	uint8_t idle;      /* hints in a row that nobody touched; HN_IDLE_MAX at most */
	uint8_t demoted : 1; /* 1: it was sent to a slow node at moved_ms */
	uint8_t moved : 1;  /* 1: it has been migrated, at moved_ms */
	uint8_t open : 1;   /* 1: nobody has been asked yet, or the last sample left a question; hn_entry_set_open */
	uint8_t wish : 5;   /* index into struct hn_core.wish */
	uint8_t state;     /* enum hn_state */
	uint8_t flags;     /* HN_E_* */
	uint8_t fails : 4; /* consecutive refusals to arm or failures to migrate; sets the length of the hold; 15 at most */
	uint8_t stale : 4; /* stale faults since the last arm; HN_STALE_LIMIT and one more at most */
	uint16_t prior_tid; /* of the sample before the last one: its lower half */
	uint64_t history;  /* the last samples, history.h */
	uint32_t moved_ms; /* when it was last migrated, if `moved` */
	struct hn_tenure tenure;
};

_Static_assert(HN_MAX_NODES <= 127, "a node fits");
_Static_assert(sizeof(struct hn_entry) == 48, "entries are budgeted: at most 64 bytes a managed page in all");

/* 2^chunk_shift neighbouring entries. The key is written with the gate held exclusively, or by the one inserter (entry.c). */
struct hn_chunk {
	uint64_t key;     /* haddr >> (HN_PAGE_SHIFT + chunk_shift) */
	uint32_t nr_open; /* those with an open question: a pass that looks for these need not look at the others; relaxed atomic */
};

/*
 * An armed page: the analogue of struct page. Attached to one entry (or to the backend's displaced list) by one
 * reference; a migration holds another, so that an unmapped page outlives the copy that reads it (R17) without the
 * reference vetoing anything.
 */
struct hn_page {
	struct hn_word lock; /* the page lock: 0 free, 1 held, 2 held with waiters */
	struct hn_word refs;  /* 0 = free id */
	struct hn_word place; /* haddr >> HN_PAGE_SHIFT of the entry it is attached to; 0: none */
	uint32_t content;     /* 1: staging holds something to discard when the last reference goes; with ops.isolate it may,
	                       * and 0: the page is in its place in the program. Entry lock; or the last reference */
};

/*
 * Bytes [from, to) of an armed page whose place is no whole, aligned huge page any more: they are expected at
 * addr + from .. addr + to. Holds one reference on the page (displaced.c).
 */
struct hn_displaced {
	hn_addr addr; /* where byte 0 of the page would be; may wrap below 0 */
	uint32_t page, from, to;
};

/* Where memory has arrived by mremap since an event was outstanding (order.c). */
struct hn_arrived {
	hn_addr start, end;
	bool doubted; /* an UNMAP has been read that may have been meant for it */
};

/* A move to a place that is taken still, as far as we know (order.c). */
struct hn_early {
	struct hn_message m;
	bool left;    /* the UNMAP of the old place has been read, too */
	bool dropped; /* so has one of some of the new place */
};

struct hn_core {
	struct hn_geometry geo;
	struct hn_params par;
	uint32_t dir_mask;
	uint32_t nr_chunks_used;
	uint32_t cursor;     /* scanner: next entry index to look at ... */
	uint32_t open_cursor;/* ... for an open question */
	uint32_t nr_open;    /* entries with an open question ... */
	uint32_t questions;  /* ... and how often such a page was asked about again; relaxed atomics */
	uint32_t page_hint;  /* scanner: next page id to try */
	struct hn_word gate; /* the event gate, see gate.c */
	uint32_t removed_ms; /* when a remove event was last read, wherever; gate exclusive to write */
	uint32_t removed;    /* 1: so lately that its zap may still be to come */
	uint32_t removes;    /* remove events read so far; gate exclusive to write */
	uint32_t gen_floor;  /* no entry of a reclaimed chunk ever had a higher generation */
	uint64_t dir_off, chunk_off, entry_off, page_off, disp_off, arrived_off, early_off, tid_off, thread_off, group_off; /* from the start of this struct */

	struct hn_word lead; /* the one handler that waits for messages, serve.c */
	uint64_t behind_ns; /* a message read now may have waited since; 0: it has just come. serve.c; lead */
	uint32_t nr_deferred; /* faults the leader put off until an event has been read; lead */
	hn_addr deferred[HN_MAX_DEFERRED];
	hn_addr deferred_from, deferred_to; /* the others, and what is between them; deferred_to 0: there are none */

	uint32_t nr_arrived, nr_early; /* order.c; gate exclusive to write */

	/* limit.c; relaxed atomics, nothing is ordered by them */
	uint32_t begun[HN_BUDGET_STEPS], begun_step[HN_BUDGET_STEPS]; /* migrations begun in one of the last steps of time */
	uint32_t stall_us;                /* what a migration takes lately, or more after some were given up */
	uint32_t given_up;                /* migrations given up in a row */
	uint32_t last_step_ns;            /* what the commit or the put-back at its end takes lately */
	struct hn_tier tier;
	struct hn_tier_plan plan; /* the scanner's to write; handlers look at full and roomy */
	uint32_t by_cpu[HN_MAX_NODES], by_page[HN_MAX_NODES]; /* samples lately, policy.c; the same */
	uint32_t move_threads, threads_missed;                /* threads.c; the same */

	struct hn_wish wish[HN_MAX_WISHES];

	struct hn_word displaced_lock;
	struct hn_word nr_displaced; /* displaced_lock to change */
	uint32_t max_displaced, max_moves;
};

/* The handle that every call takes: one for each thread that makes calls. */
struct hn {
	struct hn_core *core;
	const struct hn_ops *ops;
	void *be;
	struct hn_stats *stats;
	struct hn_record *record; /* NULL: nobody wants to know */
	bool leading; /* serve.c: this thread holds the lead */
	const struct hugenuma_policy *plugin; /* for HN_POLICY_PLUGIN; NULL: pages stay */
};

/* Bytes a block of this geometry needs; 8-byte alignment. */
size_t hn_core_bytes(const struct hn_geometry *geo);
/* Initialise a zeroed block of hn_core_bytes(). 0, or -EINVAL (as -22) when geometry or parameters are out of range. */
int hn_core_init(struct hn_core *core, const struct hn_geometry *geo, const struct hn_params *par);
/* Another policy from now on (enum hn_policy_kind); faults in service may still be judged by the old one. Any thread. */
void hn_policy_set(struct hn *hn, uint32_t policy);
/* Pages may go to these nodes from now on; 0: to all. Any thread. */
void hn_policy_allow(struct hn *hn, uint64_t nodes);
/* These nodes are below their high watermarks as of now (hn_nodes_short). Any thread. */
void hn_policy_short(struct hn *hn, uint64_t nodes);
/* Wish number `wish`, 1 .. HN_MAX_WISHES - 1, is this from now on. One thread. */
void hn_policy_set_wish(struct hn *hn, uint32_t wish, const struct hn_wish *w);
/* A round is over: what was sampled before it counts half. One thread. */
void hn_policy_age(struct hn *hn);

/* What fast nodes are to do from now on. The scanner's thread. */
void hn_tier_set_plan(struct hn *hn, const struct hn_tier_plan *plan);

/* ---- the hinting fault (fault.c) ---- */

struct hn_verdict {
	int from_nid;    /* where the page was */
	int thread_nid;  /* where the faulting thread ran */
	int target_nid;  /* where the policy wants it, HN_NO_NODE = stay */
	uint8_t refusal; /* enum hn_refusal, with HN_FAULT_REFUSED */
	uint8_t reason;  /* enum hn_reason, when target_nid is a node */
	uint8_t failure; /* enum hn_failure, with HN_FAULT_FAILED */
	uint8_t rule;    /* of a plug-in policy: which of its rules has decided; else HN_NO_RULE */
	int last_nid;    /* the sample before: node and thread */
	uint32_t last_tid;
	uint64_t service_ns; /* of an accounted fault: since since_ns, until the page was in place */
	uint64_t cpu_ns;     /* of a migration: what the handler spent on it, ns of CPU time; 0: not known */
};

/*
 * Serve one fault message: `addr` was touched by thread `tid`, which sleeps. `since_ns` is since when, as far as is known:
 * when the message was read, or before that if it had to wait behind another.
 * After HN_FAULT_UNMANAGED and HN_FAULT_DEFERRED the sleepers have NOT been woken: the caller serves the address
 * itself, or reads the pending event and then wakes the range. Any thread; takes and releases the gate (shared).
 */
enum hn_outcome hn_fault(struct hn *hn, hn_addr addr, uint32_t tid, uint64_t since_ns, struct hn_verdict *verdict);

/* ---- the scanner (scan.c); one thread at a time ---- */

/* Arm up to `budget` pages, going round the entries from where the last pass stopped. Returns pages armed. */
uint32_t hn_scan_pass(struct hn *hn, uint32_t budget);
/* The same, of what has not been sampled since since_ms. */
uint32_t hn_scan_old(struct hn *hn, uint32_t since_ms, uint32_t budget);
enum hn_ask {
	HN_ASK_NEW,  /* pages that nobody has been asked about */
	HN_ASK_OPEN, /* and those whose last sample left a question */
};
/*
 * Arm up to `budget` of these only. A page that is armed has been asked about: when nobody touches it before it expires, its
 * turn comes with all others. Returns pages armed.
 */
uint32_t hn_scan_open(struct hn *hn, enum hn_ask what, uint32_t budget);
/* How often, so far, a page was armed because or although its last sample had left a question. Wraps. */
uint32_t hn_scan_questions(const struct hn *hn);
/* Take back hints older than par.expiry_ms; pages that are cold may go to a slow node instead. Returns pages disarmed. */
uint32_t hn_scan_expire(struct hn *hn);
/* Arm up to nr pages from haddr in one batch; nr <= HN_ARM_BATCH, all in one chunk. Returns pages armed. */
uint32_t hn_arm_run(struct hn *hn, hn_addr haddr, uint32_t nr);
/*
 * Put back every armed page in [start, end) that can be put back now; waits for migrations in flight. Returns how many
 * are still armed (an event must be read first): call again. The caller must keep arming off meanwhile.
 */
uint32_t hn_drain(struct hn *hn, hn_addr start, hn_addr end);

/* ---- what is managed (entry.c) ---- */

/*
 * Start managing the huge page at haddr, assumed to lie on nid. 0; -EBUSY (-16) while the range is in quarantine;
 * -ENOSPC (-28) when the entry chunks are used up (see hn_reclaim). Already managed: 0, nothing changes.
 * Gate held shared by the one scanner thread, or exclusively.
 */
int hn_manage(struct hn *hn, hn_addr haddr, int nid);
/*
 * The same for memory that was never registered before, as long as no remove event has been read since (hn_core.removes): it may
 * be armed at once, where hn_manage waits for the last remove event to be over. Gate as above.
 */
int hn_manage_fresh(struct hn *hn, hn_addr haddr, int nid);
/* A managed page is one of those with wish number `wish` from now on, 0: with none. Gate held. */
void hn_entry_wish(struct hn *hn, hn_addr haddr, uint32_t wish);
/* Forget a MAPPED page (found to be no huge page any more). An ARMED one stays. Gate held. */
void hn_unmanage(struct hn *hn, hn_addr haddr);
/*
 * Forget all of [start, end), which is to be given back to the kernel; gate held exclusively. False, and nothing is done,
 * while any page is armed, wherever: mremap may bring it here before its event is read, and nobody would answer the
 * faults on it any more (I1). So drain everything first, and arm nothing meanwhile.
 */
bool hn_release_range(struct hn *hn, hn_addr start, hn_addr end);
/* Make chunks without managed entries reusable. Returns chunks freed. Gate held exclusively. */
uint32_t hn_reclaim(struct hn *hn);
/* A copy of the entry at haddr; false when it is not managed. Takes and releases the gate (shared) and the entry lock. */
bool hn_entry_look(struct hn *hn, hn_addr haddr, struct hn_entry *copy);
/* Call fn for every managed page, in no order; unlocked, so only a hint. Takes and releases the gate (shared). */
typedef void (*hn_census_fn)(void *arg, hn_addr haddr, int nid);
void hn_census(struct hn *hn, hn_census_fn fn, void *arg);
/* State of the entry at haddr, for tests and walkers; unlocked, so only a hint. */
enum hn_state hn_state_of(const struct hn *hn, hn_addr haddr);

/* ---- address-space events (event.c); gate held exclusively from before the event was read ---- */

/* [start, end) was unmapped. */
void hn_event_unmap(struct hn *hn, hn_addr start, hn_addr end);
/* [start, end) is about to be dropped (MADV_DONTNEED, MADV_FREE): nothing of it may come back (R15, R16). */
void hn_event_remove(struct hn *hn, hn_addr start, hn_addr end);
/* The same of nothing that is known here: what is found in memory later may be in what was meant. */
void hn_event_removing(struct hn *hn);
/*
 * The program forked: call give() for everything in staging that the child lacks: bytes [from, to) of `page`, which
 * belong at addr .. addr + (to - from).
 */
typedef void (*hn_give_fn)(void *arg, hn_addr addr, uint32_t page, uint32_t from, uint32_t to);
void hn_for_each_armed(struct hn *hn, hn_give_fn give, void *arg);
/* [from, from+len) was moved to `to`; the content must follow. */
void hn_event_remap(struct hn *hn, hn_addr from, hn_addr to, uint64_t len);

/* ---- handlers (serve.c) ---- */

/*
 * The life of a handler: wait for the lead, read messages one at a time, serve them. Returns when wait_message() says
 * to leave. Any number of threads, each with its own handle.
 */
void hn_serve(struct hn *hn);
/* Give the lead to another handler, if this thread has it: called before work that others must not wait behind. */
void hn_lead_release(struct hn *hn);

/*
 * Without handlers: read what there is to read, at most `most` messages, and process events. A thread that faults is
 * only woken, to fault again. How many were read. No lock held.
 */
uint32_t hn_read_on(struct hn *hn, uint32_t most);
/* Process an event that was read and may have been processed in part. Gate held exclusively. */
void hn_event_again(struct hn *hn, const struct hn_message *m);

/* ---- when a thread has ended that held locks (recover.c); the caller is the only one left ---- */

/* Take all locks from whoever had them. */
void hn_recover(struct hn *hn);
/*
 * Before that: ops.arm was broken off; pages first .. first + nr - 1 are where it puts them, but the entries from haddr may
 * not know yet. Make these ARMED. Returns how many.
 */
uint32_t hn_recover_run(struct hn *hn, hn_addr haddr, uint32_t first, uint32_t nr);
/* And: ops.isolate was, or may have been; staging holds something of this page, which the engine may not know. */
void hn_recover_lifted(struct hn *hn, uint32_t page);

/* ---- faults that no entry answers (hole.c) ---- */

/*
 * Answer a fault at addr for which hn_fault said HN_FAULT_UNMANAGED: a displaced part, or a first touch. False: an
 * event comes first; the sleeper has not been woken. No lock held.
 */
bool hn_hole_serve(struct hn *hn, hn_addr addr, uint32_t tid);

/* ---- parts of pages (displaced.c) ---- */

/*
 * Put back what of [start, end) can be put back, and wake who sleeps there. 0: nothing of it is left; -EAGAIN: some must
 * wait until an event has been read; -EBUSY: what is left is being read by a migration, which will call this when it
 * has ended. No lock held.
 */
int hn_displaced_resolve(struct hn *hn, hn_addr start, hn_addr end);
/* True when a part that waits for its place overlaps [start, end). */
bool hn_displaced_overlaps(struct hn *hn, hn_addr start, hn_addr end);
/* The same for one address. */
bool hn_displaced_covers(struct hn *hn, hn_addr addr);
/* True when any part waits. A hint, unless the gate is held exclusively. */
bool hn_displaced_any(const struct hn *hn);

/* ---- the order of events (order.c) ---- */
/* True while an UNMAP event may be older than what is in its range: no mapping is to be registered. A hint, unless the gate is held. */
bool hn_order_any(const struct hn *hn);
/* True while a move waits: no page is to be armed, no fault answered. A hint, unless the gate is held. */
bool hn_order_waits(const struct hn *hn);

/* ---- the event gate (gate.c) ---- */
void hn_gate_read_lock(struct hn *hn);
void hn_gate_read_unlock(struct hn *hn);
void hn_gate_write_lock(struct hn *hn);
void hn_gate_write_unlock(struct hn *hn);

/* ---- pages (page.c) ---- */
bool hn_page_trylock(struct hn *hn, uint32_t page);
void hn_page_unlock(struct hn *hn, uint32_t page);
/* Sleep until the page lock is free (it may be taken again at once). Neither gate nor entry lock may be held. */
void hn_page_wait(struct hn *hn, uint32_t page);
void hn_page_get(struct hn *hn, uint32_t page);
void hn_page_put(struct hn *hn, uint32_t page);
/* True when no page is armed, displaced, or still to be discarded by a migrator. A hint, unless arming is off. */
bool hn_page_all_free(const struct hn *hn);

/* ---- invariant walkers (verify.c) ---- */
enum hn_verify_level {
	HN_VERIFY_CHEAP = 1, /* counters only; engine quiet */
	HN_VERIFY_WALK = 2,  /* every entry and page; engine quiet */
};
/* 0, or the number of the violated invariant (1..8); *what then points to a constant text that says what was seen. */
int hn_verify(const struct hn *hn, enum hn_verify_level level, const char **what);

#endif
