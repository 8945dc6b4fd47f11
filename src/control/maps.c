// SPDX-License-Identifier: MIT
#include "control/maps.h"

#include "control/say.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *open_proc(uint32_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/%s", pid, name);
	return fopen(path, "re");
}

/* "N0=512" among the words; pages of `unit` bytes. */
void hn_kernel_view_line(struct hn_kernel_view *v, const char *line)
{
	const char *size = strstr(line, "kernelpagesize_kB="), *p;
	uint64_t unit = (size ? strtoull(size + 18, NULL, 10) : 4) * 1024;

	for (p = strchr(line, ' '); p; p = strchr(p + 1, ' ')) {
		unsigned node;
		uint64_t pages;

		if (sscanf(p, " N%u=%" SCNu64, &node, &pages) != 2 || node >= HN_OS_NODES)
			continue;
		v->node_bytes[node] += pages * unit;
		if (unit > 4096)
			v->node_hugetlb_bytes[node] += pages * unit;
	}
}

static bool field_kib(const char *line, const char *name, uint64_t *bytes)
{
	size_t len = strlen(name);

	if (strncmp(line, name, len) != 0 || line[len] != ':')
		return false;
	*bytes = strtoull(line + len + 1, NULL, 10) * 1024;
	return true;
}

int hn_kernel_view(struct hn_kernel_view *v, uint32_t pid)
{
	FILE *f = open_proc(pid, "numa_maps");
	size_t room = 0;
	char *line = NULL;

	memset(v, 0, sizeof(*v));
	if (!f)
		return -errno;
	while (getline(&line, &room, f) > 0)
		hn_kernel_view_line(v, line);
	fclose(f);
	f = open_proc(pid, "smaps_rollup");
	while (f && getline(&line, &room, f) > 0) {
		field_kib(line, "AnonHugePages", &v->anon_huge_bytes);
		field_kib(line, "Rss", &v->resident_bytes);
	}
	if (f)
		fclose(f);
	free(line);
	return 0;
}

/* ---- one mapping ---- */

static bool parse_head(struct hn_mapping *m, const char *line)
{
	int name = 0;
	uint64_t start, end, inode;
	char perms[8];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %*s %" SCNu64 " %n", &start, &end, perms, &inode, &name) != 4)
		return false;
	*m = (struct hn_mapping){ .start = start, .end = end, .inode = inode };
	memcpy(m->perms, perms, sizeof(m->perms));
	snprintf(m->name, sizeof(m->name), "%.*s", (int)strcspn(line + name, "\n"), line + name);
	hn_make_printable(m->name);
	return true;
}

static bool has_flag(const char *flags, const char *flag)
{
	const char *p = strstr(flags, flag);

	return p && p[-1] == ' ' && (p[2] == ' ' || p[2] == '\n' || !p[2]);
}

static void parse_detail(struct hn_mapping *m, const char *line)
{
	field_kib(line, "Rss", &m->resident_bytes);
	field_kib(line, "AnonHugePages", &m->anon_huge_bytes);
	if (strncmp(line, "THPeligible:", 12) == 0)
		m->may_be_huge = atoi(line + 12) != 0;
	if (strncmp(line, "VmFlags:", 8) == 0) {
		m->locked = has_flag(line, "lo");
		m->hugetlb = has_flag(line, "ht");
		m->no_huge = has_flag(line, "nh");
	}
}

void hn_mapping_find_policy(struct hn_mapping *m, FILE *f)
{
	size_t room = 0;
	char *line = NULL;
	uint64_t start;

	while (f && getline(&line, &room, f) > 0)
		if (sscanf(line, "%" SCNx64, &start) == 1 && start == m->start)
			sscanf(line, "%*x %63s", m->policy);
	free(line);
	hn_make_printable(m->policy);
}

bool hn_mapping_find(struct hn_mapping *m, FILE *f, uint64_t addr)
{
	struct hn_mapping head;
	bool found = false;
	size_t room = 0;
	char *line = NULL;

	while (f && getline(&line, &room, f) > 0) {
		if (parse_head(&head, line)) {
			if (found)
				break;
			found = addr >= head.start && addr < head.end;
			*m = head;
		} else if (found) {
			parse_detail(m, line);
		}
	}
	free(line);
	return found;
}

int hn_mapping_at(struct hn_mapping *m, uint32_t pid, uint64_t addr)
{
	FILE *f = open_proc(pid, "smaps");
	bool found;

	if (!f)
		return -errno;
	found = hn_mapping_find(m, f, addr);
	fclose(f);
	if (!found)
		return -ENOENT;
	f = open_proc(pid, "numa_maps");
	hn_mapping_find_policy(m, f);
	if (f)
		fclose(f);
	return 0;
}
