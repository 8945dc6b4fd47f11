// SPDX-License-Identifier: MIT
/*
 * What a program sees of its own handlers for SIGSEGV and its kin, which the agent catches too while it runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* old programs call them all the same */

#define PAGES 4u
#define BYTES (PAGES * HUGE)
#define SEED 71u

static char *arena;
static sigjmp_buf out;
static struct {
	int sig, code;
	void *at;
	char *stack;
	pid_t tid;
	atomic_int count;
} got;

static pid_t own_tid(void) { return (pid_t)syscall(SYS_gettid); }

/* Managed from here on. */
static void get_arena(void)
{
	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
}

static void note(int sig, siginfo_t *info, void *context)
{
	char here;

	(void)context;
	got.sig = sig;
	got.code = info->si_code;
	got.at = info->si_addr;
	got.stack = &here;
	got.tid = own_tid();
	atomic_fetch_add(&got.count, 1);
}

static void note_and_jump(int sig, siginfo_t *info, void *context)
{
	note(sig, info, context);
	siglongjmp(out, 1);
}

static void note_plainly(int sig)
{
	got.sig = sig;
	got.code = SEGV_MAPERR; /* it is not told */
	siglongjmp(out, 1);
}

static void set_handler(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction a = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags };

	CHECK(sigaction(sig, &a, NULL) == 0);
}

static struct sigaction get(int sig)
{
	struct sigaction a;

	CHECK(sigaction(sig, NULL, &a) == 0);
	return a;
}

/* Set before the agent came and after, by each of the functions there are. */
static void told(void)
{
	struct sigaction a = { .sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART }, now;

	sigaddset(&a.sa_mask, SIGUSR1);
	CHECK(sigaction(SIGSEGV, &a, NULL) == 0);
	get_arena();
	now = get(SIGSEGV);
	CHECK(now.sa_sigaction == note && (now.sa_flags & ~0x04000000) == a.sa_flags && sigismember(&now.sa_mask, SIGUSR1) == 1);
	now = get(SIGBUS);
	CHECK(now.sa_handler == SIG_DFL && (now.sa_flags & ~0x04000000) == 0);
	CHECK(signal(SIGSEGV, note_plainly) == (void *)note);
	CHECK(signal(SIGSEGV, SIG_IGN) == note_plainly && get(SIGSEGV).sa_handler == SIG_IGN);
	CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN && get(SIGSEGV).sa_handler == SIG_DFL);
	CHECK(sigset(SIGILL, note_plainly) == SIG_DFL && sigset(SIGILL, SIG_HOLD) == note_plainly);
	CHECK(sigset(SIGILL, SIG_DFL) == SIG_HOLD && get(SIGILL).sa_handler == SIG_DFL);
	CHECK(sigignore(SIGFPE) == 0 && signal(SIGFPE, SIG_DFL) == SIG_IGN);
	CHECK(signal(SIGUSR1, note_plainly) == SIG_DFL && signal(SIGUSR1, SIG_DFL) == note_plainly);
	CHECK(sigaction(SIGKILL, &a, NULL) == -1 && errno == EINVAL && sigaction(SIGSEGV, &a, &now) == 0);
	live_verify(arena, BYTES, SEED);
}

static void divide(void)
{
	__asm__ volatile("xor %%ecx, %%ecx\n\tmov $1, %%eax\n\tcdq\n\tidiv %%ecx" ::: "eax", "ecx", "edx");
}

static void touch_beyond_file(void)
{
	int fd = (int)syscall(SYS_memfd_create, "", 0);
	volatile char *p = mmap(NULL, BASE, PROT_READ, MAP_PRIVATE, fd, 0);

	(void)*p;
}

#define PROVOKE(signal_nr, what, wanted) \
	do { \
		got.sig = 0; \
		if (!sigsetjmp(out, 1)) { \
			what; \
		} \
		CHECK(got.sig == (signal_nr) && got.code == (wanted)); \
	} while (0)

#define NOWHERE ((char *)4096)

static void touch_nowhere(void)
{
	__asm__ volatile("movb $1, (%0)" ::"r"(NOWHERE) : "memory");
}

