// SPDX-License-Identifier: MIT
/*
 * simplify.c - the same violation, easier to read.
 *
 * First greedily: what an actor does in one go is joined to what it does before or after, or left out, as long as the
 * same invariant is violated still. Then a search with as few preemptions as possible, which may find another way to the
 * same end. Nothing here depends on chance or time.
 */
#include <stdlib.h>
#include <string.h>

#include "check/search.h"

#define MAX_SEARCH_STEPS 20000000u /* for each bound: some seconds */
#define MAX_ROUNDS 40u

/* What makes an execution hard to read, worst first. */
struct cost {
	uint32_t preemptions, changes, steps;
};

struct block {
	uint8_t actor;
	uint16_t steps;
};

struct blocks {
	uint32_t nr;
	struct block block[CK_MAX_STEPS];
};

static bool cheaper(const struct cost *a, const struct cost *b)
{
	if (a->preemptions != b->preemptions)
		return a->preemptions < b->preemptions;
	if (a->changes != b->changes)
		return a->changes < b->changes;
	return a->steps < b->steps;
}

/* Who goes on when the schedule says nothing: the same actor, else the first. */
static uint32_t usual(const struct ck *k, uint32_t enabled)
{
	uint32_t last;

	if (k->nr_steps == 0)
		return (uint32_t)__builtin_ctz(enabled);
	last = k->violation.schedule[k->nr_steps - 1];
	return (enabled & (1u << last)) ? last : (uint32_t)__builtin_ctz(enabled);
}

static bool count_step(struct ck *k, struct cost *cost, uint32_t enabled, uint32_t actor)
{
	uint32_t last = k->nr_steps ? k->violation.schedule[k->nr_steps - 1] : actor;

	cost->steps++;
	cost->changes += actor != last;
	cost->preemptions += actor != last && (enabled & (1u << last));
	return ck_run_step(k, actor);
}

/* Follow the schedule where it can be followed, then go on as usual. True when it violates the invariant. */
static bool follow(struct ck *k, const uint8_t *schedule, uint32_t nr, int invariant, struct cost *cost)
{
	uint32_t i, enabled;
	bool fine = true;

	memset(cost, 0, sizeof(*cost));
	ck_rewind(k, 0);
	k->recorded = 0;
	for (i = 0; i < nr && fine && k->nr_steps < CK_MAX_STEPS - 1; i++) {
		enabled = ck_enabled(k);
		if (enabled & (1u << schedule[i]))
			fine = count_step(k, cost, enabled, schedule[i]);
	}
	while (fine && k->nr_steps < CK_MAX_STEPS - 1 && (enabled = ck_enabled(k)))
		fine = count_step(k, cost, enabled, usual(k, enabled));
	if (fine && !ck_enabled(k))
		fine = ck_finish(k);
	return !fine && k->violation.invariant == invariant;
}

/* ---- joining ---- */

static void to_blocks(const struct ck_violation *v, struct blocks *b)
{
	uint32_t i;

	b->nr = 0;
	for (i = 0; i < v->nr_steps; i++) {
		if (i && v->schedule[i] == v->schedule[i - 1])
			b->block[b->nr - 1].steps++;
		else
			b->block[b->nr++] = (struct block){ v->schedule[i], 1 };
	}
}

static uint32_t to_schedule(const struct blocks *b, uint8_t *schedule)
{
	uint32_t i, nr = 0;

	for (i = 0; i < b->nr; i++) {
		memset(schedule + nr, b->block[i].actor, b->block[i].steps);
		nr += b->block[i].steps;
	}
	return nr;
}

static void move_block(struct blocks *b, uint32_t from, uint32_t to)
{
	struct block moved = b->block[from];

	for (; from < to; from++)
		b->block[from] = b->block[from + 1];
	for (; from > to; from--)
		b->block[from] = b->block[from - 1];
	b->block[to] = moved;
}

enum change { TO_NEXT, TO_PREVIOUS, LEFT_OUT, LAST, NR_CHANGES };

/* False when there is no such change for block i. */
static bool apply(struct blocks *b, uint32_t i, enum change change)
{
	uint32_t j;

	switch (change) {
	case TO_NEXT:
		for (j = i + 1; j < b->nr && b->block[j].actor != b->block[i].actor; j++)
			;
		if (j == b->nr)
			return false;
		move_block(b, i, j - 1);
		return true;
	case TO_PREVIOUS:
		for (j = i; j-- > 0 && b->block[j].actor != b->block[i].actor;)
			;
		if (j == UINT32_MAX)
			return false;
		move_block(b, i, j + 1);
		return true;
	case LEFT_OUT:
		move_block(b, i, --b->nr);
		return true;
	case LAST:
		b->nr = i + 1;
		return true;
	case NR_CHANGES:
		break;
	}
	return false;
}

/* Try every change of every block once; true when one was for the better. */
static bool improve(struct ck *k, struct ck_violation *v, struct cost *cost)
{
	static __thread struct blocks old, b;
	uint8_t schedule[CK_MAX_STEPS];
	bool better = false;
	uint32_t i, c;

	to_blocks(v, &old);
	for (i = 0; i < old.nr; i++) {
		for (c = 0; c < NR_CHANGES; c++) {
			struct cost now;

			memcpy(&b, &old, sizeof(b));
			if (!apply(&b, i, (enum change)c))
				continue;
			if (!follow(k, schedule, to_schedule(&b, schedule), v->invariant, &now) || !cheaper(&now, cost))
				continue;
			*v = k->violation;
			*cost = now;
			better = true;
			to_blocks(v, &old);
			break;
		}
	}
	return better;
}

static void polish(struct ck *k, struct ck_violation *v, struct cost *cost)
{
	uint32_t round;

	for (round = 0; round < MAX_ROUNDS && improve(k, v, cost); round++)
		;
}

/* ---- searching ---- */

static bool search_within(struct ck *k, int bound, int invariant)
{
	static const volatile bool never;
	struct ck_item all = { 0 };
	bool found;

	k->bound = bound;
	k->max_steps = MAX_SEARCH_STEPS;
	memset(&k->count, 0, sizeof(k->count));
	found = !ck_explore(k, &all, &never) && k->violation.invariant == invariant;
	k->bound = -1;
	k->max_steps = 0;
	return found;
}

uint32_t ck_simplify(struct ck *k, struct ck_violation *v)
{
	struct cost cost, found_cost;
	uint32_t bound;

	/* An execution without end is what it is. */
	if (!follow(k, v->schedule, v->nr_steps, v->invariant, &cost))
		return cost.preemptions;
	*v = k->violation;
	polish(k, v, &cost);
	for (bound = 0; bound < cost.preemptions; bound++) {
		struct ck_violation found;

		if (!search_within(k, (int)bound, v->invariant))
			continue;
		found = k->violation;
		if (!follow(k, found.schedule, found.nr_steps, v->invariant, &found_cost) || !cheaper(&found_cost, &cost))
			continue;
		*v = k->violation;
		cost = found_cost;
		polish(k, v, &cost);
	}
	return cost.preemptions;
}

uint32_t ck_preemptions(struct ck *k)
{
	struct ck_violation v = k->violation;
	uint32_t i, nr = 0, enabled;

	ck_rewind(k, 0);
	for (i = 0; i < v.nr_steps; i++) {
		enabled = ck_enabled(k);
		nr += i && v.schedule[i] != v.schedule[i - 1] && (enabled & (1u << v.schedule[i - 1]));
		if (!ck_run_step(k, v.schedule[i]))
			break;
	}
	k->violation = v;
	return nr;
}
