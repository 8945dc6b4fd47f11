/* SPDX-License-Identifier: MIT */
/*
 * model.pml - the protocol of docs/protocol.md once more, in Promela, written by hand and checked by spin.
 *
 * It shares no line with src/core: where both agree that the shipped protocol is right and the founding bug is wrong,
 * neither the code nor this text can be the only reason. check_model.py runs it; expected.json has the state counts.
 *
 * Scenario, one of:
 *   RACE     two threads that read and write, two handlers, the scanner: faults, copies, expiry, arming again
 *   DROP     one such thread, another calls madvise(MADV_DONTNEED) of the page
 *   PART     the same for half of the page
 *   UNMAP    the same with munmap, while new memory may be mapped at the address at once
 *   REMAP    the same with mremap, to another place and back
 *   FORK     two threads, one forks through libc: everything is put back first
 *   RAWFORK  two threads, one forks behind libc's back: an event, and the child is given what lies in staging
 * WIDE: two page ids also where one does for every day. A mutant, at most one (none: as shipped): see "planted".
 *
 * How to read it
 *   Every thread of the program may go on for ever or stop at any point: there is no bound on the number of accesses,
 *   hints, migrations or events, and yet the state space is finite, because two things that only grow are kept as what
 *   they are compared with:
 *   - Content. A word is ZERO, FRESH (what was written last), STALE (what was written before that) or ABSENT. A write
 *     makes every other copy of that word STALE. truth[] says what a read must see: FRESH, or ZERO after a drop.
 *   - The generation. It is only ever compared with a handler's snapshot, so a bit for each handler says whether its
 *     snapshot is still the entry's; every "gen++" clears these bits (the 32-bit wrap is not modelled).
 *   In RACE and PART a page has two words, one base page each, copied in two steps, so that a torn copy is seen. A
 *   page's home is the program's place, staging, or in a migration also the target: these are the locations of word[].
 *
 *   The kernel's side: MOVE is one step with its wake-up, and refuses with EAGAIN from the moment an event is raised
 *   until its causer runs again (mmap_changing), which is after the event was read. MADV_DONTNEED zaps later still, in
 *   a step of its own. A thread that faults is queued in the step in which it finds the page absent. Messages are read
 *   in any order.
 *
 *   Times are choices: a hold may end, a hint may expire, a policy may want either at any moment. One timing is
 *   assumed, as the protocol does: a quarantine outlasts the way from the read of a REMOVE event to the end of its zap.
 *
 *   Steps: what is done under the entry lock is one step when at most one thing in it is seen by who does not take that
 *   lock, such as a MOVE; taking locks before it and letting go after it then make no difference. A mutant that takes
 *   fewer locks is split where it lets somebody in.
 *
 *   Not in it: batches (every entry is locked and moved by itself in them), parts displaced by a partial munmap or a
 *   crooked mremap, EBUSY and the copying ladder of a put-back, the futex level of the locks, weak memory, and whether
 *   a fault that is put off again and again gets its turn. These are for the unit tests, the checker that runs the
 *   object code, and the torture.
 *
 * What is checked (beside each assert is what for)
 *   I1, I6  read(), and the LOOK1 of a fork; once a read has seen zeros after a drop, nothing else may come back
 *   I2      bring_home(), take(), and at the end
 *   I3      no invalid end state: nobody sleeps for ever. Where the scanner could wake by expiry who should have been
 *           woken before, it may also stop for good (scanning)
 *   I4, I5  at every release, and at the end, when nothing moves any more
 */

/* ---- scenarios ---- */

#ifdef REMAP
#define NPL 2 /* places of the program */
#else
#define NPL 1
#endif
#ifndef NTH
#define NTH 2 /* threads of the program; the last one also causes the events */
#endif
#define NH 2 /* handlers */
#if !defined(WIDE) && (defined(PART) || defined(REMAP) || defined(RAWFORK))
#define NPG 1 /* page ids: places in staging; two where a place can be armed again while its old page is still copied */
#else
#define NPG 2
#endif
#if defined(RACE) || defined(PART)
#define NW 2 /* words of a page; where nothing happens to half a page, one will do */
#else
#define NW 1
#endif
#if defined(DROP) || defined(PART) || defined(UNMAP) || defined(REMAP) || defined(RAWFORK)
#define EVENTS
#endif

/* ---- planted ---- */

