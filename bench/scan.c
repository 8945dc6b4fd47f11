// SPDX-License-Identifier: MIT
/*
 * scan.c - what a pass of the scanner costs that looks for one open question in memory of a given size, beside one that looks
 * at every page: the engine alone, over a backend that arms nothing. No memory is needed for it.
 *
 *   bench-scan [--rounds N]
 *
 * A JSON line a size: how long each of N passes (101) of either kind took, in turn, in ns.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/internal.h"

#define BASE ((hn_addr)1 << 40)
#define MOST_ROUNDS 10001u

static uint64_t op_now(void *be)
{
	(void)be;
	return 1000000000u;
}

static uint32_t op_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why)
{
	(void)be;
	(void)haddr;
	(void)first;
	(void)nr;
	*why = HN_ARM_EVENT; /* the question stays open */
	return 0;
}

static const struct hn_ops ops = { .now_ns = op_now, .arm = op_arm };

static void die(const char *what)
{
	fprintf(stderr, "bench-scan: %s\n", what);
	exit(1);
}

/* `pages` managed, and of all the questions that come with them only the last page's left. */
static void prepare(struct hn *hn, struct hn_stats *stats, uint32_t pages)
{
	const struct hn_geometry geo = { .nr_chunks = pages / 64, .chunk_shift = 6, .nr_pages = 512 };
	const struct hn_params par = { .nr_nodes = 2, .policy = HN_POLICY_TWO_STAGE, .quarantine_ms = 1, .expiry_ms = 1 };
	uint32_t i;

	*hn = (struct hn){ .core = calloc(1, hn_core_bytes(&geo)), .ops = &ops, .stats = stats };
	if (!hn->core || hn_core_init(hn->core, &geo, &par))
		die("no memory for the engine");
	for (i = 0; i < pages; i++) {
		hn_addr haddr = BASE + i * HN_PAGE_SIZE;

		if (hn_manage_fresh(hn, haddr, 0))
			die("a page cannot be managed");
		if (i + 1 < pages)
			hn_entry_set_open(hn, hn_entry_find(hn, haddr), false);
	}
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void print_list(const char *name, const uint64_t *ns, unsigned nr)
{
	unsigned i;

	printf(", \"%s\": [", name);
	for (i = 0; i < nr; i++)
		printf("%s%" PRIu64, i ? "," : "", ns[i]);
	putchar(']');
}

static void measure(uint32_t gib, unsigned rounds)
{
	static uint64_t open[MOST_ROUNDS], every[MOST_ROUNDS];
	struct hn_stats *stats = calloc(1, sizeof(*stats));
	uint32_t pages = gib << 9, i;
	struct hn hn;

	if (!stats)
		die("no memory");
	prepare(&hn, stats, pages);
	for (i = 0; i < rounds; i++) {
		uint64_t start = now_ns();

		hn_scan_open(&hn, HN_ASK_NEW, 64);
		open[i] = now_ns() - start;
		start = now_ns();
		hn_scan_old(&hn, 0, 64); /* that every page was sampled since: none is wanted, each is looked at */
		every[i] = now_ns() - start;
	}
	if (stats->arm_refused[HN_ARM_EVENT] != rounds)
		die("the passes have not found the one question each time");
	printf("{\"bench\": \"scan\", \"round\": 1, \"gib\": %u", gib);
	print_list("open_ns", open, rounds);
	print_list("every_ns", every, rounds);
	puts("}");
	free(hn.core);
	free(stats);
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 16, 128, 1024 };
	unsigned rounds = 101, i;

	if (argc == 3 && !strcmp(argv[1], "--rounds"))
		rounds = (unsigned)strtoul(argv[2], NULL, 10);
	else if (argc != 1)
		rounds = 0;
	if (!rounds || rounds > MOST_ROUNDS) {
		fprintf(stderr, "usage: bench-scan [--rounds N], N from 1 to %u\n", MOST_ROUNDS);
		return 2;
	}
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		measure(sizes[i], rounds);
	return 0;
}
