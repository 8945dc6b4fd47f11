// SPDX-License-Identifier: MIT
/*
 * explore_test.c - does the explorer visit every execution once, where executions that differ in the order of independent
 * steps are one?
 *
 * Small programs on a few words. Of some the number is known from mathematics; for all of them every interleaving is
 * run one by one, brought into a canonical form by a happens-before relation of this file's own, and compared with what
 * ck_explore visited: the same set, and nothing twice. Prints TAP.
 *
 *     check-explore [RANDOM-PROGRAMS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/scenario.h"
#include "core/internal.h"

#define MAX_RUNS 3000000u /* interleavings of one program; more is no test any more */
#define MAX_OPS 8u
#define NR_RANDOM 400u /* programs; an argument says how many others */

enum what { END, LOAD, STORE, ADD, CAS, LOCK, UNLOCK, SHARE, UNSHARE, CLOSE, OPEN, WAIT, WAKE, SPIN };

struct op {
	enum what what;
	uint32_t word;
};

struct program {
	struct op op[MAX_OPS];
};

static void step(const struct op *op)
{
	struct hn_word *w = &ck_now->world->flag[op->word];

	switch (op->what) {
	case LOAD: hn_load_relaxed(w); break;
	case STORE: hn_store_relaxed(w, 7); break;
	case ADD: hn_add_masked(w, 1, 0); break;
	case CAS: hn_cas_acquire(w, 0, 1); break;
	case LOCK: hn_lock(w); break;
	case UNLOCK: hn_unlock(w); break;
	case SHARE: hn_gate_read_lock(ck_hn()); break;
	case UNSHARE: hn_gate_read_unlock(ck_hn()); break;
	case CLOSE: hn_gate_write_lock(ck_hn()); break;
	case OPEN: hn_gate_write_unlock(ck_hn()); break;
	case WAIT: hn_wait_while(w, 0); break;
	case WAKE: hn_wake(w, 1); break;
	case SPIN:
		while (hn_load_relaxed(w) == 0)
			;
		break;
	case END: break;
	}
}

static void run_program(void *arg)
{
	const struct program *p = arg;
	uint32_t i;

	for (i = 0; i < MAX_OPS && p->op[i].what != END; i++)
		step(&p->op[i]);
}

/* ---- sets of canonical executions ---- */

struct set {
	uint64_t *hash; /* sorted when closed */
	uint32_t nr, room;
};

