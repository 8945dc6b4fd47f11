// SPDX-License-Identifier: MIT
/* scenarios.c - the list of all scenarios, and the worlds they share. The tables are in the scenarios_*.c files. */
#include <stdio.h>
#include <stdlib.h>
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
	ck_fork_scenarios[], ck_stop_scenarios[], ck_fail_scenarios[], ck_rwp_scenarios[], ck_tier_scenarios[],
	ck_split_scenarios[];

static const struct ck_scenario *const tables[] = {
	ck_lock_scenarios, ck_fault_scenarios, ck_arm_scenarios, ck_event_scenarios,
	ck_fork_scenarios, ck_stop_scenarios,  ck_fail_scenarios,  ck_rwp_scenarios, ck_tier_scenarios,
	ck_split_scenarios,
};

#define MAX_SCENARIOS 400u
#define NAME_BYTES 48u

static struct ck_scenario all[MAX_SCENARIOS]; /* the last has no name */
static char rwp_name[MAX_SCENARIOS][NAME_BYTES];

/*
 * The same situation, armed in place. The locks are explored as they ship in the other way to arm, and need not be
 * once more.
 */
static struct ck_scenario by_rwprotect(const struct ck_scenario *s, char *name)
{
	struct ck_scenario copy = *s;

	copy.rwp = copy.lock_steps = true;
	if (s->ways == CK_BOTH_WAYS) {
		snprintf(name, NAME_BYTES, "%s@rwp", s->name);
		copy.name = name;
	}
	return copy;
}

/* First what is armed by MOVE, then the rest. */
static void make_list(void)
{
	uint32_t nr = 0, pass, t;

	for (pass = 0; pass < 2; pass++) {
		for (t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
			const struct ck_scenario *s;

			for (s = tables[t]; s->name; s++) {
				if (s->ways == (pass ? CK_MOVE_ONLY : CK_RWP_ONLY))
					continue;
				if (nr == MAX_SCENARIOS - 1)
					abort(); /* the room above is too small */
				all[nr] = pass ? by_rwprotect(s, rwp_name[nr]) : *s;
				nr++;
			}
		}
	}
}

const struct ck_scenario *ck_scenario_next(const struct ck_scenario *s)
{
	if (!all[0].name)
		make_list();
	s = s ? s + 1 : all;
	return s->name ? s : NULL;
}

const struct ck_scenario *ck_scenario_find(const char *name)
{
	const struct ck_scenario *s;

	for (s = ck_scenario_next(NULL); s; s = ck_scenario_next(s))
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}
