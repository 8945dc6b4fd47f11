// SPDX-License-Identifier: MIT
/*
 * order.c - events that do not come in the order of what they tell of.
 *
 * A call changes the address space under the kernel's lock, and queues its event after that, when its caller gets to run; that
 * of the old place of an mremap is queued only when the event of the move has been read. What is free meanwhile the kernel
 * gives to the next who asks:
 *
 *   thread 1                  thread 2                  what is read
 *   mremap P to Q                                       P moved to Q
 *                             mremap R to P, now free   R moved to P
 *   (still in its mremap)                               P unmapped      <- what was there before, not what came from R
 *
 * Unmapped too late. Where something has arrived by a move, since no event was outstanding last, an UNMAP is believed only if the
 * kernel says that nothing registered is there. If something is, that is either what has arrived, or what has taken its place
 * and whose own move is still to be read: then the UNMAP was meant for what we have, which goes when that move is read
 * ("doubted"). New memory is not registered while anything is remembered here, so it cannot be that.
 *
 * Moved too early. A move to a place that is taken, as far as we know, was heard of before what has freed it. It waits for that,
 * which has begun, so the kernel lets nothing be put back or armed until it is read. What we have at its old place has left: of
 * what is read meanwhile the first UNMAP of just that place is its own, and all else is about what has come there since. When no
 * event is outstanding and the place is taken all the same, the move is processed as it stands.
 *
 * Until Linux 6.14 the event of an mremap that shrinks tells the old length. What is over is told to be unmapped next.
 *
 * When no event is outstanding, each that is read later tells of something later. All with the gate held exclusively.
 */
#include "core/internal.h"

static hn_addr later(hn_addr a, hn_addr b) { return a > b ? a : b; }
static hn_addr earlier(hn_addr a, hn_addr b) { return a < b ? a : b; }
static bool meet(hn_addr a, hn_addr a_end, hn_addr b, hn_addr b_end) { return a < b_end && b < a_end; }
static hn_addr to_end(const struct hn_message *m) { return m->to + (m->end - m->start); }

bool hn_order_waits(const struct hn *hn) { return __atomic_load_n(&hn->core->nr_early, __ATOMIC_RELAXED) != 0; }

bool hn_order_any(const struct hn *hn)
{
	return hn_order_waits(hn) || __atomic_load_n(&hn->core->nr_arrived, __ATOMIC_RELAXED) != 0;
}

/* ---- what has arrived ---- */

static void remove_arrived(struct hn *hn, uint32_t i)
{
	struct hn_arrived *a = hn_arrived_table(hn);

	for (hn->core->nr_arrived--; i < hn->core->nr_arrived; i++)
		a[i] = a[i + 1];
}

/* Where there is no room the oldest is forgotten, whose UNMAP has most likely come. */
static void add(struct hn *hn, hn_addr start, hn_addr end, bool doubted)
{
	if (start >= end)
		return;
	if (hn->core->nr_arrived == hn->core->max_moves)
		remove_arrived(hn, 0);
	hn_arrived_table(hn)[hn->core->nr_arrived++] = (struct hn_arrived){ start, end, doubted };
}

/* Take [start, end) out of record i, which it overlaps; what is left of it goes to the end of the table. */
static void cut(struct hn *hn, uint32_t i, hn_addr start, hn_addr end)
{
	struct hn_arrived a = hn_arrived_table(hn)[i];

	remove_arrived(hn, i);
	add(hn, a.start, earlier(a.end, start), a.doubted);
	add(hn, later(a.start, end), a.end, a.doubted);
}

/* The first record from i on that overlaps [start, end). */
static uint32_t next_arrived(const struct hn *hn, uint32_t i, hn_addr start, hn_addr end, bool only_doubted)
{
	const struct hn_arrived *a = hn_arrived_table(hn);

	while (i < hn->core->nr_arrived && !(meet(a[i].start, a[i].end, start, end) && (a[i].doubted || !only_doubted)))
		i++;
	return i;
}

/* What had arrived in [start, end) is not there any more. */
static void gone(struct hn *hn, hn_addr start, hn_addr end)
{
	uint32_t i = 0;

	while ((i = next_arrived(hn, i, start, end, false)) < hn->core->nr_arrived)
		cut(hn, i, start, end);
}

