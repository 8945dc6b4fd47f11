// SPDX-License-Identifier: MIT
/*
 * scanner.c - the agent's own threads: the scanner, which sets everything up and then paces arming; the keeper, which
 * tends the page pool; and the start of the handlers.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "agent/agent.h"
#include "core/pace.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define LOOK_MS 100u       /* between two looks for new memory at least ... */
#define LOOKS_A_PERIOD 4u  /* ... or, where that is less, a part of the scan period; */
#define EAGER_LOOK_MS 20u  /* ... and with short scan periods */
#define LOOK_PERMILLE 20u  /* of a CPU, on average: a look costs time in proportion to the memory there is */
#define LOOK_MAX_MS 10000u
#define EAGER_LOOK_MAX_MS 250u /* a guest's CPU time includes what its host gave to others: one look would be the last */
#define EAGER_PERIOD_MS 50u
#define ROOM_MS 1000u
#define ROOM_SHARE 100u
#define SERIES_MS 250u
#define TIERS_MS 250u /* between two looks at what fast nodes have free, and two passes, where there are slow ones */
#define AGE_MS 8000u
#define WANDERING_AGES 3u
#define WAITING_MS 250u  /* between two times that questions are asked whose answers wait for a decision about threads */
#define UNSETTLED_MS 20u /* and to wait for the first one */
#define QUARANTINE_MS 2000u
#define OWN_POLICY_MS 2000u
#define ORDER_MS 10000u
#define HN_CAP_SYS_NICE 23
#define HN_CAPABILITY_VERSION_3 0x20080522u

/* Everything of one managed process; one area, never freed while the process lives. */
struct run {
	struct hn_live live;
	struct hn_config config; /* in force; the scanner's */
	struct hn_machine machine;
	struct hn_worker scanner, keeper, watchdog, handler[HN_MAX_HANDLERS];
	struct hn_worker *readers[HN_MAX_HANDLERS]; /* of messages */
	struct hn_word over; /* keeper and watchdog are to end; the handlers have fd_stop */
};

static struct run *run;

static void register_thread(const char *name)
{
	struct hn_own_thread *t = hn_own_self();

	t->name = name;
	__atomic_store_n(&t->tid, (uint32_t)hn_sys_gettid(), __ATOMIC_RELEASE);
	HN_SYS(SYS_prctl, PR_SET_NAME, name, 0, 0, 0, 0);
}

/*
 * Once the descriptors are open nothing takes a privilege any more. A program that drops its own later must not be left
 * with threads that have them. One is left to the scanner where it is to move threads: the kernel lets nobody bind a thread that
 * has more privileges than himself. And capabilities that only shrink leave the program's "dumpable" flag alone.
 */
static void drop_privileges(bool may_move_threads)
{
	struct {
		uint32_t version;
		int pid;
	} header = { HN_CAPABILITY_VERSION_3, 0 };
	uint32_t none[6] = { 0 }, keep[6] = { 0 };

	if (may_move_threads)
		keep[0] = keep[1] = 1u << HN_CAP_SYS_NICE;
	if (may_move_threads && HN_SYS(SYS_capset, &header, keep, 0, 0, 0, 0) == 0)
		return;
	HN_SYS(SYS_capset, &header, none, 0, 0, 0, 0);
}

/* The last thing of a handler, of the keeper and of the watchdog. */
static void farewell(void)
{
	hn_add_acq_rel(&hn_agent.working, (uint32_t)-1);
	hn_wake(&hn_agent.working, 1);
}

static void handler_main(void *arg)
{
	drop_privileges(false);
	register_thread("hugenuma-fault");
	hn_serve(&((struct hn_worker *)arg)->hn);
	farewell();
}

static void keeper_main(void *arg)
{
	struct hn_worker *w = arg;

	drop_privileges(false);
	register_thread("hugenuma-keep");
	while (!hn_load_acquire(&run->over)) {
		uint32_t ms = hn_pool_tend(w->live);
		struct timespec t = { ms / 1000, (ms % 1000) * 1000000l };

		HN_SYS_BLOCK(SYS_futex, &w->live->pool_kick, FUTEX_WAIT_PRIVATE, 0, &t, 0, 0);
	}
	farewell();
}

static void watchdog_main(void *arg)
{
	register_thread("hugenuma-watch");
	hn_watch(arg, &run->over, run->readers, run->config.handlers);
	farewell();
}

/* ---- setting up ---- */

