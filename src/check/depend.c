// SPDX-License-Identifier: MIT
/*
 * depend.c - which steps depend on one another, what happens before what, and what a race asks to be tried.
 *
 * Source sets: for a race between steps j and i (j first, nothing between them that orders them), the execution in which
 * i comes before j must be explored. It is if, at j's node, some actor is tried whose step can begin the sequence
 * "what is not ordered after j, then i". See Abdulla, Aronis, Jonsson, Sagonas: Source sets (JACM 2017).
 */
#include "check/explore.h"

static bool is_shared(uint32_t kind) { return kind == CK_ACQUIRE_SHARED || kind == CK_RELEASE_SHARED; }
static bool is_release(uint32_t kind) { return kind == CK_RELEASE || kind == CK_RELEASE_SHARED; }
static bool is_acquire(uint32_t kind) { return kind == CK_ACQUIRE || kind == CK_ACQUIRE_SHARED; }

static bool kinds_conflict(uint32_t a, uint32_t b)
{
	if (is_shared(a) && is_shared(b))
		return false;
	return a > CK_ADD || b > CK_ADD || a != b;
}

bool ck_conflict(const struct ck_touches *a, const struct ck_touches *b)
{
	uint32_t i, j;

	if (!((a->writes & b->all) | (b->writes & a->all) | (a->reads & b->adds) | (a->adds & b->reads)))
		return false;
	for (i = 0; i < a->nr; i++)
		for (j = 0; j < b->nr; j++)
			if (a->touch[i] >> 3 == b->touch[j] >> 3 && kinds_conflict(a->touch[i] & 7, b->touch[j] & 7))
				return true;
	return false;
}

/*
 * Did an earlier step only release the lock that a later one takes? That orders them, but there is nothing to reverse:
 * before the release the other step was not possible. The step that took the lock is what it races with.
 */
static bool only_enables(const struct ck_touches *earlier, const struct ck_touches *later)
{
	return earlier->nr == 1 && later->nr == 1 && is_release(earlier->touch[0] & 7) && is_acquire(later->touch[0] & 7);
}

static bool before(const struct ck_step *a, const struct ck_step *b) { return b->clock[a->actor] >= a->seq; }

static void join(uint32_t *to, const uint32_t *from)
{
	uint32_t a;

	for (a = 0; a < CK_MAX_ACTORS; a++)
		if (to[a] < from[a])
			to[a] = from[a];
}

/*
 * Which actors can begin the sequence "steps after j not ordered after j, then i"? Those whose first step in it is ordered
 * after none of the others. What is not ordered after j does the same without j as with it; i itself may not: without j
 * a read may find nothing, a compare-and-swap may succeed, and so touch more. So i's actor counts only where nothing else
 * does, and the steps behind i count too, for they may be what i then depends on.
 */
static uint32_t initials(const struct ck *k, uint32_t j, uint32_t i)
{
	uint32_t first[CK_MAX_ACTORS] = { 0 }, result = 0, n, a;

	for (n = j + 1; n < k->nr_steps; n++) {
		const struct ck_step *s = &k->step[n];
		bool initial = true;

		if (n == i || first[s->actor] || before(&k->step[j], s))
			continue;
		for (a = 0; a < k->nr_actors; a++)
			initial = initial && !(first[a] && s->clock[a] >= first[a]);
		first[s->actor] = s->seq;
		if (initial)
			result |= 1u << s->actor;
	}
	return result ? result : 1u << k->step[i].actor;
}

static void note_race(struct ck *k, uint32_t j, uint32_t i)
{
	struct ck_node *node = &k->node[j];
	uint32_t can;

	if (j < k->fixed || !(node->enabled & ~node->backtrack))
		return; /* everything is tried anyway */
	can = initials(k, j, i);
	if (can & (node->backtrack | node->sleep))
		return;
	if (can & node->enabled)
		node->backtrack |= can & node->enabled & -(can & node->enabled);
	else
		node->backtrack |= node->enabled;
}

/* ---- who touched what: a list for every object, latest first ---- */

