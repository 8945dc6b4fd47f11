// SPDX-License-Identifier: MIT
/*
 * spark.c - starting late: how a process that becomes worth managing is noticed without a thread. Program side.
 *
 * Each watched thread has a timer on its own CPU time. When it fires, the process has used CPU, and the handler looks
 * whether its memory has grown and then whether it has enough huge pages. A process that computes little is never
 * looked at; one that has no huge pages never gets a thread.
 *
 * Why this cannot disturb the program: (1) the signal is number 32, which libc keeps for itself and hides from the
 * program in every call that takes signals (for cancelling threads; libc installs its own handler when a thread is first
 * cancelled, and that one ignores ours); (2) a thread's CPU-time timer is handled by the kernel when that thread is on
 * its way back to user mode, so no system call is interrupted (CONFIG_POSIX_CPU_TIMERS_TASK_WORK, all x86-64 kernels
 * since 5.9); tests/live/spark.c counts EINTR.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "agent/agent.h"
#include "linux/number.h"
#include "linux/sys.h"

#define SPARK_SIGNAL 32
#define FIRST_NS 5000000l     /* CPU time before the first look */
#define EVERY_NS 40000000l    /* and between looks */
#define GROWN_KIB 4096        /* growth of the peak that makes a look at the page tables worth it */
#define ANYWAY_LOOKS 50       /* without growth look at the page tables after 1, 2, 4 and so on, at most so many times */
#define COST_SHARE 200        /* looks take no more than one part in so many of the time ... */
#define FREE_PARTS 25         /* ... after so many parts of looks */
#define TIMERS 64
#define LOOKING 0x80000000u
#define PATIENCE_NS 1000000000ull /* for a look, which takes some milliseconds of a CPU */

static struct {
	struct hn_word door;      /* LOOKING: somebody looks, one at a time; and how many threads want nobody to begin a look */
	struct hn_word lock;
	struct hn_word nr;        /* timers made so far */
	int timer[TIMERS];        /* ring of the youngest, valid below min(nr, TIMERS) */
	uint64_t seen_kib;        /* peak at the last look at the page tables */
	uint64_t inherited_kib;   /* the peak that this image found: exec(2) keeps it */
	uint32_t looks, wait;     /* since the last look at the page tables, and how many to let pass */
	struct hn_count so_far;   /* of the look that was begun */
	uint32_t parts;           /* of looks, made so far */
	uint64_t not_before_ns;
	bool handler_set, unreadable;
	char buf[16384];
	char stack[32768] __attribute__((aligned(64)));
} spark;

struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

#define SA_RESTORER_FLAG 0x04000000ul

__attribute__((naked)) static void restorer(void)
{
	__asm__("mov $15, %eax\n\tsyscall"); /* rt_sigreturn */
}

static uint64_t peak_kib(void)
{
	uint64_t ru[18] = { 0 }; /* struct rusage: two timevals, then maxrss */

	HN_SYS(SYS_getrusage, RUSAGE_SELF, ru, 0, 0, 0, 0);
	return ru[4];
}

/* Second number of /proc/self/statm, in base pages; 0 when it cannot be read. */
static uint64_t resident_kib(void)
{
	char buf[64];
	const char *p = buf;
	uint64_t pages;

	hn_sys_read_file("/proc/self/statm", buf, sizeof(buf));
	while (*p && *p++ != ' ')
		;
	hn_read_number(p, &pages);
	return pages * (HN_BASE_SIZE >> 10);
}

/* Growth is cheap to see: the peak, without opening anything; unless it is still that of the program before an exec. */
static bool has_grown(void)
{
	uint64_t kib = peak_kib();

	if (kib <= spark.inherited_kib)
		kib = resident_kib();
	/* What was no huge memory at the moment of a look, because it was just being set up, is seen by the next ones. */
	if (kib >= spark.seen_kib + GROWN_KIB)
		spark.wait = 0;
	else if (++spark.looks < spark.wait)
		return false;
	spark.looks = 0;
	spark.wait = !spark.wait ? 1 : spark.wait * 2 < ANYWAY_LOOKS ? spark.wait * 2 : ANYWAY_LOOKS;
	spark.seen_kib = kib;
	return kib * 1024 >= (uint64_t)hn_agent.config.min_mib << 20;
}

