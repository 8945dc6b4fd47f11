// SPDX-License-Identifier: MIT
/*
 * who.c - which node a faulting thread runs on, which memory belongs to threads themselves, and how they get on.
 *
 * The message names the thread. get_robust_list(2) tells where libc keeps the head of its robust list; with one libc
 * the thread pointer and the rseq area are at fixed distances from it, learnt once in an ordinary thread. The rseq area
 * holds the CPU of the access while the thread sleeps. It is read by the kernel on our behalf, so that a thread that
 * dies meanwhile costs an error and not a crash. No registry, nothing to leak, threads made behind libc included.
 */
#include <fcntl.h>
#include <linux/rseq.h>
#include <sys/uio.h>

#include "linux/live.h"
#include "linux/number.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define KNOWN_MS 1000u

#define MAX_CPU 100000 /* more than that is no CPU */

/* glibc 2.35 and later say where the area is, from the thread pointer; weak, because older ones do not. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

static hn_addr robust_list(uint32_t tid)
{
	hn_addr head = 0;
	size_t len = 0;

	return HN_SYS(SYS_get_robust_list, tid, &head, &len, 0, 0, 0) == 0 ? head : 0;
}

void hn_who_learn(ptrdiff_t *rseq_from_robust, ptrdiff_t *tp_from_robust)
{
	hn_addr tp = (hn_addr)(uintptr_t)__builtin_thread_pointer(), head = robust_list(0);

	*rseq_from_robust = *tp_from_robust = 0;
	if (!head)
		return;
	*tp_from_robust = (ptrdiff_t)(tp - head);
	if (&__rseq_offset && &__rseq_size && __rseq_size)
		*rseq_from_robust = (ptrdiff_t)(tp - head) + __rseq_offset;
}

/*
 * Read 8 bytes that may be gone: an eventfd takes a number from memory and gives it back, at a third of what
 * process_vm_readv costs. Only who leads asks where a thread is, so the one descriptor has one reader, and is empty between
 * two uses. False also for the one number that an eventfd refuses, which is no area in use anyway.
 */
static bool probe_u64(const struct hn_live *live, hn_addr from, uint64_t *to)
{
	if (HN_SYS(SYS_write, live->fd_probe, from, sizeof(*to), 0, 0, 0) != (long)sizeof(*to))
		return false;
	if (hn_sys_read(live->fd_probe, to, sizeof(*to)) != (long)sizeof(*to))
		*to = 0; /* nothing to read after a write: the number was zero */
	return true;
}

/*
 * Asking for the list costs as much as reading through it, and threads fault more than once. When the thread has ended
 * since and its number is another's, a wrong sample is all that comes of it; but its memory may be managed by now, where
 * nothing is read. So inside our regions the answer is always fresh.
 */
static hn_addr known_robust_list(struct hn_worker *w, uint32_t tid)
{
	struct hn_known *k = &w->known[tid % HN_KNOWN_THREADS];
	uint32_t now_ms = hn_live_now_ms();

	if (k->tid != tid || (int32_t)(k->until_ms - now_ms) < 0)
		*k = (struct hn_known){ tid, now_ms + KNOWN_MS, robust_list(tid) };
	else if (hn_region_at(w->live, k->robust + (hn_addr)w->live->rseq_from_robust))
		return robust_list(tid);
	return k->robust;
}

/*
 * Never in a region, where the page may be armed: who leads would sleep until it had served itself. Thread areas are excluded, but
 * not before the next look, and not all of them where there are more than the table has room for. With the gate held regions stay
 * what they are.
 */
static int cpu_from_rseq(struct hn_worker *w, uint32_t tid)
{
	struct hn_live *live = w->live;
	hn_addr head = live->rseq_from_robust ? known_robust_list(w, tid) : 0, area = head + (hn_addr)live->rseq_from_robust;
	uint32_t cpu_id_start, cpu_id;
	uint64_t both;

	if (!head || hn_region_at(live, area) || !probe_u64(live, area, &both))
		return -1;
	cpu_id_start = (uint32_t)both; /* the two first members of struct rseq */
	cpu_id = (uint32_t)(both >> 32);
	/* Another libc's threads have something else there: believe only what looks like an area in use. */
	return cpu_id == cpu_id_start && cpu_id < live->setup.nr_cpus ? (int)cpu_id : -1;
}

