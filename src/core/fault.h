// SPDX-License-Identifier: MIT
/*
 * fault.h - what the hinting-fault path and migration hand to each other.
 */
#ifndef HN_CORE_FAULT_H
#define HN_CORE_FAULT_H

#include "core/internal.h"

/* One fault in service. Filled by the steps of fault.c in order; read by migrate.c. */
struct hn_fault_ctx {
	hn_addr haddr;
	uint32_t tid;
	uint32_t page;          /* the armed page, from F1 */
	uint32_t gen;           /* the entry's generation at F4 */
	uint32_t now_ms;        /* when it was judged, at F4 */
	bool demotion;          /* no message has brought us here: the page is to go because nobody touches it */
	bool touched;           /* somebody has, meanwhile */
	bool bounced;           /* it was demoted a short while ago */
	uint64_t since_ns;      /* hn_fault; a demotion: when it was begun */
	uint64_t done_ns;       /* after a migration: when the page was in place; 0: not yet */
	struct hn_verdict *verdict;
};

/*
 * F5 and F6: migrate the armed page of `f` to f->verdict->target_nid. Page lock and one page reference held on entry,
 * gate and entry lock not; on return the page lock is released and the reference put. Never waits for another
 * migration.
 */
enum hn_outcome hn_migrate_misplaced(struct hn *hn, struct hn_fault_ctx *f);

/*
 * F4's "stay", also the way back when a migration fails: put the page back in place and account the sample.
 * Gate (shared), entry lock and page lock held; the page lock is released after the disarm, never before (R4).
 * The attached reference is put. Returns `outcome`, or HN_FAULT_DEFERRED with nothing changed but the page lock free.
 */
enum hn_outcome hn_fault_putback(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, enum hn_outcome outcome);

/* C1 to C3: send the armed page to a slow node, if that is called for. The scanner; no locks. False: nothing was done. */
bool hn_demote(struct hn *hn, uint32_t page);
/* As hn_fault_putback, and as the end of a migration: no sample, and the hint has run out. */
enum hn_outcome hn_demote_putback(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, enum hn_outcome outcome);
enum hn_outcome hn_demote_committed(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f);

#endif
