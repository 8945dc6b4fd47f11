// SPDX-License-Identifier: MIT
/*
 * fault: how long a thread waits in a hinting fault that ends without a migration
 *
 * Ours: the shipped handler loop in as many threads as the agent starts, real messages, policy observe, every page
 * local. Bare: the smallest handler there can be, one thread that blocks in read(2) and moves the page back. Each side
 * has its own arena, staging and descriptor; sides alternate round by round. The clock is read in the thread that
 * faults, around the access. Handlers share its CPU ("same") or all sit on another one ("other").
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "uapi/uapi.h"

#define PAGES BENCH_WINDOW_PAGES
#define HANDLERS 2
#define SETTLE_NS 3000000l

static struct bench b;
static struct hn_worker handler[HANDLERS];
static char *arena, *staging; /* of the bare side */
static int fd;
static atomic_int tids[HANDLERS + 1];

static void *our_handler(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;

	atomic_store(&tids[i], (int)syscall(SYS_gettid));
	hn_worker_init(&handler[i], &b.live);
	hn_serve(&handler[i].hn);
	return NULL;
}

static void *bare_handler(void *arg)
{
	struct uffd_msg m;

	atomic_store(&tids[HANDLERS], (int)syscall(SYS_gettid));
	while (read(fd, &m, sizeof(m)) == (ssize_t)sizeof(m)) {
		char *page = (char *)(uintptr_t)hn_page_down(m.arg.pagefault.address);

		bench_move(fd, page, staging + (page - arena), HN_PAGE_SIZE);
	}
	return arg;
}

static void start(unsigned int i, void *(*fn)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, (void *)(uintptr_t)i))
		bench_die("cannot start a thread");
	while (!atomic_load(&tids[i]))
		sched_yield();
}

static void open_bare(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = HN_UFFD_FEATURE_PAGEFAULT_FLAG_WP | HN_UFFD_FEATURE_MOVE,
	};

	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		bench_die("userfaultfd: %s", strerror(errno));
	arena = bench_huge(PAGES);
	staging = bench_huge(PAGES);
	if (hn_uffd_register(fd, (hn_addr)(uintptr_t)arena, PAGES * HN_PAGE_SIZE, UFFDIO_REGISTER_MODE_MISSING) ||
	    hn_uffd_register(fd, (hn_addr)(uintptr_t)staging, PAGES * HN_PAGE_SIZE, UFFDIO_REGISTER_MODE_WP))
		bench_die("cannot register with userfaultfd");
	madvise(staging, PAGES * HN_PAGE_SIZE, MADV_DONTNEED);
}

static void place_handlers(bool same)
{
	cpu_set_t set;
	unsigned int i;

	CPU_ZERO(&set);
	CPU_SET(same ? 0 : bench_nr_cpus() - 1, &set);
	for (i = 0; i <= HANDLERS; i++)
		if (sched_setaffinity(atomic_load(&tids[i]), sizeof(set), &set))
			bench_die("cannot place a handler: %s", strerror(errno));
}

static void arm(bool ours)
{
	size_t batch = HN_ARM_BATCH * (size_t)HN_PAGE_SIZE, at;

	if (!ours) {
		for (at = 0; at < PAGES * HN_PAGE_SIZE; at += batch)
			bench_move(fd, staging + at, arena + at, batch);
		return;
	}
	if (hn_scan_pass(&b.worker.hn, PAGES) != PAGES)
		bench_die("not every page could be armed");
}

static uint64_t touch(volatile char *p, bool write)
{
	uint64_t begin = bench_now_ns();

	if (write)
		*p = 5;
	else
		(void)*p;
	return bench_now_ns() - begin;
}

static void one_round(unsigned int round, bool ours, bool write, bool same)
{
	struct timespec settle = { 0, SETTLE_NS };
	char *base = ours ? b.arena : arena;
	uint64_t ns[PAGES];
	uint32_t i;

	arm(ours);
	nanosleep(&settle, NULL); /* every handler is asleep again */
	for (i = 0; i < PAGES; i++)
		ns[i] = touch(base + i * HN_PAGE_SIZE + 12345, write);
	nanosleep(&settle, NULL);
	if (ours && (b.stats.armed_now || b.stats.local != b.stats.samples))
		bench_die("a page stayed armed, or was not local");
	printf("{\"bench\":\"fault\",\"how\":\"%s %s\",\"round\":%u,\"side\":\"%s\",\"ns\":[", write ? "write" : "read",
	       same ? "same" : "other", round, ours ? "ours" : "bare");
	for (i = 0; i < PAGES; i++)
		printf("%s%llu", i ? "," : "", (unsigned long long)ns[i]);
	printf("]}\n");
}

static void all_rounds(unsigned int rounds, bool write, bool same)
{
	unsigned int i;

	place_handlers(same);
	for (i = 0; i <= rounds; i++) { /* round 0 warms up */
		one_round(i, i % 2, write, same);
		one_round(i, !(i % 2), write, same);
	}
}

int main(int argc, char **argv)
{
	unsigned int rounds = bench_option(argc, argv, "--rounds", 12), i;

	bench_pin(0);
	bench_open(&b, 4, HN_POLICY_OBSERVE, PAGES);
	open_bare();
	for (i = 0; i < HANDLERS; i++)
		start(i, our_handler);
	start(HANDLERS, bare_handler);
	for (i = 0; i < (bench_nr_cpus() > 1 ? 4u : 2u); i++)
		all_rounds(rounds, i % 2, i < 2);
	fflush(stdout);
	_exit(0); /* the handlers sleep in the kernel; nothing is armed */
}
