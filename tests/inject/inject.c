// SPDX-License-Identifier: MIT
/*
 * inject.c - stands between the agent and the kernel (--wrap=hn_syscall6, --wrap=hn_sys_clone), and makes chosen calls
 * fail, fall short, be late, or end in a fault of the agent's own. Linked with the very objects of the agent that ships.
 *
 *   HUGENUMA_INJECT=KIND@N[/K]:WHAT[,...]   the N-th call of KIND, and with /K one in K from there on, as if at random
 *   WHAT: an errno as a number, nothing is called then; short: of half the length; silent: a move of one base page, of which
 *         nothing is said; unread: the same, and as if an event had begun just then, so that moves and copies say EAGAIN
 *         until a message is read; left: nothing is called, and 1 returned, as if one page (of move_pages) had been left where
 *         it is; there: the first base page is put in place, and EEXIST returned, as if somebody had been faster; lost (of a move to or from staging): the sixth base page has a hardware memory error from
 *         then on; sleep=MS before the call;
 *         segv, bus, ill: a fault in agent code; segv+: the same, just after the call; exit: the thread ends without a
 *         word; spin: it goes round for ever; refused: the same, with a call that fails each time; burn=MS: the scanner
 *         takes so much more CPU time before the call. All from sleep on only on threads of the agent's own, and counted there only.
 *   KIND event: a read that has just brought an event, not a fault; WHAT can only be what is done after a call (segv+)
 *   HUGENUMA_INJECT_COUNTS=FILE             made by the runner: for each kind how many calls, and how many were hit
 *
 * Counts for N are of one process; a forked child goes on from its parent's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "agent/run.h"
#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define MAX_RULES 8
#define NO_CALL (-1) /* not a kind of call, but of what a call brings */
#define MAX_STACKS 64

static const struct kind {
	const char *name;
	int nr;
	unsigned long request; /* of an ioctl */
} kinds[] = {
	{ "move", SYS_ioctl, HN_UFFDIO_MOVE },
	{ "copy", SYS_ioctl, UFFDIO_COPY },
	{ "zeropage", SYS_ioctl, UFFDIO_ZEROPAGE },
	{ "poison", SYS_ioctl, HN_UFFDIO_POISON },
	{ "wake", SYS_ioctl, UFFDIO_WAKE },
	{ "register", SYS_ioctl, UFFDIO_REGISTER },
	{ "unregister", SYS_ioctl, UFFDIO_UNREGISTER },
	{ "rwprotect", SYS_ioctl, HN_UFFDIO_RWPROTECT },
	{ "uffd_api", SYS_ioctl, UFFDIO_API },
	{ "uffd_new", SYS_ioctl, HN_USERFAULTFD_IOC_NEW },
	{ "pagemap_scan", SYS_ioctl, HN_PAGEMAP_SCAN },
	{ "procmap_query", SYS_ioctl, HN_PROCMAP_QUERY },
	{ "userfaultfd", SYS_userfaultfd, 0 },
	{ "futex_wait", SYS_futex, 0 },
	{ "futex_wake", SYS_futex, 0 },
	{ "clone", SYS_clone, 0 },
	{ "read", SYS_read, 0 },
	{ "event", NO_CALL, 0 },
	{ "pread", SYS_pread64, 0 },
	{ "write", SYS_write, 0 },
	{ "poll", SYS_poll, 0 },
	{ "openat", SYS_openat, 0 },
	{ "close", SYS_close, 0 },
	{ "close_range", SYS_close_range, 0 },
	{ "fcntl", SYS_fcntl, 0 },
	{ "lseek", SYS_lseek, 0 },
	{ "getdents", SYS_getdents64, 0 },
	{ "readlink", SYS_readlink, 0 },
	{ "eventfd", SYS_eventfd2, 0 },
	{ "mmap", SYS_mmap, 0 },
	{ "munmap", SYS_munmap, 0 },
	{ "mprotect", SYS_mprotect, 0 },
	{ "madvise", SYS_madvise, 0 },
	{ "munlock", SYS_munlock, 0 },
	{ "msync", SYS_msync, 0 },
	{ "mbind", SYS_mbind, 0 },
	{ "move_pages", SYS_move_pages, 0 },
	{ "set_mempolicy", SYS_set_mempolicy, 0 },
	{ "get_mempolicy", SYS_get_mempolicy, 0 },
	{ "timer_create", SYS_timer_create, 0 },
	{ "timer_settime", SYS_timer_settime, 0 },
	{ "timer_delete", SYS_timer_delete, 0 },
	{ "clock_gettime", SYS_clock_gettime, 0 },
	{ "nanosleep", SYS_nanosleep, 0 },
	{ "get_robust_list", SYS_get_robust_list, 0 },
	{ "capset", SYS_capset, 0 },
	{ "prctl", SYS_prctl, 0 },
	{ "sched_setaffinity", SYS_sched_setaffinity, 0 },
	{ "sched_setscheduler", SYS_sched_setscheduler, 0 },
	{ "setpriority", SYS_setpriority, 0 },
	{ "getpriority", SYS_getpriority, 0 },
	{ "sched_getaffinity", SYS_sched_getaffinity, 0 },
	{ "sched_yield", SYS_sched_yield, 0 },
	{ "sysinfo", SYS_sysinfo, 0 },
	{ "getrusage", SYS_getrusage, 0 },
	{ "prlimit", SYS_prlimit64, 0 },
	{ "rt_sigaction", SYS_rt_sigaction, 0 },
	{ "rt_sigprocmask", SYS_rt_sigprocmask, 0 },
	{ "sigaltstack", SYS_sigaltstack, 0 },
	{ "unshare", SYS_unshare, 0 },
	{ "wait4", SYS_wait4, 0 },
	{ "rt_sigqueueinfo", SYS_rt_sigqueueinfo, 0 },
	{ "tgkill", SYS_tgkill, 0 },
};

