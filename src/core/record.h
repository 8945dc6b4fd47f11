// SPDX-License-Identifier: MIT
/*
 * record.h - what is put on record for readers outside the process: every decision, and tables by node and by region.
 *
 * One block in shared memory, zeroed before use. Handlers write decisions and node counters; everything else is written
 * by one thread, the backend's scanner, which follows the decisions. Nobody ever waits for a reader. A reader copies, and
 * knows by a sequence whether what it got is whole: see hn_record_read and hn_record_copy_regions.
 */
#ifndef HN_CORE_RECORD_H
#define HN_CORE_RECORD_H

#include "core/sync.h"
#include "core/types.h"

#define HN_RING_MAX 4096u      /* decisions kept; a power of two */
#define HN_RECORD_REGIONS 256u /* regions described; what more there are is counted only */
#define HN_RECORD_THREADS 128u /* threads described, those with most samples lately; what more there are is counted only */
#define HN_RECENT_MS 10000u    /* "lately": this long at least, twice as long at most */
#define HN_HEAT_ROWS 32u
#define HN_HEAT_POINTS 128u
#define HN_HEAT_CELLS 32768u

/* One fault and what was decided; addresses in bytes, HN_NO_NODE where a node is not known or there is none. */
struct hn_decision {
	uint64_t time_ns;    /* CLOCK_MONOTONIC, when the message was read */
	hn_addr haddr;       /* the page */
	uint32_t tid;        /* who touched it ... */
	uint32_t last_tid;   /* ... and before */
	uint32_t service_ns; /* until the page was in place again; 0 with HN_FAULT_WAITED; UINT32_MAX: that or more */
	uint32_t pad;
	int8_t thread_nid; /* node the thread ran on */
	int8_t from_nid;   /* node of the page then */
	int8_t target_nid; /* where the policy wanted it; HN_NO_NODE: stay */
	int8_t last_nid;   /* node of the sample before this one */
	uint8_t outcome;   /* enum hn_outcome: from HN_FAULT_LOCAL on, or HN_FAULT_WAITED */
	uint8_t reason;    /* enum hn_refusal, hn_failure, or hn_reason of a migration */
	uint8_t policy;    /* enum hn_policy_kind: the rule that was asked */
	uint8_t rule;        /* of a plug-in policy; HN_NO_RULE: none */
};

_Static_assert(sizeof(struct hn_decision) == 40, "copied in whole words");

/*
 * seq: 0 never written; odd: being written; else twice the number of the decision in it, counted from 1. A run that makes
 * 2^31 decisions loses the record of the next ones; at a thousand a second that takes 24 days.
 */
struct hn_ring_place {
	struct hn_word seq;
	uint32_t pad;
	struct hn_decision d;
};

struct hn_ring {
	struct hn_word next;    /* decisions begun so far */
	struct hn_word dropped; /* not written: the writer was overtaken by the whole ring */
	struct hn_ring_place place[HN_RING_MAX];
};

struct hn_node_row {
	uint64_t samples;                    /* from threads on this node */
	uint64_t local;                      /* of these, on pages of this node */
	uint64_t migrated_to, migrated_from; /* pages */
	uint64_t pages; /* managed pages that lie here now, by the engine's record; written by the backend */
};

struct hn_region_row {
	hn_addr start, end;
	uint64_t local, remote;               /* samples, since the region was first seen */
	uint64_t migrated;                    /* pages */
	uint64_t holes;                       /* first touches served */
	uint32_t recent_local, recent_remote; /* samples lately, see HN_RECENT_MS */
	uint32_t pages;                       /* managed now */
	uint32_t pad;
	uint32_t pages_on[HN_MAX_NODES]; /* of these, by node */
	uint32_t from[HN_MAX_NODES];     /* samples by the node of the thread */
};

/* "Lately": halved every round. HN_NO_NODE where a node is not known or there is none. */
struct hn_thread_row {
	uint32_t tid;
	uint32_t group;                     /* threads with the same number use memory together; 0: none */
	uint32_t samples, local;            /* since the thread is known; local: of pages on the node it ran on */
	uint32_t own_lately, shared_lately; /* of pages that it used alone; that others had touched before */
	int16_t node;                       /* where it ran at its last sample */
	int16_t preferred;                  /* where most of what it uses lies */
	int16_t home;                       /* where it is kept, see move.threads */
	uint16_t pad;
	uint32_t mem[HN_MAX_NODES];         /* samples lately by the node of the page */
};

