// SPDX-License-Identifier: MIT
/*
 * policy.c - memory policies: what the program has decided itself is respected, and the kernel's balancing is kept off
 * what is managed.
 *
 * A range with a policy (mbind) says so when asked for its address. Memory without one goes where the policy of the
 * thread that touches it says (numactl, set_mempolicy), and of other threads than itself a thread can only ask
 * /proc/PID/task/TID/numa_maps, which shows it for every mapping without a policy; the first one is enough. Which
 * thread touched which memory first is not known, so one thread with a policy of its own is taken for the program.
 *
 * Two policies, bind and preferred-many, can say MPOL_F_NUMA_BALANCING: balance this, but among these nodes only. The pages
 * get a wish (core.h) that says so too. Such a policy may be a mapping's or, when all threads that have one have the same,
 * the program's.
 *
 * The kernel's balancing asks the policy of a mapping, or else of whichever thread happens to run its scan: MPOL_DEFAULT
 * is balanced, MPOL_LOCAL, which places memory the same way, is not; nor is what is bound without that flag. So while the
 * kernel balances, managed mappings get the like of their policy that is not balanced, and their own back when they are
 * given up; the rest of the program stays the kernel's. The agent's threads have MPOL_LOCAL for themselves (setup.c).
 */
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <string.h>

#include "linux/live.h"
#include "linux/sys.h"

#define MAX_THREADS 64u  /* looked at; more are not worth the time */
#define POLICIES_MS 500u /* between two looks at them, unless memory is about to be taken */
#define FIRST_READ 96u  /* the kernel makes as many lines as are asked for, and walks what each maps */
#define BALANCING (1 << 13) /* MPOL_F_NUMA_BALANCING, of which older headers know nothing */
#define MODE_FLAGS (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | BALANCING)
#define MODE_MANY 5 /* MPOL_PREFERRED_MANY */

/* MPOL_DEFAULT when the mapping has none. Nodes that have no bit: it is one that we do not understand. */
static struct hn_mempolicy range_policy(hn_addr addr)
{
	struct hn_mempolicy p = { MPOL_DEFAULT, 0 };
	unsigned long mask[16] = { 0 };
	unsigned i;

	HN_SYS(SYS_get_mempolicy, &p.mode, mask, 1024, addr, MPOL_F_ADDR, 0);
	p.nodes = mask[0];
	for (i = 1; i < 16; i++)
		if (mask[i])
			p.mode |= MPOL_F_RELATIVE_NODES;
	return p;
}

/* Relative nodes are the kernel's to count. */
static bool is_balanced(const struct hn_mempolicy *p)
{
	int mode = p->mode & ~MODE_FLAGS;

	return (mode == MPOL_BIND || mode == MODE_MANY) && (p->mode & BALANCING) && !(p->mode & MPOL_F_RELATIVE_NODES);
}

static long bind_range(hn_addr start, hn_addr end, const struct hn_mempolicy *p)
{
	unsigned long mask = p->nodes;

	return HN_SYS(SYS_mbind, start, end - start, p->mode, mask ? &mask : NULL, mask ? 65 : 0, 0);
}

/* The kernel's numbers of nodes as indices; those that we know nothing of are left out. */
static uint64_t indices_of(const struct hn_live *live, uint64_t os_nodes)
{
	uint64_t nodes = 0;
	uint32_t i;

	for (i = 0; i < live->setup.nr_nodes; i++)
		if (live->setup.os_nid[i] < 64 && (os_nodes >> live->setup.os_nid[i] & 1))
			nodes |= (uint64_t)1 << i;
	return nodes;
}

static hn_addr parse_hex(const char **p, const char *end)
{
	hn_addr v = 0;

	for (; *p < end && **p != ' ' && **p != '\n'; (*p)++)
		v = v * 16 + (hn_addr)(**p <= '9' ? **p - '0' : **p - 'a' + 10);
	return v;
}

static bool skip(const char **p, const char *end, const char *word)
{
	const char *at = *p;

	while (*word && at < end && *at == *word) {
		at++;
		word++;
	}
	if (*word)
		return false;
	*p = at;
	return true;
}