static void set_add(struct set *s, uint64_t h)
{
	if (s->nr == s->room) {
		s->room = s->room ? s->room * 2 : 1024;
		s->hash = realloc(s->hash, s->room * sizeof(*s->hash));
		if (!s->hash)
			abort();
	}
	s->hash[s->nr++] = h;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Sorts; returns how many there were twice, which are taken out. */
static uint32_t set_close(struct set *s)
{
	uint32_t i, kept = 0, twice = 0;

	if (s->nr)
		qsort(s->hash, s->nr, sizeof(*s->hash), compare);
	for (i = 0; i < s->nr; i++) {
		if (kept && s->hash[kept - 1] == s->hash[i])
			twice++;
		else
			s->hash[kept++] = s->hash[i];
	}
	s->nr = kept;
	return twice;
}

/* ---- the canonical form ---- */

static bool kinds_commute(uint32_t a, uint32_t b)
{
	if (a == b)
		return a == CK_READ || a == CK_ADD || a == CK_ACQUIRE_SHARED || a == CK_RELEASE_SHARED;
	return (a == CK_ACQUIRE_SHARED && b == CK_RELEASE_SHARED) || (a == CK_RELEASE_SHARED && b == CK_ACQUIRE_SHARED);
}

static bool commute(const struct ck_touches *a, const struct ck_touches *b)
{
	uint32_t i, j;

	for (i = 0; i < a->nr; i++)
		for (j = 0; j < b->nr; j++)
			if (a->touch[i] >> 3 == b->touch[j] >> 3 && !kinds_commute(a->touch[i] & 7, b->touch[j] & 7))
				return false;
	return true;
}

/* What is known of an execution while it runs: which steps come before each. */
struct form {
	uint32_t nr;
	uint8_t actor[CK_MAX_STEPS];
	uint32_t seq[CK_MAX_STEPS];
	uint32_t clock[CK_MAX_STEPS][CK_MAX_ACTORS];
	int woken_by[CK_MAX_ACTORS];
};

static void join(uint32_t *to, const uint32_t *from)
{
	uint32_t a;

	for (a = 0; a < CK_MAX_ACTORS; a++)
		if (to[a] < from[a])
			to[a] = from[a];
}

/* One step of k, seen from outside. False: it violated something. */
static bool observe(struct ck *k, struct form *f, uint32_t actor)
{
	enum ck_status before[CK_MAX_ACTORS];
	uint32_t i = f->nr++, a, n;
	bool fine;

	for (a = 0; a < k->nr_actors; a++)
		before[a] = k->actor[a].status;
	fine = ck_run_step(k, actor);
	memset(f->clock[i], 0, sizeof(f->clock[i]));
	f->actor[i] = (uint8_t)actor;
	f->seq[i] = 1;
	for (n = 0; n < i; n++) {
		if (f->actor[n] == actor)
			f->seq[i] = f->seq[n] + 1;
		if (f->actor[n] == actor || (int)n == f->woken_by[actor] ||
		    !commute(&k->step[n].touches, &k->step[i].touches))
			join(f->clock[i], f->clock[n]);
	}
	f->clock[i][actor] = f->seq[i];
	f->woken_by[actor] = -1;
	for (a = 0; a < k->nr_actors; a++)
		if (before[a] == CK_SLEEPING && k->actor[a].status == CK_RUNNABLE)
			f->woken_by[a] = (int)i;
	return fine;
}

/* Independent of the order in which independent steps were run: actor by actor, what came before each step. */
static uint64_t hash_of(const struct form *f, uint32_t nr_actors)
{
	uint64_t h = 14695981039346656037ull;
	uint32_t a, i, c;

	for (a = 0; a < nr_actors; a++) {
		for (i = 0; i < f->nr; i++) {
			if (f->actor[i] != a)
				continue;
			for (c = 0; c < nr_actors; c++)
				h = (h ^ f->clock[i][c]) * 1099511628211ull + (h >> 29);
		}
		h = (h ^ 0xffff) * 1099511628211ull + (h >> 31);
	}
	return h;
}

static void begin_form(struct ck *k, struct form *f)
{
	uint32_t a;

	ck_rewind(k, 0);
	k->recorded = 0;
	f->nr = 0;
	for (a = 0; a < CK_MAX_ACTORS; a++)
		f->woken_by[a] = -1;
}

/* ---- every interleaving ---- */

struct choice {
	uint32_t enabled, chosen;
};

/* The next schedule in lexicographic order; false after the last. */
static bool next_schedule(struct choice *c, uint32_t *nr)
{
	while (*nr > 0) {
		uint32_t left = c[*nr - 1].enabled & ~((2u << c[*nr - 1].chosen) - 1);

		if (left) {
			c[*nr - 1].chosen = (uint32_t)__builtin_ctz(left);
			return true;
		}
		(*nr)--;
	}
	return false;
}

/* False: there are too many. */
static bool brute_force(struct ck *k, struct set *s)
{
	static struct choice choice[CK_MAX_STEPS];
	static struct form f;
	uint32_t nr = 0, runs = 0;

	do {
		uint32_t i = 0, enabled;

		if (++runs > MAX_RUNS)
			return false;
		begin_form(k, &f);
		for (; (enabled = ck_enabled(k)); i++) {
			if (i >= nr)
				choice[nr++] = (struct choice){ enabled, (uint32_t)__builtin_ctz(enabled) };
			observe(k, &f, choice[i].chosen);
		}
		set_add(s, hash_of(&f, k->nr_actors));
	} while (next_schedule(choice, &nr));
	set_close(s);
	return true;
}

/* ---- what ck_explore visits ---- */

struct visits {
	uint32_t nr, room;
	uint8_t (*schedule)[CK_MAX_STEPS];
	uint32_t *steps;
};

static struct visits visits;

/* The scenario's check: runs at the end of each execution. */
static void note_visit(struct ck_world *w)
{
	const struct ck_violation *v = &ck_now->violation;

	(void)w;
	if (visits.nr == visits.room) {
		visits.room = visits.room ? visits.room * 2 : 64;
		visits.schedule = realloc(visits.schedule, visits.room * sizeof(*visits.schedule));
		visits.steps = realloc(visits.steps, visits.room * sizeof(*visits.steps));
		if (!visits.schedule || !visits.steps)
			abort();
	}
	memcpy(visits.schedule[visits.nr], v->schedule, ck_now->nr_steps);
	visits.steps[visits.nr++] = ck_now->nr_steps;
}

/* Explores in pieces cut at `depth`; the visits as a set. Returns how many were made twice. */
static uint32_t explore(struct ck *k, uint32_t depth, struct set *s)
{
	static const volatile bool never;
	static struct form f;
	struct ck_item *item;
	uint32_t i, n, nr;

	visits.nr = 0;
	nr = ck_split(k, depth, &item);
	memset(&k->count, 0, sizeof(k->count));
	for (i = 0; i < nr; i++)
		ck_explore(k, &item[i], &never);
	free(item);
	if (k->count.explored != visits.nr)
		printf("# %llu counted, %u visited\n", (unsigned long long)k->count.explored, visits.nr);
	for (n = 0; n < visits.nr; n++) {
		begin_form(k, &f);
		for (i = 0; i < visits.steps[n]; i++)
			observe(k, &f, visits.schedule[n][i]);
		set_add(s, hash_of(&f, k->nr_actors));
	}
	return set_close(s);
}

/* ---- tests ---- */

static unsigned number, failed;

static void result(bool fine, const char *name)
{
	failed += !fine;
	printf("%sok %u - %s\n", fine ? "" : "not ", ++number, name);
	fflush(stdout);
}

static struct ck_scenario make(const struct program *p, uint32_t nr, bool lock_steps)
{
	static const char *const names[] = { "a", "b", "c", "d" };
	struct ck_scenario s = { .name = "test", .about = "", .races = "", .lock_steps = lock_steps, .check = note_visit };
	uint32_t i;

	for (i = 0; i < nr; i++)
		s.role[i] = (struct ck_role){ .name = names[i], .fn = run_program, .arg = (void *)(uintptr_t)&p[i],
					      .may_sleep = true };
	return s;
}

/* True when everything was visited once, however the search is cut. `known`: how many there are, 0: not known. */
static bool agrees(const struct program *p, uint32_t nr, bool lock_steps, uint32_t known)
{
	static const uint32_t depths[] = { 0, 2, 5, 9 };
	struct ck_scenario s = make(p, nr, lock_steps);
	struct set all = { 0 };
	static struct ck k;
	bool fine = true;
	uint32_t i;

	if (ck_init(&k, &s))
		return false;
	if (!brute_force(&k, &all)) {
		printf("# too large\n");
		fine = false;
	}
	if (known && all.nr != known) {
		printf("# %u executions, should be %u\n", all.nr, known);
		fine = false;
	}
	for (i = 0; fine && i < sizeof(depths) / sizeof(depths[0]); i++) {
		struct set seen = { 0 };
		uint32_t twice = explore(&k, depths[i], &seen);

		fine = twice == 0 && seen.nr == all.nr && !memcmp(seen.hash, all.hash, all.nr * sizeof(*all.hash));
		if (!fine)
			printf("# cut at %u: %u of %u executions, %u twice, %llu blocked\n", depths[i], seen.nr, all.nr, twice,
			       (unsigned long long)k.count.blocked);
		free(seen.hash);
	}
	free(all.hash);
	ck_free(&k);
	return fine;
}

static void test_known(void)
{
	static const struct program write3 = { { { STORE, 0 }, { STORE, 0 }, { STORE, 0 } } };
	static const struct program other3 = { { { STORE, 1 }, { STORE, 1 }, { STORE, 1 } } };
	static const struct program read3 = { { { LOAD, 0 }, { LOAD, 0 }, { LOAD, 0 } } };
	static const struct program add3 = { { { ADD, 0 }, { ADD, 0 }, { ADD, 0 } } };
	static const struct program write1 = { { { STORE, 0 } } };
	static const struct program read1 = { { { LOAD, 0 } } };

	result(agrees((struct program[]){ write3, write3 }, 2, false, 20), "writes to one word: C(6, 3)");
	result(agrees((struct program[]){ write3, write3, write1 }, 3, false, 140), "writes of three: 7! / 3! 3! 1!");
	result(agrees((struct program[]){ write3, other3 }, 2, false, 1), "writes to different words are one execution");
	result(agrees((struct program[]){ read3, read3, write1 }, 3, false, 16), "reads commute, not with a write: 4 * 4");
	result(agrees((struct program[]){ add3, add3, add3 }, 3, false, 1), "masked additions commute");
	result(agrees((struct program[]){ add3, add3, read1 }, 3, false, 16), "but not with a read: 4 * 4");
}

static void test_locks(bool lock_steps)
{
	static const struct program once = { { { LOCK, 2 }, { STORE, 0 }, { UNLOCK, 2 } } };
	static const struct program twice = { { { LOCK, 2 }, { UNLOCK, 2 }, { LOCK, 2 }, { UNLOCK, 2 } } };
	static const struct program bare = { { { LOCK, 2 }, { UNLOCK, 2 } } };
	static const struct program mixed = { { { STORE, 0 }, { LOCK, 2 }, { LOAD, 0 }, { UNLOCK, 2 }, { LOAD, 0 } } };
	static const struct program nested = { { { LOCK, 2 }, { LOCK, 3 }, { UNLOCK, 3 }, { UNLOCK, 2 } } };
	static const struct program crossed = { { { LOCK, 3 }, { LOCK, 2 }, { UNLOCK, 2 }, { UNLOCK, 3 } } };
	static const struct program share = { { { SHARE, 0 }, { LOAD, 0 }, { UNSHARE, 0 } } };
	static const struct program close = { { { CLOSE, 0 }, { STORE, 0 }, { OPEN, 0 } } };
	char name[100];

#define IS(text) (snprintf(name, sizeof(name), "%s, %s", text, lock_steps ? "in one step" : "as shipped"), name)
	result(agrees((struct program[]){ once, once }, 2, lock_steps, lock_steps ? 2 : 0), IS("a lock, two actors"));
	result(agrees((struct program[]){ twice, twice }, 2, lock_steps, lock_steps ? 6 : 0), IS("a lock, twice each"));
	result(agrees((struct program[]){ bare, bare, bare }, 3, lock_steps, lock_steps ? 6 : 0),
	       IS("a lock, three actors"));
	result(agrees((struct program[]){ mixed, mixed }, 2, lock_steps, 0), IS("a lock, and a word used without it"));
	result(agrees((struct program[]){ nested, crossed }, 2, lock_steps, lock_steps ? 3 : 0),
	       IS("two locks, with a deadlock"));
	result(agrees((struct program[]){ share, close }, 2, lock_steps, lock_steps ? 2 : 0), IS("the gate"));
	if (lock_steps)
		result(agrees((struct program[]){ share, share, close }, 3, true, 4), IS("the gate, two readers"));
#undef IS
}

static uint32_t random_below(uint64_t *seed, uint32_t n)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*seed >> 33) % n;
}

