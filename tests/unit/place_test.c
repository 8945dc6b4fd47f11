// SPDX-License-Identifier: MIT
/*
 * Who goes where: the rules one by one; then programs with threads that nobody binds, over virtual time: scheduler, samples,
 * judgement and placing together, to see that they come to rest.
 */
#include "core/pace.h"
#include "core/place.h"
#include "fake.h"

#include <stdio.h>
#include <string.h>

#define STAY HN_NO_NODE
#define CPU 1000u

static void test_wants(void **state)
{
	static const struct {
		const char *what;
		uint32_t mem[3];
		int home, wants;
	} rows[] = {
		{ "nothing known", { 0, 0, 0 }, STAY, STAY },
		{ "too few samples", { 0, 15, 0 }, STAY, STAY },
		{ "enough", { 0, 16, 0 }, STAY, 1 },
		{ "not most of it", { 40, 59, 1 }, STAY, STAY },
		{ "most of it", { 40, 60, 0 }, STAY, 1 },
		{ "spread", { 33, 33, 33 }, STAY, STAY },
		{ "at home", { 100, 0, 0 }, 0, 0 },
		{ "two fifths at home", { 40, 60, 0 }, 0, 0 },
		{ "less at home", { 39, 61, 0 }, 0, 1 },
		{ "less at home, but nowhere much", { 30, 35, 35 }, 0, STAY },
		{ "at home, and quiet", { 0, 0, 0 }, 0, 0 },
		{ "at home, few samples elsewhere", { 0, 15, 0 }, 0, 0 },
	};
	uint32_t share;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int got = hn_thread_wants(rows[i].mem, 3, rows[i].home, &share);

		if (got != rows[i].wants)
			fail_msg("%s: %d", rows[i].what, got);
	}
	assert_int_equal(hn_thread_wants((uint32_t[]){ 10, 30, 0 }, 3, STAY, &share), 1);
	assert_int_equal(share, 750);
}

/* ---- the rules ---- */

#define SEATS 6u

/* A thread in three or four characters: node it runs on, what is with it, node that it samples; "z" after it: it sleeps. */
static const char *parse(const char *p, struct hn_seat *s, uint32_t *mem)
{
	int node = *p++ - '0';

	*s = (struct hn_seat){ .tid = 1, .load = CPU, .now = node, .home = STAY, .mem = mem, .goes_by = mem, .to = 77 };
	switch (*p++) {
	case '?': break;                             /* little is known */
	case '.': s->ready = true; break;            /* it is time to decide */
	case '=': s->home = node; break;             /* kept there */
	case '~': s->home = node; s->ready = true; break; /* and it is time to look at that again */
	case '!': s->fixed = s->ready = true; break; /* bound by the program */
	case '<': s->left = s->ready = true; break;  /* let go a moment ago */
	case 'a': s->group = 1; s->ready = true; break;
	case 'b': s->group = 2; s->ready = true; break;
	}
	if (*p >= '0' && *p <= '9') {
		mem[*p++ - '0'] = 20;
		s->samples = 20;
	}
	if (*p == 'z') {
		s->load = 0;
		p++;
	}
	return p + (*p == ' ');
}

static void check_plan(const char *what, const char *seats, const struct hn_room *room, uint32_t nr_nodes, const char *plan)
{
	uint32_t mem[SEATS][HN_MAX_NODES] = { 0 }, nr = 0, i;
	struct hn_seat seat[SEATS];
	char got[SEATS + 1] = "";

	while (*seats) {
		seats = parse(seats, &seat[nr], mem[nr]);
		nr++;
	}
	hn_place(seat, nr, room, nr_nodes);
	for (i = 0; i < nr; i++)
		got[i] = seat[i].to >= 0 ? (char)('0' + seat[i].to) : seat[i].wait ? '?' : '-';
	if (strcmp(got, plan) != 0)
		fail_msg("%s: %s, not %s", what, got, plan);
}

