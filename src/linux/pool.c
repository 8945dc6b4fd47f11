// SPDX-License-Identifier: MIT
/*
 * pool.c - huge pages ready to receive: migration targets and first touches.
 *
 * Each node has a few slots, bound to it on a real machine. A slot is empty (no page), ready (zeroed, huge), used
 * (a page of unknown content, good as a target only) or taken. The keeper fills slots off the fault path while there
 * is demand and empties them when there is none, so that an idle agent holds no huge page at all. A page that left
 * through a move leaves its slot empty; old frames never come here (they go back to the kernel, see mover.c).
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

enum slot_state { SLOT_EMPTY, SLOT_READY, SLOT_USED, SLOT_TAKEN };

#define READY_PER_NODE 2
#define IDLE_MS 3000

static uint32_t pool_nodes(const struct hn_live *live) { return live->setup.is_virtual ? 1 : live->setup.nr_nodes; }

static uint32_t first_slot(const struct hn_live *live, int nid)
{
	return live->setup.is_virtual ? 0 : (uint32_t)nid * HN_POOL_PER_NODE;
}

char *hn_pool_addr(const struct hn_live *live, uint32_t slot)
{
	return live->pool + (uint64_t)slot * HN_PAGE_SIZE;
}

static uint32_t now_ms(struct hn_live *live)
{
	(void)live;
	return (uint32_t)(hn_live_now_ns(NULL) / 1000000);
}

int hn_pool_bind(struct hn_live *live)
{
	uint32_t n;

	if (live->setup.is_virtual)
		return 0;
	for (n = 0; n < pool_nodes(live); n++) {
		unsigned long mask[16] = { 0 };
		int os = live->setup.os_nid[n];
		long err;

		mask[os / 64] = 1ul << (os % 64);
		err = HN_SYS(SYS_mbind, hn_pool_addr(live, first_slot(live, (int)n)), HN_POOL_PER_NODE * HN_PAGE_SIZE, MPOL_BIND,
			     mask, 1024, 0);
		if (err)
			return (int)err;
	}
	return 0;
}

/* Have a zeroed huge page in a slot that is ours alone. */
static int populate(struct hn_live *live, uint32_t slot)
{
	char *at = hn_pool_addr(live, slot);
	long err = hn_sys_madvise(at, HN_PAGE_SIZE, HN_MADV_POPULATE_WRITE);

	if (err == 0 && hn_pagemap_is_huge(live->fd_pagemap, (hn_addr)(uintptr_t)at))
		return 0;
	/* Small pages are of no use here, and a half-filled slot would split the next page moved from it. */
	hn_sys_madvise(at, HN_PAGE_SIZE, MADV_DONTNEED);
	return -ENOMEM;
}

static bool take(struct hn_live *live, uint32_t first, enum slot_state want, uint32_t *slot)
{
	uint32_t i;

	for (i = 0; i < HN_POOL_PER_NODE; i++) {
		struct hn_word *w = &live->pool_slot[first + i].state;

		if (hn_load_relaxed(w) == want && hn_cas_acquire(w, want, SLOT_TAKEN)) {
			*slot = first + i;
			return true;
		}
	}
	return false;
}

static void set_state(struct hn_live *live, uint32_t slot, enum slot_state state)
{
	hn_store_release(&live->pool_slot[slot].state, state);
}

/* Make the keeper look; cheap when it is looking already. */
static void demand(struct hn_live *live)
{
	hn_store_relaxed(&live->pool_used_ms, now_ms(live));
	if (hn_swap_acq_rel(&live->pool_kick, 1) == 0)
		hn_wake(&live->pool_kick, 1);
}

int hn_pool_get(struct hn_live *live, int nid, bool zeroed, uint32_t *slot)
{
	uint32_t first = first_slot(live, nid);
	int err = 0;

	if (!(!zeroed && take(live, first, SLOT_USED, slot)) && !take(live, first, SLOT_READY, slot)) {
		if (!take(live, first, SLOT_EMPTY, slot) && !(zeroed && take(live, first, SLOT_USED, slot)))
			return -ENOMEM;
		if (zeroed)
			hn_sys_madvise(hn_pool_addr(live, *slot), HN_PAGE_SIZE, MADV_DONTNEED);
		err = populate(live, *slot);
		if (err)
			set_state(live, *slot, SLOT_EMPTY);
	}
	demand(live);
	return err;
}

void hn_pool_put(struct hn_live *live, uint32_t slot) { set_state(live, slot, SLOT_USED); }

void hn_pool_put_zeroed(struct hn_live *live, uint32_t slot) { set_state(live, slot, SLOT_READY); }

void hn_pool_gone(struct hn_live *live, uint32_t slot) { set_state(live, slot, SLOT_EMPTY); }

static uint32_t count_ready(const struct hn_live *live, uint32_t first)
{
	uint32_t i, n = 0;

	for (i = 0; i < HN_POOL_PER_NODE; i++) {
		uint32_t s = hn_load_relaxed(&live->pool_slot[first + i].state);

		n += s == SLOT_READY || s == SLOT_USED;
	}
	return n;
}

static void fill(struct hn_live *live, uint32_t first)
{
	uint32_t slot;

	while (count_ready(live, first) < READY_PER_NODE && take(live, first, SLOT_EMPTY, &slot)) {
		int err = populate(live, slot);

		set_state(live, slot, err ? SLOT_EMPTY : SLOT_READY);
		if (err)
			return;
	}
}

static void give_back(struct hn_live *live, uint32_t first)
{
	uint32_t slot;

	while (take(live, first, SLOT_READY, &slot) || take(live, first, SLOT_USED, &slot)) {
		hn_sys_madvise(hn_pool_addr(live, slot), HN_PAGE_SIZE, MADV_DONTNEED);
		set_state(live, slot, SLOT_EMPTY);
	}
}

uint32_t hn_pool_tend(struct hn_live *live)
{
	bool wanted = hn_swap_acq_rel(&live->pool_kick, 0) != 0;
	bool idle = now_ms(live) - hn_load_relaxed(&live->pool_used_ms) > IDLE_MS;
	uint32_t n;

	for (n = 0; n < pool_nodes(live); n++) {
		if (wanted)
			fill(live, first_slot(live, (int)n));
		else if (idle)
			give_back(live, first_slot(live, (int)n));
	}
	return idle && !wanted ? 60000 : IDLE_MS;
}
