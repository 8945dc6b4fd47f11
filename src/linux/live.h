// SPDX-License-Identifier: MIT
/*
 * live.h - the backend for a live process. There are two ways to arm (struct hn_way): move takes the page to staging,
 * rwp protects it in place and takes it to staging only for a migration.
 *
 * Memory of the backend, all of it private to the agent, never forked, each area between guard pages:
 *   state    struct hn_live and the engine's block
 *   staging  where armed pages lie while the program cannot reach them; page id n is at staging + n * 2 MiB.
 *            Registered with the same userfaultfd as the program's memory, so that arming too is refused (EAGAIN)
 *            while an address-space event is unread: see docs/protocol.md, "Why staging is on the program's descriptor".
 *   trash    where old frames go to be freed; on a second descriptor without events, because MADV_DONTNEED on
 *            memory with events would wait for ourselves
 *   pool     huge pages ready to become migration targets or first touches
 *
 * Every thread of the agent has a struct hn_worker; its `hn` is the handle for all engine calls.
 */
#ifndef HN_LINUX_LIVE_H
#define HN_LINUX_LIVE_H

#include <linux/userfaultfd.h>

#include "core/core.h"
#include "core/lock.h"
#include "core/mm.h"

#define HN_MAX_REGIONS 1024
#define HN_MAX_EXCLUDES 4096
#define HN_GROWN_PAGES 4u
#define HN_MAX_CANDIDATES 512
#define HN_USER_STACKS 256
#define HN_FORK_CHANGES 4096
#define HN_FORK_WIPED 256
#define HN_POOL_PER_NODE 20 /* more than there can be handlers, so that each finds a slot */
#define HN_DEALT_THREADS 4096
#define HN_KNOWN_ROWS 1024 /* threads that something is known about at one time */
#define HN_MAX_STAGED 32768 /* pages armed at one time at most, in any setup */

enum hn_arming { HN_ARMING_AUTO /* rwp where the kernel has it */, HN_ARMING_MOVE, HN_ARMING_RWP };

/* What the agent tells the backend; the pointers must stay valid. */
struct hn_setup {
	uint32_t nr_nodes;
	bool is_virtual;
	bool deal_threads;      /* threads are dealt to nodes in order of their first fault */
	bool interleave;        /* virtual: pages start out spread by address, not all on node 0 */
	bool kernel_mover;
	bool own_policy_too;    /* manage ranges that have a memory policy of their own */
	bool eager;             /* register at first sight: short scan periods, tests */
	uint32_t arming;        /* enum hn_arming */
	uint64_t slow_nodes;    /* bit n: node n is a slow tier */
	uint32_t low_permille;  /* a fast node with less free gives cold pages away */
	const uint64_t *node_bytes; /* memory of each node */
	uint8_t (*distance)[HN_MAX_NODES];
	uint32_t nr_cpus;
	const int16_t *cpu_node;
	const int16_t *os_nid;
	uint32_t nr_pages;      /* pages armed at one time at most */
	uint32_t min_pages;     /* huge pages a process must have to be worth managing */
	uint32_t max_stall_us;  /* a fault may wait so long for a migration; 0: for any time */
	uint64_t ram_bytes;
	const struct hn_word *wipes; /* not 0: the program has asked for memory that children find zeroed */
};

/* Counters of the backend, in shared memory; see agent/layout.h for units. */
struct hn_live_counters {
	uint64_t *registered_bytes, *regions, *holes_served, *events, *fixups, *collapses, *unbound_mappings;
};

/* A memory policy as the kernel has it: mode with its flags; nodes by the kernel's numbers, bit 63 at most. */
struct hn_mempolicy {
	int mode;
	uint64_t nodes;
};

static inline bool hn_policy_is_same(const struct hn_mempolicy *a, const struct hn_mempolicy *b)
{
	return a->mode == b->mode && a->nodes == b->nodes;
}

#define HN_MAX_NOHUGE 4096

/* Ranges with MADV_NOHUGEPAGE, ascending; none overlaps or touches another. Zeroed: none. See nohuge.c. */
struct hn_nohuge {
	struct hn_word lock;    /* of writers */
	struct hn_word changes; /* odd: being changed */
	uint32_t nr;
	struct hn_range range[HN_MAX_NOHUGE];
};

/* Has one of these ranges something of [start, end)? */
static inline bool hn_overlaps(const struct hn_range *r, uint32_t nr, hn_addr start, hn_addr end)
{
	uint32_t i;

	for (i = 0; i < nr; i++)
		if (r[i].start < end && r[i].end > start)
			return true;
	return false;
}

/* The kernel's balancing is kept off a mapping by `now` in place of `was`, its own policy; see policy.c. */
struct hn_fence {
	bool up;
	struct hn_mempolicy was, now;
};

struct hn_region {
	hn_addr start, end;
	struct hn_word holes; /* first touches served since the last look */
	uint64_t holes_before;/* and before that */
	uint32_t excess;      /* of them, and of those before, more than are allowed in the time; scanner */
	struct hn_fence fence;
};

