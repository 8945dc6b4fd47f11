// SPDX-License-Identifier: MIT
/*
 * recover.c - going on alone after a thread of the agent has ended where it should not have: nobody will unlock what it
 * held. The caller is the only one left (docs/protocol.md, "Rescue"); what the locks protected is whole wherever a
 * thread sleeps or makes a call, and those are the places where threads end.
 */
#include "core/internal.h"

/* Who slept here finds it free, and then finds out that it is to end. */
static void free_word(struct hn_word *w)
{
	if (hn_load_relaxed(w) == 0)
		return;
	hn_swap_acq_rel(w, 0);
	hn_wake(w, INT32_MAX);
}

void hn_recover(struct hn *hn)
{
	struct hn_core *c = hn->core;
	uint32_t i, total = c->nr_chunks_used << c->geo.chunk_shift;

	for (i = 0; i < total; i++)
		free_word(&hn_entries(hn)[i].lock);
	for (i = 0; i < c->geo.nr_pages; i++)
		free_word(&hn_pages(hn)[i].lock);
	free_word(&c->displaced_lock);
	free_word(&c->gate);
	free_word(&c->lead);
	c->nr_deferred = 0; /* all sleepers are woken at the end */
	c->deferred_to = 0;
	hn->leading = false;
}

/* Between A2 and A3: only the scanner has entries locked that are MAPPED, and ids that have no place yet. */
static bool is_half_armed(const struct hn *hn, const struct hn_entry *e, uint32_t page)
{
	return e && hn_load_relaxed(&e->lock) != 0 && e->state == HN_MAPPED && hn_load_relaxed(&hn_pages(hn)[page].refs) == 1 &&
	       hn_page_haddr(hn, page) == 0;
}

uint32_t hn_recover_run(struct hn *hn, hn_addr haddr, uint32_t first, uint32_t nr)
{
	uint32_t i, done = 0;

	for (i = 0; i < nr; i++, haddr += HN_PAGE_SIZE) {
		struct hn_entry *e = hn_entry_find(hn, haddr);

		if (!is_half_armed(hn, e, first + i))
			continue;
		hn_page_set_haddr(hn, first + i, haddr);
		hn_pages(hn)[first + i].content = 1;
		hn_entry_to_armed(hn, e, first + i, hn_now_ms(hn));
		hn_stat_add(&hn->stats->armed, 1);
		done++;
	}
	return done;
}

/* Else an event that is read before everything is back would take the page for one in its place (I2). */
void hn_recover_lifted(struct hn *hn, uint32_t page)
{
	struct hn_page *p = &hn_pages(hn)[page];

	if ((int32_t)hn_load_relaxed(&p->refs) > 0) /* not free, and not being freed when its thread ended */
		p->content = 1;
}
