// SPDX-License-Identifier: MIT
#include "disturb.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "field.h"
#include "uapi/uapi.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif

struct disturber {
	enum activity activity;
	const char *name;
	disturb_step step;
	unsigned int pages;
	unsigned int nap_us; /* at most, between two steps: leaves the processors to the hammer */
	bool open;
	bool neighbours;
	struct plot plot;
	struct actor *actor;
	pthread_t thread;
	unsigned long rounds;
};

static void step_collapse(struct plot *plot, struct actor *a);
static void step_split(struct plot *plot, struct actor *a);
static void step_spectate(struct plot *plot, struct actor *a);

static struct disturber disturbers[] = {
	{ .activity = ACT_SYS, .name = "sys", .step = step_sys, .pages = 4, .nap_us = 1000 },
	{ .activity = ACT_MAP, .name = "map", .step = step_map, .pages = 4, .nap_us = 4000, .open = true },
	{ .activity = ACT_DONTNEED, .name = "dontneed", .step = step_dontneed, .pages = 5, .nap_us = 4000,
	  .open = true, .neighbours = true },
	{ .activity = ACT_FREE, .name = "free", .step = step_free, .pages = 4, .nap_us = 4000, .open = true },
	{ .activity = ACT_PROTECT, .name = "protect", .step = step_protect, .pages = 4, .nap_us = 4000, .open = true },
	{ .activity = ACT_MREMAP, .name = "mremap", .step = step_mremap, .pages = 4, .nap_us = 8000, .open = true },
	{ .activity = ACT_FORK, .name = "fork", .step = step_fork, .pages = 4, .nap_us = 150000, .open = true },
	{ .activity = ACT_RAWFORK, .name = "rawfork", .step = step_rawfork, .pages = 4, .nap_us = 300000 },
	{ .activity = ACT_EXEC, .name = "exec", .step = step_exec, .pages = 2, .nap_us = 300000 },
	{ .activity = ACT_SPAWN, .name = "spawn", .step = step_spawn, .pages = 2, .nap_us = 300000 },
	{ .activity = ACT_CHURN, .name = "churn", .step = step_churn, .pages = 4, .nap_us = 10000 },
	{ .activity = ACT_COLLAPSE, .name = "collapse", .step = step_collapse }, /* naps: opt.collapse_us */
	{ .activity = ACT_SPLIT, .name = "split", .step = step_split, .nap_us = 20000 },
	{ .activity = ACT_SPECTATE, .name = "spectate", .step = step_spectate, .nap_us = 2000 },
};

#define N_DISTURBERS (sizeof(disturbers) / sizeof(disturbers[0]))

void tend(struct plot *plot, struct actor *a)
{
	struct range range = plot_pick_any(plot, a);

	doing(a, "verifying another part of the plot");
	plot_verify(plot, a, range);
	if (pick(a, 2))
		plot_write(plot, a, range);
}

void collapse(struct plot *plot, struct actor *a)
{
	plot_note(plot, a, whole(plot), OP_COLLAPSE);
	(void)madvise(plot->area.words, plot->area.bytes, MADV_COLLAPSE);
}

/* Any of the pages that all write to, and what is done to it noted. */
static char *pick_shared(struct actor *a, enum op op)
{
	const struct event event = { .op = op, .thread = (uint8_t)a->id };
	struct field *field = &fields[pick(a, n_fields)];
	size_t page = pick(a, field->pages);

	history_add(&field->history[page], &event);
	return (char *)(field->area.words + page * HUGE_WORDS);
}

/* Not one that is absent, either. */
static bool is_small(const char *page)
{
	struct hn_page_region run;
	struct hn_pm_scan_arg arg = { .size = sizeof(arg), .start = (uintptr_t)page, .end = (uintptr_t)page + HUGE_BYTES,
				      .vec = (uintptr_t)&run, .vec_len = 1, .category_inverted = HN_PAGE_IS_HUGE,
				      .category_mask = HN_PAGE_IS_HUGE | HN_PAGE_IS_PRESENT };
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return ioctl(fd, HN_PAGEMAP_SCAN, &arg) == 1;
}

