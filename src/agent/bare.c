// SPDX-License-Identifier: MIT
/*
 * bare.c - threads without libc.
 *
 * Made with clone(2) directly: nothing is taken from the program's heap, a single-threaded program stays one for libc
 * (its locks and stdio stay on their fast paths), and a thread can be started from a signal handler. A small zeroed
 * block stands in for thread-local storage, so that a stray errno or stack-protector cookie hits harmless memory.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "agent/agent.h"
#include "linux/sys.h"

#define STACK_BYTES ((size_t)128 << 10)
#define TLS_BYTES ((size_t)16 << 10) /* half below the thread pointer, half above */

struct bare_start {
	void (*fn)(void *arg);
	void *arg;
};

__attribute__((noreturn)) static void bare_main(void *arg)
{
	struct bare_start *s = arg;

	s->fn(s->arg);
	for (;;)
		HN_SYS(SYS_exit, 0, 0, 0, 0, 0, 0);
}

int hn_bare_thread(void (*fn)(void *arg), void *arg, struct hn_live *live)
{
	unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
	uint64_t all = ~0ull, old = 0;
	struct bare_start *s;
	uintptr_t *tls;
	char *block;
	long ret;

	block = hn_area(live, STACK_BYTES + TLS_BYTES, false);
	if (!block)
		return -ENOMEM;
	tls = (uintptr_t *)(void *)(block + STACK_BYTES + TLS_BYTES / 2);
	tls[0] = tls[2] = (uintptr_t)tls; /* where x86-64 code looks for the thread pointer itself */
	s = (struct bare_start *)(void *)(block + STACK_BYTES - 64);
	*s = (struct bare_start){ fn, arg };
	/* The new thread inherits the mask: the program's signals are never delivered to it. */
	HN_SYS(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(all), 0, 0);
	ret = hn_sys_clone(flags, s, tls, NULL, bare_main, s);
	HN_SYS(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old), 0, 0);
	return ret < 0 ? (int)ret : 0;
}
