// SPDX-License-Identifier: MIT
/*
 * world.h - the machine under the engine: a program's address space, huge frames, a userfaultfd, and the engine's block.
 *
 * It follows what was measured of the real one (facts of shared reference, cited in machine.c):
 *   - faults queue and sleep; a wake-up reaches whoever sleeps in the range now, and unread messages of theirs vanish;
 *   - a reader gets faults before events; who caused an event sleeps until it is read;
 *   - from before such a call takes effect until its event is read, MOVE and COPY say EAGAIN;
 *   - MADV_DONTNEED drops its pages only after its causer has woken up;
 *   - MOVE refuses shared and pinned frames, other protection, holes, and places that are taken;
 *   - the kernel splits pages by itself (reclaim), wherever they are: then MOVE goes part by part, and may stop in between;
 *   - where a scenario says so, pages are armed by RWPROTECT: in place, and what is put there arrives protected.
 *
 * Memory is in cells, two to a huge page, each holding one value; no value is written twice, so stale data shows.
 * `truth` is what the program would find without hugenuma. Everything is in one block without pointers into itself.
 */
#ifndef HN_CHECK_WORLD_H
#define HN_CHECK_WORLD_H

#include "check/explore.h"
#include "core/core.h"
#include "core/mm.h"
#include "core/stats.h"

#define CK_SLOTS 6u
#define CK_CELLS 2u
#define CK_CELL (HN_PAGE_SIZE / CK_CELLS)
#define CK_FRAMES 24u
#define CK_PAGES 4u
#define CK_TARGETS 2u
#define CK_EVENTS 4u
#define CK_NODES 4u
#define CK_BASE ((hn_addr)0x400000000) /* the program */
#define CK_STAGING ((hn_addr)0x500000000)
#define CK_POOL ((hn_addr)0x600000000) /* targets; after them the page of zeros */
#define CK_HOLE (-1)

struct ck_frame {
	uint8_t refs; /* page table entries, staging, pool; 0: free */
	uint8_t shared; /* with a child: MOVE says EBUSY until it is written */
	uint8_t pinned; /* by a device: MOVE says EBUSY */
	int8_t nid;
	uint32_t value[CK_CELLS];
};

/* What the page table says of a cell that is not a hole. */
enum ck_form {
	CK_PRESENT,
	CK_CHANGING, /* the kernel splits the page: a migration entry for now, swapped to those who look */
	CK_SWAPPED,
};

/* Where content can lie: a huge-page-sized place. Entry = frame * 2 + index into its values, or CK_HOLE. */
struct ck_place {
	int8_t at[CK_CELLS];
	uint8_t form[CK_CELLS]; /* enum ck_form; CK_PRESENT for holes */
	bool huge;
};

enum ck_flux {
	CK_STEADY,
	CK_DROPPING, /* MADV_DONTNEED under way: until the zap, reads find the old value or zero */
};

/* UFFDIO_RWPROTECT, of the bytes that are present: every access faults. */
enum ck_guard {
	CK_OPEN,
	CK_PROTECTED,
	CK_LEFT, /* the same; nothing is armed there, but an unread event kept the backend from undoing it */
};

struct ck_slot {
	struct ck_place pt;
	char content[CK_CELLS]; /* stands for the values, as an object that steps touch */
	bool mapped[CK_CELLS], registered[CK_CELLS], read_only;
	bool known[CK_CELLS]; /* the backend's note of what is registered; gate exclusive */
	uint8_t flux[CK_CELLS];
	uint8_t guard[CK_CELLS]; /* enum ck_guard */
	uint32_t truth[CK_CELLS];
};

struct ck_event {
	struct hn_message m;
	int8_t causer; /* actor that sleeps until it is read */
};

/* A child made by fork: what its page tables hold, and what it must find. */
struct ck_child {
	bool exists, complete; /* complete: all that was staged has been given, faults of the child are answered */
	int8_t waiter;         /* actor that stands for the child and waits for that, -1: none */
	bool present[CK_SLOTS][CK_CELLS], dropping[CK_SLOTS][CK_CELLS], mapped[CK_SLOTS][CK_CELLS];
	uint32_t value[CK_SLOTS][CK_CELLS], truth[CK_SLOTS][CK_CELLS];
};

