// SPDX-License-Identifier: MIT
/* cmd_report.c - `hugenuma report PID|FILE`: what was done, by node, by region and over time. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/targets.h"
#include "control/report_view.h"
#include "control/run.h"
#include "control/say.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV, FORMAT_HTML, NR_FORMATS };

static const char *const format_names[NR_FORMATS] = { "text", "json", "csv", "html" };

struct wish {
	enum format format;
	const char *what;
};

enum { KEY_FORMAT = 1000 };

static const struct argp_option options[] = {
	{ "format", KEY_FORMAT, "text|json|csv|html", 0, "How to print it (default text)", 0 },
	{ 0 },
};

static error_t report_parse(int key, char *arg, struct argp_state *state)
{
	struct wish *w = state->input;

	switch (key) {
	case KEY_FORMAT:
		for (w->format = 0; w->format < NR_FORMATS; w->format++)
			if (strcmp(arg, format_names[w->format]) == 0)
				return 0;
		argp_error(state, "--format: '%s': expected text, json, csv or html", arg);
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			argp_error(state, "'%s': expected one PID or FILE", arg);
		w->what = arg;
		return 0;
	case ARGP_KEY_NO_ARGS: argp_error(state, "expected a PID or a FILE"); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp report_argp = {
	.options = options,
	.parser = report_parse,
	.args_doc = "PID|FILE",
	.doc = "Show what was done for a process: memory, samples and migrations by node with totals, regions, times, "
	       "the latest "
	       "decisions.\v"
	       "PID is that of a managed process, or of a `hugenuma run': then of all its processes. A process that "
	       "has ended is found "
	       "as long as its run goes on. FILE is a report that `hugenuma run --report' wrote, or a recording (the last report in it). What consists of "
	       "digits only is a "
	       "PID; ./FILE is a file in any case.\n\n"
	       "MiB are 2^20 bytes. `managed huge' is the agent's count of the huge pages it manages. Of a living "
	       "process the kernel's "
	       "own counts are beside it (numa_maps, smaps_rollup).\n\n"
	       "Exit status: 0; 1 when there is no such process or file; 125 for bad usage.",
};

static json_t *report_of_pid(uint32_t pid)
{
	struct hn_attached a = { 0 };
	struct hn_seen *seen = NULL;
	json_t *report = NULL;
	size_t nr, same = 0;

	if (hn_attach(&a) != 0)
		hn_say("out of memory");
	nr = hn_seen_find(&a, pid, &seen);
	/* a pid may be in two runs only when one of them is over */
	while (same < nr && seen[same].run == seen[0].run)
		same++;
	if (nr)
		report = hn_report_of(seen, same);
	else
		hn_say_no_process(&a, pid);
	hn_seen_free(seen, nr);
	hn_attach_close(&a);
	return report;
}

static json_t *report_find(const char *what)
{
	char err[1024];
	json_t *report;

	if (*what && strspn(what, "0123456789") == strlen(what))
		return strlen(what) <= 10 && strtoull(what, NULL, 10) - 1 < INT32_MAX
			       ? report_of_pid((uint32_t)strtoul(what, NULL, 10))
			       : report_of_pid(UINT32_MAX);
	report = hn_report_load(what, err, sizeof(err));
	if (!report)
		hn_say("%s", err);
	return report;
}

int hn_cmd_report(int argc, char **argv)
{
	struct wish w = { FORMAT_TEXT, NULL };
	json_t *report;

	if (argp_parse(&report_argp, argc, argv, 0, NULL, &w) != 0)
		return HUGENUMA_EXIT_FAILED;
	report = report_find(w.what);
	if (!report)
		return 1;
	switch (w.format) {
	case FORMAT_JSON:
		json_dumpf(report, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
		fputc('\n', stdout);
		break;
	case FORMAT_CSV: hn_report_csv(stdout, report); break;
	case FORMAT_HTML: hn_report_html(stdout, report); break;
	default: hn_report_text(stdout, report); break;
	}
	json_decref(report);
	return 0;
}
