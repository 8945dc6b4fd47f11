// SPDX-License-Identifier: MIT
/*
 * arena.c - a program that has its big memory balanced through libhugenuma, without a preload.
 *
 *     cc arena.c $(pkg-config --cflags --libs hugenuma) -pthread
 *
 * Two threads work on the halves of an arena of huge pages, and swap them. Every word is stamped and verified. The arena is
 * managed, and how much of it lies where it is used is printed now and then. Where hugenuma cannot be used the program
 * says why and runs on without it, as a program should.
 */
#include <hugenuma.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)2 << 20)
#define PAGES 64u
#define WORDS (PAGE / sizeof(uint64_t))

static uint64_t *arena;
static atomic_uint phase; /* in which thread t works on half (t + phase) % 2 */
static atomic_bool over;
static atomic_ulong corrupt, checked;
static pthread_mutex_t half_lock[2] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };

/* What is in word i of page p: so many times it has been raised, and whose it is. */
static uint64_t stamp(unsigned p, size_t i, uint64_t round) { return round << 32 | (p * 131071u + (unsigned)i); }

/* Some words of each page of a half, one in each of 64 places. */
static void work_on(unsigned half, uint64_t *round)
{
	for (unsigned p = half * PAGES / 2; p < (half + 1) * PAGES / 2; p++)
		for (size_t i = 0; i < WORDS; i += WORDS / 64) {
			uint64_t *w = &arena[p * WORDS + i];

			corrupt += *w != stamp(p, i, round[half]);
			*w = stamp(p, i, round[half] + 1);
			checked++;
		}
	round[half]++;
}

static uint64_t rounds[2]; /* under half_lock */

/* To one end of the machine, so that there is something to follow. */
static void stay_on(long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *worker(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	stay_on(me ? sysconf(_SC_NPROCESSORS_ONLN) - 1 : 0);

	while (!over) {
		unsigned half = (me + phase) % 2;

		pthread_mutex_lock(&half_lock[half]);
		work_on(half, rounds);
		pthread_mutex_unlock(&half_lock[half]);
		usleep(500);
	}
	return NULL;
}

static bool make_arena(void)
{
	char *p = mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	arena = (uint64_t *)(void *)(((uintptr_t)p + PAGE - 1) & ~(PAGE - 1));
	madvise(arena, PAGES * PAGE, MADV_HUGEPAGE);
	for (unsigned n = 0; n < PAGES; n++)
		for (size_t i = 0; i < WORDS; i += WORDS / 64)
			arena[n * WORDS + i] = stamp(n, i, 0);
	return true;
}

/* On a machine with one node two made-up ones show what would happen. */
static bool manage_arena(void)
{
	struct hugenuma_options o = { .size = sizeof(o) };
	char why[256];
	int err = hugenuma_can_manage(why, sizeof(why));

	if (err && why[0])
		printf("arena: %s\n", why);
	if (hugenuma_set("scan.period_ms", "200") != 0)
		printf("arena: going on with the default period\n");
	o.virtual_nodes = err ? 2 : 0;
	err = hugenuma_start(&o);
	if (!err)
		err = hugenuma_manage(arena, PAGES * PAGE);
	if (err) {
		hugenuma_message(why, sizeof(why));
		printf("arena: not managed: %s%s%s\n", hugenuma_strerror(err), why[0] ? ": " : "", why);
		return false;
	}
	printf("arena: balanced over %u nodes by libhugenuma %s\n", hugenuma_nodes(), hugenuma_version());
	return true;
}

static void show(void)
{
	struct hugenuma_range_info r = { .size = sizeof(r) };
	struct hugenuma_statistics s = { .size = sizeof(s) };

	if (hugenuma_query_range(arena, PAGES * PAGE, &r) != 0 || hugenuma_statistics(&s) != 0)
		return;
	printf("arena: %u pages, on node", r.pages);
	for (unsigned n = 0; n < r.nodes; n++)
		printf(" %u: %u", n, r.pages_on[n]);
	printf("; %llu migrated so far, longest wait %.2f ms\n", (unsigned long long)s.migrated, (double)s.service_max_ns / 1e6);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 6;
	pthread_t t[2];
	bool managed;

	if (!make_arena()) {
		fprintf(stderr, "arena: no memory\n");
		return 1;
	}
	managed = manage_arena();
	for (uintptr_t i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, worker, (void *)i) != 0)
			return 1;
	for (unsigned s = 0; s < seconds; s++) {
		sleep(1);
		if (managed)
			show();
		if (s == seconds / 2)
			phase++;
	}
	over = true;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	if (managed && hugenuma_stop() != 0)
		fprintf(stderr, "arena: could not be stopped\n");
	printf("arena: %lu words checked, %lu corrupt\n", (unsigned long)checked, (unsigned long)corrupt);
	return corrupt != 0;
}
