// SPDX-License-Identifier: MIT
#include "world.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ALL_CELLS 0xffu
#define REST_TRIES 20u

int world_stuck_seconds = 20;

void world_broken(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("FAIL: ", stdout);
	vfprintf(stdout, format, args);
	fputc('\n', stdout);
	fflush(stdout);
	va_end(args);
	_exit(1);
}

uint32_t world_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

/* For ops, which have no state of their own. */
static bool chance(struct world *w, unsigned weight)
{
	static _Thread_local uint64_t state;

	if (!state)
		state = (uint64_t)(uintptr_t)&state * 2654435761u + w->self.hn.core->par.seed;
	return world_random(&state) % 1000 < hn_load_relaxed(&w->errors_permille) * weight;
}

static struct world *world_of(void *be) { return ((struct worker *)be)->w; }

static struct frame *frame_new(struct world *w, int nid)
{
	struct frame *f = calloc(1, sizeof(*f));

	if (!f)
		world_broken("out of memory");
	f->nid = nid;
	hn_add_acq_rel(&w->frames, 1);
	return f;
}

static void frame_free(struct world *w, struct frame *f)
{
	memset(f, 0xdb, sizeof(*f));
	free(f);
	hn_add_acq_rel(&w->frames, (uint32_t)-1);
}

static struct slot *slot_at(struct world *w, hn_addr addr) { return &w->slot[world_slot_of(addr)]; }
static uint8_t bit_of(hn_addr addr) { return (uint8_t)(1u << world_cell_of(addr)); }

/* ---- sleeping and waking ---- */

static void wake_range(struct world *w, hn_addr addr, uint64_t bytes)
{
	struct waiter **p, *x;

	pthread_mutex_lock(&w->uffd);
	for (p = &w->waiters; (x = *p) != NULL;) {
		if (x->addr >= addr && x->addr - addr < bytes) {
			*p = x->next;
			x->woken = true;
			pthread_cond_signal(&x->cond);
		} else {
			p = &x->next;
		}
	}
	pthread_mutex_unlock(&w->uffd);
}

static struct timespec seconds_from_now(int s)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += s;
	return t;
}

/* Called with the slot lock held, which is dropped once the waiter is in the queue. */
static void fault_and_sleep(struct world *w, struct slot *s, hn_addr addr, uint32_t tid)
{
	struct waiter me = { .addr = addr, .tid = tid, .unread = true, .cond = PTHREAD_COND_INITIALIZER }, **p;
	struct timespec limit = seconds_from_now(world_stuck_seconds);

	pthread_mutex_lock(&w->uffd);
	for (p = &w->waiters; *p; p = &(*p)->next)
		;
	*p = &me;
	pthread_cond_signal(&w->readable);
	pthread_mutex_unlock(&s->lock);
	while (!me.woken)
		if (pthread_cond_timedwait(&me.cond, &w->uffd, &limit) == ETIMEDOUT && !me.woken)
			world_broken("I3: thread %u sleeps at slot %u cell %u for ever (message %s, entry %d)", tid,
				     world_slot_of(addr), world_cell_of(addr), me.unread ? "unread" : "read",
				     (int)hn_state_of(&w->self.hn, addr));
	pthread_mutex_unlock(&w->uffd);
}

/* ---- the program's accesses ---- */

static void access_word(struct slot *s, hn_addr addr, unsigned word, uint64_t value)
{
	unsigned cell = world_cell_of(addr);
	uint64_t *at = &s->frame->word[cell][word], *truth = &s->truth[cell][word];

	if (*at != *truth && !(s->flux == FLUX_DROPPING && *at == 0))
		world_broken("I1: slot %u cell %u word %u reads %llx, should be %llx", world_slot_of(addr), cell, word,
			     (unsigned long long)*at, (unsigned long long)*truth);
	if (value && s->flux == FLUX_NONE)
		*at = *truth = value;
}

bool world_access(struct world *w, hn_addr addr, unsigned word, uint64_t value, uint32_t tid)
{
	struct slot *s = slot_at(w, addr);

	for (;;) {
		pthread_mutex_lock(&s->lock);
		if (!(s->mapped & bit_of(addr)) || s->flux == FLUX_MOVING) {
			pthread_mutex_unlock(&s->lock);
			return false;
		}
		if (s->present & ~s->guarded & bit_of(addr))
			break;
		fault_and_sleep(w, s, addr, tid);
	}
	access_word(s, addr, word, value);
	pthread_mutex_unlock(&s->lock);
	return true;
}

/* ---- ops ---- */

static uint64_t op_now(void *be) { return (uint64_t)hn_load_relaxed(&world_of(be)->now_ms) * 1000000u; }

static void take_out(struct world *w, struct slot *s, uint32_t page)
{
	w->staging[page] = s->frame;
	s->frame = NULL;
	s->present = s->guarded = 0;
	s->huge = false;
}

