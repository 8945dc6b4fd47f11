// SPDX-License-Identifier: MIT
/*
 * worker.c - a program with huge pages on known nodes and threads on known nodes; says where the kernel has its pages
 *
 *   vm-worker --part NODE:PAGES[:FROM[:POLICY[=NODES]]][@MS]... --seconds S [--until-local [--linger S]] [--until-file FILE]
 *             [--default-policy | --local-policy]
 *
 * Each part is a mapping of PAGES huge pages of its own, filled while allocations come from node FROM (0; -1: wherever
 * they come from), and then used by one thread that is bound to the CPUs of NODE (-1: of none). POLICY: bind, preferred, many,
 * interleave or weighted sets that memory policy, with node FROM or NODES (0,2), for the mapping; balanced and
 * many-balanced are bind and many with MPOL_F_NUMA_BALANCING, set once it is filled; stays: none, but nobody expects it to
 * move. @MS: it is used for a moment once in so many ms; @0: not at all. With --until-local it ends as soon as the kernel has
 * each other part on its thread's node, or so many seconds later; with --until-file, as soon as there is such a file.
 * --default-policy and --local-policy replace the memory policy that it was started with.
 *
 * Nothing in it knows who else moves pages. A page's node is what move_pages(2) says when asked without a target; a
 * page that is absent at that moment is touched and asked for again. Output: one JSON object.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HUGE ((size_t)2 << 20)
#define BASE ((size_t)4096)
#define WORDS_PER_BASE 4 /* verified and written in each base page */
#define MAX_PARTS 16
#define MAX_NODES 64
#define MAX_PAGES 4096 /* of a part */
#define LINE 512
#define AUDIT_SECONDS 20
#define UNKNOWN (-1)
#define PREFERRED_MANY 5 /* kernel headers may be older than the guest's kernel */
#define WEIGHTED_INTERLEAVE 6
#define BALANCING (1 << 13)
#define NEVER 1000000000

struct snapshot {
	unsigned int on_node[MAX_NODES];
	unsigned int unknown;
	size_t huge_kib;
	char numa_maps[LINE];
};

struct part {
	int node;
	int from;
	size_t pages;
	int policy;
	unsigned long nodes; /* of the policy */
	bool stays;
	int every_ms; /* 0: all the time */
	char *at;
	uint64_t sequence;
	uint64_t words;
	uint64_t corrupt;
	uint64_t longest_ns; /* of touching one page */
	int *now;            /* node of each page, as last heard */
	int *status;
	void **address;
	atomic_bool local;
	struct snapshot first, last, heard; /* heard: of nodes only, before everything is touched for `last` */
	uint64_t cpus; /* that its thread may run on at the end; the first 64 */
	int ran_on;    /* its node then */
	pthread_t thread;
};

static struct part part[MAX_PARTS];
static int nr_parts;
static double seconds = 5, linger;
static const char *until_file;
static bool until_local;
static atomic_bool stop;
static pthread_barrier_t barrier;

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "vm-worker: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* ---- nodes ---- */

static void bind_to_node(int node)
{
	char path[96], list[1024], *s = list;
	cpu_set_t set;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
	f = fopen(path, "re");
	if (!f || !fgets(list, sizeof(list), f))
		die(path);
	fclose(f);
	CPU_ZERO(&set);
	while (*s >= '0' && *s <= '9') {
		unsigned long a = strtoul(s, &s, 10), b = *s == '-' ? strtoul(s + 1, &s, 10) : a;

		for (; a <= b; a++)
			CPU_SET(a, &set);
		if (*s == ',')
			s++;
	}
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static int own_node(void)
{
	unsigned int cpu, node;

	if (syscall(SYS_getcpu, &cpu, &node, NULL))
		die("getcpu");
	return (int)node;
}

static uint64_t own_cpus(void)
{
	uint64_t cpus = 0;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity");
	for (int cpu = 0; cpu < 64; cpu++)
		cpus |= CPU_ISSET(cpu, &set) ? (uint64_t)1 << cpu : 0;
	return cpus;
}

static void allocate_from(int node)
{
	unsigned long mask = 1ul << node;

	if (syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 64ul))
		die("set_mempolicy");
}

/* The nodes of all pages, in the kernel's own words. */
static void ask_nodes(struct part *p)
{
	for (size_t i = 0; i < p->pages; i++) {
		p->address[i] = p->at + i * HUGE;
		p->status[i] = UNKNOWN;
	}
	if (syscall(SYS_move_pages, 0, p->pages, p->address, NULL, p->status, 0))
		die("move_pages");
	for (size_t i = 0; i < p->pages; i++)
		if (p->status[i] >= 0)
			p->now[i] = p->status[i];
}

