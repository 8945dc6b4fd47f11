// SPDX-License-Identifier: MIT
/*
 * door.c - how the library (src/lib) in a process finds the agent that is preloaded there: it steers that one, and starts
 * none of its own. The one symbol that the agent exports for itself.
 */
#include "agent/door.h"

__attribute__((visibility("default"))) const struct hn_door hugenuma_agent_door = HN_DOOR;
