// SPDX-License-Identifier: MIT
/*
 * run.c - executing: fibers, scheduling points, sleeping and waking, and the clock of each step.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/explore.h"
#include "check/scenario.h"
#include "check/world.h"

__thread struct ck *ck_now;
enum ck_locks ck_locks;

static void to_main(struct ck *k)
{
	struct ck_actor *a = &k->actor[k->running];

	ck_fiber_switch(&a->fiber.sp, k->main_sp);
}

/* ---- called in steps ---- */

void ck_say(const char *format, ...)
{
	struct ck *k = ck_now;
	struct ck_trace_line *l;
	size_t used;
	va_list args;

	if (!k || !k->tracing || k->running < 0 || k->nr_steps >= CK_MAX_STEPS)
		return;
	l = &k->line[k->nr_steps];
	used = strlen(l->text);
	if (used && used + 2 < CK_TEXT_BYTES)
		used += (size_t)snprintf(l->text + used, CK_TEXT_BYTES - used, "; ");
	va_start(args, format);
	vsnprintf(l->text + used, CK_TEXT_BYTES - used, format, args);
	va_end(args);
}

void ck_minor(void)
{
	struct ck *k = ck_now;

	if (k->tracing && k->running >= 0 && k->nr_steps < CK_MAX_STEPS)
		k->line[k->nr_steps].minor = true;
}

void ck_point(const char *what)
{
	struct ck *k = ck_now;

	if (k->running < 0)
		return;
	to_main(k);
	if (what)
		ck_say("%s", what);
}

void ck_touch(const void *p, enum ck_kind kind)
{
	struct ck *k = ck_now;
	struct ck_touches *t;
	uint32_t at, i;
	uint64_t bit;

	if (k->running < 0 || k->nr_steps < k->recorded)
		return;
	t = &k->step[k->nr_steps].touches;
	at = (uint32_t)((const char *)p - (const char *)k->world);
	bit = 1ull << ((at * 0x9e3779b1u) >> 26);
	for (i = 0; i < t->nr; i++)
		if (t->touch[i] == (at << 3 | kind))
			return;
	if (t->nr == CK_MAX_TOUCHES || at >= sizeof(*k->world)) {
		fprintf(stderr, "hugenuma check: a step touches too much, or something outside of the world\n");
		abort();
	}
	t->touch[t->nr++] = at << 3 | kind;
	t->all |= bit;
	if (kind >= CK_WRITE)
		t->writes |= bit;
	else if (kind == CK_ADD)
		t->adds |= bit;
	else
		t->reads |= bit;
}

void ck_sleep(void)
{
	struct ck *k = ck_now;

	if (k->running < 0)
		ck_violated(3, "something would sleep for ever when everything is put back");
	k->actor[k->running].status = CK_SLEEPING;
	ck_say("sleeps");
	to_main(k);
	ck_say("wakes up");
}

void ck_wake(uint32_t actor)
{
	struct ck *k = ck_now;
	struct ck_actor *a = &k->actor[actor];

	if (a->status != CK_SLEEPING)
		return;
	a->status = CK_RUNNABLE;
	a->edge = k->running < 0 ? -1 : (int)k->nr_steps;
	ck_say("wakes %s", a->name);
}

void ck_take(const struct hn_word *lock, enum ck_kind kind)
{
	struct ck *k = ck_now;

	if (k->running >= 0) {
		k->actor[k->running].want = lock;
		k->actor[k->running].want_kind = kind;
		to_main(k);
		k->actor[k->running].want = NULL;
		ck_touch(lock, kind);
	} else if (!ck_lock_is_free(lock, kind)) {
		ck_violated(4, "%s is held for ever", ck_name_of(k->world, lock));
	}
}

void ck_violated(int invariant, const char *format, ...)
{
	struct ck *k = ck_now;
	va_list args;

	k->violation.invariant = invariant;
	va_start(args, format);
	vsnprintf(k->violation.text, sizeof(k->violation.text), format, args);
	va_end(args);
	if (k->running >= 0)
		to_main(k); /* and never back */
	longjmp(k->outside, 1);
}

/* ---- the main context ---- */

