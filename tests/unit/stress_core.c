// SPDX-License-Identifier: MIT
/*
 * stress_core - the engine under real threads, over the world of world.c.
 *
 *   stress_core [--seconds N] [--seed N] [--policy N] [--stuck N] [--rwp]
 *
 * Threads of a program read and write checked words, others unmap, drop and move its memory, handlers serve messages,
 * a scanner arms and a drainer takes back; with --rwp pages are armed in their places. Every access is checked
 * against what it must see; a thread that is not woken for --stuck seconds is reported; in the end all books must
 * balance. Exit status: 0 clean, 1 with a line "FAIL: ..." that names the invariant, 2 usage.
 */
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

#define NR_PROGRAM 4
#define NR_HANDLERS 3
#define NR_EVENTS 3
#define ROUND_MS 400
#define MAPPED_SLOTS 24u

struct run {
	struct world *w;
	uint64_t seed;
	struct hn_word stop_program, stop_scanner;
	struct hn_word freed;   /* the slot that was, or is just being, freed last */
	pthread_mutex_t arming; /* the drainer keeps arming off */
	uint64_t accesses, system_calls, drains;
};

struct self {
	struct run *run;
	struct worker worker;
	uint32_t nr;
	pthread_t thread;
	uint64_t rnd;
};

static struct hn_stats total;
static uint64_t total_accesses, total_calls, total_drains, total_events, total_holes, most_parts;

/* Mostly the first slots, so that threads meet. */
static hn_addr somewhere(uint64_t *rnd)
{
	uint32_t r = world_random(rnd), slots = r % 4 ? 6 : WORLD_SLOTS;

	return world_at((r >> 4) % (slots * WORLD_CELLS));
}

static void *program_thread(void *arg)
{
	struct self *me = arg;
	struct run *run = me->run;
	uint64_t version = 0, n = 0;

	while (!hn_load_relaxed(&run->stop_program)) {
		uint32_t r = world_random(&me->rnd);
		uint64_t value = r & 1 ? (++version << 8 | me->nr) : 0;

		n += world_access(run->w, somewhere(&me->rnd), (r >> 8) % WORLD_WORDS, value, me->nr);
		if (r % 16 == 2)
			sched_yield();
	}
	hn_stat_add(&run->accesses, n);
	return NULL;
}

static void one_remap(struct self *me, hn_addr from, uint64_t len)
{
	struct world *w = me->run->w;
	hn_addr to = somewhere(&me->rnd);

	if (world_random(&me->rnd) % 2) { /* the whole pages around it, to a huge-aligned place */
		from = hn_page_down(from);
		len = hn_page_up(len);
		to = world_random(&me->rnd) % 2 ? hn_page_down(to) : world_at(hn_load_relaxed(&me->run->freed) * WORLD_CELLS);
	}
	if (from + len > world_at(WORLD_SLOTS * WORLD_CELLS) || to + len > world_at(WORLD_SLOTS * WORLD_CELLS))
		return;
	/* Two ranges, so always the lower one first; a slot that both touch is claimed already. */
	if (world_slot_of(from + len - 1) >= world_slot_of(to) && world_slot_of(to + len - 1) >= world_slot_of(from))
		return;
	if (!world_claim(w, from, len, FLUX_MOVING))
		return;
	if (!world_claim(w, to, len, FLUX_MOVING)) {
		world_release(w, from, len);
		return;
	}
	if (world_is_all(w, from, len, true) && world_is_all(w, to, len, false)) { /* mremap moves nothing but a mapping */
		hn_store_relaxed(&me->run->freed, world_slot_of(from));
		world_mremap(w, from, to, len);
	} else {
		world_release(w, from, len);
	}
	world_release(w, to, len);
}

static void one_drop(struct self *me, hn_addr from, uint64_t len)
{
	struct world *w = me->run->w;

	if (world_claim(w, from, len, FLUX_DROPPING)) {
		world_dontneed(w, from, len, &me->rnd);
		world_release(w, from, len);
	}
}

/* Over what may be mapped in part: fills gaps. */
static void one_mmap(struct self *me, hn_addr from, uint64_t len, bool populate)
{
	struct world *w = me->run->w;

	if (!world_claim(w, from, len, FLUX_MOVING))
		return;
	if (world_is_at_rest(w, from, len))
		world_mmap(w, from, len, populate);
	world_release(w, from, len);
}

