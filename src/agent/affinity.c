// SPDX-License-Identifier: MIT
/*
 * affinity.c - threads are moved to their memory (move.threads): a thread that finds most of what it uses on one node is
 * kept on the CPUs of that node. What is decided, and how pages and threads keep out of each other's way, is in
 * core/threads.c and docs/policy.md; here is what the kernel is told.
 *
 * A thread's CPUs belong to the program. Only a thread that may run wherever the cpuset allows is narrowed; before every
 * change its CPUs are read back, and where they are not what we have made them, the program has spoken: the thread is its
 * own again. Between reading and writing there is a moment in which the program's word is lost; it has none in a program that
 * does not set affinities while it runs.
 *
 * Threads and processes inherit CPUs from their makers. So whoever makes one through libc is let go first; a raw clone or
 * execve keeps them (docs/policy.md).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "linux/sys.h"

#define LOOK_MS 500u
#define MOVES 8u           /* in one look */
#define DECIDE_MS 3000u    /* with so few samples as there are by then */
#define AGAIN_MS 60000u    /* a decision about a thread stands so long ... */
#define LET_GO_MS 5000u   /* ... less where it was only let go to make a thread or a process */
#define CROWDED_MS 2000u   /* waiting for a CPU is looked at over this time */
#define CROWDED_SHARE 500u /* permille of it spent waiting, and twice as much as before it was kept: it is let go */

/* ---- the kernel ---- */

static bool get_mask(uint32_t tid, struct hn_cpu_mask *m)
{
	memset(m, 0, sizeof(*m));
	return HN_SYS(SYS_sched_getaffinity, tid, sizeof(*m), m, 0, 0, 0) > 0;
}

static bool set_mask(uint32_t tid, const struct hn_cpu_mask *m)
{
	return HN_SYS(SYS_sched_setaffinity, tid, sizeof(*m), m, 0, 0, 0) == 0;
}

static bool same_mask(const struct hn_cpu_mask *a, const struct hn_cpu_mask *b) { return memcmp(a, b, sizeof(*a)) == 0; }

/* The CPUs of a node that the cpuset allows, and how many. */
static uint32_t node_mask(const struct hn_machine *m, int node, const struct hn_cpu_mask *cpuset, struct hn_cpu_mask *out)
{
	uint32_t cpu, nr = 0;

	memset(out, 0, sizeof(*out));
	for (cpu = 0; cpu < m->nr_cpus && cpu < HN_MAX_CPUS; cpu++)
		if (m->cpu_node[cpu] == node && (cpuset->word[cpu / 64] >> (cpu % 64) & 1)) {
			out->word[cpu / 64] |= (uint64_t)1 << (cpu % 64);
			nr++;
		}
	return nr;
}

/* "RUN WAIT SLICES", ns: on a CPU, and waiting for one. */
static void read_times(struct hn_live *live, struct hn_kept *k, uint64_t *run, uint64_t *wait)
{
	char path[64], buf[80];
	const char *p = buf;
	long fd, n;

	*run = *wait = 0;
	hn_number_path(path, "", k->tid, "/schedstat");
	fd = hn_sys_open_at(live->fd_task, path, 0);
	if (fd < 0)
		return;
	n = hn_sys_read((int)fd, buf, sizeof(buf) - 1);
	hn_sys_close((int)fd);
	buf[n > 0 ? n : 0] = '\0';
	for (; *p >= '0' && *p <= '9'; p++)
		*run = *run * 10 + (uint64_t)(*p - '0');
	for (p += *p == ' '; *p >= '0' && *p <= '9'; p++)
		*wait = *wait * 10 + (uint64_t)(*p - '0');
}

static uint32_t wait_share(uint64_t run, uint64_t wait) { return run + wait ? (uint32_t)(wait * 1000 / (run + wait)) : 0; }

/* ---- who is kept; under the lock, which program threads take with all signals blocked ---- */

static uint64_t lock_kept(void)
{
	uint64_t all = ~0ull, old = 0;

	HN_SYS(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(all), 0, 0);
	hn_lock(&hn_agent.affinity.lock);
	return old;
}

static void unlock_kept(uint64_t old)
{
	hn_unlock(&hn_agent.affinity.lock);
	HN_SYS(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old), 0, 0);
}

static struct hn_kept *find_kept(uint32_t tid)
{
	uint32_t i, nr = hn_load_relaxed(&hn_agent.affinity.nr);

	for (i = 0; i < nr; i++)
		if (hn_agent.affinity.kept[i].tid == tid)
			return &hn_agent.affinity.kept[i];
	return NULL;
}

static void forget(struct hn_kept *k)
{
	uint32_t last = hn_load_relaxed(&hn_agent.affinity.nr) - 1;

	*k = hn_agent.affinity.kept[last];
	hn_store_release(&hn_agent.affinity.nr, last);
}

