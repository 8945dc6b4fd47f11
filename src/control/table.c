// SPDX-License-Identifier: MIT
#include "control/table.h"

#include "control/names.h"
#include "control/say.h"

#include <inttypes.h>
#include <stdarg.h>

static void table_row(FILE *out, const char *label, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void table_row(FILE *out, const char *label, const char *fmt, ...)
{
	va_list args;

	fprintf(out, "  %-17s ", label);
	va_start(args, fmt);
	vfprintf(out, fmt, args);
	va_end(args);
	fputc('\n', out);
}

static uint64_t pages_to_mib(uint64_t pages)
{
	return pages * (HN_PAGE_SIZE >> 20);
}

static void table_pages(FILE *out, const char *label, uint64_t pages)
{
	table_row(out, label, "%s (%s MiB)", hn_text_count(pages).s, hn_text_count(pages_to_mib(pages)).s);
}

/* "1,234   1,200 second sample wanted, 34 node unknown"; reasons that did not occur are left out. */
static void table_reasons(FILE *out, const char *label, const uint64_t *count, const struct hn_name *name, int nr)
{
	const char *sep = "   ";
	uint64_t sum = 0;

	for (int i = 0; i < nr; i++)
		sum += count[i];
	fprintf(out, "  %-17s %s", label, hn_text_count(sum).s);
	for (int i = 0; i < nr; i++) {
		if (count[i] == 0)
			continue;
		fprintf(out, "%s%s %s", sep, hn_text_count(count[i]).s, name[i].text);
		sep = ", ";
	}
	fputc('\n', out);
}

static void table_times(FILE *out, const char *label, const struct hn_hist *h)
{
	if (h->count == 0)
		table_row(out, label, "-");
	else
		table_row(out, label, "p50 %-9s p99 %-9s max %s", hn_text_ns(hn_hist_percentile(h, 500)).s,
			  hn_text_ns(hn_hist_percentile(h, 990)).s, hn_text_ns(h->max).s);
}

static void table_nonzero(FILE *out, const char *label, uint64_t n, const char *what)
{
	if (n)
		table_row(out, label, "%s   %s", hn_text_count(n).s, what);
}

/* Where there are slow nodes. */
static void table_tiers(FILE *out, const struct hn_slot *slot)
{
	const struct hn_stats *s = &slot->stats;
	uint64_t promoted = s->migrated_for[HN_REASON_HOT] + s->migrated_for[HN_REASON_ROOM], failed = s->demote_raced;

	for (int i = 0; i < HN_NR_FAILURES; i++)
		failed += s->demote_failed[i];
	if (!slot->hot_ms)
		return;
	table_row(out, "slow nodes", "%s promoted, %s demoted (%s not: touched meanwhile, %s failed), hot within %" PRIu64 " ms",
		  hn_text_count(promoted).s, hn_text_count(s->demoted).s, hn_text_count(s->demote_touched).s,
		  hn_text_count(failed).s, slot->hot_ms);
}

/* Of a plug-in policy: what its rules have decided. */
static void table_rules(FILE *out, const struct hn_slot *slot)
{
	const char *sep = "   ";

	if (!slot->policy_name[0])
		return;
	fprintf(out, "  %-17s %s", "policy rules", slot->policy_name);
	for (uint32_t i = 0; i < hn_slot_rules(slot); i++) {
		uint64_t stayed = slot->stats.rule_stayed[i], moved = slot->stats.rule_moved[i];

		if (!stayed && !moved)
			continue;
		fprintf(out, "%s%s", sep, slot->rule[i].name);
		if (stayed)
			fprintf(out, " %s stayed", hn_text_count(stayed).s);
		if (moved)
			fprintf(out, " %s moved", hn_text_count(moved).s);
		sep = ", ";
	}
	fputc('\n', out);
}

static void table_faults(FILE *out, const struct hn_process *p)
{
	const struct hn_stats *s = &p->slot.stats;

	table_row(out, "hint faults", "%s", hn_text_count(s->samples).s);
	table_row(out, "local share", "%s at start, %s at end",
		  hn_text_share(p->shares.start_local, p->shares.start_samples).s,
		  hn_text_share(p->shares.end_local, p->shares.end_samples).s);
	table_pages(out, "migrated", s->migrated);
	table_reasons(out, "refused", s->refused, hn_refusal_names, HN_NR_REFUSALS);
	table_rules(out, &p->slot);
	table_reasons(out, "failed", s->failed, hn_failure_names, HN_NR_FAILURES);
	table_tiers(out, &p->slot);
	table_row(out, "raced", "%s", hn_text_count(s->raced).s);
	table_row(out, "waited", "%s", hn_text_count(s->waited).s);
	table_row(out, "stale", "%s", hn_text_count(s->stale).s);
	if (s->arm_refused[HN_ARM_BUSY] || s->arm_refused[HN_ARM_INVALID] || s->arm_refused[HN_ARM_ABSENT] ||
	    s->arm_refused[HN_ARM_EVENT] || s->arm_refused[HN_ARM_OTHER])
		table_reasons(out, "not armed", s->arm_refused, hn_arm_error_names, HN_NR_ARM_ERRORS);
	table_nonzero(out, "no longer huge", s->pages_lost_huge, "pages found split");
	table_nonzero(out, "collisions", s->collisions, "pages whose place was taken when they came back");
}

static void table_process(FILE *out, const struct hn_process *p)
{
	const struct hn_slot *slot = &p->slot;

	table_pages(out, p->pid ? "pages managed" : "peaks added up", slot->stats.managed_peak_pages);
	table_faults(out, p);
	table_times(out, "fault service", &slot->stats.fault_service_ns);
	table_times(out, "migration stall", &slot->stats.migration_stall_ns);
	table_times(out, "migration CPU", &slot->stats.migration_cpu_ns);
	table_row(out, "agent CPU", "%.2f s, %s of %.1f s", (double)slot->agent_cpu_ns / 1e9,
		  hn_text_share(slot->agent_cpu_ns / 1000, p->elapsed_ms * 1000).s, (double)p->elapsed_ms / 1e3);
}

static void table_none(const struct hn_run_result *run)
{
	const struct hn_ledger *l = run->ledger;

	if (run->nr_loaded == 0)
		hn_say("no process was managed: the agent library was never loaded (a static or setuid program?)");
	else if (l->nr_unmanaged && l->messages.nr)
		hn_say("no process was managed, for the reason given above");
	else if (run->nr_missed)
		hn_say("no process was managed: no slot was free");
	else if (run->nr_unreadable)
		hn_say("no process was managed: %" PRIu32 " may not read /proc/self/pagemap, as after a change of user; start the "
		       "program as the user it is to be, under hugenuma, where it can",
		       run->nr_unreadable);
	else if (run->nr_filtered)
		hn_say("no process was managed: %" PRIu32 " installed system call filters (seccomp) before they had huge pages, or "
		       "were born with filters that end the process; --start-now manages the former",
		       run->nr_filtered);
	else
		hn_say("no process was managed: none had huge pages worth managing (%" PRIu32
		       " MiB or more); `hugenuma doctor' tells how programs get them",
		       run->options->config.min_mib);
}

static void table_machine(FILE *out, const struct hn_machine *m)
{
	fprintf(out, "hugenuma: %" PRIu32 " %s NUMA nodes%s\n", m->nr_nodes, m->is_virtual ? "virtual" : "real",
		m->deal_threads ? ", threads dealt to them in the order of their first fault" : "");
}

static void table_rest(const struct hn_run_result *run)
{
	const struct hn_ledger *l = run->ledger;

	if (l->nr_managed > l->nr)
		hn_say("%" PRIu64 " more processes are in the totals only", l->nr_managed - l->nr);
	if (l->nr_managed && l->nr_unmanaged)
		hn_say("%" PRIu64 " processes could not be managed", l->nr_unmanaged);
}

static void table_missed(const struct hn_run_result *run)
{
	if (run->nr_missed)
		hn_say("%" PRIu32 " process%s found no free slot and ran unmanaged: a run has %d, for as many processes at one time, as "
		       "far as there is room in /dev/shm", run->nr_missed, run->nr_missed == 1 ? "" : "es", HN_SHM_SLOTS);
}

void hn_table_print(FILE *out, const struct hn_run_result *run)
{
	const struct hn_ledger *l = run->ledger;

	if (l->nr_managed == 0) {
		table_none(run);
		table_missed(run);
		return;
	}
	table_machine(out, run->machine);
	for (size_t i = 0; i < l->nr; i++) {
		const struct hn_process *p = &l->list[i];

		fprintf(out, "%s (pid %" PRIu32 ")%s\n", p->comm, p->pid, p->running ? ", still running" : "");
		table_process(out, p);
	}
	if (l->nr_managed > 1) {
		fprintf(out, "all %" PRIu64 " processes\n", l->nr_managed);
		table_process(out, &l->total);
	}
	fflush(out);
	table_rest(run);
	table_missed(run);
}
