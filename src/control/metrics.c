// SPDX-License-Identifier: MIT
#include "control/metrics.h"

#include "control/attach.h"
#include "control/explain.h"
#include "control/names.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct page {
	FILE *out;
	enum hn_metrics_format format;
	const struct hn_seen *seen;
	size_t nr;
};

enum kind { GAUGE, COUNTER, HISTOGRAM };

/* One family: in OpenMetrics a counter is named without the _total that its samples have. */
static void family(const struct page *p, const char *name, const char *unit, enum kind kind, const char *help)
{
	static const char *const kinds[] = { "gauge", "counter", "histogram" };
	const char *total = kind == COUNTER && p->format == HN_METRICS_PROMETHEUS ? "_total" : "";

	fprintf(p->out, "# TYPE hugenuma_%s%s %s\n", name, total, kinds[kind]);
	if (unit && p->format == HN_METRICS_OPENMETRICS)
		fprintf(p->out, "# UNIT hugenuma_%s %s\n", name, unit);
	fprintf(p->out, "# HELP hugenuma_%s%s %s\n", name, total, help);
}

/* Names are printable by now: only two characters mean something in a label. */
static void put_label(const struct page *p, const char *key, const char *value)
{
	fprintf(p->out, ",%s=\"", key);
	for (const char *s = value; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', p->out);
		fputc(*s, p->out);
	}
	fputc('"', p->out);
}

/* {pid="1",command="x" */
static void labels(const struct page *p, const struct hn_process *proc)
{
	fprintf(p->out, "{pid=\"%" PRIu32 "\"", proc->pid);
	put_label(p, "command", proc->comm);
}

/* ---- plain numbers ---- */

static uint64_t managed(const struct hn_process *p) { return p->slot.stats.managed_pages * HN_PAGE_SIZE; }
static uint64_t armed(const struct hn_process *p) { return p->slot.stats.armed_now; }
static uint64_t samples(const struct hn_process *p) { return p->slot.stats.samples; }
static uint64_t local(const struct hn_process *p) { return p->slot.stats.local; }
static uint64_t migrated(const struct hn_process *p) { return p->slot.stats.migrated; }
static uint64_t promoted(const struct hn_process *p)
{
	return p->slot.stats.migrated_for[HN_REASON_HOT] + p->slot.stats.migrated_for[HN_REASON_ROOM];
}
static uint64_t demoted(const struct hn_process *p) { return p->slot.stats.demoted; }
static uint64_t demote_touched(const struct hn_process *p) { return p->slot.stats.demote_touched; }
static uint64_t raced(const struct hn_process *p) { return p->slot.stats.raced; }
static uint64_t waited(const struct hn_process *p) { return p->slot.stats.waited; }
static uint64_t lost(const struct hn_process *p) { return p->slot.stats.pages_lost_huge; }
static uint64_t scans(const struct hn_process *p) { return p->slot.scans; }
static uint64_t holes(const struct hn_process *p) { return p->slot.holes_served; }
static uint64_t threads_moved(const struct hn_process *p) { return p->slot.threads_moved; }
static uint64_t unbound_mappings(const struct hn_process *p) { return p->slot.unbound_mappings; }
static uint64_t threads_kept(const struct hn_process *p) { return p->slot.threads_kept; }
static uint64_t memory(const struct hn_process *p) { return p->slot.agent_bytes; }
static uint64_t registered(const struct hn_process *p) { return p->slot.registered_bytes; }
static uint64_t balancing(const struct hn_process *p) { return p->slot.mode.v == HN_MODE_RUNNING; }

static const struct number {
	const char *name, *unit;
	enum kind kind;
	uint64_t (*value)(const struct hn_process *p);
	const char *help;
} numbers[] = {
	{ "managed_bytes", "bytes", GAUGE, managed, "Memory in managed huge pages." },
	{ "registered_bytes", "bytes", GAUGE, registered, "Memory of the program registered with userfaultfd." },
	{ "armed_pages", "pages", GAUGE, armed, "Huge pages that have a hint now." },
	{ "balancing", NULL, GAUGE, balancing, "1 while the process is balanced, 0 while it is paused or stopped." },
	{ "samples", NULL, COUNTER, samples, "Hint faults." },
	{ "local_samples", NULL, COUNTER, local, "Hint faults from a thread on the node of the page." },
	{ "migrated_pages", "pages", COUNTER, migrated, "Huge pages moved to the node of the thread that faulted." },
	{ "promoted_pages", "pages", COUNTER, promoted, "Of these, from slow nodes to fast ones." },
	{ "demoted_pages", "pages", COUNTER, demoted, "Huge pages moved to a slow node because nobody touched them." },
	{ "demotions_touched", NULL, COUNTER, demote_touched, "Demotions given up because somebody touched the page." },
	{ "raced", NULL, COUNTER, raced, "Migrations given up because the program changed the memory meanwhile." },
	{ "waited", NULL, COUNTER, waited, "Faults on a page that was being decided about or migrated." },
	{ "lost_huge_pages", "pages", COUNTER, lost, "Managed pages found no longer huge." },
	{ "scans", NULL, COUNTER, scans, "Scan passes." },
	{ "first_touches", NULL, COUNTER, holes, "First touches of memory answered by the agent." },
	{ "thread_moves", NULL, COUNTER, threads_moved, "Times a thread was moved to the node of its memory." },
	{ "unbound_mappings", NULL, GAUGE, unbound_mappings,
	  "Mappings bound with MPOL_F_NUMA_BALANCING that are left alone: too many different sets of nodes." },
	{ "kept_threads", NULL, GAUGE, threads_kept, "Threads kept on the node of their memory now." },
	{ "agent_memory_bytes", "bytes", GAUGE, memory, "Memory that the agent holds for itself." },
};