/* Operations on two words, some of them inside locks; waits that may last for ever. */
static void random_program(struct program *p, uint64_t *seed, uint32_t ops)
{
	static const enum what plain[] = { LOAD, LOAD, STORE, STORE, ADD, CAS, WAIT, WAKE };
	uint32_t i = 0, held = 0;

	memset(p, 0, sizeof(*p));
	while (i < ops) {
		uint32_t r = random_below(seed, 12), word = random_below(seed, 2);

		if (r < 2 && !(held & (1u << word)) && i + 2 < ops) {
			p->op[i++] = (struct op){ LOCK, 2 + word };
			held |= 1u << word;
		} else if (r < 4 && held) {
			word = (uint32_t)__builtin_ctz(held);
			p->op[i++] = (struct op){ UNLOCK, 2 + word };
			held &= ~(1u << word);
		} else {
			p->op[i++] = (struct op){ plain[r % 8], word };
		}
	}
	for (; held; held &= held - 1)
		p->op[i++] = (struct op){ UNLOCK, 2 + (uint32_t)__builtin_ctz(held) };
}

/* For whoever has to find out why. */
static void show_program(const struct program *p, uint32_t nr, uint32_t which)
{
	static const char *const names[] = { "end",  "load",  "store", "add",  "cas",  "lock", "unlock",
					     "share", "unshare", "close", "open", "wait", "wake", "spin" };
	uint32_t a, i;

	printf("# random program %u:\n", which);
	for (a = 0; a < nr; a++) {
		printf("#   %c:", (int)('a' + a));
		for (i = 0; i < MAX_OPS && p[a].op[i].what != END; i++)
			printf(" %s %u", names[p[a].op[i].what], p[a].op[i].word);
		printf("\n");
	}
}

