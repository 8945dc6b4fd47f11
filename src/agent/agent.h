// SPDX-License-Identifier: MIT
/*
 * agent.h - what is loaded into a managed process.
 *
 * Life: IDLE until the process is seen to have huge pages worth managing (spark.c), STARTING while the first agent
 * thread sets up, RUNNING, and FAILED when this process cannot be managed. The agent never stops its host: every
 * failure ends in FAILED with all pages in place. LEFT: the program does something that the agent's threads are in the
 * way of (leave.c).
 *
 * Threads of the agent are bare (bare.c): they have the program's memory, a descriptor table of their own, all signals
 * blocked, and no libc state. Only files marked "program side" run on the program's threads.
 */
#ifndef HN_AGENT_AGENT_H
#define HN_AGENT_AGENT_H

#include "agent/layout.h"
#include "linux/block.h"
#include "linux/live.h"
#include "linux/sys.h"

_Static_assert((int)HN_ARMING_AUTO == HN_ARM_AUTO && (int)HN_ARMING_MOVE == HN_ARM_MOVE &&
		       (int)HN_ARMING_RWP == HN_ARM_RWP, "the backend's names for the ways to arm are the configuration's");

enum hn_agent_state { HN_AGENT_IDLE, HN_AGENT_STARTING, HN_AGENT_RUNNING, HN_AGENT_FAILED, HN_AGENT_LEFT };

/* Pausing: program threads ask, the scanner answers. Under lock: wanted, paused. */
struct hn_control {
	struct hn_word lock;
	struct hn_word wanted; /* program threads that need all pages in place */
	struct hn_word paused; /* 1: nothing is armed and nothing will be until wanted is 0 again */
	struct hn_word kick;   /* raised to wake the scanner */
	struct hn_word leave;  /* 1: while paused, end all threads of the agent; 0 again: that was not possible */
};

/* Stacks that the program made for its threads itself, and pages with mutexes of a certain kind. Under lock. */
struct hn_stacks {
	struct hn_word lock;
	struct hn_word changes; /* raised with every new range */
	uint32_t nr, next;
	struct hn_range range[HN_USER_STACKS];
};

#define HN_AVOID_MS 60000u /* nobody is sent to a node that was left because it was crowded for so long */

struct hn_cpu_mask {
	uint64_t word[HN_MAX_CPUS / 64];
};

/* A thread that is kept on the CPUs of a node. */
struct hn_kept {
	uint32_t tid;
	int node;
	uint32_t looked_ms;       /* when these were taken: */
	uint32_t looks;           /* so often it was looked whether it has to wait, two at most; ... */
	uint32_t crowded;         /* ... and so often in a row it had to */
	uint64_t run_ns, wait_ns;
};

#define HN_MAX_KEPT 256

/* Under lock: kept, nr (also read without). */
struct hn_affinity {
	struct hn_word lock;
	struct hn_word nr;
	const struct hn_machine *machine; /* scanner; valid while anybody is kept */
	struct hn_cpu_mask cpuset; /* scanner; others read it under the lock: what the process may use */
	struct hn_kept kept[HN_MAX_KEPT];
	/* The rest is the scanner's. */
	bool on;
	bool settled;              /* there has been a decision since it was switched on; or it is late enough without */
	bool denied;               /* that was said */
	uint32_t begun_ms, first_ms, next_ms; /* switched on; first page managed, 0: none yet; when to look again */
	uint32_t idle_ms;          /* when these were taken, 0: not yet: */
	uint64_t idle_of[HN_MAX_NODES]; /* what all CPUs of a node were idle so far, ms */
	uint32_t idle[HN_MAX_NODES], foreign[HN_MAX_NODES]; /* and lately, in permille of a CPU; used by others than this program */
	uint32_t avoid_until_ms[HN_MAX_NODES]; /* 0: it need not be avoided */
	uint32_t left;             /* how often a node was left because it was crowded */
};

