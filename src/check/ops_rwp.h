// SPDX-License-Identifier: MIT
/* ops_rwp.h - between ops.c and ops_rwp.c. */
#ifndef HN_CHECK_OPS_RWP_H
#define HN_CHECK_OPS_RWP_H

#include "check/world.h"

/* ---- ops.c ---- */

enum hn_arm_error ck_arm_error(int err);
/* The system calls for core/mm.h. */
extern const struct hn_mm ck_mm;
int ck_op_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target);
void ck_op_zero(void *be, uint32_t page, uint32_t from, uint32_t to);
int ck_op_hole_fill(void *be, hn_addr addr, uint32_t zeros);

/* ---- ops_rwp.c ---- */
uint32_t ck_rwp_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why);
int ck_rwp_disarm(void *be, hn_addr haddr, uint32_t page);
void ck_rwp_discard(void *be, uint32_t page);
void ck_rwp_zero(void *be, uint32_t page, uint32_t from, uint32_t to);
int ck_rwp_copy_in(void *be, hn_addr addr, uint32_t page, uint32_t from, uint32_t to);
void ck_rwp_page_nodes(void *be, hn_addr haddr, uint32_t first, uint32_t nr, int16_t *nid);
int ck_rwp_isolate(void *be, hn_addr haddr, uint32_t page);
int ck_rwp_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target);
int ck_rwp_hole_fill(void *be, hn_addr addr, uint32_t zeros);

#endif
