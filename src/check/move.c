// SPDX-License-Identifier: MIT
/*
 * move.c - MOVE, COPY and PAGEMAP_SCAN: the calls that see page tables as they are.
 *
 * A huge page goes to an empty place in one step, under the page-table locks. Anything else goes part by part, each under
 * them, and others do what they like in between; but no event begins until the call is through (map_changing_lock), nor can
 * mappings change (the VMAs' locks). A part that the kernel is just splitting keeps a call waiting; behind a part that has
 * been moved already it makes it stop, which other passing references do too.
 */
#include <errno.h>

#include "check/world.h"

struct ck_place *ck_place_at(struct ck_world *w, hn_addr a, const void **object)
{
	uint32_t i;

	if (ck_in_world(a)) {
		struct ck_place *p = &w->slot[ck_slot_of(a)].pt;

		*object = p;
		return p;
	}
	i = (uint32_t)(a >> HN_PAGE_SHIFT & 0xff);
	if (a < CK_POOL) {
		*object = &w->staged[i];
		return &w->staging[i];
	}
	*object = i < CK_TARGETS ? &w->target[i] : &w->zeros;
	return i < CK_TARGETS ? &w->target[i] : &w->zeros;
}

static struct ck_slot *slot_at(struct ck_world *w, hn_addr a) { return ck_in_world(a) ? &w->slot[ck_slot_of(a)] : NULL; }
static bool is_empty(const struct ck_place *p) { return p->at[0] == CK_HOLE && p->at[1] == CK_HOLE; }

static bool is_held(const struct ck_world *w, int8_t entry)
{
	return entry != CK_HOLE && (w->frame[entry >> 1].shared || w->frame[entry >> 1].pinned);
}

/* ---- events wait for calls that take several steps ---- */

static void hold(struct ck_world *w, bool *held)
{
	if (*held)
		return;
	ck_touch(&w->moving, CK_WRITE);
	w->moving++;
	*held = true;
}

static void let_go(struct ck_world *w, bool held)
{
	uint32_t a;

	if (!held)
		return;
	ck_touch(&w->moving, CK_WRITE);
	if (--w->moving)
		return;
	for (a = 0; a < CK_MAX_ACTORS; a++)
		if (w->held_up & (1u << a))
			ck_wake(a);
	w->held_up = 0;
}

void ck_await_moves(struct ck_world *w)
{
	ck_touch(&w->moving, CK_READ);
	while (w->moving) {
		w->held_up |= 1u << ck_now->running;
		ck_say("waits for a move to end");
		ck_sleep();
		ck_touch(&w->moving, CK_READ);
	}
}

/* ---- MOVE ---- */

/* What is looked at before any page table: the descriptor's count of changes, then the mappings. */
static int may_begin(struct ck_world *w, hn_addr dst, hn_addr src)
{
	const struct ck_slot *to = slot_at(w, dst), *s = to ? to : slot_at(w, src);

	ck_touch(&w->events, CK_READ);
	if (w->changing)
		return -EAGAIN;
	ck_touch(&s->pt, CK_READ);
	/* The destination must belong to the userfaultfd. */
	if (to && !(s->registered[0] && s->registered[1]))
		return -EINVAL;
	return s->mapped[0] && s->mapped[1] && !s->read_only ? 0 : -EINVAL;
}

static void transfer(struct ck_world *w, hn_addr dst, hn_addr src, struct ck_place *to, struct ck_place *from, uint32_t c)
{
	struct ck_slot *in = slot_at(w, dst), *out = slot_at(w, src);

	to->at[c] = from->at[c];
	to->form[c] = from->form[c];
	from->at[c] = CK_HOLE;
	from->form[c] = CK_PRESENT;
	if (in)
		ck_arrived(w, in, c, c + 1);
	if (out)
		out->guard[c] = CK_OPEN;
}

static int move_huge(struct ck_world *w, hn_addr dst, hn_addr src, struct ck_place *to, struct ck_place *from)
{
	uint32_t c;

	if (is_held(w, from->at[0]))
		return -EBUSY;
	for (c = 0; c < CK_CELLS; c++)
		transfer(w, dst, src, to, from, c);
	to->huge = true;
	from->huge = false;
	return 0;
}

/* `first`: nothing has been moved so far, and so what is being split is waited for. */
static int move_part(struct ck_world *w, hn_addr dst, hn_addr src, struct ck_place *to, struct ck_place *from, bool first)
{
	uint32_t c = ck_cell_of(src);
	int err;

	if (to->at[c] != CK_HOLE)
		return -EEXIST;
	if (from->at[c] == CK_HOLE)
		return -ENOENT;
	err = ck_told_to_fail(CK_OP_PART);
	if (err)
		return err;
	if (is_held(w, from->at[c]))
		return -EBUSY;
	if (from->form[c] == CK_CHANGING)
		return first ? -ERESTART : -EBUSY;
	from->huge = false; /* a page of which a part is moved, or that is moved to where something is, is split */
	transfer(w, dst, src, to, from, c);
	return 0;
}

