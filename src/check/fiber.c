// SPDX-License-Identifier: MIT
/*
 * fiber.c - contexts by hand: swapcontext() makes two system calls for each switch, and we switch at every step.
 */
#include "check/fiber.h"

#include <stdint.h>
#include <sys/mman.h>

#define GUARD 4096u

/* Saves what the System V ABI asks a callee to keep; the rest the compiler has saved around the call. */
__asm__(".text\n"
	".globl ck_fiber_switch\n"
	".type ck_fiber_switch, @function\n"
	"ck_fiber_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size ck_fiber_switch, . - ck_fiber_switch\n"
	/* First entry: the function is in r12, its argument in r13. */
	".type ck_fiber_enter, @function\n"
	"ck_fiber_enter:\n"
	"	movq %r13, %rdi\n"
	"	call *%r12\n"
	"	ud2\n"
	".size ck_fiber_enter, . - ck_fiber_enter\n");

void ck_fiber_enter(void);

int ck_fiber_init(struct ck_fiber *f)
{
	char *p = mmap(NULL, CK_STACK_BYTES + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -1;
	mprotect(p, GUARD, PROT_NONE);
	f->stack = p + GUARD;
	return 0;
}

void ck_fiber_free(struct ck_fiber *f)
{
	if (f->stack)
		munmap(f->stack - GUARD, CK_STACK_BYTES + GUARD);
	f->stack = NULL;
}

void ck_fiber_prepare(struct ck_fiber *f, void (*fn)(void *arg), void *arg)
{
	uintptr_t *sp = (uintptr_t *)(void *)(f->stack + CK_STACK_BYTES);

	*--sp = 0; /* ck_fiber_enter calls, so the stack is aligned there: two words */
	*--sp = 0;
	*--sp = (uintptr_t)ck_fiber_enter;
	*--sp = 0;             /* rbp */
	*--sp = 0;             /* rbx */
	*--sp = (uintptr_t)fn; /* r12 */
	*--sp = (uintptr_t)arg; /* r13 */
	*--sp = 0;
	*--sp = 0;
	f->sp = sp;
}
