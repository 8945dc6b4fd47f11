// SPDX-License-Identifier: MIT
/*
 * fake_agent.c - stands in for the agent library: takes a slot and fills it with known counters, so that what the
 * controller makes of them can be checked to the digit. Built by test_cli.py.
 *
 * Environment:
 *   FAKE_ONLY   do so only in a program of this name
 *   FAKE_MODE   managed (default), idle: a slot without pages, unmanaged: a slot that says why, missed: no slot,
 *               unloaded: as if the library had not been loaded
 *   FAKE_TEXT   message to leave in the slot
 *   FAKE_TICKS  start time to leave in the slot, instead of the true one
 *   FAKE_DUMP   file to write what the controller passed
 *   FAKE_RECORD 0: keep no record
 *   FAKE_REGION "LOCAL REMOTE RECENT_LOCAL RECENT_REMOTE FROM0 FROM1 ON0 ON1": counters of the first region instead
 *   FAKE_MORE   "N BURST US": decide N times more, in bursts that are US microseconds apart
 *   FAKE_PLACE  answer questions, in a thread, and say this of every address (enum hn_place); 1: managed, on node 1
 */
#include "agent/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t start_ticks(void)
{
	unsigned long long ticks = 0;
	char text[1024] = "";
	FILE *f = fopen("/proc/self/stat", "r");

	if (f && fgets(text, sizeof(text), f) && strrchr(text, ')'))
		sscanf(strrchr(text, ')') + 1,
		       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks);
	if (f)
		fclose(f);
	return ticks;
}

static struct hn_slot *take_slot(struct hn_shm *shm, uint32_t state)
{
	for (uint32_t i = 0; i < HN_SHM_SLOTS; i++)
		if (hn_cas_acquire(&shm->slot[i].state, HN_SLOT_FREE, state)) {
			for (uint32_t was; (was = hn_load_acquire(&shm->opened)) <= i;)
				hn_cas_acquire(&shm->opened, was, i + 1);
			return &shm->slot[i];
		}
	hn_add_acq_rel(&shm->slots_missed, 1);
	return NULL;
}

static void fill_series(struct hn_series *s)
{
	static const struct hn_series_point point[] = {
		{ 500, 10, 9, 0, 15 }, { 1000, 40, 10, 4, 50 }, { 2000, 50, 15, 6, 60 }, { 3000, 60, 25, 9, 70 },
	};

	s->nr = sizeof(point) / sizeof(point[0]);
	s->every = 1;
	memcpy(s->point, point, sizeof(point));
}

static void fill_stats(struct hn_stats *s)
{
	s->armed = 100;
	s->arm_refused[HN_ARM_BUSY] = 3;
	s->arm_refused[HN_ARM_INVALID] = 1;
	s->disarmed_total = 96;
	s->disarmed[HN_DISARM_FAULT] = 90;
	s->disarmed[HN_DISARM_EXPIRY] = 5;
	s->disarmed[HN_DISARM_EVENT] = 1;
	s->messages = 112;
	s->samples = 90;
	s->local = 50;
	s->refused[HN_REFUSE_FILTER] = 20;
	s->refused[HN_REFUSE_HELD] = 2;
	s->migrated = 12;
	s->failed[HN_FAIL_TARGET] = 3;
	s->failed[HN_FAIL_COMMIT] = 1;
	s->raced = 2;
	s->stale = 7;
	s->waited = 8;
	s->deferred = 1;
	s->unmanaged = 6;
	s->sample_from[0] = 60;
	s->sample_from[1] = 30;
	s->migrated_to[1] = 12;
	s->managed_pages = 64;
	s->managed_peak_pages = 1700;
	s->armed_now = 4;
	s->pages_lost_huge = 2;
	for (int i = 0; i < 90; i++)
		hn_hist_add(&s->fault_service_ns, i < 80 ? 10000 : i < 89 ? 100000 : 2000000);
	for (int i = 0; i < 12; i++)
		hn_hist_add(&s->migration_stall_ns, 300000), hn_hist_add(&s->migration_cpu_ns, 200000);
	fill_series(&s->series);
}

#define ARENA 0x7f0000000000ull
#define PAGE(n) (ARENA + (n) * HN_PAGE_SIZE)

