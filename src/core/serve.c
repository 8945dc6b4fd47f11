// SPDX-License-Identifier: MIT
/*
 * serve.c - the handlers: leader and followers on one queue of messages.
 *
 * One handler leads: it alone waits for messages, reads them one at a time, and serves them itself as long as that is
 * quick. Before it starts a copy it hands the lead to another handler, so that no fault waits behind a migration that
 * is not its own. A message is read with the event gate held exclusively, and an event is processed before the gate is
 * opened again (gate.c says why).
 */
#include "core/internal.h"

void hn_lead_release(struct hn *hn)
{
	if (!hn->leading)
		return;
	hn->leading = false;
	hn_unlock(&hn->core->lead);
}

/* ---- faults that must wait for an event to be read; only the leader touches the list ---- */

/*
 * Nobody is woken before the queue is quiet: faults are read before events, and with many threads that fault again and again
 * the event that they wait for would never be read.
 */
static void defer(struct hn *hn, hn_addr addr)
{
	struct hn_core *c = hn->core;
	hn_addr haddr = hn_page_down(addr);

	if (c->nr_deferred < HN_MAX_DEFERRED) {
		c->deferred[c->nr_deferred++] = addr;
		return;
	}
	if (!c->deferred_to || haddr < c->deferred_from)
		c->deferred_from = haddr;
	if (haddr + HN_PAGE_SIZE > c->deferred_to)
		c->deferred_to = haddr + HN_PAGE_SIZE;
}

static void wake_deferred(struct hn *hn)
{
	struct hn_core *c = hn->core;

	while (c->nr_deferred)
		hn->ops->wake(hn->be, hn_page_down(c->deferred[--c->nr_deferred]), HN_PAGE_SIZE);
	if (c->deferred_to)
		hn->ops->wake(hn->be, c->deferred_from, c->deferred_to - c->deferred_from);
	c->deferred_to = 0;
}

/*
 * The leader wakes what it put off once it has read on. Who has given the lead away must not leave that to a leader that
 * may have read the event already and sleeps (I3): the thread faults again, and the new message wakes the leader.
 */
static void put_off(struct hn *hn, hn_addr addr)
{
	if (hn->leading) {
		defer(hn, addr);
		return;
	}
	hn->ops->yield(hn->be);
	hn->ops->wake(hn->be, hn_page_down(addr), HN_PAGE_SIZE);
}

/* ---- reading ---- */

enum got { GOT_NOTHING, GOT_FAULT, GOT_EVENT };

static enum got read_one(struct hn *hn, struct hn_message *m)
{
	enum got got = GOT_NOTHING;

	hn_gate_write_lock(hn);
	if (hn->ops->read_message(hn->be, m)) {
		got = m->kind == HN_MSG_FAULT ? GOT_FAULT : GOT_EVENT;
		if (got == GOT_EVENT)
			hn_order_event(hn, m);
	}
	if (got == GOT_NOTHING)
		hn_order_settle(hn);
	hn_gate_write_unlock(hn);
	return got;
}

void hn_event_again(struct hn *hn, const struct hn_message *m) { hn_order_event(hn, m); }

uint32_t hn_read_on(struct hn *hn, uint32_t most)
{
	struct hn_message m;
	uint32_t n;

	for (n = 0; n < most; n++) {
		enum got got = read_one(hn, &m);

		if (got == GOT_NOTHING)
			break;
		if (got == GOT_FAULT)
			hn->ops->wake(hn->be, hn_page_down(m.start), HN_PAGE_SIZE);
	}
	return n;
}

