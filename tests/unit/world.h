/* SPDX-License-Identifier: MIT */
/*
 * world.h - a small machine for stress tests of the engine with real threads: page tables, faults that sleep, a queue
 * of messages, events whose callers sleep until they are read. It follows the kernel's rules where they matter:
 *
 *   - messages of faults are read before events;
 *   - arm, disarm, commit and all that fills holes answer "not now" from when an event is queued until it has been read
 *     and its causer has run;
 *   - the caller of munmap, mremap and madvise goes on as soon as its event has been read;
 *   - what munmap and mremap free can be moved to at once, and that event can come before theirs;
 *   - the zap of MADV_DONTNEED comes some time after that, and the pages may be in use until then;
 *   - a wake-up reaches whoever sleeps in the range at that moment and nobody else;
 *   - with `rwp` a page is armed in its place, where each access faults, and what is put there is armed at first, too.
 *
 * Memory is words in cells, eight cells to a huge page ("slot"); truth[] is what the program would read without the
 * engine, so every access can be checked when it happens. Frames come from malloc and go back to free, so the address
 * sanitizer sees stale ones; what the engine has to synchronise (staging, copy, program accesses) is plain memory, so
 * the thread sanitizer sees whether it does.
 */
#ifndef WORLD_H
#define WORLD_H

#include <pthread.h>

#include "core/core.h"

#define WORLD_BASE ((hn_addr)0x7f0000000000)
#define WORLD_SLOTS 40u
#define WORLD_CELLS 8u
#define WORLD_CELL (HN_PAGE_SIZE / WORLD_CELLS)
#define WORLD_WORDS 8u /* per cell */
#define WORLD_MAX_PAGES 16u
#define WORLD_TARGETS 16u

struct frame {
	int nid;
	uint64_t word[WORLD_CELLS][WORLD_WORDS];
};

enum flux {
	FLUX_NONE,
	FLUX_DROPPING, /* MADV_DONTNEED under way: reads see the old word or zero */
	FLUX_MOVING,   /* munmap or mremap under way: a sane program stays away */
};

struct slot {
	pthread_mutex_t lock; /* the page-table lock */
	struct frame *frame;
	uint8_t present, mapped; /* a bit per cell */
	uint8_t guarded;         /* RWPROTECT: who touches it faults */
	uint8_t registered;      /* of what is mapped */
	uint8_t known;           /* mapped, for all that the agent was told; written with the gate held exclusively, or shared and the lock */
	bool huge;
	enum flux flux;
	unsigned freeing; /* calls that have freed this slot, and whose event is still to be read */
	uint64_t truth[WORLD_CELLS][WORLD_WORDS];
};

struct waiter {
	struct waiter *next;
	hn_addr addr;
	uint32_t tid;
	bool unread, woken;
	pthread_cond_t cond;
};

struct event {
	struct event *next;
	struct hn_message message;
	bool read;
	pthread_cond_t cond;
};

/* A thread that calls the engine: a handler, or one of the scanner's kind. */
struct worker {
	struct hn hn;
	struct world *w;
};

struct world {
	struct worker self; /* nobody's thread: to look, and when all is quiet */
	struct hn_stats stats;
	struct slot slot[WORLD_SLOTS];
	pthread_rwlock_t mmap_lock;

	pthread_mutex_t uffd; /* inside mmap_lock and slot locks */
	pthread_cond_t readable;
	struct waiter *waiters;
	struct event *events;
	unsigned changing; /* events whose causers sleep; raised with mmap_lock held for writing */
	bool leave;        /* the handlers are to */

	bool rwp;
	struct frame *staging[WORLD_MAX_PAGES]; /* the engine's locks; with rwp only what was isolated */
	pthread_mutex_t target_lock;
	struct frame *target[WORLD_TARGETS]; /* also zeros for first touches */

	struct hn_word now_ms, zaps_pending, node_phase, frames, errors_permille;
	struct hn_word events_noted, holes, most_parts;
};

/* How long a thread may sleep in a fault before that is reported. */
extern int world_stuck_seconds;

/* Something is not as it must be: say it and end the process with status 1. */
void world_broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

void world_worker(struct worker *k, struct world *w);
struct world *world_new(const struct hn_geometry *geo, const struct hn_params *par, unsigned mapped_slots, bool rwp);
/* Everything is quiet and drained: contents, frames, ids, targets, sleepers, walkers. Frees. */
void world_finish(struct world *w);

static inline unsigned world_slot_of(hn_addr addr) { return (unsigned)((addr - WORLD_BASE) >> HN_PAGE_SHIFT); }
static inline unsigned world_cell_of(hn_addr addr)
{
	return (unsigned)((addr - WORLD_BASE) / WORLD_CELL) % WORLD_CELLS;
}
static inline hn_addr world_at(unsigned cell) { return WORLD_BASE + cell * WORLD_CELL; }

/* A cheap random number, one state per thread. */
uint32_t world_random(uint64_t *state);

/* One access of thread tid; value 0 reads. False: it would be a SIGSEGV, or the slot is in flux. */
bool world_access(struct world *w, hn_addr addr, unsigned word, uint64_t value, uint32_t tid);

/* Have hn_serve return in every handler. */
void world_leave(struct world *w);
/* Look for huge pages and hand them to the engine; sometimes collapse a slot of small ones. */
void world_discover(struct worker *k, uint64_t *rnd);
/* Let time pass, unless a zap is on its way: quarantines are meant to outlast those. */
void world_tick(struct world *w, uint32_t ms);
/* Claim the slots of [from, from + len) for a system call; all or nothing. */
bool world_claim(struct world *w, hn_addr from, uint64_t len, enum flux flux);
void world_release(struct world *w, hn_addr from, uint64_t len);
/* False: somebody who frees whole slots of it is not through with that; new memory comes to a place at rest only. */
bool world_is_at_rest(struct world *w, hn_addr from, uint64_t len);
/* System calls on claimed ranges. munmap and mremap release what they free, as soon as it is free. */
void world_munmap(struct world *w, hn_addr from, uint64_t len);
/* `populate`: whole slots are filled by the kernel itself, as in memory that is not registered (yet). */
void world_mmap(struct world *w, hn_addr from, uint64_t len, bool populate);
void world_dontneed(struct world *w, hn_addr from, uint64_t len, uint64_t *rnd);
void world_mremap(struct world *w, hn_addr from, hn_addr to, uint64_t len);
bool world_is_all(struct world *w, hn_addr from, uint64_t len, bool mapped);

#endif
