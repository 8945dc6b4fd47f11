// SPDX-License-Identifier: MIT
/*
 * maps.h - what the kernel says about a process's memory: by node (numa_maps), and about one address (smaps).
 */
#ifndef HN_CONTROL_MAPS_H
#define HN_CONTROL_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HN_OS_NODES 1024u

/*
 * The kernel counts a mapping in pages of its own size and says which: 4 KiB also for transparent huge pages, whose share is
 * in smaps only, and not by node; 2 MiB or 1 GiB for hugetlb.
 */
struct hn_kernel_view {
	uint64_t resident_bytes, anon_huge_bytes;
	uint64_t node_bytes[HN_OS_NODES]; /* everything, hugetlb included */
	uint64_t node_hugetlb_bytes[HN_OS_NODES];
};

/* 0 or -errno. */
int hn_kernel_view(struct hn_kernel_view *v, uint32_t pid);
/* The same from open files' texts; for tests too. A line that is not understood counts nothing. */
void hn_kernel_view_line(struct hn_kernel_view *v, const char *numa_maps_line);

/* One mapping, as far as it matters here. */
struct hn_mapping {
	uint64_t start, end;
	char perms[8];
	char name[256];  /* file, "[heap]", "" for anonymous memory; printable */
	char policy[64]; /* as numa_maps has it: "default", "bind:0"; "" unknown */
	uint64_t inode;
	uint64_t resident_bytes, anon_huge_bytes;
	bool may_be_huge;              /* THPeligible */
	bool locked, hugetlb, no_huge; /* VmFlags lo, ht, nh */
};

/* In the texts of smaps and numa_maps, which may be NULL: the mapping at addr, and its policy. False: there is none. */
bool hn_mapping_find(struct hn_mapping *m, FILE *smaps, uint64_t addr);
void hn_mapping_find_policy(struct hn_mapping *m, FILE *numa_maps);

/* The mapping at addr. 0; -ENOENT: there is none; -errno. */
int hn_mapping_at(struct hn_mapping *m, uint32_t pid, uint64_t addr);

#endif
