// SPDX-License-Identifier: MIT
/*
 * Give memory back to the kernel and keep the mapping. Dropped content must not come back.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "disturb.h"

static void drop(struct plot *plot, struct actor *a, struct range range, enum kind kind)
{
	bool lazy = kind == KIND_FREED;

	doing(a, lazy ? "MADV_FREE" : "MADV_DONTNEED");
	plot_begin(plot, range, kind);
	plot_note(plot, a, range, lazy ? OP_FREE : OP_DONTNEED);
	if (madvise(plot_address(plot, range), range_bytes(range), lazy ? MADV_FREE : MADV_DONTNEED))
		report_other(a->name, "madvise: %s", strerror(errno));
	plot_settle(plot, range);
	doing(a, lazy ? "after MADV_FREE" : "after MADV_DONTNEED");
}

static void step_drop(struct plot *plot, struct actor *a, enum kind kind)
{
	struct range ranges[3];
	size_t n = 1 + pick(a, 3);

	/* Several in a row without a look in between: their events are on the way at the same time. */
	for (size_t i = 0; i < n; i++) {
		ranges[i] = plot_pick_any(plot, a);
		drop(plot, a, ranges[i], kind);
	}
	for (size_t i = 0; i < n; i++) {
		switch (pick(a, 3)) {
		case 0: /* one page written first: the rest of its huge page must still be what it was */
			plot_write(plot, a, (struct range){ ranges[i].first + pick(a, ranges[i].n), 1 });
			plot_verify(plot, a, ranges[i]);
			break;
		case 1: /* read first: may map the huge zero page */
			plot_verify(plot, a, ranges[i]);
			break;
		default: /* written at once: what is written after the drop must stay */
			plot_write(plot, a, ranges[i]);
			plot_verify(plot, a, ranges[i]);
			break;
		}
	}
	/* Whole huge pages again, most of the time, so that there is something to balance. */
	for (size_t i = 0; i < n && pick(a, 4); i++)
		plot_write(plot, a, ranges[i]);
	tend(plot, a);
	if (pick(a, 16) == 0) {
		struct range all = plot_pick_huge(plot, a);

		drop(plot, a, all, KIND_ZERO);
		plot_write(plot, a, all);
	}
}

void step_dontneed(struct plot *plot, struct actor *a)
{
	step_drop(plot, a, KIND_ZERO);
}

void step_free(struct plot *plot, struct actor *a)
{
	step_drop(plot, a, KIND_FREED);
}
