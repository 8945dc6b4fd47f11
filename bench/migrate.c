// SPDX-License-Identifier: MIT
/*
 * migrate: how fast the copy mover migrates pages, against memcpy of the same pages
 *
 * Ours: whole migrations of armed pages by hn_fault() - target page, copy, commit, old frame back to the kernel - with
 * the pool filled beforehand, as the keeper does off the path; what the filling took is reported beside it. Memcpy:
 * into huge pages prefaulted in the same way and as long ago, which cost nothing to get rid of. Three states of the
 * caches: "fresh", sources not in the cache, targets just zeroed; "cold", caches flushed by reading something else
 * before each pair of pages; "hot", four pages over and over, read just before.
 * A further line per round tells where the time of a migration goes.
 */
#include "common.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uapi/uapi.h"

#define PAGES BENCH_WINDOW_PAGES
#define HOT_PAGES 4u
#define AT_ONCE 2u /* pages the keeper has ready */
#define FLUSH_BYTES ((size_t)96 << 20)

enum state { FRESH, COLD, HOT };

static const char *const state_name[] = { "fresh", "cold", "hot" };

static struct bench b;
static char *target, *flush_area;
static uint64_t turn; /* so that rounds go round the arena */

/* Of one side in one round: each page's time, and what filling the targets took in all. */
struct times {
	uint64_t ns[PAGES], refill_ns, sum_ns;
	uint32_t nr;
};

/* ---- stages: the backend's own ops with a clock around some ---- */

enum stage { STAGE_TARGET, STAGE_COPY, STAGE_COMMIT, STAGE_DISCARD, NR_STAGES };

static const char *const stage_name[] = { "target", "copy", "commit", "discard" };
static uint64_t stage_ns[NR_STAGES];
static const struct hn_ops *plain_ops;
static struct hn_ops timed_ops;

static int timed_target(void *be, int nid, uint32_t *slot)
{
	uint64_t start = bench_now_ns();
	int ret = plain_ops->target_get(be, nid, slot);

	stage_ns[STAGE_TARGET] += bench_now_ns() - start;
	return ret;
}

static int timed_copy(void *be, uint32_t page, uint32_t slot, int nid, uint64_t until_ns)
{
	uint64_t start = bench_now_ns();
	int ret = plain_ops->copy(be, page, slot, nid, until_ns);

	stage_ns[STAGE_COPY] += bench_now_ns() - start;
	return ret;
}

static int timed_commit(void *be, hn_addr haddr, uint32_t page, uint32_t slot)
{
	uint64_t start = bench_now_ns();
	int ret = plain_ops->commit(be, haddr, page, slot);

	stage_ns[STAGE_COMMIT] += bench_now_ns() - start;
	return ret;
}

static void timed_discard(void *be, uint32_t page)
{
	uint64_t start = bench_now_ns();

	plain_ops->discard(be, page);
	stage_ns[STAGE_DISCARD] += bench_now_ns() - start;
}

/* ---- the two sides ---- */

static void note(struct times *t, uint64_t ns)
{
	t->ns[t->nr++] = ns;
	t->sum_ns += ns;
}

static void read_all(const char *p, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i += 64)
		(void)*(const volatile char *)(p + i);
}

static void flush_caches(void) { read_all(flush_area, FLUSH_BYTES); }

/* Hot pages are in the cache when their turn comes: the copy of a migration goes past the caches. */
static void warm(void) { read_all(b.arena, HOT_PAGES * HN_PAGE_SIZE); }

static void migrate_pair(struct times *t, const uint32_t *page, enum state state)
{
	uint64_t start = bench_now_ns();
	struct hn_verdict verdict;
	uint32_t i;

	hn_store_release(&b.live.pool_kick, 1);
	hn_pool_tend(&b.live);
	t->refill_ns += bench_now_ns() - start;
	if (state == COLD)
		flush_caches();
	for (i = 0; i < AT_ONCE; i++) {
		hn_addr addr = (hn_addr)(uintptr_t)b.arena + page[i] * HN_PAGE_SIZE;

		start = bench_now_ns();
		if (hn_fault(&b.worker.hn, addr, (uint32_t)getpid(), start, &verdict) != HN_FAULT_MIGRATED)
			bench_die("page %u did not migrate", page[i]);
		note(t, bench_now_ns() - start);
	}
}

static void copy_pair(struct times *t, char *to, const uint32_t *page, enum state state)
{
	uint64_t start;
	uint32_t i;

	start = bench_now_ns();
	if (madvise(to, AT_ONCE * HN_PAGE_SIZE, HN_MADV_POPULATE_WRITE))
		bench_die("no huge page to copy to");
	t->refill_ns += bench_now_ns() - start;
	if (state == COLD)
		flush_caches();
	for (i = 0; i < AT_ONCE; i++) {
		start = bench_now_ns();
		memcpy(to + i * HN_PAGE_SIZE, b.arena + page[i] * HN_PAGE_SIZE, HN_PAGE_SIZE);
		__asm__ volatile("" : : "r"(to) : "memory");
		note(t, bench_now_ns() - start);
	}
}

