// SPDX-License-Identifier: MIT
/* cmd_advise.c - `hugenuma advise PID`: per region, bind, interleave or leave alone, with the evidence. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/targets.h"
#include "control/advise.h"
#include "control/explain.h"
#include "control/run.h"
#include "control/say.h"

#include <inttypes.h>

static const struct argp advise_argp = {
	.parser = hn_arg_one_pid,
	.args_doc = "PID",
	.doc = "Say of every managed region what its samples recommend: bind it to a node (numactl, mbind), interleave "
	       "it, or leave it "
	       "alone; and on what evidence.\v"
	       "bind: 80 % or more of the samples come from one node. interleave: less than 60 % of the samples lately "
	       "were local "
	       "although pages are moved, and several nodes use the region. leave alone: pages are where they are "
	       "used, or it cannot "
	       "be told yet; at least 32 samples are wanted. Advice is for the region as a whole: the balancer goes by "
	       "page.\n\n"
	       "Exit status: 0, whatever the advice; 1 when there is no such process or it has no record; 125 for bad "
	       "usage.",
};

static void put_nodes(const struct hn_machine *m, uint64_t nodes)
{
	const char *sep = "";

	for (int n = 0; n < HN_MAX_NODES; n++)
		if (nodes >> n & 1) {
			printf("%s%d", sep, hn_node_name(m, n));
			sep = ",";
		}
}

static void put_advice(const struct hn_machine *m, const struct hn_advice *a)
{
	switch (a->kind) {
	case HN_ADVICE_BIND: printf("bind to node %d", hn_node_name(m, a->node)); break;
	case HN_ADVICE_INTERLEAVE:
		printf("interleave over nodes ");
		put_nodes(m, a->nodes);
		break;
	case HN_ADVICE_PLACED: printf("leave alone: it is where it is used"); break;
	case HN_ADVICE_SPLIT: printf("leave alone: its parts are each where they are used"); break;
	case HN_ADVICE_SETTLING: printf("leave alone: no clear picture yet"); break;
	default: printf("leave alone: too few samples"); break;
	}
}

static void put_evidence(const struct hn_machine *m, const struct hn_region_row *r, const struct hn_advice *a)
{
	const char *sep = "";

	printf("    evidence: %" PRIu64 " samples", a->samples);
	if (a->samples) {
		printf(" (");
		for (uint32_t n = 0; n < m->nr_nodes; n++)
			if (r->from[n]) {
				printf("%snode %d: %" PRIu32, sep, hn_node_name(m, (int)n), r->from[n]);
				sep = ", ";
			}
		printf("), %u %% local lately", a->local_percent);
	}
	sep = "; pages: ";
	for (uint32_t n = 0; n < m->nr_nodes; n++)
		if (r->pages_on[n]) {
			printf("%s%" PRIu32 " on node %d", sep, r->pages_on[n], hn_node_name(m, (int)n));
			sep = ", ";
		}
	printf("; %" PRIu64 " migrated\n", r->migrated);
}

static void advise_process(const struct hn_seen *s)
{
	const struct hn_machine *m = &s->run->machine;
	const struct hn_record *r = s->p.record;

	printf("%s (pid %" PRIu32 ")%s\n", s->p.comm, s->p.pid, s->slot ? "" : ", ended");
	if (!r->nr_regions)
		printf("  nothing is managed\n");
	for (uint32_t i = 0; i < r->nr_regions; i++) {
		const struct hn_region_row *row = &r->region[i];
		struct hn_advice a = hn_advise(row, m->nr_nodes);

		printf("  0x%" PRIx64 "-0x%" PRIx64 ", %" PRIu64 " MiB managed: ", row->start, row->end,
		       row->pages * (uint64_t)(HN_PAGE_SIZE >> 20));
		put_advice(m, &a);
		printf("\n");
		put_evidence(m, row, &a);
	}
	if (r->nr_regions_total > r->nr_regions)
		printf("  ... %" PRIu32 " regions in all\n", r->nr_regions_total);
	if (m->is_virtual)
		printf("  (the nodes are virtual: this says how threads use the memory, not how to place it on this "
		       "machine)\n");
}

int hn_cmd_advise(int argc, char **argv)
{
	struct hn_attached a = { 0 };
	struct hn_seen *seen = NULL;
	uint32_t pid = 0;
	size_t nr, told = 0;

	if (argp_parse(&advise_argp, argc, argv, 0, NULL, &pid) != 0)
		return HUGENUMA_EXIT_FAILED;
	if (hn_attach(&a) != 0)
		hn_say("out of memory");
	nr = hn_seen_find(&a, pid, &seen);
	for (size_t i = 0; i < nr; i++)
		if (seen[i].p.record) {
			advise_process(&seen[i]);
			told++;
		}
	if (!nr)
		hn_say_no_process(&a, pid);
	else if (!told)
		hn_say("%" PRIu32 ": has no record to judge by", pid);
	hn_seen_free(seen, nr);
	hn_attach_close(&a);
	return told ? 0 : 1;
}
