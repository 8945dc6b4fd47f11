// SPDX-License-Identifier: MIT
/* report_text.c - a report for a terminal, by node as numastat(8) has it; and as CSV. */
#include "control/report_view.h"
#include "control/say.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define COLUMNS 8 /* nodes side by side */
#define REGIONS 20
#define THREADS 20
#define DECISIONS 10

/* ---- by node ---- */

/* What one line of the table shows of node i. */
struct line {
	const char *label;
	uint64_t (*value)(const json_t *report, const json_t *process, size_t i);
	bool none_when_virtual; /* the kernel does not know virtual nodes */
};

static const json_t *node_of(const json_t *process, size_t i)
{
	return json_array_get(hn_get_array(process, "nodes"), i);
}

static uint64_t managed_mib(const json_t *report, const json_t *process, size_t i)
{
	(void)report;
	return hn_get_count(node_of(process, i), "managed_pages") * (HN_PAGE_SIZE >> 20);
}

static uint64_t samples(const json_t *report, const json_t *process, size_t i)
{
	(void)report;
	return hn_get_count(node_of(process, i), "samples_count");
}

static uint64_t local(const json_t *report, const json_t *process, size_t i)
{
	(void)report;
	return hn_get_count(node_of(process, i), "local_count");
}

static uint64_t to(const json_t *report, const json_t *process, size_t i)
{
	(void)report;
	return hn_get_count(node_of(process, i), "migrated_to_pages");
}

static uint64_t from(const json_t *report, const json_t *process, size_t i)
{
	(void)report;
	return hn_get_count(node_of(process, i), "migrated_from_pages");
}

static uint64_t kernel_mib(const json_t *report, const json_t *process, size_t i, const char *key)
{
	const json_t *nodes = hn_get_array(json_object_get(process, "kernel"), "nodes");
	uint64_t name = hn_get_node_name(report, i);

	for (size_t k = 0; k < json_array_size(nodes); k++)
		if (hn_get_count(json_array_get(nodes, k), "os_node") == name)
			return hn_get_count(json_array_get(nodes, k), key) >> 20;
	return 0;
}

static uint64_t resident(const json_t *report, const json_t *process, size_t i)
{
	return kernel_mib(report, process, i, "bytes");
}

static uint64_t hugetlb(const json_t *report, const json_t *process, size_t i)
{
	return kernel_mib(report, process, i, "hugetlb_bytes");
}

static const struct line lines[] = {
	{ "managed huge, MiB", managed_mib, false }, { "samples from", samples, false },
	{ "  of them local", local, false },         { "pages migrated to", to, false },
	{ "pages migrated from", from, false },      { "kernel: all, MiB", resident, true },
	{ "kernel: hugetlb, MiB", hugetlb, true },
};

static bool is_virtual(const json_t *report)
{
	return json_is_true(json_object_get(json_object_get(report, "machine"), "virtual"));
}

static void put_line(FILE *out, const json_t *report, const json_t *process, const struct line *l, size_t first,
		     size_t end)
{
	size_t nr = hn_get_nr_nodes(report);
	uint64_t sum = 0;

	if (l->none_when_virtual && (is_virtual(report) || !json_is_object(json_object_get(process, "kernel"))))
		return;
	fprintf(out, "  %-22s", l->label);
	for (size_t i = first; i < end; i++)
		fprintf(out, " %11" PRIu64, l->value(report, process, i));
	for (size_t i = 0; i < nr; i++)
		sum += l->value(report, process, i);
	if (end == nr)
		fprintf(out, " %11" PRIu64, sum);
	fputc('\n', out);
}

static void put_nodes(FILE *out, const json_t *report, const json_t *process)
{
	size_t nr = hn_get_nr_nodes(report);

	for (size_t first = 0; first < nr; first += COLUMNS) {
		size_t end = first + COLUMNS < nr ? first + COLUMNS : nr;
		char name[32];

		fprintf(out, "  %-22s", "");
		for (size_t i = first; i < end; i++) {
			snprintf(name, sizeof(name), "node %" PRIu64, hn_get_node_name(report, i));
			fprintf(out, " %11s", name);
		}
		fprintf(out, "%s\n", end == nr ? "       total" : "");
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			put_line(out, report, process, &lines[i], first, end);
	}
}

/* ---- a process ---- */

static void put_share(FILE *out, double percent)
{
	if (percent < 0)
		fprintf(out, "-");
	else
		fprintf(out, "%.1f %%", percent);
}

