// SPDX-License-Identifier: MIT
/* cmd_top.c - `hugenuma top`: options, and the mode without a terminal; top_screen.c has the one with. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/top_screen.h"
#include "control/run.h"
#include "control/say.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { KEY_SCREEN = 1000, KEY_SORT };

static const struct argp_option options[] = {
	{ "batch", 'b', NULL, 0, "Print plain tables one after another, also on a terminal", 0 },
	{ "iterations", 'n', "N", 0,
	  "End after N tables, 1..1000000 (default: without end; 1 where there is no terminal)", 0 },
	{ "delay", 'd', "SECONDS", 0, "Time between two looks, 0.1..3600 s (default 2)", 0 },
	{ "pid", 'p', "PID", 0,
	  "The process to show threads, nodes or regions of, a managed one (default: the one with most huge pages)", 0 },
	{ "screen", KEY_SCREEN, "NAME", 0, "Begin with processes, threads, nodes or regions (default processes)", 0 },
	{ "sort", KEY_SORT, "COLUMN", 0, "Sort by the column of this name, as its heading has it", 0 },
	{ 0 },
};

static void parse_delay(struct argp_state *state, struct hn_top_wish *w, const char *arg)
{
	char *end = NULL;
	double v = strtod(arg, &end);

	if (arg[0] < '0' || arg[0] > '9' || *end || !(v >= 0.1 && v <= 3600))
		argp_error(state, "--delay: '%s': expected seconds from 0.1 to 3600", arg);
	w->delay_ms = (unsigned)(v * 1e3 + 0.5);
}

static void parse_screen(struct argp_state *state, struct hn_top_wish *w, const char *arg)
{
	for (unsigned i = 0; i < HN_TOP_SCREENS; i++)
		if (strcmp(arg, hn_top_screen_names[i]) == 0) {
			w->screen = (enum hn_top_screen)i;
			return;
		}
	argp_error(state, "--screen: '%s': expected processes, threads, nodes or regions", arg);
}

/* Known only when all options are read: the screen may come later. */
static void find_sort(struct argp_state *state, struct hn_top_wish *w)
{
	unsigned nr, i;
	const struct hn_top_column *c = hn_top_columns(w->screen, &nr);

	w->sort = hn_top_default_sort(w->screen);
	if (!w->sort_name)
		return;
	for (i = 0; i < nr && strcasecmp(c[i].name, w->sort_name) != 0; i++)
		;
	if (i == nr)
		argp_error(state, "--sort: '%s': screen `%s' has no such column", w->sort_name,
			   hn_top_screen_names[w->screen]);
	w->sort = i;
}

static error_t top_parse(int key, char *arg, struct argp_state *state)
{
	struct hn_top_wish *w = state->input;

	switch (key) {
	case 'b': w->batch = true; return 0;
	case 'n': w->iterations = (unsigned)hn_arg_number(state, "iterations", arg, 1, 1000000); return 0;
	case 'd': parse_delay(state, w, arg); return 0;
	case 'p': w->pid = hn_arg_pid(state, "--pid: ", arg); return 0;
	case KEY_SCREEN: parse_screen(state, w, arg); return 0;
	case KEY_SORT: w->sort_name = arg; return 0;
	case ARGP_KEY_ARG: argp_error(state, "'%s': expected no argument", arg); return 0;
	case ARGP_KEY_END: find_sort(state, w); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp top_argp = {
	.options = options,
	.parser = top_parse,
	.doc = "Show managed processes as they run; from one of them its threads, its nodes, its regions.\v"
	       "Keys: arrows select, Enter goes into a process, Escape or Backspace back; t threads, n nodes, r "
	       "regions, p processes; "
	       "< and > choose the column to sort by, i turns the order round; + and - change the delay; q ends.\n\n"
	       "LOCAL % is the share of samples from the page's own node. The strip at the end of a line shows it over "
	       "the life of the "
	       "process: # 90 % and more, + 60 %, - 30 %, . less, blank no samples; on the screen of nodes it is the "
	       "node's share of all "
	       "samples. SAMPLES/S and MIGR/S are since the look before. Threads are those of the latest 4096 "
	       "faults.\n\n"
	       "Where there is no terminal one plain table is printed.\n\n"
	       "Exit status: 0; 1 when --pid is no managed process, on any screen, or is none any more, and when a plain table "
	       "of threads, nodes or regions is wanted and no process is managed; 125 for bad usage, or when the "
	       "table cannot be written.",
};

uint32_t hn_top_biggest(const struct hn_top *t)
{
	const struct hn_seen *best = NULL;

	for (size_t i = 0; i < t->nr_seen; i++)
		if (!best || t->seen[i].p.slot.stats.managed_pages > best->p.slot.stats.managed_pages)
			best = &t->seen[i];
	return best ? best->p.pid : 0;
}

bool hn_top_say_missing(const struct hn_top *t, const struct hn_top_wish *w)
{
	if (w->pid && !hn_top_has(t, w->pid))
		hn_say("--pid: %" PRIu32 ": no managed process has this PID; `hugenuma list' shows them", w->pid);
	else if (!w->pid && !t->nr_seen && w->screen != HN_TOP_PROCESSES)
		hn_say("no managed process: start one with `hugenuma run'");
	else
		return false;
	return true;
}

/* The exit status, when it is not to go on; else 0. */
static int batch_print(const struct hn_top *t, const struct hn_top_wish *w)
{
	struct hn_top_table table;
	char line[256];

	if (hn_top_say_missing(t, w))
		return 1;
	if (!hn_top_table(t, w->screen, w->pid ? w->pid : hn_top_biggest(t), w->sort, false, &table)) {
		hn_say("out of memory");
		return HUGENUMA_EXIT_FAILED;
	}
	printf("%s\n", table.title);
	hn_top_heading(&table, line, sizeof(line));
	printf("%s\n", line);
	for (size_t i = 0; i < table.nr; i++) {
		hn_top_line(&table, i, line, sizeof(line));
		printf("%s\n", line);
	}
	hn_top_table_fini(&table);
	return hn_output_arrives() ? 0 : HUGENUMA_EXIT_FAILED;
}

static int batch_run(const struct hn_top_wish *w)
{
	struct timespec t = { w->delay_ms / 1000, (long)(w->delay_ms % 1000) * 1000000 };
	struct hn_top top = { 0 };
	int status = 0;

	for (unsigned i = 0; !status && (!w->iterations || i < w->iterations); i++) {
		struct hn_attached a = { 0 };

		if (i) {
			nanosleep(&t, NULL);
			printf("\n");
		}
		if (hn_attach(&a) == 0 && hn_top_refresh(&top, &a)) {
			status = batch_print(&top, w);
		} else {
			hn_say("out of memory");
			status = HUGENUMA_EXIT_FAILED;
		}
		for (size_t k = 0; k < top.nr_seen; k++)
			top.seen[k].run = NULL; /* goes with `a' */
		hn_attach_close(&a);
	}
	hn_top_fini(&top);
	return status;
}

int hn_cmd_top(int argc, char **argv)
{
	struct hn_top_wish w = { .delay_ms = 2000 };

	if (argp_parse(&top_argp, argc, argv, 0, NULL, &w) != 0)
		return HUGENUMA_EXIT_FAILED;
	if (!w.batch && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO)) {
		int status = hn_top_screen_run(&w);

		if (status >= 0)
			return status;
	}
	if (!w.batch && !w.iterations)
		w.iterations = 1;
	return batch_run(&w);
}
