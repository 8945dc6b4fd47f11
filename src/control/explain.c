// SPDX-License-Identifier: MIT
#include "control/explain.h"

#include "control/names.h"
#include "control/proc.h"
#include "control/say.h"
#include "core/policy.h"

#include <inttypes.h>
#include <string.h>

int hn_node_name(const struct hn_machine *m, int n)
{
	return n >= 0 && n < HN_MAX_NODES && !m->is_virtual ? m->os_nid[n] : n;
}

/* "thread 12 (worker)"; the name only while it lives. */
static void put_thread(FILE *out, uint32_t pid, uint32_t tid)
{
	char path[80], name[32];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task/%" PRIu32 "/comm", pid, tid);
	fprintf(out, "thread %" PRIu32, tid);
	if (hn_read_text(path, name, sizeof(name)) == 0 && name[0]) {
		hn_make_printable(name);
		fprintf(out, " (%s)", name);
	}
}

static void put_at(FILE *out, const char *word, const struct hn_machine *m, int node)
{
	if (node >= 0)
		fprintf(out, " %s node %d", word, hn_node_name(m, node));
	else
		fprintf(out, " %s an unknown node", word);
}

/* ---- decisions ---- */

/* In its own words, where a plug-in policy has decided. */
static void put_plugin(FILE *out, const struct hn_decision *d, const struct hn_slot *slot)
{
	if (d->rule < hn_slot_rules(slot))
		fprintf(out, "because %s", slot->rule[d->rule].text);
	else
		fprintf(out, "because the plug-in policy said so");
}

static void put_refused(FILE *out, const struct hn_decision *d, const struct hn_machine *m, const struct hn_slot *slot)
{
	fprintf(out, "it was left there, ");
	switch (d->reason) {
	case HN_REFUSE_FILTER:
		if (d->last_nid >= 0)
			fprintf(out, "because the sample before came from node %d", hn_node_name(m, d->last_nid));
		else
			fprintf(out, "because this was the first sample of it");
		fprintf(out, " and two in a row from one node are wanted");
		break;
	case HN_REFUSE_NO_NODE: fprintf(out, "because the node of the thread or of the page is not known"); break;
	case HN_REFUSE_OBSERVE: fprintf(out, "because the policy only observes; else it had been moved"); break;
	case HN_REFUSE_HELD: fprintf(out, "because it had failed to move a moment ago"); break;
	case HN_REFUSE_SHARED: fprintf(out, "because threads of several nodes use it"); break;
	case HN_REFUSE_SETTLING:
		fprintf(out, "because it came a moment ago, and somebody has had it for a moment only: four samples in a row over a "
			     "second are wanted then");
		break;
	case HN_REFUSE_NODES: fprintf(out, "because pages may not go there (--nodes, the program's cpuset, or what it has bound the memory to)"); break;
	case HN_REFUSE_BUDGET: fprintf(out, "because as much as may be had been migrated in that second"); break;
	case HN_REFUSE_THREAD:
		fprintf(out, "because with --move-threads the thread or its group is to come to that node, or it is not decided yet who "
			     "moves");
		break;
	case HN_REFUSE_ROOM:
		fprintf(out, "because the thread's node had less free than its high watermark and a huge page");
		break;
	case HN_REFUSE_LOW:
		fprintf(out, "because nothing is promoted to the thread's node while it is low on memory (tier.low_permille) and demotes");
		break;
	case HN_REFUSE_STALL: fprintf(out, "because migrations took longer than a thread may be kept waiting, or were given up"); break;
	case HN_REFUSE_ONCE: fprintf(out, "because --policy first-touch moves a page with its first sample only"); break;
	case HN_REFUSE_PLUGIN: put_plugin(out, d, slot); break;
	case HN_REFUSE_COLD:
		fprintf(out, "because it was not touched soon enough after its hint to be promoted from a slow node");
		break;
	case HN_REFUSE_RATE: fprintf(out, "because as much as may be had been promoted in that second"); break;
	case HN_REFUSE_TIER: fprintf(out, "because the thread's node is a slow one"); break;
	case HN_REFUSE_VERDICT:
		fprintf(out, "because what the plug-in policy said made no sense: there is no such node or rule, or pages may "
			     "not go there");
		break;
	default: fprintf(out, "for a reason this version does not know"); break;
	}
}