/* One of each kind there is, of pages from PAGE(0) on: refusals, failures, reasons, and the rest; and one of the future of each. */
static void decide_all(struct hn_record *r, uint64_t started_ms)
{
	static const struct {
		enum hn_outcome outcome;
		unsigned kinds;
		int8_t target;
	} all[] = { { HN_FAULT_REFUSED, HN_NR_REFUSALS, -1 }, { HN_FAULT_FAILED, HN_NR_FAILURES, 1 },
		    { HN_FAULT_MIGRATED, HN_NR_REASONS, 1 }, { HN_FAULT_RACED, 0, 1 }, { HN_FAULT_DEMOTED, 0, 1 } };
	unsigned page = 0;

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		for (unsigned kind = 0; kind <= all[i].kinds; kind++) {
			struct hn_decision d = { .time_ns = (started_ms + page) * 1000000, .haddr = PAGE(page), .tid = 101,
						 .service_ns = 5000, .thread_nid = 1, .target_nid = all[i].target,
						 .last_nid = -1, .outcome = (uint8_t)all[i].outcome, .reason = (uint8_t)kind,
						 .rule = HN_NO_RULE };

			if (d.outcome == HN_FAULT_DEMOTED) {
				d.tid = d.service_ns = 0;
				d.thread_nid = HN_NO_NODE;
			}
			hn_record_decision(r, &d);
			page++;
		}
}

/* Two regions, six decisions; of thread 103's the last is of node 1. */
static void decide(struct hn_record *r, uint64_t started_ms)
{
	static const struct hn_decision d[] = {
		{ 100, PAGE(0), 101, 0, 20000, 0, 1, 0, -1, -1, HN_FAULT_REFUSED, HN_REFUSE_FILTER, 0, HN_NO_RULE },
		{ 200, PAGE(0), 101, 101, 310000, 0, 1, 0, 1, 1, HN_FAULT_MIGRATED, HN_REASON_NODE, 0, HN_NO_RULE },
		{ 600, PAGE(1), 102, 0, 10000, 0, 0, 0, -1, -1, HN_FAULT_LOCAL, 0, 0, HN_NO_RULE },
		{ 700, PAGE(2), 103, 102, 40000, 0, 1, 0, 1, 1, HN_FAULT_FAILED, HN_FAIL_TARGET, 0, HN_NO_RULE },
		{ 800, PAGE(3), 103, 0, 7000, 0, 1, 0, -1, -1, HN_FAULT_REFUSED, HN_REFUSE_PLUGIN, HN_POLICY_PLUGIN, 0 },
		{ 900, PAGE(3), 103, 103, 8000, 0, 1, 0, 1, 1, HN_FAULT_MIGRATED, HN_REASON_PLUGIN, HN_POLICY_PLUGIN, 1 },
		{ 1000, PAGE(0), 102, 0, 0, 0, -1, -1, -1, -1, HN_FAULT_WAITED, 0, 0, HN_NO_RULE },
		{ 1100, PAGE(65), 103, 103, 5000, 0, 1, 1, -1, 1, HN_FAULT_LOCAL, 0, 0, HN_NO_RULE },
	};

	if (getenv("FAKE_DECISIONS")) {
		decide_all(r, started_ms);
		return;
	}

	for (unsigned i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
		struct hn_decision one = d[i];

		if (one.policy == HN_POLICY_PLUGIN && !getenv("FAKE_PLUGIN"))
			continue;
		one.time_ns = (started_ms + one.time_ns) * 1000000;
		hn_record_decision(r, &one);
	}
}

static void override_region(struct hn_region_row *g)
{
	const char *text = getenv("FAKE_REGION");

	if (text)
		sscanf(text, "%" SCNu64 " %" SCNu64 " %u %u %u %u %u %u", &g->local, &g->remote, &g->recent_local,
		       &g->recent_remote, &g->from[0], &g->from[1], &g->pages_on[0], &g->pages_on[1]);
}