#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

enum what { FAIL, SHORT, SILENT, UNREAD, LEFT, THERE, LOST, SLEEP, BURN, SEGV, SEGV_AFTER, BUS, ILL, EXIT, SPIN, REFUSED };

static const struct {
	const char *name;
	enum what what;
} words[] = {
	{ "short", SHORT }, { "silent", SILENT }, { "unread", UNREAD }, { "left", LEFT },        { "there", THERE },
	{ "lost", LOST },   { "sleep=", SLEEP },  { "burn=", BURN },    { "segv+", SEGV_AFTER }, { "segv", SEGV },
	{ "bus", BUS },     { "ill", ILL },       { "exit", EXIT },     { "spin", SPIN },        { "refused", REFUSED },
};

static struct rule {
	uint32_t kind;
	uint64_t n, k; /* k = 0: once */
	enum what what;
	long arg; /* errno, or ms */
	uint64_t seen;
} rules[MAX_RULES];

static uint32_t nr_rules;
static char *stack_top[MAX_STACKS];
static uint32_t nr_stacks;

struct counts {
	uint64_t calls, hit;
};

static struct counts nowhere[NR_KINDS], *counts = nowhere;
static uint32_t unread;

long __real_hn_syscall6(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_hn_syscall6(long nr, long a, long b, long c, long d, long e, long f);
long __real_hn_sys_clone(unsigned long flags, void *stack, void *tls, uint32_t *alive, void (*fn)(void *), void *arg);
long __wrap_hn_sys_clone(unsigned long flags, void *stack, void *tls, uint32_t *alive, void (*fn)(void *), void *arg);

/* ---- reading the order ---- */

/* A mistake in the order must not look like a run without a fault. */
static void refuse(void)
{
	static const char text[] = "inject: cannot read HUGENUMA_INJECT\n";

	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(98);
	_exit(98);
}

static bool parse_what(const char *p, struct rule *r)
{
	char *end;
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t len = strlen(words[i].name);

		if (strncmp(p, words[i].name, len) == 0) {
			r->what = words[i].what;
			r->arg = r->what == SLEEP || r->what == BURN ? strtol(p + len, NULL, 10) : 0;
			return (r->what != SLEEP && r->what != BURN) || r->arg > 0;
		}
	}
	r->what = FAIL;
	r->arg = strtol(p, &end, 10);
	return r->arg > 0 && r->arg < 4096 && (*end == '\0' || *end == ',');
}

static const char *parse_rule(const char *p)
{
	const char *at = strchr(p, '@');
	struct rule r = { 0 };
	char *end;

	while (at && r.kind < NR_KINDS &&
	       (strlen(kinds[r.kind].name) != (size_t)(at - p) || strncmp(kinds[r.kind].name, p, (size_t)(at - p)) != 0))
		r.kind++;
	if (!at || r.kind == NR_KINDS || nr_rules == MAX_RULES)
		refuse();
	r.n = strtoull(at + 1, &end, 10);
	if (*end == '/')
		r.k = strtoull(end + 1, &end, 10);
	if (!r.n || *end != ':' || !parse_what(end + 1, &r))
		refuse();
	rules[nr_rules++] = r;
	p = strchr(end, ',');
	return p ? p + 1 : NULL;
}

