// SPDX-License-Identifier: MIT
/* arena.h - what access.c, eyes.c and streams.c look at from their sides: some huge pages that are absent when it matters. */
#ifndef LIVE_ARENA_H
#define LIVE_ARENA_H

#include "common.h"

#define PAGES 4u
#define BYTES (PAGES * HUGE)
#define ROUNDS live_rounds(5)
#define SEED 11u

static char *arena;

static void get_arena(void) { arena = live_arena(PAGES, SEED); }

static void absent(void) { live_wait_absent(arena, BYTES); }

#endif
