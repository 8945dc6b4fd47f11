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
 * The kernel's balancing asks the policy of a mapping, or else of whichever thread happens to run its scan: MPOL_DEFAULT
 * is balanced, MPOL_LOCAL, which places memory the same way, is not. So managed mappings get MPOL_LOCAL while the kernel
 * balances, and lose it when they are given up; the rest of the program stays the kernel's. The agent's threads have it
 * for themselves (scanner.c).
 */
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <string.h>

#include "linux/live.h"
#include "linux/sys.h"

#define MAX_THREADS 64u /* looked at; more are not worth the time */
#define FIRST_READ 96u  /* the kernel makes as many lines as are asked for, and walks what each maps */
#define OUR_MODE MPOL_LOCAL

/* MPOL_DEFAULT when the mapping has none. */
static int range_policy(hn_addr addr)
{
	int mode = MPOL_DEFAULT;

	HN_SYS(SYS_get_mempolicy, &mode, NULL, 0, addr, MPOL_F_ADDR, 0);
	return mode;
}

/* The word and nothing more of it. Behind it the line ends where nothing is mapped, as when all its pages are armed. */
static bool begins(const char *p, const char *end, const char *word)
{
	while (*word && p < end && *p == *word) {
		p++;
		word++;
	}
	return *word == '\0' && p < end && (*p == ' ' || *p == '\n');
}

static hn_addr parse_hex(const char **p, const char *end)
{
	hn_addr v = 0;

	for (; *p < end && **p != ' ' && **p != '\n'; (*p)++)
		v = v * 16 + (hn_addr)(**p <= '9' ? **p - '0' : **p - 'a' + 10);
	return v;
}

/* "ADDRESS POLICY ...": the first mapping that has no policy tells the thread's. The last line may be cut off. */
enum hn_task_policy hn_parse_task_policy(const char *p, const char *end)
{
	while (p < end) {
		hn_addr addr = parse_hex(&p, end);

		if (p + sizeof(" default ") > end)
			break;
		p++;
		if (range_policy(addr) == MPOL_DEFAULT)
			return begins(p, end, "default") ? HN_TASK_DEFAULT : begins(p, end, "local") ? HN_TASK_LOCAL : HN_TASK_OWN;
		while (p < end && *p++ != '\n')
			;
	}
	return HN_TASK_UNKNOWN;
}

static enum hn_task_policy task_policy(const struct hn_live *live, uint32_t tid)
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
		policy = hn_parse_task_policy(buf, buf + n);
	if (policy == HN_TASK_UNKNOWN && n > 0) {
		n = hn_sys_pread((int)fd, buf, sizeof(buf), 0);
		if (n > 0)
			policy = hn_parse_task_policy(buf, buf + n);
	}
	hn_sys_close((int)fd);
	return policy;
}

static bool look_at_thread(struct hn_live *live, uint32_t tid)
{
	enum hn_task_policy policy = task_policy(live, tid);

	live->seen_own |= policy == HN_TASK_OWN;
	live->seen_default |= policy == HN_TASK_DEFAULT;
	return ++live->seen_threads < MAX_THREADS;
}

static bool kernel_balances(void)
{
	char mode[8];

	return hn_sys_read_file("/proc/sys/kernel/numa_balancing", mode, sizeof(mode)) && mode[0] != '0';
}

void hn_policy_look(struct hn_live *live)
{
	uint32_t now = hn_live_now_ms();

	if (live->setup.is_virtual)
		return;
	live->seen_threads = 0;
	live->seen_own = live->seen_default = false;
	hn_each_thread(live, look_at_thread);
	live->task_policy = live->seen_own && !live->setup.own_policy_too;
	live->fence = live->seen_default && live->setup.nr_nodes > 1 && kernel_balances();
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

bool hn_policy_is_own(struct hn_live *live, hn_addr addr, bool fenced)
{
	int mode;

	if (live->setup.own_policy_too || live->setup.is_virtual)
		return false;
	mode = range_policy(addr);
	if (mode == OUR_MODE && fenced)
		mode = MPOL_DEFAULT;
	if (mode == MPOL_DEFAULT && live->task_policy) {
		live->left_alone = true;
		return true;
	}
	return mode != MPOL_DEFAULT && mode != MPOL_LOCAL;
}

void hn_policy_fence(struct hn_live *live, hn_addr start, hn_addr end)
{
	struct hn_region *r;

	if (!live->fence || range_policy(start) != MPOL_DEFAULT)
		return;
	r = hn_region_at(live, start);
	if (r && HN_SYS(SYS_mbind, start, end - start, OUR_MODE, NULL, 0, 0) == 0)
		r->fenced = true;
}

void hn_policy_unfence(struct hn_live *live, hn_addr start, hn_addr end)
{
	const struct hn_region *r = hn_region_at(live, start);

	if (r && r->fenced && range_policy(start) == OUR_MODE)
		HN_SYS(SYS_mbind, start, end - start, MPOL_DEFAULT, NULL, 0, 0);
}
