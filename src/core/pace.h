// SPDX-License-Identifier: MIT
/*
 * pace.h - which pages to ask about, and when. Pure: the caller brings the time and the counters.
 *
 * Three kinds of asking. New memory: at once. Memory that is placed: a watch, some samples every second and a round in
 * max_ms at the latest, which is enough to notice that something has changed. Where a sample left a question: at once
 * again, for as long as asking leads to migrations; and then the rest as well. Where it does not, as with pages that
 * several nodes use, the watch is all there is.
 */
#ifndef HN_CORE_PACE_H
#define HN_CORE_PACE_H

#include "core/types.h"

/*
 * A share of one CPU, on average: what was not used is saved up, for HN_CREDIT_MS at most, so that a burst (a program that
 * has just begun, a change of phase) is not held up by a limit that is for long.
 */
#define HN_CREDIT_MS 60000u

struct hn_credit {
	int64_t ns; /* CPU time that may still be used; negative: too much was */
	uint32_t ms;
};

/* Full. */
void hn_credit_start(struct hn_credit *c, uint32_t permille, uint32_t now_ms);
void hn_credit_use(struct hn_credit *c, uint32_t permille, uint64_t used_ns, uint32_t now_ms);
/* How long nothing more may be used, ms; 0: go on. */
uint32_t hn_credit_wait_ms(const struct hn_credit *c, uint32_t permille);

struct hn_pace_params {
	uint32_t start_ms;     /* time for a round over everything at least, >= 1 */
	uint32_t min_ms;       /* the same while it leads to migrations */
	uint32_t max_ms;       /* time for a round of the watch, min <= start <= max */
	uint32_t window_pages; /* armed at one time at most, >= 1 */
};

/* One thread. */
struct hn_pace {
	uint32_t watch_ms, credit_ms, halved_ms; /* when each was last reckoned */
	uint64_t credit;              /* pages that may be asked about now, in millionths */
	uint32_t asked, answered;     /* questions asked again lately, and the migrations that came of it */
	bool open_turn;               /* of the watch */
	bool calm;                    /* nothing has moved for some time */
	uint32_t spread;              /* pages to ask besides, because others like them have moved */
	uint32_t burst_ms, moved_ms;  /* when the first and the last of them had, without a pause between */
	uint32_t asked_ms;            /* when anything was asked but by the watch */
	uint32_t stirred;             /* the same, because threads have been moved */
	uint64_t confirmed;           /* counters, as of the last plan */
	uint32_t questions;
	uint32_t armed;               /* by the last pass: what came of it is worth a look soon */
};

/* Pages to arm in a pass. */
struct hn_pace_plan {
	uint32_t fresh; /* that nobody was asked about */
	uint32_t open;  /* whose last sample left a question */
	uint32_t any;   /* whatever comes next; but, if there are such, ... */
	uint32_t rather_open; /* ... of them so many whose last sample left a question */
	uint32_t old;   /* that were not sampled since ... */
	uint32_t since_ms; /* ... this time */
};

void hn_pace_start(struct hn_pace *p, const struct hn_pace_params *par, uint32_t now_ms);
/*
 * `questions`: how often so far a page was asked about whose last sample had left a question (hn_scan_questions), without
 * those that were answered but met a limit (move.budget_mib_s, move.max_stall_us): they say nothing about whether asking
 * pays, and may be taken off late. `confirmed`: pages so far that were migrated for more than their first sample.
 */
struct hn_pace_plan hn_pace_plan(struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed_pages,
				 uint32_t questions, uint64_t confirmed, uint32_t now_ms);
/* Threads have been moved: what they use, so many pages, is to be asked about soon. */
void hn_pace_stir(struct hn_pace *p, uint32_t pages);
/* What the pass armed of each. */
void hn_pace_done(struct hn_pace *p, const struct hn_pace_plan *armed);
/* Time to the next pass. */
uint32_t hn_pace_interval_ms(const struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed_pages,
			     uint32_t now_ms);

#endif
