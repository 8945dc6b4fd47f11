/* SPDX-License-Identifier: MIT */
/*
 * hugenuma.h - libhugenuma: NUMA balancing of huge pages for the calling process, without a preload. docs/library.md is
 * the guide; `pkg-config hugenuma` has the flags. (The exit statuses of `hugenuma run` are at the end.)
 *
 *     hugenuma_set("scan.period_ms", "500");
 *     if (hugenuma_start(NULL) == 0)
 *             hugenuma_manage(arena, bytes);
 *
 * Rules for all functions, unless said otherwise:
 *  - They return 0, or a negative errno value that hugenuma_strerror() puts into words. The library never prints, exits or
 *    aborts, and installs no signal handler. Where a call fails the program is as it was.
 *  - Any thread may call them, at any time, several at once; none may be called from a signal handler. They may wait for the
 *    agent, a few milliseconds as a rule, seconds on a machine without a CPU to spare.
 *  - Nothing is owned by the caller but what he passes in; texts that are returned are constant.
 *  - Structs begin with their size, which the caller sets to sizeof: a later version may have more fields at the end.
 *  - Sizes are in bytes, times in the unit of their name. Nodes are numbered 0 .. hugenuma_nodes() - 1 in the order of the
 *    kernel's numbers; on most machines they are the same.
 *  - A page is a huge page of 2 MiB. A range covers the pages that lie in it as a whole; the rest of it is left alone.
 *
 * After fork() the child manages nothing; it may call hugenuma_start(), and finds its settings and ranges as they were. A
 * process that runs under `hugenuma run` has an agent already: then these functions steer that one.
 */
#ifndef HUGENUMA_H
#define HUGENUMA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HUGENUMA_VERSION_MAJOR 0
#define HUGENUMA_VERSION_MINOR 1
#define HUGENUMA_VERSION_PATCH 0

#define HUGENUMA_MAX_NODES 64

/* "0.1.0": of the library that was loaded. */
const char *hugenuma_version(void);

/* What a result of these functions means, in a few words; err may be positive or negative. Any value. */
const char *hugenuma_strerror(int err);

/* ---- can it be done here? ---- */

/*
 * Could hugenuma_start(NULL) manage this process? Tries what it takes and leaves nothing behind; a fraction of a millisecond.
 * 0; -ENODEV: the machine has one NUMA node; -EPERM: no permission for userfaultfd; -ENOTSUP: the kernel is too old, or huge
 * pages are switched off. `why`, if not NULL, gets a sentence of at most len bytes with its NUL: what is missing, or "".
 */
int hugenuma_can_manage(char *why, size_t len);

/* ---- settings ---- */

/*
 * Settings have the names of `hugenuma ctl`: "scan.period_ms", "policy.name", "node.allowed" ... -ENOENT: no such setting;
 * -EINVAL: no value of it; -EBUSY: this one cannot be changed while the process is managed. Before hugenuma_start() all can be set.
 * That the nodes of "node.allowed" and "tier.slow" are there is looked at by hugenuma_start(), and from then on at once.
 * Settings outlive hugenuma_stop().
 */
int hugenuma_set(const char *key, const char *value);

/* The value as it would be set, at most len bytes with its NUL. -ENOENT; -ENOSPC: it is longer. */
int hugenuma_get(const char *key, char *value, size_t len);

/* ---- starting and stopping ---- */

/* Manage all huge pages of the process, as `hugenuma run` does, and not only ranges that are named. See docs/library.md. */
#define HUGENUMA_WHOLE_PROCESS 1u
/* Read /etc/hugenuma.conf, ~/.config/hugenuma.conf and HUGENUMA_* variables first; what was set by calls goes before. */
#define HUGENUMA_READ_CONFIG 2u

struct hugenuma_options {
	uint32_t size;          /* sizeof(struct hugenuma_options) */
	uint32_t flags;         /* HUGENUMA_WHOLE_PROCESS, HUGENUMA_READ_CONFIG */
	uint32_t virtual_nodes; /* 0: the machine's; 2..64: so many made-up ones, for trying things out on one node */
	uint32_t reserved;      /* 0 */
};

