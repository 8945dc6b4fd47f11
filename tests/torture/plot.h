// SPDX-License-Identifier: MIT
/*
 * plot: huge pages of one disturber, with an exact expectation for every 4 KiB page
 *
 * Each operation on a base page has a number: a write stamps the number into all its words, a drop (fresh mapping,
 * MADV_DONTNEED) makes them zero, MADV_FREE leaves them as they were until the kernel takes the page. The word's
 * "place" in a stamp is its index in the plot, so that contents keep their meaning when the plot moves.
 *
 * Spectators read while the owner works. Owner and spectator meet in two words per base page: "begun" is set before an
 * operation touches the page, "settled" after it. A spectator reads settled, then the word, then begun: what it saw
 * must belong to an operation in between.
 */
#ifndef TORTURE_PLOT_H
#define TORTURE_PLOT_H

#include <pthread.h>

#include "area.h"
#include "report.h"

enum kind {
	KIND_ZERO,
	KIND_WRITTEN,
	KIND_FREED,
};

struct base_page {
	_Atomic uint64_t begun, settled; /* number << 2 | kind */
	uint64_t before_free;		 /* settled before MADV_FREE: what else the page may hold */
};

struct plot {
	struct area area;
	size_t pages, bases;
	uint32_t salt;
	unsigned int id;
	struct base_page *base;
	struct history *history; /* per huge page of the plot */
	/*
	 * Held by the owner while the plot is not readable at its address, and by a spectator for the time of a look.
	 */
	pthread_mutex_t gate;
	bool open; /* spectators welcome */
	/* These base pages are written by the spectator and left alone by the owner: neighbours of what it drops. */
	size_t neighbour_first, neighbours;
};

struct range {
	size_t first, n; /* base pages */
};

int plot_create(struct plot *plot, const char *name, size_t pages, unsigned int id);

void plot_begin(struct plot *plot, struct range range, enum kind kind);
void plot_settle(struct plot *plot, struct range range);
void plot_note(struct plot *plot, struct actor *a, struct range range, enum op op);

/* Stamp the next number into every word. */
void plot_write(struct plot *plot, struct actor *a, struct range range);
/* Every word; returns how many were wrong. */
size_t plot_verify(struct plot *plot, struct actor *a, struct range range);
/* The same for a private copy of @range's content, e.g. what came out of a pipe. */
size_t plot_verify_copy(struct plot *plot, struct actor *a, struct range range, const uint64_t *copy);
/* In a forked child: no output, no counters. True when right; else the first wrong word is in @bad. */
bool plot_check_child(const struct plot *plot, struct wrong *bad);
/* The number that an operation begun and not yet settled writes into base page @b. */
uint32_t plot_begun_number(const struct plot *plot, size_t b);
/* What word @w (of the plot) must hold now, for a page that is written or zero. */
uint64_t plot_expected(const struct plot *plot, size_t w);
void plot_spectate(struct plot *plot, struct actor *a);
void plot_report(struct plot *plot, struct actor *a, size_t w, uint64_t expected, uint64_t found, const char *accepted);

static inline struct range whole(const struct plot *plot)
{
	return (struct range){ 0, plot->bases };
}

/* A random range: one huge page, several, or some base pages; never the neighbours. */
struct range plot_pick_huge(struct plot *plot, struct actor *a);
struct range plot_pick_any(struct plot *plot, struct actor *a);

static inline void *plot_address(const struct plot *plot, struct range range)
{
	return plot->area.words + range.first * BASE_WORDS;
}

static inline size_t range_bytes(struct range range)
{
	return range.n * BASE_BYTES;
}

#endif
