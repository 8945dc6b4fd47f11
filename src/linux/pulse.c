// SPDX-License-Identifier: MIT
/*
 * pulse.c - tells a thread that goes round for ever from one that is slow.
 */
#include "linux/pulse.h"

bool hn_pulse_look(struct hn_pulse *p, uint32_t beats, uint32_t steps, bool asleep, uint64_t cpu_ns)
{
	uint64_t used = cpu_ns > p->cpu_ns && p->cpu_ns ? cpu_ns - p->cpu_ns : 0;
	bool beat = asleep || beats != p->beats, step = beat || steps != p->steps;

	if (used > HN_PULSE_LOOK_NS)
		used = HN_PULSE_LOOK_NS;
	p->no_beat_ns = beat ? 0 : p->no_beat_ns + used;
	p->no_step_ns = step ? 0 : p->no_step_ns + used;
	p->beats = beats;
	p->steps = steps;
	p->cpu_ns = cpu_ns;
	return p->no_step_ns > HN_PULSE_STEP_NS || p->no_beat_ns > HN_PULSE_BEAT_NS;
}
