// SPDX-License-Identifier: MIT
/*
 * room.c - will the kernel find a huge page on a node by itself? Asked for the kernel mover only.
 *
 * A page that we give back for it may be kept for a CPU, where it does not count as free, and the kernel allocates
 * nothing below its watermarks, which are some percent of a node at most. Where exactly they are it does not say node by
 * node; but what was free when the node gave a huge page to the pool is enough again.
 */
#include <string.h>

#include "linux/live.h"
#include "linux/number.h"
#include "linux/sys.h"

#define PAGE_KIB ((uint32_t)(HN_PAGE_SIZE >> 10))
#define PLENTY 8u        /* with one eighth of the node free nothing can be near a watermark */
#define SCARCE_MS 10000u /* how long nothing is left to the kernel after it had to split a page */

/* A node of 4 TiB has more KiB than that. */
static uint32_t at_most_32_bits(uint64_t v) { return v < UINT32_MAX ? (uint32_t)v : UINT32_MAX; }

/* What the node's allocator counts as free, and all there is; 0 when it cannot be known. */
static uint32_t free_kib(const struct hn_live *live, uint32_t n, uint32_t *total)
{
	char path[64], buf[256];

	hn_number_path(path, "/sys/devices/system/node/node", (uint32_t)live->setup.os_nid[n], "/meminfo");
	hn_sys_read_file(path, buf, sizeof(buf));
	*total = at_most_32_bits(hn_number_behind(buf, "MemTotal:"));
	return at_most_32_bits(hn_number_behind(buf, "MemFree:"));
}

static bool is_asked_for(const struct hn_live *live) { return live->setup.kernel_mover && !live->setup.is_virtual; }

uint32_t hn_room_kib(const struct hn_live *live, uint32_t n)
{
	uint32_t total;

	return is_asked_for(live) ? free_kib(live, n, &total) : 0;
}

/* When the kernel had to make room for the page, more is free now than before. */
void hn_room_note_enough(struct hn_live *live, uint32_t n, uint32_t before_kib)
{
	struct hn_word *w = &live->pool_node[n].enough_kib;
	uint32_t known = hn_load_relaxed(w), after = hn_room_kib(live, n), had;

	if (!is_asked_for(live))
		return;
	had = after > before_kib ? after + PAGE_KIB : before_kib;
	if (!known || had < known)
		hn_store_relaxed(w, had);
}

bool hn_room_is_scarce(const struct hn_live *live, uint32_t n)
{
	return hn_ms_left(hn_load_relaxed(&live->pool_node[n].scarce_until_ms), hn_live_now_ms(), SCARCE_MS) > 0;
}

void hn_room_note_scarce(struct hn_live *live, uint32_t n)
{
	hn_store_relaxed(&live->pool_node[n].scarce_until_ms, hn_live_now_ms() + SCARCE_MS);
}

bool hn_room_is_enough(const struct hn_live *live, uint32_t n)
{
	uint32_t total, kib;

	if (!is_asked_for(live))
		return true;
	kib = free_kib(live, n, &total);
	return kib >= total / PLENTY || kib >= hn_load_relaxed(&live->pool_node[n].enough_kib);
}
