// SPDX-License-Identifier: MIT
#include "control/machine.h"

#include "control/say.h"

#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOCAL_DISTANCE 10
#define REMOTE_DISTANCE 20

struct error {
	char *text;
	size_t len;
};

static bool topology_is_file(const char *topology)
{
	size_t len = strlen(topology);

	return strchr(topology, '/') || (len > 4 && strcmp(topology + len - 4, ".xml") == 0);
}

/* topology NULL: this machine. Returns NULL with a line in err. */
static hwloc_topology_t topology_open(const char *topology, struct error err)
{
	hwloc_topology_t t;
	int bad = 0;

	if (topology && topology_is_file(topology) && access(topology, R_OK) != 0) {
		hn_set_error(err.text, err.len, "cannot read topology file %s: %s", topology, strerror(errno));
		return NULL;
	}
	if (hwloc_topology_init(&t) != 0) {
		hn_set_error(err.text, err.len, "hwloc does not start: %s", strerror(errno));
		return NULL;
	}
	if (topology)
		bad = topology_is_file(topology) ? hwloc_topology_set_xml(t, topology) :
						   hwloc_topology_set_synthetic(t, topology);
	if (!bad && hwloc_topology_load(t) == 0)
		return t;
	hwloc_topology_destroy(t);
	if (topology)
		hn_set_error(err.text, err.len,
			     "'%s' is no topology: expected an hwloc synthetic description such as \"%s\" or "
			     "an hwloc XML file",
			     topology, HN_DEFAULT_TOPOLOGY);
	else
		hn_set_error(err.text, err.len, "hwloc cannot read this machine's topology: %s", strerror(errno));
	return NULL;
}

static hwloc_topology_t topology_open_real(struct error err)
{
	hwloc_topology_t t = topology_open(NULL, err);

	if (t && !hwloc_topology_is_thissystem(t)) {
		hn_set_error(err.text, err.len,
			     "hwloc was told to show another machine: unset HWLOC_XMLFILE and HWLOC_SYNTHETIC, "
			     "use --topology");
		hwloc_topology_destroy(t);
		return NULL;
	}
	return t;
}

/* Nodes that can hold pages. Some firmwares announce nodes without memory; made-up ones may leave their size out. */
static int topology_nodes(hwloc_topology_t t, hwloc_obj_t *node, struct error err)
{
	bool need_memory = hwloc_topology_is_thissystem(t) && hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_NUMANODE) > 1;
	hwloc_obj_t o = NULL;
	int nr = 0;

	while ((o = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, o))) {
		if (need_memory && !o->attr->numanode.local_memory)
			continue;
		if (nr == HN_MAX_NODES) {
			hn_set_error(err.text, err.len, "the topology has more than %d NUMA nodes", HN_MAX_NODES);
			return -1;
		}
		node[nr++] = o;
	}
	if (nr == 0)
		hn_set_error(err.text, err.len, "the topology has no NUMA node");
	return nr ? nr : -1;
}

/*
 * The node a CPU belongs to. Memory without CPUs of its own (CXL, HBM) is listed by hwloc as local to many CPUs, so the
 * node with the fewest CPUs wins, then the one with the lower number.
 */
static int node_of_pu(hwloc_obj_t pu, hwloc_obj_t *node, int nr_nodes)
{
	int best = HN_NO_NODE, best_weight = 0;

	for (int i = 0; i < nr_nodes; i++) {
		int weight = hwloc_bitmap_weight(node[i]->cpuset);

		if (!hwloc_bitmap_isset(node[i]->cpuset, pu->os_index))
			continue;
		if (best == HN_NO_NODE || weight < best_weight ||
		    (weight == best_weight && node[i]->os_index < node[best]->os_index)) {
			best = i;
			best_weight = weight;
		}
	}
	return best;
}

static void machine_default_distances(struct hn_machine *m)
{
	for (int i = 0; i < HN_MAX_NODES; i++)
		for (int j = 0; j < HN_MAX_NODES; j++)
			m->distance[i][j] = i == j ? LOCAL_DISTANCE : REMOTE_DISTANCE;
}

static int matrix_index(const struct hwloc_distances_s *d, hwloc_obj_t o)
{
	for (unsigned i = 0; i < d->nbobjs; i++)
		if (d->objs[i] == o)
			return (int)i;
	return -1;
}

