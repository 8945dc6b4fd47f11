// SPDX-License-Identifier: MIT
#include "cli/cli.h"
#include "control/doctor.h"
#include "control/run.h"
#include "control/say.h"
#include "control/version.h"

#include <argp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCTOR_SCHEMA_VERSION 1

enum { KEY_JSON = 0x100 };

static const struct argp_option doctor_options[] = {
	{ "json", KEY_JSON, NULL, 0, "print JSON: would_manage, and checks with name, verdict, found, meaning, mend", 0 },
	{ 0 },
};

static error_t doctor_parse(int key, char *arg, struct argp_state *state)
{
	int *json = state->input;

	switch (key) {
	case KEY_JSON:
		*json = 1;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': expected no argument", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp doctor_argp = {
	.options = doctor_options,
	.parser = doctor_parse,
	.doc = "Say what this machine and this user can do, what it means, and how to mend what is missing.\v"
	       "Exit status: 0 when `hugenuma run' would manage a program here, 1 when it would not (a line says FAIL), "
	       "125 when the question could not be answered.",
};

#define INDENT 24
#define COLUMNS 100

/* prefix and text, broken between words, the second and later lines indented. */
static void print_wrapped(const char *prefix, const char *text)
{
	size_t column = INDENT + strlen(prefix);
	const char *blank = "";

	printf("%*s%s", INDENT, "", prefix);
	while (*text) {
		size_t word = strcspn(text, " ");

		if (*blank && column + strlen(blank) + word > COLUMNS) {
			printf("\n%*s", INDENT, "");
			column = INDENT;
			blank = "";
		}
		column += (size_t)printf("%s%.*s", blank, (int)word, text);
		blank = " ";
		text += word + strspn(text + word, " ");
	}
	putchar('\n');
}

static void print_text(const struct hn_doctor *d)
{
	for (unsigned i = 0; i < d->nr; i++) {
		const struct hn_check *c = &d->check[i];

		printf("%-4s  %-17s %s\n", hn_verdict_names[c->verdict], c->name, c->found);
		if (c->meaning)
			print_wrapped("", c->meaning);
		if (c->mend)
			print_wrapped("to mend: ", c->mend);
	}
	printf("\n`hugenuma run' %s\n",
	       hn_doctor_would_manage(d) ? "would manage a program here." :
					   "would not manage a program here: see FAIL above.");
}

static json_t *text_or_null(const char *s)
{
	return s ? json_string(s) : json_null();
}

static bool print_json(const struct hn_doctor *d)
{
	json_t *checks = json_array(), *root;

	for (unsigned i = 0; i < d->nr; i++) {
		const struct hn_check *c = &d->check[i];

		json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:o, s:o}", "name", c->name, "verdict",
							hn_verdict_names[c->verdict], "found", c->found, "meaning",
							text_or_null(c->meaning), "mend", text_or_null(c->mend)));
	}
	root = json_pack("{s:i, s:s, s:b, s:o}", "schema_version", DOCTOR_SCHEMA_VERSION, "hugenuma_version", HN_VERSION,
			 "would_manage", hn_doctor_would_manage(d), "checks", checks);
	if (!root)
		return false;
	json_dumpf(root, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(root);
	return true;
}

int hn_cmd_doctor(int argc, char **argv)
{
	struct hn_doctor *d = malloc(sizeof(*d));
	int json = 0, status = HUGENUMA_EXIT_FAILED;

	if (argp_parse(&doctor_argp, argc, argv, 0, NULL, &json) != 0 || !d) {
		free(d);
		return HUGENUMA_EXIT_FAILED;
	}
	hn_doctor_examine(d);
	if (!json)
		print_text(d);
	if (!json || print_json(d))
		status = hn_doctor_would_manage(d) ? 0 : 1;
	else
		hn_say("out of memory");
	free(d);
	return status;
}
