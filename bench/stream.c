// SPDX-License-Identifier: MIT
/*
 * stream: a memory-bound program whose memory is where it is used
 *
 * Every thread has huge pages of its own, touched first by itself, and sits on a CPU of its own. A fixed amount of
 * work on them: copy one half to the other and back (the first access to a page is a read in one half and a write in
 * the other), then a walk of dependent loads at random. First a warm-up by the clock, in which a balancer may do what
 * it likes; then the measured part, one line of JSON with its seconds and with the share of all CPUs that others took
 * meanwhile.
 *
 *   stream [--mib N per thread] [--threads N] [--warmup-s N] [--work N] [--hold-s N]
 *
 * --hold-s: do nothing for so long instead, after touching everything, so that somebody can look at the process.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define HUGE_BYTES ((size_t)2 << 20)
#define MAX_THREADS 256
#define STEPS_PER_MIB 2000u /* of the walk, per MiB and unit of work */

struct worker {
	pthread_t thread;
	uint32_t cpu;
	uint64_t *words, nr_words, at, sum;
	uint64_t end_ns;
};

static uint32_t nr_threads, mib = 128, warmup_s = 10, work = 20, hold_s;
static struct worker worker[MAX_THREADS];
static pthread_barrier_t barrier;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void copy_half(uint64_t *to, const uint64_t *from, uint64_t nr, uint64_t add)
{
	uint64_t i;

	for (i = 0; i < nr; i++)
		to[i] = from[i] + add;
}

/* The next place depends on what was read: one load at a time, each a miss of cache and TLB. */
static void walk(struct worker *w)
{
	uint64_t steps = (uint64_t)mib * STEPS_PER_MIB, at = w->at;

	while (steps--)
		at = (at * 6364136223846793005u + w->words[(at >> 20) % w->nr_words] + 1442695040888963407u);
	w->at = at;
}

static void unit_of_work(struct worker *w)
{
	uint64_t half = w->nr_words / 2;

	copy_half(w->words + half, w->words, half, 1);
	walk(w);
	copy_half(w->words, w->words + half, half, 1);
	walk(w);
}

static void make_memory(struct worker *w)
{
	size_t bytes = (size_t)mib << 20;
	char *p = mmap(NULL, bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	p += HUGE_BYTES - (uintptr_t)p % HUGE_BYTES;
	w->words = (uint64_t *)(void *)p;
	w->nr_words = bytes / sizeof(uint64_t);
	if (mprotect(p, bytes, PROT_READ | PROT_WRITE) || madvise(p, bytes, MADV_HUGEPAGE))
		exit(1);
	memset(p, 1, bytes);
}

static void *work_thread(void *arg)
{
	struct worker *w = arg;
	uint64_t until;
	cpu_set_t set;
	uint32_t i;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	make_memory(w);
	pthread_barrier_wait(&barrier);
	for (until = now_ns() + warmup_s * 1000000000ull; !hold_s && now_ns() < until;)
		unit_of_work(w);
	pthread_barrier_wait(&barrier); /* everything is warm */
	pthread_barrier_wait(&barrier); /* the clock runs */
	for (i = 0; i < work && !hold_s; i++)
		unit_of_work(w);
	w->end_ns = now_ns();
	sleep(hold_s);
	return NULL;
}

/* CPU seconds since boot that were not idle: ours, other programs', and what a hypervisor took away. */
static double busy_s(void)
{
	unsigned long long user = 0, nice_ = 0, sys = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
	FILE *f = fopen("/proc/stat", "re");

	if (!f)
		return 0;
	if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice_, &sys, &idle, &wait, &irq, &soft,
		   &steal) != 8)
		user = nice_ = sys = irq = soft = steal = 0;
	fclose(f);
	return (double)(user + nice_ + sys + irq + soft + steal) / (double)sysconf(_SC_CLK_TCK);
}

/* Of this process, a balancer's threads in it included. */
static double own_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Hint faults the kernel has counted since it booted; -1 where it does not tell. */
static int64_t kernel_hints(void)
{
	FILE *f = fopen("/proc/vmstat", "re");
	int64_t n = -1;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "numa_hint_faults ", 17))
			n = strtoll(line + 17, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

static void options(int argc, char **argv)
{
	struct { const char *name; uint32_t *value; } known[] = {
		{ "--mib", &mib }, { "--threads", &nr_threads }, { "--warmup-s", &warmup_s },
		{ "--work", &work }, { "--hold-s", &hold_s },
	};
	size_t k;
	int i;

	nr_threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	for (i = 1; i + 1 < argc; i += 2)
		for (k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			if (!strcmp(argv[i], known[k].name))
				*known[k].value = (uint32_t)strtoul(argv[i + 1], NULL, 10);
	if (nr_threads < 1 || nr_threads > MAX_THREADS || mib < 4) {
		fprintf(stderr, "stream: bad options\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	uint64_t start, end = 0, sum = 0;
	double others;
	uint32_t cpus, i;
	int64_t hints;

	options(argc, argv);
	cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	pthread_barrier_init(&barrier, NULL, nr_threads + 1);
	for (i = 0; i < nr_threads; i++) {
		worker[i].cpu = i % cpus;
		worker[i].at = i + 1;
		if (pthread_create(&worker[i].thread, NULL, work_thread, &worker[i]))
			return 1;
	}
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	hints = kernel_hints();
	others = busy_s() - own_s();
	start = now_ns();
	pthread_barrier_wait(&barrier);
	for (i = 0; i < nr_threads; i++) {
		pthread_join(worker[i].thread, NULL);
		sum += worker[i].at;
		if (worker[i].end_ns > end)
			end = worker[i].end_ns;
	}
	others = busy_s() - own_s() - others;
	printf("{\"seconds\":%.6f,\"others_percent\":%.2f,\"kernel_hints\":%" PRId64 ",\"check\":%" PRIu64 "}\n",
	       (double)(end - start) / 1e9, 100e9 * others / (double)(end - start) / cpus, kernel_hints() - hints,
	       sum % 1000000007u);
	return 0;
}
