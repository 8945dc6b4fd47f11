// SPDX-License-Identifier: MIT
/*
 * names.h - the engine's reasons in words: `key` for reports (with _count and such appended), `text` for people.
 */
#ifndef HN_CONTROL_NAMES_H
#define HN_CONTROL_NAMES_H

#include "core/record.h"
#include "core/types.h"

struct hn_name {
	const char *key;
	const char *text;
};

extern const struct hn_name hn_refusal_names[HN_NR_REFUSALS];
extern const struct hn_name hn_reason_names[HN_NR_REASONS];
extern const struct hn_name hn_failure_names[HN_NR_FAILURES];
extern const struct hn_name hn_arm_error_names[HN_NR_ARM_ERRORS];
extern const struct hn_name hn_disarm_names[HN_NR_DISARM_CAUSES];
/* As given to --mover, --arm and --initial-node; indexed by the enums. */
extern const char *const hn_mover_names[2];
extern const char *const hn_shared_names[2];
extern const char *const hn_arm_names[3];
extern const char *const hn_initial_node_names[2];

/* Of enum hn_outcome; and of the refusal or failure in a decision, NULL where there is none. Any value. */
const char *hn_outcome_name(uint32_t outcome);
const char *hn_reason_name(const struct hn_decision *d);
/* Of enum hn_mode: "running"; and what has become of the process's memory, as a sentence. Any value. */
const char *hn_mode_name(uint32_t mode);
const char *hn_mode_done_text(uint32_t mode);

#endif
