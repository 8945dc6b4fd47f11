// SPDX-License-Identifier: MIT
/*
 * splitter - splits the huge pages of another process, all the time, as the kernel's reclaim, its migration, DAMON or a
 * neighbour with process_madvise(2) may. It looks for them in the pagemap: the program's, and those of an agent inside it.
 *
 * A split is only counted when the pagemap shows base pages where a huge page was before, so a page that somebody has moved
 * away meanwhile counts for nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "uapi/uapi.h"

#define BASE_BYTES 4096ul
#define HUGE_BYTES (2ul << 20)
#define HUGE_BASES (HUGE_BYTES / BASE_BYTES)
#define MAX_PAGES 4096u
#define MAX_MAPPINGS 1024u
#define MAPS_S 0.05 /* mappings that are older may be others by now; then a page is not found, and nothing else */
#define RUNS 64
#define IDLE_US 200u
#define MAX_MAPPING_BYTES (64ul << 30) /* of larger ones hardly anything is used, and looking would take long */

enum way { WAY_COLD, WAY_PAGEOUT, WAY_PART, WAY_DEBUGFS, WAYS };

static const struct {
	const char *name, *what;
} ways[WAYS] = {
	[WAY_COLD] = { "cold", "MADV_COLD of one base page, which splits the page around it and takes nothing away" },
	[WAY_PAGEOUT] = { "pageout", "MADV_PAGEOUT of the whole page: split when it is not swapped out whole" },
	[WAY_PART] = { "part", "MADV_PAGEOUT of some base pages: split, and with swap these are swapped out" },
	[WAY_DEBUGFS] = { "debugfs", "/sys/kernel/debug/split_huge_pages" },
};

struct mapping {
	uint64_t start, end;
};

static struct target {
	pid_t pid;
	int pidfd, pagemap, debugfs;
	struct mapping mapping[MAX_MAPPINGS];
	unsigned int nr_mappings;
	double maps_until_s;
	uint64_t page[MAX_PAGES]; /* that are huge */
	unsigned int nr_pages;
	uint64_t small_bytes;
} target = { .pidfd = -1, .pagemap = -1, .debugfs = -1 };

static unsigned long tried[WAYS], split[WAYS];
static uint64_t random_state;
static unsigned int pause_us, leave_percent = 75;

static uint64_t next_random(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static size_t pick(size_t n) { return next_random() % n; }

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- looking ---- */

/* What `want` says, from *start on. -1: the process has gone, most likely. */
static long scan(uint64_t *start, uint64_t end, const struct hn_pm_scan_arg *want, struct hn_page_region *out, size_t nr)
{
	struct hn_pm_scan_arg arg = *want;
	long n;

	arg.size = sizeof(arg);
	arg.start = *start;
	arg.end = end;
	arg.vec = (uintptr_t)out;
	arg.vec_len = nr;
	n = ioctl(target.pagemap, HN_PAGEMAP_SCAN, &arg);
	*start = n < 0 || arg.walk_end <= *start ? end : arg.walk_end;
	return n;
}

/* Whole pages, not the huge zero page. */
static void find_huge(uint64_t start, uint64_t end)
{
	const struct hn_pm_scan_arg huge = { .category_mask = HN_PAGE_IS_PRESENT | HN_PAGE_IS_HUGE | HN_PAGE_IS_PFNZERO,
					     .category_inverted = HN_PAGE_IS_PFNZERO };
	struct hn_page_region run[RUNS];

	while (start < end && target.nr_pages < MAX_PAGES) {
		long n = scan(&start, end, &huge, run, RUNS);

		for (long i = 0; i < n; i++)
			for (uint64_t a = run[i].start; a + HUGE_BYTES <= run[i].end && target.nr_pages < MAX_PAGES; a += HUGE_BYTES)
				target.page[target.nr_pages++] = a;
	}
}

/* Base pages, here or swapped out. */
static const struct hn_pm_scan_arg small = { .category_mask = HN_PAGE_IS_HUGE, .category_inverted = HN_PAGE_IS_HUGE,
					     .category_anyof_mask = HN_PAGE_IS_PRESENT | HN_PAGE_IS_SWAPPED };

static bool is_split(uint64_t page)
{
	struct hn_page_region run;
	uint64_t at = page;

	return scan(&at, page + HUGE_BYTES, &small, &run, 1) == 1;
}

static void count_small(uint64_t start, uint64_t end)
{
	struct hn_page_region run[RUNS];

	while (start < end) {
		long n = scan(&start, end, &small, run, RUNS);

		for (long i = 0; i < n; i++)
			target.small_bytes += run[i].end - run[i].start;
	}
}

/* Of the memory that it has by now: the process may have become another program since. */
static bool open_pagemap(void)
{
	char path[64];

	if (target.pagemap >= 0)
		close(target.pagemap);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)target.pid);
	target.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	return target.pagemap >= 0;
}

