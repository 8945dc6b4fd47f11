// SPDX-License-Identifier: MIT
/*
 * sync_check.c - sync.h for the explorer: every operation is a scheduling point. Sequentially consistent; which order an
 * operation's name promises on real hardware is left to ThreadSanitizer and to the pairing comments in the engine.
 */
#include "core/sync.h"

#include "check/explore.h"
#include "check/world.h"

/* Who sleeps on a word is an object of its own, so that a wake-up does not depend on what the word holds. */
static const void *sleepers(const struct hn_word *w) { return (const char *)w + 1; }

static void say_word(const char *op, const struct hn_word *w)
{
	if (ck_now->tracing)
		ck_say("%s %s", op, ck_name_of(ck_now->world, w));
}

static uint32_t load(const struct hn_word *w)
{
	ck_point(NULL);
	ck_touch(w, CK_READ);
	ck_minor();
	say_word("load", w);
	ck_say("= 0x%x", w->v);
	return w->v;
}

static void store(struct hn_word *w, uint32_t v)
{
	ck_point(NULL);
	ck_touch(w, CK_WRITE);
	ck_minor();
	say_word("store", w);
	ck_say("= 0x%x", v);
	w->v = v;
}

static bool cas(struct hn_word *w, uint32_t from, uint32_t to)
{
	ck_point(NULL);
	say_word("cas", w);
	ck_say("0x%x -> 0x%x %s", from, to, w->v == from ? "done" : "refused");
	ck_touch(w, w->v == from ? CK_WRITE : CK_READ);
	if (w->v != from)
		return false;
	w->v = to;
	ck_word_changed(ck_now->world, w);
	return true;
}

uint32_t hn_load_relaxed(const struct hn_word *w) { return load(w); }
uint32_t hn_load_acquire(const struct hn_word *w) { return load(w); }
void hn_store_relaxed(struct hn_word *w, uint32_t v) { store(w, v); }
void hn_store_release(struct hn_word *w, uint32_t v) { store(w, v); }
bool hn_cas_acquire(struct hn_word *w, uint32_t from, uint32_t to) { return cas(w, from, to); }
bool hn_cas_release(struct hn_word *w, uint32_t from, uint32_t to) { return cas(w, from, to); }

static uint32_t change(const char *op, struct hn_word *w, uint32_t v)
{
	uint32_t old;

	ck_point(NULL);
	ck_touch(w, CK_WRITE);
	old = w->v;
	w->v = v;
	say_word(op, w);
	ck_say("0x%x -> 0x%x", old, v);
	ck_word_changed(ck_now->world, w);
	return old;
}

uint32_t hn_swap_acq_rel(struct hn_word *w, uint32_t v) { return change("swap", w, v); }

uint32_t hn_add_acq_rel(struct hn_word *w, uint32_t delta)
{
	uint32_t old;

	ck_point(NULL);
	ck_touch(w, CK_WRITE);
	old = w->v;
	w->v += delta;
	say_word("add", w);
	ck_say("0x%x -> 0x%x", old, w->v);
	return old;
}

uint32_t hn_add_masked(struct hn_word *w, uint32_t delta, uint32_t mask)
{
	uint32_t old;

	ck_point(NULL);
	ck_touch(w, CK_ADD);
	old = w->v;
	w->v += delta;
	say_word("add", w);
	ck_say("0x%x -> 0x%x", old, w->v);
	if ((old & mask) != (w->v & mask))
		ck_violated(4, "a masked addition to %s changed the bits it must not", ck_name_of(ck_now->world, w));
	return old & mask;
}

uint32_t hn_and_acq_rel(struct hn_word *w, uint32_t keep)
{
	uint32_t old;

	ck_point(NULL);
	ck_touch(w, CK_WRITE);
	old = w->v;
	w->v &= keep;
	say_word("and", w);
	ck_say("0x%x -> 0x%x", old, w->v);
	return old;
}

/* The comparison and going to sleep are one step, as in the kernel. */
void hn_wait_while(struct hn_word *w, uint32_t v)
{
	struct ck_world *world = ck_now->world;

	ck_point(NULL);
	say_word("wait on", w);
	ck_touch(w, CK_READ);
	if (w->v != v)
		return;
	ck_touch(sleepers(w), CK_WRITE);
	ck_queue_add(world, w, ck_now->running);
	ck_sleep();
	ck_minor();
}

void hn_wake(struct hn_word *w, int nr)
{
	struct ck_world *world = ck_now->world;

	ck_point(NULL);
	say_word("wake", w);
	if (!ck_queue_any(world, w)) {
		ck_touch(sleepers(w), CK_READ);
		return;
	}
	ck_touch(sleepers(w), CK_WRITE);
	while (nr-- > 0 && ck_queue_any(world, w))
		ck_wake(ck_queue_take(world, w));
}

/* Counters: additions commute, and nobody decides anything by them. */
void hn_stat_add(uint64_t *counter, uint64_t delta)
{
	ck_point(NULL);
	ck_minor();
	ck_touch(counter, CK_ADD);
	*counter += delta;
}

uint64_t hn_stat_read(const uint64_t *counter)
{
	ck_point(NULL);
	ck_minor();
	ck_touch(counter, CK_READ);
	return *counter;
}

void hn_stat_max(uint64_t *counter, uint64_t v)
{
	ck_point(NULL);
	ck_minor();
	ck_touch(counter, CK_ADD); /* maxima commute too, and nothing else is done to such a counter */
	if (*counter < v)
		*counter = v;
}