/*
 * A thread inherits its maker's CPUs and memory policy; the agent must not be pinned where the program happens to be. Not
 * the default policy: the kernel's balancing hints the memory of the whole process when a thread that has it runs.
 */
static void settle_in(void)
{
	unsigned long cpus[HN_MAX_CPUS / (8 * sizeof(unsigned long))];

	memset(cpus, 0xff, sizeof(cpus));
	HN_SYS(SYS_sched_setaffinity, 0, sizeof(cpus), cpus, 0, 0, 0);
	HN_SYS(SYS_set_mempolicy, MPOL_LOCAL, NULL, 0, 0, 0, 0);
}

static void fill_setup(struct hn_live *live, const struct hn_config *c, struct hn_machine *m)
{
	struct sysinfo si;

	HN_SYS(SYS_sysinfo, &si, 0, 0, 0, 0, 0);
	live->setup = (struct hn_setup){
		.nr_nodes = m->nr_nodes,
		.is_virtual = m->is_virtual,
		.deal_threads = m->deal_threads,
		.interleave = c->initial_node == HN_INITIAL_INTERLEAVE,
		.kernel_mover = c->mover == HN_MOVER_KERNEL,
		.own_policy_too = c->explicit_policy,
		.eager = c->period_ms < EAGER_PERIOD_MS,
		.arming = c->arm,
		.slow_nodes = m->slow_nodes,
		.low_permille = c->low_permille,
		.node_bytes = m->node_bytes,
		.distance = m->distance,
		.nr_cpus = m->nr_cpus,
		.cpu_node = m->cpu_node,
		.os_nid = m->os_nid,
		.nr_pages = c->max_armed_mib / 2,
		.min_pages = (c->min_mib + 1) / 2,
		.max_stall_us = c->max_stall_us,
		.ram_bytes = (uint64_t)si.totalram * si.mem_unit,
		.wipes = &hn_agent.wipes,
	};
	live->rseq_from_robust = hn_agent.rseq_from_robust;
	live->tp_from_robust = hn_agent.tp_from_robust;
}

static void link_counters(struct hn_live *live, struct hn_slot *slot)
{
	live->stats = &slot->stats;
	live->cnt = (struct hn_live_counters){
		.registered_bytes = &slot->registered_bytes,
		.regions = &slot->regions,
		.holes_served = &slot->holes_served,
		.events = &slot->events,
		.fixups = &slot->fixups,
		.collapses = &slot->collapses,
		.unbound_mappings = &slot->unbound_mappings,
	};
}

static uint32_t expiry_of(uint32_t period_ms) { return period_ms * 4 < 1000 ? 1000 : period_ms * 4; }

static int init_engine(struct hn_live *live, const struct hn_config *c, const struct hn_machine *m)
{
	struct hn_geometry geo = hn_live_geometry(&live->setup);
	struct hn_params par = {
		.nr_nodes = m->nr_nodes,
		.policy = c->policy,
		.seed = c->seed,
		.expiry_ms = expiry_of(c->period_ms),
		.quarantine_ms = QUARANTINE_MS,
		.spread_shared = c->shared == HN_SHARED_SPREAD,
		.settle_ms = c->settle_ms,
		.budget_pages = c->budget_mib_s ? (c->budget_mib_s + 1) / 2 : 0,
		.max_stall_us = c->max_stall_us,
		.slow_nodes = m->slow_nodes,
		.hot_ms = c->hot_ms,
		.promote_pages = c->promote_mib_s ? (c->promote_mib_s + 1) / 2 : 0,
		.cold_rounds = c->cold_rounds,
	};

	return hn_core_init(live->core, &geo, &par);
}

static int start_worker(void (*fn)(void *arg), void *arg)
{
	int err;

	hn_add_acq_rel(&hn_agent.working, 1);
	err = hn_bare_thread(fn, arg);
	if (err)
		hn_add_acq_rel(&hn_agent.working, (uint32_t)-1);
	return err;
}

static void end_workers(void)
{
	hn_store_release(&run->over, 1);
	hn_store_release(&run->live.pool_kick, 1);
	hn_wake(&run->live.pool_kick, 1);
	hn_fault_ring();
	hn_live_stop_handlers(&run->live);
}