static bool arm_one(struct world *w, hn_addr haddr, uint32_t page, enum hn_arm_error *why)
{
	struct slot *s = slot_at(w, haddr);
	bool good = false;

	pthread_mutex_lock(&s->lock);
	if (!s->huge || s->present != ALL_CELLS || s->mapped != ALL_CELLS) {
		*why = HN_ARM_ABSENT;
	} else if (chance(w, 1)) {
		*why = HN_ARM_BUSY;
	} else {
		if (w->staging[page])
			world_broken("I2: armed into staging that is taken");
		if (w->rwp)
			s->guarded = ALL_CELLS;
		else
			take_out(w, s, page);
		good = true;
	}
	pthread_mutex_unlock(&s->lock);
	return good;
}

static uint32_t op_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why)
{
	struct world *w = world_of(be);
	uint32_t n = 0;

	pthread_rwlock_rdlock(&w->mmap_lock);
	pthread_mutex_lock(&w->uffd);
	if (w->changing) {
		nr = 0;
		*why = HN_ARM_EVENT;
	}
	pthread_mutex_unlock(&w->uffd);
	while (n < nr && arm_one(w, haddr + n * HN_PAGE_SIZE, first + n, why))
		n++;
	pthread_rwlock_unlock(&w->mmap_lock);
	return n;
}

/* Under mmap_lock: is there an event whose causer has not run yet? */
static bool is_changing(struct world *w)
{
	bool yes;

	pthread_mutex_lock(&w->uffd);
	yes = w->changing != 0;
	pthread_mutex_unlock(&w->uffd);
	return yes;
}

/* What the program has put in place since is newer and stays. Slot lock held. */
static void merge(struct world *w, struct slot *s, struct frame *staged)
{
	unsigned c;

	for (c = 0; c < WORLD_CELLS; c++)
		if (!(s->present & (1u << c)))
			memcpy(s->frame->word[c], staged->word[c], sizeof(staged->word[c]));
	s->present = ALL_CELLS;
	frame_free(w, staged);
}

/* UFFDIO_RWPROTECT undone for those cells. */
static int unguard(struct world *w, hn_addr addr, uint8_t cells)
{
	struct slot *s = slot_at(w, addr);
	int err = 0;

	pthread_rwlock_rdlock(&w->mmap_lock);
	if (is_changing(w)) {
		err = -EAGAIN;
	} else {
		pthread_mutex_lock(&s->lock);
		s->guarded &= (uint8_t)~cells;
		pthread_mutex_unlock(&s->lock);
	}
	pthread_rwlock_unlock(&w->mmap_lock);
	return err;
}

/* The second step of a put-back. Between the two anything can happen. */
static int make_accessible(struct world *w, hn_addr haddr)
{
	int err;

	if (chance(w, 25))
		usleep(200);
	err = unguard(w, haddr, ALL_CELLS);
	if (!err)
		wake_range(w, haddr, HN_PAGE_SIZE);
	return err;
}

static int op_disarm(void *be, hn_addr haddr, uint32_t page)
{
	struct world *w = world_of(be);
	struct slot *s = slot_at(w, haddr);
	int err = 0;

	if (w->rwp && !w->staging[page])
		return chance(w, 1) ? -EAGAIN : make_accessible(w, haddr);
	pthread_rwlock_rdlock(&w->mmap_lock);
	if (is_changing(w) || chance(w, 1)) {
		err = -EAGAIN;
		goto out;
	}
	pthread_mutex_lock(&s->lock);
	if (!w->staging[page])
		world_broken("I2: put back of slot %u from empty staging", world_slot_of(haddr));
	if (s->mapped != ALL_CELLS)
		world_broken("I6: put back of slot %u where nothing is mapped", world_slot_of(haddr));
	if (s->frame) {
		merge(w, s, w->staging[page]);
	} else {
		s->frame = w->staging[page];
		s->present = ALL_CELLS;
		s->huge = true;
	}
	s->guarded = w->rwp ? ALL_CELLS : 0;
	w->staging[page] = NULL;
	pthread_mutex_unlock(&s->lock);
out:
	pthread_rwlock_unlock(&w->mmap_lock);
	if (!err && w->rwp)
		err = make_accessible(w, haddr);
	else if (!err)
		wake_range(w, haddr, HN_PAGE_SIZE);
	return err;
}

static void op_discard(void *be, uint32_t page)
{
	struct world *w = world_of(be);

	if (w->staging[page]) /* as in a live process, discarding nothing does nothing; fake.c is stricter */
		frame_free(w, w->staging[page]);
	w->staging[page] = NULL;
}

/* May run during copy(): both use atomic words. */
static void op_zero(void *be, uint32_t page, uint32_t from, uint32_t to)
{
	struct world *w = world_of(be);
	unsigned c, i;

	if (w->rwp && !w->staging[page])
		return; /* in its place, where the kernel sees to it */
	for (c = from / WORLD_CELL; c < to / WORLD_CELL; c++)
		for (i = 0; i < WORLD_WORDS; i++)
			__atomic_store_n(&w->staging[page]->word[c][i], 0, __ATOMIC_RELAXED);
}

