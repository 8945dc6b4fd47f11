// SPDX-License-Identifier: MIT
/*
 * search.h - a whole scenario searched by any number of threads, with a result that does not depend on how many.
 */
#ifndef HN_CHECK_SEARCH_H
#define HN_CHECK_SEARCH_H

#include "check/scenario.h"

struct ck_options {
	uint32_t threads; /* >= 1 */
	int bound;        /* preemptions allowed, -1: any number */
	double seconds;   /* give up on a scenario after so long, 0: never */
	bool progress;    /* a line on standard error that is written over */
};

enum ck_verdict {
	CK_HOLDS,      /* everything was explored, and nothing violated (within the bound, if there is one) */
	CK_VIOLATED,
	CK_UNFINISHED, /* out of time */
	CK_FAILED,     /* out of memory: nothing can be said */
};

struct ck_result {
	enum ck_verdict verdict;
	struct ck_count count;  /* of the items up to the one with the violation */
	uint32_t items;
	double seconds;
	struct ck_violation violation; /* CK_VIOLATED: the first one in the order of items, simplified */
	uint32_t preemptions;          /* in it */
};

double ck_seconds(void);

void ck_search(const struct ck_scenario *scenario, const struct ck_options *o, struct ck_result *r);

/*
 * simplify.c: find the same violation in an execution that is easier to read: with fewer changes of actor. Bounded
 * effort; the same every time. *v is replaced when there is one. Returns how often an actor is left that could go on.
 */
uint32_t ck_simplify(struct ck *k, struct ck_violation *v);
/* How often an actor that could go on is left, in what k has just replayed. */
uint32_t ck_preemptions(struct ck *k);

#endif
