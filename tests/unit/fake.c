// SPDX-License-Identifier: MIT
#include "fake.h"

#include "hugenuma/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct hn_geometry fake_geometry = { .nr_chunks = 4, .chunk_shift = 3, .nr_pages = 16 };
const struct hn_params fake_params = {
	.nr_nodes = 4,
	.policy = HN_POLICY_TWO_STAGE,
	.seed = 1,
	.expiry_ms = FAKE_EXPIRY_MS,
	.quarantine_ms = FAKE_QUARANTINE_MS,
};
struct hn_verdict fake_verdict;

/* A plug-in that judges as the two-stage policy does. */
static void judge(const struct hugenuma_fault *q, struct hugenuma_answer *a)
{
	a->rule = q->thread_node == q->page_node ? 0 : q->sample_node[0] != q->thread_node ? 1 : 2;
	a->node = a->rule == 2 ? q->thread_node : HUGENUMA_NO_NODE;
}

static const struct hugenuma_rule rules[] = { { "local", "used here" }, { "filter", "once only" }, { "twice", "twice" } };

const struct hugenuma_policy fake_plugin = { HUGENUMA_POLICY_ABI, sizeof(fake_plugin), "fake", "two in a row", rules, 3, 0, judge };

static void breach(struct fake *f, const char *text)
{
	if (!f->broken)
		f->broken = text;
}

static void expect(struct fake *f, bool good, const char *text)
{
	if (!good)
		breach(f, text);
}

static unsigned index_of(hn_addr addr) { return (unsigned)((addr - FAKE_BASE) / FAKE_CELL); }
static unsigned slot_of(hn_addr addr) { return (unsigned)((addr - FAKE_BASE) >> HN_PAGE_SHIFT); }
static struct fake_cell *cells_of(struct fake *f, hn_addr addr) { return &f->cell[index_of(addr)]; }

struct hn_entry *fake_entry(struct fake *f, unsigned slot) { return hn_entry_find(&f->hn, fake_at(slot)); }

void fake_ms(struct fake *f, uint32_t ms) { f->now_ns += (uint64_t)ms * 1000000u; }

void fake_fail(struct fake *f, enum fake_op op, unsigned at, int err)
{
	f->script[op] = (struct fake_script){ .fail_at = at, .err = err };
}

/* Counts the call; true when it is one that fails. */
static bool fails(struct fake *f, enum fake_op op)
{
	struct fake_script *s = &f->script[op];

	s->calls++;
	return s->fail_at && s->calls >= s->fail_at && s->calls < s->fail_at + (s->fail_nr ? s->fail_nr : 1);
}

static void wake_cells(struct fake *f, hn_addr addr, uint64_t bytes)
{
	unsigned i;

	for (i = 0; i < FAKE_SLOTS * FAKE_CELLS; i++) {
		hn_addr a = FAKE_BASE + i * FAKE_CELL;

		if (a + FAKE_CELL > addr && a < addr + bytes)
			f->cell[i].sleeper = false;
	}
}

static bool gate_is_shared(struct fake *f) { return (f->hn.core->gate.v & 0xffffff) > 0; }
static bool gate_is_exclusive(struct fake *f) { return f->hn.core->gate.v >> 31; }

/* The locks that the contract promises: gate shared, entry, page. */
static void expect_locks(struct fake *f, hn_addr haddr, uint32_t page)
{
	struct hn_entry *e = hn_entry_find(&f->hn, haddr);

	expect(f, gate_is_shared(f), "op called without the gate held shared");
	expect(f, e && e->lock.v != 0, "op called without the entry lock");
	expect(f, page == HN_NO_INDEX || hn_pages(&f->hn)[page].lock.v != 0, "op called without the page lock");
}

/* ---- ops ---- */

static uint64_t op_now(void *be) { return ((struct fake *)be)->now_ns; }

static bool slot_is_huge(struct fake *f, unsigned slot)
{
	unsigned i;

	for (i = 0; i < FAKE_CELLS; i++)
		if (!f->cell[slot * FAKE_CELLS + i].present)
			return false;
	return f->huge[slot];
}

