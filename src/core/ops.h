// SPDX-License-Identifier: MIT
/*
 * ops.h - everything the engine asks of the outside world. The only door besides sync.h.
 *
 * Common rules. `be` is the backend's own state, passed back untouched. Every op may be called from any handler
 * thread or from the scanner; ops on different pages run at the same time. No op may call back into the engine
 * (but copy: hn_lead_release, and note_event: hn_for_each_armed), take an engine lock, or touch managed memory of the
 * program except as described. Results are 0 or a negative errno.
 * "Locks held" lists what the engine holds around the call: G = the event gate (shared), E = the lock of the entry
 * concerned, P = the page lock. All pointers are non-NULL; all ops but isolate and those for onlookers must be present.
 *
 * The backend must have read and handed in (event.c) every address-space event before the kernel lets a put-back
 * through; -EAGAIN is how it says that one is still unread.
 */
#ifndef HN_CORE_OPS_H
#define HN_CORE_OPS_H

#include "core/types.h"

/* What a handler can read. Addresses in bytes, need not be huge-aligned. */
enum hn_message_kind {
	HN_MSG_FAULT,  /* thread tid sleeps in a fault at start */
	HN_MSG_UNMAP,  /* [start, end) is gone */
	HN_MSG_REMOVE, /* [start, end) is about to be dropped, after its causer has woken up */
	HN_MSG_REMAP,  /* [start, end) has moved to `to` */
	HN_MSG_FORK,   /* there is a child; its userfaultfd is fd */
	HN_MSG_OTHER,
};

struct hn_message {
	enum hn_message_kind kind;
	uint32_t tid;
	int fd;
	hn_addr start, end, to;
};

struct hn_verdict;
struct hn_decision;

enum hn_registered { HN_REGISTERED_NONE, HN_REGISTERED_SOME, HN_REGISTERED_ALL };

struct hn_ops {
	/* Monotonic time in ns. Locks held: any. */
	uint64_t (*now_ns)(void *be);

	/*
	 * Arm `nr` consecutive huge pages from haddr as pages first .. first+nr-1, in address order, one indivisible step
	 * per page (R11, R15: at no instant may a page be in neither place). Returns how many were armed, always a prefix;
	 * when less than nr, *why says why the next one was not. Locks held: G, E of all nr entries.
	 */
	uint32_t (*arm)(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why);

	/*
	 * Put the armed page back at haddr with the protection it had, and wake its sleepers (I3, I6). 0: the content is
	 * in the program (or what the program put there since has superseded it). -EAGAIN: not now, nothing changed.
	 * There is no third result: a backend that meets another error must find a way or say -EAGAIN (I7).
	 * Locks held: G, E, P.
	 */
	int (*disarm)(void *be, hn_addr haddr, uint32_t page);

	/*
	 * Drop what page `page` still holds in staging; its id may be reused afterwards. The last reference is gone. Locks
	 * held: none; or the gate and the displaced lock; for an event: gate exclusive, E.
	 */
	void (*discard)(void *be, uint32_t page);

	/*
	 * Zero bytes [from, to) of the armed page in staging. A page that isolate() took there and disarm() could put back but
	 * not finish is in its place again: nothing to do then. Locks held: gate exclusive, E. May run during copy().
	 */
	void (*zero)(void *be, uint32_t page, uint32_t from, uint32_t to);

	/*
	 * Copy bytes [from, to) of the armed page to addr .. addr + (to - from), but only where the program has nothing yet:
	 * what it has is newer. 0: all of it is there; -EAGAIN: not now, some of it may be there. Wakes nobody. Locks held:
	 * G, the displaced lock, P; or gate exclusive and the displaced lock.
	 */
	int (*copy_in)(void *be, hn_addr addr, uint32_t page, uint32_t from, uint32_t to);

	/*
	 * Node index of each of nr pages just armed from haddr as first .. first+nr-1, HN_NO_NODE = the engine's own record
	 * stands. G, E of all of them.
	 */
	void (*page_nodes)(void *be, hn_addr haddr, uint32_t first, uint32_t nr, int16_t *nid);

	/* Node index the thread is running on (it sleeps in the fault), or HN_NO_NODE. Locks held: G, mostly E. */
	int (*thread_node)(void *be, uint32_t tid);

	/*
	 * A free huge page on node nid; *target identifies it until target_put() or commit(). -ENOMEM: none; never wait
	 * for compaction or split anything. Locks held: P only.
	 */
	int (*target_get)(void *be, int nid, uint32_t *target);
	void (*target_put)(void *be, uint32_t target);