/* One step: *len is how much it has moved if it returns 0. */
static int move_step(struct ck_world *w, hn_addr dst, hn_addr src, uint64_t *len, bool first, bool *held)
{
	const void *to_object, *from_object;
	struct ck_place *to = ck_place_at(w, dst, &to_object), *from = ck_place_at(w, src, &from_object);

	ck_touch(from_object, CK_WRITE);
	ck_touch(to_object, CK_WRITE);
	if (*len >= HN_PAGE_SIZE && ck_cell_of(src) == 0 && from->huge && is_empty(to)) {
		*len = HN_PAGE_SIZE;
		return move_huge(w, dst, src, to, from);
	}
	if (*len > CK_CELL)
		hold(w, held);
	*len = CK_CELL;
	return move_part(w, dst, src, to, from, first);
}

static void say_moved(hn_addr dst, hn_addr src, uint64_t len, int err)
{
	hn_addr a = ck_in_world(dst) ? dst : src;
	const char *what = err ? ck_error_name(err) : "done";

	if (err == 0 && len < HN_PAGE_SIZE)
		ck_say(a == dst ? "MOVE part into %u.%u" : "MOVE part %u.%u to staging", ck_slot_of(a), ck_cell_of(a));
	else
		ck_say(a == dst ? "MOVE page into %u: %s" : "MOVE page %u to staging: %s", ck_slot_of(a), what);
}

int ck_move(struct ck_world *w, hn_addr dst, hn_addr src, uint64_t len, bool wake, uint64_t *moved)
{
	bool held = false;
	uint64_t off = 0;
	int err = 0;

	while (off < len && err == 0) {
		uint64_t step = len - off;

		if (off)
			ck_point(NULL);
		if (!held)
			err = may_begin(w, dst + off, src + off);
		if (err == 0)
			err = move_step(w, dst + off, src + off, &step, off % HN_PAGE_SIZE == 0, &held);
		while (err == -ERESTART) {
			hold(w, &held);
			ck_await_split(w, src + off);
			step = len - off;
			err = move_step(w, dst + off, src + off, &step, true, &held);
		}
		say_moved(dst + off, src + off, step, err);
		if (err == 0)
			off += step;
	}
	*moved = w->mute && err ? off & HN_PAGE_MASK : off;
	if (off > *moved)
		ck_say("part of it is moved");
	if (err && *moved)
		err = -EAGAIN;
	if (wake && *moved)
		ck_wake_range(w, dst, *moved);
	let_go(w, held);
	return err;
}

static int trash_part(struct ck_place *to, struct ck_place *from, uint32_t c, bool first)
{
	if (to->at[c] != CK_HOLE)
		return -EEXIST;
	if (from->at[c] == CK_HOLE)
		return -ENOENT;
	if (from->form[c] == CK_CHANGING)
		return first ? -ERESTART : -EBUSY;
	to->at[c] = from->at[c];
	from->at[c] = CK_HOLE;
	from->form[c] = CK_PRESENT;
	return 0;
}

int ck_trash(struct ck_world *w, hn_addr src, uint64_t len, uint64_t *moved)
{
	const void *object;
	struct ck_place *from = ck_place_at(w, src, &object), *to = &w->trash[from - w->staging];
	bool whole = from->huge && len == HN_PAGE_SIZE && is_empty(to);
	uint64_t off = 0;
	int err = 0;

	from->huge = false;
	while (off < len && err == 0) {
		if (off && !whole)
			ck_point(NULL);
		ck_touch(object, CK_WRITE);
		err = trash_part(to, from, ck_cell_of(src + off), off == 0);
		if (err == -ERESTART) {
			ck_await_split(w, src);
			err = 0;
		} else if (err == 0) {
			off += CK_CELL;
		}
	}
	*moved = w->mute && err ? 0 : off;
	return err && *moved ? -EAGAIN : err;
}

void ck_empty_trash(struct ck_world *w, hn_addr src)
{
	const void *object;
	struct ck_place *p = &w->trash[ck_place_at(w, src, &object) - w->staging];
	uint32_t c;

	for (c = 0; c < CK_CELLS; c++)
		ck_drop_cell(w, p, c);
}

/* ---- COPY ---- */

static bool is_ours(struct ck_world *w, hn_addr start, uint64_t len)
{
	hn_addr a;

	for (a = start; a < start + len; a += CK_CELL) {
		const struct ck_slot *s = slot_at(w, a);

		if (!s)
			return false;
		ck_touch(&s->pt, CK_READ);
		if (!s->mapped[ck_cell_of(a)] || !s->registered[ck_cell_of(a)])
			return false;
	}
	return true;
}

