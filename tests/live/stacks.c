// SPDX-License-Identifier: MIT
/*
 * Thread stacks that lie in huge pages of the program's own: their control blocks must stay in place, or whoever joins
 * a thread waits for ever.
 */
#include <limits.h>
#include <pthread.h>
#include <string.h>

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

static const struct live_case cases[] = {
	{ "32 threads at once", all_at_once },
	{ "3000 short threads", short_lives },
	{ "256 stacks", many_stacks },
	{ "sizes without places", only_a_size },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
