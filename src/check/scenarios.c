// SPDX-License-Identifier: MIT
/* scenarios.c - the list of all scenarios, and the worlds they share. The tables are in the scenarios_*.c files. */
#include <string.h>

#include "check/roles.h"

void ck_world_mapped(struct ck_world *w)
{
	ck_have(w, 0, 1, 0);
	ck_set_last(w, 0, 1);
}

void ck_world_armed(struct ck_world *w)
{
	ck_have(w, 0, 1, 0);
	ck_have_armed(w, 0, 1);
}

void ck_world_two(struct ck_world *w)
{
	ck_have(w, 0, 2, 0);
	ck_set_last(w, 0, 1);
	ck_set_last(w, 1, 1);
}

void ck_world_two_armed(struct ck_world *w)
{
	ck_have(w, 0, 2, 0);
	ck_have_armed(w, 0, 1);
	ck_have_armed(w, 1, 1);
}

extern const struct ck_scenario ck_lock_scenarios[], ck_fault_scenarios[], ck_arm_scenarios[], ck_event_scenarios[],
	ck_fork_scenarios[], ck_stop_scenarios[], ck_fail_scenarios[];

static const struct ck_scenario *const tables[] = {
	ck_lock_scenarios, ck_fault_scenarios, ck_arm_scenarios, ck_event_scenarios,
	ck_fork_scenarios, ck_stop_scenarios,  ck_fail_scenarios,
};

const struct ck_scenario *ck_scenario_next(const struct ck_scenario *s)
{
	uint32_t t = 0;

	if (!s)
		return tables[0];
	if (s[1].name)
		return s + 1;
	for (t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		const struct ck_scenario *i = tables[t];

		while (i->name && i != s)
			i++;
		if (i == s)
			break;
	}
	return t + 1 < sizeof(tables) / sizeof(tables[0]) ? tables[t + 1] : NULL;
}

const struct ck_scenario *ck_scenario_find(const char *name)
{
	const struct ck_scenario *s;

	for (s = ck_scenario_next(NULL); s; s = ck_scenario_next(s))
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}
