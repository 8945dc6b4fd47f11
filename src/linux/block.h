// SPDX-License-Identifier: MIT
/*
 * block.h - the agent's own threads, and the calls in which they sleep.
 *
 * After a fault of our own one thread puts every page back by itself (agent/rescue.c), with nobody beside it. The
 * others are not stopped at any point: each ends where it would have gone to sleep, or where it wakes up, and there the
 * engine's state is whole. Which threads those are is told by their stacks, which lie in one area.
 */
#ifndef HN_LINUX_BLOCK_H
#define HN_LINUX_BLOCK_H

#include "core/sync.h"

#define HN_MAX_HANDLERS 16
#define HN_AGENT_THREADS (HN_MAX_HANDLERS + 3) /* scanner, keeper, watchdog */

struct hn_own_thread {
	struct hn_word alive;  /* 1 from before its first step; the kernel clears it and wakes (shared futex) after its last */
	struct hn_word asleep; /* 1: in a call that leaves everything as it is, and after which it looks at `leave` */
	struct hn_word beats;  /* raised by itself: each time that it goes to sleep, reads a message, begins a pass; ... */
	struct hn_word steps;  /* ... with each system call that has done what it was asked for (pulse.h) */
	uint32_t tid;
	const char *name;      /* set by itself; NULL before */
};

/* base and bytes first: crash.c reads them in assembly. */
struct hn_own_threads {
	uintptr_t base; /* their stacks, 0: there are none */
	size_t bytes, each;
	struct hn_word nr;    /* threads started so far */
	struct hn_word leave; /* 1: whoever sleeps or is about to, but for `rescuer`, ends instead */
	struct hn_own_thread *rescuer;
	struct hn_own_thread thread[HN_AGENT_THREADS];
};

extern struct hn_own_threads hn_own_threads;

/* NULL on threads of the program. Any thread, also in a signal handler. */
struct hn_own_thread *hn_own_self(void);
/* The calling thread gets on, if it is the agent's: nothing on the program's. */
void hn_own_beat(void);
void hn_own_step(void);
/* A system call that may sleep, and that it does no harm to break off: futex waits, poll, nanosleep, sched_yield. */
long hn_sys_block(long nr, long a, long b, long c, long d, long e, long f);
#define HN_SYS_BLOCK(nr, a, b, c, d, e, f) \
	hn_sys_block((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#endif
