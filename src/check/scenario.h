// SPDX-License-Identifier: MIT
/*
 * scenario.h - what is explored: a small situation, its actors, and what it is there for.
 */
#ifndef HN_CHECK_SCENARIO_H
#define HN_CHECK_SCENARIO_H

#include "check/world.h"

struct ck_role {
	const char *name;  /* column heading in reports */
	void (*fn)(void *arg);
	void *arg;
	int nid;           /* node of a program thread */
	bool may_sleep;    /* asleep at the end is fine: a handler that waits for messages */
	bool warm;         /* runs until it sleeps before the exploration begins */
};

/* Which of the two ways to arm a scenario is for. */
enum ck_ways {
	CK_BOTH_WAYS, /* the table's row is MOVE, its copy NAME@rwp RWPROTECT */
	CK_MOVE_ONLY,
	CK_RWP_ONLY,
};

struct ck_scenario {
	const char *name;  /* a_vs_b */
	const char *about; /* one line */
	const char *races; /* "R1 R4": of docs/checker.md */
	enum hn_policy_kind policy;
	uint32_t expiry_ms, quarantine_ms; /* 0: a default that never comes */
	enum ck_ways ways;
	bool rwp;        /* armed by RWPROTECT: made of `ways`, not for the tables */
	bool lock_steps; /* too large for CK_LOCKS_SHIPPED: locks are taken in one step (locks.c) */
	void (*setup)(struct ck_world *w); /* after the default world is there; may be NULL */
	void (*check)(struct ck_world *w); /* at the end, beyond the oracle; may be NULL */
	struct ck_role role[CK_MAX_ACTORS];
};

/* All scenarios, in the order they are run: the first for NULL, NULL after the last. The first call, from one thread. */
const struct ck_scenario *ck_scenario_next(const struct ck_scenario *s);
const struct ck_scenario *ck_scenario_find(const char *name);

/* ---- for setup(): no actor runs (setup.c) ---- */

/* Map, fill and manage `nr` huge pages from `slot` on node nid; registered. */
void ck_have(struct ck_world *w, uint32_t slot, uint32_t nr, int nid);
/* Arm the page in `slot`; its last sample came from last_nid (HN_NO_NODE: none). Returns the page id. */
uint32_t ck_have_armed(struct ck_world *w, uint32_t slot, int last_nid);
void ck_set_last(struct ck_world *w, uint32_t slot, int last_nid);
/* Only so many pool pages are ready on each node: 0 or 1. */
void ck_have_targets(struct ck_world *w, uint32_t nr);
void ck_have_fail(struct ck_world *w, enum ck_op op, uint32_t at, int err);

/* ---- roles (setup.c) ---- */
void ck_role_handler(void *arg); /* NULL; a handler's whole life */
/*
 * A string: what to do, in order. Places are slot or slot.cell, +n is a length in cells (default: a huge page).
 *   r0.1 w0.1   load, store; it would be an error if the program were killed by it (R, W: not if)
 *   U0 U0.1+1   munmap          M0 N0  mmap, not registered / registered     D0 D0.1+1  MADV_DONTNEED
 *   V0>2 V0.1>2.0+1  mremap     O0 Q0  mprotect read-only / read-write       S0 C0      the kernel splits, collapses the page
 *   F f         fork with / without event                                    I0.1       a device writes there
 *   A0 A0+4     arm the run     P4     scanner's pass, budget 4              E          take back what expired
 *   G           put everything back                                          L          unregister, handlers leave
 *   T500        500 ms pass     m0     manage                                g0 b0      register it / give it back
 *   c           reclaim chunks of entries that are not in use
 *   K0 k0 j0    reclaim splits the page in a slot, in staging, in the pool   X0.1 x0.1  and swaps a part out (slot, staging)
 */
void ck_role_script(void *arg);

#endif
