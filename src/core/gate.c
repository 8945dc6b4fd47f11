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
 * Word: bits 0..23 readers, bit 29 a writer wants in, bit 30 somebody sleeps, bit 31 writer inside. Readers come and go
 * by additions that look at the flags only, so they never disturb one another. A reader that finds a writer takes its
 * addition back; the flags are cleared by the writer that leaves, and by nobody else.
 */
#include "core/internal.h"

#define GATE_READERS 0x00ffffffu
#define GATE_WANTED (1u << 29)
#define GATE_SLEEPERS (1u << 30)
#define GATE_WRITER (1u << 31)
#define GATE_FLAGS (GATE_WANTED | GATE_SLEEPERS | GATE_WRITER)

/* Note in the word that somebody will sleep, then sleep while it stays as it was noted. */
static void gate_sleep(struct hn_word *w, uint32_t seen, uint32_t note)
{
	if ((seen & note) != note && !hn_cas_acquire(w, seen, seen | note))
		return;
	hn_wait_while(w, seen | note);
}

/* Without touching the count: readers that wait would wake one another for ever by coming and going. */
static void wait_for_writer(struct hn_word *w)
{
	uint32_t v;

	while ((v = hn_load_relaxed(w)) & (GATE_WRITER | GATE_WANTED))
		gate_sleep(w, v, GATE_SLEEPERS);
}

void hn_gate_read_lock(struct hn *hn)
{
	struct hn_word *w = &hn->core->gate;

	while (hn_add_masked(w, 1, GATE_FLAGS) & (GATE_WRITER | GATE_WANTED)) {
		hn_gate_read_unlock(hn);
		wait_for_writer(w);
	}
}

void hn_gate_read_unlock(struct hn *hn)
{
	struct hn_word *w = &hn->core->gate;

	if (!(hn_add_masked(w, (uint32_t)-1, GATE_FLAGS) & GATE_WANTED))
		return;
	/* A reader that still counts will come here itself, so the writer hears from the last one at the latest. */
	if ((hn_load_relaxed(w) & GATE_READERS) == 0)
		hn_wake(w, INT32_MAX);
}

void hn_gate_write_lock(struct hn *hn)
{
	struct hn_word *w = &hn->core->gate;

	if (hn_cas_acquire(w, 0, GATE_WRITER))
		return;
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

	if (hn_and_acq_rel(w, GATE_READERS) & (GATE_WANTED | GATE_SLEEPERS))
		hn_wake(w, INT32_MAX);
}
