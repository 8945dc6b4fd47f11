// SPDX-License-Identifier: MIT
/*
 * touch: first touches of a mapping that grows where a part of it has long been in use, timed one by one.
 *
 * A plain program: it knows nothing of hugenuma. Prints one JSON object: nanoseconds of each first write, for
 *   spaced   one huge page every 10 ms, as a program grows that works with what it takes
 *   burst    as fast as it goes
 *   again    the same a second later
 */
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define PAGE ((size_t)2 << 20)
#define OLD_PAGES 64u
#define SPACED_PAGES 100u
#define BURST_PAGES 256u
#define ALL_PAGES (OLD_PAGES + SPACED_PAGES + 2 * BURST_PAGES)
#define WARM_UP_S 5u /* seen, managed, hinted */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_ms(unsigned int ms) { nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL); }

static void use(volatile char *p, unsigned int pages)
{
	unsigned int i;

	for (i = 0; i < pages; i++)
		p[i * PAGE + 64]++;
}

/*
 * A hypervisor takes back what its guest does not use, and giving it again costs twenty times what the kernel does.
 * Another process takes and frees as much, just before the clock runs.
 */
static void warm_memory(unsigned int pages)
{
	char count[16], name[] = "touch";
	char *argv[] = { name, count, NULL }, *env[] = { NULL };
	pid_t pid;

	snprintf(count, sizeof(count), "%u", pages);
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, env) == 0)
		waitpid(pid, NULL, 0);
}

static int take_and_free(unsigned int pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || madvise(p, pages * PAGE, MADV_HUGEPAGE))
		return 1;
	memset(p, 1, pages * PAGE);
	return 0;
}

static void grow(const char *name, char *p, unsigned int pages, unsigned int pause_ms)
{
	static uint64_t ns[BURST_PAGES];
	unsigned int i;

	warm_memory(pages + 32);
	for (i = 0; i < pages; i++) {
		uint64_t start = now_ns();

		*(volatile char *)(p + i * PAGE) = 1;
		ns[i] = now_ns() - start;
		if (pause_ms)
			sleep_ms(pause_ms);
	}
	printf(",\"%s\":[", name);
	for (i = 0; i < pages; i++)
		printf(i ? ",%llu" : "%llu", (unsigned long long)ns[i]);
	printf("]");
}

int main(int argc, char **argv)
{
	uint64_t end = now_ns() + WARM_UP_S * 1000000000ull;
	char *p = mmap(NULL, (ALL_PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (argc == 2)
		return take_and_free((unsigned int)atoi(argv[1]));
	if (p == MAP_FAILED || madvise(p, (ALL_PAGES + 1) * PAGE, MADV_HUGEPAGE))
		return 1;
	p = (char *)(((uintptr_t)p + PAGE - 1) & ~(PAGE - 1));
	/* CPU time too: a program that only sleeps is never looked at. */
	while (now_ns() < end) {
		use(p, OLD_PAGES);
		if (now_ns() % 8 == 0)
			sleep_ms(1);
	}
	printf("{\"bench\":\"touch\"");
	grow("spaced", p + OLD_PAGES * PAGE, SPACED_PAGES, 10);
	grow("burst", p + (OLD_PAGES + SPACED_PAGES) * PAGE, BURST_PAGES, 0);
	sleep_ms(1000);
	grow("again", p + (OLD_PAGES + SPACED_PAGES + BURST_PAGES) * PAGE, BURST_PAGES, 0);
	printf("}\n");
	return 0;
}
