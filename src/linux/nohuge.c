// SPDX-License-Identifier: MIT
/*
 * nohuge.c - where the program has said that it does not want huge pages (MADV_NOHUGEPAGE). The kernel keeps that with the mapping,
 * and tells of it only by text, /proc/PID/smaps, for which it goes through all page tables: too slow for a first touch. So the
 * calls are remembered (agent/calls_memory.c). What is not (a system call without libc, more ranges than there is room for, what
 * is left of a mapping that is gone) makes a first touch huge or small, which another one would not be; no more.
 *
 * Handlers read without a lock, and never wait: where a writer has been in the way all the time, they know of nothing.
 */
#include "linux/live.h"

#define READ_TRIES 16u

static hn_addr load(const hn_addr *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static void store(hn_addr *p, hn_addr v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }

/* Index of the first range that ends after addr; nr: there is none. The reader's nr and ranges may be of two different times. */
static uint32_t first_after(const struct hn_nohuge *n, uint32_t nr, hn_addr addr)
{
	uint32_t low = 0, high = nr;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (load(&n->range[mid].end) <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool hn_nohuge_any(const struct hn_nohuge *n, hn_addr start, hn_addr end)
{
	uint32_t tries;

	for (tries = 0; tries < READ_TRIES; tries++) {
		uint32_t seq = hn_load_acquire(&n->changes), nr, i;
		bool any;

		if (seq & 1)
			continue;
		nr = __atomic_load_n(&n->nr, __ATOMIC_RELAXED);
		i = first_after(n, nr, start);
		any = i < nr && load(&n->range[i].start) < end;
		__atomic_thread_fence(__ATOMIC_ACQUIRE); /* all is read before the sequence is looked at again */
		if (hn_load_relaxed(&n->changes) == seq)
			return any;
	}
	return false;
}

/* ---- writers, under the lock ---- */

static void begin(struct hn_nohuge *n)
{
	hn_store_relaxed(&n->changes, hn_load_relaxed(&n->changes) + 1);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end_of_change(struct hn_nohuge *n) { hn_store_release(&n->changes, hn_load_relaxed(&n->changes) + 1); }

static void set(struct hn_nohuge *n, uint32_t i, hn_addr start, hn_addr end)
{
	store(&n->range[i].start, start);
	store(&n->range[i].end, end);
}

static void set_nr(struct hn_nohuge *n, uint32_t nr) { __atomic_store_n(&n->nr, nr, __ATOMIC_RELAXED); }

/* Ranges from `from` on move to `to`; there is room. */
static void shift(struct hn_nohuge *n, uint32_t from, uint32_t to)
{
	uint32_t nr = n->nr, i;

	if (to < from)
		for (i = from; i < nr; i++)
			set(n, to + (i - from), n->range[i].start, n->range[i].end);
	else
		for (i = nr; i-- > from;)
			set(n, to + (i - from), n->range[i].start, n->range[i].end);
	set_nr(n, nr + to - from);
}

void hn_nohuge_add(struct hn_nohuge *n, hn_addr start, hn_addr end)
{
	uint32_t first = first_after(n, n->nr, start ? start - 1 : 0), last = first;

	/* From `first` up to `last` they overlap or touch. */
	for (; last < n->nr && n->range[last].start <= end; last++) {
		start = n->range[last].start < start ? n->range[last].start : start;
		end = n->range[last].end > end ? n->range[last].end : end;
	}
	if (start >= end || (first == last && n->nr == HN_MAX_NOHUGE))
		return;
	begin(n);
	shift(n, last, first + 1);
	set(n, first, start, end);
	end_of_change(n);
}

void hn_nohuge_remove(struct hn_nohuge *n, hn_addr start, hn_addr end)
{
	uint32_t first = first_after(n, n->nr, start), last = first;
	struct hn_range head, tail;

	while (last < n->nr && n->range[last].start < end)
		last++;
	if (start >= end || first == last)
		return;
	head = (struct hn_range){ n->range[first].start, start };
	tail = (struct hn_range){ end, n->range[last - 1].end };
	begin(n);
	if (head.start < head.end)
		set(n, first++, head.start, head.end);
	/* One that is cut in two where there is no room for both: what is behind the cut is forgotten. */
	if (tail.start < tail.end && (first < last || n->nr < HN_MAX_NOHUGE)) {
		shift(n, last, first + 1);
		set(n, first, tail.start, tail.end);
	} else {
		shift(n, last, first);
	}
	end_of_change(n);
}

static bool covers(const struct hn_nohuge *n, hn_addr start, hn_addr end)
{
	uint32_t i = first_after(n, n->nr, start);

	return i < n->nr && n->range[i].start <= start && n->range[i].end >= end;
}

void hn_nohuge_trim(struct hn_nohuge *n, uint32_t changes, hn_addr start, hn_addr end)
{
	if (!hn_nohuge_any(n, start, end))
		return;
	hn_lock(&n->lock);
	if (hn_load_relaxed(&n->changes) == changes && !covers(n, start, end))
		hn_nohuge_remove(n, start, end);
	hn_unlock(&n->lock);
}

void hn_nohuge_forked(struct hn_nohuge *n)
{
	n->lock = (struct hn_word){ 0 };
	if (!(hn_load_relaxed(&n->changes) & 1))
		return;
	set_nr(n, 0); /* somebody was in the middle, and is not here */
	end_of_change(n);
}
