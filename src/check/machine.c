// SPDX-License-Identifier: MIT
/*
 * machine.c - frames, page tables, and what a userfaultfd does with them.
 *
 * Each function here is one indivisible step of the kernel, or a part of one: it declares what it touches and never
 * passes a scheduling point. The rules were measured on Linux 6.12 to 7.3; docs/checker.md lists them.
 */
#include <errno.h>
#include <stdio.h>

#include "check/world.h"

const char *ck_value_name(uint32_t value)
{
	static __thread char text[4][16];
	static __thread unsigned next;
	char *t = text[next++ % 4];

	if (value == 0)
		snprintf(t, 16, "zero");
	else if (value >> 8 == 0)
		snprintf(t, 16, "old.%u", value);
	else
		snprintf(t, 16, "%c%u", (int)('a' + (value >> 8) - 1), value & 255);
	return t;
}

const char *ck_error_name(int err)
{
	switch (err) {
	case -EAGAIN: return "EAGAIN";
	case -EBUSY: return "EBUSY";
	case -EEXIST: return "EEXIST";
	case -EINVAL: return "EINVAL";
	case -ENOENT: return "ENOENT";
	default: return "an error";
	}
}

int ck_frame_alloc(struct ck_world *w, int nid)
{
	int f;

	ck_touch(&w->frames, CK_ADD); /* which frame it is makes no difference to anybody */
	for (f = 0; f < (int)CK_FRAMES; f++) {
		if (w->frame[f].refs == 0) {
			w->frame[f] = (struct ck_frame){ .nid = (int8_t)nid };
			return f;
		}
	}
	ck_violated(4, "frames are leaked: the machine is out of memory");
}

void ck_drop(struct ck_world *w, int8_t *entry)
{
	if (*entry != CK_HOLE)
		w->frame[*entry >> 1].refs--;
	*entry = CK_HOLE;
}

uint32_t *ck_value(struct ck_world *w, int8_t entry) { return &w->frame[entry >> 1].value[entry & 1]; }

void ck_drop_cell(struct ck_world *w, struct ck_place *p, uint32_t c)
{
	ck_drop(w, &p->at[c]);
	p->form[c] = CK_PRESENT;
	p->huge = false;
}

void ck_arrived(const struct ck_world *w, struct ck_slot *s, uint32_t from, uint32_t to)
{
	for (; from < to; from++)
		s->guard[from] = w->rwp ? CK_PROTECTED : CK_OPEN;
}

/* ---- UFFDIO_RWPROTECT ---- */

/* All of the range belongs to the userfaultfd? */
static bool is_ours(struct ck_world *w, hn_addr start, uint64_t bytes)
{
	hn_addr a;

	for (a = start; a < start + bytes; a += CK_CELL) {
		const struct ck_slot *s = &w->slot[ck_slot_of(a)];

		ck_touch(&s->pt, CK_READ);
		if (!s->mapped[ck_cell_of(a)] || !s->registered[ck_cell_of(a)])
			return false;
	}
	return true;
}

/* The page tables are changed and the TLBs flushed under their lock: one step. */
static void set_guard(struct ck_world *w, hn_addr start, uint64_t bytes, enum ck_guard to)
{
	hn_addr a;

	for (a = start; a < start + bytes; a += CK_CELL) {
		struct ck_slot *s = &w->slot[ck_slot_of(a)];

		ck_touch(&s->pt, CK_WRITE);
		s->guard[ck_cell_of(a)] = s->pt.at[ck_cell_of(a)] == CK_HOLE ? CK_OPEN : (uint8_t)to;
	}
}

static int rwprotect(struct ck_world *w, hn_addr start, uint64_t bytes, enum ck_guard to)
{
	int err = 0;

	ck_touch(&w->events, CK_READ);
	if (w->changing)
		err = -EAGAIN;
	else if (!is_ours(w, start, bytes))
		err = -ENOENT;
	ck_say("%s %u.%u+%u: %s", to == CK_OPEN ? "unprotect" : "RWPROTECT", ck_slot_of(start), ck_cell_of(start),
	       (unsigned)(bytes / CK_CELL), err ? ck_error_name(err) : "done");
	if (err == 0)
		set_guard(w, start, bytes, to);
	return err;
}

int ck_protect(struct ck_world *w, hn_addr haddr) { return rwprotect(w, haddr, HN_PAGE_SIZE, CK_PROTECTED); }

