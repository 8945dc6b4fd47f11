// SPDX-License-Identifier: MIT
/*
 * crash.c - faults of our own: SIGSEGV, SIGBUS, SIGILL and SIGFPE in code of the agent must not end the program. And before one
 * of these, or SIGABRT or SIGQUIT, ends it with a core, every page is put back (dump.c).
 *
 * While the agent runs, the kernel calls our entry for these signals, whatever the program has set; which thread it is
 * is told by the stack. On a thread of the program
 *   - that has a handler for the signal, the entry jumps to it with stack and registers as the kernel made them: with the
 *     program's flags, mask and alternate stack, it is as if the kernel had called it. SA_RESETHAND is done here: a fault
 *     of ours must not use up the program's handler, nor the entry;
 *   - that has none, pages are put back, what the kernel does without one is restored, and the fault comes again, with the same code, address
 *     and core dump. A signal that was sent does not come again, so it is sent again as it was;
 *   - that ignores the signal, we are not there at all.
 * libc's functions that set and tell handlers are wrapped, so that the program sees its own. By raw system calls (Go) it
 * sees ours, and replaces it: then a fault of ours ends the program, as it would without all this.
 *
 * On a thread of ours: memory shared with the controller that has been cut off is replaced by memory of our own, and the
 * thread goes on. A signal that was sent to the process is for one of the program's threads: it is blocked here and sent
 * on. Everything else ends the thread; rescue.c does the rest.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <ucontext.h>

#include "agent/agent.h"
#include "linux/sys.h"

#define EXPORTED __attribute__((visibility("default")))
#define NR 6
#define NR_FAULTS 4 /* the first: of our threads, too; with a handler of the program's the others are none of our business */

static const int caught[NR] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT };

static struct {
	struct hn_word lock;
	struct hn_word catching;   /* 1: the process `pid` has our entry wherever it does not ignore the signal */
	uint32_t pid;
	struct sigaction own[NR];  /* the program's */
} program;

typedef void program_handler(int sig, siginfo_t *info, void *context);
/* Where the entry goes on, by signal. */
program_handler *hn_program_handler[32] __attribute__((visibility("hidden")));

struct hn_fault_of_ours hn_fault_of_ours;

static int (*real_sigaction)(int, const struct sigaction *, struct sigaction *);
static void (*(*real_signal)(int, void (*)(int)))(int);
static void (*(*real_sysv_signal)(int, void (*)(int)))(int);
static void (*(*real_sigset)(int, void (*)(int)))(int);
static int (*real_sigignore)(int);

static int index_of(int sig)
{
	int i;

	for (i = 0; i < NR && caught[i] != sig; i++)
		;
	return i;
}

/* A child that libc knows nothing of, or of a vfork: the memory may be its parent's, what is set in the kernel is its own. */
static bool is_other_process(void) { return program.pid != (uint32_t)hn_sys_getpid(); }

/* ---- in the handler ---- */

static uint64_t mask_of_faults(void)
{
	uint64_t mask = 0;
	int i;

	for (i = 0; i < NR_FAULTS; i++)
		mask |= 1ull << (caught[i] - 1);
	return mask;
}

/* Sent by somebody, or of a kind that does not come again with the instruction. */
static bool was_sent(int sig, const siginfo_t *info)
{
	return info->si_code <= 0 || info->si_code >= SI_KERNEL || (sig == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

static void set_default(int sig)
{
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} none = { NULL, 0, NULL, 0 };

	HN_SYS(SYS_rt_sigaction, sig, &none, NULL, 8, 0, 0);
}

/* On return the program ends, as it would have. */
static void end_with(int sig, siginfo_t *info)
{
	set_default(sig);
	if (was_sent(sig, info))
		HN_SYS(SYS_rt_tgsigqueueinfo, hn_sys_getpid(), hn_sys_gettid(), sig, info, 0, 0);
}

/* The program has no handler. */
static void as_without_handler(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!is_other_process())
		hn_dump_prepare();
	end_with(sig, info);
}

static void once(int sig, siginfo_t *info, void *context);

/*
 * With SA_RESETHAND the program's handler is called once, and then there is none. The kernel is not told: it would forget
 * our entry, and for a fault of our own as well. Called from assembly; returns whom to call.
 */
