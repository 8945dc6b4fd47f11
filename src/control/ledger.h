// SPDX-License-Identifier: MIT
/*
 * ledger.h - the controller's own account of all processes of a run, living and gone.
 *
 * A slot is freed as soon as its process has ended, so that the table in shared memory cannot fill up; its counters go
 * on living here. One thread uses a ledger.
 */
#ifndef HN_CONTROL_LEDGER_H
#define HN_CONTROL_LEDGER_H

#include "agent/layout.h"
#include "control/messages.h"

/* Samples a share of local accesses must rest on, if there are that many. */
#define HN_SHARE_SAMPLES 32

/* Processes described one by one; what more there are is in the totals only. */
#define HN_LEDGER_MAX 1024

/* Local accesses by sampled faults, in the first and the last stretch of a process's life. */
struct hn_shares {
	uint64_t start_local;
	uint64_t start_samples;
	uint64_t end_local;
	uint64_t end_samples;
};

/* One process that managed pages, or several added up (then pid is 0 and the series is empty). */
struct hn_process {
	uint32_t pid;        /* in its own namespace */
	uint32_t here;       /* in ours, while it lives; 0: not known */
	bool running;        /* still there when the run ended */
	char comm[16];       /* printable */
	uint64_t elapsed_ms; /* from the agent's start to the process's end, or to now */
	struct hn_shares shares;
	struct hn_slot slot; /* a copy */
	struct hn_record *record; /* a copy, owned by whoever has the process; NULL: there is none, or it was not kept */
};

/* Processes of a ledger whose records are kept: those with most samples. */
#define HN_LEDGER_RECORDS 16

struct hn_ledger {
	/* told of each process that has ended, before its slot is freed; NULL: nobody is */
	void (*ended)(void *arg, const struct hn_process *p, const struct hn_record *record);
	void *ended_arg;
	/* the run has ended, nobody needs a slot any more: what is taken in stays there, for who looks on (`record PID') */
	bool keep_slots;
	bool taken[HN_SHM_SLOTS]; /* and has been counted */
	const char *keep_dir;    /* where what has ended is left for `hugenuma report' (ended.h); NULL: nowhere */
	struct hn_process *list; /* processes that have ended, and at the end also those still running */
	size_t nr;
	size_t room;
	uint64_t nr_managed;     /* processes that managed a page; those past HN_LEDGER_MAX are not in the list */
	uint64_t nr_idle;        /* agents that started and never managed a page */
	uint64_t nr_unmanaged;   /* processes that wanted managing but could not be */
	uint64_t nr_running;     /* agents alive when the run ended, managing pages or not */
	struct hn_process total; /* of all processes taken in; gauges are those of each one's last moment, added up */
	struct hn_messages messages;
};

/* Take in everything new in shared memory: messages, and slots of processes that have ended. */
void hn_ledger_poll(struct hn_ledger *l, struct hn_shm *shm);

/*
 * The last poll: also takes in, without freeing their slots, the processes that still run. Where there are any, their
 * children may need what keep_slots has kept: that is freed. Sorts the list by start.
 */
void hn_ledger_finish(struct hn_ledger *l, struct hn_shm *shm);

/* Count a process that was read elsewhere. Its record becomes the ledger's. */
void hn_ledger_take(struct hn_ledger *l, const struct hn_process *p);

/*
 * Everything so far, ended and living processes together, into *sum. Gauges (pages managed, armed now) count living
 * processes only. Returns the number of living agents.
 */
unsigned hn_ledger_sum(const struct hn_ledger *l, const struct hn_shm *shm, struct hn_process *sum);

/* Is this slot's process alive, and the slot its current image's? */
bool hn_slot_is_alive(const struct hn_shm *shm, const struct hn_slot *slot);
/* In use, by a process that lives or has not been harvested yet. */
bool hn_slot_is_used(const struct hn_slot *slot);
/*
 * A consistent enough copy of a process's slot: counters are whole, but not of one moment. p->record is NULL;
 * hn_record_copy makes one, complete when the process has ended: NULL when there is none, or no memory. free() it.
 */
void hn_process_read(struct hn_process *p, const struct hn_slot *slot, bool running);
/* Find out p->here. False: the process has ended. */
bool hn_process_locate(struct hn_process *p);
/*
 * What is in shared memory or in a file was written by whoever could: afterwards texts are terminated and printable, and
 * what counts or indexes is within its range, in the process and in its record.
 */
void hn_process_make_sane(struct hn_process *p);
struct hn_record *hn_record_copy(struct hn_shm *shm, const struct hn_slot *slot, bool ended);

/* The sum of samples refused, or failed, for whatever reason. */
uint64_t hn_stats_refused(const struct hn_stats *s);
uint64_t hn_stats_failed(const struct hn_stats *s);

/*
 * Shares from the series. Start: from the beginning to the first point with HN_SHARE_SAMPLES samples; end: from the
 * last point that leaves HN_SHARE_SAMPLES samples to the final counters. All samples when there are fewer.
 */
void hn_shares_of(const struct hn_stats *s, struct hn_shares *out);

void hn_ledger_fini(struct hn_ledger *l);

#endif