static void test_random(bool lock_steps, uint32_t programs)
{
	uint64_t seed = 1;
	bool fine = true;
	uint32_t i;

	for (i = 0; i < programs && fine; i++) {
		uint32_t nr = 2 + i % 2, a;
		struct program p[3];

		for (a = 0; a < nr; a++)
			random_program(&p[a], &seed, nr == 2 ? 5 : 3);
		fine = agrees(p, nr, lock_steps, 0);
		if (!fine)
			show_program(p, nr, i);
	}
	result(fine, lock_steps ? "random programs, locks in one step" : "random programs, locks as shipped");
}

/* ---- what must be found ---- */

static bool finds(const struct program *p, uint32_t nr, bool lock_steps, const char *text)
{
	static const volatile bool never;
	struct ck_scenario s = make(p, nr, lock_steps);
	struct ck_item all = { 0 };
	static struct ck k;
	bool found;
	uint32_t i;

	for (i = 0; i < nr; i++)
		s.role[i].may_sleep = false;
	if (ck_init(&k, &s))
		return false;
	found = !ck_explore(&k, &all, &never) && k.violation.invariant == 3 && strstr(k.violation.text, text);
	if (!found)
		printf("# I%d %s\n", k.violation.invariant, k.violation.text);
	ck_free(&k);
	return found;
}