/* Scaled so that local is 10, as in ACPI SLIT, whatever unit the matrix has. */
static uint8_t scaled_distance(uint64_t value, uint64_t local)
{
	uint64_t v = local ? (value * LOCAL_DISTANCE + local / 2) / local : value;

	return v < LOCAL_DISTANCE ? LOCAL_DISTANCE : v > UINT8_MAX ? UINT8_MAX : (uint8_t)v;
}

static void machine_set_distances(struct hn_machine *m, hwloc_topology_t t, hwloc_obj_t *node)
{
	struct hwloc_distances_s *d = NULL;
	unsigned nr = 1;
	int at[HN_MAX_NODES];

	machine_default_distances(m);
	if (hwloc_distances_get_by_type(t, HWLOC_OBJ_NUMANODE, &nr, &d, HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
	    nr == 0 || !d)
		return;
	for (uint32_t i = 0; i < m->nr_nodes; i++)
		at[i] = matrix_index(d, node[i]);
	for (uint32_t i = 0; i < m->nr_nodes; i++) {
		for (uint32_t j = 0; j < m->nr_nodes; j++) {
			if (i == j || at[i] < 0 || at[j] < 0)
				continue;
			m->distance[i][j] = scaled_distance(d->values[(unsigned)at[i] * d->nbobjs + (unsigned)at[j]],
							    d->values[(unsigned)at[i] * (d->nbobjs + 1)]);
		}
	}
	hwloc_distances_release(t, d);
}

/* ---- tiers ---- */

/* What a node's memory is like for the CPUs that reach it best, as the firmware says; 0: it does not. */
struct memory {
	uint64_t latency;   /* ns */
	uint64_t bandwidth; /* MiB/s */
};

static uint64_t best_value(hwloc_topology_t t, hwloc_obj_t node, hwloc_memattr_id_t what)
{
	struct hwloc_location from;
	hwloc_uint64_t value;

	return hwloc_memattr_get_best_initiator(t, what, node, 0, &from, &value) == 0 ? value : 0;
}

static struct memory memory_of(hwloc_topology_t t, hwloc_obj_t node)
{
	return (struct memory){ best_value(t, node, HWLOC_MEMATTR_ID_LATENCY), best_value(t, node, HWLOC_MEMATTR_ID_BANDWIDTH) };
}

/* The slowest that CPUs have beside them; an attribute that one of them has not is 0. */
static struct memory slowest_beside_cpus(const struct hn_machine *m, hwloc_topology_t t, hwloc_obj_t *node, const unsigned *nr_cpus)
{
	struct memory worst = { 0, UINT64_MAX };
	bool has_latency = true;

	for (uint32_t i = 0; i < m->nr_nodes; i++) {
		struct memory mem = memory_of(t, node[i]);

		if (!nr_cpus[i])
			continue;
		has_latency &= mem.latency != 0;
		if (mem.latency > worst.latency)
			worst.latency = mem.latency;
		if (mem.bandwidth < worst.bandwidth)
			worst.bandwidth = mem.bandwidth;
	}
	if (!has_latency)
		worst.latency = 0;
	return worst;
}

#define SLOWER 1.11 /* times as slow as what CPUs have beside them: a tier of its own, as the kernel has it */

/* How many times as slow; attributes that one of the two has not say nothing. 0: nothing is known. */
static double slowness(const struct memory *mem, const struct memory *beside_cpus)
{
	bool has_latency = mem->latency && beside_cpus->latency, has_bandwidth = mem->bandwidth && beside_cpus->bandwidth;
	double times = has_latency || has_bandwidth ? 1 : 0;

	if (has_latency)
		times *= (double)mem->latency / (double)beside_cpus->latency;
	if (has_bandwidth)
		times *= (double)beside_cpus->bandwidth / (double)mem->bandwidth;
	return times;
}

/*
 * Memory without CPUs of its own is slow, as the kernel has it; unless the firmware says that it is no slower than what
 * CPUs have beside them (HBM, say). nr_cpus: of each node.
 */
static void machine_find_slow(struct hn_machine *m, hwloc_topology_t t, hwloc_obj_t *node, const unsigned *nr_cpus)
{
	struct memory beside_cpus = slowest_beside_cpus(m, t, node, nr_cpus);

	m->slow_nodes = 0;
	for (uint32_t i = 0; i < m->nr_nodes; i++) {
		struct memory mem = memory_of(t, node[i]);
		double times = slowness(&mem, &beside_cpus);

		if (!nr_cpus[i] && (times == 0 || times >= SLOWER))
			m->slow_nodes |= (uint64_t)1 << i;
	}
}

static void machine_set_memory(struct hn_machine *m, hwloc_obj_t *node)
{
	for (uint32_t i = 0; i < m->nr_nodes; i++)
		m->node_bytes[i] = node[i]->attr->numanode.local_memory;
}

static void machine_clear(struct hn_machine *m)
{
	memset(m, 0, sizeof(*m));
	for (int i = 0; i < HN_MAX_CPUS; i++)
		m->cpu_node[i] = HN_NO_NODE;
}

static void machine_set_cpu(struct hn_machine *m, unsigned cpu, int node)
{
	if (cpu >= HN_MAX_CPUS)
		return; /* threads there have no node: their samples are refused, nothing worse */
	m->cpu_node[cpu] = (int16_t)node;
	if (cpu >= m->nr_cpus)
		m->nr_cpus = cpu + 1;
}

static void machine_fill_real(struct hn_machine *m, hwloc_topology_t t, hwloc_obj_t *node, int nr_nodes)
{
	unsigned nr_cpus[HN_MAX_NODES] = { 0 };
	hwloc_obj_t pu = NULL;

	machine_clear(m);
	m->nr_nodes = (uint32_t)nr_nodes;
	for (int i = 0; i < nr_nodes; i++)
		m->os_nid[i] = (int16_t)node[i]->os_index;
	while ((pu = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_PU, pu)))
		machine_set_cpu(m, pu->os_index, node_of_pu(pu, node, nr_nodes));
	machine_set_distances(m, t, node);
	machine_set_memory(m, node);
	for (uint32_t cpu = 0; cpu < m->nr_cpus; cpu++)
		if (m->cpu_node[cpu] >= 0)
			nr_cpus[m->cpu_node[cpu]]++;
	machine_find_slow(m, t, node, nr_cpus);
}

