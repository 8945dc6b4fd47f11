// SPDX-License-Identifier: MIT
/*
 * A program at work until it is told to end, for those who steer it from outside.
 */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

#define PAGES 16u
#define BYTES (PAGES * HUGE)
#define SEED 41u

static volatile sig_atomic_t told;

static void on_term(int sig)
{
	(void)sig;
	told = 1;
}

/* Rewrites what is there already, so that a page that comes back old is as wrong as one that does not come back. */
static void work_until_told(void)
{
	uint64_t seed = SEED;
	char *p;

	CHECK(signal(SIGTERM, on_term) != SIG_ERR);
	p = live_arena(PAGES, seed);
	while (!told) {
		live_verify(p, BYTES, seed);
		live_fill(p, BYTES, ++seed);
		live_sleep_ms(5);
	}
	live_verify(p, BYTES, seed);
}

#define ROOM ((size_t)1 << 30)

/* The mapping grows in its place all the time, and is one mapping for mremap, whoever knows what of its end. */
static void grow_until_told(void)
{
	char *p = live_reserve(ROOM);
	size_t bytes = BYTES, next;

	CHECK(signal(SIGTERM, on_term) != SIG_ERR);
	CHECK(munmap(p + BYTES, ROOM - BYTES) == 0);
	live_fill(p, BYTES, SEED);
	for (; !told; bytes = next) {
		next = bytes < ROOM ? bytes + HUGE : BYTES;
		CHECK(mremap(p, bytes, next, 0) == p);
		live_verify(p, BYTES, SEED);
		live_sleep_ms(1);
	}
	CHECK(mremap(p, bytes, bytes + HUGE, MREMAP_MAYMOVE) == p);
	live_verify(p, BYTES, SEED);
}

static const struct live_case cases[] = {
	{ "work until told", work_until_told },
	{ "grow until told", grow_until_told },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
