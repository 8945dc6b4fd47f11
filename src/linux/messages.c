// SPDX-License-Identifier: MIT
/*
 * messages.c - the handlers: leader and followers on one userfaultfd.
 *
 * One handler leads: it alone waits for messages, reads them one at a time, and serves them itself as long as that is
 * quick. Before it starts a copy it hands the lead to another handler, so that no fault waits behind a migration that
 * is not its own. A message is read with the event gate held exclusively, and an event is processed before the gate is
 * opened again (gate.c says why).
 */
#include <errno.h>
#include <poll.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

_Static_assert(sizeof(struct uffd_msg) == 32, "the kernel's message size is part of its interface");

void hn_lead_release(struct hn_worker *w)
{
	if (!w->leading)
		return;
	w->leading = false;
	hn_unlock(&w->live->lead);
}

/* ---- faults that must wait for an event to be read ---- */

void hn_defer(struct hn_live *live, hn_addr addr)
{
	hn_lock(&live->deferred_lock);
	if (live->nr_deferred < HN_MAX_DEFERRED)
		live->deferred[live->nr_deferred++] = addr;
	else
		hn_uffd_wake(live->fd, hn_page_down(addr), HN_PAGE_SIZE);
	hn_unlock(&live->deferred_lock);
}

static void wake_deferred(struct hn_live *live)
{
	hn_lock(&live->deferred_lock);
	while (live->nr_deferred)
		hn_uffd_wake(live->fd, hn_page_down(live->deferred[--live->nr_deferred]), HN_PAGE_SIZE);
	hn_unlock(&live->deferred_lock);
}

/* ---- events: gate held exclusively ---- */

static void on_remap(struct hn_worker *w, const struct uffd_msg *m)
{
	hn_addr from = m->arg.remap.from, to = m->arg.remap.to;
	uint64_t len = m->arg.remap.len;

	hn_displaced_remap(w, from, to, len);
	hn_event_remap(&w->hn, from, to, len);
	hn_region_remap(w->live, from, to, len);
}

static void on_remove(struct hn_worker *w, const struct uffd_msg *m)
{
	hn_displaced_cut(w, m->arg.remove.start, m->arg.remove.end);
	hn_event_remove(&w->hn, m->arg.remove.start, m->arg.remove.end);
}

static void on_unmap(struct hn_worker *w, const struct uffd_msg *m)
{
	hn_displaced_cut(w, m->arg.remove.start, m->arg.remove.end);
	hn_event_unmap(&w->hn, m->arg.remove.start, m->arg.remove.end);
	hn_region_cut(w->live, m->arg.remove.start, m->arg.remove.end);
}

static void on_event(struct hn_worker *w, const struct uffd_msg *m)
{
	hn_stat_add(w->live->cnt.events, 1);
	switch (m->event) {
	case UFFD_EVENT_REMAP: on_remap(w, m); break;
	case UFFD_EVENT_REMOVE: on_remove(w, m); break;
	case UFFD_EVENT_UNMAP: on_unmap(w, m); break;
	case UFFD_EVENT_FORK: hn_fork_serve(w, (int)m->arg.fork.ufd); break;
	default: break;
	}
}

/* ---- reading ---- */

enum got { GOT_NOTHING, GOT_FAULT, GOT_EVENT };

static enum got read_one(struct hn_worker *w, struct uffd_msg *m)
{
	enum got got = GOT_NOTHING;

	hn_gate_write_lock(&w->hn);
	if (hn_sys_read(w->live->fd, m, sizeof(*m)) == (long)sizeof(*m)) {
		got = m->event == UFFD_EVENT_PAGEFAULT ? GOT_FAULT : GOT_EVENT;
		if (got == GOT_EVENT)
			on_event(w, m);
	}
	hn_gate_write_unlock(&w->hn);
	return got;
}

/*
 * The leader wakes what it put off once it has read on. Who has given the lead away must not leave that to a leader that
 * may have read the event already and sleeps (I3): the thread faults again, and the new message wakes the leader.
 */
static void put_off(struct hn_worker *w, hn_addr addr)
{
	if (w->leading) {
		hn_defer(w->live, addr);
		return;
	}
	HN_SYS(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	hn_uffd_wake(w->live->fd, hn_page_down(addr), HN_PAGE_SIZE);
}

static void serve_fault(struct hn_worker *w, const struct uffd_msg *m, uint64_t read_ns)
{
	hn_addr addr = m->arg.pagefault.address;
	uint32_t tid = m->arg.pagefault.feat.ptid;
	struct hn_verdict verdict;
	enum hn_outcome out = hn_fault(&w->hn, addr, tid, read_ns, &verdict);

	if (out == HN_FAULT_DEFERRED || (out == HN_FAULT_UNMANAGED && !hn_holes_serve(w, addr, tid)))
		put_off(w, addr);
}

/* Nothing to read now: who was put off may try again, and parts that wait for their place too. */
static void on_quiet(struct hn_worker *w)
{
	hn_displaced_resolve(w, 0, ~(hn_addr)0);
	if (w->live->nr_deferred) {
		HN_SYS(SYS_sched_yield, 0, 0, 0, 0, 0, 0); /* the event's caller has to run to clear the way */
		wake_deferred(w->live);
	}
}

/* Is there something that on_quiet() has to see to? */
static bool has_chores(struct hn_live *live) { return live->nr_deferred || hn_load_relaxed(&live->nr_displaced); }

/* False when the handlers are asked to leave. */
static bool wait_for_message(struct hn_worker *w)
{
	struct pollfd p[2] = { { .fd = w->live->fd, .events = POLLIN }, { .fd = w->live->fd_stop, .events = POLLIN } };

	HN_SYS(SYS_poll, p, 2, has_chores(w->live) ? 1 : -1, 0, 0, 0);
	return !(p[1].revents & POLLIN);
}

/* Lead until a copy takes the lead away. False when asked to leave. */
static bool lead(struct hn_worker *w)
{
	struct uffd_msg m;

	while (w->leading) {
		uint64_t now = hn_live_now_ns(w);

		switch (read_one(w, &m)) {
		case GOT_FAULT:
			serve_fault(w, &m, now);
			/* Most often there is no other message: find out by sleeping, not by a read that fails. */
			if (w->leading && !has_chores(w->live) && !wait_for_message(w))
				return false;
			break;
		case GOT_EVENT:
			on_quiet(w);
			break;
		case GOT_NOTHING:
			on_quiet(w);
			if (!wait_for_message(w))
				return false;
			break;
		}
	}
	return true;
}

void hn_handler_loop(struct hn_worker *w)
{
	bool go_on = true;

	while (go_on) {
		hn_lock(&w->live->lead);
		w->leading = true;
		go_on = lead(w);
		hn_lead_release(w);
	}
}
