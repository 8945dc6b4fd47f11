// SPDX-License-Identifier: MIT
/*
 * report_record.h - what a process's record (core/record.h) adds to its part of a report.
 */
#ifndef HN_CONTROL_REPORT_RECORD_H
#define HN_CONTROL_REPORT_RECORD_H

#include "control/json.h"
#include "control/ledger.h"

/* Decisions in a report at most: the latest. */
#define HN_REPORT_DECISIONS 256u

/* Keys nodes, regions, decisions, heat and kernel; empty or null where there is no record, or the process has ended. */
void hn_put_record(struct hn_object *o, const struct hn_process *p, uint32_t nr_nodes);

#endif
