// SPDX-License-Identifier: MIT
#include "control/top.h"

#include "control/explain.h"
#include "control/names.h"
#include "control/proc.h"
#include "control/say.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const hn_top_screen_names[HN_TOP_SCREENS] = {
	[HN_TOP_PROCESSES] = "processes",
	[HN_TOP_THREADS] = "threads",
	[HN_TOP_NODES] = "nodes",
	[HN_TOP_REGIONS] = "regions",
};

static const struct hn_top_column process_columns[] = {
	{ "PID", 8 },       { "COMMAND", -15 }, { "STATE", -9 }, { "HUGE MiB", 9 }, { "LOCAL %", 7 },
	{ "SAMPLES/S", 9 }, { "MIGR/S", 7 },    { "P99", 8 },    { NULL, 0 },
};
static const struct hn_top_column thread_columns[] = {
	{ "TID", 8 },     { "NAME", -15 }, { "NODE", 4 },      { "SAMPLES", 8 },
	{ "LOCAL %", 7 }, { "MOVED", 6 },  { "WAITED ms", 9 }, { "PREFERS", 7 },
	{ "SHARED %", 8 }, { "GROUP", 5 }, { NULL, 0 },
};
static const struct hn_top_column node_columns[] = {
	{ "NODE", 5 },    { "HUGE MiB", 9 },  { "SAMPLES", 9 }, { "LOCAL %", 7 },
	{ "MIGR TO", 8 }, { "MIGR FROM", 9 }, { NULL, 0 },
};
static const struct hn_top_column region_columns[] = {
	{ "START", -14 }, { "MiB", 8 },  { "PAGES", 7 },   { "LOCAL %", 7 }, { "LATELY %", 8 },
	{ "SAMPLES", 9 }, { "MIGR", 7 }, { "USED BY", 7 }, { NULL, 0 },
};

static const struct {
	const struct hn_top_column *column;
	unsigned nr, sort;
} screens[HN_TOP_SCREENS] = {
	[HN_TOP_PROCESSES] = { process_columns, 8, 3 },
	[HN_TOP_THREADS] = { thread_columns, 10, 3 },
	[HN_TOP_NODES] = { node_columns, 6, 0 },
	[HN_TOP_REGIONS] = { region_columns, 8, 0 },
};

const struct hn_top_column *hn_top_columns(enum hn_top_screen screen, unsigned *nr)
{
	*nr = screens[screen].nr;
	return screens[screen].column;
}

unsigned hn_top_default_sort(enum hn_top_screen screen) { return screens[screen].sort; }

bool hn_top_biggest_first(enum hn_top_screen screen, unsigned column)
{
	return column > 0 && screens[screen].column[column].width > 0;
}

/* ---- refreshing ---- */

static const struct hn_top_past *past_of(const struct hn_top *t, uint32_t pid)
{
	for (size_t i = 0; i < t->nr_past; i++)
		if (t->past[i].pid == pid)
			return &t->past[i];
	return NULL;
}

bool hn_top_refresh(struct hn_top *t, const struct hn_attached *a)
{
	struct hn_seen *seen;
	size_t nr = hn_seen_find(a, 0, &seen);
	struct hn_top_past *now = calloc(nr + 1, sizeof(*now));

	if (!now) {
		hn_seen_free(seen, nr);
		return false;
	}
	free(t->past);
	t->past = t->now;
	t->nr_past = t->now ? t->nr_seen : 0;
	hn_seen_free(t->seen, t->nr_seen);
	t->now = now;
	t->seen = seen;
	t->nr_seen = nr;
	t->now_ms = hn_now_ms();
	for (size_t i = 0; i < nr; i++) {
		const struct hn_stats *s = &seen[i].p.slot.stats;

		now[i] = (struct hn_top_past){ seen[i].p.pid, s->samples, s->local, s->migrated, t->now_ms };
	}
	return true;
}

void hn_top_fini(struct hn_top *t)
{
	hn_seen_free(t->seen, t->nr_seen);
	free(t->past);
	free(t->now);
	*t = (struct hn_top){ 0 };
}