/* One cell to where the program has nothing; no words: zeros. mmap_lock held, for reading if no event is unread. */
static void put_cell(struct world *w, hn_addr addr, const uint64_t *words)
{
	struct slot *s = slot_at(w, addr);

	pthread_mutex_lock(&s->lock);
	if (!(s->mapped & bit_of(addr)))
		world_broken("I6: a displaced part was put where nothing is mapped");
	if (!s->frame)
		s->frame = frame_new(w, 0);
	if (!(s->present & bit_of(addr))) {
		if (words)
			memcpy(s->frame->word[world_cell_of(addr)], words, sizeof(s->frame->word[0]));
		else
			memset(s->frame->word[world_cell_of(addr)], 0, sizeof(s->frame->word[0]));
		s->present |= bit_of(addr);
	}
	pthread_mutex_unlock(&s->lock);
}

static int op_copy_in(void *be, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct world *w = world_of(be);
	const struct frame *f = w->staging[page];
	uint32_t off;
	int err = 0;

	if (w->rwp && !f) {
		for (off = from; !err && off < to; off += WORLD_CELL)
			err = unguard(w, addr + (off - from), bit_of(addr + (off - from)));
		return err;
	}
	if (!f)
		world_broken("I2: a part of page %u is put from empty staging", page);
	pthread_rwlock_rdlock(&w->mmap_lock);
	if (is_changing(w))
		err = -EAGAIN;
	for (off = from; !err && off < to; off += WORLD_CELL) {
		put_cell(w, addr + (off - from), f->word[off / WORLD_CELL]);
		if (chance(w, 20))
			err = -EAGAIN; /* out of memory half way */
	}
	pthread_rwlock_unlock(&w->mmap_lock);
	return err;
}

static void op_page_nodes(void *be, hn_addr haddr, uint32_t first, uint32_t nr, int16_t *nid)
{
	struct world *w = world_of(be);
	uint32_t i;

	for (i = 0; i < nr; i++) {
		struct slot *s = slot_at(w, haddr + i * HN_PAGE_SIZE);
		const struct frame *f = w->staging[first + i];

		pthread_mutex_lock(&s->lock);
		f = w->rwp ? s->frame : f;
		nid[i] = (int16_t)(f ? f->nid : HN_NO_NODE); /* in its place it can be gone already */
		pthread_mutex_unlock(&s->lock);
	}
}

static int op_thread_node(void *be, uint32_t tid)
{
	struct world *w = world_of(be);

	return (int)((tid + hn_load_relaxed(&w->node_phase)) % w->self.hn.core->par.nr_nodes);
}

static int target_find(struct world *w, int nid, uint32_t *target)
{
	int err = -ENOMEM;
	uint32_t i;

	pthread_mutex_lock(&w->target_lock);
	for (i = 0; i < WORLD_TARGETS && err; i++)
		if (!w->target[i]) {
			w->target[i] = frame_new(w, nid);
			*target = i;
			err = 0;
		}
	pthread_mutex_unlock(&w->target_lock);
	return err;
}

static int op_target_get(void *be, int nid, uint32_t *target)
{
	struct world *w = world_of(be);

	return chance(w, 4) ? -ENOMEM : target_find(w, nid, target);
}

static struct frame *target_take(struct world *w, uint32_t target)
{
	struct frame *f;

	pthread_mutex_lock(&w->target_lock);
	f = w->target[target];
	w->target[target] = NULL;
	pthread_mutex_unlock(&w->target_lock);
	if (!f)
		world_broken("I4: a target was given back twice");
	return f;
}

static void op_target_put(void *be, uint32_t target)
{
	struct world *w = world_of(be);

	frame_free(w, target_take(w, target));
}

static int op_isolate(void *be, hn_addr haddr, uint32_t page)
{
	struct world *w = world_of(be);
	struct slot *s = slot_at(w, haddr);
	int err = 0;

	if (w->staging[page])
		return 0;
	pthread_rwlock_rdlock(&w->mmap_lock);
	pthread_mutex_lock(&s->lock);
	if (is_changing(w))
		err = -EAGAIN;
	else if (!s->huge || s->present != ALL_CELLS)
		err = -EINVAL;
	else if (chance(w, 2))
		err = -EBUSY;
	else
		take_out(w, s, page);
	pthread_mutex_unlock(&s->lock);
	pthread_rwlock_unlock(&w->mmap_lock);
	return err;
}

/* As in a live process, other faults do not wait behind this. */
static int op_copy(void *be, uint32_t page, uint32_t target, int nid, uint64_t until_ns)
{
	struct world *w = world_of(be);
	struct frame *to;
	unsigned c, i;

	(void)nid;
	(void)until_ns;
	hn_lead_release(&((struct worker *)be)->hn);
	pthread_mutex_lock(&w->target_lock);
	to = w->target[target];
	pthread_mutex_unlock(&w->target_lock);
	for (c = 0; c < WORLD_CELLS; c++) {
		if (!w->staging[page]) /* must not be, but then the kernel would map zeros there */
			w->staging[page] = frame_new(w, 0);
		for (i = 0; i < WORLD_WORDS; i++)
			to->word[c][i] = __atomic_load_n(&w->staging[page]->word[c][i], __ATOMIC_RELAXED);
		sched_yield();
	}
	if (chance(w, 8))
		usleep(300);
	if (chance(w, 2))
		usleep(4000); /* long enough for the program to move the place and come back to it */
	if (chance(w, 2))
		return -ETIME;
	return chance(w, 2) ? -EIO : 0;
}