/* The word and nothing more of it. Behind it the line ends where nothing is mapped, as when all its pages are armed. */
static bool begins(const char *p, const char *end, const char *word)
{
	return skip(&p, end, word) && p < end && (*p == ' ' || *p == '\n');
}

static uint32_t parse_number(const char **p, const char *end)
{
	uint32_t v = 0;

	for (; *p < end && **p >= '0' && **p <= '9'; (*p)++)
		v = v < 100000 ? v * 10 + (uint32_t)(**p - '0') : v;
	return v;
}

/* "0-1,3 ": false when there is more to it, or a node without a bit. */
static bool parse_nodes(const char *p, const char *end, uint64_t *nodes)
{
	*nodes = 0;
	while (p < end && *p >= '0' && *p <= '9') {
		uint32_t first = parse_number(&p, end), last = first;

		if (skip(&p, end, "-"))
			last = parse_number(&p, end);
		for (; first <= last && first < 64; first++)
			*nodes |= (uint64_t)1 << first;
		if (last >= 64)
			return false;
		skip(&p, end, ",");
	}
	return p < end && (*p == ' ' || *p == '\n') && *nodes;
}

/* "bind=balancing:0-1": kernels before 6.9 or so leave the flag out, and such a policy is like any other there. */
static bool parse_bound(const char *p, const char *end, struct hn_mempolicy *bound)
{
	int mode = MPOL_BIND | BALANCING;

	if (!skip(&p, end, "bind=")) {
		if (!skip(&p, end, "prefer (many)="))
			return false;
		mode = MODE_MANY | BALANCING;
	}
	if (skip(&p, end, "static|"))
		mode |= MPOL_F_STATIC_NODES;
	bound->mode = mode;
	return skip(&p, end, "balancing:") && parse_nodes(p, end, &bound->nodes);
}

/* Where there is a list of nodes its end must be seen. */
static bool is_cut_off(const char *p, const char *end)
{
	while (p < end && *p != '=' && *p != '\n')
		p++;
	while (p < end && *p != ' ' && *p != '\n')
		p++;
	return p == end;
}

static enum hn_task_policy parse_policy(const char *p, const char *end, struct hn_mempolicy *bound)
{
	if (begins(p, end, "default"))
		return HN_TASK_DEFAULT;
	if (begins(p, end, "local"))
		return HN_TASK_LOCAL;
	if (parse_bound(p, end, bound))
		return HN_TASK_BOUND;
	return is_cut_off(p, end) ? HN_TASK_UNKNOWN : HN_TASK_OWN;
}

/* "ADDRESS POLICY ...": the first mapping that has no policy tells the thread's. The last line may be cut off. */
enum hn_task_policy hn_parse_task_policy(const char *p, const char *end, struct hn_mempolicy *bound)
{
	while (p < end) {
		hn_addr addr = parse_hex(&p, end);

		if (p + sizeof(" default ") > end)
			break;
		p++;
		if (range_policy(addr).mode == MPOL_DEFAULT)
			return parse_policy(p, end, bound);
		while (p < end && *p++ != '\n')
			;
	}
	return HN_TASK_UNKNOWN;
}

static enum hn_task_policy task_policy(const struct hn_live *live, uint32_t tid, struct hn_mempolicy *bound)
{
	enum hn_task_policy policy = HN_TASK_UNKNOWN;
	char path[64], buf[2048];
	long fd, n;