static void test_found(void)
{
	static const struct program nested = { { { LOCK, 2 }, { LOCK, 3 }, { UNLOCK, 3 }, { UNLOCK, 2 } } };
	static const struct program crossed = { { { LOCK, 3 }, { LOCK, 2 }, { UNLOCK, 2 }, { UNLOCK, 3 } } };
	static const struct program waiter = { { { WAIT, 0 } } }, waker = { { { WAKE, 0 } } };
	static const struct program spinner = { { { SPIN, 0 } } }, setter = { { { STORE, 0 } } };

	result(finds((struct program[]){ nested, crossed }, 2, false, "for ever"), "a deadlock, locks as shipped");
	result(finds((struct program[]){ nested, crossed }, 2, true, ""), "a deadlock, locks in one step");
	result(finds((struct program[]){ waiter, waker }, 2, false, "for ever"), "a lost wake-up");
	result(finds((struct program[]){ spinner, setter }, 2, false, "livelock"), "a livelock");
}

int main(int argc, char **argv)
{
	uint32_t programs = argc > 1 ? (uint32_t)atoi(argv[1]) : NR_RANDOM;

	test_known();
	test_locks(false);
	test_locks(true);
	test_random(false, programs);
	test_random(true, programs);
	test_found();
	printf("1..%u\n", number);
	return failed ? 1 : 0;
}
