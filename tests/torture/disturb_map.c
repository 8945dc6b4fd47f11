// SPDX-License-Identifier: MIT
/*
 * Unmap and map anew. What was unmapped must not come back, not even at the same address a moment later.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "disturb.h"

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* One step for everybody: no instant at which the address is not mapped, so spectators may look on. */
static void map_over(struct plot *plot, struct actor *a, struct range range)
{
	void *at = plot_address(plot, range);

	doing(a, "mmap over the old mapping");
	plot_begin(plot, range, KIND_ZERO);
	plot_note(plot, a, range, OP_MAP);
	if (mmap(at, range_bytes(range), PROT_READ | PROT_WRITE, ANON | MAP_FIXED, -1, 0) != at)
		report_other(a->name, "mmap(MAP_FIXED): %s", strerror(errno));
	area_want_huge(&plot->area);
	plot_settle(plot, range);
}

/* The hole was taken by another thread's mapping before we could fill it: give up the place. */
static void map_elsewhere(struct plot *plot, struct actor *a, struct range hole)
{
	char *begin = (char *)plot->area.words, *at = plot_address(plot, hole);
	int error;

	plot_begin(plot, whole(plot), KIND_ZERO);
	if (at > begin)
		munmap(begin, (size_t)(at - begin));
	at += range_bytes(hole);
	if (at < begin + plot->area.bytes)
		munmap(at, (size_t)(begin + plot->area.bytes - at));
	error = area_replace(&plot->area);
	if (error)
		report_other(a->name, "mmap: %s", strerror(error));
	plot_settle(plot, whole(plot));
}

static struct range unmap_and_map(struct plot *plot, struct actor *a, struct range range)
{
	void *at = plot_address(plot, range), *got;

	doing(a, "munmap and mmap");
	pthread_mutex_lock(&plot->gate);
	plot_begin(plot, range, KIND_ZERO);
	plot_note(plot, a, range, OP_UNMAP);
	if (munmap(at, range_bytes(range)))
		report_other(a->name, "munmap: %s", strerror(errno));
	got = mmap(at, range_bytes(range), PROT_READ | PROT_WRITE, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	plot_note(plot, a, range, OP_MAP);
	if (got == MAP_FAILED) {
		map_elsewhere(plot, a, range);
		range = whole(plot);
	}
	area_want_huge(&plot->area);
	plot_settle(plot, range);
	pthread_mutex_unlock(&plot->gate);
	return range;
}

void step_map(struct plot *plot, struct actor *a)
{
	struct range range = pick(a, 3) ? plot_pick_huge(plot, a) : plot_pick_any(plot, a);

	if (pick(a, 4) == 0)
		range = whole(plot);
	if (pick(a, 2))
		map_over(plot, a, range);
	else
		range = unmap_and_map(plot, a, range);
	doing(a, "after mmap");
	/* One page written first: the rest of its huge page must still be zero. */
	if (pick(a, 2))
		plot_write(plot, a, (struct range){ range.first + pick(a, range.n), 1 });
	plot_verify(plot, a, range);
	plot_write(plot, a, range);
	tend(plot, a);
}