static int start_threads(void)
{
	uint32_t i, nr = run->config.handlers;
	int err;

	hn_worker_init(&run->scanner, &run->live);
	hn_worker_init(&run->watchdog, &run->live);
	hn_worker_init(&run->keeper, &run->live);
	for (i = 0; i < nr; i++) {
		hn_worker_init(&run->handler[i], &run->live);
		run->readers[i] = &run->handler[i];
	}
	err = start_worker(watchdog_main, &run->watchdog); /* before there is anything to put back */
	if (err)
		return err;
	for (i = 0; i < nr; i++) {
		err = start_worker(handler_main, &run->handler[i]);
		if (err && i == 0)
			return err; /* one handler is enough to be right; more are for speed */
	}
	return start_worker(keeper_main, &run->keeper);
}

static bool give_up(const char *what, int err)
{
	if (!hn_agent.slot)
		hn_agent.slot = hn_slot_take(hn_agent.shm, HN_SLOT_UNMANAGED);
	if (hn_agent.slot) {
		hn_store_release(&hn_agent.slot->state, HN_SLOT_UNMANAGED);
		hn_slot_say(hn_agent.slot, what, err);
	}
	hn_agent.failed_errno = err;
	hn_agent.failed = run ? &run->live : NULL;
	hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
	hn_crash_release();
	return false;
}

/* A fault of our own before anything was set up that the watchdog would have to put back. */
void hn_agent_fell(void)
{
	give_up("not managed: a fault in hugenuma itself while it was starting", 0);
}

/* This process was managed before and has only been left for a moment (leave.c). */
static void take_over_orders(void)
{
	if (hn_config_is_sane(&hn_agent.kept_config))
		run->config = hn_agent.slot->config = hn_agent.kept_config;
	hn_store_release(&hn_agent.slot->wanted_mode, hn_agent.kept_mode);
}

static bool set_up(void)
{
	const struct hn_config *c = &hn_agent.config;
	struct hn_live_error why;
	long err;

	/* A descriptor table of our own, empty: nothing of the program is held open, nothing of ours can be closed. */
	err = HN_SYS(SYS_close_range, 0, ~0u, HN_CLOSE_RANGE_UNSHARE, 0, 0, 0);
	if (err)
		return give_up("not managed: close_range is not available", (int)-err);
	settle_in();
	run->machine = hn_agent.shm->machine;
	if (!hn_machine_is_sane(&run->machine))
		return give_up("not managed: the shared memory of the run describes no machine", 0);
	hn_agent.slot = hn_slot_take(hn_agent.shm, HN_SLOT_LIVE);
	if (!hn_agent.slot) { /* counted there; nobody to tell */
		hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
		return false;
	}
	run->config = *c;
	if (hn_agent.returns)
		take_over_orders();
	if (run->config.policy == HN_POLICY_PLUGIN && !hn_agent.plugin)
		return give_up(hn_agent.plugin_error, 0);
	hn_plugin_introduce(hn_agent.slot);
	hn_agent.slot->mover_used = c->mover;
	fill_setup(&run->live, c, &run->machine);
	link_counters(&run->live, hn_agent.slot);
	run->live.plugin = hn_agent.plugin;
	run->live.record = hn_slot_open_record(hn_agent.shm, hn_agent.slot, run->machine.nr_nodes);
	if (hn_live_open(&run->live, &why))
		return give_up(why.what, why.err);
	hn_agent.slot->arm_used = run->live.way->arming;
	drop_privileges(run->config.move_threads);
	if (init_engine(&run->live, &run->config, &run->machine))
		return give_up("not managed: the engine does not take these settings", 0);
	err = start_threads();
	if (err)
		end_workers();
	if (err)
		return give_up("not managed: cannot start threads", (int)-err);
	hn_agent.live = &run->live;
	hn_store_release(&hn_agent.state, HN_AGENT_RUNNING);
	return true;
}

/* ---- the scanner's life ---- */

