// SPDX-License-Identifier: MIT
/*
 * sync.h - the only synchronisation the engine uses: words with named-order operations, and wait/wake on a word.
 *
 * Declared here, bound at link time: src/linux/sync_native.c for real threads, the checker's own for exploration.
 * The memory order is in each name so that every release has a findable acquire. A waiter may return spuriously.
 */
#ifndef HN_CORE_SYNC_H
#define HN_CORE_SYNC_H

#include "core/types.h"

struct hn_word {
	uint32_t v;
};

uint32_t hn_load_relaxed(const struct hn_word *w);
uint32_t hn_load_acquire(const struct hn_word *w);
void hn_store_relaxed(struct hn_word *w, uint32_t v);
void hn_store_release(struct hn_word *w, uint32_t v);
/* Compare and swap; true when *w was `from` and is now `to`. Acquire on success, relaxed on failure. */
bool hn_cas_acquire(struct hn_word *w, uint32_t from, uint32_t to);
bool hn_cas_release(struct hn_word *w, uint32_t from, uint32_t to);
uint32_t hn_swap_acq_rel(struct hn_word *w, uint32_t v);
/* Returns the value before the addition. */
uint32_t hn_add_acq_rel(struct hn_word *w, uint32_t delta);

/*
 * Add delta and return only the bits of `mask` as they were before. No addition to the word may ever carry into or out
 * of these bits: what one addition returns can then not depend on another, which is what lets the checker treat them as
 * independent. A mask of 0 says that the old value does not matter.
 */
uint32_t hn_add_masked(struct hn_word *w, uint32_t delta, uint32_t mask);
/* Clear the bits not in `keep`; returns the value before. */
uint32_t hn_and_acq_rel(struct hn_word *w, uint32_t keep);

/* Sleep while *w == v. Returns at once when it differs; may return early. */
void hn_wait_while(struct hn_word *w, uint32_t v);
/* Wake up to nr sleepers on w. */
void hn_wake(struct hn_word *w, int nr);

/* Statistics only: relaxed 64-bit adds, no ordering promised. */
void hn_stat_add(uint64_t *counter, uint64_t delta);
uint64_t hn_stat_read(const uint64_t *counter);
/* Raise *counter to at least v. */
void hn_stat_max(uint64_t *counter, uint64_t v);

#endif