static void fill_record(struct hn_shm *shm, struct hn_slot *slot)
{
	static struct hn_record_cursor cursor;
	static struct hn_region_row in[2];
	static const struct hn_thread_row threads[2] = {
		{ 103, 1, 12, 9, 2, 6, 1, 1, 1, 0, { 2, 6 } },
		{ 102, 1, 5, 5, 4, 0, 0, 0, HN_NO_NODE, 0, { 4, 0 } },
	};
	struct hn_record *r = hn_slot_record_place(shm, slot);

	hn_record_init(r, shm->machine.nr_nodes);
	in[0].start = PAGE(0);
	in[0].end = PAGE(64);
	in[0].pages = 60;
	in[0].pages_on[0] = 40;
	in[0].pages_on[1] = 20;
	in[0].holes = 7;
	in[1].start = PAGE(65);
	in[1].end = PAGE(66);
	in[1].pages = in[1].pages_on[1] = 1;
	hn_record_set_regions(&cursor, in, 2);
	decide(r, slot->started_ms);
	hn_record_follow(r, &cursor, slot->started_ms, slot->started_ms + 1250);
	r->nr_regions_total = 2;
	hn_record_set_threads(r, threads, 2, 2, 1);
	override_region(&r->region[0]);
	r->node[0].pages = 40;
	r->node[1].pages = 21;
	hn_store_release(&slot->has_record, 1);
}

static void *answer(void *arg)
{
	struct timespec a_little = { 0, 3000000 };
	struct hn_record *r = arg;
	uint32_t number;
	struct hn_answer a = {
		.start = PAGE(0), .end = PAGE(64), .place = (uint32_t)atoi(getenv("FAKE_PLACE")), .hold_ms = 2500,
		.last_tid = 101, .nid = 1, .last_nid = 0, .state = HN_MAPPED, .flags = 2, .fails = 3,
	};

	if (getenv("FAKE_BOUND"))
		a.bound = strtoull(getenv("FAKE_BOUND"), NULL, 0);
	for (;; nanosleep(&a_little, NULL))
		if (hn_query_pending(&r->query, &number, &a.addr))
			hn_query_answer(&r->query, number, &a);
	return NULL;
}

/* Decision i is known by its number; the rest of it is no two times the same, so that it takes room. */
static void *decide_more(void *arg)
{
	unsigned nr = 0, burst = 1, us = 0;
	uint64_t x = 88172645463325252ull;
	struct hn_record *r = arg;

	sscanf(getenv("FAKE_MORE"), "%u %u %u", &nr, &burst, &us);
	for (unsigned i = 0; i < nr; i++) {
		struct hn_decision d = { .haddr = PAGE(i % 512), .tid = i, .outcome = HN_FAULT_LOCAL, .target_nid = -1 };

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		d.time_ns = now_ms() * 1000000 + x % 1000000;
		d.service_ns = (uint32_t)(x >> 32);
		d.last_tid = (uint32_t)x;
		hn_record_decision(r, &d);
		if (i % burst == burst - 1)
			usleep(us);
	}
	return NULL;
}

static void start_record(struct hn_shm *shm, struct hn_slot *slot)
{
	const char *keep = getenv("FAKE_RECORD");
	pthread_t t;

	if ((keep && strcmp(keep, "0") == 0) || !hn_slot_record_place(shm, slot))
		return;
	fill_record(shm, slot);
	if (getenv("FAKE_MORE"))
		pthread_create(&t, NULL, decide_more, hn_slot_record(shm, slot));
	if (getenv("FAKE_PLACE"))
		pthread_create(&t, NULL, answer, hn_slot_record(shm, slot));
}

/* What a plug-in policy says of itself; a process may have written anything there. */
static void fill_rules(struct hn_slot *slot)
{
	if (!getenv("FAKE_PLUGIN"))
		return;
	snprintf(slot->policy_name, sizeof(slot->policy_name), "mine");
	slot->nr_rules = 2;
	snprintf(slot->rule[0].name, sizeof(slot->rule[0].name), "often");
	snprintf(slot->rule[0].text, sizeof(slot->rule[0].text), "it is used\033\n often");
	snprintf(slot->rule[1].name, sizeof(slot->rule[1].name), "other");
	snprintf(slot->rule[1].text, sizeof(slot->rule[1].text), "others use it");
	slot->stats.rule_stayed[0] = 31;
	slot->stats.rule_stayed[1] = 2;
	slot->stats.rule_moved[1] = 5;
}

