/* SPDX-License-Identifier: MIT */
/*
 * policy.h - a placement policy of your own, as a shared object for `hugenuma run --policy /path/to/object.so`.
 *
 * The object exports one constant, and everything else about it is reached from there:
 *
 *     const struct hugenuma_policy hugenuma_policy = { HUGENUMA_POLICY_ABI, sizeof(struct hugenuma_policy), ... };
 *
 * It is loaded into each process that is managed, when that process starts. Its judge() is then asked about every hinting
 * fault: a thread has touched a page that had a hint, and sleeps until there is an answer.
 *
 * The contract of judge():
 *  - It is called with the locks of the page held, so that what it is told, what it answers and what is done about it
 *    cannot come apart. It must not block, and should take less than a microsecond.
 *  - It is called by threads that have no libc: no memory allocation, no system call, no errno, no thread-local variable,
 *    no function that is not in the object itself but memcpy, memset, memmove and memcmp. Build it with
 *    -fPIC -shared -nostartfiles -fno-stack-protector.
 *  - It is a pure function of *f: no state. Several threads call it at the same time, and the same question must have the
 *    same answer, or what is on record about a decision explains nothing. *f and what it points to are valid during the
 *    call only.
 *  - An answer that makes no sense (a node or a rule that there is not, a node that is not allowed) is counted as
 *    policy_invalid, and the page stays. Budgets and the pause after a failed migration hold for every policy.
 *
 * examples/policy_sticky.c is a complete one.
 */
#ifndef HUGENUMA_POLICY_H
#define HUGENUMA_POLICY_H

#include <stdint.h>

#define HUGENUMA_POLICY_ABI 1u
#define HUGENUMA_POLICY_SYMBOL "hugenuma_policy"

#define HUGENUMA_NO_NODE (-1)
#define HUGENUMA_SAMPLES 8
#define HUGENUMA_MAX_NODES 64
#define HUGENUMA_MAX_RULES 16
#define HUGENUMA_NAME_BYTES 24 /* of the names of policies and rules, the NUL included */
#define HUGENUMA_TEXT_BYTES 72 /* of the text of a rule */

/*
 * One hinting fault. Nodes are 0 .. nr_nodes - 1 in the order that `hugenuma report` shows them in. Later versions may add
 * fields at the end: size says how much there is.
 */
struct hugenuma_fault {
	uint32_t size;         /* of this struct in the engine that asks; never less than in the version built against */
	uint32_t nr_nodes;
	uint64_t address;      /* of the page, a multiple of 2 MiB */
	uint64_t allowed;      /* bit n: pages may go to node n */
	int32_t page_node;     /* where the page is ... */
	int32_t thread_node;   /* ... and where the thread runs that touched it; may be the same */
	uint32_t armed_ms_ago; /* how long the page had its hint before anybody touched it, ms */
	uint32_t moved_ms_ago; /* when the page was last migrated, if `moved`, ms */
	uint8_t moved;         /* 1: it has been, by more than its first sample */
	uint8_t same_thread;   /* 1: the sample before this one came from the same thread */
	uint8_t shared;        /* 1: several nodes use the page, as the automatic policy sees it */
	uint8_t nr_samples;    /* samples on record, this one not included; 0 .. HUGENUMA_SAMPLES */
	/* The last samples, the newest first; node HUGENUMA_NO_NODE: not known. */
	int8_t sample_node[HUGENUMA_SAMPLES];
	uint8_t sample_same_thread[HUGENUMA_SAMPLES]; /* 1: from the thread of the sample before it */
	/* Samples of the whole process lately, by the node of the thread and of the page; halved every round. */
	uint32_t by_thread_node[HUGENUMA_MAX_NODES];
	uint32_t by_page_node[HUGENUMA_MAX_NODES];
};

struct hugenuma_answer {
	int32_t node;  /* where the page is to go; its own node or HUGENUMA_NO_NODE: it stays */
	uint32_t rule; /* which rule says so: an index into the policy's rules */
};

/* Both end up in counters, in reports and in what `hugenuma explain` says. */
struct hugenuma_rule {
	const char *name; /* lower-case letters, digits and _ */
	const char *text; /* completes "the page stayed: ..." and "it was moved: ..." */
};

struct hugenuma_policy {
	uint32_t abi;  /* HUGENUMA_POLICY_ABI */
	uint32_t size; /* sizeof(struct hugenuma_policy) */
	const char *name; /* lower-case letters, digits, - and _ */
	const char *about; /* one line */
	const struct hugenuma_rule *rules;
	uint32_t nr_rules; /* 1 .. HUGENUMA_MAX_RULES */
	uint32_t reserved; /* 0 */
	void (*judge)(const struct hugenuma_fault *f, struct hugenuma_answer *answer);
};

#endif
