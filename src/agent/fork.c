// SPDX-License-Identifier: MIT
/*
 * fork.c - a child must not find holes where its parent's pages lie in staging (docs/protocol.md, "Fork"). Program
 * side.
 *
 * fork(3) runs our handlers. libc's two ways around them, _Fork(3) and clone(2) without CLONE_VM, are wrapped; and
 * madvise(2), to know whether there is memory that children find zeroed (src/linux/forked.c).
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/agent.h"
#include "linux/sys.h"

pid_t _Fork(void); /* glibc 2.34 and later declare it */

typedef int (*clone_fn)(int (*)(void *), void *, int, void *, ...);

static pid_t (*real_fork)(void);
static clone_fn real_clone;
static int (*real_madvise)(void *, size_t, int);

/*
 * An agent that does not answer may have pages in staging, where the child will have holes. Where the kernel tells of
 * forks the handlers fill them. Else the child would take zeros for its data: it must not run at all. To its parent that
 * is a child that was killed, which programs are prepared for.
 */
static void before_fork(void)
{
	bool whole;

	hn_affinity_release_self();
	whole = hn_agent_pause();
	const struct hn_live *live = hn_agent.live;

	hn_store_relaxed(&hn_agent.child_has_holes, !whole && live && !live->fork_events);
}

static void after_fork_in_parent(void) { hn_agent_resume(); }

static void die_if_holed(void)
{
	if (hn_load_relaxed(&hn_agent.child_has_holes))
		HN_SYS(SYS_kill, hn_sys_getpid(), SIGKILL, 0, 0, 0, 0);
}

/* No agent thread and none of its areas came along; the child is managed in its own right when it is worth it. */
static void after_fork_in_child(void)
{
	if (!hn_agent.shm)
		return;
	die_if_holed();
	hn_agent.pid = (uint32_t)hn_sys_getpid();
	hn_agent.slot = NULL;
	hn_agent.live = NULL;
	hn_own_threads = (struct hn_own_threads){ 0 };
	hn_crash_reset();
	if (hn_load_acquire(&hn_agent.shm_lost))
		hn_agent.shm = NULL; /* what is there now is its parent's */
	hn_control_reset();
	hn_threads_reset();
	hn_lockall_reset();
	hn_affinity_reset();
	hn_spark_reset();
	hn_agent.returns = 0;
	if (hn_load_relaxed(&hn_agent.filtered)) {
		hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
		return;
	}
	hn_store_release(&hn_agent.state, HN_AGENT_IDLE);
	hn_spark_arm((uint32_t)hn_sys_gettid());
}

__attribute__((visibility("default"))) pid_t _Fork(void)
{
	pid_t pid;

	if (!real_fork) {
		errno = ENOSYS;
		return -1;
	}
	before_fork();
	pid = real_fork();
	if (pid == 0)
		after_fork_in_child();
	else
		after_fork_in_parent();
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

	after_fork_in_child();
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
	before_fork();
	pid = real_clone(cloned, stack, flags, &s, parent_tid, tls, child_tid);
	after_fork_in_parent();
	return pid;
}

__attribute__((visibility("default"))) int madvise(void *at, size_t bytes, int advice)
{
	if (advice == MADV_WIPEONFORK)
		hn_store_relaxed(&hn_agent.wipes, 1);
	if (!real_madvise)
		hn_fork_load();
	return real_madvise(at, bytes, advice);
}

void hn_fork_load(void)
{
	real_fork = (pid_t(*)(void))dlsym(RTLD_NEXT, "_Fork");
	real_clone = (clone_fn)dlsym(RTLD_NEXT, "clone");
	real_madvise = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "madvise");
}

void hn_fork_handle(void) { pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }
