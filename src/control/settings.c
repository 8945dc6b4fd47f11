// SPDX-License-Identifier: MIT
#include "control/settings.h"

#include "control/names.h"
#include "control/plugin.h"
#include "control/say.h"
#include "core/policy.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HN_SYSTEM_CONFIG "/etc/hugenuma.conf"
#define VARIABLE_PREFIX "HUGENUMA_"
#define LINE_MAX_BYTES 512

#define NUMBER(field, key, option, unit, min, max, live, doc) \
	{ key, option, HN_SETTING_NUMBER, live, offsetof(struct hn_config, field), unit, min, max, NULL, 0, doc }
#define CHOICE(field, key, option, words, nr, live, doc) \
	{ key, option, HN_SETTING_CHOICE, live, offsetof(struct hn_config, field), "", 0, nr - 1, words, nr, doc }
#define NODES(field, key, option, live, doc) \
	{ key, option, HN_SETTING_NODES, live, offsetof(struct hn_config, field), "", 0, 63, NULL, 0, doc }
#define POLICY(field, key, option, live, doc) \
	{ key, option, HN_SETTING_POLICY, live, offsetof(struct hn_config, field), "", 0, HN_POLICY_PLUGIN, NULL, 0, doc }
#define SWITCH(field, key, option, live, doc) \
	{ key, option, HN_SETTING_SWITCH, live, offsetof(struct hn_config, field), "", 0, 1, NULL, 0, doc }

static const char *const slow_words[] = { "auto", "none" };

const struct hn_setting hn_settings[] = {
	NUMBER(period_ms, "scan.period_ms", "period-ms", "ms", 1, 600000, true,
	       "time in which every managed page is hinted once, at the start and after each change of phase"),
	NUMBER(period_min_ms, "scan.period_min_ms", "period-min-ms", "ms", 1, 600000, true,
	       "how short that time may become while pages are misplaced"),
	NUMBER(period_max_ms, "scan.period_max_ms", "period-max-ms", "ms", 1, 600000, true,
	       "how long it may become while they are placed"),
	NUMBER(window_mib, "scan.window_mib", "window-mib", "MiB", 2, 1048576, true, "memory hinted in one pass of the scanner at most"),
	NUMBER(max_armed_mib, "scan.max_armed_mib", "max-armed-mib", "MiB", 2, 65536, false,
	       "memory armed at one time at most"),
	NUMBER(cpu_percent, "scan.cpu_percent", "cpu-percent", "percent of one CPU", 0, 1600, true,
	       "CPU time for the agent's threads, on average, at most; 0: no limit"),
	NUMBER(handlers, "agent.handlers", "handlers", "threads", 1, 16, false, "threads that serve faults, per process"),
	NUMBER(min_mib, "agent.min_mib", "min-mib", "MiB", 2, 1048576, false,
	       "huge pages a process must have to be managed"),
	SWITCH(start_now, "agent.start_now", "start-now", false,
	       "start the agent when a process starts, without waiting for huge pages"),
	POLICY(policy, "policy.name", "policy", true,
	       "when pages migrate, docs/policy.md in " HN_DOC_DIR "; observe judges and never moves; first-touch moves once; always, alternate and "
	       "random are for testing; a shared object of your own: hugenuma/policy.h"),
	NUMBER(seed, "policy.seed", "seed", "", 0, UINT32_MAX, false, "seed of --policy=random"),
	CHOICE(shared, "policy.shared", "shared", hn_shared_names, 2, false,
	       "what becomes of pages that threads of several nodes use: they stay where they are, or are spread over these nodes"),
	NUMBER(settle_ms, "policy.settle_ms", "settle-ms", "ms", 0, 3600000, false,
	       "time between two migrations of a page that several nodes use"),
	SWITCH(explicit_policy, "policy.explicit", "explicit-policy", false,
	       "also manage memory that the program has given a memory policy of its own"),
	CHOICE(mover, "move.mover", "mover", hn_mover_names, 2, false,
	       "how pages migrate: by copying into a page of the target node, or by the kernel"),
	NUMBER(budget_mib_s, "move.budget_mib_s", "budget-mib-s", "MiB", 0, 1048576, false,
	       "memory migrated per second at most; 0: no limit"),
	NUMBER(max_stall_us, "move.max_stall_us", "max-stall-us", "us", 0, 10000000, false,
	       "time that a thread waits for the migration of a page at most: then it is given up, and the old page put back; 0: no limit"),
	SWITCH(move_threads, "move.threads", "move-threads", true,
	       "also move threads to their memory: keep a thread on the CPUs of the node that most of what it uses lies on"),
	NODES(nodes, "node.allowed", "nodes", true,
	      "nodes that pages may be migrated to, of those the machine has; the program's cpuset and its memory policies hold in any case"),
	{ "tier.slow", "slow-nodes", HN_SETTING_NODES, false, offsetof(struct hn_config, slow_nodes), "", 0, 63, slow_words, 2,
	  "nodes that are a slow tier (CXL): hot pages are promoted from them, cold ones demoted to them; auto: those without CPUs" },
	NUMBER(hot_ms, "tier.hot_ms", "hot-ms", "ms", 8, 60000, false,
	       "a page of a slow node that is touched so soon after its hint is hot; adapts, between an eighth and twice of it"),
	NUMBER(promote_mib_s, "tier.promote_mib_s", "promote-mib-s", "MiB", 0, 1048576, false,
	       "memory promoted from slow nodes per second at most; 0: no limit"),
	NUMBER(cold_rounds, "tier.cold_rounds", "cold-rounds", "hints", 0, 15, false,
	       "a page that nobody touched through so many hints in a row is cold; 0: nothing is demoted"),
	NUMBER(low_permille, "tier.low_permille", "low-permille", "permille of a node's memory", 1, 500, false,
	       "a fast node with less free demotes cold pages, and nothing is promoted to it"),
	CHOICE(arm, "arm.way", "arm", hn_arm_names, HN_NR_ARM_CHOICES, false,
	       "how pages are armed: moved aside, or protected in place (rwp), which takes Linux 7.3; auto: in place where the "
	       "kernel can"),
	CHOICE(initial_node, "node.initial", "initial-node", hn_initial_node_names, 2, false,
	       "virtual nodes only: where pages are taken to lie at first, all on node 0 or spread by address"),
};
const unsigned hn_nr_settings = sizeof(hn_settings) / sizeof(hn_settings[0]);

