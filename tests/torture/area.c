// SPDX-License-Identifier: MIT
#include "area.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#define GUARD_BYTES HUGE_BYTES

static int reserve(struct area *area, size_t bytes)
{
	/* One page more than the guards and the area: room to align and to be misaligned on purpose. */
	area->outer_bytes = bytes + 2 * GUARD_BYTES + HUGE_BYTES;
	area->outer = mmap(NULL, area->outer_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return area->outer == MAP_FAILED ? errno : 0;
}

static char *first_huge(const struct area *area)
{
	uintptr_t p = (uintptr_t)area->outer + GUARD_BYTES;

	return area->outer + GUARD_BYTES + (HUGE_BYTES - p % HUGE_BYTES) % HUGE_BYTES;
}

/* The area itself is left alone: it has moved away, and its old place may be somebody else's by now. */
static void release_guards(const struct area *area)
{
	char *inner = (char *)area->words, *end = inner + area->bytes, *outer_end = area->outer + area->outer_bytes;

	if (inner > area->outer)
		munmap(area->outer, (size_t)(inner - area->outer));
	if (outer_end > end)
		munmap(end, (size_t)(outer_end - end));
}

void area_want_huge(const struct area *area)
{
	/* Without huge pages the torture is weaker, never wrong. */
	(void)madvise(area->words, area->bytes, MADV_HUGEPAGE);
}

static int map_inside(struct area *area)
{
	void *p;

	if (reserve(area, area->bytes))
		return errno;
	p = mmap(first_huge(area), area->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED)
		return errno;
	area->words = p;
	area_want_huge(area);
	return 0;
}

int area_map(struct area *area, const char *name, size_t pages)
{
	area->name = name;
	area->bytes = pages * HUGE_BYTES;
	if (map_inside(area)) {
		perror("torture: mmap");
		return -1;
	}
	return 0;
}

int area_replace(struct area *area)
{
	release_guards(area);
	return map_inside(area);
}

int area_move(struct area *area, size_t misalign)
{
	struct area old = *area;
	void *to;
	int error = reserve(area, area->bytes);

	if (error)
		return error;
	to = mremap(old.words, old.bytes, old.bytes, MREMAP_MAYMOVE | MREMAP_FIXED, first_huge(area) + misalign);
	if (to == MAP_FAILED) {
		error = errno;
		munmap(area->outer, area->outer_bytes);
		*area = old;
		return error;
	}
	area->words = to;
	release_guards(&old);
	return 0;
}

int area_grow(struct area *area, size_t extra)
{
	char *to = mremap(area->words, area->bytes, area->bytes + extra, MREMAP_MAYMOVE);

	if (to == MAP_FAILED)
		return errno;
	/* The guard behind it was in the way, so it moved. The extra bytes count as a guard: area_move() drops them. */
	release_guards(area);
	area->words = (uint64_t *)(void *)to;
	area->outer = to;
	area->outer_bytes = area->bytes + extra;
	return 0;
}

size_t area_count_huge(const struct area *area)
{
	unsigned long from, to, kib, huge = 0;
	bool inside = false;
	char line[512];
	FILE *smaps = fopen("/proc/self/smaps", "re");

	if (!smaps)
		return 0;
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from < (uintptr_t)area->words + area->bytes && to > (uintptr_t)area->words;
		else if (inside && sscanf(line, "AnonHugePages: %lu kB", &kib) == 1)
			huge += kib >> 11;
	}
	fclose(smaps);
	return huge;
}