/*
 * Samples by time, place and node, at a resolution that halves when there is no room for more: a row is an aligned range
 * of 2^shift bytes, points are points of the time axis. cell[(point * rows + row) * nodes + node] counts samples from
 * `node`; local[point * rows + row] counts those that were local.
 */
struct hn_heat {
	uint32_t nodes, rows, points; /* room */
	uint32_t shift;
	uint32_t nr_rows, nr_points; /* used */
	uint32_t step_ms;            /* time from one point to the next */
	uint32_t start_ms;           /* of point 0, since the agent started */
	uint64_t key[HN_HEAT_ROWS];  /* address >> shift, ascending */
	uint32_t local[HN_HEAT_POINTS * HN_HEAT_ROWS];
	uint32_t cell[HN_HEAT_CELLS];
};

/* What an address is to the agent. */
enum hn_place {
	HN_PLACE_UNKNOWN,
	HN_PLACE_MANAGED,
	HN_PLACE_OWN,          /* the agent's */
	HN_PLACE_THREAD,       /* a stack, or holds a thread's control block */
	HN_PLACE_NOT_HUGE,     /* in a managed region, but no huge page now */
	HN_PLACE_SOON,         /* a huge page in a managed region that was not there at the last look */
	HN_PLACE_NOT_ANON,     /* no private anonymous memory that may be written, or a stack */
	HN_PLACE_SMALL,        /* the mapping is smaller than a huge page */
	HN_PLACE_POLICY,       /* the mapping, or the program's threads, have a memory policy of their own */
	HN_PLACE_FEW_HUGE,     /* the mapping has none, or one only where a thread has its stack */
	HN_PLACE_MOSTLY_SMALL, /* more than a quarter of what is there is small pages */
	HN_PLACE_GROWING,      /* the mapping has more huge pages at every look */
	HN_PLACE_GIVEN_BACK, /* was managed, but touched for the first time in too many places: not again before hold_ms */
	HN_PLACE_IDLE,       /* the agent was told to stop */
	HN_PLACE_UNBOUND,    /* as HN_PLACE_POLICY, but it may be balanced among some nodes: of those there are too many sets */
	HN_PLACE_LEFT,       /* the program wants it left alone, or has not named it and wants only named ranges managed */
	HN_NR_PLACES,
};

/* The agent's answer about one address. Times in ms. */
struct hn_answer {
	hn_addr addr;
	hn_addr start, end;    /* of the region or mapping it is in; 0: none */
	uint32_t place;        /* enum hn_place */
	uint32_t huge_pages;   /* in the mapping, where that was looked at */
	uint32_t hold_ms;      /* left, of flags or of HN_PLACE_GIVEN_BACK */
	uint32_t armed_ms;     /* armed for so long */
	uint32_t last_tid;     /* last sample */
	uint64_t bound;        /* of a managed page: bit n, it may be on node n only; 0: on any */
	int16_t nid, last_nid; /* of the page; of the last sample */
	uint8_t state;         /* enum hn_state */
	uint8_t flags;         /* HN_E_*, core.h: 1 not to be armed, 2 not to be moved, before hold_ms */
	uint8_t fails;
	uint8_t pad;
	uint32_t pad2;
};

/* Who wants to know writes addr, then raises asked, and waits for answered to have that value and answer.addr to be its. */
struct hn_query {
	struct hn_word asked, answered;
	struct hn_word seq; /* odd: the answer is being written */
	uint32_t pad;
	hn_addr addr;
	struct hn_answer answer;
};