void hn_config_defaults(struct hn_config *c)
{
	*c = (struct hn_config){
		.period_ms = 1000,
		.window_mib = 256,
		.handlers = 2,
		.mover = HN_MOVER_COPY,
		.policy = HN_POLICY_AUTOMATIC,
		.seed = 1,
		.max_armed_mib = 1024,
		.min_mib = 16,
		.shared = HN_SHARED_LEAVE,
		.settle_ms = 60000,
		.period_min_ms = 250,
		.period_max_ms = 60000,
		.cpu_percent = 10,
		.budget_mib_s = 1024,
		.hot_ms = 1000,
		.promote_mib_s = 256,
		.cold_rounds = 3,
		.low_permille = 40,
		.initial_node = HN_INITIAL_FIRST,
	};
}

const struct hn_setting *hn_setting_find(const char *key)
{
	for (unsigned i = 0; i < hn_nr_settings; i++)
		if (strcmp(hn_settings[i].key, key) == 0)
			return &hn_settings[i];
	return NULL;
}

/* ---- values ---- */

static uint32_t *setting_word(const struct hn_setting *s, struct hn_config *c)
{
	return (uint32_t *)(void *)((char *)c + s->offset);
}

uint64_t hn_setting_get(const struct hn_setting *s, const struct hn_config *c)
{
	const void *at = (const char *)c + s->offset;

	return s->kind == HN_SETTING_NODES ? *(const uint64_t *)at : *(const uint32_t *)at;
}

