// SPDX-License-Identifier: MIT
/*
 * rotate: threads that work on parts of an arena, the parts changing hands
 *
 * The arena is huge-page memory that one thread, main, touches first: on a machine with several nodes everything
 * starts on main's. Each worker then sweeps its part, and every few seconds all parts move on to the next worker, as
 * in a program whose work is re-partitioned. Whoever balances the memory has to follow.
 *
 * Every 64-byte line carries a stamp that depends on its place, on how often its huge page was written and on who
 * wrote it last. The ledger that says what a page must hold lives outside the arena and is handed over with the part,
 * so one stale, lost or misplaced word is seen.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define HUGE_BYTES ((size_t)2 << 20)
#define LINE_WORDS 8
#define LINES_PER_PAGE (HUGE_BYTES / (LINE_WORDS * sizeof(uint64_t)))
#define WORDS_PER_PAGE (LINES_PER_PAGE * LINE_WORDS)
#define MAX_THREADS 256
#define MAX_REPORTS 10
#define EXIT_USAGE 2
#define NSEC 1000000000ull
/* One sweep in three writes: enough for every stamp to change often, and read faults stay the majority. */
#define SWEEPS_PER_WRITE 3

struct options {
	unsigned int threads;
	unsigned int mib;
	unsigned int phases;
	double phase_seconds;
	uint64_t seed;
};

/* What a huge page must hold. Owned by the worker of its part; the barrier hands it over. */
struct page_state {
	uint64_t sequence;
	uint64_t writer;
};

struct worker {
	pthread_t thread;
	unsigned int id;
	uint64_t random;
	uint64_t words_checked;
	/* Of the phase just ended; read by main between two barriers. */
	uint64_t pages_read;
	uint64_t pages_written;
	uint64_t longest_ns; /* that one page took: what the program sees of a page being moved */
	unsigned int part;
	uint32_t *order;
};

static struct options opt = { .threads = 4, .mib = 512, .phases = 5, .phase_seconds = 5, .seed = 1 };
static uint64_t *arena;
static size_t pages;
static struct page_state *state;
static struct worker workers[MAX_THREADS];
static pthread_barrier_t barrier;
static _Atomic uint64_t phase_end_ns;
static _Atomic uint64_t corrupt;
static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC + (uint64_t)ts.tv_nsec;
}

/* The finaliser of splitmix64. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint64_t next_random(uint64_t *random)
{
	*random += 0x9e3779b97f4a7c15ull;
	return mix(*random);
}

/* {tag of the place, sequence number, writer, checksum}, then the checksum turned, so that all eight words count. */
static void stamp_line(uint64_t line[LINE_WORDS], uint64_t index, const struct page_state *page)
{
	uint64_t tag = (index + 1) * 0x9e3779b97f4a7c15ull ^ opt.seed;
	uint64_t sum = (tag ^ page->sequence << 8 ^ page->writer) * 0xd6e8feb86659fd93ull;

	line[0] = tag;
	line[1] = page->sequence;
	line[2] = page->writer;
	line[3] = sum;
	for (unsigned int i = 4; i < LINE_WORDS; i++)
		line[i] = sum >> i | sum << (64 - i);
}

static void report(const uint64_t *word, uint64_t expected, uint64_t found)
{
	uint64_t n = atomic_fetch_add(&corrupt, 1);
	size_t index = (size_t)(word - arena);

	if (n >= MAX_REPORTS)
		return;
	pthread_mutex_lock(&report_lock);
	fprintf(stderr, "rotate: CORRUPT %p (page %zu, word %zu of it): expected %#" PRIx64 ", found %#" PRIx64 "\n",
		(const void *)word, index / WORDS_PER_PAGE, index % WORDS_PER_PAGE, expected, found);
	pthread_mutex_unlock(&report_lock);
}

static void check_line(const uint64_t *line, const uint64_t expected[LINE_WORDS])
{
	uint64_t found[LINE_WORDS];

	/* Read once (the barrier pins the copy): a word that is right when looked at again was stale all the same. */
	memcpy(found, line, sizeof(found));
	__asm__ volatile("" : : "r"(found) : "memory");
	if (!memcmp(found, expected, sizeof(found)))
		return;
	for (unsigned int i = 0; i < LINE_WORDS; i++)
		if (found[i] != expected[i])
			report(&line[i], expected[i], found[i]);
}

static void check_page(size_t page)
{
	uint64_t *line = arena + page * WORDS_PER_PAGE;
	uint64_t expected[LINE_WORDS];

	for (size_t i = 0; i < LINES_PER_PAGE; i++, line += LINE_WORDS) {
		stamp_line(expected, page * LINES_PER_PAGE + i, &state[page]);
		check_line(line, expected);
	}
}

