// SPDX-License-Identifier: MIT
/*
 * nodes.c - the machine's NUMA nodes as the kernel shows them in /sys/devices/system/node; or virtual ones.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/proc.h"
#include "lib/lib.h"

#define NODES "/sys/devices/system/node/"
#define LIST_BYTES 8192
#define LOCAL_DISTANCE 10
#define REMOTE_DISTANCE 20

/* Call fn for each number of a list such as "0-3,8"; of what is no list, for as much as there is. */
static void each(const char *list, void (*fn)(void *arg, unsigned n), void *arg)
{
	while (*list >= '0' && *list <= '9') {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first < HN_MAX_CPUS; first++)
			fn(arg, (unsigned)first);
		if (*end != ',')
			return;
		list = end + 1;
	}
}

static bool read_list(const char *path, void (*fn)(void *arg, unsigned n), void *arg)
{
	char text[LIST_BYTES];

	if (hn_read_text(path, text, sizeof(text)))
		return false;
	each(text, fn, arg);
	return true;
}

static void add_node(void *arg, unsigned n)
{
	struct hn_machine *m = arg;

	if (m->nr_nodes < HN_MAX_NODES && n < 1024)
		m->os_nid[m->nr_nodes++] = (int16_t)n;
}

struct cpus {
	struct hn_machine *m;
	int node;
};

static void add_cpu(void *arg, unsigned n)
{
	struct cpus *c = arg;

	if (n >= HN_MAX_CPUS)
		return;
	c->m->cpu_node[n] = (int16_t)c->node;
	if (n >= c->m->nr_cpus)
		c->m->nr_cpus = n + 1;
}

static void clear(struct hn_machine *m)
{
	memset(m, 0, sizeof(*m));
	for (int i = 0; i < HN_MAX_CPUS; i++)
		m->cpu_node[i] = HN_NO_NODE;
	for (int i = 0; i < HN_MAX_NODES; i++)
		for (int j = 0; j < HN_MAX_NODES; j++)
			m->distance[i][j] = i == j ? LOCAL_DISTANCE : REMOTE_DISTANCE;
}

static void read_cpus(struct hn_machine *m, unsigned os_nid, int node)
{
	struct cpus c = { m, node };
	char path[64];

	snprintf(path, sizeof(path), NODES "node%u/cpulist", os_nid);
	read_list(path, add_cpu, &c);
}

/* Row of the kernel's matrix for node os_nid: distances to all nodes there are, in their order; as many as there are. */
static unsigned read_distances(unsigned os_nid, uint8_t *to, unsigned room)
{
	char path[64], text[4096], *p = text, *end;
	unsigned n = 0;

	snprintf(path, sizeof(path), NODES "node%u/distance", os_nid);
	if (hn_read_text(path, text, sizeof(text)))
		return 0;
	for (; n < room; p = end, n++) {
		unsigned long v = strtoul(p, &end, 10);

		if (end == p)
			break;
		to[n] = v < 255 ? (uint8_t)v : 255;
	}
	return n;
}

struct online {
	unsigned nr, nid[HN_MAX_NODES];
};

static void add_online(void *arg, unsigned n)
{
	struct online *o = arg;

	if (o->nr < HN_MAX_NODES)
		o->nid[o->nr++] = n;
}

static int index_of(const struct hn_machine *m, unsigned os_nid)
{
	for (uint32_t i = 0; i < m->nr_nodes; i++)
		if (m->os_nid[i] == (int)os_nid)
			return (int)i;
	return HN_NO_NODE;
}

/* Nodes with memory get their distances; CPUs of a node without belong to the nearest that has some. */
static void read_matrix(struct hn_machine *m, const struct online *o)
{
	uint8_t row[HN_MAX_NODES];

	for (unsigned i = 0; i < o->nr; i++) {
		unsigned n = read_distances(o->nid[i], row, o->nr);
		int from = index_of(m, o->nid[i]), nearest = from;
		unsigned least = 256;

		for (unsigned k = 0; k < n; k++) {
			int to = index_of(m, o->nid[k]);

			if (to < 0)
				continue;
			if (from >= 0) {
				m->distance[from][to] = row[k];
			} else if (row[k] < least) {
				least = row[k];
				nearest = to;
			}
		}
		if (nearest >= 0)
			read_cpus(m, o->nid[i], nearest);
	}
}

/* Memory without CPUs of its own, as `hugenuma run` has it where the firmware does not say how fast it is. */
static void find_slow(struct hn_machine *m)
{
	uint64_t with_cpus = 0;

	for (uint32_t cpu = 0; cpu < m->nr_cpus; cpu++)
		if (m->cpu_node[cpu] >= 0)
			with_cpus |= (uint64_t)1 << m->cpu_node[cpu];
	for (uint32_t i = 0; i < m->nr_nodes && with_cpus; i++)
		if (!(with_cpus >> i & 1))
			m->slow_nodes |= (uint64_t)1 << i;
}

static int real_nodes(struct hn_machine *m)
{
	struct online o = { 0 };

	if (!read_list(NODES "has_memory", add_node, m) || !read_list(NODES "online", add_online, &o) || m->nr_nodes < 2)
		return -ENODEV;
	read_matrix(m, &o);
	find_slow(m);
	return 0;
}

static void count_cpu(void *arg, unsigned n)
{
	(void)n;
	++*(unsigned *)arg;
}

struct deal {
	struct hn_machine *m;
	unsigned next, nr;
};

/* In blocks, as `hugenuma run` does. */
static void deal_cpu(void *arg, unsigned n)
{
	struct deal *d = arg;
	struct cpus c = { d->m, d->nr < d->m->nr_nodes ? (int)d->next : (int)(d->next * d->m->nr_nodes / d->nr) };

	d->next++;
	add_cpu(&c, n);
}

/* The list is read once: a CPU that came between two looks would be dealt to a node beyond the last. */
static void virtual_nodes(struct hn_machine *m, uint32_t nr)
{
	struct deal d = { m, 0, 0 };
	char online[LIST_BYTES];

	m->nr_nodes = nr;
	m->is_virtual = 1;
	if (hn_read_text("/sys/devices/system/cpu/online", online, sizeof(online)))
		online[0] = '\0';
	each(online, count_cpu, &d.nr);
	m->deal_threads = d.nr < nr;
	each(online, deal_cpu, &d);
}

int hn_lib_nodes(struct hn_machine *m, uint32_t nr)
{
	clear(m);
	if (!nr)
		return real_nodes(m);
	virtual_nodes(m, nr);
	return 0;
}
