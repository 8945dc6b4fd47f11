// SPDX-License-Identifier: MIT
/*
 * advise.h - what a region's samples recommend to whoever can change the program or how it is started.
 */
#ifndef HN_CONTROL_ADVISE_H
#define HN_CONTROL_ADVISE_H

#include "agent/layout.h"

/* Below so many samples nothing is said. */
#define HN_ADVISE_SAMPLES 32u

enum hn_advice_kind {
	HN_ADVICE_WAIT,       /* too few samples */
	HN_ADVICE_BIND,       /* to `node` */
	HN_ADVICE_PLACED,     /* used from `node`, and there already */
	HN_ADVICE_SPLIT,      /* every part is where it is used: leave alone */
	HN_ADVICE_INTERLEAVE, /* over `nodes` */
	HN_ADVICE_SETTLING,   /* nothing clear yet */
	HN_NR_ADVICES,
};

struct hn_advice {
	enum hn_advice_kind kind;
	int node;                /* who uses it most, HN_NO_NODE without samples */
	uint64_t nodes;          /* bit i: node i has at least half of a fair share of the samples */
	uint64_t samples;        /* by node of the thread, added up */
	unsigned node_percent;   /* of the samples from `node` */
	unsigned placed_percent; /* of the pages that are on `node` */
	unsigned local_percent;  /* of the samples lately, or of all where there are few */
};

struct hn_advice hn_advise(const struct hn_region_row *r, uint32_t nr_nodes);

#endif
