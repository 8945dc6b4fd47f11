// SPDX-License-Identifier: MIT
/*
 * pool.c - huge pages ready to receive: migration targets and first touches.
 *
 * Each node has a few slots, which prefer it on a real machine. A slot is empty (no page), ready (zeroed, huge), used
 * (a page of unknown content, good as a target only) or taken. The keeper fills slots off the fault path while there
 * is demand and empties them when there is none, so that an idle agent holds no huge page at all. A page that left
 * through a move leaves its slot empty; old frames never come here (they go back to the kernel, see mover.c).
 *
 * A node may have no huge page to give. Slots only prefer their node, because the kernel kills a program that runs out
 * of memory it is bound to; what comes is looked at, and given back unless it is huge and on the right node. The kernel
 * may also compact memory for as long as it sees fit: after a failure or a slow success only the keeper asks for pages of
 * that node, and after failures ever less often.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <time.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

enum slot_state { SLOT_EMPTY, SLOT_READY, SLOT_USED, SLOT_TAKEN };

#define READY_PER_NODE 2
#define IDLE_MS 3000
#define SLOW_NS 50000000u   /* of CPU time; zeroing a page takes a hundredth of it: somebody compacted */
#define AGAIN_MS 250u       /* after a failure; doubles with each in a row ... */
#define AGAIN_DOUBLINGS 6u  /* ... so many times */
#define WANTED_MS 60000u    /* how long after the last demand a node in trouble is asked for */

static uint32_t pool_nodes(const struct hn_live *live) { return live->setup.is_virtual ? 1 : live->setup.nr_nodes; }

static uint32_t node_of_slot(uint32_t slot) { return slot / HN_POOL_PER_NODE; }

static uint32_t first_slot(const struct hn_live *live, int nid)
{
	return live->setup.is_virtual ? 0 : (uint32_t)nid * HN_POOL_PER_NODE;
}

char *hn_pool_addr(const struct hn_live *live, uint32_t slot)
{
	return live->pool + (uint64_t)slot * HN_PAGE_SIZE;
}

/* ---- one page ---- */

/* Static: a change of the program's cpuset must not turn one node into another. */
static long prefer_node(struct hn_live *live, uint32_t slot, uint32_t nr)
{
	unsigned long mask[16] = { 0 };
	int os = live->setup.os_nid[node_of_slot(slot)];

	if (live->setup.is_virtual)
		return 0;
	mask[os / 64] = 1ul << (os % 64);
	return HN_SYS(SYS_mbind, hn_pool_addr(live, slot), nr * HN_PAGE_SIZE, MPOL_PREFERRED | MPOL_F_STATIC_NODES, mask,
		      1024, 0);
}

/* A node that this process may not use at the moment (EINVAL: its cpuset) is asked for again when a page is wanted. */
int hn_pool_bind(struct hn_live *live)
{
	uint32_t n;

	for (n = 0; n < pool_nodes(live); n++) {
		long err = prefer_node(live, n * HN_POOL_PER_NODE, HN_POOL_PER_NODE);

		if (err && err != -EINVAL)
			return (int)err;
		live->pool_node[n].unbound = err != 0;
	}
	return 0;
}

static void set_unbound(struct hn_live *live, uint32_t n, bool to)
{
	__atomic_store_n(&live->pool_node[n].unbound, to, __ATOMIC_RELAXED);
}

/*
 * False: the process still may not. Slot by slot, for one may be gone. The mark is taken away first: a slot that is renewed
 * meanwhile puts it back.
 */
static bool bind_again(struct hn_live *live, uint32_t n)
{
	uint32_t i;

	if (!__atomic_load_n(&live->pool_node[n].unbound, __ATOMIC_RELAXED))
		return true;
	set_unbound(live, n, false);
	for (i = 0; i < HN_POOL_PER_NODE; i++)
		if (prefer_node(live, n * HN_POOL_PER_NODE + i, 1) == -EINVAL) {
			set_unbound(live, n, true);
			return false;
		}
	return true;
}

/* False when the page is still there. A locked one (mlockall without libc) has to go too. */
static bool drop(struct hn_live *live, uint32_t slot)
{
	return hn_sys_madvise(hn_pool_addr(live, slot), HN_PAGE_SIZE, HN_MADV_DONTNEED_LOCKED) == 0;
}

/*
 * After a small page the kernel keeps the page table, and no huge page would ever come here again: the slot gets a new
 * mapping. False: it is of no use any more. Where the process may not use the node at the moment, all slots of the node are bound
 * anew before the next page is asked for.
 */