static void put_failed(FILE *out, const struct hn_decision *d, const struct hn_machine *m)
{
	static const char *const why[HN_NR_FAILURES] = {
		[HN_FAIL_TARGET] = "no huge page was free there",
		[HN_FAIL_ISOLATE] = "a device uses the page, or it was split",
		[HN_FAIL_COPY] = "it could not be copied",
		[HN_FAIL_COMMIT] = "the new page could not be put in place",
		[HN_FAIL_STALL] = "the thread had waited as long as move.max_stall_us allows, so it was given up",
	};

	fprintf(out, "it was to move to node %d and did not: %s; it is where it was", hn_node_name(m, d->target_nid),
		d->reason < HN_NR_FAILURES ? why[d->reason] : "for a reason this version does not know");
}

static void put_migrated(FILE *out, const struct hn_decision *d, const struct hn_machine *m, const struct hn_slot *slot)
{
	static const char *const why[HN_NR_REASONS] = {
		[HN_REASON_FIRST] = "because this was the first sample of it",
		[HN_REASON_THREAD] = "because the sample before came from the same thread there",
		[HN_REASON_NODE] = "because the sample before came from there too",
		[HN_REASON_MAJORITY] = "because none of its last samples came from its own node, though several nodes use it",
		[HN_REASON_GROUP] = "because the threads that share it use that node far more",
		[HN_REASON_SPREAD] = "because several nodes use it, and such pages are spread over them",
		[HN_REASON_HOT] = "because it was on a slow node, and touched soon after its hint",
		[HN_REASON_ROOM] = "because it was on a slow node, and there is much room on this one",
		[HN_REASON_BOUND] = "because the program has bound this range to that node or group of nodes",
		[HN_REASON_TEST] = "as a policy for tests has it",
	};

	fprintf(out, "it was moved to node %d, ", hn_node_name(m, d->target_nid));
	if (d->reason == HN_REASON_PLUGIN)
		put_plugin(out, d, slot);
	else
		fprintf(out, "%s", d->reason < HN_NR_REASONS ? why[d->reason] : "for a reason this version does not know");
}

/* The policy that was asked and the rule that has decided, by the names that counters and reports have. */
static void put_rule(FILE *out, const struct hn_decision *d, const struct hn_slot *slot)
{
	const char *policy = d->policy < HN_NR_POLICIES ? hn_policies[d->policy].name : "?", *rule = hn_reason_name(d);

	if (d->policy == HN_POLICY_PLUGIN && slot->policy_name[0])
		policy = slot->policy_name;
	if (d->rule < hn_slot_rules(slot))
		rule = slot->rule[d->rule].name;
	fprintf(out, "%s%s%s", policy, rule ? ", rule " : "", rule ? rule : "");
}

void hn_decision_sentence(FILE *out, const struct hn_decision *d, const struct hn_machine *m, const struct hn_process *p)
{
	uint32_t pid = p->here; /* 0: not known; for the names of threads */

	if (d->outcome == HN_FAULT_DEMOTED) {
		fprintf(out, "nobody had touched the page for several hints, and node %d was low on memory: it was demoted to "
			     "node %d (",
			hn_node_name(m, d->from_nid), hn_node_name(m, d->target_nid));
		put_rule(out, d, &p->slot);
		fprintf(out, ")");
		return;
	}
	put_thread(out, pid, d->tid);
	if (d->outcome == HN_FAULT_WAITED) {
		fprintf(out, " touched the page while it was being decided about, and waited for that");
		return;
	}
	put_at(out, "on", m, d->thread_nid);
	fprintf(out, " touched the page");
	put_at(out, "on", m, d->from_nid);
	fprintf(out, ": ");
	switch (d->outcome) {
	case HN_FAULT_LOCAL: fprintf(out, "it is where it is used, so it stayed"); break;
	case HN_FAULT_REFUSED: put_refused(out, d, m, &p->slot); break;
	case HN_FAULT_MIGRATED: put_migrated(out, d, m, &p->slot); break;
	case HN_FAULT_FAILED: put_failed(out, d, m); break;
	case HN_FAULT_RACED: fprintf(out, "it was to move, but the program changed the memory meanwhile"); break;
	default: fprintf(out, "%s", hn_outcome_name(d->outcome)); break;
	}
	fprintf(out, " (");
	put_rule(out, d, &p->slot);
	fprintf(out, "; the thread waited %s)", hn_text_ns(d->service_ns).s);
}

