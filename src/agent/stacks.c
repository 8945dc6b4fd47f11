// SPDX-License-Identifier: MIT
/*
 * stacks.c - memory that must never be armed, because the kernel does not wait for it: threads.c says why. Program side,
 * but for the copy.
 */
#include "agent/agent.h"

/* True when the range is new. Neighbours are merged: a pool of stacks is one range. */
static bool add_range(struct hn_stacks *s, uintptr_t start, uintptr_t end)
{
	uint32_t i;

	for (i = 0; i < s->nr; i++) {
		struct hn_range *r = &s->range[i];

		if (start >= r->start && end <= r->end)
			return false;
		if (start <= r->end && end >= r->start) {
			r->start = start < r->start ? start : r->start;
			r->end = end > r->end ? end : r->end;
			return true;
		}
	}
	/* A full table forgets its oldest; a stack that is used again is simply noted again. */
	if (s->nr < HN_USER_STACKS)
		i = s->nr++;
	else
		i = s->next++ % HN_USER_STACKS;
	s->range[i] = (struct hn_range){ start, end };
	return true;
}

void hn_keep_out(uintptr_t start, uintptr_t end)
{
	struct hn_stacks *s = &hn_agent.stacks;
	uint64_t mask = hn_lock_undisturbed(&s->lock);
	bool is_new = add_range(s, start, end);

	if (is_new)
		hn_add_acq_rel(&s->changes, 1);
	hn_unlock_undisturbed(&s->lock, mask);
	/* The scanner looks at the changes before it arms again. */
	if (is_new && hn_load_acquire(&hn_agent.state) != HN_AGENT_IDLE) {
		hn_agent_pause();
		hn_agent_resume();
	}
}

uint32_t hn_stacks_copy(struct hn_live *live)
{
	struct hn_stacks *s = &hn_agent.stacks;
	uint32_t i, changes;

	hn_lock(&s->lock);
	changes = hn_load_relaxed(&s->changes);
	for (i = 0; i < s->nr; i++)
		live->user_stack[i] = s->range[i];
	live->nr_user_stacks = s->nr;
	hn_unlock(&s->lock);
	return changes;
}

/* In a forked child: whoever held what is not here. */
void hn_stacks_reset(void) { hn_agent.stacks.lock = (struct hn_word){ 0 }; }
