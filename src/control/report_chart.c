// SPDX-License-Identifier: MIT
#include "control/report_chart.h"

#include "control/say.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Units of the drawings; they are stretched. */
#define WIDTH 1000.0
#define HEIGHT 100.0
#define HEAT_ROW 10.0

void hn_html_text(FILE *out, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<': fputs("&lt;", out); break;
		case '>': fputs("&gt;", out); break;
		case '&': fputs("&amp;", out); break;
		case '"': fputs("&quot;", out); break;
		case '\'': fputs("&#39;", out); break;
		default: fputc((unsigned char)*s < ' ' || *s == 127 ? '?' : *s, out);
		}
	}
}

static void note(FILE *out, const char *text) { fprintf(out, "<p class=\"note\">%s</p>\n", text); }

/* ---- the frame: labels left of and below a drawing ---- */

static void frame_begin(FILE *out, const char *what, const char *top, const char *middle, const char *bottom,
			double height, double margin, const char *class)
{
	fprintf(out,
		"<div class=\"chart %s\"><div class=\"y\"><span>%s</span><span>%s</span><span>%s</span></div>"
		"<svg viewBox=\"0 %g %g %g\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s\">\n",
		class, top, middle, bottom, -margin, WIDTH, height + 2 * margin, what);
}

static void frame_end(FILE *out, const char *left, const char *middle, const char *right)
{
	fprintf(out, "</svg><div class=\"x\"><span>%s</span><span>%s</span><span>%s</span></div></div>\n", left, middle,
		right);
}

static void frame_end_time(FILE *out, uint64_t ms)
{
	char middle[32], right[32];

	snprintf(middle, sizeof(middle), "%.*f s", ms < 20000 ? 1 : 0, (double)ms / 2e3);
	snprintf(right, sizeof(right), "%.*f s", ms < 20000 ? 1 : 0, (double)ms / 1e3);
	frame_end(out, "0 s", middle, right);
}

static void grid(FILE *out, double height)
{
	for (int i = 1; i < 4; i++)
		fprintf(out, "<path class=\"grid\" d=\"M0 %gH%g\"/>\n", height * i / 4, WIDTH);
}

/* ---- the series ---- */

static uint64_t last_ms(const json_t *series)
{
	return hn_get_count(json_array_get(series, json_array_size(series) - 1), "time_ms");
}

static uint64_t grown(const json_t *series, size_t i, const char *key)
{
	uint64_t now = hn_get_count(json_array_get(series, i), key);
	uint64_t before = i ? hn_get_count(json_array_get(series, i - 1), key) : 0;

	return now > before ? now - before : 0;
}

/* A step for each stretch of the series that has samples; where there were none the line is broken. */
void hn_chart_local(FILE *out, const json_t *p)
{
	const json_t *series = hn_get_array(p, "series");
	size_t nr = json_array_size(series);
	uint64_t end = nr ? last_ms(series) : 0, drawn = 0;
	bool begun = false;

	if (!end || !hn_get_count(p, "samples_count")) {
		note(out, "no samples");
		return;
	}
	frame_begin(out, "Local share over time", "100 %", "50 %", "0 %", HEIGHT, 4, "");
	grid(out, HEIGHT);
	fputs("<path class=\"line\" d=\"", out);
	for (size_t i = 0; i < nr; i++) {
		uint64_t samples = grown(series, i, "samples_count"), local = grown(series, i, "local_count");
		uint64_t from = i ? hn_get_count(json_array_get(series, i - 1), "time_ms") : 0;
		uint64_t to = hn_get_count(json_array_get(series, i), "time_ms");
		double y;

		if (!samples || to > end || from > to)
			continue;
		if (local > samples)
			local = samples;
		y = HEIGHT * (1 - (double)local / (double)samples);
		fprintf(out, "%c%.1f %.1fH%.1f", begun && drawn == from ? 'L' : 'M', WIDTH * (double)from / (double)end,
			y, WIDTH * (double)to / (double)end);
		begun = true;
		drawn = to;
	}
	fputs("\"/>\n", out);
	frame_end_time(out, end);
}

