// SPDX-License-Identifier: MIT
/*
 * Move the mapping under its content: on the huge page grid, off it, with growth, and leaving an empty mapping behind.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "disturb.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static void move(struct plot *plot, struct actor *a, size_t misalign)
{
	int error;

	doing(a, misalign ? "mremap off the huge page grid" : "mremap");
	pthread_mutex_lock(&plot->gate);
	plot_note(plot, a, whole(plot), OP_MREMAP);
	error = area_move(&plot->area, misalign);
	pthread_mutex_unlock(&plot->gate);
	if (error)
		report_other(a->name, "mremap: %s", strerror(error));
	doing(a, misalign ? "after mremap off the huge page grid" : "after mremap");
	plot_verify(plot, a, whole(plot));
}

static void expect_zero(struct plot *plot, struct actor *a, const uint64_t *words, size_t bytes, const char *what)
{
	for (size_t i = 0; i < bytes / sizeof(*words); i++) {
		uint64_t found = load(&words[i]);

		if (found) {
			report_other(a->name, "%s: word %zu at %p of plot %s is %#lx, not 0", what, i,
				     (const void *)&words[i], plot->area.name, (unsigned long)found);
			break;
		}
	}
	a->checked += bytes / sizeof(*words);
}

static void grow(struct plot *plot, struct actor *a)
{
	size_t extra = (1 + pick(a, 2)) * HUGE_BYTES;
	int error;

	doing(a, "mremap to a larger size");
	pthread_mutex_lock(&plot->gate);
	plot_note(plot, a, whole(plot), OP_GROW);
	error = area_grow(&plot->area, extra);
	pthread_mutex_unlock(&plot->gate);
	if (error) {
		report_other(a->name, "mremap to a larger size: %s", strerror(error));
		return;
	}
	expect_zero(plot, a, plot->area.words + plot->area.bytes / sizeof(uint64_t), extra, "memory grown by mremap");
	plot_verify(plot, a, whole(plot));
	move(plot, a, 0);
}

/* MREMAP_DONTUNMAP: the content goes, the old mapping stays and reads zero. */
static void move_leaving(struct plot *plot, struct actor *a)
{
	struct area *area = &plot->area, old = *area;
	void *to;

	doing(a, "mremap leaving the old mapping");
	pthread_mutex_lock(&plot->gate);
	plot_note(plot, a, whole(plot), OP_MREMAP);
	to = mremap(old.words, old.bytes, old.bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	if (to != MAP_FAILED) {
		area->words = to;
		area->outer = to;
		area->outer_bytes = area->bytes;
	}
	pthread_mutex_unlock(&plot->gate);
	/* Not offered before Linux 5.7: nothing to test then. */
	if (to == MAP_FAILED)
		return;
	expect_zero(plot, a, old.words, old.bytes, "mapping left by MREMAP_DONTUNMAP");
	munmap(old.outer, old.outer_bytes);
	plot_verify(plot, a, whole(plot));
	move(plot, a, 0);
}

void step_mremap(struct plot *plot, struct actor *a)
{
	switch (pick(a, 8)) {
	case 0:
		move(plot, a, (1 + pick(a, HUGE_BASES - 1)) * BASE_BYTES);
		plot_write(plot, a, plot_pick_any(plot, a));
		move(plot, a, 0);
		collapse(plot, a);
		break;
	case 1:
		grow(plot, a);
		collapse(plot, a);
		break;
	case 2:
		move_leaving(plot, a);
		collapse(plot, a);
		break;
	default:
		move(plot, a, 0);
		break;
	}
	tend(plot, a);
}