/* Verify what is there, then write the next stamp, line by line. */
static void advance_page(size_t page, uint64_t writer)
{
	struct page_state next = { .sequence = state[page].sequence + 1, .writer = writer };
	uint64_t *line = arena + page * WORDS_PER_PAGE;
	uint64_t expected[LINE_WORDS];

	for (size_t i = 0; i < LINES_PER_PAGE; i++, line += LINE_WORDS) {
		stamp_line(expected, page * LINES_PER_PAGE + i, &state[page]);
		check_line(line, expected);
		stamp_line(line, page * LINES_PER_PAGE + i, &next);
	}
	state[page] = next;
}

static size_t part_start(unsigned int part)
{
	return pages * part / opt.threads;
}

/* A fresh pseudo-random order for every sweep: no page is always visited right after the same other one. */
static size_t shuffle(struct worker *w)
{
	size_t first = part_start(w->part), n = part_start(w->part + 1) - first;

	for (size_t i = 0; i < n; i++)
		w->order[i] = (uint32_t)(first + i);
	for (size_t i = n; i > 1; i--) {
		size_t j = next_random(&w->random) % i;
		uint32_t page = w->order[j];

		w->order[j] = w->order[i - 1];
		w->order[i - 1] = page;
	}
	return n;
}

static void sweep(struct worker *w, bool write)
{
	size_t n = shuffle(w);
	uint64_t start = now_ns(), now;

	/* The clock is read once a page, so a rotation is never late by more than one page. */
	for (size_t i = 0; i < n && start < atomic_load(&phase_end_ns); i++, start = now) {
		if (write)
			advance_page(w->order[i], w->id + 1);
		else
			check_page(w->order[i]);
		*(write ? &w->pages_written : &w->pages_read) += 1;
		w->words_checked += WORDS_PER_PAGE;
		now = now_ns();
		if (now - start > w->longest_ns)
			w->longest_ns = now - start;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned int phase = 0; phase < opt.phases; phase++) {
		pthread_barrier_wait(&barrier);
		for (unsigned int i = w->id; now_ns() < atomic_load(&phase_end_ns); i++)
			sweep(w, i % SWEEPS_PER_WRITE == 0);
		pthread_barrier_wait(&barrier);
	}
	/* Once more in full, each part by the thread that had it last. */
	for (size_t page = part_start(w->part); page < part_start(w->part + 1); page++) {
		check_page(page);
		w->words_checked += WORDS_PER_PAGE;
	}
	return NULL;
}

static double mib_per_second(uint64_t n_pages, double seconds)
{
	return (double)n_pages * (double)(HUGE_BYTES >> 20) / seconds;
}

static void print_phase(unsigned int phase, double elapsed, double seconds)
{
	uint64_t read = 0, written = 0, longest_ns = 0;

	printf("rotate: phase %u/%u at %5.1f s, thread:part", phase + 1, opt.phases, elapsed);
	for (unsigned int i = 0; i < opt.threads; i++) {
		printf(" %u:%u", i, workers[i].part);
		read += workers[i].pages_read;
		written += workers[i].pages_written;
		if (workers[i].longest_ns > longest_ns)
			longest_ns = workers[i].longest_ns;
	}
	printf(", read %.0f MiB/s, written %.0f MiB/s, longest page %.1f ms\n", mib_per_second(read, seconds),
	       mib_per_second(written, seconds), (double)longest_ns / 1e6);
}

static void run_phase(unsigned int phase, uint64_t start)
{
	uint64_t begin = now_ns();

	for (unsigned int i = 0; i < opt.threads; i++) {
		workers[i].part = (i + phase) % opt.threads;
		workers[i].pages_read = workers[i].pages_written = workers[i].longest_ns = 0;
	}
	atomic_store(&phase_end_ns, begin + (uint64_t)(opt.phase_seconds * (double)NSEC));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	print_phase(phase, (double)(now_ns() - start) / NSEC, (double)(now_ns() - begin) / NSEC);
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "rotate: %s: %s\n", what, strerror(error));
	return -1;
}

static int map_arena(void)
{
	size_t bytes = pages * HUGE_BYTES;
	char *p = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t head;

	if (p == MAP_FAILED)
		return fail("no memory for the arena", errno);
	head = (HUGE_BYTES - (uintptr_t)p % HUGE_BYTES) % HUGE_BYTES;
	/* Cut to size: the mapping then consists of huge pages and nothing else. */
	if (head)
		munmap(p, head);
	munmap(p + head + bytes, HUGE_BYTES - head);
	arena = (uint64_t *)(void *)(p + head);
	if (madvise(arena, bytes, MADV_HUGEPAGE))
		fail("no huge pages, going on without: madvise", errno);
	return 0;
}