/*
 * A process that has changed its user may not read what /proc has of it, unless it makes itself dumpable again: so the
 * looks go on, but what is not seen is not said to be small.
 */
static void note_unreadable(void)
{
	if (!spark.unreadable)
		hn_shm_count(&hn_agent.shm->unreadable);
	spark.unreadable = true;
}

/*
 * Descriptors are open for a moment only, and no child is made meanwhile that would keep them (hn_spark_hold); reads are positioned,
 * so that even a mixed-up number could harm nothing.
 */
static bool is_worth_it(void)
{
	uint32_t enough = (hn_agent.config.min_mib + 1) / 2, found = 0;
	long maps = hn_sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC), pagemap;

	if (maps < 0) {
		note_unreadable();
		return false;
	}
	pagemap = hn_sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap >= 0) {
		found = hn_discover_count((int)maps, (int)pagemap, spark.buf, sizeof(spark.buf), enough, &spark.so_far);
		hn_sys_close((int)pagemap);
	} else {
		note_unreadable();
	}
	hn_sys_close((int)maps);
	return found >= enough;
}

static bool may_look(void) { return hn_load_acquire(&hn_agent.state) == HN_AGENT_IDLE && hn_agent_is_ours(); }

/* With all signals shut, up to end_look: a handler that forks would wait for the look that it has interrupted. */
static bool begin_look(void) { return may_look() && hn_cas_acquire(&spark.door, 0, LOOKING); }

static void end_look(void)
{
	if (hn_and_acq_rel(&spark.door, ~LOOKING) != LOOKING)
		hn_wake(&spark.door, INT32_MAX);
}

/* False: its thread had no CPU for so long. Of a look that is another process's, whose memory this is, no end can be seen. */
static bool wait_for_look(void)
{
	uint64_t last = hn_live_now_ns(NULL), left = PATIENCE_NS;
	uint32_t v;

	while (((v = hn_load_acquire(&spark.door)) & LOOKING) && hn_agent_is_ours()) {
		hn_control_nap(&spark.door, v);
		if (!hn_patience_left(&left, &last))
			return false;
	}
	return true;
}

void hn_spark_hold(void)
{
	if (hn_add_acq_rel(&spark.door, 1) & LOOKING)
		wait_for_look();
}

void hn_spark_go_on(void)
{
	uint32_t v;

	/* 0: a fork in a signal handler, in the middle of another one, has reset it in the child. */
	do
		v = hn_load_relaxed(&spark.door);
	while ((v & ~LOOKING) && !hn_cas_release(&spark.door, v, v - 1));
}

/*
 * A look needs a few KiB, more than a program may have reserved for its handlers: it brings its own stack. It takes longest where
 * there is least to find, in a large process with small pages; so it is made in parts, and has one part in COST_SHARE of the
 * time; but for the first ones, as most programs take their memory early.
 */
static void look(void)
{
	uint64_t cpu;

	if (hn_live_now_ns(NULL) < spark.not_before_ns || HN_SYS(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0, 0) == 1)
		return;
	if (!spark.so_far.next && !has_grown())
		return;
	cpu = hn_live_cpu_ns(NULL);
	if (is_worth_it()) {
		hn_agent_start();
		hn_spark_off();
	}
	if (++spark.parts > FREE_PARTS)
		spark.not_before_ns = hn_live_now_ns(NULL) + (hn_live_cpu_ns(NULL) - cpu) * COST_SHARE;
}