/* A mapping seen but not registered yet. */
struct hn_candidate {
	hn_addr start;
	uint32_t huge;
	uint32_t not_before_ms; /* registering it was a mistake: not again before; later with all growth ... */
	uint32_t seen_ms;
	uint32_t backoff;       /* ... so often it was, six at most */
};

/* A managed page that was found mapped small, and what is tried about that. */
struct hn_lost {
	hn_addr haddr; /* 0: none */
	uint32_t since_ms, next_ms;
};

#define HN_MAX_LOST 32u
#define HN_MAX_ONCE 64u
#define HN_REST_MS 8000u /* the longest that a mapping has to be at rest before it is registered again (discover.c) */

/* A range of which the program has said what is to become of it. */
struct hn_wanted {
	hn_addr start, end;
	bool leave;   /* not to be managed */
	uint8_t wish; /* else: of struct hn_entry */
};

#define HN_MAX_RANGES 256u

/* Something a child has done to its memory before it was served: a range dropped (to = 0) or moved. */
struct hn_change {
	hn_addr from, end, to;
};

struct hn_pool_slot {
	struct hn_word state;
};

/* Times are of a clock in ms, 0: never. */
struct hn_pool_node {
	struct hn_word trouble;       /* attempts in a row that got no page, or were slow: only the keeper tries again ... */
	struct hn_word not_before_ms; /* ... and not before */
	struct hn_word wanted_ms;     /* when a page was last asked for */
	bool unbound;                 /* the process may not use the node, as far as we know */
	/* Kernel mover only. */
	struct hn_word enough_kib;      /* the least that was free when the node gave a huge page */
	struct hn_word probe;           /* the keeper is to find out whether less is enough */
	struct hn_word scarce_until_ms; /* it had none for the kernel, against expectation: not before */
};

/* A way to arm: what sets it apart from the other. Chosen when the descriptors are opened, and kept. */
struct hn_way {
	enum hn_arming arming;
	bool in_place; /* an armed page is in staging only while it is `lifted` */
	uint64_t feature;       /* of userfaultfd, besides what both need */
	uint64_t register_mode; /* of the program's memory */
	uint64_t move_in_mode;  /* of a MOVE into the program */
	const struct hn_ops *ops;
};

extern const struct hn_way hn_way_move, hn_way_rwp;

/* What is published, as far as the scanner has it; see publish.c. */
struct hn_publish {
	struct hn_record_cursor cursor;
	uint64_t not_before_ms;
	uint32_t nr;
	struct hn_region_row row[HN_RECORD_REGIONS];
	uint64_t pages[HN_MAX_NODES];
	uint32_t nr_threads, nr_threads_total;
	uint64_t groups; /* bit g - 1: somebody is in group g */
	struct hn_thread_row thread[HN_RECORD_THREADS];
};

struct hn_live {
	struct hn_setup setup;
	const struct hn_way *way;
	struct hn_live_counters cnt;
	struct hn_core *core;
	struct hn_stats *stats;
	struct hn_record *record; /* NULL: there is none */
	const struct hugenuma_policy *plugin; /* NULL: there is none */
	struct hn_nohuge *nohuge; /* NULL: nobody tells */
	struct hn_publish publish; /* scanner only */
	int fd;       /* userfaultfd of program and staging */
	int fd_trash; /* userfaultfd of trash, no events */
	int fd_pagemap;
	int fd_maps;
	int fd_statm;
	int fd_task;  /* /proc/self/task, also after a chroot and under another /proc */
	bool fork_events; /* a fork that nobody prepared is told of, and its child served */
	int fd_stop;  /* eventfd: readable when handlers must leave */
	int fd_probe; /* eventfd: reads memory that may be gone, see who.c */

	char *staging, *trash, *pool;
	struct hn_range own[32]; /* our areas, guards included */
	uint32_t nr_own;

	uint32_t nr_regions; /* regions: gate exclusive to write */
	struct hn_region region[HN_MAX_REGIONS];
	/* In no region, but registered once, and perhaps still; more than there is room for: all that is in none. */
	uint32_t nr_once;
	struct hn_range once[HN_MAX_ONCE];

	/* forked.c; gate exclusive */
	struct hn_change fork_change[HN_FORK_CHANGES];
	struct hn_range fork_wiped[HN_FORK_WIPED];

	uint32_t reviewed_ms; /* scanner only, from here */
	uint64_t seen_mapped, seen_resident; /* base pages of the program at the last look, ... */
	uint32_t growing;     /* ... and mappings that it left alone because they had grown since the one before */
	struct hn_lost lost[HN_MAX_LOST];
	uint64_t most_zero_bytes; /* of a page that is made huge again may have no memory of their own; lost.c, for a look */
	uint32_t nohuge_seen; /* nohuge->changes when this look began */
	uint32_t nr_candidates;
	struct hn_candidate candidate[HN_MAX_CANDIDATES];
	uint32_t nr_excludes;
	struct hn_range exclude[HN_MAX_EXCLUDES];
	bool excludes_full; /* there are more, so nothing new is managed */
	uint32_t nr_user_stacks;
	struct hn_range user_stack[HN_USER_STACKS]; /* stacks the program made itself; see agent/threads.c */
	char maps_buf[16384];

