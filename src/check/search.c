// SPDX-License-Identifier: MIT
/*
 * search.c - one scenario, cut into items that worker threads take in order.
 *
 * How it is cut does not depend on the number of threads, and neither does the result: counts are kept for each item, and
 * when items violate something the lowest one's violation is the result. Items below it are finished, those above are
 * given up and not counted.
 */
#include "check/search.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Enough items for many threads to end at about the same time, and no deeper than pays. */
#define ENOUGH_ITEMS 64u
#define DEPTH_STEP 2u
#define MAX_DEPTH 32u

#define PROGRESS_NS 200000000

struct search {
	const struct ck_scenario *scenario;
	const struct ck_options *o;
	const struct ck_item *item;
	uint32_t nr;
	double start;
	struct ck_count *count; /* of each item */

	pthread_mutex_t lock; /* what follows */
	pthread_cond_t changed;
	uint32_t next, lowest; /* the next item to take; the lowest that violates something */
	uint32_t done, working;
	bool late;
	struct ck_violation violation; /* of `lowest` */
};

struct worker {
	struct search *search;
	struct ck k;
	bool able; /* had the memory it needs */
	uint32_t item; /* search->lock */
	volatile bool stop;
	pthread_t thread;
};

double ck_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void add_counts(struct ck_count *to, const struct ck_count *from)
{
	to->explored += from->explored;
	to->blocked += from->blocked;
	to->bounded += from->bounded;
	to->steps += from->steps;
	if (to->longest < from->longest)
		to->longest = from->longest;
}

/* ---- workers ---- */

static bool take_item(struct worker *w)
{
	struct search *s = w->search;
	bool got;

	pthread_mutex_lock(&s->lock);
	got = s->next < s->nr && s->next < s->lowest && !s->late;
	if (got)
		w->item = s->next++;
	pthread_mutex_unlock(&s->lock);
	return got;
}

static void item_ended(struct worker *w, bool violated)
{
	struct search *s = w->search;

	pthread_mutex_lock(&s->lock);
	s->count[w->item] = w->k.count;
	s->done++;
	if (violated && w->item < s->lowest) {
		s->lowest = w->item;
		s->violation = w->k.violation;
		pthread_cond_signal(&s->changed); /* the others are to be stopped */
	}
	pthread_mutex_unlock(&s->lock);
}

static void explore_items(struct worker *w)
{
	while (take_item(w)) {
		bool holds;

		memset(&w->k.count, 0, sizeof(w->k.count));
		holds = ck_explore(&w->k, &w->search->item[w->item], &w->stop);
		item_ended(w, !holds);
	}
}

/*
 * The explorer is made by the thread that runs it: compilers take it for granted that a function ends in the thread it
 * began in, and keep addresses of thread-local variables in the stacks of fibers.
 */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct search *s = w->search;

	w->able = ck_init(&w->k, s->scenario) == 0;
	w->k.bound = s->o->bound;
	if (w->able)
		explore_items(w);
	ck_free(&w->k);
	pthread_mutex_lock(&s->lock);
	s->working--;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- the main thread meanwhile ---- */

/* Counts of unfinished items are read while they change: for the eye only. */
static void show_progress(const struct search *s, const struct worker *w, uint32_t nr)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < s->nr; i++)
		n += s->count[i].explored;
	for (i = 0; i < nr; i++)
		n += __atomic_load_n(&w[i].k.count.explored, __ATOMIC_RELAXED);
	fprintf(stderr, "\r%-30s %3u/%u parts, %llu explored\033[K", s->scenario->name, s->done, s->nr, (unsigned long long)n);
	fflush(stderr);
}

/* Stop who works in vain: above a violation, or when time is up. Lock held. */
static void stop_some(struct search *s, struct worker *w, uint32_t nr)
{
	uint32_t i;

	if (s->o->seconds > 0 && ck_seconds() - s->start > s->o->seconds)
		s->late = true;
	for (i = 0; i < nr; i++)
		if (s->late || w[i].item > s->lowest)
			w[i].stop = true;
}

static void supervise(struct search *s, struct worker *w, uint32_t nr)
{
	bool shown = false;
	int late;

	pthread_mutex_lock(&s->lock);
	while (s->working) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += PROGRESS_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		late = pthread_cond_timedwait(&s->changed, &s->lock, &until);
		stop_some(s, w, nr);
		if (!late || !s->o->progress)
			continue;
		show_progress(s, w, nr);
		shown = true;
	}
	pthread_mutex_unlock(&s->lock);
	if (shown)
		fprintf(stderr, "\r\033[K");
}

/* ---- putting it together ---- */

/* A worker that cannot be had leaves its share to the others; without any there is no result. */
static uint32_t start_workers(struct search *s, struct worker *w)
{
	uint32_t n, wanted = s->o->threads < s->nr ? s->o->threads : s->nr;

	pthread_mutex_lock(&s->lock);
	for (n = 0; n < wanted; n++) {
		w[n].search = s;
		if (pthread_create(&w[n].thread, NULL, work, &w[n]) != 0)
			break;
		s->working++;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

static enum ck_verdict run_workers(struct search *s)
{
	struct worker *w = calloc(s->o->threads, sizeof(*w));
	uint32_t i, nr = 0;
	bool able = false;

	if (w)
		nr = start_workers(s, w);
	supervise(s, w, nr);
	for (i = 0; i < nr; i++) {
		pthread_join(w[i].thread, NULL);
		able = able || w[i].able;
	}
	free(w);
	if (s->lowest < s->nr)
		return CK_VIOLATED;
	return !able ? CK_FAILED : s->late ? CK_UNFINISHED : CK_HOLDS;
}

/* Deeper and deeper, until there are enough. 0: no memory. */
static uint32_t cut(struct ck *k, struct ck_item **item)
{
	uint32_t depth = 0, nr;

	*item = NULL;
	do {
		free(*item);
		nr = ck_split(k, depth, item);
		depth += DEPTH_STEP;
	} while (nr && nr < ENOUGH_ITEMS && depth <= MAX_DEPTH);
	return nr;
}

static void search(struct ck *k, const struct ck_options *o, struct ck_result *r)
{
	struct search s = { .scenario = k->scenario, .o = o, .start = ck_seconds(), .lowest = UINT32_MAX };
	struct ck_item *item;
	uint32_t i;

	s.nr = cut(k, &item);
	s.item = item;
	s.count = calloc(s.nr ? s.nr : 1, sizeof(*s.count));
	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.changed, NULL);
	if (s.nr && s.count)
		r->verdict = run_workers(&s);
	for (i = 0; i < s.nr && i <= s.lowest; i++)
		add_counts(&r->count, &s.count[i]);
	if (r->verdict == CK_VIOLATED)
		r->violation = s.violation;
	r->items = s.nr;
	pthread_cond_destroy(&s.changed);
	pthread_mutex_destroy(&s.lock);
	free(s.count);
	free(item);
}

void ck_search(const struct ck_scenario *scenario, const struct ck_options *o, struct ck_result *r)
{
	struct ck *k = calloc(1, sizeof(*k));
	double start = ck_seconds();

	memset(r, 0, sizeof(*r));
	r->verdict = CK_FAILED;
	if (k && ck_init(k, scenario) == 0) {
		k->bound = o->bound;
		search(k, o, r);
		if (r->verdict == CK_VIOLATED)
			r->preemptions = ck_simplify(k, &r->violation);
	}
	if (k)
		ck_free(k);
	free(k);
	r->seconds = ck_seconds() - start;
}
