// SPDX-License-Identifier: MIT
/*
 * pass.c - one pass of the scanner: looks for new memory, for room, for what threads do; asks about pages (core/pace.h says of how
 * many); takes back old hints; publishes the counters. Each of them when it is due, and within what it may cost.
 */
#include <time.h>

#include "agent/run.h"
#include "linux/sys.h"

#define LOOK_MS 100u       /* between two looks for new memory at least ... */
#define LOOKS_A_PERIOD 4u  /* ... or, where that is less, a part of the scan period; */
#define EAGER_LOOK_MS 20u  /* ... and with short scan periods */
#define LOOK_PERMILLE 20u  /* of a CPU, on average: a look costs time in proportion to the memory there is */
#define LOOK_MAX_MS 10000u
#define EAGER_LOOK_MAX_MS 250u /* a guest's CPU time includes what its host gave to others: one look would be the last */
#define ROOM_MS 1000u
#define ROOM_SHARE 100u
#define SERIES_MS 250u
#define TIERS_MS 250u /* between two looks at what fast nodes have free, and two passes, where there are slow ones */
#define AGE_MS 8000u
#define WANDERING_AGES 3u
#define WAITING_MS 250u  /* between two times that questions are asked whose answers wait for a decision about threads */
#define UNSETTLED_MS 20u /* and to wait for the first one */
#define OWN_POLICY_MS 2000u

