// SPDX-License-Identifier: MIT
/* Plug-in policies: what they are told, what becomes of what they say, and which objects are none. */
#include "core/history.h"
#include "core/policy.h"
#include "fake.h"
#include "hugenuma/policy.h"

#include <string.h>
#include <sys/stat.h>

/* What the next call answers, and what it was asked. */
static struct hugenuma_answer say;
static struct hugenuma_fault asked;
static unsigned calls;

static void judge(const struct hugenuma_fault *f, struct hugenuma_answer *a)
{
	asked = *f;
	*a = say;
	calls++;
}

static const struct hugenuma_rule rules[] = {{"stay", "it may stay"}, {"go", "it has to go"}};
static const struct hugenuma_policy scripted = {
	HUGENUMA_POLICY_ABI, sizeof(scripted), "scripted", "for tests", rules, 2, 0, judge};

static struct fake *with_plugin(const struct hugenuma_policy *p)
{
	struct hn_params par = fake_params;
	struct fake *f;

	par.policy = HN_POLICY_PLUGIN;
	f = fake_new_with(&fake_geometry, &par);
	f->hn.plugin = f->other.plugin = p;
	fake_manage(f, 0, 1, 0);
	calls = 0;
	return f;
}

/* ---- the answers ---- */

static const struct answer_row {
	const char *what;
	int node;
	uint32_t rule, thread;
	enum hn_outcome out;
	enum hn_refusal refusal;
} answers[] = {
	{"stays", HUGENUMA_NO_NODE, 0, 1, HN_FAULT_REFUSED, HN_REFUSE_PLUGIN},
	{"stays, by naming its node", 0, 1, 1, HN_FAULT_REFUSED, HN_REFUSE_PLUGIN},
	{"stays where it is used", HUGENUMA_NO_NODE, 0, 0, HN_FAULT_LOCAL, 0},
	{"moves", 1, 1, 1, HN_FAULT_MIGRATED, 0},
	{"moves to a third node", 2, 1, 1, HN_FAULT_MIGRATED, 0},
	{"moves although it is local", 3, 1, 0, HN_FAULT_MIGRATED, 0},
	{"a node too many", 4, 1, 1, HN_FAULT_REFUSED, HN_REFUSE_VERDICT},
	{"a node too many, far", 1000000, 1, 1, HN_FAULT_REFUSED, HN_REFUSE_VERDICT},
	{"no node at all", -2, 1, 1, HN_FAULT_REFUSED, HN_REFUSE_VERDICT},
	{"the lowest number", INT32_MIN, 1, 1, HN_FAULT_REFUSED, HN_REFUSE_VERDICT},
	{"a rule too many", 1, 2, 1, HN_FAULT_REFUSED, HN_REFUSE_VERDICT},
	{"a rule too many, far", 1, UINT32_MAX, 1, HN_FAULT_REFUSED, HN_REFUSE_VERDICT},
	{"a rule too many, and stays", HUGENUMA_NO_NODE, 7, 0, HN_FAULT_REFUSED, HN_REFUSE_VERDICT},
};

static void test_answers(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		const struct answer_row *r = &answers[i];
		struct fake *f = with_plugin(&scripted);
		enum hn_outcome out;

		say = (struct hugenuma_answer){r->node, r->rule};
		out = fake_sample(f, 0, r->thread);
		if (out != r->out || calls != 1 || (out == HN_FAULT_REFUSED && fake_verdict.refusal != r->refusal))
			fail_msg("%s: outcome %d, refusal %d, %u calls", r->what, (int)out, fake_verdict.refusal,
				 calls);
		if (out == HN_FAULT_MIGRATED) {
			assert_int_equal(fake_entry(f, 0)->nid, r->node);
			assert_int_equal(f->stats.migrated_for[HN_REASON_PLUGIN], 1);
			assert_int_equal(f->stats.rule_moved[r->rule], 1);
		}
		if (out == HN_FAULT_LOCAL || (out == HN_FAULT_REFUSED && r->refusal == HN_REFUSE_PLUGIN))
			assert_int_equal(f->stats.rule_stayed[r->rule], 1);
		fake_finish(f);
	}
}

