// SPDX-License-Identifier: MIT
/*
 * call_native.c - system calls, for real. Kept apart from all else so that tests/inject can put itself in between.
 */
#include "linux/block.h"
#include "linux/sys.h"

/*
 * To have done something is to get on, for the watchdog. To be told the time is not, nor to be refused: a loop that goes round
 * for ever because the kernel always says no is found by that.
 */
static inline void note_step(long nr, long ret)
{
	if (ret >= 0 && nr != SYS_clock_gettime)
		hn_own_step();
}

long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	note_step(nr, ret);
	return ret;
}

/* The thread starts with nothing to return to, and finds what it is to do in registers that are saved across the call. */
long hn_sys_clone(unsigned long flags, void *stack, void *tls, uint32_t *alive, void (*fn)(void *arg), void *arg)
{
	register void *r8 __asm__("r8") = tls;
	register uint32_t *r10 __asm__("r10") = alive;
	register void *r12 __asm__("r12") = arg;
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r12, %%rdi\n\t"
			 "call *%[fn]\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"((long)SYS_clone), "D"(flags), "S"(stack), "d"(NULL), "r"(r10), "r"(r8), "r"(r12),
			   [fn] "b"(fn)
			 : "rcx", "r11", "memory");
	return ret;
}
