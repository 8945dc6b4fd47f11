// SPDX-License-Identifier: MIT
#include "core/place.h"

#include "core/threads.h"

#define SLACK 100u /* loads are measured over a moment, and a little too much does no harm */
#define ALL (~0u)  /* as a group: the whole program */
#define BY_MEMORY 2u /* a node's share of the memory counts so much more than its share of the threads */

struct plan {
	struct hn_seat *seat;
	const struct hn_room *room;
	uint32_t nr, nr_nodes;
	uint64_t cap[HN_MAX_NODES], taken[HN_MAX_NODES];
};

static uint32_t peek(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }

int hn_thread_wants(const uint32_t *mem, uint32_t nr_nodes, int home, uint32_t *share)
{
	int best = hn_node_of_most(mem, nr_nodes);
	uint64_t total = 0, at_home = home >= 0 ? peek(&mem[home]) : 0;
	uint32_t n;

	*share = 0;
	for (n = 0; n < nr_nodes; n++)
		total += peek(&mem[n]);
	if (best < 0)
		return home;
	if (home >= 0 && (total < HN_WANT_SAMPLES || at_home * 1000 >= total * HN_KEEP_SHARE))
		best = home;
	*share = total ? (uint32_t)(peek(&mem[best]) * 1000ull / total) : 0;
	if (best == home)
		return home;
	return total >= HN_WANT_SAMPLES && *share >= HN_WANT_SHARE ? best : HN_NO_NODE;
}

/* ---- room ---- */

/*
 * What others use that nobody keeps there can be sent away by the kernel, to where our threads leave: with `strict` it counts all
 * the same. But it was not, where ours had to wait.
 */
static bool has_room(const struct plan *p, int node, uint64_t load, bool strict)
{
	const struct hn_room *r = &p->room[node];
	uint32_t others = strict && r->foreign > r->claimed ? r->foreign : r->claimed;

	return r->cpus && (strict || !r->avoid) && p->taken[node] + others + load <= p->cap[node] + SLACK;
}

/* Where a program wants more CPUs than there are, it does so on all nodes alike. */
static void find_caps(struct plan *p)
{
	uint64_t load = 0, cpus = 0;
	uint32_t i, n;

	for (i = 0; i < p->nr; i++)
		load += p->seat[i].load;
	for (n = 0; n < p->nr_nodes; n++)
		cpus += p->room[n].cpus;
	for (n = 0; n < p->nr_nodes; n++)
		p->cap[n] = cpus && load > cpus ? p->room[n].cpus * load / cpus : p->room[n].cpus;
}

static void put(struct plan *p, struct hn_seat *s, int node)
{
	s->to = node;
	s->wait = false;
	p->taken[node] += s->load;
}

/* Not bound, not put anywhere yet. */
static bool is_open(const struct hn_seat *s) { return !s->fixed && !s->left && s->to == HN_NO_NODE; }
static bool runs(const struct hn_seat *s) { return s->load >= HN_ASLEEP || s->samples; }

/* ---- who is somewhere already ---- */

static bool stays(const struct plan *p, const struct hn_seat *s)
{
	uint32_t share;

	if (p->taken[s->home] + p->room[s->home].senior + s->load > p->cap[s->home] + SLACK)
		return false;
	return !s->ready || hn_thread_wants(s->goes_by, p->nr_nodes, s->home, &share) == s->home;
}

static void begin(struct plan *p)
{
	uint32_t i;

	for (i = 0; i < p->nr; i++) {
		struct hn_seat *s = &p->seat[i];

		s->to = HN_NO_NODE;
		s->wait = false;
		if (s->now >= (int)p->nr_nodes)
			s->now = HN_NO_NODE;
		if (s->home >= (int)p->nr_nodes)
			s->home = HN_NO_NODE;
		if (s->fixed && s->now >= 0)
			p->taken[s->now] += s->load;
	}
	for (i = 0; i < p->nr; i++) {
		struct hn_seat *s = &p->seat[i];

		if (!s->fixed && s->home >= 0 && stays(p, s))
			put(p, s, s->home);
	}
}

/* ---- several at once ---- */

struct unit {
	uint32_t group; /* or ALL */
	uint32_t open;  /* threads to be placed ... */
	uint64_t load;  /* ... and what they want */
	bool fixed, ready;
	int home;       /* of those that have one; HN_NO_NODE: none has */
	bool apart;     /* they have several */
	uint64_t mem[HN_MAX_NODES], here[HN_MAX_NODES]; /* by node: its memory, and what it wants of CPUs */
};

static bool is_in(const struct unit *u, const struct hn_seat *s) { return runs(s) && (u->group == ALL || s->group == u->group); }

static void add_open(struct unit *u, const struct hn_seat *s)
{
	u->open++;
	u->load += s->load;
	u->ready |= s->ready;
	if (s->now >= 0)
		u->here[s->now] += s->load;
}

static void look(const struct plan *p, struct unit *u)
{
	uint32_t i, n;

	for (i = 0; i < p->nr; i++) {
		const struct hn_seat *s = &p->seat[i];

		if (!is_in(u, s))
			continue;
		if (is_open(s)) {
			add_open(u, s);
		} else if (s->fixed) {
			u->fixed = true;
		} else if (s->to >= 0) {
			u->apart |= u->home >= 0 && u->home != s->to;
			u->home = s->to;
		}
		for (n = 0; n < p->nr_nodes && u->group != ALL; n++)
			u->mem[n] += peek(&s->mem[n]);
	}
	for (n = 0; n < p->nr_nodes && u->group == ALL; n++)
		u->mem[n] = p->room[n].pages;
}