	bool only_ranges;      /* memory in no range is left alone */
	bool ranges_new;       /* since the last look */
	bool wishes;           /* there are or were some */
	uint32_t nr_bound;     /* wishes from HN_USER_WISHES on that stand for memory policies; they stay */
	uint32_t nr_ranges;    /* ascending, none overlaps another */
	struct hn_wanted wanted[HN_MAX_RANGES];

	uint32_t policies_ms;  /* when threads' policies were looked at */
	uint32_t own_since_ms; /* since when some have one of their own; 0: none has */
	bool task_policy;      /* the program has chosen where its memory goes, for whole threads */
	struct hn_mempolicy task_bound; /* it has bound all of them to be balanced; .nodes 0: no. Others read that */
	bool balances;         /* the kernel does, too, ... */
	bool fence;            /* ... and some threads have the default policy */
	uint32_t seen_threads; /* while looking */
	bool seen_own, seen_default;
	struct hn_mempolicy seen_bound;
	bool left_alone;       /* memory was left alone because of task_policy */
	uint32_t unbound, unbound_now; /* mappings left alone because nr_bound is at its most: at the last look; so far in this */
	struct hn_word mover_lock; /* one migration by the kernel at a time */

	ptrdiff_t rseq_from_robust; /* where a thread's rseq area is, from its robust list; 0 = unknown */
	ptrdiff_t tp_from_robust;
	struct hn_word dealt_next;
	struct hn_word dealt_tid[HN_DEALT_THREADS];
	uint8_t dealt_node[HN_DEALT_THREADS];

	struct hn_word pool_kick; /* raised to wake the keeper */
	struct hn_word pool_hidden; /* 1: unreachable for a while, see hn_live_hide */
	struct hn_pool_node pool_node[HN_MAX_NODES];
	struct hn_pool_slot pool_slot[HN_MAX_NODES * HN_POOL_PER_NODE];

	/* way_move.c: the last run that was armed, or was going to be; scanner */
	hn_addr arming_at;
	uint32_t arming_first, arming_nr;

	uint8_t lifted[HN_MAX_STAGED]; /* way_rwp.c: the page is in staging, all of it or a part */
};

/* Where a thread's robust list was a short while ago. */
struct hn_known {
	uint32_t tid, until_ms;
	hn_addr robust;
};

#define HN_KNOWN_THREADS 64

struct hn_worker {
	struct hn hn; /* hn.be points at this worker */
	struct hn_live *live;
	struct uffd_msg in_hand; /* an event that was read and is not processed; .event 0: none. For rescue.c */
	struct hn_known known[HN_KNOWN_THREADS];
};

/* ---- live.c ---- */

/* Why hn_live_open failed; a constant text for the user. */
struct hn_live_error {
	const char *what;
	int err;
};

/*
 * Open descriptors and make the areas. Call in the first agent thread, whose descriptor table is private already.
 * 0 or -1 with *why filled and everything undone.
 */
int hn_live_open(struct hn_live *live, struct hn_live_error *why);
void hn_live_close(struct hn_live *live);
/*
 * When a thread has ended somewhere in the middle, before hn_recover and by the only one left: learn what it had done
 * without the engine's knowing. And: let go of everything; nothing may be in staging any more.
 */
void hn_live_take_stock(struct hn_worker *w);
void hn_live_abandon(struct hn_live *live);
/* The size of the engine's block that hn_live_open makes; hn_core_init must be given the same. */
struct hn_geometry hn_live_geometry(const struct hn_setup *s);
/*
 * With arming off: make the areas that are meant to be empty unreachable, so that nothing can fill them (false: they are
 * in use); and reachable and unlocked again. While the pool is hidden first touches are served by small pages.
 */
bool hn_live_hide(struct hn_live *live);
void hn_live_show(struct hn_live *live);
/* A core has what is in staging, or not: only where all of that is at its place, and stays there. Any thread. */
void hn_live_dump_staging(const struct hn_live *live, bool dump);
void hn_worker_init(struct hn_worker *w, struct hn_live *live);

/* Private memory between guard pages, not forked, small pages unless huge. NULL when there is none. */
void *hn_area(struct hn_live *live, size_t bytes, bool huge);
/* Its memory policy, but for the pool's. */
int hn_area_mode(const struct hn_live *live);
/* A fresh mapping for a part of an area that is not registered, page tables included. 0 or -errno: then it is gone. */
int hn_area_renew(void *p, size_t bytes, bool huge);
/* Note [p, p + bytes) as ours, never to be managed. */
void hn_own(struct hn_live *live, const void *p, size_t bytes);

static inline struct hn_live *hn_live_of(void *be) { return ((struct hn_worker *)be)->live; }
static inline char *hn_staging(const struct hn_live *live, uint32_t page)
{
	return live->staging + (uint64_t)page * HN_PAGE_SIZE;
}
/* Staging holds the armed page. Page lock or gate exclusive; or the page has no reference left (way_rwp.c). */
static inline bool hn_is_staged(const struct hn_live *live, uint32_t page)
{
	return !live->way->in_place || live->lifted[page];
}

