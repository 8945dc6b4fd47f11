// SPDX-License-Identifier: MIT
/*
 * explore.h - the explorer: runs the actors of a scenario in every order that matters.
 *
 * A step is what an actor does from one scheduling point to the next: one operation of sync.h, or (part of) one op of the
 * backend, and the private code behind it. A step declares which objects it touched and how; steps that touch no
 * common object, or only read it, or only add to it, are independent, and executions that differ in the order of
 * independent steps are one (a Mazurkiewicz trace). The search visits every trace once: depth first, re-executing
 * from the start, source sets to decide what to try and sleep sets against trying it twice.
 *
 * What plain memory a step reads and writes is not seen. That is sound as long as plain memory is protected by the
 * operations that are seen, which is ThreadSanitizer's business (tools/sanitize).
 */
#ifndef HN_CHECK_EXPLORE_H
#define HN_CHECK_EXPLORE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "check/fiber.h"

#define CK_MAX_ACTORS 8u
#define CK_MAX_STEPS 1500u /* an execution that gets so long does not end: livelock */
#define CK_MAX_TOUCHES 28u
#define CK_TEXT_BYTES 160u

enum ck_kind {
	CK_READ,
	CK_ADD, /* commutes with other additions, and tells nothing about them */
	CK_WRITE,
	/* A lock taken and released as one step each (locks.c); shared ones commute with one another. */
	CK_ACQUIRE,
	CK_RELEASE,
	CK_ACQUIRE_SHARED,
	CK_RELEASE_SHARED,
};

/* How the engine's entry lock, lead, displaced lock and event gate are explored. */
enum ck_locks {
	CK_LOCKS_BY_SCENARIO,
	CK_LOCKS_SHIPPED, /* lock.c and gate.c as they are, every operation of theirs a step */
	CK_LOCKS_AS_STEPS, /* what they promise: taking and releasing a lock is one step each */
};

struct hn_word;

/* The objects a step touched. An object is named by its offset in the world, so that workers agree. */
struct ck_touches {
	uint64_t all, writes, reads, adds; /* sets of hashed objects, to rule out most conflicts at once */
	uint32_t nr;
	uint32_t touch[CK_MAX_TOUCHES]; /* offset << 3 | kind */
	uint32_t before[CK_MAX_TOUCHES]; /* the touch of the same object that came before, CK_NO_LINK: none */
};

enum ck_status { CK_RUNNABLE, CK_SLEEPING, CK_DONE };

struct ck_actor {
	const char *name;
	void (*fn)(void *arg);
	void *arg;
	bool may_sleep; /* a handler: asleep at the end is as good as done */
	bool warm;      /* runs until it sleeps before the exploration begins */
	enum ck_status status;
	uint32_t seq;  /* steps done */
	int edge;      /* index of the step that woke it, or -1 */
	const struct hn_word *want; /* the lock that its next step takes; it can only run when that is free */
	enum ck_kind want_kind;
	struct ck_fiber fiber;
};

struct ck_step {
	uint8_t actor;
	uint32_t seq; /* the actor's seq-th step, from 1 */
	uint32_t clock[CK_MAX_ACTORS]; /* so many steps of each actor happen before this one, itself included */
	uint32_t nr_races, race[CK_MAX_ACTORS]; /* indices of earlier steps */
	struct ck_touches touches;
};

#define CK_NO_LINK UINT32_MAX

struct ck_node {
	uint32_t enabled, backtrack, done, sleep; /* sets of actors */
	uint8_t chosen;
	uint8_t preemptions;
	struct ck_touches sibling[CK_MAX_ACTORS];      /* of actors in `done`: their step from here */
	const struct ck_touches *asleep[CK_MAX_ACTORS]; /* of actors in `sleep` */
};

struct ck_violation {
	int invariant; /* 1..8, 0: none */
	char text[CK_TEXT_BYTES];
	uint32_t nr_steps;
	uint8_t schedule[CK_MAX_STEPS]; /* actor of each step */
};

struct ck_count {
	uint64_t explored; /* complete executions, one for each trace */
	uint64_t blocked;  /* executions cut short because every way on had been explored */
	uint64_t bounded;  /* ways not taken because of the bound */
	uint64_t steps;    /* executed, re-execution included */
	uint32_t longest;  /* steps of the longest execution */
};

struct ck_trace_line {
	uint8_t actor;
	bool minor; /* not worth a line unless everything is wanted */
	char text[CK_TEXT_BYTES];
};

/* Where a search begins: a prefix that is fixed, and what is asleep behind it. */
struct ck_item {
	uint32_t depth;
	uint8_t schedule[64];
	uint32_t sleep;
	struct ck_touches asleep[CK_MAX_ACTORS];
};

