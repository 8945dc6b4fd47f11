// SPDX-License-Identifier: MIT
/*
 * arm: what arming a page costs, by the engine and by a bare loop of batched UFFDIO_MOVE
 *
 * Both work on the same arena, the same staging, the same descriptor, in batches of the same size, windows of the
 * default size going round the arena; sides alternate, and so does who begins. A third side ("look") asks PAGEMAP_SCAN
 * before each batch, as whoever moves pages safely must. Taken back outside the clock of arming, with a clock of its
 * own: by hn_drain, and by one bare MOVE per page. "busy": a second thread runs on another CPU, so that the kernel has
 * to flush that CPU's TLB too, as in any program with threads.
 */
#include "common.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static struct bench b;
static atomic_bool running, leave;

#define MAX_PASSES 1000u

/* Of one side in one round: ns per page, pass by pass. */
struct times {
	double arm_ns[MAX_PASSES], disarm_ns[MAX_PASSES];
	uint32_t nr;
};

static void note(struct times *t, uint64_t start, uint64_t armed, uint64_t end)
{
	t->arm_ns[t->nr] = (double)(armed - start) / BENCH_WINDOW_PAGES;
	t->disarm_ns[t->nr++] = (double)(end - armed) / BENCH_WINDOW_PAGES;
}

static void ours(struct times *t)
{
	uint64_t start = bench_now_ns(), nr = hn_scan_pass(&b.worker.hn, BENCH_WINDOW_PAGES), armed = bench_now_ns();

	if (nr != BENCH_WINDOW_PAGES)
		bench_die("the engine armed %u pages of %u", (unsigned int)nr, BENCH_WINDOW_PAGES);
	bench_drain(&b);
	note(t, start, armed, bench_now_ns());
}

/* With `look`, each batch is preceded by the one system call that tells which of its pages may be moved at all. */
static void bare(struct times *t, bool look)
{
	static uint32_t at, staged;
	size_t batch = HN_ARM_BATCH * (size_t)HN_PAGE_SIZE;
	char *from = b.arena + at * (size_t)HN_PAGE_SIZE, *to = hn_staging(&b.live, staged);
	uint64_t start = bench_now_ns(), armed;
	uint32_t i;

	for (i = 0; i < BENCH_WINDOW_PAGES / HN_ARM_BATCH; i++) {
		hn_addr start_of = (hn_addr)(uintptr_t)from + i * batch;

		if (look && hn_pagemap_huge_prefix(b.live.fd_pagemap, start_of, start_of + batch) != batch)
			bench_die("a page of the arena is not huge any more");
		bench_move(b.live.fd, to + i * batch, from + i * batch, batch);
	}
	armed = bench_now_ns();
	for (i = 0; i < BENCH_WINDOW_PAGES; i++)
		bench_move(b.live.fd, from + i * HN_PAGE_SIZE, to + i * HN_PAGE_SIZE, HN_PAGE_SIZE);
	note(t, start, armed, bench_now_ns());
	at = (at + BENCH_WINDOW_PAGES) % b.nr_pages;
	staged = (staged + BENCH_WINDOW_PAGES) % BENCH_STAGING_PAGES;
}

static void print_list(const char *name, const double *ns, uint32_t nr)
{
	uint32_t i;

	printf(",\"%s\":[", name);
	for (i = 0; i < nr; i++)
		printf("%s%.0f", i ? "," : "", ns[i]);
	printf("]");
}

static void report(const char *how, unsigned int round, const char *side, const struct times *t)
{
	printf("{\"bench\":\"arm\",\"how\":\"%s\",\"round\":%u,\"side\":\"%s\"", how, round, side);
	print_list("arm_ns", t->arm_ns, t->nr);
	print_list("disarm_ns", t->disarm_ns, t->nr);
	printf("}\n");
}

/* The sides take turns pass by pass, so that what disturbs one disturbs the others. */
static void one_round(const char *how, unsigned int round, unsigned int passes)
{
	static struct times o, a, l;
	unsigned int i;

	o.nr = a.nr = l.nr = 0;
	for (i = 0; i < 3 * passes; i++) {
		switch ((i + i / 3 + round) % 3) {
		case 0: ours(&o); break;
		case 1: bare(&a, false); break;
		case 2: bare(&l, true); break;
		}
	}
	report(how, round, "ours", &o);
	report(how, round, "bare", &a);
	report(how, round, "look", &l);
}

static void *keep_busy(void *arg)
{
	bench_pin(bench_nr_cpus() - 1);
	atomic_store(&running, true);
	while (!atomic_load(&leave))
		;
	return arg;
}

static void all_rounds(const char *how, unsigned int rounds, unsigned int passes)
{
	unsigned int i;

	one_round(how, 0, passes); /* warms up: page tables of staging, caches */
	for (i = 1; i <= rounds; i++)
		one_round(how, i, passes);
}

int main(int argc, char **argv)
{
	unsigned int rounds = bench_option(argc, argv, "--rounds", 15);
	unsigned int passes = bench_option(argc, argv, "--passes", 40);
	bool real = bench_option(argc, argv, "--real-nodes", 0) != 0;
	pthread_t thread;

	if (passes > MAX_PASSES)
		bench_die("at most %u passes", MAX_PASSES);
	bench_pin(0);
	bench_open(&b, real ? 1 : 4, HN_POLICY_OBSERVE, 256);
	all_rounds(real ? "real" : "alone", rounds, passes);
	if (real || bench_nr_cpus() < 2)
		return 0;
	if (pthread_create(&thread, NULL, keep_busy, NULL))
		bench_die("cannot start a thread");
	while (!atomic_load(&running))
		;
	all_rounds("busy", rounds, passes);
	atomic_store(&leave, true);
	pthread_join(thread, NULL);
	return 0;
}