/* Two nodes with as many CPUs; pages on both. */
static void test_rules(void **state)
{
	static const struct {
		const char *what, *seats;
		uint32_t cpus, pages[2];
		const char *plan;
	} rows[] = {
		/* All of it. */
		{ "all to its memory, without a sample", "0? 1?", 2, { 9, 0 }, "00" },
		{ "sleepers are left alone", "0? 1? 1?z", 2, { 9, 0 }, "00?" },
		{ "memory on both: not before more is known", "0? 1?", 2, { 5, 4 }, "??" },
		{ "three are too many for two CPUs", "0? 1? 0?", 2, { 9, 0 }, "???" },
		{ "a new thread comes to the others", "0= 1?", 2, { 5, 4 }, "00" },
		{ "where is no room for it", "0= 0= 1?", 2, { 9, 0 }, "00?" },
		{ "one is bound: each for itself", "0! 1?", 2, { 9, 0 }, "-?" },
		{ "just let go", "0< 1?", 2, { 9, 0 }, "-0" },
		{ "nothing to do yet", "0?z 1?z", 2, { 9, 0 }, "??" },
		/* Groups. */
		{ "a group to its memory", "0a1 1a1 0b0 1b0", 2, { 9, 9 }, "1100" },
		{ "one too large is no group", "0a1 1a1 0a1", 2, { 9, 9 }, "110" },
		{ "no room for it there", "1=1 1a1 0a1", 2, { 9, 9 }, "100" },
		/* Each for itself. */
		{ "to its memory", "0.1 1.0", 1, { 9, 9 }, "10" },
		{ "busy, no room there: where it is", "0.1 1.1", 1, { 9, 9 }, "01" },
		{ "taken by one that is bound", "0.1 1!1", 1, { 9, 9 }, "0-" },
		{ "bound somewhere, wants to go", "0.1 1!0", 1, { 9, 9 }, "0-" },
		{ "two places", "0.1 1!1", 2, { 9, 9 }, "1-" },
		{ "asleep, no room there", "1.1 1.1z", 1, { 9, 9 }, "11" },
		{ "not known what it uses", "0. 1.", 2, { 5, 4 }, "--" },
		{ "who is there stays", "0.1 1=1", 1, { 9, 9 }, "01" },
		{ "kept, its memory is elsewhere", "1~0 0.0", 2, { 9, 9 }, "00" },
		{ "the same, no room", "1~0 0=0", 1, { 9, 9 }, "10" },
		{ "the same, not yet", "1=0 0=0", 2, { 9, 9 }, "10" },
		/* More than there are CPUs for. */
		{ "four on two CPUs", "0.0 0.0 1.0 1.0", 1, { 9, 0 }, "0011" },
		{ "a node without CPUs", "0.1 0.1", 0, { 0, 9 }, "--" },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hn_room room[2] = { { .cpus = rows[i].cpus * CPU, .pages = rows[i].pages[0] },
					   { .cpus = rows[i].cpus * CPU, .pages = rows[i].pages[1] } };

		check_plan(rows[i].what, rows[i].seats, room, 2, rows[i].plan);
	}
}

/* Four nodes of two CPUs, all memory on node 0, two threads on node 1 and 2; what others do decides. */
static void test_room(void **state)
{
	static const struct {
		const char *what, *seats;
		uint32_t claimed[4], senior[4], foreign[4];
		const char *avoid, *plan;
	} rows[] = {
		{ "all free", "1? 2?", { 0 }, { 0 }, { 0 }, "", "00" },
		{ "claimed", "1? 2?", { 2000 }, { 0 }, { 0 }, "", "11" },
		{ "half of it claimed", "1? 2?", { 1000 }, { 0 }, { 0 }, "", "11" },
		{ "and where they are, too", "1? 2?", { 2000, 2000, 1000 }, { 0 }, { 0 }, "", "33" },
		{ "all claimed", "1? 2?", { 2000, 2000, 1000, 2000 }, { 0 }, { 0 }, "", "??" },
		{ "used by others, and there are idle ones", "1? 2?", { 0 }, { 0 }, { 2000, 1000, 1000, 0 }, "", "33" },
		{ "all are busy: others make room", "1? 2?", { 0 }, { 0 }, { 2000, 1000, 1000, 2000 }, "", "00" },
		{ "but not those that are kept there", "1? 2?", { 2000 }, { 0 }, { 2000, 1000, 1000, 2000 }, "", "11" },
		{ "waited there before", "1? 2?", { 0 }, { 0 }, { 2000, 1000, 1000, 2000 }, "0", "11" },
		{ "but now it is idle", "1? 2?", { 0 }, { 0 }, { 0, 1000, 1000, 2000 }, "0", "00" },
		{ "kept, seniors come", "0= 0=", { 2000 }, { 2000 }, { 0 }, "", "11" },
		{ "kept, juniors come", "0= 0=", { 2000 }, { 0 }, { 0 }, "", "00" },
	};
	unsigned i, n;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hn_room room[4];

		for (n = 0; n < 4; n++)
			room[n] = (struct hn_room){ 2 * CPU, rows[i].claimed[n], rows[i].senior[n], rows[i].foreign[n],
						    n ? 0 : 9, strchr(rows[i].avoid, '0' + (int)n) != NULL };
		check_plan(rows[i].what, rows[i].seats, room, 4, rows[i].plan);
	}
}