static void actor_main(void *arg)
{
	struct ck_actor *a = arg;
	struct ck *k = ck_now;

	a->fn(a->arg);
	a->status = CK_DONE;
	to_main(k);
	abort();
}

/* ---- saving ---- */

static uint32_t stack_bytes(const struct ck_actor *a)
{
	return (uint32_t)(a->fiber.stack + CK_STACK_BYTES - (char *)a->fiber.sp);
}

static bool make_room(struct ck_saved *s, uint32_t bytes)
{
	char *p;

	if (bytes <= s->room)
		return true;
	p = realloc(s->copy, bytes);
	if (!p)
		return false;
	s->copy = p;
	s->room = bytes;
	return true;
}

/* States are saved every few steps; without memory for one, more steps are repeated later. */
void ck_save(struct ck *k)
{
	struct ck_saved *s = &k->saved[k->nr_saved];
	uint32_t i, bytes = CK_WORLD_BYTES;
	char *p;

	if (k->nr_saved && k->nr_steps < s[-1].depth + CK_SAVE_EVERY)
		return;
	for (i = 0; i < k->nr_actors; i++)
		bytes += stack_bytes(&k->actor[i]);
	if (!make_room(s, bytes))
		return;
	s->depth = k->nr_steps;
	memcpy(s->copy, k->world, CK_WORLD_BYTES);
	p = s->copy + CK_WORLD_BYTES;
	for (i = 0; i < k->nr_actors; i++) {
		struct ck_actor *a = &k->actor[i];

		s->status[i] = a->status;
		s->seq[i] = a->seq;
		s->edge[i] = a->edge;
		s->want[i] = a->want;
		s->want_kind[i] = a->want_kind;
		s->sp[i] = a->fiber.sp;
		memcpy(p, a->fiber.sp, stack_bytes(a));
		p += stack_bytes(a);
	}
	k->nr_saved++;
}

static void restore(struct ck *k, const struct ck_saved *s)
{
	const char *p = s->copy + CK_WORLD_BYTES;
	uint32_t i;

	memcpy(k->world, s->copy, CK_WORLD_BYTES);
	for (i = 0; i < k->nr_actors; i++) {
		struct ck_actor *a = &k->actor[i];

		a->status = s->status[i];
		a->seq = s->seq[i];
		a->edge = s->edge[i];
		a->want = s->want[i];
		a->want_kind = s->want_kind[i];
		a->fiber.sp = s->sp[i];
		memcpy(a->fiber.sp, p, stack_bytes(a));
		p += stack_bytes(a);
	}
	k->nr_steps = s->depth;
}

void ck_rewind(struct ck *k, uint32_t depth)
{
	ck_now = k;
	k->violation.invariant = 0;
	while (k->saved[k->nr_saved - 1].depth > depth)
		k->nr_saved--;
	restore(k, &k->saved[k->nr_saved - 1]);
}

static void free_saved(struct ck *k)
{
	uint32_t i;

	for (i = 0; k->saved && i < CK_MAX_SAVED; i++)
		free(k->saved[i].copy);
	free(k->saved);
}

/* Every actor before its first scheduling point; those that are warm asleep. The first saved state. */
static bool begin(struct ck *k)
{
	uint32_t i;

	for (i = 0; i < k->nr_actors; i++) {
		struct ck_actor *a = &k->actor[i];

		ck_fiber_prepare(&a->fiber, actor_main, a);
		k->recorded = UINT32_MAX; /* nothing of this is explored */
		k->running = (int)i;
		a->edge = -1;
		a->status = CK_RUNNABLE;
		do
			ck_fiber_switch(&k->main_sp, a->fiber.sp);
		while (a->warm && (ck_enabled(k) & (1u << i)) && k->violation.invariant == 0);
		k->running = -1;
	}
	for (i = 0; i < k->nr_actors; i++)
		k->actor[i].edge = -1;
	k->recorded = 0;
	ck_save(k);
	return k->nr_saved == 1 && k->violation.invariant == 0;
}

