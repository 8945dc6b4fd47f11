// SPDX-License-Identifier: MIT
/*
 * place.h - who goes where: the threads of a program to nodes, so that those that use the same memory are on one node, on
 * that where most of it is or else on one where there is room; their memory follows them there. Pure: the caller brings what is
 * known and carries out what is said.
 *
 * CPU time is in permille of a CPU throughout: 1000 is one CPU, all the time.
 */
#ifndef HN_CORE_PLACE_H
#define HN_CORE_PLACE_H

#include "core/types.h"

#define HN_WANT_SAMPLES 16u /* of one thread: fewer say nothing ... */
#define HN_WANT_SHARE 600u  /* permille of what it uses on one node: there is where its memory is */
#define HN_KEEP_SHARE 400u  /* a thread stays at home down to this share */
#define HN_ASLEEP 20u       /* a thread that wants less CPU time is taken for one that sleeps */
#define HN_AT_WORK 250u     /* a program whose threads want less has not begun, or has nothing to do */
#define HN_BUSY 500u        /* a thread that wants more is kept from wandering, wherever its memory is */

/* A node, as the program sees it. */
struct hn_room {
	uint32_t cpus;    /* what it may use there */
	uint32_t claimed; /* of that, by threads of other managed programs that are kept there ... */
	uint32_t senior;  /* ... and of these, by programs that do not give way to this one */
	uint32_t foreign; /* used lately by whatever is not of this program */
	uint32_t pages;   /* of the program's memory */
	bool avoid;       /* threads that were kept there had to wait for a CPU: nobody goes there unless it is idle now */
};

/* A thread. */
struct hn_seat {
	uint32_t tid;
	uint32_t group;       /* HN_NO_GROUP: none */
	uint32_t load;        /* CPU time that it used or waited for, lately */
	uint32_t samples;     /* lately */
	const uint32_t *mem;  /* the same by the node of the page; written to by others meanwhile */
	const uint32_t *goes_by; /* those that count when it is placed alone: the same, or those of its group */
	int now;              /* where it runs, or HN_NO_NODE */
	int home;             /* where it is kept, or HN_NO_NODE */
	bool fixed;           /* the program has bound it: it stays, and takes its room */
	bool left;            /* let go a moment ago, or its load is not known: it is left alone for now */
	bool ready;           /* enough is known to decide about it alone, or it is time to; of one at home: it may be sent on */
	/* What is to become of it: */
	int to;    /* it is kept there; HN_NO_NODE: it is free to run anywhere, or ... */
	bool wait; /* ... nothing is decided yet */
};

/*
 * The node that a thread with samples mem[] on the pages of each node had better be on; HN_NO_NODE: no matter. `home`: where
 * it is kept, or HN_NO_NODE. *share: of what it uses, permille.
 */
int hn_thread_wants(const uint32_t *mem, uint32_t nr_nodes, int home, uint32_t *share);

/*
 * Decide. All that run are to be in seat[], nr of them, their load known. No node gets more than it has CPUs for, as far as the
 * program's own threads and those of other managed programs go; if the program alone wants more than there is, each node
 * gets its part of that. In this order:
 *
 * - Who is at home stays, as long as there is room.
 * - The whole program comes to one node if that has CPUs for it and not more than two fifths of its memory are elsewhere, or
 *   all who are at home are at that one.
 * - A group of threads that share memory comes to one node if it fits.
 * - A thread alone comes to its memory. If there is no room and it is busy it stays where it is, to let its memory come.
 */
void hn_place(struct hn_seat *seat, uint32_t nr, const struct hn_room *room, uint32_t nr_nodes);

#endif