/* Numbers of the latest decisions about the page, oldest first; returns how many, *all counts all on record. */
static unsigned find_decisions(const struct hn_record *r, hn_addr haddr, uint32_t *number, unsigned most, unsigned *all)
{
	uint32_t next, first = hn_record_first(r, &next);
	struct hn_decision d;
	unsigned nr = 0;

	*all = 0;
	for (uint32_t n = first; n < next; n++) {
		if (!hn_record_read(r, n, &d) || d.haddr != haddr)
			continue;
		++*all;
		if (nr == most)
			memmove(number, number + 1, (most - 1) * sizeof(*number));
		else
			nr++;
		number[nr - 1] = n;
	}
	return nr;
}

#define MOST 64u

static void put_decisions(FILE *out, const struct hn_explanation *e, unsigned most)
{
	const struct hn_record *r = e->seen->p.record;
	uint32_t number[MOST];
	unsigned all = 0, nr = 0;

	if (r)
		nr = find_decisions(r, hn_page_down(e->addr), number, most < MOST ? most : MOST, &all);
	if (!nr) {
		fprintf(out, "No decision about this page is on record%s.\n",
			r ? " (the latest 4096 of the process are kept)" : "");
		return;
	}
	fprintf(out, "Decided about it, the latest last (%u on record):\n", all);
	for (unsigned i = 0; i < nr; i++) {
		struct hn_decision d;
		uint64_t ms;

		if (!hn_record_read(r, number[i], &d))
			continue;
		ms = d.time_ns / 1000000;
		fprintf(out, "  %8.1f s ago  ", e->now_ms > ms ? (double)(e->now_ms - ms) / 1e3 : 0.0);
		hn_decision_sentence(out, &d, &e->seen->run->machine, &e->seen->p);
		fprintf(out, ".\n");
	}
}

/* ---- the page ---- */

static void put_bound(FILE *out, const struct hn_machine *m, uint64_t nodes)
{
	const char *comma = "";

	if (!nodes)
		return;
	fprintf(out, "The program has bound it to node%s ", nodes & (nodes - 1) ? "s" : "");
	for (int n = 0; n < HN_MAX_NODES; n++) {
		if (!(nodes >> n & 1))
			continue;
		fprintf(out, "%s%d", comma, hn_node_name(m, n));
		comma = ", ";
	}
	fprintf(out, ".\n");
}

static void put_managed(FILE *out, const struct hn_explanation *e)
{
	const struct hn_machine *m = &e->seen->run->machine;
	const struct hn_answer *a = &e->answer;

	fprintf(out, "The page is managed and lies");
	put_at(out, "on", m, a->nid);
	if (a->state == HN_ARMED)
		fprintf(out, "; it has had a hint for %.1f s: the next access is a sample.\n", a->armed_ms / 1e3);
	else
		fprintf(out, "; it is in place, without a hint.\n");
	put_bound(out, m, a->bound);
	if (a->last_nid >= 0 || a->last_tid) {
		fprintf(out, "The last sample of it: ");
		put_thread(out, e->seen->p.here, a->last_tid);
		put_at(out, "on", m, a->last_nid);
		fprintf(out, ".\n");
	} else {
		fprintf(out, "It has not been sampled yet.\n");
	}
	if (a->hold_ms && (a->flags & 1))
		fprintf(out,
			"It is left without hints for another %.1f s: the kernel refused to give it away (pinned by a "
			"device, shared with a child since a fork, or locked).\n",
			a->hold_ms / 1e3);
	if (a->hold_ms && (a->flags & 2))
		fprintf(out, "It is not moved for another %.1f s: moving it has failed %u time%s in a row.\n",
			a->hold_ms / 1e3, a->fails, a->fails == 1 ? "" : "s");
}

static bool may_go(const struct hn_answer *a, int node)
{
	return !a->bound || (node < HN_MAX_NODES && (a->bound >> node & 1));
}

static void put_next_sample(FILE *out, const struct hn_machine *m, const struct hn_answer *a)
{
	if (a->last_nid >= 0 && a->last_nid != a->nid && may_go(a, a->last_nid))
		fprintf(out, "one more sample from node %d in a row moves it there", hn_node_name(m, a->last_nid));
	else
		fprintf(out, "two samples in a row from one other node%s move it there", a->bound ? " of these" : "");
}