/* Before the agent's own constructor. */
__attribute__((constructor(101))) static void load(void)
{
	const char *p = getenv("HUGENUMA_INJECT"), *path = getenv("HUGENUMA_INJECT_COUNTS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *at = MAP_FAILED;

	if (fd >= 0) {
		at = mmap(NULL, sizeof(nowhere), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (at != MAP_FAILED)
		counts = at;
	while (p && *p)
		p = parse_rule(p);
}

/* ---- what a call is ---- */

static bool is_kind(const struct kind *k, long nr, long b)
{
	if (k->nr != nr)
		return false;
	if (nr == SYS_ioctl)
		return (unsigned long)b == k->request;
	if (nr == SYS_futex)
		return ((b & ~FUTEX_PRIVATE_FLAG) == FUTEX_WAIT) == (strcmp(k->name, "futex_wait") == 0);
	return true;
}

static uint32_t kind_of(long nr, long b)
{
	uint32_t i;

	for (i = 0; i < NR_KINDS && !is_kind(&kinds[i], nr, b); i++)
		;
	return i;
}

static bool is_on_stack(uint32_t i)
{
	char here, *p = &here;

	return p < stack_top[i] && p > stack_top[i] - ((size_t)128 << 10);
}

static bool on_agent_thread(void)
{
	uint32_t i;

	for (i = 0; i < nr_stacks && i < MAX_STACKS; i++)
		if (is_on_stack(i))
			return true;
	return false;
}

/* The scanner is the first of them. */
static bool is_for_this_thread(enum what what)
{
	return what < SLEEP || (what == BURN ? nr_stacks && is_on_stack(0) : on_agent_thread());
}

/* ---- doing it ---- */

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (__real_hn_syscall6(SYS_nanosleep, (long)&t, (long)&t, 0, 0, 0, 0) == -EINTR)
		;
}

static uint64_t own_cpu_ns(void)
{
	struct timespec t = { 0, 0 };

	__real_hn_syscall6(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, (long)&t, 0, 0, 0, 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void burn_ms(long ms)
{
	uint64_t end = own_cpu_ns() + (uint64_t)ms * 1000000;

	while (own_cpu_ns() < end)
		;
}

/* A page of a file that is not there. */
static void touch_beyond_end(void)
{
	long fd = __real_hn_syscall6(SYS_memfd_create, (long)"", 0, 0, 0, 0, 0);
	long at = __real_hn_syscall6(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

	*(volatile char *)at;
}

static void die(enum what what)
{
	switch (what) {
	case SEGV_AFTER:
	case SEGV: __asm__ volatile("movb $1, 16" ::: "memory"); break;
	case BUS: touch_beyond_end(); break;
	case ILL: __asm__ volatile("ud2"); break;
	case EXIT: __real_hn_syscall6(SYS_exit, 0, 0, 0, 0, 0, 0); break;
	case SPIN:
		for (;;)
			__asm__ volatile("pause");
	case REFUSED:
		for (;;)
			__real_hn_syscall6(SYS_close, -1, 0, 0, 0, 0, 0);
	default: break;
	}
}

/* What the kernel does when it breaks off: it has done a part, and says EAGAIN. `len` is the field with the length. */
static long call_part(uint64_t *len, uint64_t part, long nr, long a, long b, long c, long d, long e, long f)
{
	uint64_t whole = *len;
	long ret;

	*len = part;
	ret = __real_hn_syscall6(nr, a, b, c, d, e, f);
	*len = whole;
	return ret ? ret : -EAGAIN;
}

static uint64_t half_of(uint64_t len) { return len / 2 & ~(HN_BASE_SIZE - 1); }

static long call_short(long nr, long a, long b, long c, long d, long e, long f)
{
	struct hn_uffdio_move *m = (struct hn_uffdio_move *)c;
	struct uffdio_copy *copy = (struct uffdio_copy *)c;

	if (nr == SYS_ioctl && (unsigned long)b == HN_UFFDIO_MOVE && m->len > HN_BASE_SIZE)
		return call_part((uint64_t *)&m->len, half_of(m->len), nr, a, b, c, d, e, f);
	if (nr == SYS_ioctl && (unsigned long)b == UFFDIO_COPY && copy->len > HN_BASE_SIZE)
		return call_part((uint64_t *)&copy->len, half_of(copy->len), nr, a, b, c, d, e, f);
	if ((nr == SYS_read || nr == SYS_pread64 || nr == SYS_getdents64) && c > 512)
		c /= 2;
	return __real_hn_syscall6(nr, a, b, c, d, e, f);
}

/* A base page has been moved when the page turns out to be split, and the call says that nothing has. */
static long call_silent(long nr, long a, long b, long c, long d, long e, long f)
{
	struct hn_uffdio_move *m = (struct hn_uffdio_move *)c;
	long ret;

	if (nr != SYS_ioctl || (unsigned long)b != HN_UFFDIO_MOVE || m->len <= HN_BASE_SIZE)
		return __real_hn_syscall6(nr, a, b, c, d, e, f);
	ret = call_part((uint64_t *)&m->len, HN_BASE_SIZE, nr, a, b, c, d, e, f);
	m->move = ret;
	return ret;
}

/* Somebody else puts the first piece there, the same as ours, just before. Of UFFDIO_COPY and UFFDIO_POISON. */
static long call_there(long nr, long a, long b, long c, long d, long e, long f)
{
	struct uffdio_copy *copy = (struct uffdio_copy *)c;
	uint64_t whole;
	long ret;

	if ((unsigned long)b != UFFDIO_COPY) {
		ret = __real_hn_syscall6(nr, a, b, c, d, e, f);
		return ret ? ret : -EEXIST;
	}
	whole = copy->len;
	copy->len = HN_BASE_SIZE;
	ret = __real_hn_syscall6(nr, a, b, c, d, e, f);
	copy->len = whole;
	if (ret == 0)
		copy->copy = ret = -EEXIST;
	return ret;
}

/*
 * As if the memory of one base page in staging had failed: what the kernel leaves behind for an access to find is the same as
 * what UFFDIO_POISON does. Not the first one of a page: there the victim has what it cannot know again.
 */
static void lose(long fd, hn_addr staged)
{
	struct uffdio_range range = { staged + 5 * HN_BASE_SIZE, HN_BASE_SIZE };
	struct uffdio_register again = { .range = range, .mode = UFFDIO_REGISTER_MODE_WP };
	struct hn_uffdio_poison poison = { .start = range.start, .len = range.len };
	char was[HN_BASE_SIZE];

	if (!hn_pagemap_is_huge(hn_run->live.fd_pagemap, staged))
		return; /* part of it may be elsewhere */
	memcpy(was, (const void *)(uintptr_t)range.start, sizeof(was));
	__real_hn_syscall6(SYS_ioctl, fd, (long)UFFDIO_UNREGISTER, (long)&range, 0, 0, 0);
	__real_hn_syscall6(SYS_madvise, (long)range.start, HN_BASE_SIZE, MADV_DONTNEED, 0, 0, 0);
	__real_hn_syscall6(SYS_ioctl, fd, (long)UFFDIO_REGISTER, (long)&again, 0, 0, 0);
	if (__real_hn_syscall6(SYS_ioctl, fd, (long)HN_UFFDIO_POISON, (long)&poison, 0, 0, 0))
		memcpy((void *)(uintptr_t)range.start, was, sizeof(was)); /* an event is unread */
}

static bool is_staging(hn_addr a)
{
	hn_addr start = (hn_addr)(uintptr_t)hn_run->live.staging;

	return a >= start && a < start + (uint64_t)hn_run->live.setup.nr_pages * HN_PAGE_SIZE;
}

/* On its way out of the program, once it is there; or on its way back, before that. */
static long call_lost(long nr, long a, long b, long c, long d, long e, long f)
{
	struct hn_uffdio_move *m = (struct hn_uffdio_move *)c;
	long ret;

	if (m->len >= HN_PAGE_SIZE && is_staging(m->src) && !is_staging(m->dst) && a == hn_run->live.fd)
		lose(a, m->src);
	ret = __real_hn_syscall6(nr, a, b, c, d, e, f);
	if (ret == 0 && m->len >= HN_PAGE_SIZE && is_staging(m->dst))
		lose(a, m->dst);
	return ret;
}

/* Not evenly: what is tried again and again would hit upon the same calls each time. */
static bool is_drawn(uint64_t n, uint64_t k) { return k == 1 || (n * 0x9e3779b97f4a7c15ull >> 32) % k == 0; }

/* The kernel asks for events before anything else. */
static bool waits_for_event(long nr, long b, long c)
{
	unsigned long request = (unsigned long)b;

	if (nr == SYS_read && c == sizeof(struct uffd_msg))
		__atomic_store_n(&unread, 0, __ATOMIC_RELAXED);
	return nr == SYS_ioctl && __atomic_load_n(&unread, __ATOMIC_RELAXED) &&
	       (request == HN_UFFDIO_MOVE || request == UFFDIO_COPY || request == UFFDIO_ZEROPAGE ||
		request == HN_UFFDIO_POISON || request == HN_UFFDIO_RWPROTECT);
}

static struct rule *rule_for(uint32_t kind)
{
	uint32_t i;

	for (i = 0; i < nr_rules; i++) {
		struct rule *r = &rules[i];
		uint64_t n;

		if (r->kind != kind || !is_for_this_thread(r->what))
			continue;
		n = __atomic_add_fetch(&r->seen, 1, __ATOMIC_RELAXED);
		if (n == r->n || (r->k && n > r->n && is_drawn(n, r->k)))
			return r;
	}
	return NULL;
}

/* A thread falls with an event in hand: its causer runs on, and the agent has done nothing about it. */
static void has_read(const struct uffd_msg *m, long got)
{
	uint32_t kind = kind_of(NO_CALL, 0);
	struct rule *r;

	if (got != (long)sizeof(*m) || m->event == UFFD_EVENT_PAGEFAULT)
		return;
	__atomic_fetch_add(&counts[kind].calls, 1, __ATOMIC_RELAXED);
	r = rule_for(kind);
	if (!r || r->what != SEGV_AFTER)
		return;
	__atomic_fetch_add(&counts[kind].hit, 1, __ATOMIC_RELAXED);
	die(r->what);
}

/* What the agent reads from a userfaultfd it reads in this size, and nothing else. */
static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret = __real_hn_syscall6(nr, a, b, c, d, e, f);

	if (nr == SYS_read && c == (long)sizeof(struct uffd_msg))
		has_read((const struct uffd_msg *)b, ret);
	return ret;
}

long __wrap_hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	uint32_t kind = kind_of(nr, b);
	struct rule *r;

	if (kind == NR_KINDS)
		return __real_hn_syscall6(nr, a, b, c, d, e, f);
	__atomic_fetch_add(&counts[kind].calls, 1, __ATOMIC_RELAXED);
	if (waits_for_event(nr, b, c))
		return -EAGAIN;
	r = rule_for(kind);
	if (!r)
		return call(nr, a, b, c, d, e, f);
	__atomic_fetch_add(&counts[kind].hit, 1, __ATOMIC_RELAXED);
	if (r->what == FAIL)
		return -r->arg;
	if (r->what == LEFT)
		return 1;
	if (r->what == THERE)
		return call_there(nr, a, b, c, d, e, f);
	if (r->what == SHORT)
		return call_short(nr, a, b, c, d, e, f);
	if (r->what == SILENT)
		return call_silent(nr, a, b, c, d, e, f);
	if (r->what == LOST)
		return call_lost(nr, a, b, c, d, e, f);
	if (r->what == UNREAD) {
		long ret = call_short(nr, a, b, c, d, e, f);

		__atomic_store_n(&unread, 1, __ATOMIC_RELAXED);
		return ret;
	}
	if (r->what == SEGV_AFTER)
		__real_hn_syscall6(nr, a, b, c, d, e, f);
	if (r->what == SLEEP)
		sleep_ms(r->arg);
	else if (r->what == BURN)
		burn_ms(r->arg);
	else
		die(r->what);
	return call(nr, a, b, c, d, e, f);
}

long __wrap_hn_sys_clone(unsigned long flags, void *stack, void *tls, uint32_t *alive, void (*fn)(void *), void *arg)
{
	uint32_t kind = kind_of(SYS_clone, 0), i;
	struct rule *r;

	__atomic_fetch_add(&counts[kind].calls, 1, __ATOMIC_RELAXED);
	r = rule_for(kind);
	if (r) {
		__atomic_fetch_add(&counts[kind].hit, 1, __ATOMIC_RELAXED);
		if (r->what == FAIL)
			return -r->arg;
		if (r->what == SLEEP)
			sleep_ms(r->arg);
	}
	i = __atomic_fetch_add(&nr_stacks, 1, __ATOMIC_RELAXED);
	if (i < MAX_STACKS)
		stack_top[i] = stack;
	return __real_hn_sys_clone(flags, stack, tls, alive, fn, arg);
}