static void take_out(struct fake *f, unsigned slot, uint32_t page)
{
	struct fake_cell *c = &f->cell[slot * FAKE_CELLS];
	unsigned i;

	expect(f, !f->staging[page].used, "arm into staging that is taken");
	f->staging[page].used = true;
	f->staging[page].nid = f->nid[slot];
	for (i = 0; i < FAKE_CELLS; i++) {
		f->staging[page].value[i] = c[i].value;
		c[i].present = c[i].guarded = false;
	}
	f->huge[slot] = false;
}

static void set_guard(struct fake *f, hn_addr addr, uint64_t bytes, bool guarded)
{
	unsigned i;

	for (i = index_of(addr); i < index_of(addr + bytes); i++)
		f->cell[i].guarded = guarded && f->cell[i].present;
}

/* Back in its place it is protected still, and the kernel may refuse to undo that. 0 or -EAGAIN. */
static int make_accessible(struct fake *f, hn_addr haddr)
{
	bool refused = fails(f, FAKE_UNPROTECT) || f->event_pending;

	set_guard(f, haddr, HN_PAGE_SIZE, refused);
	if (!refused)
		wake_cells(f, haddr, HN_PAGE_SIZE);
	return refused ? -EAGAIN : 0;
}

static uint32_t op_arm(void *be, hn_addr haddr, uint32_t first, uint32_t nr, enum hn_arm_error *why)
{
	struct fake *f = be;
	uint32_t n;

	for (n = 0; n < nr; n++)
		expect_locks(f, haddr + n * HN_PAGE_SIZE, HN_NO_INDEX);
	if (f->event_pending) {
		f->script[FAKE_ARM].calls++;
		*why = HN_ARM_EVENT;
		return 0;
	}
	if (fails(f, FAKE_ARM)) {
		*why = (enum hn_arm_error)f->script[FAKE_ARM].err;
		nr = f->script[FAKE_ARM].part < nr ? f->script[FAKE_ARM].part : nr - 1;
	}
	for (n = 0; n < nr; n++) {
		if (!slot_is_huge(f, slot_of(haddr) + n)) {
			*why = HN_ARM_ABSENT;
			break;
		}
		if (f->rwp)
			set_guard(f, haddr + n * HN_PAGE_SIZE, HN_PAGE_SIZE, true);
		else
			take_out(f, slot_of(haddr) + n, first + n);
	}
	if (f->in_arm)
		f->in_arm(f);
	return n;
}

/* What the program has put in place since is newer and stays. */
static void put_in(struct fake *f, hn_addr haddr, const struct fake_frame *frame)
{
	struct fake_cell *c = cells_of(f, haddr);
	bool whole = true;
	unsigned i;

	for (i = 0; i < FAKE_CELLS; i++) {
		expect(f, c[i].mapped, "a page was put where nothing is mapped");
		if (c[i].present) {
			whole = false;
			continue;
		}
		c[i].present = true;
		c[i].value = frame->value[i];
	}
	f->huge[slot_of(haddr)] = whole;
	f->nid[slot_of(haddr)] = frame->nid;
	if (!f->rwp)
		wake_cells(f, haddr, HN_PAGE_SIZE);
}

static int op_disarm(void *be, hn_addr haddr, uint32_t page)
{
	struct fake *f = be;

	expect_locks(f, haddr, page);
	if (fails(f, FAKE_DISARM) || f->event_pending)
		return -EAGAIN;
	if (f->rwp && !f->staging[page].used)
		return make_accessible(f, haddr);
	if (f->fallen && !f->staging[page].used && slot_is_huge(f, slot_of(haddr)))
		return 0;
	expect(f, f->staging[page].used, "disarm of a page that is not in staging");
	put_in(f, haddr, &f->staging[page]);
	f->staging[page].used = false;
	return f->rwp ? make_accessible(f, haddr) : 0;
}

static void op_discard(void *be, uint32_t page)
{
	struct fake *f = be;

	f->discards++;
	expect(f, f->staging[page].used || f->rwp, "discard of a page that is not in staging");
	f->staging[page].used = false;
	if (f->in_discard)
		f->in_discard(f);
}

