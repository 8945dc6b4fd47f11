// SPDX-License-Identifier: MIT
/*
 * calls.c - what the program does: accesses, and system calls on its address space.
 */
#include "check/world.h"

static struct ck_world *world(void) { return ck_now->world; }
static struct ck_slot *slot_at(hn_addr a) { return &world()->slot[ck_slot_of(a)]; }

/* The kernel's own: huge where the whole place is empty. */
static void first_touch(struct ck_slot *s, uint32_t c)
{
	int f = ck_frame_alloc(world(), 0);

	ck_touch(&s->pt, CK_WRITE);
	s->pt.huge = s->mapped[0] && s->mapped[1] && s->pt.at[0] == CK_HOLE && s->pt.at[1] == CK_HOLE;
	if (s->pt.huge) {
		world()->frame[f].refs = 2;
		s->pt.at[0] = (int8_t)(f * 2);
		s->pt.at[1] = (int8_t)(f * 2 + 1);
		return;
	}
	world()->frame[f].refs = 1;
	s->pt.at[c] = (int8_t)(f * 2);
}

/* A present entry for addr, or NULL when there is no mapping. Each round is one step; sleeps in faults. */
static int8_t *touch_memory(hn_addr addr, const char *what)
{
	struct ck_slot *s = slot_at(addr);
	uint32_t c = ck_cell_of(addr);

	for (;;) {
		ck_point(NULL);
		ck_say("%s %u.%u", what, ck_slot_of(addr), c);
		ck_touch(&s->pt, CK_READ);
		if (!s->mapped[c]) {
			ck_say("SIGSEGV");
			return NULL;
		}
		if (s->pt.form[c] == CK_CHANGING) {
			ck_await_split(world(), addr);
			continue;
		}
		if (s->pt.at[c] != CK_HOLE && s->guard[c] == CK_OPEN) {
			if (s->pt.form[c] == CK_SWAPPED) {
				ck_touch(&s->pt, CK_WRITE);
				s->pt.form[c] = CK_PRESENT;
				ck_say("swapped in");
			}
			return &s->pt.at[c];
		}
		if (s->registered[c]) { /* missing, or protected */
			ck_queue_fault(world(), addr);
			continue;
		}
		first_touch(s, c);
	}
}

bool ck_load(hn_addr addr)
{
	struct ck_slot *s = slot_at(addr);
	uint32_t c = ck_cell_of(addr), v;
	int8_t *e = touch_memory(addr, "load");

	if (!e)
		return false;
	ck_touch(&s->content[c], CK_READ);
	v = *ck_value(world(), *e);
	ck_say("= %s", ck_value_name(v));
	if (v == s->truth[c])
		return true;
	if (s->flux[c] != CK_DROPPING || v != 0)
		ck_violated(1, "%s reads %s at %u.%u, where %s was written last", ck_now->actor[ck_now->running].name,
			    ck_value_name(v), ck_slot_of(addr), c, ck_value_name(s->truth[c]));
	ck_touch(&s->content[c], CK_WRITE);
	s->truth[c] = 0; /* seen to be dropped: the old value may not come back */
	return true;
}

bool ck_store(hn_addr addr)
{
	struct ck_world *w = world();
	struct ck_slot *s = slot_at(addr);
	uint32_t c = ck_cell_of(addr), a = (uint32_t)ck_now->running;
	int8_t *e = touch_memory(addr, "store");

	if (!e)
		return false;
	if (s->read_only) {
		ck_say("SIGSEGV");
		return false;
	}
	ck_touch(&s->content[c], CK_WRITE);
	if (w->frame[*e >> 1].shared) {
		/* Copy on write; which copy keeps the frame makes no difference here. */
		ck_touch(&s->pt, CK_WRITE);
		w->frame[*e >> 1].shared = 0;
	}
	s->truth[c] = *ck_value(w, *e) = (a + 1) << 8 | ++w->writes[a];
	ck_say("%s", ck_value_name(s->truth[c]));
	return true;
}

static bool any_registered(hn_addr start, uint64_t bytes)
{
	hn_addr a;

	for (a = start; a < start + bytes; a += CK_CELL)
		if (slot_at(a)->registered[ck_cell_of(a)])
			return true;
	return false;
}