static void put_change_managed(FILE *out, const struct hn_explanation *e)
{
	const struct hn_machine *m = &e->seen->run->machine;
	const struct hn_answer *a = &e->answer;

	fprintf(out, "What would change it: ");
	switch (e->seen->run->config.policy) {
	case HN_POLICY_AUTOMATIC:
		if (a->nid >= 0 && a->nid < HN_MAX_NODES && (m->slow_nodes >> a->nid & 1)) {
			fprintf(out, "it is on a slow node; touched within %" PRIu64 " ms of its next hint, from a fast node that is not low "
				     "on memory, it moves there", e->seen->p.slot.hot_ms);
			break;
		}
		put_next_sample(out, m, a);
		break;
	case HN_POLICY_KERNEL:
	case HN_POLICY_TWO_STAGE: put_next_sample(out, m, a); break;
	case HN_POLICY_FIRST_TOUCH:
		fprintf(out, "%s", a->last_nid >= 0 || a->last_tid ? "nothing: --policy first-touch moves a page with its first sample only" :
								     "its first sample, if it comes from another node");
		break;
	case HN_POLICY_PLUGIN: fprintf(out, "only the plug-in policy knows"); break;
	case HN_POLICY_OBSERVE: fprintf(out, "nothing: --policy observe never moves a page"); break;
	default:
		fprintf(out, "any sample: policy `%s' is for tests", hn_policies[e->seen->run->config.policy].name);
		break;
	}
	fprintf(out, ".\n");
}

/* ---- why not ---- */

/* From the agent: what it is, and what would change it. */
static const struct {
	const char *why, *mend;
} places[HN_NR_PLACES] = {
	[HN_PLACE_OWN] = { "it belongs to the agent itself", NULL },
	[HN_PLACE_THREAD] = { "it holds the stack or the control block of a thread, which must never be absent",
			      "allocate data elsewhere than on stacks" },
	[HN_PLACE_NOT_HUGE] = { "its region is managed, but this part is no huge page now (never touched, split, or "
				"swapped out)",
				"a huge page here: the kernel may make one (khugepaged), or madvise(MADV_COLLAPSE)" },
	[HN_PLACE_SOON] = { "it is a huge page since a moment ago",
			    "nothing needs to: the next look, within seconds, takes it in" },
	[HN_PLACE_SMALL] = { "its mapping is smaller than one aligned huge page", "allocate in larger pieces" },
	[HN_PLACE_POLICY] = { "the program has a memory policy of its own here (mbind, set_mempolicy, numactl)",
			      "run with --explicit-policy, or without that policy" },
	[HN_PLACE_UNBOUND] = { "it is bound with MPOL_F_NUMA_BALANCING, and the program has bound memory to as many other sets of "
			       "nodes as the agent can keep apart",
			       "less different sets of nodes, or --explicit-policy, which respects none" },
	[HN_PLACE_FEW_HUGE] = { "its mapping has too few huge pages",
				"huge pages: see `hugenuma doctor' for how programs get them" },
	[HN_PLACE_MOSTLY_SMALL] = { "more than a quarter of what its mapping holds is small pages",
				    "huge pages for most of it: alignment to 2 MiB, madvise(MADV_HUGEPAGE)" },
	[HN_PLACE_GROWING] = { "its mapping was still growing at the last look",
			       "nothing needs to: it is taken in once it has stopped growing between two looks" },
	[HN_PLACE_GIVEN_BACK] = { "its region was given back to the kernel, because the program was still touching "
				  "much of it for "
				  "the first time",
				  "nothing needs to: it is looked at again" },
	[HN_PLACE_LEFT] = { "the program uses the library and has not named this range, or wants it left alone",
			    "hugenuma_manage() on it, in the program" },
	[HN_PLACE_IDLE] = { "the process was told to stop being balanced", "`hugenuma resume PID'" },
};

/* From outside, where the agent only knows that it is not the kind of memory it looks for. */
static const char *why_mapping(const struct hn_mapping *m)
{
	if (m->hugetlb)
		return "it is hugetlb memory, which this version does not move";
	if (strncmp(m->name, "[stack", 6) == 0)
		return "it is the stack of the first thread";
	if (m->name[0] == '[' && strncmp(m->name, "[heap]", 6) != 0 && strncmp(m->name, "[anon", 5) != 0)
		return "it is the kernel's own mapping";
	if (m->perms[3] == 's')
		return "it is shared memory, which this version does not move";
	if (m->inode)
		return "it is mapped from a file";
	if (m->perms[0] == '-')
		return "it may not be accessed (PROT_NONE)";
	if (m->perms[1] == '-')
		return "it is read-only";
	if (m->perms[2] == 'x')
		return "it is executable";
	return NULL;
}

static void put_change(FILE *out, const struct hn_answer *a)
{
	const char *mend = places[a->place].mend;

	if (mend && a->hold_ms)
		fprintf(out, "What would change it: %s, in %.1f s at the earliest.\n", mend, a->hold_ms / 1e3);
	else if (mend)
		fprintf(out, "What would change it: %s.\n", mend);
	else
		fprintf(out, "Nothing would change that.\n");
}