/*
 * FOUNDING       tests/torture/founding-bug.patch: policy before the page lock, and the recheck of that time (by value)
 * FOUNDING_GEN   its first half only: F6 still compares generations
 * SEED           the patch of 2013 to the letter: waits for the page lock, unlocks the page before it clears the hint
 * NO_PAGE_LOCK   the page lock is not respected
 * NO_GEN         F6 compares state and page, not the generation
 * NO_RECHECK     F6 compares nothing
 * LATE_MIGRATE   who had to wait for the page lock goes on with what he saw before
 * NO_REF         a migration takes no reference
 * NO_GATE_FAULT  F1 to F4 without the gate
 * NO_GATE_COMMIT F6 without the gate
 * NO_GATE_ARM    arming without the gate
 * NO_GATE_HOLE   a first touch looks at the entry before it takes the gate
 * NO_QUARANTINE  a dropped place may be armed at once
 * NO_WAKE_STALE  a migrator that finds STALE wakes nobody
 * NO_WAKE_EVENT  an event wakes nobody
 * LEADER_WAKES   a handler without the lead leaves a deferred fault to the leader (fixed in the history of the project)
 * NO_ZERO        a dropped part is not zeroed in staging
 * COPY_ARM       arming by a copy and a drop instead of a MOVE (R12)
 * GAP_ARM        arming leaves a moment in which the page is in neither place, and the entry not ARMED (R11, R15)
 * NO_DRAIN       fork without putting everything back
 * NO_WAIT_FORK   fork after a drain that does not wait for migrations in flight
 * NO_GIVE        the child of a raw fork is given nothing
 * REF_LEAK       an event keeps the entry's reference
 * TARGET_LEAK    a migration that fails keeps its target
 * CHARGE_STALE   a stale fault is counted as a sample
 */
#if defined(FOUNDING) || defined(FOUNDING_GEN)
#define DECIDE_FIRST
#endif
#ifdef NO_REF
#define GET(pg) skip
#define UNGET(pg) skip
#else
#define GET(pg) refs[pg]++
#define UNGET(pg) unget(pg)
#endif

/* ---- content ---- */

#define ABSENT 3
#define STALE 2
#define FRESH 1
#define ZERO 0

#define PROG(pl) (pl)
#define STAG(pg) (NPL + (pg))
#define TARG(h) (NPL + NPG + (h))
#define CHILD (NPL + NPG + NH)
#define NLOC (NPL + NPG + NH)

#define W(loc, i) word[NW * (loc) + (i)]
#if NW == 2
#define HAS(loc) (W(loc, 0) != ABSENT || W(loc, 1) != ABSENT)
#define WHOLE(loc) (W(loc, 0) != ABSENT && W(loc, 1) != ABSENT)
#define BOTH(do) do(0); do(1)
#define ALL_WORDS 3
#else
#define HAS(loc) (W(loc, 0) != ABSENT)
#define WHOLE(loc) (W(loc, 0) != ABSENT)
#define BOTH(do) do(0)
#define ALL_WORDS 1
#endif
#define ASSIGN(dst, src) W(dst, 0) = W(src, 0); W(dst, NW - 1) = W(src, NW - 1)
#define FILL(loc, what) W(loc, 0) = what; W(loc, NW - 1) = what

byte word[NW * (NLOC + 1)] = ABSENT;
byte truth[NW] = FRESH; /* of the one page of data there is, wherever it is mapped */
bit maybe[NW];         /* a drop is under way: zero will do too */

byte k, to; /* scratch within one step; 0 between steps */

/* Copies of word i that were right are not any more. The child of a fork keeps what it has. */
inline outdate(i)
{
	for (k : 0 .. NLOC - 1) {
		if
		:: W(k, i) == FRESH -> W(k, i) = STALE
		:: else
		fi
	}
	k = 0
}

/* ---- the kernel ---- */

#define NONE 0 /* kinds of mapping */
#define REGISTERED 1
#define OTHER 2 /* new memory at the address, not registered with us */
byte vma[NPL];
byte cur; /* where the program has the page now */

#define RUNS 0
#define PENDING 1 /* sleeps in a fault whose message is unread */
#define READ 2    /* and read */
byte tf[NTH], tp[NTH], tw[NTH]; /* of each thread: that, at which place, at which word */

#define EV_REMOVE 1
#define EV_UNMAP 2
#define EV_REMAP 3
#define EV_FORK 4
byte ev;       /* unread event */
bit dropping;      /* a drop is under way: from its event to the end of its zap */
byte changing; /* MOVE, COPY and ZEROPAGE answer EAGAIN */

#define IN_PART(i, what) ((what) & (1 << (i)))

inline wake(pl, what)
{
	for (k : 0 .. NTH - 1) {
		if
		:: tf[k] != RUNS && tp[k] == (pl) && IN_PART(tw[k], what) -> tf[k] = RUNS; tp[k] = 0; tw[k] = 0
		:: else
		fi
	}
	k = 0
}

#define READABLE (ev != 0 || tf[0] == PENDING || tf[NTH - 1] == PENDING)

/* ---- the engine ---- */

#define UNMANAGED 0
#define MAPPED 1
#define ARMED 2
#define NOPAGE 255

byte state[NPL] = MAPPED;
byte epage[NPL] = NOPAGE;
bit elock[NPL];
bit hold[NPL];  /* quarantine: not to be armed */
byte snap[NH];  /* place + 1 while the handler's snapshot of the generation is still the entry's */

bit plock[NPG];
byte refs[NPG];
byte place[NPG]; /* place + 1 */
bit content[NPG];

byte readers; /* the event gate */
bit writer, wanted;

bit lead;
bit deferred[NPL];

