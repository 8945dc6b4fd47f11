// SPDX-License-Identifier: MIT
/*
 * locks.c - the engine's locks as what they promise: taking one is one step that is possible while it is free, releasing
 * it another.
 *
 * The linker sends the engine's calls through here (--wrap), so that the objects of the engine stay what they are. By
 * default the shipped lock.c and gate.c run, each of their operations a step. A scenario that would be too large that
 * way says so (lock_steps); what its search then takes for granted - mutual exclusion, and that nobody waits for a lock
 * that is free - is what the lock scenarios show of lock.c and gate.c, by exploring them alone.
 */
#include "check/world.h"
#include "core/lock.h"

#define GATE_WRITER (1u << 31)

void __real_hn_lock(struct hn_word *w);
void __real_hn_unlock(struct hn_word *w);
void __real_hn_gate_read_lock(struct hn *hn);
void __real_hn_gate_read_unlock(struct hn *hn);
void __real_hn_gate_write_lock(struct hn *hn);
void __real_hn_gate_write_unlock(struct hn *hn);
void __wrap_hn_lock(struct hn_word *w);
void __wrap_hn_unlock(struct hn_word *w);
void __wrap_hn_gate_read_lock(struct hn *hn);
void __wrap_hn_gate_read_unlock(struct hn *hn);
void __wrap_hn_gate_write_lock(struct hn *hn);
void __wrap_hn_gate_write_unlock(struct hn *hn);

bool ck_lock_is_free(const struct hn_word *lock, enum ck_kind kind)
{
	return kind == CK_ACQUIRE_SHARED ? !(lock->v & GATE_WRITER) : lock->v == 0;
}

static void say(const char *what, const struct hn_word *w)
{
	if (ck_now->tracing)
		ck_say("%s %s", what, ck_name_of(ck_now->world, w));
}

void __wrap_hn_lock(struct hn_word *w)
{
	if (!ck_now->lock_steps) {
		__real_hn_lock(w);
		return;
	}
	ck_take(w, CK_ACQUIRE);
	say("lock", w);
	w->v = 1;
}

void __wrap_hn_unlock(struct hn_word *w)
{
	if (!ck_now->lock_steps) {
		__real_hn_unlock(w);
		return;
	}
	ck_point(NULL);
	ck_touch(w, CK_RELEASE);
	say("unlock", w);
	if (w->v == 0)
		ck_violated(4, "%s is released and was not held", ck_name_of(ck_now->world, w));
	w->v = 0;
}

/* A writer that waits keeps new readers out, so a thread that enters twice can wait for itself. */
static void enter_gate(bool in)
{
	struct ck *k = ck_now;

	if (k->running < 0)
		return;
	if (k->world->in_gate[k->running] == in)
		ck_violated(3, in ? "the event gate is entered twice by one thread" : "the event gate is left twice");
	k->world->in_gate[k->running] = in;
}

void __wrap_hn_gate_read_lock(struct hn *hn)
{
	struct hn_word *w = &hn->core->gate;

	enter_gate(true);
	if (!ck_now->lock_steps) {
		__real_hn_gate_read_lock(hn);
		return;
	}
	ck_take(w, CK_ACQUIRE_SHARED);
	say("share", w);
	w->v++;
}

void __wrap_hn_gate_read_unlock(struct hn *hn)
{
	enter_gate(false);
	if (!ck_now->lock_steps) {
		__real_hn_gate_read_unlock(hn);
		return;
	}
	ck_point(NULL);
	ck_touch(&hn->core->gate, CK_RELEASE_SHARED);
	say("unshare", &hn->core->gate);
	hn->core->gate.v--;
}

void __wrap_hn_gate_write_lock(struct hn *hn)
{
	enter_gate(true);
	if (!ck_now->lock_steps) {
		__real_hn_gate_write_lock(hn);
		return;
	}
	ck_take(&hn->core->gate, CK_ACQUIRE);
	say("close", &hn->core->gate);
	hn->core->gate.v = GATE_WRITER;
}

void __wrap_hn_gate_write_unlock(struct hn *hn)
{
	enter_gate(false);
	if (!ck_now->lock_steps) {
		__real_hn_gate_write_unlock(hn);
		return;
	}
	ck_point(NULL);
	ck_touch(&hn->core->gate, CK_RELEASE);
	say("open", &hn->core->gate);
	hn->core->gate.v = 0;
}
