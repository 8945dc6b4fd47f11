// SPDX-License-Identifier: MIT
/*
 * recorder.h - follow the decisions of processes as they are made, and write them down (recfile.h), with a report of all
 * that was counted now and then.
 *
 * Agents are not disturbed: their rings are read as by any other reader, every HN_RECORDER_POLL_MS. What a ring has gone
 * past between two looks is lost, and counted. One thread uses a recorder.
 */
#ifndef HN_CONTROL_RECORDER_H
#define HN_CONTROL_RECORDER_H

#include "agent/layout.h"
#include "control/json.h"
#include "control/ledger.h"
#include "control/recfile.h"

#define HN_RECORDER_POLL_MS 50
#define HN_RECORD_MIN_MIB 4
#define HN_RECORD_MAX_MIB 1024
#define HN_RECORD_DEFAULT_MIB 64

/* How far one process has been followed. */
struct hn_followed {
	uint32_t pid;
	uint64_t started_ms;
	char comm[16];
	uint32_t next;        /* decision to read next */
	uint32_t hole;        /* a decision that could not be read at the last look ... */
	uint64_t hole_ms;     /* ... first found so at this time */
	uint32_t nr, lost;    /* in `batch`; not in it */
	uint64_t written_ms;  /* when a batch was last written */
	unsigned char *batch; /* decisions not written yet; NULL: the process has ended */
	uint64_t seen;        /* at this look */
};

struct hn_recorder {
	struct hn_recfile file;
	struct hn_followed *list;
	size_t nr, room;
	bool from_start; /* processes are followed from their first decision on */
	bool failed;     /* and it was said why */
	uint64_t looks;
	uint64_t report_ms, report_every_ms; /* next report, and the time to the one after it */
};

/* 0, or -1 with a line in err. Nothing is written before hn_recorder_begin. */
int hn_recorder_open(struct hn_recorder *r, const char *path, uint32_t max_mib, char *err, size_t err_len);
void hn_recorder_begin(struct hn_recorder *r);

/* Take in what all processes of a run have decided. */
void hn_recorder_poll(struct hn_recorder *r, struct hn_shm *shm);
/* The same of one; whoever calls this raises r->looks for each look at all of his. */
void hn_recorder_follow(struct hn_recorder *r, struct hn_shm *shm, const struct hn_slot *slot);
/* The rest of a process that has ended, from a copy of its record; NULL: there is none. */
void hn_recorder_take(struct hn_recorder *r, const struct hn_process *p, const struct hn_record *record);
/* Is it time for a report? */
bool hn_recorder_report_due(const struct hn_recorder *r);
/* Write one; takes the object. */
void hn_recorder_report(struct hn_recorder *r, struct hn_object report);
/* Write what is left. False when the recording could not be written, now or before; it was said then. */
bool hn_recorder_end(struct hn_recorder *r);
/* In any case. */
void hn_recorder_close(struct hn_recorder *r);

#endif
