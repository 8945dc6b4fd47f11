// SPDX-License-Identifier: MIT
#include "control/progress.h"

#include "control/say.h"

#include <inttypes.h>

#define INTERVAL_MS 1000

void hn_progress_start(struct hn_progress *p, uint64_t now_ms)
{
	*p = (struct hn_progress){ .start_ms = now_ms, .last_ms = now_ms };
}

bool hn_progress_due(const struct hn_progress *p, uint64_t now_ms)
{
	/* whole intervals since the start, so that lines do not drift */
	return (now_ms - p->start_ms) / INTERVAL_MS > (p->last_ms - p->start_ms) / INTERVAL_MS;
}

int hn_progress_wait_ms(const struct hn_progress *p, uint64_t now_ms, int max_ms)
{
	uint64_t wait = INTERVAL_MS - (now_ms - p->start_ms) % INTERVAL_MS;

	return wait < (uint64_t)max_ms ? (int)wait : max_ms;
}

/* Counters only grow, but those of a process that is being taken over may be read a little early: never below zero. */
static uint64_t progress_delta(uint64_t now, uint64_t *last)
{
	uint64_t delta = now > *last ? now - *last : 0;

	*last = now;
	return delta;
}

void hn_progress_print(struct hn_progress *p, uint64_t now_ms, const struct hn_ledger *l, const struct hn_shm *shm)
{
	struct hn_process sum;
	unsigned nr = hn_ledger_sum(l, shm, &sum);
	const struct hn_stats *s = &sum.slot.stats;
	uint64_t samples = progress_delta(s->samples, &p->samples);
	uint64_t local = progress_delta(s->local, &p->local);
	uint64_t migrated = progress_delta(s->migrated, &p->migrated);
	uint64_t ms = now_ms > p->last_ms ? now_ms - p->last_ms : 1;

	hn_say("%4" PRIu64 " s  %u process%s  %5" PRIu64 " MiB managed  %7s local  %4" PRIu64 " armed  %5" PRIu64
	       " migrated/s  worst stall %s",
	       (now_ms - p->start_ms) / 1000, nr, nr == 1 ? "" : "es", s->managed_pages * (HN_PAGE_SIZE >> 20),
	       hn_text_share(local < samples ? local : samples, samples).s, s->armed_now, (migrated * 1000 + ms / 2) / ms,
	       s->fault_service_ns.count ? hn_text_ns(s->fault_service_ns.max).s : "-");
	p->last_ms = now_ms;
}
