// SPDX-License-Identifier: MIT
#include "control/report_record.h"

#include "control/maps.h"
#include "control/names.h"
#include "core/policy.h"

static void put_nodes(struct hn_object *o, const struct hn_record *r, uint32_t nr_nodes)
{
	json_t *array = json_array();

	for (uint32_t i = 0; r && i < nr_nodes; i++) {
		const struct hn_node_row *n = &r->node[i];
		struct hn_object node = hn_object_new();

		hn_put_count(&node, "managed_pages", n->pages);
		hn_put_count(&node, "samples_count", n->samples);
		hn_put_count(&node, "local_count", n->local);
		hn_put_count(&node, "migrated_to_pages", n->migrated_to);
		hn_put_count(&node, "migrated_from_pages", n->migrated_from);
		hn_append_object(o, array, node);
	}
	hn_put_array(o, "nodes", array);
}

static struct hn_object region_json(const struct hn_region_row *row, uint32_t nr_nodes)
{
	struct hn_object o = hn_object_new();

	hn_put_addr(&o, "start", row->start);
	hn_put_addr(&o, "end", row->end);
	hn_put_count(&o, "managed_pages", row->pages);
	hn_put_words(&o, "pages_on_node", row->pages_on, nr_nodes);
	hn_put_words(&o, "samples_from_node_count", row->from, nr_nodes);
	hn_put_count(&o, "local_count", row->local);
	hn_put_count(&o, "remote_count", row->remote);
	hn_put_count(&o, "recent_local_count", row->recent_local);
	hn_put_count(&o, "recent_remote_count", row->recent_remote);
	hn_put_count(&o, "migrated_pages", row->migrated);
	hn_put_count(&o, "first_touches_count", row->holes);
	return o;
}

static void put_regions(struct hn_object *o, const struct hn_record *r, uint32_t nr_nodes)
{
	json_t *array = json_array();

	for (uint32_t i = 0; r && i < r->nr_regions; i++)
		hn_append_object(o, array, region_json(&r->region[i], nr_nodes));
	hn_put_array(o, "regions", array);
	hn_put_count(o, "regions_total_count", r ? r->nr_regions_total : 0);
}

static void put_node(struct hn_object *o, const char *key, int nid)
{
	if (nid >= 0)
		hn_put_count(o, key, (uint64_t)nid);
	else
		hn_put_text(o, key, NULL);
}

static struct hn_object thread_json(const struct hn_thread_row *t, uint32_t nr_nodes)
{
	struct hn_object o = hn_object_new();

	hn_put_count(&o, "thread_id", t->tid);
	put_node(&o, "node", t->node);
	put_node(&o, "preferred_node", t->preferred);
	put_node(&o, "home_node", t->home);
	hn_put_count(&o, "group", t->group);
	hn_put_count(&o, "samples_count", t->samples);
	hn_put_count(&o, "local_count", t->local);
	hn_put_count(&o, "recent_own_count", t->own_lately);
	hn_put_count(&o, "recent_shared_count", t->shared_lately);
	hn_put_words(&o, "recent_pages_on_node_count", t->mem, nr_nodes);
	return o;
}

static void put_threads(struct hn_object *o, const struct hn_record *r, uint32_t nr_nodes)
{
	json_t *array = json_array();

	for (uint32_t i = 0; r && i < r->nr_threads; i++)
		hn_append_object(o, array, thread_json(&r->thread[i], nr_nodes));
	hn_put_array(o, "threads", array);
	hn_put_count(o, "threads_total_count", r ? r->nr_threads_total : 0);
	hn_put_count(o, "thread_groups_count", r ? r->nr_groups : 0);
}

static struct hn_object decision_json(const struct hn_decision *d, const struct hn_slot *slot)
{
	uint64_t ms = d->time_ns / 1000000, started_ms = slot->started_ms;
	struct hn_object o = hn_object_new();