static void test_most_to_win_first(void **state)
{
	uint32_t mem[3][HN_MAX_NODES] = { { 30, 70 }, { 10, 90 }, { 20, 80 } }, i;
	struct hn_room room[2] = { { .cpus = 2 * CPU, .pages = 5 }, { .cpus = 2 * CPU, .pages = 5 } };
	struct hn_seat seat[3];

	(void)state;
	for (i = 0; i < 3; i++)
		seat[i] = (struct hn_seat){ .tid = i + 1, .load = CPU, .samples = 100, .mem = mem[i], .goes_by = mem[i],
					    .home = STAY, .ready = true };
	hn_place(seat, 3, room, 2);
	assert_int_equal(seat[0].to, 0);
	assert_int_equal(seat[1].to, 1);
	assert_int_equal(seat[2].to, 1);
}

/* ---- over time ---- */

#define PAGES 16u
#define TICK_MS 50u
#define LOOK_MS 500u
#define SETTLE_MS 10000u
#define MAX_PROGRAMS 4u
#define MAX_CPUS 8u
#define MAX_THREADS 4u
#define TID(i) ((i) + 1)

static const struct hn_geometry geometry = { .nr_chunks = 4, .chunk_shift = 3, .nr_pages = 16, .nr_threads = 32 };
static const struct hn_pace_params pace_params = { .start_ms = 1000, .min_ms = 250, .max_ms = 60000, .window_pages = 128 };

struct program {
	struct fake *f;
	struct hn_pace pace;
	unsigned nr_threads, cpu[MAX_THREADS];
	int home[MAX_THREADS];
	uint32_t claim[HN_MAX_NODES];
};

/* As many threads as CPUs, or twice as many; none sleeps. */
struct machine {
	unsigned nr_nodes, cpus, nr_programs, per_cpu; /* cpus: of a node */
	bool place, own;  /* own: each thread has pages for itself; else all use all */
	uint32_t seed;
	struct program program[MAX_PROGRAMS];
};

static uint32_t draw(struct machine *m, uint32_t below)
{
	m->seed = m->seed * 1664525u + 1013904223u;
	return (m->seed >> 16) % below;
}

static int node_of_cpu(const struct machine *m, unsigned cpu) { return (int)(cpu / m->cpus); }

static void put_on(struct machine *m, struct program *p, unsigned thread, unsigned cpu)
{
	p->cpu[thread] = cpu;
	p->f->thread_nid[TID(thread)] = node_of_cpu(m, cpu);
}

static bool may_run(const struct machine *m, const struct program *p, unsigned thread, unsigned cpu)
{
	return p->home[thread] < 0 || p->home[thread] == node_of_cpu(m, cpu);
}

/* The thread takes the place of another that may take its. */
static void exchange(struct machine *m, struct program *p, unsigned thread, unsigned cpu)
{
	unsigned i, k, from = p->cpu[thread];

	for (i = 0; i < m->nr_programs; i++)
		for (k = 0; k < m->program[i].nr_threads; k++) {
			struct program *q = &m->program[i];

			if (q->cpu[k] != cpu || (q == p && k == thread))
				continue;
			if (!may_run(m, q, k, from) && may_run(m, q, k, cpu))
				continue;
			put_on(m, q, k, from);
			put_on(m, p, thread, cpu);
			return;
		}
}

/* As a scheduler does that balances load and nothing else: who is where he must not be goes, and now and then two change places. */
static void schedule(struct machine *m)
{
	unsigned i, k, nr = m->nr_nodes * m->cpus;

	for (i = 0; i < m->nr_programs; i++)
		for (k = 0; k < m->program[i].nr_threads; k++) {
			struct program *p = &m->program[i];
			unsigned cpu = draw(m, nr);

			if (!may_run(m, p, k, p->cpu[k])) {
				unsigned n;

				for (n = 0; n < m->cpus && !may_run(m, p, k, p->cpu[k]); n++)
					exchange(m, p, k, (unsigned)p->home[k] * m->cpus + n);
			} else if (draw(m, 10) == 0 && may_run(m, p, k, cpu)) {
				exchange(m, p, k, cpu);
			}
		}
}

