// SPDX-License-Identifier: MIT
#include "control/record_attached.h"

#include "control/launch.h"
#include "control/proc.h"
#include "control/report_view.h"
#include "control/say.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool is_one_of(uint32_t pid, const uint32_t *list, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (list[i] == pid)
			return true;
	return false;
}

/* Bring those that are wanted, all of the run of the first of them, to the front; returns how many. */
static size_t choose(struct hn_seen *seen, size_t all, const uint32_t *pid, size_t nr)
{
	size_t chosen = 0;

	for (size_t i = 0; i < all; i++) {
		struct hn_seen s = seen[i];

		if ((!is_one_of(s.p.pid, pid, nr) && !is_one_of(s.run->controller_pid, pid, nr)) ||
		    (chosen && s.run != seen[0].run))
			continue;
		seen[i] = seen[chosen];
		seen[chosen++] = s;
	}
	return chosen;
}

static void look(struct hn_recorder *r, const struct hn_attached *a, const uint32_t *pid, size_t nr)
{
	struct hn_seen *seen = NULL;
	size_t all = hn_seen_find(a, 0, &seen), chosen = choose(seen, all, pid, nr);
	struct hn_object report = { .json = chosen ? hn_report_of(seen, chosen) : NULL };

	report.ok = report.json != NULL;
	hn_recorder_report(r, report);
	hn_seen_free(seen, all);
}

void hn_record_look(struct hn_recorder *r)
{
	const uint32_t pid = (uint32_t)getpid();
	struct hn_attached a;

	if (hn_attach(&a) == 0)
		look(r, &a, &pid, 1);
	hn_attach_close(&a);
}

void hn_record_say(const struct hn_recorder *r)
{
	const struct hn_recfile *f = &r->file;
	char lost[64] = "", dropped[96] = "";

	if (f->lost)
		snprintf(lost, sizeof(lost), ", %s lost", hn_text_count(f->lost).s);
	if (f->dropped_decisions)
		snprintf(dropped, sizeof(dropped), ", the first %s dropped for want of room",
			 hn_text_count(f->dropped_decisions).s);
	hn_say("recorded %s decisions of %zu process%s to %s%s%s", hn_text_count(f->decisions).s, r->nr, r->nr == 1 ? "" : "es",
	       f->path, lost, dropped);
}

/* ---- from outside ---- */

#define MAX_TARGETS HN_SHM_SLOTS
/* New processes are looked for so often. */
#define FIND_MS 200

struct watch {
	const struct hn_record_options *options;
	struct hn_recorder recorder;
	struct hn_attached attached;
	const struct hn_run_seen *run; /* what is recorded is of this one */
	struct hn_target target[MAX_TARGETS]; /* living processes that are wanted */
	size_t nr_targets;
	uint64_t find_ms; /* when to find them again */
};

/* All living processes with one of the pids, or of the run of one of them. */
static void watch_find(struct watch *w)
{
	const struct hn_record_options *o = w->options;
	struct hn_target found[MAX_TARGETS];

	w->nr_targets = 0;
	w->find_ms = hn_now_ms() + FIND_MS;
	for (size_t k = 0; k < o->nr_pids; k++) {
		size_t nr = hn_attach_find(&w->attached, o->pid[k], found, MAX_TARGETS);

		for (size_t i = 0; i < nr && i < MAX_TARGETS && w->nr_targets < MAX_TARGETS; i++)
			if (found[i].run == w->run && hn_load_acquire(&found[i].slot->state) == HN_SLOT_LIVE)
				w->target[w->nr_targets++] = found[i];
	}
}

