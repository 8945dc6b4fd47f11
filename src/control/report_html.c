// SPDX-License-Identifier: MIT
/* report_html.c - a report as one HTML page: style, tables, and the drawings of report_chart.c. */
#include "control/report_chart.h"
#include "control/say.h"

#include <inttypes.h>
#include <string.h>

#define REGIONS 64
#define THREADS 64
#define DECISIONS 40

static const char style[] =
	":root{color-scheme:light}*{box-sizing:border-box}"
	"body{font:16px/1.45 system-ui,sans-serif;color:#222;background:#fff;margin:0 "
	"auto;padding:1rem;max-width:70rem}"
	"h1{font-size:clamp(1.05rem,4.2vw,1.5rem);margin:.2rem "
	"0;overflow-wrap:anywhere}h2{font-size:1.25rem;margin:2rem 0 .5rem;border-top:2px solid #ddd;"
	"padding-top:1rem;overflow-wrap:anywhere}h3{font-size:1rem;margin:1.4rem 0 .3rem}"
	"p{margin:.3rem 0}.note,.from{color:#666;font-size:.85rem}.from{font-family:monospace;overflow-wrap:anywhere}"
	".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem;margin:.8rem 0}"
	".tiles div{border:1px solid #ddd;border-radius:.4rem;padding:.5rem .7rem}.tiles "
	"b{display:block;font-size:1.2rem}"
	".tiles span{color:#555;font-size:.85rem}"
	".chart{display:grid;grid-template-columns:3.4rem 1fr;font-size:.75rem;color:#555;column-gap:.4rem}"
	".chart svg{width:100%;height:9rem;border:1px solid #ccc;background:#fafafa;display:block}"
	".chart.low svg{height:6rem}.chart.heat svg{height:20rem}.chart.heat.few svg{height:7rem}"
	".y{display:flex;flex-direction:column;justify-content:space-between;text-align:right}"
	".x{grid-column:2;display:flex;justify-content:space-between}"
	".grid{stroke:#ddd;stroke-width:1;vector-effect:non-scaling-stroke;fill:none}"
	".gap{stroke:#222;stroke-width:1;vector-effect:non-scaling-stroke;fill:none}"
	".line{stroke:#2166ac;stroke-width:2;vector-effect:non-scaling-stroke;fill:none;stroke-linejoin:round}"
	".bar{fill:#2166ac}.bar.moved{fill:#e69f00}"
	".legend{font-size:.8rem;color:#444}.legend span{white-space:nowrap;margin-right:.5rem}"
	".legend i{display:inline-block;width:.9em;height:.9em;margin-right:.25em;vertical-align:-.1em;border:1px "
	"solid #999}"
	".legend i.none{background:#fafafa}.legend i.all{background:#2166ac}.legend i.moved{background:#e69f00}"
	".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}"
	"th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #e5e5e5;white-space:nowrap}"
	"th{font-weight:600;background:#f4f4f4}.l{text-align:left}.a{font-family:monospace}tr.sum td{font-weight:600}"
	"svg,.legend i,th{print-color-adjust:exact;-webkit-print-color-adjust:exact}"
	"@media print{body{font-size:10pt;max-width:none;padding:0}h2{break-before:page}h2.first{break-before:auto}"
	".chart,.tiles,tr{break-inside:avoid}h3,.from{break-after:avoid}.legend{break-before:avoid}.wide{overflow:"
	"visible}th,td{padding:.1rem .3rem;white-space:normal}"
	"table{font-size:7.5pt}.chart.heat svg{height:12rem}}";

/* ---- tiles ---- */

static void tile(FILE *out, const char *value, const char *what)
{
	fputs("<div><b>", out);
	hn_html_text(out, value);
	fprintf(out, "</b><span>%s</span></div>\n", what);
}

static void tile_percent(FILE *out, double percent, const char *what)
{
	char text[32] = "-";

	if (percent >= 0)
		snprintf(text, sizeof(text), "%.1f %%", percent);
	tile(out, text, what);
}

