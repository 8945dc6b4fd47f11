// SPDX-License-Identifier: MIT
/*
 * scanner.c - the life of the scanner, the agent's first thread: sets everything up (setup.c), makes one pass after the other
 * (pass.c), obeys the controller and the program's own threads, and takes everything down.
 */
#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#include "agent/run.h"
#include "linux/sys.h"

#define ORDER_MS 10000u

struct hn_run *hn_run;

static void sleep_until_next(const struct hn_pacing *p, uint32_t kick_seen)
{
	uint64_t now = hn_now_in_ms(), next = p->look_ms;
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
static void reconfigure(struct hn_worker *w, struct hn_pacing *p)
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
		hn_run->config.period_ms = c.period_ms;
		hn_run->config.window_mib = c.window_mib;
		hn_run->config.period_min_ms = c.period_min_ms;
		hn_run->config.period_max_ms = c.period_max_ms;
		hn_run->config.cpu_percent = c.cpu_percent;
		hn_run->config.move_threads = c.move_threads;
		hn_run->config.nodes = c.nodes;
		hn_allow_nodes(w, &hn_run->config);
		if (c.policy != HN_POLICY_PLUGIN || hn_agent.plugin) {
			hn_run->config.policy = c.policy;
			hn_policy_set(&w->hn, c.policy);
		}
		hn_run->live.core->par.expiry_ms = hn_expiry_of(c.period_ms, hn_run->live.core->par.slow_nodes != 0); /* nobody but this thread looks at it */
		hn_pace_begin(p, &hn_run->config);
	}
	hn_store_release(&s->config_seen, seq);
}

/*
 * What the controller wants. True: balance. It is the same as long as nobody says otherwise; a process that was told to
 * stop may have regions again only after it was told to go on, so there is nothing to do twice.
 */
static bool obey(struct hn_worker *w, struct hn_pacing *p)
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
	hn_run->live.publish.not_before_ms = 0;
	hn_publish_all(hn_now_in_ms());
	p->look_ms = p->whole_look_ms = 0;
	hn_pace_begin(p, &hn_run->config);
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
	hn_publish_all(hn_now_in_ms());
	hn_end_workers();
	while ((n = hn_load_acquire(&hn_agent.working)) != 0)
		hn_wait_while(&hn_agent.working, n);
	hn_live_close(&hn_run->live);
	hn_crash_release();
	hn_store_release(&hn_agent.state, after);
	hn_control_left();
	hn_wake(&hn_agent.state, INT32_MAX);
	return true;
}

static void scanner_main(void *arg)
{
	struct hn_worker *w = &hn_run->scanner;
	struct hn_pacing pace = { 0 };

	(void)arg;
	hn_name_thread("hugenuma-scan");
	if (!hn_set_up())
		return;
	hn_pacing_start(&pace, &hn_run->config);
	for (;;) {
		uint32_t kick = hn_load_acquire(&hn_agent.control.kick);
		bool go_on;

		hn_own_beat(); /* one that is late with everything does not sleep between two passes */
		if (hn_watch_the_watchdog(w, hn_run->readers, hn_run->config.handlers))
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
			hn_one_pass(w, &pace, &hn_run->config);
		else
			hn_idle_pass(&pace);
		hn_explain(w, !go_on);
		hn_survey_answer(w);
		sleep_until_next(&pace, kick);
	}
}

static void start(void)
{
	/* A child that libc knows nothing of has its parent's state: what it believed to be paused would not be. */
	if (!hn_agent_is_ours())
		return;
	if (!hn_cas_acquire(&hn_agent.state, HN_AGENT_IDLE, HN_AGENT_STARTING))
		return;
	hn_store_relaxed(&hn_agent.began, 1);
	hn_agent.working = (struct hn_word){ 0 };
	hn_agent.slot = NULL;
	hn_run = hn_area(NULL, sizeof(*hn_run), false);
	if (!hn_run || !hn_bare_prepare(&hn_run->live)) {
		hn_give_up("not managed: no memory for the agent", ENOMEM);
		return;
	}
	hn_own(&hn_run->live, hn_run, sizeof(*hn_run));
	hn_crash_catch();
	if (hn_bare_thread(scanner_main, NULL))
		hn_give_up("not managed: cannot start a thread", 0);
}

/* A handler of the program's that forks would wait for an agent that cannot come, as its own thread is just starting it. */
void hn_agent_start(void)
{
	uint64_t old = hn_block_signals();

	start();
	hn_restore_signals(old);
}
