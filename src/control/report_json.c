// SPDX-License-Identifier: MIT
#include "control/report_json.h"

#include "control/json.h"
#include "control/names.h"
#include "control/report_record.h"
#include "control/say.h"
#include "control/version.h"
#include "core/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void put_reasons(struct hn_object *o, const char *key, const uint64_t *count, const struct hn_name *name, int nr)
{
	struct hn_object reasons = hn_object_new();
	char full[64];

	for (int i = 0; i < nr; i++) {
		snprintf(full, sizeof(full), "%s_count", name[i].key);
		hn_put_count(&reasons, full, count[i]);
	}
	hn_put_object(o, key, reasons);
}

static void put_per_node(struct hn_object *o, const char *key, const uint64_t *count, uint32_t nr_nodes)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < nr_nodes; i++)
		hn_append(o, array, json_integer((json_int_t)count[i]));
	hn_put_array(o, key, array);
}

static void put_hist(struct hn_object *o, const char *key, const struct hn_hist *h)
{
	struct hn_object times = hn_object_new();
	json_t *buckets = json_array();

	for (unsigned i = 0; i < HN_HIST_BUCKETS; i++) {
		struct hn_object bucket = hn_object_new();

		hn_put_count(&bucket, "from_ns", hn_hist_bucket_floor(i));
		hn_put_count(&bucket, "faults_count", h->bucket[i]);
		if (h->bucket[i])
			hn_append_object(o, buckets, bucket);
		else
			json_decref(bucket.json);
	}
	hn_put_count(&times, "faults_count", h->count);
	hn_put_count(&times, "mean_ns", h->count ? h->sum / h->count : 0);
	hn_put_count(&times, "p50_ns", hn_hist_percentile(h, 500));
	hn_put_count(&times, "p90_ns", hn_hist_percentile(h, 900));
	hn_put_count(&times, "p99_ns", hn_hist_percentile(h, 990));
	hn_put_count(&times, "p999_ns", hn_hist_percentile(h, 999));
	hn_put_count(&times, "max_ns", h->max);
	hn_put_array(&times, "buckets", buckets);
	hn_put_object(o, key, times);
}

/* ---- one process, or all together ---- */

static void put_arming(struct hn_object *o, const struct hn_stats *s)
{
	hn_put_count(o, "armed_count", s->armed);
	hn_put_count(o, "armed_now_pages", s->armed_now);
	put_reasons(o, "arm_refused", s->arm_refused, hn_arm_error_names, HN_NR_ARM_ERRORS);
	hn_put_count(o, "disarmed_count", s->disarmed_total);
	put_reasons(o, "disarmed", s->disarmed, hn_disarm_names, HN_NR_DISARM_CAUSES);
}

static void put_faults(struct hn_object *o, const struct hn_stats *s)
{
	hn_put_count(o, "fault_messages_count", s->messages);
	hn_put_count(o, "samples_count", s->samples);
	hn_put_count(o, "local_count", s->local);
	hn_put_count(o, "migrated_pages", s->migrated);
	hn_put_count(o, "refused_count", hn_stats_refused(s));
	put_reasons(o, "migrated_for", s->migrated_for, hn_reason_names, HN_NR_REASONS);
	put_reasons(o, "refused", s->refused, hn_refusal_names, HN_NR_REFUSALS);
	hn_put_count(o, "failed_count", hn_stats_failed(s));
	put_reasons(o, "failed", s->failed, hn_failure_names, HN_NR_FAILURES);
	hn_put_count(o, "demoted_pages", s->demoted);
	put_reasons(o, "demote_failed", s->demote_failed, hn_failure_names, HN_NR_FAILURES);
	hn_put_count(o, "demote_touched_count", s->demote_touched);
	hn_put_count(o, "demote_raced_count", s->demote_raced);
	hn_put_count(o, "raced_count", s->raced);
	hn_put_count(o, "stale_count", s->stale);
	hn_put_count(o, "waited_count", s->waited);
	hn_put_count(o, "deferred_count", s->deferred);
	hn_put_count(o, "unmanaged_faults_count", s->unmanaged);
	hn_put_count(o, "collisions_count", s->collisions);
	hn_put_count(o, "lost_huge_pages", s->pages_lost_huge);
	put_hist(o, "fault_service", &s->fault_service_ns);
	put_hist(o, "migration_stall", &s->migration_stall_ns);
	put_hist(o, "migration_cpu", &s->migration_cpu_ns);
}

