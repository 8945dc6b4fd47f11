// SPDX-License-Identifier: MIT
/* idle.c - how busy the CPUs of each node are, whoever uses them, from /proc/stat. */
#include <fcntl.h>
#include <string.h>

#include "linux/live.h"
#include "linux/number.h"
#include "linux/sys.h"

/* As Linux counts for programs on all architectures that we know. */
#define MS_PER_TICK 10u

/* "cpu3 USER NICE SYSTEM IDLE IOWAIT ..." */
bool hn_idle_line(const char *line, uint32_t *cpu, uint64_t *ms)
{
	uint64_t value, idle = 0;
	const char *p = line + 3;
	int field;

	if (strncmp(line, "cpu", 3) != 0 || *p < '0' || *p > '9')
		return false;
	p = hn_read_number(p, &value);
	*cpu = value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
	for (field = 1; field <= 5; field++) {
		if (*p != ' ' || p[1] < '0' || p[1] > '9')
			return false;
		p = hn_read_number(p + 1, &value);
		idle += field >= 4 ? value : 0;
	}
	*ms = idle * MS_PER_TICK;
	return true;
}

/* One line. False: no more of them are about CPUs. */
static bool take_line(const struct hn_live *live, const uint64_t *cpus, const char *line, uint64_t *idle_ms)
{
	uint32_t cpu;
	uint64_t ms;

	if (strncmp(line, "cpu", 3) != 0)
		return false;
	if (hn_idle_line(line, &cpu, &ms) && cpu < live->setup.nr_cpus && live->setup.cpu_node[cpu] >= 0 &&
	    (cpus[cpu / 64] >> (cpu % 64) & 1))
		idle_ms[live->setup.cpu_node[cpu]] += ms;
	return true;
}

bool hn_idle_look(const struct hn_live *live, const uint64_t *cpus, uint64_t *idle_ms)
{
	long fd = hn_sys_open("/proc/stat", O_RDONLY | O_CLOEXEC), n = 0;
	bool more = fd >= 0, any = false;
	size_t have = 0;
	char buf[2048];

	memset(idle_ms, 0, HN_MAX_NODES * sizeof(*idle_ms));
	while (more && have < sizeof(buf) - 1 && (n = hn_sys_read((int)fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		char *line = buf, *end;

		have += (size_t)n;
		buf[have] = '\0';
		while (more && (end = strchr(line, '\n')) != NULL) {
			*end = '\0';
			more = take_line(live, cpus, line, idle_ms);
			any |= more;
			line = end + 1;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
	}
	if (fd >= 0)
		hn_sys_close((int)fd);
	return any;
}