struct hn_record {
	struct hn_ring ring;
	struct hn_node_row node[HN_MAX_NODES];
	struct hn_word table_seq;  /* odd: the regions are being written */
	uint32_t nr_regions;       /* rows valid */
	uint32_t nr_regions_total; /* regions there are; written by the backend */
	uint32_t followed;         /* decisions below this number are in region rows and heat, or counted in missed ... */
	uint32_t taking, pad;      /* ... and, while table_seq is odd, some of those below this one */
	uint64_t missed; /* decisions that came and went before the scanner looked: not in region rows and heat */
	struct hn_region_row region[HN_RECORD_REGIONS];
	struct hn_word thread_seq; /* odd: the threads are being written */
	uint32_t nr_threads;       /* rows valid */
	uint32_t nr_threads_total; /* threads known */
	uint32_t nr_groups;        /* groups among them */
	struct hn_thread_row thread[HN_RECORD_THREADS];
	struct hn_heat heat;
	struct hn_query query;
} __attribute__((aligned(4096)));

struct hn_region_table {
	uint32_t nr, pad;
	struct hn_region_row row[HN_RECORD_REGIONS];
	uint32_t young[HN_RECORD_REGIONS][2]; /* local, remote samples of the present generation of "lately" ... */
	uint32_t old[HN_RECORD_REGIONS][2];   /* ... and of the one before */
};

/* The scanner's own: what it has taken in. */
struct hn_record_cursor {
	uint32_t next;      /* decision to take in next */
	uint64_t missed;
	uint64_t recent_ms; /* when the present generation began */
	struct hn_heat heat; /* what is published: the copy in shared memory is others' to write, too */
	uint32_t heat_points; /* published at most so far */
	struct hn_region_table now, before;
};

/* Any handler, at any time: a few stores and three additions. */
void hn_record_decision(struct hn_record *r, const struct hn_decision *d);

/* Decision number n, counted from 0, if the ring still has it whole. Any process. */
bool hn_record_read(const struct hn_record *r, uint32_t n, struct hn_decision *d);
/* Number of the oldest decision that may still be there, and of the next to come. */
uint32_t hn_record_first(const struct hn_record *r, uint32_t *next);
/* Rows copied, at most HN_RECORD_REGIONS; a writer that never rests gets UINT32_MAX. Any process. */
uint32_t hn_record_copy_regions(const struct hn_record *r, struct hn_region_row *row);

/* The same for threads. */
uint32_t hn_record_copy_threads(const struct hn_record *r, struct hn_thread_row *row);

/* ---- the scanner ---- */
void hn_record_init(struct hn_record *r, uint32_t nr_nodes);
/*
 * The regions there are now, ascending; of `in` only start, end, holes, pages and pages_on are read, at most
 * HN_RECORD_REGIONS. Counters follow the memory they are about: a row inherits those of the rows it overlaps, each of
 * which leaves them once.
 */
void hn_record_set_regions(struct hn_record_cursor *c, const struct hn_region_row *in, uint32_t nr);
/* The threads there are now, at most HN_RECORD_THREADS, and how many are known in all. */
void hn_record_set_threads(struct hn_record *r, const struct hn_thread_row *in, uint32_t nr, uint32_t total,
			   uint32_t nr_groups);
/* Take in what was decided since the last call, and publish it. Times are CLOCK_MONOTONIC. */
void hn_record_follow(struct hn_record *r, struct hn_record_cursor *c, uint64_t started_ms, uint64_t now_ms);
/*
 * In a copy of the record of a process that has ended, as it has left it: take in what its scanner did not come to any
 * more, and count what is not there any more. The copy may have been written to by whatever the process did: nothing in it
 * is trusted.
 */
void hn_record_finish(struct hn_record *r, uint64_t started_ms);
/* Are the dimensions of a heat map what they can be? */
bool hn_heat_is_sane(const struct hn_heat *h);
/* Count one sample in the heat map; ms since the agent started. */
void hn_heat_add(struct hn_heat *h, hn_addr addr, int nid, bool local, uint64_t ms);
/* A query that waits for an answer: true, and which number it has. */
bool hn_query_pending(const struct hn_query *q, uint32_t *number, hn_addr *addr);
void hn_query_answer(struct hn_query *q, uint32_t number, const struct hn_answer *a);
/* ---- who asks ---- */
uint32_t hn_query_ask(struct hn_query *q, hn_addr addr);
/* True when the answer to that is there. False also when somebody else's question came between: ask again. */
bool hn_query_read(const struct hn_query *q, uint32_t number, hn_addr addr, struct hn_answer *a);

#endif
