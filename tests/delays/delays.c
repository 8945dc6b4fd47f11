// SPDX-License-Identifier: MIT
/*
 * delays.c - what the compiler calls before each basic block of the agent when it is built with -Ddelays=true: a thread that stops
 * there for a moment, now and then, as if its CPU had been taken away. What two threads do in the wrong order only if one of them is
 * kept waiting between two certain instructions happens then, again and again.
 *
 * A place is delayed the more often the fewer times it has been passed: most races are in what is done once, and what is
 * done all the time would never get anywhere. Here nothing is of libc, and no register is changed: it is called from assembly, from
 * threads without thread-local storage and from signal handlers.
 */
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#define PLACES 65536u
#define ONE_IN 15u      /* of the first passes ... */
#define LESS_OFTEN 4u   /* ... and of each further one less */
#define MANY (1u << 24) /* to count further makes no difference */

#define MOST_NS 60000000 /* longer than anything takes by itself, shorter than anybody's patience */
#define LONG_NS 8000000
#define SHORT_NS 500000

static uint32_t passes[PLACES];
static uint64_t state;

/* By a call that every system call filter has which the agent's own calls get through. Nobody wakes us. */
static void pause_for(long ns)
{
	static const uint32_t word;
	struct timespec t = { 0, ns };
	register long timeout __asm__("r10") = (long)&t;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(SYS_futex), "D"(&word), "S"(FUTEX_WAIT_PRIVATE), "d"(0), "r"(timeout)
			 : "rcx", "r11", "memory");
}

/* Threads that draw at the same time may draw the same. */
static uint64_t draw(void)
{
	uint64_t x = __atomic_load_n(&state, __ATOMIC_RELAXED);

	if (!x)
		x = __builtin_ia32_rdtsc() | 1;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	__atomic_store_n(&state, x, __ATOMIC_RELAXED);
	return x;
}

void hn_delay(uintptr_t place);
__attribute__((used, visibility("hidden"))) void hn_delay(uintptr_t place)
{
	uint32_t *n = &passes[(place >> 2) % PLACES], before = __atomic_load_n(n, __ATOMIC_RELAXED), how_long;
	uint64_t x = draw();

	if (before < MANY)
		__atomic_store_n(n, before + 1, __ATOMIC_RELAXED);
	if ((x >> 20) % (ONE_IN + (uint64_t)LESS_OFTEN * before))
		return;
	how_long = (x >> 8) % 128;
	pause_for(how_long < 8 ? MOST_NS : how_long < 32 ? LONG_NS : SHORT_NS);
}

void __sanitizer_cov_trace_pc(void);
__attribute__((naked, visibility("hidden"))) void __sanitizer_cov_trace_pc(void)
{
	__asm__("push %rbp\n\t"
		"mov %rsp, %rbp\n\t"
		"push %rax\n\tpush %rcx\n\tpush %rdx\n\tpush %rsi\n\tpush %rdi\n\t"
		"push %r8\n\tpush %r9\n\tpush %r10\n\tpush %r11\n\t"
		"mov 8(%rbp), %rdi\n\t"
		"lea -72(%rbp), %rax\n\t" /* where the last of them is */
		"and $-16, %rsp\n\t"
		"push %rax\n\tpush %rax\n\t"
		"call hn_delay\n\t"
		"pop %rsp\n\t"
		"pop %r11\n\tpop %r10\n\tpop %r9\n\tpop %r8\n\t"
		"pop %rdi\n\tpop %rsi\n\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\t"
		"pop %rbp\n\t"
		"ret");
}
