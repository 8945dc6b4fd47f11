/* SPDX-License-Identifier: MIT */
/*
 * affinity.h - between seats.c, which finds out where threads are to be, and affinity.c, which keeps them there. The scanner's,
 * where nothing else is said; nodes are the run's machine's.
 */
#ifndef HN_AGENT_AFFINITY_H
#define HN_AGENT_AFFINITY_H

#include "agent/agent.h"

/* What the process may use, by this thread's CPUs, which may run wherever the cpuset allows (settle_in). */
bool hn_affinity_look_at_cpuset(void);
/* May the thread run wherever that is? */
bool hn_affinity_is_free(uint32_t tid);
/* How many CPUs of a node that has. */
uint32_t hn_affinity_cpus(int node);

/* ---- who is kept ---- */

/* What hn_kept_lock returns goes to hn_kept_unlock. */
uint64_t hn_kept_lock(void);
void hn_kept_unlock(uint64_t old);
/* Lock held. NULL: it is not kept; the pointer is good until anybody is let go. */
struct hn_kept *hn_kept_find(uint32_t tid);
void hn_kept_let_go(struct hn_kept *k);
/* From now on on this node. False: the program has bound it, the kernel refuses, or there is no room for more. */
bool hn_kept_keep(struct hn_live *live, uint32_t tid, int node, uint32_t now_ms);
/* Forget who is not ours any more, let go who waits for CPUs too much. Takes the lock. idle[]: CPUs, permille, of each node. */
void hn_kept_review(struct hn_worker *w, const uint32_t *idle, uint32_t now_ms);

#endif