static void op_zero(void *be, uint32_t page, uint32_t from, uint32_t to)
{
	struct fake *f = be;
	unsigned i;

	expect(f, gate_is_exclusive(f), "zero without the gate held exclusively");
	if (f->rwp && !f->staging[page].used)
		return; /* in its place, where the kernel sees to it */
	f->zeroes++;
	expect(f, f->staging[page].used, "zero of a page that is not in staging");
	for (i = from / FAKE_CELL; i < to / FAKE_CELL; i++)
		f->staging[page].value[i] = 0;
}

/* One cell of staging to where the program has nothing. */
static void put_cell(struct fake *f, hn_addr addr, uint32_t value)
{
	struct fake_cell *c = cells_of(f, addr);

	expect(f, c->mapped, "a displaced part was put where nothing is mapped");
	if (!c->present) {
		c->present = true;
		c->value = value;
	}
}

static int op_copy_in(void *be, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct fake *f = be;
	bool bad = fails(f, FAKE_COPY_IN);
	uint32_t off;

	expect(f, f->hn.core->displaced_lock.v != 0, "copy_in without the displaced lock");
	expect(f, gate_is_exclusive(f) || (gate_is_shared(f) && hn_pages(&f->hn)[page].lock.v != 0),
	       "copy_in without the gate and the page lock");
	expect(f, f->staging[page].used || f->rwp, "copy_in of a page that is not in staging");
	expect(f, from < to && to <= HN_PAGE_SIZE, "copy_in of an empty part");
	if (f->event_pending)
		return -EAGAIN;
	if (!f->staging[page].used) {
		set_guard(f, addr, bad ? FAKE_CELL : to - from, false);
		return bad ? -EAGAIN : 0;
	}
	for (off = from; off < (bad ? from + FAKE_CELL : to); off += FAKE_CELL)
		put_cell(f, addr + (off - from), f->staging[page].value[off / FAKE_CELL]);
	return bad ? -EAGAIN : 0;
}

static void op_page_nodes(void *be, hn_addr haddr, uint32_t first, uint32_t nr, int16_t *nid)
{
	struct fake *f = be;
	uint32_t i;

	for (i = 0; i < nr; i++) {
		int there = f->rwp ? f->nid[slot_of(haddr) + i] : f->staging[first + i].nid;

		nid[i] = (int16_t)(f->ask_nodes ? there : HN_NO_NODE);
	}
}

static int op_thread_node(void *be, uint32_t tid)
{
	struct fake *f = be;

	expect(f, gate_is_shared(f), "thread_node without the gate held shared");
	return f->thread_nid[tid % FAKE_TIDS];
}

static void expect_unlocked(struct fake *f)
{
	expect(f, !gate_is_shared(f), "the gate is held over a slow op");
}

static bool target_find(struct fake *f, int nid, uint32_t *target)
{
	uint32_t i;

	for (i = 0; i < FAKE_TARGETS && f->target[i].used; i++)
		;
	if (i == FAKE_TARGETS)
		return false;
	f->target[i] = (struct fake_frame){ .used = true, .nid = nid };
	f->targets_out++;
	*target = i;
	return true;
}

static int op_target_get(void *be, int nid, uint32_t *target)
{
	struct fake *f = be;

	expect_unlocked(f);
	if (fails(f, FAKE_TARGET_GET))
		return f->script[FAKE_TARGET_GET].err;
	if (f->in_target_get)
		f->in_target_get(f);
	return target_find(f, nid, target) ? 0 : -ENOMEM;
}

static void op_target_put(void *be, uint32_t target)
{
	struct fake *f = be;

	expect(f, target < FAKE_TARGETS && f->target[target].used, "target_put of a target that is not out");
	f->target[target].used = false;
	f->targets_out--;
}

static int op_isolate(void *be, hn_addr haddr, uint32_t page)
{
	struct fake *f = be;

	expect_locks(f, haddr, page);
	if (f->event_pending) {
		f->script[FAKE_ISOLATE].calls++;
		return -EAGAIN;
	}
	if (fails(f, FAKE_ISOLATE))
		return f->script[FAKE_ISOLATE].err;
	if (f->staging[page].used)
		return 0;
	if (!slot_is_huge(f, slot_of(haddr)))
		return -EINVAL;
	take_out(f, slot_of(haddr), page);
	if (f->in_isolate)
		f->in_isolate(f);
	return 0;
}

