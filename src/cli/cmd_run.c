// SPDX-License-Identifier: MIT
#include "cli/cli.h"
#include "control/machine.h"
#include "control/names.h"
#include "control/run.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Options whose value is a number: one row is range, default's place, and help. */
struct number {
	const char *name;
	const char *unit; /* as in "expected a whole number of ..." */
	size_t offset;    /* in struct hn_config */
	uint64_t min;
	uint64_t max;
	const char *doc;
};

static const struct number numbers[] = {
	{ "period-ms", "ms", offsetof(struct hn_config, period_ms), 1, 600000, "time between scan passes" },
	{ "window-mib", "MiB", offsetof(struct hn_config, window_mib), 2, 1048576, "memory armed per scan pass at most" },
	{ "handlers", "threads", offsetof(struct hn_config, handlers), 1, 16, "threads that serve faults, per process" },
	{ "max-armed-mib", "MiB", offsetof(struct hn_config, max_armed_mib), 2, 65536,
	  "memory armed at one time at most" },
	{ "min-mib", "MiB", offsetof(struct hn_config, min_mib), 2, 1048576,
	  "huge pages a process must have to be managed" },
	{ "seed", "", offsetof(struct hn_config, seed), 0, UINT32_MAX, "seed of --policy=random" },
};

/* Options whose value is one of a few words. */
struct choice {
	const char *name;
	size_t offset;
	const char *const *word;
	unsigned nr_words;
	const char *doc;
};

static const struct choice choices[] = {
	{ "mover", offsetof(struct hn_config, mover), hn_mover_names, 2,
	  "how pages migrate: by copying into a page of the target node, or by the kernel" },
	{ "arm", offsetof(struct hn_config, arm), hn_arm_names, 3,
	  "how pages are armed: moved aside, or protected in place (rwp), which takes Linux 7.3; auto: in place where the "
	  "kernel can" },
	{ "policy", offsetof(struct hn_config, policy), hn_policy_names, HN_NR_POLICIES,
	  "when pages migrate: after two samples in a row from the same node; observe judges and never moves; always, "
	  "alternate and random are for testing" },
	{ "initial-node", offsetof(struct hn_config, initial_node), hn_initial_node_names, 2,
	  "virtual nodes only: where pages are taken to lie at first, all on node 0 or spread by address" },
};

/* Options without a value that set a word of the configuration to 1. */
struct flag {
	const char *name;
	size_t offset;
	const char *doc;
};

static const struct flag flags[] = {
	{ "start-now", offsetof(struct hn_config, start_now),
	  "start the agent when a process starts, without waiting for huge pages" },
	{ "explicit-policy", offsetof(struct hn_config, explicit_policy),
	  "also manage memory that the program has given a memory policy of its own" },
};

#define NR(array) (sizeof(array) / sizeof((array)[0]))

/* Option keys. The tables above have a block each; none is a character, so none has a short form but -q. */
enum {
	KEY_NUMBER = 0x100,
	KEY_CHOICE = 0x200,
	KEY_FLAG = 0x300,
	KEY_TOPOLOGY = 0x400,
	KEY_PROGRESS,
	KEY_REPORT,
	KEY_QUIET = 'q',
};

static const struct argp_option plain_options[] = {
	{ "topology", KEY_TOPOLOGY, "STRING|FILE.xml", 0,
	  "balance over virtual nodes: an hwloc synthetic description or an XML file of lstopo (default: the real nodes; "
	  "\"" HN_DEFAULT_TOPOLOGY "\" where there is only one)", 1 },
	{ "progress", KEY_PROGRESS, NULL, 0, "print a line a second on standard error, also with --quiet", 3 },
	{ "report", KEY_REPORT, "FILE.json", 0, "write everything counted to this file at the end (docs/report.md)", 3 },
	{ "quiet", KEY_QUIET, NULL, 0, "print errors only, no table at the end", 3 },
};

static uint32_t *config_word(struct hn_config *c, size_t offset)
{
	return (uint32_t *)((char *)c + offset);
}

/* ---- parsing values ---- */

static void parse_number(struct argp_state *state, struct hn_config *c, const struct number *n, const char *arg)
{
	char *end = NULL;
	uint64_t v;

	errno = 0;
	v = strtoull(arg, &end, 10);
	/* strtoull takes blanks and signs as well */
	if (!isdigit((unsigned char)arg[0]) || *end || errno || v < n->min || v > n->max)
		argp_error(state, "--%s: '%s': expected a whole number%s%s from %" PRIu64 " to %" PRIu64, n->name, arg,
			   *n->unit ? " of " : "", n->unit, n->min, n->max);
	else
		*config_word(c, n->offset) = (uint32_t)v;
}

/* "a, b or c" */
static void words_text(char *buf, size_t len, const struct choice *c)
{
	size_t at = 0;

	buf[0] = 0;
	for (unsigned i = 0; i < c->nr_words && at < len; i++)
		at += (size_t)snprintf(buf + at, len - at, "%s%s", i == 0 ? "" : i + 1 < c->nr_words ? ", " : " or ",
				       c->word[i]);
}

static void parse_choice(struct argp_state *state, struct hn_config *config, const struct choice *c, const char *arg)
{
	char words[128];

	for (unsigned i = 0; i < c->nr_words; i++) {
		if (strcmp(arg, c->word[i]) == 0) {
			*config_word(config, c->offset) = i;
			return;
		}
	}
	words_text(words, sizeof(words), c);
	argp_error(state, "--%s: '%s': expected %s", c->name, arg, words);
}

