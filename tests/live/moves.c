// SPDX-License-Identifier: MIT
/*
 * Memory that moves to where other memory has just moved away from, or been unmapped: what each thread does is its own, and the
 * kernel gives what is free to the next who asks, long before anybody has been told that it is free.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include "common.h"

#define ROUNDS 40u
#define FIRST (8 * HUGE)
#define SECOND (4 * HUGE)
#define LATEST_NS 120000u /* how much later the second begins, at most */

enum how { GROW, UNMAP };

static char *first, *second;
static enum how how;
static pthread_barrier_t together;

/* With something on either side, so that it must move to grow. */
static char *map_between(size_t bytes, uint64_t seed)
{
	char *around = mmap(NULL, bytes + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;

	CHECK(around != MAP_FAILED);
	p = (char *)(((uintptr_t)around + 2 * HUGE - 1) & ~(HUGE - 1));
	CHECK(mmap(p, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	CHECK(madvise(p, bytes, MADV_HUGEPAGE) == 0);
	live_fill(p, bytes, seed);
	return p;
}

static void wait_ns(unsigned ns)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < ns);
}

static void *begin(void *arg)
{
	unsigned i;

	for (i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&together);
		if (how == UNMAP)
			CHECK(munmap(first, FIRST) == 0);
		else
			first = mremap(first, FIRST, FIRST + HUGE, MREMAP_MAYMOVE);
		CHECK(first != MAP_FAILED);
		pthread_barrier_wait(&together);
	}
	return arg;
}

/* Does the second come where the first has been? That is the kernel's choice, nearly always so. */
static void follow(enum how what)
{
	pthread_t thread;
	unsigned i, there = 0;

	how = what;
	srand(1);
	CHECK(pthread_barrier_init(&together, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, begin, NULL) == 0);
	for (i = 0; i < ROUNDS; i++) {
		char *was;

		first = was = map_between(FIRST, i);
		second = map_between(SECOND, ~i);
		live_wait_absent(second, SECOND);
		pthread_barrier_wait(&together);
		wait_ns((unsigned)rand() % LATEST_NS);
		second = mremap(second, SECOND, SECOND + HUGE, MREMAP_MAYMOVE);
		CHECK(second != MAP_FAILED);
		pthread_barrier_wait(&together);
		there += second >= was && second < was + FIRST;
		live_verify(second, SECOND, ~i);
		CHECK(munmap(second, SECOND + HUGE) == 0);
		if (how == UNMAP)
			continue;
		live_verify(first, FIRST, i);
		CHECK(munmap(first, FIRST + HUGE) == 0);
	}
	CHECK(pthread_join(thread, NULL) == 0);
	if (!there)
		live_skip("the kernel has not once given away what was just free");
}

static void two_arrays_grow(void) { follow(GROW); }

static void one_grows_where_one_was(void) { follow(UNMAP); }

/* What is beside the place that it moves to stays what it is: an mremap that shrinks may be heard of with its old length. */
static void shrinks_as_it_moves(void)
{
	char *to = live_reserve(3 * HUGE), *from = live_arena(2, 1);

	CHECK(madvise(to, 3 * HUGE, MADV_HUGEPAGE) == 0);
	live_fill(to, 3 * HUGE, 2);
	live_wait_absent(from, 2 * HUGE);
	live_wait_absent(to, 3 * HUGE);
	CHECK(mremap(from, 2 * HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	live_verify(to, HUGE, 1);
	live_verify_from(to + HUGE, 2 * HUGE, 2, HUGE / 8);
}

/* Nobody is waited for after the move that leaves its old place mapped, so that the next one may be over before that is heard of. */
static void moves_on_at_once(void)
{
	char *at[3];
	unsigned i;

	for (i = 0; i < 3; i++)
		at[i] = live_reserve(SECOND);
	for (i = 0; i < ROUNDS; i++) {
		live_fill(at[0], SECOND, i);
		live_wait_absent(at[0], SECOND);
		CHECK(mremap(at[0], SECOND, SECOND, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, at[1]) == at[1]);
		CHECK(mremap(at[1], SECOND, SECOND, MREMAP_MAYMOVE | MREMAP_FIXED, at[2]) == at[2]);
		live_verify(at[2], SECOND, i);
		live_verify_zero(at[0], SECOND);
	}
}

int main(int argc, char **argv)
{
	static const struct live_case cases[] = {
		{ "two arrays grow at once", two_arrays_grow },
		{ "one grows where one was unmapped", one_grows_where_one_was },
		{ "shrinks as it moves", shrinks_as_it_moves },
		{ "moves on at once", moves_on_at_once },
		{ NULL, NULL },
	};

	return live_main(argc, argv, cases);
}
