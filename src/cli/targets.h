// SPDX-License-Identifier: MIT
/* targets.h - the processes a command is for, and what is said when there is none or it does not answer. */
#ifndef HN_CLI_TARGETS_H
#define HN_CLI_TARGETS_H

#include "control/attach.h"

/* How long an agent may take to answer, ms; one that gets a CPU answers within a quarter of a second. */
#define HN_PATIENCE_MS 15000

/*
 * Living processes with this pid, or of the run whose controller has it; 0: all. NULL when there is no memory, which is
 * said. *a is to be closed and the list freed in any case.
 */
struct hn_target *hn_targets_find(struct hn_attached *a, uint32_t pid, size_t *nr);

void hn_say_no_process(const struct hn_attached *a, uint32_t pid);
void hn_say_no_answer(uint32_t pid);

#endif