/* The mappings in which there may be some: anonymous, private, readable, not out of all proportion. */
static bool read_maps(void)
{
	char path[64], line[512], flags[8];
	unsigned long start, end, inode;
	FILE *maps;

	target.nr_mappings = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)target.pid);
	maps = fopen(path, "re");
	if (!maps || !open_pagemap())
		return false;
	while (fgets(line, sizeof(line), maps) && target.nr_mappings < MAX_MAPPINGS) {
		if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &start, &end, flags, &inode) != 4 || inode || flags[0] != 'r' ||
		    flags[3] != 'p' || end - start > MAX_MAPPING_BYTES)
			continue;
		start = (start + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
		end &= ~(HUGE_BYTES - 1);
		if (start < end)
			target.mapping[target.nr_mappings++] = (struct mapping){ start, end };
	}
	fclose(maps);
	return true;
}

static bool look(void)
{
	if (now_s() >= target.maps_until_s) {
		if (!read_maps())
			return false;
		target.maps_until_s = now_s() + MAPS_S;
	}
	target.nr_pages = 0;
	target.small_bytes = 0;
	for (unsigned int i = 0; i < target.nr_mappings; i++) {
		unsigned int before = target.nr_pages;

		find_huge(target.mapping[i].start, target.mapping[i].end);
		if (target.nr_pages != before)
			count_small(target.mapping[i].start, target.mapping[i].end);
	}
	return true;
}

/* How many may be split now: where hardly anything is huge, nobody balances it. */
static unsigned int to_be_split(void)
{
	uint64_t small_pages = target.small_bytes / HUGE_BYTES, all = target.nr_pages + small_pages, most;

	most = all - all * leave_percent / 100;
	if (small_pages >= most)
		return 0;
	return most - small_pages < target.nr_pages ? (unsigned int)(most - small_pages) : target.nr_pages;
}

/* ---- splitting ---- */

static void advise(uint64_t at, uint64_t bytes, int advice)
{
	struct iovec range = { (void *)(uintptr_t)at, bytes };

	syscall(SYS_process_madvise, target.pidfd, &range, 1ul, advice, 0u);
}

static void split_by(enum way way, uint64_t page)
{
	size_t first = pick(HUGE_BASES), nr = 1 + pick(HUGE_BASES - first);
	char text[96];
	int n;

	switch (way) {
	case WAY_COLD:
		advise(page + first * BASE_BYTES, BASE_BYTES, MADV_COLD);
		break;
	case WAY_PAGEOUT:
		advise(page, HUGE_BYTES, MADV_PAGEOUT);
		break;
	case WAY_PART:
		advise(page + first * BASE_BYTES, (nr < HUGE_BASES ? nr : nr - 1) * BASE_BYTES, MADV_PAGEOUT);
		break;
	default:
		n = snprintf(text, sizeof(text), "%d,0x%" PRIx64 ",0x%" PRIx64, (int)target.pid, page, page + HUGE_BYTES);
		if (write(target.debugfs, text, (size_t)n) < 0 && errno == ESRCH)
			return;
	}
	tried[way]++;
	split[way] += is_split(page);
}

static void shuffle(void)
{
	for (unsigned int i = target.nr_pages; i > 1; i--) {
		size_t j = pick(i);
		uint64_t page = target.page[j];

		target.page[j] = target.page[i - 1];
		target.page[i - 1] = page;
	}
}

static void nap(unsigned int us)
{
	const struct timespec t = { .tv_nsec = us * 1000l };

	if (us)
		nanosleep(&t, NULL);
}

static bool has_ended(void) { return syscall(SYS_pidfd_send_signal, target.pidfd, 0, NULL, 0u) != 0; }

static void go_on(const enum way *use, unsigned int nr_ways, double end_s)
{
	while (now_s() < end_s && !has_ended() && look()) {
		unsigned int n = to_be_split();

		shuffle();
		for (unsigned int i = 0; i < n && now_s() < end_s; i++) {
			split_by(use[pick(nr_ways)], target.page[i]);
			nap(pause_us);
		}
		if (n == 0)
			nap(IDLE_US);
	}
}