/* ---- the work ---- */

static uint64_t stamp(const struct part *p, size_t base_page, unsigned int word)
{
	uint64_t x = (p->sequence + 1) * 0x9e3779b97f4a7c15ull + base_page * WORDS_PER_BASE + word;

	return (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull + (uintptr_t)p->at;
}

static uint64_t *word_at(const struct part *p, size_t base_page, unsigned int word)
{
	return (uint64_t *)(void *)(p->at + base_page * BASE) + word * (BASE / 8 / WORDS_PER_BASE) + base_page % 8;
}

static void page_write(struct part *p, size_t page)
{
	for (size_t b = page * (HUGE / BASE); b < (page + 1) * (HUGE / BASE); b++)
		for (unsigned int w = 0; w < WORDS_PER_BASE; w++)
			*(volatile uint64_t *)word_at(p, b, w) = stamp(p, b, w);
}

static void page_verify(struct part *p, size_t page)
{
	for (size_t b = page * (HUGE / BASE); b < (page + 1) * (HUGE / BASE); b++)
		for (unsigned int w = 0; w < WORDS_PER_BASE; w++)
			p->corrupt += *(volatile uint64_t *)word_at(p, b, w) != stamp(p, b, w);
	p->words += HUGE / BASE * WORDS_PER_BASE;
}

/* Everything is verified, and every third time written anew. */
static void sweep(struct part *p, unsigned int round)
{
	for (size_t i = 0; i < p->pages; i++) {
		uint64_t start = now_ns(), took;

		page_verify(p, i);
		took = now_ns() - start;
		if (took > p->longest_ns)
			p->longest_ns = took;
	}
	if (round % 3)
		return;
	p->sequence++;
	for (size_t i = 0; i < p->pages; i++)
		page_write(p, i);
}

/* A moment's use of each page, the same each time. */
static void touch(struct part *p)
{
	for (size_t i = 0; i < p->pages; i++) {
		size_t b = i * (HUGE / BASE);

		p->corrupt += *(volatile uint64_t *)word_at(p, b, 0) != stamp(p, b, 0);
		p->words++;
	}
}

/* ---- looking ---- */

static size_t smaps_huge_kib(const struct part *p)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[LINE], start[32];
	bool inside = false;
	size_t kib = 0;

	if (!f)
		die("smaps");
	snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)p->at);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, start, strlen(start)))
			inside = true;
		else if (inside && !strncmp(line, "AnonHugePages:", 14)) {
			kib = strtoul(line + 14, NULL, 10);
			break;
		}
	}
	fclose(f);
	return kib;
}

static void numa_maps_line(const struct part *p, char *to)
{
	FILE *f = fopen("/proc/self/numa_maps", "re");
	char line[LINE], start[32];

	if (!f)
		die("numa_maps");
	*to = 0;
	snprintf(start, sizeof(start), "%lx ", (unsigned long)(uintptr_t)p->at);
	while (!*to && fgets(line, sizeof(line), f))
		if (!strncmp(line, start, strlen(start)))
			snprintf(to, LINE, "%.*s", (int)strcspn(line, "\n\""), line);
	fclose(f);
}

static size_t mapped_pages(const char *numa_maps)
{
	const char *anon = strstr(numa_maps, " anon=");

	return anon ? strtoul(anon + 6, NULL, 10) : 0;
}

static void count_nodes(const struct part *p, struct snapshot *s)
{
	memset(s->on_node, 0, sizeof(s->on_node));
	s->unknown = 0;
	for (size_t i = 0; i < p->pages; i++) {
		if (p->now[i] < 0)
			s->unknown++;
		else
			s->on_node[p->now[i] % MAX_NODES]++;
	}
}

/* Until the kernel has had all pages, huge, in one look: some may be absent for a moment. */
static void look(struct part *p, struct snapshot *s)
{
	uint64_t end = now_ns() + AUDIT_SECONDS * 1000000000ull;

	for (size_t i = 0; i < p->pages; i++)
		p->now[i] = UNKNOWN;
	do {
		for (size_t i = 0; i < p->pages; i++)
			page_verify(p, i);
		ask_nodes(p);
		s->huge_kib = smaps_huge_kib(p);
		numa_maps_line(p, s->numa_maps);
		count_nodes(p, s);
	} while ((s->unknown || s->huge_kib < p->pages * (HUGE >> 10) ||
		  mapped_pages(s->numa_maps) < p->pages * (HUGE / BASE)) &&
		 now_ns() < end);
}