int ck_init(struct ck *k, const struct ck_scenario *scenario)
{
	uint32_t i;

	memset(k, 0, sizeof(*k));
	k->scenario = scenario;
	k->bound = -1;
	k->running = -1;
	k->lock_steps = ck_locks == CK_LOCKS_AS_STEPS || (ck_locks == CK_LOCKS_BY_SCENARIO && scenario->lock_steps);
	k->step = calloc(CK_MAX_STEPS, sizeof(*k->step));
	k->node = calloc(CK_MAX_STEPS + 1, sizeof(*k->node));
	k->line = calloc(CK_MAX_STEPS, sizeof(*k->line));
	k->saved = calloc(CK_MAX_SAVED, sizeof(*k->saved));
	k->latest = malloc(sizeof(struct ck_world) * sizeof(*k->latest));
	if (!k->step || !k->node || !k->line || !k->saved || !k->latest || ck_world_init(k))
		return -1;
	memset(k->latest, 0xff, sizeof(struct ck_world) * sizeof(*k->latest));
	for (i = 0; i < k->nr_actors; i++)
		if (ck_fiber_init(&k->actor[i].fiber))
			return -1;
	return begin(k) ? 0 : -1;
}

void ck_free(struct ck *k)
{
	uint32_t i;

	for (i = 0; i < CK_MAX_ACTORS; i++)
		ck_fiber_free(&k->actor[i].fiber);
	free(k->step);
	free(k->node);
	free(k->line);
	free(k->latest);
	free(k->world);
	free_saved(k);
	memset(k, 0, sizeof(*k));
}

uint32_t ck_enabled(const struct ck *k)
{
	uint32_t set = 0, i;

	for (i = 0; i < k->nr_actors; i++)
		if (k->actor[i].status == CK_RUNNABLE &&
		    (!k->actor[i].want || ck_lock_is_free(k->actor[i].want, k->actor[i].want_kind)))
			set |= 1u << i;
	return set;
}

/* The clock before races are added: the actor's last step, and the step that woke it. */
static void start_clock(struct ck *k, struct ck_step *s, int edge)
{
	uint32_t n;

	memset(s->clock, 0, sizeof(s->clock));
	for (n = k->nr_steps; n-- > 0 && s->seq > 1;) {
		if (k->step[n].actor == s->actor) {
			memcpy(s->clock, k->step[n].clock, sizeof(s->clock));
			break;
		}
	}
	if (edge >= 0)
		for (n = 0; n < CK_MAX_ACTORS; n++)
			if (s->clock[n] < k->step[edge].clock[n])
				s->clock[n] = k->step[edge].clock[n];
	s->clock[s->actor] = s->seq;
}

void ck_start_step(struct ck *k, uint32_t actor)
{
	struct ck_step *s = &k->step[k->nr_steps];

	ck_forget_from(k, k->nr_steps);
	s->actor = (uint8_t)actor;
	s->seq = k->actor[actor].seq + 1;
	memset(&s->touches, 0, offsetof(struct ck_touches, touch));
	start_clock(k, s, k->actor[actor].edge);
}

static bool judge(struct ck *k)
{
	if (setjmp(k->outside) == 0 && k->violation.invariant == 0)
		ck_check_step(k);
	return k->violation.invariant == 0;
}

bool ck_run_step(struct ck *k, uint32_t actor)
{
	struct ck_actor *a = &k->actor[actor];
	bool record = k->nr_steps >= k->recorded, fine;

	k->violation.schedule[k->nr_steps] = (uint8_t)actor;
	if (record)
		ck_start_step(k, actor);
	a->seq++;
	a->edge = -1;
	if (k->tracing) {
		k->line[k->nr_steps] = (struct ck_trace_line){ .actor = (uint8_t)actor };
		k->nr_lines = k->nr_steps + 1;
	}
	k->running = (int)actor;
	ck_fiber_switch(&k->main_sp, a->fiber.sp);
	k->running = -1;
	fine = record || k->tracing ? judge(k) : k->violation.invariant == 0;
	k->nr_steps++;
	k->count.steps++;
	k->violation.nr_steps = k->nr_steps;
	return fine;
}

bool ck_finish(struct ck *k)
{
	if (setjmp(k->outside) == 0)
		ck_check_end(k);
	k->violation.nr_steps = k->nr_steps;
	return k->violation.invariant == 0;
}
