// SPDX-License-Identifier: MIT
/*
 * report.c - a trace in columns, one for each actor, time going down; and schedules as strings.
 */
#include "check/report.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2u          /* between columns */
#define MIN_COLUMN 12u
#define INDENT 2u       /* of what does not fit into the first line */
#define MAX_ROWS 60u    /* of an execution without end */

/* ---- schedules ---- */

void ck_schedule_text(const struct ck_violation *v, char *text, size_t bytes)
{
	uint32_t i, n;
	size_t at = 0;

	text[0] = 0;
	for (i = 0; i < v->nr_steps; i += n) {
		for (n = 1; i + n < v->nr_steps && v->schedule[i + n] == v->schedule[i]; n++)
			;
		if (at < bytes)
			at += (size_t)snprintf(text + at, bytes - at, n > 1 ? "%c%u" : "%c", 'a' + v->schedule[i], n);
	}
}

int ck_schedule_parse(const char *text, uint32_t nr_actors, uint8_t *schedule, uint32_t *nr)
{
	const char *p = text;
	uint32_t steps = 0;

	while (*p) {
		uint32_t actor = (uint32_t)(*p - 'a');
		unsigned long n = 1;

		*nr = (uint32_t)(p - text);
		if (*p < 'a' || actor >= nr_actors)
			return -1;
		if (isdigit((unsigned char)*++p))
			n = strtoul(p, (char **)(uintptr_t)&p, 10);
		if (n == 0 || n > CK_MAX_STEPS - steps)
			return -1;
		memset(schedule + steps, (int)actor, n);
		steps += (uint32_t)n;
	}
	*nr = steps;
	return 0;
}

/* ---- columns ---- */

struct column {
	bool used;
	uint32_t natural, width; /* of its longest text; of the column */
};

struct layout {
	const struct ck *k;
	FILE *f;
	bool all;
	uint32_t first, last; /* used columns */
	struct column column[CK_MAX_ACTORS];
};

static bool is_shown(const struct layout *y, uint32_t i) { return y->k->line[i].text[0] && (y->all || !y->k->line[i].minor); }

static void measure(struct layout *y)
{
	uint32_t i;

	for (i = 0; i < y->k->nr_lines; i++) {
		const struct ck_trace_line *l = &y->k->line[i];
		struct column *c = &y->column[l->actor];
		uint32_t len = (uint32_t)strlen(l->text);

		if (!is_shown(y, i))
			continue;
		if (!c->used)
			c->natural = (uint32_t)strlen(y->k->actor[l->actor].name);
		c->used = true;
		if (c->natural < len)
			c->natural = len;
	}
}

/* Columns that need less than their share leave the rest to the others. */
static void share_width(struct layout *y, uint32_t width)
{
	uint32_t a, left = 0, room, nr = 0;
	bool again = true;

	for (a = 0; a < CK_MAX_ACTORS; a++)
		nr += y->column[a].used;
	left = nr;
	room = nr * (MIN_COLUMN + GAP) > width ? nr * MIN_COLUMN : width - (nr ? nr - 1 : 0) * GAP;
	while (again && left) {
		uint32_t fair = room / left;

		again = false;
		for (a = 0; a < CK_MAX_ACTORS; a++) {
			struct column *c = &y->column[a];

			if (!c->used || c->width || c->natural > fair)
				continue;
			c->width = c->natural;
			room -= c->width;
			left--;
			again = true;
		}
	}
	for (a = 0; a < CK_MAX_ACTORS; a++)
		if (y->column[a].used && !y->column[a].width)
			y->column[a].width = room / left;
}

static void pad(FILE *f, uint32_t n) { fprintf(f, "%*s", (int)n, ""); }

static uint32_t offset_of(const struct layout *y, uint32_t actor)
{
	uint32_t a, at = 0;

	for (a = 0; a < actor; a++)
		if (y->column[a].used)
			at += y->column[a].width + GAP;
	return at;
}

/* How much of the text goes on a line of so many characters: whole words, if any word fits. */
static uint32_t fits(const char *text, uint32_t width)
{
	uint32_t n, len = (uint32_t)strlen(text);

	if (len <= width)
		return len;
	for (n = width; n > 0 && text[n] != ' '; n--)
		;
	return n ? n : width;
}

static void print_line(const struct layout *y, const struct ck_trace_line *l)
{
	uint32_t at = offset_of(y, l->actor), indent = 0;
	const char *p = l->text;

	while (*p) {
		uint32_t n = fits(p, y->column[l->actor].width - indent);

		pad(y->f, at + indent);
		fprintf(y->f, "%.*s\n", (int)n, p);
		for (p += n; *p == ' '; p++)
			;
		indent = INDENT;
	}
}

static void print_heading(const struct layout *y)
{
	uint32_t a, i;

	for (a = y->first; a <= y->last; a++) {
		if (y->column[a].used)
			fprintf(y->f, "%-*.*s%s", a == y->last ? 0 : (int)y->column[a].width,
				(int)y->column[a].width, y->k->actor[a].name, a == y->last ? "\n" : "  ");
	}
	for (a = y->first; a <= y->last; a++) {
		for (i = 0; y->column[a].used && i < y->column[a].width; i++)
			fputc('-', y->f);
		if (y->column[a].used)
			fputs(a == y->last ? "\n" : "  ", y->f);
	}
}

void ck_print_trace(FILE *f, const struct ck *k, uint32_t width, bool all)
{
	struct layout y = { .k = k, .f = f, .all = all };
	bool endless = !all && k->nr_steps >= CK_MAX_STEPS - 1;
	uint32_t i, rows = 0;

	measure(&y);
	share_width(&y, width);
	for (y.first = 0; y.first < CK_MAX_ACTORS - 1 && !y.column[y.first].used; y.first++)
		;
	for (y.last = CK_MAX_ACTORS - 1; y.last > y.first && !y.column[y.last].used; y.last--)
		;
	if (!y.column[y.first].used)
		return;
	print_heading(&y);
	for (i = 0; i < k->nr_lines && !(endless && rows == MAX_ROWS); i++) {
		if (is_shown(&y, i))
			print_line(&y, &k->line[i]);
		rows += is_shown(&y, i);
	}
	if (endless)
		fprintf(f, "... and so on\n");
}

void ck_print_violation(FILE *f, const struct ck *k, const struct ck_violation *v, uint32_t preemptions)
{
	char schedule[CK_SCHEDULE_BYTES];

	ck_schedule_text(v, schedule, sizeof(schedule));
	fprintf(f, "\nI%d violated: %s\n", v->invariant, v->text);
	fprintf(f, "%u steps, %u preemption%s; again with\n", v->nr_steps, preemptions, preemptions == 1 ? "" : "s");
	/* A schedule counts steps, so it holds for one way to treat locks. */
	fprintf(f, "  hugenuma check %s %s--replay %s\n", k->scenario->name,
		k->lock_steps == k->scenario->lock_steps ? "" : k->lock_steps ? "--locks=steps " : "--locks=shipped ", schedule);
}

const char *ck_verdict_name(const struct ck_result *r, const struct ck_options *o)
{
	switch (r->verdict) {
	case CK_HOLDS: return o->bound >= 0 && r->count.bounded ? "holds within the bound" : "holds";
	case CK_VIOLATED: return "VIOLATED";
	case CK_UNFINISHED: return "unfinished";
	case CK_FAILED: break;
	}
	return "no memory";
}