void ck_forget_from(struct ck *k, uint32_t i)
{
	while (k->nr_linked > i) {
		const struct ck_touches *t = &k->step[--k->nr_linked].touches;
		uint32_t n;

		for (n = t->nr; n-- > 0;)
			k->latest[t->touch[n] >> 3] = t->before[n];
	}
}

static void link_step(struct ck *k, uint32_t i)
{
	struct ck_touches *t = &k->step[i].touches;
	uint32_t n;

	for (n = 0; n < t->nr; n++) {
		t->before[n] = k->latest[t->touch[n] >> 3];
		k->latest[t->touch[n] >> 3] = i * CK_MAX_TOUCHES + n;
	}
	k->nr_linked = i + 1;
}

/* Insert n into the list of candidates, latest first, each once. */
static uint32_t insert(uint32_t *list, uint32_t nr, uint32_t n)
{
	uint32_t at = nr, i;

	while (at > 0 && list[at - 1] < n)
		at--;
	if (at > 0 && list[at - 1] == n)
		return nr;
	for (i = nr; i > at; i--)
		list[i] = list[i - 1];
	list[at] = n;
	return nr + 1;
}

/*
 * Earlier steps that conflict with s in touch n and are not ordered before it by what is known already. What was written
 * to an object comes after everything that was done to it before, so a write that is ordered before s ends the list.
 */
static uint32_t add_candidates(const struct ck *k, const struct ck_step *s, uint32_t n, uint32_t *list, uint32_t nr)
{
	uint32_t kind = s->touches.touch[n] & 7, at = s->touches.before[n];

	while (at != CK_NO_LINK) {
		const struct ck_step *t = &k->step[at / CK_MAX_TOUCHES];
		uint32_t other = t->touches.touch[at % CK_MAX_TOUCHES] & 7;

		if (before(t, s)) {
			if (other == CK_WRITE)
				break;
		} else if (kinds_conflict(kind, other)) {
			nr = insert(list, nr, at / CK_MAX_TOUCHES);
		}
		at = t->touches.before[at % CK_MAX_TOUCHES];
	}
	return nr;
}

void ck_races(struct ck *k, uint32_t i)
{
	struct ck_step *s = &k->step[i];
	uint32_t n, nr = 0, list[CK_MAX_STEPS], released[CK_MAX_ACTORS] = { 0 };

	s->nr_races = 0;
	link_step(k, i);
	for (n = 0; n < s->touches.nr; n++)
		nr = add_candidates(k, s, n, list, nr);
	/* Latest first: an earlier step that conflicts too but is ordered before a later one is no race. */
	for (n = 0; n < nr; n++) {
		const struct ck_step *t = &k->step[list[n]];

		if (before(t, s))
			continue;
		if (only_enables(&t->touches, &s->touches)) {
			join(released, t->clock);
			continue;
		}
		join(s->clock, t->clock);
		s->race[s->nr_races++] = list[n]; /* one of each actor at most: its earlier steps come before */
	}
	join(s->clock, released);
}

static void note_races_of(struct ck *k, uint32_t i)
{
	uint32_t n;

	for (n = 0; n < k->step[i].nr_races; n++)
		note_race(k, k->step[i].race[n], i);
}

/* A step that never became possible, because a lock was never free again, has races as well. */
static void note_blocked(struct ck *k, uint32_t actor)
{
	ck_start_step(k, actor);
	k->running = (int)actor;
	ck_touch(k->actor[actor].want, k->actor[actor].want_kind);
	k->running = -1;
	ck_races(k, k->nr_steps);
	note_races_of(k, k->nr_steps);
}

void ck_note_races(struct ck *k)
{
	uint32_t i;

	for (i = 0; i < k->nr_steps; i++)
		note_races_of(k, i);
	for (i = 0; i < k->nr_actors; i++)
		if (k->actor[i].status == CK_RUNNABLE && k->actor[i].want && !(ck_enabled(k) & (1u << i)))
			note_blocked(k, i);
}
