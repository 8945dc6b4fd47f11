// SPDX-License-Identifier: MIT
/*
 * filter.c - programs with system call filters (seccomp). Program side.
 *
 * A filter may end a process for a call that it does not know, and the agent makes calls that the program's author has
 * never heard of. Three cases:
 *   - The process was born with one. Then a trial child makes the agent's calls first; where it does not live to tell,
 *     nothing of ours is done in this process.
 *   - The program installs one before it is managed. Its threads are not looked at any more: nothing of ours runs
 *     on them that they would not do anyway.
 *   - It installs one while it is managed. A filter on the calling thread does not concern the agent's threads; one for
 *     all threads does, and the agent leaves first.
 * Seen are prctl(2) and seccomp(2) through libc, by syscall(3) too, which is what libseccomp uses.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

/* ---- installed by the program ---- */

static void before_filter(bool all_threads)
{
	if (!hn_agent.shm || !hn_agent_is_ours())
		return;
	hn_store_relaxed(&hn_agent.filtered, 1);
	if (hn_spark_forbid())
		hn_shm_count(&hn_agent.shm->filtered);
	else if (all_threads && hn_agent_leave())
		hn_slot_say(hn_agent.slot,
			    "no longer managed: the program has put a system call filter on all its threads", 0);
}

/* Called from assembly. Without a filter the call only asks whether there could be one. */
void hn_before_syscall(long nr, long a, long b, long c);
__attribute__((used, visibility("hidden"))) void hn_before_syscall(long nr, long a, long b, long c)
{
	if (nr == SYS_prctl && a == PR_SET_SECCOMP && (c || b != SECCOMP_MODE_FILTER))
		before_filter(false);
	else if (nr == SYS_seccomp && a == SECCOMP_SET_MODE_FILTER && c)
		before_filter(b & SECCOMP_FILTER_FLAG_TSYNC);
	else if (nr == SYS_seccomp && a == SECCOMP_SET_MODE_STRICT)
		before_filter(false);
}

__attribute__((visibility("default"))) int prctl(int op, ...)
{
	long arg[4], ret;
	va_list more;
	int i;

	va_start(more, op);
	for (i = 0; i < 4; i++)
		arg[i] = va_arg(more, long);
	va_end(more);
	hn_before_syscall(SYS_prctl, op, arg[0], arg[1]);
	ret = HN_SYS(SYS_prctl, op, arg[0], arg[1], arg[2], arg[3], 0);
	if (!hn_is_error(ret))
		return (int)ret;
	errno = (int)-ret;
	return -1;
}

/* libc's syscall(3), with a look at two of the calls; it may make processes, so nothing of it lies on the stack. */
__attribute__((naked, visibility("default"))) long syscall(long nr __attribute__((unused)), ...)
{
	__asm__("endbr64\n\t"
		"cmp %[prctl], %%rdi\n\t"
		"je 1f\n\t"
		"cmp %[seccomp], %%rdi\n\t"
		"jne 2f\n"
		"1:\n\t"
		"push %%rdi\n\tpush %%rsi\n\tpush %%rdx\n\tpush %%rcx\n\tpush %%r8\n\tpush %%r9\n\tpush %%r9\n\t"
		"call hn_before_syscall\n\t"
		"pop %%r9\n\tpop %%r9\n\tpop %%r8\n\tpop %%rcx\n\tpop %%rdx\n\tpop %%rsi\n\tpop %%rdi\n"
		"2:\n\t"
		"mov %%rdi, %%rax\n\t"
		"mov %%rsi, %%rdi\n\t"
		"mov %%rdx, %%rsi\n\t"
		"mov %%rcx, %%rdx\n\t"
		"mov %%r8, %%r10\n\t"
		"mov %%r9, %%r8\n\t"
		"mov 8(%%rsp), %%r9\n\t"
		"syscall\n\t"
		"cmp $-4095, %%rax\n\t"
		"jae 3f\n\t"
		"ret\n"
		"3:\n\t"
		"neg %%eax\n\t"
		"push %%rax\n\t"
		"call __errno_location@PLT\n\t"
		"pop %%rcx\n\t"
		"mov %%ecx, (%%rax)\n\t"
		"mov $-1, %%rax\n\t"
		"ret" ::[prctl] "i"(SYS_prctl),
		[seccomp] "i"(SYS_seccomp));
}