static void put_shares(struct hn_object *o, const struct hn_shares *s)
{
	hn_put_percent(o, "local_start_percent", s->start_local, s->start_samples);
	hn_put_count(o, "local_start_samples_count", s->start_samples);
	hn_put_percent(o, "local_end_percent", s->end_local, s->end_samples);
	hn_put_count(o, "local_end_samples_count", s->end_samples);
}

static void put_agent(struct hn_object *o, const struct hn_process *p)
{
	struct hn_object agent = hn_object_new();
	const struct hn_slot *slot = &p->slot;

	hn_put_count(&agent, "cpu_ns", slot->agent_cpu_ns);
	hn_put_percent(&agent, "cpu_percent", slot->agent_cpu_ns / 1000, p->elapsed_ms * 1000);
	hn_put_count(&agent, "memory_bytes", slot->agent_bytes);
	hn_put_count(&agent, "registered_bytes", slot->registered_bytes);
	hn_put_count(&agent, "regions_count", slot->regions);
	hn_put_count(&agent, "scans_count", slot->scans);
	hn_put_count(&agent, "unbound_mappings_count", slot->unbound_mappings);
	hn_put_count(&agent, "hot_threshold_ms", slot->hot_ms);
	hn_put_count(&agent, "threads_moved_count", slot->threads_moved);
	hn_put_count(&agent, "threads_kept_count", slot->threads_kept);
	hn_put_count(&agent, "events_count", slot->events);
	hn_put_count(&agent, "holes_served_count", slot->holes_served);
	hn_put_count(&agent, "fixups_count", slot->fixups);
	hn_put_count(&agent, "collapses_count", slot->collapses);
	hn_put_object(o, "agent", agent);
}

static void put_counters(struct hn_object *o, const struct hn_process *p, uint32_t nr_nodes)
{
	const struct hn_stats *s = &p->slot.stats;

	hn_put_count(o, "elapsed_ms", p->elapsed_ms);
	hn_put_count(o, "managed_peak_pages", s->managed_peak_pages);
	hn_put_count(o, "managed_pages", s->managed_pages);
	put_arming(o, s);
	put_faults(o, s);
	put_shares(o, &p->shares);
	put_per_node(o, "samples_from_node_count", s->sample_from, nr_nodes);
	put_per_node(o, "migrated_to_node_pages", s->migrated_to, nr_nodes);
	put_agent(o, p);
}

static json_t *series_json(struct hn_object *o, const struct hn_series *series)
{
	uint32_t nr = series->nr < HN_SERIES_MAX ? series->nr : HN_SERIES_MAX;
	json_t *array = json_array();

	for (uint32_t i = 0; i < nr; i++) {
		const struct hn_series_point *p = &series->point[i];
		struct hn_object point = hn_object_new();

		hn_put_count(&point, "time_ms", p->time_ms);
		hn_put_count(&point, "samples_count", p->samples);
		hn_put_count(&point, "local_count", p->local);
		hn_put_count(&point, "migrated_pages", p->migrated);
		hn_put_count(&point, "armed_count", p->armed);
		hn_append_object(o, array, point);
	}
	return array;
}

static struct hn_object rule_json(const struct hn_slot *slot, uint32_t i)
{
	struct hn_object o = hn_object_new();

	hn_put_text(&o, "name", slot->rule[i].name);
	hn_put_text(&o, "text", slot->rule[i].text);
	hn_put_count(&o, "stayed_count", slot->stats.rule_stayed[i]);
	hn_put_count(&o, "moved_pages", slot->stats.rule_moved[i]);
	return o;
}

/* Null without a policy that is a shared object. */
static void put_plugin(struct hn_object *o, const struct hn_slot *slot)
{
	struct hn_object plugin;
	json_t *rules;

	if (!slot->policy_name[0]) {
		hn_put_text(o, "plugin", NULL);
		return;
	}
	plugin = hn_object_new();
	rules = json_array();
	for (uint32_t i = 0; i < hn_slot_rules(slot); i++)
		hn_append_object(&plugin, rules, rule_json(slot, i));
	hn_put_text(&plugin, "name", slot->policy_name);
	hn_put_text(&plugin, "file", slot->config.plugin);
	hn_put_array(&plugin, "rules", rules);
	hn_put_object(o, "plugin", plugin);
}

