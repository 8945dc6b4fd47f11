// SPDX-License-Identifier: MIT
/*
 * report_view.h - a report (docs/report.md) to look at: from a file, or of what runs now; as text, CSV or HTML.
 *
 * Everything is made from the JSON object, so that a file from another machine and a living process look the same. What a
 * file says is not trusted: a key that is missing or of another type reads as 0 or "", text is made printable or escaped.
 */
#ifndef HN_CONTROL_REPORT_VIEW_H
#define HN_CONTROL_REPORT_VIEW_H

#include "control/attach.h"
#include "control/json.h"

#include <stdio.h>

/* Is it a report that this version can read? NULL is none. */
bool hn_report_is_known(const json_t *report);
/* The report in a file, or the last one in a recording; NULL with a line in err. */
json_t *hn_report_load(const char *path, char *err, size_t err_len);
/* A report of these processes, all of one run, as they are now; NULL when out of memory. Takes their records. */
json_t *hn_report_of(struct hn_seen *seen, size_t nr);

void hn_report_text(FILE *out, const json_t *report);
/* A line for every value: pid, command, key, value. */
void hn_report_csv(FILE *out, const json_t *report);
/* One file that needs no other: styles and drawings are in it, and no script. */
void hn_report_html(FILE *out, const json_t *report);

/* ---- reading ---- */
uint64_t hn_get_count(const json_t *o, const char *key);
/* Of an array. */
uint64_t hn_get_at(const json_t *array, size_t i);
double hn_get_percent(const json_t *o, const char *key); /* negative: none */
const char *hn_get_text(const json_t *o, const char *key);
/* NULL where there is no such array. */
const json_t *hn_get_array(const json_t *o, const char *key);
/* What users call node i. */
uint64_t hn_get_node_name(const json_t *report, size_t i);
size_t hn_get_nr_nodes(const json_t *report);
/* Printable, into buf; returns buf. */
const char *hn_get_printable(const json_t *o, const char *key, char *buf, size_t len);

#endif
