// SPDX-License-Identifier: MIT
/*
 * run.h - run a program under the agent: from the command line's wishes to the exit status.
 */
#ifndef HN_CONTROL_RUN_H
#define HN_CONTROL_RUN_H

#include "agent/layout.h"
#include "control/ledger.h"
#include "hugenuma.h"

/* The exit status of a program that a signal ended; our own failures are in hugenuma.h. */
#define HN_EXIT_SIGNAL_BASE 128 /* + signal number */

struct hn_run_options {
	struct hn_config config; /* see settings.h */
	const char *topology; /* NULL: this machine */
	const char *report;   /* NULL: none */
	const char *record;   /* NULL: none */
	uint32_t record_max_mib;
	bool progress;
	bool quiet;
	char **argv;          /* the program and its arguments, NULL-terminated */
};

/* A run that has ended, for the table and the report. Nothing in it is owned. */
struct hn_run_result {
	const struct hn_run_options *options;
	const struct hn_machine *machine;
	const struct hn_ledger *ledger;
	uint64_t start_unix_ms;
	uint64_t elapsed_ms;
	uint32_t nr_loaded;  /* exec images the agent library was loaded into */
	uint32_t nr_missed;  /* processes that found no free slot */
	uint32_t nr_filtered; /* processes not looked at because of a system call filter */
	uint32_t nr_unreadable; /* processes that could not be looked at: no access to their own /proc/self/pagemap */
	int status;          /* exit status of the program, 128 + n when signal n ended it */
};

/* Run o->argv. Returns the exit status for the shell; *sig is the signal that has ended the program, or us before it, or 0. */
int hn_run(const struct hn_run_options *o, int *sig);

#endif
