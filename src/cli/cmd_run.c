// SPDX-License-Identifier: MIT
#include "cli/args.h"
#include "cli/cli.h"
#include "control/launch.h"
#include "control/machine.h"
#include "control/recorder.h"
#include "control/run.h"
#include "control/say.h"
#include "control/settings.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Option keys. One for each setting, in the order of their table; none is a character, so none has a short form but -q. */
enum {
	KEY_SETTING = 0x100,
	KEY_TOPOLOGY = 0x400,
	KEY_SET,
	KEY_PROGRESS,
	KEY_REPORT,
	KEY_RECORD,
	KEY_RECORD_MAX_MIB,
	KEY_QUIET = 'q',
};

static const struct argp_option plain_options[] = {
	{ "topology", KEY_TOPOLOGY, "STRING|FILE.xml", 0,
	  "balance over virtual nodes: an hwloc synthetic description or an XML file of lstopo (default: the real nodes; "
	  "\"" HN_DEFAULT_TOPOLOGY "\" where there is only one)", 1 },
	{ "set", KEY_SET, "KEY=VALUE", 0, "set anything by its name in configuration files; `hugenuma ctl' lists them", 2 },
	{ "progress", KEY_PROGRESS, NULL, 0, "print a line a second on standard error, also with --quiet", 3 },
	{ "report", KEY_REPORT, "FILE.json", 0, "write everything counted to this file at the end (docs/report.md in " HN_DOC_DIR ")", 3 },
	{ "record", KEY_RECORD, "FILE", 0,
	  "write decisions and counters to this file as they are made (docs/record-format.md in " HN_DOC_DIR ")", 3 },
	{ "record-max-mib", KEY_RECORD_MAX_MIB, "N", 0,
	  "keep this file below N MiB: the older half of it makes room (4..1024, default 64)", 3 },
	{ "quiet", KEY_QUIET, NULL, 0, "print errors only, no table at the end", 3 },
};

/* ---- parsing values ---- */

/* A switch needs no value. */
static void parse_setting(struct argp_state *state, struct hn_config *c, const struct hn_setting *s, const char *arg)
{
	char expected[320];

	if (hn_setting_parse(s, c, arg ? arg : "on"))
		return;
	hn_setting_expected(s, expected, sizeof(expected));
	argp_error(state, "--%s: '%s': expected %s", s->option, arg, expected);
}

static void parse_assignment(struct argp_state *state, struct hn_config *c, const char *arg)
{
	char err[512];

	if (hn_settings_assign(c, arg, err, sizeof(err)) != 0)
		argp_error(state, "--set: %s", err);
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
	case KEY_SET:
		parse_assignment(state, &o->config, arg);
		return 0;
	case KEY_PROGRESS:
		o->progress = true;
		return 0;
	case KEY_REPORT:
		parse_text(state, &o->report, "report", "a file name", arg);
		return 0;
	case KEY_RECORD:
		parse_text(state, &o->record, "record", "a file name", arg);
		return 0;
	case KEY_RECORD_MAX_MIB:
		o->record_max_mib = (uint32_t)hn_arg_number(state, "record-max-mib", arg, HN_RECORD_MIN_MIB, HN_RECORD_MAX_MIB);
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

	if (key >= KEY_SETTING && key < KEY_SETTING + (int)hn_nr_settings)
		parse_setting(state, &o->config, &hn_settings[key - KEY_SETTING], arg);
	else
		return run_parse_plain(key, arg, state);
	return 0;
}

/* ---- the option table for argp ---- */

#define MAX_SETTINGS 64
#define NR(array) (sizeof(array) / sizeof((array)[0]))

struct option_table {
	struct argp_option option[MAX_SETTINGS + NR(plain_options) + 1];
	struct {
		char doc[512];
		char value[96];
	} text[MAX_SETTINGS];
};

/* "copy|kernel" */
static void option_words(char *buf, size_t len, const struct hn_setting *s, const char *between)
{
	const char *word;
	size_t at = 0;

	for (unsigned w = 0; at < len && (word = hn_setting_word(s, w)); w++)
		at += (size_t)snprintf(buf + at, len - at, "%s%s", w ? between : "", word);
}

