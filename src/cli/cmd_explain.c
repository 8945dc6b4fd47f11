// SPDX-License-Identifier: MIT
/* cmd_explain.c - `hugenuma explain PID ADDRESS`: why is this page where it is? */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/targets.h"
#include "control/explain.h"
#include "control/proc.h"
#include "control/recording_view.h"
#include "control/run.h"
#include "control/say.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DECISIONS_MAX 64

struct wish {
	uint32_t pid;     /* 0: `file` */
	const char *file; /* a recording */
	hn_addr addr;
	uint32_t decisions;
};

enum { KEY_DECISIONS = 1000 };

static const struct argp_option options[] = {
	{ "decisions", KEY_DECISIONS, "N", 0, "Show the latest N decisions about the page, 1..64 (default 10)", 0 },
	{ 0 },
};

static hn_addr parse_addr(struct argp_state *state, const char *arg)
{
	hn_addr v;

	if (!hn_parse_address(arg, &v))
		argp_error(state, "'%s': expected an address in hexadecimal, below 0x800000000000", arg);
	return v;
}

static error_t explain_parse(int key, char *arg, struct argp_state *state)
{
	struct wish *w = state->input;

	switch (key) {
	case KEY_DECISIONS: w->decisions = (uint32_t)hn_arg_number(state, "decisions", arg, 1, DECISIONS_MAX); return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0 && strspn(arg, "0123456789") != strlen(arg))
			w->file = arg;
		else if (state->arg_num == 0)
			w->pid = hn_arg_pid(state, "", arg);
		else if (state->arg_num == 1)
			w->addr = parse_addr(state, arg);
		else
			argp_error(state, "'%s': expected a PID or a FILE, and one address", arg);
		return 0;
	case ARGP_KEY_END:
		if (state->arg_num < 2)
			argp_error(state, "expected a PID or a FILE, and an address");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp explain_argp = {
	.options = options,
	.parser = explain_parse,
	.args_doc = "PID ADDRESS\nFILE ADDRESS",
	.doc = "Say of the memory at ADDRESS in process PID whether it is managed, who touched it lately, what was "
	       "decided about it, "
	       "by which rule, and what would change that.\v"
	       "ADDRESS is hexadecimal, with or without 0x. FILE is what `hugenuma record' wrote, here or elsewhere: then it is "
	       "said what was decided. What consists of digits only is a PID; ./FILE is a file in any case. Of a process that has ended, as long as its `hugenuma run' "
	       "goes on, "
	       "the decisions on record are shown.\n\n"
	       "Exit status: 0 when the question was answered, whatever the answer; 1 when there is no such process or file, "
	       "or its agent "
	       "did not answer; 125 for bad usage.",
};

static int explain(const struct hn_seen *seen, const struct wish *w)
{
	struct hn_explanation e = { .seen = seen, .addr = w->addr };
	int err = hn_attach_ask(seen, w->addr, HN_PATIENCE_MS, &e.answer);

	e.answered = err == 0;
	e.mapped = seen->slot && hn_mapping_at(&e.mapping, seen->p.here, w->addr) == 0;
	e.now_ms = hn_now_ms();
	if (err == -ETIMEDOUT)
		hn_say("%" PRIu32 ": has not answered in %u s; this is what is on record", w->pid, HN_PATIENCE_MS / 1000);
	if (err == -ENOENT)
		hn_say("%" PRIu32 ": has no record: its agent found no memory for one, or came when %d others had theirs", w->pid,
		       HN_SHM_READY);
	if (seen->p.slot.state.v == HN_SLOT_UNMANAGED)
		hn_say("%" PRIu32 ": %s", w->pid, seen->p.slot.message);
	hn_explain_print(stdout, &e, w->decisions);
	return err == -ETIMEDOUT ? 1 : 0;
}

static int explain_file(const struct wish *w)
{
	char err[1024];

	if (hn_recording_explain(stdout, w->file, w->addr, w->decisions, err, sizeof(err)) == 0)
		return 0;
	hn_say("%s", err);
	return 1;
}

int hn_cmd_explain(int argc, char **argv)
{
	struct wish w = { .decisions = 10 };
	struct hn_attached a = { 0 };
	struct hn_seen *seen = NULL;
	int status = 1;
	size_t nr;

	if (argp_parse(&explain_argp, argc, argv, 0, NULL, &w) != 0)
		return HUGENUMA_EXIT_FAILED;
	if (w.file)
		return explain_file(&w);
	if (hn_attach(&a) != 0)
		hn_say("out of memory");
	nr = hn_seen_find(&a, w.pid, &seen);
	for (size_t i = 0; i < nr && status == 1; i++)
		if (seen[i].p.pid == w.pid)
			status = explain(&seen[i], &w);
	if (status == 1 && (!nr || seen[0].p.pid != w.pid)) {
		hn_attach_say_refused(&a);
		hn_say("%" PRIu32 ": no managed process has this PID; `hugenuma list' shows them", w.pid);
	}
	hn_seen_free(seen, nr);
	hn_attach_close(&a);
	return status;
}