static void fill_slot(struct hn_slot *slot, bool managed)
{
	const char *ticks = getenv("FAKE_TICKS");

	slot->start_ticks = ticks ? strtoull(ticks, NULL, 10) : start_ticks();
	snprintf(slot->comm, sizeof(slot->comm), "%s", program_invocation_short_name);
	slot->started_ms = now_ms();
	slot->agent_cpu_ns = 20000000;
	if (managed) {
		slot->mover_used = HN_MOVER_COPY;
		slot->arm_used = HN_ARM_RWP;
		slot->registered_bytes = 134217728;
		slot->regions = 3;
		slot->scans = 5;
		slot->agent_bytes = 1000000;
		fill_rules(slot);
		fill_stats(&slot->stats);
	}
	hn_stat_add(&slot->events, 0);
}

/* The slot is the controller's to read once the pid is there; and here the record, too: who is in the list has one. */
static void publish(struct hn_slot *slot)
{
	const char *text = getenv("FAKE_TEXT");

	__atomic_store_n(&slot->pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
	if (text) {
		snprintf(slot->message, sizeof(slot->message), "%s", text);
		hn_add_acq_rel(&slot->message_seq, 1);
	}
}

static void dump_passed(const struct hn_shm *shm, const char *path)
{
	const struct hn_config *c = &shm->config;
	const struct hn_machine *m = &shm->machine;
	FILE *f = fopen(path, "w");

	if (!f)
		return;
	fprintf(f, "magic_ok=%d sizes_ok=%d\n", shm->magic == HN_SHM_MAGIC,
		shm->header_bytes == offsetof(struct hn_shm, slot) && shm->slot_bytes == sizeof(struct hn_slot) &&
			shm->nr_slots == HN_SHM_SLOTS);
	fprintf(f, "config=%u %u %u %u %u %u %u %u %u %u %u %u %u %u %u %u %u %u %" PRIx64 " %u\n", c->period_ms, c->window_mib, c->handlers, c->mover,
		c->policy, c->seed, c->max_armed_mib, c->min_mib, c->start_now, c->initial_node, c->explicit_policy,
		c->shared, c->settle_ms, c->period_min_ms, c->period_max_ms, c->cpu_percent, c->budget_mib_s, c->max_stall_us, c->nodes,
		c->arm);
	fprintf(f, "plugin=%s\nslow_nodes=%" PRIx64 "\n", c->plugin, m->slow_nodes);
	fprintf(f, "nr_nodes=%u\nis_virtual=%u\ndeal_threads=%u\nnr_cpus=%u\nos_nid=", m->nr_nodes, m->is_virtual,
		m->deal_threads, m->nr_cpus);
	for (uint32_t i = 0; i < m->nr_nodes; i++)
		fprintf(f, "%d ", m->os_nid[i]);
	fprintf(f, "\ncpu_node=");
	for (uint32_t i = 0; i < m->nr_cpus; i++)
		fprintf(f, "%d ", m->cpu_node[i]);
	fprintf(f, "\ndistance=");
	for (uint32_t i = 0; i < m->nr_nodes; i++)
		for (uint32_t j = 0; j < m->nr_nodes; j++)
			fprintf(f, "%u ", m->distance[i][j]);
	fprintf(f, "\n");
	fclose(f);
}

static struct hn_shm *map_run(void)
{
	const char *path = getenv(HN_SHM_ENV);
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return NULL;
	p = mmap(NULL, sizeof(struct hn_shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static void __attribute__((constructor)) fake_agent(void)
{
	const char *only = getenv("FAKE_ONLY"), *mode = getenv("FAKE_MODE"), *dump = getenv("FAKE_DUMP");
	struct timespec a_little = { 0, 3000000 };
	struct hn_shm *shm = map_run();
	struct hn_slot *slot;

	if (!mode)
		mode = "managed";
	if (!shm || strcmp(mode, "unloaded") == 0)
		return;
	hn_add_acq_rel(&shm->loaded, 1);
	if (only && strcmp(only, program_invocation_short_name) != 0)
		return;
	if (dump)
		dump_passed(shm, dump);
	if (strcmp(mode, "missed") == 0) {
		hn_add_acq_rel(&shm->slots_missed, 1);
		return;
	}
	nanosleep(&a_little, NULL); /* images of one process start in different milliseconds */
	slot = take_slot(shm, strcmp(mode, "unmanaged") == 0 ? HN_SLOT_UNMANAGED : HN_SLOT_LIVE);
	if (!slot)
		return;
	fill_slot(slot, strcmp(mode, "managed") == 0);
	if (strcmp(mode, "managed") == 0)
		start_record(shm, slot);
	publish(slot);
}