static void put_tiles(FILE *out, const json_t *p)
{
	const json_t *service = json_object_get(p, "fault_service"), *stall = json_object_get(p, "migration_stall");

	fputs("<div class=\"tiles\">\n", out);
	tile_percent(out, hn_get_percent(p, "local_start_percent"), "local at start");
	tile_percent(out, hn_get_percent(p, "local_end_percent"), "local at end");
	tile(out, hn_text_count(hn_get_count(p, "managed_peak_pages") * (HN_PAGE_SIZE >> 20)).s, "MiB managed at most");
	tile(out, hn_text_count(hn_get_count(p, "samples_count")).s, "hint faults");
	tile(out, hn_text_count(hn_get_count(p, "migrated_pages")).s, "pages migrated");
	tile(out, hn_text_count(hn_get_count(p, "failed_count")).s, "migrations failed");
	tile(out, hn_text_ns(hn_get_count(service, "p50_ns")).s, "wait of half the faults");
	tile(out, hn_text_ns(hn_get_count(service, "p99_ns")).s, "wait of 99 % of them");
	tile(out, hn_text_ns(hn_get_count(stall, "max_ns")).s, "longest migration stall");
	tile_percent(out, hn_get_percent(json_object_get(p, "agent"), "cpu_percent"), "of a CPU for the agent");
	fputs("</div>\n", out);
}

/* ---- tables ---- */

static void cell_count(FILE *out, uint64_t n) { fprintf(out, "<td>%s</td>", hn_text_count(n).s); }

static void cell_text(FILE *out, const char *class, const char *s)
{
	fprintf(out, "<td class=\"%s\">", class);
	hn_html_text(out, s);
	fputs("</td>", out);
}

static void put_nodes(FILE *out, const json_t *report, const json_t *p)
{
	static const char *const keys[] = { "managed_pages", "samples_count", "local_count", "migrated_to_pages",
					    "migrated_from_pages" };
	const json_t *nodes = hn_get_array(p, "nodes");
	uint64_t sum[5] = { 0 };

	if (!json_array_size(nodes))
		return;
	fputs("<h3>Nodes</h3><div class=\"wide\"><table><tr><th class=\"l\">node</th><th>pages managed</th><th>samples "
	      "from</th>"
	      "<th>of them local</th><th>migrated to</th><th>migrated from</th></tr>\n",
	      out);
	for (size_t i = 0; i < json_array_size(nodes) && i < HN_MAX_NODES; i++) {
		fprintf(out, "<tr><td class=\"l\">%" PRIu64 "</td>", hn_get_node_name(report, i));
		for (int k = 0; k < 5; k++) {
			uint64_t n = hn_get_count(json_array_get(nodes, i), keys[k]);

			sum[k] += n;
			cell_count(out, n);
		}
		fputs("</tr>\n", out);
	}
	fputs("<tr class=\"sum\"><td class=\"l\">total</td>", out);
	for (int k = 0; k < 5; k++)
		cell_count(out, sum[k]);
	fputs("</tr></table></div>\n", out);
}

static void cell_list(FILE *out, const json_t *array, size_t nr)
{
	fputs("<td class=\"l\">", out);
	for (size_t i = 0; i < nr && i < json_array_size(array); i++)
		fprintf(out, "%s%" PRIu64, i ? " + " : "", hn_get_at(array, i));
	fputs("</td>", out);
}

