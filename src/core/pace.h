// SPDX-License-Identifier: MIT
/*
 * pace.h - how fast to go round the managed memory. Pure: the caller brings the time and the counters.
 *
 * The period is the time for one round over all of it, as in the kernel's balancing: it shrinks while pages are
 * misplaced and grows while there is nothing to gain. Other than there a round is always spread evenly over its period, so
 * that some samples come every second even when a round takes a minute, and a change is noticed by them.
 */
#ifndef HN_CORE_PACE_H
#define HN_CORE_PACE_H

#include "core/types.h"

/*
 * A share of one CPU, on average: what was not used is saved up, for HN_CREDIT_MS at most, so that a burst (a program that
 * has just begun, a change of phase) is not held up by a limit that is for long.
 */
#define HN_CREDIT_MS 30000u

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
	uint32_t start_ms;     /* period at the start, and after a change; >= 1 */
	uint32_t min_ms;       /* shortest and ... */
	uint32_t max_ms;       /* ... longest period, min <= start <= max */
	uint32_t window_pages; /* armed at one time at most, >= 1 */
};

/* One thread. Zeroed, then hn_pace_start. */
struct hn_pace {
	uint32_t period_ms;
	uint32_t share;           /* of the last judgement, permille */
	bool judged;              /* share says something */
	uint32_t grown_ms;        /* when the period last grew */
	uint32_t pass_ms;         /* when pages were last armed */
	uint64_t samples, placed; /* as of the last judgement */
};

void hn_pace_start(struct hn_pace *p, const struct hn_pace_params *par, uint32_t now_ms);
/*
 * `samples` so far, and `placed`: those that gave no reason to migrate and never will: local, shared, not allowed. True
 * when things have changed so much that a pass is due at once.
 */
bool hn_pace_judge(struct hn_pace *p, const struct hn_pace_params *par, uint64_t samples, uint64_t placed, uint32_t now_ms);
/* Time between two passes. */
uint32_t hn_pace_interval_ms(const struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed_pages);
/* Pages to arm in a pass now; notes that it is made. */
uint32_t hn_pace_budget(struct hn_pace *p, const struct hn_pace_params *par, uint64_t managed_pages, uint32_t now_ms);

#endif
