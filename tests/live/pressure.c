// SPDX-License-Identifier: MIT
/*
 * What the kernel does to memory on its own account: swap, merging, splitting, collapsing, and limits.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "uapi/uapi.h"

#define PAGES 8u
#define BYTES (PAGES * HUGE)
#define SEED 91u

static char *arena;

static void verify_and_write(uint64_t round)
{
	live_verify(arena, BYTES, SEED + round);
	live_fill(arena, BYTES, SEED + round + 1);
}

static size_t number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	size_t n = 0;

	if (f && fscanf(f, "%zu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

/* ---- swap ---- */

static size_t swapped_kib(void) { return live_status_kib("VmSwap:"); }

static void need_swap(void)
{
	char line[256];
	unsigned int lines = 0;
	FILE *f = fopen("/proc/swaps", "re");

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	if (lines < 2)
		live_skip("no swap");
}

/* Out of the program's place, and out of wherever else it may be while it is absent. */
static void swapped_out(void)
{
	unsigned int i;
	size_t most = 0;

	need_swap();
	arena = live_arena(PAGES, SEED);
	for (i = 0; i < 8; i++) {
		if (i % 2)
			(void)live_absent_within(arena, BYTES, 500);
		CHECK(madvise(arena, BYTES, MADV_PAGEOUT) == 0);
		most = swapped_kib() > most ? swapped_kib() : most;
		if (i % 3 == 0)
			live_sleep_ms(30);
		verify_and_write(i);
		/* Huge again, so that it is managed again. */
		(void)madvise(arena, BYTES, HN_MADV_COLLAPSE);
	}
	live_verify(arena, BYTES, SEED + 8);
	if (!most)
		live_skip("nothing was swapped out");
}

/* Mappings of one base page each, until there can be no more; *end: behind them. */
static char *use_up_mappings(char **end)
{
	size_t bytes = (number_in("/proc/sys/vm/max_map_count") + 2) * BASE, off;
	char *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	for (off = 0; off < bytes && mprotect(p + off, BASE, PROT_READ) == 0; off += 2 * BASE)
		;
	*end = p + bytes;
	return p;
}

/* What is dropped must not come back from swap, also when the agent can get no mapping for a moment. */
static void dropped_in_swap(void)
{
	char *page, *staged, *maps, *end;

	need_swap();
	arena = live_arena(PAGES, SEED);
	page = arena + HUGE;
	staged = live_is_bare() ? page : live_staged(page);
	if (!staged)
		live_skip("armed pages are in their places");
	CHECK(madvise(staged, HUGE, MADV_PAGEOUT) == 0);
	if (!swapped_kib())
		live_skip("nothing was swapped out");
	maps = use_up_mappings(&end);
	CHECK(madvise(page + 7 * BASE, 9 * BASE, MADV_DONTNEED) == 0);
	CHECK(munmap(maps, (size_t)(end - maps)) == 0);
	live_verify_from(page, 7 * BASE, SEED, HUGE / 8);
	live_verify_zero(page + 7 * BASE, 9 * BASE);
	live_verify_from(page + 16 * BASE, HUGE - 16 * BASE, SEED, (HUGE + 16 * BASE) / 8);
	live_verify(arena, HUGE, SEED);
}

/* ---- KSM ---- */

static void merged(void)
{
	uint64_t end;
	size_t off;

	if (number_in("/sys/kernel/mm/ksm/run") != 1)
		live_skip("KSM does not run");
	arena = live_arena(PAGES, SEED);
	/* The same base page everywhere. */
	for (off = 0; off < BYTES; off += BASE)
		live_fill(arena + off, BASE, SEED);
	CHECK(madvise(arena, BYTES, MADV_MERGEABLE) == 0);
	/* What nobody uses stays armed at this rate, and ksmd does not see it; so it is used. */
	for (end = live_now_ms() + 15000 * live_slow(); live_now_ms() < end && number_in("/sys/kernel/mm/ksm/pages_sharing") == 0;)
		for (off = 0; off < BYTES; off += HUGE)
			live_verify(arena + off, BASE, SEED);
	CHECK(number_in("/sys/kernel/mm/ksm/pages_sharing") > 0);
	for (off = 0; off < BYTES; off += BASE)
		live_verify(arena + off, BASE, SEED);
	/* A write is for one place only. */
	live_fill(arena + HUGE, HUGE, SEED + 1);
	for (off = 2 * HUGE; off < BYTES; off += BASE)
		live_verify(arena + off, BASE, SEED);
	live_verify(arena + HUGE, HUGE, SEED + 1);
	CHECK(madvise(arena, BYTES, MADV_UNMERGEABLE) == 0);
	live_verify(arena + HUGE, HUGE, SEED + 1);
}

/* ---- split and collapsed ---- */

static void no_huge_pages(void)
{
	unsigned int i;

	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
	for (i = 0; i < 6; i++) {
		(void)live_absent_within(arena, BYTES, 300);
		CHECK(madvise(arena + HUGE, 3 * HUGE, MADV_NOHUGEPAGE) == 0);
		verify_and_write(i);
		CHECK(madvise(arena + HUGE, 3 * HUGE, MADV_HUGEPAGE) == 0);
		(void)madvise(arena, BYTES, HN_MADV_COLLAPSE);
		live_verify(arena, BYTES, SEED + i + 1);
	}
}

/* Of the page at `at`, which is dropped before. */
static size_t first_touched(char *at)
{
	CHECK(madvise(at, HUGE, MADV_DONTNEED) == 0);
	at[5 * BASE] = 1;
	return live_present(at, HUGE);
}