/* ---- live_ops.c: ops of struct hn_ops that both ways share ---- */
uint64_t hn_live_now_ns(void *be);
/* The engine's clock for what is long: ms, wraps after 49 days. */
static inline uint32_t hn_live_now_ms(void) { return (uint32_t)(hn_live_now_ns(NULL) / 1000000); }
/*
 * Patience with somebody who must do something, in ns, is used up by the time that we have waited, too: not by that in which the
 * whole process, or the machine, stood still. *last: when this was last called. False: there is none left.
 */
static inline bool hn_patience_left(uint64_t *left_ns, uint64_t *last_ns)
{
	uint64_t now = hn_live_now_ns(NULL), most = 200000000, passed = now - *last_ns < most ? now - *last_ns : most;

	*last_ns = now;
	*left_ns -= passed < *left_ns ? passed : *left_ns;
	return *left_ns != 0;
}
/* What is left of a wait of at most most_ms; 0: it is over, or there was none, however long ago (25 days ago is not to come). */
static inline uint32_t hn_ms_left(uint32_t until_ms, uint32_t now_ms, uint32_t most_ms)
{
	return until_ms - now_ms <= most_ms ? until_ms - now_ms : 0;
}
int hn_live_thread_node(void *be, uint32_t tid);
int hn_live_target_get(void *be, int nid, uint32_t *target);
void hn_live_target_put(void *be, uint32_t target);
int hn_live_copy(void *be, uint32_t page, uint32_t target, int nid, uint64_t until_ns);
uint64_t hn_live_cpu_ns(void *be);
/* commit without its wake-up, where the way's MOVE does not wake. */
int hn_live_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target);
bool hn_live_event_unread(void *be);
void hn_live_wake(void *be, hn_addr addr, uint64_t bytes);
void hn_live_yield(void *be);
enum hn_arm_error hn_arm_error_of(int err);
/* ---- trace.c: probes for bpftrace and the like (docs/tracing.md); ops of struct hn_ops, and what the backend itself sees ---- */
void hn_trace_arm(hn_addr haddr, uint32_t wanted, uint32_t armed, enum hn_arm_error why);
void hn_trace_fault(hn_addr addr, uint32_t tid);
void hn_trace_disarm(void *be, hn_addr haddr, enum hn_disarm_cause cause);
void hn_trace_migrate_start(void *be, hn_addr haddr, uint32_t tid, const struct hn_verdict *v);
void hn_trace_migrate_end(void *be, hn_addr haddr, uint32_t tid, const struct hn_verdict *v, enum hn_outcome out);
void hn_trace_verdict(void *be, const struct hn_decision *d);
/* In the initializer of a way's ops. */
#define HN_LIVE_OPS                                                                                                     \
	.now_ns = hn_live_now_ns, .cpu_ns = hn_live_cpu_ns, .thread_node = hn_live_thread_node,                         \
	.target_get = hn_live_target_get, .target_put = hn_live_target_put, .copy = hn_live_copy, .wake = hn_live_wake, \
	.event_unread = hn_live_event_unread, .read_message = hn_live_read_message,                                     \
	.wait_message = hn_live_wait_message, .is_registered = hn_live_is_registered, .is_known = hn_live_is_known,     \
	.note_event = hn_live_note_event, .yield = hn_live_yield,                                                      \
	.hole_get = hn_live_hole_get, .hole_put = hn_live_hole_put,                                                     \
	.note_disarm = hn_trace_disarm, .note_migrate_start = hn_trace_migrate_start,                                   \
	.note_migrate_end = hn_trace_migrate_end, .note_decision = hn_trace_verdict

/* ---- way_move.c ---- */
/* hn_mm_take_out() to the places in staging of pages `first` and on; what the kernel has split is made huge again there. */
uint32_t hn_move_out(struct hn_live *live, hn_addr haddr, uint32_t first, uint32_t nr, int *err);

/* ---- uffd.c: the system calls, 0 or -errno ---- */
int hn_uffd_open(uint64_t features, uint64_t *have);
int hn_uffd_register(int fd, hn_addr start, uint64_t len, uint64_t mode);
int hn_uffd_unregister(int fd, hn_addr start, uint64_t len);
/* *moved: bytes moved before the error, 0 when none. */
int hn_uffd_move(int fd, hn_addr dst, hn_addr src, uint64_t len, uint64_t *moved);
/* mode: HN_UFFDIO_MOVE_MODE_* */
int hn_uffd_move_mode(int fd, hn_addr dst, hn_addr src, uint64_t len, uint64_t mode, uint64_t *moved);
/* mode: HN_UFFDIO_RWPROTECT_MODE_* */
int hn_uffd_rwprotect(int fd, hn_addr start, uint64_t len, uint64_t mode);
int hn_uffd_copy(int fd, hn_addr dst, hn_addr src, uint64_t len, uint64_t *copied);
int hn_uffd_zero(int fd, hn_addr dst, uint64_t len);
/* Whoever touches it gets SIGBUS. */
int hn_uffd_poison(int fd, hn_addr dst, uint64_t len);
/* True while an event is unread: the kernel says EAGAIN before it looks at anything else. */
bool hn_uffd_changing(int fd);
void hn_uffd_wake(int fd, hn_addr start, uint64_t len);