void hn_config_make_sane(struct hn_config *c)
{
	struct hn_config good;

	hn_config_defaults(&good);
	for (unsigned i = 0; i < hn_nr_settings; i++) {
		const struct hn_setting *s = &hn_settings[i];
		uint64_t v = hn_setting_get(s, c);

		if (s->kind != HN_SETTING_NODES && (v < s->min || v > s->max))
			*setting_word(s, c) = *setting_word(s, &good);
	}
	c->plugin[sizeof(c->plugin) - 1] = 0;
	hn_make_printable(c->plugin);
}

void hn_nodes_text(uint64_t nodes, char *buf, size_t len)
{
	size_t at = 0;
	unsigned first, last;

	buf[0] = 0;
	for (first = 0; first < 64 && at < len; first = last + 1) {
		last = first;
		if (!(nodes >> first & 1))
			continue;
		while (last < 63 && (nodes >> (last + 1) & 1))
			last++;
		at += (size_t)snprintf(buf + at, len - at, last > first ? "%s%u-%u" : "%s%u", at ? "," : "", first, last);
	}
}

static void nodes_text(const struct hn_setting *s, uint64_t nodes, char *buf, size_t len)
{
	if (s->nr_words && nodes == UINT64_MAX)
		snprintf(buf, len, "%s", s->word[1]);
	else if (!nodes)
		snprintf(buf, len, "%s", s->nr_words ? s->word[0] : "all");
	else
		hn_nodes_text(nodes, buf, len);
}

void hn_setting_text(const struct hn_setting *s, const struct hn_config *c, char *buf, size_t len)
{
	uint64_t v = hn_setting_get(s, c);

	if (s->kind == HN_SETTING_NODES)
		nodes_text(s, v, buf, len);
	else if (s->kind == HN_SETTING_NUMBER)
		snprintf(buf, len, "%" PRIu64, v);
	else if (s->kind == HN_SETTING_SWITCH)
		snprintf(buf, len, "%s", v ? "on" : "off");
	else if (s->kind == HN_SETTING_POLICY)
		snprintf(buf, len, "%.*s", HN_PLUGIN_PATH - 1,
			 v == HN_POLICY_PLUGIN ? c->plugin : v < HN_NR_POLICIES ? hn_policies[v].name : "?");
	else
		snprintf(buf, len, "%s", v < s->nr_words ? s->word[v] : "?");
}

const char *hn_setting_word(const struct hn_setting *s, unsigned i)
{
	if (s->kind == HN_SETTING_POLICY)
		return i < HN_POLICY_PLUGIN ? hn_policies[i].name : NULL;
	return i < s->nr_words ? s->word[i] : NULL;
}

void hn_setting_expected(const struct hn_setting *s, char *buf, size_t len)
{
	const char *word;
	size_t at = 0;

	if (s->kind == HN_SETTING_NUMBER) {
		snprintf(buf, len, "a whole number%s%s from %" PRIu64 " to %" PRIu64, *s->unit ? " of " : "", s->unit, s->min,
			 s->max);
		return;
	}
	if (s->kind == HN_SETTING_NODES) {
		snprintf(buf, len, "nodes from 0 to 63 as in 0-2,5, or %s",
			 s->nr_words ? "auto, or none" : "all");
		return;
	}
	if (s->kind == HN_SETTING_SWITCH) {
		snprintf(buf, len, "on or off");
		return;
	}
	buf[0] = 0;
	for (unsigned i = 0; at < len && (word = hn_setting_word(s, i)); i++)
		at += (size_t)snprintf(buf + at, len - at, "%s%s",
				       i == 0                        ? "" :
				       hn_setting_word(s, i + 1) ? ", " :
								     " or ",
				       word);
	if (s->kind == HN_SETTING_POLICY && at < len)
		snprintf(buf + at, len - at, ", the path of a shared object, or its NAME in %s", hn_plugin_dir());
}