bit target[NH]; /* taken */
byte owed;      /* I5: hints ended by a fault whose outcome is not counted yet */
byte hints;     /* I5: armed - disarmed */

byte running = NTH;
#ifndef EVENTS
bit scanning = 1; /* arming and expiry may end, lest they wake who should have been woken before */
#else
#define scanning true
#endif

#ifdef FORK
bit pause, paused;
#endif
#ifdef RAWFORK
bit forked, given; /* there is a child; it has been served */
bit late;       /* the word was written since the fork */
byte expected;
#endif

/* Within an atomic step. */
inline gate_read_lock() { !writer && !wanted -> readers++ }
inline gate_write_lock()
{
	if
	:: !writer && readers == 0 -> writer = 1
	:: else -> wanted = 1; !writer && readers == 0 -> writer = 1
	fi
}
inline gate_write_unlock() { assert(writer && readers == 0); writer = 0; wanted = 0 } /* I4 */
inline lock_both(pl)
{
	gate_read_lock();
	!elock[pl] -> elock[pl] = 1
}
inline unlock_both(pl) { assert(elock[pl] && readers > 0); elock[pl] = 0; readers-- } /* I4 */

inline new_gen(pl)
{
	for (k : 0 .. NH - 1) {
		if
		:: snap[k] == (pl) + 1 -> snap[k] = 0
		:: else
		fi
	}
	k = 0
}

inline to_mapped(pl) { assert(hints > 0); hints--; state[pl] = MAPPED; epage[pl] = NOPAGE; new_gen(pl) } /* I5 */
inline to_unmanaged(pl)
{
	if
	:: state[pl] == ARMED -> assert(hints > 0); hints-- /* I5 */
	:: else
	fi;
	state[pl] = UNMANAGED;
	epage[pl] = NOPAGE;
	new_gen(pl)
}
inline count() { assert(owed > 0); owed-- } /* I5 */

inline clear(loc) { FILL(loc, ABSENT) }

/* Within a step. The last reference discards what staging holds. */
inline put(pg)
{
	assert(refs[pg] > 0); /* I4 */
	refs[pg]--;
	if
	:: refs[pg] == 0 ->
		if
		:: content[pg] -> clear(STAG(pg)); content[pg] = 0
		:: else -> assert(!HAS(STAG(pg))) /* I2, I4 */
		fi;
		place[pg] = 0
	:: refs[pg] != 0 && content[pg] -> FILL(STAG(pg), STALE) /* a migration reads it; nobody may ever see it again */
	:: else
	fi
}

/* The migration's reference, which the entry's may outlive. */
inline unget(pg)
{
	assert(refs[pg] > 0); /* I4 */
	if
	:: refs[pg] > 1 -> refs[pg]--
	:: else -> put(pg)
	fi
}

#define CAN_PUT(pl) (changing == 0 && vma[pl] == REGISTERED)

/* The MOVE to the program; where it has something already, that is newer. */
inline bring_home(loc, pl)
{
	assert(WHOLE(loc)); /* I2: it is here ... */
	assert(!HAS(PROG(pl))); /* I2: ... and nowhere else */
	ASSIGN(PROG(pl), loc);
	clear(loc);
	wake(pl, ALL_WORDS)
}

/* ---- the program ---- */

inline read(i)
{
	assert(W(PROG(cur), i) != STALE);                                     /* I1, I6 */
	assert(W(PROG(cur), i) == FRESH || truth[i] == ZERO || maybe[i]);      /* I1: a write was lost */
	if
	:: W(PROG(cur), i) == ZERO && truth[i] != ZERO -> truth[i] = ZERO; outdate(i) /* once gone, gone for good */
	:: else
	fi
}

inline write(i)
{
	outdate(i);
	W(PROG(cur), i) = FRESH;
	truth[i] = FRESH;
#ifdef RAWFORK
	late = forked
#endif
}

/* An access, or a fault that sleeps until it is woken: what is done then is chosen anew, the same access included. */
inline access(me, i)
{
	if
	:: vma[cur] == NONE /* the end of the thread, or a word with whoever unmaps; nothing of ours */
	:: vma[cur] == REGISTERED && W(PROG(cur), i) == ABSENT ->
		printf("thread %d sleeps in a fault\n", me);
		tf[me] = PENDING; tp[me] = cur; tw[me] = i;
		tf[me] == RUNS
	:: vma[cur] != NONE && W(PROG(cur), i) != ABSENT -> printf("thread %d reads word %d\n", me, i); read(i)
	:: vma[cur] != NONE && W(PROG(cur), i) != ABSENT -> printf("thread %d writes word %d\n", me, i); write(i)
#ifdef UNMAP
	:: vma[cur] == OTHER && W(PROG(cur), i) == ABSENT -> W(PROG(cur), i) = ZERO
#endif
	fi
}

