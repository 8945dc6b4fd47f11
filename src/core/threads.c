// SPDX-License-Identifier: MIT
/*
 * threads.c - the table of threads and their groups.
 *
 * A row is looked for in PROBES neighbouring places, all of which are looked at, so that a row may be given away without
 * regard to those behind it. The numbers stand apart from the rows: the search stays within one cache line.
 */
#include "core/threads.h"

#include "core/internal.h"

#define PROBES 16u
#define MEETING 2u   /* what one is worth; halved every round ... */
#define BONDED 4u    /* ... and so much makes a member */
#define BOND_MAX 64u /* forgotten after six rounds */
#define WANDER_SAMPLES 8u /* of fewer samples nobody can say that the thread wanders */
#define IDLE_MAX 2u  /* a group is given away when it was empty so often: who has just taken it may not be in it yet */

static uint32_t peek(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static int32_t peek_node(const int32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static void poke(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static void poke_node(int32_t *p, int32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static void add(uint32_t *p) { __atomic_fetch_add(p, 1, __ATOMIC_RELAXED); }
static void halve(uint32_t *p) { poke(p, peek(p) / 2); }

static uint32_t *tids(const struct hn *hn) { return (uint32_t *)((char *)hn->core + hn->core->tid_off); }
static struct hn_thread *rows(const struct hn *hn) { return (struct hn_thread *)((char *)hn->core + hn->core->thread_off); }
static struct hn_group *groups(const struct hn *hn) { return (struct hn_group *)((char *)hn->core + hn->core->group_off); }
static uint32_t nr_rows(const struct hn *hn) { return hn->core->geo.nr_threads; }
static uint32_t nr_groups(const struct hn *hn) { return hn_nr_groups(&hn->core->geo); }

/* The first of the places of tid; a multiple of PROBES. */
static uint32_t places(const struct hn *hn, uint32_t tid)
{
	uint32_t nr = nr_rows(hn) / PROBES;

	return (uint32_t)((uint64_t)(tid * 2654435761u) * nr >> 32) * PROBES;
}

struct hn_thread *hn_thread_find(const struct hn *hn, uint32_t tid)
{
	uint32_t at, i;

	if (nr_rows(hn) < PROBES || !tid)
		return NULL;
	at = places(hn, tid);
	for (i = at; i < at + PROBES; i++)
		if (peek(&tids(hn)[i]) == tid)
			return &rows(hn)[i];
	return NULL;
}

/* Two handlers that make one for the same thread at the same time try the same place first. */
struct hn_thread *hn_thread_make(const struct hn *hn, uint32_t tid)
{
	struct hn_thread *t = hn_thread_find(hn, tid);
	uint32_t at, i;

	if (t || nr_rows(hn) < PROBES || !tid)
		return t;
	at = places(hn, tid);
	for (i = at; i < at + PROBES; i++) {
		uint32_t none = 0;

		if (!__atomic_compare_exchange_n(&tids(hn)[i], &none, tid, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
			if (none == tid)
				return &rows(hn)[i];
			continue;
		}
		t = &rows(hn)[i];
		poke_node(&t->preferred, HN_NO_NODE);
		poke_node(&t->home, HN_NO_NODE);
		poke(&t->first_ms, hn_now_ms(hn));
		poke(&t->follow, peek(&hn->core->move_threads) ? HN_FOLLOW_UNDECIDED : HN_FOLLOW_THREAD);
		return t;
	}
	return NULL;
}

/* ---- groups ---- */

const struct hn_group *hn_group_of(const struct hn *hn, uint32_t group)
{
	return group == HN_NO_GROUP || group > nr_groups(hn) ? NULL : &groups(hn)[group - 1];
}

static uint32_t members(const struct hn *hn, uint32_t group) { return peek(&hn_group_of(hn, group)->members); }

/* HN_NO_GROUP: all are taken. */
static uint32_t group_make(struct hn *hn)
{
	uint32_t i;

	for (i = 0; i < nr_groups(hn); i++) {
		uint32_t none = 0;

		if (!__atomic_compare_exchange_n(&groups(hn)[i].members, &none, 2, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			continue;
		poke(&groups(hn)[i].idle, 0);
		poke_node(&groups(hn)[i].preferred, HN_NO_NODE);
		poke_node(&groups(hn)[i].home, HN_NO_NODE);
		return i + 1;
	}
	return HN_NO_GROUP;
}

static void join(struct hn *hn, struct hn_thread *a, struct hn_thread *b)
{
	uint32_t of_a = peek(&a->group), of_b = peek(&b->group);

	if (of_a == HN_NO_GROUP && of_b == HN_NO_GROUP) {
		of_b = group_make(hn);
		poke(&a->group, of_b);
		poke(&b->group, of_b);
	} else if (of_a == HN_NO_GROUP) {
		poke(&a->group, of_b);
	} else if (of_b == HN_NO_GROUP) {
		poke(&b->group, of_a);
	} else if (members(hn, of_a) < members(hn, of_b) || (members(hn, of_a) == members(hn, of_b) && of_a > of_b)) {
		poke(&a->group, of_b);
	} else {
		poke(&b->group, of_a);
	}
}

static void meet(struct hn *hn, struct hn_thread *t, uint32_t other_tid)
{
	struct hn_thread *other = hn_thread_find(hn, other_tid);
	uint32_t bond = peek(&t->bond) + MEETING;

	if (!other || other == t)
		return;
	poke(&t->bond, bond < BOND_MAX ? bond : BOND_MAX);
	if (bond >= BONDED && (peek(&t->group) != peek(&other->group) || peek(&t->group) == HN_NO_GROUP)) {
		if (peek(&other->bond) < BONDED)
			poke(&other->bond, BONDED);
		join(hn, t, other);
	}
}

/* ---- samples ---- */

void hn_threads_note(struct hn *hn, struct hn_entry *e, int thread_nid, uint32_t tid)
{
	struct hn_thread *t;
	bool own = e->last_tid == 0 || e->last_tid == tid;

	if (!nr_rows(hn))
		return;
	t = hn_thread_make(hn, tid);
	if (!t) {
		add(&hn->core->threads_missed);
	} else {
		add(&t->samples);
		add(own ? &t->own_lately : &t->shared_lately);
		if (thread_nid >= 0 && thread_nid == e->nid)
			add(&t->local);
		if (e->nid >= 0)
			add(&t->mem[e->nid]);
		if (thread_nid >= 0)
			add(&t->cpu[thread_nid]);
		poke_node(&t->node, thread_nid);
		if (!own && e->prior_tid == (uint16_t)tid)
			meet(hn, t, e->last_tid);
	}
	e->prior_tid = (uint16_t)e->last_tid;
}

bool hn_thread_is_home(const struct hn_thread *t, int nid)
{
	return peek(&t->follow) == HN_FOLLOW_MEMORY && peek_node(&t->home) == nid;
}

bool hn_threads_hold(const struct hn *hn, uint32_t tid, int page_nid, bool shared)
{
	const struct hn_group *g;
	const struct hn_thread *t;

	if (!peek(&hn->core->move_threads))
		return false;
	t = hn_thread_make(hn, tid); /* from its first touch on */
	if (!t)
		return false;
	if (peek(&t->follow) == HN_FOLLOW_UNDECIDED)
		return true;
	if (hn_thread_is_home(t, page_nid))
		return true;
	g = shared ? hn_group_of(hn, peek(&t->group)) : NULL;
	return g && peek_node(&g->home) == page_nid;
}

/* ---- sums ---- */

int32_t hn_node_of_most(const uint32_t *count, uint32_t nr_nodes)
{
	int32_t best = HN_NO_NODE;
	uint32_t n;

	for (n = 0; n < nr_nodes; n++)
		if (peek(&count[n]) && (best == HN_NO_NODE || peek(&count[n]) > peek(&count[best])))
			best = (int32_t)n;
	return best;
}

void hn_for_each_thread(struct hn *hn, hn_thread_fn fn, void *arg)
{
	uint32_t i;

	for (i = 0; i < nr_rows(hn); i++) {
		uint32_t tid = peek(&tids(hn)[i]);

		if (tid)
			fn(arg, tid, &rows(hn)[i]);
	}
}

struct wanderers {
	const struct hn *hn;
	uint32_t nr;
};

static void count_wanderer(void *arg, uint32_t tid, struct hn_thread *t)
{
	const struct hn *hn = ((struct wanderers *)arg)->hn;
	uint32_t all = 0, top = 0, n;

	(void)tid;
	for (n = 0; n < hn->core->par.nr_nodes; n++) {
		uint32_t here = peek(&t->cpu[n]);

		all += here;
		top = here > top ? here : top;
	}
	if (all >= WANDER_SAMPLES && top * 5 < all * 4)
		((struct wanderers *)arg)->nr++;
}

uint32_t hn_threads_wandering(struct hn *hn)
{
	struct wanderers w = { .hn = hn };

	hn_for_each_thread(hn, count_wanderer, &w);
	return w.nr;
}

/* What the members of one group add up to. */
struct sum {
	struct hn *hn;
	uint32_t group, members;
	uint32_t mem[HN_MAX_NODES], cpu[HN_MAX_NODES], at_home[HN_MAX_NODES];
};

static void sum_member(void *arg, uint32_t tid, struct hn_thread *t)
{
	struct sum *s = arg;
	int32_t home = peek_node(&t->home);
	uint32_t n;

	(void)tid;
	if (peek(&t->group) != s->group)
		return;
	s->members++;
	if (peek(&t->follow) == HN_FOLLOW_MEMORY && home >= 0)
		s->at_home[home]++;
	for (n = 0; n < s->hn->core->par.nr_nodes; n++) {
		s->mem[n] += peek(&t->mem[n]);
		s->cpu[n] += peek(&t->cpu[n]);
	}
}

static void sum_group(struct hn *hn, uint32_t i)
{
	struct hn_group *g = &groups(hn)[i];
	struct sum s = { .hn = hn, .group = i + 1 };
	uint32_t n, nr_nodes = hn->core->par.nr_nodes;

	hn_for_each_thread(hn, sum_member, &s);
	poke(&g->idle, s.members ? 0 : peek(&g->idle) + 1);
	if (s.members || peek(&g->idle) >= IDLE_MAX)
		poke(&g->members, s.members);
	for (n = 0; n < nr_nodes; n++) {
		poke(&g->mem[n], s.mem[n]);
		poke(&g->cpu[n], s.cpu[n]);
	}
	poke_node(&g->preferred, hn_node_of_most(g->mem, nr_nodes));
	poke_node(&g->home, hn_node_of_most(s.at_home, nr_nodes));
}

const uint32_t *hn_thread_mem(const struct hn *hn, const struct hn_thread *t)
{
	const struct hn_group *g = hn_group_of(hn, peek(&t->group));

	return g && peek(&t->shared_lately) > peek(&t->own_lately) ? g->mem : t->mem;
}

static void prefer(void *arg, uint32_t tid, struct hn_thread *t)
{
	const struct hn *hn = arg;

	(void)tid;
	poke_node(&t->preferred, hn_node_of_most(hn_thread_mem(hn, t), hn->core->par.nr_nodes));
}

void hn_threads_sum(struct hn *hn)
{
	uint32_t i;

	for (i = 0; i < nr_groups(hn); i++)
		if (peek(&groups(hn)[i].members))
			sum_group(hn, i);
	hn_for_each_thread(hn, prefer, hn);
}

/* Only what has no samples and is nobody's home any more: the number goes last. */
static void give_row_away(struct hn *hn, uint32_t i)
{
	struct hn_thread *t = &rows(hn)[i];
	uint32_t n;

	poke(&t->samples, 0);
	poke(&t->local, 0);
	poke(&t->group, HN_NO_GROUP);
	poke(&t->left_ms, 0);
	t->wanted_ns = 0;
	t->seen_ms = 0;
	for (n = 0; n < hn->core->par.nr_nodes; n++) {
		poke(&t->mem[n], 0);
		poke(&t->cpu[n], 0);
	}
	poke(&tids(hn)[i], 0);
}

static void age_row(struct hn *hn, uint32_t i)
{
	struct hn_thread *t = &rows(hn)[i];
	uint32_t n;

	halve(&t->own_lately);
	halve(&t->shared_lately);
	halve(&t->bond);
	for (n = 0; n < hn->core->par.nr_nodes; n++) {
		halve(&t->mem[n]);
		halve(&t->cpu[n]);
	}
	if (!peek(&t->bond))
		poke(&t->group, HN_NO_GROUP);
	if (!peek(&t->own_lately) && !peek(&t->shared_lately) && !peek(&t->load) && peek(&t->follow) != HN_FOLLOW_MEMORY)
		give_row_away(hn, i);
}

void hn_threads_age(struct hn *hn)
{
	uint32_t i;

	for (i = 0; i < nr_rows(hn); i++)
		if (peek(&tids(hn)[i]))
			age_row(hn, i);
	hn_threads_sum(hn);
}

void hn_thread_decided(struct hn_thread *t, enum hn_follow follow, int home, uint32_t now_ms)
{
	poke_node(&t->home, home);
	poke(&t->first_ms, now_ms);
	poke(&t->follow, follow);
}

struct anew {
	bool on;
	uint32_t now_ms;
};

static void begin_anew(void *arg, uint32_t tid, struct hn_thread *t)
{
	const struct anew *a = arg;

	(void)tid;
	hn_thread_decided(t, a->on ? HN_FOLLOW_UNDECIDED : HN_FOLLOW_THREAD, HN_NO_NODE, a->now_ms);
}

void hn_threads_let_move(struct hn *hn, bool on, uint32_t now_ms)
{
	struct anew a = { on, now_ms };

	if ((peek(&hn->core->move_threads) != 0) == on)
		return;
	poke(&hn->core->move_threads, on);
	hn_for_each_thread(hn, begin_anew, &a);
	hn_threads_sum(hn);
}

uint32_t hn_threads_missed(const struct hn *hn) { return peek(&hn->core->threads_missed); }