static void touch_tables(hn_addr start, uint64_t bytes, enum ck_kind kind)
{
	hn_addr a;

	for (a = start; a < start + bytes; a += CK_CELL)
		ck_touch(&slot_at(a)->pt, kind);
}

static void unmap_cell(hn_addr a)
{
	struct ck_slot *s = slot_at(a);
	uint32_t c = ck_cell_of(a);

	ck_drop_cell(world(), &s->pt, c);
	s->guard[c] = CK_OPEN;
	s->mapped[c] = s->registered[c] = false;
	s->truth[c] = 0;
	s->flux[c] = CK_STEADY;
}

static void post(enum hn_message_kind kind, hn_addr start, uint64_t bytes, hn_addr to, const char *what)
{
	struct hn_message m = { .kind = kind, .start = start, .end = start + bytes, .to = to };

	ck_point(what);
	ck_post_event(world(), &m);
}

void ck_munmap(hn_addr start, uint64_t bytes)
{
	bool event;
	hn_addr a;

	ck_point("munmap");
	ck_await_moves(world());
	touch_tables(start, bytes, CK_WRITE);
	event = any_registered(start, bytes);
	if (event)
		ck_begin_change(world());
	for (a = start; a < start + bytes; a += CK_CELL)
		unmap_cell(a);
	if (event)
		post(HN_MSG_UNMAP, start, bytes, 0, "munmap");
}

void ck_mmap(hn_addr start, uint64_t bytes, bool registered)
{
	hn_addr a;

	ck_point(registered ? "mmap, registered at once" : "mmap");
	ck_await_moves(world());
	touch_tables(start, bytes, CK_WRITE);
	for (a = start; a < start + bytes; a += CK_CELL) {
		unmap_cell(a);
		slot_at(a)->mapped[ck_cell_of(a)] = true;
		slot_at(a)->registered[ck_cell_of(a)] = registered;
		slot_at(a)->read_only = false;
	}
}

/* What it does first is to raise `changing`, then the event; only after that has been read the pages are dropped. */
void ck_dontneed(hn_addr start, uint64_t bytes)
{
	hn_addr a;

	ck_point("MADV_DONTNEED begins");
	ck_await_moves(world());
	touch_tables(start, bytes, CK_READ);
	for (a = start; a < start + bytes; a += CK_CELL) {
		ck_touch(&slot_at(a)->content[ck_cell_of(a)], CK_WRITE);
		slot_at(a)->flux[ck_cell_of(a)] = CK_DROPPING;
	}
	if (any_registered(start, bytes)) {
		ck_begin_change(world());
		post(HN_MSG_REMOVE, start, bytes, 0, "MADV_DONTNEED");
	}
	ck_point("MADV_DONTNEED drops the pages");
	touch_tables(start, bytes, CK_WRITE);
	for (a = start; a < start + bytes; a += CK_CELL) {
		struct ck_slot *s = slot_at(a);
		uint32_t c = ck_cell_of(a);

		ck_touch(&s->content[c], CK_WRITE);
		ck_drop_cell(world(), &s->pt, c); /* what is left of it stays protected */
		s->guard[c] = CK_OPEN;
		s->truth[c] = 0;
		s->flux[c] = CK_STEADY;
	}
}

static void move_cell(hn_addr from, hn_addr to)
{
	struct ck_slot *s = slot_at(from), *d = slot_at(to);
	uint32_t c = ck_cell_of(from), e = ck_cell_of(to);

	unmap_cell(to);
	d->pt.at[e] = s->pt.at[c];
	d->pt.form[e] = s->pt.form[c];
	d->truth[e] = s->truth[c];
	d->mapped[e] = s->mapped[c];
	d->registered[e] = s->registered[c];
	d->read_only = s->read_only;
	d->guard[e] = s->guard[c];
	s->pt.at[c] = CK_HOLE;
	unmap_cell(from);
}