/* Forks and splits leave base pages. Put such pages together again, under everybody's hands; now and then another one, too. */
static void step_collapse(struct plot *plot, struct actor *a)
{
	char *page;

	(void)plot;
	if (!n_fields)
		return;
	doing(a, "MADV_COLLAPSE");
	page = pick_shared(a, OP_COLLAPSE);
	if (is_small(page) || pick(a, 4) == 0)
		(void)madvise(page, HUGE_BYTES, MADV_COLLAPSE);
}

/* A part of a page, told to be cold or to be reclaimed, is split from the rest first. */
static void step_split(struct plot *plot, struct actor *a)
{
	size_t first = pick(a, HUGE_BASES), n = 1 + pick(a, HUGE_BASES - first);
	bool cold = pick(a, 2);

	(void)plot;
	if (!n_fields)
		return;
	doing(a, cold ? "MADV_COLD" : "MADV_PAGEOUT");
	(void)madvise(pick_shared(a, OP_SPLIT) + first * BASE_BYTES, n * BASE_BYTES, cold ? MADV_COLD : MADV_PAGEOUT);
}

static void step_spectate(struct plot *plot, struct actor *a)
{
	(void)plot;
	for (size_t i = 0; i < N_DISTURBERS; i++) {
		if (!disturbers[i].open || !active(disturbers[i].activity))
			continue;
		doing(a, "reading while the owner disturbs");
		plot_spectate(&disturbers[i].plot, a);
	}
}

static void *disturb(void *arg)
{
	struct disturber *d = arg;

	while (!atomic_load(&stop_disturbers)) {
		d->step(&d->plot, d->actor);
		d->rounds++;
		doing(d->actor, "sleeping");
		nap_us((unsigned int)pick(d->actor, d->nap_us ? d->nap_us : opt.collapse_us) + 1);
	}
	atomic_store(&d->actor->finished, true);
	return NULL;
}

static int create(struct disturber *d, unsigned int id)
{
	d->actor = new_actor(d->name, id);
	if (!d->pages)
		return 0;
	if (plot_create(&d->plot, d->name, d->pages, id))
		return -1;
	if (d->neighbours) {
		d->plot.neighbour_first = HUGE_BASES / 2;
		d->plot.neighbours = HUGE_BASES / 2;
	}
	d->plot.open = d->open;
	plot_write(&d->plot, d->actor, whole(&d->plot));
	return 0;
}

int create_disturbers(void)
{
	unsigned int id = opt.threads;

	for (size_t i = 0; i < N_DISTURBERS; i++, id++)
		if (active(disturbers[i].activity) && create(&disturbers[i], id))
			return -1;
	return 0;
}

int start_disturbers(void)
{
	for (size_t i = 0; i < N_DISTURBERS; i++)
		if (active(disturbers[i].activity) &&
		    pthread_create(&disturbers[i].thread, NULL, disturb, &disturbers[i]))
			return -1;
	return 0;
}

void join_disturbers(void)
{
	for (size_t i = 0; i < N_DISTURBERS; i++)
		if (active(disturbers[i].activity))
			pthread_join(disturbers[i].thread, NULL);
}

void check_plots(struct actor *a)
{
	for (size_t i = 0; i < N_DISTURBERS; i++)
		if (active(disturbers[i].activity) && disturbers[i].pages) {
			doing(a, "final check");
			plot_verify(&disturbers[i].plot, a, whole(&disturbers[i].plot));
		}
}

void print_rounds(void)
{
	printf("torture: rounds:");
	for (size_t i = 0; i < N_DISTURBERS; i++)
		if (active(disturbers[i].activity))
			printf(" %s %lu", disturbers[i].name, disturbers[i].rounds);
	putchar('\n');
}

struct plot *some_plot(void)
{
	for (size_t i = 0; i < N_DISTURBERS; i++)
		if (active(disturbers[i].activity) && disturbers[i].pages)
			return &disturbers[i].plot;
	return NULL;
}
