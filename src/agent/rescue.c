// SPDX-License-Identifier: MIT
/*
 * rescue.c - the watchdog: when a thread of the agent has ended where it should not have, put every page back and leave
 * the process for good (docs/protocol.md, "Rescue").
 *
 * It sleeps, is woken by crash.c, and looks once a second whether all are alive, the kernel clears a word of each when it ends,
 * and get on (linux/pulse.h). Nothing is asked of the other threads while all is well.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "agent/agent.h"
#include "linux/number.h"
#include "linux/pulse.h"
#include "linux/sys.h"

#define LOOK_MS 1000u
#define READ_MOST 64u
#define STUCK_MS 10000u /* so long is waited for a thread of ours to sleep or end; then it is ended by force */

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	HN_SYS(SYS_nanosleep, &t, NULL, 0, 0, 0, 0);
}

void hn_fault_ring(void)
{
	hn_add_acq_rel(&hn_fault_of_ours.bell, 1);
	hn_wake(&hn_fault_of_ours.bell, 1);
	hn_control_kick();
}

/* It has said its number, so it exists, or has. */
static bool has_begun(const struct hn_own_thread *t) { return __atomic_load_n(&t->tid, __ATOMIC_ACQUIRE) != 0; }

/* ---- being alone ---- */

/* Out of reach: ended, or asleep and going to end when it wakes. */
static bool is_out(const struct hn_own_thread *t)
{
	return t == hn_own_threads.rescuer || hn_load_acquire(&t->alive) == 0 || hn_load_acquire(&t->asleep) != 0;
}

/* One that goes round in its own code ends in the handler for a fault that it has not made. */
static void end_by_force(const struct hn_own_thread *t)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGSEGV;
	info.si_code = HN_SI_END;
	HN_SYS(SYS_rt_tgsigqueueinfo, hn_sys_getpid(), t->tid, SIGSEGV, &info, 0, 0);
}

static void be_alone(struct hn_live *live, bool at_once)
{
	uint64_t force_ns = hn_live_now_ns(NULL) + (at_once ? 0 : STUCK_MS * 1000000ull);
	uint32_t i;

	hn_own_threads.rescuer = hn_own_self();
	hn_swap_acq_rel(&hn_own_threads.leave, 1);
	hn_live_stop_handlers(live);
	for (i = 0; i < hn_load_acquire(&hn_own_threads.nr); i++)
		while (!is_out(&hn_own_threads.thread[i])) {
			if (hn_live_now_ns(NULL) > force_ns && hn_own_threads.thread[i].tid) {
				end_by_force(&hn_own_threads.thread[i]);
				force_ns += STUCK_MS * 1000000ull;
			}
			sleep_ms(1);
		}
}

/* ---- putting everything back ---- */

/* What somebody had begun, as far as it cannot be seen from the engine's state. */
static void finish_what_was_begun(struct hn_worker *w, struct hn_worker *const *workers, uint32_t nr)
{
	struct hn_message m;
	uint32_t i;

	hn_live_take_stock(w);
	hn_recover(&w->hn);
	for (i = 0; i < nr; i++) {
		if (!hn_live_in_hand(workers[i], &m))
			continue;
		hn_gate_write_lock(&w->hn);
		hn_event_again(&w->hn, &m);
		hn_gate_write_unlock(&w->hn);
	}
}

/* However long it takes: a page that is not back must not be given up. */
static void put_all_back(struct hn_worker *w)
{
	long pause_ms = 1;

	for (;;) {
		uint32_t left = hn_drain(&w->hn, 0, ~(hn_addr)0);

		if (!left && !hn_displaced_resolve(&w->hn, 0, ~(hn_addr)0))
			return;
		if (hn_read_on(&w->hn, READ_MOST) == 0) {
			sleep_ms(pause_ms);
			pause_ms = pause_ms < 50 ? pause_ms * 2 : 100;
		}
	}
}

static char *put(char *p, const char *end, const char *text)
{
	while (*text && p < end)
		*p++ = *text++;
	*p = '\0';
	return p;
}

static char *put_hex(char *p, const char *end, uintptr_t v)
{
	char digits[2 * sizeof(v) + 1];
	char *d = digits + sizeof(digits) - 1;

	*d = '\0';
	do
		*--d = "0123456789abcdef"[v % 16];
	while (v /= 16);
	return put(put(p, end, "0x"), end, d);
}

static void say(const char *thread, bool spinning)
{
	static const char *const signals[] = { [SIGSEGV] = "SIGSEGV", [SIGBUS] = "SIGBUS", [SIGILL] = "SIGILL", [SIGFPE] = "SIGFPE" };
	uint32_t sig = hn_load_acquire(&hn_fault_of_ours.signal);
	char text[160], *p = text;
	const char *end = text + sizeof(text) - 1;

	p = put(p, end, "no longer managed, every page is back in place: a fault in hugenuma itself, ");
	if (sig && sig < sizeof(signals) / sizeof(signals[0]) && signals[sig]) {
		p = put(put(p, end, signals[sig]), end, " at ");
		p = put_hex(p, end, hn_fault_of_ours.at);
		p = put(p, end, " in thread ");
		thread = hn_fault_of_ours.thread;
	} else {
		p = put(p, end, spinning ? "a thread goes round for ever: " : "a thread has ended: ");
	}
	put(p, end, thread ? thread : "?");
	hn_slot_say(hn_agent.slot, text, 0);
}

