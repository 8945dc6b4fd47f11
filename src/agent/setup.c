// SPDX-License-Identifier: MIT
/*
 * setup.c - what the agent consists of: its settings, its engine, and its threads but the scanner, which comes here first.
 * The keeper tends the page pool; the watchdog is rescue.c's; the handlers are the engine's.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "agent/run.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define QUARANTINE_MS 2000u
#define HN_CAP_SYS_NICE 23
#define HN_CAPABILITY_VERSION_3 0x20080522u

void hn_name_thread(const char *name)
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
	hn_name_thread("hugenuma-fault");
	hn_serve(&((struct hn_worker *)arg)->hn);
	farewell();
}

static void keeper_main(void *arg)
{
	struct hn_worker *w = arg;

	drop_privileges(false);
	hn_name_thread("hugenuma-keep");
	while (!hn_load_acquire(&hn_run->over)) {
		uint32_t ms = hn_pool_tend(w->live); /* takes the kick, also one that was for `over` */
		struct timespec t = { ms / 1000, (ms % 1000) * 1000000l };

		if (hn_load_acquire(&hn_run->over))
			break;
		HN_SYS_BLOCK(SYS_futex, &w->live->pool_kick, FUTEX_WAIT_PRIVATE, 0, &t, 0, 0);
	}
	farewell();
}

static void watchdog_main(void *arg)
{
	hn_name_thread("hugenuma-watch");
	hn_watch(arg, &hn_run->over, hn_run->readers, hn_run->config.handlers);
	farewell();
}

/* ---- setting up ---- */

/*
 * A thread inherits its maker's CPUs, priority and memory policy; the agent must not be pinned where the program happens to be. Not
 * the default policy: the kernel's balancing hints the memory of the whole process when a thread that has it runs.
 */
