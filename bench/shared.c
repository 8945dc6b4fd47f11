// SPDX-License-Identifier: MIT
/*
 * shared.c - how often does a page move that several nodes share on purpose? The engine's own judgement, over virtual time:
 * an hour of one sample a second for each of many pages; and the same where a sample that leaves a question is followed by
 * another after 50 ms, as the scanner does it, and samples are a second or ten seconds apart else.
 *
 *   bench-shared [--pages N] [--period-ms N]
 *
 * A line of JSON for each pattern and policy: migrations of a page in the hour, on average and of the worst page; of the worst
 * page in its first minute, when it has yet to show that it is shared; in the worst minute after that (3: or more); of a
 * thousand minutes of all pages those with more than one; and the share of samples that were local. Exit status 1 when the default policy moves any page more than 60 times in the hour, or
 * does not follow one that changes hands every five seconds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/history.h"
#include "core/policy.h"

#define HOUR_MS 3600000u
#define MINUTE_MS 60000u
#define LEARNING_MS 60000u /* that it is shared shows after some samples only */

static const struct hn_placing place = { .nr_nodes = 4, .allowed = ~0ull, .settle_ms = 60000 };

struct page {
	uint64_t history;
	int nid;
	bool moved;
	struct hn_tenure tenure;
	uint32_t moved_ms, last_tid;
	unsigned migrations, worst_minute, learning, local, samples;
	bool open;
	uint32_t minute, in_minute, busy; /* migrations in the present minute; minutes with more than one */
	uint32_t recent[2]; /* when the last two migrations were, plus one; 0: none */
};

static uint32_t draw(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 24; /* the low bits of this kind of generator go round in short circles */
}

/* As fault.c and policy.c do it: judge, then record. */
static void sample(struct page *p, const struct hn_policy *policy, int thread_nid, uint32_t tid, uint32_t now_ms)
{
	uint64_t history = hn_history_push(p->history, thread_nid, p->last_tid == tid);
	struct hn_tenure tenure = hn_tenure_sample(p->tenure, history, now_ms);
	struct hn_judge j = {
		.place = &place, .page_nid = p->nid, .thread_nid = thread_nid, .history = p->history,
		.same_thread = p->last_tid == tid, .moved = p->moved, .moved_ms_ago = now_ms - p->moved_ms,
		.tenure = tenure, .tenure_ms = hn_tenure_ms(tenure, now_ms),
	};
	struct hn_ruling r = { .target_nid = HN_NO_NODE };

	p->samples++;
	p->local += thread_nid == p->nid;
	if (thread_nid != p->nid)
		policy->judge(&j, &r);
	p->history = history;
	p->last_tid = tid;
	p->open = thread_nid != p->nid && !hn_tenure_is_known(tenure);
	p->tenure = tenure;
	if (r.target_nid == HN_NO_NODE) {
		return;
	}
	p->nid = r.target_nid;
	p->open = p->nid != thread_nid;
	p->moved = true;
	p->moved_ms = now_ms;
	p->migrations++;
	if (p->minute != now_ms / MINUTE_MS) {
		p->minute = now_ms / MINUTE_MS;
		p->in_minute = 0;
	}
	p->busy += ++p->in_minute == 2;
	if (now_ms < LEARNING_MS) {
		p->learning++;
		return;
	}
	/* Three in a minute are two too many as much as two are one. */
	if (p->recent[1] && now_ms + 1 - p->recent[1] < MINUTE_MS)
		p->worst_minute = p->recent[0] && now_ms + 1 - p->recent[0] < MINUTE_MS ? 3 : p->worst_minute > 2 ? p->worst_minute : 2;
	else if (!p->worst_minute)
		p->worst_minute = 1;
	p->recent[0] = p->recent[1];
	p->recent[1] = now_ms + 1;
}

struct pattern {
	const char *name;
	unsigned nodes;
	uint32_t turn_ms; /* how long each node has it, then the next; 0: at random */
	bool follow;      /* right is to follow, not to leave it */
};