/* ---- cells ---- */

static void cell_count(struct hn_top_cell *c, uint64_t n)
{
	snprintf(c->text, sizeof(c->text), "%" PRIu64, n);
	c->value = (double)n;
}

static void cell_text(struct hn_top_cell *c, const char *s)
{
	snprintf(c->text, sizeof(c->text), "%s", s);
	hn_make_printable(c->text);
	c->is_text = true;
}

static void cell_share(struct hn_top_cell *c, uint64_t part, uint64_t whole)
{
	if (part > whole)
		part = whole;
	c->value = whole ? 100.0 * (double)part / (double)whole : -1;
	if (whole)
		snprintf(c->text, sizeof(c->text), "%.1f", c->value);
	else
		snprintf(c->text, sizeof(c->text), "-");
}

static void cell_tenths(struct hn_top_cell *c, double v)
{
	snprintf(c->text, sizeof(c->text), "%.1f", v);
	c->value = v;
}

static void cell_node(struct hn_top_cell *c, const struct hn_machine *m, int node)
{
	c->value = node;
	if (node >= 0)
		snprintf(c->text, sizeof(c->text), "%d", hn_node_name(m, node));
	else
		snprintf(c->text, sizeof(c->text), "-");
}

/* ---- strips ---- */

struct strip {
	uint64_t part[HN_TOP_STRIP], whole[HN_TOP_STRIP];
};

static void strip_text(const struct strip *s, char *text)
{
	for (unsigned i = 0; i < HN_TOP_STRIP; i++) {
		uint64_t w = s->whole[i], p = s->part[i] * 100;

		text[i] = !w ? ' ' : p >= 90 * w ? '#' : p >= 60 * w ? '+' : p >= 30 * w ? '-' : '.';
	}
	text[HN_TOP_STRIP] = 0;
}

/* Point of the strip for point p of the heat map: its last points end where now is. */
static int strip_at(const struct hn_process *proc, uint32_t p)
{
	const struct hn_heat *h = &proc->record->heat;
	uint64_t points = proc->elapsed_ms / h->step_ms + 1, per;

	if (points < h->nr_points)
		points = h->nr_points;
	per = (points + HN_TOP_STRIP - 1) / HN_TOP_STRIP;
	return (int)(HN_TOP_STRIP - 1 - (points - 1 - p) / per);
}

/* Locality of [start, end) over time; node >= 0: the node's share of all samples instead. */
static void strip_of(const struct hn_process *proc, hn_addr start, hn_addr end, int node, char *text)
{
	const struct hn_heat *h = proc->record ? &proc->record->heat : NULL;
	struct strip s = { { 0 }, { 0 } };

	for (uint32_t p = 0; h && hn_heat_is_sane(h) && p < h->nr_points; p++)
		for (uint32_t row = 0; row < h->nr_rows; row++) {
			const uint32_t *cell = &h->cell[(p * h->rows + row) * h->nodes];
			hn_addr from = h->key[row] << h->shift;
			int at = strip_at(proc, p);

			if (at < 0 || from >= end || from + ((hn_addr)1 << h->shift) <= start)
				continue;
			s.part[at] += node >= 0 ? cell[node] : h->local[p * h->rows + row];
			for (uint32_t n = 0; n < h->nodes; n++)
				s.whole[at] += cell[n];
		}
	strip_text(&s, text);
}

/* ---- rows ---- */

static struct hn_top_row *row_add(struct hn_top_table *t, uint64_t key)
{
	struct hn_top_row *row = realloc(t->row, (t->nr + 1) * sizeof(*row));

	if (!row)
		return NULL;
	t->row = row;
	row = &row[t->nr++];
	memset(row, 0, sizeof(*row));
	row->key = key;
	return row;
}

static const char *state_of(const struct hn_seen *s)
{
	if (!s->slot)
		return "ended";
	return s->p.slot.state.v == HN_SLOT_UNMANAGED ? "unmanaged" : hn_mode_name(s->p.slot.mode.v);
}

