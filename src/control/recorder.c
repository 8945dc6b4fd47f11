// SPDX-License-Identifier: MIT
#include "control/recorder.h"

#include "control/proc.h"
#include "control/say.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A batch is written when it is full, or a second old: so much a crash of ours can cost. */
#define BATCH_MAX 4096u
#define BATCH_MS 1000
/* A number is taken before its entry is written: this many of the latest, for so long, may be on their way. */
#define LATEST 64u
#define HOLE_MS 500
#define REPORT_MS_MAX 10000

int hn_recorder_open(struct hn_recorder *r, const char *path, uint32_t max_mib, char *err, size_t err_len)
{
	*r = (struct hn_recorder){ 0 };
	return hn_recfile_open(&r->file, path, (uint64_t)max_mib << 20, err, err_len);
}

/* Once; everything after it does nothing. */
static void recorder_failed(struct hn_recorder *r, int err)
{
	if (!r->failed)
		hn_say("recording to %s ends here: %s; the program runs on", r->file.path, strerror(-err));
	r->failed = true;
}

static void recorder_add(struct hn_recorder *r, enum hn_frame_kind kind, const void *raw, size_t bytes, uint32_t decisions,
			 uint32_t lost)
{
	int err = r->failed ? 0 : hn_recfile_add(&r->file, kind, raw, bytes, decisions, lost);

	if (err == -EFBIG && kind == HN_FRAME_REPORT)
		hn_say("%s: a report of %zu bytes has no room in the recording", r->file.path, bytes);
	else if (err)
		recorder_failed(r, err);
}

void hn_recorder_begin(struct hn_recorder *r)
{
	int err = hn_recfile_begin(&r->file);

	if (err)
		recorder_failed(r, err);
	/* the first as soon as there is something to say: a recording that is cut short early is to have one */
	r->report_every_ms = 500;
}

/* ---- batches ---- */

static void batch_write(struct hn_recorder *r, struct hn_followed *f, uint64_t now)
{
	struct hn_batch b = { f->pid, f->nr, f->lost, HN_RECORDING_ENTRY, f->started_ms, "", NULL };

	f->written_ms = now;
	if (!f->nr && !f->lost)
		return;
	memcpy(b.comm, f->comm, sizeof(b.comm));
	hn_batch_encode(f->batch, &b);
	recorder_add(r, HN_FRAME_DECISIONS, f->batch, HN_RECORDING_BATCH + (size_t)f->nr * HN_RECORDING_ENTRY, f->nr, f->lost);
	f->nr = f->lost = 0;
}

static void batch_append(struct hn_recorder *r, struct hn_followed *f, const struct hn_decision *d)
{
	hn_decision_encode(f->batch + HN_RECORDING_BATCH + (size_t)f->nr * HN_RECORDING_ENTRY, d);
	if (++f->nr == BATCH_MAX)
		batch_write(r, f, hn_now_ms());
}

/* ---- following a ring ---- */

/* Decision n is in the ring by its number, but not whole: is it still being written? */
static bool hole_may_fill(struct hn_followed *f, uint32_t n, uint32_t next, uint64_t now)
{
	if (f->hole != n || !f->hole_ms) {
		f->hole = n;
		f->hole_ms = now;
	}
	return next - n <= LATEST && now - f->hole_ms < HOLE_MS;
}

/* `complete`: nobody writes to it any more. */
static void follow(struct hn_recorder *r, struct hn_followed *f, const struct hn_record *record, bool complete)
{
	uint64_t now = hn_now_ms();
	struct hn_decision d;
	uint32_t next, first = hn_record_first(record, &next);

	/* the ring of somebody else, who has the slot since a moment ago */
	if ((int32_t)(next - f->next) < 0)
		return;
	if ((int32_t)(first - f->next) > 0) {
		f->lost += first - f->next;
		f->next = first;
	}
	for (; f->next != next; f->next++) {
		if (hn_record_read(record, f->next, &d))
			batch_append(r, f, &d);
		else if (complete || !hole_may_fill(f, f->next, next, now))
			f->lost++;
		else
			break;
	}
	if (complete || now - f->written_ms >= BATCH_MS)
		batch_write(r, f, now);
}