static int op_copy(void *be, uint32_t page, uint32_t target, int nid, uint64_t until_ns)
{
	struct fake *f = be;
	unsigned i;

	expect_unlocked(f);
	expect(f, hn_pages(&f->hn)[page].lock.v != 0, "copy without the page lock");
	expect(f, f->staging[page].used, "copy of a page that is not in staging");
	expect(f, f->target[target].used && f->target[target].nid == nid, "copy to a target of another node");
	hn_lead_release(&f->hn); /* as a live backend does */
	hn_lead_release(&f->other);
	for (i = 0; i < FAKE_CELLS; i++) {
		if (until_ns && f->now_ns >= until_ns)
			return -ETIME;
		if (i == FAKE_CELLS / 2 && f->in_copy && !f->copying) {
			f->copying = true;
			f->in_copy_nr++;
			f->in_copy(f);
			f->copying = false;
		}
		f->target[target].value[i] = f->staging[page].value[i];
	}
	expect(f, f->staging[page].used, "the page was taken from staging while it was copied");
	return fails(f, FAKE_COPY) ? f->script[FAKE_COPY].err : 0;
}

static int op_commit(void *be, hn_addr haddr, uint32_t page, uint32_t target)
{
	struct fake *f = be;
	unsigned i;

	expect_locks(f, haddr, page);
	if (f->event_pending) {
		f->script[FAKE_COMMIT].calls++;
		return -EAGAIN;
	}
	if (fails(f, FAKE_COMMIT))
		return f->script[FAKE_COMMIT].err;
	expect(f, f->target[target].used, "commit of a target that is not out");
	for (i = 0; i < FAKE_CELLS; i++)
		if (cells_of(f, haddr)[i].present)
			return -EEXIST;
	put_in(f, haddr, &f->target[target]);
	op_target_put(f, target);
	if (!f->rwp || make_accessible(f, haddr) == 0)
		return 0;
	wake_cells(f, haddr, HN_PAGE_SIZE);
	return HN_COMMIT_PROTECTED;
}

static void op_wake(void *be, hn_addr addr, uint64_t bytes)
{
	struct fake *f = be;

	f->wakes++;
	wake_cells(f, addr, bytes);
}

static bool op_event_unread(void *be)
{
	struct fake *f = be;

	expect(f, gate_is_shared(f), "asked for an event without the gate held shared");
	return f->event_pending;
}

/* ---- ops for handlers ---- */

static bool op_read_message(void *be, struct hn_message *m)
{
	struct fake *f = be;
	unsigned i;

	expect(f, gate_is_exclusive(f), "a message is read without the gate held exclusively");
	expect(f, f->hn.core->lead.v != 0, "a message is read without the lead");
	f->reads++;
	if (f->in_read)
		f->in_read(f);
	if (!f->nr_messages)
		return false;
	for (i = 0; i < f->nr_messages && f->message[i].kind != HN_MSG_FAULT; i++)
		;
	if (i == f->nr_messages)
		i = 0; /* no fault: the first event */
	*m = f->message[i];
	f->nr_messages--;
	memmove(&f->message[i], &f->message[i + 1], (f->nr_messages - i) * sizeof(f->message[0]));
	return true;
}

static bool op_wait_message(void *be, bool chores)
{
	struct fake *f = be;

	expect(f, f->hn.core->lead.v != 0, "waiting for a message without the lead");
	expect(f, f->hn.core->gate.v == 0, "the gate is held over a wait");
	if (f->nr_messages)
		return true;
	return f->in_wait && f->in_wait(f, chores);
}

static void op_note_event(void *be, const struct hn_message *m)
{
	struct fake *f = be;

	expect(f, gate_is_exclusive(f), "an event is noted without the gate held exclusively");
	expect(f, m->kind != HN_MSG_FAULT, "a fault is noted as an event");
	f->noted++;
}

