// SPDX-License-Identifier: MIT
/*
 * page.c - armed pages: the page lock, references, and the pool of page ids.
 */
#include "core/internal.h"

#define PAGE_FREEING 0x80000000u

bool hn_page_trylock(struct hn *hn, uint32_t page)
{
	return hn_lock_try(&hn_pages(hn)[page].lock);
}

void hn_page_unlock(struct hn *hn, uint32_t page)
{
	/* Everybody who waits only wants to look again, so all are woken. */
	if (hn_swap_acq_rel(&hn_pages(hn)[page].lock, 0) == 2)
		hn_wake(&hn_pages(hn)[page].lock, INT32_MAX);
}

void hn_page_wait(struct hn *hn, uint32_t page)
{
	struct hn_word *w = &hn_pages(hn)[page].lock;
	uint32_t v = hn_load_acquire(w);

	/* A waiter holds no reference (R17): the id may be reused meanwhile, and then it sees another page's lock. */
	if (v == 0 || (v == 1 && !hn_cas_acquire(w, 1, 2)))
		return;
	hn_wait_while(w, 2);
}

void hn_page_get(struct hn *hn, uint32_t page)
{
	hn_add_masked(&hn_pages(hn)[page].refs, 1, 0);
}

/* The last reference discards what staging still holds, and only then frees the id. */
void hn_page_put(struct hn *hn, uint32_t page)
{
	struct hn_page *p = &hn_pages(hn)[page];

	for (;;) {
		uint32_t refs = hn_load_acquire(&p->refs);

		if (refs > 1) {
			if (hn_cas_release(&p->refs, refs, refs - 1))
				return;
		} else if (hn_cas_acquire(&p->refs, 1, PAGE_FREEING)) {
			break;
		}
	}
	if (p->content)
		hn->ops->discard(hn->be, page);
	p->content = 0;
	hn_store_relaxed(&p->place, 0);
	hn_store_release(&p->refs, 0); /* pairs with the acquire in hn_page_alloc_run */
}

bool hn_page_any_free(const struct hn *hn)
{
	uint32_t i;

	for (i = 0; i < hn->core->geo.nr_pages; i++)
		if (hn_load_relaxed(&hn_pages(hn)[i].refs) == 0)
			return true;
	return false;
}

bool hn_page_all_free(const struct hn *hn)
{
	uint32_t i;

	for (i = 0; i < hn->core->geo.nr_pages; i++)
		if (hn_load_acquire(&hn_pages(hn)[i].refs) != 0)
			return false;
	return true;
}

uint32_t hn_page_alloc_run(struct hn *hn, uint32_t nr, uint32_t *first)
{
	struct hn_core *c = hn->core;
	struct hn_page *p = hn_pages(hn);
	uint32_t start = c->page_hint, n = 0, looked;

	for (looked = 0; looked < c->geo.nr_pages && hn_load_acquire(&p[start].refs) != 0; looked++)
		start = start + 1 == c->geo.nr_pages ? 0 : start + 1;
	if (looked == c->geo.nr_pages)
		return 0;
	/* Only the scanner allocates, so a free id stays free until it is taken here. */
	while (n < nr && start + n < c->geo.nr_pages && hn_load_acquire(&p[start + n].refs) == 0) {
		hn_store_relaxed(&p[start + n].refs, 1);
		n++;
	}
	c->page_hint = start + n == c->geo.nr_pages ? 0 : start + n;
	*first = start;
	return n;
}
