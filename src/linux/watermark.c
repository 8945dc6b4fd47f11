// SPDX-License-Identifier: MIT
/*
 * watermark.c - which nodes are short of memory: none of their zones has more free than its high watermark, what it keeps for
 * those who can use no other zone, and a huge page. The kernel's own balancing sends no huge page to such a node, either; a
 * migration there would only wake its reclaim.
 */
#include "linux/lines.h"
#include "linux/live.h"
#include "linux/number.h"

#include <fcntl.h>
#include <string.h>

#define HUGE_BASE_PAGES (HN_PAGE_SIZE / HN_BASE_SIZE)

static bool starts(const char *line, const char *word) { return strncmp(line, word, strlen(word)) == 0; }

static uint64_t number(const char *p)
{
	uint64_t v;

	while (*p == ' ')
		p++;
	hn_read_number(p, &v);
	return v;
}

static void zone_done(struct hn_zoneinfo *z)
{
	if (z->node >= 0 && z->free > z->high + z->reserve + HUGE_BASE_PAGES)
		z->room |= (uint64_t)1 << z->node;
	z->free = z->high = z->reserve = 0;
}

/* "(0, 2966, 24090)": kept from an allocation that could also use zone 0, 1, 2. Huge pages can use all, and no number is larger. */
static uint64_t largest(const char *p)
{
	uint64_t most = 0, v;

	while (*p == '(' || *p == ',' || *p == ' ')
		p++;
	while (*p >= '0' && *p <= '9') {
		p = hn_read_number(p, &v);
		most = v > most ? v : most;
		while (*p == ',' || *p == ' ')
			p++;
	}
	return most;
}

/* Fields stand below the zone's name: "pages free N", "high N", then "protection: (N, ...)"; other lines say nothing here. */
void hn_zoneinfo_line(struct hn_zoneinfo *z, const char *line)
{
	while (*line == ' ')
		line++;
	if (starts(line, "Node ")) {
		uint64_t node = number(line + 5);

		zone_done(z);
		z->node = node < HN_MAX_NODES ? (int)node : -1;
		if (z->node >= 0)
			z->seen |= (uint64_t)1 << z->node;
	} else if (starts(line, "pages free ")) {
		z->free = number(line + 11);
	} else if (starts(line, "high ")) {
		z->high = number(line + 5);
	} else if (starts(line, "protection: ")) {
		z->reserve = largest(line + 12);
	}
}

void hn_zoneinfo_end(struct hn_zoneinfo *z)
{
	zone_done(z);
	z->node = -1;
}

static bool take_line(void *z, const char *line, const char *end)
{
	(void)end;
	hn_zoneinfo_line(z, line);
	return true;
}

uint64_t hn_nodes_short(const struct hn_live *live)
{
	struct hn_zoneinfo z = { .node = -1 };
	uint64_t short_nodes = 0;
	char buf[2048];
	uint32_t i;
	long fd;
	bool ok;

	if (live->setup.is_virtual || live->setup.nr_nodes < 2)
		return 0;
	fd = hn_sys_open("/proc/zoneinfo", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ok = hn_each_line((int)fd, buf, sizeof(buf), take_line, &z);
	hn_zoneinfo_end(&z);
	hn_sys_close((int)fd);
	for (i = 0; ok && i < live->setup.nr_nodes; i++) {
		int os = live->setup.os_nid[i];

		if (os < HN_MAX_NODES && (z.seen >> os & 1) && !(z.room >> os & 1))
			short_nodes |= (uint64_t)1 << i;
	}
	return short_nodes;
}
