/* SPDX-License-Identifier: MIT */
/*
 * fake.h - a backend for single-threaded tests of the engine: a program, staging and target pages in arrays.
 *
 * Memory is modelled in cells, eight to a huge page; a cell holds one number. `truth` is what the program would read
 * without hugenuma, so that any stale, lost or resurrected cell is seen when it is read, and by fake_finish at the
 * latest. With `rwp` a page is armed in its place, where an access faults, and goes to staging only to be copied. Ops can
 * be told to fail, events to be pending, and copy() to call back in its middle, which is where another
 * thread would run: the engine holds neither gate nor entry lock there.
 */
#ifndef FAKE_H
#define FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/internal.h"

#define FAKE_BASE ((hn_addr)0x7f0000000000)
#define FAKE_CELLS 8u /* per huge page */
#define FAKE_CELL (HN_PAGE_SIZE / FAKE_CELLS)
#define FAKE_SLOTS 64u
#define FAKE_MAX_PAGES 64u
#define FAKE_TARGETS 8u
#define FAKE_MESSAGES 128u
#define FAKE_TIDS 16u
#define FAKE_QUARANTINE_MS 100u
#define FAKE_EXPIRY_MS 1000u

enum fake_op {
	FAKE_ARM,
	FAKE_DISARM,
	FAKE_TARGET_GET,
	FAKE_COPY,
	FAKE_COMMIT,
	FAKE_COPY_IN, /* what fails has done its first cell */
	FAKE_HOLE_GET,
	FAKE_HOLE_FILL,
	FAKE_ISOLATE,
	FAKE_UNPROTECT, /* the second step of a put-back or commit, with rwp */
	FAKE_NR_OPS,
};

struct fake_cell {
	bool mapped;
	bool present;
	bool guarded; /* RWPROTECT: an access faults */
	uint32_t value;
	uint32_t truth;
	bool sleeper; /* a thread sleeps in a fault here */
};

struct fake_frame {
	bool used;
	int nid;
	uint32_t value[FAKE_CELLS];
};

/* The calls of one op: how many so far, and which of them fail with what. */
struct fake_script {
	unsigned calls;
	unsigned fail_at; /* 1 = the first call; 0 = never */
	unsigned fail_nr; /* so many in a row; 0 counts as 1 */
	int err;          /* FAKE_ARM: an enum hn_arm_error */
	unsigned part;    /* FAKE_ARM: pages armed before the refusal */
};

struct fake {
	struct hn hn;
	struct hn other; /* a second handler; only one of them leads, so copy() gives away the lead of both */
	struct hn_stats stats;
	uint64_t now_ns;
	struct fake_cell cell[FAKE_SLOTS * FAKE_CELLS];
	bool huge[FAKE_SLOTS];
	int nid[FAKE_SLOTS];
	struct fake_frame staging[FAKE_MAX_PAGES];
	struct fake_frame target[FAKE_TARGETS];
	struct fake_script script[FAKE_NR_OPS];
	int thread_nid[FAKE_TIDS];
	bool event_pending; /* from its queueing until its causer has run, which yield() lets it */
	struct hn_message message[FAKE_MESSAGES];
	unsigned nr_messages;
	bool rwp;
	bool ask_nodes; /* page_nodes answers; else it says that it does not know */
	unsigned targets_out, wakes, discards, zeroes, yields, reads, noted;
	uint32_t version;
	void (*in_target_get)(struct fake *f); /* other threads run: only the page is locked */
	void (*in_copy)(struct fake *f);
	unsigned in_copy_nr; /* how often it was called */
	bool copying;
	void (*in_hole_get)(struct fake *f);          /* other threads run: nothing is locked */
	void (*in_read)(struct fake *f);              /* a handler is about to read: gate exclusive */
	bool (*in_wait)(struct fake *f, bool chores); /* nothing to read; false: leave, as without this */
	void (*in_arm)(struct fake *f);               /* pages are in staging, and the engine does not know it yet */
	void (*in_isolate)(struct fake *f);           /* the same of the page to be copied */
	void (*in_discard)(struct fake *f);
	bool fallen; /* a thread has ended in an op: a page may be armed that never came to staging */
	const char *broken; /* the first breach of a contract seen */
	const char *about;  /* which of many cases this is, for messages */
};