static bool renew(struct hn_live *live, uint32_t slot)
{
	long err;

	if (hn_area_renew(hn_pool_addr(live, slot), HN_PAGE_SIZE, true))
		return false;
	err = prefer_node(live, slot, 1);
	if (err == -EINVAL)
		set_unbound(live, node_of_slot(slot), true);
	return err == 0 || err == -EINVAL;
}

static bool on_its_node(struct hn_live *live, uint32_t slot)
{
	return live->setup.is_virtual ||
	       hn_os_node(hn_pool_addr(live, slot)) == live->setup.os_nid[node_of_slot(slot)];
}

/* With a ceiling for stalls a page must leave some of that time for the copy. */
static uint64_t slow_ns(const struct hn_live *live)
{
	uint64_t half = live->setup.max_stall_us * 500ull;

	return half && half < SLOW_NS ? half : SLOW_NS;
}

static void note_result(struct hn_live *live, uint32_t n, int err, uint64_t took_ns)
{
	struct hn_pool_node *p = &live->pool_node[n];
	uint32_t trouble = hn_load_relaxed(&p->trouble);

	if (err == 0 && took_ns < slow_ns(live)) {
		hn_store_relaxed(&p->trouble, 0);
		return;
	}
	if (err)
		hn_store_relaxed(&p->not_before_ms,
				 hn_live_now_ms() + (AGAIN_MS << (trouble < AGAIN_DOUBLINGS ? trouble : AGAIN_DOUBLINGS)));
	else if (trouble)
		return;
	hn_store_relaxed(&p->trouble, trouble + 1);
}

/* ---- filling ---- */

enum got { GOT_IT, GOT_NONE, GOT_STUCK };

/* Have a zeroed huge page in an empty slot that is ours alone: one touch, and a look at what came of it. */
static enum got populate(struct hn_live *live, uint32_t slot)
{
	char *at = hn_pool_addr(live, slot);
	uint64_t start = hn_live_cpu_ns(NULL); /* who asks compacts, on its own time; the clock on the wall says nothing */
	uint32_t before_kib = hn_room_kib(live, node_of_slot(slot));
	bool huge = false, good;

	if (!bind_again(live, node_of_slot(slot))) {
		note_result(live, node_of_slot(slot), -ENOMEM, 0);
		return GOT_NONE;
	}
	if (hn_sys_madvise(at, HN_BASE_SIZE, HN_MADV_POPULATE_WRITE) == 0)
		huge = hn_pagemap_is_huge(live->fd_pagemap, (hn_addr)(uintptr_t)at);
	good = huge && on_its_node(live, slot);
	if (hn_load_acquire(&live->pool_hidden)) /* no wonder, and nobody's fault */
		return good ? GOT_IT : GOT_NONE;
	note_result(live, node_of_slot(slot), good ? 0 : -ENOMEM, hn_live_cpu_ns(NULL) - start);
	if (good) {
		hn_room_note_enough(live, node_of_slot(slot), before_kib);
		return GOT_IT;
	}
	return (huge ? drop(live, slot) : renew(live, slot)) ? GOT_NONE : GOT_STUCK;
}

/* ---- slots ---- */

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

/* Fill a taken slot, or give it back; one that is stuck stays taken for good. */
static int fill_taken(struct hn_live *live, uint32_t slot)
{
	enum got got = populate(live, slot);

	if (got == GOT_NONE)
		set_state(live, slot, SLOT_EMPTY);
	return got == GOT_IT ? 0 : -ENOMEM;
}

static void drop_taken(struct hn_live *live, uint32_t slot)
{
	set_state(live, slot, drop(live, slot) ? SLOT_EMPTY : SLOT_USED);
}

/* Make the keeper look; cheap when it is looking already. */
static void demand(struct hn_live *live, uint32_t first)
{
	uint32_t now = hn_live_now_ms();

	hn_store_relaxed(&live->pool_node[node_of_slot(first)].wanted_ms, now ? now : 1);
	if (hn_swap_acq_rel(&live->pool_kick, 1) == 0)
		hn_wake(&live->pool_kick, 1);
}

static int get_now(struct hn_live *live, uint32_t first, bool zeroed, uint32_t *slot)
{
	if ((!zeroed && take(live, first, SLOT_USED, slot)) || take(live, first, SLOT_READY, slot))
		return 0;
	if (hn_load_relaxed(&live->pool_node[node_of_slot(first)].trouble) || hn_load_acquire(&live->pool_hidden))
		return -ENOMEM; /* a fault must not wait for it: the keeper's business */
	if (take(live, first, SLOT_EMPTY, slot))
		return fill_taken(live, *slot);
	if (!zeroed || !take(live, first, SLOT_USED, slot))
		return -ENOMEM;
	if (drop(live, *slot))
		return fill_taken(live, *slot);
	set_state(live, *slot, SLOT_USED);
	return -ENOMEM;
}

