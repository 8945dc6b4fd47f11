// SPDX-License-Identifier: MIT
#include "control/run.h"

#include "control/launch.h"
#include "control/machine.h"
#include "control/nodes.h"
#include "control/plugin.h"
#include "control/probe.h"
#include "control/proc.h"
#include "control/progress.h"
#include "control/record_attached.h"
#include "control/recorder.h"
#include "control/report_json.h"
#include "control/say.h"
#include "control/shm.h"
#include "control/table.h"
#include "control/trust.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How often slots of ended processes are looked for. */
#define POLL_MS 200
#define ERROR_LEN 1024

struct run {
	const struct hn_run_options *options;
	struct hn_machine machine;
	struct hn_run_dir dir;
	struct hn_ledger ledger;
	struct hn_progress progress;
	struct hn_child child;
	struct hn_recorder recorder; /* where options->record is set */
	char agent[PATH_MAX];
	char report[PATH_MAX];
	unsigned real_nodes;
	uint64_t start_ms;
	uint64_t start_unix_ms;
};

/* Where nothing can be managed at all the agents say why; here only what was asked for and cannot be. */
static bool run_can_arm(const struct hn_config *c)
{
	struct hn_uffd_probe p;

	if (c->arm != HN_ARM_RWP)
		return true;
	hn_probe_uffd(&p);
	return p.needed || !p.rwp;
}

static bool run_cannot_move_threads(const struct hn_config *c, const struct hn_machine *m, char *err, size_t len)
{
	const char *why = c->move_threads ? hn_machine_pins_nothing(m) : NULL;

	if (why)
		hn_set_error(err, len, "--move-threads: %s", why);
	return why != NULL;
}

/* Everything that can fail for reasons of ours is done before the program starts; what is made last needs cleaning up. */
static int run_prepare(struct run *r)
{
	const struct hn_run_options *o = r->options;
	char err[ERROR_LEN];

	if (!run_can_arm(&o->config)) {
		hn_say("--arm rwp: this kernel's userfaultfd has no UFFDIO_RWPROTECT (Linux 7.3 or later is needed)");
		return -1;
	}
	if (o->config.policy == HN_POLICY_PLUGIN && hn_plugin_try(o->config.plugin, err, sizeof(err)) != 0) {
		hn_say("%s", err);
		return -1;
	}
	if (hn_agent_find(r->agent, sizeof(r->agent), err, sizeof(err)) != 0 ||
	    (o->report && hn_report_check(o->report, r->report, sizeof(r->report), err, sizeof(err)) != 0) ||
	    hn_machine_build(&r->machine, o->topology, &r->real_nodes, err, sizeof(err)) != 0 ||
	    hn_nodes_check(&r->machine, o->config.nodes, "--nodes (node.allowed)", err, sizeof(err)) != 0 ||
	    run_cannot_move_threads(&o->config, &r->machine, err, sizeof(err)) ||
	    (o->record && hn_recorder_open(&r->recorder, o->record, o->record_max_mib, err, sizeof(err)) != 0) ||
	    hn_nodes_set_slow(&r->machine, o->config.slow_nodes, "--slow-nodes (tier.slow)", err, sizeof(err)) != 0 ||
	    hn_run_dir_create(&r->dir, &o->config, &r->machine, err, sizeof(err)) != 0) {
		hn_say("%s", err);
		return -1;
	}
	return 0;
}

/* Two balancers on the same pages would fight; on one real node there is nothing the kernel could move. */
static bool run_has_rival(const struct run *r)
{
	char text[16];

	return r->real_nodes > 1 && hn_read_text("/proc/sys/kernel/numa_balancing", text, sizeof(text)) == 0 &&
	       atoi(text) != 0;
}

static void run_announce(const struct run *r)
{
	char real[64];

	if (r->options->quiet)
		return;
	if (run_has_rival(r))
		hn_say("kernel.numa_balancing is on: what is managed is hugenuma's, the rest of the program the kernel's");
	if (!r->machine.is_virtual)
		return;
	if (r->real_nodes == 1)
		snprintf(real, sizeof(real), "one real NUMA node");
	else
		snprintf(real, sizeof(real), "%u real NUMA nodes not used", r->real_nodes);
	hn_say("%s: balancing over %" PRIu32 " virtual node%s (everything is real but the latency)", real,
	       r->machine.nr_nodes, r->machine.nr_nodes == 1 ? "" : "s");
}

static int run_start(struct run *r)
{
	struct hn_launch l = {
		.argv = r->options->argv,
		.agent = r->agent,
		.shm_path = r->dir.file,
	};
	struct timespec t;
	int err;

	clock_gettime(CLOCK_REALTIME, &t);
	r->start_unix_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	r->start_ms = hn_now_ms();
	err = hn_child_start(&r->child, &l);
	if (err) {
		hn_say("cannot start a process: %s", strerror(-err));
		return HUGENUMA_EXIT_FAILED;
	}
	if (!r->child.exec_errno)
		return 0;
	while (!r->child.ended)
		hn_child_wait(&r->child, POLL_MS);
	hn_say("cannot run %s: %s", r->options->argv[0], strerror(r->child.exec_errno));
	return r->child.exec_errno == ENOENT ? HUGENUMA_EXIT_NOT_FOUND : HUGENUMA_EXIT_CANNOT_EXECUTE;
}

