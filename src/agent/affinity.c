// SPDX-License-Identifier: MIT
/*
 * affinity.c - keeping threads on the CPUs of a node (move.threads): what the kernel is told, and how it is undone. Who is to be
 * where is found out in seats.c and decided in core/place.c; why, and how pages and threads keep out of each other's way,
 * is in docs/policy.md.
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
#include <string.h>

#include "agent/agent.h"
#include "agent/affinity.h"
#include "linux/sys.h"

#define CROWDED_MS 1000u   /* waiting for a CPU is looked at over this time */
#define SETTLE_LOOKS 2u    /* so many times not: the kernel needs a moment to send others away from there */
#define CROWDED_SHARE 250u /* permille of it spent waiting: too much, where there are idle CPUs elsewhere; ... */
#define PACKED_SHARE 400u  /* ... and far too much */
#define CROWDED_LOOKS 2u   /* so many times in a row: no accident */
#define PATIENCE_BITS 2u   /* of the process number, others each time: of two programs that crowd a node one leaves first */

/* ---- the kernel ---- */

static bool get_mask(uint32_t tid, struct hn_cpu_mask *m)
{
	memset(m, 0, sizeof(*m));
	return HN_SYS(SYS_sched_getaffinity, tid, sizeof(*m), m, 0, 0, 0) > 0;
}

static int set_mask(uint32_t tid, const struct hn_cpu_mask *m)
{
	return (int)HN_SYS(SYS_sched_setaffinity, tid, sizeof(*m), m, 0, 0, 0);
}

static bool same_mask(const struct hn_cpu_mask *a, const struct hn_cpu_mask *b) { return memcmp(a, b, sizeof(*a)) == 0; }

bool hn_affinity_look_at_cpuset(void) { return get_mask(0, &hn_agent.affinity.cpuset); }

bool hn_affinity_is_free(uint32_t tid)
{
	struct hn_cpu_mask m;

	return get_mask(tid, &m) && same_mask(&m, &hn_agent.affinity.cpuset);
}

static uint32_t node_mask(int node, const struct hn_cpu_mask *cpuset, struct hn_cpu_mask *out)
{
	const struct hn_machine *m = hn_agent.affinity.machine;
	uint32_t cpu, nr = 0;

	memset(out, 0, sizeof(*out));
	for (cpu = 0; cpu < m->nr_cpus && cpu < HN_MAX_CPUS; cpu++)
		if (m->cpu_node[cpu] == node && (cpuset->word[cpu / 64] >> (cpu % 64) & 1)) {
			out->word[cpu / 64] |= (uint64_t)1 << (cpu % 64);
			nr++;
		}
	return nr;
}

uint32_t hn_affinity_cpus(int node)
{
	struct hn_cpu_mask m;

	return node_mask(node, &hn_agent.affinity.cpuset, &m);
}

static uint32_t wait_share(uint64_t run, uint64_t wait) { return run + wait ? (uint32_t)(wait * 1000 / (run + wait)) : 0; }

/* ---- who is kept; under the lock, which program threads take with all signals blocked ---- */

uint64_t hn_kept_lock(void)
{
	return hn_lock_undisturbed(&hn_agent.affinity.lock);
}

void hn_kept_unlock(uint64_t old)
{
	hn_unlock_undisturbed(&hn_agent.affinity.lock, old);
}

struct hn_kept *hn_kept_find(uint32_t tid)
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

	node_mask(k->node, cpuset, &ours);
	return get_mask(k->tid, &now) && same_mask(&now, &ours);
}

/* Wherever the cpuset allows; what the kernel makes of more CPUs than there are. */
void hn_kept_let_go(struct hn_kept *k)
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

	if (!hn_load_acquire(&hn_agent.affinity.nr) || !hn_agent_is_ours())
		return;
	old = hn_kept_lock();
	k = hn_kept_find((uint32_t)hn_sys_gettid());
	if (k)
		hn_kept_let_go(k);
	hn_kept_unlock(old);
}

void hn_affinity_release_all(void)
{
	uint64_t old = hn_kept_lock();
	uint32_t nr, n;

	while ((nr = hn_load_relaxed(&hn_agent.affinity.nr)) != 0)
		hn_kept_let_go(&hn_agent.affinity.kept[nr - 1]);
	hn_kept_unlock(old);
	for (n = 0; n < HN_MAX_NODES; n++)
		__atomic_store_n(&hn_agent.slot->claim[n], 0, __ATOMIC_RELAXED);
	hn_agent.affinity.on = false; /* whoever comes back begins anew, maybe as another agent with another machine to look at */
}

/* In a forked child: nobody else is here, and whoever forked was let go before. */
void hn_affinity_reset(void)
{
	hn_agent.affinity.lock = (struct hn_word){ 0 };
	hn_agent.affinity.nr = (struct hn_word){ 0 };
	hn_agent.affinity.on = false;
}