static void test_nodes_that_are_not_allowed(void **state)
{
	struct fake *f = with_plugin(&scripted);

	(void)state;
	hn_policy_allow(&f->hn, 1u << 0 | 1u << 2);
	say = (struct hugenuma_answer){1, 1};
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_VERDICT);
	assert_int_equal(asked.allowed, 1u << 0 | 1u << 2);
	say.node = 2;
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	assert_int_equal(f->stats.refused[HN_REFUSE_VERDICT], 1);
	fake_finish(f);
}

/* Whatever it says, pages that failed a moment ago and spent budgets stand against it. */
static void test_limits_hold(void **state)
{
	struct fake *f = with_plugin(&scripted);

	(void)state;
	say = (struct hugenuma_answer){1, 1};
	f->hn.core->par.budget_pages = 1;
	hn_entry_hold(&f->hn, fake_entry(f, 0), HN_E_NO_MOVE, 1000);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_HELD);
	fake_ms(f, 1000);
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_MIGRATED);
	say.node = 2;
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_BUDGET);
	fake_finish(f);
}

static void test_without_an_object(void **state)
{
	struct fake *f = with_plugin(NULL);

	(void)state;
	assert_int_equal(fake_sample(f, 0, 1), HN_FAULT_REFUSED);
	assert_int_equal(fake_verdict.refusal, HN_REFUSE_VERDICT);
	assert_int_equal(fake_sample(f, 0, 0), HN_FAULT_LOCAL);
	fake_finish(f);
}

/* ---- the question ---- */

static void test_question(void **state)
{
	struct fake *f = with_plugin(&scripted);
	struct hn_entry *e = fake_entry(f, 0);

	(void)state;
	say = (struct hugenuma_answer){HUGENUMA_NO_NODE, 0};
	fake_sample(f, 0, 1);
	fake_sample(f, 0, 1);
	fake_sample(f, 0, 2);
	e->moved = 1;
	e->moved_ms = hn_now_ms(&f->hn) - 700;
	fake_ms(f, 300);
	fake_sample(f, 0, 3);
	assert_int_equal(asked.size, sizeof(asked));
	assert_int_equal(asked.nr_nodes, 4);
	assert_int_equal(asked.allowed, 15);
	assert_int_equal(asked.address, fake_at(0));
	assert_int_equal(asked.page_node, 0);
	assert_int_equal(asked.thread_node, 3);
	assert_int_equal(asked.nr_samples, 3);
	assert_int_equal(asked.sample_node[0], 2);
	assert_int_equal(asked.sample_node[1], 1);
	assert_int_equal(asked.sample_node[2], 1);
	assert_int_equal(asked.sample_node[3], HUGENUMA_NO_NODE);
	assert_int_equal(asked.sample_same_thread[1], 1);
	assert_int_equal(asked.sample_same_thread[0], 0);
	assert_int_equal(asked.same_thread, 0);
	assert_int_equal(asked.moved, 1);
	assert_in_range(asked.moved_ms_ago, 1000, 1010);
	assert_int_equal(asked.by_thread_node[1], 2);
	assert_int_equal(asked.by_page_node[0], 3);
	assert_int_equal(asked.by_page_node[5], 0);
	fake_finish(f);
}

static void test_hint_latency(void **state)
{
	struct fake *f = with_plugin(&scripted);

	(void)state;
	say = (struct hugenuma_answer){HUGENUMA_NO_NODE, 0};
	assert_int_equal(hn_arm_run(&f->hn, fake_at(0), 1), 1);
	fake_ms(f, 123);
	fake_fault(f, 0, 1);
	assert_int_equal(asked.armed_ms_ago, 123);
	fake_finish(f);
}