/* Ranges that the program has named through the library (src/lib). Under lock. */
struct hn_ranges {
	struct hn_word lock;
	struct hn_word changes; /* raised with every change */
	bool only;              /* memory in no range is left alone */
	uint32_t nr;            /* ascending, none overlaps another */
	struct hn_wanted range[HN_MAX_RANGES];
	struct hn_wish wish[HN_USER_WISHES]; /* one that no range refers to is free */
};

/* A question of a program thread about a range, answered by the scanner. Under lock, but for `answered`. */
struct hn_survey {
	struct hn_word lock;
	struct hn_word asked, answered;
	hn_addr start, end;
	uint32_t pages, armed;
	uint32_t pages_on[HN_MAX_NODES];
	uint64_t samples, local; /* of the last eight of each page */
};

struct hn_agent {
	struct hn_shm *shm; /* others may write to it: nothing read from it is an index or a pointer unchecked */
	struct hn_config config; /* of the run, as it was at load */
	uint32_t pid; /* of the process that this state is about */
	struct hn_slot *slot;
	struct hn_live *live;
	struct hn_word state; /* enum hn_agent_state */
	struct hn_control control;
	ptrdiff_t rseq_from_robust, tp_from_robust;
	struct hn_stacks stacks;
	struct hn_ranges ranges;
	struct hn_survey survey;
	void (*forking)(bool begins); /* around a fork, not in the child; NULL: nothing to do. And ... */
	void (*forked)(void);    /* ... in the child, when all is reset */
	int failed_errno;        /* FAILED: why, 0: only the message tells; and ... */
	struct hn_live *failed;  /* ... what is left of the attempt, NULL: nothing */
	struct hn_word lockall; /* one mlockall at a time */
	struct hn_affinity affinity;
	struct hn_word child_has_holes; /* the fork under way goes ahead although pages lie in staging */
	struct hn_word filtered; /* 1: some thread has a system call filter that it or a parent has installed */
	struct hn_word wipes;    /* 1: there is or was memory with MADV_WIPEONFORK */
	struct hn_word began;    /* 1: there has been an agent in this process, or in one that it was forked from */
	struct hn_nohuge nohuge; /* what the program has said by madvise(3) */
	uint32_t returns;        /* from LEFT ... */
	uint32_t kept_mode;      /* ... with the orders of the time before: enum hn_mode */
	struct hn_config kept_config;
	const struct hugenuma_policy *plugin; /* loaded; NULL: none, and why not is in plugin_error */
	char plugin_error[200];
	struct hn_word working;  /* handlers, keeper and watchdog that have not ended */
	struct hn_word shm_lost; /* 1: it has gone; what is at hn_agent.shm is nobody's but ours */
};

extern struct hn_agent hn_agent;

/* ---- bare.c ---- */
/* Make room for the threads of one life of the agent; false when there is none. */
bool hn_bare_prepare(struct hn_live *live);
/* Start a bare thread; 0 or -errno. Usable from a signal handler. One caller at a time. */
int hn_bare_thread(void (*fn)(void *arg), void *arg);
/*
 * Whether thread i makes its last step within ms. If so it is also waited for, as long as they last, until the kernel does
 * not take it for one of the process's any more.
 */
bool hn_bare_wait_gone(uint32_t i, uint32_t ms);
void *hn_bare_signal_stack(size_t *bytes);

/* ---- crash.c: faults of our own, and libc's functions that set handlers for the signals of such ---- */
void hn_crash_load(void);
/* Catch them from now on, or no more. Any thread. */
void hn_crash_catch(void);
void hn_crash_release(void);
/* In a forked child. */
void hn_crash_reset(void);
/* si_code of a signal that asks a thread of ours to end. */
#define HN_SI_END (-4711)
/* First thing of a thread of the agent. */
void hn_crash_guard_thread(void);

/* ---- dump.c ---- */
/* The program is about to end with a core: put every page back, if one is going to be written, and leave it there for good. */
void hn_dump_prepare(void);