/* ---- inherited ---- */

/*
 * "Seccomp:" of /proc/self/status is not 0. Reading a file is what the loader has just done many times. The line of groups before it
 * may be as long as any buffer, so only the end of what was read is kept.
 */
static bool has_filter(void)
{
	static const char key[] = "\nSeccomp:\t";
	long fd = hn_sys_open("/proc/self/status", O_RDONLY | O_CLOEXEC), n, i, have = 0;
	char buf[4096];
	bool found = false;

	if (fd < 0)
		return false;
	while (!found && (n = hn_sys_read((int)fd, buf + have, sizeof(buf) - (size_t)have)) > 0) {
		have += n;
		for (i = 0; !found && i + (long)sizeof(key) <= have; i++)
			found = memcmp(buf + i, key, sizeof(key) - 1) == 0;
		if (found)
			break;
		i = have < (long)sizeof(key) - 1 ? 0 : have - (long)sizeof(key) + 1;
		memmove(buf, buf + i, (size_t)(have - i));
		have -= i;
	}
	hn_sys_close((int)fd);
	return found && buf[i - 1 + (long)sizeof(key) - 1] != '0';
}

static struct {
	struct hn_word survived;
	char stack[16384] __attribute__((aligned(64)));
} trial;

/* Calls that fail, or change nothing; all that the agent makes, on its threads and on the program's (tests/inject checks). */
static void try_memory(void)
{
	static const long plain[] = { SYS_madvise, SYS_mprotect, SYS_munlock, SYS_munmap, SYS_msync, SYS_mbind,
				      SYS_set_mempolicy, SYS_get_mempolicy, SYS_move_pages };
	uint32_t i;

	HN_SYS(SYS_mmap, 0, 0, 0, 0, -1, 0); /* EINVAL: no length */
	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		HN_SYS(plain[i], 1, 0, 0x7fff0000, 0, 0, 0x7fff0000); /* EINVAL: misaligned, or no such flags */
}

static void try_descriptors(void)
{
	static const unsigned long request[] = { UFFDIO_API, UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_COPY, UFFDIO_ZEROPAGE,
						 UFFDIO_WAKE, HN_UFFDIO_MOVE, HN_UFFDIO_POISON, HN_UFFDIO_RWPROTECT,
						 HN_PAGEMAP_SCAN, HN_PROCMAP_QUERY, HN_USERFAULTFD_IOC_NEW };
	static const long plain[] = { SYS_close, SYS_read, SYS_write, SYS_pread64, SYS_lseek, SYS_getdents64, SYS_fcntl };
	uint32_t i;

	for (i = 0; i < sizeof(request) / sizeof(request[0]); i++)
		hn_sys_ioctl(-1, request[i], NULL);
	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		HN_SYS(plain[i], -1, 0, 0, 0, 0, 0);
	HN_SYS(SYS_openat, -1, "", 0, 0, 0, 0);
	HN_SYS(SYS_readlink, "", NULL, 0, 0, 0, 0);
	HN_SYS(SYS_userfaultfd, -1, 0, 0, 0, 0, 0);
	HN_SYS(SYS_eventfd2, 0, -1, 0, 0, 0, 0);
	HN_SYS(SYS_poll, 0, 0, 0, 0, 0, 0);
	HN_SYS(SYS_nanosleep, NULL, NULL, 0, 0, 0, 0);
	HN_SYS(SYS_close_range, 1, 0, 0, 0, 0, 0);
}

