// SPDX-License-Identifier: MIT
/*
 * seats.c - where are the program's threads to be (move.threads)? Looks at what each of them does, at what others do on the
 * CPUs, and at where the memory is; has it decided (core/place.c), and carries that out (affinity.c). Scanner.
 *
 * Processes of one run tell each other through their slots how much of each node they keep threads on. A claim is written
 * first and then looked at beside those of the others: of two that come at the same time, one at least sees both, and
 * takes its own back.
 */
#include <string.h>

#include "agent/affinity.h"
#include "core/place.h"
#include "linux/sys.h"

#define LOOK_MS 500u
#define SOON_MS 200u       /* while something is undecided */
#define MEASURE_MS 100u    /* CPU time is measured over so much at least */
#define SHARE 100u         /* one part of so many of a CPU goes into looking */
#define LATEST_MS 10000u
#define DECIDE_MS 3000u    /* with so few samples as there are by then */
#define AGAIN_MS 60000u    /* a decision about a thread stands so long ... */
#define LET_GO_MS 5000u    /* ... less where little was known, and where it was let go to make a thread or a process */
#define FIRST_MS 1000u     /* nothing is asked for so long, until the first decision */
#define ASK_PAGES 512u     /* the kernel is asked of so many at most where they are, of a program not asked about yet */
#define STAGGER_MS 17u
#define CLAIM_SLACK 100u   /* permille of a CPU */

struct seats {
	struct hn_worker *w;
	uint32_t now_ms, nr, asked, stride;
	bool unmeasured, waiting, withdrawn;
	uint32_t moved, nr_kept;
	struct {
		uint32_t tid;
		int node;
	} kept[HN_MAX_KEPT];
	struct hn_room room[HN_MAX_NODES];
	struct hn_seat seat[HN_KNOWN_ROWS];
	struct hn_thread *thread[HN_KNOWN_ROWS];
};

static struct seats seats;