static struct hn_followed *followed_find(struct hn_recorder *r, uint32_t pid, uint64_t started_ms)
{
	for (size_t i = 0; i < r->nr; i++)
		if (r->list[i].pid == pid && r->list[i].started_ms == started_ms)
			return &r->list[i];
	return NULL;
}

/* NULL when out of memory: it is tried again at the next look, as long as the ring has what is missed. */
static struct hn_followed *followed_new(struct hn_recorder *r, uint32_t pid, uint64_t started_ms, const char *comm,
					const struct hn_record *record)
{
	uint32_t next;
	struct hn_followed *f;

	if (r->nr == r->room) {
		struct hn_followed *list = realloc(r->list, (r->room + 64) * sizeof(*list));

		if (!list)
			return NULL;
		r->list = list;
		r->room += 64;
	}
	f = &r->list[r->nr];
	*f = (struct hn_followed){ .pid = pid, .started_ms = started_ms, .written_ms = hn_now_ms() };
	memcpy(f->comm, comm, sizeof(f->comm));
	f->comm[sizeof(f->comm) - 1] = 0;
	f->next = r->from_start ? 0 : hn_record_first(record, &next);
	f->batch = malloc(HN_RECORDING_BATCH + BATCH_MAX * HN_RECORDING_ENTRY);
	if (!f->batch)
		return NULL;
	r->nr++;
	return f;
}

void hn_recorder_follow(struct hn_recorder *r, struct hn_shm *shm, const struct hn_slot *slot)
{
	const struct hn_record *record = hn_slot_record(shm, slot);
	uint32_t pid = __atomic_load_n(&slot->pid, __ATOMIC_RELAXED);
	uint64_t started_ms = hn_stat_read(&slot->started_ms);
	struct hn_followed *f;

	if (r->failed || !hn_slot_is_used(slot) || !record)
		return;
	f = followed_find(r, pid, started_ms);
	if (!f)
		f = followed_new(r, pid, started_ms, slot->comm, record);
	if (!f || !f->batch)
		return;
	f->seen = r->looks;
	follow(r, f, record, false);
}

void hn_recorder_poll(struct hn_recorder *r, struct hn_shm *shm)
{
	r->looks++;
	for (unsigned i = 0; i < hn_shm_opened(shm); i++)
		hn_recorder_follow(r, shm, &shm->slot[i]);
}

void hn_recorder_take(struct hn_recorder *r, const struct hn_process *p, const struct hn_record *record)
{
	struct hn_followed *f = followed_find(r, p->pid, p->slot.started_ms);

	if (!f && record && !r->failed)
		f = followed_new(r, p->pid, p->slot.started_ms, p->comm, record);
	if (!f || !f->batch)
		return;
	if (record)
		follow(r, f, record, true);
	else
		batch_write(r, f, hn_now_ms());
	free(f->batch);
	f->batch = NULL;
}

/* ---- reports ---- */

bool hn_recorder_report_due(const struct hn_recorder *r)
{
	return !r->failed && r->nr && (r->file.dropped_report || hn_now_ms() >= r->report_ms);
}

void hn_recorder_report(struct hn_recorder *r, struct hn_object report)
{
	char *text = report.ok ? json_dumps(report.json, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6)) : NULL;

	json_decref(report.json);
	r->file.dropped_report = false;
	if (r->report_every_ms < REPORT_MS_MAX)
		r->report_every_ms *= 2;
	r->report_ms = hn_now_ms() + r->report_every_ms;
	if (text)
		recorder_add(r, HN_FRAME_REPORT, text, strlen(text), 0, 0);
	free(text);
}

/* ---- the end ---- */

bool hn_recorder_end(struct hn_recorder *r)
{
	for (size_t i = 0; i < r->nr; i++)
		if (r->list[i].batch)
			batch_write(r, &r->list[i], hn_now_ms());
	recorder_add(r, HN_FRAME_END, NULL, 0, 0, 0);
	return !r->failed;
}

void hn_recorder_close(struct hn_recorder *r)
{
	for (size_t i = 0; i < r->nr; i++)
		free(r->list[i].batch);
	free(r->list);
	hn_recfile_close(&r->file);
	*r = (struct hn_recorder){ .file = { .fd = -1 } };
}