static void one_system_call(struct self *me)
{
	struct world *w = me->run->w;
	hn_addr from = somewhere(&me->rnd);
	uint64_t len = (1 + world_random(&me->rnd) % (2 * WORLD_CELLS)) * WORLD_CELL;
	uint32_t what = world_random(&me->rnd) % 8;

	if (world_random(&me->rnd) % 2) {
		from = hn_page_down(from);
		len = hn_page_up(len);
	}
	if (from + len > world_at(WORLD_SLOTS * WORLD_CELLS))
		return;
	if (what < 3) {
		one_drop(me, from, len);
	} else if (what < 5) {
		if (world_claim(w, from, len, FLUX_MOVING)) {
			hn_store_relaxed(&me->run->freed, world_slot_of(from));
			world_munmap(w, from, len);
			if (world_random(&me->rnd) % 8)
				one_mmap(me, from, len, world_random(&me->rnd) % 2);
			if (world_random(&me->rnd) % 2)
				one_drop(me, from, len); /* before the scanner knows it, or while it looks */
		}
	} else if (what < 7) {
		one_remap(me, from, len);
	} else {
		one_mmap(me, from, len, false);
	}
	hn_stat_add(&me->run->system_calls, 1);
}

static void *event_thread(void *arg)
{
	struct self *me = arg;

	while (!hn_load_relaxed(&me->run->stop_program)) {
		one_system_call(me);
		usleep(world_random(&me->rnd) % 5000);
	}
	return NULL;
}

static void *handler_thread(void *arg)
{
	struct self *me = arg;

	hn_serve(&me->worker.hn);
	return NULL;
}

static void *scanner_thread(void *arg)
{
	struct self *me = arg;
	struct world *w = me->run->w;
	struct hn *hn = &me->worker.hn;

	while (!hn_load_relaxed(&me->run->stop_scanner)) {
		world_discover(&me->worker, &me->rnd);
		pthread_mutex_lock(&me->run->arming);
		hn_scan_pass(hn, 1 + world_random(&me->rnd) % 12);
		pthread_mutex_unlock(&me->run->arming);
		hn_scan_expire(hn);
		if (world_random(&me->rnd) % 4 == 0) {
			hn_gate_write_lock(hn);
			hn_reclaim(hn);
			hn_gate_write_unlock(hn);
		}
		if (world_random(&me->rnd) % 32 == 0)
			hn_add_acq_rel(&w->node_phase, 1);
		world_tick(w, 10);
		hn_series_offer(&w->stats, hn_load_relaxed(&w->now_ms));
	}
	return NULL;
}

static void drain(struct worker *k)
{
	struct world *w = k->w;
	time_t limit = time(NULL) + world_stuck_seconds;

	while (hn_drain(&k->hn, 0, ~(hn_addr)0)) {
		if (time(NULL) > limit)
			world_broken("I3: draining does not come to an end");
		sched_yield();
	}
	if (hn_stat_read(&w->stats.armed_now) != 0)
		world_broken("I5: drained, but %lld pages are armed", (long long)hn_stat_read(&w->stats.armed_now));
}

static void *drain_thread(void *arg)
{
	struct self *me = arg;

	while (!hn_load_relaxed(&me->run->stop_scanner)) {
		usleep(2000 + world_random(&me->rnd) % 20000);
		pthread_mutex_lock(&me->run->arming);
		drain(&me->worker);
		pthread_mutex_unlock(&me->run->arming);
		me->run->drains++;
	}
	return NULL;
}

static void start(struct run *run, struct self *s, unsigned nr, void *(*fn)(void *))
{
	static uint32_t serial;
	unsigned i;

	for (i = 0; i < nr; i++) {
		s[i].run = run;
		s[i].nr = i;
		s[i].rnd = run->seed * 1000003u + ++serial;
		world_worker(&s[i].worker, run->w);
		if (pthread_create(&s[i].thread, NULL, fn, &s[i]) != 0)
			world_broken("no thread to be had");
	}
}

static void join(struct self *s, unsigned nr)
{
	while (nr--)
		pthread_join(s[nr].thread, NULL);
}