/* What we have made it, as the cpuset has it now. */
static bool still_ours(const struct hn_kept *k, const struct hn_cpu_mask *cpuset)
{
	struct hn_cpu_mask now, ours;

	node_mask(hn_agent.affinity.machine, k->node, cpuset, &ours);
	return get_mask(k->tid, &now) && same_mask(&now, &ours);
}

/* Wherever the cpuset allows; what the kernel makes of more CPUs than there are. */
static void let_go(struct hn_kept *k)
{
	struct hn_cpu_mask all, cpuset;

	memset(&all, 0xff, sizeof(all));
	cpuset = hn_agent.affinity.cpuset;
	if (still_ours(k, &cpuset))
		set_mask(k->tid, &all);
	forget(k);
}

void hn_affinity_release_self(void)
{
	struct hn_kept *k;
	uint64_t old;

	if (!hn_load_acquire(&hn_agent.affinity.nr) || hn_agent.pid != (uint32_t)hn_sys_getpid())
		return;
	old = lock_kept();
	k = find_kept((uint32_t)hn_sys_gettid());
	if (k)
		let_go(k);
	unlock_kept(old);
}

void hn_affinity_release_all(void)
{
	uint64_t old = lock_kept();
	uint32_t nr;

	while ((nr = hn_load_relaxed(&hn_agent.affinity.nr)) != 0)
		let_go(&hn_agent.affinity.kept[nr - 1]);
	unlock_kept(old);
}

/* In a forked child: nobody else is here, and whoever forked was let go before. */
void hn_affinity_reset(void)
{
	hn_agent.affinity.lock = (struct hn_word){ 0 };
	hn_agent.affinity.nr = (struct hn_word){ 0 };
}

/* ---- looking and deciding; scanner ---- */

struct seats {
	struct hn_worker *w;
	uint32_t now_ms, nr;
	uint32_t cpus[HN_MAX_NODES];
	struct hn_seat seat[HN_KNOWN_ROWS];
	struct hn_thread *thread[HN_KNOWN_ROWS];
};

static struct seats seats;

static void decided(struct hn_thread *t, enum hn_follow follow, int home, uint32_t now_ms)
{
	__atomic_store_n(&t->home, home, __ATOMIC_RELAXED);
	__atomic_store_n(&t->first_ms, now_ms, __ATOMIC_RELAXED);
	__atomic_store_n(&t->follow, follow, __ATOMIC_RELAXED);
}

/* Being there makes it wait for CPUs as it never did before. */
static bool is_crowded(struct hn_live *live, struct hn_kept *k, uint32_t now_ms)
{
	uint64_t run, wait;
	uint32_t share;

	if (now_ms - k->looked_ms < CROWDED_MS)
		return false;
	read_times(live, k, &run, &wait);
	share = wait_share(run - k->run_ns, wait - k->wait_ns);
	k->looked_ms = now_ms;
	k->run_ns = run;
	k->wait_ns = wait;
	return share > CROWDED_SHARE && share > 2 * k->share_before;
}

static void review_kept(struct hn_worker *w, uint32_t now_ms)
{
	uint64_t old = lock_kept();
	uint32_t i = 0;

	while (i < hn_load_relaxed(&hn_agent.affinity.nr)) {
		struct hn_kept *k = &hn_agent.affinity.kept[i];

		if (!still_ours(k, &hn_agent.affinity.cpuset))
			forget(k); /* ended, or the program's again */
		else if (is_crowded(w->live, k, now_ms))
			let_go(k);
		else
			i++;
	}
	unlock_kept(old);
}

/* Is it time to decide about the thread, and what would it like? */
static bool wishes(struct hn_worker *w, struct hn_thread *t, struct hn_seat *s, uint32_t now_ms)
{
	uint32_t since = now_ms - t->first_ms, lately = t->own_lately + t->shared_lately;

	s->wanted = HN_NO_NODE;
	if (t->follow == HN_FOLLOW_UNDECIDED && lately < HN_WANT_SAMPLES && since < DECIDE_MS)
		return false;
	if (t->follow == HN_FOLLOW_MEMORY && since < AGAIN_MS)
		s->wanted = t->home;
	else if (t->follow != HN_FOLLOW_THREAD || since >= AGAIN_MS)
		s->wanted = hn_thread_wants(hn_thread_mem(&w->hn, t), hn_agent.affinity.machine->nr_nodes,
					    t->follow == HN_FOLLOW_MEMORY ? t->home : HN_NO_NODE, &s->share);
	return true;
}

static void take_seat(void *arg, uint32_t tid, struct hn_thread *t)
{
	struct seats *all = arg;
	struct hn_seat *s = &all->seat[all->nr];
	struct hn_kept *k = find_kept(tid);
	struct hn_cpu_mask m;

	if (all->nr == HN_KNOWN_ROWS)
		return;
	if (t->follow == HN_FOLLOW_MEMORY && !k) /* it was let go, or ended */
		decided(t, HN_FOLLOW_THREAD, HN_NO_NODE, all->now_ms - AGAIN_MS + LET_GO_MS);
	*s = (struct hn_seat){ .tid = tid, .now = k ? k->node : t->node, .seated = k != NULL };
	if (!wishes(all->w, t, s, all->now_ms))
		return;
	/* One that is not everywhere the cpuset allows has been bound by the program, unless it was us. */
	if (!k && s->wanted >= 0 && (!get_mask(tid, &m) || !same_mask(&m, &hn_agent.affinity.cpuset)))
		s->fixed = true;
	all->thread[all->nr++] = t;
}