/* ---- pagemap.c ---- */

/*
 * Runs of pages in [start, end) that have all of `mask` (after flipping `invert`); up to nr ranges, *next where to go
 * on. Number of ranges or -errno.
 */
int hn_pagemap_runs(int fd, hn_addr start, hn_addr end, uint64_t mask, uint64_t invert, struct hn_range *out, uint32_t nr,
		    hn_addr *next);
/* The same, of pages that are of one kind. */
int hn_pagemap_look(int fd, enum hn_mm_kind kind, hn_addr start, hn_addr end, struct hn_range *out, uint32_t nr,
		    hn_addr *next);
/* Leading bytes of [start, end) that are PMD-mapped huge and not the zero page. */
uint64_t hn_pagemap_huge_prefix(int fd, hn_addr start, hn_addr end);
bool hn_pagemap_is_huge(int fd, hn_addr haddr);
/* Bytes of huge pages in [start, end), at most `enough`. */
uint64_t hn_pagemap_huge_bytes(int fd, hn_addr start, hn_addr end, uint64_t enough);
/* Bytes present in any form. */
uint64_t hn_pagemap_present_bytes(int fd, hn_addr start, hn_addr end, uint64_t enough);
/* Some of it is not there at all, not even in swap; or that is not known. */
bool hn_pagemap_has_hole(int fd, hn_addr start, hn_addr end);
/* Of them, bytes that have no memory of their own: mapped to the kernel's page of zeros. */
uint64_t hn_pagemap_zero_bytes(int fd, hn_addr start, hn_addr end);

/* ---- maps.c: /proc/self/maps without libc ---- */
struct hn_vma {
	hn_addr start, end;
};
/*
 * Call fn for each private anonymous read-write mapping but stacks, in address order, until it returns false.
 * `buf` is scratch of buf_bytes. 0 or -errno.
 */
int hn_maps_walk(int fd, char *buf, size_t buf_bytes, bool (*fn)(void *arg, const struct hn_vma *vma), void *arg);
/* The same from the one on that has or follows `from`; all of them where the kernel can only be asked by text. */
int hn_maps_walk_from(int fd, hn_addr from, char *buf, size_t buf_bytes, bool (*fn)(void *arg, const struct hn_vma *vma), void *arg);
/*
 * All of [start, end) belongs to one mapping such as hn_maps_walk finds; where the kernel can only be asked by text: it has no
 * hole. False also when that cannot be told.
 */
bool hn_maps_is_whole(int fd, hn_addr start, hn_addr end);
/* Nothing of [start, end) is without a mapping. */
bool hn_maps_has_no_hole(hn_addr start, hn_addr end);
/* The mapping that has addr: 0; -ENOENT: none; -ENOTTY: the kernel can only be asked by text. */
int hn_maps_at(int fd, hn_addr addr, struct hn_vma *vma);
/* The same, or the next one behind addr; -ENOENT: there is none. */
int hn_maps_next(int fd, hn_addr addr, struct hn_vma *vma);
/* Is it still what hn_maps_walk found? True also where the kernel can only be asked by text. */
bool hn_maps_is_as_seen(int fd, const struct hn_vma *vma);
/* What is mapped in [start, end): nothing; all of it by one mapping of private anonymous memory, or by one of another kind; or else. */
enum hn_mapped {
	HN_MAPPED_NOTHING,
	HN_MAPPED_PLAIN,
	HN_MAPPED_OTHER,
	HN_MAPPED_SOME,
	HN_MAPPED_UNKNOWN, /* the kernel can only be asked by text (before Linux 6.11), or not at all */
};
enum hn_mapped hn_maps_look(int fd, hn_addr start, hn_addr end);
/* Call fn for what of [start, end) each mapping there has, whatever it is, in address order; fn may change them. */
void hn_maps_within(const struct hn_live *live, hn_addr start, hn_addr end, void (*fn)(void *arg, const struct hn_vma *piece),
		    void *arg);
/* The mappings that children find zeroed (MADV_WIPEONFORK), from /proc/self/smaps; number of ranges in out, at most nr. */
uint32_t hn_smaps_wiped(int fd, struct hn_range *out, uint32_t nr);
/* What a thread's numa_maps, or the beginning of it, says of the memory policy of the thread itself. */
enum hn_task_policy { HN_TASK_UNKNOWN, HN_TASK_DEFAULT, HN_TASK_LOCAL, HN_TASK_OWN, HN_TASK_BOUND };
/* HN_TASK_BOUND: *bound is a policy that lets the kernel balance among its nodes. */
enum hn_task_policy hn_parse_task_policy(const char *p, const char *end, struct hn_mempolicy *bound);
/* The CPU that the text of /proc/PID/task/TID/stat names; -1: it names none. */
int hn_stat_cpu(const char *buf, size_t len);

