// SPDX-License-Identifier: MIT
/*
 * ops.c - struct hn_ops on the machine, as src/linux does it on a kernel: arming by MOVE, put-backs down the same ladder.
 * Every call begins with a scheduling point, and what takes several system calls has one before each. ops_rwp.c has what
 * is different where arming is RWPROTECT.
 */
#include <errno.h>

#include "check/ops_rwp.h"

static struct ck_world *world(void) { return ck_now->world; }

int ck_told_to_fail(enum ck_op op)
{
	struct ck_fail *f = &world()->fail[op];

	if (f->at == 0)
		return 0;
	ck_touch(f, CK_WRITE);
	return ++f->calls == f->at ? f->err : 0;
}

int ck_told_after(int err, enum ck_op op) { return err ? err : ck_told_to_fail(op); }

static uint64_t op_now_ns(void *be)
{
	(void)be;
	ck_point(NULL);
	ck_minor();
	ck_touch(&world()->now_ns, CK_READ);
	return world()->now_ns;
}

enum hn_arm_error ck_arm_error(int err)
{
	switch (err) {
	case -EBUSY: return HN_ARM_BUSY;
	case -EINVAL: return HN_ARM_INVALID;
	case -ENOENT: return HN_ARM_ABSENT;
	case -EAGAIN: return HN_ARM_EVENT;
	default: return HN_ARM_OTHER;
	}
}

/* ---- arming ---- */

static uint32_t op_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why)
{
	int err;
	uint32_t n = hn_mm_take_out(&ck_mm, haddr, ck_staged_at(first), nr, &err);

	(void)be;
	*why = ck_arm_error(err);
	return n;
}

static void op_page_nodes(void *be, hn_addr haddr, uint32_t first, uint32_t nr, int16_t *nid)
{
	struct ck_world *w = world();
	uint32_t i;

	(void)be;
	(void)haddr;
	ck_point(NULL);
	ck_minor();
	for (i = 0; i < nr; i++) {
		ck_touch(&w->staged[first + i], CK_READ);
		nid[i] = w->staging[first + i].at[0] == CK_HOLE ? HN_NO_NODE : w->frame[w->staging[first + i].at[0] >> 1].nid;
	}
}

/* ---- putting back ---- */

static int op_disarm(void *be, hn_addr haddr, uint32_t page)
{
	(void)be;
	return hn_mm_putback(&ck_mm, haddr, ck_staged_at(page));
}

static int op_copy_in(void *be, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	(void)be;
	if (world()->fail[CK_OP_COPY_IN].at) {
		int err;

		ck_point("copy in");
		err = ck_told_to_fail(CK_OP_COPY_IN);
		if (err)
			return err;
	}
	return ck_told_after(hn_mm_copy_in(&ck_mm, addr, ck_staged_at(page) + from, to - from), CK_OP_COPIED);
}

static void op_discard(void *be, uint32_t page)
{
	(void)be;
	hn_mm_discard(&ck_mm, ck_staged_at(page));
}

void ck_op_zero(void *be, uint32_t page, uint32_t from, uint32_t to)
{
	struct ck_world *w = world();
	uint32_t off;

	(void)be;
	ck_point("zero part of the staged page");
	ck_touch(&w->staged[page], CK_WRITE);
	for (off = from; off < to; off += (uint32_t)CK_CELL) {
		int8_t entry = ck_fault_in(w, ck_staged_at(page) + off);

		ck_touch(&w->staged[page], CK_WRITE);
		*ck_value(w, entry) = 0;
	}
}

/* ---- migrating ---- */

static int op_thread_node(void *be, uint32_t tid)
{
	struct ck_world *w = world();

	(void)be;
	ck_point(NULL);
	ck_touch(&w->thread_map, CK_READ);
	ck_say("thread runs on node %d", w->thread_nid[tid]);
	return w->thread_nid[tid];
}

/* What is taken for moved away, whole, is. */
static void must_be_gone(const struct ck_place *p)
{
	if (p->at[0] != CK_HOLE || p->at[1] != CK_HOLE)
		ck_violated(4, "what is left of a page of the pool is forgotten");
}

/* A pool page that was used up in part: a new mapping takes its place. */
static void drop_target(uint32_t target)
{
	uint32_t c;

	ck_touch(&world()->target[target], CK_WRITE);
	for (c = 0; c < CK_CELLS; c++)
		ck_drop_cell(world(), &world()->target[target], c);
}

