// SPDX-License-Identifier: MIT
/*
 * migrate.c - steps F5 and F6: copy the page while nobody can touch it, then commit or put the old page back.
 *
 * The page lock is held throughout; the entry lock and the gate only around the commit, so that events, other pages'
 * faults and the scanner go on during the copy. Lock state of hn_migrate_misplaced: entry P; F5 P; F6 G E P; exit none.
 *
 * With a ceiling for stalls a copy may end unfinished: a failure like others, so that all that waits for the page is woken
 * by its put-back, and the page is held from being tried again for a while.
 */
#include "core/fault.h"

/* A page whose migration failed is judged again only after so long; the time doubles with each failure in a row. */
#define FAIL_HOLD_MS 1000

static enum hn_outcome putback(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, enum hn_outcome outcome)
{
	return f->demotion ? hn_demote_putback(hn, e, f, outcome) : hn_fault_putback(hn, e, f, outcome);
}

/*
 * The entry is no longer the one that F4 judged. Still armed with our page: something changed its content (a partial
 * MADV_DONTNEED), so the copy is void but the page must go back. Otherwise an event ended the hint and accounted it:
 * charge nothing. Page lock released in every case.
 */
static enum hn_outcome raced(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f)
{
	if (e && e->state == HN_ARMED && e->page == f->page)
		return putback(hn, e, f, HN_FAULT_RACED);
	hn_page_unlock(hn, f->page);
	return HN_FAULT_STALE;
}

/* Before the commit point everything can be undone; the old page is still whole in staging. */
static enum hn_outcome failed(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, enum hn_failure why)
{
	enum hn_outcome out;

	f->verdict->failure = (uint8_t)why;
	out = putback(hn, e, f, HN_FAULT_FAILED);
	if (out == HN_FAULT_FAILED)
		hn_entry_hold(hn, e, HN_E_NO_MOVE, FAIL_HOLD_MS);
	return out;
}

/* The new page is in the program: nothing may fail from here on. */
static enum hn_outcome committed(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f)
{
	hn_entry_to_mapped(hn, e, HN_DISARM_FAULT);
	e->nid = (int8_t)f->verdict->target_nid; /* the charge goes to the node that holds the page now (F7, R5) */
	e->fails = 0;
	e->flags &= (uint8_t)~HN_E_NO_MOVE;
	hn_policy_record(hn, e, f->verdict->thread_nid, f->tid, f->now_ms);
	hn_policy_moved(e, (uint32_t)(f->since_ns / 1000000));
	hn_page_unlock(hn, f->page);
	hn_page_put(hn, f->page); /* the entry's reference; ours discards the old frame, off the stalled thread's path */
	return HN_FAULT_MIGRATED;
}

/* F6, gate and entry lock held. *used tells whether the target was consumed. */
static enum hn_outcome finish(struct hn *hn, struct hn_entry *e, struct hn_fault_ctx *f, uint32_t target, int err,
			      enum hn_failure why, bool *used)
{
	/* Our reference keeps the page id ours; the generation tells whether the content is still what was copied. */
	if (!e || e->state != HN_ARMED || e->page != f->page || e->gen != f->gen)
		return raced(hn, e, f);
	if (err)
		return failed(hn, e, f, why);
	if (f->demotion && e->idle == 0) { /* touched during the copy: it is not cold at all */
		f->touched = true;
		return raced(hn, e, f);
	}

	/* ==== commit point: the next call either puts the new page into the program or changes nothing ==== */
	err = hn_order_waits(hn) ? HN_EAGAIN : hn->ops->commit(hn->be, f->haddr, f->page, target);
	if (err == 0 || err == HN_COMMIT_PROTECTED) {
		*used = true;
		if (err)
			e->stale = HN_STALE_LIMIT; /* the next fault is no stale one: let the backend look at once */
		return f->demotion ? hn_demote_committed(hn, e, f) : committed(hn, e, f);
	}
	if (err == HN_EAGAIN) {
		hn_page_unlock(hn, f->page);
		return HN_FAULT_DEFERRED;
	}
	return failed(hn, e, f, HN_FAIL_COMMIT);
}

static enum hn_outcome finish_locked(struct hn *hn, struct hn_fault_ctx *f, uint32_t target, int err,
				     enum hn_failure why, bool *used)
{
	enum hn_outcome out;
	struct hn_entry *e;
	hn_addr wake_at;

