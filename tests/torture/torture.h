// SPDX-License-Identifier: MIT
/*
 * torture: threads write and verify stamps all over huge pages while others disturb the mappings
 *
 * Vocabulary
 *   field  huge pages that all worker threads share; each word has one owner (field.h)
 *   plot   huge pages of one disturber thread, which maps, drops, protects, moves and forks them (plot.h)
 *   actor  one thread of the torture
 * Whatever memory must hold is known from counters kept outside the tortured memory, so that nothing that happens to a
 * page can make the expectation wrong together with the content.
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define BASE_BYTES 4096ul
#define HUGE_BYTES (2ul << 20)
#define HUGE_WORDS (HUGE_BYTES / sizeof(uint64_t))
#define BASE_WORDS (BASE_BYTES / sizeof(uint64_t))
#define HUGE_BASES (HUGE_BYTES / BASE_BYTES)
#define LINE_WORDS 8ul
#define HUGE_LINES (HUGE_WORDS / LINE_WORDS)
#define MAX_WORKERS 64
#define MAX_ACTORS (MAX_WORKERS + 32)

#define EXIT_OK 0
#define EXIT_FAIL 1
#define EXIT_USAGE 2

struct options {
	unsigned int threads;
	unsigned int mib;
	double seconds;
	uint64_t seed;
	unsigned int stuck_seconds;
	unsigned int collapse_us; /* at most, between two pages */
	uint32_t active; /* bit per activity, see activities[] in torture.c */
	bool quick;
	bool self_test;
};

enum activity {
	ACT_HAMMER,
	ACT_WIDE,
	ACT_SYS,
	ACT_MAP,
	ACT_DONTNEED,
	ACT_FREE,
	ACT_PROTECT,
	ACT_MREMAP,
	ACT_FORK,
	ACT_RAWFORK,
	ACT_EXEC,
	ACT_SPAWN,
	ACT_CHURN,
	ACT_COLLAPSE,
	ACT_SPLIT,
	ACT_SPECTATE,
	ACT_COUNT,
};

struct actor {
	const char *name;
	unsigned int id; /* for workers: 0 .. threads - 1 */
	uint64_t random;
	uint64_t checked; /* words, since the last count_checked() */
	/* For the watchdog and for reports. */
	_Atomic(const char *) doing;
	_Atomic uint64_t steps; /* accesses or so: a slow machine makes few of them, a thread that hangs none */
	_Atomic bool waits; /* for other workers, at a checkpoint */
	_Atomic bool finished;
	uint64_t seen_steps, alive_ns; /* the watchdog's: as it last looked, and when it last saw a new step */
} __attribute__((aligned(64)));

extern struct options opt;
extern uint64_t start_ns;
extern _Atomic bool stop_disturbers;

/* The actor itself only. */
static inline void step(struct actor *a)
{
	atomic_store_explicit(&a->steps, atomic_load_explicit(&a->steps, memory_order_relaxed) + 1, memory_order_relaxed);
}

static inline bool active(enum activity activity)
{
	return opt.active >> activity & 1;
}

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* The finaliser of splitmix64. */
static inline uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline uint64_t next_random(struct actor *a)
{
	a->random += 0x9e3779b97f4a7c15ull;
	return mix(a->random);
}

/* 0 .. n - 1 */
static inline size_t pick(struct actor *a, size_t n)
{
	return next_random(a) % n;
}

/*
 * What a word holds: the number of the write in the upper half, a hash of the word's place in the lower. From a wrong
 * word one can tell a stale value of the right place from the value of another place and from a lost page (zero).
 * Numbers start at 1, so that no written word is zero.
 */
static inline uint64_t stamp(uint32_t salt, size_t word, uint32_t number)
{
	return (uint64_t)number << 32 | (uint32_t)((word + salt) * 0x9e3779b97f4a7c15ull >> 32);
}

static inline uint32_t stamp_number(uint64_t value)
{
	return (uint32_t)(value >> 32);
}

/* Memory that somebody replaces behind the program's back must be read when the source says so, and once. */
static inline uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* torture.c */
struct actor *new_actor(const char *name, unsigned int id);
void doing(struct actor *a, const char *what); /* also tells the watchdog that the thread is alive */
void nap_us(unsigned int us);

/* workers.c */
int start_workers(void);
void join_workers(void);

/* selftest.c */
void self_test_corrupt_field(void);
void self_test_corrupt_plot(void);
int self_test_verdict(void);

#endif