/* ---- rescue.c ---- */
struct hn_fault_of_ours {
	struct hn_word signal; /* 0: none yet */
	struct hn_word bell;   /* raised to wake the watchdog */
	struct hn_word watched;/* 1: there is one */
	const struct hn_own_thread *watchdog;
	uintptr_t at;          /* which instruction, from the start of the library */
	const char *thread;
};
/* CPU time that a thread has used, ns. */
uint64_t hn_thread_cpu_ns(uint32_t tid);
extern struct hn_fault_of_ours hn_fault_of_ours;
/* Wake the watchdog, and the scanner that watches that. */
void hn_fault_ring(void);
/* A thread of the agent; ends when told to by `over`, or after a rescue. workers: those that read messages. */
void hn_watch(struct hn_worker *w, const struct hn_word *over, struct hn_worker *const *workers, uint32_t nr_workers);
/* Scanner: the watchdog itself may have fallen. True: everything is back, and this thread the last one. */
bool hn_watch_the_watchdog(struct hn_worker *w, struct hn_worker *const *workers, uint32_t nr_workers);

/* ---- scanner.c ---- */
/* Start managing this process, once; any thread, also in a signal handler. */
void hn_agent_start(void);

/* ---- setup.c ---- */
/* A thread has had a fault and there is no watchdog yet. */
void hn_agent_fell(void);

/* ---- threads.c ---- */
void hn_threads_load(void);
void hn_threads_reset(void);

/* ---- stacks.c ---- */
/* [start, end) is never armed from now on. Program side. */
void hn_keep_out(uintptr_t start, uintptr_t end);
void hn_stacks_reset(void);
/* Scanner side: give the backend the stacks known now; returns the number of changes so far. */
uint32_t hn_stacks_copy(struct hn_live *live);

/* ---- seats.c; scanner ---- */
/*
 * Move threads to their memory where the settings say so, and let them go where they do not. True: some were moved whose pages
 * have been asked about before.
 */
bool hn_affinity_pass(struct hn_worker *w, const struct hn_machine *m, const struct hn_config *c);
/* Pages that are asked about before the first decision about threads are asked in vain: wait for it, for a moment at most. */
bool hn_affinity_unsettled(struct hn_worker *w, uint32_t now_ms);
/* Some thread is undecided: pages wait for it. */
bool hn_affinity_waits(void);

/* ---- affinity.c ---- */
/* Let all of them go. Scanner. */
void hn_affinity_release_all(void);
/* Let the calling thread go, if it is kept: before it makes a thread or process, which would inherit its CPUs. Program side. */
void hn_affinity_release_self(void);
void hn_affinity_reset(void);

/* ---- ranges.c; program side ---- */
/*
 * [start, end) is to be treated like this from now on; on return none of what is to be left alone is armed. 0; -ENOSPC:
 * there are too many ranges, or too many different wishes.
 */
int hn_ranges_set(hn_addr start, hn_addr end, bool leave, const struct hn_wish *wish);
void hn_ranges_reset(void);
/* The pages of [s->start, s->end), counted by the scanner; 0, or -ETIMEDOUT. s is filled in. */
int hn_survey_ask(struct hn_survey *s, uint32_t ms);
/* Scanner side: give the backend what is wanted now, returns the number of changes so far; answer who asks. */
uint32_t hn_ranges_copy(struct hn_worker *w);
void hn_survey_answer(struct hn_worker *w);

/* ---- fork.c; program side ---- */
void hn_fork_handle(void);
void hn_before_fork(void);
void hn_after_fork_in_parent(void);
void hn_after_fork_in_child(void);

/* ---- calls_fork.c, calls_memory.c, calls_mremap.c, calls_spawn.c, calls_user.c, lockall.c; program side ---- */
void hn_fork_load(void);
void hn_memory_load(void);
void hn_mremap_load(void);
void hn_spawn_load(void);
void hn_user_load(void);
void hn_lockall_load(void);

/* ---- leave.c; program side ---- */
/* Put every page back and end the agent's threads. True: LEFT, nothing of the agent runs. False: nothing ran, or it stays. */
bool hn_agent_leave(void);
/* State is FAILED: give back what the attempt has left. */
void hn_agent_clear_up(void);
/* After that, if it left: start again, with the orders of the time before. */
void hn_agent_come_back(bool left);

