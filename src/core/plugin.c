// SPDX-License-Identifier: MIT
/*
 * plugin.c - a policy of somebody else's as a row of the table: the question in the words of hugenuma/policy.h, and an answer
 * that is looked at before it is believed.
 */
#include "core/history.h"
#include "core/policy.h"
#include "hugenuma/policy.h"

_Static_assert(HUGENUMA_SAMPLES == HN_HISTORY_SAMPLES && HUGENUMA_MAX_NODES == HN_MAX_NODES &&
		       HUGENUMA_MAX_RULES == HN_MAX_RULES && HUGENUMA_NO_NODE == HN_NO_NODE,
	       "the public limits are the engine's");

/* File modes as stat(2) has them. */
#define MODE_TYPE 0170000u
#define MODE_FILE 0100000u
#define MODE_OTHERS_WRITE 0022u

static void put_samples(struct hugenuma_fault *f, uint64_t history)
{
	unsigned i;

	for (i = 0; i < HUGENUMA_SAMPLES; i++) {
		f->sample_node[i] = (int8_t)hn_history_node(history, i);
		f->sample_same_thread[i] = hn_history_same_thread(history, i);
	}
	f->nr_samples = (uint8_t)hn_history_samples(history);
}

/* Copies, because other threads go on counting. */
static void put_totals(struct hugenuma_fault *f, const struct hn_judge *j)
{
	uint32_t i;

	for (i = 0; i < HUGENUMA_MAX_NODES; i++) {
		bool there = i < j->place->nr_nodes;

		f->by_thread_node[i] = there ? __atomic_load_n(&j->by_cpu[i], __ATOMIC_RELAXED) : 0;
		f->by_page_node[i] = there ? __atomic_load_n(&j->by_page[i], __ATOMIC_RELAXED) : 0;
	}
}

static void put_question(struct hugenuma_fault *f, const struct hn_judge *j)
{
	uint32_t nr = j->place->nr_nodes;

	f->size = sizeof(*f);
	f->nr_nodes = nr;
	f->address = j->haddr;
	f->allowed = j->place->allowed & (nr < HN_MAX_NODES ? ((uint64_t)1 << nr) - 1 : ~(uint64_t)0);
	f->page_node = j->page_nid;
	f->thread_node = j->thread_nid;
	f->armed_ms_ago = j->armed_ms_ago;
	f->moved_ms_ago = j->moved ? j->moved_ms_ago : 0;
	f->moved = j->moved;
	f->same_thread = j->same_thread;
	f->shared = j->tenure.shared;
	put_samples(f, j->history);
	put_totals(f, j);
}

/* Held against what the engine knows, not against the question: that has been in the plug-in's hands. */
static bool makes_sense(const struct hn_judge *j, const struct hugenuma_answer *a)
{
	if (a->rule >= j->plugin->nr_rules || a->rule >= HN_MAX_RULES)
		return false;
	if (a->node == HN_NO_NODE || a->node == j->page_nid)
		return true;
	return a->node >= 0 && a->node < (int32_t)j->place->nr_nodes && (j->place->allowed >> a->node & 1);
}

void hn_judge_plugin(const struct hn_judge *j, struct hn_ruling *r)
{
	const struct hugenuma_policy *p = j->plugin;
	struct hugenuma_answer a = {HN_NO_NODE, HN_MAX_RULES};
	struct hugenuma_fault f;

	r->refusal = HN_REFUSE_VERDICT;
	r->local = j->page_nid == j->thread_nid;
	if (!p)
		return;
	put_question(&f, j);
	p->judge(&f, &a);
	if (!makes_sense(j, &a)) {
		r->local = false; /* counted as what it is */
		return;
	}
	r->rule = (uint8_t)a.rule;
	r->refusal = HN_REFUSE_PLUGIN;
	if (a.node == HN_NO_NODE || a.node == j->page_nid)
		return;
	r->local = false;
	r->target_nid = a.node;
	r->reason = HN_REASON_PLUGIN;
}

/* ---- is it one? ---- */

static bool is_name(const char *s, const char *also)
{
	unsigned n;

	if (!s)
		return false;
	for (n = 0; s[n]; n++)
		if (n + 1 >= HUGENUMA_NAME_BYTES ||
		    !((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= '0' && s[n] <= '9') || s[n] == '_' || s[n] == *also))
			return false;
	return n > 0;
}

/* Printable ASCII: it goes to terminals. */
static bool is_text(const char *s)
{
	unsigned n;

	if (!s)
		return false;
	for (n = 0; s[n]; n++)
		if (n + 1 >= HUGENUMA_TEXT_BYTES || s[n] < ' ' || s[n] > '~')
			return false;
	return n > 0;
}

const char *hn_plugin_defect(const struct hugenuma_policy *p)
{
	uint32_t i;

	if (p->abi != HUGENUMA_POLICY_ABI)
		return "its abi is another, expected HUGENUMA_POLICY_ABI 1 of hugenuma/policy.h";
	if (p->size != sizeof(*p))
		return "its size is another, expected sizeof(struct hugenuma_policy)";
	if (!is_name(p->name, "-"))
		return "its name is none, expected 1 to 23 lower-case letters, digits, - and _";
	if (!is_text(p->about))
		return "its about is none, expected 1 to 71 printable characters";
	if (!p->rules || p->nr_rules < 1 || p->nr_rules > HUGENUMA_MAX_RULES)
		return "its number of rules is out of range, expected 1 to 16";
	for (i = 0; i < p->nr_rules; i++)
		if (!is_name(p->rules[i].name, "_") || !is_text(p->rules[i].text))
			return "a rule has no good name or text, expected 1 to 23 lower-case letters, digits and _, "
			       "and 1 to 71 "
			       "printable characters";
	if (p->reserved)
		return "reserved is set, expected 0";
	if (!p->judge)
		return "it has no judge, expected a function";
	return NULL;
}

const char *hn_plugin_file_defect(uint32_t mode, uint32_t uid, uint32_t euid)
{
	if ((mode & MODE_TYPE) != MODE_FILE)
		return "it is no regular file, expected a shared object";
	if (uid != 0 && uid != euid)
		return "it belongs to somebody else, expected a file of yours or of root";
	if (mode & MODE_OTHERS_WRITE)
		return "others may write to it, expected a file that only its owner can change (chmod go-w)";
	return NULL;
}
