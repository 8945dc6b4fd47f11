// SPDX-License-Identifier: MIT
/*
 * gate.c - the event gate: a reader-writer word, writers first.
 *
 * Why it exists. The kernel lets the caller of munmap or madvise go on as soon as its event has been READ. Between
 * that moment and the end of our processing, a put-back would bring dropped data back to life (R15, R16). So whoever
 * reads events holds the gate exclusively from before the read until the event is processed, and whoever arms or puts
 * back holds it shared. An event that is queued but unread is the kernel's to guard: it answers EAGAIN.
 *
 *   put-back (shared)              reader (exclusive)           program
 *   ------------------------------ ---------------------------- ---------------------------
 *                                                               madvise(DONTNEED) sleeps
 *                                  gate, read event             wakes, zaps, returns
 *   waits at the gate              drop the armed page
 *                                  gate released
 *   entry not ARMED: STALE                                      reads zeros
 *
 * Word: bits 0..23 readers, bit 30 somebody sleeps, bit 31 writer inside, bit 29 a writer wants in.
 */
#include "core/internal.h"

#define GATE_READERS 0x00ffffffu
#define GATE_WANTED (1u << 29)
#define GATE_SLEEPERS (1u << 30)
#define GATE_WRITER (1u << 31)

/* Note in the word that somebody will sleep, then sleep while it stays as it was noted. */
static void gate_sleep(struct hn_word *w, uint32_t seen, uint32_t note)
{
	if ((seen & note) != note && !hn_cas_acquire(w, seen, seen | note))
		return;
	hn_wait_while(w, seen | note);
}

void hn_gate_read_lock(struct hn *hn)
{
	struct hn_word *w = &hn->core->gate;

	for (;;) {
		uint32_t v = hn_load_relaxed(w);

		if (v & (GATE_WRITER | GATE_WANTED))
			gate_sleep(w, v, GATE_SLEEPERS);
		else if (hn_cas_acquire(w, v, v + 1))
			return;
	}
}

void hn_gate_read_unlock(struct hn *hn)
{
	struct hn_word *w = &hn->core->gate;

	for (;;) {
		uint32_t v = hn_load_relaxed(w);
		uint32_t to = v - 1;

		/* The last reader wakes everyone, but a wanting writer's note stays: no reader may slip in before it. */
		if ((to & (GATE_READERS | GATE_WANTED)) == 0)
			to = 0;
		if (!hn_cas_release(w, v, to))
			continue;
		if ((to & GATE_READERS) == 0 && (v & (GATE_WANTED | GATE_SLEEPERS)))
			hn_wake(w, INT32_MAX);
		return;
	}
}

void hn_gate_write_lock(struct hn *hn)
{
	struct hn_word *w = &hn->core->gate;

	for (;;) {
		uint32_t v = hn_load_relaxed(w);

		if ((v & (GATE_WRITER | GATE_READERS)) == 0) {
			if (hn_cas_acquire(w, v, v | GATE_WRITER))
				return;
		} else {
			gate_sleep(w, v, GATE_WANTED | GATE_SLEEPERS);
		}
	}
}

void hn_gate_write_unlock(struct hn *hn)
{
	struct hn_word *w = &hn->core->gate;

	if (hn_swap_acq_rel(w, 0) & (GATE_WANTED | GATE_SLEEPERS))
		hn_wake(w, INT32_MAX);
}