/* In memory that is managed, and stays so as long as only a few pages are touched. */
static void first_touches(void)
{
	size_t i;

	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
	for (i = 1; i < PAGES / 2; i++) {
		CHECK(madvise(arena + i * HUGE, HUGE, MADV_NOHUGEPAGE) == 0);
		CHECK(first_touched(arena + i * HUGE) == BASE);
	}
	CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	CHECK(first_touched(arena + i * HUGE) == BASE);
	CHECK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
	/* Wanted again; where huge pages are short none is had. */
	for (i = 1; i < PAGES / 2; i++)
		CHECK(madvise(arena + i * HUGE, HUGE, MADV_HUGEPAGE) == 0);
	(void)first_touched(arena + HUGE);
	live_verify(arena, HUGE, SEED);
	live_verify_from(arena + PAGES / 2 * HUGE + HUGE, (PAGES / 2 - 1) * HUGE, SEED, (PAGES / 2 + 1) * HUGE / 8);
}

static atomic_bool stop;

static void *splitter(void *arg)
{
	unsigned int i;

	(void)arg;
	for (i = 0; !atomic_load(&stop); i++) {
		char *at = arena + (i % PAGES) * HUGE + (i % 500) * BASE;

		CHECK(mprotect(at, BASE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
		CHECK(mprotect(at, BASE, PROT_READ | PROT_WRITE) == 0);
		(void)madvise(arena + (i % PAGES) * HUGE, HUGE, HN_MADV_COLLAPSE);
		if (i % 16 == 0)
			live_sleep_ms(5);
	}
	return NULL;
}

/* What khugepaged and the kernel's reclaim do, without waiting for them. */
static void split_and_collapsed(void)
{
	uint64_t end, i;
	pthread_t t;

	arena = live_arena(PAGES, SEED);
	CHECK(pthread_create(&t, NULL, splitter, NULL) == 0);
	for (i = 0, end = live_now_ms() + 1500; live_now_ms() < end; i++)
		verify_and_write(i);
	atomic_store(&stop, true);
	CHECK(pthread_join(t, NULL) == 0);
	live_verify(arena, BYTES, SEED + i);
}

static unsigned long khugepaged_ms(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "re");
	unsigned long ms = 0;

	if (f && fscanf(f, "%lu", &ms) != 1)
		ms = 0;
	if (f)
		fclose(f);
	return f ? ms : ~0ul;
}

/* Split by the program, made huge again by nobody but khugepaged, beside an agent that takes what is huge away. */
static void collapsed_in_time(void)
{
	uint64_t i, end;

	if (khugepaged_ms() > 1000)
		live_skip("khugepaged looks too seldom here");
	arena = live_arena(PAGES, SEED);
	for (i = 0; i < 3; i++) {
		for (size_t page = 0; page < PAGES; page++) {
			char *at = arena + page * HUGE + (i * 100 + page) * BASE;

			CHECK(madvise(at, BASE, MADV_DONTNEED) == 0);
			live_fill_from(at, BASE, SEED + i, (size_t)(at - arena) / 8);
		}
		verify_and_write(i);
		for (end = live_now_ms() + 30000 * live_slow(); live_huge(arena, BYTES) < BYTES / 2; live_sleep_ms(20)) {
			CHECK(live_now_ms() < end);
			live_verify_from(arena, HUGE, SEED + i + 1, 0);
		}
		live_verify(arena, BYTES, SEED + i + 1);
	}
}

/* ---- limits: LIVE_MIB is that of the control group ---- */

static size_t limit_bytes(void)
{
	const char *mib = getenv("LIVE_MIB");

	return (mib ? strtoul(mib, NULL, 10) : 0) << 20;
}

/*
 * Huge pages in the first part of what may be had, then base pages until hardly another huge page fits: a write to an
 * absent page makes the kernel allocate one before anybody is asked.
 */
static void at_the_limit(void)
{
	size_t limit = limit_bytes(), rest, i;
	char *small;

	CHECK(limit >= BYTES + ((size_t)16 << 20));
	arena = live_arena(PAGES, SEED);
	(void)live_absent_within(arena, BYTES, 1000);
	rest = limit - BYTES - ((size_t)10 << 20); /* the agent, its record and its pool have nearly nine */
	small = live_reserve(rest);
	CHECK(madvise(small, rest, MADV_NOHUGEPAGE) == 0);
	live_fill(small, rest, SEED + 500);
	for (i = 0; i < 20; i++) {
		verify_and_write(i);
		live_sleep_ms(20);
	}
	live_verify(arena, BYTES, SEED + 20);
	live_verify(small, rest, SEED + 500);
}

/* Killed for it, or not at all. */
static void beyond_the_limit(void)
{
	size_t bytes = limit_bytes() * 2, off;
	char *p;

	CHECK(bytes);
	arena = live_arena(PAGES, SEED);
	(void)live_absent_within(arena, BYTES, 1000);
	p = live_reserve(bytes);
	for (off = 0; off < bytes; off += BASE)
		*(volatile char *)(p + off) = 1;
	printf("not killed\n");
}

static const struct live_case cases[] = {
	{ "pages swapped out", swapped_out },
	{ "a part of a page in swap is dropped", dropped_in_swap },
	{ "pages merged by KSM", merged },
	{ "MADV_NOHUGEPAGE", no_huge_pages },
	{ "first touches where huge pages are not wanted", first_touches },
	{ "pages split and collapsed", split_and_collapsed },
	{ "pages collapsed by khugepaged", collapsed_in_time },
	{ NULL, NULL },
};

/* These need a control group around them. */
static const struct live_case limited[] = {
	{ "at the limit", at_the_limit },
	{ "beyond the limit", beyond_the_limit },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return live_main(argc, argv, getenv("LIVE_MIB") ? limited : cases);
}
