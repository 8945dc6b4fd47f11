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
#include "linux/sys.h"
#include "uapi/uapi.h"

#define LOOK_MS 100u       /* between two looks for new memory at least ... */
#define EAGER_LOOK_MS 20u  /* ... and with short scan periods */
#define LOOK_SHARE 50u
#define LOOK_MAX_MS 10000u
#define EAGER_PERIOD_MS 50u
#define SERIES_MS 250u
#define JUDGED_SAMPLES 16u /* samples needed to judge the pace */
#define PLACED_PERCENT 95u
#define BACKOFF_MAX 3u
#define QUARANTINE_MS 2000u
#define OWN_POLICY_MS 2000u
#define ORDER_MS 10000u

/* Everything of one managed process; one area, never freed while the process lives. */
struct run {
	struct hn_live live;
	struct hn_worker scanner, keeper, handler[HN_MAX_HANDLERS];
};

static struct run *run;

static void register_thread(const char *name)
{
	uint32_t n = __atomic_fetch_add(&hn_agent.nr_threads, 1, __ATOMIC_RELAXED);

	if (n < HN_AGENT_THREADS)
		hn_agent.tid[n] = (uint32_t)hn_sys_gettid();
	HN_SYS(SYS_prctl, PR_SET_NAME, name, 0, 0, 0, 0);
}

static void handler_main(void *arg)
{
	register_thread("hugenuma-fault");
	hn_serve(&((struct hn_worker *)arg)->hn);
}

static void keeper_main(void *arg)
{
	struct hn_worker *w = arg;

	register_thread("hugenuma-keep");
	for (;;) {
		uint32_t ms = hn_pool_tend(w->live);
		struct timespec t = { ms / 1000, (ms % 1000) * 1000000l };

		hn_sys_futex(&w->live->pool_kick.v, FUTEX_WAIT_PRIVATE, 0, &t);
	}
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

static void fill_setup(struct hn_live *live, const struct hn_config *c, const struct hn_machine *m)
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
		.nr_cpus = m->nr_cpus,
		.cpu_node = m->cpu_node,
		.os_nid = m->os_nid,
		.nr_pages = c->max_armed_mib / 2,
		.min_pages = (c->min_mib + 1) / 2,
		.ram_bytes = (uint64_t)si.totalram * si.mem_unit,
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
	};
}

static int init_engine(struct hn_live *live, const struct hn_config *c, const struct hn_machine *m)
{
	uint32_t expiry = c->period_ms * 4;
	struct hn_geometry geo = hn_live_geometry(&live->setup);
	struct hn_params par = {
		.nr_nodes = m->nr_nodes,
		.policy = c->policy,
		.seed = c->seed,
		.expiry_ms = expiry < 1000 ? 1000 : expiry,
		.quarantine_ms = QUARANTINE_MS,
	};

	return hn_core_init(live->core, &geo, &par);
}

static int start_threads(void)
{
	uint32_t i, nr = hn_agent.shm->config.handlers;
	int err;

	hn_worker_init(&run->scanner, &run->live);
	hn_worker_init(&run->keeper, &run->live);
	for (i = 0; i < nr; i++)
		hn_worker_init(&run->handler[i], &run->live);
	for (i = 0; i < nr; i++) {
		err = hn_bare_thread(handler_main, &run->handler[i], &run->live);
		if (err && i == 0)
			return err; /* one handler is enough to be right; more are for speed */
	}
	return hn_bare_thread(keeper_main, &run->keeper, &run->live);
}

static bool give_up(const char *what, int err)
{
	if (!hn_agent.slot)
		hn_agent.slot = hn_slot_take(hn_agent.shm, HN_SLOT_UNMANAGED);
	if (hn_agent.slot) {
		hn_store_release(&hn_agent.slot->state, HN_SLOT_UNMANAGED);
		hn_slot_say(hn_agent.slot, what, err);
	}
	hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
	return false;
}