void ck_mremap(hn_addr from, hn_addr to, uint64_t bytes)
{
	bool event, early, huge = slot_at(from)->pt.huge;
	uint64_t off;

	ck_point("mremap");
	ck_await_moves(world());
	touch_tables(from, bytes, CK_WRITE);
	touch_tables(to, bytes, CK_WRITE);
	event = any_registered(from, bytes);
	early = any_registered(to, bytes); /* MREMAP_FIXED: what was there is unmapped first */
	if (early)
		ck_begin_change(world());
	if (event) {
		ck_begin_change(world());
		ck_begin_change(world());
	}
	for (off = 0; off < bytes; off += CK_CELL)
		move_cell(from + off, to + off);
	/* A whole huge page that lands on a huge-page boundary is moved as one. */
	if (huge && bytes == HN_PAGE_SIZE && ck_cell_of(from) == 0 && ck_cell_of(to) == 0)
		slot_at(to)->pt.huge = true;
	if (early)
		post(HN_MSG_UNMAP, to, bytes, 0, "mremap: what was there");
	if (event) {
		post(HN_MSG_REMAP, from, bytes, to, "mremap");
		post(HN_MSG_UNMAP, from, bytes, 0, "mremap: the old range");
	}
}

/*
 * mremap(2 * bytes to bytes, MREMAP_FIXED) as until Linux 6.14: what is over is unmapped first and its event comes last but one; and
 * the event of the move says the old length.
 */
void ck_mremap_shrinks(hn_addr from, hn_addr to, uint64_t bytes)
{
	bool huge = slot_at(from)->pt.huge;
	uint64_t off;

	ck_point("mremap, which shrinks");
	ck_await_moves(world());
	touch_tables(from, 2 * bytes, CK_WRITE);
	touch_tables(to, bytes, CK_WRITE);
	ck_begin_change(world());
	ck_begin_change(world());
	ck_begin_change(world());
	for (off = 0; off < bytes; off += CK_CELL)
		unmap_cell(from + bytes + off);
	for (off = 0; off < bytes; off += CK_CELL)
		move_cell(from + off, to + off);
	if (huge && bytes == HN_PAGE_SIZE && ck_cell_of(from) == 0 && ck_cell_of(to) == 0)
		slot_at(to)->pt.huge = true;
	post(HN_MSG_REMAP, from, 2 * bytes, to, "mremap");
	post(HN_MSG_UNMAP, from + bytes, bytes, 0, "mremap: what is over");
	post(HN_MSG_UNMAP, from, bytes, 0, "mremap: the old range");
}

/* The kernel chooses the place, and takes this one if it is free; else some other, which is of no interest. */
void ck_mremap_if_free(hn_addr from, hn_addr to, uint64_t bytes)
{
	hn_addr a;

	ck_point("is it free?");
	touch_tables(to, bytes, CK_READ);
	for (a = to; a < to + bytes; a += CK_CELL)
		if (slot_at(a)->mapped[ck_cell_of(a)])
			return;
	ck_mremap(from, to, bytes);
}

void ck_mprotect(uint32_t slot, bool read_only)
{
	ck_point(read_only ? "mprotect read-only" : "mprotect read-write");
	ck_await_moves(world());
	ck_touch(&world()->slot[slot].pt, CK_WRITE);
	world()->slot[slot].read_only = read_only;
}

void ck_split_page(uint32_t slot)
{
	ck_point("the kernel splits the page");
	ck_touch(&world()->slot[slot].pt, CK_WRITE);
	world()->slot[slot].pt.huge = false;
}

/* Only what the kernel collapses: all of it there, in one mapping, shared with nobody, no part protected. */
static bool can_collapse(struct ck_world *w, const struct ck_slot *s)
{
	uint32_t c;

	for (c = 0; c < CK_CELLS; c++)
		if (!s->mapped[c] || s->registered[c] != s->registered[0] || s->pt.at[c] == CK_HOLE ||
		    s->pt.form[c] != CK_PRESENT || s->guard[c] != CK_OPEN || w->frame[s->pt.at[c] >> 1].shared ||
		    w->frame[s->pt.at[c] >> 1].pinned)
			return false;
	return !s->pt.huge;
}

