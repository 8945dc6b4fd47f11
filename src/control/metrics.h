// SPDX-License-Identifier: MIT
/*
 * metrics.h - the counters of living processes in the text formats of Prometheus.
 */
#ifndef HN_CONTROL_METRICS_H
#define HN_CONTROL_METRICS_H

#include <stdbool.h>
#include <stdio.h>

enum hn_metrics_format {
	HN_METRICS_OPENMETRICS, /* application/openmetrics-text; version=1.0.0 */
	HN_METRICS_PROMETHEUS,  /* text/plain; version=0.0.4 */
};

/* Print all metrics of all processes of this user. False when out of memory. */
bool hn_metrics_print(FILE *out, enum hn_metrics_format format);

#endif
