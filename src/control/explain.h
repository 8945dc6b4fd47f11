// SPDX-License-Identifier: MIT
/*
 * explain.h - plain sentences about one page: what it is, who touched it, what was decided, what would change that.
 */
#ifndef HN_CONTROL_EXPLAIN_H
#define HN_CONTROL_EXPLAIN_H

#include "control/attach.h"
#include "control/maps.h"

#include <stdio.h>

struct hn_explanation {
	const struct hn_seen *seen;
	hn_addr addr;
	uint64_t now_ms;
	bool answered; /* the agent has: `answer` */
	struct hn_answer answer;
	bool mapped; /* the kernel has something there: `mapping` */
	struct hn_mapping mapping;
};

/* Print it. Decisions about the page come from the process's record, the latest `most` of them. */
void hn_explain_print(FILE *out, const struct hn_explanation *e, unsigned most);

/* One decision of process p as a sentence without a full stop, "thread 12 on node 1 ...". m tells the nodes' names. */
void hn_decision_sentence(FILE *out, const struct hn_decision *d, const struct hn_machine *m, const struct hn_process *p);

/* What users call node n: the kernel's number, or the virtual node's. */
int hn_node_name(const struct hn_machine *m, int n);

#endif
