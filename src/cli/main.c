// SPDX-License-Identifier: MIT
#include "cli/cli.h"
#include "control/run.h"
#include "control/say.h"
#include "control/version.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *argp_program_version = "hugenuma " HN_VERSION;

static int cmd_help(int argc, char **argv);

static const struct command {
	const char *name;
	const char *title; /* argv[0] of the command, shown in usage and errors */
	int (*main)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{ "run", "hugenuma run", hn_cmd_run, "run a program and balance its huge pages" },
	{ "list", "hugenuma list", hn_cmd_list, "show the managed processes" },
	{ "record", "hugenuma record", hn_cmd_record, "write down what is decided, to look at later or elsewhere" },
	{ "explain", "hugenuma explain", hn_cmd_explain, "say why a page is where it is" },
	{ "top", "hugenuma top", hn_cmd_top, "show the managed processes as they run" },
	{ "report", "hugenuma report", hn_cmd_report, "show what was done, by node, region and time" },
	{ "advise", "hugenuma advise", hn_cmd_advise, "say where each region had better be" },
	{ "metrics", "hugenuma metrics", hn_cmd_metrics, "print counters for Prometheus" },
	{ "serve", "hugenuma serve", hn_cmd_serve, "answer with them over HTTP" },
	{ "pause", "hugenuma pause", hn_cmd_pause, "put every page of a process back and wait" },
	{ "resume", "hugenuma resume", hn_cmd_resume, "go on balancing a process" },
	{ "stop", "hugenuma stop", hn_cmd_stop, "put everything back; the program goes on without balancing" },
	{ "ctl", "hugenuma ctl", hn_cmd_ctl, "show and change settings of a running process" },
	{ "doctor", "hugenuma doctor", hn_cmd_doctor, "say what this machine and this user can do" },
	{ "check", "hugenuma check", hn_cmd_check, "explore the protocol in every order of steps" },
	{ "help", "hugenuma help", cmd_help, "show the options of a command" },
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* Called with key ARGP_KEY_HELP_POST_DOC and the like: the list of commands comes from the table. */
static char *main_help_filter(int key, const char *text, void *input)
{
	char *list;
	size_t len;
	FILE *f;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	f = open_memstream(&list, &len);
	if (!f)
		return (char *)text;
	fprintf(f, "Commands:\n");
	for (size_t i = 0; i < NR_COMMANDS; i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fprintf(f, "\n`hugenuma help COMMAND' shows the options of a command.");
	return fclose(f) == 0 ? list : (char *)text;
}

struct chosen {
	const struct command *command;
	int argc;
	char **argv;
};

/* Everything after the command's name is the command's. */
static error_t main_parse(int key, char *arg, struct argp_state *state)
{
	struct chosen *chosen = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		chosen->command = command_find(arg);
		if (!chosen->command)
			argp_error(state, "'%s': no such command", arg);
		else
			chosen->argv = state->argv + state->next - 1;
		chosen->argc = state->argc - state->next + 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "expected a command");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp main_argp = {
	.parser = main_parse,
	.args_doc = "COMMAND [ARGUMENT...]",
	.doc = "Automatic NUMA balancing of transparent huge pages, for one program, in user space.\v ",
	.help_filter = main_help_filter,
};

static char own_name[] = "hugenuma";

/* As argp ends what it says of the other commands' usage. */
static int help_misused(void)
{
	argp_help(&main_argp, stderr, ARGP_HELP_SEE, own_name);
	return HUGENUMA_EXIT_FAILED;
}

static int cmd_help(int argc, char **argv)
{
	static char help_option[] = "--help";
	char *help_argv[] = { argv[0], help_option, NULL };
	const struct command *c;

	if (argc > 2) {
		fprintf(stderr, "%s: expected one command\n", argv[0]);
		return help_misused();
	}
	c = argc == 2 ? command_find(argv[1]) : NULL;
	if (argc == 2 && !c && strcmp(argv[1], help_option) != 0) {
		fprintf(stderr, "%s: '%s': no such command\n", argv[0], argv[1]);
		return help_misused();
	}
	if (!c || c->main == cmd_help) {
		argp_help(&main_argp, stdout, ARGP_HELP_STD_HELP & ~(unsigned)ARGP_HELP_EXIT_OK, own_name);
		return 0;
	}
	help_argv[0] = (char *)c->title;
	return c->main(2, help_argv);
}

/* A file of ours must not get the number of a stream that is closed; the program is to find it closed all the same. */
static void fill_closed_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static int output_errno; /* of the first time that something could not be written; 0: not known */

bool hn_output_arrives(void)
{
	bool failed = ferror(stdout) != 0;

	errno = 0;
	failed |= fflush(stdout) != 0;
	if (failed && !output_errno)
		output_errno = errno;
	return !failed;
}

/*
 * What was printed must have arrived, whoever ends us: argp does after --help. At exit, so that no command has to look; its
 * own status would say less than that its result is not there.
 */
static void close_output(void)
{
	bool arrived = hn_output_arrives();

	if (fclose(stdout) != 0 && arrived) {
		output_errno = errno;
		arrived = false;
	}
	if (arrived)
		return;
	hn_say("cannot write the result%s%s", output_errno ? ": " : "", output_errno ? strerror(output_errno) : "");
	_exit(HUGENUMA_EXIT_FAILED);
}

int main(int argc, char **argv)
{
	struct chosen chosen = { 0 };

	fill_closed_streams();
	atexit(close_output);

	argp_err_exit_status = HUGENUMA_EXIT_FAILED;
	if (argp_parse(&main_argp, argc, argv, ARGP_IN_ORDER, NULL, &chosen) != 0 || !chosen.command)
		return HUGENUMA_EXIT_FAILED;
	chosen.argv[0] = (char *)chosen.command->title;
	return chosen.command->main(chosen.argc, chosen.argv);
}