static int op_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target)
{
	struct world *w = world_of(be);
	struct slot *s = slot_at(w, haddr);
	int err = 0;

	(void)page;
	pthread_rwlock_rdlock(&w->mmap_lock);
	if (is_changing(w) || chance(w, 1))
		err = -EAGAIN;
	else if (chance(w, 2))
		err = -ENOMEM;
	if (!err) {
		pthread_mutex_lock(&s->lock);
		if (s->mapped != ALL_CELLS)
			world_broken("I6: commit to slot %u where nothing is mapped", world_slot_of(haddr));
		if (s->present) {
			err = -EEXIST;
		} else {
			s->frame = target_take(w, target);
			s->present = ALL_CELLS;
			s->guarded = w->rwp ? ALL_CELLS : 0;
			s->huge = true;
		}
		pthread_mutex_unlock(&s->lock);
	}
	pthread_rwlock_unlock(&w->mmap_lock);
	if (!err && w->rwp && make_accessible(w, haddr) != 0)
		err = HN_COMMIT_PROTECTED;
	if (err == 0 || err == HN_COMMIT_PROTECTED)
		wake_range(w, haddr, HN_PAGE_SIZE);
	return err;
}

static void op_wake(void *be, hn_addr addr, uint64_t bytes) { wake_range(world_of(be), addr, bytes); }

static bool op_event_unread(void *be)
{
	struct world *w = world_of(be);
	bool yes;

	pthread_rwlock_rdlock(&w->mmap_lock);
	yes = is_changing(w);
	pthread_rwlock_unlock(&w->mmap_lock);
	return yes;
}

/* ---- ops for handlers ---- */

static struct waiter *first_unread(struct world *w)
{
	struct waiter *x;

	for (x = w->waiters; x && !x->unread; x = x->next)
		;
	return x;
}

/* read(2) on the userfaultfd: faults first. Reading an event lets its causer go on. */
static bool op_read_message(void *be, struct hn_message *m)
{
	struct world *w = world_of(be);
	struct waiter *x;
	struct event *e;

	pthread_mutex_lock(&w->uffd);
	x = first_unread(w);
	e = x ? NULL : w->events;
	if (x) {
		x->unread = false;
		*m = (struct hn_message){ .kind = HN_MSG_FAULT, .tid = x->tid, .start = x->addr };
	} else if (e) {
		w->events = e->next;
		*m = e->message;
		e->read = true;
		pthread_cond_signal(&e->cond);
	}
	pthread_mutex_unlock(&w->uffd);
	if (e && chance(w, 25)) /* the event's causer goes on while we are held up */
		usleep(500);
	return x || e;
}

/* Without chores there is no limit: who has something to wake later must not wait here. */
static bool op_wait_message(void *be, bool chores)
{
	struct world *w = world_of(be);
	struct timespec t;
	bool go_on;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	pthread_mutex_lock(&w->uffd);
	while (!w->leave && !w->events && !first_unread(w)) {
		if (!chores)
			pthread_cond_wait(&w->readable, &w->uffd);
		else if (pthread_cond_timedwait(&w->readable, &w->uffd, &t) == ETIMEDOUT)
			break;
	}
	go_on = !w->leave;
	pthread_mutex_unlock(&w->uffd);
	return go_on;
}

static enum hn_registered op_is_registered(void *be, hn_addr start, hn_addr end)
{
	struct world *w = world_of(be);
	unsigned cells = 0, there = 0;
	hn_addr a;

	pthread_rwlock_rdlock(&w->mmap_lock);
	for (a = start & ~(WORLD_CELL - 1); a < end; a += WORLD_CELL, cells++)
		there += (slot_at(w, a)->registered & bit_of(a)) != 0;
	pthread_rwlock_unlock(&w->mmap_lock);
	return there == 0 ? HN_REGISTERED_NONE : there < cells ? HN_REGISTERED_SOME : HN_REGISTERED_ALL;
}

static void know(struct world *w, hn_addr from, uint64_t len, bool mapped)
{
	hn_addr a;

	for (a = from; a < from + len; a += WORLD_CELL) {
		uint8_t *known = &slot_at(w, a)->known;

		*known = (uint8_t)(mapped ? *known | bit_of(a) : *known & ~bit_of(a));
	}
}

static bool op_is_known(void *be, hn_addr start, hn_addr end)
{
	struct world *w = world_of(be);
	hn_addr a;

	for (a = start & ~(WORLD_CELL - 1); a < end; a += WORLD_CELL)
		if (slot_at(w, a)->known & bit_of(a))
			return true;
	return false;
}

static void op_note_event(void *be, const struct hn_message *m)
{
	struct world *w = world_of(be);
	uint32_t parts = hn_load_relaxed(&w->self.hn.core->nr_displaced);

	if (m->kind == HN_MSG_UNMAP || m->kind == HN_MSG_REMAP)
		know(w, m->start, m->end - m->start, false);
	if (m->kind == HN_MSG_REMAP)
		know(w, m->to, m->end - m->start, true);
	hn_add_acq_rel(&w->events_noted, 1);
	if (parts > hn_load_relaxed(&w->most_parts)) /* the gate is ours alone */
		hn_store_relaxed(&w->most_parts, parts);
}