/* A fresh fake with the default geometry and parameters: 4 nodes, 4 chunks of 8 entries, 16 pages, two-stage. */
struct fake *fake_new(void);
struct fake *fake_new_with(const struct hn_geometry *geo, const struct hn_params *par);
/* The same as fake_new, armed by RWPROTECT. */
struct fake *fake_new_rwp(void);
extern const struct hn_geometry fake_geometry;
extern const struct hn_params fake_params;
/* Everything put back, contents right, no lock, reference, frame or sleeper left; then frees. */
void fake_finish(struct fake *f);
/* The same checks but for putting back; asserts. */
void fake_check(struct fake *f);
void fake_free(struct fake *f);

int fake_setup(void **state);
int fake_setup_rwp(void **state);
int fake_teardown(void **state);
#define fake_test(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
#define fake_test_rwp(fn) cmocka_unit_test_setup_teardown(fn, fake_setup_rwp, fake_teardown)
/* TAP, so that tests/run-all counts each test. */
#define fake_run(tests) (cmocka_set_message_output(CM_OUTPUT_TAP), cmocka_run_group_tests(tests, NULL, NULL))

static inline hn_addr fake_at(unsigned slot) { return FAKE_BASE + slot * HN_PAGE_SIZE; }
static inline hn_addr fake_cell_at(unsigned slot, unsigned cell) { return fake_at(slot) + cell * FAKE_CELL; }
struct hn_entry *fake_entry(struct fake *f, unsigned slot);
void fake_ms(struct fake *f, uint32_t ms);
void fake_fail(struct fake *f, enum fake_op op, unsigned at, int err);

/* Map slots, fill them with values of their own, on node nid; manage them and let their first quarantine pass. */
void fake_map(struct fake *f, unsigned slot, unsigned nr, int nid);
void fake_manage(struct fake *f, unsigned slot, unsigned nr, int nid);
/* Arm the page in slot, which must succeed. Returns its page id. */
uint32_t fake_arm(struct fake *f, unsigned slot);
/* One fault message. */
enum hn_outcome fake_fault(struct fake *f, unsigned slot, uint32_t tid);
extern struct hn_verdict fake_verdict;
extern const struct hugenuma_policy fake_plugin; /* of the last one */
/* Have the page sampled once by tid: arm and fault. */
enum hn_outcome fake_sample(struct fake *f, unsigned slot, uint32_t tid);

/* What a thread of the program does: loops through faults until the access works. False: it would be a SIGSEGV. */
bool fake_read(struct fake *f, hn_addr addr, uint32_t tid);
bool fake_write(struct fake *f, hn_addr addr, uint32_t tid);
/* A thread goes to sleep at addr, its message still unread or ignored; somebody must wake it. */
void fake_sleep(struct fake *f, hn_addr addr);
bool fake_sleeps(struct fake *f, hn_addr addr);

/* Messages for hn_serve: thread tid faults at addr and sleeps; an event is queued, and put-backs are refused. */
void fake_queue_fault(struct fake *f, hn_addr addr, uint32_t tid);
void fake_queue_event(struct fake *f, enum hn_message_kind kind, hn_addr addr, uint64_t len, hn_addr to);

/* The system calls, with their event read and handed in. Multiples of FAKE_CELL. */
void fake_munmap(struct fake *f, hn_addr addr, uint64_t len);
void fake_dontneed(struct fake *f, hn_addr addr, uint64_t len);
/* The same, without the zap that follows the event's reading. */
void fake_dontneed_event(struct fake *f, hn_addr addr, uint64_t len);
void fake_zap(struct fake *f, hn_addr addr, uint64_t len);
void fake_mremap(struct fake *f, hn_addr from, hn_addr to, uint64_t len);
/* With MREMAP_DONTUNMAP: the old place stays mapped and reads zeros. */
void fake_mremap_dontunmap(struct fake *f, hn_addr from, hn_addr to, uint64_t len);
/* Put displaced parts where they belong, as far as no migration reads them. */
void fake_resolve(struct fake *f);
/* How many there are. */
unsigned fake_parts(struct fake *f);
void fake_verify(struct fake *f);

#endif