/* The same life under the built-in policy and under a plug-in with the same rule. */
static void test_as_good_as_built_in(void **state)
{
	struct hn_params par = fake_params;
	struct fake *f[2];
	uint32_t x = 7, i;

	(void)state;
	for (i = 0; i < 2; i++) {
		par.policy = i ? HN_POLICY_PLUGIN : HN_POLICY_TWO_STAGE;
		f[i] = fake_new_with(&fake_geometry, &par);
		fake_manage(f[i], 0, 4, 0);
	}
	for (i = 0; i < 4000; i++) {
		x = x * 1664525u + 1013904223u;
		assert_int_equal(fake_sample(f[0], x >> 20 & 3, x >> 24 & 3),
				 fake_sample(f[1], x >> 20 & 3, x >> 24 & 3));
	}
	assert_int_equal(f[0]->stats.migrated, f[1]->stats.migrated);
	assert_true(f[1]->stats.migrated > 100);
	assert_int_equal(f[1]->stats.rule_moved[2], f[1]->stats.migrated);
	assert_int_equal(f[1]->stats.rule_stayed[1], f[1]->stats.refused[HN_REFUSE_PLUGIN]);
	assert_int_equal(f[1]->stats.rule_stayed[0], f[1]->stats.local);
	fake_finish(f[0]);
	fake_finish(f[1]);
}

/* ---- which objects are policies ---- */

static void test_defects(void **state)
{
	static const struct hugenuma_rule no_name[] = {{"", "text"}}, no_text[] = {{"rule", NULL}},
					  bad_name[] = {{"a rule", "text"}}, bad_text[] = {{"rule", "a\033b"}};
	struct hugenuma_policy p = scripted;

	(void)state;
	assert_null(hn_plugin_defect(&p));
#define DEFECT(change, word) \
	p = scripted; \
	change; \
	assert_non_null(hn_plugin_defect(&p)); \
	assert_non_null(strstr(hn_plugin_defect(&p), word))
	DEFECT(p.abi = 2, "abi");
	DEFECT(p.size--, "size");
	DEFECT(p.name = NULL, "name");
	DEFECT(p.name = "", "name");
	DEFECT(p.name = "Upper", "name");
	DEFECT(p.name = "a-name-that-is-far-too-long", "name");
	DEFECT(p.about = NULL, "about");
	DEFECT(p.about = "a\nb", "about");
	DEFECT(p.rules = NULL, "rules");
	DEFECT(p.nr_rules = 0, "rules");
	DEFECT(p.nr_rules = 17, "rules");
	DEFECT((p.rules = no_name, p.nr_rules = 1), "rule");
	DEFECT((p.rules = no_text, p.nr_rules = 1), "rule");
	DEFECT((p.rules = bad_name, p.nr_rules = 1), "rule");
	DEFECT((p.rules = bad_text, p.nr_rules = 1), "rule");
	DEFECT(p.reserved = 1, "reserved");
	DEFECT(p.judge = NULL, "judge");
}

static void test_files(void **state)
{
	(void)state;
	assert_null(hn_plugin_file_defect(S_IFREG | 0644, 1000, 1000));
	assert_null(hn_plugin_file_defect(S_IFREG | 0755, 0, 1000));
	assert_non_null(hn_plugin_file_defect(S_IFREG | 0644, 1001, 1000));
	assert_non_null(hn_plugin_file_defect(S_IFREG | 0644, 1000, 0));
	assert_non_null(hn_plugin_file_defect(S_IFREG | 0664, 1000, 1000));
	assert_non_null(hn_plugin_file_defect(S_IFREG | 0646, 0, 0));
	assert_non_null(hn_plugin_file_defect(S_IFDIR | 0755, 0, 0));
}

static void test_table(void **state)
{
	unsigned i, k;

	(void)state;
	for (i = 0; i < HN_NR_POLICIES; i++) {
		assert_non_null(hn_policies[i].name);
		assert_non_null(hn_policies[i].about);
		assert_non_null(hn_policies[i].judge);
		for (k = 0; k < i; k++)
			assert_string_not_equal(hn_policies[i].name, hn_policies[k].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_nodes_that_are_not_allowed),
		cmocka_unit_test(test_limits_hold),
		cmocka_unit_test(test_without_an_object),
		cmocka_unit_test(test_question),
		cmocka_unit_test(test_hint_latency),
		cmocka_unit_test(test_as_good_as_built_in),
		cmocka_unit_test(test_defects),
		cmocka_unit_test(test_files),
	};

	return fake_run(tests);
}
