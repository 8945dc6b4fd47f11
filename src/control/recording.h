// SPDX-License-Identifier: MIT
/*
 * recording.h - the format of recordings (docs/record-format.md), and reading them.
 *
 * A recording comes from anywhere: nothing in it is trusted. Sizes are bounded before memory is taken for them, and what
 * is read is whole frames with a checksum.
 */
#ifndef HN_CONTROL_RECORDING_H
#define HN_CONTROL_RECORDING_H

#include "core/record.h"

#include <stddef.h>

#define HN_RECORDING_MAGIC "\211HNREC\r\n"
#define HN_RECORDING_VERSION 1u
#define HN_RECORDING_HEADER 16u        /* magic, version, 0 */
#define HN_RECORDING_FRAME 24u         /* kind, raw bytes, compressed bytes, decisions, lost, check */
#define HN_RECORDING_RAW_MAX (64u << 20)  /* of a report */
#define HN_RECORDING_BATCH_MAX (1u << 20) /* of one frame of another kind */
#define HN_RECORDING_BATCH 40u         /* bytes before the decisions of a batch ... */
#define HN_RECORDING_ENTRY 36u         /* ... and of each of them */
#define HN_RECORDING_FILE_MAX ((uint64_t)1 << 30)

enum hn_frame_kind {
	HN_FRAME_DECISIONS = 1, /* of one process, in order */
	HN_FRAME_REPORT = 2,    /* everything counted so far: JSON, docs/report.md */
	HN_FRAME_DROPPED = 3,   /* what was here has made room; its header has the numbers */
	HN_FRAME_END = 4,       /* the recording was ended, not cut short */
};

struct hn_frame {
	uint32_t kind, raw_bytes, zstd_bytes;
	uint32_t decisions; /* in it */
	uint32_t lost;      /* and so many are not, because the ring had gone past them */
};

/* Both of HN_RECORDING_FRAME bytes. False: these bytes begin no frame. */
void hn_frame_encode(unsigned char *to, const struct hn_frame *f);
bool hn_frame_decode(const unsigned char *from, struct hn_frame *f);

struct hn_batch {
	uint32_t pid, nr, lost, entry_bytes;
	uint64_t started_ms; /* of its agent; CLOCK_MONOTONIC of the machine it was recorded on, as all times */
	char comm[16];       /* NUL-terminated; not printable for sure */
	const unsigned char *entry;
};

/* HN_RECORDING_BATCH bytes. */
void hn_batch_encode(unsigned char *to, const struct hn_batch *b);
/* HN_RECORDING_ENTRY bytes. */
void hn_decision_encode(unsigned char *to, const struct hn_decision *d);
/* Decision i < b->nr. Nodes are HN_NO_NODE or below HN_MAX_NODES. */
void hn_batch_decision(const struct hn_batch *b, uint32_t i, struct hn_decision *d);

/* Told what is found, in its order; what is passed is valid during the call only. Either may be NULL. */
struct hn_recording_sink {
	void *arg;
	void (*batch)(void *arg, const struct hn_batch *b);
	void (*report)(void *arg, const char *json, size_t len);
};

struct hn_recording {
	uint64_t decisions; /* found */
	uint64_t lost;      /* the ring had gone past them */
	uint64_t dropped;   /* decisions that made room for later ones */
	uint64_t reports;   /* found */
	size_t read_bytes;  /* whole frames, header included */
	bool ended;         /* properly */
	bool damaged;       /* the rest is no frame; else, if not ended, the recording just stops */
};

enum hn_recording_error {
	HN_RECORDING_OK,
	HN_RECORDING_NOT_ONE, /* another kind of file */
	HN_RECORDING_NEWER,   /* of a version this one does not know */
	HN_RECORDING_NO_MEMORY,
};

/* Does the file begin like a recording? Of any version; 8 bytes are enough. */
bool hn_recording_is_one(const void *buf, size_t len);

/*
 * Read a recording in memory, as far as it goes: a function of these bytes alone. A recording that is cut short or damaged
 * is no error; *found says how far it went.
 */
enum hn_recording_error hn_recording_parse(const void *buf, size_t len, const struct hn_recording_sink *sink,
					   struct hn_recording *found);

#endif