void hn_chart_migrations(FILE *out, const json_t *p)
{
	const json_t *series = hn_get_array(p, "series");
	size_t nr = json_array_size(series);
	uint64_t end = nr ? last_ms(series) : 0;
	double most = 0;
	char top[32];

	for (size_t i = 1; i < nr; i++) {
		uint64_t ms = grown(series, i, "time_ms");
		double rate = ms ? (double)grown(series, i, "migrated_pages") * 1e3 / (double)ms : 0;

		most = rate > most ? rate : most;
	}
	if (!end || most <= 0) {
		note(out, "no migrations");
		return;
	}
	snprintf(top, sizeof(top), "%.0f/s", most);
	frame_begin(out, "Pages migrated a second", top, "", "0", HEIGHT, 0, "low");
	for (size_t i = 1; i < nr; i++) {
		uint64_t from = hn_get_count(json_array_get(series, i - 1), "time_ms"),
			 ms = grown(series, i, "time_ms");
		double h = ms ? (double)grown(series, i, "migrated_pages") * 1e3 / (double)ms / most * HEIGHT : 0;

		if (h > 0 && from + ms <= end)
			fprintf(out, "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
				WIDTH * (double)from / (double)end, HEIGHT - h, WIDTH * (double)ms / (double)end, h);
	}
	frame_end_time(out, end);
}

/* ---- heat maps ---- */

struct heat {
	const json_t *rows;
	size_t nr_rows, points;
	uint64_t row_bytes, ms;
};

/* Colour of a cell as text, "" for none; what it says when pointed at. */
typedef void (*colour_fn)(const json_t *row, size_t point, char *colour, size_t len, char *text, size_t text_len);

static bool heat_of(const json_t *p, struct heat *h)
{
	const json_t *heat = json_object_get(p, "heat");

	h->rows = hn_get_array(heat, "rows");
	h->nr_rows = json_array_size(h->rows);
	h->points = hn_get_count(heat, "points_count");
	h->row_bytes = hn_get_count(heat, "row_bytes");
	h->ms = hn_get_count(heat, "step_ms") * h->points;
	return h->nr_rows && h->nr_rows <= HN_HEAT_ROWS && h->points && h->points <= HN_HEAT_POINTS && h->ms;
}

static uint64_t row_start(const json_t *row) { return strtoull(hn_get_text(row, "start"), NULL, 16); }

static uint64_t cell_sum(const json_t *row, size_t point, size_t *best)
{
	const json_t *cell = json_array_get(hn_get_array(row, "samples_from_node_count"), point);
	uint64_t sum = 0, most = 0;

	*best = 0;
	for (size_t n = 0; n < json_array_size(cell) && n < HN_MAX_NODES; n++) {
		uint64_t v = hn_get_at(cell, n);

		sum += v;
		if (v > most) {
			most = v;
			*best = n;
		}
	}
	return sum;
}

/* Red where all is remote, blue where all is local; told apart by eyes that mix up red and green too. */
static void colour_of_share(double share, char *buf, size_t len)
{
	static const int stop[4][3] = { { 178, 24, 43 }, { 244, 165, 130 }, { 146, 197, 222 }, { 33, 102, 172 } };
	double at = (double)(int)(share * 10 + 0.5) / 10 * 3;
	int i = at >= 3 ? 2 : (int)at;

	at -= i;
	snprintf(buf, len, "#%02x%02x%02x", (int)(stop[i][0] + at * (stop[i + 1][0] - stop[i][0])) & 255,
		 (int)(stop[i][1] + at * (stop[i + 1][1] - stop[i][1])) & 255,
		 (int)(stop[i][2] + at * (stop[i + 1][2] - stop[i][2])) & 255);
}