static void report(unsigned int round, enum state state, const char *side, const struct times *t)
{
	uint32_t i;

	printf("{\"bench\":\"migrate\",\"how\":\"%s\",\"round\":%u,\"side\":\"%s\",\"refill_ns\":%.0f,\"ns\":[",
	       state_name[state], round, side, (double)t->refill_ns / t->nr);
	for (i = 0; i < t->nr; i++)
		printf("%s%llu", i ? "," : "", (unsigned long long)t->ns[i]);
	printf("]}\n");
}

static void report_stages(unsigned int round, enum state state, const struct times *t)
{
	double rest = (double)t->sum_ns;
	unsigned int i;

	printf("{\"bench\":\"stages\",\"how\":\"%s\",\"round\":%u", state_name[state], round);
	for (i = 0; i < NR_STAGES; i++) {
		printf(",\"%s_ns\":%.1f", stage_name[i], (double)stage_ns[i] / t->nr);
		rest -= (double)stage_ns[i];
		stage_ns[i] = 0;
	}
	printf(",\"rest_ns\":%.1f}\n", rest / t->nr);
}

/* Arm what is to be migrated; the engine goes round the arena by itself. Page numbers in *page. */
static uint32_t arm(uint32_t *page, enum state state)
{
	uint32_t nr = state == HOT ? HOT_PAGES : PAGES, i, got = 0;
	uint32_t first = state == HOT ? 0 : (uint32_t)(turn % 2) * PAGES;
	hn_addr at = (hn_addr)(uintptr_t)b.arena + first * HN_PAGE_SIZE;

	if (state == HOT)
		warm();
	for (i = 0; i < nr; i++)
		page[i] = first + i;
	for (i = 0; i < nr; i += HN_ARM_BATCH) {
		uint32_t n = nr - i < HN_ARM_BATCH ? nr - i : HN_ARM_BATCH;

		got += hn_arm_run(&b.worker.hn, at + i * HN_PAGE_SIZE, n);
	}
	if (got != nr)
		bench_die("the engine armed %u pages of %u", got, nr);
	return nr;
}

static void ours(struct times *t, enum state state)
{
	uint32_t page[PAGES], passes = state == HOT ? PAGES / HOT_PAGES : 1, i, nr;

	turn++;
	while (passes--)
		for (i = 0, nr = arm(page, state); i < nr; i += AT_ONCE)
			migrate_pair(t, page + i, state);
}

static void bare(struct times *t, enum state state)
{
	uint32_t page[AT_ONCE], i, k;

	turn++;
	/* Off the clock: memcpy's side gets rid of its pages for nothing. New frames each time, as a migration has. */
	madvise(target, PAGES * HN_PAGE_SIZE, MADV_DONTNEED);
	for (i = 0; i < PAGES; i += AT_ONCE) {
		if (state == HOT && i % HOT_PAGES == 0)
			warm();
		for (k = 0; k < AT_ONCE; k++)
			page[k] = state == HOT ? (i + k) % HOT_PAGES : (uint32_t)(turn % 2) * PAGES + i + k;
		copy_pair(t, target + i * HN_PAGE_SIZE, page, state);
	}
}

static void all_rounds(enum state state, unsigned int rounds)
{
	unsigned int i;

	for (i = 0; i <= rounds; i++) { /* round 0 warms up */
		struct times o = { .nr = 0 }, m = { .nr = 0 }, s = { .nr = 0 };

		if (i % 2) {
			ours(&o, state);
			bare(&m, state);
		} else {
			bare(&m, state);
			ours(&o, state);
		}
		report(i, state, "ours", &o);
		report(i, state, "memcpy", &m);
		b.worker.hn.ops = &timed_ops;
		ours(&s, state);
		b.worker.hn.ops = plain_ops;
		report_stages(i, state, &s);
	}
}

static void check_contents(void)
{
	uint32_t i;
	size_t k;

	for (i = 0; i < b.nr_pages; i++)
		for (k = 0; k < HN_PAGE_SIZE; k += 64)
			if ((unsigned char)b.arena[i * HN_PAGE_SIZE + k] != bench_fill(i))
				bench_die("page %u holds something else after its migrations", i);
}

int main(int argc, char **argv)
{
	unsigned int rounds = bench_option(argc, argv, "--rounds", 11);

	bench_pin(0);
	bench_open(&b, 4, HN_POLICY_ALWAYS, 2 * PAGES);
	plain_ops = b.worker.hn.ops;
	timed_ops = *plain_ops;
	timed_ops.target_get = timed_target;
	timed_ops.copy = timed_copy;
	timed_ops.commit = timed_commit;
	timed_ops.discard = timed_discard;
	target = bench_huge(PAGES);
	flush_area = bench_huge((uint32_t)(FLUSH_BYTES / HN_PAGE_SIZE));
	all_rounds(FRESH, rounds);
	all_rounds(COLD, rounds);
	all_rounds(HOT, rounds);
	check_contents();
	return 0;
}
