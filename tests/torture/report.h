// SPDX-License-Identifier: MIT
/*
 * report: what went wrong, where, and what happened to that page before
 */
#ifndef TORTURE_REPORT_H
#define TORTURE_REPORT_H

#include "torture.h"

#define HISTORY_EVENTS 64

enum op {
	OP_NONE,
	OP_VISIT,
	OP_CHECK,
	OP_WRITE,
	OP_SPECTATE,
	OP_MAP,
	OP_UNMAP,
	OP_DONTNEED,
	OP_FREE,
	OP_PROTECT_READ,
	OP_PROTECT_NONE,
	OP_PROTECT_READ_EXEC,
	OP_PROTECT_WRITE,
	OP_PROTECT_EXEC,
	OP_UNPROTECT,
	OP_MREMAP,
	OP_GROW,
	OP_FORK,
	OP_READ_CALL,
	OP_WRITE_CALL,
	OP_COLLAPSE,
	OP_SPLIT,
};

/* What one operation did to one huge page. "where" is a stripe in a field and the first base page in a plot. */
struct event {
	uint64_t time_ns;
	uint32_t from, to; /* numbers of the stamps before and after */
	uint16_t where, count;
	uint8_t op, thread;
};

/* The last operations on one huge page. Written without a lock: an event overwritten while printed is garbled. */
struct history {
	_Atomic uint32_t next;
	struct event events[HISTORY_EVENTS];
};

/* Everything a report says about one wrong word. */
struct wrong {
	const char *what;  /* "stale or lost word", ... */
	const char *area;
	const uint64_t *address;
	size_t page, word; /* word: within the page */
	int owner;	   /* thread, or -1 */
	uint16_t where;
	uint64_t expected, found;
	const char *accepted; /* when several values would have been right: which */
	const char *doing;
	const struct history *history;
	uint64_t written_us;  /* when the word was written last, since the start; 0 is unknown */
};

void history_add(struct history *history, const struct event *event);
void report_word(const struct wrong *wrong);

/* Not a word: a failed system call, a child that reports an error, a thread that is stuck. */
void report_other(const char *actor, const char *format, ...) __attribute__((format(printf, 2, 3)));

void count_checked(struct actor *a);
uint64_t words_checked(void);
uint64_t words_wrong(void);
uint64_t other_errors(void);
/* Was a report printed for this word? */
bool word_reported(const uint64_t *address);
void report_summary(void);

#endif
