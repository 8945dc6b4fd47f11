// SPDX-License-Identifier: MIT
/*
 * events.c - the ring of decisions, read on the program's threads; and the counters.
 */
#include "lib/events.h"

#include <errno.h>

#include "control/names.h"
#include "core/stats.h"
#include "lib/lib.h"

#define BATCH 64

_Static_assert((int)HUGENUMA_WAITED == HN_FAULT_WAITED && (int)HUGENUMA_LOCAL == HN_FAULT_LOCAL &&
		       (int)HUGENUMA_REFUSED == HN_FAULT_REFUSED && (int)HUGENUMA_MIGRATED == HN_FAULT_MIGRATED &&
		       (int)HUGENUMA_FAILED == HN_FAULT_FAILED && (int)HUGENUMA_RACED == HN_FAULT_RACED &&
		       (int)HUGENUMA_DEMOTED == HN_FAULT_DEMOTED && HUGENUMA_MAX_NODES == HN_MAX_NODES,
	       "the public names are the engine's");
_Static_assert((int)HUGENUMA_DEMOTED == HN_NR_OUTCOMES - 1, "and have all outcomes that can be on record");

void hn_lib_event(struct hugenuma_event *ev, uint32_t number, const struct hn_decision *d)
{
	*ev = (struct hugenuma_event){
		.number = number,
		.time_ns = d->time_ns,
		.page = (const void *)(uintptr_t)d->haddr,
		.thread = d->tid,
		.thread_node = d->thread_nid,
		.from_node = d->from_nid,
		.to_node = d->target_nid,
		.outcome = d->outcome,
		.service_ns = d->service_ns,
		.rule = hn_reason_name(d),
	};
}

/* Up to BATCH events from *next on; how many, or -errno. */
static int take(uint64_t *next, struct hugenuma_event *ev)
{
	const struct hn_door *d;
	struct hn_record *rec;
	struct hn_decision dec;
	uint32_t end, first;
	int n = 0;

	hn_lib_read_lock();
	d = hn_lib_running();
	rec = d ? hn_lib_record(d) : NULL;
	if (rec) {
		first = hn_record_first(rec, &end);
		/* A cursor from before a new start is beyond the end. */
		if (*next < first || *next > end)
			*next = first;
		for (; *next < end && n < BATCH; ++*next)
			if (hn_record_read(rec, (uint32_t)*next, &dec))
				hn_lib_event(&ev[n++], (uint32_t)*next, &dec);
			else if (end - *next < HN_RING_MAX / 2)
				break; /* still being written: next time */
	}
	hn_lib_unlock();
	return rec ? n : d ? -ENODATA : -ESRCH;
}

EXPORT long hugenuma_poll_events(uint64_t *cursor, hugenuma_event_fn fn, void *arg)
{
	struct hugenuma_event ev[BATCH];
	long delivered = 0;
	int n, i;

	if (!cursor || !fn)
		return -EINVAL;
	do {
		n = take(cursor, ev);
		if (n < 0)
			return delivered ? delivered : n;
		for (i = 0; i < n; i++, delivered++)
			if (fn(&ev[i], arg) != 0) {
				*cursor = ev[i].number + 1;
				return delivered + 1;
			}
	} while (n == BATCH);
	return delivered;
}

static uint64_t sum(const uint64_t *v, int nr)
{
	uint64_t s = 0;

	while (nr)
		s += hn_stat_read(&v[--nr]);
	return s;
}

EXPORT int hugenuma_statistics(struct hugenuma_statistics *out)
{
	struct hugenuma_statistics v = { 0 };
	const struct hn_door *d;

	if (!out || out->size < sizeof(v))
		return -EINVAL;
	hn_lib_read_lock();
	d = hn_lib_running();
	if (d) {
		const struct hn_slot *slot = d->agent->slot;
		const struct hn_stats *s = &slot->stats;

		v.armed_pages = (uint32_t)hn_stat_read(&s->armed_now);
		v.managed_pages = hn_stat_read(&s->managed_pages);
		v.samples = hn_stat_read(&s->samples);
		v.local = hn_stat_read(&s->local);
		v.refused = sum(s->refused, HN_NR_REFUSALS);
		v.migrated = hn_stat_read(&s->migrated);
		v.failed = sum(s->failed, HN_NR_FAILURES);
		v.raced = hn_stat_read(&s->raced);
		v.agent_cpu_ns = hn_stat_read(&slot->agent_cpu_ns);
		v.agent_bytes = hn_stat_read(&slot->agent_bytes);
		v.service_p50_ns = hn_hist_percentile(&s->fault_service_ns, 500);
		v.service_p99_ns = hn_hist_percentile(&s->fault_service_ns, 990);
		v.service_max_ns = hn_stat_read(&s->fault_service_ns.max);
		v.stall_p50_ns = hn_hist_percentile(&s->migration_stall_ns, 500);
		v.stall_p99_ns = hn_hist_percentile(&s->migration_stall_ns, 990);
		v.stall_max_ns = hn_stat_read(&s->migration_stall_ns.max);
	}
	hn_lib_unlock();
	if (!d)
		return -ESRCH;
	hn_lib_hand_out(out, sizeof(v), &v, sizeof(v));
	return 0;
}