static struct hn_object process_json(const struct hn_process *p, uint32_t nr_nodes)
{
	struct hn_object o = hn_object_new();
	uint32_t mover = p->slot.mover_used, arm = p->slot.arm_used;
	char message[sizeof(p->slot.message)];

	memcpy(message, p->slot.message, sizeof(message));
	hn_make_printable(message);
	hn_put_count(&o, "pid", p->pid);
	hn_put_text(&o, "command", p->comm);
	hn_put_bool(&o, "running", p->running);
	hn_put_count(&o, "start_monotonic_ms", p->slot.started_ms);
	hn_put_text(&o, "message", message[0] ? message : NULL);
	hn_put_text(&o, "mover", mover <= HN_MOVER_KERNEL ? hn_mover_names[mover] : "?");
	hn_put_text(&o, "arm", arm == HN_ARM_MOVE || arm == HN_ARM_RWP ? hn_arm_names[arm] : NULL);
	put_plugin(&o, &p->slot);
	put_counters(&o, p, nr_nodes);
	hn_put_array(&o, "series", series_json(&o, &p->slot.stats.series));
	hn_put_record(&o, p, nr_nodes);
	return o;
}

/* ---- the run ---- */

static struct hn_object config_json(const struct hn_run_options *options)
{
	const struct hn_config *c = &options->config;
	struct hn_object o = hn_object_new();

	hn_put_text(&o, "topology", options->topology);
	hn_put_count(&o, "period_ms", c->period_ms);
	hn_put_count(&o, "window_mib", c->window_mib);
	hn_put_count(&o, "handlers_count", c->handlers);
	hn_put_text(&o, "mover", hn_mover_names[c->mover]);
	hn_put_text(&o, "arm", hn_arm_names[c->arm]);
	hn_put_text(&o, "policy", hn_policies[c->policy].name);
	hn_put_count(&o, "seed", c->seed);
	hn_put_count(&o, "max_armed_mib", c->max_armed_mib);
	hn_put_count(&o, "min_mib", c->min_mib);
	hn_put_bool(&o, "start_now", c->start_now);
	hn_put_text(&o, "initial_node", hn_initial_node_names[c->initial_node]);
	hn_put_bool(&o, "explicit_policy", c->explicit_policy);
	hn_put_bool(&o, "move_threads", c->move_threads);
	return o;
}

static struct hn_object node_json(const struct hn_machine *m, uint32_t node)
{
	struct hn_object o = hn_object_new();
	json_t *cpus = json_array(), *distances = json_array();

	for (uint32_t cpu = 0; cpu < m->nr_cpus; cpu++)
		if (m->cpu_node[cpu] == (int)node)
			hn_append(&o, cpus, json_integer(cpu));
	for (uint32_t other = 0; other < m->nr_nodes; other++)
		hn_append(&o, distances, json_integer(m->distance[node][other]));
	hn_put_count(&o, "os_node", (uint64_t)m->os_nid[node]);
	hn_put_array(&o, "cpus", cpus);
	hn_put_array(&o, "distances", distances);
	hn_put_bool(&o, "slow", (m->slow_nodes >> node & 1) != 0);
	hn_put_count(&o, "memory_bytes", m->node_bytes[node]);
	return o;
}

static struct hn_object machine_json(const struct hn_machine *m)
{
	struct hn_object o = hn_object_new();
	json_t *nodes = json_array();

	hn_put_bool(&o, "virtual", m->is_virtual);
	hn_put_bool(&o, "threads_dealt", m->deal_threads);
	for (uint32_t i = 0; i < m->nr_nodes; i++) {
		struct hn_object node = node_json(m, i);
		hn_append_object(&o, nodes, node);
	}
	hn_put_array(&o, "nodes", nodes);
	return o;
}

static void put_messages(struct hn_object *o, const struct hn_messages *m)
{
	json_t *array = json_array();

	for (size_t i = 0; i < m->nr; i++) {
		struct hn_object message = hn_object_new();

		hn_put_text(&message, "text", m->list[i].text);
		hn_put_count(&message, "processes_count", m->list[i].nr_times);
		hn_append_object(o, array, message);
	}
	hn_put_array(o, "messages", array);
}

