// SPDX-License-Identifier: MIT
/*
 * watch.c - from outside, and by the kernel's word only: where are a program's huge pages, where are their users?
 *
 *   bench-watch INTERVAL_MS     orders on standard input, samples on standard output
 *
 *   area PID ADDRESS PAGES TID[,TID...]    watch these huge pages, which these threads use; an area at the same address
 *                                          is the same pages with other users
 *   forget                                 watch nothing
 *   agents FILE                            the shared memory of the run of hugenuma: its agents' count of hint faults
 *   phase                                  from here on pages move "again" only if they have moved since
 *   end
 *
 * A page's node is what move_pages(2) says when asked without a target; a page that is absent at that moment (it may be
 * armed) is where it was last. A thread's node is that of the CPU it ran on last. A page is local when it is on the node
 * of one of its users. A sample is a line of numbers: names[] below, in this order; the first line has the names.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/layout.h"

#define HUGE ((uint64_t)2 << 20)
#define MAX_AREAS 64
#define MAX_USERS 16
#define MAX_PAGES 2048 /* of an area */
#define MAX_CPUS 256
#define LINE 512
#define UNKNOWN (-1)

struct area {
	int pid;
	int nr_users;
	int user[MAX_USERS];
	uint64_t at;
	unsigned int nr_pages;
	long faults;         /* of its process, as last heard */
	int *node;           /* as last heard */
	unsigned int *moves; /* since the phase began */
};

static const char *const vmstat_names[] = {
	"numa_hint_faults",  "numa_pte_updates",	"numa_huge_pte_updates",
	"numa_pages_migrated", "thp_split_page",	"thp_migration_split",
};

#define NR_VMSTAT (sizeof(vmstat_names) / sizeof(vmstat_names[0]))

static struct area area[MAX_AREAS];
static unsigned int nr_areas;
static int cpu_node[MAX_CPUS];
static uint64_t moved, again; /* pages that changed their node; those that had done so before in the same phase */
static char order[1 << 16];
static size_t order_bytes;
static const struct hn_shm *agents;