/* ---- putback.c ---- */
/* The system calls for core/mm.h, for as long as `live` is there. */
struct hn_mm hn_live_mm(struct hn_live *live);
/* hn_mm_*() of them. */
int hn_putback(struct hn_live *live, hn_addr haddr, hn_addr src);
int hn_put_new(struct hn_live *live, hn_addr haddr, hn_addr src, bool *copied);
int hn_copy_in(struct hn_live *live, hn_addr dst, hn_addr src, uint64_t len);
void hn_staging_discard(struct hn_live *live, uint32_t page);
/* As ops.zero, of a page that is in staging. */
void hn_staging_zero(struct hn_live *live, uint32_t page, uint32_t from, uint32_t to);
/* True: what was in this base page, which is there, is lost to a hardware memory error. */
bool hn_is_lost(hn_addr piece);
bool hn_is_empty(struct hn_live *live, hn_addr start, hn_addr end);

/* ---- holes.c: first touches, ops of struct hn_ops ---- */
uint32_t hn_live_hole_get(void *be, hn_addr haddr, int nid);
void hn_live_hole_put(void *be, uint32_t zeros);
int hn_live_hole_fill(void *be, hn_addr addr, uint32_t zeros);

/* ---- nohuge.c ---- */
/* Does the program not want huge pages in some of [start, end)? Without a lock, any thread. */
bool hn_nohuge_any(const struct hn_nohuge *n, hn_addr start, hn_addr end);
/* It does not in all of [start, end); it does again, or there is something else now. Under n->lock. */
void hn_nohuge_add(struct hn_nohuge *n, hn_addr start, hn_addr end);
void hn_nohuge_remove(struct hn_nohuge *n, hn_addr start, hn_addr end);
/*
 * One mapping is at [start, end), looked at after n->changes was `changes`. The advice is about whole mappings: what was said of
 * a part of it is about one that is gone.
 */
void hn_nohuge_trim(struct hn_nohuge *n, uint32_t changes, hn_addr start, hn_addr end);
/* In a forked child, for its own copy. */
void hn_nohuge_forked(struct hn_nohuge *n);

/* ---- region.c; gate exclusive to change ---- */
bool hn_fence_is_same(const struct hn_fence *a, const struct hn_fence *b);
bool hn_region_covers(const struct hn_live *live, hn_addr start, hn_addr end);
/* Some of it is registered. */
bool hn_region_any(const struct hn_live *live, hn_addr start, hn_addr end);
struct hn_region *hn_region_at(struct hn_live *live, hn_addr addr);
/* A copy of the i-th region; false when there are less. Takes and releases the gate (shared). */
bool hn_region_nth(struct hn_worker *w, uint32_t i, struct hn_region *r);
/* Where regions touch they are made one, unless their fences differ. */
bool hn_region_add(struct hn_live *live, hn_addr start, hn_addr end, const struct hn_fence *fence); /* NULL: none */
void hn_region_cut(struct hn_live *live, hn_addr start, hn_addr end);
void hn_region_remap(struct hn_live *live, hn_addr from, hn_addr to, uint64_t len);
/* [start, end) is mapped no more. */
void hn_region_unmap(struct hn_live *live, hn_addr start, hn_addr end);
/* It stays mapped, and is cut or never was in a region: events of it may have been read, and may be in the time to come. */
void hn_region_remember(struct hn_live *live, hn_addr start, hn_addr end);
/* No event of what is in [start, end) can have been read so far: nothing of it is registered, nor was it ever. */
bool hn_region_is_fresh(const struct hn_live *live, hn_addr start, hn_addr end);

/* ---- messages.c: the descriptor's messages, ops of struct hn_ops ---- */
bool hn_live_read_message(void *be, struct hn_message *m);
bool hn_live_wait_message(void *be, bool chores);
/* Have hn_serve return in every handler. Any thread. */
void hn_live_stop_handlers(struct hn_live *live);
void hn_live_note_event(void *be, const struct hn_message *m);
bool hn_live_is_known(void *be, hn_addr start, hn_addr end);
enum hn_registered hn_live_is_registered(void *be, hn_addr start, hn_addr end);
/* The event that worker w has read and not seen through, if there is one. The worker's thread, or when that has ended. */
bool hn_live_in_hand(const struct hn_worker *w, struct hn_message *m);
/*
 * Read one message of a descriptor that does not block; what read(2) returns. That of a fork comes with a descriptor, and
 * stays in the queue when there is no number for one.
 */
long hn_uffd_read(int fd, struct uffd_msg *m);

/* ---- forked.c ---- */
/*
 * Give the child whose userfaultfd is `fd`, and children that it has had by then, copies of all that is armed or displaced;
 * closes fd. Gate exclusive.
 */
void hn_fork_serve(struct hn_worker *w, int fd);

/* ---- lost.c; scanner thread ---- */
/* See to pages of registered memory that are mapped small. */
void hn_find_lost(struct hn_worker *w);

/* ---- discover.c; scanner thread ---- */
/* Look for huge pages: register new mappings, manage new pages, give up bad regions. */
void hn_discover(struct hn_worker *w);
/*
 * Is there likely to be something to find? Much less work than a look: a mapping was waiting to stop growing, or there is more or
 * less mapped than at the last look, or more in place by HN_GROWN_PAGES huge pages.
 */