	hn_put_count(&o, "time_ms", ms > started_ms ? ms - started_ms : 0);
	hn_put_addr(&o, "address", d->haddr);
	hn_put_count(&o, "thread_id", d->tid);
	put_node(&o, "thread_node", d->thread_nid);
	put_node(&o, "page_node", d->from_nid);
	put_node(&o, "target_node", d->target_nid);
	put_node(&o, "previous_node", d->last_nid);
	hn_put_count(&o, "previous_thread_id", d->last_tid);
	hn_put_text(&o, "outcome", hn_outcome_name(d->outcome));
	hn_put_text(&o, "reason", hn_reason_name(d));
	hn_put_text(&o, "plugin_rule", d->rule < hn_slot_rules(slot) ? slot->rule[d->rule].name : NULL);
	hn_put_text(&o, "rule", d->policy < HN_NR_POLICIES ? hn_policies[d->policy].name : "?");
	hn_put_count(&o, "service_ns", d->service_ns);
	return o;
}

static void put_decisions(struct hn_object *o, const struct hn_process *p)
{
	const struct hn_record *r = p->record;
	json_t *array = json_array();
	uint32_t next = 0, first = r ? hn_record_first(r, &next) : 0;
	struct hn_decision d;

	if (next - first > HN_REPORT_DECISIONS)
		first = next - HN_REPORT_DECISIONS;
	for (; first < next; first++)
		if (hn_record_read(r, first, &d))
			hn_append_object(o, array, decision_json(&d, &p->slot));
	hn_put_array(o, "decisions", array);
	hn_put_count(o, "decisions_total_count", next);
	hn_put_count(o, "decisions_missed_count", r ? r->missed : 0);
}

/* ---- the heat map ---- */

static struct hn_object heat_row_json(const struct hn_heat *h, uint32_t row)
{
	struct hn_object o = hn_object_new();
	json_t *from = json_array(), *local = json_array();

	for (uint32_t p = 0; p < h->nr_points; p++) {
		const uint32_t *cell = &h->cell[(p * h->rows + row) * h->nodes];
		json_t *nodes = json_array();

		for (uint32_t n = 0; n < h->nodes; n++)
			hn_append(&o, nodes, json_integer(cell[n]));
		hn_append(&o, from, nodes);
		hn_append(&o, local, json_integer(h->local[p * h->rows + row]));
	}
	hn_put_addr(&o, "start", h->key[row] << h->shift);
	hn_put_array(&o, "samples_from_node_count", from);
	hn_put_array(&o, "local_count", local);
	return o;
}

static void put_heat(struct hn_object *o, const struct hn_record *r)
{
	struct hn_object heat = hn_object_new();
	json_t *rows = json_array();

	if (r && hn_heat_is_sane(&r->heat)) {
		hn_put_count(&heat, "step_ms", r->heat.step_ms);
		hn_put_count(&heat, "points_count", r->heat.nr_points);
		hn_put_count(&heat, "row_bytes", (uint64_t)1 << r->heat.shift);
		for (uint32_t row = 0; row < r->heat.nr_rows; row++)
			hn_append_object(&heat, rows, heat_row_json(&r->heat, row));
	}
	hn_put_array(&heat, "rows", rows);
	hn_put_object(o, "heat", heat);
}

/* ---- the kernel's word ---- */

static void put_kernel(struct hn_object *o, const struct hn_process *p)
{
	struct hn_object kernel = hn_object_new();
	json_t *array = json_array();
	struct hn_kernel_view v;

	if (!p->running || !p->here || hn_kernel_view(&v, p->here) != 0) {
		json_decref(kernel.json);
		json_decref(array);
		hn_put_text(o, "kernel", NULL);
		return;
	}
	hn_put_count(&kernel, "anon_huge_bytes", v.anon_huge_bytes);
	hn_put_count(&kernel, "resident_bytes", v.resident_bytes);
	for (unsigned i = 0; i < HN_OS_NODES; i++) {
		struct hn_object node = hn_object_new();

		hn_put_count(&node, "os_node", i);
		hn_put_count(&node, "bytes", v.node_bytes[i]);
		hn_put_count(&node, "hugetlb_bytes", v.node_hugetlb_bytes[i]);
		if (v.node_bytes[i])
			hn_append_object(&kernel, array, node);
		else
			json_decref(node.json);
	}
	hn_put_array(&kernel, "nodes", array);
	hn_put_object(o, "kernel", kernel);
}

void hn_put_record(struct hn_object *o, const struct hn_process *p, uint32_t nr_nodes)
{
	put_nodes(o, p->record, nr_nodes);
	put_regions(o, p->record, nr_nodes);
	put_threads(o, p->record, nr_nodes);
	put_decisions(o, p);
	put_heat(o, p->record);
	put_kernel(o, p);
}
