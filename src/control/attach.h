// SPDX-License-Identifier: MIT
/*
 * attach.h - the runs of this user that are alive, and the processes in them, from outside.
 *
 * A run is found by its directory (shm.h); only files that belong to the caller and that nobody else can write are
 * looked at. root sees everybody's, and believes none of it: see docs/security.md.
 */
#ifndef HN_CONTROL_ATTACH_H
#define HN_CONTROL_ATTACH_H

#include "agent/layout.h"
#include "control/ledger.h"

#include <stddef.h>
#include <sys/types.h>

/* One run. What is read of it is copied first and looked at then. */
struct hn_run_seen {
	struct hn_shm *shm; /* mapped, writable, guarded (trust.h); others may write to it at any time */
	int dir;            /* its directory */
	uid_t owner;
	dev_t dev;
	ino_t ino;
	uint32_t controller_pid;   /* 0: it has ended, or is not what it says */
	uint32_t nr_loaded, nr_missed;
	struct hn_config config;   /* within their ranges */
	struct hn_machine machine;
};

/* What is needed of the header of r->shm, copied; NULL, or what is wrong with it. */
const char *hn_run_copy_header(struct hn_run_seen *r);

#define HN_REFUSALS_TOLD 4

struct hn_attached {
	struct hn_run_seen **run; /* our own first */
	size_t nr;
	size_t nr_refused; /* that ought to be runs of ours (root: of anybody) but are not to be trusted, the first few why */
	char refused[HN_REFUSALS_TOLD][512];
};

/* Map all of them. 0 or -errno (out of memory); finding none is no error. Close in any case. */
int hn_attach(struct hn_attached *a);
void hn_attach_close(struct hn_attached *a);
/* Tell the user what was refused, and why. */
void hn_attach_say_refused(const struct hn_attached *a);

/* A managed process, or one that could not be, that is alive. */
struct hn_target {
	const struct hn_run_seen *run;
	struct hn_slot *slot;
	uint32_t pid;
};

/*
 * Those with this pid; those of the run whose controller has it; 0: all. At most `room`; returns how many there are.
 */
size_t hn_attach_find(const struct hn_attached *a, uint32_t pid, struct hn_target *t, size_t room);

/*
 * Processes as they are now, copied: those with this pid; those of the run whose controller has it; 0: all. Of one that has
 * ended: what it left, as long as its run goes on. Several with one pid (exec): the living one, else the latest.
 */
struct hn_seen {
	const struct hn_run_seen *run;
	struct hn_slot *slot; /* NULL: it has ended */
	struct hn_process p;
};

/* *list is malloced. Returns how many, 0 also when out of memory. */
size_t hn_seen_find(const struct hn_attached *a, uint32_t pid, struct hn_seen **list);
void hn_seen_free(struct hn_seen *list, size_t nr);

/*
 * Ask an agent about an address, and wait for the answer, at most `ms`. 0; -ETIMEDOUT; -ESRCH: the process has ended;
 * -ENOENT: it has no record to answer in.
 */
int hn_attach_ask(const struct hn_seen *s, hn_addr addr, unsigned ms, struct hn_answer *answer);

/*
 * Tell an agent what to do (enum hn_mode) and wait until it does, at most `ms`. 0; -ETIMEDOUT: it has not yet, but will as
 * soon as it can; -ESRCH: the process has ended.
 */
int hn_attach_order(const struct hn_target *t, uint32_t mode, unsigned ms);

/*
 * Give an agent new settings and wait until it has them; only those that are `live' (settings.h) have an effect. As
 * hn_attach_order. Two callers at once: one of them wins, whole.
 */
int hn_attach_configure(const struct hn_target *t, const struct hn_config *c, unsigned ms);

#endif
