// SPDX-License-Identifier: MIT
/*
 * fiber.h - actors' stacks: cooperative contexts that one OS thread switches between. x86-64.
 *
 * A fiber may be left in the middle of its work and started anew at any time: nothing it calls may hold resources.
 */
#ifndef HN_CHECK_FIBER_H
#define HN_CHECK_FIBER_H

#include <stddef.h>

#define CK_STACK_BYTES (64u * 1024)

struct ck_fiber {
	void *sp;
	char *stack; /* CK_STACK_BYTES, above a guard page */
};

/* 0, or -1 when there is no memory. */
int ck_fiber_init(struct ck_fiber *f);
void ck_fiber_free(struct ck_fiber *f);
/* Make the next switch to `f` call fn(arg), which must never return. */
void ck_fiber_prepare(struct ck_fiber *f, void (*fn)(void *arg), void *arg);
/* Go on at `to`; returns when something switches back to *from. */
void ck_fiber_switch(void **from, void *to);

#endif