/* The state of everything at one depth: the world, and the actors with what is on their stacks. */
struct ck_saved {
	uint32_t depth;
	enum ck_status status[CK_MAX_ACTORS];
	uint32_t seq[CK_MAX_ACTORS];
	int edge[CK_MAX_ACTORS];
	const struct hn_word *want[CK_MAX_ACTORS];
	enum ck_kind want_kind[CK_MAX_ACTORS];
	void *sp[CK_MAX_ACTORS];
	uint32_t bytes, room; /* of the copy: the world, then the stacks */
	char *copy;
};

#define CK_SAVE_EVERY 12u
#define CK_MAX_SAVED (CK_MAX_STEPS / CK_SAVE_EVERY + 2)

struct ck_scenario;
struct ck_world;

/* One worker's explorer. Not shared between OS threads. */
struct ck {
	const struct ck_scenario *scenario;
	struct ck_world *world;
	uint32_t nr_saved;
	struct ck_saved *saved; /* CK_MAX_SAVED, by depth; the first is the beginning */
	uint32_t nr_actors;
	struct ck_actor actor[CK_MAX_ACTORS];
	void *main_sp;
	jmp_buf outside; /* where a violation goes that is found in no step */
	bool lock_steps; /* CK_LOCKS_AS_STEPS */
	int running; /* index of the actor whose step it is, -1: none; ops then take effect at once */

	uint32_t nr_steps;
	struct ck_step *step; /* CK_MAX_STEPS */
	uint32_t nr_linked;   /* steps whose touches are in the lists of their objects */
	uint32_t *latest;     /* by offset in the world: the latest touch, step * CK_MAX_TOUCHES + index */
	struct ck_node *node; /* CK_MAX_STEPS + 1 */
	uint32_t fixed;       /* nodes above this depth are the item's */
	uint32_t recorded;    /* steps below this index are only being repeated */
	int bound;            /* preemptions allowed, -1: any number */
	uint64_t max_steps;   /* ck_explore gives up when so many were executed, 0: never */

	struct ck_violation violation;
	struct ck_count count;

	bool tracing;
	uint32_t nr_lines;
	struct ck_trace_line *line; /* CK_MAX_STEPS, when tracing */
};

/* For all scenarios of this run; set before ck_init. */
extern enum ck_locks ck_locks;

/* The explorer whose fiber is running in this OS thread; NULL outside of exploration. */
extern __thread struct ck *ck_now;

/* ---- for the code that runs in steps ---- */

/* A scheduling point: the step that follows begins with `what`. */
void ck_point(const char *what);
/* The current step touches the object at p, which must lie in the world. */
void ck_touch(const void *p, enum ck_kind kind);
/* The actor goes to sleep; returns in the step after somebody woke it. */
void ck_sleep(void);
void ck_wake(uint32_t actor);
/* A step that takes a lock: possible only while it is free. The caller then marks it as taken. */
void ck_take(const struct hn_word *lock, enum ck_kind kind);
/* The invariant does not hold; does not return. */
void ck_violated(int invariant, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
/* Add to the text of the current step. Only when tracing. */
void ck_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The current step is of no interest to a reader. */
void ck_minor(void);

/* ---- running (run.c) ---- */

/* 0, or -1 when there is no memory. */
int ck_init(struct ck *k, const struct ck_scenario *scenario);
void ck_free(struct ck *k);
/* Back to the state at `depth`, or to the nearest before it that was saved. */
void ck_rewind(struct ck *k, uint32_t depth);
/* Save the state at the current depth, if it is time for it. */
void ck_save(struct ck *k);
/* One step of an enabled actor. False when it violated an invariant. */
bool ck_run_step(struct ck *k, uint32_t actor);
uint32_t ck_enabled(const struct ck *k);
/* Make the step at the current depth the actor's next one, without touches yet, its clock begun. */
void ck_start_step(struct ck *k, uint32_t actor);
/* Nothing can run any more: the checks of the end. */
bool ck_finish(struct ck *k);

/* ---- searching (explore.c) ---- */

/* Explore everything behind `item`. False when an invariant was violated; k->violation says which, how. */
bool ck_explore(struct ck *k, const struct ck_item *item, const volatile bool *stop);
/*
 * Cut the search into items: every prefix of `depth` steps that no other covers. Returns how many; *items is malloc'ed.
 * Executions shorter than depth are items too.
 */
uint32_t ck_split(struct ck *k, uint32_t depth, struct ck_item **items);
/* Follow a schedule, then go on with the first that can; traces. False when an invariant was violated. */
bool ck_replay(struct ck *k, const uint8_t *schedule, uint32_t nr);

/* ---- dependence (depend.c) ---- */
bool ck_conflict(const struct ck_touches *a, const struct ck_touches *b);
/* Step i and those behind it are about to be made anew: take their touches out of the lists. */
void ck_forget_from(struct ck *k, uint32_t i);
/* Find which earlier steps the new step i races with, and complete its clock. */
void ck_races(struct ck *k, uint32_t i);
/* An execution is at its end: note at its nodes what else must be tried because of its races. */
void ck_note_races(struct ck *k);

#endif
