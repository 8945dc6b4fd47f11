// SPDX-License-Identifier: MIT
/*
 * The agent's side of the record: between its own steps somebody else, who has the memory too, changes anything in it. The
 * agent stays within its bounds, and keeps its own counts.
 */
#include "fuzz.h"
#include "views.h"

#include "core/record.h"
#include "core/stats.h"

#define ARENA 0x7f0000000000

#define RECORD(field) offsetof(struct hn_record, field)
static const uint32_t in_record[] = { FUZZ_RECORD_PLACES };
static const uint32_t in_stats[] = { offsetof(struct hn_stats, series.nr), offsetof(struct hn_stats, series.every),
				     offsetof(struct hn_stats, fault_service_ns.bucket[40]) };

static void decide(struct hn_record *r, unsigned i)
{
	hn_record_decision(r, &(struct hn_decision){ .time_ns = i * 50000000ull, .haddr = ARENA + i % 64 * HN_PAGE_SIZE, .tid = i,
						    .thread_nid = (int8_t)(i % 4), .from_nid = (int8_t)(i % 3), .target_nid = 1,
						    .outcome = i % 3 ? HN_FAULT_MIGRATED : HN_FAULT_LOCAL });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hn_record r; /* between others, so that what is written beside it is seen */
	static struct hn_record_cursor c;
	static struct hn_stats stats;
	struct hn_region_row row = { .start = ARENA, .end = ARENA + 64 * HN_PAGE_SIZE };
	struct hn_answer answer = { .addr = 1 };
	hn_addr addr;
	uint32_t number;

	memset(&c, 0, sizeof(c));
	memset(&stats, 0, sizeof(stats));
	hn_record_init(&r, 4);
	for (unsigned step = 0; step < 6; step++) {
		size_t part = size / (6 - step);

		for (unsigned i = 0; i < 20; i++)
			decide(&r, step * 20 + i);
		fuzz_patch(data, part, &r, sizeof(r),
			   (struct fuzz_places){ in_record, sizeof(in_record) / sizeof(in_record[0]) });
		fuzz_patch(data, part, &stats, sizeof(stats),
			   (struct fuzz_places){ in_stats, sizeof(in_stats) / sizeof(in_stats[0]) });
		data += part;
		size -= part;
		hn_record_set_regions(&c, &row, 1);
		hn_record_follow(&r, &c, 0, step * 1000);
		hn_series_offer(&stats, step);
		hn_hist_percentile(&stats.fault_service_ns, 990);
		if (hn_query_pending(&r.query, &number, &addr))
			hn_query_answer(&r.query, number, &answer);
		hn_must(c.now.nr == 1 && c.heat.nr_rows <= HN_HEAT_ROWS && (!c.heat.nodes || hn_heat_is_sane(&c.heat)));
	}
	return 0;
}
