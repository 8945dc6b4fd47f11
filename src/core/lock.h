// SPDX-License-Identifier: MIT
/*
 * lock.h - a small sleeping lock on one word; used for entries, and by backends for their own tables.
 */
#ifndef HN_CORE_LOCK_H
#define HN_CORE_LOCK_H

#include "core/sync.h"

/* The word: 0 free, 1 held, 2 held and somebody sleeps. Zero-initialised is free. Not recursive. */
bool hn_lock_try(struct hn_word *w);
void hn_lock(struct hn_word *w);
void hn_unlock(struct hn_word *w);

#endif