static void put_regions(FILE *out, const json_t *report, const json_t *p)
{
	const json_t *regions = hn_get_array(p, "regions");
	uint64_t total = hn_get_count(p, "regions_total_count");

	if (!json_array_size(regions))
		return;
	fputs("<h3>Regions</h3><div class=\"wide\"><table><tr><th "
	      "class=\"l\">start</th><th>pages</th><th>local</th><th>lately</th>"
	      "<th>samples</th><th>migrated</th><th class=\"l\">pages by node</th><th class=\"l\">samples by "
	      "node</th></tr>\n",
	      out);
	for (size_t i = 0; i < json_array_size(regions) && i < REGIONS; i++) {
		const json_t *r = json_array_get(regions, i);
		uint64_t local = hn_get_count(r, "local_count"), all = local + hn_get_count(r, "remote_count");
		uint64_t recent = hn_get_count(r, "recent_local_count");

		fputs("<tr>", out);
		cell_text(out, "l a", hn_get_text(r, "start"));
		cell_count(out, hn_get_count(r, "managed_pages"));
		cell_text(out, "", hn_text_share(local, all).s);
		cell_text(out, "", hn_text_share(recent, recent + hn_get_count(r, "recent_remote_count")).s);
		cell_count(out, all);
		cell_count(out, hn_get_count(r, "migrated_pages"));
		cell_list(out, hn_get_array(r, "pages_on_node"), hn_get_nr_nodes(report));
		cell_list(out, hn_get_array(r, "samples_from_node_count"), hn_get_nr_nodes(report));
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n", out);
	if (total > REGIONS)
		fprintf(out, "<p class=\"note\">%d of %" PRIu64 " regions</p>\n", REGIONS, total);
}

static void cell_node(FILE *out, const json_t *report, const json_t *d, const char *key)
{
	if (json_is_integer(json_object_get(d, key)))
		fprintf(out, "<td>%" PRIu64 "</td>", hn_get_node_name(report, hn_get_count(d, key)));
	else
		fputs("<td>-</td>", out);
}

static void put_threads(FILE *out, const json_t *report, const json_t *p)
{
	const json_t *threads = hn_get_array(p, "threads");
	size_t nr = json_array_size(threads);

	if (!nr)
		return;
	fprintf(out,
		"<h3>Threads</h3><p class=\"note\">%s known, in %s groups that use memory together.</p><div class=\"wide\"><table>"
		"<tr><th>thread</th><th>on node</th><th>prefers</th><th>kept on</th><th>group</th><th>samples</th><th>local</th>"
		"<th>shared lately</th><th class=\"l\">lately: pages by node</th></tr>\n",
		hn_text_count(hn_get_count(p, "threads_total_count")).s,
		hn_text_count(hn_get_count(p, "thread_groups_count")).s);
	for (size_t i = 0; i < nr && i < THREADS; i++) {
		const json_t *t = json_array_get(threads, i);
		uint64_t shared = hn_get_count(t, "recent_shared_count"), samples = hn_get_count(t, "samples_count");

		fprintf(out, "<tr><td>%" PRIu64 "</td>", hn_get_count(t, "thread_id"));
		cell_node(out, report, t, "node");
		cell_node(out, report, t, "preferred_node");
		cell_node(out, report, t, "home_node");
		cell_text(out, "", hn_get_count(t, "group") ? hn_text_count(hn_get_count(t, "group")).s : "-");
		cell_count(out, samples);
		cell_text(out, "", hn_text_share(hn_get_count(t, "local_count"), samples).s);
		cell_text(out, "", hn_text_share(shared, shared + hn_get_count(t, "recent_own_count")).s);
		cell_list(out, hn_get_array(t, "recent_pages_on_node_count"), hn_get_nr_nodes(report));
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

static void put_decisions(FILE *out, const json_t *report, const json_t *p)
{
	const json_t *decisions = hn_get_array(p, "decisions");
	size_t nr = json_array_size(decisions), first = nr > DECISIONS ? nr - DECISIONS : 0;

	if (!nr)
		return;
	fprintf(out,
		"<h3>Latest decisions</h3><p class=\"note\">%zu of %s. `hugenuma explain' says them in sentences.</p>"
		"<div class=\"wide\"><table><tr><th>seconds</th><th class=\"l\">page</th><th>thread</th><th>on "
		"node</th><th>page on</th>"
		"<th>target</th><th>before</th><th class=\"l\">outcome</th><th class=\"l\">reason</th><th "
		"class=\"l\">rule</th><th>took</th>"
		"</tr>\n",
		nr - first, hn_text_count(hn_get_count(p, "decisions_total_count")).s);
	for (size_t i = first; i < nr; i++) {
		const json_t *d = json_array_get(decisions, i);

		fprintf(out, "<tr><td>%.3f</td>", (double)hn_get_count(d, "time_ms") / 1e3);
		cell_text(out, "l a", hn_get_text(d, "address"));
		fprintf(out, "<td>%" PRIu64 "</td>", hn_get_count(d, "thread_id"));
		cell_node(out, report, d, "thread_node");
		cell_node(out, report, d, "page_node");
		cell_node(out, report, d, "target_node");
		cell_node(out, report, d, "previous_node");
		cell_text(out, "l", hn_get_text(d, "outcome"));
		cell_text(out, "l", hn_get_text(d, "reason"));
		cell_text(out, "l", hn_get_text(d, "rule"));
		cell_text(out, "", hn_text_ns(hn_get_count(d, "service_ns")).s);
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

/* ---- the page ---- */

static void put_process(FILE *out, const json_t *report, const json_t *p, bool first)
{
	fprintf(out, "<h2%s>", first ? " class=\"first\"" : "");
	hn_html_text(out, hn_get_text(p, "command"));
	fprintf(out, " <small>(pid %" PRIu64 ", %.1f s%s)</small></h2>\n", hn_get_count(p, "pid"),
		(double)hn_get_count(p, "elapsed_ms") / 1e3,
		json_is_true(json_object_get(p, "running")) ? ", running" : "");
	if (*hn_get_text(p, "message")) {
		fputs("<p class=\"note\">", out);
		hn_html_text(out, hn_get_text(p, "message"));
		fputs("</p>\n", out);
	}
	put_tiles(out, p);
	fputs("<h3>Local share over time</h3>\n", out);
	hn_chart_local(out, p);
	fputs("<h3>Pages migrated</h3>\n", out);
	hn_chart_migrations(out, p);
	fputs("<h3>Where accesses were local, by address and time</h3>\n", out);
	hn_chart_heat_local(out, p);
	fputs("<h3>Which node used what, by address and time</h3>\n", out);
	hn_chart_heat_nodes(out, report, p);
	fputs("<h3>How long threads waited</h3>\n", out);
	hn_chart_stalls(out, p);
	put_nodes(out, report, p);
	put_regions(out, report, p);
	put_threads(out, report, p);
	put_decisions(out, report, p);
}

static void put_head(FILE *out, const json_t *report)
{
	const json_t *program = hn_get_array(report, "program"), *config = json_object_get(report, "config");

	fprintf(out,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		"<title>hugenuma report</title>\n<style>%s</style>\n</head>\n<body>\n<h1>",
		style);
	for (size_t i = 0; i < json_array_size(program) && i < 64; i++) {
		const char *arg = json_string_value(json_array_get(program, i));

		fputs(i ? " " : "", out);
		hn_html_text(out, arg ? arg : "?");
	}
	fprintf(out, "</h1>\n<p>%zu %s NUMA nodes, policy ", hn_get_nr_nodes(report),
		json_is_true(json_object_get(json_object_get(report, "machine"), "virtual")) ? "virtual" : "real");
	hn_html_text(out, hn_get_text(config, "policy"));
	fprintf(out, ", a round over new memory in %" PRIu64 " ms, at most %" PRIu64 " MiB at a time; %.1f s; hugenuma ",
		hn_get_count(config, "period_ms"), hn_get_count(config, "window_mib"),
		(double)hn_get_count(report, "elapsed_ms") / 1e3);
	hn_html_text(out, hn_get_text(report, "hugenuma_version"));
	fputs("</p>\n", out);
}

void hn_report_html(FILE *out, const json_t *report)
{
	const json_t *processes = hn_get_array(report, "processes");
	size_t nr = json_array_size(processes);

	put_head(out, report);
	for (size_t i = 0; i < nr; i++)
		put_process(out, report, json_array_get(processes, i), i == 0);
	if (!nr)
		fputs("<p>No process managed pages.</p>\n", out);
	fputs("</body>\n</html>\n", out);
}
