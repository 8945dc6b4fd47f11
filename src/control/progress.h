// SPDX-License-Identifier: MIT
/*
 * progress.h - one line a second while a program runs.
 */
#ifndef HN_CONTROL_PROGRESS_H
#define HN_CONTROL_PROGRESS_H

#include "control/ledger.h"

struct hn_progress {
	uint64_t start_ms; /* CLOCK_MONOTONIC */
	uint64_t last_ms;  /* time of the last line, or of the start */
	uint64_t samples;  /* counters at the last line */
	uint64_t local;
	uint64_t migrated;
};

void hn_progress_start(struct hn_progress *p, uint64_t now_ms);

/* True when a second has passed since the last line. */
bool hn_progress_due(const struct hn_progress *p, uint64_t now_ms);

/* How long until the next line is due, ms, at most max_ms. */
int hn_progress_wait_ms(const struct hn_progress *p, uint64_t now_ms, int max_ms);

/* Print one line about the time since the last. */
void hn_progress_print(struct hn_progress *p, uint64_t now_ms, const struct hn_ledger *l, const struct hn_shm *shm);

#endif
