// SPDX-License-Identifier: MIT
/*
 * history.h - the last eight samples of a page in one word: enough to tell a page that has a new user from one that has
 * several. Newest in the lowest byte; 0: none, else node + 1, and the top bit when the thread was that of the sample before.
 */
#ifndef HN_CORE_HISTORY_H
#define HN_CORE_HISTORY_H

#include "core/types.h"

#define HN_HISTORY_SAMPLES 8u

_Static_assert(HN_MAX_NODES <= 126, "a node and a flag fit a byte");

static inline uint64_t hn_history_push(uint64_t h, int nid, bool same_thread)
{
	return h << 8 | (uint64_t)(nid < 0 ? 0 : nid + 1) | (same_thread ? 0x80u : 0);
}

/* Node of the i-th newest sample, HN_NO_NODE when there is none or it was not known. */
static inline int hn_history_node(uint64_t h, unsigned i) { return (int)(h >> (8 * i) & 0x7f) - 1; }

static inline bool hn_history_same_thread(uint64_t h, unsigned i) { return (h >> (8 * i) & 0x80) != 0; }

static inline unsigned hn_history_count(uint64_t h, int nid)
{
	unsigned i, n = 0;

	for (i = 0; i < HN_HISTORY_SAMPLES; i++)
		n += hn_history_node(h, i) == nid;
	return n;
}

/* Samples from any known node. */
static inline unsigned hn_history_samples(uint64_t h) { return HN_HISTORY_SAMPLES - hn_history_count(h, HN_NO_NODE); }

/* How many samples in a row, the newest first, came from the newest one's node. */
static inline unsigned hn_history_run(uint64_t h)
{
	int nid = hn_history_node(h, 0);
	unsigned n = 0;

	while (nid != HN_NO_NODE && n < HN_HISTORY_SAMPLES && hn_history_node(h, n) == nid)
		n++;
	return n;
}

/* All that fit in came from one node. */
static inline bool hn_history_all_same(uint64_t h) { return hn_history_run(h) == HN_HISTORY_SAMPLES; }

/* All samples there are came from one thread, two at least. The flag of the oldest one says nothing. */
static inline bool hn_history_one_thread(uint64_t h)
{
	unsigned i;

	for (i = 1; i < HN_HISTORY_SAMPLES && hn_history_node(h, i) != HN_NO_NODE; i++)
		if (!hn_history_same_thread(h, i - 1))
			return false;
	return i > 1 && hn_history_node(h, 0) != HN_NO_NODE;
}

#endif
