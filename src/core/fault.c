// SPDX-License-Identifier: MIT
/*
 * fault.c - the hinting-fault path, steps F1 to F4 and F7 of docs/protocol.md.
 *
 *   handler 1                     handler 2                     (the founding race, R1)
 *   ----------------------------- -----------------------------
 *   F3 page lock
 *   F4 misplaced; entry unlocked
 *   F5 copying ...                F1 entry still ARMED
 *                                 F3 page lock taken: WAITED    <- placement is not even asked here
 *   F6 commit: sleepers wake
 *
 * Without F3 before F4, handler 2 could judge "not misplaced" and put the old page back in the middle of the copy.
 */
#include "core/fault.h"

#include "core/history.h"

/* A page that is promoted so soon after it was demoted should not have been, or should not be. */
#define BOUNCE_MS 60000u

static bool given_up(const struct hn_fault_ctx *f, enum hn_outcome outcome)
{
	return outcome == HN_FAULT_FAILED && f->verdict->failure == HN_FAIL_STALL;
}

static void record_times(struct hn *hn, const struct hn_fault_ctx *f, enum hn_outcome outcome)
{
	uint64_t ns = (f->done_ns ? f->done_ns : hn->ops->now_ns(hn->be)) - f->since_ns;

	f->verdict->service_ns = ns;
	hn_hist_add(&hn->stats->fault_service_ns, ns);
	if (outcome != HN_FAULT_MIGRATED && !given_up(f, outcome))
		return;
	hn_hist_add(&hn->stats->migration_stall_ns, ns);
	if (f->verdict->cpu_ns)
		hn_hist_add(&hn->stats->migration_cpu_ns, f->verdict->cpu_ns);
	if (outcome == HN_FAULT_MIGRATED)
		hn_limit_note_stall(hn, ns);
	else
		hn_limit_note_given_up(hn);
}

/* Which rule of a plug-in policy has decided. */
static void count_rule(struct hn_stats *s, const struct hn_verdict *v, enum hn_outcome outcome)
{
	bool stayed = outcome == HN_FAULT_LOCAL || (outcome == HN_FAULT_REFUSED && v->refusal == HN_REFUSE_PLUGIN);

	if (v->rule == HN_NO_RULE)
		return;
	if (stayed)
		hn_stat_add(&s->rule_stayed[v->rule], 1);
	else if (outcome == HN_FAULT_MIGRATED)
		hn_stat_add(&s->rule_moved[v->rule], 1);
}

/* What tells whether the threshold of promotion is right. */
static void count_tier(struct hn *hn, const struct hn_fault_ctx *f, enum hn_outcome outcome)
{
	struct hn_tier *t = &hn->core->tier;
	const struct hn_verdict *v = f->verdict;

	if (outcome == HN_FAULT_MIGRATED && (v->reason == HN_REASON_HOT || v->reason == HN_REASON_ROOM))
		hn_tier_promoted(t, f->bounced);
	else if (outcome == HN_FAULT_REFUSED && v->refusal == HN_REFUSE_COLD)
		__atomic_fetch_add(&t->too_cold, 1, __ATOMIC_RELAXED);
	else if (outcome == HN_FAULT_REFUSED && v->refusal == HN_REFUSE_RATE)
		__atomic_fetch_add(&t->over_rate, 1, __ATOMIC_RELAXED);
}

/* One exit, one counter: every message is counted once by outcome, every sample once (I5, F7). */
static enum hn_outcome count_outcome(struct hn *hn, const struct hn_fault_ctx *f, enum hn_outcome outcome)
{
	struct hn_stats *s = hn->stats;

	switch (outcome) {
	case HN_FAULT_UNMANAGED: hn_stat_add(&s->unmanaged, 1); return outcome;
	case HN_FAULT_STALE: hn_stat_add(&s->stale, 1); return outcome;
	case HN_FAULT_WAITED: hn_stat_add(&s->waited, 1); return outcome;
	case HN_FAULT_DEFERRED: hn_stat_add(&s->deferred, 1); return outcome;
	case HN_FAULT_LOCAL: hn_stat_add(&s->local, 1); break;
	case HN_FAULT_REFUSED: hn_stat_add(&s->refused[f->verdict->refusal], 1); break;
	case HN_FAULT_FAILED: hn_stat_add(&s->failed[f->verdict->failure], 1); break;
	case HN_FAULT_RACED: hn_stat_add(&s->raced, 1); break;
	case HN_FAULT_MIGRATED:
		hn_stat_add(&s->migrated, 1);
		hn_stat_add(&s->migrated_to[f->verdict->target_nid], 1);
		hn_stat_add(&s->migrated_for[f->verdict->reason], 1);
		break;
	case HN_FAULT_DEMOTED:
	case HN_NR_OUTCOMES: break;
	}
	count_rule(s, f->verdict, outcome);
	if (hn->core->par.slow_nodes)
		count_tier(hn, f, outcome);
	record_times(hn, f, outcome);
	return outcome;
}