static double rate(uint64_t now, uint64_t before, uint64_t ms)
{
	return ms && now > before ? (double)(now - before) * 1e3 / (double)ms : 0;
}

static void add_process(struct hn_top_table *table, const struct hn_top *t, const struct hn_seen *seen)
{
	const struct hn_top_past *past = past_of(t, seen->p.pid);
	const struct hn_stats *s = &seen->p.slot.stats;
	struct hn_top_row *row = row_add(table, seen->p.pid);
	uint64_t ms = past ? t->now_ms - past->ms : seen->p.elapsed_ms;

	if (!row)
		return;
	cell_count(&row->cell[0], seen->p.pid);
	cell_text(&row->cell[1], seen->p.comm);
	cell_text(&row->cell[2], state_of(seen));
	cell_count(&row->cell[3], s->managed_pages * (HN_PAGE_SIZE >> 20));
	cell_share(&row->cell[4], seen->p.shares.end_local, seen->p.shares.end_samples);
	cell_tenths(&row->cell[5], rate(s->samples, past ? past->samples : 0, ms));
	cell_tenths(&row->cell[6], rate(s->migrated, past ? past->migrated : 0, ms));
	row->cell[7].value = (double)hn_hist_percentile(&s->fault_service_ns, 990);
	snprintf(row->cell[7].text, sizeof(row->cell[7].text), "%s",
		 s->fault_service_ns.count ? hn_text_ns((uint64_t)row->cell[7].value).s : "-");
	strip_of(&seen->p, 0, ~(hn_addr)0, -1, row->strip);
}

/* ---- threads: from the decisions on record ---- */

struct thread {
	uint32_t tid;
	int node;
	uint64_t samples, local, moved, ns;
	struct strip strip;
};

#define THREADS_MAX 1024

static struct thread *thread_of(struct thread *list, size_t *nr, uint32_t tid)
{
	for (size_t i = 0; i < *nr; i++)
		if (list[i].tid == tid)
			return &list[i];
	if (*nr == THREADS_MAX)
		return NULL;
	list[*nr] = (struct thread){ .tid = tid, .node = HN_NO_NODE };
	return &list[(*nr)++];
}

static void thread_count(struct thread *t, const struct hn_decision *d, int at)
{
	if (d->outcome == HN_FAULT_WAITED)
		return;
	t->samples++;
	t->local += d->outcome == HN_FAULT_LOCAL;
	t->moved += d->outcome == HN_FAULT_MIGRATED;
	t->ns += d->service_ns;
	t->node = d->thread_nid;
	t->strip.whole[at]++;
	t->strip.part[at] += d->outcome == HN_FAULT_LOCAL;
}

static size_t threads_collect(const struct hn_record *r, struct thread *list, uint64_t now_ms)
{
	uint32_t next, first = hn_record_first(r, &next);
	uint64_t start_ms = 0;
	struct hn_decision d;
	size_t nr = 0;

	for (uint32_t n = first; n < next; n++) {
		struct thread *t;
		uint64_t ms, span;

		if (!hn_record_read(r, n, &d) || d.outcome == HN_FAULT_DEMOTED) /* no thread's */
			continue;
		ms = d.time_ns / 1000000;
		if (!start_ms)
			start_ms = ms;
		span = now_ms > start_ms ? now_ms - start_ms + 1 : 1;
		t = thread_of(list, &nr, d.tid);
		ms = ms < start_ms ? 0 : ms - start_ms;
		if (t)
			thread_count(t, &d, (int)(ms < span ? ms * HN_TOP_STRIP / span : HN_TOP_STRIP - 1));
	}
	return nr;
}