#if defined(DROP) || defined(PART)
/* All of the page, or the first half. */
inline cause_event()
{
	atomic {
		dropping = 1;
		maybe[0] = 1;
		printf("thread %d raises an event\n", me);
		changing++;
		ev = EV_REMOVE;
		ev == 0 -> changing--
	}
	d_step {
		printf("thread %d zaps\n", me);
		W(PROG(0), 0) = ABSENT;
		truth[0] = ZERO;
		maybe[0] = 0;
		outdate(0);
		dropping = 0
	}
}
#endif
#ifdef UNMAP
inline cause_event()
{
	atomic {
		vma[0] = NONE;
		clear(PROG(0));
		truth[0] = ZERO;
		outdate(0);
		printf("thread %d raises an event\n", me);
		changing++;
		ev = EV_UNMAP;
		ev == 0 -> changing--
	}
}
#endif
#ifdef REMAP
inline cause_event()
{
	atomic {
		vma[cur] = NONE;
		vma[1 - cur] = REGISTERED;
		ASSIGN(PROG(1 - cur), PROG(cur));
		clear(PROG(cur));
		cur = 1 - cur;
		printf("thread %d raises an event\n", me);
		changing++;
		ev = EV_REMAP;
		ev == 0 -> changing--
	}
}
#endif
#if defined(FORK) || defined(RAWFORK)
#define LOOK1(loc, i, want) assert(W(loc, i) == FRESH || (W(loc, i) != STALE && (want) == ZERO))
#endif
#ifdef FORK
inline cause_event()
{
#ifndef NO_DRAIN
	pause = 1;
	paused;
#endif
	d_step { LOOK1(PROG(0), 0, truth[0]) } /* I1: the child sees what is in place */
	d_step { pause = 0 }
}
#endif
#ifdef RAWFORK
inline cause_event()
{
	atomic {
		ASSIGN(CHILD, PROG(0));
		expected = truth[0];
		forked = 1;
		printf("thread %d raises an event\n", me);
		changing++;
		ev = EV_FORK;
		ev == 0 -> changing--
	}
	d_step {
		given -> given = 0;
		LOOK1(CHILD, 0, expected); /* I1 */
		clear(CHILD); expected = 0; late = 0; forked = 0
	}
}
#endif

proctype thread(byte me)
{
	do
#if defined(RACE)
	:: atomic { me == 0 -> access(me, 0) } /* a word for each: whose read finds it stale is all the same */
	:: atomic { me == 1 -> access(me, 1) }
#elif defined(PART)
	:: atomic { me == 0 -> access(me, 0) } /* here the other one only causes events */
	:: atomic { me == 0 -> access(me, 1) }
#elif defined(EVENTS) && !defined(RAWFORK)
	:: atomic { me == 0 -> access(me, 0) }
#else
	:: atomic { access(me, 0) }
#endif
#ifdef UNMAP
	:: atomic { me == NTH - 1 && vma[0] == REGISTERED -> cause_event() }
#elif !defined(RACE)
	:: me == NTH - 1 -> cause_event()
#endif
#ifdef UNMAP
	:: atomic { me == 0 && vma[0] == NONE -> vma[0] = OTHER }
#endif
	:: atomic { running--; break }
	od
}

/* ---- the handlers ---- */

#define NOTHING 0 /* what was read: one of EV_*, or */
#define FAULT 5

#define WAITED 0 /* how a fault ended */
#define STALE_FAULT 1
#define HOLE 2
#define DEFERRED 3
#define SAMPLE 4 /* LOCAL, REFUSED, MIGRATED, FAILED, RACED */
#define MIGRATE 5
#define STAY 6

/* E held. Somebody else's put-back, or an event, ended the hint this message is about. */
inline not_armed(pl)
{
	if
	:: state[pl] == MAPPED -> wake(pl, ALL_WORDS); out = STALE_FAULT
	:: out = HOLE /* UNMANAGED, or too many stale faults in a row */
	fi
}

/* G, E, P held, within a step. P is released, after the disarm. */
inline put_back(pl)
{
	if
	:: CAN_PUT(pl) ->
		printf("handler %d puts the page back\n", h);
		bring_home(STAG(pg), pl);
		content[pg] = 0;
		to_mapped(pl);
		owed++;
		assert(plock[pg]); /* I4 */
		plock[pg] = 0;
		put(pg);
		out = SAMPLE
	:: else -> assert(plock[pg]); plock[pg] = 0; out = DEFERRED /* I4 */
	fi
}

#if defined(DECIDE_FIRST) || defined(SEED)
/* The stay of that time: under the entry lock alone. */
inline clear_hint(pl)
{
	if
	:: CAN_PUT(pl) ->
		printf("handler %d clears the hint without the page lock\n", h);
		bring_home(STAG(pg), pl);
		content[pg] = plock[pg]; /* a copy that goes on reading leaves zeros in staging */
		to_mapped(pl);
		owed++;
		put(pg);
		out = SAMPLE
	:: else -> out = DEFERRED
	fi
}
#endif

/* F5, its first part. Nothing is held but the page. */
inline get_target()
{
	if
	:: err = 1 /* there is none */
	:: assert(!target[h]); /* I4 */
		printf("handler %d has the page lock, a target, and starts to copy\n", h);
		target[h] = 1;
		FILL(TARG(h), ZERO);
		lead = (leading -> 0 : lead); /* others lead during the copy */
		leading = 0
	fi;
	out = MIGRATE
}