	hn_number_path(path, "", tid, "/numa_maps");
	fd = hn_sys_open_at(live->fd_task, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return HN_TASK_UNKNOWN;
	n = hn_sys_pread((int)fd, buf, FIRST_READ, 0);
	if (n > 0)
		policy = hn_parse_task_policy(buf, buf + n, bound);
	if (policy == HN_TASK_UNKNOWN && n > 0) {
		n = hn_sys_pread((int)fd, buf, sizeof(buf), 0);
		if (n > 0)
			policy = hn_parse_task_policy(buf, buf + n, bound);
	}
	hn_sys_close((int)fd);
	return policy;
}

static bool look_at_thread(struct hn_live *live, uint32_t tid)
{
	struct hn_mempolicy bound;
	enum hn_task_policy policy = task_policy(live, tid, &bound);

	if (policy == HN_TASK_BOUND && live->seen_bound.nodes && !hn_policy_is_same(&bound, &live->seen_bound))
		policy = HN_TASK_OWN; /* whose memory is whose cannot be told */
	if (policy == HN_TASK_BOUND)
		live->seen_bound = bound;
	live->seen_own |= policy == HN_TASK_OWN;
	live->seen_default |= policy == HN_TASK_DEFAULT;
	return ++live->seen_threads < MAX_THREADS;
}

static bool kernel_balances(void)
{
	char mode[8];

	return hn_sys_read_file("/proc/sys/kernel/numa_balancing", mode, sizeof(mode)) && mode[0] != '0';
}

static void set_task_bound(struct hn_live *live, struct hn_mempolicy p)
{
	live->task_bound.mode = p.mode;
	__atomic_store_n(&live->task_bound.nodes, p.nodes, __ATOMIC_RELAXED);
}

void hn_policy_look(struct hn_live *live)
{
	uint32_t now = hn_live_now_ms();

	live->unbound = live->unbound_now;
	live->unbound_now = 0;
	__atomic_store_n(live->cnt.unbound_mappings, live->unbound, __ATOMIC_RELAXED);
	if (live->setup.is_virtual || (!live->growing && !live->setup.eager && now - live->policies_ms < POLICIES_MS))
		return;
	live->policies_ms = now;
	live->seen_threads = 0;
	live->seen_own = live->seen_default = false;
	live->seen_bound = (struct hn_mempolicy){ 0 };
	hn_each_thread(live, look_at_thread);
	live->task_policy = live->seen_own && !live->setup.own_policy_too;
	if (live->seen_own || live->setup.own_policy_too)
		live->seen_bound.nodes = 0;
	set_task_bound(live, live->seen_bound);
	live->balances = live->setup.nr_nodes > 1 && kernel_balances();
	live->fence = live->seen_default && live->balances;
	if (!live->task_policy)
		live->own_since_ms = 0;
	else if (!live->own_since_ms)
		live->own_since_ms = now ? now : 1;
}

uint64_t hn_policy_allowed(const struct hn_live *live, uint64_t wanted)
{
	unsigned long mems[16];
	uint64_t allowed = 0;
	uint32_t i;

	memset(mems, 0xff, sizeof(mems));
	if (!live->setup.is_virtual)
		HN_SYS(SYS_get_mempolicy, NULL, mems, 1024, 0, MPOL_F_MEMS_ALLOWED, 0);
	for (i = 0; i < live->setup.nr_nodes; i++) {
		uint32_t os = live->setup.is_virtual ? i : (uint32_t)live->setup.os_nid[i];

		if ((!wanted || (os < 64 && (wanted >> os & 1))) && (mems[os / 64] >> (os % 64) & 1))
			allowed |= (uint64_t)1 << i;
	}
	return allowed;
}

/* The mapping's own, whatever we have put in its place. */
static struct hn_mempolicy own_policy(hn_addr addr, const struct hn_fence *fence)
{
	struct hn_mempolicy p = range_policy(addr);

	return fence && fence->up && hn_policy_is_same(&p, &fence->now) ? fence->was : p;
}

enum hn_range_rule hn_policy_rule(struct hn_live *live, hn_addr addr, const struct hn_fence *fence, uint64_t *nodes)
{
	struct hn_mempolicy p;

	*nodes = 0;
	if (live->setup.own_policy_too || live->setup.is_virtual)
		return HN_RANGE_FREE;
	p = own_policy(addr, fence);
	if (p.mode == MPOL_DEFAULT && live->task_policy) {
		live->left_alone = true;
		return HN_RANGE_OWN;
	}
	if (p.mode == MPOL_DEFAULT && live->task_bound.nodes)
		p = live->task_bound;
	if (is_balanced(&p))
		*nodes = indices_of(live, p.nodes);
	if (*nodes)
		return HN_RANGE_BOUND;
	return p.mode == MPOL_DEFAULT || p.mode == MPOL_LOCAL ? HN_RANGE_FREE : HN_RANGE_OWN;
}

/* ---- the fence ---- */

struct hn_fence hn_policy_fence_for(const struct hn_live *live, hn_addr addr)
{
	struct hn_mempolicy was = { MPOL_DEFAULT, 0 }, now;