static void given(void)
{
	static char stack[65536];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	char *wall;

	get_arena();
	wall = mmap(NULL, BASE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	set_handler(SIGSEGV, note_and_jump, 0);
	set_handler(SIGBUS, note_and_jump, 0);
	set_handler(SIGILL, note_and_jump, 0);
	set_handler(SIGFPE, note_and_jump, 0);
	CHECK(sigaltstack(&alt, NULL) == 0);
	PROVOKE(SIGSEGV, *(volatile char *)wall = 1, SEGV_ACCERR);
	CHECK(got.at == wall && !(got.stack >= stack && got.stack < stack + sizeof(stack)));
	munmap(wall, BASE);
	PROVOKE(SIGSEGV, *(volatile char *)wall = 1, SEGV_MAPERR);
	PROVOKE(SIGBUS, touch_beyond_file(), BUS_ADRERR);
	PROVOKE(SIGILL, __asm__ volatile("ud2"), ILL_ILLOPN);
	PROVOKE(SIGFPE, divide(), FPE_INTDIV);
	set_handler(SIGSEGV, note_and_jump, SA_ONSTACK);
	PROVOKE(SIGSEGV, touch_nowhere(), SEGV_MAPERR);
	CHECK(got.stack >= stack && got.stack < stack + sizeof(stack));
	CHECK(signal(SIGSEGV, note_plainly) == (void *)note_and_jump);
	PROVOKE(SIGSEGV, touch_nowhere(), SEGV_MAPERR);
	set_handler(SIGSEGV, note_and_jump, (int)SA_RESETHAND);
	PROVOKE(SIGSEGV, touch_nowhere(), SEGV_MAPERR);
	CHECK(get(SIGSEGV).sa_handler == SIG_DFL);
	live_verify(arena, BYTES, SEED);
}

/* Looks at the signals that end its parent: twice the same, if the first has been in the way of the second. */
static int watch(pid_t parent, int sig, int code, void *at)
{
	siginfo_t info;
	int status, seen = 0;

	CHECK(ptrace(PTRACE_SEIZE, parent, NULL, NULL) == 0);
	CHECK(syscall(SYS_tgkill, parent, parent, SIGUSR1) == 0);
	for (;;) {
		CHECK(waitpid(parent, &status, __WALL) == parent);
		if (!WIFSTOPPED(status))
			break;
		if (WSTOPSIG(status) == sig) {
			CHECK(ptrace(PTRACE_GETSIGINFO, parent, NULL, &info) == 0);
			CHECK(info.si_signo == sig && info.si_code == code && (!at || info.si_addr == at));
			seen++;
		}
		CHECK(ptrace(PTRACE_CONT, parent, NULL, WSTOPSIG(status)) == 0);
	}
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == sig && seen >= 1 && seen <= 2);
	return 0;
}

static void nothing(int sig) { (void)sig; }

/* Ends itself by a signal, with its child looking on; who ran it sees the status. */
static void end_watched(int sig, int code, void *at, void (*end)(void))
{
	sigset_t usr1, old;
	pid_t child;
	int go[2];
	char c;

	CHECK(pipe(go) == 0);
	signal(SIGUSR1, nothing);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, &old);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		pid_t parent = getppid();

		CHECK(read(go[0], &c, 1) == 1);
		watch(parent, sig, code, at);
		CHECK(write(1, "as it should\n", 13) == 13);
		_exit(0);
	}
	get_arena(); /* after the fork, which leaves pages in place for a while */
	CHECK(write(go[1], "", 1) == 1);
	sigsuspend(&old); /* until the child has a hold of us */
	end();
	CHECK(!"alive");
}

static void kill_self(void)
{
	kill(getpid(), SIGBUS);
	for (;;)
		pause();
}

static void ends_by_fault(void) { end_watched(SIGSEGV, SEGV_MAPERR, NOWHERE, touch_nowhere); }
static void ends_by_kill(void) { end_watched(SIGBUS, SI_USER, NULL, kill_self); }

static void *loop(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	*(atomic_int *)arg = (int)own_tid();
	for (;;)
		pause();
	return NULL;
}

/* The kernel may give a signal for the process to any thread that has not blocked it, also to one of the agent's. */
static void sent(void)
{
	static atomic_int tid;
	sigset_t set;
	pthread_t t;
	int i;

	get_arena();
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask(SIG_BLOCK, &set, NULL);
	set_handler(SIGSEGV, note, 0);
	CHECK(pthread_create(&t, NULL, loop, &tid) == 0);
	while (!tid)
		live_sleep_ms(1);
	for (i = 1; i <= 100; i++) {
		CHECK(kill(getpid(), SIGSEGV) == 0);
		while (atomic_load(&got.count) != i)
			live_sleep_ms(1);
		CHECK(got.tid == tid && got.code == SI_USER);
	}
	live_verify(arena, BYTES, SEED);
}