	hn_gate_read_lock(hn);
	e = hn_entry_find(hn, f->haddr);
	if (e)
		hn_lock(&e->lock);
	out = finish(hn, e, f, target, err, why, used);
	if (e)
		hn_unlock(&e->lock);
	wake_at = hn_page_haddr(hn, f->page);
	hn_gate_read_unlock(hn);
	/*
	 * Whoever found the page lock taken meanwhile sleeps until the winner maps the page. We did not, so they must
	 * look again: where the page was, and where it is expected now if it was moved by mremap (I3).
	 */
	if (out == HN_FAULT_STALE) {
		hn->ops->wake(hn->be, f->haddr, HN_PAGE_SIZE);
		if (wake_at != f->haddr && wake_at != 0)
			hn->ops->wake(hn->be, wake_at, HN_PAGE_SIZE);
		/* Parts of the page could not be put in their places while we read it, and nobody waits for us (I3). */
		hn_displaced_resolve(hn, 0, ~(hn_addr)0);
	}
	if (hn->ops->note_migrate_end)
		hn->ops->note_migrate_end(hn->be, f->haddr, f->tid, f->verdict, out);
	return out;
}

/*
 * Take the page out of the program, where arming has not done so: only now, when a target is at hand. In quarantine the
 * program's madvise may still be about to drop part of it; taken away from under that, the old data would come back (I1).
 */
static int isolate(struct hn *hn, const struct hn_fault_ctx *f)
{
	struct hn_entry *e;
	int err = HN_EAGAIN; /* when the entry is another by now: finish() finds out */

	if (!hn->ops->isolate)
		return 0;
	hn_gate_read_lock(hn);
	e = hn_entry_find(hn, f->haddr);
	if (e)
		hn_lock(&e->lock);
	if (e && e->state == HN_ARMED && e->page == f->page && e->gen == f->gen && !hn_order_waits(hn) &&
	    !hn_entry_held(e, HN_E_NO_ARM, hn_now_ms(hn)))
		err = hn->ops->isolate(hn->be, f->haddr, f->page);
	if (err == 0 || err == HN_ISOLATED_PART)
		hn_pages(hn)[f->page].content = 1;
	if (e)
		hn_unlock(&e->lock);
	hn_gate_read_unlock(hn);
	return err;
}

static uint64_t cpu_ns(const struct hn *hn) { return hn->ops->cpu_ns ? hn->ops->cpu_ns(hn->be) : 0; }

/* F5, target at hand. 0, or what went wrong, and *why that counts as. */
static int fetch_copy(struct hn *hn, struct hn_fault_ctx *f, uint32_t target, enum hn_failure *why)
{
	uint64_t until = hn_limit_until(hn, f->since_ns);
	int err = HN_ETIME;

	*why = HN_FAIL_STALL;
	if (until && hn->ops->now_ns(hn->be) >= until)
		return err; /* the queue or the target took too long: where nothing is isolated yet, nothing will be */
	*why = HN_FAIL_ISOLATE;
	err = isolate(hn, f);
	if (err)
		return err;
	err = hn->ops->copy(hn->be, f->page, target, f->verdict->target_nid, until);
	*why = err == HN_ETIME ? HN_FAIL_STALL : HN_FAIL_COPY;
	return err;
}

/* F6, and when nobody waited any more. What it took is kept free for the next one's. */
static enum hn_outcome finish_timed(struct hn *hn, struct hn_fault_ctx *f, uint32_t target, int err, enum hn_failure why,
				    bool *used)
{
	uint64_t start = hn->core->par.max_stall_us ? hn->ops->now_ns(hn->be) : 0;
	enum hn_outcome out = finish_locked(hn, f, target, err, why, used);

	if (out != HN_FAULT_MIGRATED && out != HN_FAULT_FAILED && out != HN_FAULT_RACED)
		return out;
	f->done_ns = hn->ops->now_ns(hn->be);
	if (start)
		hn_limit_note_last_step(hn, f->done_ns - start);
	return out;
}

enum hn_outcome hn_migrate_misplaced(struct hn *hn, struct hn_fault_ctx *f)
{
	uint64_t cpu = cpu_ns(hn);
	enum hn_failure why = HN_FAIL_TARGET;
	uint32_t target = HN_NO_INDEX;
	enum hn_outcome out;
	bool have, used = false;
	int err;

	if (hn->ops->note_migrate_start)
		hn->ops->note_migrate_start(hn->be, f->haddr, f->tid, f->verdict);
	err = hn->ops->target_get(hn->be, f->verdict->target_nid, &target);
	have = err == 0;
	if (have)
		err = fetch_copy(hn, f, target, &why);
	out = finish_timed(hn, f, target, err, why, &used);
	f->verdict->cpu_ns = cpu_ns(hn) - cpu;
	if (have && !used)
		hn->ops->target_put(hn->be, target);
	hn_page_put(hn, f->page);
	return out;
}