uint64_t hn_thread_cpu_ns(uint32_t tid)
{
	struct timespec t = { 0, 0 };

	HN_SYS(SYS_clock_gettime, (int)((~tid << 3) | 6), &t, 0, 0, 0, 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_in_ms(void) { return hn_live_now_ns(NULL) / 1000000; }

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

static void publish(uint64_t now_ms)
{
	struct hn_slot *s = hn_agent.slot;

	hn_stat_max(&s->agent_cpu_ns, agent_cpu_ns());
	__atomic_store_n(&s->agent_bytes, hn_live_own_bytes(&run->live), __ATOMIC_RELAXED);
	hn_series_offer(&s->stats, now_ms - s->started_ms);
	hn_publish(&run->scanner, s->started_ms, now_ms, own_cpu_ns);
}

struct pace {
	struct hn_pace core;
	struct hn_pace_params par;
	uint64_t look_ms, series_ms, pass_ms;
	uint64_t cpu_ns;            /* at the last pass */
	struct hn_credit cpu, look; /* for everything, for looks; docs/policy.md */
	uint64_t room_ms;           /* when to look at the nodes' free memory again */
	uint64_t open_ms;           /* when questions were last asked */
	uint64_t aged_ms;           /* when samples were last made to count half */
	uint32_t stacks_seen, ranges_seen;
	uint64_t tiers_ms, round_ms; /* with slow nodes: the next look at what is free; when pages were last hinted for it */
	bool short_of_memory;        /* some fast node is to give pages away */
	bool said; /* that memory is left alone */
	uint64_t followed;   /* pages sent after their threads, when samples were last made to count half */
	uint32_t wandering;  /* so often in a row threads wandered then, and many pages after them */
};

/* Short periods are for tests, and stay as they are. */
static void pace_start(struct pace *p, const struct hn_config *c)
{
	bool eager = c->period_ms < EAGER_PERIOD_MS;

	p->par = (struct hn_pace_params){
		.start_ms = c->period_ms,
		.min_ms = eager || c->period_min_ms > c->period_ms ? c->period_ms : c->period_min_ms,
		.max_ms = eager || c->period_max_ms < c->period_ms ? c->period_ms : c->period_max_ms,
		.window_pages = c->window_mib / 2,
	};
	hn_pace_start(&p->core, &p->par, (uint32_t)now_in_ms());
	hn_credit_start(&p->cpu, c->cpu_percent * 10, (uint32_t)now_in_ms());
	p->pass_ms = 0;
}

/* When the next pass may be: the agent must be within its share by then. */
static uint64_t next_pass(struct pace *p, const struct hn_config *c, uint64_t now_ms, uint64_t managed)
{
	uint64_t cpu = agent_cpu_ns(), next, within;

	hn_credit_use(&p->cpu, c->cpu_percent * 10, cpu - p->cpu_ns, (uint32_t)now_ms);
	p->cpu_ns = cpu;
	next = hn_pace_interval_ms(&p->core, &p->par, managed, (uint32_t)now_ms);
	if (run->live.core->par.slow_nodes && next > TIERS_MS)
		next = TIERS_MS;
	within = c->period_ms >= EAGER_PERIOD_MS ? hn_credit_wait_ms(&p->cpu, c->cpu_percent * 10) : 0;
	return now_ms + (within > next ? within : next);
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/*
 * By the CPU time a look took: a machine without a CPU to spare would make any look seem long. Frequent while a program is
 * young, whatever a look costs; and never further apart than LOOK_MAX_MS.
 */
static uint64_t look(struct hn_worker *w, struct pace *p)
{
	uint64_t least = w->live->setup.eager ? EAGER_LOOK_MS : smaller(LOOK_MS, p->par.start_ms / LOOKS_A_PERIOD);
	uint64_t cpu = own_cpu_ns(), now_ms, wait_ms;
	uint64_t most = w->live->setup.eager ? EAGER_LOOK_MAX_MS : LOOK_MAX_MS;

	hn_discover(w);
	now_ms = now_in_ms();
	hn_credit_use(&p->look, LOOK_PERMILLE, own_cpu_ns() - cpu, (uint32_t)now_ms);
	wait_ms = hn_credit_wait_ms(&p->look, LOOK_PERMILLE);
	if (wait_ms < least)
		wait_ms = least;
	if (wait_ms > most)
		wait_ms = most;
	return now_ms + wait_ms;
}

/* A cpuset may change at any time. Where nothing is left, nothing is: a node that there is not stands for that. */
static void allow_nodes(struct hn_worker *w, const struct hn_config *c)
{
	uint64_t nodes = hn_policy_allowed(w->live, c->nodes);

	hn_policy_allow(&w->hn, nodes ? nodes : (uint64_t)1 << (HN_MAX_NODES - 1));
}

static void look_at_tiers(struct hn_worker *w, struct pace *p, uint64_t now_ms)
{
	const struct hn_params *par = &run->live.core->par;

	if (!par->slow_nodes || now_ms < p->tiers_ms)
		return;
	p->short_of_memory = hn_tiers_look(w, par->allowed_nodes);
	p->tiers_ms = now_ms + (w->live->setup.eager ? EAGER_LOOK_MS : TIERS_MS);
	hn_tier_tune(&run->live.core->tier, par->hot_ms, par->promote_pages, (uint32_t)now_ms);
	__atomic_store_n(&hn_agent.slot->hot_ms, hn_tier_hot_ms(&run->live.core->tier), __ATOMIC_RELAXED);
}

/*
 * Which pages are hot and which are cold shows only when all are hinted again and again, however settled they are. The round is
 * of scan.period_ms while a node runs short of memory, and four times as long else.
 */
static uint32_t tier_share(struct pace *p, uint64_t managed, uint64_t now_ms)
{
	uint64_t round = p->short_of_memory ? p->par.start_ms : 4 * (uint64_t)p->par.start_ms, since = now_ms - p->round_ms;

	if (!run->live.core->par.slow_nodes)
		return 0;
	p->round_ms = now_ms;
	return (uint32_t)(since >= round ? managed : managed * since / round);
}

/* Programs set policies for a moment, to place something: nothing is said about that. */
static void say_left_alone(struct hn_worker *w, struct pace *p, uint64_t now_ms)
{
	struct hn_live *live = w->live;

	if (p->said || !live->left_alone || !live->own_since_ms || (uint32_t)now_ms - live->own_since_ms < OWN_POLICY_MS)
		return;
	p->said = true;
	hn_slot_say(hn_agent.slot, "memory left alone: the program has a memory policy of its own (numactl, set_mempolicy); "
				   "--explicit-policy manages it all the same", 0);
}

/* Where nobody binds threads, and memory goes after them for nothing, there is something to be done that is not done by default. */
static void say_wandering(struct hn_worker *w, struct pace *p, const struct hn_config *c)
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

static void arm(struct hn_worker *w, struct pace *p, uint64_t now_ms)
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
static void look_for_room(struct hn_worker *w, struct pace *p, uint64_t now_ms)
{
	uint64_t cpu = own_cpu_ns(), wait_ms;

	if (now_ms < p->room_ms)
		return;
	hn_policy_short(&w->hn, hn_nodes_short(w->live));
	wait_ms = (own_cpu_ns() - cpu) / 1000000 * ROOM_SHARE;
	p->room_ms = now_ms + (wait_ms < ROOM_MS ? ROOM_MS : wait_ms);
}

static void one_pass(struct hn_worker *w, struct pace *p, const struct hn_config *c)
{
	uint64_t now = now_in_ms();

	if (now >= p->look_ms || hn_load_acquire(&hn_agent.stacks.changes) != p->stacks_seen ||
	    hn_load_acquire(&hn_agent.ranges.changes) != p->ranges_seen) {
		p->stacks_seen = hn_stacks_copy(w->live);
		p->ranges_seen = hn_ranges_copy(w);
		p->look_ms = look(w, p);
		allow_nodes(w, c);
		say_left_alone(w, p, now);
	}
	look_at_tiers(w, p, now);
	if (hn_affinity_pass(w, &run->machine, c))
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
		publish(now_in_ms()); /* the pass may have taken a while */
		p->series_ms = now + SERIES_MS;
	}
}

/* Told to leave the process alone: only look for new orders now and then. */
static void idle_pass(struct pace *p)
{
	uint64_t now = now_in_ms();

	p->look_ms = p->pass_ms = p->series_ms = now + SERIES_MS;
}

static void sleep_until_next(const struct pace *p, uint32_t kick_seen)
{
	uint64_t now = now_in_ms(), next = p->look_ms;
	struct timespec t;

	if (p->pass_ms < next)
		next = p->pass_ms;
	if (p->series_ms < next)
		next = p->series_ms;
	if (next <= now)
		return;
	t = (struct timespec){ (time_t)((next - now) / 1000), (long)((next - now) % 1000) * 1000000 };
	HN_SYS_BLOCK(SYS_futex, &hn_agent.control.kick, FUTEX_WAIT_PRIVATE, kick_seen, &t, 0, 0);
}

/* New settings, if there are any and nobody is just writing them. Those that cannot change at run time stay. */
static void reconfigure(struct hn_worker *w, struct pace *p)
{
	struct hn_slot *s = hn_agent.slot;
	uint32_t seq = hn_load_acquire(&s->config_seq);
	struct hn_config c;

	if ((seq & 1) || seq == hn_load_relaxed(&s->config_seen))
		return;
	c = s->config;
	__atomic_thread_fence(__ATOMIC_ACQUIRE); /* the copy is done before the sequence is looked at again */
	if (seq != hn_load_relaxed(&s->config_seq))
		return;
	if (hn_config_is_sane(&c)) {
		run->config.period_ms = c.period_ms;
		run->config.window_mib = c.window_mib;
		run->config.period_min_ms = c.period_min_ms;
		run->config.period_max_ms = c.period_max_ms;
		run->config.cpu_percent = c.cpu_percent;
		run->config.move_threads = c.move_threads;
		run->config.nodes = c.nodes;
		allow_nodes(w, &run->config);
		if (c.policy != HN_POLICY_PLUGIN || hn_agent.plugin) {
			run->config.policy = c.policy;
			hn_policy_set(&w->hn, c.policy);
		}
		run->live.core->par.expiry_ms = expiry_of(c.period_ms); /* nobody but this thread looks at it */
		pace_start(p, &run->config);
	}
	hn_store_release(&s->config_seen, seq);
}

/*
 * What the controller wants. True: balance. It is the same as long as nobody says otherwise; a process that was told to
 * stop may have regions again only after it was told to go on, so there is nothing to do twice.
 */
static bool obey(struct hn_worker *w, struct pace *p)
{
	struct hn_slot *s = hn_agent.slot;
	uint32_t wanted = hn_load_acquire(&s->wanted_mode);

	if (wanted == hn_load_relaxed(&s->mode) || wanted >= HN_NR_MODES)
		return hn_load_relaxed(&s->mode) == HN_MODE_RUNNING;
	if (wanted != HN_MODE_RUNNING &&
	    !(wanted == HN_MODE_STOPPED ? hn_live_release(w, ORDER_MS) : hn_live_drain(w, ORDER_MS)))
		return false; /* not yet; nothing is armed meanwhile */
	if (wanted != HN_MODE_RUNNING)
		hn_affinity_release_all();
	run->live.publish.not_before_ms = 0;
	publish(now_in_ms());
	p->look_ms = 0;
	pace_start(p, &run->config);
	hn_store_release(&s->mode, wanted);
	return wanted == HN_MODE_RUNNING;
}

/* Nothing is armed. True: this thread is the last one, and nothing of the program is ours any more. */
static bool shut_down(struct hn_worker *w, enum hn_agent_state after)
{
	uint32_t n;

	if (!hn_live_release(w, ORDER_MS)) {
		hn_control_stay();
		return false;
	}
	hn_affinity_release_all();
	publish(now_in_ms());
	end_workers();
	while ((n = hn_load_acquire(&hn_agent.working)) != 0)
		hn_wait_while(&hn_agent.working, n);
	hn_live_close(&run->live);
	hn_crash_release();
	hn_store_release(&hn_agent.state, after);
	hn_control_left();
	hn_wake(&hn_agent.state, INT32_MAX);
	return true;
}

static void scanner_main(void *arg)
{
	struct hn_worker *w = &run->scanner;
	struct pace pace = { 0 };

	(void)arg;
	register_thread("hugenuma-scan");
	if (!set_up())
		return;
	pace_start(&pace, &run->config);
	pace.aged_ms = now_in_ms();
	hn_credit_start(&pace.look, LOOK_PERMILLE, (uint32_t)now_in_ms());
	for (;;) {
		uint32_t kick = hn_load_acquire(&hn_agent.control.kick);
		bool go_on;

		if (hn_watch_the_watchdog(w, run->readers, run->config.handlers))
			return;
		if (hn_control_wanted()) {
			/* Without a clean drain nobody is told that it is safe; the pauser's patience ends by itself. */
			if (hn_live_drain(w, 1000) && !hn_control_paused() && shut_down(w, HN_AGENT_LEFT))
				return;
			continue;
		}
		/* Nobody could be told of anything any more, nor give orders. */
		if (hn_load_acquire(&hn_agent.shm_lost) && shut_down(w, HN_AGENT_FAILED))
			return;
		reconfigure(w, &pace);
		go_on = obey(w, &pace);
		if (go_on)
			one_pass(w, &pace, &run->config);
		else
			idle_pass(&pace);
		hn_explain(w, !go_on);
		hn_survey_answer(w);
		sleep_until_next(&pace, kick);
	}
}

void hn_agent_start(void)
{
	if (!hn_cas_acquire(&hn_agent.state, HN_AGENT_IDLE, HN_AGENT_STARTING))
		return;
	hn_agent.working = (struct hn_word){ 0 };
	hn_agent.slot = NULL;
	run = hn_area(NULL, sizeof(*run), false);
	if (!run || !hn_bare_prepare(&run->live)) {
		give_up("not managed: no memory for the agent", ENOMEM);
		return;
	}
	hn_own(&run->live, run, sizeof(*run));
	hn_crash_catch();
	if (hn_bare_thread(scanner_main, NULL))
		give_up("not managed: cannot start a thread", 0);
}