static int op_target_get(void *be, int nid, uint32_t *target)
{
	struct ck_world *w = world();
	uint32_t t;
	int err;

	(void)be;
	ck_point(NULL);
	ck_touch(&w->pool, CK_WRITE);
	err = ck_told_to_fail(CK_OP_TARGET);
	for (t = 0; err == 0 && t < CK_TARGETS; t++) {
		if (w->target_out[t] || w->target[t].at[0] == CK_HOLE || w->target[t].at[1] == CK_HOLE)
			continue;
		w->target_out[t] = true;
		w->frame[w->target[t].at[0] >> 1].nid = (int8_t)nid;
		*target = t;
		ck_say("get target page on node %d", nid);
		return 0;
	}
	ck_say("no target page on node %d", nid);
	return -ENOMEM;
}

static void op_target_put(void *be, uint32_t target)
{
	struct ck_world *w = world();

	(void)be;
	ck_point("give target page back");
	ck_touch(&w->pool, CK_WRITE);
	w->target_out[target] = false;
	if (w->target[target].at[0] == CK_HOLE || w->target[target].at[1] == CK_HOLE)
		drop_target(target);
}

/*
 * mbind of the page in staging: what is present gets frames of node nid. Whether it did is looked up by its first base page; a
 * page that was split is one still.
 */
static int migrate_in_staging(uint32_t page, int nid)
{
	struct ck_world *w = world();
	struct ck_place *p = &w->staging[page];
	uint32_t c;
	int err;

	ck_point("mbind");
	err = ck_told_to_fail(CK_OP_COPY);
	if (err)
		return err;
	for (c = 0; c < CK_CELLS; c++) {
		ck_touch(&w->staged[page], CK_WRITE);
		while (p->form[c] == CK_CHANGING) {
			ck_await_split(w, ck_staged_at(page));
			ck_touch(&w->staged[page], CK_WRITE);
		}
		if (p->at[c] != CK_HOLE && p->form[c] == CK_PRESENT)
			w->frame[p->at[c] >> 1].nid = (int8_t)nid;
	}
	return p->at[0] != CK_HOLE && p->form[0] == CK_PRESENT ? 0 : -EIO;
}

/* In two steps, so that whoever could write meanwhile does, and time can pass. A hole in staging is filled with zeros. */
static int op_copy(void *be, uint32_t page, uint32_t target, int nid, uint64_t until_ns)
{
	struct ck_world *w = world();
	int8_t to;
	uint32_t c;
	int err;

	(void)be;
	hn_lead_release(ck_hn());
	if (w->kernel_mover)
		return migrate_in_staging(page, nid);
	for (c = 0; c < CK_CELLS; c++) {
		uint32_t value;

		ck_point(NULL);
		err = ck_told_to_fail(CK_OP_COPY);
		if (err)
			return err;
		if (until_ns && op_now_ns(be) >= until_ns) {
			ck_say("too late to go on copying");
			return -ETIME;
		}
		value = *ck_value(w, ck_fault_in(w, ck_staged_at(page) + c * CK_CELL));
		to = ck_fault_in(w, ck_pool_at(target) + c * CK_CELL);
		ck_touch(&w->target[target], CK_WRITE);
		*ck_value(w, to) = value;
		ck_say("copy %s (half %u)", ck_value_name(value), c);
	}
	return 0;
}

int ck_op_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target)
{
	struct ck_world *w = world();
	hn_addr from = w->kernel_mover ? ck_staged_at(page) : ck_pool_at(target);
	bool copied;
	int err = hn_mm_put_new(&ck_mm, haddr, from, &copied);

	(void)be;
	if (err)
		return err;
	w->target_out[target] = false; /* an empty place: the pool has to be filled anew */
	if (copied && !w->kernel_mover)
		drop_target(target);
	else if (!w->kernel_mover)
		must_be_gone(&w->target[target]);
	return 0;
}

/* ---- messages ---- */

static void op_wake(void *be, hn_addr addr, uint64_t bytes)
{
	(void)be;
	ck_point("wake sleepers");
	ck_wake_range(world(), addr, bytes);
}

static bool op_event_unread(void *be)
{
	(void)be;
	ck_point(NULL);
	ck_touch(&world()->events, CK_READ);
	ck_say(world()->changing ? "an event is unread" : "no event is unread");
	return world()->changing != 0;
}