/* The causers of events that have been read run. */
static void op_yield(void *be)
{
	struct fake *f = be;
	unsigned i;

	expect(f, f->hn.core->gate.v == 0, "the gate is held over a yield");
	f->yields++;
	f->event_pending = false;
	for (i = 0; i < f->nr_messages; i++)
		f->event_pending = f->event_pending || f->message[i].kind != HN_MSG_FAULT;
}

static bool slot_is_empty(struct fake *f, hn_addr haddr)
{
	const struct fake_cell *c = cells_of(f, haddr);
	unsigned i;

	for (i = 0; i < FAKE_CELLS; i++)
		if (!c[i].mapped || c[i].present)
			return false;
	return true;
}

static uint32_t op_hole_get(void *be, hn_addr haddr, int nid)
{
	struct fake *f = be;
	uint32_t zeros = HN_NO_INDEX;

	expect(f, f->hn.core->gate.v == 0, "the gate is held over a slow op");
	expect(f, (haddr & ~HN_PAGE_MASK) == 0, "zeros for a place that is not aligned");
	if (fails(f, FAKE_HOLE_GET) || !slot_is_empty(f, haddr) || !target_find(f, nid < 0 ? 0 : nid, &zeros))
		zeros = HN_NO_INDEX;
	if (f->in_hole_get)
		f->in_hole_get(f);
	return zeros;
}

static void op_hole_put(void *be, uint32_t zeros)
{
	if (zeros != HN_NO_INDEX)
		op_target_put(be, zeros);
}

/* As the kernel does it: it knows of nothing that is not in the program. */
static int op_hole_fill(void *be, hn_addr addr, uint32_t zeros)
{
	struct fake *f = be;
	hn_addr haddr = hn_page_down(addr);

	expect(f, gate_is_exclusive(f), "a hole is filled without the gate held exclusively");
	if (fails(f, FAKE_HOLE_FILL) || f->event_pending) {
		op_hole_put(f, zeros);
		return -EAGAIN;
	}
	if (zeros != HN_NO_INDEX && slot_is_empty(f, haddr)) {
		put_in(f, haddr, &f->target[zeros]);
		op_target_put(f, zeros);
		wake_cells(f, haddr, HN_PAGE_SIZE);
		return 0;
	}
	op_hole_put(f, zeros);
	if (cells_of(f, addr)->mapped && !cells_of(f, addr)->present) {
		cells_of(f, addr)->present = true;
		cells_of(f, addr)->value = 0;
	}
	set_guard(f, haddr, HN_PAGE_SIZE, false);
	wake_cells(f, f->rwp ? haddr : addr, f->rwp ? HN_PAGE_SIZE : 1);
	return 0;
}

#define OPS                                                                                                            \
	.now_ns = op_now, .arm = op_arm, .disarm = op_disarm, .discard = op_discard, .zero = op_zero,                  \
	.copy_in = op_copy_in, .page_nodes = op_page_nodes, .thread_node = op_thread_node,                             \
	.target_get = op_target_get, .target_put = op_target_put, .copy = op_copy, .commit = op_commit,                \
	.wake = op_wake, .event_unread = op_event_unread, .read_message = op_read_message,                             \
	.wait_message = op_wait_message, .note_event = op_note_event, .yield = op_yield, .hole_get = op_hole_get,      \
	.hole_put = op_hole_put, .hole_fill = op_hole_fill

static const struct hn_ops ops = { OPS };
static const struct hn_ops ops_rwp = { OPS, .isolate = op_isolate };

/* ---- life ---- */

struct fake *fake_new_with(const struct hn_geometry *geo, const struct hn_params *par)
{
	struct fake *f = calloc(1, sizeof(*f));
	unsigned i;

	assert_non_null(f);
	assert_true(geo->nr_pages <= FAKE_MAX_PAGES);
	f->hn = (struct hn){ .core = calloc(1, hn_core_bytes(geo)), .ops = &ops, .be = f, .stats = &f->stats, .plugin = &fake_plugin };
	assert_non_null(f->hn.core);
	assert_int_equal(hn_core_init(f->hn.core, geo, par), 0);
	f->other = f->hn;
	f->now_ns = 1000000000u;
	for (i = 0; i < FAKE_TIDS; i++)
		f->thread_nid[i] = (int)(i % par->nr_nodes);
	return f;
}

