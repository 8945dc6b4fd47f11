// SPDX-License-Identifier: MIT
/*
 * Thread stacks that lie in huge pages of the program's own: their control blocks must stay in place, or whoever joins
 * a thread waits for ever.
 */
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "common.h"

#define STACK ((size_t)256 << 10)
#define SEED 41u

static char *arena;
static size_t nr_stacks;

static void *run_deep(void *arg)
{
	volatile char deep[100 << 10];
	size_t i, ms = (size_t)(uintptr_t)arg;

	for (i = 0; i < sizeof(deep); i += 64)
		deep[i] = (char)i;
	if (ms)
		live_sleep_ms((unsigned int)ms);
	for (i = 0; i < sizeof(deep); i += 64)
		CHECK(deep[i] == (char)i);
	return arg;
}

static void start(pthread_t *t, size_t stack, size_t ms)
{
	pthread_attr_t attr;

	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstack(&attr, arena + stack * STACK, STACK) == 0);
	CHECK(pthread_create(t, &attr, run_deep, (void *)(uintptr_t)ms) == 0);
	pthread_attr_destroy(&attr);
}

static void get_arena(size_t pages)
{
	arena = live_arena(pages + 2, SEED);
	nr_stacks = pages * HUGE / STACK;
	live_wait_absent(arena, (pages + 2) * HUGE);
}

static void verify_rest(void)
{
	size_t used = nr_stacks * STACK;

	live_verify_from(arena + used, 2 * HUGE, SEED, used / 8);
}

/* All at once, long enough to be armed in between if anybody dared. */
static void all_at_once(void)
{
	pthread_t t[32];
	size_t i, round;

	get_arena(4);
	CHECK(nr_stacks == 32);
	for (round = 0; round < live_rounds(5); round++) {
		for (i = 0; i < nr_stacks; i++)
			start(&t[i], i, 60);
		for (i = 0; i < nr_stacks; i++)
			CHECK(pthread_join(t[i], NULL) == 0);
	}
	verify_rest();
}

/* One after the other, each over before anybody can have noticed it. */
static void short_lives(void)
{
	pthread_t t;
	size_t i;

	get_arena(4);
	for (i = 0; i < live_rounds(3000); i++) {
		start(&t, i * 7 % nr_stacks, 0);
		CHECK(pthread_join(t, NULL) == 0);
	}
	verify_rest();
}

/* More stacks than a small table can hold. */
static void many_stacks(void)
{
	pthread_t t[8];
	size_t i, k;

	get_arena(32);
	CHECK(nr_stacks == 256);
	for (i = 0; i < nr_stacks; i += 8) {
		for (k = 0; k < 8; k++)
			start(&t[k], i + k, 3);
		for (k = 0; k < 8; k++)
			CHECK(pthread_join(t[k], NULL) == 0);
	}
	for (i = 0; i < 8; i++)
		start(&t[i], i * 31, 300);
	for (i = 0; i < 8; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	verify_rest();
}

/* Attributes that name a size but no place are not stacks of the program's making. */
static void only_a_size(void)
{
	pthread_attr_t attr;
	pthread_t keep, t;
	size_t i;

	get_arena(4);
	start(&keep, 3, 400);
	CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 1 << 20) == 0);
	for (i = 0; i < live_rounds(200); i++) {
		CHECK(pthread_create(&t, &attr, run_deep, NULL) == 0);
		CHECK(pthread_join(t, NULL) == 0);
	}
	CHECK(pthread_join(keep, NULL) == 0);
	for (i = 0; i < 50; i++) {
		start(&keep, 3, 0);
		CHECK(pthread_join(keep, NULL) == 0);
	}
	verify_rest();
}

static void *wait_for_it(void *arg)
{
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg);
	return NULL;
}

#define ROOM (3 * STACK) /* for a stack of two and its guard */

/* Free address space of ROOM bytes above `below` bytes that stay ours: where the kernel puts the next stack. */
static void make_room(size_t below)
{
	char *block = mmap(NULL, below + ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;

	CHECK(block != MAP_FAILED && munmap(block + below, ROOM) == 0);
	do /* other holes first */
		CHECK((p = mmap(NULL, 2 * STACK + BASE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED);
	while (p < block + below || p >= block + below + ROOM);
	CHECK(munmap(p, 2 * STACK + BASE) == 0 && munmap(block, below) == 0);
}

/* What lies below the guard of a small stack is no stack. */
static void below_a_stack(void)
{
	size_t bytes = 4 * HUGE, size;
	pthread_barrier_t barrier;
	pthread_attr_t attr;
	pthread_t t;
	void *stack;
	char *p;

	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0 && pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, 2 * STACK) == 0);
	live_sleep_ms(300); /* whoever else maps memory at the start has done so */
	make_room(bytes + 2 * HUGE);
	CHECK(pthread_create(&t, &attr, wait_for_it, &barrier) == 0);
	pthread_barrier_wait(&barrier);
	CHECK(pthread_getattr_np(t, &attr) == 0 && pthread_attr_getstack(&attr, &stack, &size) == 0);
	p = (char *)((((uintptr_t)stack - 2 * STACK) & ~(HUGE - 1)) - bytes);
	if (mmap(p, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != p)
		live_skip("something lies below the stack already");
	CHECK(madvise(p, bytes, MADV_HUGEPAGE) == 0);
	live_fill(p, bytes, SEED);
	live_wait_absent(p, bytes);
	live_verify(p, bytes, SEED);
	pthread_barrier_wait(&barrier);
	CHECK(pthread_join(t, NULL) == 0);
}

static const struct live_case cases[] = {
	{ "32 threads at once", all_at_once },
	{ "3000 short threads", short_lives },
	{ "256 stacks", many_stacks },
	{ "sizes without places", only_a_size },
	{ "memory below a stack", below_a_stack },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
