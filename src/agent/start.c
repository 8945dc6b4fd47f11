// SPDX-License-Identifier: MIT
/*
 * start.c - what happens on the program's own threads: loading, fork, and thread creation. Program side.
 *
 * Loading maps one shared file and arms one timer; nothing else runs until spark.c sees a reason.
 */
#include <dlfcn.h>
#include <pthread.h>

#include "agent/agent.h"
#include "linux/sys.h"

struct hn_agent hn_agent;

/* ---- fork: a child must not find a page in staging (docs/protocol.md, "Fork") ---- */

static void before_fork(void) { hn_agent_pause(); }

static void after_fork_in_parent(void) { hn_agent_resume(); }

/* No agent thread and none of its areas came along; the child is managed in its own right when it is worth it. */
static void after_fork_in_child(void)
{
	if (!hn_agent.shm)
		return;
	hn_agent.slot = NULL;
	hn_agent.live = NULL;
	hn_control_reset();
	hn_spark_reset();
	hn_store_release(&hn_agent.state, HN_AGENT_IDLE);
	hn_spark_arm((uint32_t)hn_sys_gettid());
}

/* ---- threads ---- */

typedef int (*create_fn)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static create_fn real_create;

/* A stack of the program's own making can lie anywhere, managed memory included; its control block must not be armed. */
static void note_user_stack(const pthread_attr_t *attr)
{
	void *at = NULL;
	size_t size = 0;
	uint32_t n;

	if (!attr || pthread_attr_getstack(attr, &at, &size) || !at || !size)
		return;
	n = hn_add_acq_rel(&hn_agent.nr_user_stacks, 1) % 64;
	hn_agent.user_stack[n] = (struct hn_range){ (uintptr_t)at, (uintptr_t)at + size };
}

static bool is_joinable(const pthread_attr_t *attr)
{
	int state = PTHREAD_CREATE_JOINABLE;

	return !attr || (pthread_attr_getdetachstate(attr, &state) == 0 && state == PTHREAD_CREATE_JOINABLE);
}

/* A joinable thread's handle stays valid until it is joined, so its clock can be asked for its number. */
static void watch_thread(pthread_t thread)
{
	clockid_t clock;

	if (pthread_getcpuclockid(thread, &clock) == 0)
		hn_spark_arm((uint32_t)~(clock >> 3));
}

__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
							  void *(*fn)(void *), void *arg)
{
	int err;

	if (!real_create)
		real_create = (create_fn)dlsym(RTLD_NEXT, "pthread_create");
	if (hn_agent.shm)
		note_user_stack(attr);
	err = real_create(thread, attr, fn, arg);
	if (err == 0 && hn_agent.shm && hn_load_acquire(&hn_agent.state) == HN_AGENT_IDLE) {
		if (is_joinable(attr))
			watch_thread(*thread);
		hn_spark_look();
	}
	return err;
}

__attribute__((constructor)) static void load(void)
{
	real_create = (create_fn)dlsym(RTLD_NEXT, "pthread_create");
	hn_agent.shm = hn_shm_open();
	if (!hn_agent.shm)
		return;
	hn_add_acq_rel(&hn_agent.shm->loaded, 1);
	hn_who_learn(&hn_agent.rseq_from_robust, &hn_agent.tp_from_robust);
	pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
	if (hn_agent.shm->config.start_now)
		hn_agent_start();
	else
		hn_spark_arm((uint32_t)hn_sys_gettid());
}
