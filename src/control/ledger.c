// SPDX-License-Identifier: MIT
#include "control/ledger.h"

#include "control/ended.h"
#include "control/proc.h"
#include "control/say.h"
#include "control/settings.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

uint64_t hn_stats_refused(const struct hn_stats *s)
{
	uint64_t sum = 0;

	for (int i = 0; i < HN_NR_REFUSALS; i++)
		sum += s->refused[i];
	return sum;
}

uint64_t hn_stats_failed(const struct hn_stats *s)
{
	uint64_t sum = 0;

	for (int i = 0; i < HN_NR_FAILURES; i++)
		sum += s->failed[i];
	return sum;
}

void hn_shares_of(const struct hn_stats *s, struct hn_shares *out)
{
	const struct hn_series *series = &s->series;
	uint32_t nr = series->nr < HN_SERIES_MAX ? series->nr : HN_SERIES_MAX;

	*out = (struct hn_shares){ s->local, s->samples, s->local, s->samples };
	for (uint32_t i = 0; i < nr; i++) {
		if (series->point[i].samples < HN_SHARE_SAMPLES)
			continue;
		out->start_local = series->point[i].local;
		out->start_samples = series->point[i].samples;
		break;
	}
	for (uint32_t i = nr; i-- > 0;) {
		const struct hn_series_point *p = &series->point[i];

		/* counters are read while they change: a point may be ahead of them */
		if (p->samples + HN_SHARE_SAMPLES > s->samples || p->local > s->local)
			continue;
		out->end_local = s->local - p->local;
		out->end_samples = s->samples - p->samples;
		break;
	}
}

/* ---- adding up ---- */

static void hist_merge(struct hn_hist *to, const struct hn_hist *from)
{
	to->count += from->count;
	to->sum += from->sum;
	if (from->max > to->max)
		to->max = from->max;
	for (int i = 0; i < HN_HIST_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

static void sum_words(uint64_t *to, const uint64_t *from, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		to[i] += from[i];
}

/* Everything from `armed` to the first histogram is a 64-bit counter. */
#define STATS_COUNTERS (offsetof(struct hn_stats, fault_service_ns) / sizeof(uint64_t))
_Static_assert(offsetof(struct hn_stats, armed) == 0, "counters come first");

static void stats_merge(struct hn_stats *to, const struct hn_stats *from)
{
	sum_words((uint64_t *)to, (const uint64_t *)from, STATS_COUNTERS);
	hist_merge(&to->fault_service_ns, &from->fault_service_ns);
	hist_merge(&to->migration_stall_ns, &from->migration_stall_ns);
	hist_merge(&to->migration_cpu_ns, &from->migration_cpu_ns);
}

static void slot_merge(struct hn_slot *to, const struct hn_slot *from)
{
	to->agent_cpu_ns += from->agent_cpu_ns;
	to->registered_bytes += from->registered_bytes;
	to->regions += from->regions;
	to->holes_served += from->holes_served;
	to->events += from->events;
	to->fixups += from->fixups;
	to->collapses += from->collapses;
	to->unbound_mappings += from->unbound_mappings;
	to->scans += from->scans;
	to->agent_bytes += from->agent_bytes;
	stats_merge(&to->stats, &from->stats);
}

static void process_merge(struct hn_process *to, const struct hn_process *from)
{
	sum_words((uint64_t *)&to->shares, (const uint64_t *)&from->shares, sizeof(to->shares) / sizeof(uint64_t));
	if (from->elapsed_ms > to->elapsed_ms)
		to->elapsed_ms = from->elapsed_ms;
	slot_merge(&to->slot, &from->slot);
}

/* Memory of processes that have gone is not managed any more. */
static void process_clear_gauges(struct hn_process *p)
{
	p->slot.stats.managed_pages = 0;
	p->slot.stats.armed_now = 0;
	p->slot.registered_bytes = 0;
	p->slot.regions = 0;
	p->slot.agent_bytes = 0;
}

/* ---- reading slots ---- */

/* The agent may be writing: copy in whole counters. */
static void slot_copy(struct hn_slot *to, const struct hn_slot *from)
{
	const uint64_t *src = (const uint64_t *)from;
	uint64_t *dst = (uint64_t *)to;

	for (size_t i = 0; i < sizeof(*to) / sizeof(uint64_t); i++)
		dst[i] = hn_stat_read(&src[i]);
}

/* Longer than any process has run: a clock that was tampered with must not overflow what is made of it. */
#define ELAPSED_MAX_MS ((uint64_t)1 << 48)

static void record_make_sane(struct hn_record *r)
{
	if (r->nr_regions > HN_RECORD_REGIONS)
		r->nr_regions = 0;
	if (r->nr_threads > HN_RECORD_THREADS)
		r->nr_threads = 0;
	if (!hn_heat_is_sane(&r->heat))
		memset(&r->heat, 0, sizeof(r->heat));
}

/* A process could have written anything there by now. */
static void rules_make_printable(struct hn_slot *s)
{
	s->policy_name[sizeof(s->policy_name) - 1] = 0;
	hn_make_printable(s->policy_name);
	for (uint32_t i = 0; i < HN_MAX_RULES; i++) {
		s->rule[i].name[sizeof(s->rule[i].name) - 1] = 0;
		hn_make_printable(s->rule[i].name);
		s->rule[i].text[sizeof(s->rule[i].text) - 1] = 0;
		hn_make_printable(s->rule[i].text);
	}
}

void hn_process_make_sane(struct hn_process *p)
{
	p->comm[sizeof(p->comm) - 1] = 0;
	p->slot.comm[sizeof(p->slot.comm) - 1] = 0;
	p->slot.message[sizeof(p->slot.message) - 1] = 0;
	hn_make_printable(p->comm);
	hn_make_printable(p->slot.comm);
	hn_make_printable(p->slot.message);
	hn_config_make_sane(&p->slot.config);
	rules_make_printable(&p->slot);
	if (p->elapsed_ms > ELAPSED_MAX_MS)
		p->elapsed_ms = ELAPSED_MAX_MS;
	if (p->record)
		record_make_sane(p->record);
}

void hn_process_read(struct hn_process *p, const struct hn_slot *slot, bool running)
{
	uint64_t now = hn_now_ms();

	memset(p, 0, sizeof(*p));
	slot_copy(&p->slot, slot);
	p->pid = p->slot.pid;
	p->running = running;
	memcpy(p->comm, p->slot.comm, sizeof(p->comm));
	p->elapsed_ms = p->slot.started_ms && now > p->slot.started_ms ? now - p->slot.started_ms : 0;
	hn_process_make_sane(p);
	hn_shares_of(&p->slot.stats, &p->shares);
}

bool hn_process_locate(struct hn_process *p)
{
	return !hn_process_of_ns_is_gone(p->pid, p->slot.start_ticks, p->slot.pid_ns, &p->here);
}

/* A slot is in use once its owner has written its pid. */
static uint32_t slot_state(const struct hn_slot *slot)
{
	uint32_t state = hn_load_acquire(&slot->state);

	return slot->pid ? state : HN_SLOT_FREE;
}

/* After exec() a process keeps pid and start time, and the new image takes a slot of its own. */
static bool slot_is_superseded(const struct hn_shm *shm, const struct hn_slot *slot)
{
	for (unsigned i = 0; i < hn_shm_opened(shm); i++) {
		const struct hn_slot *other = &shm->slot[i];

		if (other != slot && slot_state(other) != HN_SLOT_FREE && other->pid == slot->pid && other->pid_ns == slot->pid_ns &&
		    other->start_ticks == slot->start_ticks && other->started_ms > slot->started_ms)
			return true;
	}
	return false;
}

static bool slot_has_ended(const struct hn_shm *shm, const struct hn_slot *slot)
{
	return hn_process_of_ns_is_gone(slot->pid, slot->start_ticks, slot->pid_ns, NULL) || slot_is_superseded(shm, slot);
}

bool hn_slot_is_alive(const struct hn_shm *shm, const struct hn_slot *slot)
{
	return slot_state(slot) != HN_SLOT_FREE && !slot_has_ended(shm, slot);
}

bool hn_slot_is_used(const struct hn_slot *slot) { return slot_state(slot) != HN_SLOT_FREE; }

#define COPY_TRIES 8 /* of a record whose scanner is at work: it rests for 250 ms at least when it has published */

static void copy_whole(struct hn_record *to, const struct hn_record *r)
{
	for (int i = 0; i < COPY_TRIES; i++) {
		uint32_t seq = hn_load_acquire(&r->table_seq);

		memcpy(to, r, sizeof(*to));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!(seq & 1) && hn_load_relaxed(&r->table_seq) == seq)
			return;
		sched_yield();
	}
}

/*
 * Rows and heat are of one moment, but where the agent does not get on with publishing them; decisions carry their own proof
 * (hn_record_read), and one that was being written stays unreadable in the copy.
 */
struct hn_record *hn_record_copy(struct hn_shm *shm, const struct hn_slot *slot, bool ended)
{
	const struct hn_record *r = hn_slot_record(shm, slot);
	struct hn_record *copy;
	uint32_t nr;

	if (!r)
		return NULL;
	copy = aligned_alloc(4096, sizeof(*copy));
	if (!copy)
		return NULL;
	copy_whole(copy, r);
	for (uint32_t i = 0; i < HN_RING_MAX; i++)
		if (hn_load_acquire(&r->ring.place[i].seq) != copy->ring.place[i].seq.v)
			copy->ring.place[i].seq.v = 0; /* written meanwhile */
	if (!ended)
		copy->table_seq.v = 0;
	nr = hn_record_copy_regions(r, copy->region);
	/* killed while it wrote them: what is there is as good as it gets */
	if (ended && nr > HN_RECORD_REGIONS)
		nr = copy->nr_regions;
	copy->nr_regions = nr <= HN_RECORD_REGIONS ? nr : 0;
	copy->thread_seq.v = 0;
	nr = hn_record_copy_threads(r, copy->thread);
	if (ended && nr > HN_RECORD_THREADS)
		nr = copy->nr_threads;
	copy->nr_threads = nr <= HN_RECORD_THREADS ? nr : 0;
	record_make_sane(copy);
	if (ended)
		hn_record_finish(copy, slot->started_ms);
	return copy;
}

/* Nothing of the old owner may be left: the next one's half-filled slot must not look like this one's. */
static void slot_free(struct hn_shm *shm, struct hn_slot *slot)
{
	size_t after_state = offsetof(struct hn_slot, state) + sizeof(slot->state);
	struct hn_record *record = hn_slot_record(shm, slot);

	_Static_assert(offsetof(struct hn_slot, state) == 0, "state comes first");
	/* all zeros for the next owner, and the memory is free until there is one */
	if (record)
		madvise(record, sizeof(*record), MADV_REMOVE);
	memset((char *)slot + after_state, 0, sizeof(*slot) - after_state);
	hn_store_release(&slot->state, HN_SLOT_FREE);
}

/* ---- the account ---- */

/* There is room for a few records: who has most samples keeps his. Takes over `record`. */
static void ledger_keep_record(struct hn_ledger *l, struct hn_process *p, struct hn_record *record)
{
	struct hn_process *least = NULL;
	unsigned nr = 0;

	p->record = record;
	for (size_t i = 0; i < l->nr; i++) {
		if (!l->list[i].record)
			continue;
		nr++;
		if (!least || l->list[i].slot.stats.samples < least->slot.stats.samples)
			least = &l->list[i];
	}
	if (nr <= HN_LEDGER_RECORDS || !least)
		return;
	free(least->record);
	least->record = NULL;
}

static void ledger_keep(struct hn_ledger *l, const struct hn_process *p, struct hn_record *record)
{
	struct hn_process *list;
	size_t room;

	if (l->nr == l->room) {
		room = l->room ? l->room * 2 : 16;
		list = l->nr < HN_LEDGER_MAX ? realloc(l->list, room * sizeof(*list)) : NULL;
		if (!list) {
			free(record);
			return; /* it is in the totals */
		}
		l->list = list;
		l->room = room;
	}
	l->list[l->nr++] = *p;
	ledger_keep_record(l, &l->list[l->nr - 1], record);
}

/* Count a process; `state` is its slot's. Takes over `record`, which may be NULL. */
static void ledger_add(struct hn_ledger *l, const struct hn_process *p, uint32_t state, struct hn_record *record)
{
	const struct hn_stats *s = &p->slot.stats;

	if (p->running)
		l->nr_running++;
	if (s->managed_peak_pages || s->managed_pages || s->samples) {
		l->nr_managed++;
		if (!p->running && l->keep_dir)
			hn_ended_write(l->keep_dir, (unsigned)(l->nr_managed - 1), p, record);
		ledger_keep(l, p, record);
	} else {
		free(record);
		l->nr_unmanaged += state == HN_SLOT_UNMANAGED;
		l->nr_idle += state != HN_SLOT_UNMANAGED;
	}
	process_merge(&l->total, p);
}

void hn_ledger_take(struct hn_ledger *l, const struct hn_process *p) { ledger_add(l, p, p->slot.state.v, p->record); }

void hn_ledger_poll(struct hn_ledger *l, struct hn_shm *shm)
{
	struct hn_record *record;
	struct hn_process p;

	for (unsigned i = 0; i < hn_shm_opened(shm); i++) {
		struct hn_slot *slot = &shm->slot[i];
		uint32_t state = slot_state(slot);
		bool ended;

		if (state == HN_SLOT_FREE || l->taken[i])
			continue;
		/* first see it dead, then read: its last words must be in */
		ended = slot_has_ended(shm, slot);
		hn_messages_read(&l->messages, slot, i);
		if (!ended)
			continue;
		hn_process_read(&p, slot, false);
		record = hn_record_copy(shm, slot, true);
		if (l->ended)
			l->ended(l->ended_arg, &p, record);
		ledger_add(l, &p, hn_load_acquire(&slot->state), record);
		hn_messages_forget_slot(&l->messages, i);
		l->taken[i] = l->keep_slots;
		if (!l->keep_slots)
			slot_free(shm, slot);
	}
}

static int compare_started(const void *a, const void *b)
{
	uint64_t x = ((const struct hn_process *)a)->slot.started_ms, y = ((const struct hn_process *)b)->slot.started_ms;

	return x < y ? -1 : x > y;
}

void hn_ledger_finish(struct hn_ledger *l, struct hn_shm *shm)
{
	struct hn_process p;

	hn_ledger_poll(l, shm);
	for (unsigned i = 0; i < hn_shm_opened(shm); i++) {
		uint32_t state = slot_state(&shm->slot[i]);

		if (state == HN_SLOT_FREE || l->taken[i])
			continue;
		hn_process_read(&p, &shm->slot[i], true);
		hn_process_locate(&p);
		ledger_add(l, &p, state, hn_record_copy(shm, &shm->slot[i], false));
	}
	for (unsigned i = 0; i < hn_shm_opened(shm) && l->nr_running; i++)
		if (l->taken[i])
			slot_free(shm, &shm->slot[i]);
	if (l->nr)
		qsort(l->list, l->nr, sizeof(*l->list), compare_started);
}

unsigned hn_ledger_sum(const struct hn_ledger *l, const struct hn_shm *shm, struct hn_process *sum)
{
	struct hn_process p;
	unsigned nr_live = 0;

	*sum = l->total;
	process_clear_gauges(sum);
	for (unsigned i = 0; i < hn_shm_opened(shm); i++) {
		if (slot_state(&shm->slot[i]) != HN_SLOT_LIVE)
			continue;
		hn_process_read(&p, &shm->slot[i], true);
		process_merge(sum, &p);
		nr_live++;
	}
	return nr_live;
}

void hn_ledger_fini(struct hn_ledger *l)
{
	hn_messages_fini(&l->messages);
	for (size_t i = 0; i < l->nr; i++)
		free(l->list[i].record);
	free(l->list);
	l->list = NULL;
	l->nr = l->room = 0;
}