/*
 * Start managing this process: two or more threads are made, which take no signals, hold none of the program's descriptors
 * and never touch its heap. NULL: all options 0. -EALREADY: it is being managed. Other errors: as hugenuma_can_manage(), -EINVAL
 * for options out of range and for settings that name nodes there are not, -ENOMEM, -ENOSPC: no room in /dev/shm, -EPROTO: the
 * process runs under `hugenuma run` of another version. hugenuma_message() has the reason as a sentence.
 */
int hugenuma_start(const struct hugenuma_options *options);

/*
 * Put every page in its place, give everything back to the kernel and end the threads. 0 also when nothing was managed;
 * -ETIMEDOUT: it was not possible yet (the program is stopped by a debugger, for instance), and everything goes on.
 */
int hugenuma_stop(void);

/*
 * pause: on return every page is in its place, and nothing is armed or moved until resume. -ESRCH: nothing is managed;
 * -ETIMEDOUT: asked for, but not so yet; -ECANCELED: somebody ordered otherwise meanwhile. They do not nest, and are the same as `hugenuma pause` and `resume`.
 */
int hugenuma_pause(void);
int hugenuma_resume(void);

enum hugenuma_state {
	HUGENUMA_IDLE,    /* nothing is managed */
	HUGENUMA_RUNNING,
	HUGENUMA_PAUSED,  /* by hugenuma_pause(), or from outside */
};

enum hugenuma_state hugenuma_state(void);

/* What the agent had to say last, or why hugenuma_start() failed, as a sentence; "" when nothing. As in hugenuma_get(). */
int hugenuma_message(char *text, size_t len);

/* Number of nodes that pages are balanced over; 0 when nothing is managed. */
uint32_t hugenuma_nodes(void);

/* ---- ranges ---- */

enum hugenuma_treatment {
	HUGENUMA_LEAVE,   /* not managed */
	HUGENUMA_BALANCE, /* managed, by the policy of the process (policy.name) */
	HUGENUMA_OBSERVE, /* managed and judged, but never moved */
	HUGENUMA_BIND,    /* belongs on a set of nodes: brought there, and between them by the policy of the process */
};

/*
 * What is to become of the huge pages in [addr, addr + len), now and later, whatever is mapped there; the last word about an
 * address counts. May be said before hugenuma_start(). The memory must be private, anonymous and writable, and becomes
 * managed when it has a huge page (two where a thread may have its stack) and most of what is there is huge; within a second,
 * as a rule. nodes: bit n for node n, with HUGENUMA_BIND only, else 0. After HUGENUMA_LEAVE no page of the range is armed on return.
 *
 * Never name memory that holds stacks or control blocks of threads, or mutexes with PTHREAD_PRIO_INHERIT. -EINVAL: the range
 * is empty or wraps, or the nodes are none; -ENOSPC: more than 256 ranges (neighbours treated alike are one), or more than
 * 15 different sets of nodes.
 */
int hugenuma_treat(const void *addr, size_t len, enum hugenuma_treatment treatment, uint64_t nodes);

/* The same with HUGENUMA_BALANCE, and with HUGENUMA_LEAVE. */
int hugenuma_manage(const void *addr, size_t len);
int hugenuma_unmanage(const void *addr, size_t len);

struct hugenuma_range_info {
	uint32_t size;      /* sizeof(struct hugenuma_range_info) */
	uint32_t pages;     /* managed */
	uint32_t armed;     /* of these, waiting for a touch now */
	uint32_t nodes;     /* valid entries of pages_on */
	uint64_t samples;   /* the last eight touches seen of each page, added up ... */
	uint64_t local;     /* ... and how many came from the node the page is on now */
	uint32_t pages_on[HUGENUMA_MAX_NODES];
};

/* Count the managed pages in a range. -ESRCH, -EINVAL, -ETIMEDOUT: the agent did not answer within two seconds. */
int hugenuma_query_range(const void *addr, size_t len, struct hugenuma_range_info *info);