struct fake *fake_new(void) { return fake_new_with(&fake_geometry, &fake_params); }

struct fake *fake_new_rwp(void)
{
	struct fake *f = fake_new();

	f->rwp = true;
	f->hn.ops = f->other.ops = &ops_rwp;
	return f;
}

void fake_free(struct fake *f)
{
	free(f->hn.core);
	free(f);
}

int fake_setup(void **state)
{
	*state = fake_new();
	return 0;
}

int fake_setup_rwp(void **state)
{
	*state = fake_new_rwp();
	return 0;
}

int fake_teardown(void **state)
{
	fake_finish(*state);
	return 0;
}

static const char *about(const struct fake *f)
{
	static char text[80];

	if (!f->about)
		return "";
	snprintf(text, sizeof(text), "%s: ", f->about);
	return text;
}

void fake_verify(struct fake *f)
{
	const char *what;
	int bad = hn_verify(&f->hn, HN_VERIFY_WALK, &what);

	if (bad)
		fail_msg("%sI%d: %s", about(f), bad, what);
	if (f->broken)
		fail_msg("%scontract: %s", about(f), f->broken);
}

unsigned fake_parts(struct fake *f) { return f->hn.core->nr_displaced.v; }

static const struct hn_displaced *part_at(struct fake *f, hn_addr addr)
{
	const struct hn_displaced *d = hn_displaced_table(&f->hn);
	unsigned i;

	for (i = 0; i < fake_parts(f); i++)
		if (addr - d[i].addr >= d[i].from && addr - d[i].addr < d[i].to)
			return &d[i];
	return NULL;
}

/* A page without a place has a reference for each of its parts, and for a migration that still reads it. */
static void check_parts(struct fake *f)
{
	const struct hn_displaced *d = hn_displaced_table(&f->hn);
	unsigned refs[FAKE_MAX_PAGES] = { 0 }, i;

	for (i = 0; i < fake_parts(f); i++) {
		assert_true(d[i].from < d[i].to && d[i].to <= HN_PAGE_SIZE);
		refs[d[i].page]++;
	}
	for (i = 0; i < f->hn.core->geo.nr_pages; i++) {
		const struct hn_page *p = &hn_pages(&f->hn)[i];

		if (p->place.v == 0 && p->refs.v != refs[i])
			fail_msg("%spage %u: %u references, %u parts", about(f), i, p->refs.v, refs[i]);
	}
}

/* Where the content of a cell is, or NULL where the program would read zeros. */
static const uint32_t *home_of(struct fake *f, unsigned index)
{
	hn_addr addr = FAKE_BASE + index * FAKE_CELL;
	struct hn_entry *e = hn_entry_find(&f->hn, hn_page_down(addr));
	const struct hn_displaced *d = part_at(f, addr);

	if (f->cell[index].present)
		return &f->cell[index].value;
	if (e && e->state == HN_ARMED)
		return &f->staging[e->page].value[index % FAKE_CELLS];
	return d ? &f->staging[d->page].value[(addr - d->addr) / FAKE_CELL] : NULL;
}

void fake_check(struct fake *f)
{
	unsigned i, staged = 0;

	fake_verify(f);
	check_parts(f);
	assert_int_equal(f->hn.core->lead.v, 0);
	assert_int_equal(f->hn.core->displaced_lock.v, 0);
	for (i = 0; i < FAKE_SLOTS * FAKE_CELLS; i++) {
		const uint32_t *home = home_of(f, i);

		if (f->cell[i].mapped && (home ? *home : 0) != f->cell[i].truth)
			fail_msg("%sslot %u cell %u: %u, should be %u", about(f), i / FAKE_CELLS, i % FAKE_CELLS,
				 home ? *home : 0, f->cell[i].truth);
		if (f->cell[i].sleeper)
			fail_msg("%sslot %u cell %u: a thread was left asleep", about(f), i / FAKE_CELLS,
				 i % FAKE_CELLS);
	}
	for (i = 0; i < FAKE_MAX_PAGES; i++) {
		bool live = i < f->hn.core->geo.nr_pages && hn_pages(&f->hn)[i].refs.v != 0;

		staged += f->staging[i].used;
		if (f->staging[i].used != live && !(f->rwp && live))
			fail_msg("%spage %u: %s", about(f), i,
				 live ? "an id without content" : "content without an id");
	}
	assert_true(f->rwp || staged >= f->stats.armed_now);
	assert_int_equal(f->targets_out, 0);
}