enum hn_outcome hn_fault_putback(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, enum hn_outcome outcome)
{
	struct hn_page *p = &hn_pages(hn)[f->page];

	if (hn_order_waits(hn) || hn->ops->disarm(hn->be, f->haddr, f->page) != 0) {
		hn_page_unlock(hn, f->page);
		return HN_FAULT_DEFERRED;
	}
	p->content = 0;
	hn_entry_to_mapped(hn, e, HN_DISARM_FAULT);
	if (outcome == HN_FAULT_LOCAL)
		e->fails = 0; /* only those in a row count */
	hn_policy_record(hn, e, f->verdict->thread_nid, f->tid, f->now_ms);
	hn_page_unlock(hn, f->page);
	hn_page_put(hn, f->page);
	return outcome;
}

/* F4, page lock and entry lock held. Returns true when the page is to be migrated, else *out is how it ended. */
static bool decide(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, enum hn_outcome *out)
{
	struct hn_ruling r;
	bool misplaced;

	f->now_ms = hn_now_ms(hn);
	f->verdict->from_nid = e->nid;
	f->verdict->last_nid = hn_history_node(e->history, 0);
	f->verdict->last_tid = e->last_tid;
	misplaced = hn_policy_misplaced(hn, e, f->haddr, f->verdict->thread_nid, f->tid, f->now_ms, &r);
	f->verdict->rule = r.rule;
	f->verdict->target_nid = r.target_nid;
	f->verdict->refusal = (uint8_t)r.refusal;
	f->verdict->reason = (uint8_t)r.reason;
	if (!misplaced) {
		*out = hn_fault_putback(hn, e, f, r.local ? HN_FAULT_LOCAL : HN_FAULT_REFUSED);
		return false;
	}
	/*
	 * The commit would be refused, and as faults are read before events, the same fault could come again and again, each
	 * time with a copy made for nothing.
	 */
	if (hn->ops->event_unread(hn->be)) {
		hn_policy_not_begun(hn, f->now_ms);
		hn_page_unlock(hn, f->page);
		*out = HN_FAULT_DEFERRED;
		return false;
	}
	f->gen = e->gen;
	hn_page_get(hn, f->page); /* the copy may outlive the mapping (R17) */
	return true;
}

/* F1: nothing to do for this message; who sleeps there must look again. Entry lock held. */
static enum hn_outcome not_armed(struct hn *hn, struct hn_entry *e, hn_addr haddr)
{
	if (e->state == HN_UNMANAGED || ++e->stale > HN_STALE_LIMIT) {
		e->stale = 0;
		return HN_FAULT_UNMANAGED;
	}
	hn->ops->wake(hn->be, haddr, HN_PAGE_SIZE);
	return HN_FAULT_STALE;
}

/* F1 to F4 with gate and entry lock held. True: the caller must go on to migrate. */
static bool fault_locked(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, enum hn_outcome *out)
{
	if (e->state != HN_ARMED) {
		*out = not_armed(hn, e, f->haddr);
		return false;
	}
	f->page = e->page;
	f->verdict->thread_nid = hn->ops->thread_node(hn->be, f->tid); /* F2 */
	if (!hn_page_trylock(hn, f->page)) {                            /* F3 */
		*out = HN_FAULT_WAITED;
		return false;
	}
	return decide(hn, e, f, out);
}

enum hn_outcome hn_fault(struct hn *hn, hn_addr addr, uint32_t tid, uint64_t since_ns, struct hn_verdict *verdict)
{
	struct hn_fault_ctx f = { .haddr = hn_page_down(addr), .tid = tid, .since_ns = since_ns, .verdict = verdict };
	enum hn_outcome out = HN_FAULT_UNMANAGED;
	struct hn_entry *e;
	bool migrate = false;

	hn_stat_add(&hn->stats->messages, 1);
	*verdict = (struct hn_verdict){ HN_NO_NODE, HN_NO_NODE, HN_NO_NODE, .last_nid = HN_NO_NODE, .rule = HN_NO_RULE };
	hn_gate_read_lock(hn);
	e = hn_entry_find(hn, f.haddr);
	if (e) {
		hn_lock(&e->lock);
		migrate = fault_locked(hn, e, &f, &out);
		e->idle = 0; /* it is used; who is sending it away as cold is to know */
		f.bounced = e->demoted && hn_now_ms(hn) - e->moved_ms < BOUNCE_MS;
		hn_unlock(&e->lock);
	}
	hn_gate_read_unlock(hn);
	if (migrate)
		out = hn_migrate_misplaced(hn, &f);
	return count_outcome(hn, &f, out);
}
