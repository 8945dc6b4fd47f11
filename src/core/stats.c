// SPDX-License-Identifier: MIT
/*
 * stats.c - histograms, the series of snapshots, and the conservation equations.
 */
#include "core/stats.h"

#include "core/sync.h"

#define SUB (1u << HN_HIST_SUB_BITS)

/* Values below 2*SUB have a bucket each; above, SUB buckets per power of two. */
static unsigned bucket_of(uint64_t v)
{
	unsigned exp, i;

	if (v < SUB)
		return (unsigned)v;
	exp = 63u - (unsigned)__builtin_clzll(v);
	i = ((exp - HN_HIST_SUB_BITS + 1) << HN_HIST_SUB_BITS) + (unsigned)((v >> (exp - HN_HIST_SUB_BITS)) & (SUB - 1));
	return i < HN_HIST_BUCKETS ? i : HN_HIST_BUCKETS - 1;
}

uint64_t hn_hist_bucket_floor(unsigned i)
{
	unsigned block = i >> HN_HIST_SUB_BITS, sub = i & (SUB - 1);

	if (block == 0)
		return sub;
	return (uint64_t)(SUB + sub) << (block - 1);
}

void hn_hist_add(struct hn_hist *h, uint64_t ns)
{
	hn_stat_add(&h->bucket[bucket_of(ns)], 1);
	hn_stat_add(&h->count, 1);
	hn_stat_add(&h->sum, ns);
	hn_stat_max(&h->max, ns);
}

uint64_t hn_hist_percentile(const struct hn_hist *h, unsigned permille)
{
	uint64_t total = 0, want, seen = 0, max = hn_stat_read(&h->max);
	unsigned i;

	for (i = 0; i < HN_HIST_BUCKETS; i++)
		total += hn_stat_read(&h->bucket[i]);
	if (!total)
		return 0;
	want = (total * permille + 999) / 1000;
	for (i = 0; i + 1 < HN_HIST_BUCKETS; i++) {
		seen += hn_stat_read(&h->bucket[i]);
		if (seen >= want && seen) {
			uint64_t edge = hn_hist_bucket_floor(i + 1) - 1;

			return edge < max ? edge : max;
		}
	}
	return max;
}

/* Halve the resolution of a full series: keep every other point, starting with the first. Returns how many. */
static uint32_t series_decimate(struct hn_series *s)
{
	uint32_t i;

	for (i = 0; 2 * i < HN_SERIES_MAX; i++)
		s->point[i] = s->point[2 * i];
	s->every *= 2;
	return i;
}

void hn_series_offer(struct hn_stats *st, uint64_t time_ms)
{
	struct hn_series *s = &st->series;
	struct hn_series_point *p;
	uint32_t nr; /* read once: others may have the memory too */

	if (s->every == 0)
		s->every = 1;
	if (s->nr && ++s->skipped < s->every)
		return;
	s->skipped = 0;
	nr = s->nr;
	if (nr >= HN_SERIES_MAX)
		nr = series_decimate(s);
	p = &s->point[nr];
	p->time_ms = time_ms;
	p->samples = hn_stat_read(&st->samples);
	p->local = hn_stat_read(&st->local);
	p->migrated = hn_stat_read(&st->migrated);
	p->armed = hn_stat_read(&st->armed);
	s->nr = nr + 1;
}

static uint64_t sum(const uint64_t *v, unsigned nr)
{
	uint64_t total = 0;

	while (nr--)
		total += hn_stat_read(v++);
	return total;
}

bool hn_stats_balanced(const struct hn_stats *s)
{
	uint64_t judged = hn_stat_read(&s->local) + sum(s->refused, HN_NR_REFUSALS) + hn_stat_read(&s->migrated) +
			  sum(s->failed, HN_NR_FAILURES) + hn_stat_read(&s->raced);
	uint64_t messages = judged + hn_stat_read(&s->stale) + hn_stat_read(&s->waited) + hn_stat_read(&s->deferred) +
			    hn_stat_read(&s->unmanaged);
	uint64_t ended = sum(s->disarmed, HN_NR_DISARM_CAUSES);

	return hn_stat_read(&s->samples) == judged && hn_stat_read(&s->messages) == messages &&
	       hn_stat_read(&s->disarmed_total) == ended &&
	       hn_stat_read(&s->armed) == ended + hn_stat_read(&s->armed_now) &&
	       hn_stat_read(&s->disarmed[HN_DISARM_FAULT]) == hn_stat_read(&s->samples);
}
