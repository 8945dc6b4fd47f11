// SPDX-License-Identifier: MIT
/*
 * pulse.h - does a thread of the agent get on, or does it go round for ever?
 *
 * Not what time it has had tells, nor that it works without a rest: in a guest whose host is short of CPUs a second of CPU time
 * may be a few milliseconds of work. A thread that gets on makes *steps*: system calls that do what they were asked for; and,
 * at the latest after all that a pass can consist of, a *beat*: it goes to sleep, has read a message, begins a pass anew.
 */
#ifndef HN_LINUX_PULSE_H
#define HN_LINUX_PULSE_H

#include <stdbool.h>
#include <stdint.h>

#define HN_PULSE_STEP_NS 20000000000u   /* of CPU time without a step; ... */
#define HN_PULSE_BEAT_NS 300000000000u  /* ... without a beat, whatever steps there are: it will not come to an end by itself */
#define HN_PULSE_LOOK_NS 2000000000u    /* counted of the time between two looks at most: the rest was stolen from both */

/* What the watchdog knows of a thread; zeroed at first. */
struct hn_pulse {
	uint32_t beats, steps;
	uint64_t cpu_ns;             /* at the last look */
	uint64_t no_beat_ns, no_step_ns; /* counted since there was one */
};

/*
 * A look at a thread, about once a second: what it has counted so far, whether it is asleep, and its CPU time so far (0: not
 * known). True: it goes round for ever.
 */
bool hn_pulse_look(struct hn_pulse *p, uint32_t beats, uint32_t steps, bool asleep, uint64_t cpu_ns);

#endif