static void put_unmanaged(FILE *out, const struct hn_explanation *e)
{
	const struct hn_answer *a = &e->answer;
	const char *why = e->mapped ? why_mapping(&e->mapping) : "nothing is mapped there";

	/* what is kept away from threads' memory is generous: another kind of memory may be within it */
	if (!(a->place == HN_PLACE_THREAD && why) && a->place < HN_NR_PLACES && places[a->place].why) {
		fprintf(out, "The page is not managed: %s.\n", places[a->place].why);
		put_change(out, a);
		return;
	}
	fprintf(out, "The page is not managed: %s.\n", why ? why : "the agent does not look at this mapping");
	fprintf(out, "Managed is private anonymous memory that is readable, writable, and huge.\n");
}

static void put_mapping(FILE *out, const struct hn_explanation *e)
{
	const struct hn_mapping *m = &e->mapping;

	if (!e->mapped)
		return;
	fprintf(out,
		"The kernel: mapping 0x%" PRIx64 "-0x%" PRIx64 " %s%s%s, %" PRIu64 " KiB resident, %" PRIu64
		" KiB of it huge%s%s%s%s.\n",
		m->start, m->end, m->perms, m->name[0] ? " " : "", m->name, m->resident_bytes / 1024,
		m->anon_huge_bytes / 1024, m->policy[0] ? ", policy " : "", m->policy, m->locked ? ", locked" : "",
		m->no_huge       ? ", huge pages forbidden by madvise"
		: m->may_be_huge ? ""
				 : ", not eligible for huge pages");
	if (e->answered && e->answer.place == HN_PLACE_MANAGED)
		fprintf(out, "(Pages that have a hint are away from their mapping as long as nobody touches them.)\n");
}

static void put_region(FILE *out, const struct hn_explanation *e)
{
	const struct hn_record *r = e->seen->p.record;

	for (uint32_t i = 0; r && i < r->nr_regions; i++) {
		const struct hn_region_row *row = &r->region[i];
		uint64_t recent = (uint64_t)row->recent_local + row->recent_remote;

		if (e->addr < row->start || e->addr >= row->end)
			continue;
		fprintf(out,
			"Its region 0x%" PRIx64 "-0x%" PRIx64 ": %" PRIu32 " pages managed, %" PRIu64
			" samples in the last 10 to "
			"20 s, %s of them local.\n",
			row->start, row->end, row->pages, recent, hn_text_share(row->recent_local, recent).s);
	}
}

/* Who touched it last, and what that thread uses otherwise. */
static void put_user(FILE *out, const struct hn_explanation *e)
{
	const struct hn_record *r = e->seen->p.record;
	const struct hn_machine *m = &e->seen->run->machine;

	for (uint32_t i = 0; r && i < r->nr_threads; i++) {
		const struct hn_thread_row *t = &r->thread[i];
		uint64_t lately = (uint64_t)t->own_lately + t->shared_lately;

		if (t->tid != e->answer.last_tid)
			continue;
		fprintf(out, "Most of what that thread uses lies");
		put_at(out, "on", m, t->preferred);
		if (t->group)
			fprintf(out, "; it shares memory with the other threads of group %" PRIu32, t->group);
		fprintf(out, "; %s of its samples lately were of pages that others use too.\n", hn_text_share(t->shared_lately, lately).s);
		if (t->home >= 0)
			fprintf(out, "It is kept on node %d, where its memory is (--move-threads).\n", hn_node_name(m, t->home));
	}
}

void hn_explain_print(FILE *out, const struct hn_explanation *e, unsigned most)
{
	const struct hn_process *p = &e->seen->p;

	fprintf(out, "0x%" PRIx64 ": in the 2 MiB page at 0x%" PRIx64 " of %s (pid %" PRIu32 ")%s.\n", e->addr,
		hn_page_down(e->addr), p->comm, p->pid, e->seen->slot ? "" : ", which has ended");
	if (e->answered && e->answer.place == HN_PLACE_MANAGED) {
		put_managed(out, e);
		put_user(out, e);
	} else if (e->answered) {
		put_unmanaged(out, e);
	}
	put_mapping(out, e);
	put_region(out, e);
	put_decisions(out, e, most);
	if (e->answered && e->answer.place == HN_PLACE_MANAGED)
		put_change_managed(out, e);
}
