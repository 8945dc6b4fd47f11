// SPDX-License-Identifier: MIT
/*
 * Threads that come, work on a part of the plot and go, several at a time.
 */
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "disturb.h"

#define MAX_MAYFLIES 4

struct mayfly {
	struct actor actor;
	struct plot *plot;
	struct range range;
	pthread_t thread;
};

static void *live_and_die(void *arg)
{
	struct mayfly *m = arg;

	plot_verify(m->plot, &m->actor, m->range);
	plot_write(m->plot, &m->actor, m->range);
	if (pick(&m->actor, 2))
		plot_verify(m->plot, &m->actor, m->range);
	if (pick(&m->actor, 2))
		pthread_exit(NULL);
	return NULL;
}

static int hatch(struct mayfly *m, struct plot *plot, struct actor *a, struct range range)
{
	pthread_attr_t attr;
	int error;

	memset(m, 0, sizeof(*m));
	m->actor.name = a->name;
	m->actor.id = a->id;
	m->actor.random = next_random(a);
	atomic_init(&m->actor.doing, "in a short-lived thread");
	m->plot = plot;
	m->range = range;
	pthread_attr_init(&attr);
	/* Different sizes: some stacks come from libc's cache, some are mapped anew. */
	pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN + ((size_t)65536 << pick(a, 5)));
	error = pthread_create(&m->thread, &attr, live_and_die, m);
	pthread_attr_destroy(&attr);
	return error;
}

void step_churn(struct plot *plot, struct actor *a)
{
	static struct mayfly mayflies[MAX_MAYFLIES];
	size_t n = 1 + pick(a, MAX_MAYFLIES), started = 0;

	doing(a, "starting threads");
	while (started < n) {
		size_t from = plot->bases * started / n, to = plot->bases * (started + 1) / n;
		int error = hatch(&mayflies[started], plot, a, (struct range){ from, to - from });

		if (error) {
			report_other(a->name, "pthread_create: %s", strerror(error));
			break;
		}
		started++;
	}
	doing(a, "joining threads");
	for (size_t i = 0; i < started; i++)
		pthread_join(mayflies[i].thread, NULL);
}
