// SPDX-License-Identifier: MIT
/*
 * tier.h - fast and slow nodes: which pages of slow nodes are hot, how many may be promoted, and what a fast node that runs
 * low on memory gives away. Pure: the caller brings time, memory and distances. docs/policy.md says what the kernel does.
 */
#ifndef HN_CORE_TIER_H
#define HN_CORE_TIER_H

#include "core/types.h"

#define HN_TIER_TUNE_MS 10000u /* the threshold is looked at so often */

/*
 * The threshold, and what happened since it was last looked at. A page of a slow node is hot when it is touched within
 * hot_ms of its hint. Handlers count without a lock: a page too many is no harm.
 */
struct hn_tier {
	uint32_t hot_ms;
	uint32_t second_ms, second_pages; /* promoted since second_ms */
	uint32_t tuned_ms;
	uint32_t promoted;  /* pages that really moved */
	uint32_t too_cold;  /* samples refused by the threshold ... */
	uint32_t over_rate; /* ... and by the rate */
	uint32_t bounced;   /* promoted pages that had been demoted a short while ago */
};

void hn_tier_start(struct hn_tier *t, uint32_t hot_ms, uint32_t now_ms);
/* The threshold now. */
static inline uint32_t hn_tier_hot_ms(const struct hn_tier *t) { return __atomic_load_n(&t->hot_ms, __ATOMIC_RELAXED); }
/* May one more page be promoted in this second? rate_pages 0: always. */
bool hn_tier_within_rate(struct hn_tier *t, uint32_t rate_pages, uint32_t now_ms);
/* A page has been promoted. */
void hn_tier_promoted(struct hn_tier *t, bool bounced);
/*
 * One thread, now and then: adapt the threshold, in steps of an eighth of base_ms, between that and twice base_ms. True
 * when it was looked at.
 */
bool hn_tier_tune(struct hn_tier *t, uint32_t base_ms, uint32_t rate_pages, uint32_t now_ms);

/* What there is of one node, pages. total 0: not known. */
struct hn_tier_memory {
	uint64_t total, free;
};

struct hn_tier_machine {
	uint32_t nr_nodes;
	uint64_t slow;         /* bit n: node n is a slow one */
	uint64_t allowed;      /* bit n: pages may go to node n */
	uint32_t low_permille; /* a node with less than this free is low on memory; 1..500 */
	uint8_t (*distance)[HN_MAX_NODES]; /* as in ACPI SLIT */
	uint64_t demoting;     /* bit n: node n was low, and has not given away yet what was planned then */
};

/* What fast nodes are to do; nodes of which nothing is known are neither low nor roomy. */
struct hn_tier_plan {
	uint64_t full;  /* bit n: low on memory, nothing is promoted there */
	uint64_t roomy; /* bit n: so much is free that everything used may come */
	int8_t target[HN_MAX_NODES];  /* cold pages go there; HN_NO_NODE: they stay */
	uint32_t pages[HN_MAX_NODES]; /* so many of them, for now */
};

void hn_tier_make_plan(const struct hn_tier_machine *m, const struct hn_tier_memory *mem, struct hn_tier_plan *plan);

#endif