#ifdef NO_GATE_FAULT
#define FAULT_LOCK(pl) readers++; !elock[pl] -> elock[pl] = 1
#else
#define FAULT_LOCK(pl) lock_both(pl)
#endif

/* F1 to F4. On MIGRATE the page is locked, referenced, and nothing else is held. */
inline fault(pl)
{
	atomic {
		FAULT_LOCK(pl);
		if
		:: state[pl] != ARMED -> not_armed(pl); unlock_both(pl)
		:: else -> pg = epage[pl];
#if defined(DECIDE_FIRST)
			if
			:: clear_hint(pl); unlock_both(pl)
			:: refs[pg]++;
				if
				:: plock[pg] -> unget(pg); unlock_both(pl); out = WAITED
				:: else -> plock[pg] = 1; snap[h] = pl + 1; unlock_both(pl); get_target()
				fi
			fi
#elif defined(SEED)
			refs[pg]++;
			if
			:: plock[pg] -> snap[h] = pl + 1; unlock_both(pl); out = WAITED
			:: else -> plock[pg] = 1; out = STAY
			fi
#else
			if
#ifndef NO_PAGE_LOCK
			:: plock[pg] ->
#ifdef LATE_MIGRATE
				refs[pg]++;
#endif
				unlock_both(pl);
				out = WAITED /* F3 */
			:: !plock[pg] ->
#else
			:: true ->
#endif
				plock[pg] = 1;
				if /* F4 */
				:: put_back(pl); unlock_both(pl)
				:: snap[h] = pl + 1; GET(pg); unlock_both(pl); get_target()
				fi
			fi
#endif
		fi
	}
#ifdef SEED
	if
	:: out == WAITED ->
		atomic { !plock[pg] -> plock[pg] = 1 } /* lock_page() */
		atomic {
			lock_both(pl);
			if
			:: snap[h] == 0 -> plock[pg] = 0; unget(pg); wake(pl, ALL_WORDS); out = STALE_FAULT; unlock_both(pl)
			:: else -> out = STAY
			fi;
			snap[h] = 0
		}
	:: else
	fi;
	if
	:: out == STAY -> /* mpol_misplaced() */
		if
		:: d_step { plock[pg] = 0; unget(pg) } /* unlock_page, put_page, goto clear_pmdnuma: R4 */
			d_step { clear_hint(pl); unlock_both(pl) }
		:: atomic { snap[h] = pl + 1; unlock_both(pl); get_target() }
		fi
	:: else
	fi
#else
#ifdef LATE_MIGRATE
	if
	:: out == WAITED ->
		atomic { !plock[pg] -> plock[pg] = 1; unget(pg) }
		atomic {
			lock_both(pl);
			if
			:: put_back(pl); unlock_both(pl)
			:: snap[h] = pl + 1; refs[pg]++; unlock_both(pl); get_target()
			fi
		}
	:: else
	fi
#endif
#endif
}

inline copy_word(i)
{
	printf("handler %d copies word %d\n", h, i);
	W(STAG(pg), i) = (W(STAG(pg), i) == ABSENT -> ZERO : W(STAG(pg), i)); /* a read of nothing maps zeros there */
	W(TARG(h), i) = W(STAG(pg), i)
}

#if defined(FOUNDING)
#define SAME(pl) (state[pl] == ARMED && (epage[pl] == pg && snap[h] != 0 || epage[pl] != pg && !err))
#elif defined(NO_GEN)
#define SAME(pl) (state[pl] == ARMED && epage[pl] == pg)
#elif defined(NO_RECHECK)
#define SAME(pl) (1)
#else
#define SAME(pl) (state[pl] == ARMED && epage[pl] == pg && snap[h] != 0)
#endif

/* The commit point. G, E, P held, within a step. */
inline commit(pl)
{
	if
	:: CAN_PUT(pl) ->
		printf("handler %d commits\n", h);
		bring_home(TARG(h), pl);
		target[h] = 0;
		plock[pg] = 0;
#ifdef FOUNDING
		if /* the page that is lost here may be another one */
		:: epage[pl] != pg -> to = epage[pl]; put(to); to = 0
		:: else -> put(pg)
		fi;
#else
		put(pg);
#endif
		to_mapped(pl);
		owed++;
		out = SAMPLE
	:: else -> plock[pg] = 0; out = DEFERRED
	fi
}

#ifdef NO_GATE_COMMIT
#define COMMIT_LOCK(pl) readers++; !elock[pl] -> elock[pl] = 1
#else
#define COMMIT_LOCK(pl) lock_both(pl)
#endif