bool hn_discover_is_due(struct hn_live *live);
/* A look that is made in parts: all zero at first, and when it is done. */
struct hn_count {
	hn_addr next;   /* where to go on */
	uint64_t bytes; /* found below */
};
/*
 * Huge pages in this process worth managing, looked for without registering anything; at most `enough`. After some milliseconds
 * it stops, and *so_far is for the next call.
 */
uint32_t hn_discover_count(int fd_maps, int fd_pagemap, char *buf, size_t buf_bytes, uint32_t enough, struct hn_count *so_far);
/* Memory our own areas hold now, bytes; staging and trash apart, whose pages are the program's. */
uint64_t hn_live_own_bytes(const struct hn_live *live);
/* Put everything back and let go of all regions, policies included. False when something is left after `ms`. */
bool hn_live_release(struct hn_worker *w, uint32_t ms);
/* Put everything back, displaced parts too; false when it did not come to an end within `ms`. */
bool hn_live_drain(struct hn_worker *w, uint32_t ms);

/* ---- ranges.c; scanner thread ---- */
/* The next piece of [at, end) that is to be managed; false when there is none. */
bool hn_ranges_next(const struct hn_live *live, hn_addr at, hn_addr end, struct hn_range *piece, uint8_t *wish);
/*
 * The number of the wish for pages of which the program has said `user` (a number), in a mapping that its memory policy lets
 * be balanced among `nodes` (indices; 0: among all). -ENOSPC: there are too many different ones.
 */
int hn_ranges_wish(struct hn_worker *w, uint64_t nodes, uint8_t user);
/* Is any of it? */
bool hn_ranges_any(const struct hn_live *live, hn_addr start, hn_addr end);
/* Forget the managed pages that are not to be any more. */
void hn_ranges_enforce(struct hn_worker *w);

/*
 * Has the mapping enough huge pages, of the `pages` there are, to be registered? One that is no thread's stack; two, where there
 * are so many mappings that the table of regions might not hold them all. Scanner.
 */
bool hn_huge_enough(const struct hn_live *live, hn_addr start, hn_addr end, uint32_t pages);
/*
 * Is little enough of [start, end), whole pages, mapped small? A quarter of what there is; or any part where nothing is missing:
 * registering it then slows no first touch down.
 */
bool hn_small_enough(const struct hn_live *live, hn_addr start, hn_addr end, uint64_t huge_bytes);

/* ---- publish.c; scanner thread ---- */
/* Bring the tables of the record up to date, at a bounded share of a CPU; cpu_ns tells the thread's CPU time. */
void hn_publish(struct hn_worker *w, uint64_t started_ms, uint64_t now_ms, uint64_t (*cpu_ns)(void));

/* ---- explain.c; scanner thread ---- */
/* Answer a question about an address, if one is waiting. `idle`: the agent was told to leave the process alone. */
void hn_explain(struct hn_worker *w, bool idle);

/* ---- who.c ---- */
/* Learn the layout of libc's thread area; call in an ordinary thread. */
void hn_who_learn(ptrdiff_t *rseq_from_robust, ptrdiff_t *tp_from_robust);
/* Node of a thread that sleeps in a fault, or HN_NO_NODE. Gate held. */
int hn_who_node(struct hn_worker *w, uint32_t tid);
/* Fill live->exclude with what must never be armed: thread control blocks and the stacks below them. */
void hn_exclude_threads(struct hn_live *live);
/* Call fn for each thread of the process, ours included, until it returns false. */
void hn_each_thread(struct hn_live *live, bool (*fn)(struct hn_live *live, uint32_t tid));
/* False where /proc has not this thread of ours at its number. Scanner thread. */
bool hn_is_own_task(struct hn_live *live, uint32_t tid);
struct hn_task_times {
	uint64_t run_ns, wait_ns; /* on a CPU, and waiting for one; since the thread began */
};
/* False: the thread is not there any more, or the kernel does not tell. */
bool hn_task_times(const struct hn_live *live, uint32_t tid, struct hn_task_times *t);
/* "a" NUMBER "b" into buf. */
void hn_number_path(char *buf, const char *a, uint32_t number, const char *b);

/* ---- policy.c; scanner thread ---- */
/* Learn what policies the program's threads have now, and whether the kernel balances too. */
void hn_policy_look(struct hn_live *live);
/* The nodes that `wanted` (struct hn_config) and the process's cpuset allow, as indices; 0 when that leaves none. */
uint64_t hn_policy_allowed(const struct hn_live *live, uint64_t wanted);
enum hn_range_rule {
	HN_RANGE_FREE,  /* balanced as we see fit */
	HN_RANGE_BOUND, /* the program wants it balanced among some nodes */
	HN_RANGE_OWN,   /* the program has decided where it goes, and is to be respected */
};
/* What the memory policy of the mapping at addr makes of it. fence: of its region. HN_RANGE_BOUND: *nodes as indices. */
enum hn_range_rule hn_policy_rule(struct hn_live *live, hn_addr addr, const struct hn_fence *fence, uint64_t *nodes);
/* What keeps the kernel's balancing off the mapping at addr, where the policies of the threads do not; .up false: nothing. */
struct hn_fence hn_policy_fence_for(const struct hn_live *live, hn_addr addr);
/*
 * Put that up for what of [start, end), which is registered, still has the policy that it was made for; it may become a region of
 * its own. Gate exclusive.
 */
