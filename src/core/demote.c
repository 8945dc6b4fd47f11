// SPDX-License-Identifier: MIT
/*
 * demote.c - a page that nobody has touched goes to a slow node (steps C1 to C3 of docs/protocol.md).
 *
 * The scanner does it, with a page whose hint has run out: nobody can reach it then. From C2 on it is a migration like any
 * other (migrate.c). What is different: nobody waits for it at its beginning, so nobody reads a message who would see to
 * those that came meanwhile.
 */
#include "core/fault.h"

static bool is_set(uint64_t set, int nid) { return (set >> nid & 1) != 0; }

/* Is this armed page to go, and where to? Entry lock. */
static int target_of(struct hn *hn, const struct hn_entry *e, uint32_t now_ms)
{
	const struct hn_core *c = hn->core;
	int to;

	if (!c->par.cold_rounds || e->nid < 0 || is_set(c->par.slow_nodes, e->nid) || !c->plan.pages[e->nid])
		return HN_NO_NODE;
	if (hn_before(now_ms, e->armed_ms + c->par.expiry_ms) || e->idle + 1u < c->par.cold_rounds)
		return HN_NO_NODE;
	to = c->plan.target[e->nid];
	if (to == HN_NO_NODE || hn_entry_held(e, HN_E_NO_MOVE, now_ms) || !hn_policy_may_send(hn, e, to))
		return HN_NO_NODE;
	return to;
}

/* C1, gate and entry lock held. True: the page lock and a reference are ours. */
static bool take(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f)
{
	if (e->state != HN_ARMED || e->page != f->page)
		return false;
	f->verdict->from_nid = e->nid;
	f->verdict->target_nid = target_of(hn, e, hn_now_ms(hn));
	if (f->verdict->target_nid == HN_NO_NODE || !hn_page_trylock(hn, f->page))
		return false;
	if (hn->ops->event_unread(hn->be)) { /* nothing could be put in place now */
		hn_page_unlock(hn, f->page);
		return false;
	}
	f->gen = e->gen;
	f->demotion = true;
	if (!e->idle)
		e->idle = 1; /* 0 from here on: touched */
	hn_page_get(hn, f->page);
	return true;
}

static void count(struct hn *hn, const struct hn_fault_ctx *f, enum hn_outcome out)
{
	struct hn_stats *s = hn->stats;

	switch (out) {
	case HN_FAULT_DEMOTED:
		hn_stat_add(&s->demoted, 1);
		if (hn->core->plan.pages[f->verdict->from_nid])
			hn->core->plan.pages[f->verdict->from_nid]--;
		break;
	case HN_FAULT_FAILED: hn_stat_add(&s->demote_failed[f->verdict->failure], 1); break;
	case HN_FAULT_RACED: hn_stat_add(f->touched ? &s->demote_touched : &s->demote_raced, 1); break;
	default: break; /* an event has ended the hint, or it has still to be read: nothing was done */
	}
}

static void put_on_record(struct hn *hn, const struct hn_fault_ctx *f)
{
	struct hn_decision d = {
		.time_ns = f->since_ns,
		.haddr = f->haddr,
		.thread_nid = HN_NO_NODE,
		.from_nid = (int8_t)f->verdict->from_nid,
		.target_nid = (int8_t)f->verdict->target_nid,
		.last_nid = HN_NO_NODE,
		.outcome = HN_FAULT_DEMOTED,
		.policy = (uint8_t)hn->core->par.policy,
		.rule = HN_NO_RULE,
	};

	if (hn->record)
		hn_record_decision(hn->record, &d);
	if (hn->ops->note_decision)
		hn->ops->note_decision(hn->be, &d);
}

enum hn_outcome hn_demote_putback(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, enum hn_outcome outcome)
{
	struct hn_page *p = &hn_pages(hn)[f->page];

	if (hn_order_waits(hn) || hn->ops->disarm(hn->be, f->haddr, f->page) != 0) {
		hn_page_unlock(hn, f->page);
		return HN_FAULT_DEFERRED;
	}
	p->content = 0;
	hn_entry_to_mapped(hn, e, HN_DISARM_EXPIRY);
	hn_page_unlock(hn, f->page);
	hn_page_put(hn, f->page);
	return outcome;
}

enum hn_outcome hn_demote_committed(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f)
{
	hn_entry_to_mapped(hn, e, HN_DISARM_EXPIRY);
	e->nid = (int8_t)f->verdict->target_nid;
	e->fails = 0;
	e->flags &= (uint8_t)~HN_E_NO_MOVE;
	e->idle = 0;
	e->demoted = 1;
	e->moved_ms = hn_now_ms(hn);
	hn_page_unlock(hn, f->page);
	hn_page_put(hn, f->page);
	return HN_FAULT_DEMOTED;
}

bool hn_demote(struct hn *hn, uint32_t page)
{
	struct hn_verdict verdict = { HN_NO_NODE, HN_NO_NODE, HN_NO_NODE, .last_nid = HN_NO_NODE, .rule = HN_NO_RULE };
	struct hn_fault_ctx f = { .page = page, .since_ns = hn->ops->now_ns(hn->be), .verdict = &verdict };
	enum hn_outcome out;
	struct hn_entry *e;
	bool ours = false;

	hn_gate_read_lock(hn);
	f.haddr = hn_page_haddr(hn, page);
	e = hn_entry_find(hn, f.haddr);
	if (e) {
		hn_lock(&e->lock);
		ours = take(hn, e, &f);
		hn_unlock(&e->lock);
	}
	hn_gate_read_unlock(hn);
	if (!ours)
		return false;
	out = hn_migrate_misplaced(hn, &f);
	count(hn, &f, out);
	if (out == HN_FAULT_DEMOTED)
		put_on_record(hn, &f);
	/*
	 * C3: still armed. Whoever touched the page meanwhile found the page lock taken and sleeps until its holder puts the
	 * page back, which it could not; and no message of ours will be put off (I3). The fault comes again.
	 */
	if (out == HN_FAULT_DEFERRED) {
		hn->ops->yield(hn->be);
		hn->ops->wake(hn->be, f.haddr, HN_PAGE_SIZE);
	}
	return true;
}
