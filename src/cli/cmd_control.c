// SPDX-License-Identifier: MIT
/* cmd_control.c - `hugenuma list`, `pause`, `resume`, `stop`: managed processes from outside. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/targets.h"
#include "control/names.h"
#include "control/run.h"
#include "control/say.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- list ---- */

static error_t list_parse(int key, char *arg, struct argp_state *state)
{
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	argp_error(state, "'%s': expected no argument", arg);
	return 0;
}

static const struct argp list_argp = {
	.parser = list_parse,
	.doc = "List the processes under `hugenuma run': those of this user, or everybody's for root.\v"
	       "LOCAL is the share of sampled accesses from the page's own node lately. Shared memory that is not "
	       "what it ought to be (somebody else's, open to others, a link) is named and not looked at.\n\n"
	       "Exit status: 0, also when there is none; 125 when the list could not be made.",
};

static void list_line(const struct hn_target *t)
{
	struct hn_process p;
	const char *mode;

	hn_process_read(&p, t->slot, true);
	mode = p.slot.state.v == HN_SLOT_UNMANAGED ? "unmanaged" : hn_mode_name(p.slot.mode.v);
	printf("%7" PRIu32 "  %-15s  %-9s  %6u  %9" PRIu64 "  %7s  %9" PRIu64 "  %8.1f\n", t->pid, p.comm, mode,
	       (unsigned)t->run->machine.nr_nodes, p.slot.stats.managed_pages * (HN_PAGE_SIZE >> 20),
	       hn_text_share(p.shares.end_local, p.shares.end_samples).s, p.slot.stats.migrated,
	       (double)p.elapsed_ms / 1e3);
}

int hn_cmd_list(int argc, char **argv)
{
	struct hn_attached a = { 0 };
	struct hn_target *t;
	size_t nr = 0;

	if (argp_parse(&list_argp, argc, argv, 0, NULL, NULL) != 0)
		return HUGENUMA_EXIT_FAILED;
	t = hn_targets_find(&a, 0, &nr);
	if (t) {
		printf("%7s  %-15s  %-9s  %6s  %9s  %7s  %9s  %8s\n", "PID", "COMMAND", "STATE", "NODES", "HUGE MiB",
		       "LOCAL", "MIGRATED", "SECONDS");
		for (size_t i = 0; i < nr; i++)
			list_line(&t[i]);
		hn_attach_say_refused(&a);
	}
	hn_attach_close(&a);
	free(t);
	return t ? 0 : HUGENUMA_EXIT_FAILED;
}

/* ---- pause, resume, stop ---- */

/* True when the process does as it was told, or has ended. */
static bool order_one(const struct hn_target *t, uint32_t mode)
{
	uint32_t pid = t->pid;
	int err;

	if (hn_load_acquire(&t->slot->state) != HN_SLOT_LIVE)
		return true;
	err = hn_attach_order(t, mode, HN_PATIENCE_MS);
	if (err == -ETIMEDOUT)
		hn_say_no_answer(pid);
	else if (err == 0)
		printf("%" PRIu32 ": %s\n", pid, hn_mode_done_text(mode));
	return err != -ETIMEDOUT;
}

static int order_all(int argc, char **argv, const struct argp *argp, uint32_t mode)
{
	struct hn_attached a = { 0 };
	struct hn_target *t;
	uint32_t pid = 0;
	size_t nr = 0;
	bool good = true;

	if (argp_parse(argp, argc, argv, 0, NULL, &pid) != 0)
		return HUGENUMA_EXIT_FAILED;
	t = hn_targets_find(&a, pid, &nr);
	for (size_t i = 0; t && i < nr; i++)
		good &= order_one(&t[i], mode);
	if (t && nr == 0)
		hn_say_no_process(&a, pid);
	hn_attach_close(&a);
	free(t);
	if (!t)
		return HUGENUMA_EXIT_FAILED;
	return nr && good ? 0 : 1;
}

#define ORDER_STATUS                                                                                       \
	"\v"                                                                                               \
	"PID is that of a managed process, or of a `hugenuma run': then it is for all its processes.\n\n" \
	"Exit status: 0 when it was done; 1 when there is no such process or it did not answer; 125 for bad usage."

int hn_cmd_pause(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = hn_arg_one_pid,
		.args_doc = "PID",
		.doc = "Put every page of a process back and leave them alone until `hugenuma resume'." ORDER_STATUS,
	};

	return order_all(argc, argv, &argp, HN_MODE_PAUSED);
}

int hn_cmd_resume(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = hn_arg_one_pid,
		.args_doc = "PID",
		.doc = "Balance again after `hugenuma pause' or `hugenuma stop'." ORDER_STATUS,
	};

	return order_all(argc, argv, &argp, HN_MODE_RUNNING);
}

int hn_cmd_stop(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = hn_arg_one_pid,
		.args_doc = "PID",
		.doc = "Stop balancing a process: every page is put back, its memory is the kernel's again, with the memory policy it "
		       "had. The program goes on. `hugenuma resume' begins anew." ORDER_STATUS,
	};

	return order_all(argc, argv, &argp, HN_MODE_STOPPED);
}