static void colour_of_node(size_t n, char *buf, size_t len)
{
	static const char *const known[] = { "#0072b2", "#e69f00", "#009e73", "#cc79a7",
					     "#56b4e9", "#d55e00", "#f0e442", "#555555" };

	if (n < sizeof(known) / sizeof(known[0]))
		snprintf(buf, len, "%s", known[n]);
	else
		snprintf(buf, len, "hsl(%zu 60%% %zu%%)", n * 47 % 360, 35 + n * 13 % 35);
}

static void local_cell(const json_t *row, size_t point, char *colour, size_t len, char *text, size_t text_len)
{
	uint64_t local = hn_get_at(hn_get_array(row, "local_count"), point), sum;
	size_t best;

	sum = cell_sum(row, point, &best);
	if (!sum)
		return;
	if (local > sum)
		local = sum;
	colour_of_share((double)local / (double)sum, colour, len);
	snprintf(text, text_len, "%" PRIu64 " of %" PRIu64 " local", local, sum);
}

static void node_cell(const json_t *row, size_t point, char *colour, size_t len, char *text, size_t text_len)
{
	size_t best;
	uint64_t sum = cell_sum(row, point, &best);

	if (!sum)
		return;
	colour_of_node(best, colour, len);
	snprintf(text, text_len, "most of %" PRIu64 " samples from node no. %zu", sum, best);
}

/* Neighbours in time that look the same are one rectangle. */
static void heat_row(FILE *out, const struct heat *h, size_t i, colour_fn fn)
{
	const json_t *row = json_array_get(h->rows, i);
	char colour[32], next[32], text[64];
	double step = WIDTH / (double)h->points;
	size_t from = 0;

	for (size_t p = 0; p < h->points; p = from) {
		colour[0] = text[0] = 0;
		fn(row, p, colour, sizeof(colour), text, sizeof(text));
		for (from = p + 1; from < h->points; from++) {
			char rest[64];

			next[0] = 0;
			fn(row, from, next, sizeof(next), rest, sizeof(rest));
			if (strcmp(next, colour) != 0)
				break;
		}
		if (colour[0])
			fprintf(out,
				"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
				"fill=\"%s\"><title>0x%" PRIx64 ": %s%s</title></rect>\n",
				(double)p * step, (double)i * HEAT_ROW, (double)(from - p) * step + 0.3, HEAT_ROW + 0.2,
				colour, row_start(row), from > p + 1 ? "at first " : "", text);
	}
}

static void put_heat(FILE *out, const json_t *p, const char *what, colour_fn fn)
{
	char first[32], last[32];
	struct heat h;

	if (!heat_of(p, &h)) {
		note(out, "no samples");
		return;
	}
	snprintf(first, sizeof(first), "0x%" PRIx64, row_start(json_array_get(h.rows, 0)));
	snprintf(last, sizeof(last), "0x%" PRIx64, row_start(json_array_get(h.rows, h.nr_rows - 1)));
	fprintf(out, "<p class=\"from\">%s &ndash; %s, %" PRIu64 " MiB a row</p>\n", first, h.nr_rows > 1 ? last : "",
		h.row_bytes >> 20);
	frame_begin(out, what, "low", "", "high", (double)h.nr_rows * HEAT_ROW, 0, h.nr_rows > 8 ? "heat" : "heat few");
	for (size_t i = 0; i < h.nr_rows; i++) {
		const json_t *row = json_array_get(h.rows, i);

		heat_row(out, &h, i, fn);
		/* a line where addresses are not neighbours */
		if (i && row_start(row) != row_start(json_array_get(h.rows, i - 1)) + h.row_bytes)
			fprintf(out, "<path class=\"gap\" d=\"M0 %gH%g\"/>\n", (double)i * HEAT_ROW, WIDTH);
	}
	frame_end_time(out, h.ms);
}

