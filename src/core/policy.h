// SPDX-License-Identifier: MIT
/*
 * policy.h - what a placement policy is: one pure function from what is known about a hinting fault to a ruling, and a row in
 * one table.
 *
 * A policy sees only struct hn_judge and changes nothing. It is asked with the entry lock and the page lock held (F4), by
 * handler threads that have no libc: it must not allocate, block, call the system, or touch managed memory. The same
 * question must have the same answer, so that a recorded decision can be explained.
 *
 * A policy of somebody else's is a shared object with the interface of hugenuma/policy.h; plugin.c makes it the last row.
 */
#ifndef HN_CORE_POLICY_H
#define HN_CORE_POLICY_H

#include "core/tenure.h"
#include "core/types.h"

struct hugenuma_policy;

/* The machine and the user's wishes; the same for all faults of a while. */
struct hn_placing {
	uint32_t nr_nodes;
	uint64_t allowed;     /* bit n: pages may go to node n */
	bool spread_shared;   /* pages that several nodes share are spread over them, else left where they are */
	uint32_t settle_ms;   /* a page that came so recently needs more reason to go */
	uint64_t slow;        /* bit n: node n is a slow one */
	uint64_t full, roomy; /* bit n: node n is low on memory; has plenty */
	uint32_t hot_ms;      /* a page of a slow node that is touched so soon after its hint is hot */
};

/* One hinting fault. */
struct hn_judge {
	const struct hn_placing *place;
	hn_addr haddr;
	int page_nid, thread_nid; /* both known; different, unless the policy is asked about local samples too */
	uint64_t history; /* of the page, this sample not included; history.h */
	bool same_thread; /* the page's last sample was this thread's */
	bool moved;       /* the page has been migrated before, ... */
	uint32_t moved_ms_ago; /* ... so long ago */
	uint32_t tenure_ms;      /* the thread's node is seen to have it for so long */
	struct hn_tenure tenure; /* does it change hands, or do several nodes use it? This sample included */
	bool at_home;     /* the thread is kept on the node that it runs on: --move-threads */
	bool disputed;    /* a page beside it was last sampled from another node than thread_nid */
	bool deserted;    /* pages around it were sampled, and none of them last from page_nid */
	const uint32_t *by_cpu;  /* samples of the process lately: by node of the thread ... */
	const uint32_t *by_page; /* ... and of the page; nr_nodes of each */
	uint32_t armed_ms_ago; /* the hint was set so long before the page was touched */
	uint32_t idle_ms;      /* and hints before it had stood so long in all, one after the other, untouched */
	uint32_t gen, seed;    /* for the policies that only want pages on the move */
	const struct hugenuma_policy *plugin; /* for plugin.c; NULL: none */
	const uint32_t *group_cpu; /* the same of the threads that share memory with this one; NULL: none is known */
	const uint32_t *group_mem;
};

struct hn_ruling {
	int target_nid;          /* HN_NO_NODE: stay, ... */
	bool local;              /* ... because it is where it is used, or else for ... */
	enum hn_refusal refusal; /* ... this reason */
	enum hn_reason reason;   /* why it is to move */
	uint8_t rule;            /* of a plug-in policy: the rule that said so; HN_NO_RULE: none */
};

enum {
	HN_POLICY_ASKED_OF_LOCAL = 1u << 0, /* wants to see samples from the page's own node too */
	HN_POLICY_DRY = 1u << 1,            /* is asked, and nothing is done about it */
	HN_POLICY_UNLIMITED = 1u << 2,      /* migrates without regard to budget and stalls: for tests */
};

struct hn_policy {
	const char *name;  /* as given to --policy */
	const char *about; /* in a few words, for people */
	void (*judge)(const struct hn_judge *j, struct hn_ruling *r); /* *r is "stay, node unknown" before */
	unsigned traits;
};

/* Indexed by enum hn_policy_kind. */
extern const struct hn_policy hn_policies[HN_NR_POLICIES];

/* The default: a new page follows its first user; later two samples in a row, more where pages have several users. */
void hn_judge_automatic(const struct hn_judge *j, struct hn_ruling *r);
/* Part of it: pages on slow nodes, and threads on them. True: r is the answer. */
bool hn_judge_tier(const struct hn_judge *j, struct hn_ruling *r);
/*
 * The kernel's should_numa_migrate_memory() (docs/policy.md says where this differs): local samples are not on record for
 * it, as there.
 */
void hn_judge_kernel(const struct hn_judge *j, struct hn_ruling *r);
/* Two samples in a row, whatever was before. */
void hn_judge_two_stage(const struct hn_judge *j, struct hn_ruling *r);
/* A page's first sample may move it; no later one does. */
void hn_judge_first_touch(const struct hn_judge *j, struct hn_ruling *r);
/*
 * For torture. They only want pages on the move: to the next node every time; by turns, which threads of different nodes see
 * differently; by a seeded coin.
 */
void hn_judge_always(const struct hn_judge *j, struct hn_ruling *r);
void hn_judge_alternate(const struct hn_judge *j, struct hn_ruling *r);
void hn_judge_random(const struct hn_judge *j, struct hn_ruling *r);
/* What j->plugin says, if that makes sense. */
void hn_judge_plugin(const struct hn_judge *j, struct hn_ruling *r);

/* Is this a policy object that this engine can use? NULL: yes; else what is wrong, as "... , expected ...". */
const char *hn_plugin_defect(const struct hugenuma_policy *p);
/* May code be loaded from a file of this mode and owner by a process of this effective user? The same answer. */
const char *hn_plugin_file_defect(uint32_t mode, uint32_t uid, uint32_t euid);

#endif
