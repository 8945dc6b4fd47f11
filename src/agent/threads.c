// SPDX-License-Identifier: MIT
/*
 * threads.c - pthread_create, seen from outside: each new thread of a process that is not managed yet is watched
 * (spark.c), and stacks of the program's own making are kept out of managed memory. Program side.
 *
 * Why the stacks must be known before their threads start: the last thing a thread does is to have the kernel clear a
 * word in its control block, and where that word's page is absent the kernel gives up without a word: whoever joins the
 * thread waits for ever. Two kinds of mutexes are kept out with them, for whose words the kernel does not wait either:
 * priority-inheriting ones, as libc ends a program whose kernel cannot read a mutex; and robust ones, which the kernel unlocks
 * for a thread that has ended, or else whoever waits for one sleeps for ever.
 */
#include <dlfcn.h>
#include <pthread.h>

#include "agent/agent.h"
#include "linux/sys.h"

typedef int (*create_fn)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static create_fn real_create;
static int (*real_mutex_init)(pthread_mutex_t *, const pthread_mutexattr_t *);

static void note_user_stack(const pthread_attr_t *attr)
{
	void *at = NULL;
	size_t size = 0;

	/* Attributes without a stack of their own say it begins `size` below address 0. */
	if (!attr || pthread_attr_getstack(attr, &at, &size) || !at || !size || (uintptr_t)at + size == 0)
		return;
	hn_keep_out((uintptr_t)at, (uintptr_t)at + size);
}

static bool must_be_there(const pthread_mutexattr_t *attr)
{
	int protocol = PTHREAD_PRIO_NONE, robust = PTHREAD_MUTEX_STALLED;

	return (pthread_mutexattr_getprotocol(attr, &protocol) == 0 && protocol == PTHREAD_PRIO_INHERIT) ||
	       (pthread_mutexattr_getrobust(attr, &robust) == 0 && robust == PTHREAD_MUTEX_ROBUST);
}

__attribute__((visibility("default"))) int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
	if (!real_mutex_init)
		hn_threads_load();
	/* The whole huge page, so that many mutexes in it are one range. */
	if (attr && must_be_there(attr))
		hn_keep_out(hn_page_down((uintptr_t)m), hn_page_up((uintptr_t)(m + 1)));
	return real_mutex_init(m, attr);
}

/* ---- watching ---- */

/* What a new thread is to run, until it has picked it up. No heap: a fixed number, and then threads go unwatched. */
struct launch {
	struct hn_word taken;
	void *(*fn)(void *);
	void *arg;
};

static struct launch launches[256];

static struct launch *take_launch(void)
{
	uint32_t i;

	for (i = 0; i < sizeof(launches) / sizeof(launches[0]); i++)
		if (hn_load_relaxed(&launches[i].taken) == 0 && hn_cas_acquire(&launches[i].taken, 0, 1))
			return &launches[i];
	return NULL;
}

static void *watched(void *arg)
{
	struct launch *l = arg;
	void *(*fn)(void *) = l->fn;

	arg = l->arg;
	hn_store_release(&l->taken, 0);
	hn_spark_arm((uint32_t)hn_sys_gettid());
	return fn(arg);
}

static int create_watched(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	struct launch *l = take_launch();
	int err;

	if (!l)
		return real_create(thread, attr, fn, arg);
	l->fn = fn;
	l->arg = arg;
	err = real_create(thread, attr, watched, l);
	if (err)
		hn_store_release(&l->taken, 0);
	else
		hn_spark_look();
	return err;
}

__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
							  void *(*fn)(void *), void *arg)
{
	if (!real_create)
		hn_threads_load();
	note_user_stack(attr); /* also before we are set up: the program's libraries are, before */
	if (!hn_agent.shm)
		return real_create(thread, attr, fn, arg);
	hn_affinity_release_self();
	if (hn_load_acquire(&hn_agent.state) == HN_AGENT_IDLE)
		return create_watched(thread, attr, fn, arg);
	return real_create(thread, attr, fn, arg);
}

void hn_threads_load(void)
{
	real_create = (create_fn)dlsym(RTLD_NEXT, "pthread_create");
	real_mutex_init = (int (*)(pthread_mutex_t *, const pthread_mutexattr_t *))dlsym(RTLD_NEXT, "pthread_mutex_init");
}

/* In a forked child: whoever held what is not here. */
void hn_threads_reset(void)
{
	uint32_t i;

	for (i = 0; i < sizeof(launches) / sizeof(launches[0]); i++)
		hn_store_relaxed(&launches[i].taken, 0);
}
