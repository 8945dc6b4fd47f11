// SPDX-License-Identifier: MIT
/*
 * run.h - what the agent of a managed process works with; the files of its scanner (scanner.c, setup.c, pass.c).
 */
#ifndef HN_AGENT_RUN_H
#define HN_AGENT_RUN_H

#include "agent/agent.h"
#include "core/pace.h"

#define HN_EAGER_PERIOD_MS 50u /* shorter ones are for tests */

/* Everything of one managed process; one area, never freed while the process lives. */
struct hn_run {
	struct hn_live live;
	struct hn_config config; /* in force; the scanner's */
	struct hn_machine machine;
	struct hn_worker scanner, keeper, watchdog, handler[HN_MAX_HANDLERS];
	struct hn_worker *readers[HN_MAX_HANDLERS]; /* of messages */
	struct hn_word over; /* keeper and watchdog are to end; the handlers have fd_stop */
};

/* Of the process; NULL until the agent is started. */
extern struct hn_run *hn_run;

/* What the scanner does when. */
struct hn_pacing {
	struct hn_pace core;
	struct hn_pace_params par;
	uint64_t look_ms, series_ms, pass_ms;
	uint64_t whole_look_ms;     /* until then a look is made only where there is likely to be something */
	uint64_t cpu_ns;            /* at the last pass */
	struct hn_credit cpu, look; /* for everything, for looks; docs/policy.md */
	uint64_t room_ms;           /* when to look at the nodes' free memory again */
	uint64_t open_ms;           /* when questions were last asked */
	uint64_t aged_ms;           /* when samples were last made to count half */
	uint32_t stacks_seen, ranges_seen;
	uint64_t tiers_ms, round_ms; /* with slow nodes: the next look at what is free; when pages were last hinted for it */
	bool short_of_memory;        /* some fast node is to give pages away */
	bool said; /* that memory is left alone */
	bool said_threads; /* that there are too many of them */
	uint64_t followed;   /* pages sent after their threads, when samples were last made to count half */
	uint32_t wandering;  /* so often in a row threads wandered then, and many pages after them */
};

static inline uint64_t hn_now_in_ms(void) { return hn_live_now_ns(NULL) / 1000000; }
/*
 * A hint that nobody touched stands so long, ms: a page used once in a second or two must be found by one round. With slow nodes
 * hints that run out tell what is cold, and do so sooner where the period is shorter.
 */
static inline uint32_t hn_expiry_of(uint32_t period_ms, bool slow_nodes)
{
	uint32_t least = slow_nodes || period_ms < HN_EAGER_PERIOD_MS ? 1000 : 4000;

	return period_ms * 4 < least ? least : period_ms * 4;
}

/* ---- setup.c ---- */

/* This thread is one of the agent's from now on; for whoever lists them. */
void hn_name_thread(const char *name);
/* By the scanner, which has become a thread of its own. False: it is said why, and there is nothing to take down. */
bool hn_set_up(void);
/* This process is not managed, and why. Always false. */
bool hn_give_up(const char *what, int err);
/* All but the scanner; hn_agent.working says how many are left. */
void hn_end_workers(void);

/* ---- pass.c ---- */

/* All zero before. */
void hn_pacing_start(struct hn_pacing *p, const struct hn_config *c);
/* Asking begins anew, with other settings or after a pause. */
void hn_pace_begin(struct hn_pacing *p, const struct hn_config *c);
/* Told to leave the process alone: a look for new orders now and then is all there is to do. */
void hn_idle_pass(struct hn_pacing *p);
/* Everything that is due; the members *_ms of *p say afterwards when the next thing is. */
void hn_one_pass(struct hn_worker *w, struct hn_pacing *p, const struct hn_config *c);
/* Counters, for the controller and its children. */
void hn_publish_all(uint64_t now_ms);
/* What --nodes and the cpuset leave. */
void hn_allow_nodes(struct hn_worker *w, const struct hn_config *c);

#endif