static void put_number(const struct page *p, const struct number *n)
{
	family(p, n->name, n->unit, n->kind, n->help);
	for (size_t i = 0; i < p->nr; i++) {
		fprintf(p->out, "hugenuma_%s%s", n->name, n->kind == COUNTER ? "_total" : "");
		labels(p, &p->seen[i].p);
		fprintf(p->out, "} %" PRIu64 "\n", n->value(&p->seen[i].p));
	}
}

static void put_cpu(const struct page *p)
{
	family(p, "agent_cpu_seconds", "seconds", COUNTER, "CPU time of the agent's threads.");
	for (size_t i = 0; i < p->nr; i++) {
		fprintf(p->out, "hugenuma_agent_cpu_seconds_total");
		labels(p, &p->seen[i].p);
		fprintf(p->out, "} %.9f\n", (double)p->seen[i].p.slot.agent_cpu_ns / 1e9);
	}
}

static void put_hot(const struct page *p)
{
	family(p, "hot_threshold_seconds", "seconds", GAUGE, "With slow nodes: time from hint to touch within which a page is hot.");
	for (size_t i = 0; i < p->nr; i++) {
		fprintf(p->out, "hugenuma_hot_threshold_seconds");
		labels(p, &p->seen[i].p);
		fprintf(p->out, "} %.3f\n", (double)p->seen[i].p.slot.hot_ms / 1e3);
	}
}

/* ---- by reason, by node ---- */

static void put_reasons(const struct page *p, const char *name, const char *help, size_t offset,
			const struct hn_name *reason, int nr)
{
	family(p, name, NULL, COUNTER, help);
	for (size_t i = 0; i < p->nr; i++) {
		const uint64_t *count = (const uint64_t *)((const char *)&p->seen[i].p.slot.stats + offset);

		for (int k = 0; k < nr; k++) {
			fprintf(p->out, "hugenuma_%s_total", name);
			labels(p, &p->seen[i].p);
			fprintf(p->out, ",reason=\"%s\"} %" PRIu64 "\n", reason[k].key, count[k]);
		}
	}
}

static void put_rules(const struct page *p, const char *name, size_t offset, const char *help)
{
	family(p, name, NULL, COUNTER, help);
	for (size_t i = 0; i < p->nr; i++) {
		const struct hn_slot *slot = &p->seen[i].p.slot;
		const uint64_t *count = (const uint64_t *)((const char *)&slot->stats + offset);

		for (uint32_t k = 0; slot->policy_name[0] && k < hn_slot_rules(slot); k++) {
			fprintf(p->out, "hugenuma_%s_total", name);
			labels(p, &p->seen[i].p);
			put_label(p, "policy", slot->policy_name);
			put_label(p, "rule", slot->rule[k].name);
			fprintf(p->out, "} %" PRIu64 "\n", count[k]);
		}
	}
}

static void put_nodes(const struct page *p, const char *name, const char *unit, enum kind kind, size_t offset,
		      uint64_t factor, const char *help)
{
	family(p, name, unit, kind, help);
	for (size_t i = 0; i < p->nr; i++) {
		const struct hn_record *r = p->seen[i].p.record;
		const struct hn_machine *m = &p->seen[i].run->machine;

		for (uint32_t n = 0; r && n < m->nr_nodes; n++) {
			fprintf(p->out, "hugenuma_%s%s", name, kind == COUNTER ? "_total" : "");
			labels(p, &p->seen[i].p);
			fprintf(p->out, ",node=\"%d\"} %" PRIu64 "\n", hn_node_name(m, (int)n),
				*(const uint64_t *)((const char *)&r->node[n] + offset) * factor);
		}
	}
}

/* ---- times ---- */

/* Edges are of the form 2^k - 1 ns, where buckets of the histogram end: every count is exact. */
#define FIRST_EDGE 10 /* 1 us */
#define LAST_EDGE 34  /* 17 s */
#define STEP 2

static void put_edge(const struct page *p, const struct hn_process *proc, const char *name, const char *edge,
		     uint64_t count)
{
	fprintf(p->out, "hugenuma_%s_bucket", name);
	labels(p, proc);
	fprintf(p->out, ",le=\"%s\"} %" PRIu64 "\n", edge, count);
}