/* Something else has come to [start, end): what was doubted there is gone. */
static void drop_doubted(struct hn *hn, hn_addr start, hn_addr end)
{
	uint32_t i = 0;

	while ((i = next_arrived(hn, i, start, end, true)) < hn->core->nr_arrived) {
		struct hn_arrived a = hn_arrived_table(hn)[i];

		hn_event_unmap(hn, later(a.start, start), earlier(a.end, end));
		cut(hn, i, start, end);
	}
}

/* Has something arrived at addr? *end comes down to where what is returned ends to hold. */
static bool is_arrived(const struct hn *hn, hn_addr addr, hn_addr *end)
{
	const struct hn_arrived *a = hn_arrived_table(hn);
	bool yes = false;
	uint32_t i;

	for (i = 0; i < hn->core->nr_arrived && !yes; i++) {
		yes = a[i].start <= addr && addr < a[i].end;
		if (yes)
			*end = earlier(*end, a[i].end);
		else if (a[i].start > addr)
			*end = earlier(*end, a[i].start);
	}
	return yes;
}

/* ---- unmapped too late ---- */

/* Up to where an UNMAP has been processed. */
struct unmapping {
	struct hn *hn;
	hn_addr at;
	bool noted; /* by the backend */
};

static void believe(struct unmapping *u, hn_addr end)
{
	struct hn_message m = { .kind = HN_MSG_UNMAP, .fd = -1, .start = u->at, .end = end };

	if (u->at >= end)
		return;
	hn_event_unmap(u->hn, u->at, end);
	gone(u->hn, u->at, end);
	u->hn->ops->note_event(u->hn->be, &m);
	u->noted = true;
	u->at = end;
}

/* Something has arrived in [start, end). */
static void believe_what_is_gone(struct unmapping *u, hn_addr start, hn_addr end)
{
	enum hn_registered is = u->hn->ops->is_registered(u->hn->be, start, end);

	if (is == HN_REGISTERED_SOME && end - start > HN_BASE_SIZE) {
		hn_addr middle = start + (end - start) / HN_BASE_SIZE / 2 * HN_BASE_SIZE;

		believe_what_is_gone(u, start, middle);
		believe_what_is_gone(u, middle, end);
	} else if (is != HN_REGISTERED_NONE) {
		believe(u, start);
		u->hn->ops->wake(u->hn->be, start, end - start);
		gone(u->hn, start, end);
		add(u->hn, start, end, true);
		u->at = end;
	}
}

/* What is to move to [start, end), when its turn comes, will not be there any more. */
static void drop_early(struct hn *hn, hn_addr start, hn_addr end)
{
	uint32_t i;

	for (i = 0; i < hn->core->nr_early; i++) {
		struct hn_early *e = &hn_early_table(hn)[i];
		hn_addr from = later(start, e->m.to), to = earlier(end, to_end(&e->m));

		if (from >= to)
			continue;
		hn_event_unmap(hn, e->m.start + (from - e->m.to), e->m.start + (to - e->m.to));
		e->dropped = true;
	}
}

/* What we have at [start, end) has left, as a move that waits tells: meant is what has come there since. */
static void unmap_what_followed(struct unmapping *u, hn_addr start, hn_addr end)
{
	believe(u, start);
	drop_early(u->hn, start, end);
	u->hn->ops->wake(u->hn->be, start, end - start);
	u->at = end;
}

/* True when the backend has noted some of it. */
static bool unmap(struct hn *hn, hn_addr start, hn_addr end)
{
	struct unmapping u = { .hn = hn, .at = start };
	hn_addr at, stop;

	for (at = start; at < end; at = stop) {
		stop = end;
		if (hn_order_place(hn, at, &stop) != at)
			unmap_what_followed(&u, at, stop);
		else if (is_arrived(hn, at, &stop))
			believe_what_is_gone(&u, at, stop);
	}
	believe(&u, end);
	return u.noted;
}

/* ---- moved too early ---- */

