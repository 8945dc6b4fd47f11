// SPDX-License-Identifier: MIT
#include "torture.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disturb.h"
#include "field.h"

#define HAMMER_PAGES 8
#define WIDE_FIELDS 4
#define MAX_FIELDS (1 + WIDE_FIELDS)
#define WATCH_US 50000

struct options opt = { .threads = 4, .mib = 128, .seconds = 10, .stuck_seconds = 30, .collapse_us = 20000,
		       .active = (1u << ACT_COUNT) - 1 };
uint64_t start_ns;
_Atomic bool stop_disturbers;
struct field fields[MAX_FIELDS];
size_t n_fields;

static struct {
	uint64_t ns;
	const char *name, *doing;
} longest; /* time without a step */

static struct actor actors[MAX_ACTORS];
static unsigned int n_actors;
static _Thread_local const char *my_name, *my_doing;

static const struct {
	const char *name, *what;
} activities[ACT_COUNT] = {
	[ACT_HAMMER] = { "hammer", "all threads write to the same few pages" },
	[ACT_WIDE] = { "wide", "all threads write all over the arena (--mib)" },
	[ACT_SYS] = { "sys", "read(2) and write(2) into and from pages" },
	[ACT_MAP] = { "map", "munmap and mmap, mmap over, refill" },
	[ACT_DONTNEED] = { "dontneed", "MADV_DONTNEED of whole and partial huge pages" },
	[ACT_FREE] = { "free", "MADV_FREE, the same" },
	[ACT_PROTECT] = { "protect", "mprotect to other protections and back" },
	[ACT_MREMAP] = { "mremap", "mremap: aligned, misaligned, growing, DONTUNMAP" },
	[ACT_FORK] = { "fork", "fork; child and parent verify" },
	[ACT_RAWFORK] = { "rawfork", "the same by clone(2), behind libc" },
	[ACT_EXEC] = { "exec", "fork and exec of /bin/true" },
	[ACT_SPAWN] = { "spawn", "posix_spawn of /bin/true" },
	[ACT_CHURN] = { "churn", "short-lived threads" },
	[ACT_COLLAPSE] = { "collapse", "MADV_COLLAPSE under the writers" },
	[ACT_SPLIT] = { "split", "MADV_COLD and MADV_PAGEOUT of parts of pages under the writers" },
	[ACT_SPECTATE] = { "spectate", "a reader on the pages others disturb" },
};

struct actor *new_actor(const char *name, unsigned int id)
{
	struct actor *a = &actors[n_actors++];

	a->name = name;
	a->id = id;
	a->random = mix(opt.seed * MAX_ACTORS + id + 1);
	doing(a, "starting");
	return a;
}

void doing(struct actor *a, const char *what)
{
	my_name = a->name;
	my_doing = what;
	atomic_store_explicit(&a->doing, what, memory_order_relaxed);
	step(a);
}

void nap_us(unsigned int us)
{
	const struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l };

	nanosleep(&ts, NULL);
}

/* Memory that should be there and is not: say where and while doing what, then end as without us. */
static void on_crash(int signal, siginfo_t *info, void *context)
{
	char text[256];
	int length = snprintf(text, sizeof(text), "FAIL: %s: signal %d (code %d) at %p in process %d, %s: %s\n",
			      signal == SIGBUS ? "SIGBUS" : "SIGSEGV", signal, info->si_code, info->si_addr,
			      (int)getpid(), my_name ? my_name : "?", my_doing ? my_doing : "?");

	(void)context;
	if (write(STDOUT_FILENO, text, (size_t)length) < 0)
		_exit(EXIT_FAIL);
	/* SA_RESETHAND: the instruction is tried again and ends the process. */
}

static void catch_crashes(void)
{
	struct sigaction action = { .sa_sigaction = on_crash, .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND) };

	sigemptyset(&action.sa_mask);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static int create_fields(void)
{
	size_t pages = ((size_t)opt.mib << 20) / HUGE_BYTES / WIDE_FIELDS;

	if (active(ACT_HAMMER) && field_create(&fields[n_fields++], "hammer", HAMMER_PAGES, 1, false))
		return -1;
	/* Half of the arena is inherited by children, and split by them; the other half stays huge. */
	for (unsigned int i = 0; active(ACT_WIDE) && i < WIDE_FIELDS; i++)
		if (field_create(&fields[n_fields++], "wide", pages, (i + 2) << 24, i >= WIDE_FIELDS / 2))
			return -1;
	return 0;
}

