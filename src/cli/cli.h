// SPDX-License-Identifier: MIT
/*
 * cli.h - the commands. Each parses its own arguments with argp; argv[0] is "hugenuma COMMAND", for messages.
 * A command returns the exit status; usage errors end the program with 125, and so does output that cannot be written: main
 * sees to that at exit, and a command looks only where it would go on printing. `check' is executed in our place and has
 * statuses of its own.
 */
#ifndef HN_CLI_CLI_H
#define HN_CLI_CLI_H

#include <stdbool.h>

/* Flush standard output. False when it, or anything before, could not be written; main will say so at exit. */
bool hn_output_arrives(void);

int hn_cmd_run(int argc, char **argv);
int hn_cmd_doctor(int argc, char **argv);
int hn_cmd_check(int argc, char **argv);
int hn_cmd_list(int argc, char **argv);
int hn_cmd_pause(int argc, char **argv);
int hn_cmd_resume(int argc, char **argv);
int hn_cmd_stop(int argc, char **argv);
int hn_cmd_ctl(int argc, char **argv);
int hn_cmd_explain(int argc, char **argv);
int hn_cmd_report(int argc, char **argv);
int hn_cmd_record(int argc, char **argv);
int hn_cmd_top(int argc, char **argv);
int hn_cmd_advise(int argc, char **argv);
int hn_cmd_metrics(int argc, char **argv);
int hn_cmd_serve(int argc, char **argv);

#endif
