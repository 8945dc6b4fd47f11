// SPDX-License-Identifier: MIT
/*
 * top.h - what `hugenuma top' shows, as tables of text: no terminal in here. A table is made anew at every refresh from the
 * processes as they are; rates are taken against the refresh before.
 */
#ifndef HN_CONTROL_TOP_H
#define HN_CONTROL_TOP_H

#include "control/attach.h"

enum hn_top_screen { HN_TOP_PROCESSES, HN_TOP_THREADS, HN_TOP_NODES, HN_TOP_REGIONS, HN_TOP_SCREENS };
extern const char *const hn_top_screen_names[HN_TOP_SCREENS];

#define HN_TOP_COLUMNS 10
#define HN_TOP_STRIP 32

struct hn_top_cell {
	char text[32];
	double value; /* to sort by, where text is not what counts */
	bool is_text; /* sort by text */
};

/*
 * A row ends in a strip, oldest point first: '#' where nearly all samples were local, then '+', '-', '.', and ' ' where there
 * were none. For nodes it is the share of all samples that came from the node.
 */
struct hn_top_row {
	uint64_t key; /* stays the same from refresh to refresh: pid, tid, node, address */
	struct hn_top_cell cell[HN_TOP_COLUMNS];
	char strip[HN_TOP_STRIP + 1];
};

struct hn_top_column {
	const char *name;
	int width; /* negative: flush left */
};

struct hn_top_table {
	const struct hn_top_column *column; /* ended by a NULL name */
	unsigned nr_columns;
	struct hn_top_row *row;
	size_t nr;
	char title[160];
};

/* Counters of a process at the refresh before. */
struct hn_top_past {
	uint32_t pid;
	uint64_t samples, local, migrated, ms;
};

struct hn_top {
	struct hn_seen *seen;
	size_t nr_seen;
	uint64_t now_ms;
	struct hn_top_past *past, *now; /* as many as were seen then, and now */
	size_t nr_past;
};

/* Look again. False: out of memory; the old state stays. `a` must stay attached until the next refresh or hn_top_fini. */
bool hn_top_refresh(struct hn_top *t, const struct hn_attached *a);
void hn_top_fini(struct hn_top *t);

/* Was a process with this PID seen? */
bool hn_top_has(const struct hn_top *t, uint32_t pid);

/* The columns of a screen, and which of them it is sorted by at first. */
const struct hn_top_column *hn_top_columns(enum hn_top_screen screen, unsigned *nr);
unsigned hn_top_default_sort(enum hn_top_screen screen);
/* Is the biggest first in this column, as with most numbers? */
bool hn_top_biggest_first(enum hn_top_screen screen, unsigned column);

/* Make the table of a screen; pid: whose, but for processes. False: there is no such process, or no memory. */
bool hn_top_table(const struct hn_top *t, enum hn_top_screen screen, uint32_t pid, unsigned sort, bool reverse,
		  struct hn_top_table *table);
void hn_top_table_fini(struct hn_top_table *table);

/* "LOCAL   HUGE MiB": the heading; and a row: as text of at most `len` - 1 bytes. */
void hn_top_heading(const struct hn_top_table *table, char *buf, size_t len);
void hn_top_line(const struct hn_top_table *table, size_t row, char *buf, size_t len);

#endif