/* When did a worker last do something? Who waits at a checkpoint does not hang as long as the others do not. */
static uint64_t look_for_steps(uint64_t now)
{
	uint64_t last = 0;

	for (unsigned int i = 0; i < n_actors; i++) {
		struct actor *a = &actors[i];
		uint64_t steps = atomic_load(&a->steps);

		if (steps != a->seen_steps || !a->alive_ns)
			a->alive_ns = now;
		a->seen_steps = steps;
		if (a->id < opt.threads && a->alive_ns > last)
			last = a->alive_ns;
	}
	return last;
}

static void note_longest(const struct actor *a, uint64_t ns)
{
	if (ns <= longest.ns)
		return;
	longest.ns = ns;
	longest.name = a->name;
	longest.doing = atomic_load(&a->doing);
}

/* A thread that sleeps for ever in a fault is an error as bad as a lost word, and must not look like a slow run. */
static bool all_finished(bool disturbers_too)
{
	uint64_t limit = opt.stuck_seconds * 1000000000ull, now = now_ns(), last = look_for_steps(now);
	bool finished = true, stuck = false;

	for (unsigned int i = 0; i < n_actors; i++) {
		struct actor *a = &actors[i];
		uint64_t alive = atomic_load(&a->waits) ? last : a->alive_ns;

		if (atomic_load(&a->finished))
			continue;
		if (a->id < opt.threads || disturbers_too)
			finished = false;
		note_longest(a, now - alive);
		if (now - alive > limit) {
			report_other(a->name, "thread %u stuck for %.1f s: %s", a->id, (double)(now - alive) / 1e9,
				     atomic_load(&a->doing));
			stuck = true;
		}
	}
	if (stuck) {
		report_summary();
		_exit(EXIT_FAIL);
	}
	return finished;
}

static bool in_time(void)
{
	return now_ns() < start_ns + (uint64_t)(opt.seconds * 1e9);
}

static void watch(void)
{
	/* Workers end by themselves at the checkpoint after the time is over. */
	while (!all_finished(false) || in_time())
		nap_us(WATCH_US);
	join_workers();
	atomic_store(&stop_disturbers, true);
	while (!all_finished(true))
		nap_us(WATCH_US);
	join_disturbers();
}

static void final_check(void)
{
	struct actor *a = new_actor("main", MAX_ACTORS);
	size_t huge = 0, pages = 0;

	for (size_t f = 0; f < n_fields; f++) {
		pages += fields[f].pages;
		huge += area_count_huge(&fields[f].area);
		doing(a, "final check");
		for (size_t page = 0; page < fields[f].pages; page++)
			field_check_page(&fields[f], a, page);
	}
	check_plots(a);
	print_rounds();
	printf("torture: %zu of %zu shared pages are huge at the end\n", huge, pages);
	printf("torture: longest time without a step %.1f s (%s: %s)\n", (double)longest.ns / 1e9,
	       longest.name ? longest.name : "-", longest.doing ? longest.doing : "-");
}

static int run(void)
{
	start_ns = now_ns();
	if (create_fields() || create_disturbers()) {
		fprintf(stderr, "torture: cannot set up the memory: %s\n", strerror(errno));
		return EXIT_FAIL;
	}
	start_ns = now_ns();
	if (start_workers() || start_disturbers()) {
		fprintf(stderr, "torture: cannot start the threads\n");
		return EXIT_FAIL;
	}
	watch();
	if (opt.self_test)
		self_test_corrupt_plot();
	final_check();
	report_summary();
	if (opt.self_test)
		return self_test_verdict();
	return words_wrong() + other_errors() ? EXIT_FAIL : EXIT_OK;
}

static void print_usage(void)
{
	fputs("Usage: torture [OPTION...]\n"
	      "Threads write and verify stamps all over huge pages while others disturb the mappings.\n\n"
	      "  --seconds S        how long, may be a fraction (10)\n"
	      "  --threads N        writers (4)\n"
	      "  --mib N            size of the arena all write to, in MiB, 8 at least (128)\n"
	      "  --seed N           seed of all random choices (from the clock)\n"
	      "  --only LIST        of the activities below, separated by commas, only these\n"
	      "  --without LIST     all but these\n"
	      "  --quick            3 seconds, 32 MiB, more checkpoints\n"
	      "  --stuck-seconds N  how long a thread may hang before that is an error (30)\n"
	      "  --collapse-us N    time between two pages that are made huge again, at most (20000)\n"
	      "  --self-test        corrupt a few words, and fail unless exactly these are reported\n"
	      "  --help             this text\n\nActivities:\n",
	      stdout);
	for (unsigned int i = 0; i < ACT_COUNT; i++)
		printf("  %-9s %s\n", activities[i].name, activities[i].what);
	fputs("\nExit status: 0 no error, 1 errors, 2 bad usage.\n", stdout);
}

