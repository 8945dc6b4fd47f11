// SPDX-License-Identifier: MIT
/* cmd_ctl.c - `hugenuma ctl`: settings of running processes, and what settings there are. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/targets.h"
#include "control/machine.h"
#include "control/nodes.h"
#include "control/run.h"
#include "control/say.h"
#include "control/settings.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGS 64

struct ctl {
	uint32_t pid; /* 0: none given */
	bool set;
	const char *arg[MAX_ARGS];
	unsigned nr_args;
};

static void parse_verb(struct ctl *c, struct argp_state *state, const char *arg)
{
	c->set = strcmp(arg, "set") == 0;
	if (!c->set && strcmp(arg, "get") != 0)
		argp_error(state, "'%s': expected get or set", arg);
}

static error_t ctl_parse(int key, char *arg, struct argp_state *state)
{
	struct ctl *c = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			c->pid = hn_arg_pid(state, "", arg);
		else if (state->arg_num == 1)
			parse_verb(c, state, arg);
		else if (state->arg_num > 1 && c->nr_args < MAX_ARGS)
			c->arg[c->nr_args++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (state->arg_num == 1)
			argp_error(state, "expected get or set after the PID");
		if (c->set && c->nr_args == 0)
			argp_error(state, "expected KEY=VALUE after set");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp ctl_argp = {
	.parser = ctl_parse,
	.args_doc = "[PID get [KEY...]]\nPID set KEY=VALUE...",
	.doc = "Show or change the settings of a running process; without arguments, list all settings.\v"
	       "PID is that of a managed process, or of a `hugenuma run': then it is for all its processes.\n\n"
	       "Exit status: 0; 1 when there is no such process, no such setting, a bad value, or one that cannot be changed while "
	       "a process runs: then nothing is changed; 125 for bad usage.",
};

/* ---- listing ---- */

static void ctl_list(void)
{
	struct hn_config c;
	char value[HN_PLUGIN_PATH], expected[320];

	hn_config_defaults(&c);
	for (unsigned i = 0; i < hn_nr_settings; i++) {
		const struct hn_setting *s = &hn_settings[i];

		hn_setting_text(s, &c, value, sizeof(value));
		hn_setting_expected(s, expected, sizeof(expected));
		printf("%s = %s\n    %s\n    --%s: %s%s\n", s->key, value, s->doc, s->option, expected,
		       s->live ? "; can be changed at run time" : "");
	}
}

/* ---- getting ---- */

static int get_one(const struct hn_setting *s, const struct hn_config *c)
{
	char value[HN_PLUGIN_PATH];

	hn_setting_text(s, c, value, sizeof(value));
	printf("%s = %s\n", s->key, value);
	return 0;
}

static int ctl_get(const struct ctl *ctl, const struct hn_config *c)
{
	for (unsigned i = 0; i < hn_nr_settings && ctl->nr_args == 0; i++)
		get_one(&hn_settings[i], c);
	for (unsigned i = 0; i < ctl->nr_args; i++) {
		const struct hn_setting *s = hn_setting_find(ctl->arg[i]);

		if (!s) {
			hn_say("'%s': no such setting; `hugenuma ctl' lists them", ctl->arg[i]);
			return 1;
		}
		get_one(s, c);
	}
	return 0;
}

/* ---- setting ---- */

/* Everything is looked at before anything is changed. */
static int ctl_check(const struct ctl *ctl, struct hn_config *c)
{
	struct hn_config before;
	char err[512];

	for (unsigned i = 0; i < ctl->nr_args; i++) {
		before = *c;
		if (hn_settings_assign(c, ctl->arg[i], err, sizeof(err)) != 0) {
			hn_say("%s", err);
			return 1;
		}
		for (unsigned k = 0; k < hn_nr_settings; k++) {
			const struct hn_setting *s = &hn_settings[k];

			if (!s->live && hn_setting_get(s, c) != hn_setting_get(s, &before)) {
				hn_say("%s: cannot be changed while a process runs, only for `hugenuma run'", s->key);
				return 1;
			}
		}
	}
	return 0;
}

/* A copy: what is in shared memory may change, to anything. */
static struct hn_config ctl_config(const struct hn_target *t)
{
	struct hn_process p;

	hn_process_read(&p, t->slot, true);
	return p.slot.config;
}

/* Objects are loaded when a program starts, and then only. */
static int ctl_check_policy(const struct hn_config *c, const struct hn_target *t)
{
	struct hn_process p;

	hn_process_read(&p, t->slot, true);
	if (c->policy != HN_POLICY_PLUGIN || (p.slot.policy_name[0] && strcmp(c->plugin, p.slot.config.plugin) == 0))
		return 0;
	hn_say("policy.name: '%s': shared objects are loaded by `hugenuma run --policy' only; process %" PRIu32 " has %s",
	       c->plugin, p.pid, p.slot.policy_name[0] ? p.slot.config.plugin : "none");
	return 1;
}

static int ctl_check_threads(const struct hn_config *c, const struct hn_target *t)
{
	const char *why = c->move_threads ? hn_machine_pins_nothing(&t->run->machine) : NULL;

	if (!why)
		return 0;
	hn_say("move.threads: %s", why);
	return 1;
}

static int ctl_check_nodes(const struct hn_config *c, const struct hn_target *t)
{
	char err[512];

	if (c->nodes == ctl_config(t).nodes ||
	    hn_nodes_check(&t->run->machine, c->nodes, "node.allowed", err, sizeof(err)) == 0)
		return 0;
	hn_say("%s", err);
	return 1;
}

static int ctl_set(const struct ctl *ctl, const struct hn_target *t)
{
	struct hn_config c = ctl_config(t);
	int err;

	if (ctl_check(ctl, &c) != 0 || ctl_check_policy(&c, t) != 0 || ctl_check_threads(&c, t) != 0 || ctl_check_nodes(&c, t) != 0)
		return 1;
	err = hn_attach_configure(t, &c, HN_PATIENCE_MS);
	if (err == -ETIMEDOUT)
		hn_say_no_answer(t->pid);
	return err == -ETIMEDOUT;
}

static int ctl_targets(const struct ctl *ctl, const struct hn_target *t, size_t nr)
{
	int res = 0;

	for (size_t i = 0; i < nr && res == 0; i++) {
		struct hn_config c = ctl_config(&t[i]);

		if (hn_load_acquire(&t[i].slot->state) != HN_SLOT_LIVE)
			continue;
		if (!ctl->set && nr > 1)
			printf("# %" PRIu32 "\n", t[i].pid);
		res = ctl->set ? ctl_set(ctl, &t[i]) : ctl_get(ctl, &c);
	}
	return res;
}

static int ctl_process(const struct ctl *ctl)
{
	struct hn_attached a = { 0 };
	size_t nr = 0;
	struct hn_target *t = hn_targets_find(&a, ctl->pid, &nr);
	int res = t ? ctl_targets(ctl, t, nr) : HUGENUMA_EXIT_FAILED;

	if (t && nr == 0) {
		hn_say_no_process(&a, ctl->pid);
		res = 1;
	}
	hn_attach_close(&a);
	free(t);
	return res;
}

int hn_cmd_ctl(int argc, char **argv)
{
	struct ctl ctl = { 0 };

	if (argp_parse(&ctl_argp, argc, argv, 0, NULL, &ctl) != 0)
		return HUGENUMA_EXIT_FAILED;
	if (ctl.pid)
		return ctl_process(&ctl);
	ctl_list();
	return 0;
}