void hn_policy_fence(struct hn_live *live, hn_addr start, hn_addr end, const struct hn_fence *fence);
/* Undo it where the program has said nothing else meanwhile. Gate exclusive. */
void hn_policy_unfence(struct hn_live *live, hn_addr start, hn_addr end);
/*
 * The node for a huge page at addr, which a thread on nid touches first: another one where a policy says so. Any thread.
 * HN_NO_NODE: the kernel is to place it, in small pages.
 */
int hn_policy_hole_node(const struct hn_live *live, hn_addr addr, int nid);

/* ---- tiers.c; scanner thread ---- */
/* Look what nodes have free and make the plan for it. True: some node is to give pages away. */
bool hn_tiers_look(struct hn_worker *w, uint64_t allowed);

/* ---- pool.c ---- */
int hn_pool_get(struct hn_live *live, int nid, bool zeroed, uint32_t *slot);
void hn_pool_put(struct hn_live *live, uint32_t slot);  /* not moved, or not all of it; content unknown */
void hn_pool_put_zeroed(struct hn_live *live, uint32_t slot); /* the same, but what is there is still all zeros */
void hn_pool_gone(struct hn_live *live, uint32_t slot); /* the page was moved away, whole */
void hn_pool_drop(struct hn_live *live, uint32_t slot); /* not wanted: to the kernel, if it is still there */
/* Will the kernel find a huge page on slot's node when that in the slot is given back? May be wrong. Kernel mover only. */
bool hn_pool_has_room(struct hn_live *live, uint32_t slot);
/* It did not. */
void hn_pool_note_scarce(struct hn_live *live, uint32_t slot);
/* Give the page of a slot that stays taken to the kernel, as room for another. False: it is still there. */
bool hn_pool_free_page(struct hn_live *live, uint32_t slot);
char *hn_pool_addr(const struct hn_live *live, uint32_t slot);
/* Keep a few pages ready while they are in demand, give them back when not. One thread. Returns ms to sleep. */
uint32_t hn_pool_tend(struct hn_live *live);
int hn_pool_bind(struct hn_live *live);

/* ---- room.c; nodes are the setup's ---- */
/* Free memory of a node now, KiB; 0 when nobody will ask. */
uint32_t hn_room_kib(const struct hn_live *live, uint32_t n);
/* With so much free before, the node gave a huge page. */
void hn_room_note_enough(struct hn_live *live, uint32_t n, uint32_t before_kib);
bool hn_room_is_enough(const struct hn_live *live, uint32_t n);
/* The kernel found none against expectation; and: that was a moment ago. */
void hn_room_note_scarce(struct hn_live *live, uint32_t n);
bool hn_room_is_scarce(const struct hn_live *live, uint32_t n);

/* ---- commit.c ---- */
/*
 * How many of `wanted` pages may be armed at a time without taking much of what may still be promised; 0: too few to be worth it.
 * Under another rule than vm.overcommit_memory=2 all. The second: from the text of that setting and of /proc/meminfo.
 */
uint32_t hn_commit_room(uint32_t wanted);
uint32_t hn_commit_pages(const char *mode, const char *meminfo, uint32_t wanted);

/* ---- watermark.c ---- */
/* The nodes, by the setup's numbers, of which no zone has more free than its high watermark, its reserve and a huge page. Scanner thread. */
uint64_t hn_nodes_short(const struct hn_live *live);
/* Reading /proc/zoneinfo line by line. Starts with node -1. By the kernel's numbers: */
struct hn_zoneinfo {
	int node;          /* of the zone that is being read; -1: none */
	uint64_t free, high, reserve;
	uint64_t seen, room; /* bit n: node n has a zone; has one with room for a huge page */
};
void hn_zoneinfo_line(struct hn_zoneinfo *z, const char *line);
void hn_zoneinfo_end(struct hn_zoneinfo *z);

/* ---- idle.c; scanner thread ---- */
/* What the CPUs of cpus[] (bit n: CPU n) that are of each node have been idle so far, ms. False: it is not known. */
bool hn_idle_look(const struct hn_live *live, const uint64_t *cpus, uint64_t *idle_ms);
/* A line of /proc/stat. False: it is not about one CPU. */
bool hn_idle_line(const char *line, uint32_t *cpu, uint64_t *ms);

/* ---- mover.c ---- */
/* As ops.copy. The kernel's mover is not begun after until_ns, and cannot be stopped. */
int hn_mover_copy(struct hn_worker *w, uint32_t page, uint32_t target, int nid, uint64_t until_ns);
/* Node index of each of nr huge pages from start, or HN_NO_NODE. */
void hn_page_nodes(struct hn_live *live, hn_addr start, uint32_t nr, int16_t *nid);
/* The kernel's number of the node that holds the page at `at`, or -errno. */
int hn_os_node(void *at);
/* Make pages of staging huge again that were split; first id and number of pages. */
void hn_mend_staging(struct hn_live *live, uint32_t first, uint32_t nr);

#endif