static char *put_str(char *p, const char *s)
{
	while (*s)
		*p++ = *s++;
	return p;
}

static char *put_dec(char *p, uint32_t v)
{
	char digits[10];
	int n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*p++ = digits[--n];
	return p;
}

void hn_number_path(char *buf, const char *a, uint32_t number, const char *b)
{
	*put_str(put_dec(put_str(buf, a), number), b) = '\0';
}

/* Field 39, counted from behind the command name, which may hold anything. */
int hn_stat_cpu(const char *buf, size_t len)
{
	const char *p = buf + len, *end = p;
	int field = 2, cpu = 0;

	while (p > buf && p[-1] != ')')
		p--;
	for (; p < end && field < 39; p++)
		field += *p == ' ';
	if (p == end || *p < '0' || *p > '9')
		return -1;
	for (; p < end && *p >= '0' && *p <= '9' && cpu < MAX_CPU; p++)
		cpu = cpu * 10 + (*p - '0');
	return cpu;
}

static int cpu_from_stat(const struct hn_live *live, uint32_t tid)
{
	char path[64], buf[1024];
	long fd, n;

	hn_number_path(path, "", tid, "/stat");
	fd = hn_sys_open_at(live->fd_task, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = hn_sys_read((int)fd, buf, sizeof(buf));
	hn_sys_close((int)fd);
	return n > 0 ? hn_stat_cpu(buf, (size_t)n) : -1;
}

/* Threads dealt to nodes in order of their first fault. A full table deals by number, which is as good. */
static int dealt_node(struct hn_live *live, uint32_t tid)
{
	uint32_t slot = (tid * 2654435761u) % HN_DEALT_THREADS, i;

	for (i = 0; i < 64; i++, slot = (slot + 1) % HN_DEALT_THREADS) {
		uint32_t who = hn_load_acquire(&live->dealt_tid[slot]);

		if (who == 0 && hn_cas_acquire(&live->dealt_tid[slot], 0, UINT32_MAX)) {
			uint32_t node = hn_add_acq_rel(&live->dealt_next, 1) % live->setup.nr_nodes;

			live->dealt_node[slot] = (uint8_t)node;
			hn_store_release(&live->dealt_tid[slot], tid);
			return (int)node;
		}
		if (hn_load_acquire(&live->dealt_tid[slot]) == tid)
			return live->dealt_node[slot];
	}
	return (int)(tid % live->setup.nr_nodes);
}

int hn_who_node(struct hn_worker *w, uint32_t tid)
{
	struct hn_live *live = w->live;
	int cpu;

	if (live->setup.deal_threads)
		return dealt_node(live, tid);
	cpu = cpu_from_rseq(w, tid);
	if (cpu < 0)
		cpu = cpu_from_stat(live, tid);
	return cpu >= 0 && (uint32_t)cpu < live->setup.nr_cpus ? live->setup.cpu_node[cpu] : HN_NO_NODE;
}

/* ---- what belongs to threads ---- */

/* Below the thread pointer: static TLS, then the stack libc made for the thread. Above: its control block. */
#define STACK_BYTES ((hn_addr)8 << 20)
#define CONTROL_BYTES ((hn_addr)64 << 10)

static void exclude(struct hn_live *live, hn_addr start, hn_addr end)
{
	if (live->nr_excludes < HN_MAX_EXCLUDES)
		live->exclude[live->nr_excludes++] = (struct hn_range){ hn_page_down(start), hn_page_up(end) };
	else
		live->excludes_full = true;
}

/* The mapping that holds addr; false when the kernel is too old to be asked, or there is none. */
static bool mapping_of(const struct hn_live *live, hn_addr addr, struct hn_range *r)
{
	struct hn_procmap_query q = { .size = sizeof(q), .query_addr = addr };

	if (hn_sys_ioctl(live->fd_maps, HN_PROCMAP_QUERY, &q) != 0)
		return false;
	*r = (struct hn_range){ q.vma_start, q.vma_end };
	return true;
}

/*
 * What lies around a thread pointer and may be the thread's: a stack of libc's ends at its guard, which is a mapping of its own,
 * and what lies beyond either end of the mapping is nobody's stack or control block.
 */
static struct hn_range own_of_thread(const struct hn_live *live, hn_addr tp, bool first)
{
	/* The first thread's stack is elsewhere. */
	hn_addr below = first ? CONTROL_BYTES : STACK_BYTES, above = CONTROL_BYTES;
	struct hn_range r;

	if (mapping_of(live, tp, &r)) {
		below = !first && tp - r.start < below ? tp - r.start : below;
		above = r.end - tp < above ? r.end - tp : above;
	}
	return (struct hn_range){ tp > below ? tp - below : 0, tp + above };
}

static bool exclude_thread(struct hn_live *live, uint32_t tid)
{
	hn_addr head = robust_list(tid), tp = head + (hn_addr)live->tp_from_robust;
	struct hn_range own;

	if (!head)
		return true;
	own = own_of_thread(live, tp, tid == (uint32_t)hn_sys_getpid());
	exclude(live, own.start, own.end);
	/* A foreign libc's list head lies in its own control block, wherever that is. */
	if (head < own.start || head >= own.end)
		exclude(live, head, head + 1);
	return true;
}

struct dirent64 {
	uint64_t ino, off;
	uint16_t len;
	uint8_t type;
	char name[];
};

void hn_each_thread(struct hn_live *live, bool (*fn)(struct hn_live *live, uint32_t tid))
{
	char buf[4096] __attribute__((aligned(8)));
	bool more = true;
	long n, i;

	HN_SYS(SYS_lseek, live->fd_task, 0, SEEK_SET, 0, 0, 0);
	while (more && (n = HN_SYS(SYS_getdents64, live->fd_task, buf, sizeof(buf), 0, 0, 0)) > 0) {
		const struct dirent64 *d;

		for (i = 0; more && i < n; i += d->len) {
			uint32_t tid = 0;
			const char *p;

			d = (const struct dirent64 *)(const void *)(buf + i);
			for (p = d->name; *p >= '0' && *p <= '9'; p++)
				tid = tid * 10 + (uint32_t)(*p - '0');
			if (tid)
				more = fn(live, tid);
		}
	}
}

bool hn_is_own_task(struct hn_live *live, uint32_t tid)
{
	char path[64];
	long fd;

	hn_number_path(path, "", tid, "/stat");
	fd = hn_sys_open_at(live->fd_task, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	hn_sys_close((int)fd);
	return true;
}

/* "RUN WAIT SLICES", ns: on a CPU, and waiting for one. */
bool hn_task_times(const struct hn_live *live, uint32_t tid, struct hn_task_times *t)
{
	char path[64], buf[80];
	const char *p = buf;
	long fd, n;

	*t = (struct hn_task_times){ 0, 0 };
	hn_number_path(path, "", tid, "/schedstat");
	fd = hn_sys_open_at(live->fd_task, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = hn_sys_read((int)fd, buf, sizeof(buf) - 1);
	hn_sys_close((int)fd);
	buf[n > 0 ? n : 0] = '\0';
	p = hn_read_number(p, &t->run_ns);
	hn_read_number(p + (*p == ' '), &t->wait_ns);
	return n > 0;
}

void hn_exclude_threads(struct hn_live *live)
{
	uint32_t i;

	live->nr_excludes = 0;
	live->excludes_full = false;
	for (i = 0; i < live->nr_user_stacks; i++)
		exclude(live, live->user_stack[i].start, live->user_stack[i].end);
	hn_each_thread(live, exclude_thread);
}