static void rescue(struct hn_worker *w, struct hn_worker *const *workers, uint32_t nr, const struct hn_own_thread *bad,
		   bool spinning)
{
	be_alone(w->live, spinning);
	finish_what_was_begun(w, workers, nr);
	put_all_back(w);
	hn_live_abandon(w->live);
	hn_store_relaxed(&hn_agent.affinity.lock, 0); /* the scanner may have fallen with it */
	hn_affinity_release_all();
	/* What the report says last: nothing is managed. */
	hn_store_release(&hn_agent.slot->mode, HN_MODE_STOPPED);
	say(bad ? bad->name : NULL, spinning);
	hn_store_release(&hn_agent.state, HN_AGENT_FAILED);
	hn_control_left();
	hn_wake(&hn_agent.state, INT32_MAX);
	hn_crash_release();
}

/* ---- watching ---- */

static const struct hn_own_thread *find_spinning(struct hn_pulse *pulses)
{
	uint32_t i;

	for (i = 0; i < hn_load_acquire(&hn_own_threads.nr) && i < HN_AGENT_THREADS; i++) {
		const struct hn_own_thread *t = &hn_own_threads.thread[i];

		if (t != hn_fault_of_ours.watchdog && t->tid &&
		    hn_pulse_look(&pulses[i], hn_load_relaxed(&t->beats), hn_load_relaxed(&t->steps),
				  hn_load_acquire(&t->asleep) != 0, hn_thread_cpu_ns(t->tid)))
			return t;
	}
	return NULL;
}

/*
 * The thread that has ended too early, if one has. Its number is looked at first: it is written by a thread that is alive, and one that
 * is only being made has neither.
 */
static const struct hn_own_thread *find_dead(void)
{
	uint32_t i;

	for (i = 0; i < hn_load_acquire(&hn_own_threads.nr) && i < HN_AGENT_THREADS; i++)
		if (has_begun(&hn_own_threads.thread[i]) && hn_load_acquire(&hn_own_threads.thread[i].alive) == 0)
			return &hn_own_threads.thread[i];
	return NULL;
}

/* ---- when only we are left ---- */

/* The number that is field `nr` of /proc/PID/stat, counted from behind the command's name. */
static uint64_t stat_field(const char *behind, int nr)
{
	uint64_t v;
	int field = 2;

	for (; *behind && field < nr; behind++)
		field += *behind == ' ';
	hn_read_number(behind, &v);
	return v;
}

/*
 * libc ends the process with the last of its threads. Threads that it does not know, or that may do nothing else (strict seccomp),
 * end by the system call, one by one; and with the last of them the process would have ended, as its first thread has said.
 */
static void end_with_the_program(const struct hn_live *live)
{
	/* Never more than there are: one that is being made is not counted, and the kernel clears its word before it counts it out. */
	uint64_t ours = 0;
	char path[64], buf[1024], *p;
	long fd, n;
	uint32_t i;

	for (i = 0; i < hn_load_acquire(&hn_own_threads.nr) && i < HN_AGENT_THREADS; i++)
		ours += has_begun(&hn_own_threads.thread[i]) && hn_load_acquire(&hn_own_threads.thread[i].alive) != 0;
	hn_number_path(path, "", (uint32_t)hn_sys_getpid(), "/stat");
	fd = hn_sys_open_at(live->fd_task, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = hn_sys_read((int)fd, buf, sizeof(buf) - 1);
	hn_sys_close((int)fd);
	buf[n > 0 ? n : 0] = '\0';
	p = strrchr(buf, ')');
	if (p && p[1] == ' ' && p[2] == 'Z' && stat_field(p + 1, 20) == ours + 1)
		HN_SYS(SYS_exit_group, stat_field(p + 1, 52) >> 8 & 0xff, 0, 0, 0, 0, 0);
}

void hn_watch(struct hn_worker *w, const struct hn_word *over, struct hn_worker *const *workers, uint32_t nr_workers)
{
	struct timespec look = { LOOK_MS / 1000, LOOK_MS % 1000 * 1000000 };
	struct hn_pulse pulses[HN_AGENT_THREADS] = { 0 };

	hn_fault_of_ours.watchdog = hn_own_self();
	hn_store_release(&hn_fault_of_ours.watched, 1);
	while (!hn_load_acquire(over)) {
		uint32_t bell = hn_load_acquire(&hn_fault_of_ours.bell);
		const struct hn_own_thread *dead = find_dead(), *bad = dead ? dead : find_spinning(pulses);

		/* Asked again, as they end when told to, too. */
		if ((bad || hn_load_acquire(&hn_fault_of_ours.signal)) && !hn_load_acquire(over)) {
			rescue(w, workers, nr_workers, bad, bad && !dead);
			return;
		}
		end_with_the_program(w->live);
		hn_sys_futex(&hn_fault_of_ours.bell.v, FUTEX_WAIT_PRIVATE, bell, &look);
	}
}

bool hn_watch_the_watchdog(struct hn_worker *w, struct hn_worker *const *workers, uint32_t nr_workers)
{
	const struct hn_own_thread *dog = hn_fault_of_ours.watchdog;

	if (!hn_load_acquire(&hn_fault_of_ours.watched) || hn_load_acquire(&dog->alive))
		return false;
	rescue(w, workers, nr_workers, dog, false);
	return true;
}
