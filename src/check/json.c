// SPDX-License-Identifier: MIT
/* json.c - results for programs. */
#include <jansson.h>

#include "check/report.h"

static const char *key_of(const struct ck_result *r, int bound)
{
	switch (r->verdict) {
	case CK_HOLDS: return bound >= 0 && r->count.bounded ? "holds_within_bound" : "holds";
	case CK_VIOLATED: return "violated";
	case CK_UNFINISHED: return "unfinished";
	case CK_FAILED: break;
	}
	return "failed";
}

static json_t *trace(const struct ck *k)
{
	json_t *lines = json_array();
	uint32_t i;

	for (i = 0; i < k->nr_lines; i++) {
		const struct ck_trace_line *l = &k->line[i];

		json_array_append_new(lines, json_pack("{s:i, s:s, s:s, s:b}", "step", (int)i + 1, "actor",
						       k->actor[l->actor].name, "text", l->text, "minor", (int)l->minor));
	}
	return lines;
}

static json_t *violation(const struct ck *k, const struct ck_violation *v, uint32_t preemptions)
{
	char schedule[CK_SCHEDULE_BYTES];

	ck_schedule_text(v, schedule, sizeof(schedule));
	return json_pack("{s:i, s:s, s:s, s:i, s:i, s:o}", "invariant", v->invariant, "text", v->text, "schedule", schedule,
			 "steps", (int)v->nr_steps, "preemptions", (int)preemptions, "trace", trace(k));
}

json_t *ck_json_result(const struct ck_scenario *s, const struct ck_result *r, int bound, const struct ck *k)
{
	const struct ck_count *c = &r->count;

	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:i, s:f, s:o}", "name", s->name, "races", s->races,
			 "about", s->about, "verdict", key_of(r, bound), "explored", (json_int_t)c->explored, "blocked",
			 (json_int_t)c->blocked, "bounded", (json_int_t)c->bounded, "steps", (json_int_t)c->steps,
			 "longest", (int)c->longest, "items", (int)r->items, "seconds", r->seconds, "violation",
			 k ? violation(k, &r->violation, r->preemptions) : json_null());
}
