// SPDX-License-Identifier: MIT
/*
 * stall: how long a program's accesses are kept waiting while its pages go where they are used.
 *
 * A plain program: it knows nothing of hugenuma. Two threads write a word in each page of their half of an arena, one page
 * at a time, with a pause between two; every few seconds they change halves. Each write is timed twice: as the clock
 * goes, and without the time that the thread itself was ready to run and had no CPU (/proc/thread-self/schedstat), which nobody
 * in this process could do anything about. Prints one JSON object: all writes that took longer than LONG_NS, in ns, as
 * [clock, less own waiting for a CPU].
 *
 *     bench-stall PAGES PHASES SECONDS-PER-PHASE
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE ((size_t)2 << 20)
#define THREADS 2u
#define LONG_NS 20000u
#define MAX_LONG 65536u
#define PAUSE_NS 50000
#define WORDS_PER_PAGE (PAGE / sizeof(uint64_t))

struct thread {
	pthread_t id;
	unsigned int number, nr_long;
	uint64_t writes, wrong;
	uint64_t clock[MAX_LONG], net[MAX_LONG];
};

static unsigned int pages, phases, seconds;
static uint64_t *arena, *written; /* how often a page was; handed over with the half */
static pthread_barrier_t barrier;
static struct thread threads[THREADS];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Time ready to run without a CPU: the second number there, ns. */
static uint64_t waited_ns(int fd)
{
	char buf[96];
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);
	char *p;

	if (n <= 0)
		return 0;
	buf[n] = 0;
	p = strchr(buf, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

/* A word of the page that changes with each write, so that an old page or a part of one is seen. */
static volatile uint64_t *word_of(unsigned int page, uint64_t nth)
{
	return arena + page * WORDS_PER_PAGE + (nth * 4099 + page) % WORDS_PER_PAGE;
}

static void write_one(struct thread *t, unsigned int page, int fd)
{
	uint64_t nth = written[page]++, waited = waited_ns(fd), start = now_ns(), clock;

	*word_of(page, nth) = nth;
	clock = now_ns() - start;
	waited = waited_ns(fd) - waited;
	t->writes++;
	if (nth && *word_of(page, nth - 1) != nth - 1)
		t->wrong++;
	if (clock > LONG_NS && t->nr_long < MAX_LONG) {
		t->clock[t->nr_long] = clock;
		t->net[t->nr_long++] = clock > waited ? clock - waited : 0;
	}
}

static void *work(void *arg)
{
	struct thread *t = arg;
	int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	unsigned int phase, i;

	for (phase = 0; phase < phases; phase++) {
		unsigned int first = ((t->number + phase) % THREADS) * (pages / THREADS);
		uint64_t end;

		pthread_barrier_wait(&barrier);
		end = now_ns() + seconds * 1000000000ull;
		for (i = 0; now_ns() < end; i = (i + 1) % (pages / THREADS)) {
			write_one(t, first + i, fd);
			nanosleep(&(struct timespec){ 0, PAUSE_NS }, NULL);
		}
	}
	close(fd);
	return NULL;
}

static void print_all(void)
{
	uint64_t writes = 0, wrong = 0;
	unsigned int t, i;
	bool first = true;

	printf("{\"long_ns\": [");
	for (t = 0; t < THREADS; t++) {
		for (i = 0; i < threads[t].nr_long; i++, first = false)
			printf("%s[%" PRIu64 ", %" PRIu64 "]", first ? "" : ", ", threads[t].clock[i], threads[t].net[i]);
		writes += threads[t].writes;
		wrong += threads[t].wrong;
	}
	printf("], \"writes\": %" PRIu64 ", \"wrong\": %" PRIu64 "}\n", writes, wrong);
}

static bool number(const char *text, unsigned int least, unsigned int most, unsigned int *n)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	*n = (unsigned int)value;
	return *text && !*end && value >= least && value <= most;
}

int main(int argc, char **argv)
{
	unsigned int t;

	if (argc != 4 || !number(argv[1], THREADS, 65536, &pages) || !number(argv[2], 1, 1000, &phases) ||
	    !number(argv[3], 1, 1000, &seconds)) {
		fprintf(stderr, "Usage: bench-stall PAGES PHASES SECONDS-PER-PHASE; expected %u to 65536 pages, 1 to 1000 of the "
				"others\n", THREADS);
		return 2;
	}
	arena = mmap(NULL, (pages + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	written = calloc(pages, sizeof(*written));
	if (arena == MAP_FAILED || !written) {
		perror("bench-stall");
		return 1;
	}
	arena = (uint64_t *)(((uintptr_t)arena + PAGE - 1) & ~(PAGE - 1));
	madvise(arena, pages * PAGE, MADV_HUGEPAGE);
	memset(arena, 0xff, pages * PAGE);
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (t = 0; t < THREADS; t++) {
		threads[t].number = t;
		if (pthread_create(&threads[t].id, NULL, work, &threads[t])) {
			perror("bench-stall");
			return 1;
		}
	}
	for (t = 0; t < THREADS; t++)
		pthread_join(threads[t].id, NULL);
	print_all();
	return threads[0].wrong + threads[1].wrong > 0;
}