static void use_pages(struct machine *m, struct program *p)
{
	unsigned slot;

	for (slot = 0; slot < PAGES; slot++) {
		unsigned thread = m->own ? slot * p->nr_threads / PAGES : draw(m, p->nr_threads);

		if (fake_entry(p->f, slot)->state == HN_ARMED)
			fake_fault(p->f, slot, TID(thread));
	}
}

/* As the agent's scanner goes about it (scanner.c). */
static void scan(struct machine *m, struct program *p)
{
	struct hn *hn = &p->f->hn;
	uint64_t confirmed = p->f->stats.migrated - p->f->stats.migrated_for[HN_REASON_FIRST];
	uint32_t questions = hn_scan_questions(hn) - (uint32_t)p->f->stats.refused[HN_REFUSE_THREAD];
	struct hn_pace_plan plan = hn_pace_plan(&p->pace, &pace_params, PAGES, questions, confirmed, hn_now_ms(hn));

	plan.fresh = hn_scan_open(hn, HN_ASK_NEW, plan.fresh);
	plan.open = hn_scan_open(hn, HN_ASK_OPEN, plan.open);
	plan.rather_open = hn_scan_open(hn, HN_ASK_OPEN, plan.any < plan.rather_open ? plan.any : plan.rather_open);
	plan.any = plan.rather_open + hn_scan_pass(hn, plan.any - plan.rather_open);
	plan.old = hn_scan_old(hn, plan.since_ms, plan.old);
	hn_pace_done(&p->pace, &plan);
	use_pages(m, p);
}

static void describe(const struct machine *m, struct program *p, struct hn_room *room, struct hn_seat *seat)
{
	unsigned i, n, slot;

	for (n = 0; n < m->nr_nodes; n++) {
		room[n] = (struct hn_room){ .cpus = m->cpus * CPU, .foreign = m->cpus * CPU };
		for (i = 0; i < m->nr_programs; i++)
			if (&m->program[i] != p)
				room[n].claimed += m->program[i].claim[n];
	}
	for (slot = 0; slot < PAGES; slot++)
		room[fake_entry(p->f, slot)->nid].pages++;
	for (i = 0; i < p->nr_threads; i++) {
		struct hn_thread *t = hn_thread_make(&p->f->hn, TID(i));
		uint32_t since = hn_now_ms(&p->f->hn) - t->first_ms, lately = t->own_lately + t->shared_lately;

		seat[i] = (struct hn_seat){
			.tid = TID(i), .group = t->group, .load = CPU, .samples = lately, .mem = t->mem,
			.goes_by = hn_thread_mem(&p->f->hn, t), .now = node_of_cpu(m, p->cpu[i]), .home = p->home[i],
			.ready = t->follow == HN_FOLLOW_UNDECIDED ? lately >= HN_WANT_SAMPLES || since >= 3000 : since >= 60000,
		};
		if (room[seat[i].now].foreign >= CPU)
			room[seat[i].now].foreign -= CPU;
	}
}

/* As the agent does (seats.c). */
static void place(struct machine *m, struct program *p)
{
	unsigned moved = 0;
	struct hn_room room[HN_MAX_NODES];
	struct hn_seat seat[MAX_THREADS];
	unsigned i;

	hn_threads_sum(&p->f->hn);
	describe(m, p, room, seat);
	hn_place(seat, p->nr_threads, room, m->nr_nodes);
	memset(p->claim, 0, sizeof(p->claim));
	for (i = 0; i < p->nr_threads; i++) {
		struct hn_thread *t = hn_thread_find(&p->f->hn, TID(i));

		moved += seat[i].to >= 0 && seat[i].to != p->home[i];
		p->home[i] = t->home = seat[i].to;
		if (seat[i].to >= 0)
			p->claim[seat[i].to] += CPU;
		if (seat[i].to >= 0 || !seat[i].wait)
			t->follow = seat[i].to >= 0 ? HN_FOLLOW_MEMORY : HN_FOLLOW_THREAD;
	}
	if (moved) {
		schedule(m);
		hn_pace_stir(&p->pace, PAGES);
	}
}

static void run(struct machine *m, uint32_t ms)
{
	uint32_t at;
	unsigned i;

	for (at = 0; at < ms; at += TICK_MS) {
		schedule(m);
		for (i = 0; i < m->nr_programs; i++) {
			struct program *p = &m->program[i];

			if (m->place && p->f->now_ns / 1000000 % LOOK_MS < TICK_MS)
				place(m, p);
			scan(m, p);
			fake_ms(p->f, TICK_MS);
			if (p->f->now_ns / 1000000 % 8000 < TICK_MS) {
				hn_policy_age(&p->f->hn);
				hn_threads_age(&p->f->hn);
			}
		}
	}
}

