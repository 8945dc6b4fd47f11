// SPDX-License-Identifier: MIT
#include "views.h"

#include "fuzz.h"

#include "control/advise.h"
#include "control/explain.h"
#include "control/report_view.h"
#include "control/settings.h"
#include "control/top.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ARENA 0x7f0000000000

static void view_report(struct hn_seen *seen, size_t nr, unsigned how)
{
	json_t *report = hn_report_of(seen, nr);

	hn_must(report);
	if (how == 0)
		hn_report_text(fuzz_sink(), report);
	else if (how == 1)
		hn_report_csv(fuzz_sink(), report);
	else
		hn_report_html(fuzz_sink(), report);
	json_decref(report);
}

static void view_top(const struct hn_attached *a, unsigned screen)
{
	struct hn_top top = { 0 };
	struct hn_top_table table = { 0 };
	char line[1024];

	hn_must(hn_top_refresh(&top, a));
	for (size_t i = 0; i < top.nr_seen && i < 2; i++) {
		if (hn_top_table(&top, (enum hn_top_screen)screen, top.seen[i].p.pid, 0, false, &table))
			for (size_t row = 0; row < table.nr; row++)
				hn_top_line(&table, row, line, sizeof(line));
		hn_top_table_fini(&table);
	}
	hn_top_fini(&top);
}

static void view_explain(struct hn_seen *seen)
{
	struct hn_explanation e = { .seen = seen, .addr = ARENA, .now_ms = 1000000 };

	if (seen->slot) {
		e.answer = hn_slot_record_place(seen->run->shm, seen->slot)->query.answer;
		e.answered = true;
	}
	hn_explain_print(fuzz_sink(), &e, 64);
}

static void view_advice(const struct hn_seen *s)
{
	for (uint32_t i = 0; s->p.record && i < s->p.record->nr_regions; i++)
		hn_advise(&s->p.record->region[i], s->run->machine.nr_nodes);
}

void fuzz_view(const struct hn_attached *a, struct hn_seen *seen, size_t nr, unsigned which)
{
	size_t same = 0;

	while (same < nr && seen[same].run == seen[0].run)
		same++;
	if (which < 4)
		view_top(a, which);
	else if (nr && which == 4)
		view_explain(&seen[0]);
	else if (nr && which == 5)
		view_advice(&seen[0]);
	else if (nr)
		view_report(seen, same, which % 3);
}

/* A process to be looked at: to read what the kernel says of one with sanitizers takes milliseconds. It ends with this one. */
static uint32_t companion(void)
{
	static pid_t pid;

	if (pid)
		return (uint32_t)pid;
	pid = fork();
	hn_must(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("sleep", "sleep", "1000000", (char *)NULL);
		_exit(1);
	}
	return (uint32_t)pid;
}

void fuzz_fill_run(struct hn_shm *s)
{
	static struct hn_record_cursor cursor;
	struct hn_slot *slot = &s->slot[0];
	struct hn_region_row row = { .start = ARENA, .end = ARENA + 64 * HN_PAGE_SIZE, .pages = 60 };

	s->header_bytes = offsetof(struct hn_shm, slot);
	s->slot_bytes = sizeof(struct hn_slot);
	s->nr_slots = HN_SHM_SLOTS;
	s->opened.v = 1;
	hn_config_defaults(&s->config);
	s->machine = (struct hn_machine){ .nr_nodes = 4, .is_virtual = 1, .nr_cpus = 2, .cpu_node = { 0, 1 } };
	s->magic = HN_SHM_MAGIC;
	slot->state.v = HN_SLOT_LIVE;
	slot->pid = companion();
	slot->started_ms = 1;
	slot->stats.managed_pages = slot->stats.samples = 100;
	slot->stats.series.nr = 4;
	memcpy(slot->comm, "fuzzed", 7);
	slot->has_record.v = 1;
	hn_record_init(&s->record[0], 4);
	for (unsigned i = 0; i < 100; i++)
		hn_record_decision(&s->record[0],
				   &(struct hn_decision){ .time_ns = i * 10000000ull, .haddr = ARENA + i % 4 * HN_PAGE_SIZE, .tid = i % 5,
							  .thread_nid = (int8_t)(i % 4), .from_nid = (int8_t)(i % 3), .target_nid = 1,
							  .last_nid = HN_NO_NODE, .service_ns = i,
							  .outcome = i % 3 ? HN_FAULT_MIGRATED : HN_FAULT_LOCAL });
	memset(&cursor, 0, sizeof(cursor));
	hn_record_set_regions(&cursor, &row, 1);
	hn_record_follow(&s->record[0], &cursor, 0, 2000);
}