static void *work(void *arg)
{
	struct part *p = arg;
	unsigned int round = 1;
	uint64_t next;

	if (p->node >= 0)
		bind_to_node(p->node);
	if (!p->every_ms)
		look(p, &p->first);
	pthread_barrier_wait(&barrier);
	next = now_ns() + (uint64_t)p->every_ms * 1000000;
	while (!atomic_load(&stop)) {
		int here = p->node >= 0 ? p->node : own_node();
		bool local = true;

		if (!p->every_ms || now_ns() >= next) {
			if (p->every_ms)
				touch(p);
			else
				sweep(p, round++);
			next = now_ns() + (uint64_t)p->every_ms * 1000000;
		}
		ask_nodes(p);
		for (size_t i = 0; i < p->pages; i++)
			local &= p->now[i] == here;
		atomic_store(&p->local, local);
		sleep_ms(2);
	}
	p->cpus = own_cpus();
	p->ran_on = own_node();
	count_nodes(p, &p->heard);
	look(p, &p->last);
	return NULL;
}

/* ---- before and after ---- */

/* Surrounded by memory without access, so that the kernel makes it no part of another mapping. */
static void part_map(struct part *p)
{
	size_t bytes = p->pages * HUGE;
	char *reserve = mmap(NULL, bytes + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (reserve == MAP_FAILED)
		die("mmap");
	p->at = (char *)(((uintptr_t)reserve + HUGE) & ~(HUGE - 1));
	if (mmap(p->at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("mmap");
	if (madvise(p->at, bytes, MADV_HUGEPAGE))
		die("madvise");
	p->now = malloc(p->pages * sizeof(*p->now));
	p->status = malloc(p->pages * sizeof(*p->status));
	p->address = malloc(p->pages * sizeof(*p->address));
	if (!p->now || !p->status || !p->address)
		die("malloc");
}

static void set_policy(struct part *p)
{
	if (syscall(SYS_mbind, p->at, p->pages * HUGE, p->policy, &p->nodes, 64ul, 0u))
		die("mbind");
}

static void part_fill(struct part *p)
{
	unsigned long old[MAX_NODES / 64] = { 0 };
	int mode = 0;

	if (syscall(SYS_get_mempolicy, &mode, old, 64ul, NULL, 0ul))
		die("get_mempolicy");
	if (p->policy && !(p->policy & BALANCING))
		set_policy(p);
	if (p->from >= 0)
		allocate_from(p->from);
	for (size_t i = 0; i < p->pages; i++)
		page_write(p, i);
	if (p->from >= 0 && syscall(SYS_set_mempolicy, mode, mode == MPOL_DEFAULT || mode == MPOL_LOCAL ? NULL : old, 64ul))
		die("set_mempolicy back");
	if (p->policy & BALANCING)
		set_policy(p);
}

static void print_snapshot(const char *name, const struct snapshot *s)
{
	const char *comma = "";

	printf("\"%s\": {\"nodes\": {", name);
	for (int n = 0; n < MAX_NODES; n++) {
		if (!s->on_node[n])
			continue;
		printf("%s\"%d\": %u", comma, n, s->on_node[n]);
		comma = ", ";
	}
	printf("}, \"unknown\": %u, \"huge_kib\": %zu, \"numa_maps\": \"%s\"}", s->unknown, s->huge_kib, s->numa_maps);
}

static void print_all(bool settled, double took)
{
	uint64_t corrupt = 0;

	printf("{\"settled\": %s, \"seconds\": %.3f, \"parts\": [", settled ? "true" : "false", took);
	for (struct part *p = part; p < part + nr_parts; p++) {
		printf("%s\n{\"node\": %d, \"from\": %d, \"pages\": %zu, \"words\": %" PRIu64 ", \"corrupt\": %" PRIu64
		       ", \"longest_ms\": %.3f, \"cpus\": %" PRIu64 ", \"ran_on\": %d, ",
		       p == part ? "" : ",", p->node, p->from, p->pages, p->words, p->corrupt, (double)p->longest_ns / 1e6,
		       p->cpus, p->ran_on);
		print_snapshot("first", &p->first);
		printf(", ");
		print_snapshot("last", &p->last);
		printf(", ");
		print_snapshot("heard", &p->heard);
		printf("}");
		corrupt += p->corrupt;
	}
	printf("]}\n");
	if (corrupt)
		exit(1);
}

static const struct {
	const char *name;
	int mode;
} policies[] = {
	{ "bind", MPOL_BIND },
	{ "preferred", MPOL_PREFERRED },
	{ "interleave", MPOL_INTERLEAVE },
	{ "many", PREFERRED_MANY },
	{ "weighted", WEIGHTED_INTERLEAVE },
	{ "balanced", MPOL_BIND | BALANCING },
	{ "many-balanced", PREFERRED_MANY | BALANCING },
};

static bool part_parse(struct part *p, const char *text)
{
	char policy[16] = "", nodes[64] = "", *n = nodes;
	const char *pace = strchr(text, '@');

	p->from = 0;
	if (pace)
		p->every_ms = atoi(pace + 1) > 0 ? atoi(pace + 1) : NEVER;
	if (sscanf(text, "%d:%zu:%d:%15[^=@]=%63[^@]", &p->node, &p->pages, &p->from, policy, nodes) < 2 || !p->pages ||
	    p->pages > MAX_PAGES || p->node < -1 || p->node >= MAX_NODES || p->from >= MAX_NODES)
		return false;
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (!strcmp(policy, policies[i].name))
			p->policy = policies[i].mode;
	p->nodes = *n ? 0 : 1ul << p->from;
	for (; *n >= '0' && *n <= '9'; n += *n == ',')
		p->nodes |= 1ul << (strtoul(n, &n, 10) % MAX_NODES);
	p->stays = (p->policy && !(p->policy & BALANCING && p->node >= 0 && p->nodes >> p->node & 1)) || !strcmp(policy, "stays");
	return p->policy || p->stays || !*policy;
}

static bool all_local(void)
{
	for (struct part *p = part; p < part + nr_parts; p++)
		if (!p->stays && !atomic_load(&p->local))
			return false;
	return true;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "part", required_argument, NULL, 'p' },
		{ "seconds", required_argument, NULL, 's' },
		{ "until-local", no_argument, NULL, 'u' },
		{ "linger", required_argument, NULL, 'g' },
		{ "until-file", required_argument, NULL, 'f' },
		{ "default-policy", no_argument, NULL, 'd' },
		{ "local-policy", no_argument, NULL, 'l' },
		{ 0 },
	};
	bool bad = false, settled = false;
	uint64_t start, end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'p' && nr_parts < MAX_PARTS)
			bad |= !part_parse(&part[nr_parts++], optarg);
		else if (c == 's')
			seconds = atof(optarg);
		else if (c == 'g')
			linger = atof(optarg);
		else if (c == 'f')
			until_file = optarg;
		else if (c == 'u')
			until_local = true;
		else if (c == 'd' || c == 'l')
			bad |= syscall(SYS_set_mempolicy, c == 'd' ? MPOL_DEFAULT : MPOL_LOCAL, NULL, 0ul) != 0;
		else
			bad = true;
	}
	if (bad || !nr_parts || optind < argc) {
		fprintf(stderr, "usage: vm-worker --part NODE:PAGES[:FROM[:POLICY[=NODES]|:stays]][@MS]... --seconds S "
				"[--until-local [--linger S]] [--until-file FILE] [--default-policy|--local-policy]\n");
		return 2;
	}
	for (struct part *p = part; p < part + nr_parts; p++) {
		part_map(p);
		part_fill(p);
		if (p->every_ms) /* now, when nobody counts it as a use yet */
			look(p, &p->first);
	}
	pthread_barrier_init(&barrier, NULL, (unsigned int)nr_parts + 1);
	for (struct part *p = part; p < part + nr_parts; p++)
		if ((errno = pthread_create(&p->thread, NULL, work, p)))
			die("pthread_create");
	pthread_barrier_wait(&barrier);
	start = now_ns();
	end = start + (uint64_t)(seconds * 1e9);
	do {
		sleep_ms(20);
		settled = all_local();
	} while (now_ns() < end && !(until_local && settled) && !(until_file && access(until_file, F_OK) == 0));
	if (settled && until_local)
		sleep_ms((unsigned int)(linger * 1000));
	end = now_ns();
	atomic_store(&stop, true);
	for (struct part *p = part; p < part + nr_parts; p++)
		pthread_join(p->thread, NULL);
	print_all(settled, (double)(end - start) / 1e9);
	return 0;
}