static void op_yield(void *be)
{
	(void)be;
	sched_yield();
}

static uint32_t op_hole_get(void *be, hn_addr haddr, int nid)
{
	struct world *w = world_of(be);
	struct slot *s = slot_at(w, haddr);
	uint32_t zeros = HN_NO_INDEX;
	bool empty;

	pthread_mutex_lock(&s->lock);
	empty = !s->frame;
	pthread_mutex_unlock(&s->lock);
	if (!empty || chance(w, 25) || target_find(w, nid < 0 ? 0 : nid, &zeros) != 0)
		zeros = HN_NO_INDEX;
	if (chance(w, 25)) /* making zeros takes time */
		usleep(500);
	return zeros;
}

static void op_hole_put(void *be, uint32_t zeros)
{
	if (zeros != HN_NO_INDEX)
		op_target_put(be, zeros);
}

/* Slot lock held: a page of zeros where all of the slot is mapped and empty. The kernel knows nothing of staging. */
static bool fill_huge(struct world *w, struct slot *s, uint32_t zeros)
{
	if (zeros == HN_NO_INDEX || s->frame || s->mapped != ALL_CELLS)
		return false;
	s->frame = target_take(w, zeros);
	s->present = ALL_CELLS;
	s->huge = true;
	return true;
}

static int op_hole_fill(void *be, hn_addr addr, uint32_t zeros)
{
	struct world *w = world_of(be);
	struct slot *s = slot_at(w, addr);
	bool changing, huge = false, mapped;

	pthread_rwlock_rdlock(&w->mmap_lock);
	changing = is_changing(w);
	pthread_mutex_lock(&s->lock);
	if (!changing)
		huge = fill_huge(w, s, zeros);
	mapped = s->mapped & bit_of(addr);
	pthread_mutex_unlock(&s->lock);
	if (!huge)
		op_hole_put(be, zeros);
	if (!changing && !huge && mapped)
		put_cell(w, addr, NULL);
	if (!changing) {
		pthread_mutex_lock(&s->lock);
		s->guarded &= (uint8_t)~(s->mapped == ALL_CELLS ? ALL_CELLS : bit_of(addr));
		pthread_mutex_unlock(&s->lock);
	}
	pthread_rwlock_unlock(&w->mmap_lock);
	if (changing)
		return -EAGAIN;
	hn_add_acq_rel(&w->holes, 1);
	if (huge || w->rwp)
		wake_range(w, hn_page_down(addr), HN_PAGE_SIZE);
	else
		wake_range(w, addr & ~(hn_addr)(WORLD_CELL - 1), WORLD_CELL);
	return 0;
}

#define OPS                                                                                                            \
	.now_ns = op_now, .arm = op_arm, .disarm = op_disarm, .discard = op_discard, .zero = op_zero,                  \
	.copy_in = op_copy_in, .page_nodes = op_page_nodes, .thread_node = op_thread_node,                             \
	.target_get = op_target_get, .target_put = op_target_put, .copy = op_copy, .commit = op_commit,                \
	.wake = op_wake, .event_unread = op_event_unread, .read_message = op_read_message,                             \
	.wait_message = op_wait_message, .is_registered = op_is_registered, .is_known = op_is_known, .note_event = op_note_event, .yield = op_yield, .hole_get = op_hole_get,      \
	.hole_put = op_hole_put, .hole_fill = op_hole_fill

static const struct hn_ops ops = { OPS };
static const struct hn_ops ops_rwp = { OPS, .isolate = op_isolate };

void world_worker(struct worker *k, struct world *w)
{
	k->w = w;
	k->hn = (struct hn){
		.core = w->self.hn.core, .ops = w->rwp ? &ops_rwp : &ops, .be = k, .stats = &w->stats,
	};
}

void world_leave(struct world *w)
{
	pthread_mutex_lock(&w->uffd);
	w->leave = true;
	pthread_cond_broadcast(&w->readable);
	pthread_mutex_unlock(&w->uffd);
}

/* ---- the scanner's side ---- */

/* As discovery does it: when no event is outstanding, and none is remembered. */
static bool register_all(struct worker *k)
{
	bool rest;
	unsigned i;

	hn_gate_read_lock(&k->hn);
	pthread_rwlock_rdlock(&k->w->mmap_lock);
	rest = !hn_order_any(&k->hn) && !is_changing(k->w);
	for (i = 0; i < WORLD_SLOTS && rest; i++) {
		struct slot *s = &k->w->slot[i];

		pthread_mutex_lock(&s->lock);
		s->registered = s->known |= s->mapped;
		pthread_mutex_unlock(&s->lock);
	}
	pthread_rwlock_unlock(&k->w->mmap_lock);
	hn_gate_read_unlock(&k->hn);
	return rest;
}

