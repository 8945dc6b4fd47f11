// SPDX-License-Identifier: MIT
/*
 * recording_view.h - what is in a recording, to look at: the last report in it, and what was decided about one page.
 */
#ifndef HN_CONTROL_RECORDING_VIEW_H
#define HN_CONTROL_RECORDING_VIEW_H

#include "control/recording.h"

#include <jansson.h>
#include <stdio.h>

/* Is it a file that begins like a recording? */
bool hn_is_recording(const char *path);

/*
 * The last report in the file, with `recording' added (docs/record-format.md); the caller's. NULL with a line in err.
 * When the recording was cut short a line on standard error says so.
 */
json_t *hn_recording_report(const char *path, char *err, size_t err_len);

/* Print what was decided about the page of addr, the latest `most` of each process. 0, or -1 with a line in err. */
int hn_recording_explain(FILE *out, const char *path, hn_addr addr, unsigned most, char *err, size_t err_len);

#endif