static void start(struct machine *m)
{
	struct hn_params par = fake_params;
	unsigned i, k, cpu = 0;

	par.policy = HN_POLICY_AUTOMATIC;
	par.settle_ms = 60000;
	par.nr_nodes = m->nr_nodes;
	for (i = 0; i < m->nr_programs; i++) {
		struct program *p = &m->program[i];

		p->f = fake_new_with(&geometry, &par);
		fake_manage(p->f, 0, PAGES, 0);
		hn_threads_let_move(&p->f->hn, m->place, hn_now_ms(&p->f->hn));
		hn_pace_start(&p->pace, &pace_params, hn_now_ms(&p->f->hn));
		p->nr_threads = m->nr_nodes * m->cpus * m->per_cpu / m->nr_programs;
		for (k = 0; k < p->nr_threads; k++) {
			p->home[k] = STAY;
			/* Next to one another are threads of different programs. */
			put_on(m, p, k, (i + k * m->nr_programs + cpu++ / 2) % (m->nr_nodes * m->cpus));
		}
	}
}

static uint64_t migrations(const struct machine *m)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < m->nr_programs; i++)
		sum += m->program[i].f->stats.migrated;
	return sum;
}

/* Pages on the node of (one of) their users, per cent. */
static unsigned local(const struct machine *m)
{
	unsigned i, k, slot, sum = 0;

	for (i = 0; i < m->nr_programs; i++)
		for (slot = 0; slot < PAGES; slot++) {
			const struct program *p = &m->program[i];
			bool here = false;

			for (k = 0; k < p->nr_threads; k++)
				if (!m->own || k == slot * p->nr_threads / PAGES)
					here |= node_of_cpu(m, p->cpu[k]) == fake_entry(p->f, slot)->nid;
			sum += here;
		}
	return sum * 100 / (m->nr_programs * PAGES);
}

static void end(struct machine *m)
{
	unsigned i;

	for (i = 0; i < m->nr_programs; i++)
		fake_free(m->program[i].f);
}

struct life {
	unsigned early, local, later; /* migrations in the first SETTLE_MS; local then, per cent; migrations in 10 minutes after that */
};

static struct life live(struct machine m)
{
	struct life l;

	start(&m);
	run(&m, SETTLE_MS);
	l.early = (unsigned)migrations(&m);
	l.local = local(&m);
	run(&m, 600000);
	l.later = (unsigned)migrations(&m) - l.early;
	assert_true(local(&m) >= l.local || !m.place);
	end(&m);
	return l;
}

static const struct {
	const char *what;
	struct machine m;
} lives[] = {
	{ "two programs of two threads, two nodes", { .nr_nodes = 2, .cpus = 2, .nr_programs = 2, .per_cpu = 1 } },
	{ "four programs of two threads, four nodes", { .nr_nodes = 4, .cpus = 2, .nr_programs = 4, .per_cpu = 1 } },
	{ "one program, four threads with memory of their own, two nodes",
	  { .nr_nodes = 2, .cpus = 2, .nr_programs = 1, .per_cpu = 1, .own = true } },
	{ "one program, twice as many threads as CPUs, memory of their own, two nodes",
	  { .nr_nodes = 2, .cpus = 1, .nr_programs = 1, .per_cpu = 2, .own = true } },
};

/* All pages are local soon, and what migrates in ten minutes after that is less than one a minute. */
static void test_unbound_threads_come_to_rest(void **state)
{
	unsigned i, seed;

	(void)state;
	for (i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
		for (seed = 1; seed <= 10; seed++) {
			struct machine m = lives[i].m;
			struct life l;

			m.place = true;
			m.seed = seed;
			l = live(m);
			if (l.local < 95 || l.later >= 10)
				fail_msg("%s, seed %u: %u %% local after 10 s and %u migrations, then %u in 10 minutes",
					 lives[i].what, seed, l.local, l.early, l.later);
		}
}

/* What they would do otherwise: that the test above can fail. */
static void test_left_alone_they_do_not(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		struct machine m = lives[i].m;
		struct life l;

		m.seed = 1;
		l = live(m);
		print_message("# %s, left alone: %u %% local after 10 s, then %u migrations in 10 minutes\n", lives[i].what,
			      l.local, l.later);
		assert_true(l.later > 30);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wants),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_most_to_win_first),
		cmocka_unit_test(test_unbound_threads_come_to_rest),
		cmocka_unit_test(test_left_alone_they_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
