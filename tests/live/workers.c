// SPDX-License-Identifier: MIT
/*
 * Threads pinned to processors, each at work on its own half of an arena that one of them has touched first.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

#define PAGES 32u
#define BYTES (PAGES * HUGE)
#define SEED 23u
#define PATIENCE_MS (20000u * live_slow())

static char *arena;
static unsigned int run_ms, least_sweeps; /* however long these take on a machine with no time left, but for PATIENCE_MS */
static bool writing;

static bool pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

struct half {
	pthread_t thread;
	int cpu;
	char *start;
	size_t first;
};

/* Every page is touched every few milliseconds; words change only by what can be verified. */
static void *work(void *arg)
{
	const struct half *h = arg;
	uint64_t start = live_now_ms();
	unsigned int sweeps = 0;
	size_t off;

	CHECK(pin(h->cpu));
	for (; live_now_ms() - start < (sweeps < least_sweeps ? PATIENCE_MS : run_ms); sweeps++) {
		for (off = 0; off < BYTES / 2; off += HUGE) {
			volatile uint64_t *w = (volatile uint64_t *)(void *)(h->start + off + 4096);

			if (writing)
				*w = live_word(SEED, h->first + (off + 4096) / 8);
			else
				(void)*w;
		}
		live_sleep_ms(2);
	}
	live_verify_from(h->start, BYTES / 2, SEED, h->first);
	return NULL;
}

static void run_halves(void)
{
	struct half h[2];
	int i;

	for (i = 0; i < 2; i++) {
		size_t off = (size_t)i * (BYTES / 2);

		h[i] = (struct half){ .cpu = i, .start = arena + off, .first = off / 8 };
		CHECK(pthread_create(&h[i].thread, NULL, work, &h[i]) == 0);
	}
	for (i = 0; i < 2; i++)
		CHECK(pthread_join(h[i].thread, NULL) == 0);
}

static void two_halves(void)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2 || !pin(1) || !pin(0))
		live_skip("two processors are needed");
	run_ms = 1500 * live_slow();
	least_sweeps = 100;
	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES); /* not before it is managed */
	run_halves(); /* nobody else looks: the last faults are to be those of the threads */
}

/* Bytes of the arena that smaps calls huge. */
static size_t huge_by_smaps(void)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	size_t kib = 0;
	char line[512];
	bool in = false;

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			in = start < (uintptr_t)arena + BYTES && end > (uintptr_t)arena;
		else if (in && !strncmp(line, "AnonHugePages:", 14))
			kib += strtoul(line + 14, NULL, 10);
	}
	fclose(f);
	return kib * 1024;
}

/* Nothing is absent in a child, whose page tables are a copy of ours. */
static size_t huge_in_child(void)
{
	size_t huge = 0;
	int p[2];
	pid_t pid;

	CHECK(pipe(p) == 0);
	pid = fork();
	if (pid == 0) {
		huge = huge_by_smaps();
		_exit(write(p[1], &huge, sizeof(huge)) != sizeof(huge));
	}
	CHECK(read(p[0], &huge, sizeof(huge)) == sizeof(huge));
	live_reap(pid);
	close(p[0]);
	close(p[1]);
	return huge;
}

/* On a machine with no time left, pages may still be away when a child is made; those of a second one are not. */
static void want_all_huge(void)
{
	size_t huge = 0;
	int i;

	for (i = 0; i < 3 && huge != BYTES; i++) {
		huge = huge_in_child();
		dprintf(2, "%zu of %zu bytes huge\n", huge, (size_t)BYTES);
	}
	CHECK(huge == BYTES);
}

static void stay_huge(bool write)
{
	run_ms = 1000 * live_slow();
	least_sweeps = 3; /* each moves nearly every page; the kernel's mover, where huge pages are short, splits one now and then */
	writing = write;
	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
	run_halves();
	want_all_huge();
	live_verify(arena, BYTES, SEED);
}

static void stay_huge_read(void) { stay_huge(false); }
static void stay_huge_write(void) { stay_huge(true); }

/* The first half is used all the time, the other one only at the end; a glance is one touch of each page. */
static void use_half(bool glance)
{
	size_t i;

	struct half h = { .cpu = 0 };

	run_ms = 6000 * live_slow();
	arena = live_arena_blind(PAGES, SEED);
	h.start = arena;
	CHECK(pthread_create(&h.thread, NULL, work, &h) == 0);
	CHECK(pthread_join(h.thread, NULL) == 0);
	for (i = BYTES / 2 / 8; glance && i < BYTES / 8; i += HUGE / 8)
		CHECK(((volatile uint64_t *)(void *)arena)[i] == live_word(SEED, i));
	if (!glance)
		live_verify_from(arena + BYTES / 2, BYTES / 2, SEED, BYTES / 2 / 8);
}

static void half_cold(void) { use_half(false); }
static void half_cold_glance(void) { use_half(true); }

static const struct live_case cases[] = {
	{ "two halves", two_halves },
	{ "half cold", half_cold },
	{ "half cold, then a glance", half_cold_glance },
	{ "stay huge when read", stay_huge_read },
	{ "stay huge when written", stay_huge_write },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