static void put_processes(struct hn_object *o, const struct hn_run_result *run)
{
	const struct hn_ledger *l = run->ledger;
	uint32_t nr_nodes = run->machine->nr_nodes;
	struct hn_object total = hn_object_new();
	json_t *array = json_array();

	for (size_t i = 0; i < l->nr; i++) {
		struct hn_object process = process_json(&l->list[i], nr_nodes);
		hn_append_object(o, array, process);
	}
	hn_put_array(o, "processes", array);
	put_counters(&total, &l->total, nr_nodes);
	hn_put_object(o, "totals", total);
}

static void put_run(struct hn_object *o, const struct hn_run_result *run)
{
	const struct hn_ledger *l = run->ledger;
	json_t *program = json_array();

	for (char **arg = run->options->argv; *arg; arg++)
		hn_append(o, program, hn_text_json(*arg));
	hn_put_count(o, "schema_version", HN_REPORT_SCHEMA_VERSION);
	hn_put_text(o, "hugenuma_version", HN_VERSION);
	hn_put_array(o, "program", program);
	if (run->status >= 0)
		hn_put_count(o, "exit_status", (uint64_t)run->status);
	else
		hn_put_text(o, "exit_status", NULL);
	hn_put_count(o, "start_unix_ms", run->start_unix_ms);
	hn_put_count(o, "elapsed_ms", run->elapsed_ms);
	hn_put_count(o, "loaded_count", run->nr_loaded);
	hn_put_count(o, "managed_count", l->nr_managed);
	hn_put_count(o, "idle_count", l->nr_idle);
	hn_put_count(o, "unmanaged_count", l->nr_unmanaged);
	hn_put_count(o, "running_count", l->nr_running);
	hn_put_count(o, "slots_missed_count", run->nr_missed);
	hn_put_count(o, "filtered_count", run->nr_filtered);
	hn_put_count(o, "unreadable_count", run->nr_unreadable);
}

struct hn_object hn_report_json(const struct hn_run_result *run)
{
	struct hn_object o = hn_object_new();

	put_run(&o, run);
	hn_put_object(&o, "config", config_json(run->options));
	hn_put_object(&o, "machine", machine_json(run->machine));
	put_messages(&o, &run->ledger->messages);
	put_processes(&o, run);
	return o;
}

/* ---- the file ---- */

/* "PATH.tmp.PID"; false when that is too long. */
static bool temp_name(char *buf, size_t len, const char *path)
{
	int n = snprintf(buf, len, "%s.tmp.%d", path, (int)getpid());

	return n > 0 && (size_t)n < len;
}

int hn_report_check(const char *path, char *real_path, size_t real_len, char *err, size_t err_len)
{
	char temp[PATH_MAX + 32], resolved[PATH_MAX];
	struct stat st;
	int fd;

	if (realpath(path, resolved))
		path = resolved;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		hn_set_error(err, err_len, "--report: %s: expected the name of a regular file", path);
		return -1;
	}
	if (strlen(path) >= real_len || !temp_name(temp, sizeof(temp), path)) {
		hn_set_error(err, err_len, "--report: %s: %s", path, strerror(ENAMETOOLONG));
		return -1;
	}
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		hn_set_error(err, err_len, "--report: cannot write %s: %s", path, strerror(errno));
		return -1;
	}
	close(fd);
	unlink(temp);
	strcpy(real_path, path);
	return 0;
}

/* All of it: json_dumpfd takes a part that was written for a failure, and nobody would know that the disk is full. */
static int dump_piece(const char *piece, size_t bytes, void *fd)
{
	while (bytes) {
		ssize_t n = write(*(int *)fd, piece, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		piece += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int report_dump(const json_t *json, const char *temp)
{
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (json_dump_callback(json, dump_piece, &fd, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6)) != 0 ||
	    dump_piece("\n", 1, &fd) != 0)
		err = errno ? -errno : -EIO;
	if (close(fd) != 0 && !err)
		err = -errno;
	return err;
}

int hn_report_write(const struct hn_run_result *run, const char *real_path, char *err, size_t err_len)
{
	struct hn_object o = hn_report_json(run);
	char temp[PATH_MAX + 32];
	int res;

	errno = 0;
	if (!o.ok || !temp_name(temp, sizeof(temp), real_path))
		res = -ENOMEM;
	else
		res = report_dump(o.json, temp);
	json_decref(o.json);
	if (!res && rename(temp, real_path) != 0)
		res = -errno;
	if (!res)
		return 0;
	if (res != -ENOMEM)
		unlink(temp);
	hn_set_error(err, err_len, "--report: cannot write %s: %s", real_path, strerror(-res));
	return -1;
}
