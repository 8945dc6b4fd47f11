// SPDX-License-Identifier: MIT
/* roles.h - shorthands for the tables of scenarios. */
#ifndef HN_CHECK_ROLES_H
#define HN_CHECK_ROLES_H

#include <errno.h>

#include "check/scenario.h"

/* A handler that waits for the lead or for a message already, as it does nearly always. */
#define HANDLER(n) { .name = "handler " #n, .fn = ck_role_handler, .may_sleep = true, .warm = true }
/* A handler that is only just starting. */
#define NEW_HANDLER(n) { .name = "handler " #n, .fn = ck_role_handler, .may_sleep = true }
#define ACTOR(what, script) { .name = (what), .fn = ck_role_script, .arg = (void *)(uintptr_t)(script) }
#define THREAD(what, node, script) \
	{ .name = "thread " what, .fn = ck_role_script, .arg = (void *)(uintptr_t)(script), .nid = (node) }

/* Worlds that many scenarios start from: page 0 lies on node 0, its last sample came from node 1. */
void ck_world_mapped(struct ck_world *w);    /* in place */
void ck_world_armed(struct ck_world *w);     /* armed: a fault from node 1 migrates it, one from node 0 does not */
void ck_world_two(struct ck_world *w);       /* pages 0 and 1, in place */
void ck_world_two_armed(struct ck_world *w); /* pages 0 and 1, both armed */

#endif
