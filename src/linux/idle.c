// SPDX-License-Identifier: MIT
/* idle.c - how busy the CPUs of each node are, whoever uses them, from /proc/stat. */
#include <fcntl.h>
#include <string.h>

#include "linux/lines.h"
#include "linux/live.h"
#include "linux/number.h"

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

struct look {
	const struct hn_live *live;
	const uint64_t *cpus;
	uint64_t *idle_ms;
	bool any;
};

/* One line. False: no more of them are about CPUs. */
static bool take_line(void *arg, const char *line, const char *end)
{
	struct look *l = arg;
	const struct hn_setup *s = &l->live->setup;
	uint32_t cpu;
	uint64_t ms;

	(void)end;
	if (strncmp(line, "cpu", 3) != 0)
		return false;
	l->any = true;
	if (hn_idle_line(line, &cpu, &ms) && cpu < s->nr_cpus && s->cpu_node[cpu] >= 0 && (l->cpus[cpu / 64] >> (cpu % 64) & 1))
		l->idle_ms[s->cpu_node[cpu]] += ms;
	return true;
}

bool hn_idle_look(const struct hn_live *live, const uint64_t *cpus, uint64_t *idle_ms)
{
	struct look l = { live, cpus, idle_ms, false };
	long fd = hn_sys_open("/proc/stat", O_RDONLY | O_CLOEXEC);
	char buf[2048];

	memset(idle_ms, 0, HN_MAX_NODES * sizeof(*idle_ms));
	if (fd < 0)
		return false;
	hn_each_line((int)fd, buf, sizeof(buf), take_line, &l);
	hn_sys_close((int)fd);
	return l.any;
}