/* Divide nr_cpus among the nodes in proportion to weight; each node with a weight gets one first, while they last. */
static void deal_shares(unsigned nr_cpus, const unsigned *weight, int nr_nodes, unsigned *share)
{
	for (int i = 0; i < nr_nodes; i++) {
		share[i] = weight[i] && nr_cpus ? 1 : 0;
		nr_cpus -= share[i];
	}
	while (nr_cpus--) {
		int best = -1;

		for (int i = 0; i < nr_nodes; i++)
			if (weight[i] && (best < 0 || (uint64_t)weight[i] * (share[best] + 1) >
							      (uint64_t)weight[best] * (share[i] + 1)))
				best = i;
		if (best < 0)
			return;
		share[best]++;
	}
}

static void machine_deal_cpus(struct hn_machine *m, hwloc_topology_t real, const unsigned *weight)
{
	unsigned nr_cpus = (unsigned)hwloc_get_nbobjs_by_type(real, HWLOC_OBJ_PU), nr_with_cpus = 0, left = 0;
	unsigned share[HN_MAX_NODES];
	hwloc_obj_t pu = NULL;
	int node = -1;

	for (uint32_t i = 0; i < m->nr_nodes; i++)
		nr_with_cpus += weight[i] != 0;
	m->deal_threads = nr_cpus < nr_with_cpus;
	deal_shares(nr_cpus, weight, (int)m->nr_nodes, share);
	while ((pu = hwloc_get_next_obj_by_type(real, HWLOC_OBJ_PU, pu))) {
		while (left == 0 && node + 1 < (int)m->nr_nodes)
			left = share[++node];
		if (left == 0)
			return;
		machine_set_cpu(m, pu->os_index, node);
		left--;
	}
}

static void machine_fill_virtual(struct hn_machine *m, hwloc_topology_t t, hwloc_obj_t *node, int nr_nodes,
				 hwloc_topology_t real)
{
	unsigned weight[HN_MAX_NODES] = { 0 };
	hwloc_obj_t pu = NULL;

	machine_clear(m);
	m->nr_nodes = (uint32_t)nr_nodes;
	m->is_virtual = 1;
	while ((pu = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_PU, pu))) {
		int n = node_of_pu(pu, node, nr_nodes);

		if (n != HN_NO_NODE)
			weight[n]++;
	}
	machine_set_distances(m, t, node);
	machine_deal_cpus(m, real, weight);
	machine_set_memory(m, node);
	machine_find_slow(m, t, node, weight);
}