static void option_from_setting(struct option_table *t, struct argp_option *to, unsigned i, const struct hn_config *defaults)
{
	const struct hn_setting *s = &hn_settings[i];
	char standard[32], names[160], *value = t->text[i].value, *doc = t->text[i].doc;

	*to = (struct argp_option){ s->option, KEY_SETTING + (int)i, value, 0, doc, 2 };
	hn_setting_text(s, defaults, standard, sizeof(standard));
	if (s->kind == HN_SETTING_SWITCH) {
		strcpy(value, "on|off");
		to->flags = OPTION_ARG_OPTIONAL;
		snprintf(doc, sizeof(t->text[i].doc), "%s", s->doc);
	} else if (s->kind == HN_SETTING_NODES) {
		strcpy(value, "LIST");
		snprintf(doc, sizeof(t->text[i].doc), "%s (default %s)", s->doc, standard);
	} else if (s->kind == HN_SETTING_POLICY) {
		/* too many for the column of options */
		strcpy(value, "NAME|FILE.so");
		option_words(names, sizeof(names), s, ", ");
		snprintf(doc, sizeof(t->text[i].doc), "%s; NAME: %s (default %s)", s->doc, names, standard);
	} else if (s->kind == HN_SETTING_CHOICE) {
		option_words(value, sizeof(t->text[i].value), s, "|");
		snprintf(doc, sizeof(t->text[i].doc), "%s (default %s)", s->doc, standard);
	} else {
		strcpy(value, "N");
		snprintf(doc, sizeof(t->text[i].doc), "%s, %" PRIu64 "..%" PRIu64 "%s%s (default %s)", s->doc, s->min, s->max,
			 *s->unit ? " " : "", s->unit, standard);
	}
}

static void option_table_fill(struct option_table *t)
{
	struct argp_option *to = t->option;
	struct hn_config defaults;

	memset(t, 0, sizeof(*t));
	hn_config_defaults(&defaults);
	for (unsigned i = 0; i < NR(plain_options); i++)
		*to++ = plain_options[i];
	for (unsigned i = 0; i < hn_nr_settings && i < MAX_SETTINGS; i++)
		option_from_setting(t, to++, i, &defaults);
}

static const char run_doc[] =
	"Run PROGRAM and balance its huge pages, and those of its children, over the NUMA nodes.\v"
	"The program is not changed; it must be dynamically linked. Whatever goes wrong with balancing, the program runs "
	"on, a line says why, and the exit status is the program's.\n\n"
	"Exit status: that of PROGRAM; 128 + N when signal N ended it; 125 when hugenuma itself failed and PROGRAM was "
	"not started, 126 when PROGRAM cannot be executed, 127 when it cannot be found.\n\n"
	"Signals: HUP, INT, QUIT, TERM, USR1, USR2, ALRM, PWR, WINCH and real-time signals sent by kill(2) are passed on to "
	"PROGRAM; those of the terminal reach it by themselves, and hugenuma waits for it to end. Before PROGRAM is started "
	"any of them ends hugenuma, but for WINCH.\n\n"
	"Files: /etc/hugenuma.conf and ~/.config/hugenuma.conf, lines KEY = VALUE; `hugenuma ctl' lists the keys.\n\n"
	"Environment: each setting as HUGENUMA_ and its key in capitals (scan.period_ms is HUGENUMA_SCAN_PERIOD_MS); "
	"HUGENUMA_CONFIG names a file to read instead of the two, or none when empty; HUGENUMA_AGENT names the agent library "
	"to load instead of the one installed; HUGENUMA_POLICIES a folder of policies (NAME.so) instead of the one installed. The command line goes before the environment, that before the files.";

int hn_cmd_run(int argc, char **argv)
{
	struct hn_run_options o = { .record_max_mib = HN_RECORD_DEFAULT_MIB };
	struct option_table table;
	struct argp argp = { table.option, run_parse, "PROGRAM [ARGUMENT...]", run_doc, NULL, NULL, NULL };
	char err[512];
	int status, sig;

	option_table_fill(&table);
	hn_config_defaults(&o.config);
	if (hn_settings_load(&o.config, err, sizeof(err)) != 0) {
		hn_say("%s", err);
		return HUGENUMA_EXIT_FAILED;
	}
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &o) != 0 || !o.argv)
		return HUGENUMA_EXIT_FAILED;
	status = hn_run(&o, &sig);
	if (sig)
		hn_signal_die(sig);
	return status;
}