static void die(const char *what)
{
	fprintf(stderr, "bench-watch: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void learn_cpus(void)
{
	char path[96];

	for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
		cpu_node[cpu] = UNKNOWN;
		for (int node = 0; node < 64 && cpu_node[cpu] == UNKNOWN; node++) {
			snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpu%d", node, cpu);
			if (access(path, F_OK) == 0)
				cpu_node[cpu] = node;
		}
		if (cpu_node[cpu] == UNKNOWN)
			return;
	}
}

/* Field `field` (from 3 on) of a stat file below /proc; UNKNOWN: the process has gone. */
static long stat_field(const char *path, int field)
{
	char line[LINE], *s;
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return UNKNOWN;
	n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = 0;
	s = strrchr(line, ')');
	for (int i = 2; s && i < field; i++)
		s = strchr(s + 1, ' ');
	return s ? atol(s + 1) : UNKNOWN;
}

static int node_of_thread(int pid, int tid)
{
	char path[64];
	long cpu;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	cpu = stat_field(path, 39);
	return cpu >= 0 && cpu < MAX_CPUS ? cpu_node[cpu] : UNKNOWN;
}

/* Page faults of all processes: hint faults are among them, whoever answers them. */
static long page_faults(void)
{
	long sum = 0, minor;
	char path[64];

	for (struct area *a = area; a < area + nr_areas; a++) {
		struct area *first = area;

		while (first->pid != a->pid)
			first++;
		if (first != a)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/stat", a->pid);
		minor = stat_field(path, 10);
		if (minor != UNKNOWN)
			a->faults = minor + stat_field(path, 12);
		sum += a->faults;
	}
	return sum;
}

static void obey_agents(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *at;

	if (fd < 0 || fstat(fd, &st))
		die(file);
	errno = EINVAL;
	at = (size_t)st.st_size >= sizeof(*agents) ? mmap(NULL, sizeof(*agents), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (at == MAP_FAILED)
		die(file);
	close(fd);
	agents = at;
}

/* Of all processes of the run, those that have ended too. */
static uint64_t agent_hints(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; agents && i < hn_shm_opened(agents); i++)
		sum += __atomic_load_n(&agents->slot[i].stats.samples, __ATOMIC_RELAXED);
	return sum;
}

static void print_vmstat(void)
{
	FILE *f = fopen("/proc/vmstat", "re");
	uint64_t value[NR_VMSTAT] = { 0 };
	char line[LINE];

	if (!f)
		die("vmstat");
	while (fgets(line, sizeof(line), f)) {
		size_t n = strcspn(line, " ");

		for (unsigned int i = 0; i < NR_VMSTAT; i++)
			if (strlen(vmstat_names[i]) == n && !memcmp(line, vmstat_names[i], n))
				value[i] = strtoull(line + n, NULL, 10);
	}
	fclose(f);
	for (unsigned int i = 0; i < NR_VMSTAT; i++)
		printf(" %" PRIu64, value[i]);
}

static void look(struct area *a, unsigned int *known, unsigned int *local)
{
	static void *address[MAX_PAGES];
	static int status[MAX_PAGES];
	uint64_t nodes = 0;

	for (int u = 0; u < a->nr_users; u++) {
		int node = node_of_thread(a->pid, a->user[u]);

		nodes |= node >= 0 ? (uint64_t)1 << node : 0;
	}
	for (unsigned int i = 0; i < a->nr_pages; i++) {
		address[i] = (void *)(uintptr_t)(a->at + i * HUGE);
		status[i] = UNKNOWN;
	}
	if (syscall(SYS_move_pages, a->pid, (unsigned long)a->nr_pages, address, NULL, status, 0) && errno == ESRCH)
		nodes = 0;
	for (unsigned int i = 0; i < a->nr_pages; i++) {
		if (status[i] >= 0 && status[i] != a->node[i]) {
			if (a->node[i] >= 0) {
				moved++;
				again += a->moves[i]++ > 0;
			}
			a->node[i] = status[i];
		}
		*known += a->node[i] >= 0;
		*local += a->node[i] >= 0 && nodes >> a->node[i] & 1;
	}
}

static void sample(void)
{
	unsigned int pages = 0, known = 0, local = 0;
	double now = now_ms();

	for (unsigned int i = 0; i < nr_areas; i++) {
		look(&area[i], &known, &local);
		pages += area[i].nr_pages;
	}
	printf("%.1f %u %u %u %" PRIu64 " %" PRIu64 " %ld", now, pages, known, local, moved, again, page_faults());
	printf(" %" PRIu64, agent_hints());
	print_vmstat();
	printf("\n");
	fflush(stdout);
}

static void set_users(struct area *a, const char *list)
{
	char *end;

	for (a->nr_users = 0; a->nr_users < MAX_USERS && isdigit((unsigned char)*list); list = *end == ',' ? end + 1 : end)
		a->user[a->nr_users++] = (int)strtol(list, &end, 10);
}

static void obey_area(const char *text)
{
	struct area new = { 0 }, *a;
	char list[LINE];

	if (sscanf(text, "%d %" SCNu64 " %u %511s", &new.pid, &new.at, &new.nr_pages, list) != 4 || !new.nr_pages ||
	    new.nr_pages > MAX_PAGES) {
		errno = EINVAL;
		die(text);
	}
	for (a = area; a < area + nr_areas && (a->pid != new.pid || a->at != new.at); a++)
		;
	if (a == area + nr_areas) {
		if (nr_areas++ == MAX_AREAS) {
			errno = E2BIG;
			die("areas");
		}
		*a = new;
		a->node = malloc(new.nr_pages * sizeof(*a->node));
		a->moves = calloc(new.nr_pages, sizeof(*a->moves));
		if (!a->node || !a->moves)
			die("malloc");
		memset(a->node, 0xff, new.nr_pages * sizeof(*a->node));
	}
	set_users(a, list);
}

static void obey_phase(void)
{
	for (unsigned int i = 0; i < nr_areas; i++)
		memset(area[i].moves, 0, area[i].nr_pages * sizeof(*area[i].moves));
}

/* False: it is time to end. */
static bool obey(void)
{
	ssize_t n = read(0, order + order_bytes, sizeof(order) - 1 - order_bytes);
	char *line = order, *end;

	if (n <= 0)
		return false;
	order_bytes += (size_t)n;
	order[order_bytes] = 0;
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = 0;
		if (!strncmp(line, "area ", 5))
			obey_area(line + 5);
		else if (!strncmp(line, "agents ", 7))
			obey_agents(line + 7);
		else if (!strcmp(line, "forget"))
			nr_areas = 0;
		else if (!strcmp(line, "phase"))
			obey_phase();
		else if (!strcmp(line, "end"))
			return false;
	}
	order_bytes -= (size_t)(line - order);
	memmove(order, line, order_bytes + 1);
	return true;
}

int main(int argc, char **argv)
{
	int interval_ms = argc == 2 ? atoi(argv[1]) : 0;
	double next;

	if (interval_ms < 1) {
		fprintf(stderr, "usage: bench-watch INTERVAL_MS\n");
		return 2;
	}
	learn_cpus();
	printf("ms pages known local moved again page_faults agent_hints");
	for (unsigned int i = 0; i < NR_VMSTAT; i++)
		printf(" %s", vmstat_names[i]);
	printf("\n");
	for (next = now_ms();;) {
		struct pollfd in = { .fd = 0, .events = POLLIN };
		double left = next - now_ms();

		if (poll(&in, 1, left > 0 ? (int)left + 1 : 0) > 0 && !obey())
			break;
		if (now_ms() < next)
			continue;
		sample();
		next = now_ms() + interval_ms;
	}
	sample();
	return 0;
}
