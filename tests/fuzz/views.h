// SPDX-License-Identifier: MIT
/* views.h - every way that the commands have to show a process, into the sink. */
#ifndef HN_TESTS_FUZZ_VIEWS_H
#define HN_TESTS_FUZZ_VIEWS_H

#include "control/attach.h"

/* `which` chooses: all of them at once would be slow. Takes the records of `seen`. */
void fuzz_view(const struct hn_attached *a, struct hn_seen *seen, size_t nr, unsigned which);

/*
 * What is worth changing in a record and in a slot: counts, dimensions, sequences; offsets there. Kept inputs name them by
 * number: new ones go to the end.
 */
#define FUZZ_RECORD_PLACES \
	RECORD(nr_regions), RECORD(table_seq), RECORD(followed), RECORD(taking), RECORD(ring.next), RECORD(ring.place[3].seq), \
		RECORD(ring.place[3].d.haddr), RECORD(ring.place[3].d.thread_nid), RECORD(ring.place[3].d.outcome), RECORD(ring.place[3].d.policy), \
		RECORD(region[0].start), RECORD(region[0].end), RECORD(region[0].pages), RECORD(heat.nodes), RECORD(heat.rows), \
		RECORD(heat.points), RECORD(heat.shift), RECORD(heat.nr_rows), RECORD(heat.nr_points), RECORD(heat.step_ms), \
		RECORD(heat.start_ms), RECORD(heat.key[0]), RECORD(query.answer.place), RECORD(query.answer.nid), \
		RECORD(query.answer.state), RECORD(nr_regions_total), RECORD(ring.place[3].d.time_ns)
#define FUZZ_SLOT_PLACES \
	SLOT(state), SLOT(start_ticks), SLOT(pid_ns), SLOT(comm[8]), SLOT(message[192]), SLOT(mover_used), SLOT(arm_used), \
		SLOT(mode), SLOT(config.policy), SLOT(config.nodes), SLOT(config.mover), SLOT(started_ms), SLOT(stats.series.nr), \
		SLOT(stats.samples), SLOT(stats.fault_service_ns.bucket[40]), SLOT(stats.fault_service_ns.max), \
		SLOT(stats.series.point[3].samples), SLOT(stats.managed_pages), SLOT(agent_cpu_ns), SLOT(nr_rules), SLOT(policy_name[20]), \
		SLOT(rule[0].name[20]), SLOT(rule[0].text[68]), SLOT(config.plugin[250])

/* A run with one living process and a record with decisions and regions in it, as an agent makes it. */
void fuzz_fill_run(struct hn_shm *s);

#endif
