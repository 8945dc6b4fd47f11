// SPDX-License-Identifier: MIT
/*
 * stream: a memory-bound program whose memory is where it is used
 *
 * Every thread has huge pages of its own, touched first by itself, and sits on a CPU of its own. It copies one half of
 * them to the other and back, a MiB at a time, and after each MiB walks over all of it at random, each load depending
 * on the one before. First a warm-up, in which a balancer may do what it likes; then the measured part, in windows of a
 * twentieth of a second: how much was done, how many page faults there were (a hint is one; there are no others), and
 * what share of all CPUs others took meanwhile, so that disturbed windows can be told.
 *
 *   stream [--mib N per thread] [--threads N] [--warmup-s N] [--measure-s N] [--hold-s N]
 *
 * --hold-s: after touching everything do nothing for so long, so that somebody can look at the process.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
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
#define MIB ((size_t)1 << 20)
#define STEPS 4096u /* of the walk after each MiB */
#define WINDOW_MS 50u
#define MAX_WINDOWS 4000u

struct worker {
	pthread_t thread;
	uint32_t cpu;
	uint64_t *words, nr_words, at;
	_Atomic uint64_t done; /* MiB copied and walks made */
};

static uint32_t nr_threads, mib = 128, warmup_s = 6, measure_s = 8, hold_s;
static struct worker worker[MAX_THREADS];
static pthread_barrier_t barrier;
static atomic_bool leave;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void copy(uint64_t *to, const uint64_t *from, uint64_t nr)
{
	uint64_t i;

	for (i = 0; i < nr; i++)
		to[i] = from[i] + 1;
}

/* The next place depends on what was read: one load at a time, most of them a miss of cache and TLB. */
static void walk(struct worker *w)
{
	uint64_t steps = STEPS, at = w->at;

	while (steps--)
		at = at * 6364136223846793005u + w->words[(at >> 20) % w->nr_words] + 1442695040888963407u;
	w->at = at;
}

static void there_and_back(struct worker *w)
{
	uint64_t half = w->nr_words / 2, chunk = MIB / sizeof(uint64_t), i, way;

	for (way = 0; way < 2; way++)
		for (i = 0; i + chunk <= half && !atomic_load_explicit(&leave, memory_order_relaxed); i += chunk) {
			copy(w->words + i + (way ? 0 : half), w->words + i + (way ? half : 0), chunk);
			walk(w);
			atomic_fetch_add_explicit(&w->done, 1, memory_order_relaxed);
		}
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
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	make_memory(w);
	pthread_barrier_wait(&barrier);
	while (!hold_s && !atomic_load(&leave))
		there_and_back(w);
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
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
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
		{ "--measure-s", &measure_s }, { "--hold-s", &hold_s },
	};
	size_t k;
	int i;

	nr_threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	for (i = 1; i + 1 < argc; i += 2)
		for (k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			if (!strcmp(argv[i], known[k].name))
				*known[k].value = (uint32_t)strtoul(argv[i + 1], NULL, 10);
	if (nr_threads < 1 || nr_threads > MAX_THREADS || mib < 4 || measure_s > MAX_WINDOWS * WINDOW_MS / 1000) {
		fprintf(stderr, "stream: bad options\n");
		exit(2);
	}
}

struct window {
	uint64_t ns, done, faults;
	double others_s;
};

static struct window look(void)
{
	struct window w = { .ns = now_ns(), .others_s = busy_s() - own_s() };
	struct rusage u;
	uint32_t i;

	getrusage(RUSAGE_SELF, &u);
	w.faults = (uint64_t)(u.ru_minflt + u.ru_majflt);
	for (i = 0; i < nr_threads; i++)
		w.done += atomic_load_explicit(&worker[i].done, memory_order_relaxed);
	return w;
}

static void measure(uint32_t cpus)
{
	static struct window at[MAX_WINDOWS + 1];
	struct timespec pause = { 0, WINDOW_MS * 1000000l };
	uint32_t nr = measure_s * 1000 / WINDOW_MS, i;
	int64_t hints;

	sleep(warmup_s);
	memset(at, 0, sizeof(at)); /* or its first touches would be taken for hints */
	hints = kernel_hints();
	at[0] = look();
	for (i = 1; i <= nr; i++) {
		nanosleep(&pause, NULL);
		at[i] = look();
	}
	printf("{\"kernel_hints\":%" PRId64 ",\"windows\":[", kernel_hints() - hints);
	for (i = 1; i <= nr; i++) {
		const struct window *w = &at[i], *before = w - 1;
		double s = (double)(w->ns - before->ns) / 1e9;

		printf("%s[%.1f,%" PRIu64 ",%.1f]", i > 1 ? "," : "", (double)(w->done - before->done) / s,
		       w->faults - before->faults, 100 * (w->others_s - before->others_s) / s / cpus);
	}
	printf("]}\n"); /* of each window: MiB a second, faults, percent of all CPUs used by others */
}

int main(int argc, char **argv)
{
	uint32_t cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN), i;

	options(argc, argv);
	pthread_barrier_init(&barrier, NULL, nr_threads + 1);
	for (i = 0; i < nr_threads; i++) {
		worker[i].cpu = i % cpus;
		worker[i].at = i + 1;
		if (pthread_create(&worker[i].thread, NULL, work_thread, &worker[i]))
			return 1;
	}
	pthread_barrier_wait(&barrier);
	if (!hold_s)
		measure(cpus);
	atomic_store(&leave, true);
	for (i = 0; i < nr_threads; i++)
		pthread_join(worker[i].thread, NULL);
	return 0;
}