int hn_pool_get(struct hn_live *live, int nid, bool zeroed, uint32_t *slot)
{
	uint32_t first = first_slot(live, nid);
	int err = get_now(live, first, zeroed, slot);

	demand(live, first);
	return err;
}

/* A move that was broken off has taken a part of it and left a page table. */
static void put(struct hn_live *live, uint32_t slot, enum slot_state state)
{
	if (!hn_pagemap_is_huge(live->fd_pagemap, (hn_addr)(uintptr_t)hn_pool_addr(live, slot))) {
		if (!renew(live, slot))
			return; /* stuck: it stays taken for good */
		state = SLOT_EMPTY;
	}
	set_state(live, slot, state);
}

void hn_pool_put(struct hn_live *live, uint32_t slot) { put(live, slot, SLOT_USED); }

void hn_pool_put_zeroed(struct hn_live *live, uint32_t slot) { put(live, slot, SLOT_READY); }

void hn_pool_gone(struct hn_live *live, uint32_t slot) { set_state(live, slot, SLOT_EMPTY); }

void hn_pool_drop(struct hn_live *live, uint32_t slot) { drop_taken(live, slot); }

bool hn_pool_free_page(struct hn_live *live, uint32_t slot) { return drop(live, slot); }

/* ---- room for pages that the kernel itself allocates ---- */

#define PROBES 3

/* With less free than ever before: some more pages show whether that is enough, too. */
static void probe_room(struct hn_live *live, uint32_t first)
{
	uint32_t slot[PROBES], n = 0;

	while (n < PROBES && take(live, first, SLOT_EMPTY, &slot[n]) && fill_taken(live, slot[n]) == 0)
		n++;
	while (n)
		drop_taken(live, slot[--n]);
}

bool hn_pool_has_room(struct hn_live *live, uint32_t slot)
{
	uint32_t n = node_of_slot(slot);
	struct hn_pool_node *p = &live->pool_node[n];

	if (hn_room_is_scarce(live, n))
		return false;
	if (hn_room_is_enough(live, n))
		return true;
	if (hn_load_relaxed(&p->trouble)) {
		hn_store_relaxed(&p->probe, 1);
		return false;
	}
	probe_room(live, n * HN_POOL_PER_NODE);
	return hn_room_is_enough(live, n);
}

void hn_pool_note_scarce(struct hn_live *live, uint32_t slot) { hn_room_note_scarce(live, node_of_slot(slot)); }

/* ---- the keeper ---- */

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
		if (fill_taken(live, slot))
			return;
		set_state(live, slot, SLOT_READY);
	}
}

static void give_back(struct hn_live *live, uint32_t first)
{
	uint32_t slot;

	while (take(live, first, SLOT_READY, &slot) || take(live, first, SLOT_USED, &slot)) {
		if (!drop(live, slot)) {
			set_state(live, slot, SLOT_USED);
			return;
		}
		set_state(live, slot, SLOT_EMPTY);
	}
}

/* Returns when to look at this node again, in ms. */
static uint32_t tend_node(struct hn_live *live, uint32_t n)
{
	struct hn_pool_node *p = &live->pool_node[n];
	uint32_t now = hn_live_now_ms(), wanted = hn_load_relaxed(&p->wanted_ms), since = now - wanted;
	bool trouble = hn_load_relaxed(&p->trouble) != 0;
	uint32_t wait = trouble ? hn_ms_left(hn_load_relaxed(&p->not_before_ms), now, AGAIN_MS << AGAIN_DOUBLINGS) : 0;

	if (wanted && since < (trouble ? WANTED_MS : IDLE_MS)) {
		if (wait)
			return wait;
		fill(live, n * HN_POOL_PER_NODE);
		if (hn_swap_acq_rel(&p->probe, 0))
			probe_room(live, n * HN_POOL_PER_NODE);
		trouble = hn_load_relaxed(&p->trouble) != 0;
		return trouble ? AGAIN_MS : IDLE_MS;
	}
	give_back(live, n * HN_POOL_PER_NODE);
	return 60000;
}

uint32_t hn_pool_tend(struct hn_live *live)
{
	uint32_t n, next = 60000;

	hn_swap_acq_rel(&live->pool_kick, 0);
	if (hn_load_acquire(&live->pool_hidden))
		return AGAIN_MS;
	for (n = 0; n < pool_nodes(live); n++) {
		uint32_t ms = tend_node(live, n);

		next = ms < next ? ms : next;
	}
	return next;
}