/* Faults that were judged, and those of threads that wait for one in service; the others tell nothing about a page. */
static void put_on_record(struct hn *hn, const struct hn_message *m, uint64_t read_ns, enum hn_outcome out,
			  const struct hn_verdict *v)
{
	struct hn_decision d = {
		.time_ns = read_ns,
		.haddr = hn_page_down(m->start),
		.tid = m->tid,
		.last_tid = v->last_tid,
		.service_ns = v->service_ns < UINT32_MAX ? (uint32_t)v->service_ns : UINT32_MAX,
		.thread_nid = (int8_t)v->thread_nid,
		.from_nid = (int8_t)v->from_nid,
		.target_nid = (int8_t)v->target_nid,
		.last_nid = (int8_t)v->last_nid,
		.outcome = (uint8_t)out,
		.reason = out == HN_FAULT_REFUSED ? v->refusal : out == HN_FAULT_MIGRATED ? v->reason : v->failure,
		.policy = (uint8_t)hn->core->par.policy,
		.rule = v->rule,
	};

	if (out < HN_FAULT_LOCAL && out != HN_FAULT_WAITED)
		return;
	if (hn->record)
		hn_record_decision(hn->record, &d);
	if (hn->ops->note_decision)
		hn->ops->note_decision(hn->be, &d);
}

/* Returns when it was done, as near as that is known without asking. */
static uint64_t serve_fault(struct hn *hn, const struct hn_message *m, uint64_t read_ns)
{
	uint64_t since_ns = hn->core->behind_ns ? hn->core->behind_ns : read_ns;
	struct hn_verdict verdict;
	enum hn_outcome out;

	hn->core->behind_ns = read_ns; /* still the leader */
	if (hn_order_waits(hn)) { /* where the page is expected now is not known; nor would the kernel let it be put back */
		put_off(hn, m->start);
		return read_ns;
	}
	out = hn_fault(hn, m->start, m->tid, since_ns, &verdict);
	put_on_record(hn, m, read_ns, out, &verdict);
	if (out == HN_FAULT_DEFERRED || (out == HN_FAULT_UNMANAGED && !hn_hole_serve(hn, m->start, m->tid)))
		put_off(hn, m->start);
	if (out == HN_FAULT_UNMANAGED && hn->core->par.max_stall_us) /* a first touch, which may have taken a while */
		return hn->ops->now_ns(hn->be);
	return verdict.service_ns ? since_ns + verdict.service_ns : read_ns;
}

/* Nothing to read now: who was put off may try again, and parts that wait for their place too. */
static void on_quiet(struct hn *hn)
{
	hn_displaced_resolve(hn, 0, ~(hn_addr)0);
	if (hn->core->nr_deferred) {
		hn->ops->yield(hn->be); /* the event's causer has to run to clear the way */
		wake_deferred(hn);
	}
}

/* Is there something that on_quiet() has to see to? */
static bool has_chores(struct hn *hn) { return hn->core->nr_deferred || hn_displaced_any(hn) || hn_order_any(hn); }

/*
 * When a message came is not said. One that is there as soon as the one before it has been served came while that was in
 * service; so did one that a new leader finds, when there was no leader. What waited behind several counts from the last.
 */
#define PROMPT_NS 20000u

/* Lead until a copy takes the lead away. False when asked to leave. */
static bool lead(struct hn *hn)
{
	uint64_t served = UINT64_MAX; /* when this leader began to wait for a message */
	struct hn_message m;

	while (hn->leading) {
		uint64_t now = hn->ops->now_ns(hn->be);

		if (served < now && now - served > PROMPT_NS)
			hn->core->behind_ns = 0;
		served = UINT64_MAX;
		switch (read_one(hn, &m)) {
		case GOT_FAULT:
			served = serve_fault(hn, &m, now);
			/* Most often there is no other message: find out by sleeping, not by a read that fails. */
			if (hn->leading && !has_chores(hn) && !hn->ops->wait_message(hn->be, false))
				return false;
			break;
		case GOT_EVENT:
			hn->core->behind_ns = now;
			on_quiet(hn);
			break;
		case GOT_NOTHING:
			hn->core->behind_ns = 0;
			on_quiet(hn);
			if (!hn->ops->wait_message(hn->be, has_chores(hn)))
				return false;
			break;
		}
	}
	return true;
}

void hn_serve(struct hn *hn)
{
	bool go_on = true;

	while (go_on) {
		hn_lock(&hn->core->lead);
		hn->leading = true;
		go_on = lead(hn);
		hn_lead_release(hn);
	}
}
