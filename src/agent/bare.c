// SPDX-License-Identifier: MIT
/*
 * bare.c - threads without libc.
 *
 * Made with clone(2) directly: nothing is taken from the program's heap, a single-threaded program stays one for libc
 * (its locks and stdio stay on their fast paths), and a thread can be started from a signal handler. A small zeroed
 * block stands in for thread-local storage, so that a stray errno or stack-protector cookie hits harmless memory.
 *
 * All stacks lie in one area, which tells the agent's threads from the program's (linux/block.h). Of each thread's part:
 *   guard | stack for signals (crash.c) | guard | stack | thread-local storage
 */
#include <asm/prctl.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "agent/agent.h"
#include "linux/sys.h"

#define GUARD_BYTES ((size_t)4 << 10)
#define SIGNAL_BYTES ((size_t)32 << 10) /* the frame alone takes 12 KiB where the CPU has wide registers */
#define STACK_BYTES ((size_t)128 << 10)
#define TLS_BYTES ((size_t)16 << 10) /* half below the thread pointer, half above */
#define EACH (2 * GUARD_BYTES + SIGNAL_BYTES + STACK_BYTES + TLS_BYTES)

struct bare_start {
	void (*fn)(void *arg);
	void *arg;
};

__attribute__((noreturn)) static void bare_main(void *arg)
{
	struct bare_start *s = arg;

	hn_crash_guard_thread();
	s->fn(s->arg);
	for (;;)
		HN_SYS(SYS_exit, 0, 0, 0, 0, 0, 0);
}

bool hn_bare_prepare(struct hn_live *live)
{
	char *at = hn_area(live, HN_AGENT_THREADS * EACH, false);

	hn_own_threads = (struct hn_own_threads){ .each = EACH };
	if (!at)
		return false;
	hn_own_threads.bytes = HN_AGENT_THREADS * EACH;
	hn_own_threads.base = (uintptr_t)at;
	return true;
}

/* The part of this thread of the agent that signals are handled on. */
void *hn_bare_signal_stack(size_t *bytes)
{
	char *part = (char *)hn_own_threads.base + (size_t)(hn_own_self() - hn_own_threads.thread) * EACH;

	*bytes = SIGNAL_BYTES;
	return part + GUARD_BYTES;
}

static void guard(char *at) { HN_SYS(SYS_mprotect, at, GUARD_BYTES, PROT_NONE, 0, 0, 0); }

int hn_bare_thread(void (*fn)(void *arg), void *arg)
{
	unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
			      CLONE_CHILD_CLEARTID;
	uint32_t nr = hn_add_acq_rel(&hn_own_threads.nr, 1);
	struct hn_own_thread *t = &hn_own_threads.thread[nr];
	uint64_t old;
	struct bare_start *s;
	uintptr_t *tls;
	char *part;
	long ret;

	if (nr >= HN_AGENT_THREADS)
		return -EAGAIN;
	part = (char *)hn_own_threads.base + nr * EACH;
	guard(part);
	guard(part + GUARD_BYTES + SIGNAL_BYTES);
	tls = (uintptr_t *)(void *)(part + EACH - TLS_BYTES / 2);
	tls[0] = tls[2] = (uintptr_t)tls; /* where x86-64 code looks for the thread pointer itself */
	s = (struct bare_start *)(void *)(part + EACH - TLS_BYTES - 64);
	*s = (struct bare_start){ fn, arg };
	hn_store_relaxed(&t->alive, 1);
	/* The new thread inherits the mask: the program's signals are never delivered to it. */
	old = hn_block_signals();
	ret = hn_sys_clone(flags, s, tls, &t->alive.v, bare_main, s);
	hn_restore_signals(old);
	if (ret >= 0)
		return 0;
	hn_store_relaxed(&t->alive, 0);
	return (int)ret;
}

/*
 * The kernel clears `alive` on a thread's way out, and takes it off the process's list of threads a little later; where
 * its CPU pauses in between, unshare(2) and setns(2) still find a process with threads. A thread that never said its name
 * is not waited for, nor is one for ever that a debugger keeps. Not where a filter of the program's might end it for that.
 */
static void wait_off_the_list(const struct hn_own_thread *t, uint64_t end)
{
	uint32_t tid = __atomic_load_n(&t->tid, __ATOMIC_ACQUIRE);
	struct timespec step = { .tv_nsec = 100000 }; /* not a yield: it may be of lower priority than we are */

	if (!tid || hn_load_relaxed(&hn_agent.filtered))
		return;
	while (HN_SYS(SYS_tgkill, hn_sys_getpid(), tid, 0, 0, 0, 0) == 0 && hn_live_now_ns(NULL) < end)
		HN_SYS(SYS_nanosleep, &step, NULL, 0, 0, 0, 0);
}

bool hn_bare_wait_gone(uint32_t i, uint32_t ms)
{
	struct hn_own_thread *t = &hn_own_threads.thread[i];
	uint64_t end = hn_live_now_ns(NULL) + ms * 1000000ull;
	struct timespec step = { .tv_nsec = 10000000 };

	while (hn_load_acquire(&t->alive)) {
		if (hn_live_now_ns(NULL) > end)
			return false;
		hn_sys_futex(&t->alive.v, FUTEX_WAIT, 1, &step);
	}
	wait_off_the_list(t, end);
	return true;
}