static bool parse_number(const struct hn_setting *s, const char *text, uint32_t *v)
{
	char *end = NULL;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	/* strtoull takes blanks and signs as well */
	if (!isdigit((unsigned char)text[0]) || *end || errno || n < s->min || n > s->max)
		return false;
	*v = (uint32_t)n;
	return true;
}

static bool parse_policy(const struct hn_setting *s, struct hn_config *c, const char *text)
{
	const char *word;

	for (unsigned i = 0; (word = hn_setting_word(s, i)); i++) {
		if (strcmp(word, text) == 0) {
			c->policy = i;
			return true;
		}
	}
	if (!hn_plugin_path(text, c->plugin, sizeof(c->plugin)))
		return false;
	c->policy = HN_POLICY_PLUGIN;
	return true;
}

static bool parse_word(const char *const *word, unsigned nr, const char *text, uint32_t *v)
{
	for (unsigned i = 0; i < nr; i++) {
		if (strcmp(word[i], text) == 0) {
			*v = i;
			return true;
		}
	}
	return false;
}

static bool parse_node(const char **p, unsigned *node)
{
	char *end;

	if (!isdigit((unsigned char)**p))
		return false;
	*node = (unsigned)strtoul(*p, &end, 10);
	if (end - *p > 2 || *node > 63)
		return false;
	*p = end;
	return true;
}

static bool parse_nodes(const struct hn_setting *s, const char *p, uint64_t *nodes)
{
	uint64_t set = 0;
	unsigned first, last;

	if (strcmp(p, s->nr_words ? s->word[0] : "all") == 0) {
		*nodes = 0;
		return true;
	}
	if (s->nr_words && strcmp(p, s->word[1]) == 0) {
		*nodes = UINT64_MAX;
		return true;
	}
	do {
		if (!parse_node(&p, &first))
			return false;
		last = first;
		if (*p == '-' && (p++, !parse_node(&p, &last) || last < first))
			return false;
		for (; first <= last; first++)
			set |= (uint64_t)1 << first;
	} while (*p++ == ',');
	if (p[-1])
		return false;
	*nodes = set;
	return true;
}

bool hn_setting_parse(const struct hn_setting *s, struct hn_config *c, const char *text)
{
	static const char *const off_on[] = { "off", "on" }, *const no_yes[] = { "0", "1" };
	uint32_t *v = setting_word(s, c);

	switch (s->kind) {
	case HN_SETTING_NUMBER: return parse_number(s, text, v);
	case HN_SETTING_CHOICE: return parse_word(s->word, s->nr_words, text, v);
	case HN_SETTING_POLICY: return parse_policy(s, c, text);
	case HN_SETTING_NODES: return parse_nodes(s, text, (uint64_t *)(void *)((char *)c + s->offset));
	case HN_SETTING_SWITCH: return parse_word(off_on, 2, text, v) || parse_word(no_yes, 2, text, v);
	}
	return false;
}

/* ---- "KEY = VALUE" ---- */

static char *trim(char *s)
{
	char *end = s + strlen(s);

	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = 0;
	while (isspace((unsigned char)*s))
		s++;
	return s;
}

/* Changes `line`. */
static int settings_line(struct hn_config *c, char *line, char *err, size_t err_len)
{
	char *equals = strchr(line, '='), *key, *value, expected[320];
	const struct hn_setting *s;

	if (!equals) {
		hn_set_error(err, err_len, "'%s': expected KEY=VALUE", trim(line));
		return -1;
	}
	*equals = 0;
	key = trim(line);
	value = trim(equals + 1);
	s = hn_setting_find(key);
	if (!s) {
		hn_set_error(err, err_len, "'%s': no such setting; `hugenuma ctl' lists them", key);
		return -1;
	}
	if (!hn_setting_parse(s, c, value)) {
		hn_setting_expected(s, expected, sizeof(expected));
		hn_set_error(err, err_len, "%s: '%s': expected %s", key, value, expected);
		return -1;
	}
	return 0;
}