static void put_summary(FILE *out, const json_t *p)
{
	const json_t *kernel = json_object_get(p, "kernel");

	fprintf(out, "  local share            ");
	put_share(out, hn_get_percent(p, "local_start_percent"));
	fprintf(out, " at start, ");
	put_share(out, hn_get_percent(p, "local_end_percent"));
	fprintf(out, " lately\n  hint faults            %s: %s local, %s migrated, %s refused, %s failed, %s raced\n",
		hn_text_count(hn_get_count(p, "samples_count")).s, hn_text_count(hn_get_count(p, "local_count")).s,
		hn_text_count(hn_get_count(p, "migrated_pages")).s, hn_text_count(hn_get_count(p, "refused_count")).s,
		hn_text_count(hn_get_count(p, "failed_count")).s, hn_text_count(hn_get_count(p, "raced_count")).s);
	fprintf(out, "  fault service          p50 %s, p99 %s, max %s\n",
		hn_text_ns(hn_get_count(json_object_get(p, "fault_service"), "p50_ns")).s,
		hn_text_ns(hn_get_count(json_object_get(p, "fault_service"), "p99_ns")).s,
		hn_text_ns(hn_get_count(json_object_get(p, "fault_service"), "max_ns")).s);
	if (json_is_object(kernel))
		fprintf(out, "  the kernel says        %s MiB resident, %s MiB of it in transparent huge pages\n",
			hn_text_count(hn_get_count(kernel, "resident_bytes") >> 20).s,
			hn_text_count(hn_get_count(kernel, "anon_huge_bytes") >> 20).s);
}

static void put_node_or_dash(FILE *out, const json_t *report, const json_t *d, const char *key, int width)
{
	if (json_is_integer(json_object_get(d, key)))
		fprintf(out, " %*" PRIu64, width, hn_get_node_name(report, hn_get_count(d, key)));
	else
		fprintf(out, " %*s", width, "-");
}

/* "40+20": by node, in their order. */
static void put_numbers(FILE *out, const json_t *array, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		fprintf(out, "%s%" PRIu64, i ? "+" : "", hn_get_at(array, i));
}

static void put_regions(FILE *out, const json_t *report, const json_t *p)
{
	const json_t *regions = hn_get_array(p, "regions");
	size_t nr = json_array_size(regions), nr_nodes = hn_get_nr_nodes(report);
	uint64_t total = hn_get_count(p, "regions_total_count");

	if (!nr)
		return;
	fprintf(out, "  %-31s %8s %8s %9s %8s  %s\n", "region", "MiB", "local", "samples", "migrated",
		"pages by node; samples by node");
	for (size_t i = 0; i < nr && i < REGIONS; i++) {
		const json_t *r = json_array_get(regions, i);
		uint64_t l = hn_get_count(r, "local_count"), all = l + hn_get_count(r, "remote_count");
		char start[24], end[24];

		fprintf(out, "  %-15s-%-15s %8" PRIu64 " %8s %9" PRIu64 " %8" PRIu64 "  ",
			hn_get_printable(r, "start", start, sizeof(start)),
			hn_get_printable(r, "end", end, sizeof(end)),
			hn_get_count(r, "managed_pages") * (HN_PAGE_SIZE >> 20), hn_text_share(l, all).s, all,
			hn_get_count(r, "migrated_pages"));
		put_numbers(out, hn_get_array(r, "pages_on_node"), nr_nodes);
		fprintf(out, "; ");
		put_numbers(out, hn_get_array(r, "samples_from_node_count"), nr_nodes);
		fputc('\n', out);
	}
	if (total > REGIONS)
		fprintf(out, "  ... %" PRIu64 " regions in all\n", total);
}

static void put_threads(FILE *out, const json_t *report, const json_t *p)
{
	const json_t *threads = hn_get_array(p, "threads");
	size_t nr = json_array_size(threads), nr_nodes = hn_get_nr_nodes(report);
	uint64_t total = hn_get_count(p, "threads_total_count");

	if (!nr)
		return;
	fprintf(out, "  %9s %7s %7s %7s %6s %9s %8s %8s  %s\n", "thread", "node", "prefers", "kept on", "group", "samples",
		"local", "shared", "lately: pages by node");
	for (size_t i = 0; i < nr && i < THREADS; i++) {
		const json_t *t = json_array_get(threads, i);
		uint64_t shared = hn_get_count(t, "recent_shared_count"), samples = hn_get_count(t, "samples_count");

		fprintf(out, "  %9" PRIu64, hn_get_count(t, "thread_id"));
		put_node_or_dash(out, report, t, "node", 7);
		put_node_or_dash(out, report, t, "preferred_node", 7);
		put_node_or_dash(out, report, t, "home_node", 7);
		if (hn_get_count(t, "group"))
			fprintf(out, " %6" PRIu64, hn_get_count(t, "group"));
		else
			fprintf(out, " %6s", "-");
		fprintf(out, " %9" PRIu64 " %8s %8s  ", samples, hn_text_share(hn_get_count(t, "local_count"), samples).s,
			hn_text_share(shared, shared + hn_get_count(t, "recent_own_count")).s);
		put_numbers(out, hn_get_array(t, "recent_pages_on_node_count"), nr_nodes);
		fputc('\n', out);
	}
	if (total > THREADS)
		fprintf(out, "  ... %" PRIu64 " threads in all, in %" PRIu64 " groups\n", total,
			hn_get_count(p, "thread_groups_count"));
}


