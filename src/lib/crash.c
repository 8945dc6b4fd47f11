// SPDX-License-Identifier: MIT
/*
 * crash.c - a preloaded agent catches the faults of its own threads, and for that wraps what sets signal handlers. A library
 * leaves the program's handlers alone: there is nothing to catch them with.
 */
#include "agent/agent.h"

void hn_crash_catch(void) {}
void hn_crash_release(void) {}
void hn_crash_reset(void) {}
void hn_crash_guard_thread(void) {}

/* Never raised. */
struct hn_fault_of_ours hn_fault_of_ours;