int hn_settings_assign(struct hn_config *c, const char *text, char *err, size_t err_len)
{
	char line[LINE_MAX_BYTES];

	if (strlen(text) >= sizeof(line)) {
		hn_set_error(err, err_len, "'%.40s...': expected KEY=VALUE in less than %zu characters", text, sizeof(line));
		return -1;
	}
	strcpy(line, text);
	return settings_line(c, line, err, err_len);
}

/* ---- files ---- */

/* Empty lines and comments say nothing. */
static int settings_file_line(struct hn_config *c, char *line, char *err, size_t err_len)
{
	char *hash = strchr(line, '#');

	if (hash)
		*hash = 0;
	line = trim(line);
	return *line ? settings_line(c, line, err, err_len) : 0;
}

int hn_settings_read(struct hn_config *c, FILE *f, const char *path, char *err, size_t err_len)
{
	char line[LINE_MAX_BYTES], why[256];
	unsigned nr = 0;

	while (fgets(line, sizeof(line), f)) {
		nr++;
		if (!strchr(line, '\n') && !feof(f)) {
			hn_set_error(err, err_len, "%s:%u: expected a line of less than %zu characters", path, nr, sizeof(line));
			return -1;
		}
		if (settings_file_line(c, line, why, sizeof(why)) != 0) {
			hn_set_error(err, err_len, "%s:%u: %s", path, nr, why);
			return -1;
		}
	}
	if (ferror(f)) {
		hn_set_error(err, err_len, "%s: cannot be read: %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

int hn_settings_read_file(struct hn_config *c, const char *path, bool must, char *err, size_t err_len)
{
	FILE *f = fopen(path, "re");
	int res;

	if (!f) {
		if (!must && (errno == ENOENT || errno == ENOTDIR))
			return 0;
		hn_set_error(err, err_len, "%s: cannot be read: %s", path, strerror(errno));
		return -1;
	}
	res = hn_settings_read(c, f, path, err, err_len);
	fclose(f);
	return res;
}

static int settings_read_files(struct hn_config *c, char *err, size_t err_len)
{
	const char *only = getenv("HUGENUMA_CONFIG"), *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char path[4096];

	if (only)
		return *only ? hn_settings_read_file(c, only, true, err, err_len) : 0;
	if (hn_settings_read_file(c, HN_SYSTEM_CONFIG, false, err, err_len) != 0)
		return -1;
	if (base && base[0] == '/')
		snprintf(path, sizeof(path), "%s/hugenuma.conf", base);
	else if (home && home[0] == '/')
		snprintf(path, sizeof(path), "%s/.config/hugenuma.conf", home);
	else
		return 0;
	/* A service started by somebody else often has that one's HOME, which is none of its business. */
	if (access(path, R_OK) != 0 && errno == EACCES)
		return 0;
	return hn_settings_read_file(c, path, false, err, err_len);
}

/* ---- environment: scan.period_ms is HUGENUMA_SCAN_PERIOD_MS ---- */

static void variable_name(const struct hn_setting *s, char *buf, size_t len)
{
	size_t at = (size_t)snprintf(buf, len, VARIABLE_PREFIX "%s", s->key);

	for (size_t i = strlen(VARIABLE_PREFIX); i < at && i < len; i++)
		buf[i] = buf[i] == '.' ? '_' : (char)toupper((unsigned char)buf[i]);
}

static int settings_read_environment(struct hn_config *c, char *err, size_t err_len)
{
	char name[64], expected[320];

	for (unsigned i = 0; i < hn_nr_settings; i++) {
		const char *value;

		variable_name(&hn_settings[i], name, sizeof(name));
		value = getenv(name);
		if (!value || hn_setting_parse(&hn_settings[i], c, value))
			continue;
		hn_setting_expected(&hn_settings[i], expected, sizeof(expected));
		hn_set_error(err, err_len, "environment: %s: '%s': expected %s", name, value, expected);
		return -1;
	}
	return 0;
}

int hn_settings_load(struct hn_config *c, char *err, size_t err_len)
{
	return settings_read_files(c, err, err_len) != 0 || settings_read_environment(c, err, err_len) != 0 ? -1 : 0;
}