/* All must be of one run: a recording has one machine and one set of settings. */
static int watch_begin(struct watch *w)
{
	const struct hn_record_options *o = w->options;
	struct hn_target first;

	if (hn_attach(&w->attached) != 0) {
		hn_say("out of memory");
		return -1;
	}
	for (size_t k = 0; k < o->nr_pids; k++) {
		if (!hn_attach_find(&w->attached, o->pid[k], &first, 1)) {
			hn_attach_say_refused(&w->attached);
			hn_say("%" PRIu32 ": no managed process, and no `hugenuma run' with one, has this PID; `hugenuma list' shows them",
			       o->pid[k]);
			return -1;
		}
		if (w->run && w->run != first.run) {
			hn_say("%" PRIu32 ": belongs to another `hugenuma run' than %" PRIu32 "; expected processes of one run",
			       o->pid[k], o->pid[0]);
			return -1;
		}
		w->run = first.run;
	}
	return 0;
}

/*
 * Processes that had a slot at the last look and have none now: their controller has kept what they left, as long as it
 * runs itself.
 */
static void watch_ended(struct watch *w)
{
	struct hn_recorder *r = &w->recorder;
	struct hn_seen *seen = NULL;
	size_t all = 0, missing = 0;

	for (size_t i = 0; i < r->nr; i++)
		missing += r->list[i].batch && r->list[i].seen != r->looks;
	if (!missing)
		return;
	all = hn_seen_find(&w->attached, 0, &seen);
	for (size_t i = 0; i < r->nr; i++) {
		struct hn_followed *f = &r->list[i];
		struct hn_process gone = { .pid = f->pid, .slot = { .started_ms = f->started_ms } };
		const struct hn_record *record = NULL;

		if (!f->batch || f->seen == r->looks)
			continue;
		for (size_t k = 0; k < all; k++)
			if (seen[k].p.pid == f->pid && seen[k].p.slot.started_ms == f->started_ms)
				record = seen[k].p.record;
		hn_recorder_take(r, &gone, record);
	}
	hn_seen_free(seen, all);
}

/* Waits for the next look. True: a signal has come that ends the recording. */
static bool watch_wait(const sigset_t *signals)
{
	const struct timespec t = { .tv_nsec = HN_RECORDER_POLL_MS * 1000000l };

	return sigtimedwait(signals, NULL, &t) > 0;
}

static void watch_look(struct watch *w)
{
	const struct hn_record_options *o = w->options;

	if (hn_now_ms() >= w->find_ms)
		watch_find(w);
	w->recorder.looks++;
	for (size_t i = 0; i < w->nr_targets; i++)
		hn_recorder_follow(&w->recorder, w->run->shm, w->target[i].slot);
	watch_ended(w);
	if (hn_recorder_report_due(&w->recorder))
		look(&w->recorder, &w->attached, o->pid, o->nr_pids);
}

static int watch_record(struct watch *w, const sigset_t *signals)
{
	const struct hn_record_options *o = w->options;
	uint64_t end = o->seconds ? hn_now_ms() + o->seconds * 1000ull : UINT64_MAX;

	hn_recorder_begin(&w->recorder);
	do
		watch_look(w);
	while (!w->recorder.failed && w->nr_targets && hn_now_ms() < end && !watch_wait(signals));
	w->find_ms = 0;
	watch_look(w);
	look(&w->recorder, &w->attached, o->pid, o->nr_pids);
	if (!hn_recorder_end(&w->recorder))
		return 1;
	if (!o->quiet)
		hn_record_say(&w->recorder);
	return 0;
}

int hn_record_attached(const struct hn_record_options *o)
{
	struct watch w = { .options = o, .recorder = { .file = { .fd = -1 } } };
	const int ending[] = { SIGINT, SIGTERM, SIGHUP };
	sigset_t signals;
	char err[512];
	int status = 1;

	/* before there is a file to leave behind */
	hn_signals_hold(ending, 3, &signals);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like any other */
	if (watch_begin(&w) != 0)
		goto out;
	if (hn_recorder_open(&w.recorder, o->path, o->max_mib, err, sizeof(err)) != 0)
		hn_say("%s", err);
	else
		status = watch_record(&w, &signals);
out:
	hn_recorder_close(&w.recorder);
	hn_attach_close(&w.attached);
	return status;
}
