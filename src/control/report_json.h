// SPDX-License-Identifier: MIT
/*
 * report_json.h - the report file of `hugenuma run --report`. Every key is described in docs/report.md.
 */
#ifndef HN_CONTROL_REPORT_JSON_H
#define HN_CONTROL_REPORT_JSON_H

#include "control/json.h"
#include "control/run.h"

#include <stddef.h>

#define HN_REPORT_SCHEMA_VERSION 1

/*
 * Can the report be written later? Tries it: makes and removes a file beside `path`. The path must not exist or be a
 * regular file; symbolic links are followed. On success real_path (of real_len bytes) gets the path to write to.
 * Returns 0, or -1 with a line in err.
 */
int hn_report_check(const char *path, char *real_path, size_t real_len, char *err, size_t err_len);

/* The report as an object; the caller's. A negative run->status: the program has not ended. */
struct hn_object hn_report_json(const struct hn_run_result *run);

/* Write to FILE.tmp.PID, then rename, so that nobody reads half a report. Returns 0, or -1 with a line in err. */
int hn_report_write(const struct hn_run_result *run, const char *real_path, char *err, size_t err_len);

#endif