	if (!live->balances || live->setup.own_policy_too || live->setup.is_virtual)
		return (struct hn_fence){ false, was, was };
	was = range_policy(addr);
	now = was.mode == MPOL_DEFAULT && live->task_bound.nodes ? live->task_bound : was;
	if (is_balanced(&now)) {
		now.mode &= ~BALANCING;
		return (struct hn_fence){ true, was, now };
	}
	return (struct hn_fence){ was.mode == MPOL_DEFAULT && live->fence, was, { MPOL_LOCAL, 0 } };
}

struct exchange {
	const struct hn_mempolicy *from, *to;
	bool done;
};

static void exchange_piece(void *arg, const struct hn_vma *piece)
{
	struct hn_mempolicy p = range_policy(piece->start);
	struct exchange *x = arg;

	if (hn_policy_is_same(&p, x->from))
		x->done |= bind_range(piece->start, piece->end, x->to) == 0;
}

/*
 * Mapping by mapping: the program may have given a part another policy meanwhile, which is its own to keep, and where a part is
 * missing the kernel would refuse all of it. True: some of it has the new one.
 */
static bool exchange(const struct hn_live *live, hn_addr start, hn_addr end, const struct hn_mempolicy *from,
		     const struct hn_mempolicy *to)
{
	struct exchange x = { from, to, false };

	hn_maps_within(live, start, end, exchange_piece, &x);
	return x.done;
}

/* It is taken down region by region, so what is to be undone differently has to be a region of its own. */
void hn_policy_fence(struct hn_live *live, hn_addr start, hn_addr end, const struct hn_fence *fence)
{
	struct hn_region *r = hn_region_at(live, start);
	bool split = r && !hn_fence_is_same(&r->fence, fence);

	if (!fence->up || !r || (split && live->nr_regions + 2 >= HN_MAX_REGIONS) ||
	    !exchange(live, start, end, &fence->was, &fence->now) || !split)
		return;
	hn_region_cut(live, start, end);
	hn_region_add(live, start, end, fence);
}

void hn_policy_unfence(struct hn_live *live, hn_addr start, hn_addr end)
{
	const struct hn_region *r = hn_region_at(live, start);

	if (r && r->fence.up)
		exchange(live, start, end, &r->fence.now, &r->fence.was);
}

/* ---- first touches ---- */

static int nearest(const struct hn_live *live, uint64_t nodes, int nid)
{
	int best = HN_NO_NODE, i;

	if (nid < 0)
		nid = 0;
	for (i = 0; i < (int)live->setup.nr_nodes; i++)
		if ((nodes >> i & 1) &&
		    (best == HN_NO_NODE || live->setup.distance[nid][i] < live->setup.distance[nid][best]))
			best = i;
	return best;
}

/* What touches no memory yet goes where the mapping's policy says, or else the thread's: one question to the kernel. */
int hn_policy_hole_node(const struct hn_live *live, hn_addr addr, int nid)
{
	int local = nid < 0 ? 0 : nid;
	struct hn_mempolicy p;
	uint64_t bound;

	if (live->setup.own_policy_too || live->setup.is_virtual)
		return local;
	p = range_policy(addr);
	if (p.mode & MPOL_F_RELATIVE_NODES)
		return HN_NO_NODE;
	switch (p.mode & ~MODE_FLAGS) {
	case MPOL_DEFAULT:
		bound = __atomic_load_n(&live->task_bound.nodes, __ATOMIC_RELAXED);
		return bound ? nearest(live, indices_of(live, bound), nid) : local;
	case MPOL_LOCAL: return local;
	case MPOL_PREFERRED:
	case MPOL_BIND:
	case MODE_MANY: return p.nodes ? nearest(live, indices_of(live, p.nodes), nid) : local;
	default: return HN_NO_NODE; /* interleaved, or one that we do not know: the kernel places each small page */
	}
}