struct ck_sleeper {
	uint32_t word; /* offset */
	int8_t actor;
};

/* Which call of which op is to fail, and with what. */
enum ck_op {
	CK_OP_ARM,
	CK_OP_DISARM,
	CK_OP_TARGET,
	CK_OP_COPY,
	CK_OP_COMMIT,
	CK_OP_COPY_IN,
	CK_OP_HOLE,
	CK_OP_ISOLATE,
	CK_OP_PART, /* MOVE of a part of a page that is split */
	CK_OP_LOOK, /* PAGEMAP_SCAN */
	CK_OP_COPIED, /* the put-back of a part: all of it is in place, and the kernel says something else */
	CK_NR_OPS,
};

struct ck_fail {
	uint8_t at;    /* 1: the first call; 0: none */
	uint8_t calls; /* so far */
	int8_t err;
};

struct ck_world {
	uint64_t now_ns;
	struct ck_frame frame[CK_FRAMES];
	struct ck_slot slot[CK_SLOTS];
	struct ck_place staging[CK_PAGES];
	struct ck_place trash[CK_PAGES]; /* goes with staging: only who discards a page looks at its trash */
	struct ck_place target[CK_TARGETS]; /* pool pages ready, one node each */
	bool target_out[CK_TARGETS];
	struct ck_place zeros; /* one page of zeros for first touches */
	bool zeros_out;
	char staged[CK_PAGES]; /* objects that steps touch: content of staging, the pool, and the queues */
	char asleep[CK_SLOTS]; /* who sleeps in a fault on the slot */
	char pool, frames, faults, events, poll, chores, child_mem, thread_map;

	bool rwp;              /* registered for RWPROTECT too; ck_ops_rwp */
	bool lifted[CK_PAGES]; /* its backend's note: the armed page is in staging. Goes with staged[] */

	/* userfaultfd */
	uint32_t nr_faults; /* unread, oldest first */
	int8_t fault[CK_MAX_ACTORS];
	bool in_fault[CK_MAX_ACTORS];
	hn_addr fault_addr[CK_MAX_ACTORS];
	uint32_t changing; /* events that have begun and are not read */
	uint32_t moving;   /* MOVEs and COPYs that are at it piece by piece: no event begins meanwhile */
	uint32_t held_up;  /* set of actors that wait for that */
	uint32_t stalled;  /* set of actors that wait for a part of a page that is CK_CHANGING, ... */
	hn_addr stalled_at[CK_MAX_ACTORS]; /* ... and where */
	bool kernel_mover; /* a page migrates where it lies in staging, and that page is committed */
	bool mute;         /* a MOVE that has moved a part of a page and fails does not say that it has */
	uint32_t nr_events;
	struct ck_event event[CK_EVENTS];
	int8_t poller; /* the one actor that waits for messages, -1: none */
	bool poller_has_chores;
	uint32_t yielding; /* set of actors that let others run, until something can be read */
	uint32_t awaiting; /* set of actors that wait until an event has been read */
	bool stop;         /* handlers are to leave */
	bool closed;       /* the descriptor: events go to nobody */

	int8_t thread_nid[CK_MAX_ACTORS];
	uint8_t writes[CK_MAX_ACTORS]; /* values made by each actor */
	struct ck_child child;
	struct ck_fail fail[CK_NR_OPS];

	uint32_t nr_sleepers; /* on words, oldest first */
	struct ck_sleeper sleeper[CK_MAX_ACTORS];

	bool in_gate[CK_MAX_ACTORS];
	struct hn hn[CK_MAX_ACTORS + 1]; /* each actor's handle; the last one is for set-up and the end */
	struct hn_word flag[4]; /* for actors among themselves */
	uint64_t core[560];     /* the engine's block */
	struct hn_stats stats;  /* its series, which comes last, stays unused and is not copied */
};

#define CK_WORLD_BYTES (offsetof(struct ck_world, stats) + offsetof(struct hn_stats, series))

/* ---- world.c ---- */

