// SPDX-License-Identifier: MIT
/*
 * record_attached.h - record processes that run already, from outside: `hugenuma record`.
 */
#ifndef HN_CONTROL_RECORD_ATTACHED_H
#define HN_CONTROL_RECORD_ATTACHED_H

#include "control/attach.h"
#include "control/recorder.h"

struct hn_record_options {
	const char *path;
	uint32_t max_mib;  /* HN_RECORD_MIN_MIB..HN_RECORD_MAX_MIB */
	uint32_t seconds;  /* 0: until SIGINT or SIGTERM, or the end of the processes */
	bool quiet;
	const uint32_t *pid; /* of managed processes, or of the `hugenuma run' they belong to */
	size_t nr_pids;
};

/* Returns the exit status: 0; 1 when there is no such process, or the recording could not be written. */
int hn_record_attached(const struct hn_record_options *o);

/*
 * Write a report of the processes of our own run, as they are seen from outside: living ones, and those that have ended as
 * long as the run keeps them.
 */
void hn_record_look(struct hn_recorder *r);
/* Tell the user what is in the recording. */
void hn_record_say(const struct hn_recorder *r);

#endif
