// SPDX-License-Identifier: MIT
/*
 * policy.h - what a placement policy is: one pure function from what is known about a hinting fault to a ruling.
 *
 * A policy sees only struct hn_judge and changes nothing. It is asked with the entry lock and the page lock held (F4), by
 * handler threads that have no libc: it must not allocate, call the system, or touch managed memory. The same question
 * must have the same answer, so that a recorded decision can be explained.
 */
#ifndef HN_CORE_POLICY_H
#define HN_CORE_POLICY_H

#include "core/types.h"

/* The machine and the user's wishes; the same for all faults of a while. */
struct hn_placing {
	uint32_t nr_nodes;
	uint64_t allowed;     /* bit n: pages may go to node n */
	bool spread_shared;   /* pages that several nodes share are spread over them, else left where they are */
	uint32_t settle_ms;   /* a page that came so recently needs more reason to go */
};

/* One hinting fault. */
struct hn_judge {
	const struct hn_placing *place;
	hn_addr haddr;
	int page_nid, thread_nid; /* both known, and different */
	uint64_t history; /* of the page, this sample not included; history.h */
	bool same_thread; /* the page's last sample was this thread's */
	bool moved;       /* the page has been migrated before, and ... */
	uint32_t moved_ms_ago;
	unsigned stayed;  /* ... had so many samples in a row from its own node since, at best */
	bool shared;      /* hn_judge_is_shared() of the samples before this one */
	const uint32_t *by_cpu;  /* samples of the process lately: by node of the thread ... */
	const uint32_t *by_page; /* ... and of the page; nr_nodes of each */
};

struct hn_ruling {
	int target_nid;          /* HN_NO_NODE: stay, ... */
	bool local;              /* ... because it is where it is used, or else for ... */
	enum hn_refusal refusal; /* ... this reason */
	enum hn_reason reason;   /* why it is to move */
};

/* The default: a new page follows its first user; later two samples in a row, more where pages have several users. */
void hn_judge_automatic(const struct hn_judge *j, struct hn_ruling *r);
/*
 * Do several nodes use a page with these last samples? `was` is what was said before this one: a page that was seen to be
 * shared stays so until one node has had it for itself for some time.
 */
bool hn_judge_is_shared(uint64_t history, bool was);
/*
 * The kernel's should_numa_migrate_memory() (docs/policy.md says where this differs): all threads of the process are one
 * numa_group, and local samples are not on record for it, as there.
 */
void hn_judge_kernel(const struct hn_judge *j, struct hn_ruling *r);
/* Two samples in a row, whatever was before. */
void hn_judge_two_stage(const struct hn_judge *j, struct hn_ruling *r);

#endif