/* Where the last that is registered of [start, end) ends; start if nothing is. */
static hn_addr registered_end(struct hn *hn, hn_addr start, hn_addr end)
{
	hn_addr middle = start + (end - start) / HN_BASE_SIZE / 2 * HN_BASE_SIZE, last;

	switch (hn->ops->is_registered(hn->be, start, end)) {
	case HN_REGISTERED_ALL: return end;
	case HN_REGISTERED_NONE: return start;
	case HN_REGISTERED_SOME: break;
	}
	if (middle == start)
		return end;
	last = registered_end(hn, middle, end);
	return last > middle ? last : registered_end(hn, start, middle);
}

/*
 * What has come to `at` and is not there any more: has it been moved on, or unmapped, by a call whose event is still to be read? Who
 * moves memory with MREMAP_DONTUNMAP does not wait for the event of its old place, there is none, and may move it on before
 * the first event is processed. Then nothing is left at the new place, or the old one is a mapping still: else that part has never
 * come (see "the old length" above).
 */
static bool is_to_be_told(struct hn *hn, const struct hn_message *m, hn_addr at)
{
	return at < to_end(m) && hn->ops->event_unread(hn->be) &&
	       (at == m->to || hn->ops->is_registered(hn->be, m->start + (at - m->to), m->end) != HN_REGISTERED_NONE);
}

/*
 * What is not at the new place has not come there, or is gone already: in neither case it is anywhere, but if it has moved on.
 * dropped: some of it was unmapped there, as was told before.
 */
static void remap(struct hn *hn, const struct hn_message *m, bool dropped)
{
	hn_addr there = hn->ops->is_registered ? registered_end(hn, m->to, to_end(m)) : to_end(m);
	hn_addr end = !dropped && is_to_be_told(hn, m, there) ? to_end(m) : there;
	struct hn_message over = { .kind = HN_MSG_UNMAP, .fd = -1, .start = m->start + (end - m->to), .end = m->end };
	struct hn_message moved = *m;

	moved.end = over.start;
	drop_doubted(hn, m->to, end);
	gone(hn, m->start, m->end);
	if (over.start < over.end) {
		hn_event_unmap(hn, over.start, over.end);
		hn->ops->note_event(hn->be, &over);
	}
	if (moved.start == moved.end)
		return;
	hn_event_remap(hn, moved.start, moved.to, moved.end - moved.start);
	if (hn->ops->is_registered) {
		gone(hn, m->to, end);
		add(hn, m->to, end, false);
	}
	hn->ops->note_event(hn->be, &moved);
}

/* What is doubted is thought to be gone. */
static bool is_taken(struct hn *hn, hn_addr start, hn_addr end)
{
	uint32_t i = next_arrived(hn, 0, start, end, true);

	if (start >= end)
		return false;
	if (i < hn->core->nr_arrived) {
		struct hn_arrived a = hn_arrived_table(hn)[i];

		return is_taken(hn, start, earlier(a.start, end)) || is_taken(hn, later(a.end, start), end);
	}
	return hn_displaced_overlaps(hn, start, end) || hn_entry_any(hn, start, end) || hn->ops->is_known(hn->be, start, end);
}

/*
 * Must m wait? Also for one of the first `before` that wait already, which has the same place to leave or to go to. What leaves the place
 * that another waits for is what that one waits for.
 */
static bool is_early(struct hn *hn, const struct hn_message *m, uint32_t before)
{
	uint32_t i;

	for (i = 0; i < before; i++) {
		const struct hn_message *b = &hn_early_table(hn)[i].m;

		if (meet(m->start, m->end, b->start, b->end) || meet(m->to, to_end(m), b->to, to_end(b)))
			return true;
	}
	return is_taken(hn, m->to, to_end(m));
}

static void process_early(struct hn *hn, uint32_t i)
{
	struct hn_early *e = hn_early_table(hn), it = e[i];

	for (hn->core->nr_early--; i < hn->core->nr_early; i++)
		e[i] = e[i + 1];
	remap(hn, &it.m, it.dropped);
	if (it.left)
		unmap(hn, it.m.start, it.m.end);
}

static void process_what_may(struct hn *hn)
{
	uint32_t i = 0;

	while (i < hn->core->nr_early)
		if (is_early(hn, &hn_early_table(hn)[i].m, i)) {
			i++;
		} else {
			process_early(hn, i);
			i = 0;
		}
}