program_handler *hn_take_once(int sig);
__attribute__((used, visibility("hidden"))) program_handler *hn_take_once(int sig)
{
	struct sigaction *own = &program.own[index_of(sig)];
	program_handler *h;
	uint64_t mask;

	if (is_other_process()) {
		h = own->sa_sigaction;
		set_default(sig);
		return h;
	}
	mask = hn_lock_undisturbed(&program.lock);
	h = hn_program_handler[sig];
	if (h == once) {
		h = own->sa_sigaction;
		own->sa_handler = SIG_DFL;
		hn_program_handler[sig] = as_without_handler;
	}
	hn_unlock_undisturbed(&program.lock, mask);
	return h;
}

/* Before a handler that is called once; as entry below. */
__attribute__((naked)) static void once(int sig __attribute__((unused)), siginfo_t *info __attribute__((unused)),
					void *context __attribute__((unused)))
{
	__asm__("endbr64\n\t"
		"push %rdi\n\tpush %rsi\n\tpush %rdx\n\t"
		"call hn_take_once\n\t"
		"pop %rdx\n\tpop %rsi\n\tpop %rdi\n\t"
		"mov %rax, %rcx\n\t"
		"xor %eax, %eax\n\t"
		"jmp *%rcx");
}

/*
 * The kernel chose us, where it may choose any thread: never again. It lets nobody but the process's first thread name
 * another sender for a plain kill, so that one comes from the program itself now.
 */
static void send_on(int sig, siginfo_t *info, ucontext_t *context)
{
	uint64_t mask = mask_of_faults(), after;

	HN_SYS(SYS_rt_sigprocmask, SIG_BLOCK, &mask, NULL, sizeof(mask), 0, 0);
	memcpy(&after, &context->uc_sigmask, sizeof(after));
	after |= mask;
	memcpy(&context->uc_sigmask, &after, sizeof(after));
	if (HN_SYS(SYS_rt_sigqueueinfo, hn_sys_getpid(), sig, info, 0, 0, 0))
		HN_SYS(SYS_kill, hn_sys_getpid(), sig, 0, 0, 0, 0);
}

/* Called from assembly. True: done, go on where it happened. Any thread. */
bool hn_is_cut_off(int sig, siginfo_t *info);
__attribute__((used, visibility("hidden"))) bool hn_is_cut_off(int sig, siginfo_t *info)
{
	return sig == SIGBUS && info->si_code > 0 && hn_shm_replace((uintptr_t)info->si_addr);
}

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

void hn_on_our_thread(int sig, siginfo_t *info, void *context);
__attribute__((used, visibility("hidden"))) void hn_on_our_thread(int sig, siginfo_t *info, void *context)
{
	struct hn_own_thread *t = hn_own_self();
	ucontext_t *c = context;

	/* A child made behind libc: there is nothing of ours in it, and its stacks may be where ours were. */
	if (is_other_process()) {
		hn_program_handler[sig](sig, info, context);
		return;
	}
	while (info->si_code == HN_SI_END && hn_load_acquire(&hn_own_threads.leave) && t != hn_own_threads.rescuer)
		HN_SYS(SYS_exit, 0, 0, 0, 0, 0, 0);
	if (info->si_code <= 0) {
		send_on(sig, info, c);
		return;
	}
	if (hn_is_cut_off(sig, info))
		return;
	if (t == hn_own_threads.rescuer) { /* there is nobody left to do it */
		end_with(sig, info);
		return;
	}
	if (hn_cas_acquire(&hn_fault_of_ours.signal, 0, (uint32_t)sig)) {
		hn_fault_of_ours.at = (uintptr_t)c->uc_mcontext.gregs[REG_RIP] - (uintptr_t)__ehdr_start;
		hn_fault_of_ours.thread = t->name;
	}
	if (!hn_load_acquire(&hn_fault_of_ours.watched))
		hn_agent_fell();
	hn_fault_ring();
	for (;;)
		HN_SYS(SYS_exit, 0, 0, 0, 0, 0, 0);
}

/*
 * Our thread: hn_on_our_thread. The program's: its handler, with everything as the kernel left it. What is pushed below
 * the frame is popped again before the jump.
 */