/* ---- command line ---- */

static void print_usage(void)
{
	fputs("Usage: splitter [OPTION...] PID\n"
	      "Split the huge pages of a process until it ends or the time is up; say how many were split.\n\n"
	      "  --way NAME    how; may be repeated (all that can be)\n"
	      "  --seconds S   how long (until the process ends)\n"
	      "  --pause-us N  after each page (0)\n"
	      "  --leave N     percent that are left huge, of what is used of mappings with huge pages (75)\n"
	      "  --seed N      of the choice of pages (from the clock)\n\nWays:\n",
	      stdout);
	for (unsigned int i = 0; i < WAYS; i++)
		printf("  %-8s %s\n", ways[i].name, ways[i].what);
	fputs("\nExit status: 0 pages were split, 1 none, 2 bad usage, 77 it cannot be done here.\n", stdout);
}

__attribute__((noreturn)) static void bad_usage(const char *what, const char *value, const char *wanted)
{
	fprintf(stderr, "splitter: %s '%s' is not %s\nTry 'splitter --help'.\n", what, value, wanted);
	exit(2);
}

static double number(const char *what, const char *value, double min, double max)
{
	char *end;
	double n;

	errno = 0;
	n = strtod(value, &end);
	if (end == value || *end || errno || !(n >= min && n <= max))
		bad_usage(what, value, "a number in its range");
	return n;
}

static enum way way_named(const char *name)
{
	for (unsigned int i = 0; i < WAYS; i++)
		if (!strcmp(ways[i].name, name))
			return (enum way)i;
	bad_usage("--way", name, "a way (see --help)");
}

__attribute__((noreturn)) static void cannot(const char *what)
{
	fprintf(stderr, "splitter: %s: %s\n", what, strerror(errno));
	exit(errno == ESRCH || errno == ENOENT ? 2 : 77);
}

static void open_target(pid_t pid, bool want_debugfs)
{
	target.pid = pid;
	target.pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
	if (target.pidfd < 0)
		cannot("no such process");
	if (!open_pagemap())
		cannot("its pagemap");
	target.debugfs = open("/sys/kernel/debug/split_huge_pages", O_WRONLY | O_CLOEXEC);
	if (target.debugfs < 0 && want_debugfs)
		cannot("/sys/kernel/debug/split_huge_pages");
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "way", required_argument, NULL, 'w' },      { "seconds", required_argument, NULL, 's' },
		{ "pause-us", required_argument, NULL, 'p' }, { "seed", required_argument, NULL, 'r' },
		{ "leave", required_argument, NULL, 'l' },    { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	double seconds = 1e9, begin = now_s();
	unsigned int nr_use = 0;
	enum way use[16];
	int c;

	random_state = (uint64_t)(begin * 1e6);
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'w' && nr_use < sizeof(use) / sizeof(use[0])) {
			use[nr_use++] = way_named(optarg);
		} else if (c == 's') {
			seconds = number("--seconds", optarg, 0.01, 1e9);
		} else if (c == 'p') {
			pause_us = (unsigned int)number("--pause-us", optarg, 0, 999999);
		} else if (c == 'l') {
			leave_percent = (unsigned int)number("--leave", optarg, 0, 100);
		} else if (c == 'r') {
			random_state = (uint64_t)number("--seed", optarg, 0, 1e15);
		} else if (c == 'h') {
			print_usage();
			return 0;
		} else {
			fputs("Try 'splitter --help'.\n", stderr);
			return 2;
		}
	}
	if (optind + 1 != argc)
		bad_usage("argument", optind < argc ? argv[argc - 1] : "", "one PID");
	open_target((pid_t)number("PID", argv[optind], 1, 1 << 30), nr_use && use[nr_use - 1] == WAY_DEBUGFS);
	for (unsigned int i = 0; !nr_use && i < WAYS; i++)
		if (i != WAY_DEBUGFS || target.debugfs >= 0)
			use[nr_use++] = (enum way)i;
	go_on(use, nr_use, begin + seconds);
	for (unsigned int i = 0; i < WAYS; i++)
		if (tried[i])
			printf("splitter: %s: %lu pages tried, %lu split\n", ways[i].name, tried[i], split[i]);
	return split[WAY_COLD] + split[WAY_PAGEOUT] + split[WAY_PART] + split[WAY_DEBUGFS] == 0;
}