static void look_at(struct worker *k, unsigned slot, uint64_t *rnd)
{
	hn_addr haddr = WORLD_BASE + slot * HN_PAGE_SIZE;
	struct slot *s = &k->w->slot[slot];
	bool huge, gone;
	int nid = 0;

	hn_gate_read_lock(&k->hn);
	pthread_rwlock_rdlock(&k->w->mmap_lock);
	pthread_mutex_lock(&s->lock);
	if (s->present == ALL_CELLS && !s->huge && world_random(rnd) % 2 == 0)
		s->huge = true; /* khugepaged was here */
	huge = s->huge;
	gone = s->frame && !s->huge;
	huge = huge && s->registered == ALL_CELLS;
	if (huge)
		nid = s->frame->nid;
	pthread_mutex_unlock(&s->lock);
	pthread_rwlock_unlock(&k->w->mmap_lock);
	if (huge)
		hn_manage(&k->hn, haddr, nid);
	else if (gone)
		hn_unmanage(&k->hn, haddr);
	hn_gate_read_unlock(&k->hn);
}

void world_discover(struct worker *k, uint64_t *rnd)
{
	unsigned i;

	for (i = 0; i < REST_TRIES && !register_all(k); i++)
		usleep(100);
	for (i = 0; i < WORLD_SLOTS; i++)
		look_at(k, i, rnd);
}

void world_tick(struct world *w, uint32_t ms)
{
	if (hn_load_acquire(&w->zaps_pending) == 0)
		hn_add_acq_rel(&w->now_ms, ms);
}

/* ---- system calls ---- */

bool world_claim(struct world *w, hn_addr from, uint64_t len, enum flux flux)
{
	unsigned first = world_slot_of(from), last = world_slot_of(from + len - 1), i;

	for (i = first; i <= last; i++) {
		struct slot *s = &w->slot[i];
		bool taken;

		pthread_mutex_lock(&s->lock);
		taken = s->flux != FLUX_NONE;
		if (!taken)
			s->flux = flux;
		pthread_mutex_unlock(&s->lock);
		if (taken) {
			if (i > first)
				world_release(w, from, (i - first) * HN_PAGE_SIZE - (from & ~HN_PAGE_MASK));
			return false;
		}
	}
	return true;
}

void world_release(struct world *w, hn_addr from, uint64_t len)
{
	unsigned first = world_slot_of(from), last = world_slot_of(from + len - 1), i;

	for (i = first; i <= last; i++) {
		pthread_mutex_lock(&w->slot[i].lock);
		w->slot[i].flux = FLUX_NONE;
		pthread_mutex_unlock(&w->slot[i].lock);
	}
}

bool world_is_at_rest(struct world *w, hn_addr from, uint64_t len)
{
	bool rest = true;
	unsigned i;

	for (i = world_slot_of(from); i <= world_slot_of(from + len - 1); i++) {
		pthread_mutex_lock(&w->slot[i].lock);
		rest = rest && w->slot[i].freeing == 0;
		pthread_mutex_unlock(&w->slot[i].lock);
	}
	return rest;
}

/* Whole slots are free for others at once; parts when it is over. Returns what world_freed wants to know. */
static bool let_go(struct world *w, hn_addr from, uint64_t len)
{
	unsigned i;

	if ((from | len) & ~HN_PAGE_MASK)
		return false;
	for (i = world_slot_of(from); i <= world_slot_of(from + len - 1); i++) {
		pthread_mutex_lock(&w->slot[i].lock);
		w->slot[i].flux = FLUX_NONE;
		w->slot[i].freeing++;
		pthread_mutex_unlock(&w->slot[i].lock);
	}
	return true;
}

static void freed(struct world *w, hn_addr from, uint64_t len, bool whole)
{
	unsigned i;

	if (!whole) {
		world_release(w, from, len);
		return;
	}
	for (i = world_slot_of(from); i <= world_slot_of(from + len - 1); i++) {
		pthread_mutex_lock(&w->slot[i].lock);
		w->slot[i].freeing--;
		pthread_mutex_unlock(&w->slot[i].lock);
	}
}

bool world_is_all(struct world *w, hn_addr from, uint64_t len, bool mapped)
{
	bool all = true;
	hn_addr a;

	pthread_rwlock_rdlock(&w->mmap_lock);
	for (a = from; a < from + len; a += WORLD_CELL)
		all = all && ((slot_at(w, a)->mapped & bit_of(a)) != 0) == mapped;
	pthread_rwlock_unlock(&w->mmap_lock);
	return all;
}

/* mmap_lock held for writing, so that no move runs; from here on they are refused until so many wait_read() have returned. */
static void begin_change(struct world *w, unsigned events)
{
	pthread_mutex_lock(&w->uffd);
	w->changing += events;
	pthread_mutex_unlock(&w->uffd);
}

static void queue_event(struct world *w, struct event *e)
{
	struct event **p;

	pthread_cond_init(&e->cond, NULL);
	pthread_mutex_lock(&w->uffd);
	for (p = &w->events; *p; p = &(*p)->next)
		;
	*p = e;
	pthread_cond_signal(&w->readable);
	pthread_mutex_unlock(&w->uffd);
}