uint64_t hn_thread_cpu_ns(uint32_t tid)
{
	struct timespec t = { 0, 0 };

	HN_SYS(SYS_clock_gettime, (int)((~tid << 3) | 6), &t, 0, 0, 0, 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t own_cpu_ns(void) { return hn_live_cpu_ns(NULL); }

/* Of all threads of the agent. */
static uint64_t agent_cpu_ns(void)
{
	uint64_t cpu = 0;
	uint32_t i;

	for (i = 0; i < HN_AGENT_THREADS; i++)
		if (hn_own_threads.thread[i].tid)
			cpu += hn_thread_cpu_ns(hn_own_threads.thread[i].tid);
	return cpu;
}

void hn_publish_all(uint64_t now_ms)
{
	struct hn_slot *s = hn_agent.slot;

	hn_stat_max(&s->agent_cpu_ns, agent_cpu_ns());
	__atomic_store_n(&s->agent_bytes, hn_live_own_bytes(&hn_run->live), __ATOMIC_RELAXED);
	hn_series_offer(&s->stats, now_ms - s->started_ms);
	hn_publish(&hn_run->scanner, s->started_ms, now_ms, own_cpu_ns);
}

/* Short periods are for tests, and stay as they are. */
void hn_pace_begin(struct hn_pacing *p, const struct hn_config *c)
{
	bool eager = c->period_ms < HN_EAGER_PERIOD_MS;

	p->par = (struct hn_pace_params){
		.start_ms = c->period_ms,
		.min_ms = eager || c->period_min_ms > c->period_ms ? c->period_ms : c->period_min_ms,
		.max_ms = eager || c->period_max_ms < c->period_ms ? c->period_ms : c->period_max_ms,
		.window_pages = c->window_mib / 2,
	};
	hn_pace_start(&p->core, &p->par, (uint32_t)hn_now_in_ms());
	hn_credit_start(&p->cpu, c->cpu_percent * 10, (uint32_t)hn_now_in_ms());
	p->pass_ms = 0;
}

void hn_pacing_start(struct hn_pacing *p, const struct hn_config *c)
{
	hn_pace_begin(p, c);
	p->aged_ms = hn_now_in_ms();
	hn_credit_start(&p->look, LOOK_PERMILLE, (uint32_t)p->aged_ms);
}

/* When the next pass may be: the agent must be within its share by then. */
static uint64_t next_pass(struct hn_pacing *p, const struct hn_config *c, uint64_t now_ms, uint64_t managed)
{
	uint64_t cpu = agent_cpu_ns(), next, within;

	hn_credit_use(&p->cpu, c->cpu_percent * 10, cpu - p->cpu_ns, (uint32_t)now_ms);
	p->cpu_ns = cpu;
	next = hn_pace_interval_ms(&p->core, &p->par, managed, (uint32_t)now_ms);
	if (hn_run->live.core->par.slow_nodes && next > TIERS_MS)
		next = TIERS_MS;
	within = c->period_ms >= HN_EAGER_PERIOD_MS ? hn_credit_wait_ms(&p->cpu, c->cpu_percent * 10) : 0;
	return now_ms + (within > next ? within : next);
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static uint32_t between_looks(const struct hn_worker *w, const struct hn_pacing *p)
{
	return w->live->setup.eager ? EAGER_LOOK_MS : smaller(LOOK_MS, p->par.start_ms / LOOKS_A_PERIOD);
}

/*
 * By the CPU time a look took: a machine without a CPU to spare would make any look seem long. Frequent while a program is
 * young, whatever a look costs; and never further apart than LOOK_MAX_MS.
 */
static void look(struct hn_worker *w, struct hn_pacing *p)
{
	uint64_t cpu = own_cpu_ns(), now_ms, wait_ms;
	uint64_t most = w->live->setup.eager ? EAGER_LOOK_MAX_MS : LOOK_MAX_MS, least = between_looks(w, p);

	hn_discover(w);
	now_ms = hn_now_in_ms();
	hn_credit_use(&p->look, LOOK_PERMILLE, own_cpu_ns() - cpu, (uint32_t)now_ms);
	wait_ms = hn_credit_wait_ms(&p->look, LOOK_PERMILLE);
	if (wait_ms < least)
		wait_ms = least;
	if (wait_ms > most)
		wait_ms = most;
	p->look_ms = now_ms + wait_ms;
	p->whole_look_ms = w->live->setup.eager ? p->look_ms : now_ms + larger(LOOK_MS, (uint32_t)wait_ms);
}

/* With short periods looks come often, and most find nothing. */
static bool is_look_due(struct hn_worker *w, struct hn_pacing *p, uint64_t now_ms)
{
	if (now_ms < p->look_ms)
		return false;
	if (now_ms >= p->whole_look_ms || hn_discover_is_due(w->live))
		return true;
	p->look_ms = now_ms + between_looks(w, p);
	return false;
}

/* A cpuset may change at any time. Where nothing is left, nothing is: a node that there is not stands for that. */
void hn_allow_nodes(struct hn_worker *w, const struct hn_config *c)
{
	uint64_t nodes = hn_policy_allowed(w->live, c->nodes);

	hn_policy_allow(&w->hn, nodes ? nodes : (uint64_t)1 << (HN_MAX_NODES - 1));
}

static void look_at_tiers(struct hn_worker *w, struct hn_pacing *p, uint64_t now_ms)
{
	const struct hn_params *par = &hn_run->live.core->par;

	if (!par->slow_nodes || now_ms < p->tiers_ms)
		return;
	p->short_of_memory = hn_tiers_look(w, par->allowed_nodes);
	p->tiers_ms = now_ms + (w->live->setup.eager ? EAGER_LOOK_MS : TIERS_MS);
	hn_tier_tune(&hn_run->live.core->tier, par->hot_ms, par->promote_pages, (uint32_t)now_ms);
	__atomic_store_n(&hn_agent.slot->hot_ms, hn_tier_hot_ms(&hn_run->live.core->tier), __ATOMIC_RELAXED);
}

/*
 * Which pages are hot and which are cold shows only when all are hinted again and again, however settled they are. The round is
 * of scan.period_ms while a node runs short of memory, and four times as long else.
 */
static uint32_t tier_share(struct hn_pacing *p, uint64_t managed, uint64_t now_ms)
{
	uint64_t round = p->short_of_memory ? p->par.start_ms : 4 * (uint64_t)p->par.start_ms, since = now_ms - p->round_ms;

	if (!hn_run->live.core->par.slow_nodes)
		return 0;
	p->round_ms = now_ms;
	return (uint32_t)(since >= round ? managed : managed * since / round);
}

/* Programs set policies for a moment, to place something: nothing is said about that. */
static void say_left_alone(struct hn_worker *w, struct hn_pacing *p, uint64_t now_ms)
{
	struct hn_live *live = w->live;

	if (p->said || !live->left_alone || !live->own_since_ms || (uint32_t)now_ms - live->own_since_ms < OWN_POLICY_MS)
		return;
	p->said = true;
	hn_slot_say(hn_agent.slot, "memory left alone: the program has a memory policy of its own (numactl, set_mempolicy); "
				   "--explicit-policy manages it all the same", 0);
}

static void say_many_threads(struct hn_worker *w, struct hn_pacing *p)
{
	if (p->said_threads || !w->live->excludes_full)
		return;
	p->said_threads = true;
	hn_slot_say(hn_agent.slot, "too many threads to keep the stacks of all of them out of what is managed: while there are so many, "
				   "no more memory is managed than is already", 0);
}

/* Where nobody binds threads, and memory goes after them for nothing, there is something to be done that is not done by default. */
static void say_wandering(struct hn_worker *w, struct hn_pacing *p, const struct hn_config *c)
{
	const struct hn_stats *s = w->hn.stats;
	uint64_t followed = hn_stat_read(&s->migrated_for[HN_REASON_THREAD]) + hn_stat_read(&s->migrated_for[HN_REASON_NODE]);
	bool many = (followed - p->followed) * 4 >= hn_stat_read(&s->managed_pages) && followed != p->followed;

	p->followed = followed;
	p->wandering = many && !c->move_threads && hn_threads_wandering(&w->hn) ? p->wandering + 1 : 0;
	if (p->wandering == WANDERING_AGES)
		hn_slot_say(hn_agent.slot, "threads go from node to node, and memory after them: bind them (numactl, taskset), or let "
					   "them be moved to their memory (--move-threads)", 0);
}

static void arm(struct hn_worker *w, struct hn_pacing *p, uint64_t now_ms)
{
	const struct hn_stats *s = w->hn.stats;
	uint64_t confirmed = hn_stat_read(&s->migrated) - hn_stat_read(&s->migrated_for[HN_REASON_FIRST]);
	uint64_t limited = hn_stat_read(&s->refused[HN_REFUSE_BUDGET]) + hn_stat_read(&s->refused[HN_REFUSE_STALL]) +
			   hn_stat_read(&s->refused[HN_REFUSE_THREAD]) +
			   hn_stat_read(&s->failed[HN_FAIL_STALL]);
	uint32_t questions = hn_scan_questions(&w->hn) - (uint32_t)limited;
	struct hn_pace_plan plan = hn_pace_plan(&p->core, &p->par, hn_stat_read(&s->managed_pages), questions, confirmed,
						(uint32_t)now_ms);
	uint32_t window = p->par.window_pages;

	if (hn_affinity_waits() && now_ms - p->open_ms < WAITING_MS)
		plan.open = 0;
	else
		p->open_ms = now_ms;
	plan.fresh = hn_scan_open(&w->hn, HN_ASK_NEW, smaller(plan.fresh, window));
	plan.open = hn_scan_open(&w->hn, HN_ASK_OPEN, smaller(plan.open, window - plan.fresh));
	plan.any = larger(plan.any, tier_share(p, hn_stat_read(&s->managed_pages), now_ms));
	plan.any = smaller(plan.any, window - plan.fresh - plan.open);
	plan.rather_open = hn_scan_open(&w->hn, HN_ASK_OPEN, smaller(plan.any, plan.rather_open));
	plan.any = plan.rather_open + hn_scan_pass(&w->hn, plan.any - plan.rather_open);
	plan.old = hn_scan_old(&w->hn, plan.since_ms, smaller(plan.old, window - plan.fresh - plan.open - plan.any));
	hn_pace_done(&p->core, &plan);
	hn_stat_add(&hn_agent.slot->scans, 1);
}

/* The kernel writes out all zones of all CPUs: at most one part in ROOM_SHARE of a CPU goes into that. */
static void look_for_room(struct hn_worker *w, struct hn_pacing *p, uint64_t now_ms)
{
	uint64_t cpu = own_cpu_ns(), wait_ms;

	if (now_ms < p->room_ms)
		return;
	hn_policy_short(&w->hn, hn_nodes_short(w->live));
	wait_ms = (own_cpu_ns() - cpu) / 1000000 * ROOM_SHARE;
	p->room_ms = now_ms + (wait_ms < ROOM_MS ? ROOM_MS : wait_ms);
}

void hn_one_pass(struct hn_worker *w, struct hn_pacing *p, const struct hn_config *c)
{
	uint64_t now = hn_now_in_ms();

	if (is_look_due(w, p, now) || hn_load_acquire(&hn_agent.stacks.changes) != p->stacks_seen ||
	    hn_load_acquire(&hn_agent.ranges.changes) != p->ranges_seen) {
		p->stacks_seen = hn_stacks_copy(w->live);
		p->ranges_seen = hn_ranges_copy(w);
		look(w, p);
		hn_allow_nodes(w, c);
		say_left_alone(w, p, now);
		say_many_threads(w, p);
	}
	look_at_tiers(w, p, now);
	if (hn_affinity_pass(w, &hn_run->machine, c))
		hn_pace_stir(&p->core, (uint32_t)hn_stat_read(&w->hn.stats->managed_pages));
	if (hn_affinity_unsettled(w, (uint32_t)now)) {
		p->pass_ms = now + UNSETTLED_MS;
	} else if (now >= p->pass_ms) {
		hn_scan_expire(&w->hn);
		arm(w, p, now);
		p->pass_ms = next_pass(p, c, now, hn_stat_read(&w->hn.stats->managed_pages));
		if (now - p->aged_ms >= AGE_MS) {
			say_wandering(w, p, c);
			hn_policy_age(&w->hn);
			hn_threads_age(&w->hn);
			p->aged_ms = now;
		}
	}
	look_for_room(w, p, now);
	if (now >= p->series_ms) {
		hn_publish_all(hn_now_in_ms()); /* the pass may have taken a while */
		p->series_ms = now + SERIES_MS;
	}
}

void hn_idle_pass(struct hn_pacing *p)
{
	uint64_t now = hn_now_in_ms();

	p->look_ms = p->pass_ms = p->series_ms = now + SERIES_MS;
}