/* F5 and F6. */
inline migrate(pl)
{
	if
	:: !err ->
#if NW == 2
		d_step { copy_word(0) }
#endif
		atomic {
			copy_word(NW - 1);
			if
			:: err = 0
			:: err = 1 /* the copy failed */
			fi
		}
	:: else
	fi;
	atomic {
		COMMIT_LOCK(pl);
		if
		:: SAME(pl) && !err -> commit(pl)
		:: SAME(pl) && err -> put_back(pl) /* FAILED */
		:: !SAME(pl) && state[pl] == ARMED && epage[pl] == pg -> put_back(pl) /* RACED */
		:: !SAME(pl) && (state[pl] != ARMED || epage[pl] != pg) ->
			plock[pg] = 0;
			out = STALE_FAULT;
			printf("handler %d finds the place changed\n", h)
		fi;
		moved_to = (out == STALE_FAULT -> place[pg] : 0);
		snap[h] = 0;
		err = 0;
		unlock_both(pl)
	}
	d_step {
#if !defined(NO_WAKE_STALE) && !defined(NO_WAKE)
		if /* who found the page lock taken meanwhile must look again */
		:: out == STALE_FAULT -> wake(pl, ALL_WORDS)
		:: else
		fi;
		if
		:: moved_to != 0 -> wake(moved_to - 1, ALL_WORDS)
		:: else
		fi;
#endif
		moved_to = 0;
#ifndef TARGET_LEAK
		target[h] = 0;
#endif
		clear(TARG(h));
		UNGET(pg)
	}
}

#ifdef REF_LEAK
#define FORGET_PUT(pg) skip
#else
#define FORGET_PUT(pg) put(pg)
#endif
/* Within a step. Gate held exclusively, so nobody holds an entry. */
inline forget(pl)
{
	pg = epage[pl];
	to_unmanaged(pl);
	if
	:: pg != NOPAGE -> FORGET_PUT(pg)
	:: else
	fi;
	pg = 0
}

#if defined(NO_WAKE_EVENT) || defined(NO_WAKE)
#define EVENT_WAKE(pl, what) skip
#else
#define EVENT_WAKE(pl, what) wake(pl, what)
#endif
#ifdef NO_ZERO
#define ZERO_PART skip
#else
#define ZERO_PART W(STAG(epage[0]), 0) = ZERO
#endif
#if defined(NO_QUARANTINE) || !defined(DROP) && !defined(PART)
#define QUARANTINE 0 /* only a drop zaps late */
#else
#define QUARANTINE 1
#endif

#if defined(DROP) || defined(PART)
inline process_event()
{
	if
	:: state[0] == UNMANAGED
	:: state[0] == ARMED && NW == 2 -> ZERO_PART; new_gen(0); hold[0] = QUARANTINE
	:: else -> forget(0); hold[0] = QUARANTINE
	fi;
	EVENT_WAKE(0, 1)
}
#endif
#ifdef UNMAP
inline process_event()
{
	if
	:: state[0] != UNMANAGED -> forget(0)
	:: else
	fi;
	EVENT_WAKE(0, ALL_WORDS)
}
#endif
#ifdef REMAP
/* From place pl to place `to`. */
inline process_event()
{
	to = 1 - pl;
	if
	:: state[pl] == ARMED ->
		if
		:: state[to] != UNMANAGED -> forget(to)
		:: else
		fi;
		pg = epage[pl];
		to_unmanaged(pl);
		place[pg] = to + 1;
		hold[to] = 0;
		state[to] = ARMED;
		epage[to] = pg;
		new_gen(to);
		hints++;
		pg = 0
	:: state[pl] == MAPPED -> to_unmanaged(pl)
	:: else
	fi;
	EVENT_WAKE(pl, ALL_WORDS);
	EVENT_WAKE(to, ALL_WORDS);
	to = 0
}
#endif
#ifdef RAWFORK
#define GIVE1(i) \
	if :: W(CHILD, i) == ABSENT -> W(CHILD, i) = (late -> STALE : W(STAG(epage[0]), i)) :: else fi
inline process_event()
{
#ifndef NO_GIVE
	if
	:: state[0] == ARMED -> GIVE1(0)
	:: else
	fi;
#endif
	given = 1
}
#endif