static void first_touch(void)
{
	for (size_t page = 0; page < pages; page++) {
		uint64_t *line = arena + page * WORDS_PER_PAGE;

		state[page].sequence = 1;
		for (size_t i = 0; i < LINES_PER_PAGE; i++, line += LINE_WORDS)
			stamp_line(line, page * LINES_PER_PAGE + i, &state[page]);
	}
}

static int start_workers(void)
{
	int error;

	for (unsigned int i = 0; i < opt.threads; i++) {
		workers[i].id = i;
		workers[i].random = mix(opt.seed + i + 1);
		workers[i].order = calloc(pages / opt.threads + 1, sizeof(uint32_t));
		if (!workers[i].order)
			return fail("no memory", ENOMEM);
		error = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
		if (error)
			return fail("cannot start a thread", error);
	}
	return 0;
}

static uint64_t finish(void)
{
	uint64_t checked = 0;

	for (unsigned int i = 0; i < opt.threads; i++) {
		pthread_join(workers[i].thread, NULL);
		checked += workers[i].words_checked;
		free(workers[i].order);
	}
	return checked;
}

static const char usage[] =
	"Usage: rotate [OPTION...]\n"
	"Threads work on parts of a shared arena of huge pages; the parts rotate between the threads.\n"
	"Every cache line is stamped and verified.\n\n"
	"  --threads N            worker threads and parts (4)\n"
	"  --mib N                size of the arena in MiB, 2 per thread at least (512)\n"
	"  --seconds-per-phase S  time between two rotations in seconds, may be a fraction (5)\n"
	"  --phases N             number of phases (5)\n"
	"  --seed N               seed of stamps and page orders (1)\n"
	"  --help                 this text\n\n"
	"Exit status: 0 no corruption, 1 corruption or no memory, 2 bad usage.\n";

static void usage_error(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "rotate: --%s: '%s' is not %s\nTry 'rotate --help'.\n", option, value, wanted);
	exit(EXIT_USAGE);
}

static uint64_t parse_number(const char *option, const char *value, uint64_t min, uint64_t max)
{
	char wanted[80], *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || n < min || n > max) {
		snprintf(wanted, sizeof(wanted), "a whole number from %" PRIu64 " to %" PRIu64, min, max);
		usage_error(option, value, wanted);
	}
	return n;
}

static double parse_seconds(const char *option, const char *value)
{
	double seconds;
	char *end;

	errno = 0;
	seconds = strtod(value, &end);
	if (value[0] < '0' || value[0] > '9' || *end || errno || !(seconds >= 0.01 && seconds <= 86400))
		usage_error(option, value, "a number of seconds from 0.01 to 86400");
	return seconds;
}

static void parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "threads", required_argument, NULL, 't' }, { "mib", required_argument, NULL, 'm' },
		{ "seconds-per-phase", required_argument, NULL, 's' }, { "phases", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 'r' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 't') {
			opt.threads = (unsigned int)parse_number("threads", optarg, 1, MAX_THREADS);
		} else if (c == 'm') {
			opt.mib = (unsigned int)parse_number("mib", optarg, 2, 1 << 22);
		} else if (c == 's') {
			opt.phase_seconds = parse_seconds("seconds-per-phase", optarg);
		} else if (c == 'p') {
			opt.phases = (unsigned int)parse_number("phases", optarg, 1, 1000000);
		} else if (c == 'r') {
			opt.seed = parse_number("seed", optarg, 0, UINT64_MAX);
		} else if (c == 'h') {
			fputs(usage, stdout);
			exit(0);
		} else {
			fputs("Try 'rotate --help'.\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "rotate: unexpected argument '%s'\nTry 'rotate --help'.\n", argv[optind]);
		exit(EXIT_USAGE);
	}
	if (opt.mib / 2 < opt.threads) {
		fprintf(stderr, "rotate: --mib: %u MiB give %u threads less than one 2 MiB page each\n", opt.mib,
			opt.threads);
		exit(EXIT_USAGE);
	}
}

int main(int argc, char **argv)
{
	uint64_t start, checked;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	pages = ((size_t)opt.mib << 20) / HUGE_BYTES;
	state = calloc(pages, sizeof(*state));
	if (!state || map_arena())
		return 1;
	pthread_barrier_init(&barrier, NULL, opt.threads + 1);
	start = now_ns();
	first_touch();
	printf("rotate: %zu MiB touched first by one thread, %u threads, %u phases of %g s, seed %" PRIu64 "\n",
	       pages * HUGE_BYTES >> 20, opt.threads, opt.phases, opt.phase_seconds, opt.seed);
	if (start_workers())
		return 1;
	for (unsigned int phase = 0; phase < opt.phases; phase++)
		run_phase(phase, start);
	checked = finish();
	printf("rotate: %" PRIu64 " words checked, %" PRIu64 " corrupt\n", checked, atomic_load(&corrupt));
	return atomic_load(&corrupt) > 0;
}