static void run_record(struct run *r)
{
	hn_recorder_poll(&r->recorder, r->dir.shm);
	if (hn_recorder_report_due(&r->recorder))
		hn_record_look(&r->recorder);
}

static void record_ended(void *recorder, const struct hn_process *p, const struct hn_record *record)
{
	hn_recorder_take(recorder, p, record);
}

static void run_watch(struct run *r)
{
	int poll_ms = r->options->record ? HN_RECORDER_POLL_MS : POLL_MS;
	uint64_t now = hn_now_ms(), polled = now;

	hn_progress_start(&r->progress, r->start_ms);
	for (; !r->child.ended; now = hn_now_ms()) {
		hn_child_wait(&r->child, hn_progress_wait_ms(&r->progress, now, poll_ms));
		now = hn_now_ms();
		r->ledger.keep_slots = r->child.ended;
		if (r->options->record)
			run_record(r);
		if (!r->options->record || r->child.ended || now - polled >= POLL_MS) {
			hn_ledger_poll(&r->ledger, r->dir.shm);
			polled = now;
		}
		now = hn_now_ms();
		if (r->options->progress && !r->child.ended && hn_progress_due(&r->progress, now))
			hn_progress_print(&r->progress, now, &r->ledger, r->dir.shm);
	}
}

static void run_report(struct run *r)
{
	struct hn_run_result result = {
		.options = r->options,
		.machine = &r->machine,
		.ledger = &r->ledger,
		.start_unix_ms = r->start_unix_ms,
		.elapsed_ms = hn_now_ms() - r->start_ms,
		.nr_loaded = hn_load_acquire(&r->dir.shm->loaded),
		.nr_missed = hn_load_acquire(&r->dir.shm->slots_missed),
		.nr_filtered = hn_load_acquire(&r->dir.shm->filtered),
		.nr_unreadable = hn_load_acquire(&r->dir.shm->unreadable),
		.status = r->child.status,
	};
	char err[ERROR_LEN];
	bool cut;

	cut = r->dir.shm->magic != HN_SHM_MAGIC;
	if (cut)
		hn_say("somebody has cut off the run's shared memory (%s): what was counted is lost, and nothing is managed since",
		       r->dir.file);
	r->ledger.total.elapsed_ms = result.elapsed_ms;
	hn_messages_print_counts(&r->ledger.messages);
	if (!r->options->quiet && !cut)
		hn_table_print(stderr, &result);
	if (r->options->report && hn_report_write(&result, r->report, err, sizeof(err)) != 0)
		hn_say("%s", err);
	if (r->options->record) {
		hn_recorder_report(&r->recorder, hn_report_json(&result));
		if (hn_recorder_end(&r->recorder) && !r->options->quiet)
			hn_record_say(&r->recorder);
	}
}

static void run_start_recording(struct run *r)
{
	if (!r->options->record)
		return;
	r->recorder.from_start = true;
	hn_recorder_begin(&r->recorder);
	r->ledger.ended = record_ended;
	r->ledger.ended_arg = &r->recorder;
}

static int run_all(struct run *r)
{
	int failed, early;

	/* before there is anything to clean up: a line written to a closed pipe must not end us half-way */
	hn_signals_take();
	hn_run_dir_sweep();
	failed = run_prepare(r) != 0 ? HUGENUMA_EXIT_FAILED : 0;
	early = hn_signals_early();
	if (early) {
		failed = HN_EXIT_SIGNAL_BASE + early;
		r->child.signal = early;
	}
	if (failed) {
		if (r->dir.shm)
			hn_run_dir_close(&r->dir, true);
		return failed;
	}
	run_announce(r);
	failed = run_start(r);
	if (failed) {
		hn_run_dir_close(&r->dir, true);
		return failed;
	}
	run_start_recording(r);
	/* After the program has started, which inherits what is ignored. */
	hn_guard(r->dir.shm, sizeof(*r->dir.shm));
	r->ledger.keep_dir = r->dir.dir;
	run_watch(r);
	r->ledger.keep_dir = NULL;
	hn_ledger_finish(&r->ledger, r->dir.shm);
	if (r->options->record)
		hn_recorder_poll(&r->recorder, r->dir.shm);
	run_report(r);
	/* Children of processes that still run look for the file: it stays as long as it may be wanted. */
	hn_run_dir_close(&r->dir, r->ledger.nr_running == 0);
	return r->child.status;
}

int hn_run(const struct hn_run_options *o, int *sig)
{
	struct run *r = calloc(1, sizeof(*r));
	int status;

	*sig = 0;
	if (!r) {
		hn_say("out of memory");
		return HUGENUMA_EXIT_FAILED;
	}
	r->options = o;
	r->recorder.file.fd = -1;
	r->ledger.messages.quiet = o->quiet;
	status = run_all(r);
	*sig = status == HN_EXIT_SIGNAL_BASE + r->child.signal ? r->child.signal : 0;
	hn_recorder_close(&r->recorder);
	hn_ledger_fini(&r->ledger);
	free(r);
	return status;
}