static void sent_and_blocked(void)
{
	struct timespec wait = { 20, 0 };
	sigset_t set, pending;
	siginfo_t info;
	int i;

	get_arena();
	sigemptyset(&set);
	sigaddset(&set, SIGFPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (i = 0; i < 20; i++) {
		uint64_t end = live_now_ms() + 20000;

		CHECK(kill(getpid(), SIGFPE) == 0);
		live_sleep_ms(5);
		live_verify(arena, BYTES, SEED);
		/* A thread of the agent that the kernel has chosen sends it on, as soon as it gets a processor. */
		for (; sigpending(&pending) == 0 && sigismember(&pending, SIGFPE) != 1; live_sleep_ms(1))
			CHECK(live_now_ms() < end);
		CHECK(sigtimedwait(&set, &info, &wait) == SIGFPE && info.si_code == SI_USER && info.si_pid == getpid());
	}
}

struct raw_action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

/* A child has no agent yet, and what it has set is there without anything between. */
static void children(void)
{
	struct raw_action raw;
	struct sigaction a;
	pid_t child;

	set_handler(SIGSEGV, note_and_jump, 0);
	get_arena();
	child = fork();
	if (child == 0) {
		CHECK(syscall(SYS_rt_sigaction, SIGSEGV, NULL, &raw, 8) == 0 && raw.handler == (void *)note_and_jump);
		CHECK(syscall(SYS_rt_sigaction, SIGBUS, NULL, &raw, 8) == 0 && raw.handler == NULL);
		PROVOKE(SIGSEGV, touch_nowhere(), SEGV_MAPERR);
		_exit(0);
	}
	live_reap(child);
	child = (pid_t)syscall(SYS_fork);
	if (child == 0) {
		CHECK(get(SIGSEGV).sa_sigaction == note_and_jump && get(SIGBUS).sa_handler == SIG_DFL);
		PROVOKE(SIGSEGV, touch_nowhere(), SEGV_MAPERR);
		_exit(0);
	}
	live_reap(child);
	child = vfork();
	if (child == 0) {
		if (sigaction(SIGSEGV, NULL, &a) || a.sa_sigaction != note_and_jump || signal(SIGSEGV, SIG_DFL) == SIG_ERR)
			_exit(1);
		_exit(0);
	}
	live_reap(child);
	CHECK(get(SIGSEGV).sa_sigaction == note_and_jump);
	PROVOKE(SIGSEGV, touch_nowhere(), SEGV_MAPERR);
	live_verify(arena, BYTES, SEED);
}

/* SA_RESETHAND: for each process its own once. */
static void once(void)
{
	struct sigaction a;
	int status;
	pid_t child;

	set_handler(SIGSEGV, note, (int)(SA_RESETHAND | SA_NODEFER));
	get_arena();
	child = vfork();
	if (child == 0) {
		if (raise(SIGSEGV) || sigaction(SIGSEGV, NULL, &a) || a.sa_handler != SIG_DFL)
			_exit(1);
		_exit(0);
	}
	live_reap(child);
	CHECK(got.count == 1 && get(SIGSEGV).sa_sigaction == note);
	child = (pid_t)syscall(SYS_fork);
	if (child == 0) {
		CHECK(raise(SIGSEGV) == 0 && got.count == 2 && get(SIGSEGV).sa_handler == SIG_DFL);
		_exit(0);
	}
	live_reap(child);
	CHECK(get(SIGSEGV).sa_sigaction == note);
	CHECK(raise(SIGSEGV) == 0 && got.count == 2 && got.code == SI_TKILL);
	a = get(SIGSEGV);
	CHECK(a.sa_handler == SIG_DFL && (a.sa_flags & (int)SA_RESETHAND));
	set_handler(SIGSEGV, note, (int)SA_RESETHAND);
	CHECK(raise(SIGSEGV) == 0 && got.count == 3 && get(SIGSEGV).sa_handler == SIG_DFL);
	child = fork();
	if (child == 0) {
		raise(SIGSEGV);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	live_verify(arena, BYTES, SEED);
}

int main(int argc, char **argv)
{
	static const struct live_case cases[] = {
		{ "handlers are told as the program has set them", told },
		{ "handlers are called as by the kernel", given },
		{ "signals sent to the process", sent },
		{ "signals sent to the process that all threads block", sent_and_blocked },
		{ "handlers of children", children },
		{ "handlers that are called once", once },
		{ "SIGSEGV without a handler", ends_by_fault },
		{ "SIGBUS sent, without a handler", ends_by_kill },
		{ NULL, NULL },
	};

	return live_main(argc, argv, cases);
}
