// SPDX-License-Identifier: MIT
/* scenarios_lock.c - the engine's own locks by themselves: entry lock, page lock and waiters, event gate. */
#include "check/roles.h"
#include "core/internal.h"

/* flag[0] is the lock, flag[1] counts who is inside, flag[2] how often somebody was. */
static void enter_leave(struct ck_world *w, bool alone)
{
	uint32_t inside = hn_add_acq_rel(&w->flag[1], 1);

	if (alone && inside != 0)
		ck_violated(4, "two are inside at once");
	hn_add_acq_rel(&w->flag[1], (uint32_t)-1);
	w->flag[2].v++;
}

static void use_lock(void *arg)
{
	struct ck_world *w = ck_now->world;

	(void)arg;
	hn_lock(&w->flag[0]);
	enter_leave(w, true);
	hn_unlock(&w->flag[0]);
}

static void use_page_lock(void *arg)
{
	(void)arg;
	if (!hn_page_trylock(ck_hn(), 0))
		return;
	enter_leave(ck_now->world, true);
	hn_page_unlock(ck_hn(), 0);
}

static void wait_for_page(void *arg)
{
	(void)arg;
	hn_page_wait(ck_hn(), 0);
}

/* Writers alone, readers only with readers; the reader's own check is that no writer is inside. */
static void read_side(void *arg)
{
	struct ck_world *w = ck_now->world;

	(void)arg;
	hn_gate_read_lock(ck_hn());
	if (hn_load_acquire(&w->flag[1]) != 0)
		ck_violated(4, "a reader is inside the gate together with a writer");
	hn_add_masked(&w->flag[3], 1, 0);
	hn_gate_read_unlock(ck_hn());
}

static void write_side(void *arg)
{
	struct ck_world *w = ck_now->world;

	(void)arg;
	hn_gate_write_lock(ck_hn());
	if (hn_swap_acq_rel(&w->flag[1], 1) != 0)
		ck_violated(4, "two writers are inside the gate");
	hn_store_release(&w->flag[1], 0);
	hn_gate_write_unlock(ck_hn());
}

static void lock_is_free(struct ck_world *w)
{
	if (w->flag[0].v || w->flag[1].v || ((struct hn_core *)w->core)->gate.v)
		ck_violated(4, "a lock is not free at the end");
}

#define ROLE(what, f) { .name = (what), .fn = (f) }

const struct ck_scenario ck_lock_scenarios[] = {
	{ .name = "lock_vs_lock_vs_lock", .about = "the entry lock, three ask for it", .races = "R17", .ways = CK_MOVE_ONLY,
	  .check = lock_is_free,
	  .role = { ROLE("a", use_lock), ROLE("b", use_lock), ROLE("c", use_lock) } },
	{ .name = "page_lock_vs_waiter", .about = "the page lock, two owners and one who waits until it is free",
	  .races = "R17", .ways = CK_MOVE_ONLY, .check = lock_is_free,
	  .role = { ROLE("a", use_page_lock), ROLE("b", use_page_lock), ROLE("waiter", wait_for_page) } },
	{ .name = "gate_reader_vs_writer", .about = "the event gate, two readers and a writer", .races = "R15",
	  .ways = CK_MOVE_ONLY, .check = lock_is_free,
	  .role = { ROLE("reader 1", read_side), ROLE("reader 2", read_side), ROLE("writer", write_side) } },
	{ .name = "gate_writer_vs_writer", .about = "the event gate, two writers and a reader", .races = "R15",
	  .ways = CK_MOVE_ONLY, .check = lock_is_free,
	  .role = { ROLE("writer 1", write_side), ROLE("writer 2", write_side), ROLE("reader", read_side) } },
	{ .name = NULL },
};
