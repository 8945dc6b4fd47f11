// SPDX-License-Identifier: MIT
/*
 * field: huge pages that all workers write at the same time, every word with exactly one owner
 *
 * Word w of a page belongs to worker w % threads, so that every worker writes in every cache line. The words are
 * written a stripe at a time: stripe s is line s of each of the 512 base pages, so that each visit is spread over the
 * whole page and a copy of the page that goes on meanwhile is hit on both sides of its cursor. Per page, worker and
 * stripe one number says what all words of it hold: only the owner advances it.
 *
 * A few words of each page are shared counters instead (fetch_add by all, private tallies of who added how much).
 */
#ifndef TORTURE_FIELD_H
#define TORTURE_FIELD_H

#include "area.h"
#include "report.h"

#define STRIPES (BASE_WORDS / LINE_WORDS)
#define COUNTERS 8ul
#define COUNTER_STEP (HUGE_WORDS / COUNTERS)

struct stripe {
	_Atomic uint32_t number;
	uint32_t written_us;
};

struct field {
	struct area area;
	size_t pages;
	uint32_t salt;
	bool forked; /* children inherit it */
	struct stripe *stripes;
	uint64_t *tallies;
	struct history *history;
};

int field_create(struct field *field, const char *name, size_t pages, uint32_t salt, bool forked);

/* Verify and advance the actor's words of one stripe, each word @burst times in a row. */
void field_visit(struct field *field, struct actor *a, size_t page, size_t stripe, unsigned int burst);

/* All words of a page, whoever owns them, and its counters. The workers must be at rest. Repairs what it reports. */
void field_check_page(struct field *field, struct actor *a, size_t page);

/*
 * For fork while the workers go on: a lower bound of every number, taken before the fork, and the check in the child
 * that no word is older than that. The child touches nothing but the field and @bad.
 */
uint32_t *field_floor(const struct field *field, uint32_t *floor);
size_t field_floor_bytes(const struct field *field);
bool field_check_child(const struct field *field, const uint32_t *floor, uint64_t random, struct wrong *bad);

extern struct field fields[];
extern size_t n_fields;

#endif
