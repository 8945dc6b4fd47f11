// SPDX-License-Identifier: MIT
/*
 * The workers: all of them write all pages of the fields, and at checkpoints verify everything at rest
 *
 * The hammer is for the race this project descends from. One thread faults on a page and starts to migrate it, another
 * one faults on the same page at the same moment and is told that the page may stay; if the second one puts the old
 * page back while the first one copies it, what is written to it in between is lost when the copy is put in its place.
 * So: few pages, each armed again and again, and all threads on the same one at the same time.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "field.h"

#define CHECKPOINT_NS 1000000000ull
#define QUICK_CHECKPOINT_NS 300000000ull
/* A worker's way of working changes every 4 ms, the page all work on together every quarter of a millisecond. */
#define SLICE_SHIFT 22
#define GANG_SHIFT 18
#define BURST 16

enum style { STYLE_ALONE, STYLE_GANG, STYLE_GANG_LINE, STYLE_BURST, STYLES };

static pthread_t threads[MAX_WORKERS];
static struct actor *workers[MAX_WORKERS];
static pthread_barrier_t barrier;
static _Atomic uint64_t next_checkpoint;
static _Atomic bool stop;
static bool planted;

/* Same answer for all threads at about the same time: the clock is their meeting point, no lock needed. */
static size_t gang_page(const struct field *field, uint64_t now)
{
	return mix(opt.seed + (now >> GANG_SHIFT)) % field->pages;
}

static void visit(struct field *field, struct actor *a, uint64_t now, uint64_t slice)
{
	size_t stripe = pick(a, STRIPES);

	switch ((enum style)((slice >> 16) % STYLES)) {
	case STYLE_ALONE:
		field_visit(field, a, pick(a, field->pages), stripe, 1);
		break;
	case STYLE_GANG:
		field_visit(field, a, gang_page(field, now), stripe, 1);
		break;
	case STYLE_GANG_LINE: /* all threads in the same cache lines */
		field_visit(field, a, gang_page(field, now), (now >> GANG_SHIFT) % STRIPES, 1);
		break;
	default:
		field_visit(field, a, gang_page(field, now), stripe, 1 + (unsigned int)pick(a, BURST));
		break;
	}
}

static void work_once(struct actor *a)
{
	uint64_t now = now_ns(), slice = mix(opt.seed ^ now >> SLICE_SHIFT);
	bool hammer = active(ACT_HAMMER) && (!active(ACT_WIDE) || slice % 10 < 6);

	doing(a, hammer ? "hammering" : "visiting");
	if (hammer)
		visit(&fields[0], a, now, slice);
	else
		visit(&fields[active(ACT_HAMMER) + pick(a, n_fields - active(ACT_HAMMER))], a, now, slice);
}

static void check_share(struct actor *a)
{
	doing(a, "checkpoint");
	for (size_t f = 0; f < n_fields; f++)
		for (size_t page = a->id; page < fields[f].pages; page += opt.threads) {
			field_check_page(&fields[f], a, page);
			doing(a, "checkpoint");
		}
}

/* By one worker, while the others wait. */
static void plan(void)
{
	uint64_t now = now_ns();

	if (opt.self_test && !planted)
		self_test_corrupt_field();
	planted = true;
	if (now >= start_ns + (uint64_t)(opt.seconds * 1e9))
		atomic_store(&stop, true);
	atomic_store(&next_checkpoint, now + (opt.quick ? QUICK_CHECKPOINT_NS : CHECKPOINT_NS));
}

static void wait_for_others(struct actor *a, const char *where)
{
	doing(a, where);
	atomic_store(&a->waits, true);
	pthread_barrier_wait(&barrier);
	atomic_store(&a->waits, false);
	doing(a, where);
}

static void checkpoint(struct actor *a)
{
	wait_for_others(a, "waiting at a checkpoint");
	check_share(a);
	wait_for_others(a, "waiting after a checkpoint");
	if (a->id == 0)
		plan();
	wait_for_others(a, "waiting for the plan");
}

static void *work(void *arg)
{
	struct actor *a = arg;

	while (!atomic_load(&stop)) {
		if (now_ns() >= atomic_load(&next_checkpoint))
			checkpoint(a);
		else
			work_once(a);
	}
	atomic_store(&a->finished, true);
	return NULL;
}

int start_workers(void)
{
	int error;

	if (!n_fields)
		return 0;
	pthread_barrier_init(&barrier, NULL, opt.threads);
	atomic_store(&next_checkpoint, start_ns + QUICK_CHECKPOINT_NS);
	for (unsigned int i = 0; i < opt.threads; i++) {
		workers[i] = new_actor("worker", i);
		error = pthread_create(&threads[i], NULL, work, workers[i]);
		if (error) {
			fprintf(stderr, "torture: cannot start a thread: %s\n", strerror(error));
			return -1;
		}
	}
	return 0;
}

void join_workers(void)
{
	for (unsigned int i = 0; n_fields && i < opt.threads; i++)
		pthread_join(threads[i], NULL);
}
