// SPDX-License-Identifier: MIT
/*
 * sync_native.c - sync.h for real threads: compiler atomics and private futexes. Needs no thread-local storage, so it
 * serves the agent's bare threads as well as ordinary ones. Words in shared memory are never waited on.
 */
#include "core/sync.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#include "linux/block.h"
#include "linux/sys.h"

uint32_t hn_load_relaxed(const struct hn_word *w) { return __atomic_load_n(&w->v, __ATOMIC_RELAXED); }
uint32_t hn_load_acquire(const struct hn_word *w) { return __atomic_load_n(&w->v, __ATOMIC_ACQUIRE); }
void hn_store_relaxed(struct hn_word *w, uint32_t v) { __atomic_store_n(&w->v, v, __ATOMIC_RELAXED); }
void hn_store_release(struct hn_word *w, uint32_t v) { __atomic_store_n(&w->v, v, __ATOMIC_RELEASE); }

bool hn_cas_acquire(struct hn_word *w, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&w->v, &from, to, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

bool hn_cas_release(struct hn_word *w, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&w->v, &from, to, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

uint32_t hn_swap_acq_rel(struct hn_word *w, uint32_t v) { return __atomic_exchange_n(&w->v, v, __ATOMIC_ACQ_REL); }

uint32_t hn_add_acq_rel(struct hn_word *w, uint32_t delta) { return __atomic_fetch_add(&w->v, delta, __ATOMIC_ACQ_REL); }

uint32_t hn_add_masked(struct hn_word *w, uint32_t delta, uint32_t mask)
{
	return __atomic_fetch_add(&w->v, delta, __ATOMIC_ACQ_REL) & mask;
}

uint32_t hn_and_acq_rel(struct hn_word *w, uint32_t keep) { return __atomic_fetch_and(&w->v, keep, __ATOMIC_ACQ_REL); }

void hn_wait_while(struct hn_word *w, uint32_t v)
{
	HN_SYS_BLOCK(SYS_futex, &w->v, FUTEX_WAIT_PRIVATE, v, NULL, 0, 0);
}

void hn_wake(struct hn_word *w, int nr)
{
	hn_sys_futex(&w->v, FUTEX_WAKE_PRIVATE, (uint32_t)nr, NULL);
}

void hn_stat_add(uint64_t *counter, uint64_t delta) { __atomic_fetch_add(counter, delta, __ATOMIC_RELAXED); }

uint64_t hn_stat_read(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }

void hn_stat_max(uint64_t *counter, uint64_t v)
{
	uint64_t now = hn_stat_read(counter);

	while (now < v && !__atomic_compare_exchange_n(counter, &now, v, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}
