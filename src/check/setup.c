// SPDX-License-Identifier: MIT
/*
 * setup.c - putting a scenario's world together; and the roles its actors play.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "check/scenario.h"
#include "core/history.h"
#include "core/internal.h"

static void fill_place(struct ck_world *w, struct ck_place *p, int nid)
{
	int f = ck_frame_alloc(w, nid);

	w->frame[f].refs = CK_CELLS;
	p->at[0] = (int8_t)(f * 2);
	p->at[1] = (int8_t)(f * 2 + 1);
	p->huge = true;
}

void ck_have(struct ck_world *w, uint32_t slot, uint32_t nr, int nid)
{
	struct hn *hn = &w->hn[CK_MAX_ACTORS];
	uint32_t s, c;

	for (s = slot; s < slot + nr; s++) {
		fill_place(w, &w->slot[s].pt, nid);
		for (c = 0; c < CK_CELLS; c++) {
			w->slot[s].mapped[c] = w->slot[s].registered[c] = w->slot[s].known[c] = true;
			w->slot[s].truth[c] = *ck_value(w, w->slot[s].pt.at[c]) = s * CK_CELLS + c + 1;
		}
		hn_gate_write_lock(hn);
		hn_manage_fresh(hn, ck_at(s), nid);
		hn_gate_write_unlock(hn);
	}
}

void ck_set_last(struct ck_world *w, uint32_t slot, int last_nid)
{
	hn_entry_find(&w->hn[CK_MAX_ACTORS], ck_at(slot))->history =
		hn_history_push(0, last_nid, false);
}

uint32_t ck_have_armed(struct ck_world *w, uint32_t slot, int last_nid)
{
	struct hn *hn = &w->hn[CK_MAX_ACTORS];

	if (hn_arm_run(hn, ck_at(slot), 1) != 1)
		abort(); /* a scenario that is set up wrongly */
	ck_set_last(w, slot, last_nid);
	return hn_entry_find(hn, ck_at(slot))->page;
}

void ck_have_targets(struct ck_world *w, uint32_t nr)
{
	uint32_t t;

	for (t = 0; t < CK_TARGETS; t++) {
		ck_drop_cell(w, &w->target[t], 0);
		ck_drop_cell(w, &w->target[t], 1);
		if (t < nr)
			fill_place(w, &w->target[t], 0);
	}
	if (w->zeros.at[0] == CK_HOLE)
		fill_place(w, &w->zeros, 0);
}

void ck_have_fail(struct ck_world *w, enum ck_op op, uint32_t at, int err)
{
	w->fail[op] = (struct ck_fail){ .at = (uint8_t)at, .err = (int8_t)err };
}

void ck_role_handler(void *arg)
{
	(void)arg;
	hn_serve(ck_hn());
}

/* ---- scripts ---- */

static uint32_t number(const char **p)
{
	return (uint32_t)strtoul(*p, (char **)(uintptr_t)p, 10);
}

/* "slot" or "slot.cell" */
static hn_addr place(const char **p)
{
	hn_addr a = ck_at(number(p));

	if (**p == '.') {
		(*p)++;
		a += number(p) * CK_CELL;
	}
	return a;
}

/* "+cells", else a huge page */
static uint64_t length(const char **p)
{
	if (**p != '+')
		return HN_PAGE_SIZE;
	(*p)++;
	return number(p) * CK_CELL;
}

/* What the agent does by sleeping a little: nothing can be put back before the event has been read. */
static void await_event_read(void)
{
	struct ck_world *w = ck_now->world;

	ck_point(NULL);
	ck_touch(&w->events, CK_READ);
	if (!w->changing)
		return;
	w->awaiting |= 1u << ck_now->running;
	ck_sleep();
}

static void drain(void)
{
	struct hn *hn = ck_hn();

	while (hn_drain(hn, 0, ~(hn_addr)0) || hn_displaced_resolve(hn, 0, ~(hn_addr)0))
		await_event_read();
}

/* Let go of everything: what sleeps there is woken, and finds what is there. */
static void release(void)
{
	struct ck_world *w = ck_now->world;
	uint32_t s;

	ck_point("unregister all memory");
	for (s = 0; s < CK_SLOTS; s++)
		ck_unregister(w, s);
	ck_wake_range(w, CK_BASE, CK_SLOTS * HN_PAGE_SIZE);
	ck_point("tell the handlers to leave");
	ck_touch(&w->faults, CK_WRITE);
	ck_touch(&w->poll, CK_WRITE);
	w->stop = true;
	if (w->poller >= 0)
		ck_wake((uint32_t)w->poller);
	ck_close_userfaultfd();
}

