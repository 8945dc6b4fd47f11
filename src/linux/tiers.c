// SPDX-License-Identifier: MIT
/*
 * tiers.c - how much memory nodes have free, for core/tier.h. Scanner thread.
 *
 * Free is what can be had at once: free pages, and the page cache that is not in active use. Of virtual nodes it is what the
 * managed pages leave of the size that the topology gives the node.
 */
#include <string.h>

#include "linux/live.h"
#include "linux/number.h"
#include "linux/sys.h"

#define PAGE_KIB (HN_PAGE_SIZE >> 10)

static void count_page(void *arg, hn_addr haddr, int nid)
{
	struct hn_tier_memory *mem = arg;

	(void)haddr;
	if (nid >= 0 && mem[nid].free)
		mem[nid].free--;
}

static void virtual_memory(struct hn_worker *w, struct hn_tier_memory *mem)
{
	const struct hn_setup *s = &w->live->setup;
	uint32_t i;

	for (i = 0; i < s->nr_nodes; i++)
		mem[i].total = mem[i].free = s->node_bytes[i] >> HN_PAGE_SHIFT;
	hn_census(&w->hn, count_page, mem);
}

/* A node that cannot be asked about stays at 0: nothing is known of it. */
static void real_memory(const struct hn_live *live, struct hn_tier_memory *mem)
{
	char path[64], buf[1024];
	uint32_t i;

	for (i = 0; i < live->setup.nr_nodes; i++) {
		hn_number_path(path, "/sys/devices/system/node/node", (uint32_t)live->setup.os_nid[i], "/meminfo");
		hn_sys_read_file(path, buf, sizeof(buf));
		mem[i].total = hn_number_behind(buf, "MemTotal:") / PAGE_KIB;
		mem[i].free = (hn_number_behind(buf, "MemFree:") + hn_number_behind(buf, "Inactive(file):")) / PAGE_KIB;
	}
}

bool hn_tiers_look(struct hn_worker *w, uint64_t allowed)
{
	const struct hn_setup *s = &w->live->setup;
	struct hn_tier_memory mem[HN_MAX_NODES] = { { 0, 0 } };
	struct hn_tier_machine m = { s->nr_nodes, s->slow_nodes, allowed, s->low_permille, s->distance, 0 };
	struct hn_tier_plan plan;
	bool wanted = false;
	uint32_t i;

	if (s->is_virtual)
		virtual_memory(w, mem);
	else
		real_memory(w->live, mem);
	for (i = 0; i < s->nr_nodes; i++)
		m.demoting |= (uint64_t)(w->hn.core->plan.pages[i] != 0) << i;
	hn_tier_make_plan(&m, mem, &plan);
	hn_tier_set_plan(&w->hn, &plan);
	for (i = 0; i < s->nr_nodes; i++)
		wanted |= plan.pages[i] != 0;
	return wanted;
}