/* What the engine has added up about it. */
static void add_sums(struct hn_top_row *row, const struct hn_seen *seen, uint32_t tid)
{
	const struct hn_record *r = seen->p.record;
	const struct hn_thread_row *t = NULL;

	for (uint32_t i = 0; i < r->nr_threads && !t; i++)
		if (r->thread[i].tid == tid)
			t = &r->thread[i];
	cell_node(&row->cell[7], &seen->run->machine, t ? t->preferred : HN_NO_NODE);
	cell_share(&row->cell[8], t ? t->shared_lately : 0, t ? (uint64_t)t->own_lately + t->shared_lately : 0);
	if (t && t->group)
		cell_count(&row->cell[9], t->group);
	else
		snprintf(row->cell[9].text, sizeof(row->cell[9].text), "-");
}

static void add_thread(struct hn_top_table *table, const struct hn_seen *seen, const struct thread *t)
{
	struct hn_top_row *row = row_add(table, t->tid);
	char path[80], name[32] = "";

	if (!row)
		return;
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task/%" PRIu32 "/comm", seen->p.here, t->tid);
	hn_read_text(path, name, sizeof(name));
	cell_count(&row->cell[0], t->tid);
	cell_text(&row->cell[1], name[0] ? name : "(ended)");
	cell_node(&row->cell[2], &seen->run->machine, t->node);
	cell_count(&row->cell[3], t->samples);
	cell_share(&row->cell[4], t->local, t->samples);
	cell_count(&row->cell[5], t->moved);
	cell_tenths(&row->cell[6], (double)t->ns / 1e6);
	add_sums(row, seen, t->tid);
	strip_text(&t->strip, row->strip);
}

static bool add_threads(struct hn_top_table *table, const struct hn_seen *seen, uint64_t now_ms)
{
	struct thread *list;
	size_t nr;

	if (!seen->p.record)
		return true;
	list = calloc(THREADS_MAX, sizeof(*list));
	if (!list)
		return false;
	nr = threads_collect(seen->p.record, list, now_ms);
	for (size_t i = 0; i < nr; i++)
		add_thread(table, seen, &list[i]);
	free(list);
	return true;
}

/* ---- nodes and regions ---- */

static void add_nodes(struct hn_top_table *table, const struct hn_seen *seen)
{
	const struct hn_record *r = seen->p.record;

	for (uint32_t i = 0; r && i < seen->run->machine.nr_nodes; i++) {
		const struct hn_node_row *n = &r->node[i];
		struct hn_top_row *row = row_add(table, i);

		if (!row)
			return;
		cell_node(&row->cell[0], &seen->run->machine, (int)i);
		cell_count(&row->cell[1], n->pages * (HN_PAGE_SIZE >> 20));
		cell_count(&row->cell[2], n->samples);
		cell_share(&row->cell[3], n->local, n->samples);
		cell_count(&row->cell[4], n->migrated_to);
		cell_count(&row->cell[5], n->migrated_from);
		strip_of(&seen->p, 0, ~(hn_addr)0, i < r->heat.nodes ? (int)i : -1, row->strip);
	}
}

static int main_user(const struct hn_region_row *r, uint32_t nr_nodes)
{
	int best = HN_NO_NODE;

	for (uint32_t n = 0; n < nr_nodes; n++)
		if (r->from[n] && (best < 0 || r->from[n] > r->from[best]))
			best = (int)n;
	return best;
}

static void add_regions(struct hn_top_table *table, const struct hn_seen *seen)
{
	const struct hn_record *r = seen->p.record;

	for (uint32_t i = 0; r && i < r->nr_regions; i++) {
		const struct hn_region_row *g = &r->region[i];
		struct hn_top_row *row = row_add(table, g->start);

		if (!row)
			return;
		snprintf(row->cell[0].text, sizeof(row->cell[0].text), "0x%" PRIx64, g->start);
		row->cell[0].value = (double)g->start;
		cell_count(&row->cell[1], (g->end - g->start) >> 20);
		cell_count(&row->cell[2], g->pages);
		cell_share(&row->cell[3], g->local, g->local + g->remote);
		cell_share(&row->cell[4], g->recent_local, (uint64_t)g->recent_local + g->recent_remote);
		cell_count(&row->cell[5], g->local + g->remote);
		cell_count(&row->cell[6], g->migrated);
		cell_node(&row->cell[7], &seen->run->machine, main_user(g, seen->run->machine.nr_nodes));
		strip_of(&seen->p, g->start, g->end, -1, row->strip);
	}
}

