// SPDX-License-Identifier: MIT
/*
 * ops_mm.c - the system calls of core/mm.h on the machine (move.c), each after a scheduling point: what src/linux/putback.c is
 * on a kernel.
 */
#include "check/ops_rwp.h"

#define MAX_TRIES 1u /* of what fails for a passing reason */

static struct ck_world *world(void) { return ck_now->world; }

static bool is_staging(hn_addr a) { return a >= CK_STAGING && a < CK_POOL; }

/* What a scenario's failures are counted by: who wants the MOVE. */
static int move_fails(hn_addr dst, hn_addr src)
{
	if (is_staging(dst))
		return ck_told_to_fail(world()->rwp ? CK_OP_ISOLATE : CK_OP_ARM);
	if (is_staging(src))
		return ck_told_to_fail(CK_OP_DISARM);
	return src == CK_ZEROS_AT ? 0 : ck_told_to_fail(CK_OP_COMMIT);
}

static const char *why_moved(enum hn_mm_way way, hn_addr src)
{
	if (way == HN_MM_OUT)
		return world()->rwp ? "isolate" : NULL;
	return is_staging(src) ? "put back" : src >= CK_ZEROS_AT ? "fill the hole, huge" : "commit";
}

static int mm_move(void *be, enum hn_mm_way way, hn_addr dst, hn_addr src, uint64_t len, uint64_t *moved)
{
	int err;

	(void)be;
	ck_point(why_moved(way, src));
	err = move_fails(dst, src);
	*moved = 0;
	if (err)
		return err;
	/* Where arming is RWPROTECT sleepers would be woken for nothing: DONTWAKE. */
	return ck_move(world(), dst, src, len, way == HN_MM_IN && !world()->rwp, moved);
}

static int mm_copy(void *be, hn_addr dst, hn_addr src, uint64_t len, uint64_t *copied)
{
	(void)be;
	ck_point(NULL);
	return ck_copy(world(), dst, src, len, copied);
}

static int mm_look(void *be, enum hn_mm_kind kind, hn_addr start, hn_addr end, struct hn_range *run, uint32_t nr,
		   hn_addr *next)
{
	static const char *const what[] = { "look for what is present", "look for what is swapped", "look for what is there",
					    "look for huge pages" };
	int err;

	(void)be;
	ck_point(what[kind]);
	err = ck_told_to_fail(CK_OP_LOOK);
	if (err) {
		ck_say("which fails");
		return err;
	}
	return ck_look(world(), kind, start, end, run, nr, next);
}

static void mm_wake(void *be, hn_addr start, uint64_t len)
{
	(void)be;
	ck_point("wake sleepers");
	ck_wake_range(world(), start, len);
}

static int mm_trash(void *be, hn_addr src, uint64_t len, uint64_t *moved)
{
	(void)be;
	ck_point("discard what staging holds");
	return ck_trash(world(), src, len, moved);
}

/* Nobody else looks at it: no step of its own. */
static void mm_empty_trash(void *be, hn_addr src)
{
	(void)be;
	ck_empty_trash(world(), src);
}

static void mm_drop(void *be, hn_addr src)
{
	const void *object;
	struct ck_place *p = ck_place_at(world(), src, &object);
	uint32_t c;

	(void)be;
	ck_point("drop what staging holds");
	ck_touch(object, CK_WRITE);
	for (c = 0; c < CK_CELLS; c++)
		ck_drop_cell(world(), p, c);
}

/* The machine has no such errors. */
static bool mm_is_lost(void *be, hn_addr src)
{
	(void)be;
	(void)src;
	return false;
}

static int mm_mark_lost(void *be, hn_addr dst)
{
	(void)be;
	(void)dst;
	return 0;
}

/* Both ways on are explored anyhow: what is in the way goes on in between, or does not. */
static bool mm_again(void *be, uint32_t tries)
{
	(void)be;
	return tries < MAX_TRIES;
}

static void mm_note(void *be, enum hn_mm_note what, uint64_t n)
{
	(void)be;
	(void)what;
	(void)n;
}

static const struct hn_mm_ops mm_ops = {
	.move = mm_move,
	.copy = mm_copy,
	.look = mm_look,
	.wake = mm_wake,
	.trash = mm_trash,
	.empty_trash = mm_empty_trash,
	.drop = mm_drop,
	.is_lost = mm_is_lost,
	.mark_lost = mm_mark_lost,
	.again = mm_again,
	.note = mm_note,
};

const struct hn_mm ck_mm = { .ops = &mm_ops, .piece = CK_CELL };
