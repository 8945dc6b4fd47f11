// SPDX-License-Identifier: MIT
/*
 * recfile.h - a recording being written: frames behind one another, and room made at the front when it gets too large.
 *
 * What is in the file at any time is whole frames, but for the one being written. One thread uses it.
 */
#ifndef HN_CONTROL_RECFILE_H
#define HN_CONTROL_RECFILE_H

#include "control/recording.h"

#include <limits.h>

struct hn_recfile {
	char path[PATH_MAX]; /* links followed */
	int fd;              /* -1: not open, or given up */
	bool created;        /* by us: it may go again when nothing comes of it */
	uint64_t size, max_bytes;
	uint64_t decisions, lost;                 /* written so far, whether still there or not */
	uint32_t dropped_decisions, dropped_lost; /* made room; UINT32_MAX: so many or more */
	bool dropped_report; /* a report has made room since this was last cleared */
	void *zstd;          /* ZSTD_CCtx */
	unsigned char *packed;
	size_t room;
};

/*
 * Open path, for at most max_bytes, and take it for ourselves; nothing is written. It must not exist, or be a recording,
 * or an empty regular file. 0, or -1 with a line in err that names it.
 */
int hn_recfile_open(struct hn_recfile *f, const char *path, uint64_t max_bytes, char *err, size_t err_len);
/* What was in it goes; the header is written. Errors as hn_recfile_add. */
int hn_recfile_begin(struct hn_recfile *f);
/*
 * Append a frame. 0 or -errno; -EFBIG: it is larger than a quarter of what the file may have, and nothing was written. After any
 * other error the file ends with its last whole frame and is closed; more frames are refused with -EBADF.
 */
int hn_recfile_add(struct hn_recfile *f, enum hn_frame_kind kind, const void *raw, size_t bytes, uint32_t decisions,
		   uint32_t lost);
/* Before hn_recfile_begin: as if it had not been opened. After it: the file stays. */
void hn_recfile_close(struct hn_recfile *f);

#endif