static void wait_read(struct world *w, struct event *e)
{
	struct timespec limit = seconds_from_now(world_stuck_seconds);

	pthread_mutex_lock(&w->uffd);
	while (!e->read)
		if (pthread_cond_timedwait(&e->cond, &w->uffd, &limit) == ETIMEDOUT && !e->read)
			world_broken("I3: an event is not read");
	w->changing--;
	pthread_mutex_unlock(&w->uffd);
	pthread_cond_destroy(&e->cond);
}

/* Take the cell's memory away. */
static void zap_cell(struct world *w, hn_addr addr, bool unmap)
{
	struct slot *s = slot_at(w, addr);

	pthread_mutex_lock(&s->lock);
	s->present &= (uint8_t)~bit_of(addr);
	s->guarded &= (uint8_t)~bit_of(addr);
	s->huge = false;
	if (unmap) {
		s->mapped &= (uint8_t)~bit_of(addr);
		s->registered &= (uint8_t)~bit_of(addr);
	}
	if (!s->present && s->frame) {
		frame_free(w, s->frame);
		s->frame = NULL;
	}
	memset(s->truth[world_cell_of(addr)], 0, sizeof(s->truth[0]));
	pthread_mutex_unlock(&s->lock);
}

void world_munmap(struct world *w, hn_addr from, uint64_t len)
{
	struct event e = { .message = { .kind = HN_MSG_UNMAP, .start = from, .end = from + len } };
	bool whole;
	hn_addr a;

	pthread_rwlock_wrlock(&w->mmap_lock);
	for (a = from; a < from + len; a += WORLD_CELL)
		zap_cell(w, a, true);
	begin_change(w, 1);
	pthread_rwlock_unlock(&w->mmap_lock);
	whole = let_go(w, from, len);
	if (chance(w, 25))
		usleep(200);
	queue_event(w, &e);
	wait_read(w, &e);
	freed(w, from, len, whole);
}

void world_mmap(struct world *w, hn_addr from, uint64_t len, bool populate)
{
	hn_addr a;

	pthread_rwlock_wrlock(&w->mmap_lock);
	for (a = from; a < from + len; a += WORLD_CELL) {
		struct slot *s = slot_at(w, a);

		pthread_mutex_lock(&s->lock);
		if (s->mapped == 0 && populate && (a & ~HN_PAGE_MASK) == 0 && a + HN_PAGE_SIZE <= from + len) {
			s->frame = frame_new(w, 0);
			s->present = s->mapped = ALL_CELLS;
			s->huge = true;
		}
		s->mapped |= bit_of(a);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_rwlock_unlock(&w->mmap_lock);
}

void world_dontneed(struct world *w, hn_addr from, uint64_t len, uint64_t *rnd)
{
	struct event e = { .message = { .kind = HN_MSG_REMOVE, .start = from, .end = from + len } };
	hn_addr a;

	hn_add_acq_rel(&w->zaps_pending, 1);
	pthread_rwlock_wrlock(&w->mmap_lock);
	begin_change(w, 1);
	pthread_rwlock_unlock(&w->mmap_lock);
	queue_event(w, &e);
	wait_read(w, &e);
	if (world_random(rnd) % 2)
		usleep(world_random(rnd) % 4000);
	pthread_rwlock_rdlock(&w->mmap_lock);
	for (a = from; a < from + len; a += WORLD_CELL)
		zap_cell(w, a, false);
	pthread_rwlock_unlock(&w->mmap_lock);
	hn_add_acq_rel(&w->zaps_pending, (uint32_t)-1);
}

/* One lock after the other: both slots are claimed, and mmap_lock is held for writing. */
static void move_slot(struct slot *s, struct slot *d)
{
	uint64_t truth[WORLD_CELLS][WORLD_WORDS];
	struct frame *frame;
	uint8_t present, mapped, registered, guarded;
	bool huge;

	pthread_mutex_lock(&s->lock);
	frame = s->frame;
	present = s->present;
	mapped = s->mapped;
	registered = s->registered;
	guarded = s->guarded;
	huge = s->huge;
	memcpy(truth, s->truth, sizeof(truth));
	s->frame = NULL;
	s->present = s->mapped = s->registered = s->guarded = 0;
	s->huge = false;
	memset(s->truth, 0, sizeof(s->truth));
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_lock(&d->lock);
	d->frame = frame;
	d->present = present;
	d->mapped = mapped;
	d->registered = registered;
	d->guarded = guarded;
	d->huge = huge;
	memcpy(d->truth, truth, sizeof(truth));
	pthread_mutex_unlock(&d->lock);
}

static void move_cell(struct world *w, hn_addr from, hn_addr to)
{
	struct slot *s = slot_at(w, from), *d = slot_at(w, to);
	uint64_t truth[WORLD_WORDS], words[WORLD_WORDS];
	bool mapped, registered, present, guarded;

	pthread_mutex_lock(&s->lock);
	mapped = s->mapped & bit_of(from);
	registered = s->registered & bit_of(from);
	present = s->present & bit_of(from);
	guarded = s->guarded & bit_of(from);
	memcpy(truth, s->truth[world_cell_of(from)], sizeof(truth));
	if (present)
		memcpy(words, s->frame->word[world_cell_of(from)], sizeof(words));
	pthread_mutex_unlock(&s->lock);
	zap_cell(w, from, true);
	pthread_mutex_lock(&d->lock);
	if (mapped)
		d->mapped |= bit_of(to);
	if (registered)
		d->registered |= bit_of(to);
	if (guarded)
		d->guarded |= bit_of(to);
	memcpy(d->truth[world_cell_of(to)], truth, sizeof(truth));
	pthread_mutex_unlock(&d->lock);
	if (present)
		put_cell(w, to, words);
}

void world_mremap(struct world *w, hn_addr from, hn_addr to, uint64_t len)
{
	struct event remap = { .message = { .kind = HN_MSG_REMAP, .start = from, .end = from + len, .to = to } };
	struct event unmap = { .message = { .kind = HN_MSG_UNMAP, .start = from, .end = from + len } };
	bool whole = ((from | to | len) & ~HN_PAGE_MASK) == 0, free;
	hn_addr a;

	pthread_rwlock_wrlock(&w->mmap_lock);
	for (a = 0; a < len; a += whole ? HN_PAGE_SIZE : WORLD_CELL) {
		if (whole)
			move_slot(slot_at(w, from + a), slot_at(w, to + a));
		else
			move_cell(w, from + a, to + a);
	}
	begin_change(w, 2);
	queue_event(w, &remap); /* moves are heard of in their order here; in the checker they need not be */
	pthread_rwlock_unlock(&w->mmap_lock);
	free = let_go(w, from, len);
	wait_read(w, &remap);
	if (chance(w, 50))
		usleep(200);
	queue_event(w, &unmap);
	wait_read(w, &unmap);
	freed(w, from, len, free);
}

/* ---- life ---- */

struct world *world_new(const struct hn_geometry *geo, const struct hn_params *par, unsigned mapped_slots, bool rwp)
{
	struct world *w = calloc(1, sizeof(*w));
	pthread_rwlockattr_t attr;
	unsigned i;

	if (!w || geo->nr_pages > WORLD_MAX_PAGES)
		world_broken("out of memory");
	w->self.hn.core = calloc(1, hn_core_bytes(geo));
	if (!w->self.hn.core || hn_core_init(w->self.hn.core, geo, par) != 0)
		world_broken("the engine does not want these parameters");
	w->rwp = rwp;
	world_worker(&w->self, w);
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&w->mmap_lock, &attr);
	pthread_mutex_init(&w->uffd, NULL);
	pthread_cond_init(&w->readable, NULL);
	pthread_mutex_init(&w->target_lock, NULL);
	for (i = 0; i < WORLD_SLOTS; i++)
		pthread_mutex_init(&w->slot[i].lock, NULL);
	w->errors_permille.v = 4;
	world_mmap(w, WORLD_BASE, mapped_slots * HN_PAGE_SIZE, false);
	return w;
}