static int machine_build_virtual(struct hn_machine *m, const char *topology, hwloc_topology_t real, struct error err)
{
	hwloc_obj_t node[HN_MAX_NODES];
	hwloc_topology_t t = topology_open(topology, err);
	int nr;

	if (!t)
		return -1;
	nr = topology_nodes(t, node, err);
	if (nr > 0)
		machine_fill_virtual(m, t, node, nr, real);
	hwloc_topology_destroy(t);
	return nr > 0 ? 0 : -1;
}

int hn_machine_build_here(struct hn_machine *m, const char *topology, unsigned *real_nodes, char *err_text, size_t err_len)
{
	struct error err = { err_text, err_len };
	hwloc_obj_t node[HN_MAX_NODES];
	hwloc_topology_t real = topology_open_real(err);
	int nr, res = 0;

	if (!real)
		return -1;
	nr = topology_nodes(real, node, err);
	if (nr < 0)
		res = -1;
	else if (nr > 1 && !topology)
		machine_fill_real(m, real, node, nr);
	else
		res = machine_build_virtual(m, topology ? topology : HN_DEFAULT_TOPOLOGY, real, err);
	if (real_nodes)
		*real_nodes = nr > 0 ? (unsigned)nr : 0;
	hwloc_topology_destroy(real);
	return res;
}

/* ---- in a child process ---- */

#define CHILD_CPU_S 5u
#define CHILD_BYTES ((rlim_t)2 << 30)

struct answer {
	int res;
	unsigned real_nodes;
	struct hn_machine machine;
	char err[1024];
};

static void child_build(const char *topology, int to) __attribute__((noreturn));

static void child_build(const char *topology, int to)
{
	struct rlimit cpu = { CHILD_CPU_S, CHILD_CPU_S }, memory = { CHILD_BYTES, CHILD_BYTES }, core = { 0, 0 };
	struct answer *a = calloc(1, sizeof(*a));
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	setrlimit(RLIMIT_CPU, &cpu);
	setrlimit(RLIMIT_AS, &memory);
	setrlimit(RLIMIT_CORE, &core);
	/* what else hwloc has to say about it */
	if (null >= 0)
		dup2(null, STDERR_FILENO);
	if (a)
		a->res = hn_machine_build_here(&a->machine, topology, &a->real_nodes, a->err, sizeof(a->err));
	_exit(a && write(to, a, sizeof(*a)) == sizeof(*a) ? 0 : 1);
}

/* All of it, or nothing: a child that ends before has nothing to say. */
static bool read_answer(int fd, struct answer *a)
{
	size_t have = 0;
	ssize_t n;

	while (have < sizeof(*a)) {
		n = read(fd, (char *)a + have, sizeof(*a) - have);
		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		have += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool ask_child(const char *topology, struct answer *a)
{
	bool answered;
	int fd[2];
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC) != 0)
		return false;
	pid = fork();
	if (pid == 0)
		child_build(topology, fd[1]);
	close(fd[1]);
	answered = pid > 0 && read_answer(fd[0], a);
	close(fd[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return answered;
}

int hn_machine_build(struct hn_machine *m, const char *topology, unsigned *real_nodes, char *err, size_t err_len)
{
	struct answer *a;
	int res = -1;

	if (!topology)
		return hn_machine_build_here(m, topology, real_nodes, err, err_len);
	a = calloc(1, sizeof(*a));
	/* A child on whose memory hwloc has written may still answer. */
	if (a && ask_child(topology, a) && (a->res || (hn_machine_is_sane(&a->machine) && a->machine.is_virtual))) {
		a->err[sizeof(a->err) - 1] = '\0';
		res = a->res;
		*m = a->machine;
		if (real_nodes)
			*real_nodes = a->real_nodes;
		hn_set_error(err, err_len, "%s", a->err);
	} else {
		hn_set_error(err, err_len,
			     "'%s': hwloc makes no machine of it (in %u s and %u GiB): expected a smaller or simpler one, "
			     "such as \"%s\"", topology, CHILD_CPU_S, (unsigned)(CHILD_BYTES >> 30), HN_DEFAULT_TOPOLOGY);
	}
	free(a);
	return res;
}

const char *hn_machine_pins_nothing(const struct hn_machine *m)
{
	if (m->deal_threads)
		return "there are fewer CPUs than virtual nodes, so threads are dealt to nodes and cannot be moved to them; expected a "
		       "topology with a CPU for each node, such as --topology 'node:2 pu:1'";
	return NULL;
}