static uint64_t permille(const uint64_t *part, uint32_t node, uint32_t nr_nodes)
{
	uint64_t total = 0;
	uint32_t n;

	for (n = 0; n < nr_nodes; n++)
		total += part[n];
	return total ? part[node] * 1000 / total : 0;
}

static int best_node(const struct plan *p, const struct unit *u, bool strict)
{
	uint64_t most_points = 0;
	int best = HN_NO_NODE;
	uint32_t n;

	for (n = 0; n < p->nr_nodes; n++) {
		uint64_t points = BY_MEMORY * permille(u->mem, n, p->nr_nodes) + permille(u->here, n, p->nr_nodes);

		if (has_room(p, (int)n, u->load, strict) && (best < 0 || points > most_points)) {
			best = (int)n;
			most_points = points;
		}
	}
	return best;
}

static bool fits(const struct plan *p, int node, uint64_t load)
{
	return has_room(p, node, load, true) || has_room(p, node, load, false);
}

static int node_for(const struct plan *p, const struct unit *u)
{
	int node;

	if (u->apart)
		return HN_NO_NODE;
	if (u->home >= 0)
		return fits(p, u->home, u->load) ? u->home : HN_NO_NODE;
	node = best_node(p, u, true);
	return node >= 0 ? node : best_node(p, u, false);
}

static void put_unit(struct plan *p, const struct unit *u)
{
	int node = node_for(p, u);
	uint32_t i;

	for (i = 0; i < p->nr && node >= 0; i++)
		if (is_in(u, &p->seat[i]) && is_open(&p->seat[i]))
			put(p, &p->seat[i], node);
}

/* Memory in one place says that it was never placed, and where all of it is to go one sample for each page is enough. */
static void place_all(struct plan *p)
{
	struct unit u = { .group = ALL, .home = HN_NO_NODE };
	uint64_t top = 0;
	uint32_t n;

	look(p, &u);
	for (n = 0; n < p->nr_nodes; n++)
		if (permille(u.mem, n, p->nr_nodes) > top)
			top = permille(u.mem, n, p->nr_nodes);
	if (u.open && !u.fixed && (u.home >= 0 || (u.load >= HN_AT_WORK && top >= HN_WANT_SHARE)))
		put_unit(p, &u);
}

static void place_groups(struct plan *p)
{
	uint64_t seen = 0;
	uint32_t i;

	for (i = 0; i < p->nr; i++) {
		struct unit u = { .group = p->seat[i].group, .home = HN_NO_NODE };

		if (u.group == HN_NO_GROUP || u.group > HN_MAX_GROUPS || (seen >> (u.group - 1) & 1) || !is_open(&p->seat[i]))
			continue;
		seen |= (uint64_t)1 << (u.group - 1);
		look(p, &u);
		if (u.ready && !u.fixed)
			put_unit(p, &u);
	}
}

/* ---- one by one ---- */

/* The one with most to win of those whose memory is where there is room. */
static struct hn_seat *next_seat(const struct plan *p, int *to)
{
	struct hn_seat *best = NULL;
	uint32_t i, best_share = 0;

	for (i = 0; i < p->nr; i++) {
		struct hn_seat *s = &p->seat[i];
		uint32_t share;
		int node;

		if (!is_open(s) || !s->ready || !runs(s))
			continue;
		node = hn_thread_wants(s->goes_by, p->nr_nodes, s->home, &share);
		if (node < 0 || !fits(p, node, s->load))
			continue;
		if (!best || share > best_share || (share == best_share && s->now == node && best->now != *to)) {
			best = s;
			best_share = share;
			*to = node;
		}
	}
	return best;
}

/* Where it is; else where there is most room. */
static int resting_place(const struct plan *p, const struct hn_seat *s)
{
	int best = HN_NO_NODE, n;

	if (s->now >= 0 && fits(p, s->now, s->load))
		return s->now;
	for (n = 0; n < (int)p->nr_nodes; n++)
		if (fits(p, n, s->load) &&
		    (best < 0 || p->cap[n] + p->taken[best] > p->cap[best] + p->taken[n]))
			best = n;
	return best;
}

static void place_each(struct plan *p)
{
	struct hn_seat *s;
	uint32_t i;
	int to = HN_NO_NODE;

	while ((s = next_seat(p, &to)) != NULL)
		put(p, s, to);
	for (i = 0; i < p->nr; i++) {
		s = &p->seat[i];
		if (!is_open(s))
			continue;
		s->wait = !s->ready;
		if (!s->ready || s->load < HN_BUSY || !s->samples)
			continue;
		to = resting_place(p, s);
		if (to >= 0)
			put(p, s, to);
	}
}

void hn_place(struct hn_seat *seat, uint32_t nr, const struct hn_room *room, uint32_t nr_nodes)
{
	struct plan p = { .seat = seat, .room = room, .nr = nr, .nr_nodes = nr_nodes };

	find_caps(&p);
	begin(&p);
	place_all(&p);
	place_groups(&p);
	place_each(&p);
}
