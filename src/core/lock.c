// SPDX-License-Identifier: MIT
/*
 * lock.c - the entry lock: a word that is 0 free, 1 held, 2 held with sleepers.
 */
#include "core/lock.h"

bool hn_lock_try(struct hn_word *w)
{
	return hn_cas_acquire(w, 0, 1);
}

void hn_lock(struct hn_word *w)
{
	if (hn_lock_try(w))
		return;
	/* From here on the word is left at 2 when we get it, so that our own unlock wakes the next sleeper. */
	while (hn_swap_acq_rel(w, 2) != 0)
		hn_wait_while(w, 2);
}

void hn_unlock(struct hn_word *w)
{
	/* Release pairs with the acquire of the next owner in hn_lock. */
	if (hn_swap_acq_rel(w, 0) == 2)
		hn_wake(w, 1);
}
