// SPDX-License-Identifier: MIT
/*
 * shared.c - how often does a page move that several nodes share on purpose? The engine's own judgement, over virtual time:
 * an hour of one sample a second for each of many pages.
 *
 *   bench-shared [--pages N] [--period-ms N]
 *
 * A line of JSON for each pattern and policy: migrations of a page in the hour, on average and of the worst page; of the worst
 * page in its first minute, when it has yet to show that it is shared; in the worst minute after that (3: or more); and the
 * share of samples that were local. Exit status 1 when the default policy moves any page more than 60 times in the hour.
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
	bool moved, shared;
	uint32_t moved_ms, last_tid;
	unsigned stayed, migrations, worst_minute, learning, local, samples;
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
	struct hn_judge j = {
		.place = &place, .page_nid = p->nid, .thread_nid = thread_nid, .history = p->history,
		.same_thread = p->last_tid == tid, .moved = p->moved, .moved_ms_ago = now_ms - p->moved_ms,
		.stayed = p->stayed, .shared = p->shared,
	};
	struct hn_ruling r = { .target_nid = HN_NO_NODE };

	p->samples++;
	p->local += thread_nid == p->nid;
	if (thread_nid != p->nid)
		policy->judge(&j, &r);
	p->history = hn_history_push(p->history, thread_nid, j.same_thread);
	p->last_tid = tid;
	p->shared = hn_judge_is_shared(p->history, p->shared);
	if (r.target_nid == HN_NO_NODE) {
		if (thread_nid == p->nid && hn_history_run(p->history) > p->stayed)
			p->stayed = hn_history_run(p->history);
		return;
	}
	p->nid = r.target_nid;
	p->moved = r.reason != HN_REASON_FIRST;
	p->moved_ms = now_ms;
	p->stayed = 0;
	p->migrations++;
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
	unsigned nodes, turn; /* turn: so many samples from one node, then the next; 0: at random */
};

static const struct pattern patterns[] = {
	{ "random, 2 nodes", 2, 0 }, { "random, 3 nodes", 3, 0 }, { "random, 4 nodes", 4, 0 },
	{ "turns of 1", 2, 1 },      { "turns of 2", 2, 2 },      { "turns of 3", 2, 3 },
};

/* Migrations of the page with most of them. */
static unsigned measure(const struct pattern *pt, const struct hn_policy *policy, unsigned pages, uint32_t period_ms)
{
	uint64_t migrations = 0, local = 0, samples = 0;
	unsigned i, worst = 0, minute = 0, learning = 0;

	for (i = 0; i < pages; i++) {
		struct page p = { .nid = 0 };
		uint32_t seed = i * 7 + pt->nodes, ms, n = 0;

		for (ms = 0; ms < HOUR_MS; ms += period_ms, n++) {
			int nid = (int)(pt->turn ? n / pt->turn % pt->nodes : draw(&seed) % pt->nodes);

			sample(&p, policy, nid, (uint32_t)nid + 1, ms);
		}
		migrations += p.migrations;
		local += p.local;
		samples += p.samples;
		worst = p.migrations > worst ? p.migrations : worst;
		learning = p.learning > learning ? p.learning : learning;
		minute = p.worst_minute > minute ? p.worst_minute : minute;
	}
	printf("{\"pattern\": \"%s\", \"policy\": \"%s\", \"migrations_an_hour\": %.1f, \"worst_page_an_hour\": %u, "
	       "\"worst_first_minute\": %u, \"worst_later_minute\": %u, \"local_percent\": %.1f}\n",
	       pt->name, policy->name, (double)migrations / pages, worst, learning, minute, 100.0 * (double)local / (double)samples);
	return worst;
}

int main(int argc, char **argv)
{
	static const uint32_t kinds[] = { HN_POLICY_AUTOMATIC, HN_POLICY_KERNEL, HN_POLICY_TWO_STAGE };
	unsigned pages = 200, period_ms = 1000, i, k, worst = 0;

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
	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
			unsigned migrations = measure(&patterns[i], &hn_policies[kinds[k]], pages, period_ms);

			if (kinds[k] == HN_POLICY_AUTOMATIC && migrations > worst)
				worst = migrations;
		}
	return worst > HOUR_MS / MINUTE_MS;
}
