// SPDX-License-Identifier: MIT
#include "control/advise.h"

#define MAIN_PERCENT 80u   /* one node's share of the samples that makes it the region's user */
#define PLACED_PERCENT 90u /* of the pages: then there is nothing left to do */
#define LOCAL_PERCENT 80u  /* of the samples: then the parts are where they are used */
#define MIXED_PERCENT 60u  /* less than that stays local: pages are really shared */

static unsigned percent(uint64_t part, uint64_t whole) { return whole ? (unsigned)(part * 100 / whole) : 0; }

static void count_users(struct hn_advice *a, const struct hn_region_row *r, uint32_t nr_nodes)
{
	a->node = HN_NO_NODE;
	for (uint32_t n = 0; n < nr_nodes; n++) {
		a->samples += r->from[n];
		if (r->from[n] && (a->node < 0 || r->from[n] > r->from[a->node]))
			a->node = (int)n;
	}
	for (uint32_t n = 0; n < nr_nodes; n++)
		if (r->from[n] && (uint64_t)r->from[n] * 2 * nr_nodes >= a->samples)
			a->nodes |= 1ull << n;
}

static unsigned local_percent(const struct hn_region_row *r)
{
	uint64_t recent = (uint64_t)r->recent_local + r->recent_remote;

	if (recent >= HN_ADVISE_SAMPLES)
		return percent(r->recent_local, recent);
	return percent(r->local, r->local + r->remote);
}

struct hn_advice hn_advise(const struct hn_region_row *r, uint32_t nr_nodes)
{
	struct hn_advice a = { .kind = HN_ADVICE_WAIT, .local_percent = local_percent(r) };

	count_users(&a, r, nr_nodes);
	if (a.samples < HN_ADVISE_SAMPLES)
		return a;
	a.node_percent = percent(r->from[a.node], a.samples);
	a.placed_percent = percent(r->pages_on[a.node], r->pages);
	if (a.node_percent >= MAIN_PERCENT)
		a.kind = a.placed_percent >= PLACED_PERCENT ? HN_ADVICE_PLACED : HN_ADVICE_BIND;
	else if (a.local_percent >= LOCAL_PERCENT)
		a.kind = HN_ADVICE_SPLIT;
	else if (a.local_percent < MIXED_PERCENT && (a.nodes & (a.nodes - 1)))
		a.kind = HN_ADVICE_INTERLEAVE;
	else
		a.kind = HN_ADVICE_SETTLING;
	return a;
}