void hn_chart_heat_local(FILE *out, const json_t *p)
{
	char colour[32];

	put_heat(out, p, "Local share by place and time", local_cell);
	fputs("<p class=\"legend\">local: ", out);
	for (int i = 0; i <= 4; i++) {
		colour_of_share(i / 4.0, colour, sizeof(colour));
		fprintf(out, "<span><i style=\"background:%s\"></i>%d %%</span> ", colour, i * 25);
	}
	fputs("<span><i class=\"none\"></i>no samples</span></p>\n", out);
}

void hn_chart_heat_nodes(FILE *out, const json_t *report, const json_t *p)
{
	size_t nr = hn_get_nr_nodes(report);
	char colour[32];

	put_heat(out, p, "Node that used the place most, over time", node_cell);
	fputs("<p class=\"legend\">used from: ", out);
	for (size_t i = 0; i < nr; i++) {
		colour_of_node(i, colour, sizeof(colour));
		fprintf(out, "<span><i style=\"background:%s\"></i>node %" PRIu64 "</span> ", colour,
			hn_get_node_name(report, i));
	}
	fputs("</p>\n", out);
}

/* ---- stalls ---- */

#define FIRST_POWER 10 /* 1 us */
#define LAST_POWER 30  /* 1 s */

static void by_power(const json_t *times, uint64_t *count)
{
	const json_t *buckets = hn_get_array(times, "buckets");

	for (size_t i = 0; i < json_array_size(buckets); i++) {
		const json_t *b = json_array_get(buckets, i);
		uint64_t ns = hn_get_count(b, "from_ns");
		int power = ns ? 63 - __builtin_clzll(ns) : 0;

		power = power < FIRST_POWER ? FIRST_POWER : power > LAST_POWER ? LAST_POWER : power;
		count[power] += hn_get_count(b, "faults_count");
	}
}

/* From 1 us to 1 s, a bar for each doubling; high bars are logarithms, so that one long stall among thousands is seen. */
static double bar_height(uint64_t n, uint64_t most)
{
	double bits = 0, all = 0;

	for (uint64_t v = n; v; v >>= 1)
		bits++;
	for (uint64_t v = most; v; v >>= 1)
		all++;
	return all > 0 ? HEIGHT * bits / all : 0;
}

static void put_bars(FILE *out, const uint64_t *count, uint64_t most, const char *class, double from, double width)
{
	double step = WIDTH / (LAST_POWER - FIRST_POWER + 1);

	for (int i = FIRST_POWER; i <= LAST_POWER; i++) {
		double h = bar_height(count[i], most);

		if (count[i])
			fprintf(out,
				"<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
				"height=\"%.1f\"><title>%" PRIu64 " from %s</title></rect>\n",
				class, (i - FIRST_POWER + from) * step, HEIGHT - h, step * width, h, count[i],
				hn_text_ns((uint64_t)1 << i).s);
	}
}

void hn_chart_stalls(FILE *out, const json_t *p)
{
	uint64_t all[64] = { 0 }, moved[64] = { 0 }, most = 0;
	char top[32];

	by_power(json_object_get(p, "fault_service"), all);
	by_power(json_object_get(p, "migration_stall"), moved);
	for (int i = 0; i < 64; i++)
		most = all[i] > most ? all[i] : moved[i] > most ? moved[i] : most;
	if (!most) {
		note(out, "no hint faults");
		return;
	}
	snprintf(top, sizeof(top), "%" PRIu64, most);
	frame_begin(out, "How long threads waited", top, "", "0", HEIGHT, 0, "low");
	put_bars(out, all, most, "bar", 0.08, 0.42);
	put_bars(out, moved, most, "bar moved", 0.5, 0.42);
	frame_end(out, "1 &micro;s", "1 ms", "1 s");
	fputs("<p class=\"legend\"><span><i class=\"all\"></i>all hint faults</span> <span><i "
	      "class=\"moved\"></i>those that moved "
	      "their page</span> (height: logarithmic)</p>\n",
	      out);
}