static bool op_read_message(void *be, struct hn_message *m)
{
	struct ck_world *w = world();
	uint32_t i;

	(void)be;
	ck_point(NULL);
	ck_touch(&w->faults, CK_WRITE);
	if (w->nr_faults) {
		uint32_t a = (uint32_t)w->fault[0];

		w->nr_faults--;
		for (i = 0; i < w->nr_faults; i++)
			w->fault[i] = w->fault[i + 1];
		*m = (struct hn_message){ .kind = HN_MSG_FAULT, .tid = a, .start = w->fault_addr[a] };
		ck_say("read: fault on %u.%u by %s", ck_slot_of(m->start), ck_cell_of(m->start), ck_now->actor[a].name);
		return true;
	}
	ck_touch(&w->events, CK_WRITE);
	if (w->nr_events) {
		int8_t causer = w->event[0].causer;

		*m = w->event[0].m;
		w->nr_events--;
		w->changing--;
		for (i = 0; i < w->nr_events; i++)
			w->event[i] = w->event[i + 1];
		ck_say("read: event of %s", ck_now->actor[causer].name);
		ck_wake((uint32_t)causer);
		for (i = 0; i < CK_MAX_ACTORS; i++)
			if (w->awaiting & (1u << i))
				ck_wake(i);
		w->awaiting = 0;
		return true;
	}
	ck_say("nothing to read");
	return false;
}

static bool op_wait_message(void *be, bool chores)
{
	struct ck_world *w = world();

	(void)be;
	ck_point(NULL);
	ck_minor();
	ck_touch(&w->faults, CK_READ);
	ck_touch(&w->events, CK_READ);
	if (w->stop)
		return false;
	if (w->nr_faults || w->nr_events)
		return true;
	ck_touch(&w->poll, CK_WRITE);
	if (chores)
		ck_touch(&w->chores, CK_WRITE);
	w->poller = (int8_t)ck_now->running;
	w->poller_has_chores = chores;
	ck_sleep();
	ck_touch(&w->faults, CK_READ);
	return !w->stop;
}

/* Where the kernel would run others: until the event that is on its way can be read, or at least did not get worse. */
static void op_yield(void *be)
{
	struct ck_world *w = world();

	(void)be;
	ck_point(NULL);
	ck_touch(&w->events, CK_READ);
	if (!w->changing || w->nr_events || w->closed)
		return;
	w->yielding |= 1u << ck_now->running;
	ck_sleep();
}

static void give(void *arg, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct ck_world *w = arg;
	uint32_t c;

	for (c = from / (uint32_t)CK_CELL; c < to / CK_CELL; c++, addr += CK_CELL) {
		uint32_t value;

		ck_point("copy into the child");
		ck_touch(&w->child_mem, CK_WRITE);
		if (!ck_in_world(addr) || w->child.present[ck_slot_of(addr)][ck_cell_of(addr)] ||
		    !w->child.mapped[ck_slot_of(addr)][ck_cell_of(addr)])
			continue;
		value = *ck_value(w, ck_fault_in(w, ck_staged_at(page) + c * CK_CELL));
		ck_touch(&w->child_mem, CK_WRITE);
		w->child.present[ck_slot_of(addr)][ck_cell_of(addr)] = true;
		w->child.value[ck_slot_of(addr)][ck_cell_of(addr)] = value;
	}
}

static bool *known_at(hn_addr a)
{
	return &world()->slot[ck_slot_of(a)].known[ck_cell_of(a)];
}

static bool op_is_known(void *be, hn_addr start, hn_addr end)
{
	hn_addr a;

	(void)be;
	for (a = start; a < end; a += CK_CELL)
		if (ck_in_world(a) && *known_at(a))
			return true;
	return false;
}

static enum hn_registered op_is_registered(void *be, hn_addr start, hn_addr end)
{
	uint32_t cells = 0, there = 0;
	hn_addr a;

	(void)be;
	ck_point("ask what is registered");
	for (a = start; a < end; a += CK_CELL, cells++) {
		const struct ck_slot *s = &world()->slot[ck_slot_of(a)];

		ck_touch(&s->pt, CK_READ);
		there += s->mapped[ck_cell_of(a)] && s->registered[ck_cell_of(a)];
	}
	return there == 0 ? HN_REGISTERED_NONE : there < cells ? HN_REGISTERED_SOME : HN_REGISTERED_ALL;
}