void fake_finish(struct fake *f)
{
	f->event_pending = false;
	memset(f->script, 0, sizeof(f->script));
	fake_check(f);
	assert_int_equal(hn_drain(&f->hn, 0, ~(hn_addr)0), 0);
	fake_resolve(f);
	assert_int_equal(fake_parts(f), 0);
	assert_int_equal(f->hn.core->nr_deferred, 0);
	fake_check(f);
	assert_int_equal(f->stats.armed_now, 0);
	fake_free(f);
}

/* ---- the program ---- */

void fake_map(struct fake *f, unsigned slot, unsigned nr, int nid)
{
	unsigned i;

	for (i = slot * FAKE_CELLS; i < (slot + nr) * FAKE_CELLS; i++) {
		uint32_t v = ++f->version;

		f->cell[i] = (struct fake_cell){ .mapped = true, .present = true, .value = v, .truth = v };
		f->huge[i / FAKE_CELLS] = true;
		f->nid[i / FAKE_CELLS] = nid;
	}
}

void fake_manage(struct fake *f, unsigned slot, unsigned nr, int nid)
{
	unsigned i;

	fake_map(f, slot, nr, nid);
	hn_gate_read_lock(&f->hn);
	for (i = slot; i < slot + nr; i++)
		assert_int_equal(hn_manage(&f->hn, fake_at(i), nid), 0);
	hn_gate_read_unlock(&f->hn);
	fake_ms(f, f->hn.core->par.quarantine_ms);
}

uint32_t fake_arm(struct fake *f, unsigned slot)
{
	assert_int_equal(hn_arm_run(&f->hn, fake_at(slot), 1), 1);
	assert_int_equal(fake_entry(f, slot)->state, HN_ARMED);
	return fake_entry(f, slot)->page;
}

enum hn_outcome fake_fault(struct fake *f, unsigned slot, uint32_t tid)
{
	return hn_fault(&f->hn, fake_at(slot) + 4096, tid, f->now_ns, &fake_verdict);
}

enum hn_outcome fake_sample(struct fake *f, unsigned slot, uint32_t tid)
{
	fake_arm(f, slot);
	return fake_fault(f, slot, tid);
}

static void put_off(struct fake *f, hn_addr addr)
{
	f->event_pending = false; /* somebody reads it */
	wake_cells(f, hn_page_down(addr), HN_PAGE_SIZE);
}

/* One fault in the life of an access. */
static void serve(struct fake *f, hn_addr addr, uint32_t tid)
{
	enum hn_outcome out = hn_fault(&f->hn, addr, tid, f->now_ns, &fake_verdict);

	if (out == HN_FAULT_DEFERRED || (out == HN_FAULT_UNMANAGED && !hn_hole_serve(&f->hn, addr, tid)))
		put_off(f, addr);
}

static bool touch(struct fake *f, hn_addr addr, uint32_t tid)
{
	struct fake_cell *c = cells_of(f, addr);
	int tries;

	for (tries = 0; c->mapped && (!c->present || c->guarded); tries++) {
		if (tries > 20)
			fail_msg("%san access never comes to an end", about(f));
		c->sleeper = true;
		serve(f, addr, tid);
		if (c->sleeper)
			fail_msg("%san access was not woken", about(f));
	}
	if (c->mapped && c->value != c->truth)
		fail_msg("%sslot %u: the program reads %u, should be %u", about(f), slot_of(addr), c->value, c->truth);
	return c->mapped;
}

