// SPDX-License-Identifier: MIT
/*
 * stats.h - what the engine counts. Units are in the names; one count is one huge page or one message unless said.
 *
 * Conservation (I5), exact whenever no handler is inside a fault:
 *   samples        = local + sum(refused) + migrated + sum(failed) + raced
 *   disarmed_total = sum(disarmed)          armed = disarmed_total + entries ARMED now
 *   disarmed[HN_DISARM_FAULT] = samples
 * Readers (the controller) see values that may be a few faults apart.
 */
#ifndef HN_CORE_STATS_H
#define HN_CORE_STATS_H

#include "core/types.h"

/* Log-linear histogram: 8 sub-buckets per power of two, values 0 .. 2^40 ns, relative error <= 12.5 %. */
#define HN_HIST_SUB_BITS 3
#define HN_HIST_BUCKETS ((40 - HN_HIST_SUB_BITS + 1) << HN_HIST_SUB_BITS)

struct hn_hist {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t bucket[HN_HIST_BUCKETS];
};

/* A snapshot of cumulative counters, taken by the scanner about once a second; times are ms since the agent started. */
struct hn_series_point {
	uint64_t time_ms;
	uint64_t samples;
	uint64_t local;
	uint64_t migrated;
	uint64_t armed;
};

#define HN_SERIES_MAX 256

struct hn_series {
	uint32_t nr;        /* points valid; when full every other point is dropped and the interval doubles */
	uint32_t every;     /* record one of so many offered points */
	uint32_t skipped;
	uint32_t pad;
	struct hn_series_point point[HN_SERIES_MAX];
};

struct hn_stats {
	/* arming */
	uint64_t armed;                              /* pages armed so far */
	uint64_t arm_refused[HN_NR_ARM_ERRORS];      /* pages the kernel would not let us arm */
	uint64_t disarmed_total;                     /* armed hints ended so far */
	uint64_t disarmed[HN_NR_DISARM_CAUSES];
	/* faults */
	uint64_t messages;                           /* fault messages handed to hn_fault */
	uint64_t samples;                            /* hint faults accounted: one per armed hint that was touched */
	uint64_t local;
	uint64_t refused[HN_NR_REFUSALS];
	uint64_t migrated;
	uint64_t failed[HN_NR_FAILURES];
	uint64_t raced;
	uint64_t stale;
	uint64_t waited;
	uint64_t deferred;
	uint64_t unmanaged;                          /* messages for addresses without an entry (first touches, moved ranges) */
	uint64_t sample_from[HN_MAX_NODES];          /* samples by the node of the faulting thread */
	uint64_t migrated_to[HN_MAX_NODES];
	uint64_t migrated_for[HN_NR_REASONS];
	uint64_t rule_stayed[HN_MAX_RULES];          /* by the rule of a plug-in policy: samples after which the page stayed ... */
	uint64_t rule_moved[HN_MAX_RULES];           /* ... and migrations; what limits forbade is in neither */
	uint64_t demoted;                            /* cold pages sent to a slow node; in none of the counts of faults */
	uint64_t demote_failed[HN_NR_FAILURES];
	uint64_t demote_touched;                     /* not sent: somebody touched it during the copy */
	uint64_t demote_raced;                       /* the program changed the memory meanwhile */
	/* gauges */
	uint64_t managed_pages;                      /* entries MAPPED or ARMED now */
	uint64_t managed_peak_pages;
	uint64_t armed_now;                          /* entries ARMED now */
	/* anomalies the program never sees, but its owner should */
	uint64_t collisions;                         /* base pages found in place already by a put-back that had to copy */
	uint64_t pages_lost_huge;                    /* managed pages found no longer huge */
	/* times, ns */
	struct hn_hist fault_service_ns;             /* thread known to wait -> page back in the program, all accounted faults */
	struct hn_hist migration_stall_ns;           /* the same, of faults that migrated their page or gave that up in time */
	struct hn_hist migration_cpu_ns;             /* of these: CPU time of the handler from the decision to the end */
	struct hn_series series;
};

void hn_hist_add(struct hn_hist *h, uint64_t ns);
/* The value below which `permille`/1000 of the samples lie, ns (upper edge of its bucket, at most max); 0 when empty. */
uint64_t hn_hist_percentile(const struct hn_hist *h, unsigned permille);
/* Lower edge of bucket i, ns. */
uint64_t hn_hist_bucket_floor(unsigned i);

/* Offer a snapshot of s's own counters; kept or dropped by the decimation rule. One caller at a time. */
void hn_series_offer(struct hn_stats *s, uint64_t time_ms);

/* True when the conservation equations hold; call only when no fault is in service. */
bool hn_stats_balanced(const struct hn_stats *s);

#endif