static void bad_usage(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "torture: --%s: '%s' is not %s\nTry 'torture --help'.\n", option, value, wanted);
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
		bad_usage(option, value, wanted);
	}
	return n;
}

static double parse_seconds(const char *option, const char *value)
{
	double seconds;
	char *end;

	errno = 0;
	seconds = strtod(value, &end);
	if (value[0] < '0' || value[0] > '9' || *end || errno || !(seconds >= 0.1 && seconds <= 1e6))
		bad_usage(option, value, "a number of seconds from 0.1 to 1000000");
	return seconds;
}

static uint32_t parse_activities(const char *option, const char *value)
{
	uint32_t set = 0;

	for (const char *p = value;; p++) {
		size_t length = strcspn(p, ",");
		unsigned int i = 0;

		while (i < ACT_COUNT &&
		       (strlen(activities[i].name) != length || strncmp(activities[i].name, p, length) != 0))
			i++;
		if (i == ACT_COUNT)
			bad_usage(option, value, "a list of activities (see --help)");
		set |= 1u << i;
		p += length;
		if (!*p)
			return set;
	}
}

static void parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seconds", required_argument, NULL, 's' },	   { "threads", required_argument, NULL, 't' },
		{ "mib", required_argument, NULL, 'm' },	   { "seed", required_argument, NULL, 'r' },
		{ "only", required_argument, NULL, 'o' },	   { "without", required_argument, NULL, 'w' },
		{ "stuck-seconds", required_argument, NULL, 'k' }, { "quick", no_argument, NULL, 'q' },
		{ "self-test", no_argument, NULL, 'x' },	   { "collapse-us", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t seconds_given = 0, mib_given = 0;
	int c;

	opt.seed = now_ns() % 1000000007;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's') {
			opt.seconds = parse_seconds("seconds", optarg);
			seconds_given = 1;
		} else if (c == 't') {
			opt.threads = (unsigned int)parse_number("threads", optarg, 1, MAX_WORKERS);
		} else if (c == 'm') {
			opt.mib = (unsigned int)parse_number("mib", optarg, 2 * WIDE_FIELDS, 1 << 22);
			mib_given = 1;
		} else if (c == 'r') {
			opt.seed = parse_number("seed", optarg, 0, UINT64_MAX);
		} else if (c == 'o') {
			opt.active = parse_activities("only", optarg);
		} else if (c == 'w') {
			opt.active &= ~parse_activities("without", optarg);
		} else if (c == 'k') {
			opt.stuck_seconds = (unsigned int)parse_number("stuck-seconds", optarg, 1, 1000000);
		} else if (c == 'c') {
			opt.collapse_us = (unsigned int)parse_number("collapse-us", optarg, 1, 10000000);
		} else if (c == 'q') {
			opt.quick = true;
		} else if (c == 'x') {
			opt.self_test = true;
		} else if (c == 'h') {
			print_usage();
			exit(EXIT_OK);
		} else {
			fputs("Try 'torture --help'.\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (opt.quick && !seconds_given)
		opt.seconds = 3;
	if (opt.quick && !mib_given)
		opt.mib = 32;
	if (!opt.active) {
		fputs("torture: no activity is left\nTry 'torture --help'.\n", stderr);
		exit(EXIT_USAGE);
	}
	if (optind < argc) {
		fprintf(stderr, "torture: unexpected argument '%s'\nTry 'torture --help'.\n", argv[optind]);
		exit(EXIT_USAGE);
	}
}

static void print_start(void)
{
	printf("torture: seed %" PRIu64 ", %u threads, %u MiB, %g s:", opt.seed, opt.threads, opt.mib, opt.seconds);
	for (unsigned int i = 0; i < ACT_COUNT; i++)
		if (active((enum activity)i))
			printf(" %s", activities[i].name);
	putchar('\n');
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	parse_options(argc, argv);
	print_start();
	catch_crashes();
	return run();
}