static void put_histogram(const struct page *p, const struct hn_process *proc, const char *name,
			  const struct hn_hist *h)
{
	uint64_t sum = 0;
	unsigned i = 0;
	char edge[32];

	for (unsigned k = FIRST_EDGE; k <= LAST_EDGE; k += STEP) {
		for (; i < HN_HIST_BUCKETS && hn_hist_bucket_floor(i) < (uint64_t)1 << k; i++)
			sum += h->bucket[i];
		snprintf(edge, sizeof(edge), "%.9f", (double)(((uint64_t)1 << k) - 1) / 1e9);
		put_edge(p, proc, name, edge, sum);
	}
	for (; i < HN_HIST_BUCKETS; i++)
		sum += h->bucket[i];
	put_edge(p, proc, name, "+Inf", sum);
	fprintf(p->out, "hugenuma_%s_sum", name);
	labels(p, proc);
	fprintf(p->out, "} %.9f\nhugenuma_%s_count", (double)h->sum / 1e9, name);
	labels(p, proc);
	fprintf(p->out, "} %" PRIu64 "\n", sum);
}

static void put_times(const struct page *p)
{
	family(p, "fault_service_seconds", "seconds", HISTOGRAM,
	       "Time a hint fault is known to have waited for the page to be in place.");
	for (size_t i = 0; i < p->nr; i++)
		put_histogram(p, &p->seen[i].p, "fault_service_seconds", &p->seen[i].p.slot.stats.fault_service_ns);
	family(p, "migration_stall_seconds", "seconds", HISTOGRAM, "The same, of faults that migrated their page or had that given up (move.max_stall_us).");
	for (size_t i = 0; i < p->nr; i++)
		put_histogram(p, &p->seen[i].p, "migration_stall_seconds", &p->seen[i].p.slot.stats.migration_stall_ns);
	family(p, "migration_cpu_seconds", "seconds", HISTOGRAM, "CPU time that the agent spent on one of these migrations.");
	for (size_t i = 0; i < p->nr; i++)
		put_histogram(p, &p->seen[i].p, "migration_cpu_seconds", &p->seen[i].p.slot.stats.migration_cpu_ns);
}

static void put_all(const struct page *p)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		put_number(p, &numbers[i]);
	put_cpu(p);
	put_hot(p);
	put_reasons(p, "refused", "Hint faults after which a page of another node stayed.",
		    offsetof(struct hn_stats, refused), hn_refusal_names, HN_NR_REFUSALS);
	put_reasons(p, "failed", "Migrations that failed, the page in its old place.",
		    offsetof(struct hn_stats, failed), hn_failure_names, HN_NR_FAILURES);
	put_rules(p, "policy_stayed", offsetof(struct hn_stats, rule_stayed),
		  "Hint faults after which the page stayed, by the rule of a plug-in policy.");
	put_rules(p, "policy_moved", offsetof(struct hn_stats, rule_moved),
		  "Huge pages moved, by the rule of a plug-in policy.");
	put_reasons(p, "demotion_failed", "Demotions that failed, the page in its old place.",
		    offsetof(struct hn_stats, demote_failed), hn_failure_names, HN_NR_FAILURES);
	put_nodes(p, "node_managed_bytes", "bytes", GAUGE, offsetof(struct hn_node_row, pages), HN_PAGE_SIZE,
		  "Memory in managed huge pages that lie on the node.");
	put_nodes(p, "node_samples", NULL, COUNTER, offsetof(struct hn_node_row, samples), 1,
		  "Hint faults from threads on the node.");
	put_nodes(p, "node_local_samples", NULL, COUNTER, offsetof(struct hn_node_row, local), 1,
		  "Of these, on pages of the same node.");
	put_nodes(p, "node_migrated_to_pages", "pages", COUNTER, offsetof(struct hn_node_row, migrated_to), 1,
		  "Huge pages migrated to the node.");
	put_nodes(p, "node_migrated_from_pages", "pages", COUNTER, offsetof(struct hn_node_row, migrated_from), 1,
		  "Huge pages migrated away from the node.");
	put_times(p);
	if (p->format == HN_METRICS_OPENMETRICS)
		fprintf(p->out, "# EOF\n");
}

/* What has ended is not a series any more. */
static size_t keep_living(struct hn_seen *seen, size_t nr)
{
	size_t kept = 0;

	for (size_t i = 0; i < nr; i++) {
		if (seen[i].slot)
			seen[kept++] = seen[i];
		else
			free(seen[i].p.record);
	}
	return kept;
}

bool hn_metrics_print(FILE *out, enum hn_metrics_format format)
{
	struct hn_attached a = { 0 };
	struct hn_seen *seen = NULL;
	size_t nr = 0;
	bool ok = hn_attach(&a) == 0;

	if (ok) {
		nr = hn_seen_find(&a, 0, &seen);
		nr = keep_living(seen, nr);
		put_all(&(struct page){ out, format, seen, nr });
	}
	hn_seen_free(seen, nr);
	hn_attach_close(&a);
	return ok;
}