static uint32_t check_slot(struct world *w, unsigned slot)
{
	const struct slot *s = &w->slot[slot];
	unsigned c, i;

	for (c = 0; c < WORLD_CELLS; c++)
		for (i = 0; i < WORLD_WORDS; i++) {
			bool there = s->present & (1u << c);
			uint64_t v = there ? s->frame->word[c][i] : 0;

			if ((s->mapped & (1u << c)) && v != s->truth[c][i])
				world_broken("I1: at the end slot %u cell %u word %u is %llx, should be %llx", slot, c,
					     i, (unsigned long long)v, (unsigned long long)s->truth[c][i]);
		}
	return s->frame != NULL;
}

void world_finish(struct world *w)
{
	struct hn *hn = &w->self.hn;
	uint32_t frames = 0;
	const char *what;
	unsigned i;
	int bad;

	for (i = 0; i < 1000000 && hn_displaced_resolve(hn, 0, ~(hn_addr)0); i++)
		;
	bad = hn_verify(hn, HN_VERIFY_WALK, &what);
	if (bad)
		world_broken("I%d: %s", bad, what);
	if (w->waiters || w->events || w->changing || hn_displaced_any(hn) || hn->core->nr_deferred)
		world_broken("I3: somebody or something still waits");
	if (hn->core->lead.v || hn->core->displaced_lock.v || !hn_page_all_free(hn))
		world_broken("I4: a lock is held at rest, or a page referenced");
	for (i = 0; i < hn->core->geo.nr_pages; i++)
		if (w->staging[i])
			world_broken("I4: page %u was left in staging", i);
	for (i = 0; i < WORLD_TARGETS; i++)
		if (w->target[i])
			world_broken("I4: target %u was not given back", i);
	for (i = 0; i < WORLD_SLOTS; i++)
		frames += check_slot(w, i);
	if (hn_load_acquire(&w->frames) != frames)
		world_broken("I4: %u frames, %u in the program", hn_load_relaxed(&w->frames), frames);
	for (i = 0; i < WORLD_SLOTS; i++)
		free(w->slot[i].frame);
	free(hn->core);
	free(w);
}