static void add_up(const struct run *run)
{
	const struct hn_stats *s = &run->w->stats;
	unsigned i;

	total.armed += s->armed;
	total.samples += s->samples;
	total.migrated += s->migrated;
	total.raced += s->raced;
	total.waited += s->waited;
	total.stale += s->stale;
	total.deferred += s->deferred;
	total.unmanaged += s->unmanaged;
	for (i = 0; i < HN_NR_FAILURES; i++)
		total.failed[0] += s->failed[i];
	total_accesses += run->accesses;
	total_calls += run->system_calls;
	total_drains += run->drains;
	total_events += run->w->events_noted.v;
	total_holes += run->w->holes.v;
	if (most_parts < run->w->most_parts.v)
		most_parts = run->w->most_parts.v;
}

static void one_round(uint64_t seed, uint32_t policy, bool rwp)
{
	/* Few chunks, so that they run out and are reclaimed, and fewer page ids than pages. */
	const struct hn_geometry geo = { .nr_chunks = 8, .chunk_shift = 2, .nr_pages = 12 };
	const struct hn_params par = {
		.nr_nodes = 3, .policy = policy, .seed = (uint32_t)seed, .expiry_ms = 400, .quarantine_ms = 40,
	};
	struct self program[NR_PROGRAM], handler[NR_HANDLERS], events[NR_EVENTS], scanner[1], drainer[1];
	struct run run = { .w = world_new(&geo, &par, MAPPED_SLOTS, rwp), .seed = seed };

	pthread_mutex_init(&run.arming, NULL);
	start(&run, handler, NR_HANDLERS, handler_thread);
	start(&run, scanner, 1, scanner_thread);
	start(&run, drainer, 1, drain_thread);
	start(&run, program, NR_PROGRAM, program_thread);
	start(&run, events, NR_EVENTS, event_thread);
	usleep(ROUND_MS * 1000);
	hn_store_relaxed(&run.stop_program, 1);
	join(program, NR_PROGRAM);
	join(events, NR_EVENTS);
	hn_store_relaxed(&run.stop_scanner, 1);
	join(scanner, 1);
	join(drainer, 1);
	drain(&run.w->self);
	world_leave(run.w);
	join(handler, NR_HANDLERS);
	add_up(&run);
	world_finish(run.w);
}

static void print_totals(unsigned rounds)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "accesses", total_accesses }, { "system calls", total_calls }, { "drains", total_drains },
		{ "hints", total.armed }, { "samples", total.samples }, { "migrated", total.migrated },
		{ "failed", total.failed[0] }, { "raced", total.raced }, { "waited", total.waited },
		{ "stale", total.stale }, { "deferred", total.deferred }, { "unmanaged", total.unmanaged },
		{ "events", total_events }, { "holes", total_holes }, { "parts at most", most_parts },
	};
	unsigned i;

	printf("%u rounds", rounds);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		printf(", %llu %s", (unsigned long long)rows[i].value, rows[i].name);
	putchar('\n');
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void usage(void)
{
	fprintf(stderr, "usage: stress_core [--seconds N] [--seed N] [--policy N] [--stuck N] [--rwp]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ "policy", required_argument, NULL, 'p' },
		{ "stuck", required_argument, NULL, 't' },
		{ "rwp", no_argument, NULL, 'a' },
		{ NULL, 0, NULL, 0 },
	};
	static const uint32_t policies[] = {
		HN_POLICY_ALTERNATE, HN_POLICY_RANDOM, HN_POLICY_TWO_STAGE, HN_POLICY_ALWAYS,
	};
	double seconds = 3, end;
	uint64_t seed = 0;
	int policy = -1, opt;
	unsigned round = 0;
	bool rwp = false;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 's': seconds = atof(optarg); break;
		case 'r': seed = strtoull(optarg, NULL, 0); break;
		case 't': world_stuck_seconds = atoi(optarg); break;
		case 'a': rwp = true; break;
		case 'p': policy = atoi(optarg); break;
		default: usage();
		}
	}
	if (optind != argc || seconds <= 0 || policy >= (int)HN_NR_POLICIES)
		usage();
	if (!seed)
		seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	for (end = now() + seconds; now() < end; round++)
		one_round(seed + round, policy >= 0 ? (uint32_t)policy : policies[round % 4], rwp);
	print_totals(round);
	if (!total.migrated || !total_accesses)
		world_broken("nothing was migrated: this tested nothing");
	return 0;
}