enum hugenuma_outcome {
	HUGENUMA_WAITED = 2,   /* waited for a migration of the page to end */
	HUGENUMA_LOCAL = 4,    /* the page is where it is used */
	HUGENUMA_REFUSED = 5,  /* it stays, for the reason given */
	HUGENUMA_MIGRATED = 6, /* it was moved to the node of the thread, or where the policy wants it */
	HUGENUMA_FAILED = 7,   /* it could not be moved, and is where it was */
	HUGENUMA_RACED = 8,    /* its memory changed meanwhile: it is where it was */
	HUGENUMA_DEMOTED = 9,  /* nobody has touched it for long: it was moved to a slow node, and no thread has waited for that */
};

/* A hinting fault and what was decided; with HUGENUMA_DEMOTED there was none. Nodes are -1 where not known. */
struct hugenuma_event {
	uint64_t number;       /* counted from 0 */
	uint64_t time_ns;      /* CLOCK_MONOTONIC, of the fault; with HUGENUMA_DEMOTED when the move began */
	const void *page;
	uint32_t thread;       /* its kernel thread id; 0 with HUGENUMA_DEMOTED, and thread_node is -1 then */
	int16_t thread_node, from_node;
	int16_t to_node;       /* where the page is to be; -1: stays */
	uint16_t outcome;      /* enum hugenuma_outcome */
	uint32_t service_ns;   /* how long the thread has waited; 0 with HUGENUMA_WAITED and HUGENUMA_DEMOTED */
	const char *rule;      /* why: as `hugenuma report` names it, "filter" or "thread" for instance; NULL: none */
};

struct hugenuma_page_info {
	uint32_t size;       /* sizeof(struct hugenuma_page_info) */
	uint32_t managed;    /* 1: it is; if not the fields below say nothing but for `last` */
	int16_t node;        /* where it is; -1: not known yet */
	int16_t last_node;   /* of the thread that touched it last; -1 */
	uint32_t last_thread;
	uint32_t has_last;   /* 1: `last` is the last decision about it, if that is one of the last 4096 */
	struct hugenuma_event last;
};

/* About the page at addr. -ESRCH, -ETIMEDOUT; -ENODATA: it has no record, for want of room in /dev/shm. */
int hugenuma_query_page(const void *addr, struct hugenuma_page_info *info);

/* ---- events ---- */

/*
 * Call fn(event, arg), on this thread and before this function returns, for each decision that was made since *cursor, the
 * oldest first; then *cursor is where to go on. 0 in *cursor: from the oldest that is still there. The ring holds the
 * last 4096: who comes later than that has missed some, which the gap in their numbers tells. The event is valid during the
 * call. fn may call any function of this library, and ends the delivery by returning something else than 0. Each cursor is its
 * own reader; several threads may read at once, but not with one cursor.
 *
 * Returns how many were delivered; -ESRCH; -ENODATA as above. There is no call-back from the agent's own threads: these
 * must answer page faults and have no libc; a call-back that touched an armed page would wait for itself.
 */
typedef int (*hugenuma_event_fn)(const struct hugenuma_event *event, void *arg);
long hugenuma_poll_events(uint64_t *cursor, hugenuma_event_fn fn, void *arg);

/* ---- statistics ---- */

struct hugenuma_statistics {
	uint32_t size;              /* sizeof(struct hugenuma_statistics) */
	uint32_t armed_pages;       /* now */
	uint64_t managed_pages;     /* now */
	uint64_t samples;           /* hinting faults so far, all of them: ... */
	uint64_t local, refused, migrated, failed, raced; /* ... each is one of these */
	uint64_t agent_cpu_ns;      /* CPU time of the agent's threads */
	uint64_t agent_bytes;       /* memory of the agent */
	uint64_t service_p50_ns, service_p99_ns, service_max_ns; /* how long threads have waited in faults */
	uint64_t stall_p50_ns, stall_p99_ns, stall_max_ns;       /* the same where it was migrated or that was given up */
};

/* Since hugenuma_start(). -ESRCH. */
int hugenuma_statistics(struct hugenuma_statistics *s);

#ifdef __cplusplus
}
#endif

/* ---- exit statuses of `hugenuma run` ---- */

/* `hugenuma run` itself failed and the program was not started. */
#define HUGENUMA_EXIT_FAILED 125
/* The program was found but cannot be executed. */
#define HUGENUMA_EXIT_CANNOT_EXECUTE 126
/* The program was not found. */
#define HUGENUMA_EXIT_NOT_FOUND 127

#endif