static const struct pattern patterns[] = {
	{ "random, 2 nodes", 2, 0, false },  { "random, 3 nodes", 3, 0, false },
	{ "random, 4 nodes", 4, 0, false },  { "turns of 0.1 s", 2, 100, false },
	{ "turns of 0.5 s", 2, 500, false }, { "turns of 1 s", 2, 1000, false },
	{ "turns of 2 s", 2, 2000, false },  { "turns of 4 s", 2, 4000, true },
	{ "turns of 5 s", 2, 5000, true },   { "turns of 5 s, 4 nodes", 4, 5000, true },
	{ "turns of 60 s", 2, 60000, true },
};

/* When samples are taken. */
struct sampling {
	const char *name;
	uint32_t watch_ms, question_ms; /* 0: questions are not asked */
};

struct sum {
	uint64_t migrations, local, samples, busy;
	unsigned worst, minute, learning;
};

static unsigned most(unsigned a, unsigned b) { return a > b ? a : b; }

static void an_hour(const struct pattern *pt, const struct hn_policy *policy, const struct sampling *how, unsigned number,
		    struct sum *sum)
{
	struct page p = { .nid = 0 };
	uint32_t seed = number * 7 + pt->nodes, ms = number * 37 % how->watch_ms;

	while (ms < HOUR_MS) {
		int nid = (int)(pt->turn_ms ? ms / pt->turn_ms % pt->nodes : draw(&seed) % pt->nodes);

		sample(&p, policy, nid, (uint32_t)nid + 1, ms);
		ms += p.open && how->question_ms ? how->question_ms : how->watch_ms / 2 + draw(&seed) * how->watch_ms / 256;
	}
	sum->migrations += p.migrations;
	sum->local += p.local;
	sum->samples += p.samples;
	sum->busy += p.busy;
	sum->worst = most(sum->worst, p.migrations);
	sum->learning = most(sum->learning, p.learning);
	sum->minute = most(sum->minute, p.worst_minute);
}

/* Is it as it should be? A page that is to be followed is local most of the time, if it is looked at often enough. */
static bool measure(const struct pattern *pt, const struct hn_policy *policy, const struct sampling *how, unsigned pages)
{
	struct sum s = { 0 };
	unsigned i;

	for (i = 0; i < pages; i++)
		an_hour(pt, policy, how, i, &s);
	printf("{\"pattern\": \"%s\", \"sampling\": \"%s\", \"policy\": \"%s\", \"migrations_an_hour\": %.1f, "
	       "\"worst_page_an_hour\": %u, \"worst_first_minute\": %u, \"worst_later_minute\": %u, \"busy_minutes_permille\": %.1f, \"local_percent\": %.1f}\n",
	       pt->name, how->name, policy->name, (double)s.migrations / pages, s.worst, s.learning, s.minute,
	       1000.0 * (double)s.busy / (pages * (double)(HOUR_MS / MINUTE_MS)),
	       100.0 * (double)s.local / (double)s.samples);
	if (pt->follow)
		return how->watch_ms > pt->turn_ms / 2 || s.local * 100 >= s.samples * 45;
	/* Turns that fall between the samples are not to be seen. */
	return (pt->turn_ms && how->watch_ms > 1000) || s.worst <= HOUR_MS / MINUTE_MS;
}

int main(int argc, char **argv)
{
	static const uint32_t kinds[] = { HN_POLICY_AUTOMATIC, HN_POLICY_KERNEL, HN_POLICY_TWO_STAGE };
	struct sampling how[] = {
		{ "one a period", 1000, 0 }, { "watch of 1 s, questions", 1000, 50 }, { "watch of 10 s, questions", 10000, 50 },
	};
	unsigned pages = 200, period_ms = 1000, i, k, h;
	bool failed = false;

	for (i = 1; i + 1 < (unsigned)argc; i += 2) {
		if (!strcmp(argv[i], "--pages"))
			pages = (unsigned)atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--period-ms"))
			period_ms = (unsigned)atoi(argv[i + 1]);
		else
			break;
	}
	if (i < (unsigned)argc || pages < 1 || period_ms < 1 || period_ms > HOUR_MS) {
		fprintf(stderr, "usage: bench-shared [--pages N] [--period-ms N], both whole numbers from 1 up\n");
		return 2;
	}
	how[0].watch_ms = period_ms;
	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
			for (h = 0; h < sizeof(how) / sizeof(how[0]); h++)
				if (!measure(&patterns[i], &hn_policies[kinds[k]], &how[h], pages) && kinds[k] == HN_POLICY_AUTOMATIC)
					failed = true;
	return failed;
}