	/*
	 * Where arming leaves the page in its place in the program, take it to staging, so that nobody can touch it during
	 * copy(). 0, also when it is there since an earlier call; -EAGAIN: not now; other errors: cannot be. Nothing has
	 * changed then. HN_ISOLATED_PART: cannot be, and a part of it is in staging all the same, because the kernel was
	 * splitting it; disarm() brings the parts together. Locks held: G, E, P. NULL where arming does that itself.
	 *
	 * A page that was never isolated is in its place, and follows it: disarm() and copy_in() make that accessible,
	 * discard() and zero() have nothing to do. A disarm() that says -EAGAIN may have put an isolated page back in its
	 * place, where it is armed then.
	 */
#define HN_ISOLATED_PART 1
	int (*isolate)(void *be, hn_addr haddr, uint32_t page);

	/*
	 * Copy the armed page to the target (or migrate it to node nid in place). Not to be begun or gone on with after until_ns,
	 * 0: never too late. -ETIME: it was; the armed page is as it was, the target holds anything. Locks held: P only; takes
	 * long.
	 */
	int (*copy)(void *be, uint32_t page, uint32_t target, int nid, uint64_t until_ns);

	/*
	 * The commit point: the new page appears at haddr and the sleepers wake, or nothing has changed and the error is
	 * returned; -EAGAIN as in disarm. On 0 the target is consumed. HN_COMMIT_PROTECTED: the same, but an event came
	 * before the page could be made accessible; the sleepers were woken, and the first to touch it faults and is
	 * brought to hole_fill(). Locks held: G, E, P.
	 */
#define HN_COMMIT_PROTECTED 1
	int (*commit)(void *be, hn_addr haddr, uint32_t page, uint32_t target);

	/* Wake every thread that sleeps in a fault on [addr, addr + bytes); harmless when none. Locks held: any. */
	void (*wake)(void *be, hn_addr addr, uint64_t bytes);

	/*
	 * True when an address-space event has begun and is not read yet, so that nothing can be put back: no migration is
	 * started then. Locks held: G, E, P.
	 */
	bool (*event_unread)(void *be);

	/* ---- for handlers (serve.c, hole.c) ---- */

	/*
	 * The next message, if there is one: false when not. Never sleeps. The kernel hands out faults before events, and
	 * lets the causer of an event go on from here. Locks held: lead, gate exclusive.
	 */
	bool (*read_message)(void *be, struct hn_message *m);
	/*
	 * Sleep until a message can be read; with `chores` also return after a short while. False: the handlers are to
	 * leave. May return early. Locks held: lead.
	 */
	bool (*wait_message)(void *be, bool chores);
	/*
	 * How much of [start, end) is registered at this moment? Asked of the kernel, also while events are unread. For a base page never
	 * "some". NULL: events come in the order of what they tell of. Gate exclusive.
	 */
	enum hn_registered (*is_registered)(void *be, hn_addr start, hn_addr end);
	/* Is anything of [start, end) registered, for all that was noted of events? NULL: the same as above. Gate exclusive. */
	bool (*is_known)(void *be, hn_addr start, hn_addr end);
	/* The engine has taken note of event m: now the backend, for its own books; HN_MSG_FORK is its alone (hn_for_each_armed). Gate exclusive. */
	void (*note_event)(void *be, const struct hn_message *m);
	/* Let others run: an event's causer has to, before a fault can be answered. Locks held: lead, or none. */
	void (*yield)(void *be);
	/*
	 * Prepare a page of zeros on node nid (HN_NO_NODE: any) for a first touch of haddr: what takes time is done here.
	 * HN_NO_INDEX when it cannot be or is not wanted. Goes to hole_fill or hole_put. Locks held: none.
	 */
	uint32_t (*hole_get)(void *be, hn_addr haddr, int nid);
	void (*hole_put)(void *be, uint32_t zeros);
	/*
	 * Answer a first touch of addr, huge with `zeros` if the whole place is empty, and wake who sleeps there. Must not
	 * replace anything; what is there already and cannot be accessed, although nothing is armed, is made accessible. 0,
	 * or -EAGAIN: an event comes first. Consumes `zeros`. Locks held: gate exclusive.
	 */
	int (*hole_fill)(void *be, hn_addr addr, uint32_t zeros);

	/* ---- for onlookers; each may be NULL, and has nothing to say in what is done ---- */

	/* A hint has ended: the page at haddr is in place again, or gone. Locks held: G or gate exclusive, E. */
	void (*note_disarm)(void *be, hn_addr haddr, enum hn_disarm_cause cause);
	/* CPU time of the calling thread, ns. Locks held: any. */
	uint64_t (*cpu_ns)(void *be);
	/* A migration begins; and how it ended, v->failure with HN_FAULT_FAILED. Same thread. Locks held: P; none. */
	void (*note_migrate_start)(void *be, hn_addr haddr, uint32_t tid, const struct hn_verdict *v);
	void (*note_migrate_end)(void *be, hn_addr haddr, uint32_t tid, const struct hn_verdict *v, enum hn_outcome out);
	/* What goes on record, at that time. Locks held: lead, or none. */
	void (*note_decision)(void *be, const struct hn_decision *d);
};

#endif