/* ---- keeping; scanner ---- */

static void say_denied(void)
{
	if (hn_agent.affinity.denied)
		return;
	hn_agent.affinity.denied = true;
	hn_slot_say(hn_agent.slot, "threads are not moved: the kernel refuses it; a program with privileges must be started with "
				   "--move-threads", 0);
}

/* Under the lock, right after reading back. */
bool hn_kept_keep(struct hn_live *live, uint32_t tid, int node, uint32_t now_ms)
{
	struct hn_affinity *a = &hn_agent.affinity;
	struct hn_kept *k = hn_kept_find(tid);
	struct hn_cpu_mask m;
	struct hn_task_times t;
	int err;

	if (!node_mask(node, &a->cpuset, &m))
		return false;
	if (k ? !still_ours(k, &a->cpuset) : (!hn_affinity_is_free(tid) || hn_load_relaxed(&a->nr) == HN_MAX_KEPT))
		return false;
	err = set_mask(tid, &m);
	if (err == -EPERM)
		say_denied();
	if (err) /* it has ended since, or the cpuset is another by now */
		return false;
	if (!k) {
		k = &a->kept[hn_load_relaxed(&a->nr)];
		hn_store_release(&a->nr, hn_load_relaxed(&a->nr) + 1);
	}
	hn_task_times(live, tid, &t);
	*k = (struct hn_kept){ .tid = tid, .node = node, .looked_ms = now_ms, .run_ns = t.run_ns, .wait_ns = t.wait_ns };
	return true;
}

/*
 * Has one other node idle CPUs for most of what is kept here; or, as others would be sent away from there, for half of it? A
 * little idle on all of them is nothing: that is how a machine looks that is busy everywhere.
 */
static bool better_elsewhere(int node, const uint32_t *idle, bool packed)
{
	uint32_t kept = __atomic_load_n(&hn_agent.slot->claim[node], __ATOMIC_RELAXED), n, most = 0;

	for (n = 0; n < HN_MAX_NODES; n++)
		if (n != (uint32_t)node && idle[n] > most)
			most = idle[n];
	return most >= (packed ? kept / 2 : kept / 4 * 3);
}

static uint32_t patience(void)
{
	return CROWDED_LOOKS + (hn_agent.pid >> hn_agent.affinity.left * PATIENCE_BITS % 16) % (1u << PATIENCE_BITS);
}

/* Being there makes it wait for CPUs, and elsewhere it would not. */
static bool is_crowded(struct hn_live *live, struct hn_kept *k, const uint32_t *idle, uint32_t now_ms)
{
	struct hn_task_times t;
	uint32_t share;

	if (now_ms - k->looked_ms < CROWDED_MS)
		return false;
	hn_task_times(live, k->tid, &t);
	share = wait_share(t.run_ns - k->run_ns, t.wait_ns - k->wait_ns);
	k->looked_ms = now_ms;
	k->run_ns = t.run_ns;
	k->wait_ns = t.wait_ns;
	if (k->looks < SETTLE_LOOKS) {
		k->looks++;
		return false;
	}
	if (share > CROWDED_SHARE && better_elsewhere(k->node, idle, share > PACKED_SHARE))
		k->crowded++;
	else
		k->crowded = 0;
	return k->crowded >= patience();
}

/* Those that were brought there together leave together, and wait for a new decision. */
static void let_node_go(struct hn_worker *w, int node, uint32_t now_ms)
{
	struct hn_affinity *a = &hn_agent.affinity;
	uint32_t i = 0;

	a->avoid_until_ms[node] = (now_ms + HN_AVOID_MS) | 1;
	a->left++;
	while (i < hn_load_relaxed(&a->nr)) {
		struct hn_thread *t;

		if (a->kept[i].node != node) {
			i++;
			continue;
		}
		t = hn_thread_find(&w->hn, a->kept[i].tid);
		if (t)
			hn_thread_decided(t, HN_FOLLOW_UNDECIDED, HN_NO_NODE, now_ms);
		hn_kept_let_go(&a->kept[i]);
	}
}

void hn_kept_review(struct hn_worker *w, const uint32_t *idle, uint32_t now_ms)
{
	uint64_t old = hn_kept_lock();
	uint32_t i = 0;

	while (i < hn_load_relaxed(&hn_agent.affinity.nr)) {
		struct hn_kept *k = &hn_agent.affinity.kept[i];

		if (!still_ours(k, &hn_agent.affinity.cpuset)) {
			forget(k); /* ended, or the program's again */
		} else if (is_crowded(w->live, k, idle, now_ms)) {
			let_node_go(w, k->node, now_ms);
			i = 0;
		} else {
			i++;
		}
	}
	hn_kept_unlock(old);
}
