// SPDX-License-Identifier: MIT
/*
 * world.c - making the world of a scenario, its actors and their names.
 */
#include "check/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/scenario.h"
#include "core/internal.h"

static const struct hn_geometry geometry = {
	.nr_chunks = 2, .chunk_shift = 3, .nr_pages = CK_PAGES, .nr_parts = CK_PAGES * CK_CELLS, .nr_moves = 4,
};

static void empty_world(struct ck_world *w, bool rwp)
{
	uint32_t i;

	w->now_ns = 10000000000ull;
	w->rwp = rwp;
	w->poller = w->child.waiter = -1;
	for (i = 0; i < CK_SLOTS; i++)
		w->slot[i].pt.at[0] = w->slot[i].pt.at[1] = CK_HOLE;
	for (i = 0; i < CK_PAGES; i++) {
		w->staging[i].at[0] = w->staging[i].at[1] = CK_HOLE;
		w->trash[i].at[0] = w->trash[i].at[1] = CK_HOLE;
	}
	for (i = 0; i < CK_TARGETS; i++)
		w->target[i].at[0] = w->target[i].at[1] = CK_HOLE;
	w->zeros.at[0] = w->zeros.at[1] = CK_HOLE;
}

static int init_engine(struct ck *k)
{
	const struct ck_scenario *s = k->scenario;
	struct hn_params par = {
		.nr_nodes = CK_NODES,
		.policy = s->policy,
		.expiry_ms = s->expiry_ms ? s->expiry_ms : 1000,
		.quarantine_ms = s->quarantine_ms ? s->quarantine_ms : 1000,
	};
	struct ck_world *w = k->world;
	uint32_t i;

	if (hn_core_init((struct hn_core *)w->core, &geometry, &par))
		return -1;
	for (i = 0; i <= CK_MAX_ACTORS; i++)
		w->hn[i] = (struct hn){ .core = (struct hn_core *)w->core,
					.ops = s->rwp ? &ck_ops_rwp : &ck_ops,
					.stats = &w->stats };
	return 0;
}

static void init_actors(struct ck *k)
{
	uint32_t i;

	for (i = 0; i < CK_MAX_ACTORS && k->scenario->role[i].name; i++) {
		const struct ck_role *r = &k->scenario->role[i];

		k->actor[i].name = r->name;
		k->actor[i].fn = r->fn;
		k->actor[i].arg = r->arg;
		k->actor[i].may_sleep = r->may_sleep;
		k->actor[i].warm = r->warm;
		k->world->thread_nid[i] = (int8_t)r->nid;
	}
	k->nr_actors = i;
}

int ck_world_init(struct ck *k)
{
	k->world = calloc(1, sizeof(*k->world));
	if (!k->world || hn_core_bytes(&geometry) > sizeof(k->world->core))
		return -1;
	ck_now = k;
	empty_world(k->world, k->scenario->rwp);
	init_actors(k);
	if (init_engine(k))
		return -1;
	ck_have_targets(k->world, CK_TARGETS);
	if (k->scenario->setup)
		k->scenario->setup(k->world);
	return 0;
}

struct hn *ck_hn(void)
{
	struct ck *k = ck_now;

	return &k->world->hn[k->running < 0 ? CK_MAX_ACTORS : (uint32_t)k->running];
}

/* ---- names ---- */

static const char *array_name(char *text, size_t size, const char *format, uint64_t i)
{
	snprintf(text, size, format, (unsigned)i);
	return text;
}

const char *ck_name_of(const struct ck_world *w, const void *word)
{
	static __thread char text[32];
	const struct hn_core *c = (const struct hn_core *)w->core;
	const char *p = word, *base = (const char *)c;
	uint64_t off = (uint64_t)(p - base);

	if (word == &c->gate)
		return "gate";
	if (word == &c->lead)
		return "lead";
	if (word == &c->displaced_lock || word == &c->nr_displaced)
		return "displaced parts";
	if (p < base)
		return array_name(text, sizeof(text), "flag %u", (uint64_t)((const struct hn_word *)word - w->flag));
	if (off >= c->entry_off && off < c->disp_off)
		return array_name(text, sizeof(text), "entry %u", (off - c->entry_off) / sizeof(struct hn_entry));
	if (off >= c->page_off && off < c->entry_off) {
		uint64_t i = (off - c->page_off) / sizeof(struct hn_page);

		switch ((off - c->page_off) % sizeof(struct hn_page)) {
		case offsetof(struct hn_page, lock): return array_name(text, sizeof(text), "page lock %u", i);
		case offsetof(struct hn_page, refs): return array_name(text, sizeof(text), "references of page %u", i);
		default: return array_name(text, sizeof(text), "place of page %u", i);
		}
	}
	return "directory";
}

/* ---- who sleeps on a word ---- */

static uint32_t offset_of(const struct ck_world *w, const struct hn_word *word)
{
	return (uint32_t)((const char *)word - (const char *)w);
}

void ck_queue_add(struct ck_world *w, const struct hn_word *word, int actor)
{
	w->sleeper[w->nr_sleepers++] = (struct ck_sleeper){ .word = offset_of(w, word), .actor = (int8_t)actor };
}

bool ck_queue_any(const struct ck_world *w, const struct hn_word *word)
{
	uint32_t i;

	for (i = 0; i < w->nr_sleepers; i++)
		if (w->sleeper[i].word == offset_of(w, word))
			return true;
	return false;
}

uint32_t ck_queue_take(struct ck_world *w, const struct hn_word *word)
{
	uint32_t i, actor = 0;

	for (i = 0; i < w->nr_sleepers && w->sleeper[i].word != offset_of(w, word); i++)
		;
	actor = (uint32_t)w->sleeper[i].actor;
	for (w->nr_sleepers--; i < w->nr_sleepers; i++)
		w->sleeper[i] = w->sleeper[i + 1];
	return actor;
}

static bool is_page_lock(const struct ck_world *w, const struct hn_word *word)
{
	const struct hn_core *c = (const struct hn_core *)w->core;
	uint64_t off = (uint64_t)((const char *)word - (const char *)c);

	return (const char *)word >= (const char *)c && off >= c->page_off && off < c->entry_off &&
	       (off - c->page_off) % sizeof(struct hn_page) == offsetof(struct hn_page, lock);
}

void ck_word_changed(struct ck_world *w, const struct hn_word *word)
{
	if (word->v != 0 || !is_page_lock(w, word))
		return;
	ck_touch(&w->chores, CK_READ);
	if (w->poller < 0 || !w->poller_has_chores)
		return;
	ck_touch(&w->chores, CK_WRITE);
	ck_touch(&w->poll, CK_WRITE);
	ck_wake((uint32_t)w->poller);
	w->poller = -1;
}