static void on_spark(int sig)
{
	void *top = spark.stack + sizeof(spark.stack);

	(void)sig;
	if (!begin_look())
		return;
	__asm__ volatile("mov %%rsp, %%rbx\n\t"
			 "mov %[top], %%rsp\n\t"
			 "call *%[fn]\n\t"
			 "mov %%rbx, %%rsp"
			 :
			 : [top] "r"(top), [fn] "r"(look)
			 : "rbx", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
	end_look();
}

void hn_spark_look(void)
{
	uint64_t old;

	if (!may_look())
		return;
	old = hn_block_signals();
	if (begin_look()) {
		look();
		end_look();
	}
	hn_restore_signals(old);
}

static bool set_handler(void)
{
	struct kernel_sigaction sa = { on_spark, SA_RESTORER_FLAG | SA_ONSTACK | SA_RESTART, restorer, ~0ull }, now;

	if (spark.handler_set)
		return true;
	/* libc sets its handler for cancelling threads once, and never again in a child. */
	if (HN_SYS(SYS_rt_sigaction, SPARK_SIGNAL, NULL, &now, 8, 0, 0) ||
	    (now.handler != SIG_DFL && now.handler != SIG_IGN && now.handler != on_spark))
		return false;
	spark.handler_set = HN_SYS(SYS_rt_sigaction, SPARK_SIGNAL, &sa, NULL, 8, 0, 0) == 0;
	return spark.handler_set;
}

/* CPU clock of one thread, as the kernel numbers them. */
static int thread_clock(uint32_t tid) { return (int)((~tid << 3) | 6); }

static int make_timer(uint32_t tid)
{
	struct sigevent ev;
	struct itimerspec every = { { 0, EVERY_NS }, { 0, FIRST_NS } };
	int id = -1;

	memset(&ev, 0, sizeof(ev));
	ev.sigev_notify = SIGEV_THREAD_ID;
	ev.sigev_signo = SPARK_SIGNAL;
	ev._sigev_un._tid = (int)tid;
	if (HN_SYS(SYS_timer_create, thread_clock(tid), &ev, &id, 0, 0, 0))
		return -1;
	HN_SYS(SYS_timer_settime, id, 0, &every, NULL, 0, 0);
	return id;
}

void hn_spark_arm(uint32_t tid)
{
	uint32_t n;
	int id;

	if (hn_load_acquire(&hn_agent.state) != HN_AGENT_IDLE || !set_handler())
		return;
	id = make_timer(tid);
	if (id < 0)
		return;
	hn_lock(&spark.lock);
	n = hn_load_relaxed(&spark.nr);
	if (n >= TIMERS)
		HN_SYS(SYS_timer_delete, spark.timer[n % TIMERS], 0, 0, 0, 0, 0);
	spark.timer[n % TIMERS] = id;
	hn_store_relaxed(&spark.nr, n + 1);
	hn_unlock(&spark.lock);
}

/* May run in the handler of the thread that holds the lock: then somebody else's look will do it. */
void hn_spark_off(void)
{
	uint32_t n, i;

	if (!hn_lock_try(&spark.lock))
		return;
	n = hn_load_relaxed(&spark.nr);
	for (i = 0; i < n && i < TIMERS; i++)
		HN_SYS(SYS_timer_delete, spark.timer[i], 0, 0, 0, 0, 0);
	hn_store_relaxed(&spark.nr, 0);
	hn_unlock(&spark.lock);
}

bool hn_spark_forbid(void)
{
	bool was_idle;

	hn_add_acq_rel(&spark.door, 1);
	while (!wait_for_look())
		;
	was_idle = hn_cas_acquire(&hn_agent.state, HN_AGENT_IDLE, HN_AGENT_FAILED);
	hn_spark_go_on();
	if (was_idle)
		hn_spark_off();
	return was_idle;
}

void hn_spark_load(void) { spark.inherited_kib = peak_kib(); }

/* In a forked child: its timers are gone, the handler is still there. */
void hn_spark_reset(void)
{
	spark.door = spark.lock = spark.nr = (struct hn_word){ 0 };
	spark.seen_kib = spark.inherited_kib = 0;
	spark.looks = spark.wait = 0;
	spark.so_far = (struct hn_count){ 0 };
	spark.parts = 0;
	spark.not_before_ns = 0;
	spark.unreadable = false;
}
