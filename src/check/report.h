// SPDX-License-Identifier: MIT
/*
 * report.h - what people and programs read: the trace of a violation in columns, schedule strings, JSON.
 */
#ifndef HN_CHECK_REPORT_H
#define HN_CHECK_REPORT_H

#include <stdio.h>

#include "check/search.h"

/* "c3a12b1": three steps of the third actor, twelve of the first, one of the second. */
#define CK_SCHEDULE_BYTES (CK_MAX_STEPS * 2u + 1)
void ck_schedule_text(const struct ck_violation *v, char *text, size_t bytes);
/* 0; or -1: no such string, *nr is then the offset of what is wrong. */
int ck_schedule_parse(const char *text, uint32_t nr_actors, uint8_t *schedule, uint32_t *nr);

/* What is shown of the trace in k (ck_replay): shown lines translated and marked; the others minor. */
void ck_edit_trace(struct ck *k);

/* The trace in k in columns, then the violation in it, if there is one. `all`: minor lines too, and nothing translated. */
void ck_print_trace(FILE *f, const struct ck *k, uint32_t width, bool all);
void ck_print_violation(FILE *f, const struct ck *k, const struct ck_violation *v, uint32_t preemptions);

struct json_t;
/* Results as JSON, one call for each scenario: an object for the list in the end. k has the trace, NULL: none. */
struct json_t *ck_json_result(const struct ck_scenario *s, const struct ck_result *r, int bound, const struct ck *k);

const char *ck_verdict_name(const struct ck_result *r, const struct ck_options *o);

#endif
