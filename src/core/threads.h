// SPDX-License-Identifier: MIT
/*
 * threads.h - what is known of the program's threads: where the memory lies that each of them uses, how much of it is its
 * own, and which threads use memory together.
 *
 * A table in the engine's block, found by thread number. Handlers add to it, one thread (the backend's scanner) takes the
 * sums, halves them and decides about threads; all of it by relaxed atomics, and nothing is ordered by them. A handler that
 * meets a row while that is given away loses its sample or leaves it to another thread: it is one of thousands.
 *
 * Groups. Two threads whose samples alternate on one page (A, B, A) have met. Who meets others often enough joins the
 * group of whom it met last; who meets nobody any more leaves. Of two groups that meet, it is members of the smaller who
 * go over, one by one.
 */
#ifndef HN_CORE_THREADS_H
#define HN_CORE_THREADS_H

#include "core/types.h"

#define HN_MAX_GROUPS 64u
#define HN_NO_GROUP 0u /* groups are numbered from 1 */

/* What goes where when a thread and its memory are on different nodes. */
enum hn_follow {
	HN_FOLLOW_THREAD,    /* memory goes to the thread */
	HN_FOLLOW_UNDECIDED, /* not known yet: until it is, nothing moves on behalf of this thread */
	HN_FOLLOW_MEMORY,    /* the thread is kept on its home node */
	HN_NR_FOLLOWS,
};

/* Samples: one for each hint that the thread was the first to touch; "lately": halved every round. */
struct hn_thread {
	uint32_t samples, local;          /* since the thread is known; local: on pages of the node it ran on */
	uint32_t own_lately, shared_lately; /* pages that it touched before too, or nobody had; that others had touched */
	uint32_t first_ms;                /* when the thread was first seen, or the decision about it last begun */
	uint32_t group;                   /* HN_NO_GROUP: none */
	uint32_t bond;                    /* how often it met others lately */
	uint32_t follow;                  /* enum hn_follow */
	int32_t node;                     /* where it ran at its last sample */
	int32_t preferred;                /* where most of what it uses lies, or of what its group uses; HN_NO_NODE */
	int32_t home;                     /* with HN_FOLLOW_MEMORY; else HN_NO_NODE */
	uint32_t left_ms;                 /* when it was let go by the agent for a while; 0: it was not */
	uint32_t mem[HN_MAX_NODES];       /* samples lately, by the node of the page ... */
	uint32_t cpu[HN_MAX_NODES];       /* ... and of the thread */
	/* The scanner's, and only where threads are moved: */
	uint64_t wanted_ns;               /* CPU time used or waited for since the thread began, ... */
	uint32_t seen_ms;                 /* ... when that was looked at */
	uint32_t load;                    /* and since the look before, in permille of a CPU */
};

/* The sums of its members. */
struct hn_group {
	uint32_t members; /* 0: free */
	uint32_t idle;    /* so often in a row nobody was in it */
	int32_t preferred, home; /* home: of most members that have one */
	uint32_t mem[HN_MAX_NODES], cpu[HN_MAX_NODES];
};

struct hn;
struct hn_entry;

/* ---- handlers ---- */

/* Thread tid, on thread_nid, has touched the page of e, whose record is still that of the sample before. Entry lock held. */
void hn_threads_note(struct hn *hn, struct hn_entry *e, int thread_nid, uint32_t tid);
/* NULL: not known. */
struct hn_thread *hn_thread_find(const struct hn *hn, uint32_t tid);
/* Known from now on; NULL: there is no room. */
struct hn_thread *hn_thread_make(const struct hn *hn, uint32_t tid);
/* The group with this number; NULL for HN_NO_GROUP. */
const struct hn_group *hn_group_of(const struct hn *hn, uint32_t group);
/* Is the thread kept on this node? */
bool hn_thread_is_home(const struct hn_thread *t, int nid);
/* The node with the largest count, the first of several; HN_NO_NODE: all are 0. */
int32_t hn_node_of_most(const uint32_t *count, uint32_t nr_nodes);
/*
 * Is the thread tid to come to page_nid, or may it be told to: then pages there are not sent away for its sake. `shared`:
 * several nodes use the page, so that where the group is to be counts too.
 */
bool hn_threads_hold(const struct hn *hn, uint32_t tid, int page_nid, bool shared);

/* ---- one thread, the scanner ---- */

/* Sums of groups, preferred nodes. */
void hn_threads_sum(struct hn *hn);
/* A round is over: samples before it count half; rows without any are free again. Sums as well. */
void hn_threads_age(struct hn *hn);
/* How many threads ran on several nodes lately: of eight samples or more, more than a fifth came from elsewhere. */
uint32_t hn_threads_wandering(struct hn *hn);
/* What goes where of this thread, as of now; home: HN_NO_NODE, but with HN_FOLLOW_MEMORY. */
void hn_thread_decided(struct hn_thread *t, enum hn_follow follow, int home, uint32_t now_ms);
/* Threads are moved to their memory from now on, or no longer; begins anew with all of them. */
void hn_threads_let_move(struct hn *hn, bool on, uint32_t now_ms);
/* Call fn for each known thread. */
typedef void (*hn_thread_fn)(void *arg, uint32_t tid, struct hn_thread *t);
void hn_for_each_thread(struct hn *hn, hn_thread_fn fn, void *arg);
/* Samples of threads that had no room in the table. */
uint32_t hn_threads_missed(const struct hn *hn);

/* Whose samples are to count for this thread: its own, or those of its group when it shares more than it has alone. */
const uint32_t *hn_thread_mem(const struct hn *hn, const struct hn_thread *t);

#endif