/* Make and set up k's world for its scenario, before any actor runs: 0, or -1 without memory. */
int ck_world_init(struct ck *k);
/* A name for a word of the engine, valid until the next call in this thread. */
const char *ck_name_of(const struct ck_world *w, const void *word);
/* Who sleeps on words. */
void ck_queue_add(struct ck_world *w, const struct hn_word *word, int actor);
bool ck_queue_any(const struct ck_world *w, const struct hn_word *word);
uint32_t ck_queue_take(struct ck_world *w, const struct hn_word *word);
/* A word was stored to: a page lock that becomes free ends the wait of a handler that has chores. */
void ck_word_changed(struct ck_world *w, const struct hn_word *word);
/* locks.c: could the lock be taken in this way now? */
bool ck_lock_is_free(const struct hn_word *lock, enum ck_kind kind);
/* The engine handle of the running actor. */
struct hn *ck_hn(void);

static inline hn_addr ck_at(uint32_t slot) { return CK_BASE + slot * HN_PAGE_SIZE; }
static inline hn_addr ck_cell_at(uint32_t slot, uint32_t cell) { return ck_at(slot) + cell * CK_CELL; }
static inline uint32_t ck_slot_of(hn_addr a) { return (uint32_t)((a - CK_BASE) >> HN_PAGE_SHIFT); }
static inline uint32_t ck_cell_of(hn_addr a) { return (uint32_t)((a - CK_BASE) / CK_CELL) % CK_CELLS; }
static inline bool ck_in_world(hn_addr a) { return a >= CK_BASE && ck_slot_of(a) < CK_SLOTS; }
static inline hn_addr ck_staged_at(uint32_t page) { return CK_STAGING + page * HN_PAGE_SIZE; }
static inline hn_addr ck_pool_at(uint32_t target) { return CK_POOL + target * HN_PAGE_SIZE; }
#define CK_ZEROS_AT ck_pool_at(CK_TARGETS)

/* ---- machine.c: memory and the userfaultfd; each call is (part of) one step ---- */

int ck_frame_alloc(struct ck_world *w, int nid);
/* Drop what an entry refers to and leave a hole. */
void ck_drop(struct ck_world *w, int8_t *entry);
uint32_t *ck_value(struct ck_world *w, int8_t entry);
const char *ck_error_name(int err);
/* Drop a cell of a place. */
void ck_drop_cell(struct ck_world *w, struct ck_place *p, uint32_t c);
/* What is put into memory that is registered for RWPROTECT arrives protected: cells [from, to). */
void ck_arrived(const struct ck_world *w, struct ck_slot *s, uint32_t from, uint32_t to);
/* RWPROTECT of one huge page; and of what is in a range, undone, with a wake-up if it could be. 0 or -errno. */
int ck_protect(struct ck_world *w, hn_addr haddr);
int ck_unprotect(struct ck_world *w, hn_addr start, uint64_t bytes);
/* For the oracle: what is protected in the range is known to be. */
void ck_leave_protected(struct ck_world *w, hn_addr start, uint64_t bytes);
/* Out of the userfaultfd's hands: nothing in the slot is registered or protected any more. */
void ck_unregister(struct ck_world *w, uint32_t slot);
void ck_wake_range(struct ck_world *w, hn_addr start, uint64_t bytes);
/* Put an event into the queue and sleep until it is read; `changing` was raised before. */
void ck_post_event(struct ck_world *w, const struct hn_message *m);
void ck_begin_change(struct ck_world *w);
void ck_close_userfaultfd(void);
/* The running actor has touched a hole at addr: it sleeps until somebody wakes the range. */
void ck_queue_fault(struct ck_world *w, hn_addr addr);
/* How a value is printed: who wrote it and which of theirs it is; valid until the fourth call after. */
const char *ck_value_name(uint32_t value);

/* ---- move.c: the same for what may take several steps; the caller has passed a scheduling point ---- */

/* The place at an address of the program, of staging or of the pool, and the object that stands for its page table. */
struct ck_place *ck_place_at(struct ck_world *w, hn_addr a, const void **object);
/*
 * UFFDIO_MOVE from place to place, whole pages or cells; `wake` who sleeps where it arrives. A huge page moves in one step to
 * an empty place; else piece by piece. 0 or -errno; *moved as in core/mm.h.
 */
