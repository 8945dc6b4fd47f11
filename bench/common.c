// SPDX-License-Identifier: MIT
/*
 * common.c - see common.h.
 */
#include "common.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "uapi/uapi.h"

#define MAX_CPUS 4096

static int16_t cpu_node[MAX_CPUS], os_nid[HN_MAX_NODES];

void bench_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(77);
}

uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

unsigned int bench_nr_cpus(void) { return (unsigned int)sysconf(_SC_NPROCESSORS_ONLN); }

void bench_pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("cannot run on CPU %u: %s", cpu, strerror(errno));
}

char *bench_huge(uint32_t nr_pages)
{
	size_t bytes = nr_pages * (size_t)HN_PAGE_SIZE, gap = 2 * (size_t)HN_PAGE_SIZE;
	char *all = mmap(NULL, bytes + gap, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *p;
	size_t i;

	if (all == MAP_FAILED)
		bench_die("no address space for %u huge pages", nr_pages);
	/* Gaps around keep the kernel from merging mappings that are registered differently. */
	p = (char *)(uintptr_t)hn_page_up((hn_addr)(uintptr_t)all + HN_BASE_SIZE);
	if (mprotect(p, bytes, PROT_READ | PROT_WRITE) || madvise(p, bytes, MADV_HUGEPAGE))
		bench_die("no huge pages here: %s", strerror(errno));
	for (i = 0; i < bytes; i += HN_PAGE_SIZE)
		memset(p + i, bench_fill((uint32_t)(i / HN_PAGE_SIZE)), HN_PAGE_SIZE);
	return p;
}

static struct hn_record record; /* as agents have one */

static void fill_setup(struct bench *b, uint32_t nodes)
{
	struct sysinfo si;

	sysinfo(&si);
	b->live.setup = (struct hn_setup){
		.nr_nodes = nodes,
		.is_virtual = nodes > 1,
		.nr_cpus = MAX_CPUS,
		.cpu_node = cpu_node,
		.os_nid = os_nid,
		.nr_pages = BENCH_STAGING_PAGES,
		.min_pages = 1,
		.ram_bytes = (uint64_t)si.totalram * si.mem_unit,
	};
	b->live.stats = &b->stats;
	hn_record_init(&record, nodes);
	b->live.record = &record;
	b->live.cnt = (struct hn_live_counters){ &b->counter[0], &b->counter[1], &b->counter[2],
						 &b->counter[3], &b->counter[4], &b->counter[5],
						 &b->counter[6] };
	hn_who_learn(&b->live.rseq_from_robust, &b->live.tp_from_robust);
}

/* What discover.c does with a mapping that is ripe. */
static void manage(struct bench *b, uint32_t nodes)
{
	hn_addr start = (hn_addr)(uintptr_t)b->arena, end = start + b->nr_pages * HN_PAGE_SIZE, a;
	struct hn *hn = &b->worker.hn;

	hn_gate_write_lock(hn);
	if (hn_uffd_register(b->live.fd, start, end - start, b->live.way->register_mode))
		bench_die("cannot register the arena with userfaultfd");
	hn_region_add(&b->live, start, end, NULL);
	for (a = start; a < end; a += HN_PAGE_SIZE)
		if (!hn_pagemap_is_huge(b->live.fd_pagemap, a) || hn_manage(hn, a, nodes > 1 ? 0 : HN_NO_NODE))
			bench_die("page %u of the arena is not huge", (unsigned int)((a - start) >> HN_PAGE_SHIFT));
	hn_gate_write_unlock(hn);
}

void bench_open(struct bench *b, uint32_t nodes, enum hn_policy_kind policy, uint32_t nr_pages)
{
	struct hn_params par = { .nr_nodes = nodes, .policy = policy, .expiry_ms = 3600000, .quarantine_ms = 0 };
	struct hn_geometry geo = { .chunk_shift = 6, .nr_pages = BENCH_STAGING_PAGES };
	struct hn_live_error why;

	memset(b, 0, sizeof(*b));
	fill_setup(b, nodes);
	if (hn_live_open(&b->live, &why))
		bench_die("%s: %s", why.what, strerror(why.err));
	geo.nr_chunks = (uint32_t)(b->live.setup.ram_bytes >> HN_PAGE_SHIFT) / 64 * 2 + 256;
	if (hn_core_init(b->live.core, &geo, &par))
		bench_die("the engine does not take these settings");
	hn_worker_init(&b->worker, &b->live);
	b->nr_pages = nr_pages;
	b->arena = bench_huge(nr_pages);
	manage(b, nodes);
}

void bench_move(int fd, char *to, char *from, size_t bytes)
{
	uint64_t moved;
	int err = hn_uffd_move(fd, (hn_addr)(uintptr_t)to, (hn_addr)(uintptr_t)from, bytes, &moved);

	if (err)
		bench_die("UFFDIO_MOVE: %s after %llu of %zu bytes", strerror(-err), (unsigned long long)moved, bytes);
}

void bench_drain(struct bench *b)
{
	while (hn_drain(&b->worker.hn, 0, ~(hn_addr)0))
		sched_yield();
}

unsigned int bench_option(int argc, char **argv, const char *name, unsigned int otherwise)
{
	int i;

	for (i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return (unsigned int)strtoul(argv[i + 1], NULL, 10);
	return otherwise;
}
