// SPDX-License-Identifier: MIT
/*
 * alloc_check.c - threads that allocate, resize, pass on and free blocks of all sizes and verify every word of them.
 * Run by test_malloc.py over several allocators, which are preloaded. It prints a digest for every round that depends on
 * the arguments only; any wrong word ends it with a line and status 1.
 *
 * In every third round a child is forked that has all blocks, too, and goes on by itself.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_THREADS 16u
#define SLOTS 2048u /* blocks of a table */

struct block {
	uint64_t *words;
	size_t bytes;
	uint64_t seed;
};

struct table {
	struct block block[SLOTS];
	uint64_t random;
	size_t bytes;
};

static struct table *tables[MAX_THREADS];
static uint64_t digest[MAX_THREADS];
static unsigned nr_threads, nr_rounds, nr_ops;
static size_t most_bytes;
static pthread_barrier_t barrier;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t next(struct table *t) { return mix(t->random += 0x9e3779b97f4a7c15u); }

static void wrong(const struct block *b, size_t i, uint64_t expected, const char *when)
{
	printf("WRONG %s: block of %zu bytes, word %zu is %016lx, expected %016lx\n", when, b->bytes, i, b->words[i], expected);
	fflush(stdout);
	_exit(1);
}

static void fill(struct block *b, size_t from, uint64_t seed)
{
	for (size_t i = from; i < b->bytes / 8; i++)
		b->words[i] = seed + i * 0x9e3779b97f4a7c15u;
}

/* The block as far as `bytes`; a word of it that depends on all. */
static uint64_t verify(const struct block *b, size_t bytes, const char *when)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < bytes / 8; i++) {
		if (b->words[i] != b->seed + i * 0x9e3779b97f4a7c15u)
			wrong(b, i, b->seed + i * 0x9e3779b97f4a7c15u, when);
		sum += mix(b->words[i]);
	}
	return sum;
}

/* Mostly small, a quarter up to 256 KiB, one in thirty up to 6 MiB; all small where the table has enough. */
static size_t some_size(struct table *t)
{
	uint64_t r = next(t), kind = t->bytes > most_bytes ? 0 : r % 120;
	size_t most = kind < 84 ? 4096 : kind < 116 ? 256u << 10 : 6u << 20;

	return 16 + (r >> 8) % most / 8 * 8;
}

static void drop(struct table *t, struct block *b)
{
	verify(b, b->bytes, "before free");
	t->bytes -= b->bytes;
	free(b->words);
	b->words = NULL;
}

static void make(struct table *t, struct block *b)
{
	uint64_t kind = next(t) % 8;

	b->bytes = some_size(t);
	b->seed = next(t);
	if (kind < 2) {
		b->words = calloc(b->bytes / 8, 8);
		for (size_t i = 0; b->words && i < b->bytes / 8; i++)
			if (b->words[i])
				wrong(b, i, 0, "after calloc");
	} else if (kind < 4) {
		b->words = memalign((size_t)64 << next(t) % 9, b->bytes);
	} else {
		b->words = malloc(b->bytes);
	}
	if (!b->words) {
		puts("WRONG: out of memory");
		_exit(1);
	}
	t->bytes += b->bytes;
	fill(b, 0, b->seed);
}

static void resize(struct table *t, struct block *b)
{
	size_t bytes = some_size(t), kept = bytes < b->bytes ? bytes : b->bytes;

	verify(b, b->bytes, "before realloc");
	b->words = realloc(b->words, bytes);
	if (!b->words) {
		puts("WRONG: out of memory");
		_exit(1);
	}
	t->bytes += bytes - b->bytes;
	b->bytes = bytes;
	verify(b, kept, "after realloc");
	fill(b, kept / 8, b->seed);
}

static void churn(struct table *t, unsigned ops)
{
	while (ops--) {
		struct block *b = &t->block[next(t) % SLOTS];

		if (!b->words)
			make(t, b);
		else if (t->bytes > most_bytes || next(t) % 3)
			drop(t, b);
		else
			resize(t, b);
		/* Somebody else's block is only read. */
		b = &t->block[next(t) % SLOTS];
		if (b->words)
			verify(b, b->bytes, "when read");
	}
}

static uint64_t verify_all(const struct table *t)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		if (t->block[i].words)
			sum += mix(verify(&t->block[i], t->block[i].bytes, "at the end of a round") + i);
	return sum;
}

/* By one thread while the others wait: the child has their tables as they are now. */
static void fork_one(void)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		for (unsigned i = 0; i < nr_threads; i++) {
			verify_all(tables[i]);
			churn(tables[i], nr_ops);
			verify_all(tables[i]);
		}
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		printf("WRONG: fork or child, status %d\n", status);
		_exit(1);
	}
}

static void *work(void *arg)
{
	unsigned number = (unsigned)(uintptr_t)arg;

	for (unsigned round = 0; round < nr_rounds; round++) {
		/* Every round a thread has the next table, with blocks that another allocated. */
		unsigned which = (number + round) % nr_threads;

		churn(tables[which], nr_ops);
		digest[which] = verify_all(tables[which]);
		pthread_barrier_wait(&barrier);
		if (number == 0) {
			for (unsigned i = 0; i < nr_threads; i++)
				printf("round %u table %u: %016lx %zu\n", round, i, digest[i], tables[i]->bytes);
			if (round % 3 == 1)
				fork_one();
		}
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[MAX_THREADS];

	if (argc != 5) {
		fputs("usage: alloc-check THREADS MIB ROUNDS OPERATIONS\n", stderr);
		return 2;
	}
	nr_threads = (unsigned)atoi(argv[1]);
	if (nr_threads < 1 || nr_threads > MAX_THREADS)
		return 2;
	most_bytes = ((size_t)atoi(argv[2]) << 20) / nr_threads;
	nr_rounds = (unsigned)atoi(argv[3]);
	nr_ops = (unsigned)atoi(argv[4]);
	pthread_barrier_init(&barrier, NULL, nr_threads);
	for (unsigned i = 0; i < nr_threads; i++) {
		tables[i] = calloc(1, sizeof(*tables[i]));
		if (!tables[i])
			return 1;
		tables[i]->random = mix(i + 1);
	}
	for (unsigned i = 0; i < nr_threads; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i))
			return 1;
	for (unsigned i = 0; i < nr_threads; i++)
		pthread_join(thread[i], NULL);
	puts("all blocks verified");
	return 0;
}
