// SPDX-License-Identifier: MIT
/* cmd_record.c - `hugenuma record PID...`: write down what is decided about processes that run already. */
#include "cli/args.h"
#include "cli/cli.h"
#include "control/record_attached.h"
#include "control/run.h"
#include "control/say.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>

#define MAX_PIDS 64

struct wish {
	struct hn_record_options options;
	uint32_t pid[MAX_PIDS];
};

enum { KEY_MAX_MIB = 1000, KEY_SECONDS };

static const struct argp_option options[] = {
	{ "output", 'o', "FILE", 0, "The recording (default hugenuma.PID.rec, with the first PID)", 0 },
	{ "record-max-mib", KEY_MAX_MIB, "N", 0,
	  "Keep the file below N MiB: the older half of it makes room (4..1024, default 64)", 0 },
	{ "seconds", KEY_SECONDS, "N", 0, "End after N seconds, 1..31536000 (default: with the processes)", 0 },
	{ "quiet", 'q', NULL, 0, "Print errors only", 0 },
	{ 0 },
};

static error_t record_parse(int key, char *arg, struct argp_state *state)
{
	struct wish *w = state->input;
	struct hn_record_options *o = &w->options;

	switch (key) {
	case 'o':
		if (!*arg)
			argp_error(state, "--output: '': expected a file name");
		o->path = arg;
		return 0;
	case KEY_MAX_MIB:
		o->max_mib = (uint32_t)hn_arg_number(state, "record-max-mib", arg, HN_RECORD_MIN_MIB, HN_RECORD_MAX_MIB);
		return 0;
	case KEY_SECONDS: o->seconds = (uint32_t)hn_arg_number(state, "seconds", arg, 1, 31536000); return 0;
	case 'q': o->quiet = true; return 0;
	case ARGP_KEY_ARG:
		if (o->nr_pids == MAX_PIDS)
			argp_error(state, "'%s': expected at most %d PIDs", arg, MAX_PIDS);
		w->pid[o->nr_pids++] = hn_arg_pid(state, "", arg);
		return 0;
	case ARGP_KEY_NO_ARGS: argp_error(state, "expected a PID"); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp record_argp = {
	.options = options,
	.parser = record_parse,
	.args_doc = "PID...",
	.doc = "Write every decision about the pages of managed processes to a file, with all counters now and then, until "
	       "the processes have ended, or SIGINT, SIGTERM or SIGHUP comes. The processes are not disturbed.\v"
	       "PID is that of a managed process, or of a `hugenuma run': then of all its processes. Several must be of one "
	       "run.\n\n"
	       "`hugenuma report FILE' and `hugenuma explain FILE ADDRESS' read the recording, on any machine; "
	       "`hugenuma run --record FILE' records from the beginning. A FILE that is there is overwritten only if it is a "
	       "recording, or empty.\n\n"
	       "Exit status: 0; 1 when there is no such process, or the recording could not be written; 125 for bad usage.",
};

int hn_cmd_record(int argc, char **argv)
{
	struct wish w = { .options = { .max_mib = HN_RECORD_DEFAULT_MIB } };
	char name[64];

	if (argp_parse(&record_argp, argc, argv, 0, NULL, &w) != 0)
		return HUGENUMA_EXIT_FAILED;
	w.options.pid = w.pid;
	snprintf(name, sizeof(name), "hugenuma.%" PRIu32 ".rec", w.pid[0]);
	if (!w.options.path)
		w.options.path = name;
	return hn_record_attached(&w.options);
}