static int fill_cell(struct ck_world *w, hn_addr addr, uint32_t value)
{
	struct ck_slot *s = slot_at(w, addr);
	uint32_t c = ck_cell_of(addr);
	int f;

	ck_touch(&s->pt, CK_WRITE);
	if (s->pt.at[c] != CK_HOLE)
		return -EEXIST;
	f = ck_frame_alloc(w, 0);
	w->frame[f].refs = 1;
	w->frame[f].value[0] = value;
	s->pt.at[c] = (int8_t)(f * 2);
	s->pt.huge = false;
	ck_arrived(w, s, c, c + 1);
	return 0;
}

static void say_copied(hn_addr dst, const char *value, int err)
{
	if (ck_in_world(dst))
		ck_say("COPY %s to %u.%u: %s", value, ck_slot_of(dst), ck_cell_of(dst), err ? ck_error_name(err) : "done");
}

/* What comes first: events, and the mapping. */
static int may_copy(struct ck_world *w, hn_addr dst, uint64_t len)
{
	ck_touch(&w->events, CK_READ);
	if (w->changing)
		return -EAGAIN;
	return is_ours(w, dst, len) ? 0 : -ENOENT;
}

/* A source that must be faulted in is, with all locks dropped; then it is looked anew. */
static int copy_cell(struct ck_world *w, hn_addr dst, hn_addr src, uint64_t len, bool *held)
{
	const void *object;
	const struct ck_place *from = ck_place_at(w, src, &object);
	uint32_t value;
	int err = 0;

	ck_touch(object, CK_READ);
	if (from->form[ck_cell_of(src)] != CK_PRESENT) {
		let_go(w, *held);
		*held = false;
		ck_fault_in(w, src);
		err = may_copy(w, dst, len);
	}
	value = *ck_value(w, ck_fault_in(w, src));
	if (err == 0)
		err = fill_cell(w, dst, value);
	say_copied(dst, ck_value_name(value), err);
	if (err == 0 && len > CK_CELL)
		hold(w, held);
	return err;
}

int ck_copy(struct ck_world *w, hn_addr dst, hn_addr src, uint64_t len, uint64_t *copied)
{
	int err = may_copy(w, dst, len);
	bool held = false;
	uint64_t off = 0;

	if (err)
		say_copied(dst, "something", err);
	while (err == 0 && off < len) {
		if (off)
			ck_point(NULL);
		err = copy_cell(w, dst + off, src + off, len - off, &held);
		off += err ? 0 : CK_CELL;
	}
	*copied = off;
	if (err && off)
		err = -EAGAIN;
	if (off && !w->rwp)
		ck_wake_range(w, dst, off);
	let_go(w, held);
	return err;
}

int ck_zeropage(struct ck_world *w, hn_addr addr)
{
	int err = may_copy(w, addr, CK_CELL);

	if (err == 0)
		err = fill_cell(w, addr, 0);
	say_copied(addr, "zero", err);
	if (err == 0 && !w->rwp)
		ck_wake_range(w, addr, CK_CELL);
	return err;
}

/* ---- looking, and the agent's own accesses ---- */

static bool is_kind(struct ck_world *w, hn_addr a, enum hn_mm_kind kind)
{
	const void *object;
	const struct ck_place *p = ck_place_at(w, a, &object);
	uint32_t c = ck_cell_of(a);

	ck_touch(object, CK_READ);
	switch (kind) {
	case HN_MM_PRESENT: return p->at[c] != CK_HOLE && p->form[c] == CK_PRESENT;
	case HN_MM_SWAPPED: return p->at[c] != CK_HOLE && p->form[c] != CK_PRESENT;
	case HN_MM_THERE: return p->at[c] != CK_HOLE;
	case HN_MM_HUGE: return p->huge;
	}
	return false;
}

int ck_look(struct ck_world *w, enum hn_mm_kind kind, hn_addr start, hn_addr end, struct hn_range *run, uint32_t nr,
	    hn_addr *next)
{
	uint32_t n = 0;
	hn_addr a;

	for (a = start; a < end; a += CK_CELL) {
		if (!is_kind(w, a, kind))
			continue;
		if (n && run[n - 1].end == a) {
			run[n - 1].end += CK_CELL;
			continue;
		}
		if (n == nr)
			break;
		run[n++] = (struct hn_range){ a, a + CK_CELL };
	}
	*next = a;
	return (int)n;
}

int8_t ck_fault_in(struct ck_world *w, hn_addr addr)
{
	const void *object;
	struct ck_place *p = ck_place_at(w, addr, &object);
	uint32_t c = ck_cell_of(addr);

	ck_touch(object, CK_READ);
	while (p->form[c] == CK_CHANGING) {
		ck_await_split(w, addr);
		ck_touch(object, CK_READ);
	}
	if (p->at[c] != CK_HOLE && p->form[c] == CK_PRESENT)
		return p->at[c];
	ck_touch(object, CK_WRITE);
	if (p->at[c] == CK_HOLE) {
		p->at[c] = (int8_t)(ck_frame_alloc(w, 0) * 2);
		w->frame[p->at[c] >> 1].refs = 1;
	}
	p->form[c] = CK_PRESENT; /* swapped in, if it was not */
	return p->at[c];
}
