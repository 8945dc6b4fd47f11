// SPDX-License-Identifier: MIT
/*
 * ranges.c - what the program has said, through the library, about ranges of its memory; and its questions about them.
 *
 * A program thread writes under the lock and raises `changes`; the scanner looks at that before it arms again.
 */
#include <errno.h>
#include <string.h>

#include "agent/agent.h"
#include "core/history.h"

/* ---- program side ---- */

static bool same_wish(const struct hn_wish *a, const struct hn_wish *b) { return a->nodes == b->nodes && a->dry == b->dry; }

/* Number of the wish, made if need be; -ENOSPC. */
static int find_wish(struct hn_ranges *r, const struct hn_wish *wish)
{
	bool used[HN_USER_WISHES] = { true };
	uint32_t i;

	for (i = 0; i < r->nr; i++)
		used[r->range[i].wish] = true;
	for (i = 0; i < HN_USER_WISHES; i++)
		if (used[i] && same_wish(&r->wish[i], wish))
			return (int)i;
	for (i = 1; i < HN_USER_WISHES; i++) {
		if (used[i])
			continue;
		r->wish[i] = *wish;
		return (int)i;
	}
	return -ENOSPC;
}

static bool add(struct hn_wanted *to, uint32_t *nr, struct hn_wanted w)
{
	struct hn_wanted *last = *nr ? &to[*nr - 1] : NULL;

	if (w.start >= w.end)
		return true;
	if (last && last->end == w.start && last->leave == w.leave && last->wish == w.wish) {
		last->end = w.end;
		return true;
	}
	if (*nr == HN_MAX_RANGES)
		return false;
	to[(*nr)++] = w;
	return true;
}

/* The old list with `w` laid over it. False: it does not fit, and nothing has changed. */
static bool lay_over(struct hn_ranges *r, struct hn_wanted w)
{
	static struct hn_wanted list[HN_MAX_RANGES]; /* under the lock */
	bool fits = true, done = false;
	uint32_t nr = 0, i;

	for (i = 0; i < r->nr; i++) {
		struct hn_wanted before = r->range[i], after = r->range[i];

		before.end = before.end < w.start ? before.end : w.start;
		after.start = after.start > w.end ? after.start : w.end;
		if (before.start < before.end)
			fits &= add(list, &nr, before);
		if (!done && r->range[i].end > w.start) {
			fits &= add(list, &nr, w);
			done = true;
		}
		if (after.start < after.end)
			fits &= add(list, &nr, after);
	}
	if (!done)
		fits &= add(list, &nr, w);
	if (!fits)
		return false;
	memcpy(r->range, list, nr * sizeof(*list));
	r->nr = nr;
	return true;
}

static int set_locked(struct hn_ranges *r, hn_addr start, hn_addr end, bool leave, const struct hn_wish *wish)
{
	int nr = leave ? 0 : find_wish(r, wish);

	if (nr < 0)
		return nr;
	return lay_over(r, (struct hn_wanted){ start, end, leave, (uint8_t)nr }) ? 0 : -ENOSPC;
}

int hn_ranges_set(hn_addr start, hn_addr end, bool leave, const struct hn_wish *wish)
{
	struct hn_ranges *r = &hn_agent.ranges;
	uint64_t mask = hn_lock_undisturbed(&r->lock);
	int err = set_locked(r, start, end, leave, wish);

	if (!err)
		hn_add_acq_rel(&r->changes, 1);
	hn_unlock_undisturbed(&r->lock, mask);
	if (!err && hn_load_acquire(&hn_agent.state) != HN_AGENT_IDLE) {
		hn_agent_pause();
		hn_agent_resume();
	}
	return err;
}

/* In a forked child: whoever held these is not here. */
void hn_ranges_reset(void)
{
	hn_agent.ranges.lock = hn_agent.survey.lock = (struct hn_word){ 0 };
	hn_agent.survey.asked = hn_agent.survey.answered = (struct hn_word){ 0 };
}

int hn_survey_ask(struct hn_survey *out, uint32_t ms)
{
	struct hn_survey *s = &hn_agent.survey;
	uint32_t end = hn_live_now_ms() + ms, number;
	int err = 0;

	hn_lock(&s->lock);
	s->start = out->start;
	s->end = out->end;
	number = hn_add_acq_rel(&s->asked, 1) + 1;
	hn_control_kick();
	while (hn_load_acquire(&s->answered) != number && !err) {
		hn_control_nap(&s->answered, number - 1);
		if ((int32_t)(hn_live_now_ms() - end) > 0)
			err = -ETIMEDOUT;
	}
	if (!err)
		*out = *s;
	hn_unlock(&s->lock);
	return err;
}

/* ---- scanner side ---- */

uint32_t hn_ranges_copy(struct hn_worker *w)
{
	struct hn_ranges *r = &hn_agent.ranges;
	struct hn_live *live = w->live;
	uint32_t i, changes;

	hn_lock(&r->lock);
	changes = hn_load_relaxed(&r->changes);
	live->nr_ranges = r->nr;
	live->only_ranges = r->only;
	memcpy(live->wanted, r->range, r->nr * sizeof(*r->range));
	for (i = 1; i < HN_USER_WISHES; i++) {
		hn_policy_set_wish(&w->hn, i, &r->wish[i]);
		live->wishes |= r->wish[i].nodes || r->wish[i].dry;
	}
	live->ranges_new = true;
	hn_unlock(&r->lock);
	return changes;
}

static void count(struct hn_survey *s, const struct hn_entry *e)
{
	unsigned i;

	s->pages++;
	s->armed += e->state == HN_ARMED;
	if (e->nid < 0 || e->nid >= HN_MAX_NODES)
		return;
	s->pages_on[e->nid]++;
	for (i = 0; i < HN_HISTORY_SAMPLES; i++) {
		int nid = hn_history_node(e->history, i);

		s->samples += nid != HN_NO_NODE;
		s->local += nid == e->nid;
	}
}

/* Who asks holds the lock and waits: the fields are ours until `answered` is set. */
void hn_survey_answer(struct hn_worker *w)
{
	struct hn_survey *s = &hn_agent.survey;
	uint32_t number = hn_load_acquire(&s->asked), i;
	struct hn_region r;

	if (number == hn_load_relaxed(&s->answered))
		return;
	s->pages = s->armed = 0;
	s->samples = s->local = 0;
	memset(s->pages_on, 0, sizeof(s->pages_on));
	for (i = 0; hn_region_nth(w, i, &r); i++) {
		hn_addr a = hn_page_up(r.start > s->start ? r.start : s->start), end = r.end < s->end ? r.end : s->end;
		struct hn_entry e;

		for (; a + HN_PAGE_SIZE <= end; a += HN_PAGE_SIZE)
			if (hn_entry_look(&w->hn, a, &e))
				count(s, &e);
	}
	hn_store_release(&s->answered, number);
	hn_wake(&s->answered, 1);
}
