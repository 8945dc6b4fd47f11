// SPDX-License-Identifier: MIT
/*
 * common.h - what the in-process benchmarks share: the shipped backend opened in this very process, an arena of huge
 * pages under its management, and the same kind of arena for a bare loop of system calls to compare with.
 *
 * A benchmark prints one JSON object per measurement and computes no statistics: bench/run does.
 */
#ifndef HN_BENCH_COMMON_H
#define HN_BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "linux/live.h"

/* As the agent's default: 1024 MiB armed at one time, 256 MiB a pass. */
#define BENCH_STAGING_PAGES 512u
#define BENCH_WINDOW_PAGES 128u

struct bench {
	struct hn_live live;
	struct hn_stats stats;
	struct hn_worker worker;
	uint64_t counter[7];
	char *arena;
	uint32_t nr_pages;
};

/* Ends the process with a line on stderr; status 77 when this machine cannot do it at all. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *format, ...);

uint64_t bench_now_ns(void);
void bench_pin(unsigned int cpu);
unsigned int bench_nr_cpus(void);

/* nr_pages huge pages with gaps around them, page i filled with bench_fill(i). */
char *bench_huge(uint32_t nr_pages);
static inline int bench_fill(uint32_t page) { return (int)(1 + page % 250); }

/*
 * Open the backend as the agent does and manage an arena of nr_pages, all taken to lie on node 0. `nodes` > 1 makes the
 * nodes virtual. Every CPU belongs to node 0, so that a sample is local until a page has been moved.
 */
void bench_open(struct bench *b, uint32_t nodes, enum hn_policy_kind policy, uint32_t nr_pages);

/* A bare UFFDIO_MOVE that must succeed. */
void bench_move(int fd, char *to, char *from, size_t bytes);
/* Hints put back outside a fault, until none is left. */
void bench_drain(struct bench *b);

/* "--name N" among the arguments, else otherwise. */
unsigned int bench_option(int argc, char **argv, const char *name, unsigned int otherwise);

#endif