bool fake_read(struct fake *f, hn_addr addr, uint32_t tid) { return touch(f, addr, tid); }

bool fake_write(struct fake *f, hn_addr addr, uint32_t tid)
{
	if (!touch(f, addr, tid))
		return false;
	cells_of(f, addr)->value = cells_of(f, addr)->truth = ++f->version;
	return true;
}

void fake_sleep(struct fake *f, hn_addr addr) { cells_of(f, addr)->sleeper = true; }
bool fake_sleeps(struct fake *f, hn_addr addr) { return cells_of(f, addr)->sleeper; }

/* ---- system calls ---- */

static void drop(struct fake *f, hn_addr addr, uint64_t len, bool mapped)
{
	hn_addr a;

	for (a = addr; a < addr + len; a += FAKE_CELL) {
		struct fake_cell *c = cells_of(f, a);

		c->present = c->guarded = false;
		c->truth = 0;
		c->mapped = c->mapped && mapped;
		f->huge[slot_of(a)] = false;
	}
}

void fake_munmap(struct fake *f, hn_addr addr, uint64_t len)
{
	drop(f, addr, len, false);
	hn_gate_write_lock(&f->hn);
	hn_event_unmap(&f->hn, addr, addr + len);
	hn_gate_write_unlock(&f->hn);
}

void fake_dontneed_event(struct fake *f, hn_addr addr, uint64_t len)
{
	hn_gate_write_lock(&f->hn);
	hn_event_remove(&f->hn, addr, addr + len);
	hn_gate_write_unlock(&f->hn);
}

void fake_zap(struct fake *f, hn_addr addr, uint64_t len) { drop(f, addr, len, true); }

void fake_dontneed(struct fake *f, hn_addr addr, uint64_t len)
{
	fake_dontneed_event(f, addr, len);
	fake_zap(f, addr, len);
}

static void move_cells(struct fake *f, hn_addr from, hn_addr to, uint64_t len)
{
	bool aligned = ((from | to | len) & ~HN_PAGE_MASK) == 0;
	hn_addr a;

	for (a = 0; a < len; a += FAKE_CELL) {
		struct fake_cell *s = cells_of(f, from + a), *d = cells_of(f, to + a);

		assert_false(d->mapped); /* the kernel would have unmapped it, with an event of its own */
		*d = *s;
		d->sleeper = false;
		f->huge[slot_of(to + a)] = aligned && f->huge[slot_of(from + a)];
		f->nid[slot_of(to + a)] = f->nid[slot_of(from + a)];
	}
}

void fake_mremap(struct fake *f, hn_addr from, hn_addr to, uint64_t len)
{
	move_cells(f, from, to, len);
	drop(f, from, len, false);
	hn_gate_write_lock(&f->hn);
	hn_event_remap(&f->hn, from, to, len);
	hn_event_unmap(&f->hn, from, from + len); /* follows, says the kernel */
	hn_gate_write_unlock(&f->hn);
}

void fake_mremap_dontunmap(struct fake *f, hn_addr from, hn_addr to, uint64_t len)
{
	move_cells(f, from, to, len);
	drop(f, from, len, true);
	hn_gate_write_lock(&f->hn);
	hn_event_remap(&f->hn, from, to, len);
	hn_gate_write_unlock(&f->hn);
}

void fake_resolve(struct fake *f) { hn_displaced_resolve(&f->hn, 0, ~(hn_addr)0); }

/* ---- messages ---- */

static void queue(struct fake *f, struct hn_message m)
{
	assert_true(f->nr_messages < FAKE_MESSAGES);
	f->message[f->nr_messages++] = m;
}

void fake_queue_fault(struct fake *f, hn_addr addr, uint32_t tid)
{
	fake_sleep(f, addr);
	queue(f, (struct hn_message){ .kind = HN_MSG_FAULT, .tid = tid, .start = addr });
}

void fake_queue_event(struct fake *f, enum hn_message_kind kind, hn_addr addr, uint64_t len, hn_addr to)
{
	f->event_pending = true;
	queue(f, (struct hn_message){ .kind = kind, .start = addr, .end = addr + len, .to = to });
}