static bool set_up(void)
{
	const struct hn_config *c = &hn_agent.shm->config;
	struct hn_live_error why;
	long err;

	/* A descriptor table of our own, empty: nothing of the program is held open, nothing of ours can be closed. */
	err = HN_SYS(SYS_close_range, 0, ~0u, HN_CLOSE_RANGE_UNSHARE, 0, 0, 0);
	if (err)
		return give_up("not managed: close_range is not available", (int)-err);
	settle_in();
	hn_agent.slot = hn_slot_take(hn_agent.shm, HN_SLOT_LIVE);
	if (!hn_agent.slot) { /* counted there; nobody to tell */
		hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
		return false;
	}
	hn_agent.slot->mover_used = c->mover;
	fill_setup(&run->live, c, &hn_agent.shm->machine);
	link_counters(&run->live, hn_agent.slot);
	run->live.record = hn_slot_open_record(hn_agent.shm, hn_agent.slot);
	if (hn_live_open(&run->live, &why))
		return give_up(why.what, why.err);
	if (init_engine(&run->live, c, &hn_agent.shm->machine))
		return give_up("not managed: the engine does not take these settings", 0);
	err = start_threads();
	if (err)
		return give_up("not managed: cannot start threads", (int)-err);
	hn_agent.live = &run->live;
	hn_store_release(&hn_agent.state, HN_AGENT_RUNNING);
	return true;
}

/* ---- the scanner's life ---- */