int ck_move(struct ck_world *w, hn_addr dst, hn_addr src, uint64_t len, bool wake, uint64_t *moved);
/* MOVE from staging to the trash, by a descriptor without events; and MADV_DONTNEED of a page's trash. */
int ck_trash(struct ck_world *w, hn_addr src, uint64_t len, uint64_t *moved);
void ck_empty_trash(struct ck_world *w, hn_addr src);
/* UFFDIO_COPY into the program. */
int ck_copy(struct ck_world *w, hn_addr dst, hn_addr src, uint64_t len, uint64_t *copied);
/* UFFDIO_ZEROPAGE of one cell. */
int ck_zeropage(struct ck_world *w, hn_addr addr);
/* PAGEMAP_SCAN: as `look` of core/mm.h. */
int ck_look(struct ck_world *w, enum hn_mm_kind kind, hn_addr start, hn_addr end, struct hn_range *run, uint32_t nr,
	    hn_addr *next);
/* The agent reads or writes its own memory at addr: the entry, faulted in. May take several steps. */
int8_t ck_fault_in(struct ck_world *w, hn_addr addr);
/* An event is about to begin: it waits until no MOVE or COPY is in the middle of something. */
void ck_await_moves(struct ck_world *w);

/* ---- reclaim.c: what the kernel does to pages by itself ---- */

/* Split the huge page that lies at `at`, if one does, as reclaim does: its parts are unmapped, and come back one by one. */
void ck_reclaim_split(hn_addr at);
/* Swap out a part of a split page. */
void ck_reclaim_swap(hn_addr at);
/* The running actor has met a part that is CK_CHANGING at `at`, and has touched it: it sleeps until one has come back. */
void ck_await_split(struct ck_world *w, hn_addr at);

/* ---- ops.c, ops_rwp.c ---- */
/* The call that a scenario wants to fail: its error, else 0. */
int ck_told_to_fail(enum ck_op op);
/* The same of one that has done what it was to do, with this result. */
int ck_told_after(int err, enum ck_op op);
extern const struct hn_ops ck_ops;     /* arming is UFFDIO_MOVE */
extern const struct hn_ops ck_ops_rwp; /* arming is UFFDIO_RWPROTECT */

/* ---- calls.c: what the program does; by the actor that runs ---- */

/* One access, faulting as often as it takes; checked against the truth. False: it would be a SIGSEGV. */
bool ck_load(hn_addr addr);
bool ck_store(hn_addr addr);
/* MADV_DONTNEED, munmap, mmap, mremap and mprotect; addresses and lengths in cells. */
void ck_munmap(hn_addr start, uint64_t bytes);
void ck_mmap(hn_addr start, uint64_t bytes, bool registered);
void ck_dontneed(hn_addr start, uint64_t bytes);
void ck_mremap(hn_addr from, hn_addr to, uint64_t bytes);
void ck_mremap_shrinks(hn_addr from, hn_addr to, uint64_t bytes);
void ck_mremap_if_free(hn_addr from, hn_addr to, uint64_t bytes);
void ck_mprotect(uint32_t slot, bool read_only);
/* The kernel splits the huge page in slot: same content, small pages. */
void ck_split_page(uint32_t slot);
/* khugepaged or MADV_COLLAPSE: small pages become a huge one, if that can be. */
void ck_collapse_page(uint32_t slot);
/*
 * fork(2) as the kernel does it, with the event or (no CAP_SYS_PTRACE) without; then the child looks at all its memory.
 */
void ck_fork(bool event);
/* A device gets hold of the page at addr, writes a value into it, and lets go: O_DIRECT, RDMA. */
void ck_device_write(hn_addr addr);

/* ---- oracle.c ---- */
/* After every step, in no step: I1, I2, I6. */
void ck_check_step(struct ck *k);
/* When nothing can run any more: I3, then put everything back and look for what is left over: I4, I5, I6. */
void ck_check_end(struct ck *k);

#endif