/* A fault that found no armed entry, at word i: a first touch, served huge where the place is empty. */
inline serve_hole(pl, i)
{
#ifdef NO_GATE_HOLE
	err = state[pl] == ARMED;
	atomic {
		gate_write_lock();
#else
	atomic {
		gate_write_lock();
		!elock[pl] -> err = state[pl] == ARMED;
#endif
		if
		:: err -> wake(pl, ALL_WORDS)
		:: !err && CAN_PUT(pl) && W(PROG(pl), i) == ABSENT -> W(PROG(pl), i) = ZERO; wake(pl, 1 << i)
#if NW == 2
		:: !err && CAN_PUT(pl) && !HAS(PROG(pl)) -> FILL(PROG(pl), ZERO); wake(pl, ALL_WORDS)
#endif
		:: !err && changing == 0 && (vma[pl] != REGISTERED || W(PROG(pl), i) != ABSENT) -> wake(pl, 1 << i)
		:: !err && changing != 0 -> out = DEFERRED
		fi;
		err = 0;
		gate_write_unlock()
	}
}

/* A fault that an unread event keeps from being answered. */
inline put_off(pl)
{
#ifdef LEADER_WAKES
	deferred[pl] = 1
#else
	if
	:: leading -> deferred[pl] = 1
	:: else -> wake(pl, ALL_WORDS)
	fi
#endif
}

#if NPL == 2
#define CHORES (deferred[0] || deferred[1])
#else
#define CHORES (deferred[0])
#endif

inline wake_deferred()
{
	d_step {
		if
		:: deferred[0] -> deferred[0] = 0; wake(0, ALL_WORDS)
		:: else
		fi;
#if NPL == 2
		if
		:: deferred[1] -> deferred[1] = 0; wake(1, ALL_WORDS)
		:: else
		fi;
#endif
	}
}

#define READ_FAULT(t) \
	tf[t] == PENDING -> printf("handler %d reads the fault of thread %d\n", h, t); tf[t] = READ; \
	pl = tp[t]; i = tw[t]; got = FAULT

proctype handler(byte h)
{
	byte pl, i, pg, got, out, moved_to;
	bit leading, err;

end_follow:
	atomic { !lead -> lead = 1; leading = 1 }
top:
	atomic {
		gate_write_lock();
		if
		:: READ_FAULT(0)
#if NTH == 2
		:: READ_FAULT(1)
#endif
#ifdef EVENTS
		:: ev != 0 ->
			printf("handler %d reads the event\n", h);
			got = ev;
#ifdef REMAP
			pl = 1 - cur;
#endif
			ev = 0 /* from here on its causer may go on */
#endif
		:: else -> got = NOTHING
		fi;
		if
		:: got == NOTHING || got == FAULT -> gate_write_unlock()
		:: else
		fi
	}
	if
	:: got == FAULT ->
		fault(pl);
		if
		:: out == MIGRATE -> migrate(pl)
		:: out == HOLE -> serve_hole(pl, i)
		:: else
		fi;
		atomic {
			if
			:: out == DEFERRED -> put_off(pl)
			:: out == SAMPLE -> count()
#ifdef CHARGE_STALE
			:: out == STALE_FAULT -> count()
#endif
			:: else
			fi;
			out = 0; pg = 0; pl = 0; i = 0; got = 0;
			if
			:: !leading -> goto end_follow
			:: leading && CHORES -> goto top
			:: else -> goto wait
			fi
		}
#ifdef EVENTS
	:: got != FAULT && got != NOTHING ->
		atomic {
			!elock[0] && !elock[NPL - 1] -> process_event();
			gate_write_unlock();
			got = 0; pl = 0
		}
		wake_deferred();
		goto top
#endif
	:: else
	fi;
wait:
	atomic {
		if
		:: CHORES -> wake_deferred(); goto top /* poll() with a short timeout */
		:: else
		fi
	}
end_wait:
	atomic { READABLE -> goto top }
}

/* ---- the scanner ---- */

#define CAN_TAKE(pl) (changing == 0 && vma[pl] != NONE && WHOLE(PROG(pl)))
inline take(pl)
{
	assert(!HAS(STAG(pg))); /* I2 */
	ASSIGN(STAG(pg), PROG(pl));
	clear(PROG(pl))
}

inline settle(pl)
{
	place[pg] = pl + 1;
	content[pg] = 1;
	state[pl] = ARMED;
	epage[pl] = pg;
	new_gen(pl);
	hints++;
	unlock_both(pl);
	pg = NOPAGE
}

#ifdef NO_GATE_ARM
#define ARM_LOCK(pl) readers++; !elock[pl] -> elock[pl] = 1
#else
#define ARM_LOCK(pl) lock_both(pl)
#endif

#define FREE_ID (refs[0] == 0 || refs[NPG - 1] == 0)
inline arm(pl)
{
	atomic {
		pg = (refs[0] == 0 -> 0 : NPG - 1);
		assert(refs[pg] == 0); /* I4 */
		refs[pg] = 1;
		ARM_LOCK(pl); /* A1 */
		if
		:: state[pl] == MAPPED && !hold[pl] && CAN_TAKE(pl) -> /* A2 */
			printf("the scanner arms the page as page %d\n", pg);
#ifdef COPY_ARM
			ASSIGN(STAG(pg), PROG(pl))
#else
			take(pl)
#endif
#ifdef GAP_ARM
			; unlock_both(pl)
#endif
		:: else ->
			if
			:: state[pl] == MAPPED && !hold[pl] && changing == 0 -> to_unmanaged(pl)
			:: else
			fi;
			unlock_both(pl);
			put(pg);
			pg = NOPAGE
		fi
	}
	atomic {
		if
		:: pg != NOPAGE -> /* A3, A4 */
#ifdef COPY_ARM
			clear(PROG(pl));
#endif
#ifdef GAP_ARM
			lock_both(pl);
#endif
			settle(pl)
		:: else
		fi;
		pg = 0
	}
}

/* Put an armed page back without a fault: expiry, drain. */
inline take_back(page)
{
	atomic {
		gate_read_lock();
		pl = (place[page] -> place[page] - 1 : NPL);
		if
		:: pl == NPL -> readers--
		:: else ->
			!elock[pl] -> elock[pl] = 1;
			if
			:: state[pl] == ARMED && epage[pl] == page && plock[page] -> left = 1; locked = 1
			:: state[pl] == ARMED && epage[pl] == page && !plock[page] && CAN_PUT(pl) ->
				printf("the scanner takes the hint back\n");
				bring_home(STAG(page), pl);
				content[page] = 0;
				to_mapped(pl);
				put(page)
			:: state[pl] == ARMED && epage[pl] == page && !plock[page] && !CAN_PUT(pl) -> left = 1
			:: else
			fi;
			unlock_both(pl)
		fi;
		pl = 0
	}
}

#ifdef FORK
inline drain()
{
	do
	:: left = 0;
		if
		:: refs[0] != 0 -> take_back(0);
			if
			:: locked -> locked = 0;
#ifdef NO_WAIT_FORK
				left = 0
#else
				!plock[0]
#endif
			:: else
			fi
		:: else
		fi;
		if
		:: refs[1] != 0 -> take_back(1);
			if
			:: locked -> locked = 0;
#ifdef NO_WAIT_FORK
				left = 0
#else
				!plock[1]
#endif
			:: else
			fi
		:: else
		fi;
		if
		:: left
		:: else -> break
		fi
	od
}
#endif

/* A huge page in known memory that is not managed. Who knows what was read before: a quarantine first (R16). */
#define CAN_FIND(pl) (state[pl] == UNMANAGED && !hold[pl] && vma[pl] == REGISTERED && WHOLE(PROG(pl)))
inline find(pl)
{
	atomic {
		lock_both(pl);
		if
		:: CAN_FIND(pl) ->
			state[pl] = MAPPED;
			new_gen(pl);
			hold[pl] = QUARANTINE
		:: else
		fi;
		unlock_both(pl)
	}
}

proctype scanner()
{
	byte pl, pg;
	bit left, locked;

end_loop:
	do
	:: scanning && state[0] == MAPPED && !hold[0] && FREE_ID -> arm(0)
#if NPL == 2
	:: scanning && state[1] == MAPPED && !hold[1] && FREE_ID -> arm(1)
#endif
#if !defined(EVENTS) || defined(RAWFORK) /* expiry */
	:: scanning && refs[0] != 0 -> take_back(0); left = 0; locked = 0
#if NPG == 2
	:: scanning && refs[1] != 0 -> take_back(1); left = 0; locked = 0
#endif
#endif
#ifdef EVENTS
	:: scanning && CAN_FIND(0) -> find(0)
#endif
#ifdef REMAP
	:: scanning && CAN_FIND(1) -> find(1)
#endif
#if defined(DROP) || defined(PART)
	:: atomic { scanning && hold[0] && !dropping -> hold[0] = 0 } /* the quarantine is over, and the zap with it */
#endif
#ifdef UNMAP
	:: scanning && vma[0] == OTHER && WHOLE(PROG(0)) -> /* found: registered and managed in one hold of the gate */
		atomic {
			gate_write_lock();
			if
			:: vma[0] == OTHER && WHOLE(PROG(0)) ->
				vma[0] = REGISTERED;
				if
				:: state[0] == UNMANAGED -> state[0] = MAPPED; new_gen(0); hold[0] = 0
				:: else
				fi
			:: else
			fi;
			gate_write_unlock()
		}
#endif
#ifdef FORK
	:: pause -> drain(); paused = 1; atomic { !pause -> paused = 0 } /* both under one lock */
#endif
#ifndef EVENTS
	:: scanning -> scanning = 0
#endif
	od
}

init
{
	atomic {
		vma[0] = REGISTERED;
		FILL(PROG(0), FRESH);
#if NPL == 2
		state[1] = UNMANAGED;
#endif
		run scanner();
		run handler(0);
		run handler(1);
		run thread(0);
#if NTH == 2
		run thread(1);
#endif
	}
end_quiet:
	atomic {
		timeout && running == 0 ->
		for (k : 0 .. NPG - 1) {
			assert(!plock[k]); /* I4 */
			assert(refs[k] == (place[k] && epage[0] == k || place[k] && epage[NPL - 1] == k)); /* I4 */
			assert(HAS(STAG(k)) == (refs[k] != 0)) /* I2 */
		}
		assert(!target[0] && !target[1] && !elock[0] && !elock[NPL - 1] && readers == 0 && !writer && changing == 0); /* I4 */
		assert(owed == 0); /* I5 */
		assert(hints == (state[0] == ARMED) + (NPL == 2 && state[NPL - 1] == ARMED)); /* I5 */
		for (k : 0 .. NW - 1) { /* the last word: what is left is what was written last, wherever it is */
			assert(epage[cur] != NOPAGE || W(PROG(cur), k) != STALE); /* I1 */
			assert(epage[cur] == NOPAGE || W(STAG(epage[cur]), k) == FRESH || truth[k] == ZERO) /* I1 */
		}
		k = 0
	}
}
