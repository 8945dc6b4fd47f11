// SPDX-License-Identifier: MIT
/*
 * report_chart.h - the drawings of the HTML report: SVG that stretches to the width there is, with its labels in HTML around
 * it, so that they keep their size on a phone.
 */
#ifndef HN_CONTROL_REPORT_CHART_H
#define HN_CONTROL_REPORT_CHART_H

#include "control/report_view.h"

/* Each prints nothing but a short note where its data are missing. p: an element of processes[]. */
void hn_chart_local(FILE *out, const json_t *p);
void hn_chart_migrations(FILE *out, const json_t *p);
void hn_chart_heat_local(FILE *out, const json_t *p);
void hn_chart_heat_nodes(FILE *out, const json_t *report, const json_t *p);
void hn_chart_stalls(FILE *out, const json_t *p);

/* Text of others into HTML, attributes included. */
void hn_html_text(FILE *out, const char *s);

#endif