static void try_threads(void)
{
	struct timespec t;
	uint64_t x[18];
	size_t len;

	HN_SYS(SYS_clone, CLONE_THREAD, 0, 0, 0, 0, 0); /* EINVAL: without CLONE_SIGHAND */
	HN_SYS(SYS_futex, x, FUTEX_WAKE_PRIVATE, 0, 0, 0, 0);
	HN_SYS(SYS_get_robust_list, 0, x, &len, 0, 0, 0);
	HN_SYS(SYS_rt_sigprocmask, SIG_SETMASK, NULL, NULL, 8, 0, 0);
	HN_SYS(SYS_rt_sigaction, 32, NULL, NULL, 8, 0, 0);
	HN_SYS(SYS_sigaltstack, NULL, NULL, 0, 0, 0, 0);
	HN_SYS(SYS_timer_create, -1, NULL, NULL, 0, 0, 0);
	HN_SYS(SYS_timer_settime, -1, 0, NULL, NULL, 0, 0);
	HN_SYS(SYS_timer_delete, -1, 0, 0, 0, 0, 0);
	HN_SYS(SYS_rt_sigqueueinfo, 0, 0, NULL, 0, 0, 0);
	HN_SYS(SYS_rt_tgsigqueueinfo, 0, 0, 0, NULL, 0, 0);
	HN_SYS(SYS_kill, hn_sys_getpid(), 0, 0, 0, 0, 0);
	HN_SYS(SYS_tgkill, 0, 0, 0, 0, 0, 0);
	HN_SYS(SYS_clock_gettime, CLOCK_MONOTONIC, &t, 0, 0, 0, 0);
	HN_SYS(SYS_getrusage, RUSAGE_SELF, x, 0, 0, 0, 0);
	HN_SYS(SYS_sysinfo, NULL, 0, 0, 0, 0, 0);
	HN_SYS(SYS_sched_setaffinity, -1, 0, NULL, 0, 0, 0);
	HN_SYS(SYS_sched_setscheduler, -1, 0, NULL, 0, 0, 0);
	HN_SYS(SYS_setpriority, -1, 0, 0, 0, 0, 0);
	HN_SYS(SYS_getpriority, -1, 0, 0, 0, 0, 0);
	HN_SYS(SYS_sched_getaffinity, 0, 0, NULL, 0, 0, 0);
	HN_SYS(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	HN_SYS(SYS_wait4, -1, NULL, 0x40000001 /* __WALL, WNOHANG */, NULL, 0, 0);
	HN_SYS(SYS_prctl, PR_SET_NAME, "hugenuma-trial", 0, 0, 0, 0);
	HN_SYS(SYS_capset, NULL, NULL, 0, 0, 0, 0);
	HN_SYS(SYS_geteuid, 0, 0, 0, 0, 0, 0);
	HN_SYS(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/* In a process of its own that shares the memory; it must leave no core file. */
__attribute__((used)) static void trial_main(void)
{
	struct rlimit none = { 0, 0 };

	HN_SYS(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL, 0, 0);
	try_descriptors();
	try_memory();
	try_threads();
	hn_store_release(&trial.survived, 1);
	HN_SYS(SYS_exit, 0, 0, 0, 0, 0, 0); /* as the agent's threads end */
	HN_SYS(SYS_exit_group, 1, 0, 0, 0, 0, 0);
}

/* As vfork(2), on a stack of its own, and nobody is told of its end. */
static long trial_clone(void)
{
	void *top = trial.stack + sizeof(trial.stack);
	register void *r10 __asm__("r10") = NULL;
	register void *r8 __asm__("r8") = NULL;
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "call trial_main\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"((long)SYS_clone), "D"(CLONE_VM | CLONE_VFORK), "S"(top), "d"(NULL), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

bool hn_filter_allows_us(void)
{
	uint64_t old;
	int status = 0;
	long pid;

	if (!has_filter())
		return true;
	old = hn_block_signals();
	pid = trial_clone();
	hn_restore_signals(old);
	if (pid > 0)
		HN_SYS(SYS_wait4, pid, &status, 0x40000000 /* __WALL */, NULL, 0, 0);
	return hn_load_acquire(&trial.survived) != 0 && status == 0;
}