static uint64_t thread_cpu_ns(uint32_t tid)
{
	struct timespec t = { 0, 0 };

	HN_SYS(SYS_clock_gettime, (int)((~tid << 3) | 6), &t, 0, 0, 0, 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t own_cpu_ns(void) { return thread_cpu_ns((uint32_t)hn_sys_gettid()); }

static void publish(uint64_t now_ms)
{
	struct hn_slot *s = hn_agent.slot;
	uint64_t cpu = 0;
	uint32_t i;

	for (i = 0; i < hn_agent.nr_threads && i < HN_AGENT_THREADS; i++)
		if (hn_agent.tid[i])
			cpu += thread_cpu_ns(hn_agent.tid[i]);
	hn_stat_max(&s->agent_cpu_ns, cpu);
	__atomic_store_n(&s->agent_bytes, hn_live_own_bytes(&run->live), __ATOMIC_RELAXED);
	hn_series_offer(&s->stats, now_ms - s->started_ms);
	hn_publish(&run->scanner, s->started_ms, now_ms, own_cpu_ns);
}

struct pace {
	uint64_t look_ms, series_ms, pass_ms;
	uint64_t samples, local; /* as of the last judgement */
	uint32_t stacks_seen;
	uint32_t backoff; /* the period is doubled so many times */
	bool judged;      /* since the last pass */
	bool said;        /* that memory is left alone */
};

/*
 * Memory that is where it is used need not be asked about as often: after a pass with nearly only local samples the period
 * doubles, three times at most; as soon as they are not, it is the user's again and the next pass is due. Not with short
 * periods, which are for tests.
 */
static void judge_pace(struct hn_worker *w, struct pace *p, uint64_t now_ms)
{
	uint64_t samples = hn_stat_read(&w->hn.stats->samples) - p->samples;
	uint64_t local = hn_stat_read(&w->hn.stats->local) - p->local;
	bool placed = local * 100 >= samples * PLACED_PERCENT;

	if (w->live->setup.eager || samples < JUDGED_SAMPLES || (placed && p->judged))
		return;
	p->samples += samples;
	p->local += local;
	p->judged = true; /* one doubling a pass */
	if (placed) {
		p->backoff += p->backoff < BACKOFF_MAX;
		return;
	}
	if (p->backoff)
		p->pass_ms = now_ms;
	p->backoff = 0;
}

/*
 * Looking costs time in proportion to the memory there is: never more than one part in LOOK_SHARE of a CPU, by the CPU
 * time it took (a machine without a CPU to spare would make any look seem long), and never further apart than LOOK_MAX_MS.
 */
static uint64_t look(struct hn_worker *w)
{
	uint64_t cpu = own_cpu_ns(), wait_ms, least = w->live->setup.eager ? EAGER_LOOK_MS : LOOK_MS;

	hn_discover(w);
	wait_ms = (own_cpu_ns() - cpu) / 1000000 * LOOK_SHARE;
	if (wait_ms < least)
		wait_ms = least;
	if (wait_ms > LOOK_MAX_MS)
		wait_ms = LOOK_MAX_MS;
	return hn_live_now_ns(w) / 1000000 + wait_ms;
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

static void one_pass(struct hn_worker *w, struct pace *p, const struct hn_config *c)
{
	uint64_t now = hn_live_now_ns(w) / 1000000;

	if (now >= p->look_ms || hn_load_acquire(&hn_agent.stacks.changes) != p->stacks_seen) {
		p->stacks_seen = hn_stacks_copy(w->live);
		p->look_ms = look(w);
		say_left_alone(w, p, now);
	}
	judge_pace(w, p, now);
	if (now >= p->pass_ms) {
		hn_scan_expire(&w->hn);
		hn_scan_pass(&w->hn, c->window_mib / 2);
		hn_stat_add(&hn_agent.slot->scans, 1);
		p->judged = false;
		p->pass_ms = now + ((uint64_t)c->period_ms << p->backoff);
	}
	if (now >= p->series_ms) {
		publish(now);
		p->series_ms = now + SERIES_MS;
	}
}

/* Told to leave the process alone: only look for new orders now and then. */
static void idle_pass(struct hn_worker *w, struct pace *p)
{
	uint64_t now = hn_live_now_ns(w) / 1000000;

	p->look_ms = p->pass_ms = p->series_ms = now + SERIES_MS;
}

static void sleep_until_next(const struct pace *p, uint32_t kick_seen)
{
	uint64_t now = hn_live_now_ns(NULL) / 1000000, next = p->look_ms;
	struct timespec t;

	if (p->pass_ms < next)
		next = p->pass_ms;
	if (p->series_ms < next)
		next = p->series_ms;
	if (next <= now)
		return;
	t = (struct timespec){ (time_t)((next - now) / 1000), (long)((next - now) % 1000) * 1000000 };
	hn_sys_futex(&hn_agent.control.kick.v, FUTEX_WAIT_PRIVATE, kick_seen, &t);
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
	run->live.publish.not_before_ms = 0;
	publish(hn_live_now_ns(w) / 1000000);
	p->look_ms = p->pass_ms = 0;
	p->backoff = 0;
	hn_store_release(&s->mode, wanted);
	return wanted == HN_MODE_RUNNING;
}

static void scanner_main(void *arg)
{
	const struct hn_config *c = &hn_agent.shm->config;
	struct hn_worker *w = &run->scanner;
	struct pace pace = { 0 };

	(void)arg;
	register_thread("hugenuma-scan");
	if (!set_up())
		return;
	for (;;) {
		uint32_t kick = hn_load_acquire(&hn_agent.control.kick);

		if (hn_control_wanted()) {
			/* Without a clean drain nobody is told that it is safe; the pauser's patience ends by itself. */
			if (hn_live_drain(w, 1000))
				hn_control_paused();
			continue;
		}
		bool go_on = obey(w, &pace);

		if (go_on)
			one_pass(w, &pace, c);
		else
			idle_pass(w, &pace);
		hn_explain(w, !go_on);
		sleep_until_next(&pace, kick);
	}
}

void hn_agent_start(void)
{
	if (!hn_cas_acquire(&hn_agent.state, HN_AGENT_IDLE, HN_AGENT_STARTING))
		return;
	hn_agent.nr_threads = 0;
	hn_agent.slot = NULL;
	run = hn_area(NULL, sizeof(*run), false);
	if (!run) {
		give_up("not managed: no memory for the agent", ENOMEM);
		return;
	}
	hn_own(&run->live, run, sizeof(*run));
	if (hn_bare_thread(scanner_main, NULL, &run->live))
		give_up("not managed: cannot start a thread", 0);
}