void ck_collapse_page(uint32_t slot)
{
	struct ck_world *w = world();
	struct ck_slot *s = &w->slot[slot];
	uint32_t c;
	int f;

	ck_point("the kernel collapses the page");
	ck_await_moves(w);
	ck_touch(&s->pt, CK_WRITE);
	if (!can_collapse(w, s)) {
		ck_say("which cannot be");
		return;
	}
	f = ck_frame_alloc(w, w->frame[s->pt.at[0] >> 1].nid);
	w->frame[f].refs = CK_CELLS;
	for (c = 0; c < CK_CELLS; c++) {
		w->frame[f].value[c] = *ck_value(w, s->pt.at[c]);
		ck_drop_cell(w, &s->pt, c);
		s->pt.at[c] = (int8_t)(f * 2 + (int)c);
	}
	s->pt.huge = true;
}

static void copy_tables(struct ck_world *w)
{
	uint32_t s, c;

	w->child.exists = true;
	for (s = 0; s < CK_SLOTS; s++) {
		ck_touch(&w->slot[s].pt, CK_WRITE);
		for (c = 0; c < CK_CELLS; c++) {
			int8_t e = w->slot[s].pt.at[c];

			ck_touch(&w->slot[s].content[c], CK_READ);
			w->child.truth[s][c] = w->slot[s].truth[c];
			w->child.dropping[s][c] = w->slot[s].flux[c] == CK_DROPPING;
			w->child.mapped[s][c] = w->slot[s].mapped[c];
			w->child.present[s][c] = e != CK_HOLE;
			if (e == CK_HOLE)
				continue;
			w->child.value[s][c] = *ck_value(w, e);
			w->frame[e >> 1].shared = 1;
		}
	}
}

static void child_looks(struct ck_world *w)
{
	uint32_t s, c;

	for (s = 0; s < CK_SLOTS; s++)
		for (c = 0; c < CK_CELLS; c++)
			if (w->child.value[s][c] != w->child.truth[s][c] &&
			    !(w->child.dropping[s][c] && w->child.value[s][c] == 0))
				ck_violated(1, "the child finds %s at %u.%u, where the parent had %s",
					    ck_value_name(w->child.value[s][c]), s, c, ck_value_name(w->child.truth[s][c]));
}

/*
 * The child's tables are a copy of the parent's; staging is not inherited. With the event, the forking thread sleeps
 * until it is read, and faults of the child until its descriptor is closed.
 */
void ck_fork(bool event)
{
	struct ck_world *w = world();

	ck_point("fork");
	ck_await_moves(w);
	if (event)
		ck_begin_change(w);
	ck_touch(&w->child_mem, CK_WRITE);
	copy_tables(w);
	if (event) {
		post(HN_MSG_FORK, 0, 0, 0, "fork: event");
		ck_point("the child looks at its memory");
		ck_touch(&w->child_mem, CK_WRITE);
		if (!w->child.complete) {
			w->child.waiter = (int8_t)ck_now->running;
			ck_sleep();
		}
	}
	ck_point("the child looks at its memory");
	ck_touch(&w->child_mem, CK_READ);
	child_looks(w);
}

void ck_device_write(hn_addr addr)
{
	struct ck_world *w = world();
	uint32_t c = ck_cell_of(addr), a = (uint32_t)ck_now->running;
	int8_t *e = touch_memory(addr, "pin for a device"), entry;

	if (!e)
		return;
	entry = *e;
	ck_touch(&slot_at(addr)->pt, CK_WRITE);
	w->frame[entry >> 1].shared = 0; /* pinning for writing is a write fault */
	w->frame[entry >> 1].pinned++;
	w->frame[entry >> 1].refs++;
	ck_point(NULL);
	ck_touch(&slot_at(addr)->pt, CK_READ);
	ck_touch(&slot_at(addr)->content[c], CK_WRITE);
	*ck_value(w, entry) = (a + 1) << 8 | ++w->writes[a];
	slot_at(addr)->truth[c] = *ck_value(w, entry);
	ck_say("the device writes %s into %u.%u", ck_value_name(slot_at(addr)->truth[c]), ck_slot_of(addr), c);
	ck_point("unpin");
	ck_touch(&slot_at(addr)->pt, CK_WRITE);
	w->frame[entry >> 1].pinned--;
	w->frame[entry >> 1].refs--;
}
