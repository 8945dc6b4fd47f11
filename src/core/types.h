// SPDX-License-Identifier: MIT
/*
 * types.h - the vocabulary of the engine: ids, limits, states, outcomes, reasons.
 *
 * page      a 2 MiB huge page (the frame and its content); "base page" is 4 KiB.
 * haddr     a huge-page-aligned address in the program.
 * entry     what the program maps at one haddr: the analogue of a PMD slot. It has a lock, a state and a generation.
 * armed     the entry has a NUMA hint: its next access is a hinting fault.
 * page lock held by whoever decides about or migrates an armed page: the analogue of PG_locked.
 * nid       node id, an index into the machine description; HN_NO_NODE where unknown.
 */
#ifndef HN_CORE_TYPES_H
#define HN_CORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t hn_addr;

/* [start, end) */
struct hn_range {
	hn_addr start, end;
};

#define HN_PAGE_SHIFT 21
#define HN_PAGE_SIZE ((hn_addr)1 << HN_PAGE_SHIFT)
#define HN_PAGE_MASK (~(HN_PAGE_SIZE - 1))
#define HN_BASE_SIZE ((hn_addr)4096)
#define HN_MAX_NODES 64
#define HN_NO_NODE (-1)
#define HN_NO_INDEX UINT32_MAX

/* States of an entry (docs/protocol.md). Only arm and disarm move between MAPPED and ARMED. */
enum hn_state {
	HN_UNMANAGED = 0, /* the engine knows nothing about this address */
	HN_MAPPED = 1,    /* a managed huge page, in place in the program */
	HN_ARMED = 2,     /* hinted: the page is attached as hn_page, its content is not reachable from the program */
};

/* How one hinting-fault message ended. Each outcome has one exit in fault.c and one counter. */
enum hn_outcome {
	HN_FAULT_UNMANAGED, /* no entry here: the backend must serve the address itself */
	HN_FAULT_STALE,     /* somebody was faster; the range was woken, nothing charged (R2) */
	HN_FAULT_WAITED,    /* the page lock is taken: its holder will wake the sleepers */
	HN_FAULT_DEFERRED,  /* an address-space event must be read first; entry unchanged, nobody woken, nothing charged */
	HN_FAULT_LOCAL,     /* the page is where it is used; disarmed */
	HN_FAULT_REFUSED,   /* stays, for an enum hn_refusal; disarmed */
	HN_FAULT_MIGRATED,  /* moved to the faulting node; disarmed */
	HN_FAULT_FAILED,    /* migration failed for an enum hn_failure; old page put back; disarmed */
	HN_FAULT_RACED,     /* the entry changed during the copy; migration abandoned */
	HN_FAULT_DEMOTED,   /* of no message: nobody had touched the page, and it went to a slow node (demote.c) */
	HN_NR_OUTCOMES,
};

/* Why a page on another node was left where it is. */
enum hn_refusal {
	HN_REFUSE_FILTER,  /* two-stage filter: not two samples in a row from the same node */
	HN_REFUSE_NO_NODE, /* the node of the faulting thread or of the page is unknown */
	HN_REFUSE_OBSERVE, /* observe policy: judged only */
	HN_REFUSE_HELD,    /* the page failed to migrate a short while ago */
	HN_REFUSE_SHARED,  /* threads of several nodes use it */
	HN_REFUSE_SETTLING, /* it came here a short while ago and is not wanted elsewhere strongly enough */
	HN_REFUSE_NODES,   /* the thread's node is not one that pages may go to */
	HN_REFUSE_BUDGET,  /* as much has been migrated lately as may be */
	HN_REFUSE_STALL,   /* a migration would keep the thread waiting for longer than it may */
	HN_REFUSE_ONCE,    /* first-touch policy: only the first sample may move a page */
	HN_REFUSE_PLUGIN,  /* a plug-in policy said stay; its rule says why */
	HN_REFUSE_VERDICT, /* a plug-in policy named a node or a rule that there is not, or a node that is not allowed */
	HN_REFUSE_THREAD,  /* threads are moved to their memory, and this one is to come here, or it is not decided yet */
	HN_REFUSE_ROOM,    /* the thread's node is at its limit: below its high watermark and a huge page */
	HN_REFUSE_COLD,    /* on a slow node, and not touched soon enough after its hint to be promoted */
	HN_REFUSE_RATE,    /* hot, but as much as may be was promoted in this second */
	HN_REFUSE_TIER,    /* the thread's node is a slow one: no page goes there to be used */
	HN_REFUSE_LOW,     /* on a slow node, and the thread's has so little free (tier.low_permille) that it demotes */
	HN_NR_REFUSALS,
};

