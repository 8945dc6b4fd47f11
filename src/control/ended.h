// SPDX-License-Identifier: MIT
/*
 * ended.h - what processes that have ended leave behind, for `hugenuma report PID' while their run goes on: files in the
 * run directory, written by the controller when it harvests a slot, removed with the directory. The last few only.
 */
#ifndef HN_CONTROL_ENDED_H
#define HN_CONTROL_ENDED_H

#include "control/ledger.h"

#define HN_ENDED_MAX 16u

/* Keep p as number n (an older one makes room) with its record, which may be NULL. Best effort. */
void hn_ended_write(const char *dir, unsigned n, const struct hn_process *p, const struct hn_record *record);
/*
 * Read file i of HN_ENDED_MAX in the directory `dir', a descriptor. False when there is none of this version, or it is not
 * to be trusted (trust.h). What is in it is within its ranges. p->record is the caller's to free().
 */
bool hn_ended_read(int dir, unsigned i, struct hn_process *p);
/* The same from a descriptor that is open already. */
bool hn_ended_load(int fd, struct hn_process *p);
/* Remove all of them; `dir` is a directory descriptor. */
void hn_ended_remove(int dir);

#endif