__attribute__((naked)) static void entry(int sig __attribute__((unused)), siginfo_t *info __attribute__((unused)),
					 void *context __attribute__((unused)))
{
	__asm__("endbr64\n\t"
		"mov %rsp, %rax\n\t"
		"sub hn_own_threads(%rip), %rax\n\t"
		"cmp 8+hn_own_threads(%rip), %rax\n\t"
		"jb hn_on_our_thread\n\t"
		"cmp $7, %edi\n\t" /* SIGBUS */
		"jne 1f\n\t"
		"push %rdi\n\tpush %rsi\n\tpush %rdx\n\t"
		"sub $16, %rsp\n\t"
		"call hn_is_cut_off\n\t"
		"add $16, %rsp\n\t"
		"pop %rdx\n\tpop %rsi\n\tpop %rdi\n\t"
		"test %al, %al\n\t"
		"jz 1f\n\t"
		"ret\n"
		"1:\n\t"
		"lea hn_program_handler(%rip), %rcx\n\t"
		"movslq %edi, %rax\n\t"
		"mov (%rcx,%rax,8), %rcx\n\t"
		"xor %eax, %eax\n\t"
		"jmp *%rcx");
}

void hn_crash_guard_thread(void)
{
	uint64_t mask = mask_of_faults();
	stack_t stack = { 0 };

	stack.ss_sp = hn_bare_signal_stack(&stack.ss_size);
	HN_SYS(SYS_sigaltstack, &stack, NULL, 0, 0, 0, 0);
	HN_SYS(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, NULL, sizeof(mask), 0, 0);
}

/* ---- what is set ---- */

static bool is_ours(const struct sigaction *a) { return a->sa_sigaction == entry; }

static void set_own(int i, const struct sigaction *own)
{
	bool passes_by = i >= NR_FAULTS && own->sa_handler != SIG_DFL && !(own->sa_flags & (int)SA_RESETHAND);
	struct sigaction a = *own;

	if (own->sa_handler == SIG_IGN || passes_by) {
		real_sigaction(caught[i], own, NULL);
		return;
	}
	program.own[i] = *own;
	if (own->sa_handler == SIG_DFL)
		hn_program_handler[caught[i]] = as_without_handler;
	else
		hn_program_handler[caught[i]] = own->sa_flags & (int)SA_RESETHAND ? once : own->sa_sigaction;
	a.sa_sigaction = entry;
	a.sa_flags &= ~(int)SA_RESETHAND;
	a.sa_flags |= SA_SIGINFO; /* a handler that does not ask for it is called no differently on x86-64 */
	if (own->sa_handler == SIG_DFL)
		a.sa_flags |= SA_ONSTACK;
	real_sigaction(caught[i], &a, NULL);
}

void hn_crash_catch(void)
{
	uint64_t old = hn_lock_undisturbed(&program.lock);
	struct sigaction now;
	int i;

	if (real_sigaction) {
		hn_fault_of_ours = (struct hn_fault_of_ours){ 0 };
		program.pid = (uint32_t)hn_sys_getpid();
		for (i = 0; i < NR; i++)
			if (real_sigaction(caught[i], NULL, &now) == 0 && !is_ours(&now))
				set_own(i, &now);
		hn_store_release(&program.catching, 1);
	}
	hn_unlock_undisturbed(&program.lock, old);
}

void hn_crash_release(void)
{
	uint64_t old;
	struct sigaction now;
	int i;

	if (!hn_load_acquire(&program.catching))
		return;
	old = hn_lock_undisturbed(&program.lock);
	for (i = 0; i < NR; i++)
		if (real_sigaction(caught[i], NULL, &now) == 0 && is_ours(&now))
			real_sigaction(caught[i], &program.own[i], NULL);
	hn_store_release(&program.catching, 0);
	hn_unlock_undisturbed(&program.lock, old);
}

/* Where a filter forbids it our entry stays: all that it does there is to jump on. */
void hn_crash_reset(void)
{
	program.lock = (struct hn_word){ 0 };
	if (hn_load_relaxed(&hn_agent.filtered)) {
		hn_store_relaxed(&program.catching, 0);
		program.pid = (uint32_t)hn_sys_getpid();
	} else {
		hn_crash_release();
	}
}