static void settle_in(void)
{
	unsigned long cpus[HN_MAX_CPUS / (8 * sizeof(unsigned long))];
	long prio = HN_SYS(SYS_getpriority, PRIO_PROCESS, hn_sys_getpid(), 0, 0, 0, 0); /* 20 less what it is called */
	struct sched_param param = { 0 };

	/* Nor slower than the program's first thread: all others wait for it. Where that is refused it stays as it is. */
	HN_SYS(SYS_sched_setscheduler, 0, SCHED_OTHER, &param, 0, 0, 0);
	if (!hn_is_error(prio))
		HN_SYS(SYS_setpriority, PRIO_PROCESS, 0, 20 - prio, 0, 0, 0);
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
		.eager = c->period_ms < HN_EAGER_PERIOD_MS,
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

static int init_engine(struct hn_live *live, const struct hn_config *c, const struct hn_machine *m)
{
	struct hn_geometry geo = hn_live_geometry(&live->setup);
	struct hn_params par = {
		.nr_nodes = m->nr_nodes,
		.policy = c->policy,
		.seed = c->seed,
		.expiry_ms = hn_expiry_of(c->period_ms, m->slow_nodes != 0),
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

void hn_end_workers(void)
{
	hn_store_release(&hn_run->over, 1);
	hn_store_release(&hn_run->live.pool_kick, 1);
	hn_wake(&hn_run->live.pool_kick, 1);
	hn_fault_ring();
	hn_live_stop_handlers(&hn_run->live);
}

static int start_threads(void)
{
	uint32_t i, nr = hn_run->config.handlers;
	int err;

	hn_worker_init(&hn_run->scanner, &hn_run->live);
	hn_worker_init(&hn_run->watchdog, &hn_run->live);
	hn_worker_init(&hn_run->keeper, &hn_run->live);
	for (i = 0; i < nr; i++) {
		hn_worker_init(&hn_run->handler[i], &hn_run->live);
		hn_run->readers[i] = &hn_run->handler[i];
	}
	err = start_worker(watchdog_main, &hn_run->watchdog); /* before there is anything to put back */
	if (err)
		return err;
	for (i = 0; i < nr; i++) {
		err = start_worker(handler_main, &hn_run->handler[i]);
		if (err && i == 0)
			return err; /* one handler is enough to be right; more are for speed */
	}
	return start_worker(keeper_main, &hn_run->keeper);
}

bool hn_give_up(const char *what, int err)
{
	if (!hn_agent.slot)
		hn_agent.slot = hn_slot_take(hn_agent.shm, HN_SLOT_UNMANAGED);
	if (hn_agent.slot) {
		hn_store_release(&hn_agent.slot->state, HN_SLOT_UNMANAGED);
		hn_slot_say(hn_agent.slot, what, err);
	}
	hn_agent.failed_errno = err;
	hn_agent.failed = hn_run ? &hn_run->live : NULL;
	hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
	hn_crash_release();
	return false;
}

/* A fault of our own before anything was set up that the watchdog would have to put back. */
void hn_agent_fell(void)
{
	hn_give_up("not managed: a fault in hugenuma itself while it was starting", 0);
}

/* Nothing can be done about it from here, and whoever has such a program must know. Once for all processes of the run. */
static void say_deaf(void)
{
	if (hn_run->live.fork_events || !hn_cas_acquire(&hn_agent.shm->deaf, 0, 1))
		return;
	hn_slot_say(hn_agent.slot, "without CAP_SYS_PTRACE the kernel does not tell of forks: a child made by a bare fork or clone "
				   "system call, not by libc, may find zeros for pages armed then", 0);
}

/* This process was managed before and has only been left for a moment (leave.c). */
static void take_over_orders(void)
{
	if (hn_config_is_sane(&hn_agent.kept_config))
		hn_run->config = hn_agent.slot->config = hn_agent.kept_config;
	hn_store_release(&hn_agent.slot->wanted_mode, hn_agent.kept_mode);
}

#define FEW 64u /* so many descriptors the kernel takes along at least, whatever is to be closed */

static void close_all(void *err)
{
	*(long *)err = HN_SYS(SYS_close_range, 0, ~0u, 0, 0, 0, 0);
	for (;;)
		HN_SYS(SYS_exit, 0, 0, 0, 0, 0, 0);
}

/*
 * A descriptor table of our own, empty: nothing of the program is held open, nothing of ours can be closed. What the kernel takes
 * along is closed by another process: to close a message queue ends the mq_notify(3) of whichever process does so.
 */
static long empty_table(void)
{
	char stack[4096] __attribute__((aligned(16)));
	long err = HN_SYS(SYS_close_range, FEW, ~0u, HN_CLOSE_RANGE_UNSHARE, 0, 0, 0), closed = -EAGAIN, pid;

	if (err)
		return err;
	pid = hn_sys_clone(CLONE_VM | CLONE_VFORK | CLONE_FILES, stack + sizeof(stack), NULL, NULL, close_all, &closed);
	if (pid > 0)
		HN_SYS(SYS_wait4, pid, NULL, 0x40000000 /* __WALL */, NULL, 0, 0);
	return closed ? HN_SYS(SYS_close_range, 0, ~0u, 0, 0, 0, 0) : 0;
}

bool hn_set_up(void)
{
	const struct hn_config *c = &hn_agent.config;
	struct hn_live_error why;
	long err;

	err = empty_table();
	if (err)
		return hn_give_up("not managed: close_range is not available", (int)-err);
	settle_in();
	hn_run->machine = hn_agent.shm->machine;
	if (!hn_machine_is_sane(&hn_run->machine))
		return hn_give_up("not managed: the shared memory of the run describes no machine", 0);
	hn_agent.slot = hn_slot_take(hn_agent.shm, HN_SLOT_LIVE);
	if (!hn_agent.slot) { /* counted there; nobody to tell */
		hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
		return false;
	}
	hn_run->config = *c;
	if (hn_agent.returns)
		take_over_orders();
	if (hn_run->config.policy == HN_POLICY_PLUGIN && !hn_agent.plugin)
		return hn_give_up(hn_agent.plugin_error, 0);
	hn_plugin_introduce(hn_agent.slot);
	hn_agent.slot->mover_used = c->mover;
	fill_setup(&hn_run->live, c, &hn_run->machine);
	link_counters(&hn_run->live, hn_agent.slot);
	hn_run->live.plugin = hn_agent.plugin;
	hn_run->live.nohuge = &hn_agent.nohuge;
	hn_run->live.record = hn_slot_open_record(hn_agent.shm, hn_agent.slot, hn_run->machine.nr_nodes);
	if (hn_live_open(&hn_run->live, &why))
		return hn_give_up(why.what, why.err);
	hn_agent.slot->arm_used = hn_run->live.way->arming;
	drop_privileges(hn_run->config.move_threads);
	if (init_engine(&hn_run->live, &hn_run->config, &hn_run->machine))
		return hn_give_up("not managed: the engine does not take these settings", 0);
	err = start_threads();
	if (err)
		hn_end_workers();
	if (err)
		return hn_give_up("not managed: cannot start threads", (int)-err);
	say_deaf();
	hn_agent.live = &hn_run->live;
	hn_store_release(&hn_agent.state, HN_AGENT_RUNNING);
	return true;
}
