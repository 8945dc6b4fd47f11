// SPDX-License-Identifier: MIT
/*
 * calls_fork.c - libc's ways to fork without running the handlers of fork.c, _Fork(3) and clone(2) without CLONE_VM, wrapped.
 * Program side.
 */
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <unistd.h>

#include "agent/agent.h"
#include "linux/sys.h"

pid_t _Fork(void); /* glibc 2.34 and later declare it */

typedef int (*clone_fn)(int (*)(void *), void *, int, void *, ...);

static pid_t (*real_fork)(void);
static clone_fn real_clone;

__attribute__((visibility("default"))) pid_t _Fork(void)
{
	pid_t pid;

	if (!real_fork)
		hn_fork_load();
	if (!real_fork) {
		errno = ENOSYS;
		return -1;
	}
	hn_before_fork();
	pid = real_fork();
	if (pid == 0)
		hn_after_fork_in_child();
	else
		hn_after_fork_in_parent();
	return pid;
}

struct clone_start {
	int (*fn)(void *);
	void *arg;
};

/* The record is the child's own copy of what lies on the stack of the thread that called clone. */
static int cloned(void *arg)
{
	struct clone_start s = *(struct clone_start *)arg;

	hn_after_fork_in_child();
	/* To return would end this thread only: by now there may be threads of the agent, and they would live on. */
	HN_SYS(SYS_exit_group, s.fn(s.arg), 0, 0, 0, 0, 0);
	return 0;
}

__attribute__((visibility("default"))) int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	struct clone_start s = { fn, arg };
	void *parent_tid, *tls, *child_tid;
	va_list more;
	int pid;

	va_start(more, arg);
	parent_tid = va_arg(more, void *);
	tls = va_arg(more, void *);
	child_tid = va_arg(more, void *);
	va_end(more);
	if (!real_clone)
		hn_fork_load();
	if (flags & CLONE_VM)
		hn_affinity_release_self();
	if ((flags & CLONE_VM) || !hn_agent.shm || !fn)
		return real_clone(fn, stack, flags, arg, parent_tid, tls, child_tid);
	hn_before_fork();
	pid = real_clone(cloned, stack, flags, &s, parent_tid, tls, child_tid);
	hn_after_fork_in_parent();
	return pid;
}

void hn_fork_load(void)
{
	real_fork = (pid_t(*)(void))dlsym(RTLD_NEXT, "_Fork");
	real_clone = (clone_fn)dlsym(RTLD_NEXT, "clone");
}
