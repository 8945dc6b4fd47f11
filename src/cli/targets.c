// SPDX-License-Identifier: MIT
#include "cli/targets.h"

#include "control/say.h"

#include <inttypes.h>
#include <stdlib.h>

#define MAX_TARGETS 4096

struct hn_target *hn_targets_find(struct hn_attached *a, uint32_t pid, size_t *nr)
{
	struct hn_target *t = calloc(MAX_TARGETS, sizeof(*t));

	if (!t || hn_attach(a) != 0) {
		hn_say("out of memory");
		free(t);
		return NULL;
	}
	*nr = hn_attach_find(a, pid, t, MAX_TARGETS);
	if (*nr > MAX_TARGETS)
		*nr = MAX_TARGETS;
	return t;
}

void hn_say_no_process(const struct hn_attached *a, uint32_t pid)
{
	hn_attach_say_refused(a);
	hn_say("%" PRIu32 ": no managed process, and no `hugenuma run', has this PID; `hugenuma list' shows them", pid);
}

void hn_say_no_answer(uint32_t pid)
{
	hn_say("%" PRIu32 ": has not answered in %u s; it will as soon as it gets a CPU", pid, HN_PATIENCE_MS / 1000);
}
