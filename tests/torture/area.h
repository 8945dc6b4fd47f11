// SPDX-License-Identifier: MIT
/*
 * area: a run of huge pages in a mapping of its own
 *
 * Guards without access on both sides keep the mapping from merging with a neighbour, so that it consists of huge
 * pages only and is one VMA, and keep a moved or unmapped area's place from being confused with another one's.
 */
#ifndef TORTURE_AREA_H
#define TORTURE_AREA_H

#include "torture.h"

struct area {
	const char *name;
	uint64_t *words; /* where it is now */
	size_t bytes;
	char *outer;	 /* guards included */
	size_t outer_bytes;
};

int area_map(struct area *area, const char *name, size_t pages);

/* Give up the guards of an area that the caller has unmapped, and map it anew elsewhere. Reads zero afterwards. */
int area_replace(struct area *area);

/* mremap() to a new place, @misalign bytes off the huge page grid. Returns 0 or the errno of mremap(). */
int area_move(struct area *area, size_t misalign);

/* mremap() to a size larger by @extra, readable at the end of the area until the next area_move(). 0 or an errno. */
int area_grow(struct area *area, size_t extra);

/* Ask for huge pages again after a part was mapped anew. */
void area_want_huge(const struct area *area);

/* How many of the area's pages are mapped by one huge entry; 0 also when the kernel cannot tell. */
size_t area_count_huge(const struct area *area);

#endif
