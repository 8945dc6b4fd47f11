// SPDX-License-Identifier: MIT
/*
 * probe.h - try what the agent will need, in a process of our own. Results are 0 or a positive errno unless said.
 */
#ifndef HN_CONTROL_PROBE_H
#define HN_CONTROL_PROBE_H

#include <stdbool.h>
#include <stdint.h>

struct hn_uffd_probe {
	int device;    /* a descriptor for kernel faults from /dev/userfaultfd */
	int syscall;   /* the same from userfaultfd(2) */
	int user_mode; /* a descriptor for user-mode faults only, from userfaultfd(2) */
	int api;       /* UFFDIO_API on whichever was to be had */
	uint64_t features;
	int needed;    /* UFFDIO_API asking for HN_UFFD_NEEDED */
	int fork;      /* UFFDIO_API asking for the fork event */
	int rwp;       /* UFFDIO_API asking for protection in place, and a first call of it */
};

/* What the agent cannot do without (uapi/uapi.h). */
#define HN_UFFD_NEEDED                                                                                                 \
	(HN_UFFD_FEATURE_MOVE | HN_UFFD_FEATURE_EVENT_REMAP | HN_UFFD_FEATURE_EVENT_REMOVE |                           \
	 HN_UFFD_FEATURE_EVENT_UNMAP | HN_UFFD_FEATURE_THREAD_ID | HN_UFFD_FEATURE_PAGEFAULT_FLAG_WP)

void hn_probe_uffd(struct hn_uffd_probe *p);

enum hn_move_step {
	HN_MOVE_DONE,
	HN_MOVE_NO_CHILD,   /* no process could be made for it */
	HN_MOVE_NO_ANSWER,  /* it did not come back in time, and was killed */
	HN_MOVE_NO_UFFD,
	HN_MOVE_NO_MEMORY,
	HN_MOVE_NO_SCAN,    /* PAGEMAP_SCAN */
	HN_MOVE_NOT_HUGE,   /* the kernel gave no huge page; nothing was moved */
	HN_MOVE_REGISTER,
	HN_MOVE_OUT,
	HN_MOVE_BACK,
	HN_MOVE_CONTENT,    /* what came back differs from what went out, or is no longer huge */
};

struct hn_move_probe {
	enum hn_move_step step; /* the step that failed */
	int error;              /* its errno */
};

/* Move one huge page out and back, in a child process that is killed if it takes more than a few seconds. */
void hn_probe_move(struct hn_move_probe *p);

/* PAGEMAP_SCAN over a page of our own. */
int hn_probe_pagemap_scan(void);

/* A descriptor table of one's own: close_range(2) with CLOSE_RANGE_UNSHARE. */
int hn_probe_close_range(void);

/* get_mempolicy(2); containers often forbid the memory policy calls. */
int hn_probe_mempolicy(void);

/* PR_GET_THP_DISABLE: huge pages switched off for this process and its children. */
bool hn_probe_thp_disabled(void);

/* The capability is in our effective set. */
bool hn_probe_capability(unsigned cap);

#endif