int ck_unprotect(struct ck_world *w, hn_addr start, uint64_t bytes)
{
	int err = rwprotect(w, start, bytes, CK_OPEN);

	if (err == 0)
		ck_wake_range(w, start, bytes);
	return err;
}

void ck_leave_protected(struct ck_world *w, hn_addr start, uint64_t bytes)
{
	hn_addr a;

	for (a = start; a < start + bytes; a += CK_CELL) {
		uint8_t *guard = &w->slot[ck_slot_of(a)].guard[ck_cell_of(a)];

		if (*guard == CK_PROTECTED)
			*guard = CK_LEFT;
	}
}

void ck_unregister(struct ck_world *w, uint32_t slot)
{
	struct ck_slot *s = &w->slot[slot];

	ck_touch(&s->pt, CK_WRITE);
	s->registered[0] = s->registered[1] = s->known[0] = s->known[1] = false;
	s->guard[0] = s->guard[1] = CK_OPEN;
}

/* A message that is still unread vanishes with its sleeper's waking. */
static void forget_message(struct ck_world *w, uint32_t actor)
{
	uint32_t i, n;

	ck_touch(&w->faults, CK_READ);
	for (n = 0; n < w->nr_faults && w->fault[n] != (int8_t)actor; n++)
		;
	if (n == w->nr_faults)
		return;
	ck_touch(&w->faults, CK_WRITE);
	w->nr_faults--;
	for (i = n; i < w->nr_faults; i++)
		w->fault[i] = w->fault[i + 1];
}

void ck_wake_range(struct ck_world *w, hn_addr start, uint64_t bytes)
{
	uint32_t a, s;

	for (s = 0; s < CK_SLOTS; s++)
		if (ck_at(s) + HN_PAGE_SIZE > start && ck_at(s) < start + bytes)
			ck_touch(&w->asleep[s], CK_READ);
	for (a = 0; a < CK_MAX_ACTORS; a++) {
		if (!w->in_fault[a] || w->fault_addr[a] < start || w->fault_addr[a] >= start + bytes)
			continue;
		ck_touch(&w->asleep[ck_slot_of(w->fault_addr[a])], CK_WRITE);
		forget_message(w, a);
		w->in_fault[a] = false;
		ck_wake(a);
	}
}

/* The caller has waited for moves to end (ck_await_moves) in this step. */
void ck_begin_change(struct ck_world *w)
{
	ck_touch(&w->events, CK_WRITE);
	w->changing++;
}

/* Something can be read: the handler that waits for it goes on. */
static void message_arrived(struct ck_world *w)
{
	/* Which of two messages wakes it matters, if only to what happens before what. */
	ck_touch(&w->poll, w->poller < 0 ? CK_READ : CK_WRITE);
	if (w->poller < 0)
		return;
	if (w->poller_has_chores)
		ck_touch(&w->chores, CK_WRITE);
	ck_wake((uint32_t)w->poller);
	w->poller = -1;
}

static void end_yields(struct ck_world *w)
{
	uint32_t a;

	for (a = 0; a < CK_MAX_ACTORS; a++)
		if (w->yielding & (1u << a))
			ck_wake(a);
	w->yielding = 0;
}

void ck_post_event(struct ck_world *w, const struct hn_message *m)
{
	ck_touch(&w->events, CK_WRITE);
	if (w->closed) {
		ck_say("nobody wants the event");
		end_yields(w);
		return;
	}
	w->event[w->nr_events++] = (struct ck_event){ .m = *m, .causer = (int8_t)ck_now->running };
	ck_say("event queued");
	message_arrived(w);
	end_yields(w);
	ck_sleep();
}

/* Closing the descriptor lets everybody go who waits for an event to be read. */
void ck_close_userfaultfd(void)
{
	struct ck_world *w = ck_now->world;
	uint32_t i;

	ck_point("close the userfaultfd");
	ck_touch(&w->events, CK_WRITE);
	w->closed = true;
	for (i = 0; i < w->nr_events; i++)
		ck_wake((uint32_t)w->event[i].causer);
	w->nr_events = 0;
}

void ck_queue_fault(struct ck_world *w, hn_addr addr)
{
	uint32_t a = (uint32_t)ck_now->running;

	ck_touch(&w->faults, CK_WRITE);
	ck_touch(&w->asleep[ck_slot_of(addr)], CK_WRITE);
	w->fault[w->nr_faults++] = (int8_t)a;
	w->in_fault[a] = true;
	w->fault_addr[a] = addr;
	ck_say("fault");
	message_arrived(w);
	ck_sleep();
}