static void note_known(const struct hn_message *m)
{
	hn_addr a;

	for (a = m->start; a < m->end; a += CK_CELL) {
		bool was = *known_at(a);

		*known_at(a) = false;
		if (m->kind == HN_MSG_REMAP)
			*known_at(m->to + (a - m->start)) = was;
	}
}

static void op_note_event(void *be, const struct hn_message *m)
{
	(void)be;
	ck_point(NULL);
	ck_minor();
	if (m->kind == HN_MSG_REMOVE) /* what is left of a page that was armed in its place; the next touch has it seen to */
		ck_leave_protected(world(), hn_page_down(m->start), hn_page_up(m->end) - hn_page_down(m->start));
	if (m->kind == HN_MSG_UNMAP || m->kind == HN_MSG_REMAP)
		note_known(m);
	if (m->kind != HN_MSG_FORK)
		return;
	hn_for_each_armed(ck_hn(), give, world());
	ck_point("close the child's descriptor");
	ck_touch(&world()->child_mem, CK_WRITE);
	world()->child.complete = true;
	if (world()->child.waiter >= 0)
		ck_wake((uint32_t)world()->child.waiter);
}

/* ---- first touches ---- */

static uint32_t op_hole_get(void *be, hn_addr haddr, int nid)
{
	struct ck_world *w = world();

	(void)be;
	(void)haddr;
	(void)nid;
	ck_point(NULL);
	ck_touch(&w->pool, CK_WRITE);
	if (ck_told_to_fail(CK_OP_HOLE) || w->zeros_out || w->zeros.at[0] == CK_HOLE)
		return HN_NO_INDEX;
	w->zeros_out = true;
	ck_say("get a page of zeros");
	return 0;
}

static void op_hole_put(void *be, uint32_t zeros)
{
	struct ck_world *w = world();

	(void)be;
	if (zeros == HN_NO_INDEX)
		return;
	ck_point("give the page of zeros back");
	ck_touch(&w->pool, CK_WRITE);
	w->zeros_out = false;
}

/* Huge where the whole place is empty. */
static int fill_huge(hn_addr haddr, uint32_t zeros, bool *copied)
{
	*copied = true;
	if (zeros == HN_NO_INDEX || !hn_mm_is_empty(&ck_mm, haddr, haddr + HN_PAGE_SIZE))
		return -EEXIST;
	return hn_mm_put_new(&ck_mm, haddr, CK_ZEROS_AT, copied);
}

int ck_op_hole_fill(void *be, hn_addr addr, uint32_t zeros)
{
	struct ck_world *w = world();
	bool copied;
	int err = fill_huge(hn_page_down(addr), zeros, &copied);

	if (err == 0 && !copied) {
		w->zeros_out = false;
		must_be_gone(&w->zeros);
	} else {
		op_hole_put(be, zeros);
	}
	if (err == 0 || err == -EAGAIN)
		return err;
	ck_point("fill the hole");
	err = ck_zeropage(w, addr & ~(CK_CELL - 1));
	if (err == -EAGAIN)
		return err;
	if (err)
		ck_wake_range(w, addr & ~(CK_CELL - 1), CK_CELL);
	return 0;
}

/* What both have in common. */
#define OPS                                                                                                            \
	.now_ns = op_now_ns, .thread_node = op_thread_node, .target_get = op_target_get, .target_put = op_target_put,  \
	.copy = op_copy, .wake = op_wake, .event_unread = op_event_unread, .read_message = op_read_message,            \
	.wait_message = op_wait_message, .note_event = op_note_event, .is_known = op_is_known, .is_registered = op_is_registered, .yield = op_yield, .hole_get = op_hole_get,      \
	.hole_put = op_hole_put

const struct hn_ops ck_ops = {
	OPS,
	.arm = op_arm,
	.disarm = op_disarm,
	.discard = op_discard,
	.zero = ck_op_zero,
	.copy_in = op_copy_in,
	.page_nodes = op_page_nodes,
	.commit = ck_op_commit,
	.hole_fill = ck_op_hole_fill,
};

const struct hn_ops ck_ops_rwp = {
	OPS,
	.arm = ck_rwp_arm,
	.disarm = ck_rwp_disarm,
	.discard = ck_rwp_discard,
	.zero = ck_rwp_zero,
	.copy_in = ck_rwp_copy_in,
	.page_nodes = ck_rwp_page_nodes,
	.isolate = ck_rwp_isolate,
	.commit = ck_rwp_commit,
	.hole_fill = ck_rwp_hole_fill,
};