static void say_denied(void)
{
	if (hn_agent.affinity.denied)
		return;
	hn_agent.affinity.denied = true;
	hn_slot_say(hn_agent.slot, "threads are not moved: the kernel refuses it; a program with privileges must be started with "
				   "--move-threads", 0);
}

/* Under the lock, right after reading back. */
static bool keep(struct hn_live *live, uint32_t tid, int node, uint32_t now_ms)
{
	struct hn_affinity *a = &hn_agent.affinity;
	struct hn_kept *k = find_kept(tid);
	struct hn_cpu_mask now, m;
	uint64_t run, wait;

	if (!node_mask(hn_agent.affinity.machine, node, &a->cpuset, &m) || !get_mask(tid, &now))
		return false;
	if (k ? !still_ours(k, &a->cpuset) : (!same_mask(&now, &a->cpuset) || hn_load_relaxed(&a->nr) == HN_MAX_KEPT))
		return false;
	if (!set_mask(tid, &m)) {
		say_denied();
		return false;
	}
	if (!k) {
		k = &a->kept[hn_load_relaxed(&a->nr)];
		hn_store_release(&a->nr, hn_load_relaxed(&a->nr) + 1);
	}
	*k = (struct hn_kept){ .tid = tid, .node = node, .looked_ms = now_ms };
	read_times(live, k, &run, &wait);
	k->run_ns = run;
	k->wait_ns = wait;
	k->share_before = wait_share(run, wait);
	return true;
}

static void carry_out(struct hn_worker *w, const struct hn_seat *s, struct hn_thread *t, bool more)
{
	struct hn_kept *k = find_kept(s->tid);
	bool moved;

	if (s->to >= 0 && k && k->node == s->to)
		return;
	moved = s->to >= 0 && keep(w->live, s->tid, s->to, seats.now_ms);
	if (moved) {
		hn_stat_add(&hn_agent.slot->threads_moved, 1);
		decided(t, HN_FOLLOW_MEMORY, s->to, seats.now_ms);
		return;
	}
	if (k)
		let_go(k);
	/* Undecided threads for whom there was no time in this look wait for the next. */
	if (k || s->to >= 0 || s->fixed || !more || s->wanted < 0)
		if (t->follow != HN_FOLLOW_THREAD)
			decided(t, HN_FOLLOW_THREAD, HN_NO_NODE,
				t->own_lately + t->shared_lately < HN_WANT_SAMPLES ? seats.now_ms - AGAIN_MS + LET_GO_MS : seats.now_ms);
}

static void decide(struct hn_worker *w, uint32_t now_ms)
{
	struct hn_cpu_mask m;
	uint32_t n, i, moves = 0;
	uint64_t old;

	seats.w = w;
	seats.now_ms = now_ms;
	seats.nr = 0;
	for (n = 0; n < hn_agent.affinity.machine->nr_nodes; n++)
		seats.cpus[n] = node_mask(hn_agent.affinity.machine, (int)n, &hn_agent.affinity.cpuset, &m);
	old = lock_kept();
	hn_for_each_thread(&w->hn, take_seat, &seats);
	hn_threads_plan(seats.seat, seats.nr, seats.cpus, hn_agent.affinity.machine->nr_nodes, MOVES);
	for (i = 0; i < seats.nr; i++)
		moves += seats.seat[i].to >= 0 && !seats.seat[i].seated;
	for (i = 0; i < seats.nr; i++)
		carry_out(w, &seats.seat[i], seats.thread[i], moves == MOVES);
	unlock_kept(old);
}

void hn_affinity_pass(struct hn_worker *w, const struct hn_machine *m, const struct hn_config *c)
{
	bool on = c->move_threads && m->nr_nodes > 1 && !m->deal_threads && c->policy != HN_POLICY_OBSERVE;
	uint32_t now_ms = hn_live_now_ms();

	hn_threads_let_move(&w->hn, on, now_ms);
	if (!on) {
		if (hn_load_relaxed(&hn_agent.affinity.nr))
			hn_affinity_release_all();
	} else if (now_ms - hn_agent.affinity.looked_ms >= LOOK_MS) {
		hn_agent.affinity.looked_ms = now_ms;
		hn_agent.affinity.machine = m;
		/* This thread may run wherever the cpuset allows (settle_in). */
		if (!get_mask(0, &hn_agent.affinity.cpuset))
			return;
		review_kept(w, now_ms);
		hn_threads_sum(&w->hn);
		decide(w, now_ms);
	}
	__atomic_store_n(&hn_agent.slot->threads_kept, hn_load_relaxed(&hn_agent.affinity.nr), __ATOMIC_RELAXED);
}