/* Why a page on another node was judged misplaced. */
enum hn_reason {
	HN_REASON_FIRST,    /* its first sample */
	HN_REASON_THREAD,   /* two samples in a row from the same thread */
	HN_REASON_NODE,     /* two samples in a row from the same node, by different threads */
	HN_REASON_MAJORITY, /* shared, but no sample is from its own node */
	HN_REASON_GROUP,    /* the threads that share memory use that node far more */
	HN_REASON_SPREAD,   /* shared: it goes where its address says, among the nodes that use it */
	HN_REASON_BOUND,    /* the program wants it on other nodes than it is on */
	HN_REASON_TEST,     /* one of the policies that only want pages on the move */
	HN_REASON_PLUGIN,   /* a plug-in policy said so; its rule says why */
	HN_REASON_HOT,      /* on a slow node, and touched soon after its hint */
	HN_REASON_ROOM,     /* on a slow node, and there is much room on the thread's */
	HN_NR_REASONS,
};

/* Why a migration that was decided did not happen. The old page is back in the program in every case. */
enum hn_failure {
	HN_FAIL_TARGET,  /* no huge page free on the target node */
	HN_FAIL_ISOLATE, /* the page could not be taken out of the program: pinned, or split */
	HN_FAIL_COPY,    /* the mover could not copy or migrate the page */
	HN_FAIL_COMMIT,  /* the new page could not be put into the program */
	HN_FAIL_STALL,   /* given up: a thread had waited for it as long as it may */
	HN_NR_FAILURES,
};

/* Why arming a page was refused by the backend. The page stays MAPPED and is left alone for a while. */
enum hn_arm_error {
	HN_ARM_BUSY,    /* pinned, shared with a child, or written since fork: kernel said EBUSY */
	HN_ARM_INVALID, /* protection or locking differs from staging: EINVAL */
	HN_ARM_ABSENT,  /* not there any more, or no huge page: ENOENT */
	HN_ARM_EVENT,   /* an unread address-space event is pending: EAGAIN */
	HN_ARM_OTHER,   /* anything else, out of staging room included */
	HN_NR_ARM_ERRORS,
};

/* What ended an armed hint. disarmed = sum of these, exactly (I5). */
enum hn_disarm_cause {
	HN_DISARM_FAULT,  /* an accounted hinting fault: LOCAL, REFUSED, MIGRATED, FAILED or RACED */
	HN_DISARM_EXPIRY, /* nobody touched the page for the expiry time */
	HN_DISARM_EVENT,  /* the program unmapped, dropped or moved the range */
	HN_DISARM_DRAIN,  /* fork, pause or stop */
	HN_NR_DISARM_CAUSES,
};

/* Rows of the table of policies; what each is for stands there (policies.c). */
enum hn_policy_kind {
	HN_POLICY_AUTOMATIC,
	HN_POLICY_KERNEL,
	HN_POLICY_TWO_STAGE,
	HN_POLICY_FIRST_TOUCH,
	HN_POLICY_OBSERVE,
	HN_POLICY_ALWAYS,
	HN_POLICY_ALTERNATE,
	HN_POLICY_RANDOM,
	HN_POLICY_PLUGIN, /* a shared object; last: it has no name of its own */
	HN_NR_POLICIES,
};

#define HN_MAX_RULES 16u /* of a plug-in policy */
#define HN_NO_RULE 255u

static inline hn_addr hn_page_down(hn_addr a) { return a & HN_PAGE_MASK; }
static inline hn_addr hn_page_up(hn_addr a) { return (a + HN_PAGE_SIZE - 1) & HN_PAGE_MASK; }
static inline hn_addr hn_base_up(hn_addr addr) { return (addr + HN_BASE_SIZE - 1) & ~(HN_BASE_SIZE - 1); }

#endif