static void put_decisions(FILE *out, const json_t *report, const json_t *p)
{
	const json_t *decisions = hn_get_array(p, "decisions");
	size_t nr = json_array_size(decisions);

	if (!nr)
		return;
	fprintf(out, "  %10s  %-15s %9s %7s %7s %7s  %-9s %-9s %9s\n", "seconds", "page", "thread", "on node",
		"page on", "target", "outcome", "reason", "took");
	for (size_t i = nr > DECISIONS ? nr - DECISIONS : 0; i < nr; i++) {
		const json_t *d = json_array_get(decisions, i);
		char addr[24], outcome[16], reason[16];

		fprintf(out, "  %10.3f  %-15s %9" PRIu64, (double)hn_get_count(d, "time_ms") / 1e3,
			hn_get_printable(d, "address", addr, sizeof(addr)), hn_get_count(d, "thread_id"));
		put_node_or_dash(out, report, d, "thread_node", 7);
		put_node_or_dash(out, report, d, "page_node", 7);
		put_node_or_dash(out, report, d, "target_node", 7);
		fprintf(out, "  %-9s %-9s %9s\n", hn_get_printable(d, "outcome", outcome, sizeof(outcome)),
			hn_get_printable(d, "reason", reason, sizeof(reason)),
			hn_text_ns(hn_get_count(d, "service_ns")).s);
	}
}

void hn_report_text(FILE *out, const json_t *report)
{
	const json_t *processes = hn_get_array(report, "processes");
	size_t nr = json_array_size(processes);
	char comm[64];

	fprintf(out,
		"%zu %s NUMA nodes, policy %s, period %" PRIu64 " ms, %" PRIu64 " process%s managed pages, %.1f s\n",
		hn_get_nr_nodes(report), is_virtual(report) ? "virtual" : "real",
		hn_get_printable(json_object_get(report, "config"), "policy", comm, sizeof(comm)),
		hn_get_count(json_object_get(report, "config"), "period_ms"), hn_get_count(report, "managed_count"),
		hn_get_count(report, "managed_count") == 1 ? "" : "es",
		(double)hn_get_count(report, "elapsed_ms") / 1e3);
	for (size_t i = 0; i < nr; i++) {
		const json_t *p = json_array_get(processes, i);

		fprintf(out, "\n%s (pid %" PRIu64 ")%s, %.1f s\n", hn_get_printable(p, "command", comm, sizeof(comm)),
			hn_get_count(p, "pid"), json_is_true(json_object_get(p, "running")) ? ", running" : "",
			(double)hn_get_count(p, "elapsed_ms") / 1e3);
		put_nodes(out, report, p);
		put_summary(out, p);
		put_regions(out, report, p);
		put_threads(out, report, p);
		put_decisions(out, report, p);
	}
	if (nr > 1) {
		fprintf(out, "\nall processes\n");
		put_summary(out, json_object_get(report, "totals"));
	}
}

/* ---- CSV ---- */

/* Quoted; what a spreadsheet would take for a formula gets an apostrophe. */
static void csv_text(FILE *out, const char *s)
{
	fputc('"', out);
	if (*s && strchr("=+-@\t\r", *s))
		fputc('\'', out);
	for (; *s; s++) {
		if (*s == '"')
			fputc('"', out);
		fputc((unsigned char)*s < ' ' || *s == 127 ? '?' : *s, out);
	}
	fputc('"', out);
}

struct csv {
	FILE *out;
	uint64_t pid;
	const char *comm;
};

static void csv_value(const struct csv *c, const char *key, const json_t *v)
{
	fprintf(c->out, "%" PRIu64 ",", c->pid);
	csv_text(c->out, c->comm);
	fprintf(c->out, ",%s,", key);
	if (json_is_integer(v))
		fprintf(c->out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		fprintf(c->out, "%.6g", json_real_value(v));
	else if (json_is_boolean(v))
		fputs(json_is_true(v) ? "true" : "false", c->out);
	else if (json_is_string(v))
		csv_text(c->out, json_string_value(v));
	fputs("\r\n", c->out);
}

/* A key of a file may be anything: only what ours look like is taken. */
static bool is_plain(const char *key) { return strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(key); }

static void csv_tree(const struct csv *c, const char *path, const json_t *v)
{
	json_t *value, *any = (json_t *)v;
	const char *key;
	char deeper[256];
	size_t i;

	if (json_is_array(v)) {
		json_array_foreach(v, i, value)
		{
			snprintf(deeper, sizeof(deeper), "%s[%zu]", path, i);
			csv_tree(c, deeper, value);
		}
	} else if (json_is_object(v)) {
		json_object_foreach(any, key, value)
		{
			snprintf(deeper, sizeof(deeper), "%s%s%s", path, *path ? "." : "", key);
			if (is_plain(key))
				csv_tree(c, deeper, value);
		}
	} else {
		csv_value(c, path, v);
	}
}

void hn_report_csv(FILE *out, const json_t *report)
{
	const json_t *processes = hn_get_array(report, "processes");

	fputs("pid,command,key,value\r\n", out);
	for (size_t i = 0; i < json_array_size(processes); i++) {
		const json_t *p = json_array_get(processes, i);
		struct csv c = { out, hn_get_count(p, "pid"), hn_get_text(p, "command") };

		csv_tree(&c, "", p);
	}
}
