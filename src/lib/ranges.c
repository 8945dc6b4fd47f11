// SPDX-License-Identifier: MIT
/*
 * ranges.c - what the program says and asks about its memory.
 */
#include <errno.h>
#include <string.h>

#include "control/proc.h"
#include "lib/events.h"
#include "lib/lib.h"

#define ANSWER_MS 2000

bool hn_lib_hand_out(void *to, uint32_t least, const void *from, uint32_t bytes)
{
	uint32_t size;

	memcpy(&size, to, sizeof(size));
	if (size < least)
		return false;
	memcpy((char *)to + sizeof(size), (const char *)from + sizeof(size), (size < bytes ? size : bytes) - sizeof(size));
	return true;
}

static bool make_range(const void *addr, size_t len, hn_addr *start, hn_addr *end)
{
	*start = (hn_addr)(uintptr_t)addr;
	*end = *start + len;
	return len && *end > *start;
}

EXPORT int hugenuma_treat(const void *addr, size_t len, enum hugenuma_treatment treatment, uint64_t nodes)
{
	struct hn_wish wish = { .nodes = nodes, .dry = treatment == HUGENUMA_OBSERVE };
	hn_addr start, end;
	int err;

	if (!make_range(addr, len, &start, &end) || (unsigned)treatment > HUGENUMA_BIND ||
	    (treatment == HUGENUMA_BIND) != (nodes != 0))
		return -EINVAL;
	hn_lib_read_lock();
	err = hn_lib_door()->set_range(start, end, treatment == HUGENUMA_LEAVE, &wish);
	hn_lib_unlock();
	return err;
}

EXPORT int hugenuma_manage(const void *addr, size_t len) { return hugenuma_treat(addr, len, HUGENUMA_BALANCE, 0); }

EXPORT int hugenuma_unmanage(const void *addr, size_t len) { return hugenuma_treat(addr, len, HUGENUMA_LEAVE, 0); }

static int survey(struct hn_survey *s, uint32_t *nodes)
{
	const struct hn_door *d;
	int err = -ESRCH;

	hn_lib_read_lock();
	d = hn_lib_running();
	if (d) {
		*nodes = d->agent->live->setup.nr_nodes;
		err = d->survey(s, ANSWER_MS);
	}
	hn_lib_unlock();
	return err;
}

EXPORT int hugenuma_query_range(const void *addr, size_t len, struct hugenuma_range_info *info)
{
	struct hugenuma_range_info r = { 0 };
	struct hn_survey s = { 0 };
	int err;

	if (!info || info->size < sizeof(r) || !make_range(addr, len, &s.start, &s.end))
		return -EINVAL;
	err = survey(&s, &r.nodes);
	if (err)
		return err;
	r.pages = s.pages;
	r.armed = s.armed;
	r.samples = s.samples;
	r.local = s.local;
	for (int i = 0; i < HUGENUMA_MAX_NODES; i++)
		r.pages_on[i] = s.pages_on[i];
	hn_lib_hand_out(info, sizeof(r), &r, sizeof(r));
	return 0;
}

/* As hn_attach_ask(). */
static int ask(const struct hn_door *d, struct hn_record *rec, hn_addr addr, struct hn_answer *a)
{
	uint64_t end = hn_now_ms() + ANSWER_MS;
	uint32_t number = hn_query_ask(&rec->query, addr);

	for (d->kick(); !hn_query_read(&rec->query, number, addr, a); hn_lib_nap()) {
		if (hn_now_ms() > end)
			return -ETIMEDOUT;
		/* somebody else's question may have taken ours away */
		if ((int32_t)(hn_load_acquire(&rec->query.answered) - number) >= 0) {
			number = hn_query_ask(&rec->query, addr);
			d->kick();
		}
	}
	return 0;
}

static bool find_last(const struct hn_record *rec, hn_addr haddr, struct hugenuma_event *ev)
{
	uint32_t next, first = hn_record_first(rec, &next);
	struct hn_decision d;

	while (next != first)
		if (hn_record_read(rec, --next, &d) && d.haddr == haddr) {
			hn_lib_event(ev, next, &d);
			return true;
		}
	return false;
}

static int query_locked(hn_addr addr, struct hugenuma_page_info *p)
{
	const struct hn_door *d = hn_lib_running();
	struct hn_answer a = { 0 };
	struct hn_record *rec;
	int err;

	if (!d)
		return -ESRCH;
	rec = hn_lib_record(d);
	if (!rec)
		return -ENODATA;
	err = ask(d, rec, addr, &a);
	if (err)
		return err;
	p->managed = a.place == HN_PLACE_MANAGED;
	p->node = p->managed ? a.nid : HN_NO_NODE;
	p->last_node = p->managed ? a.last_nid : HN_NO_NODE;
	p->last_thread = p->managed ? a.last_tid : 0;
	p->has_last = find_last(rec, hn_page_down(addr), &p->last);
	return 0;
}

EXPORT int hugenuma_query_page(const void *addr, struct hugenuma_page_info *info)
{
	struct hugenuma_page_info p = { 0 };
	int err;

	if (!info || info->size < sizeof(p))
		return -EINVAL;
	hn_lib_read_lock();
	err = query_locked((hn_addr)(uintptr_t)addr, &p);
	hn_lib_unlock();
	if (!err)
		hn_lib_hand_out(info, sizeof(p), &p, sizeof(p));
	return err;
}