/* As discovery does it: register a mapping and manage what is huge in it, in one hold of the gate, when no event is outstanding. */
static void register_slot(uint32_t slot)
{
	struct hn *hn = ck_hn();
	struct ck_slot *s = &ck_now->world->slot[slot];

	await_event_read();
	hn_gate_write_lock(hn);
	ck_point("register");
	ck_touch(&ck_now->world->events, CK_READ);
	ck_touch(&s->pt, CK_WRITE);
	if (!hn_order_any(hn) && !ck_now->world->changing && s->mapped[0] && s->mapped[1]) {
		s->registered[0] = s->registered[1] = s->known[0] = s->known[1] = true;
		if (s->pt.huge)
			hn_manage_fresh(hn, ck_at(slot), 0);
	}
	hn_gate_write_unlock(hn);
}

/* As discovery gives a region back to the kernel. */
static void give_back_slot(uint32_t slot)
{
	struct hn *hn = ck_hn();

	if (hn_drain(hn, 0, ~(hn_addr)0))
		return;
	hn_gate_write_lock(hn);
	if (hn_release_range(hn, ck_at(slot), ck_at(slot + 1))) {
		ck_point("unregister");
		ck_unregister(ck_now->world, slot);
		ck_wake_range(ck_now->world, ck_at(slot), HN_PAGE_SIZE);
	}
	hn_gate_write_unlock(hn);
}

static void reclaim(void)
{
	hn_gate_write_lock(ck_hn());
	hn_reclaim(ck_hn());
	hn_gate_write_unlock(ck_hn());
}

static void advance(uint32_t ms)
{
	ck_point("time passes");
	ck_touch(&ck_now->world->now_ns, CK_WRITE);
	ck_now->world->now_ns += ms * 1000000ull;
}

static void must(bool fine, const char *what, hn_addr a)
{
	if (!fine)
		ck_violated(7, "the program was killed by a %s at %u.%u", what, ck_slot_of(a), ck_cell_of(a));
}

static void map_anew(const char **p, bool registered)
{
	hn_addr a = place(p);

	ck_mmap(a, length(p), registered);
}

static void remap(const char **p, void (*fn)(hn_addr, hn_addr, uint64_t))
{
	hn_addr from = place(p), to;

	(*p)++; /* > */
	to = place(p);
	fn(from, to, length(p));
}

static void arm(const char **p)
{
	hn_addr a = place(p);

	hn_arm_run(ck_hn(), a, (uint32_t)(length(p) / HN_PAGE_SIZE));
}

static void manage(const char **p)
{
	hn_gate_read_lock(ck_hn());
	hn_manage(ck_hn(), place(p), 0);
	hn_gate_read_unlock(ck_hn());
}

static void act(char what, const char **p)
{
	hn_addr a;

	switch (what) {
	case 'r': a = place(p); must(ck_load(a), "load", a); break;
	case 'w': a = place(p); must(ck_store(a), "store", a); break;
	case 'R': ck_load(place(p)); break;
	case 'W': ck_store(place(p)); break;
	case 'U': a = place(p); ck_munmap(a, length(p)); break;
	case 'M': map_anew(p, false); break;
	case 'N': map_anew(p, true); break;
	case 'D': a = place(p); ck_dontneed(a, length(p)); break;
	case 'V': remap(p, ck_mremap); break;
	case 'y': remap(p, ck_mremap_shrinks); break;
	case 'v': remap(p, ck_mremap_if_free); break;
	case 'O': ck_mprotect(number(p), true); break;
	case 'Q': ck_mprotect(number(p), false); break;
	case 'S': ck_split_page(number(p)); break;
	case 'C': ck_collapse_page(number(p)); break;
	case 'K': ck_reclaim_split(place(p)); break;
	case 'k': ck_reclaim_split(ck_staged_at(number(p))); break;
	case 'j': ck_reclaim_split(ck_pool_at(number(p))); break;
	case 'X': ck_reclaim_swap(place(p)); break;
	case 'x': ck_reclaim_swap(place(p) - CK_BASE + CK_STAGING); break;
	case 'F': ck_fork(true); break;
	case 'f': ck_fork(false); break;
	case 'I': ck_device_write(place(p)); break;
	case 'A': arm(p); break;
	case 'P': hn_scan_pass(ck_hn(), number(p)); break;
	case 'E': hn_scan_expire(ck_hn()); break;
	case 'G': drain(); break;
	case 'L': release(); break;
	case 'T': advance(number(p)); break;
	case 'm': manage(p); break;
	case 'g': register_slot(number(p)); break;
	case 'b': give_back_slot(number(p)); break;
	case 'c': reclaim(); break;
	default: abort(); /* a script that is written wrongly */
	}
}

void ck_role_script(void *arg)
{
	const char *p = arg;

	while (*p) {
		const char *operand = p + 1;

		if (isspace((unsigned char)*p)) {
			p++;
			continue;
		}
		act(*p, &operand);
		p += strcspn(p, " ");
	}
}