static void parse_text(struct argp_state *state, const char **to, const char *name, const char *what, const char *arg)
{
	if (!*arg)
		argp_error(state, "--%s: '': expected %s", name, what);
	*to = arg;
}

/* A topology is parsed here only to refuse a bad one as what it is: an option with a bad value. */
static void parse_topology(struct argp_state *state, struct hn_run_options *o, const char *arg)
{
	struct hn_machine *m = malloc(sizeof(*m));
	char err[512];

	parse_text(state, &o->topology, "topology", "an hwloc synthetic description or an XML file", arg);
	if (m && hn_machine_build(m, arg, NULL, err, sizeof(err)) != 0)
		argp_error(state, "--topology: %s", err);
	free(m);
}

static error_t run_parse_plain(int key, char *arg, struct argp_state *state)
{
	struct hn_run_options *o = state->input;

	switch (key) {
	case KEY_TOPOLOGY:
		parse_topology(state, o, arg);
		return 0;
	case KEY_PROGRESS:
		o->progress = true;
		return 0;
	case KEY_REPORT:
		parse_text(state, &o->report, "report", "a file name", arg);
		return 0;
	case KEY_QUIET:
		o->quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		/* the program: what follows is its own, options included */
		o->argv = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "expected a program to run");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t run_parse(int key, char *arg, struct argp_state *state)
{
	struct hn_run_options *o = state->input;

	if (key >= KEY_NUMBER && key < KEY_NUMBER + (int)NR(numbers))
		parse_number(state, &o->config, &numbers[key - KEY_NUMBER], arg);
	else if (key >= KEY_CHOICE && key < KEY_CHOICE + (int)NR(choices))
		parse_choice(state, &o->config, &choices[key - KEY_CHOICE], arg);
	else if (key >= KEY_FLAG && key < KEY_FLAG + (int)NR(flags))
		*config_word(&o->config, flags[key - KEY_FLAG].offset) = 1;
	else
		return run_parse_plain(key, arg, state);
	return 0;
}

/* ---- the option table for argp ---- */

struct option_table {
	struct argp_option option[NR(numbers) + NR(choices) + NR(flags) + NR(plain_options) + 1];
	char text[NR(numbers) + NR(choices)][256];
	char words[NR(choices)][96];
};

static void option_from_number(struct argp_option *to, char *text, size_t len, unsigned i, struct hn_config *defaults)
{
	const struct number *n = &numbers[i];

	snprintf(text, len, "%s, %" PRIu64 "..%" PRIu64 "%s%s (default %" PRIu32 ")", n->doc, n->min, n->max,
		 *n->unit ? " " : "", n->unit, *config_word(defaults, n->offset));
	*to = (struct argp_option){ n->name, KEY_NUMBER + (int)i, "N", 0, text, 2 };
}

static void option_from_choice(struct option_table *t, struct argp_option *to, char *text, size_t len, unsigned i,
			       struct hn_config *defaults)
{
	const struct choice *c = &choices[i];
	size_t at = 0;

	snprintf(text, len, "%s (default %s)", c->doc, c->word[*config_word(defaults, c->offset)]);
	for (unsigned w = 0; w < c->nr_words; w++)
		at += (size_t)snprintf(t->words[i] + at, sizeof(t->words[i]) - at, "%s%s", w ? "|" : "", c->word[w]);
	*to = (struct argp_option){ c->name, KEY_CHOICE + (int)i, t->words[i], 0, text, 2 };
}

static void option_table_fill(struct option_table *t)
{
	struct argp_option *to = t->option;
	struct hn_config defaults;
	unsigned text = 0;

	memset(t, 0, sizeof(*t));
	hn_config_defaults(&defaults);
	for (unsigned i = 0; i < NR(plain_options); i++)
		*to++ = plain_options[i];
	for (unsigned i = 0; i < NR(numbers); i++, text++)
		option_from_number(to++, t->text[text], sizeof(t->text[text]), i, &defaults);
	for (unsigned i = 0; i < NR(choices); i++, text++)
		option_from_choice(t, to++, t->text[text], sizeof(t->text[text]), i, &defaults);
	for (unsigned i = 0; i < NR(flags); i++)
		*to++ = (struct argp_option){ flags[i].name, KEY_FLAG + (int)i, NULL, 0, flags[i].doc, 2 };
}

static const char run_doc[] =
	"Run PROGRAM and balance its huge pages, and those of its children, over the NUMA nodes.\v"
	"The program is not changed; it must be dynamically linked. Whatever goes wrong with balancing, the program runs "
	"on, a line says why, and the exit status is the program's.\n\n"
	"Exit status: that of PROGRAM; 128 + N when signal N ended it; 125 when hugenuma itself failed and PROGRAM was "
	"not started, 126 when PROGRAM cannot be executed, 127 when it cannot be found.\n\n"
	"Signals: TERM and HUP are passed on to PROGRAM; INT and QUIT reach it from the terminal by themselves, and "
	"hugenuma waits for it to end.\n\n"
	"Environment: HUGENUMA_AGENT names the agent library to load instead of the one installed.";

int hn_cmd_run(int argc, char **argv)
{
	struct hn_run_options o = { 0 };
	struct option_table table;
	struct argp argp = { table.option, run_parse, "PROGRAM [ARGUMENT...]", run_doc, NULL, NULL, NULL };

	hn_config_defaults(&o.config);
	option_table_fill(&table);
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &o) != 0 || !o.argv)
		return HUGENUMA_EXIT_FAILED;
	return hn_run(&o);
}