static uint32_t peek(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static uint32_t nr_nodes(void) { return hn_agent.affinity.machine->nr_nodes; }
static uint32_t lately(const struct hn_thread *t) { return peek(&t->own_lately) + peek(&t->shared_lately); }

/* ---- looking ---- */

static int node_of(struct hn_live *live, uint32_t tid)
{
	char path[64], buf[1024];
	int cpu = -1;
	long fd, n;

	hn_number_path(path, "", tid, "/stat");
	fd = hn_sys_open_at(live->fd_task, path, 0);
	if (fd < 0)
		return HN_NO_NODE;
	n = hn_sys_read((int)fd, buf, sizeof(buf));
	hn_sys_close((int)fd);
	if (n > 0)
		cpu = hn_stat_cpu(buf, (size_t)n);
	return cpu >= 0 && (uint32_t)cpu < hn_agent.affinity.machine->nr_cpus ? hn_agent.affinity.machine->cpu_node[cpu] : HN_NO_NODE;
}

/* CPU time that it used or waited for since the look before; where the kernel does not tell, who has samples is at work. */
static uint32_t load_of(struct hn_live *live, uint32_t tid, struct hn_thread *t, bool *known)
{
	uint32_t since = seats.now_ms - t->seen_ms, load = 0;
	struct hn_task_times times;
	uint64_t wanted, ms;

	*known = true;
	if (t->seen_ms && since < MEASURE_MS)
		return t->load;
	if (!hn_task_times(live, tid, &times))
		return lately(t) ? 1000 : 0;
	wanted = times.run_ns + times.wait_ns;
	ms = (wanted - t->wanted_ns) / 1000000;
	if (!t->seen_ms || wanted < t->wanted_ns)
		*known = false; /* or the thread is another one by now */
	else
		load = ms >= since ? 1000 : (uint32_t)(ms * 1000 / since);
	t->wanted_ns = wanted;
	t->seen_ms = seats.now_ms | 1;
	return load;
}

/* Is it time to decide about it alone, or again? */
static bool is_ready(const struct hn_thread *t, uint32_t now_ms)
{
	uint32_t since = now_ms - t->first_ms;

	if (t->follow == HN_FOLLOW_UNDECIDED)
		return lately(t) >= HN_WANT_SAMPLES || since >= DECIDE_MS;
	return since >= AGAIN_MS;
}

/* As it was when the look began; the program's threads may let themselves go meanwhile. */
static void copy_kept(void)
{
	uint64_t old = hn_kept_lock();
	uint32_t i;

	seats.nr_kept = hn_load_relaxed(&hn_agent.affinity.nr);
	for (i = 0; i < seats.nr_kept; i++) {
		seats.kept[i].tid = hn_agent.affinity.kept[i].tid;
		seats.kept[i].node = hn_agent.affinity.kept[i].node;
	}
	hn_kept_unlock(old);
}

static int home_of(uint32_t tid)
{
	uint32_t i;

	for (i = 0; i < seats.nr_kept; i++)
		if (seats.kept[i].tid == tid)
			return seats.kept[i].node;
	return HN_NO_NODE;
}

static bool is_ours(uint32_t tid)
{
	uint32_t i;

	for (i = 0; i < HN_AGENT_THREADS; i++)
		if (peek(&hn_own_threads.thread[i].tid) == tid)
			return true;
	return false;
}

static bool take_seat(struct hn_live *live, uint32_t tid)
{
	struct hn_thread *t = is_ours(tid) ? NULL : hn_thread_make(&seats.w->hn, tid);
	struct hn_seat *s = &seats.seat[seats.nr];
	bool known;
	int home;

	if (!t)
		return true;
	home = home_of(tid);
	if (t->follow == HN_FOLLOW_MEMORY && home < 0) { /* it was let go */
		hn_thread_decided(t, HN_FOLLOW_THREAD, HN_NO_NODE, seats.now_ms - AGAIN_MS + LET_GO_MS);
		t->left_ms = seats.now_ms | 1;
	}
	__atomic_store_n(&t->load, load_of(live, tid, t, &known), __ATOMIC_RELAXED);
	*s = (struct hn_seat){
		.tid = tid, .group = peek(&t->group), .load = t->load, .samples = lately(t), .mem = t->mem,
		.goes_by = hn_thread_mem(&seats.w->hn, t), .now = HN_NO_NODE, .home = home,
		.left = !known || (t->left_ms && seats.now_ms - t->left_ms < LET_GO_MS), .ready = is_ready(t, seats.now_ms),
	};
	if (s->load >= HN_ASLEEP || s->samples)
		s->now = home >= 0 ? home : node_of(live, tid);
	if (!known || s->now >= 0)
		s->fixed = home < 0 && !hn_affinity_is_free(tid);
	/* The program has said where it is to run: there is nothing to find out, and its memory need not wait. */
	s->ready |= s->fixed;
	seats.unmeasured |= !known && !s->fixed;
	seats.thread[seats.nr++] = t;
	return seats.nr < HN_KNOWN_ROWS;
}

/* Threads that were not met have ended. */
static void note_ended(void *arg, uint32_t tid, struct hn_thread *t)
{
	uint32_t i;

	(void)arg;
	if (!t->load && t->follow != HN_FOLLOW_MEMORY)
		return;
	for (i = 0; i < seats.nr; i++)
		if (seats.seat[i].tid == tid)
			return;
	__atomic_store_n(&t->load, 0, __ATOMIC_RELAXED);
	if (t->follow == HN_FOLLOW_MEMORY)
		hn_thread_decided(t, HN_FOLLOW_THREAD, HN_NO_NODE, seats.now_ms);
}

/* Memory of real nodes is asked about when it is armed, which may be still to come. */
static void count_page(void *arg, hn_addr haddr, int nid)
{
	int16_t now = (int16_t)nid;

	(void)arg;
	if (nid < 0 && seats.asked < ASK_PAGES && (haddr >> HN_PAGE_SHIFT) % seats.stride == 0) {
		hn_page_nodes(seats.w->live, haddr, 1, &now);
		seats.asked++;
	}
	if (now >= 0 && now < HN_MAX_NODES)
		seats.room[now].pages++;
}

/* How busy the CPUs are; and, of that, how much is not of this program. */
static void look_at_cpus(struct hn_live *live)
{
	struct hn_affinity *a = &hn_agent.affinity;
	uint32_t since = seats.now_ms - a->idle_ms, n, i;
	uint64_t idle[HN_MAX_NODES];
	bool known;

	if (a->idle_ms && since < MEASURE_MS)
		return;
	known = hn_idle_look(live, a->cpuset.word, idle);
	for (n = 0; n < nr_nodes(); n++) {
		uint32_t cpus = seats.room[n].cpus;
		uint64_t ms = idle[n] - a->idle_of[n];

		a->idle[n] = cpus;
		if (known && a->idle_ms && idle[n] >= a->idle_of[n])
			a->idle[n] = ms * 1000 / since < cpus ? (uint32_t)(ms * 1000 / since) : cpus;
		a->idle_of[n] = idle[n];
		a->foreign[n] = cpus - a->idle[n];
	}
	for (i = 0; i < seats.nr; i++) {
		const struct hn_seat *s = &seats.seat[i];

		if (s->now >= 0)
			a->foreign[s->now] -= s->load < a->foreign[s->now] ? s->load : a->foreign[s->now];
	}
	a->idle_ms = known ? seats.now_ms | 1 : 0;
}

/* ---- claims ---- */

/* Numbers that others have written: too much is as good as all. `senior`, or NULL: of those that do not give way. */
static void sum_claims(uint32_t *claimed, uint32_t *senior)
{
	bool seniors = senior != NULL;
	uint32_t i, n;

	memset(claimed, 0, HN_MAX_NODES * sizeof(*claimed));
	if (senior)
		memset(senior, 0, HN_MAX_NODES * sizeof(*senior));
	for (i = 0; i < hn_shm_opened(hn_agent.shm); i++) {
		const struct hn_slot *s = &hn_agent.shm->slot[i];

		seniors &= s != hn_agent.slot;
		if (s == hn_agent.slot || hn_load_acquire(&s->state) != HN_SLOT_LIVE)
			continue;
		for (n = 0; n < nr_nodes(); n++) {
			uint32_t c = __atomic_load_n(&s->claim[n], __ATOMIC_SEQ_CST), most = seats.room[n].cpus;

			c = c < most ? c : most;
			claimed[n] += c;
			if (seniors)
				senior[n] += c;
		}
	}
}

static void publish_claims(void)
{
	uint32_t mine[HN_MAX_NODES] = { 0 }, i, n;

	for (i = 0; i < seats.nr; i++)
		if (seats.seat[i].to >= 0)
			mine[seats.seat[i].to] += seats.seat[i].load;
	for (n = 0; n < nr_nodes(); n++)
		__atomic_store_n(&hn_agent.slot->claim[n], mine[n], __ATOMIC_SEQ_CST);
}

/* Somebody else has come to the same node meanwhile: not now. */
static void withdraw(void)
{
	uint32_t claimed[HN_MAX_NODES], i;

	seats.withdrawn = false;
	sum_claims(claimed, NULL);
	for (i = 0; i < seats.nr; i++) {
		struct hn_seat *s = &seats.seat[i];

		if (s->to < 0 || s->to == s->home || claimed[s->to] <= seats.room[s->to].claimed ||
		    claimed[s->to] + hn_agent.slot->claim[s->to] <= seats.room[s->to].cpus + CLAIM_SLACK)
			continue;
		s->to = HN_NO_NODE;
		s->wait = seats.withdrawn = true;
	}
	if (seats.withdrawn)
		publish_claims();
}

/* ---- deciding ---- */

static void look(struct hn_worker *w, uint32_t now_ms)
{
	const struct hn_affinity *a = &hn_agent.affinity;
	uint64_t managed = hn_stat_read(&w->hn.stats->managed_pages);
	uint32_t claimed[HN_MAX_NODES], senior[HN_MAX_NODES], n;

	seats.w = w;
	seats.now_ms = now_ms;
	seats.nr = seats.asked = 0;
	seats.stride = (uint32_t)(managed / ASK_PAGES) + 1;
	seats.unmeasured = seats.waiting = false;
	copy_kept();
	hn_each_thread(w->live, take_seat);
	hn_for_each_thread(&w->hn, note_ended, NULL);
	for (n = 0; n < nr_nodes(); n++)
		seats.room[n] = (struct hn_room){
			.cpus = hn_affinity_cpus((int)n) * 1000,
			.avoid = a->avoid_until_ms[n] && hn_ms_left(a->avoid_until_ms[n], now_ms, HN_AVOID_MS + 1) > 0,
		};
	look_at_cpus(w->live);
	hn_census(&w->hn, count_page, NULL);
	sum_claims(claimed, senior);
	for (n = 0; n < nr_nodes(); n++) {
		seats.room[n].foreign = a->foreign[n];
		seats.room[n].claimed = claimed[n];
		seats.room[n].senior = senior[n];
	}
}

/* Where little was known, or it had nothing to do, it is asked again soon. */
static uint32_t since_when(const struct hn_seat *s)
{
	return s->samples < HN_WANT_SAMPLES || s->load < HN_BUSY ? seats.now_ms - AGAIN_MS + LET_GO_MS : seats.now_ms;
}

static void carry_out(struct hn_worker *w, const struct hn_seat *s, struct hn_thread *t)
{
	struct hn_kept *k = hn_kept_find(s->tid);

	if (s->home >= 0 && !k)
		return; /* it has let itself go meanwhile */
	seats.waiting |= s->to < 0 && t->follow == HN_FOLLOW_UNDECIDED && (s->load >= HN_ASLEEP || s->samples);
	if (s->to >= 0 && k && k->node == s->to) {
		if (s->ready)
			hn_thread_decided(t, HN_FOLLOW_MEMORY, s->to, seats.now_ms);
		return;
	}
	if (s->to >= 0 && hn_kept_keep(w->live, s->tid, s->to, seats.now_ms)) {
		hn_stat_add(&hn_agent.slot->threads_moved, 1);
		hn_agent.affinity.avoid_until_ms[s->to] = 0; /* where there are idle CPUs now */
		seats.moved++;
		hn_thread_decided(t, HN_FOLLOW_MEMORY, s->to, seats.now_ms);
		return;
	}
	if (k)
		hn_kept_let_go(k);
	if (k || s->to >= 0 || (!s->wait && s->ready))
		hn_thread_decided(t, HN_FOLLOW_THREAD, HN_NO_NODE, since_when(s));
}

static void decide(struct hn_worker *w, uint32_t now_ms)
{
	struct hn_affinity *a = &hn_agent.affinity;
	bool late = now_ms - a->begun_ms >= FIRST_MS;
	uint32_t i, load = 0;
	uint64_t old;

	look(w, now_ms);
	if (seats.unmeasured && !a->settled && !late)
		return;
	hn_place(seats.seat, seats.nr, seats.room, nr_nodes());
	publish_claims();
	withdraw();
	old = hn_kept_lock();
	for (i = 0; i < seats.nr; i++) {
		carry_out(w, &seats.seat[i], seats.thread[i]);
		load += seats.seat[i].load;
	}
	hn_kept_unlock(old);
	a->settled |= hn_stat_read(&w->hn.stats->managed_pages) && !seats.withdrawn && (load >= HN_AT_WORK || late);
}

static void begin(const struct hn_machine *m, uint32_t now_ms)
{
	struct hn_affinity *a = &hn_agent.affinity;

	a->on = true;
	a->settled = false;
	a->machine = m;
	a->begun_ms = a->next_ms = now_ms;
	a->idle_ms = a->first_ms = 0;
	memset(a->avoid_until_ms, 0, sizeof(a->avoid_until_ms));
}

/* Of the agent's time at most so much. */
static void set_next(uint32_t now_ms, uint64_t cpu_ns)
{
	uint32_t wait = seats.waiting || seats.withdrawn ? SOON_MS : LOOK_MS;
	uint64_t least = cpu_ns / 1000000 * SHARE;

	if (!hn_agent.affinity.settled)
		wait = MEASURE_MS + (uint32_t)(hn_agent.slot - hn_agent.shm->slot) % 4 * STAGGER_MS;
	else if (least > wait)
		wait = least < LATEST_MS ? (uint32_t)least : LATEST_MS;
	hn_agent.affinity.next_ms = now_ms + wait;
}

bool hn_affinity_unsettled(struct hn_worker *w, uint32_t now_ms)
{
	struct hn_affinity *a = &hn_agent.affinity;

	if (!a->on || a->settled)
		return false;
	if (!a->first_ms && hn_stat_read(&w->hn.stats->managed_pages))
		a->first_ms = now_ms | 1;
	return !a->first_ms || now_ms - a->first_ms < FIRST_MS;
}

bool hn_affinity_waits(void) { return hn_agent.affinity.on && seats.waiting; }

bool hn_affinity_pass(struct hn_worker *w, const struct hn_machine *m, const struct hn_config *c)
{
	bool on = c->move_threads && m->nr_nodes > 1 && !m->deal_threads && c->policy != HN_POLICY_OBSERVE;
	struct hn_affinity *a = &hn_agent.affinity;
	uint32_t now_ms = hn_live_now_ms();
	bool settled = a->on && a->settled;

	seats.moved = 0;
	hn_threads_let_move(&w->hn, on, now_ms);
	if (!on) {
		if (a->on)
			hn_affinity_release_all();
	} else {
		if (!a->on)
			begin(m, now_ms);
		if ((int32_t)(now_ms - a->next_ms) >= 0 && hn_affinity_look_at_cpuset()) {
			uint64_t cpu = hn_live_cpu_ns(NULL);

			hn_threads_sum(&w->hn);
			decide(w, now_ms);
			hn_kept_review(w, a->idle, now_ms);
			set_next(now_ms, hn_live_cpu_ns(NULL) - cpu);
		}
	}
	__atomic_store_n(&hn_agent.slot->threads_kept, hn_load_relaxed(&a->nr), __ATOMIC_RELAXED);
	return settled && seats.moved;
}