/* ---- libc's functions; program side ---- */

/* The child of a vfork has our memory and signals of its own: what it sets is not the program's. */
static bool is_caught(int sig)
{
	return index_of(sig) < NR && hn_load_acquire(&program.catching) && !is_other_process();
}

static int act_for_program(int sig, const struct sigaction *act, struct sigaction *old)
{
	uint64_t mask = hn_lock_undisturbed(&program.lock);
	int i = index_of(sig), ret;
	struct sigaction now;

	ret = real_sigaction(sig, NULL, &now);
	if (ret == 0 && is_ours(&now))
		now = program.own[i];
	if (ret == 0 && act) {
		if (hn_load_relaxed(&program.catching))
			set_own(i, act);
		else
			ret = real_sigaction(sig, act, NULL);
	}
	hn_unlock_undisturbed(&program.lock, mask);
	if (ret == 0 && old)
		*old = now;
	return ret;
}

EXPORTED int sigaction(int sig, const struct sigaction *restrict act, struct sigaction *restrict old)
{
	struct sigaction seen;
	int ret;

	if (!real_sigaction)
		hn_crash_load();
	if (is_caught(sig))
		return act_for_program(sig, act, old);
	ret = real_sigaction(sig, act, &seen);
	if (ret == 0 && index_of(sig) < NR && is_ours(&seen))
		seen = program.own[index_of(sig)]; /* in the child of a vfork */
	if (ret == 0 && old)
		*old = seen;
	return ret;
}

static sighandler_t set_simply(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = { .sa_flags = flags }, old;

	act.sa_handler = handler;
	return act_for_program(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

EXPORTED sighandler_t signal(int sig, sighandler_t handler)
{
	if (!real_sigaction)
		hn_crash_load();
	return is_caught(sig) ? set_simply(sig, handler, SA_RESTART) : real_signal(sig, handler);
}

EXPORTED sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	if (!real_sigaction)
		hn_crash_load();
	return is_caught(sig) ? set_simply(sig, handler, (int)SA_RESETHAND | SA_NODEFER) : real_sysv_signal(sig, handler);
}

/* Programs built for System V's signal() call these by other names. */
EXPORTED sighandler_t __sysv_signal(int sig, sighandler_t handler) __attribute__((alias("sysv_signal")));
EXPORTED sighandler_t ssignal(int sig, sighandler_t handler) __attribute__((alias("signal")));

/* With SIG_HOLD the handler stays, and what is told of it would be ours. */
EXPORTED sighandler_t sigset(int sig, sighandler_t handler)
{
	struct sigaction own;
	sighandler_t old;
	sigset_t mask;

	if (!real_sigaction)
		hn_crash_load();
	if (!is_caught(sig))
		return real_sigset(sig, handler);
	if (act_for_program(sig, NULL, &own))
		return SIG_ERR;
	old = real_sigset(sig, SIG_HOLD);
	if (handler == SIG_HOLD)
		return old == SIG_HOLD || old == SIG_ERR ? old : own.sa_handler;
	if (set_simply(sig, handler, 0) == SIG_ERR)
		return SIG_ERR;
	sigemptyset(&mask);
	sigaddset(&mask, sig);
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
	return old == SIG_HOLD ? old : own.sa_handler;
}

EXPORTED int sigignore(int sig)
{
	if (!real_sigaction)
		hn_crash_load();
	return is_caught(sig) ? (set_simply(sig, SIG_IGN, 0) == SIG_ERR ? -1 : 0) : real_sigignore(sig);
}

void hn_crash_load(void)
{
	real_signal = (sighandler_t(*)(int, sighandler_t))dlsym(RTLD_NEXT, "signal");
	real_sysv_signal = (sighandler_t(*)(int, sighandler_t))dlsym(RTLD_NEXT, "sysv_signal");
	real_sigset = (sighandler_t(*)(int, sighandler_t))dlsym(RTLD_NEXT, "sigset");
	real_sigignore = (int (*)(int))dlsym(RTLD_NEXT, "sigignore");
	real_sigaction = (int (*)(int, const struct sigaction *, struct sigaction *))dlsym(RTLD_NEXT, "sigaction");
}