/* ---- filter.c; program side ---- */
/* False: this process was born with a system call filter that kills for what the agent does. */
bool hn_filter_allows_us(void);

/* Is this the process that hn_agent is about, and not one made behind libc, or by vfork, that has its memory? */
static inline bool hn_agent_is_ours(void) { return hn_agent.pid == (uint32_t)hn_sys_getpid(); }

/* Is there, or was there, an agent in this process: may a page be elsewhere? */
static inline bool hn_agent_has_begun(void)
{
	return hn_agent.shm && hn_load_acquire(&hn_agent.state) != HN_AGENT_IDLE;
}

/* ---- control.c; program side ---- */
/*
 * A lock of ours on a thread of the program: signals are held meanwhile, as a handler may fork, or set handlers, and must not
 * find its own thread in possession of the lock. Returns the mask that was, for unlock.
 */
uint64_t hn_lock_undisturbed(struct hn_word *lock);
void hn_unlock_undisturbed(struct hn_word *lock, uint64_t old);
/* Return with every page in place, and keep it so until resume. False: the agent did not answer in time. */
bool hn_agent_pause(void);
/* The same, with another patience than it has otherwise. Also in a signal handler. */
bool hn_agent_pause_for(uint32_t seconds);
/* By an agent that answered and is there still: true as long as nobody has resumed who is the last to. */
bool hn_control_is_paused(void);
/* Wake the scanner; sleep while *w == v, for a moment at most. */
void hn_control_kick(void);
void hn_control_nap(struct hn_word *w, uint32_t v);
/* Once for every pause, whatever it returned. */
void hn_agent_resume(void);
/* While pausing: ask the agent to end; and is that still asked? */
void hn_control_leave(void);
bool hn_control_leaving(void);
/* ---- control.c; scanner side ---- */
bool hn_control_wanted(void);
/* Say that nothing is armed; returns when the last pauser has resumed: true, or when asked to leave: false. */
bool hn_control_paused(void);
/* The answer to that: not now; or: done, an agent that starts again is not paused. */
void hn_control_stay(void);
void hn_control_left(void);
void hn_control_reset(void);
/* Wake the scanner. Any thread, also in a signal handler. */
void hn_control_kick(void);

/* ---- spark.c; program side ---- */
void hn_spark_load(void);
void hn_spark_arm(uint32_t tid);
void hn_spark_off(void);
void hn_spark_reset(void);
/*
 * Nobody looks from here on until as many calls of go_on: a look has descriptors open, which a child made meanwhile would keep. A look
 * that is under way is waited for, for a second at most. Also in a signal handler.
 */
void hn_spark_hold(void);
void hn_spark_go_on(void);
/* Never look at this process; false when it is beyond that. Nobody is looking any more on return. */
bool hn_spark_forbid(void);
/* Look now whether the process is worth managing, and start if so. */
void hn_spark_look(void);

/* ---- plugin.c ---- */
/* Program side, when the agent is loaded. */
void hn_plugin_load(void);
/* Its name and its rules, for readers. */
void hn_plugin_introduce(struct hn_slot *slot);

/* ---- slot.c ---- */
struct hn_slot *hn_slot_take(struct hn_shm *shm, enum hn_slot_state state);
/* The ranges of layout.h. */
bool hn_config_is_sane(const struct hn_config *c);
/* The record beside a slot, made ready; NULL when there is no memory for it. */
struct hn_record *hn_slot_open_record(struct hn_shm *shm, struct hn_slot *slot, uint32_t nr_nodes);
void hn_slot_say(struct hn_slot *slot, const char *what, int err);
/* Raise a word of it, on threads of the program, where it may have been cut off by now. */
void hn_shm_count(struct hn_word *w);
/* It has been cut off under us: put memory of our own in its place. False: `at` is not in it. Also in a signal handler. */
bool hn_shm_replace(uintptr_t at);
/* A program that locks all its memory must not fill all the records, nor is its core dump to have them. */
void hn_shm_hide_records(struct hn_shm *shm);
/* Map and check the shared memory named in the environment; NULL when there is none or it is not to be trusted. */
struct hn_shm *hn_shm_open(void);

#endif