/* ---- sorting ---- */

struct order {
	unsigned column;
	int sign;
};

static int compare(const void *a, const void *b, void *arg)
{
	const struct hn_top_row *x = a, *y = b;
	const struct order *o = arg;
	const struct hn_top_cell *c = &x->cell[o->column], *d = &y->cell[o->column];
	int r = c->is_text ? strcmp(c->text, d->text) : (c->value > d->value) - (c->value < d->value);

	return r ? r * o->sign : (x->key > y->key) - (x->key < y->key);
}

static const struct hn_seen *seen_of(const struct hn_top *t, uint32_t pid)
{
	for (size_t i = 0; i < t->nr_seen; i++)
		if (t->seen[i].p.pid == pid)
			return &t->seen[i];
	return NULL;
}

bool hn_top_has(const struct hn_top *t, uint32_t pid) { return seen_of(t, pid) != NULL; }

static bool fill(const struct hn_top *t, enum hn_top_screen screen, const struct hn_seen *seen,
		 struct hn_top_table *table)
{
	switch (screen) {
	case HN_TOP_THREADS: return add_threads(table, seen, t->now_ms);
	case HN_TOP_NODES: add_nodes(table, seen); return true;
	case HN_TOP_REGIONS: add_regions(table, seen); return true;
	default:
		for (size_t i = 0; i < t->nr_seen; i++)
			add_process(table, t, &t->seen[i]);
		return true;
	}
}

bool hn_top_table(const struct hn_top *t, enum hn_top_screen screen, uint32_t pid, unsigned sort, bool reverse,
		  struct hn_top_table *table)
{
	const struct hn_seen *seen = screen == HN_TOP_PROCESSES ? NULL : seen_of(t, pid);
	struct order o = { sort, (hn_top_biggest_first(screen, sort) ? -1 : 1) * (reverse ? -1 : 1) };

	*table = (struct hn_top_table){ 0 };
	table->column = hn_top_columns(screen, &table->nr_columns);
	if (screen == HN_TOP_PROCESSES)
		snprintf(table->title, sizeof(table->title), "hugenuma top: %zu process%s", t->nr_seen,
			 t->nr_seen == 1 ? "" : "es");
	else if (seen)
		snprintf(table->title, sizeof(table->title), "hugenuma top: %s of %s (pid %" PRIu32 ")%s%s",
			 hn_top_screen_names[screen], seen->p.comm, pid, seen->slot ? "" : ", ended",
			 seen->p.record ? "" : ", no record");
	else
		return false;
	if (!fill(t, screen, seen, table))
		return false;
	if (table->nr)
		qsort_r(table->row, table->nr, sizeof(*table->row), compare, &o);
	return true;
}

void hn_top_table_fini(struct hn_top_table *table)
{
	free(table->row);
	*table = (struct hn_top_table){ 0 };
}

/* ---- text ---- */

void hn_top_heading(const struct hn_top_table *table, char *buf, size_t len)
{
	size_t at = 0;

	buf[0] = 0;
	for (unsigned i = 0; i < table->nr_columns && at < len; i++)
		at += (size_t)snprintf(buf + at, len - at, "%*s  ", table->column[i].width, table->column[i].name);
	if (at < len)
		snprintf(buf + at, len - at, "TIME ->");
}

void hn_top_line(const struct hn_top_table *table, size_t row, char *buf, size_t len)
{
	const struct hn_top_row *r = &table->row[row];
	size_t at = 0;

	buf[0] = 0;
	for (unsigned i = 0; i < table->nr_columns && at < len; i++)
		at += (size_t)snprintf(buf + at, len - at, "%*s  ", table->column[i].width, r->cell[i].text);
	if (at < len)
		snprintf(buf + at, len - at, "%s", r->strip);
}
