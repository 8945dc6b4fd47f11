// SPDX-License-Identifier: MIT
/*
 * table.h - what the user reads when the program has ended.
 */
#ifndef HN_CONTROL_TABLE_H
#define HN_CONTROL_TABLE_H

#include "control/ledger.h"
#include "control/run.h"

#include <stdio.h>

/* One block per process that managed pages, totals when there are several, and a line when there is none, saying why. */
void hn_table_print(FILE *out, const struct hn_run_result *run);

#endif