/* Is it the UNMAP of the old place of a move that waits? Then it waits, too; of one that shrinks it is the shorter. */
static bool is_left(struct hn *hn, const struct hn_message *m)
{
	struct hn_early *e = hn_early_table(hn);
	uint32_t i;

	for (i = 0; i < hn->core->nr_early; i++)
		if (!e[i].left && m->start == e[i].m.start && m->end <= e[i].m.end)
			return e[i].left = true;
	return false;
}

/*
 * Is it the end of what a move that waits is said to have moved, but has not, as it shrinks? Then it is about what we have. Of
 * such a move nothing is left at the old place; of one with MREMAP_DONTUNMAP, and where another has followed, there is.
 */
static bool is_over(struct hn *hn, const struct hn_message *m)
{
	struct hn_early *e = hn_early_table(hn);
	uint32_t i;

	for (i = 0; i < hn->core->nr_early; i++) {
		if (e[i].left || m->end != e[i].m.end || m->start <= e[i].m.start ||
		    hn->ops->is_registered(hn->be, e[i].m.start, m->start) != HN_REGISTERED_NONE)
			continue;
		hn_event_unmap(hn, m->start, m->end);
		e[i].m.end = m->start;
		hn->ops->note_event(hn->be, m);
		return true;
	}
	return false;
}

/* Not of what has left. What is to be dropped at the new place of a move that waits lies at the old one still, for us. */
static void remove_what_is_meant(struct hn *hn, const struct hn_message *m)
{
	bool any = false;
	hn_addr at, stop;
	uint32_t i;

	for (at = m->start; at < m->end; at = stop) {
		stop = m->end;
		if (hn_order_place(hn, at, &stop) != at)
			continue;
		hn_event_remove(hn, at, stop);
		any = true;
	}
	for (i = 0; i < hn->core->nr_early; i++) {
		const struct hn_message *b = &hn_early_table(hn)[i].m;
		hn_addr start = later(m->start, b->to), end = earlier(m->end, to_end(b));

		if (start >= end)
			continue;
		hn_event_remove(hn, b->start + (start - b->to), b->start + (end - b->to));
		any = true;
	}
	if (!any)
		hn_event_removing(hn);
}

hn_addr hn_order_place(const struct hn *hn, hn_addr addr, hn_addr *end)
{
	uint32_t i;

	for (i = 0; i < hn->core->nr_early; i++) {
		const struct hn_message *m = &hn_early_table(hn)[i].m;

		if (m->start <= addr && addr < m->end) {
			*end = earlier(*end, m->end);
			return m->to + (addr - m->start);
		}
		if (addr < m->start)
			*end = earlier(*end, m->start);
	}
	return addr;
}

/* ---- for the leader ---- */

/* The backend need not remember the event: what is still to be done is remembered here. */
static void noted(struct hn *hn)
{
	const struct hn_message nothing = { .kind = HN_MSG_OTHER, .fd = -1 };

	hn->ops->note_event(hn->be, &nothing);
}

void hn_order_event(struct hn *hn, const struct hn_message *m)
{
	switch (m->kind) {
	case HN_MSG_REMAP:
		if (hn->ops->is_known && hn->core->nr_early < hn->core->max_moves && is_early(hn, m, hn->core->nr_early)) {
			hn_early_table(hn)[hn->core->nr_early++] = (struct hn_early){ .m = *m };
			noted(hn);
		} else {
			remap(hn, m, false);
		}
		break;
	case HN_MSG_UNMAP:
		if (!is_over(hn, m) && (is_left(hn, m) || !unmap(hn, m->start, m->end)))
			noted(hn);
		break;
	case HN_MSG_REMOVE:
		remove_what_is_meant(hn, m);
		hn->ops->note_event(hn->be, m);
		break;
	case HN_MSG_FORK: /* the backend gives the child what it lacks */
	case HN_MSG_FAULT:
	case HN_MSG_OTHER: hn->ops->note_event(hn->be, m); break;
	}
	process_what_may(hn);
}

void hn_order_settle(struct hn *hn)
{
	if (!hn_order_any(hn) || hn->ops->event_unread(hn->be))
		return;
	while (hn->core->nr_early)
		process_early(hn, 0);
	hn->core->nr_arrived = 0;
}
